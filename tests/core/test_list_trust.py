"""How far upstream's list is believed: what it shows differently, hides, invents, or says before its time."""

from typing import cast

import pytest
from corescene import INTERVAL_MS
from listscene import Listing

from bridge.diff import TAKEN_BACK_MS
from bridge.doctor.upstream import ListFacts
from bridge.poll import CLOSELY_SECONDS
from bridge.sandbox.faults import throttled
from bridge.sandbox.timeline import TimeStyle, instant, written
from bridge.skim import CONTRADICTIONS, OVERLAP_MS, REST_SECONDS
from bridge.store.reading.vitals import list_facts

STYLES = pytest.mark.parametrize(
    ("by_id", "listed"),
    [
        (TimeStyle.SECONDS, TimeStyle.MILLISECONDS),
        (TimeStyle.MILLISECONDS, TimeStyle.SECONDS),
        (TimeStyle.SECONDS, TimeStyle.SECONDS),
        (TimeStyle.MICROSECONDS, TimeStyle.MILLISECONDS),
    ],
    ids=["list finer", "list coarser", "both coarse", "both fine"],
)
A_MINUTE = 60_000


async def words(listing: Listing, member: str) -> list[str]:
    return [status for status, _ in await listing.told(member)]


async def live(listing: Listing, ms: int) -> None:
    """Time passes, and both ways of watching are at work."""
    for _ in range(ms // INTERVAL_MS):
        await listing.look()
        await listing.watch.round()


def later(listing: Listing, seconds: float) -> str:
    """A time from now, as upstream writes it."""
    return written(instant(listing.watch.simulator.now() + seconds), TimeStyle.MILLISECONDS)


# -- precision --


@STYLES
async def test_an_end_in_the_second_of_the_state_before_is_told_at_once(
    listing: Listing, by_id: TimeStyle, listed: TimeStyle
) -> None:
    """However exactly the two show times, no end waits for half an hour."""
    simulator = listing.watch.simulator
    simulator.time_style, simulator.list_time_style = by_id, listed
    await listing.tasks(3)
    await listing.look(INTERVAL_MS + 500)
    listing.stage.clock.advance(INTERVAL_MS - 10)
    listing.change("t0", status="indexing")
    await listing.look(9)
    listing.change("t0", status="ready")
    await listing.look()
    assert await words(listing, "t0") == ["validating", "indexing", "ready"]
    assert await listing.stage.due_in("t0") is None


@STYLES
async def test_the_same_state_shown_in_another_way_is_no_news(
    listing: Listing, by_id: TimeStyle, listed: TimeStyle
) -> None:
    """Neither an event more, whoever tells it first, nor a read by id in each pass."""
    simulator = listing.watch.simulator
    simulator.time_style, simulator.list_time_style = by_id, listed
    listing.stage.clock.advance(640)
    await listing.tasks(3)
    listing.change("t0", status="queued")
    await listing.look()
    since = listing.watch.reads
    for _ in range(4):
        await listing.look()
    assert listing.asked(since) == ["list"] * 4
    await listing.stage.task("t0")
    await listing.watch.round()
    assert await words(listing, "t0") == ["validating", "queued"]
    assert await words(listing, "t1") == ["validating"]


async def test_a_row_that_may_be_older_is_no_step_back(listing: Listing) -> None:
    """The list lags within the second that it shows: what is known stays."""
    listing.watch.simulator.list_time_style = TimeStyle.SECONDS
    await listing.tasks(3)
    listing.stage.clock.advance(951)
    listing.change("t0", status="indexing")
    await listing.stage.task("t0")
    await listing.watch.round()
    listing.watch.simulator.distortion.patches["t0"] = {"status": "queued"}
    await live(listing, 4 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating", "indexing"]


# -- a list that does not tell --


async def test_a_list_that_is_empty_is_left(listing: Listing) -> None:
    """What it does not show is told by id, half a minute later; and it comes back when it shows something."""
    await listing.tasks(3)
    await live(listing, A_MINUTE)
    listing.watch.simulator.distortion.empty = True
    listing.change("t0", status="queued")
    await live(listing, 40_000)
    assert await words(listing, "t0") == ["validating", "queued"]
    assert await listing.told_at() is None
    assert [line["detail"] for line in listing.stage.log.named("list.fails")] == ["the list is empty"]
    assert await list_facts(listing.stage.store, fresh_ms=30_000) == ListFacts(why="the list is empty")
    listing.watch.simulator.distortion.empty = False
    await listing.look()
    assert await list_facts(listing.stage.store, fresh_ms=30_000) == ListFacts(told_ms=0)
    assert await listing.told_at() is not None


async def test_a_list_in_another_order_is_not_believed(listing: Listing) -> None:
    """Sorted by something else, it shows what changed on some other page: noticed at once."""
    await listing.tasks(70)
    for n in range(0, 70, 9):
        listing.stage.clock.advance(1_500)
        listing.change(f"t{n}", status="pending")
    await live(listing, 2 * INTERVAL_MS)
    listing.watch.simulator.distortion.sort_by = "created_at"
    listing.change("t3", status="queued")
    await listing.look()
    (line,) = listing.stage.log.named("list.rests")
    assert "not sorted" in str(line["detail"])
    facts = await list_facts(listing.stage.store, fresh_ms=30_000)
    assert (facts.told_ms, facts.rests_ms, facts.why) == (None, REST_SECONDS * 1000, line["detail"])
    assert all([cast(float, await listing.stage.due_in(member)) <= INTERVAL_MS for member in listing.members])
    await listing.watch.round(INTERVAL_MS)
    assert await words(listing, "t3") == ["validating", "queued"]


@pytest.mark.parametrize("lie", ["kept", "partial"])
@pytest.mark.parametrize("skew_seconds", [0, -600, 600])
async def test_a_list_that_hides_what_changes_is_found_out(listing: Listing, lie: str, skew_seconds: int) -> None:
    """One that is not made anew, or lacks a task: a read by id shows it, all are told soon, and it is said once."""
    simulator = listing.watch.simulator
    simulator.advance(skew_seconds)
    await listing.tasks(4)
    await live(listing, 10 * A_MINUTE)
    if lie == "kept":
        simulator.distortion.as_of = simulator.now()
    else:
        simulator.distortion.hides = {"t0", "t1", "t2"}
    for member in ("t0", "t1", "t2"):
        listing.change(member, status="queued")
    await live(listing, 4 * A_MINUTE + INTERVAL_MS)
    assert [await words(listing, member) for member in ("t0", "t1", "t2")] == [["validating", "queued"]] * 3
    (line,) = listing.stage.log.named("list.rests")
    assert "did not show" in str(line["detail"])
    assert await listing.told_at() is None
    listing.change("t3", status="ready")
    await live(listing, 2 * INTERVAL_MS)
    assert await words(listing, "t3") == ["validating", "ready"]


async def test_a_list_that_lies_again_rests_twice_as_long(listing: Listing) -> None:
    """Each time it is believed for a while again, so that one bad day is not for ever."""
    await listing.tasks(70)
    listing.watch.simulator.distortion.sort_by = "created_at"
    for n in range(0, 70, 9):
        listing.stage.clock.advance(1_500)
        listing.change(f"t{n}", status="pending")
    await listing.look()
    for minutes in (10, 20):
        await listing.look(minutes * A_MINUTE)
    assert [line["seconds"] for line in listing.stage.log.named("list.rests")] == [600, 1_200, 2_400]


async def test_a_list_that_tells_is_not_suspected(listing: Listing) -> None:
    """An hour of changes, many of them found by id first: nobody distrusts the list."""
    await listing.tasks(8)
    for n in range(120):
        listing.change(f"t{n % 8}", status=("pending", "queued", "indexing")[n % 3])
        await listing.stage.task(f"t{n % 5}")
        await listing.watch.round()
        await live(listing, 6 * INTERVAL_MS)
    assert listing.stage.log.named("list.rests") == []
    assert await listing.told_at() is not None


async def test_what_a_pass_showed_and_nobody_could_read_is_not_held_against_the_list(listing: Listing) -> None:
    """An end is shown, and the key rests for five minutes before it can be read: the list told it in time."""
    await listing.tasks(4)
    await live(listing, 10 * A_MINUTE)
    simulator, reads = listing.watch.simulator, listing.watch.reads
    simulator.fault("/tasks/t0", throttled(300))
    listing.change("t0", status="ready")
    await live(listing, 6 * A_MINUTE)
    assert "/tasks/t0" in listing.asked(reads)
    assert await words(listing, "t0") == ["validating", "ready"]
    assert listing.stage.log.named("list.rests") == []


async def test_trust_grows(listing: Listing) -> None:
    """A list that has just begun to tell is compared with each task a minute later, and with one each minute."""
    await listing.tasks(5)
    await listing.watch.round(INTERVAL_MS)
    assert await listing.stage.due_in("t0") == A_MINUTE
    await live(listing, 3 * A_MINUTE)
    await listing.stage.task("t0")
    await listing.watch.round()
    assert 3 * A_MINUTE - 2 * INTERVAL_MS <= cast(float, await listing.stage.due_in("t0")) <= 4 * A_MINUTE
    await live(listing, 20 * A_MINUTE)
    await listing.stage.task("t0")
    await listing.watch.round()
    assert await listing.stage.due_in("t0") == 5 * A_MINUTE


# -- a row that its task contradicts --


@pytest.mark.parametrize("status", ["ready", "failed"])
async def test_no_end_is_told_that_the_task_itself_does_not_say(listing: Listing, status: str) -> None:
    """The row has ended, the task has not: nothing is told, and it is read as often as without a list."""
    await listing.tasks(3)
    await live(listing, A_MINUTE)
    listing.watch.simulator.distortion.patches["t0"] = {"status": status, "updated_at": later(listing, 0)}
    await listing.look()
    assert cast(float, await listing.stage.due_in("t0")) < 2_000
    await live(listing, 9 * A_MINUTE)
    assert await words(listing, "t0") == ["validating"]
    assert cast(float, await listing.stage.due_in("t0")) <= INTERVAL_MS
    listing.change("t0", status="ready", system_metadata={"duration": 1.5})
    await live(listing, 2 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating", "ready"]


async def test_a_task_that_was_contradicted_is_left_to_the_list_again(listing: Listing) -> None:
    """Ten minutes after the row has gone."""
    await listing.tasks(3)
    listing.watch.simulator.distortion.patches["t0"] = {"status": "failed", "updated_at": later(listing, 0)}
    await listing.look()
    listing.watch.simulator.distortion.patches.clear()
    await live(listing, int(CLOSELY_SECONDS) * 1000 - INTERVAL_MS)
    assert cast(float, await listing.stage.due_in("t0")) <= INTERVAL_MS
    await live(listing, 3 * INTERVAL_MS)
    assert cast(float, await listing.stage.due_in("t0")) > INTERVAL_MS


async def test_an_end_that_reading_by_id_lags_behind_is_told_once_and_whole(listing: Listing) -> None:
    """The row is ahead of the task by twenty seconds, longer than passes show it: told as soon as the task says it."""
    await listing.tasks(3)
    await live(listing, A_MINUTE)
    listing.watch.simulator.retrieve_lag_seconds = 20
    listing.change("t0", status="indexing")
    await listing.look()
    listing.change("t0", status="ready", system_metadata={"duration": 1.5})
    await live(listing, 6 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating", "indexing", "ready"]
    body = await listing.body("t0")
    assert body["data"]["task"]["system_metadata"] == {"duration": 1.5}


async def test_a_list_that_many_tasks_contradict_rests(listing: Listing) -> None:
    """Rows by a clock of their own would be read by id in every pass."""
    await listing.tasks(CONTRADICTIONS + 10)
    await live(listing, A_MINUTE)
    for member in listing.members:
        listing.watch.simulator.distortion.patches[member] = {"updated_at": later(listing, 30)}
    await listing.look()
    (line,) = listing.stage.log.named("list.rests")
    assert "something else than their tasks" in str(line["detail"])
    assert set(await listing.stage.event_types()) == {"index.task.validating"}


async def test_what_only_a_row_said_is_taken_back_by_the_task(listing: Listing) -> None:
    """A row tells of a state too late; the end, by its own time, came before: it is told a minute after it is read."""
    await listing.tasks(3)
    await live(listing, A_MINUTE)
    listing.watch.simulator.distortion.patches["t0"] = {"status": "indexing", "updated_at": later(listing, 40)}
    await listing.look()
    assert await words(listing, "t0") == ["validating", "indexing"]
    listing.watch.simulator.distortion.patches.clear()
    listing.change("t0", status="ready")
    await live(listing, A_MINUTE + TAKEN_BACK_MS + 2 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating", "indexing", "ready"]


# -- a row from the future --


@pytest.mark.parametrize("minutes", [2, 50, 600])
async def test_a_row_from_the_future_hides_nothing(listing: Listing, minutes: int) -> None:
    """One row of the account is ahead; sixty tasks change, more than a page: all are told by the next pass."""
    await listing.tasks(70)
    await live(listing, OVERLAP_MS)
    listing.watch.simulator.add_task("other", timeline=(), status="indexing")
    listing.watch.simulator.distortion.patches["other"] = {"updated_at": later(listing, 60 * minutes)}
    await live(listing, 2 * INTERVAL_MS)
    for member in listing.members[:60]:
        listing.change(member, status="queued")
    await listing.look()
    assert (await listing.stage.event_types()).count("index.task.queued") == 60


async def test_a_watched_row_from_the_future_silences_nothing(listing: Listing) -> None:
    """It is not told by itself, and the end is, although it is older."""
    await listing.tasks(3)
    await live(listing, A_MINUTE)
    listing.watch.simulator.distortion.patches["t0"] = {"status": "indexing", "updated_at": later(listing, 3_000)}
    await live(listing, 2 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating"]
    listing.change("t0", status="ready")
    await live(listing, 2 * INTERVAL_MS)
    assert await words(listing, "t0") == ["validating", "ready"]


@pytest.mark.parametrize("skew_seconds", [-600, 600])
async def test_without_a_date_nothing_is_missed(listing: Listing, skew_seconds: int) -> None:
    """Upstream's clock is far from ours and its answers do not say so: passes are longer, and tell all the same."""
    listing.watch.simulator.dated = False
    listing.watch.simulator.advance(skew_seconds)
    await listing.tasks(70)
    await live(listing, OVERLAP_MS)
    for member in listing.members[:60]:
        listing.change(member, status="queued")
    await listing.look()
    told = (await listing.stage.event_types()).count("index.task.queued")
    assert told == 60
