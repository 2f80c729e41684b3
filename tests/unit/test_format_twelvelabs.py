"""The format `twelvelabs`: what TwelveLabs documents of its own webhooks, to the letter, from what is stored."""

import json
from typing import Any

import pytest
from factories import a_snapshot, an_observation
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_formats import JSON

from bridge.event_schemas import twelvelabs_schema
from bridge.events import event_from
from bridge.filters import matches, takes_nothing
from bridge.formats import BODY_BYTES, CONTENT_TYPES, WILDCARD_TYPES, Unwritable, rendered
from bridge.model import Change, Endpoint, Event, Observation, Snapshot

DOCUMENTED = (
    b'{"id":"whe_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","created_at":"2022-08-01T17:22:18.372553+09:00",'
    b'"type":"index.task.ready","data":{"id":"xxxxxxxxxxxxxxxxxxxxxxx","metadata":{"duration":30},"status":"ready",'
    b'"models":[{"name":"marengo2.7","options":["visual","audio"]}],"tags":["test"]}}'
)
"""The example of docs.twelvelabs.io, "Response schema" of the webhooks."""

AT = 1_793_527_480_118


def event_of(seen: Observation | None, known: Snapshot | None = None, *, task: str = "6a0b1c2d", **more: Any) -> Event:
    """The event of a task's new state, as it is stored."""
    return event_from(Change(seen, known, ("status",)), task, now=AT, **more)


def body_of(event: Event) -> Any:
    """What a subscriber of this format reads in it."""
    return json.loads(rendered("twelvelabs", event.id, event.body).body)


def a_task(status: str = "ready", **fields: Any) -> Observation:
    """A reading with this upstream object."""
    return an_observation(status, task={"_id": "6a0b1c2d", "status": status, **fields})


def shape(value: Any) -> Any:
    """Names, their order, and types."""
    return [(name, shape(one)) for name, one in value.items()] if isinstance(value, dict) else type(value)


def test_the_body_is_this_to_the_byte() -> None:
    """Compact, ASCII, the fields of the documented example, in its order; the instant has microseconds as there."""
    event = event_of(a_task(system_metadata={"duration": 30, "filename": "Zoë.mp4"}), a_snapshot("indexing"))
    assert rendered("twelvelabs", event.id, event.body).body == (
        b'{"id":"whe_%b","created_at":"2026-11-01T10:04:40.118000Z","type":"index.task.ready",'
        b'"data":{"id":"6a0b1c2d","metadata":{"duration":30,"filename":"Zo\\u00eb.mp4"},"status":"ready",'
        b'"models":[],"tags":[]}}' % event.id.removeprefix("evt_").encode()
    )


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_it_has_the_shape_of_the_documented_example(status: str) -> None:
    """Field by field: the same names in the same order with the same types, and an id of the same length."""
    ours, theirs = body_of(event_of(a_task(status, system_metadata={"duration": 30}))), json.loads(DOCUMENTED)
    assert shape(ours) == shape(theirs)
    assert (len(ours["id"]), ours["id"][:4]) == (len(theirs["id"]), "whe_")
    assert len(ours["created_at"].removesuffix("Z")) == len(theirs["created_at"].removesuffix("+09:00"))
    assert (ours["type"], ours["data"]["status"]) == (f"index.task.{status}", status)


@pytest.mark.parametrize("metadata", [None, [], "x", 5])
def test_metadata_is_an_object_whatever_upstream_says(metadata: Any) -> None:
    """Receivers read `metadata.duration`."""
    assert body_of(event_of(a_task(system_metadata=metadata)))["data"]["metadata"] == {}
    assert body_of(event_of(a_task()))["data"]["metadata"] == {}


def test_what_is_ours_alone_is_not_in_it() -> None:
    """Neither the task's own metadata nor revision nor what was before: receivers were written without them."""
    said = rendered("twelvelabs", "evt_1", event_of(a_task(), metadata={"order": "theirs"}).body).body
    assert not {"order", "revision", "previous", "changed", "task_id"} & set(said.decode().replace('"', " ").split())


def test_an_object_that_was_left_out_leaves_the_status() -> None:
    """A body that would have been too long is stored without its task."""
    event = event_of(a_task(bulk="x" * BODY_BYTES))
    assert body_of(event)["data"] == {"id": "6a0b1c2d", "metadata": {}, "status": "ready", "models": [], "tags": []}


@pytest.mark.parametrize("known", [None, a_snapshot("ready")])
def test_a_task_that_is_gone_is_not_ready(known: Snapshot | None) -> None:
    """TwelveLabs has no word for it; a receiver that looks at the status alone must not read that it is ready."""
    said = body_of(event_from(Change(None, known, ("gone",)), "t1", now=AT))
    assert (said["type"], said["data"]["status"], said["data"]["metadata"]) == ("index.task.gone", "gone", {})


READINGS = st.builds(
    a_task, st.text(max_size=64), system_metadata=JSON | st.dictionaries(st.text(max_size=9), JSON), new=JSON
)


