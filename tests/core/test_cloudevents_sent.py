"""Endpoints of both CloudEvents formats: what arrives is a CloudEvent for the project's own package, and signed."""

from datetime import UTC, datetime

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from corescene import SECRET, Delivering
from standardwebhooks import Webhook

from bridge.sandbox.receiver import Arrival
from bridge.tell import Teller

FORMATS = pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])


def parsed(arrival: Arrival) -> BaseCloudEvent:
    """What the package reads in what arrived; it refuses what is no CloudEvent."""
    return from_http_event(HTTPMessage(dict(arrival.headers), arrival.body))


@FORMATS
async def test_an_event_arrives_in_its_mode(deliver: Delivering, form: str) -> None:
    """The same id inside and outside; the bridge's own headers beside those of CloudEvents."""
    await deliver.endpoint(format=form)
    await deliver.stage.task("t1", metadata='{"who": "Zoë"}')
    event = await deliver.stage.commit("ready")
    await deliver.round()
    (arrival,) = deliver.receiver.valid
    told = parsed(arrival)
    assert (told.get_id(), told.get_type(), told.get_subject()) == (event.id, "io.twelvelabs.index.task.ready", "t1")
    assert (arrival.id, arrival.attempt, arrival.task_id) == (event.id, 1, "t1")
    structured = form == "cloudevents"
    assert arrival.headers["content-type"] == ("application/cloudevents+json" if structured else "application/json")
    assert any(name.startswith("ce-") for name in arrival.headers) is not structured
    assert (await deliver.stage.delivery("e1", event.id))["state"] == "delivered"


@FORMATS
async def test_a_retry_repeats_the_bytes_under_a_fresh_signature(deliver: Delivering, form: str) -> None:
    """Signed are the bytes as they are sent; Standard Webhooks' own package verifies them."""
    await deliver.endpoint(format=form)
    await deliver.stage.task("t1")
    await deliver.stage.commit("failed")
    deliver.receiver.script(500)
    await deliver.round()
    await deliver.round(6_000)
    first, second = deliver.receiver.valid
    assert (first.id, first.body) == (second.id, second.body)
    assert parsed(first).get_attributes() == parsed(second).get_attributes()
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    signed_at = datetime.fromtimestamp(int(second.headers["webhook-timestamp"]), UTC)
    signature = Webhook(SECRET).sign(second.id, signed_at, second.body.decode())
    assert second.headers["webhook-signature"] == signature


@FORMATS
async def test_news_of_an_endpoint_arrives_too(deliver: Delivering, form: str) -> None:
    """About the bridge's endpoint, which is its subject."""
    await deliver.endpoint("broken", "/broken")
    await deliver.endpoint("ops", "/ops", format=form, events=["bridge.endpoint.*"])
    deliver.receiver.always(410, "/broken")
    await deliver.stage.task("t1")
    await deliver.stage.commit("ready")
    await deliver.round()
    assert await Teller(deliver.stage.store.notices, deliver.stage.store.registry, deliver.stage.log).run() == 1
    await deliver.round(1_000)
    (arrival,) = [one for one in deliver.receiver.valid if one.path == "/ops"]
    told = parsed(arrival)
    assert (told.get_type(), told.get_subject()) == ("bridge.endpoint.disabled", "broken")
    assert arrival.data["reason"] == "gone"


@FORMATS
async def test_its_own_headers_come_beside(deliver: Delivering, form: str) -> None:
    """And hide none of the event's."""
    await deliver.endpoint(format=form, headers={"x-team": "video"})
    await deliver.stage.task("t1")
    event = await deliver.stage.commit("ready")
    await deliver.round()
    (arrival,) = deliver.receiver.valid
    assert (arrival.headers["x-team"], parsed(arrival).get_id()) == ("video", event.id)
