"""The events that tell of endpoints: their bytes, their identity, and whom they concern."""

import json
from typing import Any

import pytest
from factories import an_endpoint
from jsonschema import Draft202012Validator

from bridge.event_schemas import endpoint_event_schema
from bridge.events import event_of, is_lasting
from bridge.filters import hears
from bridge.hints import event_hints
from bridge.model import Notice, NoticeKind

SCHEMA = Draft202012Validator(endpoint_event_schema())


def a_notice(kind: NoticeKind = NoticeKind.FAILING, **fields: Any) -> Notice:
    """Endpoint `a` has failed for a day of its two."""
    defaults: dict[str, Any] = {
        "endpoint": "a",
        "at": 1_793_613_880_118,
        "revision": 7,
        "failures": 41,
        "failing_since": 1_793_527_480_118,
        "window_ms": 172_800_000,
        "status_code": 503,
    }
    return Notice(kind, **{**defaults, **fields})


DISABLED = [a_notice(NoticeKind.DISABLED, reason=reason) for reason in ("failing", "gone", "blocked")]


def test_the_body_is_this_to_the_byte() -> None:
    """In the shape of every body: type, timestamp, data."""
    assert event_of(a_notice(percent=50), "https://example.com/hook?…").body == (
        b'{"type":"bridge.endpoint.failing","timestamp":"2026-11-02T10:04:40.118Z","data":{"endpoint":"a",'
        b'"url":"https://example.com/hook?\\u2026","reason":"failing","failures":41,'
        b'"failing_since":"2026-11-01T10:04:40.118Z","share":0.5,"percent":50,"status_code":503,"fault":null,'
        b'"disabled_at":"2026-11-03T10:04:40.118Z"}}'
    )


@pytest.mark.parametrize(
    "notice", [*DISABLED, a_notice(percent=90), a_notice(NoticeKind.DISABLED, reason="gone", window_ms=0)]
)
@pytest.mark.parametrize("url", ["https://example.com/", None])
def test_a_body_is_as_its_schema_says(notice: Notice, url: str | None) -> None:
    """Every kind; and no field is there that the schema does not name."""
    body = json.loads(event_of(notice, url).body)
    assert not [error.message for error in SCHEMA.iter_errors(body)]
    assert body["data"].keys() == endpoint_event_schema()["properties"]["data"]["properties"].keys()


def test_a_disabled_endpoint_says_since_when() -> None:
    """Not when it would have been."""
    body = json.loads(event_of(a_notice(NoticeKind.DISABLED, reason="gone"), None).body)
    assert body["data"]["disabled_at"] == body["timestamp"]


def test_the_same_notice_is_the_same_event() -> None:
    """Also where its URL was changed meanwhile; another notice is another event."""
    assert event_of(a_notice(), "https://a.example/").id == event_of(a_notice(), None).id
    others = [a_notice(), a_notice(revision=8), a_notice(endpoint="b"), a_notice(NoticeKind.DISABLED)]
    assert len({event_of(one, None).id for one in others}) == 4


@pytest.mark.parametrize(
    ("patterns", "heard"),
    [
        (("bridge.endpoint.*",), True),
        (("bridge.*",), True),
        (("bridge.endpoint.failing",), True),
        (("index.task.*", "bridge.endpoint.*"), True),
        (("bridge.endpoint.disabled",), False),
        (("index.task.*",), False),
        (("*",), False),
        (("bridge",), False),
    ],
)
def test_who_asks_for_it_by_name_hears_it(patterns: tuple[str, ...], heard: bool) -> None:
    """`*` was written by who wants to hear of every task; the endpoint itself never hears."""
    assert hears(an_endpoint(name="ops", events=patterns, tasks=("nothing",)), a_notice()) is heard
    assert not hears(an_endpoint(name="a", events=patterns), a_notice())


def test_it_does_not_expire() -> None:
    """As a task's end: no later event makes up for it."""
    assert is_lasting("bridge.endpoint.failing", b"{}")
    assert is_lasting("bridge.endpoint.disabled", b"{}")


def test_a_filter_for_it_is_no_mistake() -> None:
    """And one that looks like it is told."""
    known = ["bridge.endpoint.failing", "bridge.endpoint.disabled", "bridge.endpoint.*", "bridge.*"]
    assert event_hints(known) == []
    (hint,) = event_hints(["bridge.endpoint.failed"])
    assert "did you mean “bridge.endpoint.failing”" in hint
