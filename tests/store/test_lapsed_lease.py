"""A worker died with the head of a line, and an operator brings back what goes before it: each is in one place."""

import pytest
from scene import LEASE_MS, Scene

from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect
from bridge.store.steering import Steering

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=300_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)


@pytest.mark.parametrize("disabled", [False, True], ids=["active", "disabled"])
@pytest.mark.parametrize("how", ["enable", "recover", "retry"])
@pytest.mark.parametrize("ordering", ["first-attempt", "strict"])
async def test_what_comes_back_goes_before_a_lease_that_ended(
    scene: Scene, ordering: str, how: str, disabled: bool
) -> None:
    """One at a time, each once, however the first came back while the lease of the second had ended."""
    if how == "enable" and (ordering == "strict" or not disabled):
        pytest.skip("a strict line does not go on past a failure, and only what was disabled is enabled")
    steering, outbox = Steering(scene.store), scene.store.outbox
    await scene.endpoint("a", ordering=ordering)
    await scene.task()
    made = [await scene.commit("validating")]
    (delivery,) = await scene.claim()
    await outbox.settle(delivery, RETRY if how == "enable" else DEAD, "{}")
    made += [await scene.commit("queued"), await scene.commit("indexing")]
    (killed,) = await scene.claim()
    assert killed.event_id == made[1].id
    if disabled:
        await steering.disable("a", "operator")
    scene.clock.advance(LEASE_MS + 1)
    if how == "recover":
        await steering.recover("a", [made[0].id])
    elif how == "retry":
        await outbox.retry(made[0].id, "a")
    if disabled:
        await steering.enable("a")
    sent = []
    for _ in range(3):
        (delivery,) = await scene.claim()
        assert await scene.claim() == [], "another one of the task is under way at the same time"
        sent.append(delivery.event_id)
        await outbox.settle(delivery, DELIVERED, "{}")
    assert sent == [event.id for event in made]
    assert await outbox.settle(killed, DELIVERED, "{}") == "stale"
    assert await scene.claim() == []


async def test_who_settles_what_has_ended_changes_nothing(scene: Scene) -> None:
    """Leased twice by a rollback, say: delivered is delivered, whatever the other one was told."""
    await scene.endpoint("a")
    await scene.task()
    event = await scene.commit("ready")
    (delivery,) = await scene.claim()
    lease = f"{event.id}/other"
    await scene.store.client.zadd("bridge:leases:a", {lease: scene.clock.now + LEASE_MS})
    assert await scene.store.outbox.settle(delivery, DELIVERED, "{}") == "ok"
    other = type(delivery)(**{name: getattr(delivery, name) for name in delivery.__slots__} | {"token": "other"})
    assert await scene.store.outbox.settle(other, DEAD, "{}") == "stale"
    assert await scene.store.client.zcard("bridge:dead:a") == 0
    assert await scene.store.client.zcard("bridge:leases:a") == 0
