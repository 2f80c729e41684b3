"""Few requests a minute, many tasks: pages, ends, first sights and comparisons share them, and nothing is refused."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from corescene import Stage, watching
from listscene import Listing, listing_of

from bridge.sandbox.faults import Fault
from bridge.sandbox.limits import Budget, RateLimit
from bridge.skim import fresh_seconds

A_MINUTE = 60_000


@dataclass
class Scarce:
    """A listing with so many requests a minute, by our own bound and by upstream's."""

    listing: Listing
    per_minute: int
    budget: Budget
    made: list[tuple[int, str]] = field(default_factory=list)
    """When each request was made (ms), and for what."""

    async def live(self, ms: int, step_ms: int = 2_000) -> None:
        """Time passes, and both ways of watching are at work."""
        until = self.listing.stage.clock.now + ms
        while self.listing.stage.clock.now < until:
            await self.listing.look(step_ms)
            await self.listing.watch.round()

    def note(self) -> None:
        """Remember a request, at the moment when it is made."""
        (path,) = self.listing.asked(self.listing.watch.reads - 1)
        self.made.append((self.listing.stage.clock.now, path))

    def assert_within_bounds(self) -> None:
        """Never more in any minute, and upstream refused nothing."""
        moments = [moment for moment, _ in self.made]
        worst = max(sum(one <= other < one + A_MINUTE for other in moments) for one in set(moments))
        assert worst <= self.per_minute
        assert self.budget.refused == 0

    def pages(self, since: int) -> list[int]:
        """When pages were read."""
        return [moment for moment, path in self.made if path == "list" and moment >= since]


async def scarce(stage: Stage, watch: Any, tasks: int, per_minute: int) -> Scarce:
    """Tasks that have all been seen, and from now on so many requests."""
    await listing_of(stage, watch).tasks(tasks)
    listing = listing_of(stage, watch, requests_per_minute=per_minute)
    listing.members = [f"t{n}" for n in range(tasks)]
    fresh = fresh_seconds(5, per_minute)
    watch.poller._policy = replace(watch.poller._policy, requests_per_minute=per_minute, list_fresh_seconds=fresh)
    stage.clock.advance(2 * A_MINUTE)
    budget = watch.simulator.limit(RateLimit(per_minute=per_minute))
    few = Scarce(listing, per_minute, budget)
    watch.simulator.fault("/tasks*", Fault(before=few.note), repeat=True)
    return few


@pytest.fixture
async def sixty(stage: Stage) -> AsyncIterator[Scarce]:
    """A thousand tasks and sixty requests a minute."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        yield await scarce(stage, watch, 1_000, 60)


async def test_a_thousand_tasks_at_sixty_requests_a_minute(sixty: Scarce) -> None:
    """No 429, changes are told within two passes, ends are read, tasks compared; after ten minutes away no burst."""
    listing, clock = sixty.listing, sixty.listing.stage.clock
    await sixty.live(2 * A_MINUTE)
    start = clock.now
    for n in range(8):
        listing.change(f"t{n}", status="ready" if n % 2 else "queued")
    await sixty.live(20_000)
    types = await listing.stage.event_types()
    assert (types.count("index.task.queued"), types.count("index.task.ready")) == (4, 4)
    await sixty.live(A_MINUTE)
    assert len(sixty.pages(start)) >= 10
    assert sum(path != "list" for moment, path in sixty.made if moment >= start) >= 20
    clock.advance(10 * A_MINUTE)
    back = clock.now
    for n in range(100, 160):
        listing.change(f"t{n}", status="queued")
    await sixty.live(2 * A_MINUTE)
    assert len(sixty.pages(back)) >= 16
    assert (await listing.stage.event_types()).count("index.task.queued") == 64
    sixty.assert_within_bounds()


async def test_ends_in_a_crowd_leave_something_for_reading_by_id(stage: Stage) -> None:
    """Forty ends and twenty requests a minute, while tasks are due: neither waits for all of the other."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        few = await scarce(stage, watch, 60, 20)
        await few.live(2 * A_MINUTE)
        start = stage.clock.now
        for n in range(40):
            few.listing.change(f"t{n}", status="ready")
        for n in range(40, 60):
            await stage.task(f"t{n}")
        await few.live(2 * A_MINUTE)
        read = {path.removeprefix("/tasks/") for moment, path in few.made if moment >= start and path != "list"}
        assert len(read & {f"t{n}" for n in range(40, 60)}) >= 3
        await few.live(8 * A_MINUTE)
        assert (await stage.event_types()).count("index.task.ready") == 40
        few.assert_within_bounds()


@pytest.mark.parametrize("per_minute", [2, 3, 6])
async def test_a_handful_of_requests_a_minute_still_tells(stage: Stage, per_minute: int) -> None:
    """Fewer than passes there would be: the list is not left for want of a request, by id would take hours."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        few = await scarce(stage, watch, 100, per_minute)
        await few.live(5 * A_MINUTE)
        few.listing.change("t7", status="queued")
        await few.live(4 * A_MINUTE)
        assert [status for status, _ in await few.listing.told("t7")] == ["validating", "queued"]
        few.assert_within_bounds()


async def test_two_workers_do_not_leave_a_list_for_want_of_a_request(stage: Stage) -> None:
    """Others took all there is for longer than a pass is good for: whoever only looks on must not leave it, either."""
    await stage.endpoint("e1", "http://127.0.0.1:9/")
    async with watching(stage) as watch:
        few = await scarce(stage, watch, 100, 6)
        await few.live(5 * A_MINUTE)
        assert await few.listing.told_at() is not None
        other = listing_of(stage, watch, requests_per_minute=6).lister
        listings, until = stage.store.listings, stage.clock.now + 4 * A_MINUTE
        while stage.clock.now < until:
            stage.clock.advance(2_000)
            while not await listings.grant(per_minute=6):
                pass
            await few.listing.look(0)
            await other.round()
        assert await few.listing.told_at() is not None
