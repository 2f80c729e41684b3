"""A stage on an empty, real Redis."""

from collections.abc import AsyncIterator

import pytest
from corescene import Delivering, MovedClock, Stage, Watching, delivering, watching

from bridge.store import Store


@pytest.fixture
async def stage(redis_url: str) -> AsyncIterator[Stage]:
    clock = MovedClock()
    async with Store.open(redis_url, clock=clock) as store:
        yield Stage(store, clock)


@pytest.fixture
async def watch(stage: Stage) -> AsyncIterator[Watching]:
    async with watching(stage) as scene:
        yield scene


@pytest.fixture
async def deliver(stage: Stage) -> AsyncIterator[Delivering]:
    async with delivering(stage) as scene:
        yield scene
