"""Why nobody is owed an event, told by the filters as they match."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.audience import CAME_LATER, MOST, SHOWN, WOULD_TAKE, Cause, nobody, passed_over, way_to_tell
from bridge.filters import matches
from bridge.model import Endpoint

READY = "index.task.ready"
URL = "https://example.com/"


def told(*endpoints: Endpoint, **more: object) -> str:
    """Why nobody hears that t1 is ready."""
    found = nobody(READY, "t1", {one.name: one for one in endpoints}, **more)  # type: ignore[arg-type]
    assert found is not None
    return found.why


@pytest.mark.parametrize(
    ("endpoint", "instead"),
    [
        (Endpoint("a", URL, events=("index.task.failed",)), "a takes index.task.failed"),
        (Endpoint("a", URL, tasks=("x*", "y")), "a takes the tasks x*, y"),
        (Endpoint("a", URL, indexes=("other",)), "a takes the indexes other"),
        (Endpoint("a", URL, metadata={"team": ("red",)}), "a takes tasks with other metadata (team)"),
        (Endpoint("a", URL, tasks=("x",), metadata={"team": ("red",)}), "a takes the tasks x"),
    ],
)
def test_the_part_of_a_filter_that_keeps_it_out_is_named(endpoint: Endpoint, instead: str) -> None:
    """The first of them, if there are more."""
    assert told(endpoint, index="i1") == f"no endpoint takes {READY}: {instead}"


STAR = "in the format twelvelabs a star stands for index.task.failed and index.task.ready alone"


@pytest.mark.parametrize("pattern", ["index.task.*", "*"])
def test_where_a_star_stands_for_less_it_is_said(pattern: str) -> None:
    """Else it reads as if the endpoint took what it was not sent, and to write the star again changes nothing."""
    old = Endpoint("old", URL, events=(pattern,), format="twelvelabs")
    why = f"{pattern} ({STAR}; name index.task.pending in full)"
    passed = passed_over("index.task.pending", "t1", {"old": old}, owed=())
    assert [one.why for one in passed] == [f"it takes {why}"]
    refused = (Cause.FILTERS, f"no endpoint takes index.task.pending: old takes {why}")
    assert nobody("index.task.pending", "t1", {"old": old}) == refused
    named = replace(old, events=(pattern, "index.task.pending"))
    assert passed_over("index.task.pending", "t1", {"old": named}, owed=())[0].why == WOULD_TAKE


def test_nobody_is_told_to_name_what_the_format_cannot_say() -> None:
    """An analysis is refused there by name, too; what no pattern fits has nothing to do with the star."""
    old = Endpoint("old", URL, events=("*", "index.asset.ready"), format="twelvelabs")
    assert passed_over("analyze.task.ready", "analyze:t1", {"old": old}, owed=())[0].why.endswith(f"({STAR})")
    ready = replace(old, events=("index.task.ready",))
    assert passed_over("index.task.failed", "t1", {"old": ready}, owed=())[0].why == "it takes index.task.ready"


def test_of_many_a_few_are_told() -> None:
    """Endpoints and their patterns are bounded; a callback_url is nobody's who could have taken it."""
    events = tuple(f"index.task.s{n}" for n in range(50))
    many = [Endpoint(f"e{n}", URL, events=events) for n in range(50)]
    text = told(*many, Endpoint("url:0123", URL, events=("*",)))
    assert text.count(" takes ") == SHOWN + 1
    assert text.endswith(f"{50 - SHOWN} more")
    assert len(text) < 1_000
    assert "url:" not in text


def test_what_a_task_names_is_what_counts() -> None:
    """Another endpoint would take it, and was not asked."""
    other, failed = Endpoint("b", URL), Endpoint("a", URL, events=("index.task.failed",))
    assert told(other, failed, named=["a"]) == (
        f"no endpoint of those that the task names takes {READY}: a takes index.task.failed"
    )
    assert "the task's `endpoints` names “biling”, and there is no such endpoint" in told(other, named=["biling"])
    assert told() == f"no endpoint takes {READY}: none is registered"


def test_who_came_later_is_not_said_to_refuse_it() -> None:
    """It takes such events now; whether it was there then is not known."""
    assert told(Endpoint("a", URL)).endswith("a would take it, and was changed later, or its delivery was forgotten")
    assert told(Endpoint("a", URL), later=["a"]) == f"nothing of {READY} is owed: a would take it, and came later"
    other = Endpoint("b", URL, events=("x",))
    assert told(other, later=["b"]) == f"no endpoint takes {READY}: none was registered then"
    assert told(other, Endpoint("c", URL, events=("y",)), later=["b"]) == f"no endpoint takes {READY}: c takes y"


