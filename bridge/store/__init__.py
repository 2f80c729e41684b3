"""Remembers. The only speaker of Redis in the house (RQ's own connection aside)."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from bridge.errors import (
    ONE_PRIMARY,
    START_REDIS,
    NewerData,
    OlderWorkers,
    SettingsError,
    StoreAway,
    StoreDown,
    UnreadableData,
    UnsafeRedis,
)
from bridge.store.keys import Keys
from bridge.store.outbox import Outbox
from bridge.store.registry import EVENTS_KEPT, Registry
from bridge.store.scripts import Scripts, as_store_error, store_errors, unreached
from bridge.store.wire import packing

if TYPE_CHECKING:
    from bridge.store.handshakes import Handshakes
    from bridge.store.listing import Listings
    from bridge.store.notices import Notices
    from bridge.store.watches import Watches

DATA_VERSION = 2
"""The version of what is written to Redis. Data of a newer one is refused, not guessed at.

Since 2 bodies are packed.
"""

SOCKET_SECONDS = 5.0
VOLATILE = "BRIDGE_REDIS_ALLOW_VOLATILE=true if losing events is fine"
CONNECT_SECONDS = 2.0
WAKE_SECONDS = 4.0
"""The longest that one blocking wait lasts; below the socket's own limit."""


class Store:
    """One open Redis with its verbs. Use `Store.open`."""

    def __init__(self, client: "Redis", keys: Keys, scripts: Scripts, *, events_kept: int = EVENTS_KEPT) -> None:
        self.client, self.keys, self.scripts = client, keys, scripts
        self.registry = Registry(self, events_kept=events_kept)
        self.outbox = Outbox(self)
        self._events_kept = events_kept

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        prefix: str = "bridge:",
        allow_volatile: bool = False,
        events_kept: int = EVENTS_KEPT,
        clock: Callable[[], int] = lambda: 0,
        rehearse: bool = False,
    ) -> AsyncIterator["Store"]:
        """Connect, and refuse what could lose data: StoreDown, UnsafeRedis, NewerData, OlderWorkers.

        `rehearse` is for who works: it makes sure that Redis permits its user every command that the verbs run, and
        that the data is of our version.
        `clock` gives milliseconds; the default 0 stands for Redis' own time, the one clock of all processes.
        """
        client = connect(url)
        try:
            info = await _server_info(client)
            if not allow_volatile:
                check_durable(info)
            keys = Keys(prefix)
            await _claim_data(client, keys, works=rehearse)
            shebang = int(str(info.get("redis_version", "0")).split(".", 1)[0]) >= 7
            scripts = Scripts(client, prefix, shebang=shebang, clock=clock)
            if rehearse:
                await scripts.rehearse()
            store = cls(client, keys, scripts, events_kept=events_kept)
            yield store
            await scripts.close()
        finally:
            await client.aclose()

    @classmethod
    @asynccontextmanager
    async def look(cls, url: str, *, prefix: str = "bridge:") -> AsyncIterator["Store"]:
        """Any Redis, in whatever state, to be read only: nothing is checked, nothing written, not even a version."""
        client = connect(url)
        try:
            yield cls(client, Keys(prefix), Scripts(client, prefix, shebang=False))
        finally:
            await client.aclose()

    # -- what workers do: a command that has no use for it does not wait for its import --

    @cached_property
    def listings(self) -> "Listings":
        """Reading upstream's list."""
        from bridge.store.listing import Listings

        return Listings(self)

    @cached_property
    def watches(self) -> "Watches":
        """Finding the tasks of an index or the account."""
        from bridge.store.watches import Watches

        return Watches(self)

    @cached_property
    def handshakes(self) -> "Handshakes":
        """Asking receivers whether they consent."""
        from bridge.store.handshakes import Handshakes

        return Handshakes(self)

    @cached_property
    def notices(self) -> "Notices":
        """Telling of endpoints that fail."""
        from bridge.store.notices import Notices

        return Notices(self, events_kept=self._events_kept)

    async def wait_for_wake(self, kind: str, seconds: float) -> bool:
        """Wait until somebody nudges this kind of pump, at most `seconds` (and WAKE_SECONDS); whether somebody did."""
        with store_errors():
            return bool(await self.client.blpop([self.keys.wake(kind)], timeout=min(seconds, WAKE_SECONDS)))

    async def wake(self, kind: str) -> None:
        """Nudge a waiting pump; bounded, as in the scripts."""
        pipe = self.client.pipeline(transaction=False)
        pipe.lpush(self.keys.wake(kind), b"1")
        pipe.ltrim(self.keys.wake(kind), 0, 7)
        await pipe.execute()


