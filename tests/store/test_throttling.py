"""An endpoint that has too much on its hands gets less at a time; one with a rate or a cap of its own gets that."""

from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import LEASE_MS, Clock, Scene

from bridge.model import Decision, Delivery, DeliveryState, EndpointEffect
from bridge.store.steering import Steering
from bridge.store.sweep import Sweep

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
OVERLOAD = Decision(DeliveryState.PENDING, EndpointEffect.OVERLOAD, retry_in_ms=1)
FAILED = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=1)


async def settle(scene: Scene, delivery: Delivery, decision: Decision) -> str:
    return await scene.store.outbox.settle(delivery, decision, "{}")


async def known(scene: Scene) -> dict[str, str]:
    raw = cast(dict[bytes, bytes], await scene.store.client.hgetall("bridge:endpoint:a"))
    return {field.decode(): value.decode() for field, value in raw.items()}


async def owe(scene: Scene, number: int) -> None:
    """So many deliveries, all due."""
    for one in range(number):
        await scene.task(f"t{one}")
        await scene.commit("indexing", member=f"t{one}", delay_ms=-1)


async def test_an_overload_halves_it_once_for_all_in_flight(scene: Scene, clock: Clock) -> None:
    """Of 32 in flight each answers 503: 16 from then on, not one; the next answers halve again, down to one."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 80)
    for expected in (16, 8, 4, 2, 1, 1):
        claimed = await scene.claim()
        for delivery in claimed:
            await settle(scene, delivery, OVERLOAD)
        clock.advance(1)
        assert (await known(scene))["limit"] == str(expected)
        assert len(claimed) == min(32, expected * 2) or expected == 1


async def test_it_grows_by_one_after_as_many_successes(scene: Scene, clock: Clock) -> None:
    """From two to its cap of four: after two successes, and three more; then nothing is remembered."""
    await scene.endpoint("a", ordering="none", concurrency=4)
    await owe(scene, 20)
    for delivery in await scene.claim():
        await settle(scene, delivery, OVERLOAD)
    clock.advance(1)
    limits = []
    for _ in range(6):
        limit = (await known(scene)).get("limit", "none")
        claimed = await scene.claim()
        assert len(claimed) == (4 if limit == "none" else int(limit))
        limits.append(limit)
        await settle(scene, claimed[0], DELIVERED)
        for other in claimed[1:]:
            await scene.store.outbox.give_back(other, delay_ms=0)
    assert limits == ["2", "2", "3", "3", "3", "none"]
    assert not {"limit", "limit_from", "calm"} & (await known(scene)).keys()


async def test_a_plain_failure_changes_nothing(scene: Scene) -> None:
    """500 is no sign of too much: nothing is remembered, of a healthy endpoint neither."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 4)
    for delivery, decision in zip(await scene.claim(), (FAILED, DELIVERED, FAILED, DELIVERED), strict=True):
        await settle(scene, delivery, decision)
    assert not {"limit", "limit_from", "calm"} & (await known(scene)).keys()


async def test_enabling_forgets_the_overload(scene: Scene, clock: Clock) -> None:
    """Written anew, the endpoint has its whole cap again."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 40)
    for delivery in await scene.claim():
        await settle(scene, delivery, OVERLOAD)
    clock.advance(1)
    await scene.endpoint("a", ordering="none", **{"x-fixed": 1})
    assert len(await scene.claim()) == 32


@pytest.mark.parametrize(("concurrency", "limit"), [(1, None), (16, None), (17, "16")])
async def test_a_smaller_cap_takes_the_place_of_an_overload(scene: Scene, concurrency: int, limit: str | None) -> None:
    """Written while an operator holds the endpoint, who has not said that it may go on as before."""
    await scene.endpoint("a", ordering="none")
    await owe(scene, 1)
    (delivery,) = await scene.claim()
    await settle(scene, delivery, OVERLOAD)
    assert (await known(scene))["limit"] == "16"
    await Steering(scene.store).disable("a", "operator")
    await scene.endpoint("a", ordering="none", concurrency=concurrency)
    assert (await known(scene)).get("limit") == limit


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_its_own_concurrency_goes_before(scene: Scene, concurrency: int) -> None:
    """Below and above the operator's."""
    await scene.endpoint("a", ordering="none", concurrency=concurrency)
    await owe(scene, 70)
    assert len(await scene.claim()) == concurrency
    assert await scene.claim() == []


