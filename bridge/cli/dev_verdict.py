"""How a run of `bridge dev` ended: its exit code, and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.cli import stage
from bridge.cli.dev_session import Session
from bridge.model import DeliveryState

if TYPE_CHECKING:
    from bridge.store import Store

FAILED, UNFINISHED = 7, 1


async def verdict(session: Session, store: "Store") -> tuple[int, str]:
    """The exit code once every task has ended, and its causes: 7 when one failed, 1 when one was gone or refused, or an
    event was not taken."""
    from bridge.store.reading.trips import as_delivery
    from bridge.store.scripts import store_errors

    with store_errors():
        pipe = store.client.pipeline(transaction=False)
        for one in session.ids:
            pipe.hmget(store.keys.snapshot(one), "status", "gone")
        pipe.hvals(store.keys.deliveries(session.name))
        *snapshots, records = await pipe.execute()
    ends = [(b"gone" if gone == b"1" else status) for status, gone in snapshots]
    if b"failed" in ends:
        return FAILED, "a task failed"
    left = sum(as_delivery(record)["state"] != DeliveryState.DELIVERED for record in records)
    causes = [
        *_named([one for one, end in zip(session.ids, ends, strict=True) if end == b"gone"], "not found at TwelveLabs"),
        *_named([one for one, end in zip(session.ids, ends, strict=True) if end is None], "refused"),
        *_named([one for one, end in zip(session.ids, ends, strict=True) if end not in _TOLD], "watched no longer"),
        *([f"{left} event{'s were' if left > 1 else ' was'} not taken"] if left else []),
    ]
    if causes:
        return UNFINISHED, ", and ".join(causes)
    return 0, "every task is ready, and its events were taken"


_TOLD = frozenset({b"ready", b"gone", None})
"""How a task ends well, or badly in words of its own."""


def _named(ids: Sequence[str], what: str) -> list[str]:
    """What became of these tasks, one of them by name; empty where there is none."""
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return [f"{stage.printable(ids[0])}{more} {'were' if more else 'was'} {what}"] if ids else []
