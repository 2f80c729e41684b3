"""`bridge watch`: an index, or the account, whose tasks are registered by themselves."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.metadata import value_from
from bridge.cli.output import Columns, Row, chosen, emit, field, output_option, safe, say, upcoming, when
from bridge.cli.session import ids_from, names_in, speakable, with_store
from bridge.cli.task import say_what_lacks, say_who_lacks
from bridge.errors import InvalidInput, NotFound
from bridge.orders.moments import moment_from, seconds_from

if TYPE_CHECKING:
    from bridge.kinds import Kind
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY = 6


@click.group()
def watch() -> None:
    """Watch an index, or the whole account: every task there is registered by itself.

    \b
    Examples:
      bridge watch index 69f0aa11bb22cc33dd44ee55
      bridge watch account --endpoint billing
      bridge watch ls
    """


def _note(row: Row) -> str:
    words = {"waiting": "not taken in yet", "rejected": "rejected"}
    return ": ".join(filter(None, (words.get(str(row["state"])), str(row["note"]))))


COLUMNS: Columns = (
    ("watch", field("watch")),
    ("finds", lambda row: ", ".join(row["kinds"])),
    ("found", field("found")),
    ("listed", when("listed_at")),
    ("next", upcoming("next_at")),
    ("note", _note),
)
WRITTEN: Columns = (("watch", field("watch")), ("result", field("result")))


def _options(command: Any) -> Any:
    """What each task that is found gets, and which are."""
    for option in reversed(
        (
            click.option("--endpoint", "endpoints", multiple=True, metavar="NAME,…",
                         help="Only these endpoints hear of its tasks."),
            click.option("--callback-url", metavar="URL", help="POST their events here too, signed with the default "
                         "secret."),
            click.option("--metadata", metavar="JSON", help="Up to 4 KiB, echoed in every event of its tasks."),
            click.option("--since", metavar="WHEN", callback=speakable, help="Also those that had ended, if they were "
                         "created since: 2h, 3d, or RFC 3339."),
            click.option("--expires-in", metavar="TIME", help="Find, and watch, no longer than this: 2h, 7d."),
            output_option,
            click.pass_context,
        )
    ):  # fmt: skip
        command = option(command)
    return command


@watch.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option("--kind", "kinds", multiple=True, metavar="KIND,…",
              help="What is found: task (the default), asset for indexed assets, or task,asset.")  # fmt: skip
@_options
def index(ctx: click.Context, /, ids: tuple[str, ...], **given: Any) -> int:
    """Watch every task of an index: those on their way now, and all that come.

    What had ended before is not told, unless --since says from when on. The index's list is read for new ones every
    BRIDGE_POLL_FIND_SECONDS. What is written anew replaces what was asked for; tasks that were found keep theirs.

    \b
    Examples:
      bridge watch index 69f0aa11bb22cc33dd44ee55
      bridge watch index 69f0aa11bb22cc33dd44ee55 --kind task,asset --since 24h
    """
    definition = _definition(given)
    if kinds := names_in(given["kinds"]):
        definition["kinds"] = list(dict.fromkeys(kinds))
    return _write(ctx, [f"index:{one}" for one in ids_from(ids)], definition, given)


@watch.command()
@_options
def account(ctx: click.Context, /, **given: Any) -> int:
    """Watch every task of the account: those on their way now, and all that come, in every index.

    Indexed assets are listed index by index: `bridge watch index ID --kind asset` finds those.

    \b
    Examples:
      bridge watch account
      bridge watch account --metadata '{"source": "account"}' --expires-in 30d
    """
    return _write(ctx, ["account"], _definition(given), given)


def _definition(given: dict[str, Any]) -> dict[str, Any]:
    definition: dict[str, Any] = {}
    if names := names_in(given["endpoints"]):
        definition["endpoints"] = names
    if given["callback_url"]:
        definition["callback_url"] = given["callback_url"]
    if given["metadata"] is not None:
        definition["metadata"] = value_from(given["metadata"])
    now = int(time.time() * 1000)
    if given["since"]:
        definition["since"] = moment_from(given["since"], now) // 1000
    if given["expires_in"]:
        definition["expires_at"] = int(now / 1000 + seconds_from(given["expires_in"]))
    return definition


def _write(ctx: click.Context, names: Sequence[str], definition: dict[str, Any], given: dict[str, Any]) -> int:
    rows = with_store(ctx, lambda store, settings: _written(store, settings, names, definition))
    emit(rows, chosen(ctx, given["output"], given["as_json"]), WRITTEN, key="watch")
    return 0


async def _written(store: "Store", settings: "Settings", names: Sequence[str], definition: dict[str, Any]) -> list[Row]:
    """Judged as a worker judges it, and written as any client writes it. Raises InvalidInput."""
    from bridge.entries import Judge
    from bridge.rejection import Rejection
    from bridge.store.declaring import Declaring

    judge = Judge(settings.policy, settings.delivery_default_secret is not None)
    text = json.dumps(definition)
    kinds: tuple[Kind, ...] = ()
    for name in names:
        try:
            kinds = judge.watch(name.encode("utf-8", "surrogateescape"), text.encode()).kinds
        except Rejection as rejection:
            raise InvalidInput(f"{safe(name)}: {rejection}", fix=rejection.fix) from None
    words = await Declaring(store).write_watches(dict.fromkeys(names, text))
    named = definition.get("endpoints", [])
    await say_what_lacks(store, settings.deployment, named, everybody=not named and "callback_url" not in definition)
    if "callback_url" not in definition:
        await say_who_lacks(store, kinds, named)
    return [{"watch": name, "result": words[name]} for name in names]


@watch.command()
@output_option
@click.pass_context
def ls(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """List what is watched as a whole: how many tasks were found, and when the list was last read to its end.

    \b
    Examples:
      bridge watch ls
      bridge watch ls -o ids | bridge watch rm -
    """
    from bridge.store.reading.watches import list_watches

    views = with_store(ctx, lambda store, _: list_watches(store))
    emit([asdict(view) for view in views], chosen(ctx, output, as_json), COLUMNS, key="watch")


@watch.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…|-")
@click.pass_context
def rm(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Find no more tasks for these: account, index:ID, or the ID alone. What was found stays watched.

    \b
    Examples:
      bridge watch rm account
      bridge watch rm 69f0aa11bb22cc33dd44ee55
    """
    from bridge.store.declaring import Declaring

    wanted = [one if one == "account" or ":" in one else f"index:{one}" for one in ids_from(names)]

    async def work(store: "Store", _: "Settings") -> list[str]:
        sayable = [name for name in wanted if name.isprintable()]
        removed = await Declaring(store).remove_watches(sayable)
        return [*removed, *await Declaring(store).forget_rejections("watch", sayable)]

    removed = set(with_store(ctx, work))
    missing = [name for name in wanted if name not in removed]
    if missing and not removed:
        raise NotFound(f"{safe(missing[0])} is not watched", fix="bridge watch ls")
    for name in missing:
        say(f"✗ {safe(name)} is not watched → bridge watch ls")
    say(f"{len(removed)} of {len(wanted)} find no more tasks; what was found stays watched (bridge task ls).")
    return PARTLY if missing else 0
