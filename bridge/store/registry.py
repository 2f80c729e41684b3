"""What clients declared, and what we watch for them: tasks, snapshots, endpoints."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Protocol, cast

from redis.asyncio import Redis

from bridge.errors import StoreDown
from bridge.events import is_lasting
from bridge.filters import hears, index_of, matches
from bridge.model import (
    Delay,
    Endpoint,
    Event,
    Notice,
    Postponement,
    Snapshot,
    WatchedTask,
    WatchOptions,
)
from bridge.packing import pack, unpack
from bridge.rejection import REJECTED, Rejection
from bridge.store.keys import Keys
from bridge.store.records import ALL, as_text, endpoint_from_json, or_empty, snapshot_fields, watched_task
from bridge.store.scripts import Scripts, store_errors
from bridge.tally import Tally, as_words, of_commit

FANOUT_STEP = 200
"""The most endpoints that one atomic step hands an event to."""


EVENTS_KEPT = 100_000
"""How long bridge:events is, unless a setting says otherwise."""
BROKEN_SNAPSHOT = Rejection(
    "snapshot",
    "bridge:snapshot:<id> or bridge:watch:<id> is not a hash: somebody wrote over it",
    "DEL it and register the task again",
)
UNREADABLE = Rejection(
    "snapshot",
    "what bridge:snapshot:<id> or bridge:watch:<id> holds cannot be read: somebody wrote over it",
    "DEL bridge:snapshot:<id> and register the task again",
)
PROBE_SOON_MS = 5_000
"""How soon a refused key is probed once a worker has started: often enough for a person, and not for a crash loop."""
NEVER_SEEN = Rejection(
    "member", "TwelveLabs never knew a task by this id", "check the id, and whose key made the task; then add it again"
)
REPAIRS = 4
"""How often definitions that cannot be read are put right and read again, at most."""
MATCHES = 50
"""How often a commit matches again because the endpoints changed meanwhile."""


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """The endpoints in force at one version; a commit made with an older set is told to match again."""

    version: str = "0"
    by_name: Mapping[str, Endpoint] = field(default_factory=dict)

    def interested(self, event_type: str, task: str, options: WatchOptions, body: bytes | None) -> list[str]:
        """Whom an event concerns: those the task names, else all whose filter takes it, and the task's own callback."""
        named = self.by_name.values() if options.endpoints is None else self._named(options.endpoints)
        index = index_of(body) if any(one.indexes != ALL for one in named) else None
        names = [
            one.name
            for one in named
            if not one.name.startswith("url:")
            and matches(one, event_type, task, index=index, metadata=options.metadata)
        ]
        if options.callback in self.by_name:
            names.append(str(options.callback))
        return names

    def hearers(self, notice: Notice) -> list[str]:
        """Whom a notice about an endpoint concerns: those that ask for such, but not the one it is about."""
        return [endpoint.name for endpoint in self.by_name.values() if hears(endpoint, notice)]

    def _named(self, names: Sequence[str]) -> list[Endpoint]:
        return [self.by_name[name] for name in dict.fromkeys(names) if name in self.by_name]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought: the tasks, Redis' time, when to come again (ms), and whether this is a probe of the key."""

    now: int
    next_at: int | None
    probe: bool
    tasks: list[WatchedTask]


class HasClient(Protocol):
    """What the registry needs of the store."""

    client: "Redis"
    keys: Keys
    scripts: Scripts


