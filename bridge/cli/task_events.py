"""A task's events as `task show` and the console tell them: what is owed of each, to whom it is not, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.events import EventView


async def event_rows(
    store: "Store", settings: "Settings", events: "Sequence[EventView]"
) -> tuple[list[dict[str, Any]], str]:
    """The events, in order; and what tells the task's state, where nobody is owed the last of them."""
    from bridge.store.reading.audience import not_owed, untold
    from bridge.store.reading.deliveries import deliveries_of
    from bridge.store.reading.standings import with_holds

    found = await deliveries_of(store, [event.event_id for event in events])
    owed = {event_id: await with_holds(store, views) for event_id, views in found.items()}
    kept_ms = settings.retention_delivered_seconds * 1000
    silent = await untold(store, [event for event in events if event.event_id not in owed], kept_ms=kept_ms)
    passed = await not_owed(store, events, {name: {one.endpoint for one in views} for name, views in owed.items()})
    rows = [
        asdict(event)
        | {
            "deliveries": [asdict(one) for one in owed.get(event.event_id, [])],
            "untold": silent[event.event_id].why if event.event_id in silent else None,
            "passed_over": [asdict(one) for one in passed.get(event.event_id, ())],
        }
        for event in events
    ]
    last = silent.get(events[-1].event_id) if events else None
    return rows, last.fix if last else ""
