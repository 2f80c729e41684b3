"""What doors show: read-only questions to Redis, answered as rows. Nothing here is on a hot path."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis

from bridge.store.keys import Keys
from bridge.store.registry import as_text, endpoint_from_json
from bridge.store.scripts import Scripts, store_errors

Row = dict[str, Any]

PAGE = 500
STATES = ("pending", "delivered", "dead", "superseded", "cancelled")


class HasClient(Protocol):
    """What reading needs of the store."""

    client: "Redis"
    keys: Keys
    scripts: Scripts


class Reading:
    """Questions. Each raises StoreDown when Redis is away."""

    def __init__(self, store: HasClient) -> None:
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts

    async def tasks(self, *, status: str | None = None, limit: int = 1_000) -> list[Row]:
        """The watched tasks, due first; then those asked for and not taken in yet."""
        pipe = self._client.pipeline(transaction=True)
        pipe.zrange(self._keys.watch, 0, -1, withscores=True)
        pipe.zrange(self._keys.tasks, 0, -1)
        with store_errors():
            due, asked = await pipe.execute()
        waiting = set(asked) - {member for member, _ in due}
        rows: list[Row] = []
        for start in range(0, len(due), PAGE):
            page = [(as_text(member), int(score)) for member, score in due[start : start + PAGE]]
            rows += [row for row in await self._task_rows(page) if status in {None, row["status"]}]
            if len(rows) >= limit:
                break
        if status is None:
            rows += [{"task": as_text(member), "next_at": None, **_watch_row({}, {})} for member in sorted(waiting)]
        return rows[:limit]

    async def _task_rows(self, page: Sequence[tuple[str, int]]) -> list[Row]:
        pipe = self._client.pipeline(transaction=False)
        for member, _ in page:
            pipe.hgetall(self._keys.watching(member))
            pipe.hgetall(self._keys.snapshot(member))
        with store_errors():
            replies = await pipe.execute()
        return [
            {"task": member, "next_at": at, **_watch_row(as_row(replies[2 * i]), as_row(replies[2 * i + 1]))}
            for i, (member, at) in enumerate(page)
        ]

    async def task(self, member: str) -> Row | None:
        """All that is known of one task, or None."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(self._keys.watching(member))
        pipe.hgetall(self._keys.snapshot(member))
        pipe.zscore(self._keys.watch, member)
        pipe.hget(self._keys.rejected, f"task:{member}")
        pipe.zscore(self._keys.tasks, member)
        with store_errors():
            watch, snapshot, due, rejected, asked = await pipe.execute(raise_on_error=False)
        if not watch and not snapshot and rejected is None and not isinstance(asked, float):
            return None
        state = "watched" if due is not None else "registered" if isinstance(asked, float) else "ended"
        row: Row = {"task": member, "state": state, "next_at": None if due is None else int(due)}
        row |= _watch_row(as_row(watch), as_row(snapshot))
        options = as_row(watch).get("options")
        row["options"] = json.loads(options) if options else None
        row["rejected"] = json.loads(rejected) if rejected else None
        row["deliveries"] = await self.deliveries(task=member, limit=200)
        return row

    async def is_final(self, member: str) -> Row | None:
        """The task's row once nothing more is to come (ended, gone, or rejected); None while it is watched."""
        row = await self.task(member)
        return row if row is None or row["state"] == "ended" else None

    async def endpoints(self) -> list[Row]:
        """The endpoints in force, with what they are owed."""
        with store_errors():
            registry = await self._client.hgetall(self._keys.registry)
        return [await self._endpoint_row(as_text(name), text) for name, text in sorted(registry.items())]

    async def endpoint(self, name: str) -> Row | None:
        """One endpoint, without its secret."""
        with store_errors():
            text = await self._client.hget(self._keys.registry, name)
        return None if text is None else await self._endpoint_row(name, text)

    async def _endpoint_row(self, name: str, text: bytes | str) -> Row:
        definition = endpoint_from_json(name, text)
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(self._keys.endpoint(name))
        pipe.hlen(self._keys.deliveries(name))
        pipe.zcard(self._keys.done(name))
        pipe.zcard(self._keys.dead(name))
        with store_errors():
            raw, known, done, dead = await pipe.execute()
        state = as_row(raw)
        return {
            "endpoint": name,
            "url": definition.url,
            "state": state.get("state", ""),
            "reason": state.get("reason") or None,
            "events": list(definition.events),
            "tasks": list(definition.tasks),
            "format": definition.format,
            "ordering": str(definition.ordering),
            "secret": "own" if definition.secrets else "default",
            "headers": sorted(definition.headers),
            "pending": known - done - dead,
            "done": done,
            "dead": dead,
            "failures": int(state.get("failures") or 0),
            "paused_until": int(state["paused_until"]) if state.get("paused_until") else None,
        }

    async def deliveries(
        self, *, endpoint: str | None = None, state: str | None = None, task: str | None = None, limit: int = 100
    ) -> list[Row]:
        """Deliveries, newest first."""
        names = [endpoint] if endpoint else await self._names()
        rows: list[Row] = []
        for name in names:
            async for event_id, record in self._records(name):
                if state in {None, record["state"]} and task in {None, record["task"]}:
                    rows.append({"event_id": event_id, "endpoint": name, **_delivery_row(record)})
        rows.sort(key=lambda row: (row["revision"], row["endpoint"]), reverse=True)
        return rows[:limit]

    async def delivery(self, event_id: str, endpoint: str | None = None) -> list[Row]:
        """One event's deliveries, with their attempts."""
        rows = []
        for name in [endpoint] if endpoint else await self._names():
            with store_errors():
                text = await self._client.hget(self._keys.deliveries(name), event_id)
                log = await self._client.lrange(self._keys.attempts(name, event_id), 0, -1)
                due = await self._client.zscore(self._keys.queue(name), event_id)
            if text is None:
                continue
            row = {"event_id": event_id, "endpoint": name, **_delivery_row(json.loads(text))}
            rows.append(
                row | {"next_at": None if due is None else int(due), "attempt_log": [json.loads(a) for a in log]}
            )
        return rows

    async def events(self, *, after: str = "-", limit: int = 100) -> list[Row]:
        """Events in the order of their commits; `after` is the `cursor` of the last one seen."""
        start = after if after == "-" else f"({after}"
        with store_errors():
            entries: Any = await self._client.xrange(self._keys.events, min=start, count=limit)
        return [_event_row(entry) for entry in entries]

    async def latest_events(self, limit: int) -> list[Row]:
        """The newest events, oldest of them first."""
        with store_errors():
            entries: Any = await self._client.xrevrange(self._keys.events, count=limit)
        return [_event_row(entry) for entry in reversed(entries)]

    async def follow(self, after: str = "$") -> AsyncIterator[Row]:
        """Events as they are committed, for ever."""
        while True:
            with store_errors():
                reply: Any = await self._client.xread({self._keys.events: after}, block=1_000, count=100)
            streams = reply.values() if isinstance(reply, Mapping) else [entries for _, entries in reply or []]
            for entries in streams:
                for entry in _flat(entries):
                    after = as_text(entry[0])
                    yield _event_row(entry)

    async def status(self) -> Row:
        """The whole bridge on one screen."""
        now = await self._scripts.now()
        endpoints = await self.endpoints()
        pipe = self._client.pipeline(transaction=False)
        pipe.zrange(self._keys.watch, 0, 0, withscores=True)
        pipe.zcard(self._keys.watch)
        pipe.hlen(self._keys.rejected)
        pipe.hgetall(self._keys.stats)
        pipe.zscore(self._keys.pauses, "default")
        pipe.hget(self._keys.account("default"), "state")
        for kind in ("poll", "deliver"):
            pipe.zcount(self._keys.workers(kind), now, "+inf")
            pipe.zrangebyscore(self._keys.shifts(kind), now, "+inf")
        for row in endpoints:
            pipe.zrange(self._keys.queue(row["endpoint"]), 0, 0, withscores=True)
        with store_errors():
            first, watched, rejected, stats, paused, key, *rest = await pipe.execute()
        due = [int(score) for row in rest[4:] for _, score in row]
        states = [row["state"] for row in endpoints]
        return {
            "tasks": watched,
            "late_ms": max(0, now - int(first[0][1])) if first else 0,
            "workers": {"poll": rest[0], "deliver": rest[2]},
            "shifts": {"poll": _shifts(rest[1]), "deliver": _shifts(rest[3])},
            "pending": sum(row["pending"] for row in endpoints),
            "oldest_due_ms": max([0, *(now - at for at in due)]),
            "dead": sum(row["dead"] for row in endpoints),
            "endpoints": {state: states.count(state) for state in sorted(set(states))},
            "rejected": rejected,
            "upstream_paused_ms": max(0, int(paused or 0) - now),
            "key": as_text(key) or "not refused",
            "totals": {name: int(value) for name, value in sorted(as_row(stats).items())},
        }

    async def rejected(self) -> Row:
        """The refused entries, each with reason and fix."""
        with store_errors():
            entries = await self._client.hgetall(self._keys.rejected)
        return {as_text(name): json.loads(text) for name, text in entries.items()}

    async def _names(self) -> list[str]:
        with store_errors():
            return sorted(as_text(name) for name in await self._client.smembers(self._keys.names))

    async def _records(self, name: str) -> AsyncIterator[tuple[str, Row]]:
        with store_errors():
            async for event_id, text in self._client.hscan_iter(self._keys.deliveries(name), count=PAGE):
                yield as_text(event_id), json.loads(text)


