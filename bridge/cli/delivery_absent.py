"""A delivery that there is not: why, as far as it is known, and the next command."""

from typing import TYPE_CHECKING

from bridge.errors import NotFound

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.audience import Untold
    from bridge.store.reading.events import EventView


async def absent(store: "Store", event_id: str, endpoint: str | None, asked: str) -> NotFound:
    """What to raise where an event has no delivery, or none to this endpoint; `asked` is how a person named it."""
    if known := await why_absent(store, event_id, endpoint):
        return NotFound(f"there is no delivery of {asked}: {known.why}", fix=known.fix)
    return NotFound(f"there is no delivery of {asked}", fix="bridge delivery ls")


async def why_absent(store: "Store", event_id: str, endpoint: str | None) -> "Untold | None":
    """Why an event has no delivery, or none to this endpoint, and what to do; None where nothing is known of that."""
    from bridge.store.reading.audience import Untold, unheard_by, untold
    from bridge.store.reading.deliveries import find_deliveries
    from bridge.store.reading.tasks import find_tasks

    if (await find_tasks(store, [event_id]))[0].state not in {"unknown", "rejected"}:
        return Untold(f"{event_id} is a task, and no event", f"bridge task show {event_id}")
    events = await _event(store, event_id)
    others = endpoint and await find_deliveries(store, event_id)
    if others:
        return await unheard_by(store, events, endpoint or "")
    return (await untold(store, events)).get(event_id)


async def _event(store: "Store", event_id: str) -> "list[EventView]":
    from bridge.store.reading.events import latest_events

    return await latest_events(store, lambda event: event.event_id == event_id, 1)
