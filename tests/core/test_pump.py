"""The pump: how much it claims and when, and that nothing but `drain` ends it."""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable

import pytest
from corescene import Lines
from until import eventually

from bridge.errors import StoreDown
from bridge.pump import IDLE_SECONDS, Batch, Permit, Pump, RedisClock, persist

NOW = 1_800_000_000_000


class Work:
    """A claim with a list of waiting items, and a deed that ends when the test says so."""

    def __init__(self, *items: str, hold: bool = True) -> None:
        self.waiting = list(items)
        self.hold = hold
        self.asked: list[int] = []
        self.started: list[str] = []
        self.ended: list[str] = []
        self.broken: set[str] = set()
        self.claim_faults: list[Exception] = []
        self.claim_gate: asyncio.Event | None = None
        self.next_in_ms: int | None = None
        self._gates: dict[str, asyncio.Event] = {}

    async def claim(self, slots: int) -> Batch[str]:
        self.asked.append(slots)
        if self.claim_faults:
            raise self.claim_faults.pop(0)
        taken, self.waiting = self.waiting[:slots], self.waiting[slots:]
        if self.claim_gate is not None:
            await self.claim_gate.wait()
        return Batch(NOW, None if self.next_in_ms is None else NOW + self.next_in_ms, taken)

    async def work(self, item: str) -> None:
        self.started.append(item)
        if item in self.broken:
            raise ZeroDivisionError(item)
        if self.hold:
            await self.gate(item).wait()
        self.ended.append(item)

    def gate(self, item: str) -> asyncio.Event:
        return self._gates.setdefault(item, asyncio.Event())


async def unwoken(seconds: float) -> bool:
    """Nobody says anything."""
    await asyncio.sleep(seconds)
    return False


def a_pump(
    work: Work,
    *,
    slots: int = 3,
    permit: Permit | None = None,
    log: Lines | None = None,
    wait: Callable[[float], Awaitable[bool]] = unwoken,
) -> Pump[str]:
    if permit is None:
        permit = Permit()
        permit.extend(60)
    return Pump(slots=slots, claim=work.claim, work=work.work, wait=wait, permit=permit, log=log or Lines())


class Running:
    """A pump that runs while the block lasts."""

    def __init__(self, pump: Pump[str]) -> None:
        self.pump = pump

    async def __aenter__(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.pump.run())
        return self.task

    async def __aexit__(self, *_: object) -> None:
        await self.pump.drain(0)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_never_more_in_flight_than_slots() -> None:
    """Each claim asks for the free slots only, and a slot that comes free is filled at once."""
    work = Work("a", "b", "c", "d", "e")
    pump = a_pump(work)
    async with Running(pump):
        await eventually(lambda: work.started == ["a", "b", "c"])
        assert pump.in_flight == 3
        work.gate("b").set()
        await eventually(lambda: work.started == ["a", "b", "c", "d"], timeout_seconds=IDLE_SECONDS / 2)
        assert work.asked[:2] == [3, 1]
        assert max(work.asked) == 3
        assert 0 not in work.asked


async def test_without_a_permit_nothing_is_claimed() -> None:
    """No shift, no claim; the first permit and its nudge start it."""
    work, permit = Work("a"), Permit()
    pump = a_pump(work, permit=permit)
    async with Running(pump):
        pump.nudge()
        await asyncio.wait({asyncio.create_task(asyncio.Event().wait())}, timeout=0.05)
        assert work.asked == []
        permit.extend(60)
        pump.nudge()
        await eventually(lambda: work.started == ["a"], timeout_seconds=IDLE_SECONDS / 2)


