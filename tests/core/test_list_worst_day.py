"""Upstream's list on its worst day: rows of every kind, and what they must not stop."""

from random import Random
from typing import Any, cast

import pytest
from corescene import INTERVAL_MS, Stage, watching
from listscene import LIST, RECONCILE_MS, STATES, Listing, listing_of
from test_list_weather import Weather, clear

from bridge.sandbox.faults import Fault, nested, reset, throttled, truncated, unauthorized, unavailable
from bridge.sandbox.shelf import INDEX_ID
from bridge.sandbox.timeline import TimeStyle, instant, written

ODD_IDS = ["\ud800", "../../etc", "a b", "", "x" * 10_000, "analyze:a1", "\x00", 7, None, ["t0"], {"t0": 1}, True]


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: repr(odd)[:20])
async def test_a_row_with_an_odd_id_stops_no_other(listing: Listing, odd: Any) -> None:
    """It cannot be watched, whatever it says: the rows beside it are told in the same pass."""
    await listing.tasks(3)
    listing.change("t1", status="queued")
    row = listing.watch.simulator.task("t1")
    rows = [{**row, "_id": odd, "status": "indexing"}, {"_id": odd}, row]
    listing.watch.simulator.fault(LIST, Fault(200, {"data": rows}))
    since = listing.watch.reads
    await listing.look()
    assert listing.stage.log.named("list.fault") == []
    assert listing.asked(since) == ["list"]
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued"]
    await listing.look(INTERVAL_MS)
    assert await listing.told_at() not in {None, b"0"}


async def test_a_list_of_tasks_tells_nothing_of_another_kind(listing: Listing) -> None:
    """A row whose id reads like an asset that is watched: assets are read by id alone."""
    await listing.tasks(3)
    asset = f"asset:{INDEX_ID}/a1"
    listing.watch.simulator.add_task(asset, timeline=(), status="queued")
    await listing.stage.task(asset)
    await listing.watch.round()
    listing.stage.clock.advance(INTERVAL_MS)
    moment = instant(listing.watch.simulator.now())
    row = {**listing.watch.simulator.task("t1"), "updated_at": moment, "_id": asset, "status": "indexing"}
    listing.watch.simulator.fault(LIST, Fault(200, {"data": [row]}))
    await listing.look()
    assert await listing.stage.event_types() == ["index.task.validating"] * 3 + ["index.asset.queued"]


@pytest.mark.parametrize("fault", [unavailable(), nested(404), throttled(30)], ids=["503", "404", "429"])
async def test_what_a_page_showed_is_told_though_the_next_one_fails(listing: Listing, fault: Fault) -> None:
    """All have moved on, two pages of them, and move again before the next pass: what was served is told, once."""
    await listing.tasks(60)
    for member in listing.members:
        listing.change(member, status="queued")
    simulator, since = listing.watch.simulator, listing.watch.reads
    simulator.fault(LIST, None, fault)
    await listing.look()
    assert listing.asked(since) == ["list", "list"]
    served = {row.task_id: (str(row.status), str(row.updated_at)) for row in list(simulator.served)[-50:]}
    for member in listing.members:
        listing.change(member, status="indexing")
    for _ in range(20):
        await listing.look()
        await listing.watch.round()
    for member in listing.members:
        await listing.assert_told(member, [served[member]] if member in served else [])


@pytest.mark.parametrize("ignores", [set[str](), {"page_limit"}])
async def test_a_page_that_upstream_makes_smaller_than_asked_is_not_the_last(
    listing: Listing, ignores: set[str]
) -> None:
    """All that moved is told in one pass, however many pages that takes."""
    await listing.tasks(60)
    listing.watch.simulator.distortion.ignores = ignores
    for member in listing.members:
        listing.change(member, status="queued")
    await listing.look()
    assert (await listing.stage.event_types()).count("index.task.queued") == 60


@pytest.mark.parametrize("most", [1, 0, -1, 10**9, "10", True, None, [10]], ids=repr)
async def test_totals_that_lie_stop_nothing(listing: Listing, most: Any) -> None:
    """What upstream says of its pages is a hint: a pass ends, is complete, and tells."""
    await listing.tasks(3)
    listing.change("t1", status="queued")
    rows = [listing.watch.simulator.task(member) for member in listing.members]
    rows.sort(key=lambda row: str(row["updated_at"]), reverse=True)
    info = {"limit_per_page": most, "page": 1, "total_page": 10**9, "total_results": -1}
    page = Fault(200, {"data": rows, "page_info": info})
    listing.watch.simulator.fault(LIST, page, Fault(200, {"data": []}))
    await listing.look()
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued"]
    assert await listing.told_at() not in {None, b"0"}