class Registry:
    """Tasks, snapshots and endpoints in Redis."""

    def __init__(self, store: HasClient, *, events_kept: int = EVENTS_KEPT) -> None:
        self._events_kept = events_kept
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts
        self._endpoints = EndpointSet()
        self._reloading = asyncio.Lock()

    async def claim_tasks(
        self, slots: int, *, lease_ms: int, per_minute: int = 0, account: str = "default", tally: Tally | None = None
    ) -> Claim:
        """Lease up to `slots` due tasks, within the account's budget. `tally`: counted since the last one."""
        token = token_hex(16)
        reply = await self._scripts.call(
            "claim_tasks",
            slots,
            lease_ms,
            token,
            account,
            per_minute,
            BROKEN_SNAPSHOT.as_json(int(time.time() * 1000)),
            REJECTED,
            as_words(tally),
        )
        tasks = []
        for entry in reply[4:]:
            try:
                tasks.append(watched_task(entry, token, behind_ms=int(reply[3])))
            except (ValueError, TypeError, AttributeError):  # somebody wrote into it; the others must not wait for it
                await self._put_aside(entry[0], token)
        return Claim(int(reply[0]), int(float(reply[1])) if reply[1] else None, reply[2] == 1, tasks)

    async def _put_aside(self, member: bytes, token: str) -> None:
        """Watch a task no longer whose snapshot or watch cannot be read."""
        reason = UNREADABLE.as_json(await self._scripts.now())
        await self._scripts.call("refuse_task", member, token, reason, REJECTED)

    async def postpone(self, task: WatchedTask, rest: Postponement) -> str:
        """Give a task back. Replies `ok`, `stale` or `removed`."""
        word: bytes = await self._scripts.call(
            "postpone_task",
            task.member,
            task.token,
            str(rest.delay_ms),
            rest.faults,
            rest.absences,
            or_empty(rest.absent_since),
            rest.doubt or "",
            or_empty(rest.doubted_at),
            rest.error,
        )
        return word.decode()

    async def refuse(self, task: WatchedTask, reason: str, fix: str) -> str:
        """Watch a task no longer because upstream refuses its id, and say so in `bridge:rejected`."""
        rejection = Rejection("member", reason, fix, task.member)
        word: bytes = await self._scripts.call(
            "refuse_task", task.member, task.token, rejection.as_json(await self._scripts.now()), REJECTED
        )
        return word.decode()

    async def reject_unseen(self, task: WatchedTask) -> str:
        """Say in `bridge:rejected` of a task that ended as gone that it never was there. Replies `ok` or `moved`."""
        rejection = replace(NEVER_SEEN, value=task.member)
        word: bytes = await self._scripts.call(
            "reject_unseen", task.member, rejection.as_json(await self._scripts.now()), REJECTED
        )
        return word.decode()

    async def commit(
        self,
        task: WatchedTask,
        event: Event,
        snapshot: Snapshot,
        *,
        delay_ms: Delay,
    ) -> str:
        """P1: commit a change and what is owed for it in one step. Replies `ok`, `stale` or `removed`."""
        fields = snapshot_fields(snapshot, event.observed_at)
        packed = pack(event.body)
        progress = 0 if is_lasting(event.type, event.body) else 1
        tally = as_words(of_commit(event, task.snapshot, snapshot))
        for _ in range(MATCHES):
            endpoints = self.endpoints
            names = endpoints.interested(event.type, event.task, task.options, event.body)
            word: bytes = await self._scripts.call(
                "commit", task.member, task.token, endpoints.version, str(delay_ms), event.id, event.type,
                event.revision, packed, self._events_kept, FANOUT_STEP, progress, tally, len(names), *names, *fields,
            )  # fmt: skip
            if word != b"changed":
                return word.decode()
            await self._reload_after(endpoints)
        raise StoreDown(
            "the endpoints change faster than a commit can match them", fix="see who writes bridge:endpoints"
        )

    async def announce(self, task: WatchedTask, event_id: str, *, delay_ms: Delay) -> str:
        """Owe a task's current event to each matching endpoint that has no delivery of it. Replies as `commit`."""
        with store_errors():
            event_type, kept = await cast(
                Awaitable[list[bytes | None]], self._client.hmget(self._keys.event(event_id), ["type", "body"])
            )
        body = unpack(kept) if kept else None
        for _ in range(MATCHES):
            endpoints = self.endpoints
            names = endpoints.interested(as_text(event_type), task.member, task.options, body)
            word: bytes = await self._scripts.call(
                "announce", task.member, task.token, endpoints.version, str(delay_ms), event_id, FANOUT_STEP, *names
            )
            if word != b"changed":
                return word.decode()
            await self._reload_after(endpoints)
        raise StoreDown(
            "the endpoints change faster than a commit can match them", fix="see who writes bridge:endpoints"
        )

    async def pause_account(self, seconds: float, *, account: str = "default", key_refused: bool = False) -> None:
        """No request for this account before. A longer pause wins; `key_refused` lets one probe a minute through."""
        until = await self._scripts.now() + int(seconds * 1000)
        with store_errors():
            await self._client.zadd(self._keys.pauses, {account: until}, gt=True)
            if key_refused:
                await self._client.hset(self._keys.account(account), "state", "refused")

    async def hasten_probe(self, *, every_seconds: float, account: str = "default") -> None:
        """Have a key that was refused, and is probed so often, probed within seconds: another may have come since.

        A rest that upstream asked for is longer, and stands. Said again and again, no more than one probe in 5 s comes.
        """
        now = await self._scripts.now()
        pipe = self._client.pipeline(transaction=False)
        pipe.hget(self._keys.account(account), "state")
        pipe.zscore(self._keys.pauses, account)
        with store_errors():
            state, until = await pipe.execute()
            if state == b"refused" and until is not None and until <= now + every_seconds * 1000:
                await self._client.zadd(self._keys.pauses, {account: now + PROBE_SOON_MS}, xx=True, lt=True)

    async def key_accepted(self, *, account: str = "default") -> None:
        """A probe got through: the account works again."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hdel(self._keys.account(account), "state")
        pipe.zrem(self._keys.pauses, account)
        with store_errors():
            await pipe.execute()

    @property
    def endpoints(self) -> EndpointSet:
        """The endpoints as last read; a commit that finds them outdated reads them again."""
        return self._endpoints

    async def _reload_after(self, outdated: EndpointSet) -> None:
        """Read the endpoints anew, once for all commits that were told so: a burst of them must not be a stampede."""
        async with self._reloading:
            if self._endpoints.version == outdated.version:
                await self.reload_endpoints()

    async def reload_endpoints(self) -> EndpointSet:
        """Read the endpoints in force, and their version, in one step."""
        for _ in range(REPAIRS):
            version, *pairs = await self._scripts.call("read_endpoints")
            by_name, broken = {}, []
            for raw, text in zip(pairs[::2], pairs[1::2], strict=True):
                try:
                    by_name[raw.decode()] = endpoint_from_json(raw.decode(), text)
                except (ValueError, LookupError, TypeError, AttributeError):
                    broken.append((raw, text))
            if not broken:
                break
            for raw, text in broken:
                await self._scripts.call("distrust_endpoint", raw, text)
        self._endpoints = EndpointSet(version.decode(), by_name)
        return self._endpoints
