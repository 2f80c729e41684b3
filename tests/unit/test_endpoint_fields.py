"""The options that `endpoint add` and `endpoint set` share: how words become fields, and fields a definition."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.endpoint_fields import MAPS, UNSET, changed, schedule_from, unset_from
from bridge.errors import InvalidInput

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
HEADERS = st.dictionaries(st.sampled_from(["x-a", "X-A", "x-b", "authorization"]), st.text(max_size=3), max_size=1)
METADATA = st.dictionaries(st.sampled_from(["team", "order"]), SCALARS)
PARTS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(UNSET, st.text(max_size=3)), "url": st.text(max_size=3), "secret": st.text(max_size=3),
    "x-mine": st.integers(), "headers": HEADERS, "metadata": METADATA,
}  # fmt: skip
DEFINITIONS = st.fixed_dictionaries({}, optional=PARTS)


def test_waits_have_units() -> None:
    """Whole seconds stay whole numbers."""
    assert json.dumps(schedule_from("0, 0.5,5m,1h")) == "[0, 0.5, 300, 3600]"
    for text in ("soon", "0,-1", "0,nan"):
        with pytest.raises(InvalidInput):
            schedule_from(text)


@given(DEFINITIONS, DEFINITIONS)
def test_only_what_is_named_is_another(old: dict[str, Any], changes: dict[str, Any]) -> None:
    """Every field that is not named stays; of headers and metadata every entry; a repeat changes nothing."""
    made = changed(old, changes, [])
    assert {field: made[field] for field in old if field not in changes} == {
        field: old[field] for field in old if field not in changes
    }
    for field, value in changes.items():
        if field not in MAPS:
            assert made[field] == value
            continue
        named = {one.lower() for one in value}
        kept = {one: word for one, word in old.get(field, {}).items() if one.lower() not in named}
        assert made[field] == kept | value
    assert changed(made, changes, []) == made
    lower = [name.lower() for name in made.get("headers", {})]
    assert len(lower) == len(set(lower))


@given(DEFINITIONS, st.sets(st.sampled_from(UNSET)))
def test_what_is_taken_back_is_gone_and_nothing_else(old: dict[str, Any], fields: set[str]) -> None:
    """The default of a field is that it is not there."""
    assert changed(old, {}, sorted(fields)) == {field: old[field] for field in old if field not in fields}


def test_one_entry_is_taken_back() -> None:
    """A header in any capitals; the last one takes the field along. Then what is named beside it is written."""
    old = {"headers": {"X-Team": "a", "authorization": "b"}, "metadata": {"team": 1, "Team": 2}}
    assert changed(old, {}, ["headers.x-team", "metadata.team"]) == {
        "headers": {"authorization": "b"}, "metadata": {"Team": 2},
    }  # fmt: skip
    assert changed(old, {}, ["headers.x-team", "headers.authorization", "rate"]) == {"metadata": old["metadata"]}
    assert changed(old, {"headers": {"x-new": "c"}}, ["headers"])["headers"] == {"x-new": "c"}
    assert old["headers"] == {"X-Team": "a", "authorization": "b"}


@pytest.mark.parametrize("word", ["secret", "url", "retes", "rate.x", "headers.", "x-mine", "."])
def test_what_has_no_default_cannot_be_taken_back(word: str) -> None:
    """And a field cannot be written and taken back at once."""
    with pytest.raises(InvalidInput):
        unset_from([word], {})
    with pytest.raises(InvalidInput):
        unset_from(["rate"], {"rate": "1/s"})
    assert unset_from(["rate,headers.x", "rate"], {"headers": {"x": "1"}}) == ["rate", "headers.x"]