async def test_a_revoked_permit_leaves_alone_what_is_in_flight() -> None:
    """What was claimed is finished; nothing new is taken."""
    work, permit = Work("a", "b"), Permit()
    permit.extend(60)
    pump = a_pump(work, slots=1, permit=permit)
    async with Running(pump):
        await eventually(lambda: work.started == ["a"])
        permit.revoke()
        work.gate("a").set()
        await eventually(lambda: work.ended == ["a"])
        pump.nudge()
        await eventually(lambda: pump.in_flight == 0)
        assert work.waiting == ["b"]


async def test_a_permit_runs_out_by_itself() -> None:
    """A shift that dies says nothing more, and its permit ends."""
    permit = Permit()
    permit.extend(0.02)
    assert permit.valid
    await eventually(lambda: not permit.valid)


async def test_drain_waits_for_what_is_in_flight() -> None:
    """Drain ends when the last item does, and says that none was left."""
    work = Work("a", "b")
    pump = a_pump(work)
    async with Running(pump) as running:
        await eventually(lambda: len(work.started) == 2)
        draining = asyncio.create_task(pump.drain(30))
        work.gate("a").set()
        work.gate("b").set()
        assert await draining == 0
        assert work.ended == ["a", "b"]
        await running


async def test_drain_gives_up_what_takes_too_long() -> None:
    """What is not done in time is cancelled and counted: its lease will lapse."""
    work = Work("a", "b")
    pump = a_pump(work)
    async with Running(pump):
        await eventually(lambda: len(work.started) == 2)
        work.gate("a").set()
        assert await pump.drain(0.05) == 1
        assert work.ended == ["a"]
        assert pump.in_flight == 0


async def test_what_a_claim_brings_during_the_drain_is_worked_too() -> None:
    """A claim that was under way when the drain began has leased its items: they are finished, not dropped."""
    work = Work("a", hold=False)
    work.claim_gate = asyncio.Event()
    pump = a_pump(work)
    async with Running(pump):
        await eventually(lambda: work.asked)
        draining = asyncio.create_task(pump.drain(30))
        await eventually(lambda: pump._stopping)
        work.claim_gate.set()
        assert await draining == 0
        assert work.ended == ["a"]
        assert pump.in_flight == 0


async def test_drain_before_the_start_ends_at_once() -> None:
    """A pump that never ran has nothing to wait for."""
    assert await a_pump(Work("a")).drain(30) == 0


async def test_redis_away_is_waited_out() -> None:
    """StoreDown is tried again with growing pauses, told once, and not for ever."""
    work, log = Work("a"), Lines()
    work.claim_faults = [StoreDown("away", fix="start it")] * 4
    async with Running(a_pump(work, log=log)):
        await eventually(lambda: work.started == ["a"])
    assert len(work.asked) >= 5
    assert [line["tries"] for line in log.named("redis.away")] == [1]


async def test_a_fault_of_ours_in_a_claim_does_not_end_the_pump() -> None:
    """A claim that cannot be understood is told and tried again; what is in flight goes on."""
    work, log = Work("a"), Lines()
    pump = a_pump(work, log=log)
    async with Running(pump):
        await eventually(lambda: work.started == ["a"])
        work.claim_faults = [KeyError("type")]
        work.waiting = ["b"]
        pump.nudge()
        await eventually(lambda: work.started == ["a", "b"])
    assert len(log.named("pump.fault")) == 1


async def test_a_fault_in_one_item_does_not_stop_the_others() -> None:
    """Our own exception is logged, its slot comes free, and the rest goes on."""
    work, log = Work("a", "b", "c", "d", hold=False), Lines()
    work.broken = {"a", "c"}
    pump = a_pump(work, slots=1, log=log)
    async with Running(pump):
        await eventually(lambda: work.ended == ["b", "d"])
        await eventually(lambda: pump.in_flight == 0)
    assert len(log.named("pump.fault")) == 2


async def test_a_nudge_wakes_it_before_the_second_is_over() -> None:
    """Whoever knows of new work says so, and it is claimed at once."""
    work = Work(hold=False)
    pump = a_pump(work)
    async with Running(pump):
        await eventually(lambda: work.asked)
        work.waiting = ["a"]
        pump.nudge()
        await eventually(lambda: work.ended == ["a"], timeout_seconds=IDLE_SECONDS / 2)


