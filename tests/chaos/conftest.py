"""A Redis for virtual worlds: no disk, and the order in which it lists things is the order in which they came."""

from collections.abc import Iterator

import pytest
from gate import SyncRedis

from bridge.sandbox.redis import RedisServer

LISTS = ("--hash-max-ziplist-entries", "100000", "--hash-max-ziplist-value", "100000")


@pytest.fixture(scope="session")
def world_redis(redis_server: RedisServer) -> Iterator[SyncRedis]:
    """A real server; each world empties it first."""
    with RedisServer(redis_server.binary, fsync="no", extra=LISTS) as server, SyncRedis(port=server.port) as client:
        yield client
