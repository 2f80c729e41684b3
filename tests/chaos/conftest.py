"""A wire in front of the Redis of this process, and a town whose Redis keeps every write."""

from collections.abc import AsyncIterator

import pytest
from wire import Wire

from bridge.sandbox.redis import RedisServer


@pytest.fixture
async def wire(redis_server: RedisServer, redis_url: str) -> AsyncIterator[Wire]:
    """A wire to an empty, real Redis, in the test's own loop."""
    wire = Wire(redis_server.port)
    await wire.start()
    yield wire
    await wire.stop()