async def test_intake_leaves_it_alone(scene: Scene) -> None:
    """An own concurrency is no difference that each round of intake has to put right."""
    await scene.endpoint("a", concurrency=3)
    version = (await scene.store.registry.reload_endpoints()).version
    await scene.endpoint("b")
    taken = await scene.intake.run()
    assert (taken.endpoints, tuple(taken.rejected)) == (0, ())
    assert (await known(scene))["cap"] == "3"
    assert (await scene.store.registry.reload_endpoints()).by_name["a"].concurrency == 3
    assert version != (await scene.store.registry.reload_endpoints()).version


async def test_a_lost_hash_gets_its_options_back(scene: Scene) -> None:
    """The sweep makes the hash anew, intake completes it."""
    await scene.endpoint("a", concurrency=3, rate="30/m")
    before = await known(scene)
    await scene.store.client.delete("bridge:endpoint:a")
    sweep = Sweep(scene.store, delivered_ms=10**12, dead_ms=10**12, tasks_ms=10**12)
    for _ in range(2):
        await sweep.page()
        await scene.intake.run()
    after = await known(scene)
    assert (after["cap"], after["rate"]) == (before["cap"], before["rate"]) == ("3", "2000.0 1")


async def test_a_rate_spaces_attempts(scene: Scene, clock: Clock) -> None:
    """10/s: ten at once after a silence, then one each 100 ms, said as the moment to come again."""
    await scene.endpoint("a", ordering="none", rate="10/s")
    await owe(scene, 30)
    assert len(await scene.claim()) == 10
    assert await scene.claim() == []
    claim = await scene.store.outbox.claim(100, lease_ms=LEASE_MS)
    assert claim.next_at == clock.now + 100
    clock.advance(99)
    assert await scene.claim() == []
    clock.advance(1)
    assert len(await scene.claim()) == 1
    clock.advance(350)
    assert len(await scene.claim()) == 3


async def test_a_rate_taken_back_is_none(scene: Scene) -> None:
    """Without `rate` in its definition the endpoint gets what its cap takes."""
    await scene.endpoint("a", ordering="none", rate="1/m")
    await owe(scene, 10)
    assert len(await scene.claim()) == 1
    await scene.endpoint("a", ordering="none")
    assert len(await scene.claim()) == 9
    assert not {"rate", "rate_at"} & (await known(scene)).keys()


async def test_a_clock_set_back_delays_no_rate(scene: Scene, clock: Clock) -> None:
    """Redis' clock jumps back an hour: the next attempt waits for an interval, not for an hour."""
    await scene.endpoint("a", ordering="none", rate="1/s")
    await owe(scene, 3)
    assert len(await scene.claim()) == 1
    sweep = Sweep(scene.store, delivered_ms=10**12, dead_ms=10**12, tasks_ms=10**12)
    await sweep.page()
    clock.advance(-3_600_000)
    await sweep.page()
    clock.advance(1_000)
    assert len(await scene.claim()) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rate=st.sampled_from(["1/s", "7/s", "40/s", "90/m", "600/m"]),
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 10, 99, 100, 333, 1_000, 2_500]), st.integers(1, 20)), max_size=25),
)
async def test_no_window_gets_more_than_the_rate(scene: Scene, rate: str, steps: list[tuple[int, int]]) -> None:
    """Whatever the moments of the claims: in any time no more than the rate and a burst; and never less than one."""
    await scene.store.client.flushall()
    await scene.endpoint("a", ordering="none", rate=rate, concurrency=1_000)
    await owe(scene, 60)
    interval, burst = map(float, (await known(scene))["rate"].split())
    taken: list[int] = []
    for wait, slots in steps:
        scene.clock.advance(wait)
        taken += [scene.clock.now] * len(await scene.claim(slots))
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + (taken[j] - first + 0.001) / interval
    if steps:
        assert taken
