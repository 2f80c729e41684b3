"""What is legal and still looks like a mistake."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import CANARY
from test_definition import JSON

from bridge.definition import EndpointDefinition
from bridge.filters import matches
from bridge.hints import KNOWN_TYPES, endpoint_hints, event_hints, mended, task_hints
from bridge.model import OPTIONS, Endpoint


@pytest.mark.parametrize(
    ("name", "meant"),
    [("event", "events"), ("secrets", "secret"), ("orderng", "ordering"), ("URL", "url"), ("task", "tasks"),
     ("header", "headers"), ("formatt", "format"), ("Events", "events")],
)  # fmt: skip
def test_a_misspelt_field_of_an_endpoint_is_pointed_out(name: str, meant: str) -> None:
    """It would be ignored, and the endpoint would get what nobody wanted."""
    (hint,) = endpoint_hints({"url": "https://example.com/", name: 1})
    assert f"“{name}”" in hint
    assert f"did you mean “{meant}”?" in hint


@pytest.mark.parametrize(
    ("name", "meant"), [("callback", "callback_url"), ("callback-url", "callback_url"), ("expires", "expires_at"),
                        ("meta_data", "metadata"), ("endpoint", "endpoints")],
)  # fmt: skip
def test_a_misspelt_option_is_pointed_out(name: str, meant: str) -> None:
    """Of a task's hash."""
    assert any(f"did you mean “{meant}”?" in hint for hint in task_hints([name]))


def test_what_is_known_or_ones_own_needs_no_hint() -> None:
    """Every known field, what begins with x-, and what resembles nothing."""
    assert not endpoint_hints(dict.fromkeys([*EndpointDefinition.model_fields, "x-event", "X-secrets", "team"]))
    assert not task_hints([*OPTIONS, "x-callback", "owner", "m" * 1_000])


@pytest.mark.parametrize(
    "pattern",
    ["video.*", "index.tasks.*", "index.task", "index.task.Ready", "INDEX.TASK.*", "ready", "tasks.index.ready",
     "index.task.ready.*", "index.task.a.b", "bridge", "bridge.tasks.*", "indexing.*"],
)  # fmt: skip
def test_a_pattern_that_no_event_type_matches_is_pointed_out(pattern: str) -> None:
    """Nothing would ever arrive."""
    (hint,) = event_hints([pattern])
    assert "matches no event" in hint


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("index.task.readdy", "index.task.ready"), ("index.task.Ready", "index.task.ready"),
     ("index.tasks.*", "index.task.*"), ("index.task.faiiled", "index.task.failed"), ("ready", "index.task.ready"),
     ("Failed", "index.task.failed"), ("task.ready", "index.task.ready"), ("index.indexing", "index.task.indexing")],
)  # fmt: skip
def test_a_pattern_that_looks_like_a_known_type_is_pointed_out(pattern: str, meant: str) -> None:
    """Statuses are an open set: it may be meant, and is not refused."""
    (hint,) = event_hints([pattern])
    assert f"did you mean “{meant}”?" in hint


@pytest.mark.parametrize("pattern", ["*", "index.*", "index.task.*", "index.task.gone", "index.task.quarantined"])
def test_a_pattern_that_may_match_needs_no_hint(pattern: str) -> None:
    """Known or not."""
    assert not event_hints([pattern])


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        (["index.task.redy"], ["index.task.ready"]),
        (["ready", "index.task.failed"], ["index.task.ready", "index.task.failed"]),
        (["index.task.ready", "index.task.redy"], ["index.task.ready"]),
        (["index.task.redy", "index.task.quarantined"], ["index.task.ready", "index.task.quarantined"]),
        (["index.task.redy", "video.finished"], []),
        (["index.task.ready"], []),
        ([None, 3], []),
        ([], []),
    ],
)
def test_a_filter_is_mended_as_a_whole_or_not_at_all(patterns: list[object], meant: list[str]) -> None:
    """What is written in its place replaces the whole list; nothing is guessed of what is near nothing."""
    assert mended(patterns) == meant
    assert not event_hints(meant)


@given(st.sampled_from(KNOWN_TYPES[:-1]), st.integers(0, 30))
def test_no_pattern_that_matches_a_known_type_is_called_useless(event_type: str, cut: int) -> None:
    """The hint and the filter agree."""
    pattern = event_type[:cut].rpartition(".")[0] + ".*" if "." in event_type[:cut] else event_type
    assert matches(Endpoint("a", "", events=(pattern,)), event_type, "t1")
    assert not event_hints([pattern])


@given(JSON)
def test_anything_can_be_asked_about(definition: Any) -> None:
    """A hint is text, for any JSON."""
    assert all(isinstance(hint, str) for hint in endpoint_hints(definition))


def test_a_hint_shows_no_secret() -> None:
    """One that stands where it does not belong."""
    assert CANARY not in repr(endpoint_hints({"secrets": [f"whsec_{CANARY}"], "events": [f"whsec_{CANARY}"]}))