@given(st.sampled_from(["*", "index.task.*", READY, "index.task.failed"]), st.sampled_from(["*", "t1", "t2", "t*"]))
def test_it_agrees_with_matching(event: str, task: str) -> None:
    """Nobody is said to refuse what its filter takes, nor to take what it refuses."""
    one = Endpoint("a", URL, events=(event,), tasks=(task,))
    found = nobody(READY, "t1", {"a": one})
    assert found is not None
    assert found.cause is (Cause.LATER if matches(one, READY, "t1") else Cause.FILTERS)


def test_an_event_about_an_endpoint_asks_nothing() -> None:
    """Most endpoints do not ask for such; that is as it should be."""
    assert nobody("bridge.endpoint.failing", "endpoint:a", {}) is None


def test_the_way_to_tell_a_state_depends_on_whether_it_is_watched() -> None:
    """A task that has ended is announced when it is registered again; one that is watched goes on by itself."""
    assert way_to_tell("bridge task add t1", watched=False).startswith(
        "bridge endpoint add NAME URL && bridge task add t1  #"
    )
    assert "task add" not in way_to_tell("bridge task add t1", watched=True)


def test_a_task_that_names_endpoints_is_heard_of_by_those_alone() -> None:
    """Another one would not hear of it, and to register the task without its options tells everybody."""
    again = "bridge task add t1 --endpoint a,b"
    assert way_to_tell(again, watched=False, named=["a"]).startswith("bridge endpoint set a --events … && ")
    assert way_to_tell(again, watched=False, named=["a", "b"]).startswith("bridge endpoint set NAME --events … && ")
    assert way_to_tell(again, watched=False, named=["a"]).endswith(f"{again}  # which tells the present state")


def test_what_is_no_longer_kept_was_not_passed_over() -> None:
    """A day after it was delivered nobody knows of it any more: there is nothing to mend."""
    why = f"what became of {READY} is no longer kept (BRIDGE_RETENTION_DELIVERED_SECONDS)"
    assert told(Endpoint("a", URL), Endpoint("b", URL), later=["b"], forgotten=True) == why
    assert told(Endpoint("a", URL), later=["a"], forgotten=True).endswith("would take it, and came later")
    assert told(Endpoint("a", URL, events=("x",)), forgotten=True) == f"no endpoint takes {READY}: a takes x"


def test_who_was_passed_over_is_told_beside_who_heard_of_it() -> None:
    """Each endpoint that is not owed the event, with what keeps it out: its filter, the task, or its age."""
    endpoints = {
        one.name: one
        for one in (
            Endpoint("audit", URL),
            Endpoint("billing", URL, events=("index.task.failed",)),
            Endpoint("late", URL),
            Endpoint("url:0123", URL),
        )
    }
    found = passed_over(READY, "t1", endpoints, owed={"audit"})
    assert [(one.endpoint, one.why) for one in found] == [
        ("billing", "it takes index.task.failed"),
        ("late", WOULD_TAKE),
    ]
    known = passed_over(READY, "t1", endpoints, owed={"audit"}, later=["billing"])
    assert [one.endpoint for one in known] == ["late"]
    named = passed_over(READY, "t1", endpoints, owed={"audit"}, named=["audit"])
    assert {one.why for one in named} == {"the task names others: audit"}
    meant = passed_over(READY, "t1", endpoints, owed={"audit"}, named=["audit", "late"], later=["billing", "late"])
    assert [(one.endpoint, one.why) for one in meant] == [("late", CAME_LATER)]
    first = passed_over(READY, "t1", endpoints, owed=(), named=["late"], later=[])
    assert [one.endpoint for one in first] == ["late", "audit", "billing"]
    assert passed_over("bridge.endpoint.failing", "endpoint:a", endpoints, owed=set()) == []


def test_of_many_that_were_passed_over_so_many_are_told() -> None:
    """Nobody reads ten thousand."""
    many = {f"e{n}": Endpoint(f"e{n}", URL, events=("x",)) for n in range(MOST + 5)}
    assert len(passed_over(READY, "t1", many, owed=set())) == MOST
