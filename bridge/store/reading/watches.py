"""Watches as a person asks about them: what is watched as a whole, how far finding has come, what was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.finding import Search
from bridge.rejection import rejected_field, told_of
from bridge.store.reading.trips import HasClient, as_ms, as_record
from bridge.store.records import as_text
from bridge.watches import WORDS, shown


@dataclass(frozen=True, slots=True)
class WatchView:
    """One watch. Times are milliseconds."""

    watch: str
    """`account` or `index:<id>`."""
    state: str
    """waiting (not taken in yet), watched, or rejected."""
    kinds: tuple[str, ...]
    found: int
    """How many tasks it has registered."""
    listed_at: int | None
    """When its list was last read to the end; of several kinds, the one that waits longest."""
    next_at: int | None
    since_at: int | None
    expires_at: int | None
    options: Mapping[str, Any]
    """What each of its tasks gets."""
    note: str = ""
    """Why its list could not be read, or why it was refused."""
    fix: str = ""


async def list_watches(store: HasClient) -> list[WatchView]:
    """Those that are written, and those that were refused, by name."""
    pipe = store.client.pipeline(transaction=False)
    pipe.hgetall(store.keys.watches)
    pipe.hgetall(store.keys.finding)
    pipe.hgetall(store.keys.rejected)
    written, known, rejected = await pipe.execute()
    refusals = {as_text(name): as_record(text) for name, text in rejected.items() if name.startswith(b"watch:")}
    views = [
        _view(name, text, known, refusals.pop(rejected_field("watch", name), {})) for name, text in written.items()
    ]
    views += [_refused(name.removeprefix("watch:"), refusal) for name, refusal in refusals.items()]
    return sorted(views, key=lambda view: view.watch)


def _view(name: bytes, text: bytes, known: Mapping[bytes, bytes], refusal: Mapping[str, Any]) -> WatchView:
    definition, word = shown(text.decode(errors="replace")), name.decode(errors="backslashreplace")
    asked = definition.get("kinds")
    kinds = tuple(kind for kind in WORDS if kind in (asked if isinstance(asked, list) else ["task"]))
    searches = [
        Search.read(known.get(f"state:{kind}:{word}".encode()), since=_ms(definition, "since")) for kind in kinds
    ]
    listed = [one.listed_at for one in searches]
    errors = [one.error for one in searches if one.error]
    return WatchView(
        watch=word,
        state="watched" if known.get(b"text:" + name) == text else "waiting",
        kinds=kinds,
        found=sum(as_ms(known.get(f"found:{kind}:{word}".encode())) or 0 for kind in kinds),
        listed_at=None if None in listed or not listed else min(one for one in listed if one is not None),
        next_at=min((one.due for one in searches if one.due), default=None),
        since_at=_ms(definition, "since"),
        expires_at=_ms(definition, "expires_at"),
        options={name: definition[name] for name in ("metadata", "endpoints", "callback_url") if name in definition},
        note=told_of(refusal) or "; ".join(dict.fromkeys(errors)),
        fix=str(refusal.get("fix", "")),
    )


def _refused(name: str, refusal: Mapping[str, Any]) -> WatchView:
    note, fix = told_of(refusal), str(refusal.get("fix", ""))
    return WatchView(name, "rejected", (), 0, None, None, None, None, {}, note, fix)


def _ms(definition: Mapping[str, Any], name: str) -> int | None:
    value = definition.get(name)
    return int(value * 1000) if isinstance(value, int | float) and 0 <= value < 1e11 else None


def faulty(views: Sequence[WatchView]) -> list[WatchView]:
    """Those whose list cannot be read."""
    return [view for view in views if view.note and view.state != "rejected"]
