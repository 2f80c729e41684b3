"""What a poll worker does beside polling: take in what clients wrote, tell of endpoints, sweep, and forget."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bridge.errors import StoreDown
from bridge.pump import Log, is_cancelled

INTAKE_SECONDS = 0.5
"""How soon a hand-written ZADD is noticed, at the latest."""
ENDPOINTS_SECONDS = 2.0
"""How soon a hand-written HSET of an endpoint is noticed, at the latest (before a new task: at once)."""
SWEEP_SECONDS = 5.0


class Taken(Protocol):
    """What one round of intake did."""

    @property
    def tasks(self) -> int: ...
    @property
    def endpoints(self) -> int: ...
    @property
    def rejected(self) -> Sequence[str]: ...
    @property
    def trouble(self) -> str: ...
    @property
    def more(self) -> bool: ...


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
    """One process' upkeep. `wait` returns at a nudge or after so many seconds; `taken` is called when work came in."""

    def __init__(
        self,
        intake: Intake,
        sweep: Sweep,
        teller: Teller,
        *,
        wait: Callable[[float], Awaitable[None]],
        taken: Callable[[], None],
        report: Callable[[], None],
        log: Log,
    ) -> None:
        self._intake, self._sweep, self._teller, self._log = intake, sweep, teller, log
        self._wait, self._taken, self._report = wait, taken, report
        self._looked_at_endpoints = self._swept = self._reported = 0.0
        self._trouble = ""

    async def run(self) -> None:
        """Round and round, until cancelled. While Redis is away it only waits."""
        while not is_cancelled():
            try:
                if not await self._round():
                    await self._wait(INTAKE_SECONDS)
            except StoreDown:
                await self._pause()
            except Exception:
                # A fault of ours must not end the intake of everybody's work.
                self._log.exception("upkeep.fault")
                await self._pause()

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
        await self._sweep_at(now)
        if now - self._reported >= 1.0:
            self._reported = now
            self._report()
        await self._teller.run()
        return taken.more

    async def _sweep_at(self, now: float) -> None:
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            await self._sweep.page()

    def _tell(self, taken: Taken) -> None:
        if taken.tasks:
            self._taken()
        if taken.tasks or taken.endpoints:
            self._log.info("intake", tasks=taken.tasks, endpoints=taken.endpoints)
        for entry in taken.rejected:
            self._log.warning("rejected", entry=entry, fix="bridge doctor says why")
        if taken.trouble != self._trouble:
            self._trouble = taken.trouble
            if taken.trouble:
                self._log.warning("intake.paused", reason=taken.trouble)

    async def _pause(self) -> None:
        await asyncio.sleep(INTAKE_SECONDS)
