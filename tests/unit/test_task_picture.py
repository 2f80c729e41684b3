"""`bridge task watch` at a terminal: one line a task, whatever its width."""

import io

import pytest
from rich.console import Console

from bridge.cli.task_follow import _picture
from bridge.store.reading.tasks import TaskView

ID = "6a0b1c2d3e4f5a6b7c8d9e01"


def view(status: str | None, note: str = "") -> TaskView:
    """A watched task in this status."""
    return TaskView(
        task=ID, state="watched", status=status, being_read=False, updated_at=None, observed_at=None, polled_at=None,
        next_at=None, ended_at=None, expires_at=None, revision=None, event_id=None, hls_status=None, note=note,
    )  # fmt: skip


@pytest.mark.parametrize("width", [50, 60, 80, 120])
@pytest.mark.parametrize("status", [None, "validating", "indexing", "ready", "failed", "a-word-of-tomorrow"])
def test_no_width_cuts_the_id_or_the_status(width: int, status: str | None) -> None:
    """A narrow terminal names the latest stage alone."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(_picture({ID: view(status)}, width))
    (line,) = captured.get().splitlines()
    assert ID in line
    assert (status or "not seen yet") in line
    assert ("queued" in line) == (width >= 120 and status in {"validating", "indexing", "ready", "failed"})


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 200])
def test_a_note_takes_no_room_from_the_statuses(width: int) -> None:
    """Where it does not fit beside them it stands below, and is shortened there; they never are."""
    note = "TwelveLabs is asked again before its answer is told: “ready” is an end, and now it says “indexing”"
    seen = {}
    for one in ("", note):
        console = Console(file=io.StringIO(), width=width)
        with console.capture() as captured:
            console.print(_picture({ID: view("indexing", one)}, width))
        seen[one] = captured.get().splitlines()
    (bare,) = seen[""]
    if width == 200:
        assert seen[note] == [f"{bare}  {note}"]
        return
    line, told = seen[note]
    assert (line, len(told) <= width) == (bare, True)
    assert told == f"  {note}" if len(note) + 2 <= width else told.endswith("…")
