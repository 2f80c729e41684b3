"""What one run of `bridge dev` writes into Redis, and takes back: its endpoint, and the tasks that are new there."""

import contextlib
from typing import TYPE_CHECKING

from bridge.cli import stage
from bridge.cli.dev_session import Session
from bridge.errors import StoreDown
from bridge.model import OPTIONS
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.store import Store

OTHERS = 5
"""How many endpoints of others are named."""


async def write(session: Session, store: "Store") -> None:
    """Register our endpoint and the tasks. A task that is new there names our endpoint: nobody else asked for it."""
    from bridge.store.declaring import Declaring
    from bridge.store.reading.trips import reading_errors
    from bridge.store.reading.written import registered

    await stage.register(store, {session.name: session.definition()})
    with reading_errors():
        known = await registered(store.client, store.keys, [one.encode() for one in session.ids])
    session.new = [one for one in session.ids if one.encode() not in known]
    declaring = Declaring(store)
    await declaring.register_tasks(session.new, {"endpoints": session.name})
    await declaring.poll_now([one for one in session.ids if one.encode() in known])
    await store.wake("poll")


async def take_back(session: Session, store: "Store") -> None:
    """Our endpoint leads nowhere once we are gone, and what named it alone would tell nobody."""
    from bridge.store.scripts import store_errors

    with contextlib.suppress(StoreDown), store_errors():
        pipe = store.client.pipeline(transaction=True)
        pipe.hdel(store.keys.endpoints, session.name)
        for one in session.new:
            pipe.zrem(store.keys.tasks, one)
            pipe.hdel(store.keys.task(one), *OPTIONS)
        await pipe.execute()


async def others(session: Session, store: "Store") -> str:
    """Who else is registered in this Redis, where something was registered there before us; empty where nobody is."""
    from bridge.store.records import as_text
    from bridge.store.scripts import store_errors

    new = set(session.new)
    before = [one for one in session.ids if one not in new]
    if session.ids and not before:
        return ""
    with store_errors():
        names = sorted(map(as_text, await store.client.hkeys(store.keys.endpoints)))
    found = [name for name in names if name != session.name]
    if not found:
        return ""
    shown = safe(", ".join([*found[:OTHERS], *(["…"] if len(found) > OTHERS else [])]))
    them = "1 endpoint that is registered there hears" if len(found) == 1 else f"{len(found)} endpoints there hear"
    what = "of what was registered before" if len(before) != 1 else f"of {safe(before[0])}, which was registered before"
    return f"{them} {what}, too: {shown}. For a Redis of this run alone, leave BRIDGE_REDIS_URL unset."
