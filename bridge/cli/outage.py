"""A Redis that goes away while a command looks on: that is said, waited out, and looked on from where it was."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from bridge.cli.output import safe, say
from bridge.cli.session import OPEN_SECONDS, named_redis
from bridge.errors import StoreAway, StoreDown, StoreLoading

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

PAUSE_SECONDS = 0.5
"""Between two questions whether it is back."""

Seen = TypeVar("Seen")


async def going_on(
    store: "Store",
    settings: "Settings",
    looks: Callable[[], AsyncGenerator[Seen]],
    *,
    deadline: float | None = None,
    begun: bool = False,
) -> AsyncGenerator[Seen]:
    """What `looks` yields, and when Redis was away, what it yields when it is asked anew.

    Raises StoreDown for a Redis that is away before anything was seen (unless it has `begun`), that is away still at
    the `deadline` (monotonic seconds), or that refuses: nobody's waiting would end that.
    """
    from bridge.store.reading import reading_errors

    while True:
        try:
            with reading_errors():
                async with aclosing(looks()) as seen:
                    async for one in seen:
                        begun = True
                        yield one
            return
        except (StoreAway, StoreLoading) as error:
            if not begun:
                raise
            await _wait_out(store, settings, error, deadline)


async def _wait_out(store: "Store", settings: "Settings", error: StoreDown, deadline: float | None) -> None:
    """Say that Redis is away, and return when it is back, having said so."""
    from bridge.store.reading.trips import check_cancelled

    told, fix = named_redis(error, settings)
    say(f"! {safe(told)}; this goes on when it is back, Ctrl-C ends it → {safe(fix)}")
    while True:
        check_cancelled()
        left = float("inf") if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise error
        await asyncio.sleep(min(PAUSE_SECONDS, left))
        if await _answers(store, min(OPEN_SECONDS, left)):
            say("Redis is back.")
            return


async def _answers(store: "Store", seconds: float) -> bool:
    """Whether it does, within a time. Raises StoreDown where it refuses."""
    from bridge.store.scripts import store_errors

    try:
        async with asyncio.timeout(seconds):
            with store_errors():
                return bool(await store.client.ping())
    except (TimeoutError, StoreAway, StoreLoading):
        return False
