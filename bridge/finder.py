"""Watching more than ids: finds the tasks of an index, or of the account, in upstream's list, and registers them.

Of all workers one finds at a time. What a page brings and how far the search has come are written in one step, so that
whoever dies between two pages loses nothing, and whoever comes after registers nothing twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bridge.contract import check_member
from bridge.diff import parse_instant
from bridge.entries import Judge
from bridge.finding import Row, Search, after_failure, after_page
from bridge.kinds import Kind
from bridge.model import FetchFailure, FetchFault, Observation
from bridge.poll import proves_key
from bridge.pump import Log, keep_on
from bridge.rejection import Rejection, rejected_field
from bridge.skim import CLOCKS_APART_MS
from bridge.watches import WATCHES, Watch

LOOK_SECONDS = 10.0
"""How soon a hand-written HSET is noticed, at the latest; an idle bridge asks no more often."""
LEASE_SECONDS = 30.0
"""Whoever finds and dies is replaced after this; it is said anew with each page."""
ROUND_PAGES = 20
"""The most pages that one search reads before the others have their turn."""
GOES_ON = frozenset({"ok", "moved"})
"""The words after which the turn still is ours."""
REFUSED = frozenset({FetchFault.GONE, FetchFault.BAD_WATCH, FetchFault.FORBIDDEN})


class Turn(Protocol):
    """How the finding stands."""

    @property
    def word(self) -> str: ...
    @property
    def now(self) -> int: ...
    @property
    def next_at(self) -> int: ...
    @property
    def token(self) -> str: ...
    @property
    def probe(self) -> bool: ...
    @property
    def written(self) -> Mapping[bytes, bytes]: ...
    def in_force(self, name: bytes) -> bytes | None: ...
    def state(self, watch: Watch, kind: Kind) -> bytes | None: ...


class Found(Protocol):
    """What became of a page."""

    @property
    def word(self) -> str: ...
    @property
    def registered(self) -> int: ...


class Watches(Protocol):
    """What finding needs of the store."""

    async def claim(self, *, lease_ms: int, look_ms: int) -> Turn: ...
    async def take(self, token: str, name: bytes, text: bytes) -> str: ...
    async def reject(self, token: str, name: bytes, text: bytes, rejection: Rejection) -> str: ...
    async def found(
        self, token: str, watch: Watch, text: bytes, kind: Kind, *, state: str, members: Sequence[str], lease_ms: int
    ) -> Found: ...
    async def end(self, token: str) -> None: ...
    async def say_broken(self) -> str: ...


class Budget(Protocol):
    """Requests to upstream, granted one by one."""

    async def grant(self, *, per_minute: int) -> int: ...


class Page(Protocol):
    """A page of a list."""

    @property
    def rows(self) -> Sequence[Observation]: ...
    @property
    def count(self) -> int: ...
    @property
    def full(self) -> int: ...
    @property
    def dated(self) -> datetime | None: ...


class Upstream(Protocol):
    """Where pages are read."""

    async def fetch_created(
        self, kind: Kind, index: str | None, number: int, *, on_way: bool
    ) -> Page | FetchFailure: ...


class Poller(Protocol):
    """Who rests the key, and is told when it is good again."""

    async def rest(self, failure: FetchFailure) -> bool: ...
    async def accept(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FindPolicy:
    """How tasks are found."""

    judge: Judge
    interval_seconds: float = 15.0
    """Between two passes of a search."""
    requests_per_minute: int = 0
    page_rows: int = 50
    """A page with fewer is the last one."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of tasks that one watch finds."""

    watch: Watch
    text: bytes
    kind: Kind
    search: Search


