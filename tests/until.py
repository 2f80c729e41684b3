"""Wait in tests without sleeping blindly: ask again until it is so, or fail at a deadline that says what was seen."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

PAUSE_SECONDS = 0.005


def until(ask: Callable[[], T], timeout_seconds: float = 10.0) -> T:
    """The first true answer of `ask`; AssertionError with the last answer when the deadline passes."""
    deadline = time.monotonic() + timeout_seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout_seconds:g} s")
        time.sleep(PAUSE_SECONDS)
    return answer


async def eventually(ask: Callable[[], T | Awaitable[T]], timeout_seconds: float = 10.0) -> T:
    """As `until`, in the running loop; `ask` may be a coroutine function."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = ask()
        value = cast(T, await answer if inspect.isawaitable(answer) else answer)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout_seconds:g} s")
        await asyncio.sleep(PAUSE_SECONDS)
