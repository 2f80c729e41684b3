"""What the readers share: round trips in pieces, and Redis' refusals as errors that a person can act on."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from bridge.errors import BridgeError, WrongType
from bridge.model import DeliveryState
from bridge.store.keys import Keys
from bridge.store.records import as_text
from bridge.store.scripts import Scripts, as_store_error

T = TypeVar("T")

_KEY_OF_A_COMMAND = re.compile(r"^Command # \d+ \([A-Z]+ (\S+)[ )]")
PIECE = 250
"""How many items one round trip asks about."""
PAGE = 500
"""How much of a key one trip reads where a bound is set."""


class HasClient(Protocol):
    """What reading needs of the store."""

    client: "Redis"
    keys: Keys
    scripts: Scripts


@contextmanager
def reading_errors() -> Iterator[None]:
    """Around plain commands: Redis away becomes StoreDown, and another refusal (a key's type) a BridgeError."""
    try:
        yield
    except BrokenPipeError:
        raise  # of our own output: redis-py wraps those of its sockets
    except (RedisError, OSError) as error:
        ours = as_store_error(error)
        if ours is not error:
            raise ours from None
        if "WRONGTYPE" in str(error):
            raise _wrong_type(str(error)) from None
        raise BridgeError(f"Redis refuses: {error}", fix="see who writes these keys") from None


def _wrong_type(text: str) -> WrongType:
    """Of a pipeline redis-py tells the command, and so the key; of a single command it does not."""
    named = _KEY_OF_A_COMMAND.search(text)
    which = f"the key {named[1]}" if named else "a key"
    fix = "`bridge doctor` says which it has and which it should; rename it away"
    return WrongType(f"Redis refuses: {which} holds something of another type than it should", fix=fix)


def check_cancelled() -> None:
    """To be called in every loop that asks for ever: redis-py now and then swallows the cancel of a call."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def pieces(items: Sequence[T], size: int = PIECE) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def ask(
    store: HasClient, items: Sequence[T], question: Callable[["Pipeline", T], object], *, wrong_types: bool = False
) -> list[Any]:
    """Ask the same of every item, in as few round trips as is decent; all replies, in order.

    `wrong_types`: that a key has another type is a reply, a ResponseError, and not raised.
    """
    replies: list[Any] = []
    for piece in pieces(items):
        pipe = store.client.pipeline(transaction=False)
        for item in piece:
            question(pipe, item)
        replies += await pipe.execute(raise_on_error=not wrong_types)
    for reply in replies:
        if isinstance(reply, Exception) and "WRONGTYPE" not in str(reply):
            raise reply
    return replies


async def names_with_deliveries(store: HasClient) -> list[str]:
    """The endpoints that have, or had and still show, deliveries."""
    return sorted(as_text(name) for name in await store.client.smembers(store.keys.names))


MADE_DUE = ("resumed_at", "recovered_at")
"""When an operator last made due what an endpoint was owed for long: what is late is late since then."""


def waits_since(score: float, made_due: Sequence[bytes | str | None]) -> int:
    """Since when a delivery waits for a claim, by its score in the queue (ms)."""
    return max([int(score), *(moment for one in made_due if (moment := as_ms(one)))])


async def pairs(store: HasClient, key: str, bound: int) -> AsyncIterator[tuple[bytes, bytes]]:
    """The fields of a hash, at most so many."""
    async for pair in some(store.client.hscan_iter(key, count=PAGE), bound):
        yield pair


async def some(source: AsyncIterator[Any], bound: int) -> AsyncIterator[Any]:
    """The first of what is read in pages."""
    left = bound
    async for one in source:
        yield one
        left -= 1
        if not left:
            return


def as_record(text: bytes | str | None) -> dict[str, Any]:
    """A JSON object as stored; empty for anything else, as a person's hand may have been there."""
    try:
        record = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def as_delivery(text: bytes | str | None) -> dict[str, Any]:
    """A delivery's record as stored, with what goes without saying of one that nobody has attempted."""
    record = as_record(text)
    return {"state": DeliveryState.PENDING, "attempts": 0} | record if record else record


def as_ms(value: bytes | str | float | None) -> int | None:
    """A moment as stored; None for nothing, and for what is no finite number."""
    try:
        return int(float(value)) if value not in (None, b"", "") else None
    except (ValueError, OverflowError):
        return None
