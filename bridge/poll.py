"""Watching: claim due tasks, fetch each, and commit what changed the moment it is seen."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from bridge import diff, events, schedule
from bridge.errors import StoreDown
from bridge.kinds import TASK, kind_of
from bridge.model import (
    Change,
    Delay,
    Event,
    FetchFailure,
    FetchFault,
    Observation,
    Postponement,
    Relying,
    Snapshot,
    WatchedTask,
)
from bridge.pump import Batch, Log, RedisClock, persist
from bridge.stall import stall
from bridge.tally import POLL_OUTCOMES, POLLS, Tally, taken_from
from bridge.tracing import UNTRACED, Tracing

Word = TypeVar("Word")

COMPARED = 4
"""One in so many requests, where they are few, compares a task with what the list tells; …"""
PACE_MS = 100
"""… where they are not, one in so long a time."""
CLOSELY_SECONDS = 600.0
"""How long a task that the list contradicted is read at the interval, whatever the list tells."""
UNPROMPTED_PAUSE_SECONDS = 15.0
"""How long a key rests after a 429 that does not say how long; what TwelveLabs' own examples wait."""
KEY_PROBE_SECONDS = 60.0
"""How long a refused key rests between two probes."""
USED_UP_SECONDS = 60.0
"""The longest rest for a header alone, of an answer that was a good one."""
LEAST_PAUSE_SECONDS = 1.0
"""A 429 that names a moment now or past still rests the key: asking again at once would only feed it."""
GRANT_SECONDS = 1.0
"""A claim's place in the request budget is good for this long; later, the task is given back unread."""
ENDED = -1
STALE = "the answer is older than what was known, and ignored"
"""What a person reads of a task whose readings step back in time."""
CLOCK_MARGIN_MS = 50
"""Our reading of Redis' clock lags by up to a round trip; a second reading this much later is surely late enough."""


class Claim(Protocol):
    """What a claim brought."""

    @property
    def now(self) -> int: ...
    @property
    def next_at(self) -> int | None: ...
    @property
    def probe(self) -> bool: ...
    @property
    def tasks(self) -> Sequence[WatchedTask]: ...


class Registry(Protocol):
    """What watching needs of the store."""

    async def claim_tasks(self, slots: int, *, lease_ms: int, per_minute: int, tally: Tally) -> Claim: ...
    async def postpone(self, task: WatchedTask, rest: Postponement) -> str: ...
    async def refuse(self, task: WatchedTask, reason: str, fix: str) -> str: ...
    async def reject_unseen(self, task: WatchedTask) -> str: ...
    async def commit(self, task: WatchedTask, event: Event, snapshot: Snapshot, *, delay_ms: Delay) -> str: ...
    async def announce(self, task: WatchedTask, event_id: str, *, delay_ms: Delay) -> str: ...
    async def pause_account(self, seconds: float, *, key_refused: bool = False) -> None: ...
    async def key_accepted(self) -> None: ...


class Upstream(Protocol):
    """Where a task's state is read."""

    async def fetch(self, task_id: str) -> Observation | FetchFailure: ...


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How tasks are watched."""

    interval_seconds: float = 5.0
    lease_seconds: float = 20.0
    requests_per_minute: int = 0
    reconcile_seconds: float = 0.0
    """The interval of a task that upstream's list tells of; 0: none does."""
    stalled_seconds: float = 0.0
    """What has stood still for so long, and for longer than its video lasts, has stalled; 0: nothing ever has."""
    list_fresh_seconds: float = 30.0
    """The list tells while a pass over it was complete within this."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A claimed task on its way: when it was claimed, and whether it is the probe of a refused key."""

    task: WatchedTask
    claimed_at: float
    probe: bool
    due: bool = True
    """It was its turn to be read; False: upstream's list had news of it."""
    closely: bool = False
    """The list contradicts it: it is read again soon, and for a while as often as without a list."""


