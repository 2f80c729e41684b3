"""`bridge event`: what happened."""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import Columns, chosen, emit, field, output_option, safe
from bridge.cli.session import with_store
from bridge.errors import InvalidInput

if TYPE_CHECKING:
    from bridge.store import Store


@click.group()
def event() -> None:
    """Look at the stream of events."""


COLUMNS: Columns = tuple((name, field(name)) for name in ("event_id", "type", "task", "revision", "cursor"))


@event.command()
@click.option("--after", metavar="CURSOR", help="Only those committed after this one: the `cursor` of a row.")
@click.option("--task", "task_id", metavar="ID", help="Only those of this task.")
@click.option("--type", "event_type", metavar="TYPE", help="Only those of this type.")
@click.option("--limit", default=100, show_default=True, help="Look at so many events.")
@output_option
@click.pass_context
def ls(
    ctx: click.Context,
    after: str | None,
    task_id: str | None,
    event_type: str | None,
    limit: int,
    output: str | None,
    as_json: bool,
) -> None:
    """List events in the order of their commits: the newest ones, or those after a cursor.

    \b
    Examples:
      bridge event ls --type index.task.ready
      bridge event ls --after 1763925001123-0 -o jsonl
    """
    rows = with_store(ctx, lambda store, _: _list(store, after, limit))
    kept = [row for row in rows if task_id in {None, row["task"]} and event_type in {None, row["type"]}]
    emit(kept, chosen(ctx, output, as_json), COLUMNS, key="event_id")


async def _list(store: "Store", after: str | None, limit: int) -> list[dict[str, Any]]:
    from bridge.store.reading import Reading

    reading = Reading(store)
    if after is None:
        return await reading.latest_events(limit)
    if not re.fullmatch(r"\d{1,19}(-\d{1,19})?", after):
        raise InvalidInput(f"“{safe(after)}” is not a cursor", fix="use the `cursor` of a row of `bridge event ls`")
    return await reading.events(after=after, limit=limit)


@event.command()
@output_option
@click.pass_context
def tail(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """Follow events as they are committed, until Ctrl-C.

    \b
    Examples:
      bridge event tail
      bridge event tail -o jsonl | jq .task
    """
    how = "jsonl" if (how := chosen(ctx, output, as_json)) == "json" else how
    with_store(ctx, lambda store, _: _tail(store, how))


async def _tail(store: "Store", how: str) -> None:
    from bridge.store.reading import Reading

    events: AsyncIterator[dict[str, Any]] = Reading(store).follow()
    async for row in events:
        emit([row], how, COLUMNS, key="event_id")
