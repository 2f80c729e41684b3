"""Watching an index, or the account: what is found there is registered, once, whoever dies when."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from corescene import POLICY, Lines, Stage, Watching, watching

from bridge.entries import Judge
from bridge.errors import StoreDown
from bridge.finder import Finder, FindPolicy
from bridge.finding import FIRST_PAGES, WAY_MS, Search
from bridge.kinds import TASK
from bridge.model import FetchFailure, FetchFault
from bridge.sandbox.faults import Fault, throttled, unauthorized, unavailable
from bridge.sandbox.shelf import INDEX_ID
from bridge.store import Store

AGAIN_MS = 15_000
INDEX = f"index:{INDEX_ID}"


@dataclass
class Finding:
    """A finder between a real store and a simulated upstream."""

    watch: Watching
    finder: Finder
    log: Lines = field(default_factory=Lines)

    async def wants(self, name: str, **definition: Any) -> None:
        """Watch an index, or the account, by hand."""
        await self.client.hset("bridge:watches", name, json.dumps(definition))

    def add(self, name: str, **fields: Any) -> None:
        """A task upstream that stays on its way."""
        self.watch.simulator.add_task(name, (), **fields)

    async def round(self, advance_ms: int = AGAIN_MS) -> list[str]:
        """Let time pass, and find; replies what is registered that was not."""
        self.watch.stage.clock.advance(advance_ms)
        before = await self.members()
        await self.finder.round()
        return [one for one in await self.members() if one not in before]

    async def members(self) -> list[str]:
        """What is registered."""
        return [one.decode() for one in await self.client.zrange("bridge:tasks", 0, -1)]

    async def known(self, name: str, word: str = "task", *, since: int | None = None) -> Search:
        """How far a search has come."""
        return Search.read(await self.client.hget("bridge:finding", f"state:{word}:{name}"), since=since)

    @property
    def client(self) -> Any:
        return self.watch.stage.store.client

    @property
    def pages(self) -> int:
        """Pages that upstream was asked for."""
        return sum(1 for asked in self.watch.simulator.requests if asked.path in {"/tasks"} or "indexed" in asked.path)


def another(find: Finding, store: Store | None = None, **policy: Any) -> Finder:
    """Another worker's finder."""
    watch = find.watch
    store = store or watch.stage.store
    return Finder(
        store.watches,
        store.listings,
        watch.poller._upstream,  # type: ignore[arg-type]
        watch.poller,
        FindPolicy(Judge(POLICY, has_default_secret=True), interval_seconds=AGAIN_MS / 1000, **policy),
        permitted=lambda: True,
        log=find.log,
    )


@asynccontextmanager
async def finding(stage: Stage, **policy: Any) -> AsyncIterator[Finding]:
    """As production builds it, except for the clock."""
    async with watching(stage) as watch:
        find = Finding(watch, cast(Finder, None))
        find.finder = another(find, **policy)
        yield find


@pytest.fixture
async def find(stage: Stage) -> AsyncIterator[Finding]:
    async with finding(stage) as it:
        yield it


async def test_all_tasks_of_an_index_are_registered_by_themselves(find: Finding) -> None:
    """Those on their way, and whatever comes; not those of another index, and not what had ended."""
    find.add("running")
    find.watch.simulator.add_task("done", age_seconds=3_600)
    find.add("elsewhere", index_id="other")
    await find.wants(INDEX)
    assert await find.round() == ["running"]
    find.add("new")
    find.watch.simulator.add_task("quick", [(0, {"status": "failed"})])
    assert await find.round() == ["new", "quick"]
    assert await find.round() == []
    assert len(await find.members()) == 3


async def test_the_account_is_watched_as_a_whole(find: Finding) -> None:
    """Every index that it has."""
    find.add("here")
    find.add("there", index_id="other")
    await find.wants("account")
    assert await find.round() == ["here", "there"]


async def test_assets_are_found_where_they_are_asked_for(find: Finding) -> None:
    """In the list of their index, as members of their kind; beside tasks if both are named."""
    find.add(f"asset:{INDEX_ID}/a1")
    find.add("t1")
    await find.wants(INDEX, kinds=["asset"])
    assert await find.round() == [f"asset:{INDEX_ID}/a1"]
    await find.wants(INDEX, kinds=["asset", "task"])
    assert await find.round() == ["t1"]


