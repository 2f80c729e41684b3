"""What clients declared, and what we watch for them: tasks, snapshots, endpoints."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from secrets import token_hex
from typing import Any, Protocol, cast

from redis.asyncio import Redis

from bridge.diff import DIGEST_KEPT, parse_instant
from bridge.errors import StoreDown
from bridge.events import is_lasting
from bridge.filters import hears, index_of, matches
from bridge.model import (
    V1,
    Delay,
    Endpoint,
    Event,
    Notice,
    Ordering,
    Postponement,
    PreviousSecret,
    Snapshot,
    WatchedTask,
    WatchOptions,
)
from bridge.packing import pack, unpack
from bridge.rejection import REJECTED, Rejection
from bridge.store.keys import Keys
from bridge.store.scripts import Argument, Scripts, store_errors
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
REVISIONS_BELOW = 10**14
"""A revision is a time in ms, or a little more: beyond the year 5138 it is nonsense, which no other gets ahead of."""
PROBE_SOON_MS = 5_000
"""How soon a refused key is probed once a worker has started: often enough for a person, and not for a crash loop."""
NEVER_SEEN = Rejection(
    "member", "TwelveLabs never knew a task by this id", "check the id, and whose key made the task; then add it again"
)
REPAIRS = 4
"""How often definitions that cannot be read are put right and read again, at most."""
MATCHES = 50
"""How often a commit matches again because the endpoints changed meanwhile."""


ALL = ("*",)


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
            _or_empty(rest.absent_since),
            rest.doubt or "",
            _or_empty(rest.doubted_at),
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
        fields = _snapshot_fields(snapshot, event.observed_at)
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


_OPTIONAL = ("concurrency", "rate", "schedule", "supersede", "handshake")
"""Kept only where they are set: a registry that was written before there were such reads the same."""


def endpoint_to_json(endpoint: Endpoint) -> str:
    """An endpoint as kept in `bridge:registry`."""
    names = ("url", "events", "tasks", "indexes", "metadata", "secrets", "format", "ordering", "headers")
    record = {name: getattr(endpoint, name) for name in names}
    if endpoint.previous_secrets:
        record["previous_secrets"] = [asdict(one) for one in endpoint.previous_secrets]
    if endpoint.signatures != (V1,):
        record["signatures"] = endpoint.signatures
    return json.dumps(
        record | {name: value for name in _OPTIONAL if (value := getattr(endpoint, name))}, sort_keys=True
    )


def endpoint_from_json(name: str, text: bytes | str) -> Endpoint:
    """The reverse of `endpoint_to_json`."""
    record = json.loads(text)
    lists = {key: tuple(record[key]) for key in ("events", "tasks", "secrets")}
    return Endpoint(
        name=name,
        url=record["url"],
        format=record["format"],
        ordering=Ordering(record["ordering"]),
        headers=record["headers"],
        previous_secrets=tuple(
            PreviousSecret(one["secret"], one["until"]) for one in record.get("previous_secrets", ())
        ),
        indexes=tuple(record.get("indexes", ALL)),
        metadata={field: tuple(words) for field, words in record.get("metadata", {}).items()},
        concurrency=record.get("concurrency"),
        rate=record.get("rate"),
        schedule=tuple(record.get("schedule", ())),
        supersede=record.get("supersede") is True,
        signatures=tuple(record.get("signatures", (V1,))),
        handshake=record.get("handshake") is True,
        **lists,
    )


def options_to_json(options: WatchOptions) -> str:
    """A task's options as kept beside its watch: those that it has."""
    named = {
        "metadata": options.metadata,
        "endpoints": options.endpoints,
        "callback": options.callback,
        "account": None if options.account == "default" else options.account,
        "expires_at": options.expires_at,
        "traceparent": options.traceparent,
    }
    return json.dumps({name: value for name, value in named.items() if value is not None})


def options_from_json(text: bytes | str | None) -> WatchOptions:
    """The reverse of `options_to_json`."""
    record: dict[str, Any] = json.loads(text) if text else {}
    names = record.get("endpoints")
    return WatchOptions(
        metadata=record.get("metadata"),
        endpoints=None if names is None else tuple(names),
        callback=record.get("callback"),
        expires_at=record.get("expires_at"),
        account=record.get("account", "default"),
        traceparent=record.get("traceparent"),
    )


def snapshot_from_fields(fields: Sequence[bytes | None]) -> Snapshot | None:
    """A snapshot from the values of its fields, in the order that `claim_tasks.lua` reads them."""
    status, updated, hls, digest, revision, event_id, announced, since, gone, listed, observed = (
        None if value is None else value.decode() for value in fields
    )
    if revision is None:
        return None
    if not 0 <= int(revision) < REVISIONS_BELOW:
        raise ValueError(revision)
    told = (announced or "").split() or _told_by(event_id or "")
    return Snapshot(
        status=status or "",
        updated_at=parse_instant(updated) if updated else None,
        updated_at_text=updated or None,
        hls_status=hls or None,
        system_metadata_digest=(digest or "")[:DIGEST_KEPT] or None,
        revision=int(revision),
        event_id=event_id or "",
        announced=tuple(told),
        terminal_since=int(since) if since else None,
        gone=gone == "1",
        from_list=listed == "1",
        observed_at=int(observed or revision),
    )


def _told_by(event_id: str) -> list[str]:
    """The digest of the state that an event tells, as its id says it of one that was never announced before."""
    return [event_id.removeprefix("evt_")[:DIGEST_KEPT]] if event_id else []


def _snapshot_fields(snapshot: Snapshot, observed_at: int) -> list[Argument]:
    """Snapshots are kept for every task that ever was, so what another field says is left empty, as what is unknown."""
    told = list(snapshot.announced)
    return [
        "status", snapshot.status,
        "updated_at", snapshot.updated_at_text or "",
        "hls_status", snapshot.hls_status or "",
        "system_metadata_digest", snapshot.system_metadata_digest or "",
        "revision", snapshot.revision,
        "event_id", snapshot.event_id,
        "announced", "" if told == _told_by(snapshot.event_id) else " ".join(told),
        "terminal_since", _or_empty(snapshot.terminal_since),
        "gone", "1" if snapshot.gone else "",
        "listed", "1" if snapshot.from_list else "",
        "observed_at", "" if observed_at == snapshot.revision else observed_at,
    ]  # fmt: skip


def watched_task(entry: Sequence[Any], token: str, *, behind_ms: int) -> WatchedTask:
    member, due, watch, snapshot = entry
    options, announce, faults, absences, absent_since, doubt, doubted_at, relied = watch
    return WatchedTask(
        member=member.decode(),
        token=token,
        options=options_from_json(options),
        snapshot=snapshot_from_fields(snapshot),
        announce=announce == b"1",
        faults=int(faults or 0),
        absences=int(absences or 0),
        absent_since=int(absent_since) if absent_since else None,
        doubt=doubt.decode() if doubt else None,
        doubted_at=int(doubted_at) if doubted_at else None,
        due_at=int(float(due)),
        behind_ms=behind_ms,
        relied_at=int(relied) if relied else None,
    )


def as_text(value: bytes | str | None) -> str:
    """What Redis replied, as text; empty for nothing."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else (value or "")


def as_bytes(value: object) -> bytes:
    """What Redis replied, raw."""
    return value if isinstance(value, bytes) else str(value).encode()


def _or_empty(value: int | None) -> Argument:
    return "" if value is None else value
