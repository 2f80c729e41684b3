"""Upkeep: clients' keys are taken in, again and again, whatever goes wrong in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from corescene import POLICY, Lines, MovedClock, Stage, soon
from until import eventually

from bridge.errors import StoreDown
from bridge.sandbox.redis import RedisServer
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.sweep import Sweep
from bridge.tell import Teller
from bridge.upkeep import Upkeep


@asynccontextmanager
async def kept(store: Store, log: Lines, *, taken: Callable[[], None] = lambda: None) -> AsyncIterator[list[int]]:
    """Upkeep as production builds it, running while the block lasts; gives what counts its reports."""
    reports: list[int] = []
    upkeep = Upkeep(
        Intake(store, POLICY, has_default_secret=True),
        Sweep(store, delivered_ms=1_000, dead_ms=1_000, tasks_ms=1_000),
        Teller(store.notices, store.registry, log),
        wait=lambda seconds: store.wait_for_wake("poll", seconds),
        taken=taken,
        report=lambda: reports.append(1),
        log=log,
    )
    running = asyncio.create_task(upkeep.run())
    try:
        yield reports
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def watched(stage: Stage, member: str) -> bool:
    """Whether a task was taken in."""
    return await stage.due_in(member) is not None


async def test_a_zadd_is_noticed_by_itself(stage: Stage) -> None:
    """Nobody nudges: a hand-written ZADD is taken in all the same, and the pump is told."""
    told: list[int] = []
    async with kept(stage.store, stage.log, taken=lambda: told.append(1)):
        await stage.store.client.zadd("bridge:tasks", {"t1": 0})
        await soon(lambda: watched(stage, "t1"))
        await eventually(lambda: told)
    assert {"tasks": 1, "endpoints": 0} in stage.log.named("intake")


async def test_an_hset_is_noticed_by_itself(stage: Stage) -> None:
    """A hand-written endpoint, too, without a task to bring it along."""
    async with kept(stage.store, stage.log):
        await stage.store.client.hset("bridge:endpoints", "e1", '{"url": "http://127.0.0.1:9/"}')
        await soon(lambda: stage.store.client.hexists("bridge:registry", "e1"))


async def test_bad_input_is_told_and_stops_nothing(stage: Stage) -> None:
    """P10: a bad endpoint and a bad task are rejected with a line each; the good ones beside them are taken in."""
    async with kept(stage.store, stage.log):
        client = stage.store.client
        await client.hset("bridge:endpoints", mapping={"bad": "{", "good": '{"url": "http://127.0.0.1:9/"}'})
        await client.zadd("bridge:tasks", {"t 1": 0, "good": 0})
        await soon(lambda: watched(stage, "good"))
        await soon(lambda: client.hexists("bridge:registry", "good"))
        await eventually(lambda: len(stage.log.named("rejected")) >= 2)
    entries = await stage.rejected()
    assert set(entries) == {"endpoint:bad", "task:t 1"}
    told = {line["entry"]: line for line in stage.log.named("rejected")}
    for name, entry in entries.items():
        assert told[name] == {"entry": name} | {word: entry[word] for word in ("reason", "field", "fix")}


async def test_what_stops_intake_is_swept_all_the_same(stage: Stage) -> None:
    """An endpoint's hash is a string by accident: intake trips over it, the sweep sets it aside, and intake goes on."""
    client = stage.store.client
    await client.hset("bridge:endpoints", "e1", '{"url": "http://127.0.0.1:9/"}')
    await Intake(stage.store, POLICY, has_default_secret=True).run()
    await client.set("bridge:endpoint:e1", "oops")
    async with kept(stage.store, stage.log):
        await client.zadd("bridge:tasks", {"t1": 0})
        await soon(lambda: watched(stage, "t1"))
    assert await client.hget("bridge:endpoint:e1", "state") == b"active"


async def test_a_key_of_the_wrong_type_pauses_intake_and_says_so_once(stage: Stage) -> None:
    """bridge:tasks is a string by accident: one line; put right, intake goes on."""
    client = stage.store.client
    await client.set("bridge:tasks", "oops")
    async with kept(stage.store, stage.log) as reports:
        await eventually(lambda: stage.log.named("intake.paused"))
        await eventually(lambda: len(reports) >= 2)
        assert len(stage.log.named("intake.paused")) == 1
        await client.delete("bridge:tasks")
        await client.zadd("bridge:tasks", {"t1": 0})
        await soon(lambda: watched(stage, "t1"))


