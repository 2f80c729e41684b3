"""Listings a page at a time: each entry once, in order, at a cost that does not grow."""

import json
import random
from typing import Any

import pytest
from scene import START, Clock, Scene

from bridge.errors import InvalidInput
from bridge.store import Store
from bridge.store.reading.pages import LOOKED_AT, hours_of, page_of_deliveries, page_of_tasks


async def ended(store: Store, endpoint: str, many: list[tuple[str, str, int]], *, task: str = "t1") -> None:
    """Deliveries that ended, (event id, state, moment)."""
    pipe = store.client.pipeline(transaction=False)
    pipe.sadd("bridge:names", endpoint)
    for event_id, state, at in many:
        record = {
            "task": task,
            "type": "index.task.ready",
            "revision": "1",
            "created": at,
            "attempts": 1,
            "state": state,
        }
        pipe.hset(f"bridge:deliveries:{endpoint}", event_id, json.dumps(record | {"ended": at}))
        pipe.zadd(f"bridge:{'dead' if state == 'dead' else 'done'}:{endpoint}", {event_id: at})
    await pipe.execute()


async def all_pages(store: Store, **asked: Any) -> list[tuple[str, str, int | None]]:
    """Page after page, to the end."""
    found, after = [], ""
    for _ in range(500):
        page = await page_of_deliveries(store, after=after, **asked)
        found += [(view.endpoint, view.event_id, view.ended_at) for view in page.rows]
        after = page.after
        if not after:
            return found
    raise AssertionError("there is no end")


@pytest.mark.parametrize("limit", [1, 7, 50, 400])
async def test_each_delivery_is_on_one_page_and_the_latest_first(store: Store, limit: int) -> None:
    """Also where many ended in the same millisecond, on several endpoints, well and badly."""
    dice = random.Random(7)
    wanted = set()
    for endpoint in ("a", "b", "url:c"):
        many = [
            (
                f"evt_{dice.randrange(10**9)}",
                dice.choice(["delivered", "dead", "cancelled"]),
                START + dice.randrange(12),
            )
            for _ in range(60)
        ]
        await ended(store, endpoint, many)
        wanted |= {(endpoint, event_id) for event_id, _, _ in many}
    found = await all_pages(store, limit=limit)
    assert [pair[:2] for pair in found] == list(dict.fromkeys(pair[:2] for pair in found))
    assert {pair[:2] for pair in found} == wanted
    moments = [at or 0 for _, _, at in found]
    assert moments == sorted(moments, reverse=True)


async def test_filters_hold_over_pages(store: Store) -> None:
    """By endpoint, state and task."""
    await ended(store, "a", [(f"evt_{n}", ("dead", "delivered", "cancelled")[n % 3], START + n) for n in range(90)])
    await ended(store, "b", [(f"evt_b{n}", "dead", START + n) for n in range(20)], task="t2")
    assert len(await all_pages(store, state="dead", limit=7)) == 50
    assert len(await all_pages(store, state="cancelled", endpoint="a", limit=7)) == 30
    assert {name for name, _, _ in await all_pages(store, task="t2", limit=7)} == {"b"}
    assert await all_pages(store, endpoint="nobody") == []


async def test_a_page_of_a_hundred_thousand_reads_a_page(store: Store) -> None:
    """What is read is counted by Redis itself: the last page costs what the first one does."""
    for start in range(0, 100_000, 10_000):
        await ended(store, "a", [(f"evt_{n:06}", "delivered", START + n // 3) for n in range(start, start + 10_000)])
    after = str((await page_of_deliveries(store, limit=50)).after)
    for place in ("", after, f"{START + 40} done:a evt_000121"):
        await store.client.config_resetstat()
        page = await page_of_deliveries(store, after=place, limit=50)
        spent = await store.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in spent.items()}
        assert len(page.rows) == 50
        assert sum(calls.get(name, 0) for name in ("hmget", "hget", "zrange", "lindex", "zcount", "zrevrank")) < 12, (
            calls
        )
    one_of_none = await page_of_deliveries(store, task="nobody", limit=50)
    assert (one_of_none.rows, bool(one_of_none.after)) == ([], True)
    assert LOOKED_AT < 100_000


async def test_the_pending_come_by_when_they_are_due(scene: Scene, clock: Clock) -> None:
    """The soonest first, over all endpoints, with what they wait for."""
    for name in ("a", "b"):
        await scene.endpoint(name)
    for n in range(5):
        await scene.task(f"t{n}")
        await scene.commit("ready", member=f"t{n}", delay_ms=-1)
        clock.advance(1_000)
    first = await page_of_deliveries(scene.store, state="pending", limit=6)
    rest = await page_of_deliveries(scene.store, state="pending", limit=6, after=first.after)
    due = [view.next_at or 0 for view in (*first.rows, *rest.rows)]
    assert (len(first.rows), len(rest.rows), rest.after) == (6, 4, "")
    assert due == sorted(due)


@pytest.mark.parametrize("text", ["x", "1", "1 a", "1  x", "nan done:a evt_1", "1" * 16 + " done:a e", "1 done:a \x00"])
async def test_a_cursor_that_is_none_is_a_mistake_of_who_wrote_it(store: Store, text: str) -> None:
    """Told as that, and not searched for."""
    with pytest.raises(InvalidInput, match="no place"):
        await page_of_deliveries(store, after=text)


async def test_tasks_by_state_and_status(scene: Scene) -> None:
    """Those that wait, are watched or ended; a page goes on where the last one stopped."""
    for n in range(7):
        await scene.task(f"t{n}")
    claim = await scene.store.registry.claim_tasks(100, lease_ms=20_000)
    assert len(claim.tasks) == 7
    for n in range(7):
        await scene.store.client.hset(f"bridge:snapshot:t{n}", "status", "ready" if n % 2 else "queued")
    await scene.store.client.zadd("bridge:tasks", {"new": 0})
    first = await page_of_tasks(scene.store, limit=5)
    rest = await page_of_tasks(scene.store, limit=5, start=int(first.after))
    assert sorted(view.task for view in (*first.rows, *rest.rows)) == [f"t{n}" for n in range(7)]
    assert rest.after == ""
    assert [view.task for view in (await page_of_tasks(scene.store, state="waiting")).rows] == ["new"]
    assert {view.task for view in (await page_of_tasks(scene.store, status="ready")).rows} == {"t1", "t3", "t5"}


async def test_the_last_hours_are_counted_by_the_hour(store: Store, clock: Clock) -> None:
    """A bar an hour, the oldest first; what ended before a day ago is in none."""
    hour = 3_600_000
    many = [
        ("e1", "delivered", START - 1),
        ("e2", "delivered", START - hour - 1),
        ("e3", "dead", START - 23 * hour - 1),
    ]
    await ended(store, "a", [*many, ("e4", "delivered", START - 25 * hour)])
    (found,) = (await hours_of(store, ["a"])).values()
    assert (len(found.ended), len(found.dead)) == (24, 24)
    assert (found.ended[-1], found.ended[-2], sum(found.ended), found.dead[0], sum(found.dead)) == (1, 1, 2, 1, 1)
