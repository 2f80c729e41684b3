"""Whatever upstream and subscribers answer is a value: no exception, no hang, no secret in what is remembered of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from nonsense import BEARING, HEADER, SIGNING, TOKEN, URL, assert_silent, hunt, objects, spoilt, values, words

from bridge import diff, events
from bridge.attempt import answer_head, attempt_record
from bridge.exchange import Answer, Limits
from bridge.kinds import KINDS, TASK
from bridge.model import (
    Change,
    Decision,
    Delivery,
    DeliveryState,
    EndpointEffect,
    Observation,
    Outcome,
    Snapshot,
    Timing,
)
from bridge.parser import AnswerParser, Malformed
from bridge.redaction import Confidant
from bridge.schedule import parse_retry_after
from bridge.twelvelabs import Page, failure, observe, page, resets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200)]

SHORT, LONG = {"bodies": 250, "heads": 250}, {"bodies": 20_000, "heads": 20_000}
"""Inputs in `make test` and in `make soak`."""
NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KNOWN = Snapshot("indexing", NOW, NOW.isoformat(), None, None, revision=1, event_id="evt_1")
CONFIDANT = Confidant(URL, {"Authorization": HEADER}, [SIGNING])

moments = st.one_of(words, st.datetimes().map(lambda moment: moment.isoformat() + "Z"), st.integers())
statuses = st.one_of(words, st.sampled_from(["queued", "indexing", "ready", "failed"]))
task_fields: dict[str, Any] = {
    "_id": st.one_of(st.just("t1"), words), "status": statuses, "updated_at": moments, "created_at": moments,
    "system_metadata": st.dictionaries(words, values, max_size=3), "hls": st.fixed_dictionaries({"status": statuses}),
    "index_id": words, "video_id": words,
}  # fmt: skip
a_task = objects(task_fields)
pages = st.lists(a_task, max_size=4).map(
    lambda rows: b'{"data":[' + b",".join(rows) + b'],"page_info":{"total_page":1}}'
)
edges = [b'{"status":"ready","n":1e999}', b'{"status":"ready","status":NaN}', b'{"status":"\\ud800"}', b"[" * 100_000]
bodies = st.one_of(
    a_task, pages, st.sampled_from(edges), st.binary(max_size=60), values.map(lambda one: json.dumps(one).encode())
)
header_names = st.sampled_from(
    ["date", "retry-after", "location", "server", "set-cookie", "x-token", "x-ratelimit-remaining", "x-ratelimit-reset"]
)
header_values = st.one_of(
    words,
    st.integers().map(str),
    st.datetimes().map(str),
    st.sampled_from([BEARING, HEADER, "Sun, 01 Nov 2026 10:00:00 GMT"]),
)
headers = st.lists(st.tuples(header_names, header_values), max_size=5)
upstream = st.tuples(
    st.one_of(st.just(200), st.integers(100, 999)),
    headers,
    bodies,
    st.sampled_from([False] * 5 + [True]),
    st.sampled_from(sorted(KINDS)),
)


def assert_readable(seen: Observation) -> None:
    """A reading says what it says in words that can be shown, stored and compared."""
    assert isinstance(seen.status, str)
    assert seen.status.isprintable()
    assert 0 < len(seen.status) <= 64
    assert json.loads(json.dumps(seen.task, allow_nan=False)) == seen.task


def told(answer: Answer, kind: str) -> None:
    """All that is made of an answer of upstream."""
    seen = observe(answer, "t1", KINDS[kind])
    if isinstance(seen, Observation):
        assert_readable(seen)
        assert seen.task_id in {None, "t1"}
        for known in (None, KNOWN):
            verdict = diff.diff(known, seen, now=NOW_MS)
            if isinstance(verdict, Change):
                event = events.event_from(verdict, "t1", now=NOW_MS)
                assert json.loads(event.body)["data"]["status"] == seen.status
                events.snapshot_after(verdict, event)
    else:
        assert_silent(seen.detail, where="a failure's detail")
    assert_silent(failure(answer, now=NOW).detail, where="a refusal's detail")
    rows = page(answer, TASK)
    for row in rows.rows if isinstance(rows, Page) else ():
        assert_readable(row)
        assert row.task_id
    resets(answer, NOW)


def test_whatever_upstream_answers_is_a_value(soak: bool) -> None:
    def check(one: tuple[int, list[tuple[str, str]], bytes, bool, str]) -> None:
        status, named, body, truncated, kind = one
        told(Answer(status, tuple(named), body, truncated, Timing()), kind)

    hunt(upstream, check, examples=(LONG if soak else SHORT)["bodies"])


@st.composite
def streams(draw: Any) -> list[bytes]:
    """An answer of a subscriber on the wire, in pieces: nearly HTTP, or not at all."""
    named = draw(headers) + draw(st.lists(st.tuples(words, words), max_size=2))
    status = draw(st.one_of(st.sampled_from(["200 OK", "500 no", "100 go on", "101 other"]), words))
    body = draw(st.one_of(st.binary(max_size=50), st.just(f"{SIGNING} {HEADER} {TOKEN}".encode())))
    framing = draw(
        st.sampled_from([f"content-length: {len(body)}", "transfer-encoding: chunked", "content-length: -1", ""])
    )
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named), framing, "", ""]
    text = "\r\n".join(lines).encode("utf-8", "surrogatepass") + body
    if draw(st.booleans()):
        text = draw(spoilt(text))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def received(stream: list[bytes]) -> Answer | None:
    """What the transport's parser makes of it."""
    parser = AnswerParser(Limits(header_bytes=8_192, body_bytes=64))
    parser.begin("POST")
    try:
        for piece in stream:
            if parser.complete or parser.cut:
                break
            parser.feed(piece)
    except Malformed as objection:
        assert not parser.answered
        assert_silent(str(objection), where="an objection")
        return None
    if not parser.answered:
        return None
    if not parser.complete:
        parser.end()
    return parser.answer(Timing())


def test_whatever_a_subscriber_answers_is_remembered_without_a_secret(soak: bool) -> None:
    delivery = Delivery("evt_1", "a", "index.task.ready", "t1", 1, 0, 1, "schedule", "token", b"{}")
    decision = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=1)

    def check(stream: list[bytes]) -> None:
        answer = received(stream)
        if answer is None:
            return
        assert len(answer.body) <= 64
        wait = parse_retry_after(answer.header("retry-after"), now=NOW)
        head, excerpt = answer_head(answer.headers, CONFIDANT), CONFIDANT.head_of(answer.body, 1_024)
        outcome = Outcome(status_code=answer.status, retry_after_seconds=wait, excerpt=excerpt, answer=head)
        record = attempt_record(delivery, outcome, decision, at=NOW_MS)
        assert record.isascii()
        assert_silent(record, where="an attempt")

    hunt(streams(), check, examples=(LONG if soak else SHORT)["heads"])