async def over(listing: Listing, what: str) -> None:
    """Somebody writes over what is known of t0."""
    client = listing.stage.store.client
    if what in {"inf", "-inf"}:
        await client.zadd("bridge:watch", {"t0": float(what)})
    elif what == "latin":
        await cast(Any, client.hset("bridge:snapshot:t0", mapping={"status": b"\xff", "updated_at": b"\xff"}))
    else:
        await client.set(f"bridge:{what}:t0", "mine")


@pytest.mark.parametrize("what", ["snapshot", "watch", "inf", "-inf", "latin"])
async def test_one_task_that_was_written_over_stops_no_other(listing: Listing, what: str) -> None:
    """P10: it and another have news; the other one's is told in the same pass, and in the next."""
    await listing.tasks(3)
    await over(listing, what)
    listing.change("t0", status="queued")
    listing.change("t1", status="queued")
    await listing.look()
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued"]
    listing.change("t0", status="indexing")
    listing.change("t1", status="indexing")
    await listing.look()
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued", "indexing"]


@pytest.mark.parametrize("back_ms", [90_000, 24 * 3_600_000])
async def test_a_list_that_fails_when_the_clock_was_set_back_is_left(listing: Listing, back_ms: int) -> None:
    """When it last told is a moment that has not come yet: that is not never, and what relied on it is read by id."""
    await listing.tasks(3)
    await listing.look()
    await listing.watch.round(INTERVAL_MS)
    assert await listing.stage.due_in("t0") == 60_000
    scripts = listing.stage.store.scripts
    await scripts.call("follow_clock")
    listing.stage.clock.advance(-back_ms)
    await scripts.call("follow_clock")
    listing.watch.simulator.fault(LIST, unavailable(), repeat=True)
    for _ in range(10):
        await listing.look()
    assert all([cast(float, await listing.stage.due_in(member)) <= INTERVAL_MS for member in listing.members])


async def test_a_list_that_alone_refuses_the_key_does_not_rest_it_again_and_again(listing: Listing) -> None:
    """Tasks are read by id with it meanwhile, so it is good: the list is left, as one that is not for us."""
    await listing.tasks(3)
    listing.watch.simulator.fault(LIST, unauthorized(), repeat=True)
    since = listing.watch.reads
    for _ in range(120):
        await listing.look()
        await listing.watch.round()
    assert listing.asked(since).count("list") <= 3
    assert len(listing.asked(since)) >= 200
    listing.watch.simulator.clear_faults()
    for _ in range(120):
        await listing.look()
        await listing.watch.round()
    assert await listing.told_at() not in {None, b"0"}


async def test_what_the_list_showed_while_a_reader_was_killed_is_told(listing: Listing) -> None:
    """kill -9 between claim and commit: its task has moved on when the lease ends, and was shown before that."""
    await listing.tasks(3)
    await listing.stage.task("t1")
    assert len((await listing.watch.poller.claim(10)).items) == 3
    listing.change("t1", status="queued")
    await listing.look()
    listing.change("t1", status="indexing")
    for _ in range(3):
        await listing.look()
        await listing.watch.round()
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued", "indexing"]


@pytest.mark.parametrize("asked", [120, 3_600])
async def test_a_list_that_asks_for_a_while_gets_it(listing: Listing, asked: int) -> None:
    """503 and Retry-After: no page before that, while tasks are read by id; and then one."""
    await listing.tasks(3)
    listing.watch.simulator.fault(LIST, Fault(503, headers={"Retry-After": str(asked)}))
    since, start = listing.watch.reads, listing.stage.clock.now + INTERVAL_MS
    await listing.look()
    while listing.stage.clock.now < start + asked * 1000 - INTERVAL_MS:
        await listing.look()
        await listing.watch.round()
    assert listing.asked(since).count("list") == 1
    assert len(listing.asked(since)) > 3 * asked // 10
    await listing.look(2 * INTERVAL_MS)
    assert listing.asked(since).count("list") == 2
    assert await listing.told_at() not in {None, b"0"}


