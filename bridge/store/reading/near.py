"""What a name that is not known may have been meant to be: the nearest of those that are. Read only, and bounded."""

from collections.abc import Sequence

from bridge.store.reading.trips import HasClient
from bridge.store.records import as_text
from bridge.wording import near_name

LOOKED = 1_000
"""Among how many names of each kind the near one is looked for."""


async def near_task(store: HasClient, member: str) -> str:
    """A task that is nearly called so: of those that are due first, and those that ended last; empty where none is."""
    pipe = store.client.pipeline(transaction=False)
    pipe.zrange(store.keys.watch, 0, LOOKED - 1)
    pipe.zrange(store.keys.ended, 0, LOOKED - 1, desc=True)
    watched, ended = await pipe.execute()
    return near_name(member, map(as_text, [*watched, *ended]))


async def near_endpoint(store: HasClient, name: str) -> str:
    """An endpoint in force that is nearly called so; empty where none is."""
    return (await near_endpoints(store, [name])).get(name, "")


async def near_endpoints(store: HasClient, unknown: Sequence[str]) -> dict[str, str]:
    """Those of these names that are nearly some endpoint's in force → that one."""
    if not unknown:
        return {}
    known = map(as_text, (await store.client.hkeys(store.keys.registry))[:LOOKED])
    named = [one for one in known if not one.startswith("url:")]
    return {name: one for name in unknown if (one := near_name(name, named))}
