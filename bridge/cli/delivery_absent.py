"""A delivery that there is not: why, as far as it is known, and the next command."""

from typing import TYPE_CHECKING

from bridge.errors import NotFound

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.events import EventView


async def absent(store: "Store", event_id: str, endpoint: str | None, asked: str) -> NotFound:
    """What to raise where an event has no delivery, or none to this endpoint; `asked` is how a person named it."""
    from bridge.store.reading.audience import unheard_by, untold
    from bridge.store.reading.deliveries import find_deliveries
    from bridge.store.reading.tasks import find_tasks

    if (await find_tasks(store, [event_id]))[0].state not in {"unknown", "rejected"}:
        return NotFound(f"{event_id} is a task, and no event", fix=f"bridge task show {event_id}")
    events = await _event(store, event_id)
    others = endpoint and await find_deliveries(store, event_id)
    known = await unheard_by(store, events, endpoint or "") if others else (await untold(store, events)).get(event_id)
    if known:
        return NotFound(f"there is no delivery of {asked}: {known.why}", fix=known.fix)
    return NotFound(f"there is no delivery of {asked}", fix="bridge delivery ls")


async def _event(store: "Store", event_id: str) -> "list[EventView]":
    from bridge.store.reading.events import latest_events

    return await latest_events(store, lambda event: event.event_id == event_id, 1)
