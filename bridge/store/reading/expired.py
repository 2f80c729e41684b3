"""Tasks that are watched no longer because their time ran out; what they had asked for, their client's hash says."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.formats import rfc3339
from bridge.kinds import kind_of
from bridge.model import MILLISECONDS_FROM
from bridge.store.reading.options import names_in
from bridge.store.reading.trips import HasClient, ask
from bridge.store.records import as_text

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

    from bridge.store.reading.tasks import TaskView


async def tell_expired(store: HasClient, views: "Sequence[TaskView]") -> "list[TaskView]":
    """The same views; one whose `expires_at` ended it says so, with the command that watches it again."""
    ended = [view.task for view in views if _ended_early(view)]

    def question(pipe: "Pipeline", task: str) -> None:
        pipe.hget(store.keys.task(task), "expires_at")
        pipe.hget(store.keys.task(task), "endpoints")
        pipe.hkeys(store.keys.task(task))

    replies = await ask(store, ended, question, wrong_types=True)
    written = {task: replies[3 * i : 3 * i + 3] for i, task in enumerate(ended)}
    return [_told(view, *written[view.task]) if view.task in written else view for view in views]


def _ended_early(view: "TaskView") -> bool:
    return view.state == "ended" and not view.note and view.status not in {"gone", *kind_of(view.task).terminal}


def _told(view: "TaskView", expires_at: object, endpoints: object, options: object) -> "TaskView":
    """What is written there now may be anything: it was judged while the task was watched, if at all."""
    moment = _moment(expires_at)
    if moment is None or view.ended_at is None or moment > view.ended_at or not isinstance(options, list):
        return view
    from bridge.hints import task_rewriting

    note = f"its time ran out, expires_at was {rfc3339(moment)}"
    fix = task_rewriting(view.task, map(as_text, options), names_in(endpoints))
    return replace(view, expires_at=moment, note=note, fix=fix)


def _moment(text: object) -> int | None:
    """A time in seconds, in milliseconds; None for what is none."""
    try:
        seconds = float(as_text(text)) if isinstance(text, bytes | str) else -1.0
    except ValueError:
        return None
    return int(seconds * 1000) if 0 <= seconds < MILLISECONDS_FROM else None