async def test_the_listener_wakes_it() -> None:
    """When what it listens to answers, it looks."""
    news = asyncio.Event()

    async def wait(_: float) -> bool:
        await news.wait()
        news.clear()
        return True

    work = Work(hold=False)
    async with Running(a_pump(work, wait=wait)):
        await eventually(lambda: work.asked)
        work.waiting = ["a"]
        news.set()
        await eventually(lambda: work.ended == ["a"], timeout_seconds=IDLE_SECONDS / 2)


@pytest.mark.parametrize("fault", [StoreDown("away"), ValueError("WRONGTYPE")], ids=["StoreDown", "ours"])
async def test_the_listener_survives_its_faults(fault: Exception) -> None:
    """Whatever goes wrong while listening, it listens again, and does not do so in a frenzy."""
    calls = []

    async def wait(_: float) -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise fault
        return await asyncio.Event().wait()

    async with Running(a_pump(Work(), wait=wait)):
        await eventually(lambda: len(calls) == 2)


async def test_a_listener_that_swallows_its_cancel_does_not_hold_up_the_end() -> None:
    """A client library that turns a cancel into a fault of its own: the pump ends all the same."""
    listening = asyncio.Event()

    async def wait(_: float) -> bool:
        listening.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreDown("away") from None

    pump = a_pump(Work(), wait=wait)
    running = asyncio.create_task(pump.run())
    await listening.wait()
    assert await pump.drain(5) == 0
    assert (await asyncio.wait({running}, timeout=5))[0]


async def test_what_falls_due_soon_is_claimed_when_it_does() -> None:
    """The next due moment is waited for, not the second."""
    work = Work(hold=False)
    work.next_in_ms = 20
    async with Running(a_pump(work)):
        await eventually(lambda: len(work.asked) >= 5, timeout_seconds=IDLE_SECONDS)


async def test_an_idle_pump_uses_no_processor() -> None:
    """With nothing to do, full slots or no permit: a handful of looks a second, not a busy loop."""
    full, forbidden, empty = Work("a"), Work("a"), Work()
    pumps = [a_pump(full, slots=1), a_pump(forbidden, permit=Permit()), a_pump(empty)]
    tasks = [asyncio.create_task(pump.run()) for pump in pumps]
    await eventually(lambda: full.started and empty.asked)
    before = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.wait(tasks, timeout=2.0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert len(full.asked) == 1
    assert len(empty.asked) <= 8
    for pump in pumps:
        await pump.drain(0)
    await asyncio.gather(*tasks)


async def test_persist_repeats_until_redis_is_back() -> None:
    """A step is tried while Redis is away, and its reply is handed on."""
    replies: list[Exception | str] = [StoreDown("away"), StoreDown("away"), "ok"]

    async def step() -> str:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert await persist(step, until=time.monotonic() + 30, log=Lines()) == "ok"


async def test_persist_gives_up_with_the_lease() -> None:
    """After the lease's end the work belongs to somebody else: None, and one line."""

    async def step() -> str:
        raise StoreDown("away")

    log = Lines()
    assert await persist(step, until=time.monotonic() + 0.2, log=log) is None
    assert len(log.named("lease.lost")) == 1


async def test_persist_hands_on_what_is_ours() -> None:
    """Only Redis' absence is waited out; a bug is seen as it is."""

    async def step() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await persist(step, until=time.monotonic() + 30, log=Lines())


async def test_the_clock_runs_on_between_two_claims() -> None:
    """Redis' time as last heard, and what has passed since."""
    clock = RedisClock()
    clock.set(NOW)
    assert NOW <= clock.now() < NOW + 5_000
    first = clock.now()
    await eventually(lambda: clock.now() > first)
