"""`bridge task show`: all that is known of one task, and why its hooks did not arrive."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.calling import pasteable
from bridge.cli.output import chosen, emit_one, output_option
from bridge.cli.session import speakable, with_store
from bridge.cli.task_events import event_rows
from bridge.cli.task_steer import unknown
from bridge.cli.task_trouble import UNCHANGED, doubted, find_trouble, unchanged, unread
from bridge.errors import InvalidInput

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

EVENTS_SHOWN = 20
COMMITTED_WITHIN_MS = 60_000
"""What is observed is committed before its lease ends, so well within this."""


@click.command()
@click.argument("task_id", metavar="ID", callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, task_id: str, output: str | None, as_json: bool) -> None:
    """Show one task: what became of its events at each endpoint, what to do, and all else that is known of it.

    \b
    Examples:
      bridge task show 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task show ID --json
    """
    from bridge.cli.task_told import told

    if task_id == "-":
        raise InvalidInput("task show shows one task, and reads no ids from standard input", fix="bridge task ls")
    row = with_store(ctx, lambda store, settings: task_row(store, settings, task_id))
    how = chosen(ctx, output, as_json)
    if how != "table":
        emit_one(row, how, key="task")
        return
    click.echo(pasteable(told(row)))


async def task_row(store: "Store", settings: "Settings", member: str, *, depth: int | None = None) -> dict[str, Any]:
    """All that is known of a task. NotFound for one that is not known here.

    `depth`: among so many events at most are its own looked for, from its latest one back.
    """
    from bridge.store.reading.events import latest_events
    from bridge.store.reading.options import named_endpoints, option_warnings
    from bridge.store.reading.tasks import task_with_deliveries
    from bridge.store.reading.vitals import role

    view = await task_with_deliveries(store, member)
    if view.state == "unknown":
        raise await unknown(store, member)
    until = view.observed_at + COMMITTED_WITHIN_MS if depth and view.observed_at else None
    events = await latest_events(store, lambda event: event.task == member, EVENTS_SHOWN, until=until, depth=depth)
    if until and not events:  # Redis' clock was set back since, and the stream's did not follow
        events = await latest_events(store, lambda event: event.task == member, EVENTS_SHOWN, depth=depth)
    row = asdict(view)
    trouble = await find_trouble(store, settings, [view]) if view.registered and not view.fix else None
    row["reading"] = trouble.reason if trouble else UNCHANGED if unchanged(view) else None
    named = _named(view.options) if view.options else await named_endpoints(store, member)
    row["warnings"] = await option_warnings(store, member, named, watched=view.registered)
    row |= {name: row.pop(name) for name in ("note", "fix", "options")}  # which follow it
    row["fix"] = trouble.fix if trouble else view.fix or doubted(view) or unread(view)
    if view.next_at:  # nothing is read before the account's rest has ended
        row["next_at"] = max(view.next_at, (await role(store, "poll")).paused_until_at or 0)
    row["events"], way = await event_rows(store, settings, events)
    row["fix"] = row["fix"] or way
    return row


def _named(options: dict[str, Any]) -> list[str]:
    """The endpoints that a task names, as it is watched."""
    names = options.get("endpoints")
    return list(map(str, names)) if isinstance(names, list) else []
