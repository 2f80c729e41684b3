"""Endpoints of different formats, side by side: what each is sent, on each attempt, and a format that nobody knows."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from corescene import SECRET, Delivering, Stage, delivering

from bridge.formats import STANDARD, TWELVELABS, rendered
from bridge.packing import MARK
from bridge.sandbox.receiver import Arrival

KEY = "theirs-and-not-base64!"
LEASE_MS = 25_000


def accepts(arrival: Arrival) -> bool:
    """TwelveLabs' documented recipe, with nothing of ours: split at the comma, sign time, full stop and raw body."""
    parts = dict(part.split("=", 1) for part in arrival.headers["tl-signature"].split(","))
    signed = parts["t"].encode() + b"." + arrival.body
    return hmac.compare_digest(hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest(), parts["v1"])


async def their_endpoint(deliver: Delivering, **fields: object) -> None:
    """An endpoint of the format `twelvelabs`, whose receiver answers as its own verification tells."""
    deliver.receiver.trust("/theirs", KEY)
    await deliver.endpoint("theirs", "/theirs", format="twelvelabs", secret=KEY, **fields)


def at(deliver: Delivering, path: str) -> list[Arrival]:
    """What arrived there."""
    return [arrival for arrival in deliver.receiver.arrivals if arrival.path == path]


async def test_each_endpoint_gets_one_event_in_its_format(deliver: Delivering) -> None:
    """The stored bytes are shared; the second format is made of them, signed its own way, with our headers beside."""
    deliver.receiver.always(lambda arrival: 204 if accepts(arrival) else 401, path="/theirs")
    await deliver.endpoint("ours", "/ours")
    await their_endpoint(deliver)
    await deliver.stage.task("t1")
    await deliver.stage.commit("indexing")
    await deliver.round()
    event = await deliver.stage.commit("ready")
    await deliver.round()
    ours, (theirs,) = at(deliver, "/ours"), at(deliver, "/theirs")
    assert [arrival.type for arrival in ours] == ["index.task.indexing", "index.task.ready"]
    assert ours[1].body == event.body
    assert theirs.body == rendered("twelvelabs", event.id, event.body).body
    assert (theirs.verdict, theirs.id, theirs.attempt) == (None, event.id, 1)
    assert theirs.headers["content-type"] == "application/json"
    assert "webhook-signature" not in theirs.headers
    assert "tl-signature" not in ours[1].headers
    for name in ("ours", "theirs"):
        assert (await deliver.stage.delivery(name, event.id))["state"] == "delivered"


async def test_a_retry_repeats_the_bytes_under_a_fresh_signature(deliver: Delivering) -> None:
    """The same id inside and outside, another time."""
    await their_endpoint(deliver)
    await deliver.stage.task("t1")
    await deliver.stage.commit("failed")
    deliver.receiver.script(500, path="/theirs")
    await deliver.round()
    await deliver.round(6_000)
    first, second = at(deliver, "/theirs")
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["tl-signature"] != second.headers["tl-signature"]
    assert accepts(first)
    assert accepts(second)
    assert (second.attempt, second.verdict) == (2, None)


async def test_other_events_come_where_they_are_named(deliver: Delivering) -> None:
    """In the same envelope, under the bridge's own name for the type."""
    await their_endpoint(deliver, events=["index.task.*", "index.task.indexing"])
    await deliver.stage.task("t1")
    for status in ("queued", "indexing", "ready"):
        await deliver.stage.commit(status)
        await deliver.round()
    said = [arrival.event for arrival in at(deliver, "/theirs")]
    assert [(one["type"], one["data"]["status"]) for one in said] == [
        ("index.task.indexing", "indexing"), ("index.task.ready", "ready"),
    ]  # fmt: skip
    assert all(list(one) == ["id", "created_at", "type", "data"] for one in said)


async def registered_by_a_newer_bridge(stage: Stage, name: str) -> None:
    """An endpoint in force whose format this version does not know."""
    text: Any = await stage.store.client.hget("bridge:registry", name)
    known = json.loads(text) | {"format": "avro"}
    await stage.store.client.hset("bridge:registry", name, json.dumps(known))
    await stage.store.client.hset(f"bridge:endpoint:{name}", "config", json.dumps(known))


async def test_a_format_of_a_newer_bridge_holds_its_endpoint_and_no_other(stage: Stage) -> None:
    """An older worker says what it does not know and spends nothing; one that knows the format sends it as first."""
    async with delivering(stage) as deliver:
        await deliver.endpoint("other", "/other")
        await deliver.endpoint("new", "/new")
        await registered_by_a_newer_bridge(stage, "new")
        await stage.store.registry.reload_endpoints()
        await stage.task("t1")
        event = await stage.commit("ready")
        for _ in range(25):
            await deliver.round(LEASE_MS + 1)
        assert [arrival.path for arrival in deliver.receiver.arrivals] == ["/other"]
        (line, *_) = stage.log.named("delivery.not_attempted")
        assert (line["endpoint"], "avro" in str(line["error"]), "same version" in str(line["fix"])) == (
            "new",
            True,
            True,
        )
        record = await stage.delivery("new", event.id)
        assert (record["state"], record["attempts"]) == ("pending", 0)
    async with delivering(stage) as newer:
        await newer.endpoint("new", "/new", secret=SECRET, ordering="none")
        await newer.round(LEASE_MS + 1)
        assert [arrival.attempt for arrival in newer.receiver.valid] == [1]


@pytest.mark.parametrize("form", [STANDARD, TWELVELABS])
@pytest.mark.parametrize("written", [b"nonsense", MARK + b"nonsense"], ids=["plain", "packed"])
async def test_an_event_that_somebody_wrote_over_is_held_where_it_cannot_be_written(
    deliver: Delivering, written: bytes, form: str
) -> None:
    """The bytes are no event any more: our own failure, which costs no attempt and stops nobody else."""
    await deliver.endpoint("theirs", "/theirs", format=form)
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    await deliver.stage.store.client.hset(f"bridge:event:{event.id}", "body", written)
    await deliver.round()
    assert not at(deliver, "/theirs")
    (line,) = deliver.stage.log.named("delivery.not_attempted")
    assert event.id in str(line["error"])
    assert (await deliver.stage.delivery("theirs", event.id))["attempts"] == 0
