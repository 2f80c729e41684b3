"""`bridge endpoint rm`: endpoints taken back, and what that ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import rich_click as click

from bridge.cli.output import safe, say
from bridge.cli.session import with_store
from bridge.orders.definitions import not_found

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY = 6


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--dry-run", is_flag=True, help="Say what would be cancelled, and change nothing.")
@click.pass_context
def rm(ctx: click.Context, names: tuple[str, ...], dry_run: bool) -> int:
    """Take endpoints back; what they are still owed is cancelled. Their dead letters stay until they are dismissed.

    To have it held instead: `bridge endpoint disable`.

    \b
    Examples:
      bridge endpoint rm billing --dry-run
      bridge endpoint rm billing
    """
    wanted = list(dict.fromkeys(names))
    work = would_cancel if dry_run else take_back
    missing = with_store(ctx, lambda store, settings: work(store, settings, wanted), look=dry_run)
    if len(missing) == len(wanted):
        raise not_found(missing[0])
    for name in missing:
        say(f"✗ there is no endpoint “{safe(name)}”")
    if dry_run:
        say("Nothing was changed.")
    return PARTLY if missing else 0


async def would_cancel(store: "Store", _: "Settings", names: Sequence[str]) -> list[str]:
    """Say what it would cancel to take endpoints back; replies the names that are not there."""
    from bridge.store.reading.endpoints import find_endpoint

    missing = []
    for name in names:
        view = await find_endpoint(store, name) if name.isprintable() and not name.startswith("url:") else None
        if view is None or view.state == "removed":
            missing.append(name)
        elif view.state == "rejected":
            say(f"{safe(name)} was refused and never in force; its entry in bridge:rejected would go.")
        else:
            say(f"{safe(name)} would go; {_pending(view.pending)} would be cancelled{_dead(name, view.dead) or '.'}")
            _say_way_back(name, view.pending)
    return missing


async def take_back(store: "Store", settings: "Settings", names: Sequence[str]) -> list[str]:
    """Take endpoints back and say what that cancels; replies the names that were not there."""
    missing = []
    for name in names:
        gone = await taken_back(store, settings, name)
        if gone.cancelled is not None:
            are = "is" if gone.cancelled == 1 else "are"
            stay = _dead(name, gone.dead)
            say(f"{safe(name)} is gone; {_pending(gone.cancelled)} {are} cancelled{stay or '.'}")
            _say_way_back(name, gone.cancelled)
        elif gone.refused:
            say(f"{safe(name)} was refused and never in force; its entry in bridge:rejected is gone.")
        else:
            missing.append(name)
    return missing


class TakenBack(NamedTuple):
    """What taking an endpoint back came to."""

    cancelled: int | None
    """How many deliveries that cancelled; None if it was not in force."""
    refused: bool
    """There was a complaint about it, which is gone."""
    dead: int = 0
    """How many dead letters stay."""


async def taken_back(store: "Store", settings: "Settings", name: str) -> TakenBack:
    """Take one endpoint back, and the complaint about it."""
    from bridge.store.declaring import Declaring
    from bridge.store.reading.endpoints import cancelled_since, find_endpoint
    from bridge.wiring import intake_from

    declaring, at = Declaring(store), await store.scripts.now()
    before = await find_endpoint(store, name) if name.isprintable() else None
    refused = bool(await declaring.forget_rejections("endpoint", [name]))
    if not name.isprintable() or not await declaring.remove_endpoint(name):
        return TakenBack(None, refused)
    await intake_from(store, settings).remove_endpoint(name)
    return TakenBack(await cancelled_since(store, name, at), refused, before.dead if before else 0)


def _pending(count: int) -> str:
    return f"{count} pending deliver{'y' if count == 1 else 'ies'}"


def _say_way_back(name: str, cancelled: int) -> None:
    """How what was cancelled is owed again; a new secret is made for it then, unless it is given one."""
    from bridge.recovery import each_of
    from bridge.waiting import registering

    if cancelled:
        what = "it" if cancelled == 1 else "them"
        again = each_of(name, "cancelled", cancelled, "retry")
        way = f"{safe(registering(name))} --secret-file F && {safe(again)}"
        say(f"  to have {what} sent after all, signed by the secret that its receiver holds → {way}")


def _dead(name: str, count: int) -> str:
    """What is said of its dead letters, which stay, and what dismisses them."""
    from bridge.doctor import counted
    from bridge.recovery import dismissal

    stay = "stays" if count == 1 else "stay"
    return f", {counted(count, 'dead letter')} {stay} → {safe(dismissal(name, count))}" if count else ""
