"""A stage on an empty, real Redis."""

from collections.abc import AsyncIterator

import pytest
from corescene import Delivering, MovedClock, Stage, Watching, delivering, watching
from listscene import Listing, listing_of

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


@pytest.fixture
async def listing(stage: Stage) -> AsyncIterator[Listing]:
    """A lister that is worthwhile from one task on."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        yield listing_of(stage, watch)
