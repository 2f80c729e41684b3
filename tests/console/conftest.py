"""A console over the store's scene, asked as a browser asks."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network

import pytest
from apiscene import api_of
from consolescene import TOKEN, asked
from httpx import AsyncClient
from scene import Clock, Scene

from bridge.guard import Policy
from bridge.store import Store
from bridge.store.intake import Intake

Ask = Callable[..., AbstractAsyncContextManager[AsyncClient]]


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


@pytest.fixture
async def client(store: Store) -> AsyncIterator[AsyncClient]:
    """Who may only look."""
    async with asked(store) as client:
        yield client


@pytest.fixture
async def operator(store: Store) -> AsyncIterator[AsyncClient]:
    """Who may send again, and has not said so yet."""
    async with asked(store, token=TOKEN) as client:
        yield client


@pytest.fixture
async def api(store: Store) -> AsyncIterator[AsyncClient]:
    """A program that has the token; each answer is held against the description."""
    async with api_of(store) as client:
        yield client
