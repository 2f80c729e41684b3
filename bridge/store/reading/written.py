"""What clients have written, as its bytes stand in Redis. Writes nothing, not even the version of the data."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from redis.exceptions import NoPermissionError

from bridge.entries import wrong_type
from bridge.rejection import Refusal, Rejection
from bridge.store import connect
from bridge.store.keys import Keys
from bridge.store.reading.refusals import read_refusals
from bridge.store.reading.trips import pieces, reading_errors
from bridge.store.reading.unread import visible_misspelt_keys
from bridge.store.records import as_bytes, as_text

MEMBERS = 100_000
"""How many members are looked at."""


@dataclass(slots=True)
class Written:
    """The clients' keys."""

    endpoints: dict[bytes, bytes] = field(default_factory=dict)
    tasks: list[tuple[bytes, float, dict[bytes, bytes] | None]] = field(default_factory=list)
    """Member, score, and options: None where that key is no hash."""
    watches: dict[bytes, bytes] = field(default_factory=dict)
    broken: dict[str, Rejection] = field(default_factory=dict)
    """Key → what is wrong with it."""
    misspelt: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Keys that nobody reads: (key, its type, the key that was meant, that one's type)."""
    more: bool = False
    """There are more members than are looked at."""
    refused: list[Refusal] = field(default_factory=list)
    """What stands in `bridge:rejected`: what was never in force is nowhere else any more."""


async def read_written(url: str, prefix: str) -> Written:
    """Read all of it, with a client's rights. Raises StoreDown when Redis is away."""
    client, keys, found = connect(url), Keys(prefix), Written()
    try:
        with reading_errors():
            if await _is(client, keys.endpoints, "hash", found):
                found.endpoints = await read_endpoints(client, keys)
            if await _is(client, keys.watches, "hash", found):
                found.watches = await read_watches(client, keys)
            if await _is(client, keys.tasks, "zset", found):
                await _read_tasks(client, keys, found)
            found.misspelt = await visible_misspelt_keys(client, keys)
            with suppress(NoPermissionError):  # before Redis 7 who registers may not look there
                if as_text(await client.type(keys.rejected)) == "hash":
                    found.refused = await read_refusals(client, keys.rejected)
    finally:
        await client.aclose()
    return found


async def _is(client: Any, key: str, wanted: str, found: Written) -> bool:
    kind = as_text(await client.type(key))
    if kind not in {wanted, "none"}:
        found.broken[key] = wrong_type(key, kind, wanted)
    return kind == wanted


async def _read_tasks(client: Any, keys: Keys, found: Written) -> None:
    scores, found.more = await scan_tasks(client, keys, MEMBERS)
    for piece in pieces(sorted(scores)):
        for member, options in zip(piece, await options_of(client, keys, piece), strict=True):
            found.tasks.append((member, scores[member], options))


async def read_endpoints(client: Any, keys: Keys) -> dict[bytes, bytes]:
    """Definitions as their clients wrote them."""
    return cast(dict[bytes, bytes], await client.hgetall(keys.endpoints))


async def read_watches(client: Any, keys: Keys) -> dict[bytes, bytes]:
    """Watches as their clients wrote them."""
    return cast(dict[bytes, bytes], await client.hgetall(keys.watches))


async def scan_tasks(client: Any, keys: Keys, limit: int) -> tuple[dict[bytes, float], bool]:
    """Members with their scores, about `limit` at most, and whether there are more."""
    scores: dict[bytes, float] = {}
    cursor = 0
    while len(scores) <= limit:
        cursor, pairs = await client.zscan(keys.tasks, cursor, count=1_000)
        scores |= {as_bytes(member): score for member, score in pairs}
        if not int(cursor):
            break
    return scores, bool(int(cursor))


async def options_of(client: Any, keys: Keys, members: Sequence[bytes]) -> list[dict[bytes, bytes] | None]:
    """The options of tasks, None where that key is no hash; in one round trip."""
    pipe = client.pipeline(transaction=False)
    for member in members:
        pipe.hgetall(keys.task("").encode() + member)
    replies = await pipe.execute(raise_on_error=False)
    for options in replies:
        if isinstance(options, Exception) and "WRONGTYPE" not in str(options):
            raise options
    return [options if isinstance(options, dict) else None for options in replies]


async def registered(client: Any, keys: Keys, members: Sequence[bytes]) -> set[bytes]:
    """Which of these stand in `bridge:tasks`; in one command."""
    scores = await client.zmscore(keys.tasks, list(members)) if members else []
    return {member for member, score in zip(members, scores, strict=True) if score is not None}
