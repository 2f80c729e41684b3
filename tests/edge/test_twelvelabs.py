"""How upstream speaks: every cell of the fault matrix becomes a value, and the key goes nowhere else."""

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from misbehave import Misbehaviour, Peer, says

from bridge.model import FetchFailure, FetchFault, Observation, Timing
from bridge.sandbox.faults import redirect
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.transport import Answer, Limits, Transport
from bridge.twelvelabs import BODY_BYTES, DEPTH, TwelveLabs, error_code, failure, observe

NOW = datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC)
TASK: dict[str, Any] = {"_id": "t1", "status": "indexing", "updated_at": "2026-11-01T10:00:07.950Z"}


def an_answer(
    status: int = 200, body: bytes | str | dict[str, Any] = b"", truncated: bool = False, **headers: str
) -> Answer:
    """An answer as the transport hands it over."""
    raw = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, named, raw, truncated, Timing())


def seen(**fields: Any) -> Observation | FetchFailure:
    """What a task with these fields is read as; a field given as `...` is left out."""
    task = {name: value for name, value in {**TASK, **fields}.items() if value is not ...}
    return observe(an_answer(200, task), "t1")


def test_a_whole_task_is_observed() -> None:
    """Every watched field is read, and the object itself is kept as served."""
    hls = {"status": "PROCESSING", "video_url": "https://cdn.example.test/a.m3u8"}
    observation = seen(hls=hls, system_metadata={"duration": 12.5}, novelty={"deep": [1, None, True]})
    assert isinstance(observation, Observation)
    assert (observation.task_id, observation.status, observation.hls_status) == ("t1", "indexing", "PROCESSING")
    assert observation.updated_at == datetime(2026, 11, 1, 10, 0, 7, 950_000, tzinfo=UTC)
    assert observation.updated_at_text == "2026-11-01T10:00:07.950Z"
    assert observation.system_metadata == {"duration": 12.5}
    assert observation.task["novelty"] == {"deep": [1, None, True]}


@pytest.mark.parametrize(
    "fields",
    [
        {"_id": ...},
        {"_id": None},
        {"updated_at": ...},
        {"updated_at": None},
        {"updated_at": 1_795_524_375},
        {"updated_at": "yesterday"},
        {"updated_at": "2026-13-45T99:99:99Z"},
        {"updated_at": "2026-11-01T10:00:07"},
        {"updated_at": "\ud800"},
        {"updated_at": "2026-11-01T10:00:07Z" + " " * 100},
        {"hls": None},
        {"hls": "COMPLETE"},
        {"hls": {"status": 7}},
        {"hls": {"status": "\x00"}},
        {"hls": {"status": "C" * 65}},
        {"hls": []},
        {"system_metadata": None},
        {"system_metadata": "much"},
        {"system_metadata": {"name": "\ud800", "n": 9**400}},
        {"status": "composting"},
        {"status": "s" * 64},
        {"status": "ready or not"},
        {"extra": {str(number): number for number in range(1_000)}},
    ],
    ids=lambda fields: str(fields)[:50].encode("ascii", "backslashreplace").decode(),
)
def test_a_tolerable_task_is_observed(fields: dict[str, Any]) -> None:
    """Only `status` must be there; what is missing or strange is unknown, what is new is passed through."""
    observation = seen(**fields)
    assert isinstance(observation, Observation)
    assert observation.status == fields.get("status", "indexing")
    for text in (observation.updated_at_text, observation.hls_status):
        assert text is None or text.isprintable()