async def test_more_tasks_than_a_batch_are_taken_in_without_a_pause(stage: Stage) -> None:
    """A full batch is followed by the next at once."""
    await stage.store.client.zadd("bridge:tasks", {f"t{number}": 0 for number in range(2_600)})
    async with kept(stage.store, stage.log):

        async def all_taken() -> bool:
            taken = sum(int(str(line["tasks"])) for line in stage.log.named("intake"))
            return taken == 2_600 and await stage.store.client.zcard("bridge:watch") == 2_600

        await soon(all_taken, timeout_seconds=20)
    assert len(stage.log.named("intake")) <= 7


async def test_a_refused_full_batch_is_no_busy_loop(stage: Stage) -> None:
    """A thousand members that can be no tasks are refused once each, and then there is peace."""
    await stage.store.client.zadd("bridge:tasks", {f"no task {number}": 0 for number in range(1_200)})
    async with kept(stage.store, stage.log) as reports:
        await eventually(lambda: len(reports) >= 3, timeout_seconds=20)
    assert len(stage.log.named("rejected")) == 1_200
    assert await stage.store.client.hlen("bridge:rejected") <= 1_000


@pytest.mark.parametrize("fault", [StoreDown("away"), ZeroDivisionError()], ids=["StoreDown", "ours"])
async def test_a_fault_does_not_end_it(stage: Stage, fault: Exception) -> None:
    """Redis away or a bug of ours in one round: the next round takes in what waits."""
    intake = Intake(stage.store, POLICY, has_default_secret=True)
    faults = [fault]

    class Faulty:
        async def run(self, *, endpoints: bool) -> Any:
            if faults:
                raise faults.pop()
            return await intake.run(endpoints=endpoints)

    upkeep = Upkeep(
        Faulty(),
        Sweep(stage.store, delivered_ms=1_000, dead_ms=1_000, tasks_ms=1_000),
        Teller(stage.store.notices, stage.store.registry, stage.log),
        wait=lambda seconds: stage.store.wait_for_wake("poll", seconds),
        taken=lambda: None,
        report=lambda: None,
        log=stage.log,
    )
    await stage.store.client.zadd("bridge:tasks", {"t1": 0})
    running = asyncio.create_task(upkeep.run())
    await soon(lambda: watched(stage, "t1"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(stage.log.named("upkeep.fault")) == (0 if isinstance(fault, StoreDown) else 1)


async def test_it_goes_on_after_redis_was_away() -> None:
    """Redis is killed and started: what was written afterwards is taken in."""
    clock, log = MovedClock(), Lines()
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store:
            stage = Stage(store, clock, log)
            async with kept(store, log) as reports:
                await eventually(lambda: reports)
                server.kill()
                server.start()
                async with Store.open(server.url, clock=clock) as other:
                    await other.client.zadd("bridge:tasks", {"t1": 0})
                    await soon(lambda: watched(Stage(other, clock), "t1"), 20)
            assert await watched(stage, "t1")


async def test_the_sweep_unwatches_what_was_taken_back(stage: Stage) -> None:
    """ZREM without a word: the slow comparison finds it, also if it is not due for long."""
    await stage.task("t1")
    await stage.commit("indexing", member="t1")
    await stage.store.client.zadd("bridge:watch", {"t1": stage.clock.now + 10_000_000})
    await stage.store.client.zrem("bridge:tasks", "t1")
    async with kept(stage.store, stage.log):

        async def gone() -> bool:
            return not await watched(stage, "t1")

        await soon(gone)


async def test_a_swallowed_cancel_ends_it_all_the_same(stage: Stage) -> None:
    """A client library that turns a cancel into a fault of its own must not make it run for ever."""
    waiting = asyncio.Event()

    async def swallow(_: float) -> bool:
        waiting.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreDown("away") from None

    upkeep = Upkeep(
        Intake(stage.store, POLICY, has_default_secret=True),
        Sweep(stage.store, delivered_ms=1_000, dead_ms=1_000, tasks_ms=1_000),
        Teller(stage.store.notices, stage.store.registry, stage.log),
        wait=swallow,
        taken=lambda: None,
        report=lambda: None,
        log=stage.log,
    )
    running = asyncio.create_task(upkeep.run())
    await waiting.wait()
    running.cancel()
    assert (await asyncio.wait({running}, timeout=5))[0]


async def test_what_somebody_wrote_into_the_notices_is_one_line(stage: Stage) -> None:
    """However many there were, of either kind: no line for each, and none once they are gone."""
    await stage.store.client.rpush("bridge:notices", *["junk"] * 20, *['{"endpoint": "a", "at": "x"}'] * 20)
    teller = Teller(stage.store.notices, stage.store.registry, stage.log)
    assert [await teller.run() for _ in range(2)] == [0, 0]
    (line,) = stage.log.named("notice.unreadable")
    assert line["dropped"] == 40
    assert not await stage.store.client.exists("bridge:notices")
