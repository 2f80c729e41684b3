"""What `bridge demo` shows while it runs: a line for each attempt, and on a terminal the tasks below them."""

from typing import TYPE_CHECKING, Protocol

from bridge.cli import stage
from bridge.sandbox.receiver import Arrival

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text


WHOLE_WIDTH = 90
"""Of a task with all of its stages by name, and how many events there were."""
NOTE_INDENT = " " * 10


class Seen(Protocol):
    """What is shown: the tasks, when they began (monotonic seconds), and what was answered so far."""

    tasks: list[str]
    started: float
    answered: list[tuple[Arrival, int]]


class Screen:
    """The lines, and on a terminal a table of the tasks below them, as far as the receiver has heard of them."""

    def __init__(self, console: "Console", play: Seen) -> None:
        self._console, self._play = console, play
        self._shown = 0
        self._live: Live | None = None

    def open(self) -> None:
        """Show the table from now on, where there is a terminal to show it on."""
        from rich.live import Live

        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.start()

    def close(self) -> None:
        """Leave the table as it stands and give the cursor back."""
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Show what is new."""
        for arrival, status in self._play.answered[self._shown :]:
            self._console.print(self._line(arrival, status))
            self._shown += 1
        if self._live:
            self._live.update(self._table(), refresh=True)

    @property
    def _short(self) -> bool:
        """Whether a terminal has no room for all stages by name, nor for all words of a line."""
        return self._console.is_terminal and self._console.width < WHOLE_WIDTH

    def _line(self, arrival: Arrival, status: int) -> "Text":
        from rich.text import Text

        good = status < 300
        mark, verdict = ("✓", " signature verified") if arrival.verdict is None else ("✗", " NOT VERIFIED")
        note = "" if good else "  on purpose: again in about 5 s"
        note += f"  attempt {arrival.attempt}: the retry" if arrival.attempt > 1 else ""
        line = Text.assemble(
            f"{arrival.at - self._play.started:6.2f} s  ",
            (mark if self._short else f"{mark}{verdict}", "green" if good else "yellow"),
            f"  {arrival.task_id[:4]}…{arrival.task_id[-4:]}  ",
            (f"{arrival.status:<10}", "bold"),
            f"  {arrival.path[1:]:<10}  ",
            (str(status), "green" if good else "bold red"),
        )
        below = self._console.is_terminal and line.cell_len + len(note) > self._console.width
        return line.append(f"\n{NOTE_INDENT}{note.lstrip()}" if below and note else note, "yellow")

    def _table(self) -> "RenderableType":
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for task in self._play.tasks:
            heard = {a.status for a, _ in self._play.answered if a.task_id == task}
            events = f"{len(heard)} event{'s' * (len(heard) != 1)}"
            table.add_row(f"{task[:4]}…{task[-4:]}", stage.stage_line(heard, short=self._short), events)
        return table