async def test_a_list_that_is_left_hastens_nothing_that_upstream_put_off(listing: Listing) -> None:
    """A task for which it asked an hour is not what relied on the list; the others are read by id at once."""
    await listing.tasks(3)
    await listing.look()
    simulator = listing.watch.simulator
    simulator.fault("/tasks/t0", Fault(503, headers={"Retry-After": "3600"}))
    await listing.watch.round(INTERVAL_MS)
    assert await listing.stage.due_in("t0") == 3_600_000
    simulator.fault(LIST, unavailable(), repeat=True)
    since = listing.watch.reads
    for _ in range(20):
        await listing.look()
        await listing.watch.round()
    assert set(listing.asked(since)) == {"list", "/tasks/t1", "/tasks/t2"}
    assert await listing.told_at() is None


async def test_of_many_that_are_late_all_that_relied_on_the_list_are_hastened(stage: Stage) -> None:
    """More than one step takes, every third of them late for another reason."""
    client, late = stage.store.client, stage.clock.now + 600_000
    members = [f"t{n}" for n in range(1_300)]
    await client.zadd("bridge:watch", dict.fromkeys(members, late))
    for member in members[::3]:
        await cast(Any, client.hset(f"bridge:watch:{member}", "since", 1))
    for member in {*members} - {*members[::3]}:
        await cast(Any, client.hset(f"bridge:watch:{member}", "relied", 1))
    async with watching(stage) as watch:
        await listing_of(stage, watch).lister._leave()
    left = cast(list[bytes], await client.zrangebyscore("bridge:watch", late, late))
    assert sorted(one.decode() for one in left) == sorted(members[::3])


async def test_a_page_that_repeats_a_task_tells_of_it_once(listing: Listing) -> None:
    """A page is made at one moment, and only one of a thousand states on it can be so."""
    await listing.tasks(3)
    listing.stage.clock.advance(INTERVAL_MS)
    row, now = listing.watch.simulator.task("t0"), listing.watch.simulator.now()
    rows = [
        {**row, "status": STATES[n % 2], "updated_at": written(instant(now - n / 1000), TimeStyle.MILLISECONDS)}
        for n in range(1, 1_000)
    ]
    listing.watch.simulator.fault(LIST, Fault(200, {"data": rows}), Fault(200, {"data": []}))
    await listing.look()
    assert len(await listing.told("t0")) <= 2


@pytest.mark.parametrize("key", ["account:default", "pauses", "spent:default", "listing:default"])
async def test_what_is_known_of_the_account_may_be_written_over(listing: Listing, key: str) -> None:
    """P10: it is forgotten, and watching goes on, by id and by the list."""
    await listing.tasks(3)
    await listing.stage.store.client.set(f"bridge:{key}", "mine")
    await listing.watch.round()
    for status in ("queued", "indexing"):
        listing.change("t1", status=status)
        await listing.look()
        await listing.watch.round()
    assert [status for status, _ in await listing.told("t1")] == ["validating", "queued", "indexing"]


PAGE_FAULTS = (None, unavailable(), truncated(100), reset(), throttled(3), Fault(200, {"data": []}))
TASK_FAULTS = (None, None, unavailable(), reset(), throttled(2))


@pytest.mark.parametrize("seed", range(6))
async def test_in_bad_weather_with_faults_what_was_served_is_told_once_in_order(listing: Listing, seed: int) -> None:
    """Pages and reads fail at random, while lists and tasks lie and lag as in `test_list_weather`."""
    weather = Weather(listing, Random(seed))
    await weather.begin()
    chance, simulator = weather.chance, listing.watch.simulator
    for n in range(60):
        if n % 8 == 0:
            weather.turn()
        simulator.clear_faults()
        simulator.fault(LIST, *chance.choices(PAGE_FAULTS, k=chance.choice([0, 3])))
        simulator.fault("/tasks/*", *chance.choices(TASK_FAULTS, k=chance.choice([0, 5])))
        for _ in range(chance.randrange(30)):
            weather.move()
        await weather.live(chance.choice([INTERVAL_MS, INTERVAL_MS, 20_000, 60_000]))
    simulator.clear_faults()
    clear(weather)
    for _ in range(40):
        await weather.live(INTERVAL_MS)
    for _ in range(3):
        await listing.watch.round(RECONCILE_MS)
        await listing.watch.round(INTERVAL_MS)
    for member in listing.members:
        await weather.assert_told(member)
