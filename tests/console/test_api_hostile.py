"""Bodies and names that mean harm, or are mistakes: refused with a reason and a fix, and nothing is written."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from apiscene import DEFINITION, SECRET, URL
from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.store import Store

JSON = {"content-type": "application/json"}
DEEP = b'{"metadata":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
HOSTILE: list[tuple[bytes, dict[str, str], int]] = [
    (b"", JSON, 400),
    (b"{", JSON, 400),
    (b"null", JSON, 400),
    (b"[]", JSON, 400),
    (b'"x"', JSON, 400),
    (b"\xff\xfe{}", JSON, 400),
    (b"\x00", JSON, 400),
    (b'{"url":NaN}', JSON, 400),
    (b'{"url":1e999}', JSON, 400),
    (b'{"url":' + b"9" * 5_000 + b"}", JSON, 400),
    (DEEP, JSON, 400),
    (b"[" * 60_000, JSON, 400),
    (b"[" * 100_000, JSON, 413),
    (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, JSON, 413),
    (b" " * 70_000, JSON, 413),
    (json.dumps(DEFINITION).encode(), {"content-type": "text/plain"}, 415),
    (b"url=x", {"content-type": "application/x-www-form-urlencoded"}, 415),
    (json.dumps(DEFINITION).encode(), {}, 415),
    (b'{"url":"https://a.example","url":"https://b.example"}', JSON, 422),
    (b'{"url":"http://127.0.0.1:9/x","secret":"whsec_short"}', JSON, 422),
]


@pytest.fixture
async def unchanged(store: Store, api: AsyncClient) -> AsyncIterator[AsyncClient]:
    """The API over a store to which nothing may be written."""
    before = set(await store.client.keys("*"))
    yield api
    assert set(await store.client.keys("*")) - {b"bridge:wake:poll"} == before


PLACED = [
    (path, *one)
    for path in ("/api/endpoints/a", "/api/tasks/t1")
    for one in HOSTILE
    if "endpoints" in path or not (one[0] == b"" or b"whsec_" in one[0])
]
"""A task needs no body, and has no secret."""


@pytest.mark.parametrize(("path", "body", "headers", "status"), PLACED, ids=range(len(PLACED)))
async def test_a_body_that_is_no_object_is_refused(
    unchanged: AsyncClient, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    """By what is wrong with it first."""
    answer = await unchanged.put(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["fix"]


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({}, "url"),
        ({"url": 5}, "url"),
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "http://[::1]/"}, "url"),
        (DEFINITION | {"events": "index.task.*"}, "events"),
        (DEFINITION | {"events": []}, "events"),
        (DEFINITION | {"events": [1]}, "events.0"),
        (DEFINITION | {"tasks": {"a": 1}}, "tasks"),
        (DEFINITION | {"headers": []}, "headers"),
        (DEFINITION | {"headers": {"host": "x"}}, "headers"),
        (DEFINITION | {"headers": {"a": "b\r\nc: d"}}, "headers"),
        (DEFINITION | {"concurrency": "5"}, "concurrency"),
        (DEFINITION | {"concurrency": True}, "concurrency"),
        (DEFINITION | {"rate": 10}, "rate"),
        (DEFINITION | {"schedule": [1e9]}, "schedule.0"),
        (DEFINITION | {"supersede": "yes"}, "supersede"),
        (DEFINITION | {"format": "xml"}, "format"),
        (DEFINITION | {"ordering": 1}, "ordering"),
        (DEFINITION | {"metadata": {"a": {"b": 1}}}, "metadata"),
        (DEFINITION | {"secret": 5}, "secret"),
        ({"url": URL}, "secret"),
        (DEFINITION | {"x-bulk": "x" * 20_000}, ""),
        (DEFINITION | {"x-word": "\ud800"}, ""),
    ],
    ids=str,
)
async def test_a_definition_is_refused_as_the_command_line_refuses_it(
    unchanged: AsyncClient, definition: dict[str, Any], field: str
) -> None:
    """By field, and without the secret, whichever field is wrong."""
    body = json.dumps(definition).encode()
    answer = await unchanged.put("/api/endpoints/a", content=body, headers=JSON)
    assert (answer.status_code, answer.json().get("field", "")) == (422, field), answer.text
    assert "HSET" not in answer.json()["fix"]
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"metadata": "not JSON"}, "metadata"),
        ({"metadata": {"a": "x" * 5_000}}, "metadata"),
        ({"metadata": {"a": "\ud800"}}, ""),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [1]}, "endpoints"),
        ({"endpoints": ["../x"]}, "endpoints"),
        ({"endpoints": {"a": 1}}, "endpoints"),
        ({"callback_url": URL}, "callback_url"),
        ({"callback_url": 5}, "callback_url"),
        ({"expires_at": -1}, "expires_at"),
        ({"expires_at": 1_800_000_000_000}, "expires_at"),
        ({"expires_at": True}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"account": "other"}, "account"),
    ],
    ids=str,
)
async def test_options_are_refused_as_the_command_line_refuses_them(
    unchanged: AsyncClient, options: dict[str, Any], field: str
) -> None:
    """By field."""
    answer = await unchanged.put("/api/tasks/t1", content=json.dumps(options).encode(), headers=JSON)
    assert (answer.status_code, answer.json().get("field", "")) == (422, field), answer.text


NAMES = [
    *("..%2Fx", "%2e%2e%2fx", "a%2F..%2Fb", "%2e%2e", "%00", "a%0d%0ab", "%F0%9F%92%A9", "x" * 300, "", "%20"),
    *("%2F", "a//b", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw%21", "unknown:x"),
]
"""Dots that are not spelt out are the client's to take away; `test_http_api.py` sends them as they are."""


