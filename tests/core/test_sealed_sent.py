"""What is sealed in Redis is open on the wire, to who has the key; who has not sends nothing, and spends nothing."""

import json
from base64 import urlsafe_b64encode

import pytest
from corescene import SECRET, Stage, delivering

from bridge.sealing import Keyring

KEY, OTHER = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(2))
NOT_ATTEMPTED_MS = 20_000
FIELDS = {"secret": SECRET, "headers": {"x-partner": "Bearer a-header-value"}}


async def test_a_sealed_endpoint_is_signed_and_sent_for(stage: Stage) -> None:
    """The receiver verifies it and gets the header; what it repeats of them is struck out as ever."""
    async with delivering(stage, keyring=Keyring([KEY])) as deliver:
        deliver.receiver.always(204)
        await deliver.endpoint(**Keyring([KEY]).sealed("e1", FIELDS))
        await stage.task("t1")
        event = await stage.commit("ready")
        await deliver.round()
        (arrival,) = deliver.receiver.valid
        assert arrival.headers["x-partner"] == "Bearer a-header-value"
        assert (await stage.delivery("e1", event.id))["state"] == "delivered"


@pytest.mark.parametrize("keys", [[], [OTHER]], ids=["without a key", "with another key"])
async def test_without_its_key_no_attempt_is_spent(stage: Stage, keys: list[str]) -> None:
    """It waits, a line says why and what to do, nothing is held against the endpoint; who has the key sends it."""
    sealed = Keyring([KEY]).sealed("e1", FIELDS)
    async with delivering(stage, keyring=Keyring(keys)) as deliver:
        await deliver.endpoint(**sealed)
        await stage.task("t1")
        event = await stage.commit("ready")
        for _ in range(25):  # more often than what kills its worker is claimed
            assert await deliver.round(NOT_ATTEMPTED_MS) == 1
        assert deliver.receiver.connections == 0
        (line, *_) = stage.log.named("delivery.not_attempted")
        assert "e1" in str(line["error"])
        assert "BRIDGE_SECRETS_KEY" in str(line["fix"])
        assert SECRET not in json.dumps(stage.log.lines)
        record = await stage.delivery("e1", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 0)
        assert await stage.store.client.hmget("bridge:endpoint:e1", "state", "failures") == [b"active", b"0"]
    async with delivering(stage, keyring=Keyring([OTHER, KEY])) as again:
        again.receiver.always(204)
        await again.endpoint(**sealed)
        assert await again.round(NOT_ATTEMPTED_MS) == 1
        assert [arrival.attempt for arrival in again.receiver.valid] == [1]


async def test_keys_may_change_while_events_go_out(stage: Stage) -> None:
    """A definition sealed with the newest key is in force at once, and what is sent is what was sent before."""
    async with delivering(stage, keyring=Keyring([OTHER, KEY])) as deliver:
        deliver.receiver.always(204)
        for key, status in ((KEY, "indexing"), (OTHER, "ready")):
            await deliver.endpoint(**Keyring([key]).sealed("e1", FIELDS))
            await stage.task("t1")
            await stage.commit(status)
            await deliver.round()
        assert len(deliver.receiver.valid) == 2
        assert {arrival.headers["x-partner"] for arrival in deliver.receiver.valid} == {"Bearer a-header-value"}
