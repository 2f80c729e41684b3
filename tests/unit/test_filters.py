"""Whom an event concerns."""

import json
from typing import Any

import pytest
from factories import an_endpoint
from hypothesis import given
from hypothesis import strategies as st

from bridge.filters import index_of, matches


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (("index.task.*",), True),
        (("index.task.ready",), True),
        (("*",), True),
        (("index.*",), True),
        (("index.task.failed", "index.task.ready"), True),
        (("index.task.failed",), False),
        (("index.task",), False),
        (("index.task.read",), False),
        (("index.task.ready.*",), False),
        (("index.tas.*",), False),
        (("INDEX.TASK.READY",), False),
        (("analyze.task.*",), False),
        ((), False),
    ],
)
def test_event_filters_take_what_they_say(patterns: tuple[str, ...], taken: bool) -> None:
    """Exact, or all below a prefix."""
    assert matches(an_endpoint(events=patterns), "index.task.ready", "t1") is taken


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [(("*",), True), (("t1",), True), (("t*",), True), (("t1*",), True), (("x", "t1"), True), (("t",), False),
     (("t11",), False), (("T1",), False), (("t11*",), False), ((), False)],
)  # fmt: skip
def test_task_filters_take_what_they_say(patterns: tuple[str, ...], taken: bool) -> None:
    """Exact, or a prefix and a star."""
    assert matches(an_endpoint(tasks=patterns), "index.task.ready", "t1") is taken


def test_both_filters_must_take_it() -> None:
    """One is not enough."""
    assert not matches(an_endpoint(events=("*",), tasks=("t2",)), "index.task.ready", "t1")
    assert not matches(an_endpoint(events=("index.task.failed",), tasks=("*",)), "index.task.ready", "t1")


@pytest.mark.parametrize(
    ("patterns", "index", "taken"),
    [(("*",), "ix1", True), (("ix1",), "ix1", True), (("ix*",), "ix1", True), (("ix2", "ix1"), "ix1", True),
     (("ix2",), "ix1", False), (("ix",), "ix1", False), (("ix2",), None, True)],
)  # fmt: skip
def test_index_filters_take_what_they_say(patterns: tuple[str, ...], index: str | None, taken: bool) -> None:
    """Exact, or a prefix and a star; an event that shows no index is never lost for it."""
    assert matches(an_endpoint(indexes=patterns), "index.task.ready", "t1", index=index) is taken


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({"tenant": "a", "tier": 1}, True),
        ({"tenant": "b", "tier": 1.0, "more": [1]}, True),
        ({"tenant": "c", "tier": 1}, False),
        ({"tenant": "a", "tier": True}, False),
        ({"tenant": "a", "tier": "1"}, False),
        ({"tenant": "a", "tier": [1]}, False),
        ({"tenant": "a"}, False),
        ({"tenant": ["a"], "tier": 1}, False),
        (["tenant", "tier"], False),
        ("tenant", False),
        (None, False),
    ],
)
def test_metadata_filters_take_what_they_say(metadata: Any, taken: bool) -> None:
    """Every field that is named must have one of its values, as JSON tells values apart."""
    endpoint = an_endpoint(metadata={"tenant": ("a", "b"), "tier": (1,)})
    assert matches(endpoint, "index.task.ready", "t1", metadata=metadata) is taken


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)
WORDS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)


@given(JSON, st.dictionaries(st.sampled_from(["a", "b"]), st.lists(WORDS, min_size=1, max_size=3).map(tuple)))
def test_a_metadata_filter_is_a_comparison_of_json(metadata: Any, wanted: dict[str, tuple[Any, ...]]) -> None:
    """Whatever a task's metadata is: the oracle compares canonical texts, numbers by their value."""

    def text(value: Any) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return json.dumps(float(value) if number and abs(value) < 2**53 else value, sort_keys=True)

    fields = metadata if isinstance(metadata, dict) else {}
    taken = all(name in fields and text(fields[name]) in map(text, words) for name, words in wanted.items())
    assert matches(an_endpoint(metadata=wanted), "index.task.ready", "t1", metadata=metadata) is taken


@pytest.mark.parametrize(
    ("body", "index"),
    [
        (b'{"data":{"task":{"index_id":"ix1"}}}', "ix1"),
        (b'{"data":{"task":{"index_id":7}}}', None),
        (b'{"data":{"task":null,"task_omitted":true}}', None),
        (b'{"data":[]}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_index_is_read_from_the_body(body: bytes | None, index: str | None) -> None:
    """None wherever it is not said."""
    assert index_of(body) == index