def nested(depth: int) -> str:
    """A task with lists in lists."""
    return '{"_id": "t1", "status": "ready", "n": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    "answer",
    [
        an_answer(200),
        an_answer(200, "null"),
        an_answer(200, "true"),
        an_answer(200, "[]"),
        an_answer(200, '"ready"'),
        an_answer(200, "{}"),
        an_answer(200, "<html><body>Bad Gateway</body></html>"),
        an_answer(200, json.dumps(TASK)[:-1]),
        an_answer(200, json.dumps(TASK) + "x"),
        an_answer(200, {**TASK, "status": None}),
        an_answer(200, {**TASK, "status": 7}),
        an_answer(200, {**TASK, "status": True}),
        an_answer(200, {**TASK, "status": ["ready"]}),
        an_answer(200, {**TASK, "status": {"is": "ready"}}),
        an_answer(200, {**TASK, "status": ""}),
        an_answer(200, {**TASK, "status": "s" * 65}),
        an_answer(200, {**TASK, "status": "re\nady"}),
        an_answer(200, {**TASK, "status": "\ud800"}),
        an_answer(200, {**TASK, "_id": "t2"}),
        an_answer(200, {**TASK, "_id": 1}),
        an_answer(200, {**TASK, "_id": ["t1"]}),
        an_answer(200, {**TASK, "_id": True}),
        an_answer(200, json.dumps(TASK), truncated=True),
        an_answer(200, gzip.compress(json.dumps(TASK).encode(), mtime=0), content_encoding="gzip"),
        an_answer(200, json.dumps(TASK).encode() + b"\xff"),
        an_answer(200, b'{"status": "\xff\xfe"}'),
        an_answer(200, b"\xff\xfe"),
        an_answer(200, b"\x00" * 100),
        *(an_answer(200, f'{{"_id": "t1", "status": "ready", "n": {text}}}')
          for text in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5_000, "1" + "0" * 400 + ".5", "01")),
        an_answer(200, nested(DEPTH + 1)),
        an_answer(200, nested(5_000)),
        an_answer(200, nested(400_000)),
        an_answer(200, '{"a":' * 400_000),
    ],
    ids=lambda answer: repr(answer.body[:40]),
)  # fmt: skip
def test_a_body_that_is_no_task_is_a_passing_fault(answer: Answer) -> None:
    """Whatever it is, it is a value, and the next read may be right."""
    found = observe(answer, "t1")
    assert isinstance(found, FetchFailure)
    assert found.fault is FetchFault.TRANSIENT
    assert found.detail
    assert found.status_code == 200


def test_the_deepest_task_that_is_believed_can_be_told() -> None:
    """What is accepted can be written again: the nesting bound is far from the interpreter's own."""
    found = observe(an_answer(200, nested(DEPTH - 1)), "t1")
    assert isinstance(found, Observation)
    assert json.dumps(found.task)


ERRORS = [
    (204, b"", FetchFault.TRANSIENT),
    (206, b"{}", FetchFault.TRANSIENT),
    (301, b"", FetchFault.TRANSIENT),
    (304, b"", FetchFault.TRANSIENT),
    (400, {"code": "parameter_invalid", "message": "no"}, FetchFault.BAD_WATCH),
    (400, {"code": "resource_not_exist", "message": "no"}, FetchFault.GONE),
    (400, {"error": {"code": "resource_not_exists", "message": "no"}}, FetchFault.GONE),
    (400, b"<html>", FetchFault.BAD_WATCH),
    (400, {"code": ["resource_not_exist"]}, FetchFault.BAD_WATCH),
    (401, {"code": "api_key_invalid"}, FetchFault.CREDENTIAL),
    (401, b"", FetchFault.CREDENTIAL),
    (402, b"", FetchFault.TRANSIENT),
    (403, {"code": "read_not_allowed"}, FetchFault.FORBIDDEN),
    (404, {"error": {"code": "not_found"}}, FetchFault.GONE),
    (404, b"", FetchFault.GONE),
    (405, b"", FetchFault.TRANSIENT),
    (408, b"", FetchFault.TRANSIENT),
    (409, {"code": "conflict"}, FetchFault.TRANSIENT),
    (418, b"\xff", FetchFault.TRANSIENT),
    (429, b"", FetchFault.THROTTLED),
    (429, {"code": "too_many_requests"}, FetchFault.THROTTLED),
    (500, b"[" * 400_000, FetchFault.TRANSIENT),
    (502, b"<html>", FetchFault.TRANSIENT),
    (503, {"error_code": 7, "message": "no"}, FetchFault.TRANSIENT),
    (599, b"", FetchFault.TRANSIENT),
]


