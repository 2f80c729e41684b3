"""Is it alive, and does it keep up? Shifts, workers, lags, and what Redis says of itself."""

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import NoPermissionError

from bridge.doctor.upstream import ListFacts
from bridge.model import Fault
from bridge.store.reading.endpoints import EndpointView, list_endpoints
from bridge.store.reading.standings import standings
from bridge.store.reading.tasks import count_tasks, statuses
from bridge.store.reading.trips import MADE_DUE, PAGE, HasClient, as_ms, ask, pairs, waits_since
from bridge.store.records import as_text
from bridge.store.shifts import KEYED, KEYLESS
from bridge.wording import memory

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

KINDS = ("poll", "deliver")
WRITTEN = {"tasks": "zset", "endpoints": "hash"}
"""The clients' keys that a status looks into, with the types that they should have."""
SPENT_MS = 3_000
"""A worker that found no request left asks again at the moment it was told; so much later it has found one."""
MINUTE_MS = 75_000
"""No request is longer in coming than a minute and what rounding adds; beyond, Redis' clock was set back since."""
UNREAD = 1_000
"""Among how many watched tasks those are counted that failed at their latest read."""
SEEN = 20_000
"""How many watched tasks are counted by status; beyond, the counts are of these."""


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of worker, all machines together. Lags are milliseconds."""

    kind: str
    workers: int
    shifts: int
    """Alive: they said so within three seconds."""
    tickets: int
    """Sent, and believed to be on their way."""
    lag_ms: int
    """How long the oldest due task, or the endpoint that waits longest, has been waiting for a claim."""
    paused_until_at: int | None = None
    """Polling only: no request before, because upstream asked for a rest or refused the key."""
    key_refused: bool = False
    spent_of: int | None = None
    """Polling only: the bound on requests a minute that workers have, while it leaves none of them."""
    has_key: bool | None = None
    """Polling only: whether a live worker has an API key, as they say; None where none is alive, or an older one is."""

    def polls_by(self, key_here: bool) -> bool:
        """Whether there is a key to poll by: the workers' word, and where they say nothing, whether one is here."""
        return key_here if self.has_key is None else self.has_key


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on one screen."""

    tasks: dict[str, int]
    statuses: dict[str, int]
    roles: tuple[Role, ...]
    endpoints: dict[str, int]
    failing: int
    """Those of them that take deliveries, and whose latest attempt failed."""
    probe_at: int | None
    """When the next of the endpoints that are held is probed."""
    pending: int
    dead: int
    oldest_due_ms: int
    """Age of the oldest delivery that is due at an endpoint that takes deliveries."""
    counters: dict[str, int]
    """Those without labels; `bridge metrics` has them all."""
    redis: dict[str, Any]
    unread: int = 0
    """How many of the watched tasks that are due first, a thousand at most, failed at their latest read."""
    unread_by: str = ""
    """What most of them failed by."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Of the clients' keys `tasks` and `endpoints` those of a wrong type, in words: what they hold is not counted."""


async def list_facts(store: HasClient, *, fresh_ms: int, account: str = "default") -> ListFacts:
    """How watching by upstream's list fares; nobody relies on one that was last read longer than `fresh_ms` ago."""
    now, key = await store.scripts.now(), store.keys("listing", account)
    known = cast(Awaitable[list[bytes | None]], store.client.hmget(key, ["listed", "rests", "why"]))
    listed, rests, why = map(as_text, await known)
    told_ms = now - (as_ms(listed) or 0)
    return ListFacts(told_ms if told_ms <= fresh_ms else None, max(0, (as_ms(rests) or 0) - now), why)


async def role(store: HasClient, kind: str) -> Role:
    """How one kind of worker fares."""
    now = await store.scripts.now()
    pipe = store.client.pipeline(transaction=False)
    pipe.zrange(store.keys.workers(kind), f"({now}", "+inf", byscore=True)
    pipe.zrange(store.keys.shifts(kind), f"({now}", "+inf", byscore=True)
    pipe.zrange(store.keys.watch if kind == "poll" else store.keys.ready, 0, 0, withscores=True)
    pipe.zscore(store.keys.pauses, "default")
    pipe.hmget(store.keys.account("default"), "state", "spent_until", "bound")
    workers, shifts, first, paused, (account, spent_until, bound) = await pipe.execute()
    tickets = sum(as_text(shift).startswith("ticket:") for shift in shifts)
    polls = kind == "poll"
    until = as_ms(paused)
    return Role(
        kind=kind,
        workers=len(workers),
        shifts=len(shifts) - tickets,
        tickets=tickets,
        lag_ms=max(0, now - int(first[0][1])) if first else 0,
        paused_until_at=until if polls and until and until > now else None,
        key_refused=polls and account == b"refused",
        spent_of=as_ms(bound) if polls and -SPENT_MS < (as_ms(spent_until) or 0) - now < MINUTE_MS else None,
        has_key=_keyed([as_text(name) for name in workers]) if polls else None,
    )


def _keyed(workers: Sequence[str]) -> bool | None:
    if any(name.endswith(KEYED) for name in workers):
        return True
    return False if workers and all(name.endswith(KEYLESS) for name in workers) else None


async def requests_left(store: HasClient, per_minute: int, account: str = "default") -> int | None:
    """What is left of this minute's requests; None if there is no bound of ours."""
    if not per_minute:
        return None
    second = await store.scripts.now() // 1000
    grants = [pair async for pair in pairs(store, store.keys("spent", account), PAGE)]
    return per_minute - sum(as_ms(count) or 0 for moment, count in grants if (as_ms(moment) or 0) > second - 62)