async def test_what_had_ended_is_told_from_a_moment_on_if_asked_for(find: Finding) -> None:
    """`since`: by when they were created."""
    now = find.watch.stage.clock.now / 1000
    find.watch.simulator.add_task("old", age_seconds=7_200)
    find.watch.simulator.add_task("young", age_seconds=1_800)
    await find.wants("account", since=now - 3_600)
    assert await find.round() == ["young"]


async def test_each_task_gets_the_options_of_its_watch(find: Finding) -> None:
    """And goes on as any task; one whose client wrote options keeps them."""
    find.add("t1")
    find.add("t2")
    await find.client.hset("bridge:task:t2", "metadata", '"mine"')
    await find.wants("account", metadata={"tenant": 7}, endpoints=["billing"])
    assert await find.round() == ["t1", "t2"]
    assert await find.client.hgetall("bridge:task:t1") == {b"metadata": b'{"tenant":7}', b"endpoints": b"billing"}
    assert await find.client.hgetall("bridge:task:t2") == {b"metadata": b'"mine"'}
    await find.watch.stage.intake.run()
    assert await find.watch.round() == 2
    assert await find.watch.stage.event_types() == ["index.task.validating"] * 2


async def test_what_was_seen_is_never_registered_again(find: Finding) -> None:
    """Whether it has ended, was taken back, or was refused; a list that repeats it, and its state written over, too."""
    for name in ("ended", "back", "refused", "watched"):
        find.add(name)
    await find.wants("account")
    assert len(await find.round()) == 4
    await find.watch.stage.intake.run()
    find.watch.simulator.change("ended", {"status": "ready"})
    find.watch.simulator.fault("/tasks/refused", Fault(403, {"code": "read_not_allowed"}), repeat=True)
    for _ in range(4):
        await find.watch.round(31_000)
    await find.client.zrem("bridge:tasks", "back")
    await find.watch.round(31_000)
    assert sorted(await find.members()) == ["watched"]
    for _ in range(3):
        assert await find.round(WAY_MS) == []
    await find.client.hset("bridge:finding", "state:task:account", "nonsense")
    assert await find.round() == []


async def test_a_large_list_is_gone_on_with_page_by_page_and_round_by_round(find: Finding) -> None:
    """A round is bounded; what is left is read in the next one, and nothing is missed or doubled."""
    for n in range(1_205):
        find.watch.simulator.add_task(f"t{n:04}", [(0, {"status": "ready"})], age_seconds=100_000 - n)
    await find.wants("account", since=1)
    assert len(await find.round()) == 1_000
    assert len(await find.round(2_000)) == 205
    assert await find.round() == []


async def test_of_all_workers_one_finds_at_a_time(find: Finding) -> None:
    """The other one looks again later; whoever dies is replaced after the lease."""
    find.add("t1")
    await find.wants("account")
    turn = await find.watch.stage.store.watches.claim(lease_ms=30_000, look_ms=2_000)
    assert turn.word == "yours"
    assert await find.round(29_000) == []
    assert find.pages == 0
    assert await find.round(2_000) == ["t1"]


