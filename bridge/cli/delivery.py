"""`bridge delivery`: what is owed, and what came of it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.delivery_steer import cancel, retry
from bridge.cli.output import Columns, Row, ago, chosen, emit, field, output_option, safe, when
from bridge.cli.session import speakable, with_store
from bridge.errors import NotFound
from bridge.model import DeliveryState

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView


@click.group()
def delivery() -> None:
    """Look at deliveries and their attempts; retry or cancel them.

    \b
    Examples:
      bridge delivery ls --state dead
      bridge delivery show evt_1c9b…
      bridge delivery retry evt_1c9b… --endpoint billing
    """


delivery.add_command(retry)
delivery.add_command(cancel)


def _state(row: Row) -> str:
    return f"{row['state']} ({row['reason']})" if row["reason"] else str(row["state"])


COLUMNS: Columns = (
    ("event", field("event_id")),
    ("endpoint", field("endpoint")),
    ("type", field("type")),
    ("task", field("task")),
    ("state", _state),
    ("attempts", field("attempts")),
    ("made", when("created_at")),
    ("next", when("next_at")),
)
STATES = [str(one) for one in DeliveryState]


@delivery.command()
@click.option("--endpoint", metavar="NAME", callback=speakable, help="Only those owed to this endpoint.")
@click.option("--state", type=click.Choice(STATES), metavar="STATE", help=f"Only those that are {', '.join(STATES)}.")
@click.option("--task", "task_id", metavar="ID", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@output_option
@click.pass_context
def ls(ctx: click.Context, /, **given: Any) -> None:
    """List deliveries, newest first: by when they ended, or while they are pending by when they were made.

    \b
    Examples:
      bridge delivery ls --state dead
      bridge delivery ls --state dead -o ids | bridge delivery retry -
      bridge delivery ls --endpoint billing --state pending --json
    """
    views = with_store(ctx, lambda store, _: _listed(store, given))
    rows = [_row(view, log=False) for view in views]
    emit(rows, chosen(ctx, given["output"], given["as_json"]), COLUMNS, key="delivery")


async def _listed(store: "Store", given: dict[str, Any]) -> "list[DeliveryView]":
    """The deliveries asked for. NotFound for an endpoint that there is not, and was not."""
    from bridge.store.reading.deliveries import list_deliveries
    from bridge.store.reading.endpoints import find_endpoint

    name = given["endpoint"]
    views = await list_deliveries(
        store, endpoint=name, state=given["state"], task=given["task_id"], limit=given["limit"]
    )
    if not name or views or await find_endpoint(store, name) or await list_deliveries(store, endpoint=name, limit=1):
        return views
    raise NotFound(f"there is no endpoint “{name}”, and no delivery to one", fix="bridge endpoint ls")


@delivery.command()
@click.argument("event_id", callback=speakable)
@click.argument("endpoint", required=False, callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, event_id: str, endpoint: str | None, output: str | None, as_json: bool) -> None:
    """Show one event's deliveries with every attempt: what was answered, how long it took, what follows.

    \b
    Examples:
      bridge delivery show evt_1c9b…
      bridge delivery show evt_1c9b… billing --json
    """
    asked = event_id
    event_id, _, named = event_id.partition("/")
    endpoint = endpoint or named or None
    views, is_task = with_store(ctx, lambda store, _: _found(store, event_id, endpoint))
    if not views:
        to = f" to {endpoint}" if endpoint and not named else ""
        if is_task:
            raise NotFound(f"{event_id} is a task, and no event", fix=f"bridge task show {event_id}")
        raise NotFound(f"there is no delivery of {asked}{to}", fix="bridge delivery ls")
    rows = [_row(view, log=True) for view in views]
    how = chosen(ctx, output, as_json)
    if how == "table":
        for row in rows:
            _print(row)
    else:
        emit(rows, how, COLUMNS, key="delivery")


async def _found(store: "Store", event_id: str, endpoint: str | None) -> "tuple[list[DeliveryView], bool]":
    """An event's deliveries; where there is none, whether that is the id of a task."""
    from bridge.store.reading.deliveries import find_deliveries
    from bridge.store.reading.tasks import find_tasks

    views = await find_deliveries(store, event_id, endpoint)
    return views, not views and (await find_tasks(store, [event_id]))[0].state not in {"unknown", "rejected"}


def _row(view: "DeliveryView", *, log: bool) -> dict[str, Any]:
    row = {"delivery": f"{view.event_id}/{view.endpoint}", **asdict(view)}
    attempts = [_attempt(one) for one in row.pop("log")]
    return row | {"attempt_log": attempts} if log else row


def _attempt(record: dict[str, Any]) -> dict[str, Any]:
    """An attempt's record, its moment under a name that says that it is one."""
    return {"attempt_at" if name == "at" else name: value for name, value in record.items()}


def _print(row: Row) -> None:
    due = f", next {ago(row['next_at'])}" if row["next_at"] else ""
    click.echo(safe(f"{row['event_id']} → {row['endpoint']}  {row['type']}  {_state(row)}{due}"))
    for attempt in row["attempt_log"]:
        at = attempt.get("attempt_at")
        moment = ago(at) if isinstance(at, int) else "—"
        click.echo(safe(f"  #{attempt.get('attempt')}  {moment}  {_came(attempt)}"))
        if times := _times(attempt):
            click.echo(f"      {times}")
        if attempt.get("excerpt"):
            click.echo(f"      answered: {safe(attempt['excerpt'])}")


def _came(attempt: Row) -> str:
    """What an attempt came to, and what followed."""
    came = attempt.get("status_code") or f"{attempt.get('fault')}: {attempt.get('detail', '')}"
    retry = attempt.get("retry_in_ms")
    follows = f"again {ago(retry, 0)}" if isinstance(retry, int) and retry else str(attempt.get("next", ""))
    reason = f" ({attempt['reason']})" if attempt.get("reason") else ""
    return f"{came} → {follows}{reason}"


def _times(attempt: Row) -> str:
    """Where the time went."""
    phases = {name: attempt.get(f"{name}_ms") for name in ("dns", "connect", "tls", "wait", "total")}
    known = [f"{name} {value:.0f}" for name, value in phases.items() if isinstance(value, int | float)]
    return f"{', '.join(known)} ms" if known else ""
