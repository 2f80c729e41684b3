"""The facts that `bridge doctor` judges. Read only, and every reading has a bound.

Each function raises what Redis raises: a key that somebody broke costs the facts that hang on it, and no others.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from bridge.doctor.entries import Waiting
from bridge.doctor.server import Ahead, ServerFacts
from bridge.doctor.work import OwedFacts, RoleFacts, TaskFacts
from bridge.redaction import bare
from bridge.store.reading.options import written_options
from bridge.store.reading.trips import MADE_DUE, PAGE, HasClient, as_ms, as_record, ask, pairs, some, waits_since
from bridge.store.reading.vitals import Role
from bridge.store.records import as_text
from bridge.waiting import error_of

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

ENDPOINTS, TASKS, REQUESTS = 5_000, 2_000, 500
"""The most of each that is looked at."""
LATEST_DEAD = 20
DAY_MS = 86_400_000

CLIENTS_KEYS = {"tasks": "zset", "endpoints": "hash", "watches": "hash"}
TYPES = CLIENTS_KEYS | {
    "registry": "hash", "meta": "hash", "rejected": "hash", "stats": "hash", "events": "stream", "watch": "zset",
    "ready": "zset", "names": "set", "ended": "zset", "orphans": "zset", "pauses": "zset", "fanout": "list",
    "notices": "list", "finding": "hash",
    "account:default": "hash", "spent:default": "hash", "listing:default": "hash",
    **{f"{what}:{kind}": wanted for what, wanted in (("wake", "list"), ("workers", "zset"), ("shifts", "zset"))
       for kind in ("poll", "deliver")},
}  # fmt: skip
"""The keys that have one name, and what they have to be."""


async def server_facts(store: HasClient, *, interval_ms: int, longest_wait_ms: int) -> ServerFacts:
    """What Redis says of itself, and its clock against ours. `longest_wait_ms`: of the retry schedule."""
    before = time.time()
    seconds, microseconds = await store.client.time()
    ours = int((before + time.time()) * 500)
    now = int(seconds) * 1000 + int(microseconds) // 1000
    info: dict[str, Any] = dict(await store.client.info())
    role = str(info.get("role", "master"))
    loading, cluster = (bool(int(info.get(name, 0))) for name in ("loading", "cluster_enabled"))
    readable = not (loading or cluster)  # a cluster without its slots, as one that still loads, answers INFO only
    return ServerFacts(
        version=str(info.get("redis_version", "0")),
        role=role,
        primary=f"{info.get('master_host')}:{info.get('master_port')}" if role != "master" else "",
        loading=loading,
        cluster=cluster,
        append_only=bool(int(info.get("aof_enabled", 0))),
        append_error=str(info.get("aof_last_write_status", "ok")) != "ok",
        appendfsync=await _appendfsync(store),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        used=int(info.get("used_memory", 0)),
        limit=int(info.get("maxmemory", 0)),
        skew_ms=now - ours,
        ahead=await _ahead(store, now, interval_ms, longest_wait_ms) if readable else (),
        data_version=await _data_version(store) if readable else None,
    )


async def _appendfsync(store: HasClient) -> str | None:
    try:
        return {as_text(k): as_text(v) for k, v in (await store.client.config_get("appendfsync")).items()}[
            "appendfsync"
        ]
    except (ResponseError, KeyError):  # the ACL forbids it, or a hosted Redis has no such command
        return None


async def _data_version(store: HasClient) -> str | None:
    try:
        return as_text(await store.client.hget(store.keys.meta, "data_version")) or None
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        return "unreadable"  # the key's type is a finding of its own


async def _ahead(store: HasClient, now: int, interval_ms: int, longest_wait_ms: int) -> tuple[Ahead, ...]:
    """The latest moment of everything that Redis' clock wrote, and how far ahead of now it may be."""
    watch, deliveries = 2 * (interval_ms + DAY_MS), 2 * (longest_wait_ms + DAY_MS)
    patience = "wait until Redis' clock is right again; what is due then goes on by itself"
    polled = "bridge task ls --status watched --limit 0 -o ids | bridge task poll -"
    retried = "bridge delivery ls --state pending --limit 100000 -o ids | bridge delivery retry -"
    pipe = store.client.pipeline(transaction=False)
    pipe.xrevrange(store.keys.events, "+", "-", count=1)
    pipe.zrange(store.keys.watch, 0, 0, desc=True, withscores=True)
    pipe.zrange(store.keys.ready, 0, 0, desc=True, withscores=True)
    for kind in ("poll", "deliver"):
        pipe.zrange(store.keys.workers(kind), 0, 0, desc=True, withscores=True)
    events, *sets = await pipe.execute(raise_on_error=False)
    latest = int(as_text(events[0][0]).partition("-")[0]) if isinstance(events, list) and events else now
    found = [Ahead("the latest event", latest - now, 5_000, patience)]
    names = ("the reading of a task", "a delivery", "a poll worker's life", "a delivery worker's life")
    limits = ((watch, polled), (deliveries, retried), (60_000, patience), (60_000, patience))
    for name, (allowed, fix), top in zip(names, limits, sets, strict=True):
        score = as_ms(top[0][1]) if isinstance(top, list) and top else None
        if score is not None:
            found.append(Ahead(name, score - now, allowed, fix))
    return tuple(found)


async def key_types(store: HasClient) -> list[tuple[str, str, str]]:
    """The keys that have one name: (key, type wanted, type found)."""
    found = await ask(store, list(TYPES), lambda pipe, name: pipe.type(store.keys(name)))
    return [
        (store.keys(name), wanted, as_text(seen)) for (name, wanted), seen in zip(TYPES.items(), found, strict=True)
    ]