@pytest.mark.parametrize(
    ("what", "name"), [*(("endpoints", name) for name in (*NAMES, "url")), *(("tasks", name) for name in NAMES)]
)
async def test_a_name_that_is_none_reaches_no_key(unchanged: AsyncClient, what: str, name: str) -> None:
    """Neither written nor read nor taken back; above all no key of another name. Said without a secret in its place."""
    path = f"/api/{what}/{name}"
    for method, body in (("PUT", DEFINITION if what == "endpoints" else {}), ("DELETE", None), ("GET", None),
                         ("POST", None)):  # fmt: skip
        answer = await unchanged.request(method, path, json=body)
        wanted = {"PUT": {400, 422, 404, 405}, "GET": {400, 404, 200}}.get(method, {400, 404, 405})
        assert answer.status_code in wanted, (method, answer.status_code, answer.text)
        if answer.status_code == 200:
            assert answer.request.url.path in {"/api/endpoints/", "/api/endpoints", "/api/tasks", "/api/tasks/"}
        assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" not in answer.text


@pytest.mark.parametrize(
    "query", ["state=nonsense", "limit=0", "limit=x", "limit=99999", "limit=²", "after=²", "after=x", "after=%00"]
)
@pytest.mark.parametrize("path", ["/api/tasks", "/api/deliveries"])
async def test_a_query_that_means_nothing_is_refused_with_the_choice(
    unchanged: AsyncClient, path: str, query: str
) -> None:
    """Also a place in a listing that is none."""
    answer = await unchanged.get(f"{path}?{query}")
    assert (answer.status_code, bool(answer.json()["fix"])) == (400, True)


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("/api/tasks?limits=1", "what there is: state, status, after, limit"),
        ("/api/status?limit=1", "leave the query out"),
        ("/api/tasks/t1?name=t2", "leave the query out"),
    ],
)
async def test_a_parameter_that_nobody_looks_at_is_refused(unchanged: AsyncClient, path: str, fix: str) -> None:
    """A misspelt one would be one that was not given."""
    answer = await unchanged.get(path)
    name = path.partition("?")[2].partition("=")[0]
    assert (answer.status_code, answer.json()["reason"]) == (400, f"there is no parameter “{name}” here")
    assert answer.json()["fix"].startswith(fix)


async def test_a_body_that_does_not_end_is_read_no_further(unchanged: AsyncClient) -> None:
    """Without a content length, too."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 16_384
            yield b" " * 16_384

    answer = await unchanged.put("/api/endpoints/a", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert sent < 1_000_000


async def test_a_body_that_does_not_come_is_given_up(unchanged: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then holds no place for ever."""
    monkeypatch.setattr("bridge.console.api.BODY_SECONDS", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await unchanged.put("/api/endpoints/a", content=stalled(), headers=JSON)
    assert (answer.status_code, answer.json()["title"]) == (408, "Request Timeout")


async def test_a_redis_that_does_not_answer_is_told(api: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a problem with the next step; whether it was written is not known, and the same request settles it."""

    async def stalled(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("bridge.console.api.SECONDS", 0.05)
    monkeypatch.setattr("bridge.console.registering.registered", stalled)
    answer = await api.put("/api/tasks/t1")
    assert (answer.status_code, answer.json()["fix"]) == (503, "bridge doctor")
    assert "did not answer within 0.05 s" in answer.json()["reason"]


async def test_a_misspelt_field_is_taken_and_told(api: AsyncClient) -> None:
    """As `bridge contract check` does: unknown fields belong to who wrote them."""
    answer = await api.put("/api/endpoints/a", json=DEFINITION | {"ordring": "strict", "x-mine": 1})
    assert answer.json()["warnings"] == ["the unknown field “ordring” is ignored: did you mean “ordering”?"]
    answer = await api.put("/api/tasks/t1", json={"endpoint": "a"})
    assert "the unknown field “endpoint” is ignored: did you mean “endpoints”?" in answer.json()["warnings"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["url", "events", "tasks", "secret", "headers", "metadata", "endpoints", "callback_url",
                          "expires_at", "account", "schedule", "rate", "previous_secrets", "format"])  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(FIELDS | st.text(max_size=9), ANY, max_size=6),
    what=st.sampled_from(["endpoints/a", "tasks/t1"]),
)
async def test_whatever_json_comes_the_answer_is_one_of_those_described(
    api: AsyncClient, fields: dict[str, Any], what: str
) -> None:
    """Never a fault of ours."""
    answer = await api.put(f"/api/{what}", content=json.dumps(fields).encode(), headers=JSON)
    assert answer.status_code in {200, 201, 422}, (fields, answer.text)
