"""Watching by upstream's list, against the simulator: what it costs, what it tells, and what happens when it fails."""

import asyncio
import json
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from corescene import INTERVAL_MS, Stage, watching
from listscene import LIST, RECONCILE_MS, Listing, listing_of

from bridge.model import FetchFailure, Observation
from bridge.packing import unpack
from bridge.sandbox.faults import Fault, html, nested, throttled, unauthorized, unavailable
from bridge.skim import OVERLAP_MS, QUIET_MS, REST_SECONDS
from bridge.twelvelabs import Page


async def test_a_change_is_told_from_a_row_and_a_round_without_one_costs_a_request(listing: Listing) -> None:
    """Sixty tasks, two of which move on: one page, no task read by id; then pages alone."""
    await listing.tasks(60)
    await listing.look(OVERLAP_MS + QUIET_MS)
    await listing.look()
    since = listing.watch.reads
    listing.change("t7", status="queued")
    listing.change("t55", status="pending")
    await listing.look()
    assert listing.asked(since) == ["list"]
    assert [status for status, _ in await listing.told("t7")] == ["validating", "queued"]
    assert [status for status, _ in await listing.told("t55")] == ["validating", "pending"]
    for _ in range(5):
        await listing.look()
    assert set(listing.asked(since)) == {"list"}
    assert len(await listing.told("t7")) == 2


async def test_an_end_is_read_by_id_once_and_told_whole(listing: Listing) -> None:
    """A row is thin: what ends is told with the whole object, and the watch is over."""
    await listing.tasks(3)
    since = listing.watch.reads
    metadata = {"filename": "keynote.mp4", "duration": 12.5}
    listing.change("t1", status="ready", system_metadata=metadata, hls={"status": "COMPLETE"})
    await listing.look()
    assert listing.asked(since) == ["list", "/tasks/t1"]
    event_id = await cast(Any, listing.stage.store.client.hget("bridge:snapshot:t1", "event_id"))
    kept = await cast(Any, listing.stage.store.client.hget(f"bridge:event:{event_id.decode()}", "body"))
    body = json.loads(unpack(kept))
    assert body["data"]["task"]["system_metadata"] == metadata
    assert body["data"]["task"]["hls"]["status"] == "COMPLETE"
    assert await listing.stage.due_in("t1") is None
    await listing.look()
    assert len(await listing.told("t1")) == 2


@pytest.mark.parametrize(
    ("states", "told"),
    [(("queued", "validating"), ["validating", "validating", "indexing"]), (("ready",), ["validating", "indexing"])],
    ids=["on its way", "an end"],
)
async def test_one_that_has_moved_on_when_it_is_read_is_told_twice(
    listing: Listing, states: tuple[str, ...], told: list[str]
) -> None:
    """The list said one thing, the task says another by now: both were so. But an end only the task itself tells."""
    await listing.tasks(2)
    fetch = listing.lister._upstream.fetch

    async def later(task_id: str) -> Observation | FetchFailure:
        listing.change(task_id, status="indexing")
        return await fetch(task_id)

    for status in states:
        listing.change("t0", status=status)
    listing.lister._upstream.fetch = later  # type: ignore[method-assign]
    await listing.look()
    listing.lister._upstream.fetch = fetch  # type: ignore[method-assign]
    for _ in range(3):
        await listing.watch.round(2_000)
    assert [status for status, _ in await listing.told("t0")] == told


