"""Why tasks are not read, as far as Redis tells."""

from dataclasses import replace

import pytest

from bridge.cli.task_trouble import LAG_MS, trouble_of, unchanged
from bridge.store.reading.tasks import TaskView
from bridge.store.reading.vitals import Role

WELL = Role("poll", workers=1, shifts=1, tickets=0, lag_ms=0)


@pytest.mark.parametrize(("has_key", "was_read"), [(True, False), (False, True), (True, True)])
def test_all_is_well(has_key: bool, was_read: bool) -> None:
    """A worker, and a key here or, since something was read, there."""
    assert trouble_of(replace(WELL, lag_ms=LAG_MS), has_key=has_key, was_read=was_read) is None


def test_the_workers_key_counts_and_not_ones_own() -> None:
    """A shell without one is no reason to warn, when the worker says that it has one."""
    assert trouble_of(replace(WELL, has_key=True), has_key=False, was_read=False) is None


@pytest.mark.parametrize(
    ("role", "has_key", "fix"),
    [
        (replace(WELL, workers=0, key_refused=True), False, "bridge worker"),
        (replace(WELL, key_refused=True, paused_until_at=5), False, "bridge doctor"),
        (replace(WELL, lag_ms=10**6), False, "export TWELVELABS_API_KEY="),
        (replace(WELL, has_key=False), True, "export TWELVELABS_API_KEY="),
        (replace(WELL, paused_until_at=5, lag_ms=10**6), True, "bridge status -w"),
        (replace(WELL, lag_ms=LAG_MS + 1), True, "bridge doctor"),
    ],
)
def test_the_first_cause_is_named(role: Role, has_key: bool, fix: str) -> None:
    """The one without which the others do not matter, and its command."""
    trouble = trouble_of(role, has_key=has_key, was_read=False)
    assert trouble
    assert trouble.fix.startswith(fix)


def test_a_spent_budget_of_ours_is_told_of_what_is_overdue() -> None:
    """Nothing is amiss, and nothing is read: the bound is ours to raise. A rest that upstream asked for goes first."""
    used_up = replace(WELL, spent_of=3)
    assert trouble_of(used_up, has_key=True, was_read=True) is None
    spent = trouble_of(used_up, has_key=True, was_read=True, overdue=True)
    assert spent
    assert spent.reason.startswith("this minute's 3 requests are used up")
    assert "BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE" in spent.fix
    rests = trouble_of(replace(used_up, paused_until_at=5), has_key=True, was_read=True, overdue=True)
    assert rests
    assert rests.fix == "bridge status -w"


@pytest.mark.parametrize(("owed", "delivered", "well"), [(0, 0, False), (2, 2, True), (2, 1, False), (1, 0, False)])
def test_that_nothing_changed_is_said_where_nothing_is_amiss(owed: int, delivered: int, well: bool) -> None:
    """While an endpoint has not got the latest event, that is why its hook did not arrive."""
    view = TaskView(
        task="t1", state="watched", status="ready", being_read=False, updated_at=None, observed_at=5, polled_at=6,
        next_at=7, ended_at=None, expires_at=None, revision=5, event_id="evt_1", hls_status=None,
        owed=owed, delivered=delivered,
    )  # fmt: skip
    assert unchanged(view) is well
    assert not unchanged(replace(view, note="HTTP 500"))


def test_a_full_redis_is_told_before_what_reads_well() -> None:
    """Its change was read, and cannot be written: that nothing changed would be false."""
    trouble = trouble_of(WELL, has_key=True, was_read=True, full=True)
    assert trouble is not None
    assert trouble.reason.startswith("Redis is full: ")
