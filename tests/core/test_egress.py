"""Delivering through an egress proxy: its failures count against nobody, and what is owed waits for it."""

import pytest
from corescene import Stage, delivering
from egress import Egress

from bridge.deliver import NOT_ATTEMPTED_MS
from bridge.store.outbox import CLAIMS_BEFORE_POISON


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n", b""], ids=["407", "502", "close"]
)
async def test_a_proxy_that_fails_costs_no_attempt(stage: Stage, answer: bytes) -> None:
    """However long it fails: no attempt is spent, the endpoint is as it was; and once it works all arrives."""
    async with Egress(answer) as egress, delivering(stage, proxy=egress.proxy) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        before = await stage.store.client.hgetall("bridge:endpoint:e1")
        assert await deliver.round() == 1
        for _ in range(CLAIMS_BEFORE_POISON + 1):
            assert await deliver.round(NOT_ATTEMPTED_MS - 1) == 0
            assert await deliver.round(1) == 1
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 0)
        assert await stage.store.client.hgetall("bridge:endpoint:e1") == before
        assert await stage.attempts("e1", event.id) == []
        (line, *_) = stage.log.named("delivery.not_attempted")
        assert f"the egress proxy 127.0.0.1:{egress.port}" in str(line["error"])
        assert line["fix"]
        assert "s3cr" not in str(stage.log.lines)
        egress.answer = b"HTTP/1.1 200 Yes\r\n\r\n"
        assert await deliver.round(NOT_ATTEMPTED_MS) == 1
        (arrival,) = deliver.receiver.valid
        assert (arrival.id, arrival.attempt) == (event.id, 1)
        assert (await stage.delivery("e1", event.id))["state"] == "delivered"


async def test_a_receiver_that_fails_behind_the_proxy_is_the_receivers(stage: Stage) -> None:
    """A 503 through the tunnel is an attempt like any other."""
    async with Egress() as egress, delivering(stage, proxy=egress.proxy) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        deliver.receiver.always(503)
        await deliver.round()
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 1)


async def test_a_proxy_that_is_not_there_costs_no_attempt(stage: Stage) -> None:
    """Nobody listens where it should be."""
    async with Egress() as gone:
        pass
    async with delivering(stage, proxy=gone.proxy) as deliver:
        await deliver.endpoint()
        await stage.task("t1")
        event = await stage.commit("ready")
        await deliver.round()
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 0)
        assert "connection refused" in str(stage.log.named("delivery.not_attempted"))
