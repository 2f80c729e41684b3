"""Secrets at rest: what is sealed opens again with any of the keys, for whom it was sealed, and for nobody else."""

import json
import re
import sys
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import NAME
from bridge.definition import HEADER_VALUE, endpoint
from bridge.deployment import with_extra
from bridge.errors import SettingsError
from bridge.guard import Policy
from bridge.model import Endpoint
from bridge.sealing import PREFIX, SEALED, CannotOpen, Keyring, Kind, is_sealed, keys_in
from bridge.settings import load_settings
from bridge.signature import generate_secret

OLD, NEW, OTHER = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(3))
SECRET, EARLIER = (generate_secret(bytes([number]) * 32) for number in (1, 2))
URL = "https://example.com/hook"
names = st.from_regex(NAME, fullmatch=True)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["secret", "header"])
texts = st.from_regex(re.compile(HEADER_VALUE, re.ASCII), fullmatch=True)


def a_definition(**more: Any) -> dict[str, Any]:
    previous = [{"secret": EARLIER, "until": 4_000_000_000}]
    return {"url": URL, "secret": SECRET, "previous_secrets": previous, "headers": {"x-a": "Bearer b"}, **more}


def judged(definition: dict[str, Any], name: str = "a") -> Endpoint:
    return endpoint(name, json.dumps(definition), Policy(), has_default_secret=True)


@given(names, kinds, texts)
def test_what_was_sealed_opens_again(name: str, kind: Kind, text: str) -> None:
    """With any of the keys; what is sealed has its form, says nothing, and is not sealed twice."""
    sealed = Keyring([OLD]).seal(name, kind, text)
    assert is_sealed(sealed)
    assert re.fullmatch(SEALED, sealed)
    assert Keyring([OLD]).seal(name, kind, sealed) == sealed
    assert Keyring([NEW, OLD]).open(name, kind, sealed) == text
    again = Keyring([NEW, OLD]).seal(name, kind, sealed)
    assert again != sealed
    assert Keyring([NEW]).open(name, kind, again) == text


@given(st.text() | st.just(PREFIX) | st.text().map(lambda text: PREFIX + text))
def test_what_has_not_the_form_of_a_sealed_text_passes_through(text: str) -> None:
    """And without a key nothing is sealed at all."""
    assert Keyring([NEW]).open("a", "secret", text) == text
    assert Keyring().seal("a", "secret", text) == text


@given(names, names, kinds, kinds)
def test_a_token_opens_only_where_it_was_sealed(name: str, other: str, kind: Kind, other_kind: Kind) -> None:
    """Copied to another endpoint, or out of a signing secret into a header, it is of no use to who copied it."""
    sealed = Keyring([NEW]).seal(name, kind, SECRET)
    if (name, kind) == (other, other_kind):
        assert Keyring([NEW]).open(other, other_kind, sealed) == SECRET
        return
    with pytest.raises(CannotOpen) as caught:
        Keyring([NEW]).open(other, other_kind, sealed)
    assert SECRET not in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize("keys", [[], [OTHER]], ids=["without a key", "another key"])
def test_what_no_key_opens_stays_and_is_our_fault(keys: list[str]) -> None:
    """Sealing leaves it alone; to open it is a SettingsError that says what to do."""
    sealed = Keyring([NEW]).seal("a", "secret", SECRET)
    assert Keyring(keys).seal("a", "secret", sealed) == sealed
    with pytest.raises(SettingsError) as caught:
        Keyring(keys).endpoint(Endpoint("a", URL, secrets=(sealed,)))
    assert "BRIDGE_SECRETS_KEY" in caught.value.fix
    broken = sealed[:-10] + ("A" * 8) + sealed[-2:]
    with pytest.raises(CannotOpen):
        Keyring([NEW]).open("a", "secret", broken)


def test_a_definition_is_sealed_where_it_is_secret_and_nowhere_else() -> None:
    """Secret, earlier secrets, header values; all else is as it was, and opened it is what it was."""
    ring, clear = Keyring([NEW]), a_definition(**{"x-mine": [1, {"a": None}]})
    sealed = ring.sealed("a", clear)
    assert sealed | {one: clear[one] for one in ("secret", "previous_secrets", "headers")} == clear
    hidden = [sealed["secret"], sealed["previous_secrets"][0]["secret"], sealed["headers"]["x-a"]]
    assert all(map(is_sealed, hidden))
    assert ring.opened("a", sealed) == clear
    assert ring.endpoint(judged(sealed)) == judged(clear)
    assert ring.sealed_text("a", json.dumps(sealed)) == json.dumps(sealed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["secret", "previous_secrets", "headers", "url", "x"])


@given(JSON | st.dictionaries(FIELDS, JSON))
def test_whatever_a_client_wrote_comes_back(written: Any) -> None:
    """Nonsense in the place of a secret is left to the contract; what was sealed of it opens to the same."""
    ring = Keyring([NEW])
    try:
        sealed = ring.sealed_text("a", json.dumps(written))
    except ValueError:
        return  # a lone surrogate
    assert json.loads(ring.opened_text("a", sealed)) == written


@pytest.mark.parametrize("form", ["standard", "twelvelabs"])
def test_the_contract_takes_what_is_sealed(form: str) -> None:
    """Its form is all that is judged; also of ten of the longest header values, which make it longer than else."""
    headers = {f"x-{number}": "~" * 1_024 for number in range(10)}
    clear = a_definition(format=form, headers=headers, previous_secrets=[])
    made = judged(Keyring([NEW]).sealed("a", clear))
    assert all(map(is_sealed, [*made.secrets, *made.headers.values()]))
    assert SECRET not in repr(made)


@pytest.mark.parametrize("between", [",", "\n", " , \n"])
def test_keys_are_separated_by_commas_or_lines(between: str) -> None:
    """And the newest is the first."""
    assert keys_in(f"{NEW}{between}{OLD}\n") == [NEW, OLD]
    settings = load_settings(secrets_key=f"{NEW}{between}{OLD}")
    assert settings.secret_values() == (NEW, OLD)


@pytest.mark.parametrize("bad", ["x", NEW[:-1], NEW + "=", f"{NEW},secret", ",", "é" * 44])
def test_what_is_no_key_is_refused_and_not_repeated(bad: str) -> None:
    """By the settings, before anything starts."""
    with pytest.raises(SettingsError, match="BRIDGE_SECRETS_KEY") as caught:
        load_settings(secrets_key=bad)
    assert NEW[:-1] not in str(caught.value)


def test_without_the_package_the_settings_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that could seal nothing is an error before anything starts, and no key needs no package."""
    monkeypatch.setattr("bridge.settings_types.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=re.escape(with_extra("crypto"))):
        load_settings(secrets_key=NEW)
    assert load_settings().secrets_key is None


def test_without_the_package_what_is_sealed_is_still_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that needs no key, and so lacks the extra, says the same as any other without one."""
    sealed = Keyring([NEW]).sealed("a", a_definition())
    for module in ("cryptography", "cryptography.fernet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CannotOpen, match="BRIDGE_SECRETS_KEY is not set"):
        Keyring().endpoint(judged(sealed))
