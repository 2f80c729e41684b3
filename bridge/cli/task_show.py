"""`bridge task show`: all that is known of one task, and why its hooks did not arrive."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.audience import SHOWN
from bridge.cli.calling import pasteable
from bridge.cli.output import ago, chosen, emit_one, output_option, safe
from bridge.cli.session import speakable, with_store
from bridge.cli.task_events import event_rows
from bridge.cli.task_steer import registering
from bridge.cli.task_trouble import UNCHANGED, find_trouble, unchanged
from bridge.errors import InvalidInput, NotFound
from bridge.model import DeliveryState
from bridge.waiting import advised

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

EVENTS_SHOWN = 20
WHOLE_ERROR = 600
"""How much of an error stands beside a delivery here, where there is room for what to do about it."""
COMMITTED_WITHIN_MS = 60_000
"""What is observed is committed before its lease ends, so well within this."""


@click.command()
@click.argument("task_id", metavar="ID", callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, task_id: str, output: str | None, as_json: bool) -> None:
    """Show all that is known of one task: snapshot, watch, events and deliveries, or why it was refused.

    \b
    Examples:
      bridge task show 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task show ID --json
    """
    if task_id == "-":
        raise InvalidInput("task show shows one task, and reads no ids from standard input", fix="bridge task ls")
    row = with_store(ctx, lambda store, settings: task_row(store, settings, task_id))
    how = chosen(ctx, output, as_json)
    if how != "table":
        emit_one(row, how, key="task")
        return
    events = row.pop("events")
    row["delivered"] = f"{row['delivered']} of {row.pop('owed')}"
    if row["state"] == "watched" and row["note"] and row["polled_at"]:
        row["note"] = f"at its latest read, {ago(row['polled_at'])}: {row['note']}"
    emit_one(row, how, key="task")
    for event in events:
        click.echo(f"\n{safe(event['type'])}  {safe(event['event_id'])}  {ago(event['committed_at'])}")
        if event["untold"]:
            click.echo(pasteable(safe(f"  {event['untold']}")))
        for delivery in event["deliveries"]:
            _print_delivery(delivery)
        for one in event["passed_over"][:SHOWN]:
            click.echo(safe(f"  not to {one['endpoint']}: {one['why']}"))
        if (more := len(event["passed_over"]) - SHOWN) > 0:
            click.echo(pasteable(f"  and not to {more} more → bridge delivery show {safe(event['event_id'])} NAME"))


def _print_delivery(delivery: dict[str, Any]) -> None:
    """A line of what is owed, and what a person may want to do about it."""
    from bridge.cli.delivery import waits

    reason = f" ({delivery['reason']})" if delivery["reason"] else ""
    attempts = f"{delivery['attempts']} attempt{'s' * (delivery['attempts'] != 1)}"
    waiting = waits(delivery, width=WHOLE_ERROR)
    why = f", {waiting}" if waiting else ""
    click.echo(f"  → {safe(delivery['endpoint'])}  {safe(delivery['state'] + reason)}, {attempts}{safe(why)}")
    for advice in advised(delivery) if why or delivery["state"] == DeliveryState.DEAD else ():
        click.echo(pasteable(f"    {safe(advice)}"))


async def task_row(store: "Store", settings: "Settings", member: str, *, depth: int | None = None) -> dict[str, Any]:
    """All that is known of a task. NotFound for one that is not known here.

    `depth`: among so many events at most are its own looked for, from its latest one back.
    """
    from bridge.store.reading.events import latest_events
    from bridge.store.reading.tasks import task_with_deliveries
    from bridge.store.reading.vitals import role

    view = await task_with_deliveries(store, member)
    if view.state == "unknown":
        raise NotFound(f"task {safe(member)} is not known here", fix=registering(member))
    until = view.observed_at + COMMITTED_WITHIN_MS if depth and view.observed_at else None
    events = await latest_events(store, lambda event: event.task == member, EVENTS_SHOWN, until=until, depth=depth)
    if until and not events:  # Redis' clock was set back since, and the stream's did not follow
        events = await latest_events(store, lambda event: event.task == member, EVENTS_SHOWN, depth=depth)
    row = asdict(view)
    trouble = await find_trouble(store, settings, [view]) if view.registered and not view.fix else None
    row["reading"] = trouble.reason if trouble else UNCHANGED if unchanged(view) else None
    row |= {name: row.pop(name) for name in ("note", "fix", "options")}  # which follow it
    row["fix"] = trouble.fix if trouble else view.fix
    if view.next_at:  # nothing is read before the account's rest has ended
        row["next_at"] = max(view.next_at, (await role(store, "poll")).paused_until_at or 0)
    row["events"], way = await event_rows(store, events)
    row["fix"] = row["fix"] or way
    return row
