"""What a measurement leaves in benchmarks/results/: raw data, a table and a picture for each scenario."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any, Protocol
from xml.sax.saxutils import escape

from benchmarks.stage import HERE

RESULTS = HERE / "benchmarks" / "results"
MANY = 200
"""Of a longer row of numbers the percentiles are kept, from 0 to 100."""
_ROUND = re.compile(r", round \d+")
LEFT, RIGHT, ROW = 300, 760, 26
"""Of a picture: where its dots begin and end, and how high a line is."""


class Told(Protocol):
    """What a run came to."""

    @property
    def figure(self) -> tuple[float, str]:
        """What it is about, in one number, with its unit."""
        ...

    def lines(self) -> str:
        """All of it, in a person's words."""
        ...


class Record:
    """One scenario's runs, written as they come: `NAME.jsonl`; at the end `NAME.md` and `NAME.svg` from them."""

    def __init__(self, name: str) -> None:
        RESULTS.mkdir(exist_ok=True)
        self._name, self._runs, self._told = name, list[tuple[str, Told]](), list[str]()
        self._raw = (RESULTS / f"{name}.jsonl").open("w")
        self._write({"machine": machine()})

    def add(self, title: str, result: Told | None) -> None:
        """One run, or with None a comparison of those before it."""
        self._told.append(title if result is None else f"{title}\n{result.lines()}")
        if result is None:
            self._write({"comparison": title})
            return
        self._runs.append((title, result))
        self._write({"run": title, "load": round(os.getloadavg()[0], 2), **kept(asdict(result))})  # type: ignore[call-overload]

    def close(self) -> None:
        """Write table and picture."""
        self._raw.close()
        rows = figures(self._runs)
        lines = [f"# {self._name}", "", ", ".join(f"{key} {value}" for key, value in machine().items()), ""]
        lines += ["| | median | | runs |", "| --- | --- | --- | --- |"]
        lines += [f"| {title} | {median(numbers):,.1f} | {unit} | {len(numbers)} |" for title, unit, numbers in rows]
        lines += ["", "```", *self._told, "```", ""]
        (RESULTS / f"{self._name}.md").write_text("\n".join(lines))
        if rows:
            (RESULTS / f"{self._name}.svg").write_text(picture(self._name, rows))

    def _write(self, line: Mapping[str, Any]) -> None:
        self._raw.write(json.dumps(line, default=str) + "\n")
        self._raw.flush()


def machine() -> dict[str, str]:
    """Where and when it is measured, as far as figures depend on it."""
    redis = re.search(r"v=(\S+)", _output("redis-server", "--version"))
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "redis": redis[1] if redis else "?",
        "kernel": platform.release().partition("-")[0],
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()


def kept(fields: dict[str, Any]) -> dict[str, Any]:
    """The same, with long rows of numbers as percentiles."""
    return {name: _percentiles(value) if isinstance(value, list | tuple) else value for name, value in fields.items()}


def _percentiles(numbers: Sequence[Any]) -> Sequence[Any]:
    if len(numbers) <= MANY or not all(isinstance(one, int | float) for one in numbers):
        return numbers
    ordered = sorted(numbers)
    return [round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 3) for share in range(101)]


def figures(runs: Sequence[tuple[str, Told]]) -> list[tuple[str, str, list[float]]]:
    """Title, unit, and the figure of each round, in the order of their first runs."""
    rows: dict[tuple[str, str], list[float]] = {}
    for title, result in runs:
        figure, unit = result.figure
        rows.setdefault((_ROUND.sub("", title), unit), []).append(figure)
    return [(title, unit, numbers) for (title, unit), numbers in rows.items()]


def picture(name: str, rows: Sequence[tuple[str, str, list[float]]]) -> str:
    """A row for each title: a dot for each round, a stroke at their median."""
    most = max(max(numbers) for _, _, numbers in rows) or 1.0
    shapes = [f'<text x="8" y="18" font-weight="bold">{escape(name)}</text>']
    for row, (title, unit, numbers) in enumerate(rows, 1):
        y, middle = ROW * row + 16, median(numbers)
        dots = [LEFT + one / most * (RIGHT - LEFT) for one in numbers]
        x = LEFT + middle / most * (RIGHT - LEFT)
        shapes += [
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(title)}</text>',
            *(f'<circle cx="{dot:.1f}" cy="{y}" r="4" fill="#3b82f6" opacity=".45"/>' for dot in dots),
            f'<path d="M{x:.1f} {y - 8}v16" stroke="#1e3a8a" stroke-width="2"/>',
            f'<text x="{RIGHT + 12}" y="{y + 4}">{middle:,.1f} {escape(unit)}</text>',
        ]
    size = f'width="{RIGHT + 160}" height="{ROW * (len(rows) + 2)}"'
    style = 'style="font-family:sans-serif;font-size:12px;background:#fff"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *shapes, "</svg>", ""])