def as_row(raw: Mapping[Any, Any]) -> dict[str, str]:
    """A hash as text."""
    return {as_text(name): as_text(value) for name, value in raw.items()}


def _watch_row(watch: Mapping[str, str], snapshot: Mapping[str, str]) -> Row:
    return {
        "status": snapshot.get("status") or None,
        "updated_at": snapshot.get("updated_at") or None,
        "hls_status": snapshot.get("hls_status") or None,
        "revision": int(snapshot["revision"]) if snapshot.get("revision") else None,
        "event_id": snapshot.get("event_id") or None,
        "gone": snapshot.get("gone") == "1",
        "polled_at": int(watch["polled_at"]) if watch.get("polled_at") else None,
        "faults": int(watch.get("faults") or 0),
        "error": watch.get("error") or None,
        "doubted": bool(watch.get("doubt")),
    }


def _delivery_row(record: Row) -> Row:
    names = ("task", "type", "state", "reason", "attempts", "created", "ended")
    row = {name: record.get(name) for name in names}
    return row | {"revision": int(record["revision"]), "reason": row["reason"] or None}


def _event_row(entry: tuple[Any, Mapping[Any, Any]]) -> Row:
    cursor, fields = entry
    row = as_row(fields)
    return {
        "event_id": row.get("id"),
        "type": row.get("type"),
        "task": row.get("task"),
        "revision": int(row.get("revision") or 0),
        "cursor": as_text(cursor),
    }


def _flat(entries: Any) -> Iterable[Any]:
    """redis-py nests the entries of a stream once more under RESP3."""
    for entry in entries:
        if isinstance(entry, list) and entry and isinstance(entry[0], (list, tuple)):
            yield from entry
        else:
            yield entry


def _shifts(names: Sequence[bytes]) -> int:
    return sum(not as_text(name).startswith("ticket:") for name in names)
