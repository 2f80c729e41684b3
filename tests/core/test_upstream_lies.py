"""Suite I: whatever upstream says, in whatever state a task is. Judged by what Redis holds; all edges are real."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from corescene import INTERVAL_MS, Stage, watching
from lies import LIES
from lyingscene import DOUBT_WAIT_MS, PEACE, PROBE_MS, STATES, TASK, Known, Lie, Lying, Then, lying

from bridge.packing import unpack
from bridge.sandbox.faults import Fault, html, nested, patched, truncated, unavailable
from bridge.store.reading.tasks import find_tasks

PREFIX = "index.task."
CELLS = [pytest.param(lie, state, id=f"{lie.name} - {state}") for lie in LIES for state in STATES]


def test_the_table_has_no_row_twice() -> None:
    """A name for each row, and the promised number of cells."""
    assert len({lie.name for lie in LIES}) == len(LIES)
    assert len(CELLS) >= 90


@pytest.mark.parametrize(("lie", "state"), CELLS)
async def test_a_lie_means_what_the_table_says_and_the_truth_is_told_once(stage: Stage, lie: Lie, state: str) -> None:
    """Twice the same lie, then the truth: each event is in the table, and so is each next read."""
    then = lie.then(state)
    async with lying(stage, lie, state) as scene:
        before = await scene.known()
        first = await scene.read()
        assert_told(before, first, then.at_once)
        assert_waits(first, then, lies=1)
        second = await scene.read()
        assert_told(first, second, then.agreed)
        if not then.agreed:
            assert_waits(second, then, lies=2)
        await assert_heals(scene, second, lie.honest_reads)


def assert_told(before: Known, after: Known, word: str) -> None:
    """Exactly this event and what is owed for it were committed, and the snapshot moved with it; or nothing was."""
    news = [PREFIX + word] if word else []
    assert after.types == before.types + news
    assert after.owed == len(after.types)
    assert (after.snapshot != before.snapshot) is bool(word)
    if word:
        assert after.snapshot["event_id"] != before.snapshot.get("event_id")
        assert int(after.snapshot["revision"]) > int(before.snapshot.get("revision", 0))
    assert not after.rejected


def assert_waits(after: Known, then: Then, *, lies: int) -> None:
    """When it is read again, and how the lie is remembered."""
    assert after.due is not None
    waits = max(after.due, after.pause or 0)
    assert then.wait - then.slack <= waits <= then.wait
    remembered = {name: after.record.get(name, "") for name in ("doubt", "faults", "absences")}
    expected = {"doubt": "", "faults": "0", "absences": "0"}
    if then.record == "doubt":
        assert remembered.pop("doubt")
        del expected["doubt"]
    elif then.record:
        expected[then.record] = str(lies)
    if before_any_reading(after):
        remembered = {name: value or expected[name] for name, value in remembered.items()}
    assert remembered == expected
    assert then.says in after.record["error"]
    assert bool(after.record["error"]) is bool(then.says)
    assert after.pause == (waits if then.rests else None)
    assert after.key == ("refused" if then.rests and then.wait == PROBE_MS else None)


def before_any_reading(known: Known) -> bool:
    """Whether nothing was ever committed, so that the counters may still be absent."""
    return not known.snapshot


async def assert_heals(scene: Lying, before: Known, reads: int) -> None:
    """The honest state is committed exactly once, the watch ends, and to ask again makes nothing new."""
    scene.heal()
    word = "updated" if before.snapshot.get("status") == "ready" else "ready"
    for _ in range(reads - 1):
        between = await scene.read()
        assert_told(before, between, "")
    after = await scene.read()
    assert_told(before, after, word)
    truth = scene.truth
    assert {name: after.snapshot[name] for name in ("status", "updated_at", "hls_status")} == {
        "status": "ready", "updated_at": truth["updated_at"], "hls_status": "COMPLETE",
    }  # fmt: skip
    assert (after.due, after.record, after.pause, after.key) == (None, {}, None, None)
    await scene.stage.task(TASK)
    again = await scene.read(wait=0)
    assert_told(after, again, "")
    assert again.due is None
    assert not scene.stage.log.named("pump.fault")


STEP_MS = 12_100
ABSENT = Lie("404", nested(404), PEACE, PEACE, PEACE)
REFUSED = [
    Lie("403", Fault(403, {"code": "read_not_allowed"}), PEACE, PEACE, PEACE),
    Lie("400", Fault(400, {"code": "parameter_invalid"}), PEACE, PEACE, PEACE),
]


async def insisted(scene: Lying, before: Known) -> Known:
    """The same answer for a minute: nothing happens until it is over."""
    for absences in range(1, 7):
        known = await scene.read(wait=STEP_MS)
        if known.due is None:
            break
        assert_told(before, known, "")
        assert known.record["absences"] == str(absences)
    assert absences == 6
    return known


@pytest.mark.parametrize("state", STATES)
async def test_a_404_that_lasts_a_minute_is_gone_and_the_return_is_told_once(stage: Stage, state: str) -> None:
    """One event, with what was known, or that it never was there; the watch ends. Asked again: its honest state."""
    async with lying(stage, ABSENT, state) as scene:
        before = await scene.known()
        after = await insisted(scene, before)
        assert_told(before, replace(after, rejected={}), "gone")
        assert (after.due, after.record) == (None, {})
        body: Any = await stage.store.client.hget(f"bridge:event:{after.snapshot['event_id']}", "body")
        data = json.loads(unpack(body))["data"]
        assert data["status"] == before.snapshot.get("status")
        assert data.get("never_seen", False) is (state == "first")
        (view,) = await find_tasks(stage.store, [TASK])
        assert ("check the id" in view.fix) is (state == "first")
        assert (f"task:{TASK}" in after.rejected) is (state == "first")
        await stage.task(TASK)
        again = await insisted(scene, replace(after, rejected={}))
        assert (again.types, again.rejected.keys()) == (after.types, after.rejected.keys())
        scene.heal()
        await stage.task(TASK)
        back = await scene.read(wait=0)
        assert_told(after, back, "ready")
        assert back.due is None


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lie", REFUSED, ids=[lie.name for lie in REFUSED])
async def test_an_id_that_is_refused_for_a_minute_is_rejected_without_an_event(
    stage: Stage, lie: Lie, state: str
) -> None:
    """The snapshot stays; asked again, an honest answer takes the rejection away and is told once."""
    async with lying(stage, lie, state) as scene:
        before = await scene.known()
        after = await insisted(scene, before)
        assert (after.types, after.snapshot, after.due) == (before.types, before.snapshot, None)
        entry = after.rejected[f"task:{TASK}"]
        assert lie.name in entry["reason"]
        assert entry["fix"]
        scene.heal()
        await stage.task(TASK)
        back = await scene.read(wait=0)
        assert_told(before, back, "updated" if state == "ending" else "ready")


@pytest.mark.parametrize("state", STATES)
async def test_faults_of_all_kinds_back_off_together_and_the_truth_is_told_once(stage: Stage, state: str) -> None:
    """From the third in a row the wait doubles up to five minutes, whatever the faults are."""
    async with lying(stage, ABSENT, state) as scene:
        scene.watch.simulator.clear_faults()
        kinds = [
            unavailable(),
            html(200),
            Fault(raw=b"?"),
            truncated(9),
            patched(_id="t2"),
            Fault(204),
            Fault(409),
            html(502),
        ]
        scene.watch.simulator.fault("/tasks/*", *kinds)
        before, waits = await scene.known(), []
        for _ in kinds:
            known = await scene.read()
            assert_told(before, known, "")
            waits.append(known.due)
        assert waits == [5_000, 5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]
        await assert_heals(scene, known, 1)


@pytest.mark.parametrize("state", STATES)
async def test_a_status_that_never_settles_is_not_told_and_not_hurried(stage: Stage, state: str) -> None:
    """`indexing 1 %`, `indexing 2 %`: one early read, then the interval; the first one said twice is told."""
    async with lying(stage, ABSENT, state) as scene:
        scene.watch.simulator.clear_faults()
        percents = [patched(status=f"indexing {number} %") for number in range(9)]
        scene.watch.simulator.fault("/tasks/*", *percents, percents[-1])
        before, waits = await scene.known(), []
        for _ in percents:
            known = await scene.read()
            assert_told(before, known, "")
            waits.append(known.due)
        assert waits == [DOUBT_WAIT_MS, *[INTERVAL_MS] * 8]
        after = await scene.read()
        assert_told(before, after, "indexing_8")
        await assert_heals(scene, after, 1)


@pytest.mark.parametrize("state", ["pending", "ending"])
@pytest.mark.parametrize("year", [2028, 2999, 9999])
async def test_a_committed_time_that_has_not_come_silences_nobody(stage: Stage, state: str, year: int) -> None:
    """As an earlier version committed it: the true reading is older, is asked for twice, and is told."""
    async with lying(stage, ABSENT, state) as scene:
        await stage.store.client.hset(f"bridge:snapshot:{TASK}", "updated_at", f"{year}-01-01T00:00:00Z")
        await assert_heals(scene, await scene.known(), 2)


@pytest.mark.parametrize("hours", [-48, -1, 1, 13, 48])
async def test_a_clock_that_differs_costs_no_event(stage: Stage, hours: int) -> None:
    """Upstream's clock against ours: each status is told once, in order, and a stale reading within an hour never."""
    async with watching(stage) as watch:
        watch.simulator.advance(hours * 3_600)
        await stage.endpoint("e1", "http://127.0.0.1:9/")
        watch.simulator.add_task(TASK, timeline=(), status="validating")
        await stage.task(TASK)
        words = ["validating", "queued", "indexing", "ready"]
        for number, word in enumerate(words):
            watch.simulator.change(TASK, {"status": word})
            await watch.round(INTERVAL_MS)
            await watch.round(DOUBT_WAIT_MS)
            assert await stage.event_types() == [PREFIX + told for told in words[: number + 1]]
            if word == "indexing" and hours <= 1:
                old = watch.simulator.now() - 60
                stale = patched(status="queued", updated_at=datetime.fromtimestamp(old, UTC).isoformat())
                watch.simulator.fault("/tasks/*", stale, stale)
                assert await watch.round(INTERVAL_MS) + await watch.round(INTERVAL_MS) == 2
                assert await stage.event_types() == [PREFIX + told for told in words[: number + 1]]
        assert await stage.due_in(TASK) is None