async def test_tasks_are_read_seldom_while_the_list_tells(listing: Listing) -> None:
    """Once the list is known to tell, the next read by id is a minute away, and finds what was hidden."""
    await listing.tasks(3)
    await listing.look()
    await listing.watch.round(INTERVAL_MS)
    assert await listing.stage.due_in("t0") == 60_000
    fetch_page = listing.lister._upstream.fetch_page

    async def hiding(number: int) -> Any:
        page = cast(Page, await fetch_page(number))
        return Page(tuple(row for row in page.rows if row.task_id != "t0"), page.count)

    listing.lister._upstream.fetch_page = hiding  # type: ignore[method-assign]
    listing.change("t0", status="queued")
    since = listing.watch.reads
    for _ in range(60_000 // INTERVAL_MS + 1):
        await listing.look()
        await listing.watch.round()
    assert listing.asked(since).count("/tasks/t0") == 1
    assert [status for status, _ in await listing.told("t0")] == ["validating", "queued"]


@pytest.mark.parametrize(
    ("fault", "rests"),
    [
        (nested(404), True),
        (html(200), True),
        (Fault(400, {"code": "parameter_invalid"}), True),
        (Fault(200, {"data": {}}), True),
        (unavailable(), False),
    ],
    ids=["404", "html", "400", "no list", "503"],
)
async def test_without_the_list_tasks_are_read_by_id_again(listing: Listing, fault: Fault, rests: bool) -> None:
    """It fails for a while: every task is due within the interval again, and its change told; then it comes back."""
    await listing.tasks(3)
    await listing.look()
    await listing.watch.round(INTERVAL_MS)
    listing.watch.simulator.fault(LIST, fault, repeat=True)
    for _ in range(10):
        await listing.look()
    assert await listing.told_at() is None
    assert bool(listing.stage.log.named("list.rests")) is rests
    assert all([cast(float, await listing.stage.due_in(member)) <= INTERVAL_MS for member in listing.members])
    listing.change("t2", status="queued")
    await listing.watch.round(INTERVAL_MS)
    assert [status for status, _ in await listing.told("t2")] == ["validating", "queued"]
    assert await listing.stage.due_in("t2") == INTERVAL_MS
    listing.watch.simulator.clear_faults()
    await listing.look(int(REST_SECONDS * 1000))
    await listing.look()
    assert await listing.told_at() is not None


@pytest.mark.parametrize("fault", [throttled(30), unauthorized()], ids=["429", "401"])
async def test_a_refused_or_throttled_page_rests_the_key(listing: Listing, fault: Fault) -> None:
    """As a read by id does: nothing is asked until then."""
    await listing.tasks(3)
    listing.watch.simulator.fault(LIST, fault)
    await listing.look()
    since = listing.watch.reads
    await listing.look()
    assert await listing.watch.round() == 0
    assert listing.asked(since) == []


async def test_one_of_all_workers_lists(listing: Listing) -> None:
    """Two look at the same time, all the time: one page an interval."""
    await listing.tasks(3)
    other = listing_of(listing.stage, listing.watch)
    since = listing.watch.reads
    for _ in range(5):
        listing.stage.clock.advance(INTERVAL_MS)
        await asyncio.gather(listing.lister.round(), other.lister.round())
    assert listing.asked(since) == ["list"] * 5


async def test_whoever_dies_while_listing_is_replaced(listing: Listing) -> None:
    """Its lease ends, and what it had not told is told by the next."""
    await listing.tasks(2)
    listing.stage.clock.advance(INTERVAL_MS)
    assert (
        await listing.stage.store.listings.claim(lease_ms=30_000, least=1, interval_ms=1, rest_ms=1)
    ).word == "yours"
    listing.change("t0", status="queued")
    await listing.look(29_000)
    assert len(await listing.told("t0")) == 1
    await listing.look(1_000)
    assert [status for status, _ in await listing.told("t0")] == ["validating", "queued"]


async def test_nobody_relies_on_a_list_that_somebody_else_has_left(stage: Stage) -> None:
    """The last but one of many tasks ends, one process leaves the list, another reads: that is due soon."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        listing = listing_of(stage, watch, least_tasks=2)
        await listing.tasks(2)
        await listing.look()
        stage.clock.advance(INTERVAL_MS)
        batch = await watch.poller.claim(10)
        assert len(batch.items) == 2
        await stage.store.client.zrem("bridge:tasks", "t1")
        await watch.poller.read(next(item for item in batch.items if item.task.member == "t1"))
        await listing.look(0)
        await watch.poller.read(next(item for item in batch.items if item.task.member == "t0"))
        assert await stage.due_in("t0") == INTERVAL_MS


@pytest.mark.parametrize("field", ["due", "until", "rests", "listed", "deep", "mark"])
@pytest.mark.parametrize("value", ["99999999999999", "nonsense", "-1", "nan"])
async def test_nonsense_about_the_list_stops_nothing(listing: Listing, field: str, value: str) -> None:
    """A clock that was set back, or somebody's hand: the next change is told all the same."""
    await listing.tasks(3)
    await listing.look()
    await cast(Any, listing.stage.store.client.hset("bridge:listing:default", field, value))
    listing.change("t0", status="queued")
    for _ in range(3):
        await listing.look()
        await listing.watch.round()
    assert [status for status, _ in await listing.told("t0")] == ["validating", "queued"]


async def test_a_listing_of_a_wrong_type_is_made_anew(listing: Listing) -> None:
    """Somebody wrote over it while tasks relied on it: they are read by id soon, and then by the list again."""
    await listing.tasks(3)
    await listing.look()
    await listing.watch.round(INTERVAL_MS)
    assert await listing.stage.due_in("t0") == 60_000
    await listing.stage.store.client.set("bridge:listing:default", "mine")
    await listing.stage.task("t1")  # whose reading by id is settled meanwhile
    await listing.watch.round()
    assert await listing.stage.due_in("t1") == INTERVAL_MS
    listing.watch.simulator.fault(LIST, unavailable(), repeat=True)
    await listing.look(0)
    await listing.look()
    assert all([cast(float, await listing.stage.due_in(member)) <= INTERVAL_MS for member in listing.members])
    listing.watch.simulator.clear_faults()
    await listing.look()
    assert await listing.told_at() not in {None, b"0"}


async def test_few_tasks_are_read_by_id(stage: Stage) -> None:
    """Below the number from which a list is worthwhile there is no page, and no quarter of an hour."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        listing = listing_of(stage, watch, least_tasks=4)
        await listing.tasks(3)
        await listing.look()
        assert "list" not in listing.asked()
        await listing.watch.round(INTERVAL_MS)
        assert await stage.due_in("t0") == INTERVAL_MS


async def test_the_budget_counts_pages_and_ends(stage: Stage) -> None:
    """Ten requests a minute, by whomever: a page and nine reads, and then nothing until there is one more."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        listing = listing_of(stage, watch, requests_per_minute=10)
        watch.poller._policy = replace(watch.poller._policy, requests_per_minute=10)
        await listing.tasks(12)
        stage.clock.advance(120_000)
        await listing.look()
        start, made, known = stage.clock.now, list[int](), watch.reads
        for n in range(12):
            listing.change(f"t{n}", status="ready")
        while len(await stage.event_types()) < 24 and stage.clock.now < start + 600_000:
            await listing.look(1_000)
            await watch.round()
            made += [stage.clock.now] * (watch.reads - known)
            known = watch.reads
        assert (await stage.event_types()).count("index.task.ready") == 12
        assert max(sum(one <= other < one + 60_000 for other in made) for one in made) <= 10


async def test_a_429_in_the_middle_of_a_pass_ends_its_requests(listing: Listing) -> None:
    """Thirty tasks have ended, and upstream has enough: nothing more is asked until it allows that; all are told."""
    await listing.tasks(30)
    since = listing.watch.reads
    for member in listing.members:
        listing.change(member, status="ready")
    listing.watch.simulator.fault("/tasks/*", throttled(60), repeat=True)
    await listing.look()
    in_flight = len(listing.asked(since))
    for _ in range(5):
        await listing.look()
        await listing.watch.round()
    assert len(listing.asked(since)) == in_flight
    listing.watch.simulator.clear_faults()
    for _ in range(40):
        await listing.look()
        await listing.watch.round()
    assert (await listing.stage.event_types()).count("index.task.ready") == 30


async def test_an_account_that_moves_too_much_is_read_by_id(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    """More pages than a pass may have: the list rests."""
    await listing.tasks(3)
    monkeypatch.setattr("bridge.lister.PAGES", 2)
    for n in range(120):
        listing.watch.simulator.add_task(f"other{n}", timeline=(), status="indexing")
    listing.stage.clock.advance(600_000)
    for n in range(120):
        listing.change(f"other{n}", status="queued")
    await listing.look()
    (line,) = listing.stage.log.named("list.rests")
    assert "more than" in str(line["detail"])


@pytest.mark.parametrize("skew_seconds", [0, -600, 600])
@pytest.mark.parametrize("seed", range(4))
async def test_every_state_that_was_served_is_told_once_and_in_order(
    listing: Listing, seed: int, skew_seconds: int
) -> None:
    """Random moves, also while pages are read, rows lost from pages, clocks apart, passes and reads by id at random."""
    chance = Random(seed)
    listing.watch.simulator.advance(skew_seconds)
    await listing.tasks(70)
    fetch_page = listing.lister._upstream.fetch_page
    served: dict[str, list[tuple[str, str]]] = {member: [] for member in listing.members}

    def move(times: int) -> None:
        for _ in range(times):
            listing.move(chance)

    async def shifting(number: int) -> Page:
        page = cast(Page, await fetch_page(number))
        move(chance.randrange(3))
        rows = tuple(row for row in page.rows if chance.random() > 0.05)
        for row in rows:
            served[str(row.task_id)].append((row.status, str(row.updated_at_text)))
        return Page(rows, page.count)

    listing.lister._upstream.fetch_page = shifting  # type: ignore[method-assign]
    for _ in range(40):
        move(chance.randrange(12))
        await listing.look(chance.choice([INTERVAL_MS, INTERVAL_MS, 20_000, 60_000]))
        if chance.random() < 0.3:
            await listing.watch.round(chance.choice([0, INTERVAL_MS]))
    listing.lister._upstream.fetch_page = fetch_page  # type: ignore[method-assign]
    await listing.look()
    for _ in range(3):
        await listing.watch.round(RECONCILE_MS)
    for member in listing.members:
        await listing.assert_told(member, served[member])
