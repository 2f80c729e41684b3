"""`bridge delivery`: what is owed, and what came of it."""

from dataclasses import asdict
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.calling import pasteable
from bridge.cli.delivery_steer import cancel, retry
from bridge.cli.output import (
    Columns,
    Row,
    ago,
    chosen,
    emit,
    field,
    indented,
    next_due,
    output_option,
    safe,
    say,
    soon,
    upcoming,
    when,
)
from bridge.cli.session import speakable, with_store
from bridge.cli.word import Word
from bridge.errors import NotFound
from bridge.model import DeliveryState
from bridge.signature import ID_HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView

WAYS_SHOWN = 5
"""How many endpoints are told how their dead letters come back."""
ERROR_WIDTH = 60
"""How much of an error stands beside a delivery; `endpoint show` has all of it."""


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


def waits(row: Row, width: int = ERROR_WIDTH) -> str:
    """Why it is not on its way, and what its endpoint, or it itself, last failed by; empty where neither is."""
    from bridge.waiting import told

    hold, error = row["hold"], row["endpoint_error"] or row["last_error"]
    whose = "last error" if row["attempts"] else "its endpoint's last error"
    words = [told(hold, row["endpoint"], soon(hold["probe_at"]))] if hold else []
    words += [f"again {soon(hold['again_at'])} if that worker dies"] if hold and hold["again_at"] else []
    return "; ".join([*words, *([f"{whose}: {shorten(error, width, placeholder='…')}"] if error else [])])


COLUMNS: Columns = (
    ("event", field("event_id")),
    ("endpoint", field("endpoint")),
    ("type", field("type")),
    ("task", field("task")),
    ("state", _state),
    ("attempts", field("attempts")),
    ("made", when("created_at")),
    ("next", upcoming("next_at")),
    ("note", waits),
)
SPARE = ("made", "type", "attempts", "next")
"""The columns that a narrow terminal does without, the least needed first."""
STATES = [str(one) for one in DeliveryState]
SYNONYMS = {
    **dict.fromkeys(("failed", "failing", "error", "expired", "exhausted"), "dead"),
    **dict.fromkeys(("success", "succeeded", "sent", "done", "ok"), "delivered"),
    **dict.fromkeys(("waiting", "queued", "held", "retrying"), "pending"),
}
"""What others call the states."""


@delivery.command()
@click.option("--endpoint", metavar="NAME", callback=speakable, help="Only those owed to this endpoint.")
@click.option("--state", type=Word(STATES, SYNONYMS), metavar="STATE", help=f"Only those that are {', '.join(STATES)}.")
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
    rows = [row_of(view, log=False) for view in views]
    how = chosen(ctx, given["output"], given["as_json"])
    emit(rows, how, COLUMNS, key="delivery", spare=SPARE)
    if given["task_id"] and not rows:
        say(f"No such delivery of task {safe(given['task_id'])} → bridge task show {safe(given['task_id'])}")
    elif how == "table" and given["state"] and not rows:
        to = f" to {safe(given['endpoint'])}" if given["endpoint"] else ""
        say(f"No delivery{to} is {given['state']}.")
    if how == "table" and given["state"] == DeliveryState.DEAD:
        _say_ways_back(views)


def _say_ways_back(dead: "Sequence[DeliveryView]") -> None:
    """The command that brings an endpoint's dead letters back, once for each endpoint."""
    from bridge.recovery import command, dismissal
    from bridge.waiting import registering

    removed = {one.endpoint for one in dead if one.endpoint_removed}
    reasons: dict[str, set[str]] = {}
    for one in dead:
        reasons.setdefault(one.endpoint, set()).add(str(one.reason))
    for name, theirs in list(reasons.items())[:WAYS_SHOWN]:
        if name in removed:
            say(f"{safe(name)} was removed → {safe(registering(name))}")
            say(f"  or nobody needs them → {safe(dismissal(name, len(dead)))}")
        elif way := command(name, theirs):
            say(f"{safe(name)} → {safe(way)}")
    if len(reasons) > WAYS_SHOWN:
        say(f"and {len(reasons) - WAYS_SHOWN} endpoints more → bridge endpoint ls")


async def _listed(store: "Store", given: dict[str, Any]) -> "list[DeliveryView]":
    """The deliveries asked for. NotFound for an endpoint that there is not, and was not."""
    from bridge.store.reading.deliveries import list_deliveries
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.reading.near import near_endpoint

    name = given["endpoint"]
    views = await list_deliveries(
        store, endpoint=name, state=given["state"], task=given["task_id"], limit=given["limit"]
    )
    if not name or views or await find_endpoint(store, name) or await list_deliveries(store, endpoint=name, limit=1):
        return views
    near = await near_endpoint(store, name)
    meant = f"; did you mean “{safe(near)}”?" if near else ""
    raise NotFound(f"there is no endpoint “{name}”, and no delivery to one{meant}", fix="bridge endpoint ls")


