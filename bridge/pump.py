"""Claims work while there are free slots and while it is permitted; never waits for a batch to end.

Polling and delivering are the same loop with another claim and another deed. It wakes for a nudge, for a slot that came
free, for the next due moment, and otherwise now and then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bridge.errors import StoreDown

IDLE_SECONDS = 5.0
"""The longest that an idle pump waits before it looks again: a nudge may be lost with the process that it went to."""
RETRY_SECONDS = 1.0
"""The longest wait between two tries while Redis is away."""
BUSY_SECONDS = 0.1
"""A pump that may claim nothing leaves nudges to others, and looks so often whether it may."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Log(Protocol):
    """What the cores need of a logger: an event and its fields."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def exception(self, event: str, **fields: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Batch(Generic[Item]):
    """What a claim brought: items, Redis' time, and when to come again (milliseconds)."""

    now: int
    next_at: int | None
    items: Sequence[Item]
    more: bool = False
    """Come again at once, whatever `next_at` says."""


class RedisClock:
    """Redis' time between two round trips: what it said last, and how long ago that was."""

    def __init__(self) -> None:
        self._offset = int(time.time() * 1000) - time.monotonic_ns() // 1_000_000

    def set(self, now: int) -> None:
        """Take over Redis' time."""
        self._offset = now - time.monotonic_ns() // 1_000_000

    def now(self) -> int:
        """Milliseconds since the Unix epoch, as Redis counts."""
        return time.monotonic_ns() // 1_000_000 + self._offset


class Permit:
    """Whether claiming is allowed just now: a running shift says until when. Thread-safe to extend and revoke."""

    def __init__(self) -> None:
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        """Claiming is allowed for this long from now."""
        self._until = time.monotonic() + seconds

    def revoke(self) -> None:
        """Claim nothing more."""
        self._until = 0.0

    @property
    def valid(self) -> bool:
        """Whether claiming is allowed."""
        return time.monotonic() < self._until


class Pump(Generic[Item]):
    """One process' window of work in flight."""

    def __init__(
        self,
        *,
        slots: int,
        claim: Callable[[int], Awaitable[Batch[Item]]],
        work: Callable[[Item], Awaitable[None]],
        wait: Callable[[float], Awaitable[bool]],
        permit: Permit,
        log: Log,
        gap_seconds: float = 0.0,
    ) -> None:
        self._slots, self._claim, self._work, self._wait = slots, claim, work, wait
        self._permit, self._log, self._gap = permit, log, gap_seconds
        self._in_flight: set[asyncio.Task[None]] = set()
        self._signal = asyncio.Event()
        self._stopping = False
        self._left = asyncio.Event()
        """`run` claims nothing any more."""
        self._left.set()

    @property
    def in_flight(self) -> int:
        """Items claimed and not yet done."""
        return len(self._in_flight)

    def nudge(self) -> None:
        """Look at once whether there is something to claim."""
        self._signal.set()

    async def run(self) -> None:
        """Claim and work until `stop`."""
        listener = asyncio.create_task(self._listen())
        failures = 0
        self._left.clear()
        try:
            while not self._stopping:
                self._signal.clear()
                if not self._may_claim:
                    await self._sleep(IDLE_SECONDS)
                    continue
                try:
                    seconds = await self._round()
                    failures = 0
                except Exception as error:
                    failures += 1
                    seconds = min(RETRY_SECONDS, 0.05 * 2 ** min(failures, 10))
                    self._tell(error, failures)
                await self._sleep(seconds)
        finally:
            self._left.set()
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def drain(self, seconds: float) -> int:
        """Claim nothing more and let what is in flight finish; replies how many did not within `seconds`.

        A claim that is under way may have leased its items already: it counts as in flight.
        """
        deadline = time.monotonic() + seconds
        self._stopping = True
        self._permit.revoke()
        self._signal.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), seconds)
        if not self._in_flight:
            return 0
        _, late = await asyncio.wait(self._in_flight, timeout=max(0.0, deadline - time.monotonic()))
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    async def _round(self) -> float:
        """Claim once and start what came; replies how long to wait unless something happens (seconds)."""
        batch = await self._claim(self._slots - len(self._in_flight))
        for item in batch.items:
            task = asyncio.create_task(self._do(item))
            self._in_flight.add(task)
            task.add_done_callback(self._done)
        if batch.more:
            return 0.0
        if batch.next_at is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(self._gap, (batch.next_at - batch.now) / 1000))

    async def _do(self, item: Item) -> None:
        try:
            await self._work(item)
        except Exception:
            # Ours, not the other side's: nothing is settled, the lease lapses and somebody tries again.
            self._log.exception("pump.fault")

    def _tell(self, error: Exception, failures: int) -> None:
        """Say why a claim failed. A fault of ours may be one broken record, so the others are tried all the same."""
        if failures not in {1, 10} and failures % 60:
            return
        if isinstance(error, StoreDown):
            self._log.warning("redis.away", error=str(error), fix=error.fix, tries=failures)
        else:
            self._log.exception("pump.fault")

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._signal.set()

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        if self._gap:
            await asyncio.sleep(min(self._gap, seconds))
        try:
            async with asyncio.timeout(seconds):
                await self._signal.wait()
        except TimeoutError:
            return

    @property
    def _may_claim(self) -> bool:
        return self._permit.valid and len(self._in_flight) < self._slots

    async def _listen(self) -> None:
        while not is_cancelled():
            if not self._may_claim:
                await asyncio.sleep(BUSY_SECONDS)
                continue
            try:
                if await self._wait(IDLE_SECONDS):
                    self._signal.set()
            except StoreDown:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                self._log.exception("pump.fault")
                await asyncio.sleep(RETRY_SECONDS)


def is_cancelled() -> bool:
    """Whether the running task was asked to end. To be asked in every endless loop that speaks to Redis.

    redis-py now and then turns the cancel of a call into an error of its own; the loop would never hear of it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def keep_on(
    look: Callable[[], Awaitable[float]],
    *,
    permitted: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]],
    idle_seconds: float,
    log: Log,
    fault: str,
) -> None:
    """Look again and again, until cancelled; `look` replies when to look next (seconds).

    While it is not permitted or Redis is away it only waits. A fault of ours is logged as `fault`, and ends nothing.
    """
    while not is_cancelled():
        seconds = idle_seconds
        try:
            if permitted():
                seconds = await look()
        except StoreDown:
            pass  # the pump says so
        except Exception:
            log.exception(fault)
        await sleep(seconds)


async def persist(step: Callable[[], Awaitable[Result]], *, until: float, log: Log) -> Result | None:
    """Repeat a step while Redis is away, until `until` (monotonic seconds, the end of the lease); then give it up.

    The step is a script, harmless when repeated. None means given up: the lease lapses and the work is done again.
    """
    wait = 0.05
    while True:
        try:
            return await step()
        except StoreDown as error:
            if time.monotonic() + wait >= until:
                log.warning("lease.lost", error=str(error))
                return None
            await asyncio.sleep(wait)
            wait = min(wait * 2, RETRY_SECONDS)
