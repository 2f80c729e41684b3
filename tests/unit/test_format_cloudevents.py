"""The formats `cloudevents` and `cloudevents-binary`: judged by the CloudEvents project's own package, old and new."""

import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.v1.http import from_http
from factories import START, a_snapshot, an_observation
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_endpoint_events import DISABLED, a_notice
from test_formats import JSON

from bridge import cloudevents
from bridge.event_schemas import cloudevents_schema
from bridge.events import event_from, event_of
from bridge.formats import BODY_BYTES, CONTENT_TYPES, Unwritable, rendered
from bridge.model import Change, Event, Observation, Snapshot

FORMATS = ["cloudevents", "cloudevents-binary"]
CHANGES = {
    "ready": Change(an_observation("ready"), a_snapshot(), ("status",)),
    "no ASCII": Change(an_observation("Très neu!", task={"name": "Zoë \N{GRINNING FACE}"}), None, ("status",)),
    "huge": Change(an_observation("ready", task={"bulk": "é" * 70_000}), a_snapshot(), ("status",)),
    "gone": Change(None, a_snapshot(), ("gone",)),
    "never seen": Change(None, None, ("gone",)),
    "stalled": Change(an_observation(), a_snapshot(), ("stalled",), stalled_since=START),
}
EVENTS = {
    **{name: event_from(change, "t1", now=START, metadata={"who": "Zoë"}) for name, change in CHANGES.items()},
    "asset": event_from(CHANGES["ready"], "asset:ix/a1", now=START),
    **{f"disabled: {one.reason}": event_of(one, "https://example.com/") for one in DISABLED},
    "failing": event_of(a_notice(percent=50), None),
}


def request(form: str, event: Event) -> tuple[dict[str, str], bytes]:
    """The headers that the format makes, and the body."""
    body, headers = rendered(form, event.id, event.body)
    return {"content-type": CONTENT_TYPES[form], **dict(headers)}, body


def parsed(form: str, event: Event) -> BaseCloudEvent:
    """What the package reads in the request; it refuses what is no CloudEvent."""
    headers, body = request(form, event)
    return from_http_event(HTTPMessage(headers, body))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@pytest.mark.parametrize("form", FORMATS)
def test_both_generations_of_the_package_read_it_whole(form: str, event: Event) -> None:
    """Every kind of event: the attributes that are promised, and the data of the format `standard`."""
    told, stored = parsed(form, event), json.loads(event.body)
    assert (told.get_id(), told.get_specversion()) == (event.id, "1.0")
    assert told.get_time() == datetime.fromisoformat(stored["timestamp"])
    assert told.get_datacontenttype() == "application/json"
    older = from_http(*request(form, event))
    assert (older["id"], older["type"]) == (told.get_id(), told.get_type())
    assert older.data == (json.loads(data) if isinstance(data := told.get_data(), bytes | str) else data)
    assert older.data == stored["data"]


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_both_modes_say_the_same(event: Event) -> None:
    """An attribute apart that is in both, nothing depends on how it travels."""
    whole, parts = (parsed(form, event).get_attributes() for form in FORMATS)
    assert whole == parts


def test_of_a_task_it_says_whose_it_is_and_which() -> None:
    """Source and type are TwelveLabs', as the spec's adapters have GitHub's; the subject is the task."""
    told = parsed("cloudevents", EVENTS["asset"])
    assert (told.get_source(), told.get_type()) == ("https://api.twelvelabs.io", "io.twelvelabs.index.asset.ready")
    assert told.get_subject() == "asset:ix/a1"
    assert told.get_extension("revision") == str(EVENTS["asset"].revision)


def test_of_an_endpoint_it_claims_nobodys_name() -> None:
    """TwelveLabs never said so, and the bridge has no DNS name; there is no revision either."""
    told = parsed("cloudevents", EVENTS["failing"])
    assert (told.get_source(), told.get_type()) == ("/bridge/endpoints", "bridge.endpoint.failing")
    assert told.get_subject() == a_notice().endpoint
    assert told.get_extension("revision") is None


def test_the_structured_body_is_this_to_the_byte() -> None:
    """One object, attributes first, all of them texts: an Integer of CloudEvents could not hold a revision."""
    event = event_from(CHANGES["ready"], "t1", now=1_793_527_480_118)
    assert rendered("cloudevents", event.id, event.body).body == (
        b'{"specversion":"1.0","id":"%b","source":"https://api.twelvelabs.io","type":"io.twelvelabs.index.task.ready",'
        b'"subject":"t1","time":"2026-11-01T10:04:40.118Z","datacontenttype":"application/json",'
        b'"revision":"1793527480118","data":%b}' % (event.id.encode(), event.body.partition(b'"data":')[2][:-1])
    )