@delivery.command()
@click.argument("event_id", callback=speakable)
@click.argument("endpoint", required=False, callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, event_id: str, endpoint: str | None, output: str | None, as_json: bool) -> None:
    """Show one event's deliveries with every attempt: what was sent and answered, how long it took, what follows.

    Secrets are struck out of all of it. Of a delivery that its first attempt delivered, what was sent is not kept.

    \b
    Examples:
      bridge delivery show evt_1c9b…
      bridge delivery show evt_1c9b… billing --json
    """
    asked = event_id
    event_id, _, named = event_id.partition("/")
    endpoint = endpoint or named or None
    to = f" to {endpoint}" if endpoint and not named else ""
    views = with_store(ctx, lambda store, settings: _found(store, settings, event_id, endpoint, f"{asked}{to}"))
    rows = [row_of(view, log=True) for view in views]
    how = chosen(ctx, output, as_json)
    if how == "table":
        for row in rows:
            _print(row)
    else:
        emit(rows, how, COLUMNS, key="delivery")


async def _found(
    store: "Store", settings: "Settings", event_id: str, endpoint: str | None, asked: str
) -> "list[DeliveryView]":
    """An event's deliveries. NotFound where there is none, with the reason if that is known."""
    from bridge.cli.delivery_absent import absent
    from bridge.store.reading.deliveries import find_deliveries

    if views := await find_deliveries(store, event_id, endpoint):
        return views
    raise await absent(store, settings, event_id, endpoint, asked)


def row_of(view: "DeliveryView", *, log: bool) -> dict[str, Any]:
    """A delivery under the names that JSON shows, with its attempts or without."""
    row = {"delivery": f"{view.event_id}/{view.endpoint}", **asdict(view)}
    attempts = [_attempt(view.event_id, one) for one in row.pop("log")]
    return row | {"attempt_log": attempts} if log else row


def _attempt(event_id: str, record: dict[str, Any]) -> dict[str, Any]:
    """An attempt's record, its moment under a name that says that it is one, and its heads taken apart."""
    from bridge.attempt import because

    row = {"attempt_at" if name == "at" else name: value for name, value in record.items()}
    first, *lines = str(row.pop("request", "")).split("\n")
    method, _, url = first.partition(" ")
    if url:
        told = {ID_HEADER: event_id, "bridge-attempt": str(row.get("attempt")), "bridge-trigger": row.get("trigger")}
        row["request"] = {"method": method, "url": url, "headers": _headers(lines) | told}
    if answer := row.pop("answer", ""):
        row["answer_headers"] = _headers(str(answer).split("\n"))
    return row | {"because": because(record)}


def _headers(lines: list[str]) -> dict[str, Any]:
    """The headers of a head, by name; what came several times is one list, as HTTP has it."""
    found: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _print(row: Row) -> None:
    from bridge.waiting import advised

    following = next_due(row["next_at"]) if row["next_at"] else ""
    words = ", ".join(filter(None, [_state(row), following, waits(row)]))
    click.echo(safe(f"{row['event_id']} → {row['endpoint']}  {row['type']}  {words}"))
    for attempt in row["attempt_log"]:
        at = attempt.get("attempt_at")
        moment = ago(at) if isinstance(at, int) else "—"
        click.echo(safe(f"  #{attempt.get('attempt')}  {moment}  {_came(attempt)}"))
        if request := attempt.get("request"):
            click.echo(f"      sent: {request['method']} {safe(request['url'])}")
            click.echo(indented(_line(request["headers"]), "        "))
        if times := _times(attempt):
            click.echo(f"      {times}")
        if attempt.get("answer_headers"):
            click.echo(indented(f"answered with {_line(attempt['answer_headers'])}", "      "))
        if attempt.get("excerpt"):
            click.echo(f"      answered: {safe(attempt['excerpt'])}")
    for advice in advised(row):
        click.echo(pasteable(f"  {safe(advice)}"))


def _came(attempt: Row) -> str:
    """What an attempt came to, and what followed."""
    came = attempt.get("status_code") or f"{attempt.get('fault')}: {attempt.get('detail', '')}"
    retry = attempt.get("retry_in_ms")
    follows = f"again {ago(retry, 0)}" if isinstance(retry, int) and retry else str(attempt.get("next", ""))
    reason = ": ".join(str(one) for one in (attempt.get("reason"), attempt.get("because")) if one)
    return f"{came} → {follows}" + (f" ({reason})" if reason else "")


def _line(headers: dict[str, Any]) -> str:
    return safe(" · ".join(f"{name}: {value}" for name, value in headers.items()))


def _times(attempt: Row) -> str:
    """Where the time went."""
    phases = {name: attempt.get(f"{name}_ms") for name in ("dns", "connect", "tls", "wait", "total")}
    known = [f"{name} {value:.0f}" for name, value in phases.items() if isinstance(value, int | float)]
    return f"{', '.join(known)} ms" if known else ""
