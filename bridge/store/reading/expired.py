"""Tasks that are watched no longer because their time ran out; what they had asked for, their client's hash says."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.formats import rfc3339
from bridge.kinds import kind_of
from bridge.redaction import without_secrets
from bridge.store.reading.trips import HasClient, ask
from bridge.store.records import as_text

if TYPE_CHECKING:
    from bridge.store.reading.tasks import TaskView


async def tell_expired(store: HasClient, views: "Sequence[TaskView]") -> "list[TaskView]":
    """The same views; one whose `expires_at` ended it says so, with the command that watches it again."""
    ended = [view.task for view in views if _ended_early(view)]
    hashes = await ask(store, ended, lambda pipe, one: pipe.hgetall(store.keys.task(one)), wrong_types=True)
    written = {
        task: {as_text(name): as_text(text) for name, text in found.items()}
        for task, found in zip(ended, hashes, strict=True)
        if isinstance(found, dict)
    }
    return [_told(view, written.get(view.task, {})) for view in views]


def _ended_early(view: "TaskView") -> bool:
    return view.state == "ended" and not view.note and view.status not in {"gone", *kind_of(view.task).terminal}


def _told(view: "TaskView", options: dict[str, str]) -> "TaskView":
    try:
        moment = int(float(options["expires_at"]) * 1000)
    except (LookupError, ValueError, OverflowError):
        return view
    if view.ended_at is None or moment > view.ended_at:
        return view
    from bridge.hints import task_rewriting

    named = [name.strip() for name in options.get("endpoints", "").split(",") if name.strip()]
    shown = [name for name in named if without_secrets(name) == name]
    note = f"its time ran out, expires_at was {rfc3339(moment)}"
    return replace(view, expires_at=moment, note=note, fix=task_rewriting(view.task, options, shown))
