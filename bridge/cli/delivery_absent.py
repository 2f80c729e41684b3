"""A delivery that there is not: why, as far as it is known, and the next command."""

from typing import TYPE_CHECKING

from bridge.errors import NotFound
from bridge.wording import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.audience import Untold
    from bridge.store.reading.events import EventView


async def absent(store: "Store", settings: "Settings", event_id: str, endpoint: str | None, asked: str) -> NotFound:
    """What to raise where an event has no delivery, or none to this endpoint; `asked` is how a person named it."""
    if known := await why_absent(store, settings, event_id, endpoint):
        return NotFound(f"there is no delivery of {asked}: {known.why}", fix=known.fix or "bridge delivery ls")
    return NotFound(f"there is no delivery of {asked}, or it is no longer kept", fix="bridge delivery ls")


async def why_absent(store: "Store", settings: "Settings", event_id: str, endpoint: str | None) -> "Untold | None":
    """Why an event has no delivery, or none to this endpoint, and what to do; None where nothing is known of that."""
    from bridge.store.reading.audience import Untold, unheard_by, untold
    from bridge.store.reading.deliveries import find_deliveries

    if await tasks_among(store, [event_id]):
        error = a_task(event_id)
        return Untold(str(error), error.fix)
    events = await _event(store, event_id)
    others = endpoint and await find_deliveries(store, event_id)
    if others:
        return await unheard_by(store, events, endpoint or "")
    return (await untold(store, events, kept_ms=settings.retention_delivered_seconds * 1000)).get(event_id)


async def tasks_among(store: "Store", words: "Sequence[str]") -> set[str]:
    """Those of these words, which should name events, that are the ids of tasks."""
    from bridge.store.reading.tasks import find_tasks

    return {task.task for task in await find_tasks(store, words) if task.state not in {"unknown", "rejected"}}


def a_task(word: str) -> NotFound:
    """What to raise where the id of a task stands in the place of an event's."""
    return NotFound(f"{safe(word)} is a task, and no event", fix=f"bridge task show {safe(word)}")


async def _event(store: "Store", event_id: str) -> "list[EventView]":
    from bridge.store.reading.events import latest_events

    return await latest_events(store, lambda event: event.event_id == event_id, 1)
