"""TL-Signature: a known vector, TwelveLabs' documented recipe in two readers' hands, and what is not to be believed."""

import hashlib
import hmac
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from bridge.errors import InvalidInput
from bridge.signature import Mismatch, Signer, generate_secret
from bridge.tl_signature import SECRET, TwelveLabsSigner, check_any_secret, check_secret, signer_for, verify_any

# Computed beside the project, by the documented recipe
KEY = "whsec_test"
NOW = 1_793_448_000
BODY = (
    b'{"id":"whe_0000000000000000000000000000000a","created_at":"2026-11-01T12:00:00.123Z","type":"index.task.ready",'
    b'"data":{"id":"6a0b1c2d3e4f5a6b7c8d9e0f","status":"ready"}}'
)
HEX = "009c69ffe9c6f005c419f083c3894ca571da7e5c390c5b93a3d87668237efff5"
HEADER = {"TL-Signature": f"t={NOW},v1={HEX}"}

STANDARD, NEXT = generate_secret(bytes(range(32))), generate_secret(bytes(range(1, 33)))
secrets = st.from_regex(SECRET, fullmatch=True)


def by_name(secret: str, header: str, body: bytes) -> bool:
    """The recipe as most write it: split at commas, each part at its first =, into a mapping."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), f"{parts['t']}.{body.decode()}".encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"])


def by_place(secret: str, header: str, body: bytes) -> bool:
    """The recipe as some write it: the first part is the time, the second the signature."""
    stamp, signature = header.split(",")
    signed = stamp.removeprefix("t=").encode() + b"." + body
    return hmac.digest(secret.encode(), signed, "sha256").hex() == signature.removeprefix("v1=")


def test_a_known_vector() -> None:
    """Header name and value, beside the id and the time that all our requests carry."""
    assert TwelveLabsSigner([KEY]).headers("evt_1", NOW, BODY) == [
        ("webhook-id", "evt_1"), ("webhook-timestamp", str(NOW)), *HEADER.items(),
    ]  # fmt: skip
    assert verify_any([KEY], HEADER, BODY, NOW) is None


@pytest.mark.parametrize("recipe", [by_name, by_place])
@given(secret=secrets, older=secrets, at=st.integers(0, 10**11), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_documented_recipe_accepts_it(
    recipe: Callable[[str, str, bytes], bool], secret: str, older: str, at: int, text: str
) -> None:
    """However a receiver takes the header apart, and while an older secret is still kept: the newest signs, once."""
    body = text.encode()
    for known in ([secret], [secret, older]):
        found = dict(TwelveLabsSigner(known).headers("evt_1", at, body))["TL-Signature"]
        assert recipe(secret, found, body)
        assert not recipe(secret, found, body + b" ")
        assert recipe(older, found, body) is (older == secret)


def test_a_secret_of_standard_webhooks_signs_both_ways() -> None:
    """So that a receiver can change over to that signature first, and to the format later; another secret cannot."""
    headers = signer_for("twelvelabs", [NEXT, KEY, STANDARD]).headers("evt_1", NOW, b"{}")
    assert headers[:-1] == Signer([NEXT, STANDARD]).headers("evt_1", NOW, b"{}")
    assert by_name(NEXT, dict(headers)["TL-Signature"], b"{}")
    assert "webhook-signature" not in dict(signer_for("twelvelabs", [KEY]).headers("evt_1", NOW, b"{}"))


def test_both_signatures_verify_by_the_reference_library() -> None:
    """With the time of now, which that library insists on."""
    headers = dict(TwelveLabsSigner([STANDARD]).headers("evt_1", int(time.time()), b"{}"))
    Webhook(STANDARD).verify(b"{}", headers)


def test_in_the_format_standard_nothing_is_added() -> None:
    """TwelveLabs' header is of that format alone."""
    assert isinstance(signer_for("standard", [STANDARD]), Signer)
    assert "TL-Signature" not in dict(signer_for("standard", [STANDARD]).headers("evt_1", NOW, b""))


