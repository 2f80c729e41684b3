"""What a name that is not known may have been meant to be: the nearest of those that are. Read only, and bounded."""

from collections.abc import Iterable, Sequence

from bridge.hints import near_name
from bridge.store.reading.endpoints import unknown_endpoints
from bridge.store.reading.trips import HasClient
from bridge.store.records import as_text

LOOKED = 1_000
"""Among how many names of each kind the near one is looked for."""


async def near_task(store: HasClient, member: str) -> str:
    """A task that is nearly called so: of those that are due first, and those that ended last; empty where none is."""
    pipe = store.client.pipeline(transaction=False)
    pipe.zrange(store.keys.watch, 0, LOOKED - 1)
    pipe.zrange(store.keys.ended, 0, LOOKED - 1, desc=True)
    watched, ended = await pipe.execute()
    return _near(member, [*watched, *ended])


async def near_endpoint(store: HasClient, name: str) -> str:
    """An endpoint in force that is nearly called so; empty where none is."""
    known = map(as_text, (await store.client.hkeys(store.keys.registry))[:LOOKED])
    return near_name(name, [one for one in known if not one.startswith("url:")])


async def near_endpoints(store: HasClient, names: Sequence[str]) -> dict[str, str]:
    """Those of these names that are no endpoint's, and that are nearly some's → that one."""
    near = {name: await near_endpoint(store, name) for name in await unknown_endpoints(store, names)}
    return {name: one for name, one in near.items() if one}


def _near(name: str, known: Iterable[bytes | str]) -> str:
    return near_name(name, map(as_text, known))
