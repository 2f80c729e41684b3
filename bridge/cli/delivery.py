"""`bridge delivery`: what is owed, and what came of it."""

from typing import Any

import rich_click as click

from bridge.cli.output import Columns, ago, chosen, emit, field, output_option, safe
from bridge.cli.session import with_store
from bridge.errors import NotFound


@click.group()
def delivery() -> None:
    """Look at deliveries and their attempts."""


COLUMNS: Columns = (
    *((name, field(name)) for name in ("event_id", "endpoint", "task", "type", "state", "reason", "attempts")),
    ("made", lambda row: ago(row["created"])),
)


@delivery.command()
@click.option("--endpoint", metavar="NAME", help="Only those owed to this endpoint.")
@click.option("--state", type=click.Choice(["pending", "delivered", "dead", "superseded", "cancelled"]))
@click.option("--task", "task_id", metavar="ID", help="Only those of this task.")
@click.option("--limit", default=100, show_default=True, help="At most so many.")
@output_option
@click.pass_context
def ls(
    ctx: click.Context,
    endpoint: str | None,
    state: str | None,
    task_id: str | None,
    limit: int,
    output: str | None,
    as_json: bool,
) -> None:
    """List deliveries, newest first.

    \b
    Examples:
      bridge delivery ls --state dead
      bridge delivery ls --endpoint billing --state pending --json
    """
    from bridge.store.reading import Reading

    rows = with_store(
        ctx, lambda store, _: Reading(store).deliveries(endpoint=endpoint, state=state, task=task_id, limit=limit)
    )
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="event_id")


@delivery.command()
@click.argument("event_id")
@click.argument("endpoint", required=False)
@output_option
@click.pass_context
def show(ctx: click.Context, event_id: str, endpoint: str | None, output: str | None, as_json: bool) -> None:
    """Show one event's deliveries with every attempt: what was answered, how long it took, what follows.

    \b
    Examples:
      bridge delivery show evt_1c9b…
      bridge delivery show evt_1c9b… billing --json
    """
    from bridge.store.reading import Reading

    rows = with_store(ctx, lambda store, _: Reading(store).delivery(event_id, endpoint))
    if not rows:
        raise NotFound(f"there is no delivery of {safe(event_id)}", fix="bridge delivery ls")
    how = chosen(ctx, output, as_json)
    if how != "table":
        emit(rows, how, COLUMNS, key="event_id")
        return
    for row in rows:
        _print(row)


def _print(row: dict[str, Any]) -> None:
    reason = f" ({row['reason']})" if row["reason"] else ""
    due = f", next {ago(row['next_at'])}" if row["next_at"] else ""
    click.echo(safe(f"{row['event_id']} → {row['endpoint']}  {row['type']}  {row['state']}{reason}{due}"))
    for attempt in row["attempt_log"]:
        came = attempt.get("status_code") or f"{attempt.get('fault')}: {attempt.get('detail', '')}"
        follows = f" → {attempt['next']}" + (f" ({attempt['reason']})" if attempt.get("reason") else "")
        took = f"{attempt.get('total_ms', 0):.0f} ms"
        click.echo(safe(f"  #{attempt['attempt']}  {ago(attempt['at'])}  {came}  {took}{follows}"))
        if attempt.get("excerpt"):
            click.echo(f"      {safe(attempt['excerpt'][:200])}")
