"""Where the state machine runs: a Redis that knows the verbs, and bounds so small that it comes to them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import Lab

from bridge.store import Store, connect


@contextmanager
def lab_at(url: str) -> Iterator[Lab]:
    """A Redis that knows the verbs."""
    loop = asyncio.new_event_loop()

    async def begin() -> Lab:
        async with Store.open(url) as store:
            verbs = {sha: name for name, sha in store.scripts._shas.items()}
            for text in store.scripts._texts.values():  # a verb that is not known yet would be sent twice
                await store.client.script_load(text)
            shebang = any(text.startswith("#!") for text in store.scripts._texts.values())
        return Lab(connect(url), loop, shebang, verbs)

    lab = loop.run_until_complete(begin())
    try:
        yield lab
    finally:
        loop.run_until_complete(lab.client.aclose())
        loop.close()


@contextmanager
def small_steps() -> Iterator[None]:
    """A hand-out takes two endpoints a step, and a breaker opens after three failures in five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.store.registry.FANOUT_STEP", 2)
        patch.setattr("bridge.store.outbox.FANOUT_STEP", 2)
        patch.setattr("bridge.store.outbox.FAILURES_BEFORE_OPEN", 3)
        patch.setattr("bridge.store.outbox.OPEN_AFTER_MS", 5_000)
        yield