@pytest.mark.parametrize(("status", "body", "fault"), ERRORS, ids=lambda value: str(value)[:40])
def test_an_error_is_named_by_what_follows_from_it(
    status: int, body: bytes | dict[str, Any], fault: FetchFault
) -> None:
    """The table of error classes, with a detail that names status and code and nothing unprintable."""
    found = failure(an_answer(status, body), now=NOW)
    assert found.fault is fault
    assert found.status_code == status
    assert str(status) in found.detail
    assert found.detail.isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "-7"}, None),
        ({"retry_after": "1.5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "٣"}, None),
        ({"retry_after": "9" * 30}, None),
        ({"retry_after": "Sun, 01 Nov 2026 10:01:00 GMT"}, 60.0),
        ({"retry_after": "Sun, 01 Nov 2026 10:01:00 GMT", "date": "Sun, 01 Nov 2026 10:00:40 GMT"}, 20.0),
        ({"retry_after": "Sun, 01 Nov 2026 10:01:00 GMT", "date": "Sun, 01 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry_after": "Sun, 01 Nov 2026 10:01:00 GMT", "date": "Mon, 01 Jan 0001 00:00:00 +2359"}, 60.0),
        ({"retry_after": "7", "date": "Sun, 01 Nov 2020 10:01:00 GMT"}, 7.0),
        ({"retry_after": "Sun, 01 Nov 2020 10:01:00 GMT"}, 0.0),
        ({"retry_after": "Sun, 99 Nov 2026 10:01:00 GMT"}, None),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 30)}, 30.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 30), "date": "Sun, 01 Nov 2026 10:00:10 GMT"}, 20.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 30), "date": "Sun, 01 Nov 2026 10:00:10 -0000"}, 20.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 30), "date": "once upon a time"}, 30.0),
        ({"x_ratelimit_reset": str(int(NOW.timestamp()) + 30), "date": "Sun, 01 Nov 2020 10:00:10 GMT"}, 30.0),
        ({"x_ratelimit_reset": "soon"}, None),
        ({"retry_after": "5", "x_ratelimit_reset": "99999999999"}, 5.0),
    ],
    ids=str,
)
def test_a_429_says_when(headers: dict[str, Any], seconds: float | None) -> None:
    """Retry-After in seconds or as a date, else the reset of the rate limit by upstream's own clock."""
    assert failure(an_answer(429, **headers), now=NOW).retry_after_seconds == seconds


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's own time zone is another one."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_date_without_a_zone_is_utc(far_away: None) -> None:
    """HTTP dates are UTC, wherever this machine stands."""
    reset = str(int(NOW.timestamp()) + 30)
    answer = an_answer(429, x_ratelimit_reset=reset, date="Sun, 01 Nov 2026 10:00:10 -0000")
    assert failure(answer, now=NOW).retry_after_seconds == 20.0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_only_a_wait_is_a_wait(status: int) -> None:
    """Retry-After on an answer that says something about the id or the key means nothing."""
    assert failure(an_answer(status, retry_after="7"), now=NOW).retry_after_seconds is None


HEADER = st.text(st.characters(max_codepoint=255), max_size=60)


@given(st.binary(max_size=300), st.integers(100, 999), HEADER, HEADER, HEADER)
@example(b"", 429, "", "1000", "Mon, 01 Jan 0001 00:00:00 +2359")
@example(b"", 429, "", "1000", "Fri, 31 Dec 9999 23:59:59 -2359")
@example(b"", 429, "Fri, 31 Dec 9999 23:59:59 -2359", "", "")
@example(b"", 429, "", "1000", "1 1")
@example(b"", 429, "", "1000", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
def test_nothing_that_upstream_says_raises(body: bytes, status: int, after: str, reset: str, date: str) -> None:
    """Bytes and headers at random: always a value."""
    answer = an_answer(status, body, retry_after=after, x_ratelimit_reset=reset, date=date)
    assert isinstance(failure(answer, now=NOW), FetchFailure)
    assert isinstance(observe(answer, "t1"), FetchFailure)
    assert isinstance(error_code(body), str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["_id", "status", "updated_at", "hls", "system_metadata", "x"]), JSON))
def test_any_json_object_is_a_value(task: dict[str, Any]) -> None:
    """Wrong types in every field: an observation or a fault, never an exception."""
    assert isinstance(observe(an_answer(200, task), "t1"), Observation | FetchFailure)


# ---------------------------------------------------------------- on the wire


WHOLE = json.dumps(TASK).encode()
HELD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(WHOLE), WHOLE)
"""An answer after which the connection is kept."""


class Reader:
    """A client of one upstream."""

    def __init__(self, base_url: str, deadline_seconds: float = 5.0) -> None:
        self.transport = Transport(lambda *_: None, limits=Limits(body_bytes=BODY_BYTES))
        self.client = TwelveLabs(self.transport, base_url=base_url, api_key=API_KEY, deadline_seconds=deadline_seconds)

    async def __aenter__(self) -> TwelveLabs:
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.transport.aclose()


async def test_the_request_is_the_documented_one() -> None:
    """GET /v1.3/tasks/{id} with the key in `x-api-key`, uncompressed."""
    simulator = Simulator()
    member = simulator.add_task("t1", timeline=())
    await simulator.start()
    try:
        async with Reader(simulator.base_url + "/") as client:
            assert isinstance(await client.fetch(member), Observation)
            assert isinstance(await client.fetch("missing"), FetchFailure)
        asked = simulator.requests[0]
        assert (asked.method, asked.path) == ("GET", "/tasks/t1")
        assert asked.headers["x-api-key"] == API_KEY
        assert asked.headers["accept"] == "application/json"
        assert asked.headers["accept-encoding"] == "identity"
    finally:
        await simulator.stop()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_key_is_not_sent_after_a_redirect(status: int) -> None:
    """Wherever Location points, nobody there is asked."""
    simulator, thief = Simulator(), Receiver()
    simulator.fault("/tasks/*", redirect("placeholder", status))
    await simulator.start()
    await thief.start()
    simulator.clear_faults()
    simulator.fault("/tasks/*", redirect(f"{thief.url}/v1.3/tasks/t1", status))
    try:
        async with Reader(simulator.base_url) as client:
            found = await client.fetch("t1")
        assert isinstance(found, FetchFailure)
        assert found.fault is FetchFault.TRANSIENT
        assert thief.connections == 0
        assert len(simulator.requests) == 1
    finally:
        await thief.stop()
        await simulator.stop()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = json.dumps(TASK).encode()