async def live_workers(store: HasClient, kind: str) -> int:
    """How many workers of a kind are alive."""
    now = await store.scripts.now()
    return int(await store.client.zcount(store.keys.workers(kind), f"({now}", "+inf"))


async def admitted_endpoints(store: HasClient, in_force: Mapping[str, str]) -> dict[str, str]:
    """Those of the endpoints in force that running workers' settings admit, as far as they said; name → URL."""
    if not (await live_workers(store, "poll") and await live_workers(store, "deliver")):
        return {}
    known = await standings(store, list(in_force))
    return {
        name: in_force[name]
        for name, one in known.items()
        if one.state in {"active", "held"} and not one.kept and not one.error.startswith(Fault.BLOCKED)
    }


async def live_workers_on(store: HasClient, kind: str, host: str) -> int:
    """How many workers of a kind are alive on one machine, or in one container."""
    now = await store.scripts.now()
    alive = cast("list[bytes]", await store.client.zrange(store.keys.workers(kind), f"({now}", "+inf", byscore=True))
    return sum(as_text(name).startswith(f"{host}:") for name in alive)


async def status(store: HasClient, *, seen: int = SEEN) -> Status:
    """The whole picture; at most `seen` tasks are counted by status."""
    unreadable = await _unreadable(store)
    endpoints = await list_endpoints(store, written="endpoints" not in unreadable)
    pipe = store.client.pipeline(transaction=False)
    pipe.info()
    pipe.hgetall(store.keys.stats)
    info, counters = await pipe.execute()
    return Status(
        tasks=await count_tasks(store, requests="tasks" not in unreadable),
        statuses=await statuses(store, seen),
        roles=tuple([await role(store, kind) for kind in KINDS]),
        endpoints=dict(Counter(one.state for one in endpoints if one.state != "removed")),
        failing=sum(one.state == "active" and one.failures > 0 for one in endpoints),
        probe_at=min((one.probe_at for one in endpoints if one.probe_at and one.pending), default=None),
        pending=sum(one.pending for one in endpoints),
        dead=sum(one.dead for one in endpoints),
        oldest_due_ms=max((await oldest_due(store, endpoints)).values(), default=0),
        counters={name: by for name, by in numbers(counters).items() if ":" not in name},
        redis=_about(info),
        **await _unread(store),
        unreadable=unreadable,
    )


async def _unreadable(store: HasClient) -> dict[str, str]:
    """The clients' keys that a status looks into and that somebody wrote over."""
    found = await ask(store, list(WRITTEN), lambda pipe, name: pipe.type(store.keys(name)))
    return {
        name: f"{store.keys(name)} is a {as_text(seen)}, not a {wanted}"
        for (name, wanted), seen in zip(WRITTEN.items(), found, strict=True)
        if as_text(seen) not in {wanted, "none"}
    }


async def _unread(store: HasClient) -> dict[str, Any]:
    """How many watched tasks failed at their latest read, and what most of them failed by."""
    members = cast("list[bytes]", await store.client.zrange(store.keys.watch, 0, UNREAD - 1))
    replies = await ask(
        store, members, lambda pipe, one: pipe.hmget(store.keys.watching(as_text(one)), "faults", "error")
    )
    errors = Counter(as_text(error) for faults, error in replies if as_ms(faults))
    return {"unread": errors.total(), "unread_by": next((error for error, _ in errors.most_common(1)), "")}


def numbers(counters: Mapping[Any, Any]) -> dict[str, int]:
    """A hash of counters; what somebody wrote over one is 0."""
    return {as_text(name): as_ms(value) or 0 for name, value in sorted(counters.items())}


async def oldest_due(store: HasClient, endpoints: Sequence[EndpointView]) -> dict[str, int]:
    """For how long (ms) the oldest due delivery of each endpoint has waited; of those that take deliveries now."""
    now = await store.scripts.now()
    names = [one.name for one in endpoints if one.state == "active" and (one.paused_until_at or 0) <= now]

    def question(pipe: "Pipeline", name: str) -> None:
        pipe.zrange(store.keys.queue(name), 0, 0, withscores=True)
        pipe.hmget(store.keys.endpoint(name), *MADE_DUE)

    replies = await ask(store, names, question)
    heads = zip(replies[::2], replies[1::2], strict=True)
    return {
        name: now - waits_since(head[0][1], made)
        for name, (head, made) in zip(names, heads, strict=True)
        if head and head[0][1] <= now
    }


async def redis_is_full(store: HasClient) -> bool:
    """Whether Redis refuses what would need more memory; False for who may not know."""
    try:
        return _is_full(await store.client.info("memory"))
    except NoPermissionError:
        return False


def _is_full(info: Mapping[str, Any]) -> bool:
    limit = int(info.get("maxmemory", 0))
    return 0 < limit <= int(info.get("used_memory", 0)) and info.get("maxmemory_policy") == "noeviction"


def _about(info: dict[str, Any]) -> dict[str, Any]:
    return {
        "full": _is_full(info),
        "version": str(info.get("redis_version", "")),
        "memory": memory(int(info.get("used_memory", 0))),
        "limit": memory(int(info["maxmemory"])) if info.get("maxmemory") else "none",
        "append_only": bool(int(info.get("aof_enabled", 0))),
        "clients": int(info.get("connected_clients", 0)),
        "uptime_seconds": int(info.get("uptime_in_seconds", 0)),
    }
