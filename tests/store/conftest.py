"""A store on an empty, real Redis."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
from scene import Clock, Scene

from bridge.guard import Policy
from bridge.store import Store
from bridge.store.intake import Intake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(redis_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(redis_url, clock=clock) as store:
        yield store


@pytest.fixture
def scene(store: Store, clock: Clock) -> Scene:
    policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
    return Scene(store, clock, Intake(store, policy, has_default_secret=True))