def connect(url: str) -> "Redis":
    """A client with short, jittered retries: three, within about two seconds; then the caller decides."""
    with _usable_url():
        client = Redis.from_url(
            url,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            health_check_interval=15,
            retry=AsyncRetry(ExponentialWithJitterBackoff(cap=1, base=0.05), 3),
            max_connections=64,
        )
        client.connection_pool.connection_class = packing(client.connection_pool.connection_class)
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return client


def connect_for_rq(url: str) -> "redis.Redis":
    """RQ's own connection: synchronous, raw replies, and RQ's own waiting times."""
    with _usable_url():
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            health_check_interval=15,
            retry=Retry(ExponentialWithJitterBackoff(cap=1, base=0.05), 3),
        )


@contextmanager
def _usable_url() -> Iterator[None]:
    """What redis-py cannot make a connection of is a mistake in the settings. Its own words repeat the URL."""
    try:
        yield
    except (TypeError, ValueError):
        raise SettingsError(
            "BRIDGE_REDIS_URL cannot be used: it has an option that is none",
            fix="write redis://user:password@host:port/0, rediss:// for TLS or unix:///path",
        ) from None


def check_durable(info: dict[str, Any]) -> None:
    """Refuse a Redis that may evict keys or forgets all at a restart."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise UnsafeRedis(
            f"this Redis evicts keys when memory is short (maxmemory-policy {policy}): owed events could vanish",
            fix=f"redis-cli CONFIG SET maxmemory-policy noeviction  # and write it into redis.conf; or {VOLATILE}",
        )
    if not int(info.get("aof_enabled", 0)):
        raise UnsafeRedis(
            "this Redis keeps no append-only file: a restart would forget what is owed",
            fix=f"redis-cli CONFIG SET appendonly yes  # and write it into redis.conf; or {VOLATILE}",
        )
    if int(info.get("cluster_enabled", 0)):
        raise UnsafeRedis("this is a Redis Cluster, on which RQ does not run", fix=ONE_PRIMARY)


async def _server_info(client: "Redis") -> dict[str, Any]:
    try:
        return dict(await client.info())
    except (TimeoutError, RedisError, OSError) as error:
        seen = as_store_error(error)
        if isinstance(seen, StoreDown) and not isinstance(seen, StoreAway):
            raise seen from None
        if "DB index" in str(error):
            raise StoreDown(
                f"Redis: {error}", fix="name a database that it has in BRIDGE_REDIS_URL, as in …/0"
            ) from None
        raise StoreAway(f"Redis does not answer: {unreached(str(error))}", fix=START_REDIS) from None


async def _claim_data(client: "Redis", keys: Keys, *, works: bool) -> None:
    """Say whose data this is. Read first: a full Redis refuses even a write that would change nothing.

    Of an older version all can be read. What a worker of ours writes, the older ones could not: they would POST packed
    bodies, and see changes where there are none. So it waits for their end; a command leaves them their version.
    """
    try:
        with store_errors():
            found = int(await client.hget(keys.meta, "data_version") or 0)
            if not found:
                await client.hsetnx(keys.meta, "data_version", str(DATA_VERSION))
                found = int(await client.hget(keys.meta, "data_version") or 0)
    except ValueError:
        raise UnreadableData(
            f"the field data_version of {keys.meta} is no number: somebody wrote over it",
            fix=f"redis-cli HSET {keys.meta} data_version {DATA_VERSION}",
        ) from None
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise UnreadableData(
            f"{keys.meta} is not a hash: somebody wrote over it", fix=f"redis-cli RENAME {keys.meta} {keys.meta}.aside"
        ) from None
    if found > DATA_VERSION:
        raise NewerData(
            f"the data under “{keys.prefix}” has version {found}; this bridge writes version {DATA_VERSION}",
            fix="start the newer bridge, or another BRIDGE_PREFIX",
        )
    if works and found < DATA_VERSION:
        with store_errors():
            await _outlive(client, keys, found)
            await client.hset(keys.meta, "data_version", str(DATA_VERSION))


async def _outlive(client: "Redis", keys: Keys, found: int) -> None:
    """Refuse to begin while workers of an older version are alive: of ours, none is before the data is."""
    seconds, micros = await client.time()
    now = seconds * 1000 + micros // 1000
    alive = sum([int(await client.zcount(keys.workers(kind), f"({now}", "+inf")) for kind in ("poll", "deliver")])
    if alive:
        raise OlderWorkers(
            f"{alive} of an older bridge's worker processes are at work on the data under “{keys.prefix}”, which has"
            f" version {found}; what this one writes (version {DATA_VERSION}), they would misread",
            fix="stop them, wait for a few seconds, and start this one again",
        )
