"""What `bridge demo` shows, at terminals of several widths."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from bridge.cli.demo import conclude
from bridge.cli.demo_screen import Screen
from bridge.sandbox.receiver import Arrival

TASK = "6a0b1c2d3e4f5a6b00000000"
TALLY = {
    **dict.fromkeys(("tasks", "events", "deliveries", "attempts", "verified"), 30), "retried": 1, "median_ms": 123,
    **dict.fromkeys(("duplicates", "out_of_order", "lost", "invented", "unverified"), 0), "seconds": 9.5, "missing": [],
}  # fmt: skip


def arrival(status: str, attempt: int = 1) -> Arrival:
    """An event of the task."""
    event = {"type": f"index.task.{status}", "data": {"task_id": TASK, "status": status}}
    headers = {"bridge-attempt": str(attempt)}
    return Arrival(1.0, "POST", "/everything", headers, b"", event, None, 0, duplicate=False, out_of_order=False)


def shown(width: int, *statuses: str, terminal: bool = True) -> list[str]:
    """The lines, those of the table last."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False, markup=False,
                      soft_wrap=True)  # fmt: skip
    answered = [(arrival(one), 204) for one in statuses] + [(arrival("pending"), 500), (arrival("pending", 2), 204)]
    screen = Screen(console, SimpleNamespace(tasks=[TASK], started=0.0, answered=answered))
    screen.refresh()
    console.print(screen._table())
    assert conclude(console, TALLY)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 95, 120])
def test_no_row_is_torn_apart(width: int) -> None:
    """Nor a sentence within a word."""
    lines = shown(width, "validating")
    assert max(map(len, lines)) <= width
    assert any("again in about 5 s" in line for line in lines)
    assert any(line.split()[-2:] == ["2", "events"] for line in lines)
    said = " ".join(" ".join(lines).split())
    assert "deliveries arrived, verified, first attempts in order" in said


def test_a_script_gets_a_line_each() -> None:
    """With all words, however narrow what asks may be; one event is one."""
    lines = shown(60, terminal=False)
    assert any(line.endswith("500  on purpose: again in about 5 s") for line in lines)
    assert any(line.split()[-2:] == ["1", "event"] for line in lines)
    assert any(line.startswith("All went well: ") and len(line) > 60 for line in lines)
