"""One secret takes over from another: what is written, what signs when, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.definition import endpoint
from bridge.errors import InvalidInput
from bridge.guard import Policy
from bridge.model import Endpoint
from bridge.rejection import Rejection
from bridge.rotation import PREVIOUS_SECRETS, rotated, signing_secrets, without_expired
from bridge.signature import generate_secret
from bridge.store.records import endpoint_from_json, endpoint_to_json

URL = "https://example.com/hook"
NOW = 1_800_000_000
OLD, NEW, OTHER = (generate_secret(bytes([number]) * 32) for number in (1, 2, 3))
secrets = st.integers(0, 255).map(lambda number: generate_secret(bytes([number]) * 32))
moments = st.integers(NOW - 1_000, NOW + 1_000)
previous = st.lists(st.fixed_dictionaries({"secret": secrets, "until": moments}), max_size=PREVIOUS_SECRETS)


def judged(definition: Any) -> Endpoint:
    """As registration judges it."""
    return endpoint("a", json.dumps(definition), Policy(), has_default_secret=True)


@given(previous, secrets, secrets, st.integers(0, 2_000))
def test_a_rotation_is_refused_or_a_good_definition(
    before: list[dict[str, Any]], old: str, new: str, overlap: int
) -> None:
    """What is written passes the contract; the new one signs first, the old one until its time, what ended no more."""
    definition = {"url": URL, "secret": old, "previous_secrets": before, "x-mine": {"a": 1}}
    full = bool(overlap) and len([one for one in before if one["until"] > NOW]) == PREVIOUS_SECRETS
    if old == new or full:
        with pytest.raises(InvalidInput) as caught:
            rotated(definition, new, now_seconds=NOW, overlap_seconds=overlap)
        assert new not in f"{caught.value} {caught.value.fix}"
        return
    after = rotated(definition, new, now_seconds=NOW, overlap_seconds=overlap)
    assert (after["url"], after["x-mine"], after["secret"]) == (URL, {"a": 1}, new)
    made = judged(after)
    assert all(one.until > NOW for one in made.previous_secrets)
    signing, _ = signing_secrets(made, None, NOW)
    going = [one["secret"] for one in before if one["until"] > NOW]
    assert signing == ((new, old, *going) if overlap else (new,))
    later = [one["secret"] for one in before if one["until"] > NOW + overlap] if overlap else []
    assert signing_secrets(made, None, NOW + overlap)[0] == (new, *later)


@given(previous, st.integers(NOW - 1_100, NOW + 1_100))
def test_who_signs_changes_just_when_it_is_said_to(before: list[dict[str, Any]], now: int) -> None:
    """The moment that is told is the next at which the answer is another one; then none is told any more."""
    made = judged({"url": URL, "secret": NEW, "previous_secrets": before})
    now_signing, until = signing_secrets(made, None, now)
    if until is None:
        assert now_signing == (NEW,)
    else:
        assert signing_secrets(made, None, until - 1)[0] == now_signing
        assert len(signing_secrets(made, None, until)[0]) < len(now_signing)


@given(previous)
def test_a_definition_in_force_keeps_its_old_secrets(before: list[dict[str, Any]]) -> None:
    """As the registry writes and reads it."""
    made = judged({"url": URL, "secret": NEW, "previous_secrets": before})
    assert endpoint_from_json("a", endpoint_to_json(made)) == made


@given(previous)
def test_what_has_ended_goes_with_the_next_write(before: list[dict[str, Any]]) -> None:
    """And nothing else does."""
    definition = {"url": URL, "previous_secrets": before}
    left = without_expired(definition, NOW)
    going = [one for one in before if one["until"] > NOW]
    assert left == {"url": URL} | ({"previous_secrets": going} if going else {})


@pytest.mark.parametrize(
    "previous",
    [
        [{"secret": OLD}], [{"until": 5}], [{"secret": "no secret", "until": 5}], [{"secret": OLD, "until": "5"}],
        [{"secret": OLD, "until": True}], [{"secret": OLD, "until": 1.5}], [{"secret": OLD, "until": NOW * 1_000}],
        [{"secret": OLD, "until": -1}], {"secret": OLD}, [OLD], "x", [{"secret": OLD, "until": 5}] * 4,
    ],
)  # fmt: skip
def test_a_bad_old_secret_is_refused_and_not_repeated(previous: Any) -> None:
    """P8, P10: with the field, and without what stands there."""
    with pytest.raises(Rejection) as caught:
        judged({"url": URL, "secret": NEW, "previous_secrets": previous})
    assert caught.value.field.startswith("previous_secrets")
    assert OLD not in f"{caught.value} {caught.value.fix} {caught.value.value}"
    assert "no secret" not in caught.value.value


def test_a_rotation_away_from_the_default_secret_ends_it_at_once() -> None:
    """It cannot be written beside the new one: it belongs to the operator, and to no endpoint's definition."""
    with pytest.raises(InvalidInput, match="DEFAULT_SECRET"):
        rotated({"url": URL}, NEW, now_seconds=NOW, overlap_seconds=60)
    assert rotated({"url": URL}, NEW, now_seconds=NOW, overlap_seconds=0) == {"url": URL, "secret": NEW}


def test_the_same_secret_in_another_spelling_is_no_rotation() -> None:
    """`whsec_` may be missing."""
    with pytest.raises(InvalidInput, match="the endpoint has"):
        rotated({"url": URL, "secret": OLD[6:]}, OLD, now_seconds=NOW, overlap_seconds=60)


def test_an_old_secret_signs_beside_the_default_one() -> None:
    """The way back from a secret of its own."""
    made = judged({"url": URL, "previous_secrets": [{"secret": OLD, "until": NOW + 1}]})
    assert signing_secrets(made, OTHER, NOW) == ((OTHER, OLD), NOW + 1)
    assert signing_secrets(made, None, NOW) == ((), None)


def test_without_a_secret_that_signs_there_is_nothing_to_rotate() -> None:
    """Signed by the installation's key alone: what to do instead is said."""
    only_key = {"url": "https://example.com/", "signatures": ["v1a"]}
    with pytest.raises(InvalidInput, match="has no secret that could change") as caught:
        rotated(only_key, NEW, now_seconds=0, overlap_seconds=0)
    assert "bridge key new" in caught.value.fix
    unused = Endpoint("a", "https://example.com/", secrets=(NEW,), signatures=("v1a",))
    assert signing_secrets(unused, NEW, 0) == ((), None)
