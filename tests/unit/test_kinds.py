"""The table of what can be watched: members, event types, and what a reading of each kind means."""

from dataclasses import replace

import pytest
from factories import START, a_snapshot, an_endpoint, an_observation, instant

from bridge import diff, events
from bridge.contract import check_member
from bridge.filters import index_of, matches
from bridge.hints import event_hints
from bridge.kinds import ANALYSIS, ASSET, FAMILIES, KINDS, TASK, Kind, family_of, find_kind, index_in, kind_of
from bridge.model import Change
from bridge.rejection import Rejection

MEMBERS = {"": "t1", "asset": "asset:ix1/a1", "analyze": "analyze:n1"}
IDS = [kind.name or "task" for kind in KINDS.values()]
EMBEDDING = Kind(
    name="embed",
    what="an embedding",
    parts=("id",),
    retrieve="/embed-v2/tasks/{id}",
    family="embed.task.",
    statuses=frozenset({"processing", "ready", "failed"}),
    terminal=frozenset({"ready", "failed"}),
    stages=("processing",),
    hls=(),
    metadata=(),
)
"""A row that nobody registers: that it can be written is what the table is for."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=IDS)
def test_a_member_names_its_kind_and_what_upstream_is_asked_for(kind: Kind) -> None:
    """And is taken in."""
    member = MEMBERS[kind.name]
    check_member(member)
    assert find_kind(member) is kind
    assert kind_of(member) is kind
    parts = kind.named(member)
    assert parts is not None
    assert kind.retrieve.format_map(parts).endswith(f"/{parts['id']}")


@pytest.mark.parametrize(
    "member",
    ["asset:a1", "asset:", "asset:/a1", "asset:ix/", "asset:ix/a/b", "asset:ix/a:b", "asset:ix:a", "asset:../a",
     "Asset:ix/a", "analyze:", "analyze:a/b", "analyze:a:b", "embed:e1", "endpoint:billing", ":a"],
)  # fmt: skip
def test_a_member_that_names_too_little_or_too_much_is_refused(member: str) -> None:
    """With what it should look like; `endpoint:` stands for what is no task, and never is a kind."""
    with pytest.raises(Rejection) as refused:
        check_member(member)
    assert refused.value.field == "member"
    assert refused.value.fix


def test_no_kind_takes_the_words_of_another() -> None:
    """Neither its members nor its event types."""
    assert len(set(FAMILIES)) == len(KINDS)
    assert not any(one is not other and one.startswith(other) for one in FAMILIES for other in FAMILIES)
    assert find_kind("embed:e1") is None
    assert family_of("bridge.endpoint.failing") is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=IDS)
def test_every_documented_status_is_an_event_of_its_family(kind: Kind) -> None:
    """And the terminal ones tell an end, worth all attempts."""
    for status in kind.statuses:
        seen = an_observation(status, at=START if kind.marker else None)
        verdict = diff.diff(None, seen, now=START, kind=kind)
        assert isinstance(verdict, Change)
        event = events.event_from(verdict, MEMBERS[kind.name], now=START)
        assert event.type == kind.family + status
        assert events.is_terminal(event.type) is (status in kind.terminal)
        assert events.is_lasting(event.type, event.body) is (status in kind.terminal)
        assert (events.snapshot_after(verdict, event).terminal_since is not None) is (status in kind.terminal)
        assert diff.is_finished(status, None, START, START, kind) is (status in kind.terminal)
        assert not event_hints([event.type, kind.family + "*"])


@pytest.mark.parametrize("kind", KINDS.values(), ids=IDS)
def test_the_bridges_own_words_are_not_upstreams(kind: Kind) -> None:
    """A status `gone` is no disappearance, in any family."""
    change = Change(an_observation("gone"), None, ("status",))
    assert events.type_of(change, kind) == f"{kind.family}status.gone"
    assert events.type_of(Change(None, a_snapshot(), ("gone",)), kind) == kind.gone
    assert events.type_of(Change(an_observation(), a_snapshot(), ("hls.status",)), kind) == kind.updated


def test_a_word_is_known_to_its_kind_alone() -> None:
    """`uploading` is an index task's and `canceled` an analysis'; elsewhere each is doubted once."""
    assert isinstance(diff.diff(None, an_observation("uploading"), now=START), Change)
    assert isinstance(diff.diff(None, an_observation("uploading"), now=START, kind=ASSET), diff.Doubtful)
    assert isinstance(diff.diff(None, an_observation("canceled"), now=START, kind=ANALYSIS), Change)
    assert isinstance(diff.diff(None, an_observation("canceled"), now=START), diff.Doubtful)
    assert diff.is_finished("canceled", None, START, START, ANALYSIS)
    assert not diff.is_finished("canceled", None, START, START)


def test_where_nothing_marks_a_change_its_absence_is_no_reason_to_doubt() -> None:
    """An analysis has no updated_at: each new status is believed at once, as an index task's without one is not."""
    seen, known = an_observation("processing", at=None), a_snapshot("queued", at=None)
    assert isinstance(diff.diff(known, seen, now=START, kind=ANALYSIS), Change)
    assert isinstance(diff.diff(known, seen, now=START), diff.Doubtful)
    assert isinstance(diff.diff(known, replace(seen, task_id=None), now=START, kind=ANALYSIS), diff.Doubtful)


def test_a_further_kind_is_a_row() -> None:
    """Embeddings, of which none is registered, need nothing but their row."""
    verdict = diff.diff(a_snapshot("processing"), an_observation("ready", START + 1), now=START, kind=EMBEDDING)
    assert isinstance(verdict, Change)
    assert events.type_of(verdict, EMBEDDING) == "embed.task.ready"
    assert diff.is_finished("ready", None, START, START, EMBEDDING)
    assert EMBEDDING.named("embed:e1") == {"id": "e1"}


def test_an_endpoint_hears_of_assets_if_it_names_them() -> None:
    """`index.task.*`, which is the default, does not; `index.*` and `*` do."""
    patterns = ("index.task.*", "index.asset.*", "index.*", "*", "index.asset.ready", "analyze.*")
    taken = {one: matches(an_endpoint(events=(one,)), "index.asset.ready", "asset:ix1/a1") for one in patterns}
    assert [pattern for pattern, took in taken.items() if took] == [
        "index.asset.*",
        "index.*",
        "*",
        "index.asset.ready",
    ]
    assert an_endpoint().events == ("index.task.*",)


def test_the_index_of_an_asset_is_the_one_that_its_member_names() -> None:
    """Upstream's object does not say it, and a filter of indexes is to hold for `gone` as well."""
    assert index_in("asset:ix1/a1") == "ix1"
    assert index_in("t1") is None
    change = Change(an_observation("ready"), None, ("status",))
    event = events.event_from(change, "asset:ix1/a1", now=START)
    gone = events.event_from(Change(None, a_snapshot(), ("gone",)), "asset:ix1/a1", now=START)
    assert [index_of(event.body), index_of(gone.body)] == ["ix1", "ix1"]
    endpoint = an_endpoint(events=("*",), indexes=("ix2",))
    assert not matches(endpoint, event.type, event.task, index=index_of(event.body))


def test_the_same_state_of_two_kinds_is_two_events() -> None:
    """Though their ids are the same word."""
    change = Change(an_observation("ready", START, updated_at=instant(START)), None, ("status",))
    ids = {events.event_from(change, member, now=START).id for member in ("x", "asset:x/x", "analyze:x")}
    assert len(ids) == 3
    assert TASK.shape == "ID"
    assert ASSET.shape == "asset:INDEX/ID"
