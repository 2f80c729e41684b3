"""The slow housekeeping: what clients want against what is watched, and retention. A page a call, round and round."""

import asyncio
from typing import Protocol

from redis.asyncio import Redis

from bridge.store.keys import Keys
from bridge.store.outbox import Outbox
from bridge.store.registry import as_bytes, as_text
from bridge.store.scripts import Scripts, store_errors

PAGE = 200
REMOVE_BATCH = 500
ORPHAN_MS = 24 * 3_600_000
"""How long an option hash may lack its member."""


class HasOutbox(Protocol):
    """What sweeping needs of the store."""

    client: "Redis"
    keys: Keys
    scripts: Scripts
    outbox: Outbox


class Sweep:
    """One process' place in the round."""

    def __init__(self, store: HasOutbox, *, delivered_ms: int, dead_ms: int, tasks_ms: int) -> None:
        self._client, self._keys, self._scripts, self._outbox = store.client, store.keys, store.scripts, store.outbox
        self._delivered_ms, self._dead_ms, self._tasks_ms = delivered_ms, dead_ms, tasks_ms
        self._cursors = {"watch": 0, "tasks": 0, "options": 0}

    async def page(self) -> int:
        """Look at the next page of everything; replies how much was put right or forgotten. Raises StoreDown."""
        righted = 0
        for what in self._cursors:
            members = await self._members(what)
            if members:
                righted += int(await self._scripts.call("sweep", what, ORPHAN_MS, *members))
        righted += await self._outbox.prune_tasks(older_than_ms=self._tasks_ms)
        with store_errors():
            names = await self._client.smembers(self._keys.names)
        return righted + sum(await asyncio.gather(*(self._tidy(as_text(name)) for name in names)))

    async def _tidy(self, endpoint: str) -> int:
        """Forget what an endpoint no longer has to show, and itself where it is no longer needed.

        One that its client took back may still have had leases then; an implicit one goes when nobody relies on it.
        """
        await self._scripts.call("remove_endpoint", endpoint, REMOVE_BATCH)
        return await self._outbox.prune(endpoint, delivered_ms=self._delivered_ms, dead_ms=self._dead_ms)

    async def _members(self, what: str) -> list[bytes]:
        cursor = self._cursors[what]
        with store_errors():
            if what == "options":
                prefix = self._keys.task("").encode()
                cursor, keys = await self._client.scan(cursor, match=prefix + b"*", count=PAGE, _type="hash")
                members = [as_bytes(key).removeprefix(prefix) for key in keys]
            else:
                zset = self._keys.watch if what == "watch" else self._keys.tasks
                cursor, pairs = await self._client.zscan(zset, cursor, count=PAGE)
                members = [as_bytes(member) for member, _ in pairs]
        self._cursors[what] = int(cursor)
        return members
