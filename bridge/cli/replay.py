"""`bridge replay`: deliveries that have ended, owed again by range."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import Columns, Row, chosen, emit, field, output_option, safe, say
from bridge.cli.progress import bar
from bridge.cli.session import names_in, speakable, with_store
from bridge.errors import InvalidInput, NotFound
from bridge.orders.moments import moment_from

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView
    from bridge.store.reading.replayable import Choice

PARTLY = 6
NAMED = 5
"""Of how many endpoints it is told why nothing fits."""
BATCH = 100
"""How many are asked for at a time, so that what is behind can be seen while it goes on."""

COLUMNS: Columns = tuple(
    (name, field(name)) for name in ("endpoint", "deliveries", "dead", "delivered", "superseded", "tasks")
)
OWED_AGAIN = {"revived", "due", "leased"}


@click.command()
@click.option("--endpoint", "endpoints", metavar="NAME,…", multiple=True, help="Those to these endpoints.")
@click.option("--task", "tasks", metavar="ID,…", multiple=True, help="Those of these tasks.")
@click.option("--type", "types", metavar="P,…", multiple=True, help="Event types; index.task.* is a prefix.")
@click.option("--since", metavar="WHEN", callback=speakable, help="Events committed since: 2h, 3d, or RFC 3339.")
@click.option("--until", metavar="WHEN", callback=speakable, help="Events committed until then.")
@click.option("--dead", is_flag=True, help="Dead letters only; else also what was delivered.")
@click.option("--rate", type=click.IntRange(1, 100_000), help="At most so many a second; unbounded without.")
@click.option("--dry-run", is_flag=True, help="Count what would be sent, and send nothing.")
@output_option
@click.pass_context
def replay(ctx: click.Context, /, **given: Any) -> int:
    """Send again what has ended: dead letters, and what was delivered (and perhaps lost at the receiver).

    The events keep their ids and bodies, attempt numbers go on, the schedule starts anew. What is still owed is left
    alone, as is what an operator cancelled and what is older than retention. Say at least one thing about which.

    \b
    Examples:
      bridge replay --endpoint billing --since 2h --dry-run
      bridge replay --endpoint billing --dead
      bridge replay --type index.task.ready --since 2026-11-24T09:00:00Z --until 2026-11-24T10:00:00Z --rate 50
    """
    how = chosen(ctx, given["output"], given["as_json"])
    return with_store(ctx, lambda store, _: _replay(store, how, given))


def _choice(given: dict[str, Any], now: int) -> "Choice":
    from bridge.store.reading.replayable import Choice

    since, until = (moment_from(given[name], now) if given[name] else None for name in ("since", "until"))
    if since is not None and until is not None and since > until:
        raise InvalidInput("--since is later than --until: nothing lies between", fix="exchange them")
    endpoints, tasks, types = (names_in(given[name]) for name in ("endpoints", "tasks", "types"))
    if not (endpoints or tasks or types or given["dead"] or since is not None):
        raise InvalidInput("that would be everything that is kept", fix="say which: --endpoint, --since 2h, --dead, …")
    return Choice(tuple(endpoints), frozenset(tasks), tuple(types), since, until, only_dead=given["dead"])


async def _replay(store: "Store", how: str, given: dict[str, Any]) -> int:
    from bridge.store.reading.replayable import replayable
    from bridge.store.reading.standings import standings
    from bridge.store.reading.trips import names_with_deliveries

    choice = _choice(given, await store.scripts.now())
    known = set(await names_with_deliveries(store))
    for name in choice.endpoints:
        if name not in known:
            raise NotFound(f"nothing is kept of an endpoint “{safe(name)}”", fix="bridge endpoint ls")
    found = await replayable(store, choice)
    await _refuse_unknown(store, choice.tasks - {one.task for one in found}, nothing=not found)
    standing = await standings(store, sorted({one.endpoint for one in found}))
    chosen_ones = [one for one in found if standing[one.endpoint].state != "removed"]
    _tell_left_out([one.endpoint for one in found if standing[one.endpoint].state == "removed"])
    emit(_counted(chosen_ones), how, COLUMNS, key="endpoint") if chosen_ones or how != "table" else None
    if not chosen_ones:
        await _tell_never_told(store, choice)
    if not chosen_ones:
        say(f"Nothing that has ended fits. What is still owed: bridge delivery ls --state pending{_of(choice)}")
    if given["dry_run"]:
        say(f"{len(chosen_ones)} would be sent again; nothing was changed.")
    if given["dry_run"] or not chosen_ones:
        return 0
    words = await _revive(store, chosen_ones, given["rate"])
    return _tell(words, len(chosen_ones))


async def _refuse_unknown(store: "Store", tasks: Set[str], *, nothing: bool) -> None:
    """Name the tasks that were asked for and that nobody knows here. Raises NotFound where `nothing` else fits."""
    from bridge.store.reading.tasks import find_tasks

    unknown = [one.task for one in await find_tasks(store, sorted(tasks)) if one.state == "unknown"]
    if not unknown:
        return
    more = f", nor are {len(unknown) - 1} more" if len(unknown) > 1 else ""
    error = f"task {safe(unknown[0])} is not known here{more}"
    if nothing and len(unknown) == len(tasks):
        raise NotFound(error, fix="bridge task ls")
    say(f"! {error} → bridge task ls")


async def _tell_never_told(store: "Store", choice: "Choice") -> None:
    """Of endpoints that were named and have nothing that fits: whether there are events that they never were owed."""
    from bridge.audience import never_told
    from bridge.store.reading.unheard import unheard

    for name in choice.endpoints[:NAMED] if not choice.only_dead else ():
        missed = await unheard(store, name, choice)
        for line in never_told(name, missed.events, missed.ended, missed.watched):
            say(safe(line))


def _of(choice: "Choice") -> str:
    """The task that was asked for, if it was one, as an option."""
    return f" --task {safe(next(iter(choice.tasks)))}" if len(choice.tasks) == 1 else ""


def _tell_left_out(endpoints: Sequence[str]) -> None:
    """How many deliveries are not meant, as their endpoints were removed."""
    from bridge.waiting import registering

    if endpoints:
        names = sorted(set(endpoints))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        who = f"{safe(names[0])}{more} {'were' if more else 'was'} removed"
        say(f"! {len(endpoints)} left out, as {who} → {safe(registering(names[0]))}")


def _counted(ones: "Sequence[DeliveryView]") -> list[Row]:
    """For each endpoint how many, by how they ended, and of how many tasks."""
    by_endpoint: dict[str, list[DeliveryView]] = {}
    for one in ones:
        by_endpoint.setdefault(one.endpoint, []).append(one)
    rows: list[Row] = []
    for name, theirs in sorted(by_endpoint.items()):
        states = Counter(one.state for one in theirs)
        counts = {state: states[state] for state in ("dead", "delivered", "superseded")}
        rows.append({"endpoint": name, "deliveries": len(theirs), **counts, "tasks": len({one.task for one in theirs})})
    return rows


def pause_seconds(asked: int, rate: int | None, elapsed_seconds: float) -> float:
    """How long to wait, so many having been asked for in this time, before more go out than the rate allows."""
    return max(0.0, asked / rate - elapsed_seconds) if rate else 0.0


async def _revive(store: "Store", ones: "Sequence[DeliveryView]", rate: int | None) -> Counter[str]:
    """Have each owed again, oldest first; replies how often the store said what."""
    words: Counter[str] = Counter()
    step = min(BATCH, rate or BATCH)
    began = time.monotonic()
    with bar("Replaying", len(ones)) as done:
        for start in range(0, len(ones), step):
            await asyncio.sleep(pause_seconds(start, rate, time.monotonic() - began))
            piece = ones[start : start + step]
            for one in piece:  # one after the other: each task's in their order
                words[(await store.outbox.retry(one.event_id, one.endpoint, force=True)).word] += 1
            done(len(piece))
    return words


def _tell(words: Counter[str], asked: int) -> int:
    owed = sum(words[word] for word in OWED_AGAIN)
    say(f"{owed} of {asked} are owed again: bridge delivery ls --state pending")
    causes = {
        "body-lost": "their bodies are gone: `bridge task add ID` announces a task's present state again",
        "removed": "their endpoints were removed: bridge endpoint ls",
        "missing": "retention forgot them meanwhile",
    }
    for word, count in words.items():
        if word not in OWED_AGAIN:
            say(f"✗ {count} not: {causes.get(word, word)}")
    return 0 if owed == asked else PARTLY if owed else 1
