"""The body that a subscriber receives, to the letter."""

import json
from typing import Any

import pytest
from factories import START, a_snapshot, an_observation
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import METADATA_BYTES, task_options
from bridge.formats import BODY_BYTES, CONTENT_TYPES, rfc3339, standard
from bridge.guard import Policy
from bridge.model import Change, Observation, Snapshot

KEYS = ["task_id", "status", "updated_at", "revision", "changed", "previous", "task", "metadata"]


def body_of(change: Change, *, metadata: Any = None, task: str = "t1", revision: int = 7) -> bytes:
    """The body of this change, observed at START."""
    return standard("index.task.ready", task, revision, START, change, metadata)


def test_the_body_is_this_to_the_byte() -> None:
    """Each key, in this order, and nothing else; compact, so that nobody re-serializes by accident and gets lucky."""
    seen = an_observation(
        "ready",
        updated_at_text="2026-11-01T10:04:39.871Z",
        task={"_id": "t1", "status": "ready", "hls": {"status": "COMPLETE"}, "new": [1.5, None]},
    )
    known = a_snapshot("indexing", updated_at_text="2026-11-01T10:01:12Z")
    change = Change(seen, known, ("status", "updated_at"))
    assert standard("index.task.ready", "t1", 1763925001123, 1793527480118, change, {"order": 42}) == (
        b'{"type":"index.task.ready","timestamp":"2026-11-01T10:04:40.118Z","data":{"task_id":"t1","status":"ready",'
        b'"updated_at":"2026-11-01T10:04:39.871Z","revision":1763925001123,"changed":["status","updated_at"],'
        b'"previous":{"status":"indexing","updated_at":"2026-11-01T10:01:12Z"},'
        b'"task":{"_id":"t1","status":"ready","hls":{"status":"COMPLETE"},"new":[1.5,null]},"metadata":{"order":42}}}'
    )


def test_the_first_sight_has_no_previous() -> None:
    """Null, not an empty object; so are times and metadata that there are not."""
    data = json.loads(body_of(Change(an_observation("odd", None), None, ("status",))))["data"]
    assert list(data) == KEYS
    assert (data["previous"], data["updated_at"], data["metadata"]) == (None, None, None)


def test_an_unreadable_time_is_passed_on_as_it_was_written() -> None:
    """What upstream wrote, verbatim."""
    seen = an_observation("ready", None, updated_at_text="yesterday")
    assert json.loads(body_of(Change(seen, None, ("status",))))["data"]["updated_at"] == "yesterday"


@pytest.mark.parametrize("previous", [None, a_snapshot("ready")])
def test_gone_says_what_was_known_last(previous: Snapshot | None) -> None:
    """There is no upstream object any more; if there never was one, a misspelt id is the likely cause: it is said."""
    data = json.loads(body_of(Change(None, previous, ("gone",))))["data"]
    assert list(data) == (KEYS if previous else [*KEYS, "never_seen"])
    assert data.get("never_seen") is (None if previous else True)
    assert (data["task"], data["changed"]) == (None, ["gone"])
    assert data["status"] == (previous and "ready")
    assert data["updated_at"] == (previous and previous.updated_at_text)
    assert data["previous"] == (previous and {"status": "ready", "updated_at": previous.updated_at_text})


# -- its size --


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_object_is_left_out_exactly_when_the_body_would_be_too_long(extra: int) -> None:
    """65,536 bytes are sent, one more is not."""

    def sized(blob: int) -> bytes:
        return body_of(Change(an_observation(task={"blob": "x" * blob}), None, ("status",)))

    body = sized(BODY_BYTES - len(sized(0)) + extra)
    data = json.loads(body)["data"]
    assert len(body) <= BODY_BYTES
    if extra > 0:
        assert list(data) == [*KEYS, "task_omitted"]
        assert (data["task"], data["task_omitted"]) == (None, True)
    else:
        assert len(body) == BODY_BYTES + extra
        assert list(data) == KEYS


METADATA_AT_ITS_BOUND = [
    pytest.param('"' + "\x7f" * (METADATA_BYTES - 2) + '"', id="DEL: one byte, six when escaped"),
    pytest.param('"' + "é" * ((METADATA_BYTES - 2) // 2) + '"', id="two bytes, six when escaped"),
    pytest.param('"' + "\N{GRINNING FACE}" * ((METADATA_BYTES - 2) // 4) + '"', id="four bytes, twelve when escaped"),
    pytest.param("[" + ",".join(["9e15"] * (METADATA_BYTES // 5 - 1)) + "]", id="floats written out"),
    pytest.param('{"a":' * 90 + "0" + "}" * 90, id="deep"),
]


@pytest.mark.parametrize("text", METADATA_AT_ITS_BOUND)
def test_a_body_without_its_object_always_fits(text: str) -> None:
    """Everything else is bounded, and far from this bound even where escapes make it six times as long."""
    metadata = task_options({"metadata": text}, Policy(), has_default_secret=False)[0].metadata
    longest = "\N{GRINNING FACE}" * 64
    seen = an_observation(longest, updated_at_text=longest, task={"blob": "\N{GRINNING FACE}" * 100_000})
    known = a_snapshot(longest, updated_at_text=longest)
    changed = ("gone", "status", "updated_at", "hls.status", "system_metadata")
    body = body_of(Change(seen, known, changed), metadata=metadata, task="x" * 200, revision=2**63)
    assert len(body) < BODY_BYTES // 2
    assert json.loads(body)["data"]["metadata"] == metadata
    assert json.loads(body)["data"]["task_omitted"] is True


# -- its text --


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=12,
)
SEEN = st.builds(
    an_observation,
    st.text(st.characters(), max_size=64),
    updated_at_text=st.none() | st.text(st.characters(), max_size=64),
    task=st.dictionaries(st.text(st.characters()), JSON, max_size=4),
)


@given(SEEN, st.none() | st.builds(a_snapshot, st.text(max_size=64)), JSON)
def test_any_reading_makes_an_ascii_body_of_valid_json(
    seen: Observation, known: Snapshot | None, metadata: Any
) -> None:
    """Lone surrogates included: the same bytes each time, in any character set, and all of it can be read back."""
    change = Change(seen, known, ("status",))
    body = body_of(change, metadata=metadata)
    assert body == body_of(change, metadata=metadata)
    assert body.isascii()
    assert b"\n" not in body
    read = json.loads(body, parse_constant=pytest.fail)
    assert list(read) == ["type", "timestamp", "data"]
    assert (read["data"]["task"], read["data"]["metadata"]) == (seen.task, metadata)
    assert (read["data"]["status"], read["data"]["updated_at"]) == (seen.status, seen.updated_at_text)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_say_is_never_written(number: float) -> None:
    """It is refused where it comes in; were it not, an exception of ours is better than a body that nobody reads."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        body_of(Change(an_observation(task={"duration": number}), None, ("status",)))


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (START, "2027-01-15T08:00:00.000Z"),
        (START + 7, "2027-01-15T08:00:00.007Z"),
        (START + 999, "2027-01-15T08:00:00.999Z"),
        (253402300799999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_timestamp_is_utc_with_milliseconds(milliseconds: int, text: str) -> None:
    """RFC 3339, whatever the machine's time zone, and never a digit rounded up."""
    assert rfc3339(milliseconds) == text


def test_each_format_has_a_content_type() -> None:
    """The interface says `application/json`."""
    assert CONTENT_TYPES["standard"] == "application/json"
