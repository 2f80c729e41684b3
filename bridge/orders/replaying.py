"""Deliveries that have ended, owed again by range: which are meant, what keeps others out, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.errors import NotFound
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView
    from bridge.store.reading.replayable import Choice

NAMED = 5
"""Of how many endpoints it is told why nothing fits."""
OWED_AGAIN = frozenset({"revived", "due", "leased"})
CAUSES = {
    "body-lost": "their bodies are gone: `bridge task add ID` announces a task's present state again",
    "removed": "their endpoints were removed: bridge endpoint ls",
    "missing": "retention forgot them meanwhile",
}
"""Why a delivery is not owed again, by the store's word, and what helps."""


class Meant(NamedTuple):
    """What a choice comes to."""

    ones: "list[DeliveryView]"
    """The oldest event first, so that each task's keep their order."""
    left_out: list[str]
    """Of each that fits and cannot be sent, the endpoint: it was removed."""
    unknown: str
    """What is to be said of tasks that nobody knows here; empty where all are known."""


async def meant(store: "Store", choice: "Choice") -> Meant:
    """The deliveries that are meant. Raises NotFound for what nothing is kept of."""
    from bridge.store.reading.replayable import replayable
    from bridge.store.reading.standings import standings
    from bridge.store.reading.trips import names_with_deliveries

    known = set(await names_with_deliveries(store))
    for name in choice.endpoints:
        if name not in known:
            raise NotFound(f"nothing is kept of an endpoint “{safe(name)}”", fix="bridge endpoint ls")
    found = await replayable(store, choice)
    unknown = await _unknown(store, choice, found)
    standing = await standings(store, sorted({one.endpoint for one in found}))
    return Meant(
        [one for one in found if standing[one.endpoint].state != "removed"],
        [one.endpoint for one in found if standing[one.endpoint].state == "removed"],
        unknown,
    )


async def held(store: "Store", ones: "Sequence[DeliveryView]") -> list[str]:
    """What is to be said of those of their endpoints that hold what they are owed."""
    from bridge.store.reading.standings import standings
    from bridge.waiting import Holder, hold_of, of_disabled, told

    lines = []
    for name, standing in (await standings(store, sorted({one.endpoint for one in ones}))).items():
        hold = hold_of(standing, None)
        if hold is not None:
            row = asdict(hold)
            advice = of_disabled(name, row, standing.error) if hold.by is Holder.DISABLED else ()
            lines.append(" ".join([safe(told(row, safe(name), "soon")), *map(safe, advice)]))
    return lines


async def _unknown(store: "Store", choice: "Choice", found: "Sequence[DeliveryView]") -> str:
    """Name the tasks that were asked for and that nobody knows here. Raises NotFound where nothing else fits."""
    from bridge.store.reading.tasks import find_tasks

    tasks = choice.tasks - {one.task for one in found}
    unknown = [one.task for one in await find_tasks(store, sorted(tasks)) if one.state == "unknown"]
    if not unknown:
        return ""
    more = f", nor are {len(unknown) - 1} more" if len(unknown) > 1 else ""
    error = f"task {safe(unknown[0])} is not known here{more}"
    if not found and len(unknown) == len(tasks):
        raise NotFound(error, fix="bridge task ls")
    return f"{error} → bridge task ls"


async def never_told(store: "Store", choice: "Choice") -> list[str]:
    """Of endpoints that were named and have nothing that fits: whether there are events that they never were owed."""
    from bridge import audience
    from bridge.store.reading.unheard import unheard

    told: list[str] = []
    for name in choice.endpoints[:NAMED] if not choice.only_dead else ():
        missed = await unheard(store, name, choice)
        told += audience.never_told(name, missed.events, missed.ended, missed.watched)
    return told


def left_out(endpoints: Sequence[str]) -> list[str]:
    """What is to be said of deliveries that are not meant, as their endpoints were removed."""
    from bridge.waiting import registering

    if not endpoints:
        return []
    names = sorted(set(endpoints))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    who = f"{safe(names[0])}{more} {'were' if more else 'was'} removed"
    return [f"{len(endpoints)} left out, as {who} → {safe(registering(names[0]))}"]


def counted(ones: "Sequence[DeliveryView]") -> list[dict[str, Any]]:
    """For each endpoint how many, by how they ended, and of how many tasks."""
    by_endpoint: dict[str, list[DeliveryView]] = {}
    for one in ones:
        by_endpoint.setdefault(one.endpoint, []).append(one)
    rows: list[dict[str, Any]] = []
    for name, theirs in sorted(by_endpoint.items()):
        states = Counter(one.state for one in theirs)
        counts = {state: states[state] for state in ("dead", "delivered", "superseded")}
        rows.append({"endpoint": name, "deliveries": len(theirs), **counts, "tasks": len({one.task for one in theirs})})
    return rows


async def owe_again(store: "Store", ones: "Sequence[DeliveryView]") -> Counter[str]:
    """Have each owed again, one after the other, each task's in their order; replies how often the store said what."""
    words: Counter[str] = Counter()
    for one in ones:
        words[(await store.outbox.retry(one.event_id, one.endpoint, force=True)).word] += 1
    return words


def owed(words: Counter[str]) -> int:
    """How many are owed again."""
    return sum(words[word] for word in OWED_AGAIN)


def failures(words: Counter[str]) -> list[str]:
    """How many are not, and why."""
    return [f"{count} not: {CAUSES.get(word, word)}" for word, count in words.items() if word not in OWED_AGAIN]
