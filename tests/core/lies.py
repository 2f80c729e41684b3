"""Suite I's table: everything that upstream may say, and what it means to a task in each state.

A row's three cells are: never read, `indexing`, and `ready` with its HLS stream in the making. Where a cell names an
event type, that event and no other is made.
"""

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from corescene import START
from lyingscene import PEACE, PROBE_MS, STALE, Answer, Lie, Then, absent, doubted, fault, rests, told

from bridge.poll import UNPROMPTED_PAUSE_SECONDS
from bridge.sandbox.faults import (
    Fault,
    half_json,
    hang,
    html,
    http_date,
    nested,
    patched,
    redirect,
    reset,
    throttled,
    truncated,
    unauthorized,
    unavailable,
)
from bridge.sandbox.timeline import ABSENT

SHORT = 0.25
"""The deadline (s) where nothing else ends an answer."""
UNPROMPTED_MS = int(UNPROMPTED_PAUSE_SECONDS * 1000)
DAY_MS = 86_400_000
BEHIND = datetime.now(UTC) - timedelta(hours=2)
"""Now, by a clock that is two hours behind."""


def at(seconds: float) -> str:
    """A time that many seconds after the task's own `updated_at`."""
    return (datetime.fromtimestamp(START / 1000, UTC) + timedelta(seconds=seconds)).isoformat()


def row(name: str, answer: Answer, first: Then, pending: Then, ending: Then, **more: Any) -> Lie:
    """A row with a cell for each state."""
    return Lie(name, answer, first, pending, ending, **more)


def always(name: str, answer: Answer, then: Then, **more: Any) -> Lie:
    """A row whose cells are alike."""
    return Lie(name, answer, then, then, then, **more)


def same(name: str, **patch: Any) -> Lie:
    """Nothing that is watched differs."""
    return row(name, patched(**patch), told("indexing"), PEACE, PEACE)


def dubious(name: str, **patch: Any) -> Lie:
    """Dubious, and beside that nothing new."""
    return row(name, patched(**patch), doubted("indexing"), PEACE, PEACE)


def dubious_news(name: str, **patch: Any) -> Lie:
    """Dubious, and news."""
    return always(name, patched(**{"status": "queued", **patch}), doubted("queued"))


def text(change: Callable[[str], str | bytes]) -> Answer:
    """A 200 whose body is made from the true text."""
    return lambda true: Fault(200, change(true))


def added(field: str) -> Answer:
    """The true text with one more field, as written."""
    return text(lambda true: f"{true[:-1]}, {field}}}")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def endless_body(writer: asyncio.StreamWriter) -> None:
    """A body that never ends, as fast as it is taken."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        await writer.drain()


async def endless_hints(writer: asyncio.StreamWriter) -> None:
    """An answer that is always about to come."""
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()


def drip(head: bytes) -> Callable[[asyncio.StreamWriter], Any]:
    """Byte after byte, never so late that a timeout for each read would fire."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    return play


async def sudden_end(writer: asyncio.StreamWriter) -> None:
    """Half an answer's head."""
    writer.write(HEAD)
    await writer.drain()


BELIEVED = [
    row("the same", Fault(), told("indexing"), PEACE, PEACE),
    row("new", patched(status="queued", updated_at=at(1)), told("queued"), told("queued"), doubted("queued")),
    row("new, same time", patched(status="queued"), told("queued"), told("queued"), doubted("queued")),
    row("new, 10 h ahead", patched(status="queued", updated_at=at(36_000)), told("queued"), told("queued"),
        doubted("queued"), honest_reads=2),
    row("regressed", patched(status="queued", updated_at=at(-60)), told("queued"), STALE, STALE),
    row("regressed time", patched(updated_at=at(-60)), told("indexing"), STALE, STALE),
    row("metadata", patched(system_metadata={"width": 1}), told("indexing"), told("updated"), told("updated")),
    row("surrogate in metadata", added('"system_metadata": {"name": "\\ud800"}'), told("indexing"), told("updated"),
        told("updated")),
    row("status twice", added('"status": "queued"'), told("queued"), told("queued"), doubted("queued")),
    same("no created_at", created_at=ABSENT),
    same("created_at is a number", created_at=7),
    same("extra field", new={"deep": [1, None, "\N{GRINNING FACE}"]}),
    same("thin row", hls=ABSENT, video_id=ABSENT, index_id=ABSENT),
    same("hls is null", hls=None),
    same("hls is a list", hls=["COMPLETE"]),
    same("hls.status is a number", hls={"status": 7}),
    same("metadata is text", system_metadata="much"),
    same("time in another zone", updated_at="2027-01-15T17:00:00+09:00"),
    row("BOM", text(lambda true: b"\xef\xbb\xbf" + true.encode()), told("indexing"), PEACE, PEACE),
    row("UTF-16", text(lambda true: true.encode("utf-16")), told("indexing"), PEACE, PEACE),
    row("4,000 digits", added('"n": ' + "9" * 4_000), told("indexing"), PEACE, PEACE),
    row("90 deep", added('"n": ' + "[" * 90 + "]" * 90), told("indexing"), PEACE, PEACE),
    row("lone surrogate", added('"n": "\\ud800"'), told("indexing"), PEACE, PEACE),
    row("1e308", added('"n": 1e308'), told("indexing"), PEACE, PEACE),
    row("body twice as long as an event", added('"n": "' + "x" * 131_072 + '"'), told("indexing"), PEACE, PEACE),
]  # fmt: skip

