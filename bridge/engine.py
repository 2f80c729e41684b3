"""The asyncio side of one worker process: its loop, its connections and what is in flight. It outlives every RQ job.

This is where the real things are handed to the cores.
"""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

import structlog

from bridge.deliver import Deliverer
from bridge.finder import Finder
from bridge.handshake import LOOK_SECONDS, SLOTS, Asker
from bridge.lister import Lister
from bridge.poll import KEY_PROBE_SECONDS, Poller
from bridge.pump import Permit, Pump, RedisClock
from bridge.sender import Sender
from bridge.settings import Settings
from bridge.store import Store
from bridge.tell import Teller
from bridge.tracing import Tracing
from bridge.twelvelabs import TwelveLabs
from bridge.upkeep import Upkeep
from bridge.wiring import (
    find_policy,
    intake_from,
    list_policy,
    open_store,
    poll_policy,
    retry_policy,
    sender_from,
    sweep_from,
    tracing_from,
    upstream_from,
)

Kind = Literal["poll", "deliver"]

POLL_GAP_SECONDS = 0.005
"""Due tasks are claimed in groups of what fell due within this time: one round trip for several."""


class Engine(threading.Thread):
    """The thread that owns the loop. Claims only while `permit` is valid; `stop` drains it."""

    def __init__(self, kind: Kind, settings: Settings, permit: Permit, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"{kind}-engine", daemon=True)
        self._kind, self._settings, self._permit, self._on_end = kind, settings, permit, on_end
        self._log = structlog.get_logger(f"bridge.{kind}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._nudge: Callable[[], None] = lambda: None
        self.started = threading.Event()
        self.fault: BaseException | None = None
        """What ended it, if it was not asked to stop."""

    def run(self) -> None:
        """The thread's life: one loop, from start to drain."""
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._main())
        except BaseException as error:
            self.fault = error
        finally:
            self.started.set()
            self._on_end()

    def permitted(self) -> None:
        """Tell the pump that claiming is allowed again. Thread-safe."""
        self._call(self._nudge)

    def stop(self) -> None:
        """Claim nothing more, let what is in flight finish, then end. Thread-safe; join the thread to wait for it."""
        self._permit.revoke()
        if self._stopping is not None:
            self._call(self._stopping.set)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(function)

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with open_store(self._settings) as store:
            await store.registry.reload_endpoints()
            with tracing_from(self._settings, self._log) as tracing:
                await self._work(store, tracing, self._stopping)

    async def _work(self, store: Store, tracing: Tracing, stopping: asyncio.Event) -> None:
        work = self._poll(store, tracing) if self._kind == "poll" else self._deliver(store, tracing)
        async with work as (pump, extras):
            self._nudge = pump.nudge
            self.started.set()
            await self._until_stopped(stopping, pump, extras)

    async def _until_stopped(
        self, stop: asyncio.Event, pump: Pump[Any], extras: list[Coroutine[Any, Any, None]]
    ) -> None:
        tasks = [asyncio.create_task(work) for work in (pump.run(), *extras)]
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        settings = self._settings
        deadline = settings.delivery_deadline_seconds if self._kind == "deliver" else settings.poll_deadline_seconds
        left = await pump.drain(deadline + 2)
        if left:
            self._log.warning("drain.late", left=left)
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        for task in done - {stopping}:
            task.result()

    @asynccontextmanager
    async def _poll(
        self, store: Store, tracing: Tracing
    ) -> AsyncIterator[tuple[Pump[Any], list[Coroutine[Any, Any, None]]]]:
        settings = self._settings
        counted = Counter[str]()
        async with upstream_from(settings, counted) as upstream:
            poller = Poller(
                store.registry,
                upstream,
                poll_policy(settings),
                clock=RedisClock(),
                jitter=lambda: random.uniform(-1, 1),
                log=self._log,
                counted=counted,
                tracing=tracing,
            )
            permit = self._permit if settings.twelvelabs_api_key else Permit()
            pump = Pump(
                slots=settings.poll_concurrency,
                claim=poller.claim,
                work=poller.read,
                wait=_unwoken,
                permit=permit,
                log=self._log,
                gap_seconds=POLL_GAP_SECONDS,
            )
            lister = Lister(
                store.listings,
                upstream,
                poller,
                list_policy(settings),
                permitted=lambda: permit.valid,
                log=self._log,
            )
            poller.found, upstream.used_up = lister.compare, poller.use_up
            if settings.twelvelabs_api_key:
                await store.registry.hasten_probe(every_seconds=KEY_PROBE_SECONDS)
            else:
                fix = settings.deployment.with_secret("TWELVELABS_API_KEY")
                self._log.warning("poll.no_key", reason="until there is one nothing is polled", fix=fix)
            upkeep = Upkeep(
                intake_from(store, settings),
                sweep_from(store, settings),
                Teller(store.notices, store.registry, self._log),
                wait=lambda seconds: store.wait_for_wake("poll", seconds),
                taken=pump.nudge,
                report=poller.report,
                log=self._log,
            )
            finder = self._finder(store, upstream, poller, permit)
            yield pump, [upkeep.run(), lister.run(), finder.run()]

    def _finder(self, store: Store, upstream: TwelveLabs, poller: Poller, permit: Permit) -> Finder:
        return Finder(
            store.watches,
            store.listings,
            upstream,
            poller,
            find_policy(self._settings),
            permitted=lambda: permit.valid,
            log=self._log,
        )

    @asynccontextmanager
    async def _deliver(
        self, store: Store, tracing: Tracing
    ) -> AsyncIterator[tuple[Pump[Any], list[Coroutine[Any, Any, None]]]]:
        settings = self._settings
        async with sender_from(settings, tracing) as sender:
            deliverer = Deliverer(
                store.outbox,
                store.registry,
                sender,
                retry_policy(settings),
                lease_seconds=settings.delivery_lease_seconds,
                clock=RedisClock(),
                jitter=lambda: random.uniform(-1, 1),
                log=self._log,
            )
            pump = Pump(
                slots=settings.delivery_concurrency,
                claim=deliverer.claim,
                work=deliverer.attempt,
                wait=lambda seconds: store.wait_for_wake("deliver", seconds),
                permit=self._permit,
                log=self._log,
            )
            yield pump, [_beside(self._asking(store, sender, deliverer))]

    def _asking(self, store: Store, sender: Sender, deliverer: Deliverer) -> Pump[Any]:
        asker = Asker(
            store.handshakes,
            store.registry,
            sender,
            renew=deliverer.renew_endpoints,
            deadline_seconds=self._settings.delivery_deadline_seconds,
            log=self._log,
        )
        return Pump(
            slots=SLOTS, claim=asker.claim, work=asker.ask, wait=_look_again, permit=self._permit, log=self._log
        )


async def _beside(pump: Pump[Any]) -> None:
    """Run a pump beside the main one. Cancelled, it leaves nothing running: what it had claimed is due again later."""
    try:
        await pump.run()
    finally:
        await pump.drain(0)


async def _look_again(seconds: float) -> bool:
    """Whom to ask for a consent is noticed in a while, without a nudge."""
    await asyncio.sleep(min(seconds, LOOK_SECONDS))
    return True


async def _unwoken(seconds: float) -> bool:
    """Due tasks are known by their time, and new ones by intake, which tells the pump of its own process."""
    await asyncio.sleep(seconds)
    return False


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it runs; it does not on Windows."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
