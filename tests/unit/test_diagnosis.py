"""Why a request is not believed: each thing that befalls requests is told as what it is."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.diagnosis import diagnose
from bridge.signature import Mismatch, generate_secret
from bridge.tl_signature import signer_for

SECRET, OTHER = (generate_secret(bytes([number]) * 32) for number in (1, 2))
BODY = b'{"type":"index.task.ready","timestamp":"2026-11-29T10:00:00.000Z","data":{"task_id":"Zo\\u00eb","n":[1,2.5]}}'
NOW = 1_795_953_515
Headers = list[tuple[str, str]]


def signed(body: bytes = BODY, form: str = "standard", at: int = NOW, secret: str = SECRET) -> Headers:
    """The headers of a request, as a receiver gets them."""
    return [("Content-Length", str(len(body))), *signer_for(form, [secret]).headers("evt_1", at, body)]


@pytest.mark.parametrize("form", ["standard", "twelvelabs"])
@given(body=st.binary(max_size=200), late=st.integers(-300, 300))
def test_what_is_ours_is_believed(form: str, body: bytes, late: int) -> None:
    """Of each format, with the right one among several secrets, in time."""
    found = diagnose([OTHER, SECRET], signed(body, form), body, NOW + late, 300)
    assert (found.mismatch, found.scheme, found.signed_at, found.fix) == (None, form, NOW, "")


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "a line end": (lambda body: body + b"\n", "white space", "save it without"),
    "another line end": (lambda body: body + b"\r\n", "white space", "save it without"),
    "a mark": (lambda body: b"\xef\xbb\xbf" + body + b"\n", "byte order mark", "save it without"),
    "spaces": (lambda body: json.dumps(json.loads(body)).encode(), "written again", "raw bytes"),
    "lines": (lambda body: json.dumps(json.loads(body), indent=2).encode(), "written again", "raw bytes"),
    "no escapes": (
        lambda body: json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode(),
        "written again",
        "raw bytes",
    ),
    "quotes": (lambda body: json.dumps(body.decode()).encode(), "JSON string", "take the text out"),
    "base64": (base64.b64encode, "base64", "decode it"),
    "another order": (
        lambda body: json.dumps(json.loads(body), sort_keys=True).encode(),
        "content-length",
        "raw bytes",
    ),
    "the end": (lambda body: body[:-9], "content-length", "raw bytes"),
    "everything": (lambda _: b"", "empty", "raw bytes"),
}


@pytest.mark.parametrize("form", ["standard", "twelvelabs"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_to_a_body_is_said(change: str, form: str) -> None:
    """Not that something is wrong with the signature, but what to put right, also in an old capture."""
    change_it, reason, fix = CHANGES[change]
    for at in (NOW, NOW + 10**7):
        found = diagnose([SECRET], signed(form=form), change_it(BODY), at, 300)
        assert found.mismatch == Mismatch.NO_MATCHING_SIGNATURE
        assert (reason in found.reason, fix in found.fix) == (True, True), found


def test_what_lost_its_length_too_is_told_by_its_form() -> None:
    """Of a body whose order was changed no more can be known than that the bridge does not write so."""
    headers = [pair for pair in signed() if pair[0] != "Content-Length"]
    spaced = json.dumps(json.loads(BODY), sort_keys=True).encode()
    for body, reason in ((spaced, "parsed"), (b"no json", "no JSON"), (b"\x1f\x8b\x08", "compressed")):
        assert reason in diagnose([SECRET], headers, body, NOW, 300).reason


@pytest.mark.parametrize("form", ["standard", "twelvelabs"])
def test_another_secret_is_told_from_a_changed_body(form: str) -> None:
    """With the way to the right one; none that could have signed is yet another thing."""
    found = diagnose([OTHER], signed(form=form), BODY, NOW, 300)
    assert (found.mismatch, "another secret" in found.reason) == (Mismatch.NO_MATCHING_SIGNATURE, True)
    assert "endpoint add" in found.fix
    unfit = "what TwelveLabs reveals" if form == "twelvelabs" else "what-TwelveLabs-reveals"
    found = diagnose([unfit], signed(form=form), BODY, NOW, 300)
    assert (found.mismatch, "endpoint show" in found.fix) == (Mismatch.BAD_SECRET, True)


@pytest.mark.parametrize("form", ["standard", "twelvelabs"])
@pytest.mark.parametrize(("late", "word"), [(301, "before"), (10**8, "before"), (-301, "after")])
def test_a_clock_is_told_with_the_moment_that_would_do(form: str, late: int, word: str) -> None:
    """And at that moment it is ours; so it is with a tolerance that reaches so far."""
    found = diagnose([SECRET], signed(form=form), BODY, NOW + late, 300)
    assert (word in found.reason, f"--at {NOW}" in found.fix) == (True, True)
    assert diagnose([SECRET], signed(form=form), BODY, NOW, 300).mismatch is None
    assert diagnose([SECRET], signed(form=form), BODY, NOW + late, abs(late)).mismatch is None


def test_what_is_missing_is_named() -> None:
    """One header, all of them, or their names in the spelling of a gateway; and who else signs."""
    rest = [pair for pair in signed() if pair[0] != "webhook-timestamp"]
    found = diagnose([SECRET], rest, BODY, NOW, 300)
    assert (found.mismatch, found.reason) == (Mismatch.MISSING_HEADER, "it has no webhook-timestamp")
    assert "TL-Signature" in diagnose([SECRET], [("host", "x")], BODY, NOW, 300).reason
    for renamed in ([(name.replace("-", "_"), value) for name, value in signed()], [("HTTP_TL_SIGNATURE", "x")]):
        assert "hyphens" in diagnose([SECRET], renamed, BODY, NOW, 300).fix
    assert "Svix" in diagnose([SECRET], [("svix-id", "1"), ("svix-signature", "v1,x")], BODY, NOW, 300).reason


@pytest.mark.parametrize(
    ("more", "mismatch"),
    [
        ([("webhook-id", "evt_2")], Mismatch.DUPLICATE_HEADER), ([("TL-Signature", "v1=x")], Mismatch.BAD_TIMESTAMP),
        ([("TL-Signature", f"t={NOW}")], Mismatch.NO_V1_SIGNATURE),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_header_is_told(more: Headers, mismatch: Mismatch) -> None:
    """Each with something to do."""
    found = diagnose([SECRET], [*signed(), *more], BODY, NOW, 300)
    assert (found.mismatch, bool(found.reason and found.fix)) == (mismatch, True)


@given(
    st.lists(st.tuples(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "TL-Signature",
                                        "content-length", "x"]), st.text(max_size=20)), max_size=8),
    st.binary(max_size=60) | st.recursive(st.none(), st.lists, max_leaves=3).map(lambda one: json.dumps(one).encode()),
)  # fmt: skip
def test_nothing_that_a_stranger_sends_is_believed_or_unexplained(headers: Headers, body: bytes) -> None:
    """Whatever it is: a reason, something to do, and no value of a header in either."""
    found = diagnose([SECRET], headers, body, NOW, 300)
    assert found.mismatch is not None
    assert found.reason
    assert found.fix
