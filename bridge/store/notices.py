"""What is to be told of endpoints: settling writes it down, whoever looks next makes an event of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.model import Event, Notice, NoticeKind
from bridge.packing import pack
from bridge.store.reading.trips import HasClient
from bridge.store.records import as_text
from bridge.store.registry import EVENTS_KEPT, FANOUT_STEP
from bridge.store.scripts import Scripts
from bridge.tally import as_words, of_event

LATEST_MS = 10**14
"""The year 5138: what names a later moment was written by hand."""
NOTICES = 50
"""How many are told at a time."""
NOTICE_BYTES = 1_024
"""A longer entry of bridge:notices is none of ours, whose longest part is an endpoint's name."""
KEPT = 50_000
"""The most entries that the list holds; beyond, the oldest go."""
DROPPED = 1_000
"""The most entries that are dropped at a time, as they are no notices …"""
DROPPED_BYTES = 1_048_576
"""… and after how many bytes of them the next look has the rest."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is to be told: the oldest notices, and of those that somebody wrote over, the bytes."""

    notices: list[Notice | bytes]
    dropped: int
    """How many entries before them were no notices, or more than are kept, and are gone."""


class Notices:
    """Notices in Redis. They are told one by one, the oldest first, each exactly once."""

    def __init__(self, store: HasClient, *, events_kept: int = EVENTS_KEPT) -> None:
        self._scripts: Scripts = store.scripts
        self._events_kept = events_kept

    async def waiting(self) -> Waiting:
        """The oldest notices that nobody has told yet. A list of another type is empty: the doctor names it."""
        dropped, *texts = await self._scripts.call("read_notices", NOTICES, NOTICE_BYTES, KEPT, DROPPED, DROPPED_BYTES)
        return Waiting([_notice(text) for text in texts], int(dropped))

    async def tell(self, notice: Notice, event: Event, endpoints: Sequence[str], version: str) -> str:
        """Commit a notice as an event that is owed to these endpoints. Replies `told`, `stale` or `changed`."""
        word = await self._scripts.call(
            "tell", notice.text, version, event.id, event.type, event.task, event.revision,
            pack(event.body), self._events_kept, FANOUT_STEP, as_words(of_event(event.type)),
            *endpoints,
        )  # fmt: skip
        return as_text(word)

    async def drop(self, text: bytes | str) -> None:
        """Forget one that cannot be read."""
        await self._scripts.call("tell", text, "", "", "", "", "", "", "", "", "")


def _notice(raw: bytes) -> Notice | bytes:
    try:
        text = raw.decode()
        record = json.loads(text)
        record["endpoint"].encode()
        if not all(0 <= record[name] <= LATEST_MS for name in ("at", "failing_since", "revision", "window_ms")):
            return raw
        percent = record.get("percent")
        return Notice(
            kind=NoticeKind(record["kind"]),
            endpoint=str(record["endpoint"]),
            at=int(record["at"]),
            revision=int(record["revision"]),
            failures=int(record["failures"]),
            failing_since=int(record["failing_since"]),
            window_ms=int(record["window_ms"]),
            percent=None if percent is None else int(percent),
            reason=record.get("reason"),
            status_code=record.get("status_code"),
            fault=record.get("fault"),
            text=text,
        )
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return raw