@given(st.none() | READINGS, st.none() | st.builds(a_snapshot, st.text(max_size=64)), JSON)
def test_any_event_can_be_written(seen: Observation | None, known: Snapshot | None, metadata: Any) -> None:
    """As its schema says, in ASCII, the same bytes at each attempt, never more than is stored or fits."""
    event = event_of(seen, known, metadata=metadata)
    body = rendered("twelvelabs", event.id, event.body).body
    assert body == rendered("twelvelabs", event.id, event.body).body
    assert body.isascii()
    assert len(body) <= BODY_BYTES
    assert not [error.message for error in Draft202012Validator(twelvelabs_schema()).iter_errors(json.loads(body))]


def test_the_largest_body_stays_within_the_bound() -> None:
    """What is stored at the bound is not longer in this format, be it all system_metadata."""

    def sized(blob: int) -> Event:
        return event_of(an_observation("ready", None, task={"system_metadata": {"x": "x" * blob}}), task="t")

    event = sized(BODY_BYTES - len(sized(0).body))
    assert len(event.body) == BODY_BYTES
    assert BODY_BYTES // 2 < len(rendered("twelvelabs", event.id, event.body).body) <= BODY_BYTES


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"\xff", b'{"type":1,"timestamp":2,"data":{"task":3}}',
                                  b'{"type":"a","timestamp":"b","data":null}', b"[" * 50_000])  # fmt: skip
def test_stored_bytes_that_are_no_event_cannot_be_written(body: bytes) -> None:
    """Somebody wrote over them: our own failure, which names the event and no part of the body."""
    with pytest.raises(Unwritable, match="evt_1") as raised:
        rendered("twelvelabs", "evt_1", body)
    assert raised.value.fix


def test_a_format_that_is_not_known_cannot_be_written() -> None:
    """It is a newer bridge's: said so, and no KeyError."""
    with pytest.raises(Unwritable, match="“avro”") as raised:
        rendered("avro", "evt_1", b"{}")
    assert "same version" in raised.value.fix


def test_the_stored_bytes_are_those_of_standard() -> None:
    """Whatever they say: they were made once."""
    assert rendered("standard", "evt_1", b'{"any": "\xff"} ').body == b'{"any": "\xff"} '


# -- which events it takes --

TYPES = ["index.task." + word for word in ("ready", "failed", "indexing", "queued", "updated", "gone", "status.gone")]
ASSETS = ["index.asset.ready", "index.asset.indexing"]
STARS = ["*", "index.*", "index.task.*"]


def taken(*patterns: str, form: str = "twelvelabs") -> list[str]:
    """The types that an endpoint with these patterns hears of."""
    endpoint = Endpoint("a", "https://example.com/", events=patterns, format=form)
    return [one for one in [*TYPES, *ASSETS] if matches(endpoint, one, "t1")]


@pytest.mark.parametrize("star", STARS)
def test_a_star_stands_for_what_twelvelabs_sends(star: str) -> None:
    """Existing receivers know two types; in our own format there is no such bound."""
    assert taken(star) == ["index.task.ready", "index.task.failed"]
    assert taken(star, form="standard") == (TYPES if star == "index.task.*" else [*TYPES, *ASSETS])


def test_an_asset_named_in_full_is_told_in_the_fields_of_a_task() -> None:
    """TwelveLabs sends nothing of indexed assets: the same envelope, and the member as it was registered."""
    member = "asset:ix/a1"
    body = body_of(event_of(an_observation("ready"), task=member))
    assert (body["type"], body["data"]["id"], body["data"]["status"]) == ("index.asset.ready", member, "ready")
    assert list(body["data"]) == ["id", "metadata", "status", "models", "tags"]


@pytest.mark.parametrize("kind", [*TYPES, *ASSETS])
def test_a_type_that_is_named_in_full_is_taken(kind: str) -> None:
    """Whoever names it wants it, beside a star too."""
    assert taken(kind) == [kind]
    assert set(taken("index.task.*", kind)) == {"index.task.ready", "index.task.failed", kind}


def test_the_tasks_of_its_filter_count_as_ever() -> None:
    """Both have to fit."""
    endpoint = Endpoint("a", "https://example.com/", tasks=("a*",), format="twelvelabs")
    assert matches(endpoint, "index.task.ready", "a1")
    assert not matches(endpoint, "index.task.ready", "b1")


@given(
    st.sampled_from(sorted(CONTENT_TYPES)),
    st.from_regex(r"\*|(index|task|a)(\.(task|ready|b)){0,3}(\.\*)?", fullmatch=True),
)
def test_a_pattern_takes_nothing_if_no_type_of_its_format_fits(form: str, pattern: str) -> None:
    """Which is known only where the types are: `takes_nothing` and `matches` tell one story."""
    endpoint = Endpoint("a", "https://example.com/", events=(pattern,), format=form)
    known = WILDCARD_TYPES.get(form, frozenset())
    fits = any(matches(endpoint, one, "t") for one in known)
    assert takes_nothing(form, pattern) is (bool(known) and pattern.endswith("*") and not fits)