def test_the_binary_body_is_the_data_and_nothing_else() -> None:
    """Byte for byte what stands in the other format; the content type says what it is, not a header of ours."""
    headers, body = request("cloudevents-binary", EVENTS["ready"])
    assert EVENTS["ready"].body.endswith(b'"data":' + body + b"}")
    assert headers["content-type"] == "application/json"
    assert set(headers) == {
        *("content-type", "ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-revision"),
    }


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_event_is_the_same_bytes(form: str) -> None:
    """On each attempt: they are signed."""
    assert request(form, EVENTS["no ASCII"]) == request(form, EVENTS["no ASCII"])


# -- its size --


@pytest.mark.parametrize("form", FORMATS)
def test_a_body_that_the_attributes_would_make_too_long_goes_without_its_object(form: str) -> None:
    """It was stored with it, a few bytes below the bound; both modes leave it out, and all of it fits."""

    def sized(blob: int) -> Event:
        seen = an_observation("ready", task={"blob": "x" * blob})
        return event_from(Change(seen, None, ("status",)), "t1", now=START)

    event = sized(BODY_BYTES - len(sized(0).body))
    assert len(event.body) == BODY_BYTES
    headers, body = request(form, event)
    assert len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items()) <= BODY_BYTES
    data = from_http(headers, body).data
    assert (data["task"], data["task_omitted"], data["status"]) == (None, True, "ready")


# -- header values --


def test_a_header_value_is_the_specs_example() -> None:
    """Section 3.1.3.2 of the HTTP binding."""
    ((_, value),) = cloudevents.headers({"subject": "Euro € \N{GRINNING FACE}"})
    assert value == "Euro%20%E2%82%AC%20%F0%9F%98%80"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_header_value_that_reads_back(text: str) -> None:
    """Nothing that ends a line, no space, quote or lone percent; the rest stands as it is."""
    ((name, value),) = cloudevents.headers({"subject": text})
    assert name == "ce-subject"
    assert re.fullmatch(r"(?:[!#$&-~]|%[0-9A-F]{2})*", value)
    assert unquote(value, errors="strict") == text


def test_no_text_that_somebody_wrote_into_an_event_ends_a_header() -> None:
    """Nor is there one for what is no text: our own failure, which is said."""
    body = b'{"type":"a\\r\\nx: y","timestamp":"b","data":{"task_id":%b,"revision":1}}'
    headers = dict(rendered("cloudevents-binary", "evt_1", body % b'"\\n"').headers)
    assert (headers["ce-type"], headers["ce-subject"]) == ("io.twelvelabs.a%0D%0Ax:%20y", "%0A")
    for nonsense in (b'"\\ud800"', b"5"):
        with pytest.raises(Unwritable):
            rendered("cloudevents-binary", "evt_1", body % nonsense)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"\xff", b'{"type":1,"timestamp":2,"data":{"task":3}}',
                                  b'{"type":"a","timestamp":"b","data":null}', b"[" * 50_000])  # fmt: skip
def test_stored_bytes_that_are_no_event_cannot_be_written(form: str, body: bytes) -> None:
    """Somebody wrote over them: our own failure, which names the event and no part of the body."""
    with pytest.raises(Unwritable, match="evt_1"):
        rendered(form, "evt_1", body)


# -- its schema --


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_the_structured_body_is_as_its_schema_says(event: Event) -> None:
    """Of a task and of an endpoint; and no attribute is there that the schema does not name."""
    body = json.loads(request("cloudevents", event)[1])
    schema = cloudevents_schema()
    assert not [error.message for error in Draft202012Validator(schema).iter_errors(body)]
    assert body.keys() <= schema["properties"].keys()


@pytest.mark.parametrize(("part", "wrong"), [("type", "index.task.ready"), ("specversion", "0.3"), ("data", {}),
                                             ("revision", 7), ("source", "https://example.com")])  # fmt: skip
def test_the_schema_refuses_another_body(part: str, wrong: Any) -> None:
    """It says more than yes."""
    body = json.loads(request("cloudevents", EVENTS["ready"])[1])
    assert not Draft202012Validator(cloudevents_schema()).is_valid(body | {part: wrong})


SEEN = st.builds(
    an_observation,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    task=st.dictionaries(st.text(max_size=9), JSON, max_size=4),
)


@given(SEEN, st.none() | st.builds(a_snapshot, st.text(max_size=64)), JSON)
def test_any_reading_makes_one_event_in_both_modes(seen: Observation, known: Snapshot | None, metadata: Any) -> None:
    """Valid for the package, in ASCII, and with the data as it is stored."""
    event = event_from(Change(seen, known, ("status",)), "t1", now=START, metadata=metadata)
    for form in FORMATS:
        headers, body = request(form, event)
        assert body.isascii()
        assert from_http(headers, body).data == json.loads(event.body)["data"]
