"""What a poll worker does beside polling: take in what clients wrote, tell of endpoints, sweep, and forget."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from bridge.errors import StoreDown
from bridge.pump import Log, is_cancelled
from bridge.rejection import Rejection

INTAKE_SECONDS = 0.9
"""How soon a hand-written ZADD is noticed, at the latest."""
NUDGE_SECONDS = 4.0
"""How long one wait for a nudge lasts."""
ENDPOINTS_SECONDS = 2.0
"""How soon a hand-written HSET of an endpoint is noticed, at the latest (before a new task: at once)."""
SWEEP_SECONDS = 20.0
"""Between two pages of the sweep, …"""
BUSY_SWEEP_SECONDS = 5.0
"""… and after one that found something to put right or to forget."""


class Taken(Protocol):
    """What one round of intake did."""

    @property
    def tasks(self) -> int: ...
    @property
    def endpoints(self) -> int: ...
    @property
    def rejected(self) -> Mapping[str, Rejection]: ...
    @property
    def trouble(self) -> str: ...
    @property
    def more(self) -> bool: ...
    @property
    def notices(self) -> bool: ...


class Intake(Protocol):
    """Takes in what clients wrote."""

    async def run(self, *, endpoints: bool) -> Taken: ...


class Sweep(Protocol):
    """Looks at the next page of everything."""

    async def page(self) -> int: ...


class Teller(Protocol):
    """Tells what became of endpoints."""

    async def run(self) -> int: ...


class Upkeep:
    """One process' upkeep. `wait` waits so many seconds for a nudge, and says whether there was one; `taken` is called
    when work came in."""

    def __init__(
        self,
        intake: Intake,
        sweep: Sweep,
        teller: Teller,
        *,
        wait: Callable[[float], Awaitable[bool]],
        taken: Callable[[], None],
        report: Callable[[], None],
        log: Log,
    ) -> None:
        self._intake, self._sweep, self._teller, self._log = intake, sweep, teller, log
        self._wait, self._taken, self._report = wait, taken, report
        self._looked_at_endpoints = self._reported = self._sweep_from = 0.0
        self._trouble = ""
        self._nudged = asyncio.Event()

    async def run(self) -> None:
        """Round and round, until cancelled. While Redis is away it only waits."""
        listener = asyncio.create_task(self._listen())
        try:
            while not is_cancelled():
                self._nudged.clear()
                try:
                    if await self._round():
                        continue
                except StoreDown:
                    pass
                except Exception:
                    # A fault of ours must not end the intake of everybody's work.
                    self._log.exception("upkeep.fault")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), INTAKE_SECONDS)
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self) -> None:
        while not is_cancelled():
            try:
                if await self._wait(NUDGE_SECONDS):
                    self._nudged.set()
            except StoreDown:
                await asyncio.sleep(INTAKE_SECONDS)
            except Exception:
                self._log.exception("upkeep.fault")
                await asyncio.sleep(INTAKE_SECONDS)

    async def _round(self) -> bool:
        """One round; replies whether more waits to be taken in."""
        now = time.monotonic()
        endpoints = now - self._looked_at_endpoints >= ENDPOINTS_SECONDS
        try:
            taken = await self._intake.run(endpoints=endpoints)
        except StoreDown:
            raise
        except Exception:
            await self._sweep_at(now)  # it may be what puts right what intake tripped over
            raise
        if endpoints:
            self._looked_at_endpoints = now
        self._tell(taken)
        if taken.endpoints:
            self._sweep_from = 0.0  # what a new definition lets go, the sweep makes due
        await self._sweep_at(now)
        if now - self._reported >= 1.0:
            self._reported = now
            self._report()
        if taken.notices:
            await self._teller.run()
        return taken.more

    async def _sweep_at(self, now: float) -> None:
        if now >= self._sweep_from:
            self._sweep_from = now + BUSY_SWEEP_SECONDS  # also where it fails
            if not await self._sweep.page():
                self._sweep_from = now + SWEEP_SECONDS

    def _tell(self, taken: Taken) -> None:
        if taken.tasks:
            self._taken()
        if taken.tasks or taken.endpoints:
            self._log.info("intake", tasks=taken.tasks, endpoints=taken.endpoints)
        for entry, rejection in taken.rejected.items():
            self._log.warning("rejected", entry=entry, **rejection.told(entry))
        if taken.trouble != self._trouble:
            self._trouble = taken.trouble
            if taken.trouble:
                self._log.warning("intake.paused", reason=taken.trouble)