async def test_who_was_replaced_writes_nothing_more(find: Finding) -> None:
    """Its token is no longer the one that counts: neither registrations nor how far it had come."""
    await find.wants("account")
    store = find.watch.stage.store
    late = await store.watches.claim(lease_ms=1_000, look_ms=2_000)
    find.watch.stage.clock.advance(2_000)
    await find.round(0)
    from bridge.watches import watch

    known = watch("account", "{}", POLICY, has_default_secret=True)
    before = await find.known("account")
    found = await store.watches.found(late.token, known, b"{}", TASK, state="{}", members=["ghost"], lease_ms=1_000)
    assert (found.word, await find.members()) == ("stale", [])
    assert await store.watches.take(late.token, b"account", b"{}") == "stale"
    assert await find.known("account") == before


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 6, 7])
async def test_whoever_dies_between_two_steps_loses_nothing(
    find: Finding, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 before any step, or after it was done and before it was known: the next one finds all, once."""
    for n in range(120):
        find.add(f"t{n:03}")
    await find.wants("account")
    scripts, made = find.watch.stage.store.scripts, 0
    call = scripts.call

    async def dying(name: str, *arguments: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        if made > after:
            if made % 2:
                await call(name, *arguments, **more)
            raise StoreDown("killed")
        return await call(name, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(scripts, "call", dying)
        with pytest.raises(StoreDown):
            await find.finder.round()
    find.finder = another(find)
    for _ in range(2):
        await find.round(31_000)
    assert await find.members() == [f"t{n:03}" for n in range(120)]
    assert await find.client.hget("bridge:finding", "found:task:account") == b"120"


async def test_a_watch_that_is_taken_back_finds_nothing_more(find: Finding) -> None:
    """What it found stays watched; made again, it begins anew."""
    find.add("t1")
    await find.wants("account")
    await find.round()
    await find.client.hdel("bridge:watches", "account")
    find.watch.simulator.add_task("t2", [(0, {"status": "ready"})])
    assert await find.round() == []
    assert await find.members() == ["t1"]
    assert await find.client.exists("bridge:finding") == 0
    await find.wants("account")
    assert await find.round() == []


async def test_a_watch_taken_back_while_it_is_read_registers_nothing(find: Finding) -> None:
    """The page that was on its way is too late."""
    find.add("t1")
    await find.wants("account")
    await find.round()
    find.add("t2")
    find.watch.simulator.fault("/tasks", Fault(before=lambda: None))
    client = find.client
    upstream = find.finder._upstream
    fetch = upstream.fetch_created

    async def slow(*arguments: Any, **more: Any) -> Any:
        page = await fetch(*arguments, **more)
        await client.hdel("bridge:watches", "account")
        return page

    upstream.fetch_created = slow  # type: ignore[method-assign]
    assert await find.round() == []


async def test_a_bad_watch_is_refused_beside_a_good_one(find: Finding) -> None:
    """With reason and fix, and gone from the key; put right, the complaint goes too."""
    find.add("t1")
    await find.wants("account")
    await find.client.hset("bridge:watches", "index:a b", "{}")
    await find.client.hset("bridge:watches", INDEX, '{"since": "x"}')
    await find.client.hset("bridge:watches", b"\xff", b"{}")
    assert await find.round() == ["t1"]
    rejected = await find.watch.stage.rejected()
    assert {name for name in rejected if name.startswith("watch:")} >= {"watch:index:a b", f"watch:{INDEX}"}
    assert len(rejected) == 3
    assert await find.client.hkeys("bridge:watches") == [b"account"]
    await find.wants(INDEX)
    await find.round()
    assert f"watch:{INDEX}" not in await find.watch.stage.rejected()


async def test_a_bad_change_is_answered_by_the_last_good_text(find: Finding) -> None:
    """As of an endpoint: what is in force goes on."""
    await find.wants("account", metadata=1)
    await find.round()
    await find.client.hset("bridge:watches", "account", "{")
    await find.round()
    assert await find.client.hget("bridge:watches", "account") == b'{"metadata": 1}'
    assert "watch:account" in await find.watch.stage.rejected()
    find.add("t1")
    assert await find.round() == ["t1"]


async def test_what_our_own_settings_made_bad_is_kept(find: Finding) -> None:
    """A worker without the default secret must not delete it; it says so once, and finds nothing for it."""
    find.add("t1")
    await find.wants("account", callback_url="http://127.0.0.1:9/hook")
    await find.round()
    find.add("t2")
    find.finder._policy = FindPolicy(Judge(POLICY, has_default_secret=False))
    assert await find.round() == []
    assert await find.round() == []
    assert await find.client.hexists("bridge:watches", "account")
    assert len(find.log.named("rejected")) == 1


async def test_a_key_of_the_wrong_type_loses_no_watch(find: Finding) -> None:
    """It is named, finding pauses, and what was in force is written back once it is renamed away."""
    await find.wants("account")
    await find.round()
    await find.client.delete("bridge:watches")
    await find.client.set("bridge:watches", "x")
    assert await find.round() == []
    assert "key:bridge:watches" in await find.watch.stage.rejected()
    assert "rename" in str(find.log.named("find.paused")[0]["reason"])
    await find.client.rename("bridge:watches", "elsewhere")
    find.watch.simulator.add_task("t1", [(0, {"status": "ready"})])
    assert await find.round() == ["t1"]
    assert await find.watch.stage.rejected() == {}


@pytest.mark.parametrize("key", ["bridge:finding", "bridge:tasks", "bridge:rejected"])
async def test_what_somebody_wrote_over_stops_no_worker(find: Finding, key: str) -> None:
    """P10: finding goes on, or waits until it is put right."""
    find.add("t1")
    await find.wants("account")
    await find.client.set(key, "x")
    await find.finder.round()
    if key != "bridge:finding":
        await find.client.delete(key)
    await find.round()
    assert await find.members() == ["t1"]


async def test_no_more_watches_than_can_be_afforded(find: Finding) -> None:
    """The one too many is refused, and not one that is in force."""
    for n in range(200):
        await find.wants(f"index:b{n:03}")
    await find.round()
    await find.wants("index:a")
    await find.finder.round()
    assert await find.client.hlen("bridge:watches") == 200
    assert "200 watches" in (await find.watch.stage.rejected())["watch:index:a"]["reason"]


@pytest.mark.parametrize(
    ("fault", "again_ms"),
    [
        (unavailable(), AGAIN_MS),
        (Fault(503, headers={"Retry-After": "120"}), 120_000),
        (Fault(404, {"code": "resource_not_exist"}), 600_000),
        (Fault(400, {"code": "parameter_invalid"}), 600_000),
    ],
    ids=["transient", "in two minutes", "missing", "refused"],
)  # fmt: skip
async def test_a_list_that_cannot_be_read_is_asked_again(find: Finding, fault: Fault, again_ms: int) -> None:
    """What went wrong is kept for `bridge watch ls`, and goes with the next good page."""
    find.add("t1")
    find.watch.simulator.fault("/tasks", fault)
    await find.wants("account")
    await find.round()
    assert str(fault.status) in (await find.known("account")).error
    assert await find.round(again_ms - 1_000) == []
    assert await find.round(1_001) == ["t1"]
    assert (await find.known("account")).error == ""


@pytest.mark.parametrize(("fault", "rest_ms"), [(throttled(40), 40_000), (unauthorized(), 60_000)], ids=["429", "401"])
async def test_a_throttled_or_refused_key_rests(find: Finding, fault: Fault, rest_ms: int) -> None:
    """For finding and reading alike; of a refused key nothing but the probe is asked."""
    find.add("t1")
    find.watch.simulator.fault("/tasks", fault)
    await find.wants("account")
    await find.wants(INDEX)
    await find.round()
    assert find.pages == 1
    assert await find.round(rest_ms - 1_000) == []
    assert find.pages == 1
    await find.watch.stage.store.registry.key_accepted()
    assert await find.round(2_000) == ["t1"]


async def test_finding_stays_within_the_request_budget(stage: Stage) -> None:
    """And a page that was asked for in vain comes before the next read by id: a tight budget must not starve it."""
    async with finding(stage, requests_per_minute=5) as find:
        for n in range(20):
            await stage.task(f"t{n:02}")
        registry = stage.store.registry
        assert len((await registry.claim_tasks(100, lease_ms=1_000, per_minute=5)).tasks) == 5
        find.add("new")
        await find.wants("account")
        assert await find.round(1_000) == []
        assert find.pages == 0
        stage.clock.advance(61_000)
        assert len((await registry.claim_tasks(100, lease_ms=1_000, per_minute=5)).tasks) == 4
        assert await find.round(0) == ["new"]
        assert find.pages == 1


async def test_a_watch_that_expired_finds_nothing_more(find: Finding) -> None:
    """`expires_at` is that of its tasks, too."""
    now = find.watch.stage.clock.now / 1000
    await find.wants("account", expires_at=now + 60)
    await find.round()
    find.add("t1")
    assert await find.round(61_000) == []


async def test_rows_of_another_index_are_left_alone(find: Finding) -> None:
    """Should upstream not know the filter, or ignore it."""
    find.add("theirs", index_id="other")
    await find.wants(INDEX)
    find.watch.simulator.fault("/tasks", Fault(patch={"index_id": "other"}), repeat=True)
    find.add("ours")
    assert await find.round() == []


async def test_a_list_whose_further_pages_are_refused_ends_there(find: Finding) -> None:
    """A full last page is followed by one that does not exist, whatever upstream answers for it; that is no fault."""
    for n in range(50):
        find.add(f"t{n:02}")
    page = find.watch.poller._upstream.fetch_created  # type: ignore[attr-defined]

    async def to_the_end(kind: Any, index: Any, number: int, *, on_way: bool) -> Any:
        if number > 1:
            return FetchFailure(FetchFault.BAD_WATCH, "HTTP 400 parameter_invalid", status_code=400)
        return await page(kind, index, number, on_way=on_way)

    find.finder._upstream.fetch_created = to_the_end  # type: ignore[method-assign]
    await find.wants("account", since=1)
    assert len(await find.round()) == 50
    known = await find.known("account", since=1_000)
    assert (known.error, known.mark is None) == ("", False)
    find.add("new")
    assert await find.round() == ["new"]


async def test_a_status_filter_that_is_refused_stops_no_finding(find: Finding) -> None:
    """It is told, and the list is read as ever."""
    page = find.watch.poller._upstream.fetch_created  # type: ignore[attr-defined]

    async def unfiltered(kind: Any, index: Any, number: int, *, on_way: bool) -> Any:
        if on_way:
            return FetchFailure(FetchFault.BAD_WATCH, "HTTP 400 parameter_invalid", status_code=400)
        return await page(kind, index, number, on_way=on_way)

    find.finder._upstream.fetch_created = unfiltered  # type: ignore[method-assign]
    find.add("t1")
    await find.wants("account")
    assert await find.round() == ["t1"]
    assert "400" in (await find.known("account")).error
    find.add("t2")
    assert await find.round() == ["t2"]


async def test_a_key_that_was_refused_is_tried_again_where_no_task_is_due(find: Finding) -> None:
    """Nothing is read by id that could prove it: one page in a minute does, and then all goes on."""
    find.watch.simulator.fault("/tasks", unauthorized(), repeat=True)
    await find.wants("account")
    await find.wants(INDEX)
    for _ in range(10):
        await find.round(31_000)
        assert await find.watch.round() == 0
    assert 4 <= find.pages <= 6
    find.watch.simulator.clear_faults()
    find.add("t1")
    await find.round(61_000)
    await find.round()
    assert await find.members() == ["t1"]
    assert await find.client.hget("bridge:account:default", "state") is None


async def test_a_clock_that_was_set_back_stops_no_finding(find: Finding) -> None:
    """Redis' clock goes back a day: what was due by the old one is due now."""
    find.add("t1")
    await find.wants("account")
    await find.round()
    find.watch.stage.clock.advance(-24 * 3_600_000)
    find.watch.simulator.advance(24 * 3_600)
    find.add("t2")
    await find.round()
    await find.round()
    assert "t2" in await find.members()


async def test_a_status_filter_that_upstream_ignores_costs_one_walk_through_what_has_ended(find: Finding) -> None:
    """The first time all is read, as what is on its way may be anywhere; then no more than with the filter."""
    for n in range(600):
        find.watch.simulator.add_task(f"old{n:03}", [(0, {"status": "ready"})], age_seconds=100_000 - 10 * n)
    find.add("deep", age_seconds=200_000)
    find.watch.simulator.distortion.ignores = {"status"}
    await find.wants("account")
    await find.round()
    assert await find.members() == ["deep"]
    since = find.pages
    for _ in range(3):
        await find.round(WAY_MS)
    assert find.pages - since <= 6


async def test_an_index_filter_that_upstream_ignores_costs_no_walk_through_the_account(find: Finding) -> None:
    """Rows of other indexes tell how far down a page goes, if nothing else."""
    for n in range(600):
        find.watch.simulator.add_task(
            f"old{n:03}", [(0, {"status": "ready"})], age_seconds=100_000 - 10 * n, index_id="other"
        )
    find.watch.simulator.distortion.ignores = {"index_id"}
    await find.wants(INDEX)
    await find.round()
    since = find.pages
    for _ in range(10):
        await find.round()
    assert find.pages - since <= 10
    find.add("t1")
    assert await find.round() == ["t1"]


async def test_redis_clock_far_behind_costs_no_walk_through_the_account(find: Finding) -> None:
    """By upstream's own clock no row is from the future: a pass ends where the one before began."""
    find.watch.simulator.advance(3 * 3_600)
    for n in range(600):
        find.watch.simulator.add_task(f"old{n:03}", [(0, {"status": "ready"})], age_seconds=6_000 - 10 * n)
    await find.wants("account")
    await find.round()
    since = find.pages
    for _ in range(10):
        await find.round()
    assert find.pages - since <= 10
    find.add("t1")
    assert await find.round() == ["t1"]


async def test_rows_without_a_time_cost_no_walk_through_the_account(find: Finding) -> None:
    """Where a pass may stop cannot be known, so it stops soon: those on their way are read beside."""
    for n in range(600):
        find.watch.simulator.add_task(f"old{n:03}", [(0, {"status": "ready"})], age_seconds=6_000 - 10 * n)
    find.watch.simulator.fault("/tasks", Fault(patch={"created_at": None}), repeat=True)
    await find.wants("account")
    await find.round()
    since = find.pages
    for _ in range(10):
        await find.round()
    assert find.pages - since <= 10 * FIRST_PAGES
    find.add("t1")
    assert await find.round(WAY_MS) == ["t1"]


async def test_a_page_that_upstream_makes_smaller_than_asked_is_not_the_last(find: Finding) -> None:
    """Its `page_info` says how many a full one has."""
    for n in range(35):
        find.watch.simulator.add_task(f"t{n:02}", [(0, {"status": "ready"})], age_seconds=100_000 - n)
    find.watch.simulator.distortion.ignores = {"page_limit"}
    await find.wants("account", since=1)
    assert len(await find.round()) == 35


async def test_a_list_that_alone_refuses_the_key_does_not_rest_it_again_and_again(find: Finding) -> None:
    """A task is read by id with it meanwhile: the search is left alone as any that is refused."""
    await find.watch.add()
    find.watch.simulator.fault("/tasks", unauthorized(), repeat=True)
    await find.wants("account")
    since = find.watch.reads
    for _ in range(120):
        await find.round(5_000)
        await find.watch.round()
    assert find.pages <= 3
    assert find.watch.reads - since >= 80


async def test_what_was_forgotten_is_not_found_again(find: Finding) -> None:
    """A quiet account: the newest task ended, was told, and retention is over; its row still is the newest."""
    await find.wants("account")
    await find.round()
    find.add("t1")
    assert await find.round() == ["t1"]
    await find.watch.stage.intake.run()
    find.watch.simulator.change("t1", {"status": "ready"})
    await find.watch.round()
    assert await find.watch.stage.event_types() == ["index.task.ready"]
    for _ in range(10):
        await find.round(3 * 24 * 3_600_000)
    await find.watch.stage.store.outbox.prune_tasks(older_than_ms=24 * 3_600_000)
    for _ in range(3):
        assert await find.round(WAY_MS) == []


async def test_many_that_were_created_together_are_not_read_in_each_pass(find: Finding) -> None:
    """A quiet account, whose newest five hundred came within a minute: a pass is a page all the same."""
    for n in range(500):
        find.watch.simulator.add_task(f"old{n:03}", [(0, {"status": "ready"})], age_seconds=100_000 - n / 10)
    await find.wants("account", since=1)
    assert len(await find.round()) == 500
    await find.round()
    since = find.pages
    for _ in range(10):
        assert await find.round() == []
    assert find.pages - since <= 11


async def test_what_a_lagging_list_shows_late_is_found(find: Finding) -> None:
    """Made by a copy that is half an hour behind; by the time that it shows a short video, that has ended."""
    find.watch.simulator.add_task("old", [(0, {"status": "ready"})], age_seconds=7_200)
    await find.wants("account")
    await find.round()
    find.watch.simulator.distortion.hides = {"quick"}
    find.watch.simulator.add_task("quick", [(0, {"status": "ready"})])
    for _ in range(6):
        assert await find.round(5 * 60_000) == []
    find.watch.simulator.distortion.hides = set()
    assert await find.round() == ["quick"]


async def test_an_upstream_that_ignores_the_page_is_not_asked_for_ever(find: Finding) -> None:
    """Page after page is the first one, and full: a pass ends where a page repeats the one before."""
    for n in range(60):
        find.add(f"t{n:02}")
    find.watch.simulator.distortion.ignores = {"page"}
    await find.wants("account", since=1)
    assert len(await find.round()) == 50
    since = find.pages
    for _ in range(10):
        await find.round()
    assert find.pages - since <= 25


async def test_a_refused_watch_is_named_in_the_log_as_in_redis(find: Finding) -> None:
    """Where somebody wrote a secret in the name's place, neither repeats it, and one is found by the other."""
    await find.client.hset("bridge:watches", "user:pa55word@example.com/in", "{}")
    await find.round()
    (told,) = find.log.named("rejected")
    assert "pa55word" not in str(told)
    assert str(told["entry"]).encode() in await find.client.hkeys("bridge:rejected")
