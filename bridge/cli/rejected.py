"""`bridge rejected`: what somebody wrote into Redis and no worker could use."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.calling import pasteable
from bridge.cli.output import Columns, chosen, emit, field, output_option, safe, say, when
from bridge.cli.session import ids_from, with_store
from bridge.errors import NotFound
from bridge.rejection import typed

if TYPE_CHECKING:
    from bridge.store import Store

PARTLY = 6

COLUMNS: Columns = (
    ("entry", field("name")),
    ("refused", when("refused_at")),
    ("reason", field("reason")),
    ("fix", lambda row: pasteable(typed(field("fix")(row)))),
)


@click.group()
def rejected() -> None:
    """Look at entries that were refused, with the reason and what puts each right.

    An entry leaves the list when it is written anew and taken in, or is taken back (`bridge endpoint rm`, `bridge task
    rm`).

    \b
    Examples:
      bridge rejected ls
      bridge rejected rm task:6a0b1c2d3e4f5a6b7c8d9e01
    """


@rejected.command()
@output_option
@click.pass_context
def ls(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """List what was refused, why, and what to do.

    \b
    Examples:
      bridge rejected ls
      bridge rejected ls -o json
    """
    from bridge.store.reading.refusals import refusals

    found = with_store(ctx, lambda store, _: refusals(store))
    emit([asdict(one) for one in found], chosen(ctx, output, as_json), COLUMNS, key="name")


@rejected.command()
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY…|-")
@click.pass_context
def rm(ctx: click.Context, entries: tuple[str, ...]) -> int:
    """Strike entries off the list, as it names them. What is in force stays so.

    \b
    Examples:
      bridge rejected rm endpoint:billing
      bridge rejected ls -o ids | bridge rejected rm -
    """
    wanted = ids_from(entries)

    async def work(store: "Store", _: object) -> list[str]:
        from bridge.store.declaring import Declaring

        return await Declaring(store).dismiss(wanted)

    struck = set(with_store(ctx, work))
    missing = [name for name in wanted if name not in struck]
    if not struck:
        raise NotFound(f"{safe(missing[0])} is not among the refused entries", fix="bridge rejected ls")
    for name in missing:
        say(f"✗ {safe(name)} is not among the refused entries → bridge rejected ls")
    say(f"{len(struck)} of {len(wanted)} struck off.")
    return PARTLY if missing else 0