@pytest.mark.parametrize(
    ("secret", "why"), [("", "8 to 256"), ("x" * 7, "8 to 256"), ("x" * 257, "8 to 256"), ("a canary", "spaces"),
                        ("canary\n\n", "spaces"), ("schlüssel", "ASCII"), ("x" * 8 + "\n", "spaces")]
)  # fmt: skip
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str, why: str) -> None:
    """With where to find the right one."""
    for refuse in (check_secret, lambda text: TwelveLabsSigner([text])):
        with pytest.raises(InvalidInput, match=why) as raised:
            refuse(secret)
        assert "Reveal Secret" in raised.value.fix
        assert "canary" not in str(raised.value) + raised.value.fix


def test_without_a_secret_nothing_is_signed() -> None:
    """Nor verified."""
    with pytest.raises(InvalidInput):
        TwelveLabsSigner([])
    assert verify_any([], HEADER, BODY, NOW) == Mismatch.BAD_SECRET


def test_a_secret_of_either_format_can_be_kept_to_verify_with() -> None:
    """One of neither cannot."""
    for good in (KEY, STANDARD, STANDARD.removeprefix("whsec_"), "x" * 8):
        check_any_secret(good)
    with pytest.raises(InvalidInput):
        check_any_secret("x" * 7)


# -- what is not believed --


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t=soon,v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t=-1,v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t={NOW},t={NOW},v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t={NOW},v1={HEX}, t={NOW},v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t=١,v1={HEX}", Mismatch.BAD_TIMESTAMP),
        (f"t={NOW - 301},v1={HEX}", Mismatch.TOO_OLD),
        (f"t={NOW + 301},v1={HEX}", Mismatch.TOO_NEW),
        (f"t={NOW}", Mismatch.NO_V1_SIGNATURE),
        (f"t={NOW},v0={HEX}", Mismatch.NO_V1_SIGNATURE),
        (f"t={NOW},v1=", Mismatch.NO_MATCHING_SIGNATURE),
        (f"t={NOW},v1=\udcff", Mismatch.NO_MATCHING_SIGNATURE),
        (f"t={NOW},v1={HEX.upper()}", Mismatch.NO_MATCHING_SIGNATURE),
        (f"t={NOW - 1},v1={HEX}", Mismatch.NO_MATCHING_SIGNATURE),
        (f"t={NOW},v1={HEX[:-1]}", Mismatch.NO_MATCHING_SIGNATURE),
        ("nonsense", Mismatch.BAD_TIMESTAMP),
    ],
)
def test_a_header_is_judged(header: str, reason: str) -> None:
    """Each fault by its name."""
    assert verify_any([KEY], {"tl-signature": header}, BODY, NOW) == reason


def test_a_change_and_another_secret_are_noticed() -> None:
    """A byte more or less, and a stranger's key; a second, older secret is as good."""
    assert verify_any([KEY], HEADER, BODY + b" ", NOW) == Mismatch.NO_MATCHING_SIGNATURE
    assert verify_any(["stranger"], HEADER, BODY, NOW) == Mismatch.NO_MATCHING_SIGNATURE
    assert verify_any(["stranger", KEY], HEADER, BODY, NOW) is None
    assert verify_any(["short"], HEADER, BODY, NOW) == Mismatch.BAD_SECRET


def test_two_headers_are_one_too_many() -> None:
    """Whoever reads it next might take the other one."""
    assert verify_any([KEY], [*HEADER.items(), *HEADER.items()], BODY, NOW) == Mismatch.DUPLICATE_HEADER


def test_without_the_header_the_standard_signature_counts() -> None:
    """A secret that is only TwelveLabs' is passed over then; if there is no other, nobody can tell."""
    headers = Signer([STANDARD]).headers("evt_1", NOW, b"{}")
    assert verify_any([KEY, STANDARD], headers, b"{}", NOW) is None
    assert verify_any([STANDARD], headers, b"{} ", NOW) == Mismatch.NO_MATCHING_SIGNATURE
    assert verify_any([KEY], headers, b"{}", NOW) == Mismatch.BAD_SECRET
    assert verify_any([KEY, STANDARD], {}, b"{}", NOW) == Mismatch.MISSING_HEADER


@given(st.lists(st.tuples(st.sampled_from(["tl-signature", "TL-Signature", "webhook-id"]), st.text()), max_size=3))
def test_nothing_that_a_request_can_hold_raises(headers: list[tuple[str, str]]) -> None:
    """Whatever it is, it is not ours."""
    assert verify_any([KEY], headers, BODY, NOW)
