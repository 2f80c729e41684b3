"""The slow housekeeping: what clients want against what is watched, and retention. A page a call, round and round."""

import asyncio
import re
from collections.abc import Sequence
from typing import Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge.rejection import REJECTED
from bridge.store.keys import Keys
from bridge.store.outbox import PRUNE_BATCH, Outbox
from bridge.store.records import as_bytes, as_text
from bridge.store.scripts import Scripts, store_errors

PAGE = 200
REMOVE_BATCH = 500
MEND_PAGE = 1_000
"""How many delivery records one page compares with the queues, about."""
MEND_TRIPS = 20
"""How many endpoints one page looks at for that, at most."""
MEND_CAP = 32
"""The cap of an endpoint whose hash is made anew, until intake says the one that is set."""
ENDED = re.compile(rb'"state":"(?:delivered|dead|superseded|cancelled)"')
"""In a record as the scripts write it: nothing is owed any more. What does not read so may be, nonsense included."""
ORPHAN_MS = 24 * 3_600_000
"""How long an option hash may lack its member."""
PRUNE_PAGE = 10_000
"""About how much one page forgets at most, of deliveries and of tasks each: so many at every page keeps up with 2,000 a
second, and keeps intake waiting for a fraction of one."""


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
        self._mended = ("", 0)
        self._cursors = {"watch": 0, "tasks": 0, "orphans": 0, "options": 0}

    async def page(self) -> int:
        """Look at the next page of everything; replies how much was put right or forgotten. Raises StoreDown.

        A client's key of the wrong type costs only the comparison with it.
        """
        await self._scripts.call("follow_clock")
        with store_errors():
            known = {*await self._client.smembers(self._keys.names), *await self._client.hkeys(self._keys.registry)}
        names = sorted(as_text(name) for name in known)
        righted = await self._mend(names)
        for what in self._cursors:
            members = await self._members(what)
            if members:
                righted += int(await self._scripts.call("sweep", what, ORPHAN_MS, *members))
        # One that its client took back may still have had leases then; an implicit one goes when nobody relies on it.
        await asyncio.gather(*(self._scripts.call("remove_endpoint", name, REMOVE_BATCH) for name in names))
        return righted + await self._forget_tasks() + await self._forget_deliveries(names)

    async def _mend(self, names: Sequence[str]) -> int:
        """Put right what is missing of the endpoints' keys; replies how many deliveries were due and in no queue."""
        owed = await self._owed(names)
        calls = (self._scripts.call("mend_endpoint", name, MEND_CAP, REJECTED, *owed.get(name, ())) for name in names)
        return sum(map(int, await asyncio.gather(*calls)))

    async def _owed(self, names: Sequence[str]) -> dict[str, list[bytes]]:
        """The next page of what may be pending, by endpoint; the round goes on where it was."""
        owed: dict[str, list[bytes]] = {}
        name, cursor = self._mended
        seen = 0
        for _ in range(min(MEND_TRIPS, len(names))):
            if cursor == 0:
                name = next((other for other in names if other > name), names[0])
            cursor, page = await self._records(name, cursor)
            owed.setdefault(name, []).extend(event_id for event_id, text in page.items() if not ENDED.search(text))
            seen += len(page)
            if seen >= MEND_PAGE:
                break
        self._mended = (name, int(cursor))
        return owed

    async def _records(self, endpoint: str, cursor: int) -> tuple[int, dict[bytes, bytes]]:
        """A page of its delivery records; none where somebody wrote over them, which is then mended."""
        try:
            with store_errors():
                after, found = await self._client.hscan(self._keys.deliveries(endpoint), cursor, count=MEND_PAGE)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return 0, {}
        return int(after), cast(dict[bytes, bytes], found)

    async def _forget_tasks(self) -> int:
        """Forget tasks that ended long ago, batch after batch."""
        forgotten = 0
        while forgotten < PRUNE_PAGE:
            batch = await self._outbox.prune_tasks(older_than_ms=self._tasks_ms)
            forgotten += batch
            if batch < PRUNE_BATCH:
                break
        return forgotten

    async def _forget_deliveries(self, names: Sequence[str]) -> int:
        """Forget what endpoints no longer have to show: a batch of each, then the next of those that had a full one."""
        forgotten = 0
        while names and forgotten < PRUNE_PAGE:
            batches = await asyncio.gather(*(self._prune(name) for name in names))
            forgotten += sum(batches)
            names = [name for name, batch in zip(names, batches, strict=True) if batch >= PRUNE_BATCH]
        return forgotten

    async def _prune(self, endpoint: str) -> int:
        return await self._outbox.prune(endpoint, delivered_ms=self._delivered_ms, dead_ms=self._dead_ms)

    async def _members(self, what: str) -> list[bytes]:
        """The next page of members; of option hashes whatever their type, for a client may have mistaken it."""
        cursor = self._cursors[what]
        with store_errors():
            if what == "options":
                prefix = self._keys.task("").encode()
                cursor, keys = await self._client.scan(cursor, match=prefix + b"*", count=PAGE)
                members = [as_bytes(key).removeprefix(prefix) for key in keys]
            else:
                try:
                    cursor, pairs = await self._client.zscan(self._keys(what), cursor, count=PAGE)
                except ResponseError as error:
                    if "WRONGTYPE" not in str(error):
                        raise
                    return []
                members = [as_bytes(member) for member, _ in pairs]
        self._cursors[what] = int(cursor)
        return members