class Poller:
    """One process' watching. `jitter` gives a number uniform in [-1, 1].

    `counted`: what is counted here, and by whoever else was given it, goes to Redis with the next claim; what a process
    counted after its last claim is lost.
    """

    def __init__(
        self,
        registry: Registry,
        upstream: Upstream,
        policy: PollPolicy,
        *,
        clock: RedisClock,
        jitter: Callable[[], float],
        log: Log,
        counted: Counter[str] | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._tracing = tracing
        self._registry, self._upstream, self._policy = registry, upstream, policy
        self._clock, self._jitter, self._log = clock, jitter, log
        self._tally: Counter[str] = Counter()
        self._counted = Counter[str]() if counted is None else counted
        self._latest = 0
        self._trouble = ""
        self.found: Callable[[WatchedTask, Observation], Awaitable[None]] | None = None
        """Told of each change that was found because it was a task's turn to be read."""

    async def claim(self, slots: int) -> Batch[Reading]:
        """Lease due tasks."""
        lease_ms = int(self._policy.lease_seconds * 1000)
        counted = taken_from(self._counted)
        try:
            claim = await self._registry.claim_tasks(
                slots, lease_ms=lease_ms, per_minute=self._policy.requests_per_minute, tally=counted
            )
        except StoreDown:
            self._counted.update(counted)
            raise
        self._clock.set(claim.now)
        claimed_at = time.monotonic()
        for task in claim.tasks:
            self._latest = max(self._latest, claim.now - task.due_at)
        readings = [Reading(task, claimed_at, claim.probe) for task in claim.tasks]
        return Batch(claim.now, claim.next_at, readings)

    async def read(self, reading: Reading) -> None:
        """Fetch one task and remember what that came to."""
        if time.monotonic() - reading.claimed_at > GRANT_SECONDS:
            await self._postpone(reading, Postponement.of(reading.task, 0), "late")
            return
        with self._tracing.fetch(reading.task) as span:
            seen = await self._upstream.fetch(reading.task.member)
            span.came_to(seen)
        if reading.probe and proves_key(seen):
            await self._persist(reading, self._registry.key_accepted, "probed", count=False)
            self._log.info("key.accepted")
        await self.hear(reading, seen)

    def named(self, now: int, tasks: Sequence[WatchedTask]) -> list[Reading]:
        """Readings of tasks that were claimed by name at `now`, Redis' time (ms)."""
        if tasks:
            self._clock.set(now)
        return [Reading(task, time.monotonic(), probe=False, due=False) for task in tasks]

    async def hear(self, reading: Reading, seen: Observation | FetchFailure, *, again: bool = False) -> None:
        """Commit what a reading says, or that it says nothing new. `again`: the task is read once more, soon."""
        if isinstance(seen, FetchFailure):
            await self._failed(reading, seen)
        else:
            await self._seen(reading, seen, again=again)

    async def put_off(self, reading: Reading, when: int) -> None:
        """Give a task back unread, to be read at a moment (Redis' time, ms) at which there is a request for it."""
        await self._postpone(reading, Postponement.of(reading.task, max(0, when - self._clock.now())), "late")

    async def use_up(self, seconds: float) -> None:
        """An answer said that it was the last one for so long: rest; after a minute at most, see whether that is so."""
        with suppress(StoreDown):  # the next answer says so again
            await self._registry.pause_account(min(max(seconds, LEAST_PAUSE_SECONDS), USED_UP_SECONDS))

    async def rest(self, failure: FetchFailure) -> bool:
        """Rest the key if a request that was about no task was refused or throttled; replies whether it rests."""
        if failure.fault is FetchFault.THROTTLED:
            seconds = pause_seconds(failure.retry_after_seconds)
        elif failure.fault is FetchFault.CREDENTIAL:
            seconds = KEY_PROBE_SECONDS
        else:
            return False
        refused = failure.fault is FetchFault.CREDENTIAL
        await self._registry.pause_account(seconds, key_refused=refused)
        self._log.warning("key.refused" if refused else "upstream.throttled", seconds=seconds, detail=failure.detail)
        return True

    async def accept(self) -> None:
        """A page that was the probe of a refused key was not refused."""
        await self._registry.key_accepted()
        self._log.info("key.accepted")

    def report(self) -> None:
        """Write one wide line of what happened since the last one, and why reads failed; nothing of nothing."""
        if self._tally:
            self._log.info("poll.round", reads=sum(self._tally.values()), late_ms=self._latest, **dict(self._tally))
            if faulty := self._tally[FetchFault.TRANSIENT]:
                self._log.warning("upstream.faulty", reads=faulty, detail=self._trouble)
            self._tally.clear()
            self._latest = 0

    async def _seen(self, reading: Reading, seen: Observation, *, again: bool) -> None:
        task, now = reading.task, self._clock.now()
        kind = kind_of(task.member)
        verdict = diff.diff(task.snapshot, seen, doubt=task.doubt, doubted_at=task.doubted_at, now=now, kind=kind)
        if isinstance(verdict, Change):
            await self._commit(reading, verdict, again=again)
        elif isinstance(verdict, diff.Doubtful):
            await self._doubted(reading, verdict)
        elif isinstance(verdict, diff.Stale):
            rest = Postponement(self._interval_ms(first=False), error=STALE)
            await self._postpone(reading, rest, "stale")
        else:
            await self._unchanged(reading, seen)

    async def _doubted(self, reading: Reading, verdict: diff.Doubtful) -> None:
        """Ask again soon, once: what says something else each time is read at the interval like anything else."""
        task, now = reading.task, self._clock.now()
        again = verdict.fingerprint == task.doubt and task.doubted_at is not None
        soon = (again or task.doubt is None) and verdict.lasting_ms == diff.DOUBT_MS
        delay = diff.DOUBT_MS + CLOCK_MARGIN_MS if soon else self._interval_ms(first=False)
        since = task.doubted_at if again else now
        error = f"TwelveLabs is asked again before its answer is told: {verdict.why}"
        await self._postpone(
            reading, Postponement(delay, doubt=verdict.fingerprint, doubted_at=since, error=error), "doubted"
        )

    async def _unchanged(self, reading: Reading, seen: Observation) -> None:
        task, snapshot = reading.task, reading.task.snapshot
        if snapshot is None:
            raise AssertionError("a first sight is a change")
        delay = closer(reading, self._delay_after(task.member, snapshot))
        patience_ms = int(self._policy.stalled_seconds * 1000)
        if task.announce:
            await self._persist(
                reading, lambda: self._registry.announce(task, snapshot.event_id, delay_ms=delay), "announced"
            )
        elif stalled := stall(snapshot, seen, task.member, patience_ms=patience_ms, now=self._clock.now()):
            await self._commit(reading, stalled)
        else:
            await self._postpone(reading, Postponement(delay), "unchanged")

    async def _commit(self, reading: Reading, change: Change, *, again: bool = False) -> None:
        task = reading.task
        now, metadata = self._clock.now(), task.options.metadata
        event = events.event_from(change, task.member, now=now, metadata=metadata, behind_ms=task.behind_ms)
        snapshot = events.snapshot_after(change, event)
        usual = self._delay_after(task.member, snapshot, first=change.previous is None)
        delay = CLOCK_MARGIN_MS if again else closer(reading, usual)
        with self._tracing.commit(task, event) as span:
            word = await self._persist(
                reading, lambda: self._registry.commit(task, event, snapshot, delay_ms=delay), "changed"
            )
            span.came_to(word)
        if word is None:
            return  # Redis took it not: another claim reads it again
        self._log.info(
            "task.changed",
            task=task.member,
            event_id=event.id,
            type=event.type,
            revision=event.revision,
            changed=",".join(change.changed),
            outcome=word,
        )
        moved = change.previous and change.stalled_since is None
        if self.found and reading.due and moved and change.observation:
            await self.found(task, change.observation)

    async def _failed(self, reading: Reading, failure: FetchFailure) -> None:
        task, fault = reading.task, failure.fault
        if fault in {FetchFault.GONE, FetchFault.BAD_WATCH, FetchFault.FORBIDDEN}:
            await self._absent(reading, failure)
            return
        if fault is FetchFault.THROTTLED:
            seconds = pause_seconds(failure.retry_after_seconds)
            await self._pause(reading, seconds, failure)
            rest = Postponement.of(task, int(seconds * 1000), error=failure.detail)
        elif fault is FetchFault.CREDENTIAL:
            await self._pause(reading, KEY_PROBE_SECONDS, failure)
            # The pause is the key's. Once a key is accepted, this task is read as soon as any other.
            rest = Postponement.of(task, self._interval_ms(first=False), error=failure.detail)
        else:
            rest, self._trouble = self._after_fault(task, failure), failure.detail
        await self._postpone(reading, rest, str(fault))

    def _after_fault(self, task: WatchedTask, failure: FetchFailure) -> Postponement:
        """Try again at the interval, from the third fault in a row less and less often. What was doubted stays so."""
        delay = schedule.fault_in_ms(self._policy.interval_seconds, task.faults + 1, jitter=self._jitter())
        if failure.retry_after_seconds is not None:
            delay = max(delay, int(min(failure.retry_after_seconds, schedule.RETRY_AFTER_SECONDS) * 1000))
        return Postponement.of(task, delay, faults=task.faults + 1, error=failure.detail)

    async def _absent(self, reading: Reading, failure: FetchFailure) -> None:
        """Believe that there is nothing to watch after three answers over a minute; say so, and watch no longer."""
        task, now = reading.task, self._clock.now()
        since = task.absent_since if task.absent_since is not None else now
        absences = task.absences + 1
        if not diff.is_gone(absences, since, now):
            delay = self._interval_ms(first=False)
            rest = Postponement(delay, absences=absences, absent_since=since, error=failure.detail)
            await self._postpone(reading, rest, str(failure.fault))
        elif failure.fault is FetchFault.GONE:
            await self._gone(reading)
        else:
            self._log.warning("task.refused", task=task.member, detail=failure.detail)
            reason, fix = f"TwelveLabs refuses this id: {failure.detail}", "check the id, and whose key made the task"
            await self._persist(reading, lambda: self._registry.refuse(task, reason, fix), "refused")

    async def _gone(self, reading: Reading) -> None:
        task = reading.task
        verdict = diff.gone(task.snapshot)
        if isinstance(verdict, Change):
            await self._commit(reading, verdict)
        elif task.snapshot and task.announce:
            event_id = task.snapshot.event_id
            await self._persist(reading, lambda: self._registry.announce(task, event_id, delay_ms=ENDED), "announced")
        else:
            await self._postpone(reading, Postponement(ENDED), "gone")
        if task.snapshot is None or (task.snapshot.gone and not task.snapshot.status):
            await self._persist(reading, lambda: self._registry.reject_unseen(task), "unseen", count=False)

    async def _pause(self, reading: Reading, seconds: float, failure: FetchFailure) -> None:
        refused = failure.fault is FetchFault.CREDENTIAL
        await self._persist(
            reading, lambda: self._registry.pause_account(seconds, key_refused=refused), "paused", count=False
        )
        self._log.warning("key.refused" if refused else "upstream.throttled", seconds=seconds, detail=failure.detail)

    def _delay_after(self, member: str, snapshot: Snapshot, *, first: bool = False) -> Delay:
        kind, now = kind_of(member), self._clock.now()
        finished = diff.is_finished(snapshot.status, snapshot.hls_status, snapshot.terminal_since, now, kind)
        if finished or snapshot.gone:
            return ENDED
        near = self._interval_ms(first=first)
        listed = kind is TASK and self._policy.reconcile_seconds  # no other kind's list is read
        if not listed or snapshot.status in kind.terminal:
            return near
        far, fresh = int(self._policy.reconcile_seconds * 1000), int(self._policy.list_fresh_seconds * 1000)
        share, per_minute = 1 - schedule.RECONCILE_SPREAD * abs(self._jitter()), self._policy.requests_per_minute
        return Relying(near, far, fresh, share, 60_000 * COMPARED // per_minute if per_minute else PACE_MS)

    def _interval_ms(self, *, first: bool) -> int:
        return schedule.poll_in_ms(self._policy.interval_seconds, first=first, jitter=self._jitter())

    async def _postpone(self, reading: Reading, rest: Postponement, kind: str) -> None:
        rest = replace(rest, delay_ms=closer(reading, rest.delay_ms))
        await self._persist(reading, lambda: self._registry.postpone(reading.task, rest), kind)

    async def _persist(
        self, reading: Reading, step: Callable[[], Awaitable[Word]], kind: str, *, count: bool = True
    ) -> Word | None:
        until = reading.claimed_at + self._policy.lease_seconds
        if count:
            self._tally[kind] += 1
            if kind in POLL_OUTCOMES:
                self._counted[POLLS + kind] += 1
        return await persist(step, until=until, log=self._log)


def closer(reading: Reading, delay: Delay) -> Delay:
    """The delay, or a short one where the list contradicts the task; one that has ended has ended."""
    near_ms = delay.near_ms if isinstance(delay, Relying) else delay
    if not reading.closely or near_ms < 0:
        return delay
    return Relying(min(near_ms, diff.DOUBT_MS + CLOCK_MARGIN_MS), 0, 0, closely_ms=int(CLOSELY_SECONDS * 1000))


def pause_seconds(asked: float | None) -> float:
    """How long a 429 rests the key: what it asks for, but neither for ever nor not at all."""
    if asked is None:
        return UNPROMPTED_PAUSE_SECONDS
    return min(max(asked, LEAST_PAUSE_SECONDS), schedule.RETRY_AFTER_SECONDS)


def proves_key(seen: Observation | FetchFailure) -> bool:
    """Whether an answer is one that only an accepted key gets: the task, or a word about this very id."""
    return isinstance(seen, Observation) or seen.fault in {FetchFault.GONE, FetchFault.BAD_WATCH, FetchFault.FORBIDDEN}
