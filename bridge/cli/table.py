"""Rows side by side, as far as there is room: what is least needed goes first, and no word is broken that fits."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import JOINED
from bridge.wording import safe

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.cli.output import Columns, Row

YIELDING = {"note", "url", "events", "reason"}
"""The columns that wrap where there is little room; the others keep an id in one piece."""
YIELDING_WIDTH = 16
BETWEEN = 2
"""The columns of the terminal that one of the table costs beside its own."""


def print_table(rows: "Sequence[Row]", columns: "Columns", spare: Sequence[str]) -> None:
    """Print them for eyes; `spare` as `emit` has it."""
    if not sys.stdout.isatty():
        click.echo(_piped(rows, columns))
        return
    from rich.console import Console

    console = Console()
    kept = fitting(rows, columns, spare, console.width) if rows else columns
    if kept is None:
        click.echo("\n".join(_stacked(row, columns, console.width) for row in rows))
    else:
        _draw(console, rows, kept)


def fitting(rows: "Sequence[Row]", columns: "Columns", spare: Sequence[str], width: int) -> "Columns | None":
    """The columns for which there is room side by side, once those that wrap have done so; None where there is none
    even without those to spare. A narrow one stays where a wider one has to go."""
    bounds = {title: _bounds(rows, title, show, width) for title, show in columns}
    silent = [
        title for title, show in columns if title in spare and not any(show(row) not in {"", "—"} for row in rows)
    ]
    gone: list[str] = []

    def least() -> int:
        return sum(bounds[title][0] + BETWEEN for title, _ in columns if title not in gone)

    for title in ("", *silent, *spare):
        gone.append(title)
        if least() > width:
            continue
        for one in (title for title in reversed(gone) if title and title not in silent):
            gone.remove(one)
            if least() > width:
                gone.append(one)
        return [one for one in columns if one[0] not in gone]
    return None


def _draw(console: "Console", rows: "Sequence[Row]", columns: "Columns") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    bounds = [_bounds(rows, title, show, console.width) for title, show in columns]
    for (title, _), width in zip(columns, _widths(bounds, console.width - BETWEEN * len(columns)), strict=True):
        table.add_column(title.upper(), overflow="fold", no_wrap=title not in YIELDING, width=width)
    for row in rows:
        table.add_row(*(Text(_cell(show(row))) for _, show in columns))
    console.print(table)


def _bounds(rows: "Sequence[Row]", title: str, show: "Callable[[Row], str]", width: int) -> tuple[int, int]:
    """The least and the most room that a column can use."""
    from rich.cells import cell_len

    cells = [title, *(_cell(show(row)) for row in rows)]
    most = max(map(cell_len, cells))
    if title not in YIELDING:
        return most, most
    words = [cell_len(word) for cell in cells for word in cell.split()] if title != "url" else []
    return min(most, max([YIELDING_WIDTH, *(one for one in words if one <= width)])), most


def _widths(bounds: Sequence[tuple[int, int]], room: int) -> list[int]:
    """What each column gets: its least, and then in turn one more, as long as it has use for it."""
    widths = [least for least, _ in bounds]
    while sum(widths) < room and (short := [i for i, (_, most) in enumerate(bounds) if widths[i] < most]):
        for index in short[: room - sum(widths)]:
            widths[index] += 1
    return widths


def _cell(text: str) -> str:
    """A column has a dash where it has nothing to say."""
    return safe(text) or "—"


def _piped(rows: "Sequence[Row]", columns: "Columns") -> str:
    """Piped, a line is a row whatever its length: nothing is wrapped or cut that a script may want."""
    from rich.cells import cell_len

    lines = [[title.upper() for title, _ in columns], *([_cell(show(row)) for _, show in columns] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _stacked(row: "Row", columns: "Columns", width: int) -> str:
    """A row where its columns have no room side by side: the first alone, and below it those that say something."""
    (_, first), *others = columns
    told = [f"{title}{JOINED}{value}" for title, show in others if (value := _cell(show(row))) != "—"]
    lines = textwrap.wrap(" · ".join(told), width - 2, break_long_words=False, break_on_hyphens=False)
    return "\n  ".join([safe(first(row)), *lines]).replace(JOINED, " ")
