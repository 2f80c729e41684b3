"""Watching by upstream's list: one request tells of fifty tasks, so that watching costs as much as what changes.

Of all workers one lists at a time. What the list has news of is claimed by name and committed as any other reading:
from the row itself while a task is on its way and nothing speaks against it, and else from one read by id. Tasks are
read by id all the same, seldom: that finds what a moving list hides, and a list that does not tell what is so. Where it
fails, or is found to lie, they are read again as often as without one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from bridge.errors import StoreDown
from bridge.model import FetchFailure, FetchFault, Observation, WatchedTask
from bridge.poll import Reading
from bridge.pump import Log, keep_on
from bridge.skim import (
    DEEP_MS,
    LONGEST_REST_SECONDS,
    Pass,
    Weight,
    asked_ms,
    fresh_seconds,
    is_plain,
    is_useless,
    weigh,
)

PAGES = 40
"""The most pages of one pass; an account where more moves in an interval is read by id."""
ABREAST = 50
"""How many tasks are claimed, and settled, at a time."""
LEASE_SECONDS = 30.0
"""Whoever lists and dies is replaced after this; it is said anew with each page."""
BUSY_TRIES, BUSY_SECONDS = 100, 0.1
"""What somebody else reads by id is waited for until its lease ends, which whoever is killed holds. The turn is said
anew after so many looks, each such a time after the one before."""
STEPS = 1_000
"""How often at most a step of tasks is brought forward; the next look goes on."""
SCARCE = "no request is left for a page"
PAGE_WAITS, PAGE_WAIT_SECONDS = 24, 5.0
"""How often and how long a request for a further page is waited for: two minutes."""
BRISK = 0.75
"""A pass that told something is followed by the next after this part of the interval: a pass itself takes its time, and
what has just moved moves again."""
IDLE_SECONDS = 1.0
SOON_SECONDS = 0.05
"""After a pass, its end has told Redis when the next one begins: that is asked for."""


class Turn(Protocol):
    """How the listing stands."""

    @property
    def word(self) -> str: ...
    @property
    def now(self) -> int: ...
    @property
    def next_at(self) -> int: ...
    @property
    def mark(self) -> int | None: ...
    @property
    def listed_at(self) -> int | None: ...
    @property
    def deep(self) -> bool: ...
    @property
    def token(self) -> str: ...
    @property
    def why(self) -> str: ...


class Named(Protocol):
    """Tasks claimed by name."""

    @property
    def now(self) -> int: ...
    @property
    def tasks(self) -> Sequence[WatchedTask]: ...
    @property
    def busy(self) -> Sequence[str]: ...


class Listings(Protocol):
    """What listing needs of the store."""

    async def claim(self, *, lease_ms: int, least: int, interval_ms: int, rest_ms: int) -> Turn: ...
    async def grant(self, *, per_minute: int) -> int: ...
    async def go_on(self, token: str, *, lease_ms: int) -> bool: ...
    async def done(self, token: str, *, again_ms: int, mark: int | None, deep_ms: int | None) -> None: ...
    async def failed(self, token: str, *, again_ms: int, why: str, rest_ms: int) -> None: ...
    async def rest(self, token: str, why: str, *, lied: bool) -> int: ...
    async def missed(self, why: str, *, age_ms: int, relied_at: int) -> int: ...
    async def news(self, rows: Sequence[Observation]) -> list[Observation]: ...
    async def claim_named(self, members: Sequence[str], *, lease_ms: int) -> Named: ...
    async def hasten(self, *, within_ms: int, reach_ms: int, skip: int) -> tuple[int, int]: ...


class Page(Protocol):
    """A page of the list."""

    @property
    def rows(self) -> Sequence[Observation]: ...
    @property
    def count(self) -> int: ...
    @property
    def full(self) -> int: ...
    @property
    def dated(self) -> datetime | None: ...


class Upstream(Protocol):
    """Where pages and tasks are read."""

    async def fetch_page(self, number: int) -> Page | FetchFailure: ...
    async def fetch(self, task_id: str) -> Observation | FetchFailure: ...


class Poller(Protocol):
    """Who commits what a reading says."""

    def named(self, now: int, tasks: Sequence[WatchedTask]) -> list[Reading]: ...
    async def hear(self, reading: Reading, seen: Observation | FetchFailure, *, again: bool = False) -> None: ...
    async def put_off(self, reading: Reading, when: int) -> None: ...
    async def rest(self, failure: FetchFailure) -> bool: ...


@dataclass(frozen=True, slots=True)
class ListPolicy:
    """How the list is read."""

    interval_seconds: float = 5.0
    """Between two passes."""
    lease_seconds: float = 20.0
    """Of a task."""
    requests_per_minute: int = 0
    least_tasks: int = 20
    """With fewer watched tasks than this, reading by id is as cheap, and tells more."""
    page_rows: int = 50


class Lister:
    """One process' part in listing. It works while `permitted`, and never beside another's turn."""

    def __init__(
        self,
        listings: Listings,
        upstream: Upstream,
        poller: Poller,
        policy: ListPolicy,
        *,
        permitted: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        log: Log,
    ) -> None:
        self._listings, self._upstream, self._poller, self._policy = listings, upstream, poller, policy
        self._fresh_ms = fresh_seconds(policy.interval_seconds, policy.requests_per_minute) * 1000
        self._permitted, self._sleep, self._log = permitted, sleep, log
        self._failing = ""

    async def run(self) -> None:
        """Pass after pass, until cancelled. While Redis is away it only waits."""
        await keep_on(
            self.round,
            permitted=self._permitted,
            sleep=self._sleep,
            idle_seconds=IDLE_SECONDS,
            log=self._log,
            fault="list.fault",
        )

    async def round(self) -> float:
        """One look: whose turn it is, and a pass if it is ours. Replies when to look again (seconds)."""
        policy = self._policy
        turn = await self._listings.claim(
            lease_ms=int(LEASE_SECONDS * 1000),
            least=policy.least_tasks,
            interval_ms=int(policy.interval_seconds * 1000),
            rest_ms=int(LONGEST_REST_SECONDS * 1000),
        )
        stale = turn.listed_at is not None and (turn.word == "few" or turn.now - turn.listed_at > self._fresh_ms)
        if turn.word != "yours":
            if stale and (turn.word == "few" or turn.why != SCARCE):
                await self._leave()
            return min(max(turn.next_at - turn.now, 50) / 1000, policy.interval_seconds)
        done = await self._pass(turn)
        if stale and not done:
            await self._leave()
        return SOON_SECONDS if done else policy.interval_seconds

    async def _pass(self, turn: Turn) -> bool:
        """One pass, and what follows from how it ended; replies whether the list may be relied on.

        It was complete, and told what is so; or there was no request for it, and so is none for reading by id. What was
        read of it is told in any case: it was served, and may be otherwise by the next pass.
        """
        made = Pass(turn.mark, turn.now, deep=turn.deep)
        again_ms = int(self._policy.interval_seconds * 1000)
        failure = await self._read(turn, made)
        if failure:
            await self._poller.rest(failure)  # before what was read of it asks for anything by id
        if not made.lie and await self._commit(turn, made) and failure is None:
            again_ms = int(again_ms * BRISK)
        if made.lie:
            await self._rests(await self._listings.rest(turn.token, made.lie, lied=True), made.lie)
        elif failure is None:
            deep_ms = DEEP_MS if turn.deep else None
            await self._listings.done(turn.token, again_ms=again_ms, mark=made.next_mark, deep_ms=deep_ms)
            self._failing = ""
            return True
        elif is_useless(failure, before=self._failing):
            await self._rests(await self._listings.rest(turn.token, failure.detail, lied=False), failure.detail)
        else:
            if failure.detail not in {self._failing, SCARCE}:
                self._failing = failure.detail
                self._log.warning("list.fails", detail=failure.detail)
            await self._listings.failed(turn.token, again_ms=again_ms, why=failure.detail, rest_ms=asked_ms(failure))
        return failure is not None and failure.detail == SCARCE

    async def compare(self, task: WatchedTask, seen: Observation) -> None:
        """A change was found by id. A list that should have told of it, and did not, is believed no longer."""
        if task.relied_at is None or seen.updated_at is None:
            return
        theirs = seen.dated or datetime.now(UTC)
        age_ms = int((theirs - seen.updated_at).total_seconds() * 1000)
        why = f"it did not show that {task.member} is “{seen.status}”"
        with suppress(StoreDown):  # the change is committed; the next one shows it, too
            await self._rests(await self._listings.missed(why, age_ms=age_ms, relied_at=task.relied_at), why)

    async def _rests(self, rest_ms: int, why: str) -> None:
        """The list rests from now on, if it does."""
        if rest_ms:
            fix = "none needed: tasks are read by id"
            self._log.warning("list.rests", seconds=rest_ms // 1000, detail=why, fix=fix)
            await self._leave()

    async def _read(self, turn: Turn, made: Pass) -> FetchFailure | None:
        """Read pages until the pass is complete, or a page fails."""
        for number in range(1, PAGES + 1):
            if not await self._is_granted(turn, waits=PAGE_WAITS if number > 1 else 0):
                return FetchFailure(FetchFault.TRANSIENT, SCARCE)
            page = await self._upstream.fetch_page(number)
            if isinstance(page, FetchFailure):
                return page
            if number == 1 and not page.rows:
                return FetchFailure(FetchFault.TRANSIENT, "the list is empty")
            made.add(page.rows, last=page.count < min(page.full, self._policy.page_rows), dated=page.dated)
            if made.complete or made.lie:
                return None
            if not await self._listings.go_on(turn.token, lease_ms=int(LEASE_SECONDS * 1000)):
                return FetchFailure(FetchFault.TRANSIENT, "somebody else lists")
        return FetchFailure(FetchFault.BAD_WATCH, f"more than {PAGES} pages moved since the pass before")

    async def _is_granted(self, turn: Turn, *, waits: int) -> bool:
        """Whether there is a request for a page. What was read of a pass is not thrown away for the want of one."""
        for _ in range(waits):
            if not await self._listings.grant(per_minute=self._policy.requests_per_minute):
                return True
            await self._sleep(PAGE_WAIT_SECONDS)
            if not await self._listings.go_on(turn.token, lease_ms=int(LEASE_SECONDS * 1000)):
                return False
        return not await self._listings.grant(per_minute=self._policy.requests_per_minute)

    async def _commit(self, turn: Turn, made: Pass) -> bool:
        """Whatever is new, in the order of its instants, each task's one after the other; whether there was any."""
        told = False
        for layer in made.layers():
            news = await self._listings.news(layer)
            told = told or bool(news)
            for start in range(0, len(news), ABREAST):
                await self._settle(turn, made, {str(row.task_id): row for row in news[start : start + ABREAST]})
        return told

    async def _settle(self, turn: Turn, made: Pass, rows: dict[str, Observation]) -> None:
        """Claim these tasks and commit what their rows say; one that is being read by id is waited for."""
        left = list(rows)
        for number in range(int(self._policy.lease_seconds / BUSY_SECONDS) + 1):
            if number % BUSY_TRIES == 0:
                await self._listings.go_on(turn.token, lease_ms=int(LEASE_SECONDS * 1000))
            named = await self._listings.claim_named(left, lease_ms=int(self._policy.lease_seconds * 1000))
            readings = self._poller.named(named.now, named.tasks)
            await asyncio.gather(*(self._hear(made, reading, rows[reading.task.member]) for reading in readings))
            left = list(named.busy)
            if not left:
                return
            await self._sleep(BUSY_SECONDS)

    async def _hear(self, made: Pass, reading: Reading, row: Observation) -> None:
        """Tell what a row says, or what the task says where the row is not enough."""
        known = reading.task.snapshot
        if known and is_plain(known, row) and not made.is_ahead(row):
            await self._poller.hear(reading, row)
            return
        when = await self._listings.grant(per_minute=self._policy.requests_per_minute)
        if when:
            await self._poller.put_off(reading, when)
            return
        seen = await self._upstream.fetch(reading.task.member)
        weight = weigh(known, row, seen) if isinstance(seen, Observation) else Weight.AGREES
        if weight is Weight.MOVED_ON:
            await self._poller.hear(reading, row, again=True)  # first this, then what it is now
        elif weight is Weight.CONTRADICTS:
            made.contradict()
            await self._poller.hear(replace(reading, closely=True), seen)
        else:
            await self._poller.hear(reading, seen)

    async def _leave(self) -> None:
        """The list does not tell any more: what relied on it is due soon."""
        within = int(self._policy.interval_seconds * 1000)
        reach = within + int(self._policy.lease_seconds * 1000)
        skip = 0
        for _ in range(STEPS):
            moved, left = await self._listings.hasten(within_ms=within, reach_ms=reach, skip=skip)
            if not moved + left:
                return
            skip += left
