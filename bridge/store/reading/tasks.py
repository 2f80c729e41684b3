"""Tasks as a person asks about them: what is watched, what was seen last, what ended, what was refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from bridge.formats import rfc3339
from bridge.model import MILLISECONDS_FROM, OPTIONS, DeliveryState
from bridge.rejection import told_of
from bridge.store.reading.deliveries import deliveries_of
from bridge.store.reading.expired import tell_expired
from bridge.store.reading.standings import standings
from bridge.store.reading.trips import HasClient, as_ms, as_record, ask, pieces
from bridge.store.records import as_text
from bridge.store.registry import NEVER_SEEN

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

STATES = ("waiting", "watched", "ended", "rejected", "gone")
"""What `list_tasks` can be asked for beside upstream's words."""

MEMBERS = 200_000
"""The most tasks of each kind (watched, ended) that a listing looks at."""

FAR, AHEAD_SECONDS = 500, 86_400
"""How many tasks are looked at that are to be taken in much later, and how much that is."""

_WATCH = ("polled_at", "error", "faults", "absences", "token", "expires", "options")
_SNAPSHOT = ("status", "updated_at", "observed_at", "revision", "event_id", "gone", "hls_status")


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task. Times are milliseconds, but for `updated_at`, which is upstream's own text."""

    task: str
    state: str
    """waiting (not taken in yet), watched, ended, rejected, or unknown."""
    status: str | None
    """Upstream's word, or `gone`; None before the first sight."""
    updated_at: str | None
    observed_at: int | None
    polled_at: int | None
    next_at: int | None
    """When it is read, or taken in if that is later than now; None when it is neither watched nor to be, or is being
    read at this moment."""
    being_read: bool
    ended_at: int | None
    expires_at: int | None
    revision: int | None
    event_id: str | None
    hls_status: str | None
    owed: int = 0
    """How many deliveries its current event has: not what was called back, nor what an endpoint that was removed since
    never got."""
    delivered: int = 0
    faults: int = 0
    absences: int = 0
    """Answers in a row that there is no such task, or that it is refused."""
    note: str = ""
    """What went wrong: the last error, a doubt, why it was rejected, or that upstream never knew it."""
    fix: str = ""
    options: dict[str, Any] | None = None

    @property
    def registered(self) -> bool:
        """Whether its client asked for it and has not taken it back."""
        return self.state in {"waiting", "watched"}


async def list_tasks(store: HasClient, *, status: str | None = None, limit: int = 0) -> list[TaskView]:
    """Those that wait to be taken in, the watched ones by when they are due, the ended ones newest first, the rejected.

    `status` is a status of upstream's, `gone`, or one of the states; `limit` 0 is all.
    """
    found: list[TaskView] = []
    for piece in pieces(await _members(store)):
        views = await find_tasks(store, piece)
        found += [view for view in views if status in (None, view.status, view.state)]
        if limit and len(found) >= limit:
            break
    return await _with_deliveries(store, found[:limit] if limit else found)


async def find_tasks(store: HasClient, members: Sequence[str]) -> list[TaskView]:
    """These tasks as they are, in order; an unknown one has the state `unknown`. Deliveries are not counted."""

    def question(pipe: "Pipeline", member: str) -> None:
        pipe.zscore(store.keys.tasks, member)
        pipe.zscore(store.keys.watch, member)
        pipe.zscore(store.keys.ended, member)
        pipe.hmget(store.keys.watching(member), _WATCH)
        pipe.hmget(store.keys.snapshot(member), _SNAPSHOT)
        pipe.hget(store.keys.rejected, f"task:{member}")

    replies = await ask(store, members, question)
    views = [_view(member, *replies[i * 6 : i * 6 + 6]) for i, member in enumerate(members)]
    scores = {view.task: replies[i * 6] for i, view in enumerate(views) if view.state == "waiting" and replies[i * 6]}
    now = await store.scripts.now() if scores else 0
    return await tell_expired(store, [_ahead(view, scores.get(view.task, 0), now) for view in views])


def _ahead(view: TaskView, score: float, now: int) -> TaskView:
    """One whose moment is yet to come, by its score in seconds, says so; one in milliseconds is refused instead."""
    moment = as_ms(score * 1000) if now / 1000 < score < MILLISECONDS_FROM else None
    if moment is None or view.note:
        return view
    return replace(view, next_at=moment, note=taken_in_at(moment), fix=f"bridge task poll {quote(view.task)}")


def taken_in_at(moment: int) -> str:
    """Until when a task waits to be taken in."""
    return f"not taken in before {rfc3339(moment)}, as its score says"


