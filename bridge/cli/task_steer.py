"""`bridge task rm` and `task poll`: a person's word about tasks that are registered."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import NAMED, safe, say
from bridge.cli.session import ids_from, with_store
from bridge.errors import NotFound

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY = 6


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.pass_context
def rm(ctx: click.Context, ids: tuple[str, ...]) -> int:
    """Watch tasks no longer; what is owed for them is still delivered. Of a rejected one, forget the complaint.

    \b
    Examples:
      bridge task rm 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task ls --status watched -o ids | bridge task rm -
    """
    from bridge.store.declaring import Declaring

    members = ids_from(ids)

    async def work(store: "Store", _: "Settings") -> tuple[list[str], list[str], dict[str, str]]:
        declaring = Declaring(store)
        removed = await declaring.remove_tasks(_sayable(members))
        refused = await declaring.forget_rejections("task", members)
        return removed, refused, await _ended(store, [one for one in _sayable(members) if one not in set(removed)])

    removed, refused, ended = with_store(ctx, work)
    code = _verdict(members, [*removed, *refused], ended, way=lambda _: "bridge task ls")
    only_refused = set(refused) - set(removed)
    if asked := len(members) - len(only_refused):
        of = f" of {asked}" if len(removed) < asked else ""
        say(f"{len(removed)}{of} {'is' if len(removed) == 1 else 'are'} watched no longer.")
    if gone := sorted(only_refused):
        rest = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        say(f"{safe(gone[0])}{rest} had been refused: gone from bridge:rejected.")
    return code


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.pass_context
def poll(ctx: click.Context, ids: tuple[str, ...]) -> int:
    """Read tasks at once, instead of when they are due.

    \b
    Examples:
      bridge task poll 6a0b1c2d3e4f5a6b7c8d9e01
      cat ids.txt | bridge task poll -
    """
    members = ids_from(ids)
    asked, ended = with_store(ctx, lambda store, _: asked_to_poll(store, _sayable(members)))
    code = _verdict(members, asked, ended)
    say(f"{len(asked)} of {len(members)} are to be read now.")
    return code


async def asked_to_poll(store: "Store", members: list[str]) -> tuple[list[str], dict[str, str]]:
    """Those that are to be read, and of the others those that have ended, with their last status."""
    from bridge.store.declaring import Declaring

    asked = await Declaring(store).poll_now(members)
    await store.wake("poll")
    there = set(asked)
    return asked, await _ended(store, [member for member in members if member not in there])


async def _ended(store: "Store", members: list[str]) -> dict[str, str]:
    """Those of these that are known, and registered no longer, with their last status."""
    from bridge.store.reading.tasks import find_tasks

    views = await find_tasks(store, members) if members else []
    return {view.task: view.status for view in views if view.status and not view.registered}


def _sayable(members: list[str]) -> list[str]:
    """Those that Redis can be asked about: what is no text is no member either."""
    return [member for member in members if member.isprintable()]


def _verdict(
    members: list[str], done: list[str], ended: Mapping[str, str] = MappingProxyType({}),
    way: Callable[[str], str] | None = None,
) -> int:  # fmt: skip
    """Name those that were not there; 0, or 6 if some were, or NotFound. `ended`: known, and watched no longer; `way`:
    the next command for one that was not there, if not to register it."""
    way = way or registering
    there = set(done)
    missing = [member for member in members if member not in there]
    if missing and not done:
        first = safe(missing[0])
        more = f", nor {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotFound(f"task {first} {why_not(missing[0], ended)}{more}", fix=way(missing[0]))
    for member in missing[:NAMED]:
        say(f"✗ {safe(member)} {why_not(member, ended)} → {way(member)}")
    if len(missing) > NAMED:
        say(f"✗ and {len(missing) - NAMED} more")
    return PARTLY if missing else 0


async def unknown(store: "Store", member: str) -> NotFound:
    """There is no such task; maybe it was written into a misspelt key, or there is one that is nearly called so."""
    from bridge.store.reading.near import near_task
    from bridge.store.reading.unread import misplaced

    if key := safe(await misplaced(store, member)):
        where = f"it stands in {key}, which nobody reads"
        return NotFound(f"task {safe(member)} is not known here: {where}", fix="bridge doctor")
    near = safe(await near_task(store, member))
    if near:
        return NotFound(f"task {safe(member)} is not known here; did you mean {near}?", fix=f"bridge task show {near}")
    return NotFound(f"task {safe(member)} is not known here", fix=registering(member))


def why_not(member: str, ended: Mapping[str, str]) -> str:
    """Why a task is not read any more: the end of a sentence that begins with its name."""
    if member in ended:
        return f"has ended ({safe(ended[member])}) and is read no more; registered again, it is read once"
    return "is not registered"


def registering(member: str) -> str:
    """The command after which this task is known; where none can be, the one that shows what is."""
    from bridge.contract import check_member
    from bridge.rejection import Rejection

    try:
        check_member(member)
    except Rejection:
        return "bridge task ls"
    return f"bridge task add {member}"