DOUBTED = [
    always("unknown status", patched(status="composting"), doubted("composting")),
    always("status gone", patched(status="gone"), doubted("status.gone")),
    always("status updated", patched(status="updated"), doubted("status.updated")),
    always("status ready?", patched(status="ready?"), doubted("status.ready")),
    always("status READY", patched(status="READY"), doubted("ready")),
    always("64 letters of status", patched(status="s" * 64), doubted("s" * 64)),
    row("failed, stream in the making", patched(status="failed", hls={"status": "PROCESSING"}), told("failed"),
        told("failed"), doubted("failed"), honest_reads=2),
    dubious("no _id", _id=ABSENT),
    dubious_news("no _id, news", _id=ABSENT),
    dubious("_id is null", _id=None),
    dubious("no updated_at", updated_at=ABSENT),
    dubious_news("no updated_at, news", updated_at=ABSENT),
    dubious("updated_at is a number", updated_at=1_800_000_001),
    dubious_news("updated_at is a number, news", updated_at=1_800_000_001),
    dubious_news("updated_at is null", updated_at=None),
    dubious_news("updated_at is a list", updated_at=[at(1)]),
    dubious_news("updated_at is garbage", updated_at="yesterday"),
    dubious_news("updated_at without a zone", updated_at="2027-01-15T08:00:01"),
    dubious_news("updated_at and more", updated_at="2027-01-15T08:00:01Z; probably"),
    row("updated_at is a surrogate", added('"updated_at": "\\ud800"'), doubted("indexing"), PEACE, PEACE),
    dubious("year 2999", updated_at="2999-01-01T00:00:00Z"),
    dubious_news("year 2999, news", updated_at="2999-01-01T00:00:00Z"),
    dubious_news("year 9999", updated_at="9999-12-31T23:59:59.999999-23:59"),
    dubious_news("25 h ahead", updated_at=at(90_000)),
]  # fmt: skip

UNREADABLE = [
    *(always(f"status is {value!r}"[:40], patched(status=value), fault("no readable status"))
      for value in (ABSENT, 7, 1.5, True, None, ["ready"], {"is": "ready"}, "", "s" * 65, "re\nady", "re\0ady")),
    always("status is a surrogate", text(lambda _: '{"_id": "t1", "status": "\\ud800"}'), fault("no readable status")),
    *(always(f"_id is {value!r}", patched(_id=value), fault("another task")) for value in ("t2", "T1", "", 1, ["t1"])),
    always("another _id after ours", added('"_id": "t2"'), fault("another task")),
    *(always(f"200 {body!r}", text(lambda _, body=body: body), fault("not a task object"))  # type: ignore[misc]
      for body in ("null", "true", "7", "[]", '"ready"')),
    *(always(f"200 {name}", text(lambda true, change=change: change(true)), fault("not JSON"))  # type: ignore[misc]
      for name, change in {
          "empty": lambda _: "", "garbage": lambda _: b"\x00\xff\xfe" * 99, "half": lambda true: true[:-9],
          "two objects": lambda true: true * 2, "not UTF-8": lambda true: true.encode()[:-2] + b'\xff"}',
          "XML": lambda _: "<task status='ready'/>", "single quotes": lambda true: true.replace('"', "'"),
      }.items()),
    *(always(f"a number is {number[:9]}", added(f'"n": {number}'), fault("not JSON"))
      for number in ("NaN", "-Infinity", "1e999", "9" * 5_000, "01")),
    always("200 deep", added('"n": ' + "[" * 200 + "]" * 200), fault("not a task object")),
    always("100,000 deep", added('"n": ' + "[" * 100_000 + "]" * 100_000), fault("not JSON")),
    always("half of a task", half_json(), fault("not JSON")),
    always("HTML", html(200), fault("not JSON")),
    always("10 MB", added('"n": "' + "x" * 10_000_000 + '"'), fault("cut off")),
    always("gzip bomb", Fault(200, gzip.compress(bytes(20_000_000)), {"Content-Encoding": "gzip"}), fault("not JSON")),
    always("gzip", text(lambda true: gzip.compress(true.encode())), fault("not JSON")),
]  # fmt: skip

