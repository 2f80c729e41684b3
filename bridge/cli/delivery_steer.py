"""`bridge delivery retry` and `cancel`: an operator's word about what is owed.

A delivery is named as `delivery ls -o ids` prints it, EVENT_ID/ENDPOINT; an event's id alone stands for its delivery to
`--endpoint`, or without that for each delivery that it has.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from bridge.cli.delivery_absent import why_absent
from bridge.cli.output import NAMED, Columns, ago, chosen, emit, field, output_option, safe, say
from bridge.cli.session import ids_from, speakable, with_store
from bridge.errors import InvalidInput, NotFound
from bridge.waiting import registering

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.outbox import Retried
    from bridge.store.reading.deliveries import Named

PARTLY = 6
ROWS_SHOWN = 100
"""More deliveries than these, steered at once, are counted and not listed."""
ABREAST = 500
"""How many deliveries are asked about at the same time."""

COUNTED: Columns = (("result", field("result")), ("deliveries", field("deliveries")))
COLUMNS: Columns = (("delivery", field("delivery")), ("result", field("result")), ("note", field("note")))


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one delivery: what is said of it, whether that is what was asked for, and the next command."""

    result: str
    note: str = ""
    fix: str = ""
    done: bool = True


UNKNOWN = "no such delivery is kept"
MISSING = Told("missing", UNKNOWN, "bridge delivery ls", done=False)
"""Of a delivery that there is not, as long as nobody knows why."""

Ask = Callable[["Store", str, str], Awaitable[Told]]
Answer = TypeVar("Answer")


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option(
    "--endpoint", metavar="NAME", callback=speakable, help="Of an event's deliveries, the one to this endpoint."
)
@click.option("--force", is_flag=True, help="Send also what was delivered or superseded.")
@output_option
@click.pass_context
def retry(ctx: click.Context, /, ids: tuple[str, ...], **given: Any) -> int:
    """Attempt deliveries now: what waits becomes due, what is dead or cancelled is owed again.

    Attempt numbers go on, the schedule starts anew; the receiver sees the same webhook-id and `bridge-trigger: manual`.
    However they are named, those of a task go out in its order, unless the endpoint wants none.

    \b
    Examples:
      bridge delivery retry evt_1c9b… --endpoint billing
      bridge delivery ls --endpoint billing --state dead -o ids | bridge delivery retry -
    """
    force = given["force"]
    forbidden: dict[str, str] = {}
    one_asks = asyncio.Lock()

    async def ask(store: "Store", event_id: str, endpoint: str) -> Told:
        came = await store.outbox.retry(event_id, endpoint, force=force)
        ours = ""
        if came.endpoint_state == "disabled":
            async with one_asks:  # for all of an endpoint's: hundreds at a time would have no connection left
                if endpoint not in forbidden:
                    forbidden[endpoint] = await forbidden_by(store, endpoint)
            ours = forbidden[endpoint]
        return retried(event_id, endpoint, came, ours)

    return _steer(ctx, ids, given, ask, "to be attempted now")


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option(
    "--endpoint", metavar="NAME", callback=speakable, help="Of an event's deliveries, the one to this endpoint."
)
@output_option
@click.pass_context
def cancel(ctx: click.Context, /, ids: tuple[str, ...], **given: Any) -> int:
    """Owe deliveries no longer, and dismiss dead letters. One that is being attempted just now cannot be called back.

    What was cancelled may be retried while it is kept; `replay` and `recover` leave it alone.

    \b
    Examples:
      bridge delivery cancel evt_1c9b… --endpoint billing
      bridge delivery ls --endpoint billing --state pending -o ids | bridge delivery cancel -
      bridge delivery ls --endpoint removed --state dead -o ids | bridge delivery cancel -
    """

    async def ask(store: "Store", event_id: str, endpoint: str) -> Told:
        return _cancelled(event_id, endpoint, await store.outbox.cancel(event_id, endpoint))

    return _steer(ctx, ids, given, ask, "cancelled")


def _steer(ctx: click.Context, ids: Sequence[str], given: dict[str, Any], ask: Ask, goal: str) -> int:
    """Ask for each delivery that was named; 0, 6 partly done, 3 if none of them exists, 1 if none could be done."""
    pairs = [_pair(word, given["endpoint"]) for word in ids_from(ids)]
    told = with_store(ctx, lambda store, settings: _explained(store, settings, pairs, ask))
    rows = [{"delivery": name, "result": one.result, "note": one.note, "fix": one.fix} for name, one in told.items()]
    done = [row for row in rows if told[str(row["delivery"])].done]
    how = chosen(ctx, given["output"], given["as_json"])
    if how == "table" and len(done) > ROWS_SHOWN:
        counts = Counter(str(row["result"]) for row in done)
        emit([{"result": word, "deliveries": count} for word, count in counts.items()], how, COUNTED, key="result")
    elif done or how != "table":
        emit(done if how in {"table", "ids"} else rows, how, COLUMNS, key="delivery")
    if all(one.result == "missing" for one in told.values()):
        (name, first), more = next(iter(told.items())), f", nor of {len(told) - 1} more" if len(told) > 1 else ""
        why = f": {first.note}" if first.note != UNKNOWN else ""
        raise NotFound(f"there is no delivery {safe(name)}{more}{why}", fix=first.fix)
    worth = [(name, one) for name, one in told.items() if one.fix or not one.done]
    for name, one in worth[:NAMED]:
        mark = "!" if one.done else "✗"
        say(f"{mark} {safe(name)}: {safe(one.note)}" + (f" → {safe(one.fix)}" if one.fix else ""))
    if len(worth) > NAMED:
        say(f"  and {len(worth) - NAMED} more; -o jsonl has each")
    say(f"{len(done)} of {len(rows)} {goal}.")
    return 0 if len(done) == len(rows) else PARTLY if done else 1


