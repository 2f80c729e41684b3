"""Keys under our prefix that nobody reads, as a hand may leave them. Read only, and with a bound."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from bridge.doctor.server import Strangers
from bridge.hints import near_names
from bridge.store.keys import ALONE, Keys
from bridge.store.reading.checkup import CLIENTS_KEYS
from bridge.store.reading.trips import HasClient, ask
from bridge.store.records import as_text

NEAR = [(near, meant) for meant in CLIENTS_KEYS for near in sorted(near_names(meant) - ALONE)]
"""What the names of clients' keys become by one slip, each with the one that is meant."""
KEYS, PAGE = 100_000, 1_000
"""About so many keys are looked at, whoever they belong to, and so many at a time."""


async def misspelt_keys(store: HasClient) -> list[tuple[str, str, str, str]]:
    """Keys that somebody wrote beside those of clients: (key, its type, the key that was meant, that one's type)."""
    found = await ask(store, NEAR, lambda pipe, pair: pipe.type(store.keys(pair[0])))
    return _misspelt(store.keys, found)


async def visible_misspelt_keys(client: Any, keys: Keys) -> list[tuple[str, str, str, str]]:
    """Those of them that this user of Redis may look at."""
    pipe = client.pipeline(transaction=False)
    for near, _ in NEAR:
        pipe.type(keys(near))
    found = await pipe.execute(raise_on_error=False)
    return _misspelt(keys, ["none" if isinstance(kind, NoPermissionError) else kind for kind in found])


def _misspelt(keys: Keys, found: Sequence[Any]) -> list[tuple[str, str, str, str]]:
    return [
        (keys(near), as_text(kind), keys(meant), CLIENTS_KEYS[meant])
        for (near, meant), kind in zip(NEAR, found, strict=True)
        if as_text(kind) != "none"
    ]


async def misplaced(store: HasClient, member: str) -> str:
    """The misspelt key in which a task stands that is not known; empty where there is none."""
    looks = {"zset": "zscore", "hash": "hget"}
    places = [(key, looks[kind]) for key, kind, _, _ in await misspelt_keys(store) if kind in looks]
    found = await ask(store, places, lambda pipe, place: getattr(pipe, place[1])(place[0], member))
    return next((key for (key, _), one in zip(places, found, strict=True) if one is not None), "")


async def strange_keys(store: HasClient) -> Strangers:
    """Keys under our prefix that are none of ours. Another bridge may have a longer prefix that begins as ours does."""
    prefix, found = store.keys.prefix, set[str]()
    cursor, left = 0, KEYS
    while left > 0:
        cursor, page = await store.client.scan(cursor, match=f"{prefix}*", count=PAGE)
        found |= {key for key in map(as_text, page) if not store.keys.ours(key) and not _anothers(key, prefix)}
        left -= PAGE
        if not cursor:
            break
    return Strangers(tuple(sorted(found)), KEYS if cursor else None)


def _anothers(key: str, prefix: str) -> bool:
    """Whether a bridge with a longer prefix would have it, be there nothing else of that one yet."""
    words = key.removeprefix(prefix).split(":")
    return any(Keys("").ours(":".join(words[i:])) for i in range(1, len(words)))