WHOLE = '{"_id": "t1", "status": "failed", "updated_at": "2027-01-15T08:00:01Z"}'
STATUSES = [
    *(always(f"{status} with a task", Fault(status, WHOLE), fault(f"HTTP {status}"))
      for status in (201, 202, 203, 206, 300, 409, 418, 500)),
    *(always(str(status), Fault(status), fault(f"HTTP {status}"))
      for status in (204, 304, 402, 405, 408, 410, 418, 599)),
    always("302", redirect("http://127.0.0.1:9/"), fault("HTTP 302")),
    always("409", Fault(409, {"code": "conflict"}), fault("HTTP 409 conflict")),
    always("500", unavailable(500), fault("HTTP 500 internal_server_error")),
    always("502 HTML", html(502), fault("HTTP 502")),
    always("503, wait 120 s", Fault(503, headers={"Retry-After": "120"}), fault("HTTP 503", 120_000)),
    always("503, wait 0 s", Fault(503, headers={"Retry-After": "0"}), fault("HTTP 503")),
    always("503, wait a year", Fault(503, headers={"Retry-After": "31536000"}), fault("HTTP 503", DAY_MS)),
    always("503, wait for it", Fault(503, headers={"Retry-After": "soon"}), fault("HTTP 503")),
    always("400 about the request", Fault(400, {"code": "parameter_invalid"}), absent("HTTP 400 parameter_invalid")),
    always("400 about the id", Fault(400, {"code": "resource_not_exists"}), absent("HTTP 400 resource_not_exists")),
    always("401", unauthorized(), rests(PROBE_MS, "HTTP 401 api_key_invalid")),
    always("403", Fault(403, {"code": "read_not_allowed"}), absent("HTTP 403 read_not_allowed")),
    always("404", nested(404), absent("HTTP 404 not_found")),
    always("404 HTML", html(404), absent("HTTP 404")),
    always("429", throttled(None), rests(UNPROMPTED_MS)),
    always("429, 7 s", throttled(7), rests(7_000)),
    always("429, a date", lambda _: throttled(http_date(datetime.now(UTC) + timedelta(seconds=300))),
           rests(300_000, slack=100_000)),
    always("429, a date by another clock",
           throttled(http_date(BEHIND + timedelta(seconds=90)), {"Date": http_date(BEHIND)}), rests(90_000)),
    always("429, a past date", throttled("Wed, 21 Oct 2015 07:28:00 GMT"), rests(1_000)),
    always("429, garbage", throttled("soon"), rests(UNPROMPTED_MS)),
    always("429, negative", throttled("-5"), rests(UNPROMPTED_MS)),
    always("429, 31 years", throttled(999_999_999), rests(DAY_MS)),
    always("429, beyond numbers", throttled("9" * 400), rests(UNPROMPTED_MS)),
    always("429, a reset in the past", throttled(None, {"X-Ratelimit-Reset": "1000"}), rests(1_000)),
]  # fmt: skip

ON_THE_WIRE = [
    always("silence", hang(), fault("timeout"), deadline_seconds=SHORT),
    always("reset", reset(), fault("reset")),
    always("closed unanswered", Fault(raw=b""), fault("reset")),
    always("closed in the head", sudden_end, fault("reset")),
    always("cut", truncated(20), fault("cut off")),
    always("not HTTP", Fault(raw=b"220 smtp ready\r\n\r\n"), fault("protocol")),
    always("two lengths", Fault(raw=HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), fault("protocol")),
    always("length and chunks", Fault(raw=HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
           fault("protocol")),
    always("bad chunk", Fault(raw=HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}"), fault("cut off")),
    always("huge head", Fault(raw=HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n"), fault("protocol")),
    always("switching protocols", Fault(raw=b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), fault("protocol")),
    always("endless body", endless_body, fault("cut off")),
    always("endless hints", endless_hints, fault("protocol")),
    always("drip of a head", drip(HEAD + b"X:"), fault("timeout"), deadline_seconds=SHORT),
    always("drip of a body", drip(HEAD + b"Content-Length: 1000000\r\n\r\n"), fault("cut off"),
           deadline_seconds=2 * SHORT),
    always("no TLS", Fault(), fault("tls"), tls=True),
]  # fmt: skip

LIES = [*BELIEVED, *DOUBTED, *UNREADABLE, *STATUSES, *ON_THE_WIRE]
