"""What one run of `bridge dev` writes into Redis, and takes back: its endpoint, and the tasks that are new there."""

from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from bridge.cli import stage
from bridge.cli.dev_session import RUN, Session
from bridge.errors import BridgeError
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.store import Store

OTHERS = 5
"""How many endpoints of others are named, and of what is left how many tasks."""
ALONE = "For a Redis of this run alone, leave BRIDGE_REDIS_URL unset."


async def write(session: Session, store: "Store") -> None:
    """Register our endpoint and the tasks. A task that is new there names our endpoint, as nobody else asked for it:
    where there are watches, which ask for what they find, none is new."""
    from bridge.store.declaring import Declaring
    from bridge.store.reading.options import names_in
    from bridge.store.reading.trips import reading_errors
    from bridge.store.reading.written import options_of, registered

    members = [one.encode() for one in session.ids]
    with reading_errors():
        there = await registered(store.client, store.keys, members)
        written = await options_of(store.client, store.keys, members)
        watches = await store.client.exists(store.keys.watches)
        session.new = [
            one.decode()
            for one, options in zip(members, written, strict=True)
            if _of_a_run(options) or (one not in there and options == {} and not watches)
        ]
        new = set(session.new)
        named = {
            one: names_in((options or {}).get(b"endpoints")) for one, options in zip(session.ids, written, strict=True)
        }
        session.elsewhere = {one: names for one, names in named.items() if names and one not in new}
        await stage.register(store, {session.name: session.definition()})
        await Declaring(store).register_tasks(session.new, {"endpoints": session.name})
        await stage.register(store, {}, [one for one in session.ids if one not in new])
    await store.wake("poll")


def _of_a_run(options: Mapping[bytes, bytes] | None) -> bool:
    """Whether these options are those of a run like this one, which was killed and could take nothing back."""
    return options is not None and set(options) == {b"endpoints"} and options[b"endpoints"].startswith(RUN.encode())


async def take_back(session: Session, store: "Store") -> str:
    """Our endpoint leads nowhere once we are gone, and what names it alone would tell nobody; what somebody else
    registered meanwhile is theirs. Replies what is to be said where that failed."""
    from bridge.store.reading.trips import reading_errors
    from bridge.store.reading.written import options_of
    from bridge.wiring import intake_from

    keys, ours = store.keys, {b"endpoints": session.name.encode()}

    async def withdraw(pipe: Any) -> None:
        """By then all of their options are watched: one that changes after it was read here undoes what follows."""
        written = await options_of(store.client, keys, [one.encode() for one in session.new])
        pipe.multi()
        pipe.hdel(keys.endpoints, session.name)
        pipe.hdel(keys.rejected, f"endpoint:{session.name}")
        for one, options in zip(session.new, written, strict=True):
            if options == ours:
                pipe.zrem(keys.tasks, one)
                pipe.delete(keys.task(one))

    try:
        with reading_errors():
            await store.client.transaction(withdraw, *map(keys.task, session.new))
            await intake_from(store, session.settings).remove_endpoint(session.name)
    except BridgeError as error:
        more = " …" if len(session.new) > OTHERS else ""
        tasks = " ".join(map(quote, session.new[:OTHERS])) + more
        left = [f"bridge endpoint rm {session.name}", *([f"bridge task rm {tasks}"] if session.new else [])]
        return f"! What this run wrote is still there: {error} → {' && '.join(left)}"
    return ""


def unheard(session: Session) -> str:
    """That tasks name others, so that this run hears nothing of them; empty where none does."""
    if not session.elsewhere:
        return ""
    (one, names), more = next(iter(session.elsewhere.items())), len(session.elsewhere) - 1
    shown = safe(", ".join([*names[:OTHERS], *(["…"] if len(names) > OTHERS else [])]))
    and_more = f", and so {'do' if more > 1 else 'does'} {more} more" if more else ""
    return f"{safe(one)} names other endpoints ({shown}){and_more}: nothing of it is told here. {ALONE}"


async def others(session: Session, store: "Store") -> str:
    """Who else hears of what this run hears of, in a Redis where others are registered; empty where nobody does."""
    from bridge.store.reading.trips import reading_errors
    from bridge.store.records import as_text

    apart = {*session.new, *session.elsewhere}
    shared = [one for one in session.ids if one not in apart]
    if session.ids and not shared:
        return ""
    with reading_errors():
        names = sorted(map(as_text, await store.client.hkeys(store.keys.endpoints)))
    found = [name for name in names if name != session.name]
    if not found:
        return ""
    shown = safe(", ".join([*found[:OTHERS], *(["…"] if len(found) > OTHERS else [])]))
    them = "1 endpoint that is registered there hears" if len(found) == 1 else f"{len(found)} endpoints there hear"
    what = f"{safe(shared[0])}, too" if len(shared) == 1 else "what is registered there, too"
    return f"{them} of {what}: {shown}. {ALONE}"