def _pair(word: str, endpoint: str | None) -> tuple[str, str | None]:
    """An event's id and, where it is said, the endpoint."""
    event_id, slash, named = word.partition("/")
    if not word.isprintable() or not event_id or (slash and not named):
        raise InvalidInput(
            f"“{safe(word)}” names no delivery", fix="write EVENT_ID/ENDPOINT: bridge delivery ls -o ids"
        )
    if named and endpoint not in (None, named):
        raise InvalidInput(f"“{safe(word)}” is not a delivery to {endpoint}", fix="leave --endpoint out")
    return event_id, named or endpoint


async def _explained(
    store: "Store", settings: "Settings", pairs: Sequence[tuple[str, str | None]], ask: Ask
) -> dict[str, Told]:
    """What came of each delivery; of the first that there are not, with the reason, as `delivery show` has it."""
    told = await _ask_all(store, pairs, ask)
    for name in [name for name, one in told.items() if one == MISSING][:NAMED]:
        event_id, _, endpoint = name.partition("/")
        if known := await why_absent(store, settings, event_id, endpoint or None):
            told[name] = replace(MISSING, note=known.why, fix=known.fix)
    return told


async def _ask_all(store: "Store", pairs: Sequence[tuple[str, str | None]], ask: Ask) -> dict[str, Told]:
    """What came of each delivery, by its name, in order; those of a task are asked about by revision."""
    from bridge.store.reading.deliveries import deliveries_of

    bare = await deliveries_of(store, [event_id for event_id, endpoint in pairs if endpoint is None])
    told: dict[str, Told] = {}
    wanted: list[tuple[str, str]] = []
    for event_id, endpoint in pairs:
        found = [endpoint] if endpoint else [view.endpoint for view in bare.get(event_id, [])]
        wanted += [(event_id, name) for name in found]
        if not found:
            told[event_id] = MISSING
    answers = await in_order(store, list(dict.fromkeys(wanted)), partial(ask, store))
    return told | {"/".join(pair): answers[pair] for pair in wanted}


async def in_order(
    store: "Store", named: "Sequence[Named]", ask: Callable[[str, str], Awaitable[Answer]]
) -> "dict[Named, Answer]":
    """What asking for each of these deliveries came to. Those of one task at one endpoint are asked for one after the
    other, by revision: the first that is asked for may be gone before the next."""
    from bridge.store.reading.deliveries import in_lines
    from bridge.store.reading.trips import pieces

    answers: dict[Named, Answer] = {}

    async def ask_for(line: "Sequence[Named]") -> None:
        for one in line:
            answers[one] = await ask(*one)

    for piece in pieces(await in_lines(store, named), ABREAST):
        await asyncio.gather(*map(ask_for, piece))
    return answers


async def forbidden_by(store: "Store", name: str) -> str:
    """Why an endpoint is disabled that may not be sent to, so that to enable it alone would not help; else ""."""
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.reading.standings import standings
    from bridge.waiting import BLOCKED

    forbidden = (await standings(store, [name]))[name].cause == BLOCKED
    view = await find_endpoint(store, name) if forbidden else None
    return view.note or view.last_error or BLOCKED if view else ""


def retried(event_id: str, endpoint: str, came: "Retried", forbidden: str) -> Told:
    """The reply of the store in words. `forbidden`: as `forbidden_by` has it."""
    show = f"bridge delivery show {event_id} {endpoint}"
    if came.word in {"due", "revived"}:
        word = "due now" if came.word == "due" else "owed again"
        if came.endpoint_state == "held":
            return Told(
                word, f"endpoint {endpoint} keeps failing and is held: it is probed now, with what waits longest"
            )
        if forbidden:
            return Told(word, f"held, as endpoint {endpoint} is disabled: {forbidden}", "bridge doctor")
        if came.endpoint_state != "active":
            return Told(
                word, f"held, as endpoint {endpoint} is {came.endpoint_state}", f"bridge endpoint enable {endpoint}"
            )
        if came.rests_until_at:
            return Told(word, f"the endpoint asked for a rest; it is attempted {ago(came.rests_until_at)}")
        return Told(word)
    if came.word == "leased":
        return Told("in flight", "it is being attempted at this moment")
    left = "it was {} already, and is left alone"
    refusals = {
        "missing": MISSING,
        "removed": Told("refused", f"endpoint {endpoint} was removed", registering(endpoint)),
        "body-lost": Told("refused", "its body is gone from Redis, nothing can be sent", "bridge task add ID"),
        "behind": Told(
            "waits", f"{came.first} of its task goes first", f"bridge delivery retry {came.first}/{endpoint}"
        ),
        "delivered": Told("refused", left.format("delivered"), f"bridge delivery retry --force {event_id}/{endpoint}"),
        "superseded": Told(
            "refused", left.format("superseded"), f"bridge delivery retry --force {event_id}/{endpoint}"
        ),
    }
    told = refusals.get(came.word) or Told("refused", f"it is {came.word}", show)
    return Told(told.result, told.note, told.fix, done=False)


def _cancelled(event_id: str, endpoint: str, word: str) -> Told:
    if word == "cancelled":
        return Told("cancelled")
    if word == "missing":
        return MISSING
    show = f"bridge delivery show {event_id} {endpoint}"
    if word == "leased":
        return Told("in flight", "it is being attempted at this moment; see what comes of it", show, done=False)
    return Told("refused", f"it has ended: {word}", show, done=False)
