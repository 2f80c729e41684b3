"""The list of an account's tasks, which one of all workers reads at a time: whose turn it is, of whom it has news."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from redis.exceptions import ResponseError

from bridge.diff import order, parse_instant
from bridge.model import Observation, WatchedTask
from bridge.rejection import REJECTED
from bridge.skim import CLOCKS_APART_MS, DEEP_MS, LONGEST_REST_SECONDS, OVERLAP_MS, REST_SECONDS
from bridge.store.reading.trips import ask
from bridge.store.records import as_text, watched_task
from bridge.store.registry import BROKEN_SNAPSHOT, HasClient
from bridge.store.scripts import store_errors

REST_MS, LONGEST_REST_MS = int(REST_SECONDS * 1000), int(LONGEST_REST_SECONDS * 1000)
HASTENED = 500
"""How many tasks one step brings forward."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How the listing stands. Moments are milliseconds by Redis' clock, but for `mark`, which is upstream's."""

    word: str
    """`yours`, `wait`, or `few`: too few tasks are watched for a list to be worthwhile."""
    now: int
    next_at: int
    mark: int | None
    """What was updated before is known from the pass before."""
    listed_at: int | None
    """When a pass was last complete."""
    deep: bool
    """Whether it is time to read further down than the mark."""
    token: str
    why: str = ""
    """Why the pass before failed; empty if it did not."""


@dataclass(frozen=True, slots=True)
class Named:
    """Tasks that were claimed by name, and those that somebody else is reading just now."""

    now: int
    tasks: list[WatchedTask]
    busy: list[str]


@dataclass(frozen=True, slots=True)
class Known:
    """When a task was updated, as it stands in Redis."""

    updated_at: datetime | None
    updated_at_text: str


class Listings:
    """The verbs of listing. Each raises StoreDown when Redis is away, and may then be repeated."""

    def __init__(self, store: HasClient) -> None:
        self._store = store
        self._scripts = store.scripts

    async def claim(
        self, *, lease_ms: int, least: int, interval_ms: int, rest_ms: int, account: str = "default"
    ) -> Turn:
        """Take the turn, if it is time and `least` tasks are watched; `interval_ms` and `rest_ms` as they are given."""
        token = token_hex(16)
        reply = await self._scripts.call(
            "claim_listing", account, token, lease_ms, least, interval_ms, rest_ms, DEEP_MS, CLOCKS_APART_MS
        )
        word, now, next_at, mark, listed, deep, why = reply
        moments = int(now), int(next_at), _or_none(mark), _or_none(listed)
        return Turn(as_text(word), *moments, deep == 1, token, as_text(why))

    async def grant(self, *, per_minute: int, account: str = "default") -> int:
        """Ask for one request of the budget: 0 if it is granted, else when (ms) there is one more."""
        return int(await self._scripts.call("grant", account, per_minute))

    async def go_on(self, token: str, *, lease_ms: int, account: str = "default") -> bool:
        """Keep the turn for so much longer; False if somebody else has it."""
        return bool(
            await self._scripts.call("settle_listing", account, token, "more", lease_ms, "", "", "", 0) == b"ok"
        )

    async def done(
        self, token: str, *, again_ms: int, mark: int | None, deep_ms: int | None = None, account: str = "default"
    ) -> None:
        """The pass was complete: the next one in `again_ms`, from this mark on; `deep_ms`: this was a deep one."""
        text = "" if mark is None else mark
        await self._scripts.call("settle_listing", account, token, "done", again_ms, text, deep_ms or "", "", 0)

    async def failed(self, token: str, *, again_ms: int, why: str, rest_ms: int = 0, account: str = "default") -> None:
        """The pass was not complete, for this reason; the next one may be. `rest_ms`: it is not tried for so long."""
        await self._scripts.call("settle_listing", account, token, "failed", again_ms, "", "", why, rest_ms)

    async def rest(self, token: str, why: str, *, lied: bool, account: str = "default") -> int:
        """Ask for no list and rely on none for a while; each time that it lied again, twice as long.

        Replies for how long (ms); 0 if somebody else has the turn.
        """
        return await self._rest(account, token, REST_MS, LONGEST_REST_MS if lied else REST_MS, why)

    async def missed(self, why: str, *, age_ms: int, relied_at: int, account: str = "default") -> int:
        """A read by id found a change of this age, of a task that was left to the list at that moment (ms).

        If a pass should have shown it, the list rests as one that lied. Replies as `rest`.
        """
        return await self._rest(account, "", REST_MS, LONGEST_REST_MS, why, age_ms, relied_at, OVERLAP_MS)

    async def _rest(self, *arguments: str | int) -> int:
        word, *rest_ms = await self._scripts.call("rest_listing", *arguments)
        return int(rest_ms[0]) if word == b"rests" else 0

    async def news(self, rows: Sequence[Observation]) -> list[Observation]:
        """Those rows that say something else of a watched task that has been seen before, and are not older.

        And those of a task whose snapshot somebody wrote over: whoever claims it puts it aside.
        """

        def question(pipe: Any, row: Observation) -> None:
            pipe.zscore(self._store.keys.watch, str(row.task_id))
            pipe.hmget(self._store.keys.snapshot(str(row.task_id)), "status", "updated_at")

        with store_errors():
            replies = await ask(self._store, rows, question, wrong_types=True)
        known = zip(rows, replies[::2], replies[1::2], strict=True)
        return [row for row, due, snapshot in known if due is not None and _is_news(row, snapshot)]

    async def claim_named(self, members: Sequence[str], *, lease_ms: int) -> Named:
        """Lease these tasks, due or not; those that are not watched are left out."""
        if not members:
            return Named(0, [], [])
        token = token_hex(16)
        now = await self._scripts.now()
        reply = await self._scripts.call(
            "claim_named", lease_ms, token, BROKEN_SNAPSHOT.as_json(now), REJECTED, *members
        )
        tasks = []
        for entry in reply[3:]:
            with suppress(ValueError, TypeError, AttributeError):  # nonsense, which the next claim of it puts aside
                tasks.append(watched_task(entry, token, behind_ms=int(reply[1])))
        return Named(int(reply[0]), tasks, [as_text(member) for member in reply[2]])

    async def hasten(self, *, within_ms: int, reach_ms: int, skip: int, account: str = "default") -> tuple[int, int]:
        """Have what relied on the list read one by one again, a step.

        Replies how many were brought forward, and how many are late for another reason: the next step skips those.
        """
        moved, left = await self._scripts.call("hasten_tasks", account, within_ms, reach_ms, HASTENED, skip)
        return int(moved), int(left)


def _is_news(row: Observation, snapshot: Sequence[bytes | None] | ResponseError) -> bool:
    """Whether a row says something else and is not surely older, or what is known cannot be read."""
    if isinstance(snapshot, ResponseError):
        return True
    status, updated = map(as_text, snapshot)
    if not status or row.updated_at is None:
        return False
    since = order(row, Known(parse_instant(updated), updated))
    return since > 0 if row.status == status else since >= 0


def _or_none(value: Any) -> int | None:
    text = as_text(value)
    return int(float(text)) if text else None