async def role_facts(store: HasClient, role: Role, queue: str, *, has_key: bool) -> RoleFacts:
    """One kind of worker. `queue` is the name of its RQ queue."""
    now = await store.scripts.now()
    pipe = store.client.pipeline(transaction=False)
    pipe.llen(f"rq:queue:{queue}")
    pipe.zcount(store.keys.watch if role.kind == "poll" else store.keys.ready, "-inf", now)
    queued, due = await pipe.execute()
    polls = role.kind == "poll"
    rests = polls and (not has_key or role.key_refused or role.paused_until_at is not None)
    return RoleFacts(role.kind, role.workers, role.shifts, int(queued), role.lag_ms, int(due), rests)


async def written_endpoints(store: HasClient) -> dict[bytes, bytes]:
    """The endpoints as clients wrote them."""
    return dict([pair async for pair in pairs(store, store.keys.endpoints, ENDPOINTS)])


async def endpoints_in_force(store: HasClient) -> dict[str, str]:
    """The endpoints in force, the implicit ones of callback URLs included, with their URLs."""
    found = [pair async for pair in pairs(store, store.keys.registry, ENDPOINTS)]
    return {as_text(name): str(as_record(text).get("url", "")) for name, text in found}


async def owed_facts(
    store: HasClient, in_force: Mapping[str, str], names: Sequence[str] | None = None
) -> list[OwedFacts]:
    """What each endpoint is owed, or each of these. `in_force`: name → URL."""
    now = await store.scripts.now()
    if names is None:
        names = [as_text(one) async for one in some(store.client.sscan_iter(store.keys.names, count=PAGE), ENDPOINTS)]

    def question(pipe: "Pipeline", name: str) -> None:
        keys = store.keys
        asked = (
            "state",
            "reason",
            "paused_until",
            "failures",
            "failing_since",
            "probe_at",
            "kept",
            "last_failure",
            "by",
            *MADE_DUE,
        )
        pipe.hmget(keys.endpoint(name), *asked)
        pipe.hlen(keys.deliveries(name))
        pipe.zcard(keys.done(name))
        pipe.zcard(keys.dead(name))
        pipe.zcount(keys.queue(name), "-inf", now)
        pipe.zrange(keys.queue(name), 0, 0, withscores=True)
        pipe.zrange(keys.dead(name), 0, LATEST_DEAD - 1, desc=True)

    replies = await ask(store, sorted(names), question)
    return [
        await _owed(store, name, now, in_force.get(name), replies[i * 7 : i * 7 + 7])
        for i, name in enumerate(sorted(names))
    ]


async def _owed(store: HasClient, name: str, now: int, url: str | None, replies: Sequence[Any]) -> OwedFacts:
    fields, kept, done, dead, due, head, latest = replies
    state, reason, paused, failures, failing, probe, complained, failure, by = map(as_text, fields[:9])
    resting = max(0, (as_ms(paused) or 0) - now)
    takes = state == "active" and not resting
    reasons: Counter[str] = Counter()
    if latest:
        texts = await store.client.hmget(store.keys.deliveries(name), list(latest))
        reasons.update(str(as_record(text).get("reason") or "unknown") for text in texts)
    return OwedFacts(
        name=name,
        state=state or "removed",
        reason=reason,
        by=by,
        in_force=url is not None,
        url=bare(url) if url and name.startswith("url:") else "",
        pending=max(0, kept - done - dead),
        next_ms=int(head[0][1]) - now if head else None,
        overdue=due if takes else 0,
        oldest_ms=max(0, now - waits_since(head[0][1], fields[9:])) if head and takes else 0,
        paused_ms=resting,
        failures=as_ms(failures) or 0,
        failing_ms=max(0, now - (as_ms(failing) or now)),
        probe_ms=max(0, (as_ms(probe) or 0) - now),
        kept=bool(complained),
        error=error_of(as_record(failure)),
        dead=dead,
        reasons=dict(reasons),
    )


async def task_facts(store: HasClient) -> list[TaskFacts]:
    """Watched tasks: their faults, the endpoints that they name, and the names of all their options."""
    scan = store.client.zscan_iter(store.keys.watch, count=PAGE)
    members = [as_text(member) async for member, _ in some(scan, TASKS)]
    replies = await ask(
        store, members, lambda pipe, one: pipe.hmget(store.keys.watching(one), "faults", "error", "options")
    )
    written = await written_options(store, members)
    found = []
    for member, (faults, error, options), theirs in zip(members, replies, written, strict=True):
        names = as_record(options).get("endpoints")
        named = tuple(map(str, names)) if isinstance(names, list) else ()
        found.append(TaskFacts(member, as_ms(faults) or 0, as_text(error), named, theirs))
    return found


async def waiting_tasks(store: HasClient) -> list[Waiting]:
    """Registrations that no worker has taken in yet."""
    reply: Any = await store.client.zrangebyscore(
        store.keys.tasks, "-inf", "(+inf", start=0, num=REQUESTS, withscores=True
    )
    prefix = store.keys.task("").encode()
    pipe = store.client.pipeline(transaction=False)
    for member, _ in reply:
        pipe.hgetall(prefix + member)
    options = await pipe.execute(raise_on_error=False)
    return [
        Waiting(member, float(score), known if isinstance(known, dict) else None)
        for (member, score), known in zip(reply, options, strict=True)
    ]


async def a_watched_task(store: HasClient) -> str | None:
    """Some task that is watched, to be read as a proof of the key."""
    reply: Any = await store.client.zrange(store.keys.watch, 0, 0)
    return as_text(reply[0]) if reply else None