class Finder:
    """One process' finding."""

    def __init__(
        self,
        watches: Watches,
        budget: Budget,
        upstream: Upstream,
        poller: Poller,
        policy: FindPolicy,
        *,
        permitted: Callable[[], bool],
        log: Log,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._watches, self._budget, self._upstream, self._poller = watches, budget, upstream, poller
        self._policy, self._permitted, self._log, self._sleep = policy, permitted, log, sleep
        self._again_ms, self._lease_ms = int(policy.interval_seconds * 1000), int(LEASE_SECONDS * 1000)
        self._kept: dict[bytes, bytes] = {}
        self._trouble = ""
        self._probes = False
        """The key is refused, and the next page finds out whether it still is."""

    async def run(self) -> None:
        """Round after round, until cancelled. While Redis is away it only waits."""
        await keep_on(
            self.round,
            permitted=self._permitted,
            sleep=self._sleep,
            idle_seconds=LOOK_SECONDS,
            log=self._log,
            fault="find.fault",
        )

    async def round(self) -> float:
        """One look at the watches, and what is due of them, if it is our turn. Replies when to look again (seconds)."""
        turn = await self._watches.claim(lease_ms=self._lease_ms, look_ms=int(LOOK_SECONDS * 1000))
        if turn.word == "broken":
            await self._tell(await self._watches.say_broken())
        elif turn.word == "yours":
            self._probes = turn.probe
            await self._tell("")
            try:
                for job in sorted(await self._jobs(turn), key=lambda one: one.search.due):
                    if job.search.due <= turn.now and not await self._find(turn, job):
                        break
            finally:
                await self._watches.end(turn.token)
        return min(max(turn.next_at - turn.now, 50) / 1000, LOOK_SECONDS)

    async def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warning("find.paused", reason=trouble)
        self._trouble = trouble

    async def _jobs(self, turn: Turn) -> list[Job]:
        """What is to be found, of all watches that are good. Those that are in force come before new ones."""
        jobs: list[Job] = []
        names = sorted(turn.written, key=lambda name: (turn.in_force(name) is None, name))
        for number, name in enumerate(names):
            text = turn.written[name]
            try:
                found = self._judged(number, name, text)
            except Rejection as rejection:
                await self._reject(turn, name, text, rejection)
                continue
            self._kept.pop(name, None)
            if turn.in_force(name) != text:
                if await self._watches.take(turn.token, name, text) != "ok":
                    continue
                self._log.info("watch.taken", watch=found.name)
            if found.expires_at is not None and found.expires_at <= turn.now:
                continue
            searches = ((kind, Search.read(turn.state(found, kind), since=found.since)) for kind in found.kinds)
            jobs += [Job(found, text, kind, search.by(turn.now, self._again_ms)) for kind, search in searches]
        return jobs

    def _judged(self, number: int, name: bytes, text: bytes) -> Watch:
        if number >= WATCHES:
            raise Rejection("", f"there are {WATCHES} watches already", "watch the account, or take another one back")
        return self._policy.judge.watch(name, text)

    async def _reject(self, turn: Turn, name: bytes, text: bytes, rejection: Rejection) -> None:
        if self._kept.get(name) == text:
            return
        word = await self._watches.reject(turn.token, name, text, rejection)
        if word == "kept":
            self._kept[name] = text
        if word in {"restored", "deleted", "kept"}:
            entry = rejected_field("watch", name)
            self._log.warning("rejected", entry=entry, **rejection.told(entry))

    async def _find(self, turn: Turn, job: Job) -> bool:
        """Go on with a search. Replies whether there may be something left to do for others."""
        search, before = job.search.resumed(), list[Row]()
        for _ in range(ROUND_PAGES):
            if await self._budget.grant(per_minute=self._policy.requests_per_minute):
                return False
            page = await self._upstream.fetch_created(job.kind, job.watch.index, search.page, on_way=search.on_way)
            if self._probes and (not isinstance(page, FetchFailure) or proves_key(page)):
                self._probes = False
                await self._poller.accept()
            if isinstance(page, FetchFailure):
                return await self._failed(turn, job, search, page)
            rows = [row_of(one, job.kind, job.watch.index) for one in page.rows]
            repeats = bool(rows) and rows == before  # upstream ignores which page is asked for
            last, theirs = repeats or page.count < min(page.full, self._policy.page_rows), theirs_of(page, turn.now)
            step = after_page(search, rows, last=last, now=turn.now, again_ms=self._again_ms, theirs=theirs)
            search, before = step.search, rows if step.search.page > 1 else []
            word = await self._remember(turn, job, search, [member_of(one, job) for one in step.wanted])
            if step.over or word != "ok":
                return word in GOES_ON
        return True

    async def _remember(self, turn: Turn, job: Job, search: Search, members: Sequence[str]) -> str:
        """Write down a page; replies the word of the store."""
        good = [member for member in dict.fromkeys(members) if _is_member(member)]
        found = await self._watches.found(
            turn.token, job.watch, job.text, job.kind, state=search.as_json(), members=good, lease_ms=self._lease_ms
        )
        if found.registered:
            self._log.info("watch.found", watch=job.watch.name, tasks=found.registered)
        return found.word

    async def _failed(self, turn: Turn, job: Job, search: Search, failure: FetchFailure) -> bool:
        # A list that refuses the key again, though something else has proved it good since, refuses it alone.
        alone = failure.fault is FetchFault.CREDENTIAL and failure.detail == search.error and not self._probes
        refused = failure.fault in REFUSED or alone
        if failure.fault in REFUSED and search.page > 1:  # the page before was full, and this one is not there
            known = after_page(search, (), last=True, now=turn.now, again_ms=self._again_ms).search
            return await self._remember(turn, job, known, ()) in GOES_ON
        when = {"now": turn.now, "again_ms": self._again_ms, "asked_ms": int(1000 * (failure.retry_after_seconds or 0))}
        known = after_failure(search, failure.detail, refused=refused, **when)
        if known.error != job.search.error:
            self._log.warning("watch.faulty", watch=job.watch.name, detail=failure.detail)
        rests = await self._poller.rest(failure)
        return await self._remember(turn, job, known, ()) in GOES_ON and not rests


def theirs_of(page: Page, now: int) -> int | None:
    """Upstream's time (ms) when it made a page; None where it does not say, or nothing near ours (`now`)."""
    theirs = int(page.dated.timestamp() * 1000) if page.dated else None
    return theirs if theirs is not None and abs(theirs - now) <= CLOCKS_APART_MS else None


def row_of(seen: Observation, kind: Kind, index: str | None) -> Row:
    """A row as a search looks at it. It may be of another index, should upstream not have asked for ours."""
    theirs = seen.task.get("index_id")
    written = seen.task.get("created_at")
    created = parse_instant(written) if isinstance(written, str) else None
    ms = None if created is None else int(created.timestamp() * 1000)
    ours = index is None or not isinstance(theirs, str) or theirs == index
    return Row(str(seen.task_id), ms, seen.status in kind.terminal, ours)


def member_of(task_id: str, job: Job) -> str:
    """How a task is registered."""
    parts = {"id": task_id, "index": job.watch.index or ""}
    path = "/".join(parts[part] for part in job.kind.parts)
    return f"{job.kind.name}:{path}" if job.kind.name else path


def _is_member(member: str) -> bool:
    try:
        check_member(member)
    except Rejection:
        return False
    return True
