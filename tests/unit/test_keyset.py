"""The keys of an installation: several, of which some begin later, and what is published of them."""

import json

import pytest
from test_keypair import PRIVATE, PUBLIC

from bridge.errors import InvalidInput
from bridge.keypair import PrivateKey
from bridge.keyset import KEYS, as_line, document, parse_keys, signing, texts_in

NOW = 1_795_953_600
FIRST, SECOND = (PrivateKey(bytes([number]) * 32) for number in (1, 2))


def test_all_keys_sign_and_one_that_begins_later_not_before() -> None:
    """While one takes over from another, either verifies; one that was announced signs at its moment."""
    keys = parse_keys(f"{as_line(SECOND, NOW + 60)}\n{FIRST.text}\n")
    assert [(one.text, until) for now in (NOW, NOW + 59) for found, until in [signing(keys, now)] for one in found] == [
        (FIRST.text, NOW + 60)
    ] * 2
    found, until = signing(keys, NOW + 60)
    assert ([one.text for one in found], until) == ([SECOND.text, FIRST.text], None)


def test_a_key_may_all_be_announced_and_none_sign() -> None:
    """Whoever has to sign then hears of no key, and when there will be one."""
    assert signing(parse_keys(as_line(FIRST, NOW + 1)), NOW) == ((), NOW + 1)


def test_what_is_published_is_a_jwk_set_with_the_keys_of_standard_webhooks() -> None:
    """Each with its id; one that begins at a moment says so; nothing of it is secret."""
    text = f"{PRIVATE}, {as_line(FIRST, NOW)}"
    made = document(parse_keys(text))
    assert [(one["whpk"], one.get("nbf")) for one in made["keys"]] == [(PUBLIC, None), (FIRST.public.text, NOW)]
    for one in made["keys"]:
        assert {name: one[name] for name in ("kty", "crv", "alg", "use")} == {
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
        }  # fmt: skip
        assert len(one["kid"]) == 43
        assert "d" not in one
    shown = json.dumps(made)
    assert "whsk_" not in shown
    assert not any(secret.removeprefix("whsk_")[:40] in shown for secret in texts_in(text))


def test_the_secret_texts_of_a_setting_are_told_without_their_moments() -> None:
    """So that a log strikes them out wherever they turn up."""
    assert texts_in(f"{PRIVATE}, {as_line(FIRST, NOW)}") == [PRIVATE, FIRST.text]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not 1 to"), (" , ", "not 1 to"), ("x", "not whsk_"), (f"{PRIVATE} {PRIVATE}", "there twice"),
        (" ".join(PrivateKey(bytes([number]) * 32).text for number in range(KEYS + 1)), "not 1 to"),
        (f"{PRIVATE}@", "no moment"), (f"{PRIVATE}@soon", "no moment"), (f"{PRIVATE}@2026-11-29T10:00:00", "no moment"),
        (f"{PRIVATE}@{PRIVATE}", "no moment"),
    ],
)  # fmt: skip
def test_a_setting_that_is_none_is_refused_and_not_repeated(text: str, reason: str) -> None:
    """With a fix; a moment without a time zone is none."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse_keys(text)
    assert caught.value.fix
    assert PRIVATE[5:20] not in f"{caught.value} {caught.value.fix}"
