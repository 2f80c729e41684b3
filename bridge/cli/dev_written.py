"""What one run of `bridge dev` writes into Redis, and takes back: its endpoint, and the tasks that are new there."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bridge.cli import stage
from bridge.cli.dev_session import RUN, Session
from bridge.errors import StoreDown
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.store import Store

OTHERS = 5
"""How many endpoints of others are named."""


async def write(session: Session, store: "Store") -> None:
    """Register our endpoint and the tasks. A task that is new there names our endpoint: nobody else asked for it."""
    from bridge.store.declaring import Declaring
    from bridge.store.reading.trips import reading_errors
    from bridge.store.reading.written import options_of, registered

    members = [one.encode() for one in session.ids]
    with reading_errors():
        there = await registered(store.client, store.keys, members)
        written = await options_of(store.client, store.keys, members)
    session.new = [
        one.decode()
        for one, options in zip(members, written, strict=True)
        if (one not in there and options == {}) or _of_a_run(options)
    ]
    new = set(session.new)
    await stage.register(store, {session.name: session.definition()})
    await Declaring(store).register_tasks(session.new, {"endpoints": session.name})
    await stage.register(store, {}, [one for one in session.ids if one not in new])
    await store.wake("poll")


def _of_a_run(options: Mapping[bytes, bytes] | None) -> bool:
    """Whether these options are those of a run like this one, which was killed and could take nothing back."""
    return options is not None and set(options) == {b"endpoints"} and options[b"endpoints"].startswith(RUN.encode())


async def take_back(session: Session, store: "Store") -> None:
    """Our endpoint leads nowhere once we are gone, and what names it alone would tell nobody; what somebody else
    registered meanwhile is theirs."""
    from bridge.store.scripts import store_errors

    keys, ours = store.keys, session.name.encode()

    async def withdraw(pipe: Any) -> None:
        named = {one: await pipe.hget(keys.task(one), "endpoints") for one in session.new}
        pipe.multi()
        pipe.hdel(keys.endpoints, session.name)
        for one in (one for one, name in named.items() if name == ours):
            pipe.zrem(keys.tasks, one)
            pipe.hdel(keys.task(one), "endpoints")

    with contextlib.suppress(StoreDown), store_errors():
        await store.client.transaction(withdraw, *map(keys.task, session.new))


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