async def far_ahead(store: HasClient) -> list[tuple[str, float]]:
    """Tasks that are to be taken in more than a day from now, the first of them: each with its score."""
    soonest = await store.scripts.now() / 1000 + AHEAD_SECONDS
    reply: Any = await store.client.zrangebyscore(
        store.keys.tasks, soonest, f"({MILLISECONDS_FROM}", start=0, num=FAR, withscores=True
    )
    watched = await ask(store, reply, lambda pipe, pair: pipe.zscore(store.keys.watch, pair[0]))
    return [(as_text(one), score) for (one, score), due in zip(reply, watched, strict=True) if due is None]


async def task_with_deliveries(store: HasClient, member: str) -> TaskView:
    """One task, its current event's deliveries counted."""
    return (await _with_deliveries(store, await find_tasks(store, [member])))[0]


async def count_tasks(store: HasClient, *, requests: bool = True) -> dict[str, int]:
    """How many are watched, wait to be taken in (0 where `requests` are not to be counted), ended and are refused."""
    pipe = store.client.pipeline(transaction=False)
    pipe.zcard(store.keys.watch)
    pipe.zcard(store.keys.ended)
    pipe.hlen(store.keys.rejected)
    if requests:
        pipe.zcount(store.keys.tasks, "-inf", "(+inf")
    watched, ended, rejected, *waiting = await pipe.execute()
    return {"watched": watched, "requests": sum(waiting), "ended": ended, "rejected": rejected}


async def statuses(store: HasClient, limit: int) -> dict[str, int]:
    """How many of the watched tasks have which status; at most `limit` are looked at."""
    reply: Any = await store.client.zrange(store.keys.watch, 0, limit - 1)
    members = [as_text(one) for one in reply]
    found: dict[str, int] = {}
    for word in await ask(store, members, lambda pipe, one: pipe.hget(store.keys.snapshot(one), "status")):
        name = as_text(word) or "not seen yet"
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


async def _members(store: HasClient) -> list[str]:
    pipe = store.client.pipeline(transaction=False)
    pipe.zrangebyscore(store.keys.tasks, "-inf", "(+inf", start=0, num=MEMBERS)
    pipe.zrange(store.keys.watch, 0, MEMBERS - 1)
    pipe.zrange(store.keys.ended, 0, MEMBERS - 1, desc=True)
    pipe.hkeys(store.keys.rejected)
    waiting, watched, ended, rejected = await pipe.execute()
    refused = [name[5:] for name in map(as_text, rejected) if name.startswith("task:")]
    return list(dict.fromkeys([*map(as_text, [*waiting, *watched, *ended]), *refused]))


async def _with_deliveries(store: HasClient, views: Sequence[TaskView]) -> list[TaskView]:
    owed = await deliveries_of(store, [view.event_id for view in views if view.event_id])
    missed = {one.endpoint for views in owed.values() for one in views if one.state != DeliveryState.DELIVERED}
    removed = {name for name, one in (await standings(store, sorted(missed))).items() if one.state == "removed"}
    counted = []
    for view in views:
        theirs = [one for one in owed.get(view.event_id or "", []) if one.state != DeliveryState.CANCELLED]
        states = [one.state for one in theirs if one.state == DeliveryState.DELIVERED or one.endpoint not in removed]
        counted.append(replace(view, owed=len(states), delivered=states.count(DeliveryState.DELIVERED)))
    return counted


def _view(
    member: str, score: float | None, due: float | None, ended: float | None, watch: Sequence[Any],
    snapshot: Sequence[Any], rejected: bytes | None,
) -> TaskView:  # fmt: skip
    polled, error, faults, absences, token, expires, options = watch
    status, updated, observed, revision, event_id, gone, hls = map(as_text, snapshot)
    refusal = as_record(rejected)
    if score is not None:
        state = "waiting" if due is None else "watched"
    else:
        state = "rejected" if refusal else "ended" if status or ended is not None else "unknown"
    note, fix = as_text(error), ""
    if refusal:
        note = told_of(refusal) if refusal.get("field") in OPTIONS else str(refusal.get("reason", ""))
        fix = str(refusal.get("fix", ""))
    elif gone == "1" and not status and not note:
        note, fix = NEVER_SEEN.reason, NEVER_SEEN.fix
    watched = state == "watched"
    return TaskView(
        task=member,
        state=state,
        status="gone" if gone == "1" else status or None,
        updated_at=updated or None,
        observed_at=as_ms(observed) or as_ms(revision),
        polled_at=as_ms(polled),
        next_at=as_ms(due) if watched and token is None else None,
        being_read=watched and token is not None,
        ended_at=None if score is not None else as_ms(ended),
        expires_at=as_ms(expires),
        revision=as_ms(revision),
        event_id=event_id or None,
        hls_status=hls or None,
        faults=as_ms(faults) or 0,
        absences=(as_ms(absences) or 0) if watched else 0,
        note=note,
        fix=fix,
        options=as_record(options) or None,
    )
