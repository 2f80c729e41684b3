"""What a scrape asks for: counters, and the state of everything that has a bound. Nothing here names a task."""

from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, StoreDown
from bridge.store.reading.endpoints import list_endpoints
from bridge.store.reading.tasks import count_tasks, statuses
from bridge.store.reading.trips import HasClient, ask, reading_errors
from bridge.store.reading.vitals import KINDS, Role, numbers, oldest_due, role
from bridge.tally import OTHER, SHARED, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKED_AT = 5_000
"""How many watched tasks are counted by status at a scrape; the rest has the status `uncounted`."""
STATES = ("active", "held", "disabled")
"""Of the endpoints that are in force; what else has a name was written by hand, and `rejected` counts it."""
UNSEEN, UNCOUNTED = "not seen yet", "uncounted"
MEMORY_SHARE = 0.9
"""Of maxmemory: with more in use, a full Redis is near."""


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """An endpoint, or those of all callback URLs together."""

    states: Mapping[str, int]
    """How many of them are in which state."""
    pending: int
    dead: int
    backlog_ms: int
    """How long the oldest due delivery has waited, of those that take deliveries now."""
    counters: Mapping[str, int]
    """By the names of `bridge/tally.py`."""


@dataclass(slots=True)
class Figures:
    """One reading. A part that Redis refuses is empty, and named in `faults`."""

    redis_up: bool = True
    config: Mapping[str, bool] = field(default_factory=dict)
    counters: Mapping[str, int] | None = None
    tasks: Mapping[str, int] | None = None
    """By status, of those that are watched."""
    due: int = 0
    rejected: int = 0
    roles: tuple[Role, ...] = ()
    endpoints: Mapping[str, EndpointFigures] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> "Iterator[None]":
        """What somebody wrote over costs the part that reads it, and no other. Raises StoreDown."""
        try:
            with reading_errors():
                yield
        except StoreDown:
            raise
        except (BridgeError, ValueError, TypeError, LookupError):
            self.faults.append(name)


async def figures(store: HasClient) -> Figures:
    """Read everything. While Redis is away only `redis_up` says something."""
    found = Figures()
    try:
        await _read(store, found)
    except (StoreDown, TimeoutError):
        return Figures(redis_up=False)
    return found


async def _read(store: HasClient, found: Figures) -> None:
    with found.part("redis"):
        found.config = checks(dict(await store.client.info()))
    with found.part("counters"):
        found.counters = numbers(await store.client.hgetall(store.keys.stats))
    with found.part("tasks"):
        counted = await count_tasks(store)
        found.rejected = counted["rejected"]
        found.due = int(await store.client.zcount(store.keys.watch, "-inf", await store.scripts.now()))
        found.tasks = by_status(await statuses(store, LOOKED_AT), counted["watched"])
    with found.part("workers"):
        found.roles = tuple([await role(store, kind) for kind in KINDS])
    with found.part("endpoints"):
        found.endpoints = await _endpoints(store)


def checks(info: Mapping[str, Any]) -> dict[str, bool]:
    """Whether Redis keeps what it acknowledges, by what it says of itself."""
    limit = int(info.get("maxmemory", 0))
    return {
        "append_only": bool(int(info.get("aof_enabled", 0))),
        "append_only_written": str(info.get("aof_last_write_status", "ok")) == "ok",
        "noeviction": str(info.get("maxmemory_policy", "noeviction")) == "noeviction",
        "primary": str(info.get("role", "master")) == "master",
        "memory": not limit or int(info.get("used_memory", 0)) < MEMORY_SHARE * limit,
    }


def by_status(seen: Mapping[str, int], watched: int) -> dict[str, int]:
    """The counts under a bounded set of words: every documented one, and those for the rest."""
    counts = Counter(dict.fromkeys((*sorted(STATUSES), UNSEEN, OTHER), 0))
    for word, count in seen.items():
        counts[word if word in counts else OTHER] += count
    counts[UNCOUNTED] = max(0, watched - sum(seen.values()))
    return dict(counts)


async def _endpoints(store: HasClient) -> dict[str, EndpointFigures]:
    views = [one for one in await list_endpoints(store) if one.state in STATES]
    waits = await oldest_due(store, views)
    labels = {one.name: SHARED if one.name.startswith("url:") else one.name for one in views}
    names = sorted({*labels.values(), SHARED})
    counters = await ask(store, names, lambda pipe, name: pipe.hgetall(store.keys.stats_of(name)))
    found = {}
    for name, counted in zip(names, counters, strict=True):
        ours = [one for one in views if labels[one.name] == name]
        found[name] = EndpointFigures(
            states=Counter(one.state for one in ours),
            pending=sum(one.pending for one in ours),
            dead=sum(one.dead for one in ours),
            backlog_ms=max((waits.get(one.name, 0) for one in ours), default=0),
            counters=numbers(counted),
        )
    return found
