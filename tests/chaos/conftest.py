"""What the proofs of survival stand on: a Redis for virtual worlds, and a wire in front of the one of this process."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis as SyncRedis
from wire import Wire

from bridge.sandbox.redis import RedisServer

LISTS = ("--hash-max-ziplist-entries", "100000", "--hash-max-ziplist-value", "100000")
"""The order in which this Redis lists things is the order in which they came."""


@pytest.fixture(scope="session")
def world_redis(redis_server: RedisServer) -> Iterator[SyncRedis]:
    """A real server without a disk; each world empties it first."""
    with RedisServer(redis_server.binary, fsync="no", extra=LISTS) as server, SyncRedis(port=server.port) as client:
        yield client


@pytest.fixture
async def wire(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Wire]:
    """A wire to an empty, real Redis, in the test's own loop."""
    wire = Wire(redis_server.port)
    await wire.start()
    yield wire
    await wire.stop()