def url_of(server: Misbehaviour) -> str:
    """Its API."""
    return f"http://127.0.0.1:{server.origin.port}/v1.3"


async def once_and_hang_up(peer: Peer) -> None:
    """Answer one request, and close the kept connection on the next."""
    await peer.request()
    peer.send(HELD)
    await peer.request()
    peer.close()


async def test_one_read_is_one_request() -> None:
    """The budget grants them one by one. Upstream may have counted what it read and left unanswered."""
    async with Misbehaviour(once_and_hang_up, says(HELD)) as server:
        base_url = f"http://127.0.0.1:{server.origin.port}/v1.3"
        async with Reader(base_url) as client:
            assert isinstance(await client.fetch("t1"), Observation)
            found = await client.fetch("t1")
            assert isinstance(found, FetchFailure)
            assert found.fault is FetchFault.TRANSIENT
            assert len(server.requests) == 2
            assert isinstance(await client.fetch("t1"), Observation)


async def silence(peer: Peer) -> None:
    """Take the request and say nothing."""
    await peer.request()


async def hang_up(peer: Peer) -> None:
    """Take the request and close."""
    await peer.request()
    peer.close()


async def slam(peer: Peer) -> None:
    """Take the request and reset."""
    await peer.request()
    peer.reset()


async def half(peer: Peer) -> None:
    """Half of the announced body, then the end."""
    await peer.request()
    peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:20])
    peer.close()


async def flood(peer: Peer) -> None:
    """A body without an end."""
    await peer.request()
    peer.send(HEAD + b'Transfer-Encoding: chunked\r\n\r\n10000\r\n{"status":"' + b"x" * (0x10000 - 11) + b"\r\n")
    await peer.pour(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def slow_head(peer: Peer) -> None:
    """A head that comes byte by byte."""
    await peer.request()
    await peer.drip(HEAD * 100)


TROUBLE = {
    "silence": silence,
    "hang-up": hang_up,
    "reset": slam,
    "half": half,
    "flood": flood,
    "slow head": slow_head,
    "nonsense": says(b"220 smtp ready\r\n\r\n"),
    "bad length": says(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "huge head": says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
    "no content": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified": says(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
}


@pytest.mark.parametrize("name", TROUBLE)
async def test_trouble_on_the_wire_is_a_passing_fault(name: str) -> None:
    """A peer that misbehaves in any way makes a value, within the deadline."""
    async with Misbehaviour(TROUBLE[name]) as server, Reader(url_of(server), deadline_seconds=0.5) as client:
        found = await client.fetch("t1")
    assert isinstance(found, FetchFailure)
    assert found.fault is FetchFault.TRANSIENT


async def test_nobody_there_is_a_passing_fault() -> None:
    """Connection refused, and a name that does not resolve."""
    async with Misbehaviour(silence) as server:
        port = server.origin.port
    for host in ("127.0.0.1", "nowhere.invalid"):
        async with Reader(f"http://{host}:{port}/v1.3") as client:
            found = await client.fetch("t1")
        assert isinstance(found, FetchFailure)
        assert found.fault is FetchFault.TRANSIENT
        assert API_KEY not in found.detail


async def test_ten_megabytes_are_not_read() -> None:
    """A body over the bound is cut, and then no JSON."""
    big = b'{"_id": "t1", "status": "ready", "x": "' + b"x" * 10_000_000 + b'"}'
    script = says(HEAD + b"Content-Length: %d\r\n\r\n" % len(big) + big)
    async with Misbehaviour(script) as server, Reader(url_of(server)) as client:
        found = await client.fetch("t1")
    assert isinstance(found, FetchFailure)
    assert found.detail == "the body was cut off"


def test_the_key_is_in_no_repr() -> None:
    """P8: what a traceback or a log line might show of the client does not show the key."""
    reader = Reader("http://127.0.0.1:9")
    assert API_KEY not in repr(reader.client)
