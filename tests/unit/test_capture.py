"""A request as somebody saved it: every usual way to save one is read, and what cannot be is told."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.capture import headers_in, request_in
from bridge.errors import InvalidInput

NAMES = st.text("abcXYZ0189-_", min_size=1, max_size=20).filter(lambda name: not name.startswith("_"))
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
PAIRS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=20)
BODIES = st.binary(max_size=200)


@given(PAIRS, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "> ", "< "]), st.booleans())
def test_lines_are_read(pairs: list[tuple[str, str]], end: str, mark: str, start: bool) -> None:
    """As a proxy logs them, as `curl -v` prints them, below the line that a request begins with."""
    lines = ["POST /hook HTTP/1.1"] * start + [f"{name}: {value}" for name, value in pairs]
    text = end.join(["* Connected: to somewhere", *(f"{mark}{line}" for line in lines), mark.strip(), ""])
    assert headers_in(text.encode()) == pairs


@given(PAIRS)
def test_json_is_read(pairs: list[tuple[str, str]]) -> None:
    """Pairs, lists of values, and the event that a function in a cloud gets."""
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        several.setdefault(name, []).append(value)
    assert headers_in(json.dumps(pairs).encode()) == pairs
    for shape in (several, {"headers": several, "body": "…"}):
        assert sorted(headers_in(json.dumps(shape).encode())) == sorted(pairs)
    assert sorted(headers_in(json.dumps(dict(pairs)).encode())) == sorted(dict(pairs).items())


@given(PAIRS, BODIES, st.sampled_from([b"\n", b"\r\n"]))
def test_a_whole_request_is_taken_apart(pairs: list[tuple[str, str]], body: bytes, end: bytes) -> None:
    """Its body byte for byte, whatever is in it."""
    pairs = [pair for pair in pairs if pair[0].lower() != "transfer-encoding"] or [("a", "b")]
    head = [b"POST /hook?x=1 HTTP/1.1", *(f"{name}: {value}".encode() for name, value in pairs)]
    assert request_in(end.join([*head, b"", b""]) + body) == (pairs, body)


@given(st.binary(max_size=300))
def test_what_is_no_request_is_refused_in_words(raw: bytes) -> None:
    """P10: whatever is in the file, nothing else is raised."""
    for read in (request_in, headers_in):
        with suppress(InvalidInput):
            read(raw)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"type": "x"}', "--headers FILE"), (b"POST / HTTP/1.1\r\na: b\r\n", "as it came"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "body alone"),
    ],
)  # fmt: skip
def test_what_is_no_whole_request_says_what_to_do(raw: bytes, told: str) -> None:
    """And so does a body that a proxy cut into chunks."""
    with pytest.raises(InvalidInput) as caught:
        request_in(raw)
    assert told in caught.value.fix


@pytest.mark.parametrize(
    "raw", [b"", b"do not repeat", b"{", b"[1]", b'{"a": {}}', b"[]", b'[["a", "b", "c"]]', b"x\nb: c"]
)
def test_what_are_no_headers_is_refused_and_not_repeated(raw: bytes) -> None:
    """It may be the file with the secret."""
    with pytest.raises(InvalidInput) as caught:
        headers_in(raw)
    assert "repeat" not in f"{caught.value}{caught.value.fix}"
