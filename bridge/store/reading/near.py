"""What a name that is not known may have been meant to be: the nearest of those that are. Read only, and bounded."""

from collections.abc import Iterable
from difflib import get_close_matches

from bridge.store.reading.trips import HasClient
from bridge.store.records import as_text

LOOKED = 1_000
"""Among how many names of each kind the near one is looked for."""
NEAR = 0.8
"""Ids of TwelveLabs' that are strangers to each other stay well below."""


async def near_task(store: HasClient, member: str) -> str:
    """A task that is nearly called so: of those that are due first, and those that ended last; empty where none is."""
    pipe = store.client.pipeline(transaction=False)
    pipe.zrange(store.keys.watch, 0, LOOKED - 1)
    pipe.zrange(store.keys.ended, 0, LOOKED - 1, desc=True)
    watched, ended = await pipe.execute()
    return _near(member, [*watched, *ended])


async def near_endpoint(store: HasClient, name: str) -> str:
    """An endpoint in force that is nearly called so; empty where none is."""
    return _near(name, (await store.client.hkeys(store.keys.registry))[:LOOKED])


def _near(name: str, known: Iterable[bytes | str]) -> str:
    return next(iter(get_close_matches(name, map(as_text, known), 1, NEAR)), "")
