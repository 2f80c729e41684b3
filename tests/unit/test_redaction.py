"""Secrets struck out by value and by shape: what subscribers repeat, and what people type into the wrong place."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.exchange import Origin, Request
from bridge.guard import Policy
from bridge.logs import Redactor
from bridge.model import Endpoint
from bridge.redaction import Confidant, narrated, pattern_of, spellings
from bridge.rejection import Rejection, rejected_field

SECRET = "whsec_" + base64.b64encode(bytes(range(200, 232))).decode()
URL = "https://example.com/hooks/T0AbCdEfGhIjKlMnOp/in?key=C4N4RY%2FQUERY&mode=json"
HEADERS = {"Authorization": 'Bearer C4N4RY"HEADER', "x-key": "C4N4RY\\KEY", "accept": "json"}
CONFIDANT = Confidant(URL, HEADERS, [SECRET])


@pytest.mark.parametrize(
    "escape",
    [
        str, json.dumps, repr, html.escape, quote, lambda text: quote(text).replace("%2F", "%2f"),
        lambda text: json.dumps(json.dumps(text)), lambda text: json.dumps(text).replace("/", "\\/"),
        lambda text: html.escape(repr(text)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "secret", [SECRET, "C4N4RY/QUERY", 'Bearer C4N4RY"HEADER', "C4N4RY\\KEY", "T0AbCdEfGhIjKlMnOp"]
)
def test_an_answer_is_kept_without_what_it_repeats(secret: str, escape: object) -> None:
    """In whatever spelling, and what is around it stays."""
    spelt = escape(secret)  # type: ignore[operator]
    shown = CONFIDANT.head_of(f"before {spelt} after".encode(), 1_024)
    assert not any(mark in shown for mark in ("C4N4RY", "HEADER", "KEY", "QUERY", "T0Ab", "yMnKy8")), shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_an_answer_keeps_its_innocent_words() -> None:
    """Short words of a header or a query are no secrets, nor are those of the path."""
    text = '{"accept": "json", "error": "cannot POST /hooks/in", "Bearer": true, "é": "€"}'
    assert CONFIDANT.head_of(text.encode(), 1_024) == text


@pytest.mark.parametrize("given", ["me:C4N4RY-w\u00f6\u00df", "C4N4RY-word", 'me:"C4N4RY-w\u00f6rd"'])
def test_what_basic_credentials_stand_for_is_a_secret_too(given: str) -> None:
    """A receiver that takes them apart may answer with the password in plain."""
    pair = given if ":" in given else f"me:{given}"
    digits = base64.b64encode(pair.encode()).decode()
    for header in (f"Basic {digits}", f"basic  {digits.rstrip('=')}"):
        confidant = Confidant(URL, {"authorization": header}, [SECRET])
        for told in (given, json.dumps(given), json.dumps(given, ensure_ascii=False), repr(given), header):
            shown = confidant.head_of(f"no such user: {told}".encode(), 1_024)
            assert "C4N4RY" not in shown, shown
            assert digits[:8] not in shown, shown
    assert Confidant(URL, {"authorization": "Basic \xe4=="}, []).head_of(b"unharmed", 80) == "unharmed"


@given(st.integers(0, 80), st.sampled_from([SECRET, "C4N4RY/QUERY", "T0AbCdEfGhIjKlMnOp"]))
def test_a_secret_that_the_limit_cuts_through_goes_whole(before: int, secret: str) -> None:
    """At each place of the cut."""
    shown = CONFIDANT.head_of(b"x" * before + secret.encode() + b"." * 200, 80)
    inside = before < 80
    assert shown == "x" * before + "***" + "." * max(0, 80 - before - len(secret)) if inside else shown == "x" * 80


def test_a_secret_of_somebody_else_is_known_by_its_shape() -> None:
    """Of another endpoint, say, which the same subscriber runs."""
    other = "whsec_" + "A/b+" * 8
    for spelt in (other, other.replace("/", "\\/")):
        assert CONFIDANT.head_of(f'"{spelt}"'.encode(), 1_024) == '"***"'


def test_a_value_is_found_longest_first() -> None:
    """A secret that begins with another one goes whole; a signing secret also without its prefix."""
    pattern = pattern_of(["abcd", "abcdefgh", SECRET])
    assert pattern is not None
    assert pattern.sub("***", f"abcdefgh {SECRET} {SECRET[6:]}") == "*** *** ***"
    assert pattern_of(["", "abc"]) is None
    assert "a%2fb" in spellings("a/b")


@pytest.mark.parametrize(
    "text",
    [
        "whsec_C4N4RY.more*C4N4RY", "WHSEC_C4N4RY", "  whsk_C4N4RY", "whsec_ C4N4RY C4N4RY", "secret=C4N4RY",
        '{"token": "C4N4RY \\" C4N4RY", ', "{'api_key': 'C4N4RY C4N4RY", '"passwords": ["C4N4RY", "C4N4RY"]',
        "X-Session: C4N4RY", "Bearer C4N4RY", "basic  C4N4RY=", "tlk_C4N4RY", "C4N4RYabcdefghijklmno/=",
        '{"a": "tlk_C4N4RY"}',
    ],
)  # fmt: skip
def test_a_secret_in_a_wrong_field_is_not_shown(text: str) -> None:
    """Nor what stands under a name that says what it is; `Rejection` shows a value, a reason and a fix."""
    rejection = Rejection("format", f"no such {text.strip()}" if "whs" in text and " C" not in text else "", "", text)
    assert "C4N4RY" not in rejection.as_json(0)


@pytest.mark.parametrize("prefix", ["whsec_", "whsk_"])
def test_a_secret_that_signs_is_found_without_its_prefix(prefix: str) -> None:
    """Whoever takes it apart, as verifying does, may tell the rest alone."""
    rest = SECRET.removeprefix("whsec_")
    found = pattern_of([prefix + rest])
    assert found
    assert found.sub("***", f"no padding in {rest}!") == "no padding in ***!"


@pytest.mark.parametrize(
    "text", ["cloudevent", "index.task.redi", '{"order": 42,', "6a0b1c2d3e4f5a6b7c8d9e01", "whsec_…", "keynote"]
)
def test_an_innocent_value_is_shown_as_it_is(text: str) -> None:
    """What was written is half of what helps to mend it."""
    assert json.loads(Rejection("format", text, text, text).as_json(0)) == {
        "reason": text, "field": "format", "value": text, "at": 0, "fix": text
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"No such command '{SECRET}'.", "No such command 'whsec_…'."),
        ("task https://u:p/w@h/x?t=1 is not known", "task https://…@h/x?… is not known"),
        ("redis://:a/b@h:1/0", "redis://…@h:1/0"),
        ("https://h/T0AbCdEfGhIjKlMnOp/x", "https://h/…/x"),
        ("remove the @; it is before /a?b, why?", "remove the @; it is before /a?b, why?"),
        ('echo "whsec_$(openssl rand -base64 32)"', 'echo "whsec_$(openssl rand -base64 32)"'),
        ("→ bridge endpoint add NAME URL", "→ bridge endpoint add NAME URL"),
    ],
)
def test_a_sentence_is_told_without_secrets(text: str, shown: str) -> None:
    """Only words with :// are taken for URLs."""
    assert narrated(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to https://u:p/w@h/x", "to https://***@h/x"),
        ("to https://u:p?w@h/x", "to https://***"),
        ("to https://u:p@h/x?a=b@c", "to https://***"),
        ("to https://h/x?a=b@c", "to https://h/x?***"),
        ("to https://h:1/@me", "to https://h:1/@me"),
        ("to https://[::1]:1/@me", "to https://[::1]:1/@me"),
        ("to https://h/T0AbCdEfGhIjKlMnOp/x", "to https://h/***/x"),
        ("to unix:///run/a-long-name-of-a-place/s", "to unix:///run/a-long-name-of-a-place/s"),
    ],
)
def test_a_url_is_logged_without_what_it_hides(text: str, shown: str) -> None:
    """Slashes do not end a password, whatever scheme; in doubt, less is left."""
    assert Redactor().text(text) == shown


@pytest.mark.parametrize("name", [URL, f"https://u:C4N4RY/x@example.com/{'T0Ab' * 5}", SECRET])
def test_a_name_that_is_a_secret_is_not_the_name_of_its_rejection(name: str) -> None:
    """Name and value are exchanged now and then."""
    field = rejected_field("endpoint", name.encode())
    assert not any(mark in field for mark in ("C4N4RY", "T0Ab", "yMnKy8"))
    assert field != rejected_field("endpoint", name.encode() + b"x")


def test_nothing_that_is_printed_by_accident_shows_a_secret() -> None:
    """A repr ends up in an exception's message, and that in a log."""
    endpoint = Endpoint(name="a", url=URL, headers=HEADERS, secrets=(SECRET,))
    request = Request("POST", Origin("https", "example.com", 443), "/T0Ab?C4N4RY", tuple(HEADERS.items()), b"C4N4RY")
    for thing in (endpoint, request, Policy().parse(URL), CONFIDANT):
        assert not any(mark in repr(thing) for mark in ("C4N4RY", "T0Ab", "yMnKy8")), thing
