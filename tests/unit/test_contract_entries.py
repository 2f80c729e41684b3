"""What clients may write: judged once, refused with a reason and a fix, whatever it is."""

import json
from base64 import b64encode
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import Rejection, check_member, endpoint, redacted, task_options
from bridge.guard import Policy

POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
STRICT = Policy()
SECRET = "whsec_" + b64encode(bytes(range(24))).decode()


def judge(definition: Any, *, name: str = "a", has_default_secret: bool = False) -> Any:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    return endpoint(name, text, STRICT, has_default_secret=has_default_secret)


@pytest.mark.parametrize("member", ["t1", "6a0b1c2d3e4f5a6b7c8d9e01", "A_b-c", "x" * 200])
def test_an_id_is_a_member(member: str) -> None:
    """As TwelveLabs writes them, and a little more."""
    check_member(member)


@pytest.mark.parametrize(
    "member",
    ["", " ", "a b", "a\n", "a\x00", "é", "..", "../x", "a/b", "a//b", "/a", "a/", ":", ":a", "task:", "video:1",
     "x" * 201, "a%2e", "a?b", "а"],
)  # fmt: skip
def test_what_cannot_be_an_id_is_refused(member: str) -> None:
    """No path tricks, no look-alikes, no line ends, no unknown kinds."""
    with pytest.raises(Rejection) as refused:
        check_member(member)
    assert refused.value.field == "member"
    assert refused.value.fix


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": None}, "url"),
        ({"events": []}, "events"),
        ({"events": ["index.task.*\n"]}, "events.0"),
        ({"events": ["a..b"]}, "events.0"),
        ({"events": "index.task.*"}, "events"),
        ({"tasks": ["a b"]}, "tasks.0"),
        ({"tasks": ["*a"]}, "tasks.0"),
        ({"tasks": ["t1\n"]}, "tasks.0"),
        ({"secret": "hunter2"}, "secret"),
        ({"secret": "whsec_" + b64encode(bytes(23)).decode()}, "secret"),
        ({"secret": "whsec_" + b64encode(bytes(65)).decode()}, "secret"),
        ({"secret": None}, "secret"),
        ({"format": "xml"}, "format"),
        ({"ordering": "random"}, "ordering"),
        ({"headers": {"webhook-id": "x"}}, "headers"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"x-a": "b\r\nc: d"}}, "headers"),
        ({"headers": {"x a": "b"}}, "headers"),
        ({"headers": {f"x-{n}": "b" for n in range(11)}}, "headers"),
    ],
)
def test_a_definition_is_refused_at_its_field(change: dict[str, Any], field: str) -> None:
    """Each fault is named where it stands."""
    definition = {"url": "https://example.com/hook", "secret": SECRET, **change}
    with pytest.raises(Rejection) as refused:
        judge(definition)
    assert refused.value.field == field
    assert refused.value.reason
    assert refused.value.fix


def test_a_good_definition_is_read() -> None:
    """Defaults filled in, unknown fields ignored."""
    read = judge(
        {"url": "https://example.com/hook", "secret": SECRET, "x-team": 1, "later": {}, "headers": {"x-a": "b"}}
    )
    assert (read.events, read.tasks, read.secrets) == (("index.task.*",), ("*",), (SECRET,))
    assert read.headers == {"x-a": "b"}
    assert judge({"url": "https://example.com/"}, has_default_secret=True).secrets == ()


@pytest.mark.parametrize("name", ["", "url", "a b", "a:b", "-a", "a\n", "x" * 65, "é"])
def test_a_name_is_a_name(name: str) -> None:
    """It becomes part of a key and a label."""
    with pytest.raises(Rejection) as refused:
        judge({"url": "https://example.com/", "secret": SECRET}, name=name)
    assert refused.value.field == "name"


PLANTED = "c2VjcmV0LXBsYW50ZWQtaGVyZS0xMjM0"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"secret": f"whsec_{PLANTED}", "url": 5}),
        json.dumps({"secret": PLANTED + "!", "url": "https://example.com/"}),
        json.dumps({"headers": {"authorization": PLANTED, "host": "x"}, "url": "https://example.com/"}),
        json.dumps({"url": f"http://u:{PLANTED}@10.0.0.1/?token={PLANTED}"}),
        '{"secret": "' + PLANTED,
    ],
)
def test_a_refusal_repeats_no_secret(text: str) -> None:
    """P8: neither the signing secret, nor an authorization header, nor what a URL hides."""
    with pytest.raises(Rejection) as refused:
        judge(text)
    assert PLANTED not in refused.value.as_json(0) + str(refused.value)


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_nothing_written_as_an_endpoint_raises_anything_else(text: str) -> None:
    """P10: a Rejection or an endpoint, for any text."""
    try:
        judge(text, name=text[:10], has_default_secret=True)
    except Rejection as rejection:
        json.loads(rejection.as_json(1))


OPTIONS = st.dictionaries(
    st.sampled_from(["metadata", "endpoints", "callback_url", "expires_at", "account", "x-mine"]), st.text(), max_size=6
)


@given(OPTIONS)
def test_nothing_written_as_an_option_raises_anything_else(raw: dict[str, str]) -> None:
    """P10, for a task's hash."""
    try:
        task_options(raw, POLICY, has_default_secret=True)
    except Rejection as rejection:
        json.loads(rejection.as_json(1))


def test_options_are_read() -> None:
    """Metadata, endpoints, callback and expiry."""
    raw = {
        "metadata": '{"a":[1]}',
        "endpoints": "a, b",
        "callback_url": "http://127.0.0.1:9/x",
        "expires_at": "1800000000.5",
    }
    options, callback = task_options(raw, POLICY, has_default_secret=True)
    assert (options.metadata, options.endpoints, options.expires_at) == ({"a": [1]}, ("a", "b"), 1_800_000_000_500)
    assert callback is not None
    assert options.callback == callback.name
    assert callback.name.startswith("url:")


@pytest.mark.parametrize("deep", ["[" * 100_000 + "]" * 100_000, '{"url":' * 3_000])
def test_depth_is_no_way_in(deep: str) -> None:
    """Absurd nesting is refused like any other nonsense."""
    with pytest.raises(Rejection):
        judge(deep)
    with pytest.raises(Rejection):
        task_options({"metadata": deep}, POLICY, has_default_secret=True)


def test_what_is_shown_is_short_and_printable() -> None:
    """A rejected value is kept by its head, lone surrogates spelt out."""
    assert len(redacted("x" * 1_000)) == 120
    assert "\ud800" not in redacted("\ud800")
