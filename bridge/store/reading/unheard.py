"""Events of which an endpoint has had no delivery: a replay, which sends again, has nothing of them to send."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.kinds import FAMILIES
from bridge.store.reading.events import EventView, latest_events
from bridge.store.reading.replayable import Choice
from bridge.store.reading.tasks import find_tasks
from bridge.store.reading.trips import HasClient, ask

LOOKED = 1_000
"""How many of the latest events that fit are looked at."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """How many events there are, and their tasks by what tells of them now."""

    events: int
    ended: Sequence[str]
    watched: Sequence[str]


async def unheard(store: HasClient, name: str, choice: Choice) -> Unheard:
    """What an endpoint has had no delivery of, of the events of tasks that are meant."""

    def meant(one: EventView) -> bool:
        return one.type.startswith(FAMILIES) and choice.takes(type_=one.type, task=one.task, made=one.committed_at)

    events = await latest_events(store, meant, LOOKED)
    owed = await ask(store, events, lambda pipe, one: pipe.hexists(store.keys.deliveries(name), one.event_id))
    missed = [one for one, known in zip(events, owed, strict=True) if not known]
    tasks = await find_tasks(store, list(dict.fromkeys(one.task for one in missed)))
    ended = [view.task for view in tasks if view.state in {"ended", "gone"}]
    return Unheard(len(missed), ended, [view.task for view in tasks if view.registered])
