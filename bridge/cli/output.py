"""How commands print: data on stdout, narration on stderr, nothing from outside unescaped."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import rich_click as click

FORMATS = ("table", "json", "jsonl", "ids")

Function = TypeVar("Function", bound=Callable[..., Any])
Row = Mapping[str, Any]
Columns = Sequence[tuple[str, Callable[[Row], str]]]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def output_option(command: Function) -> Function:
    """Adds `-o` and `--json` to a command that prints data."""
    command = click.option("--json", "as_json", is_flag=True, help="The same as -o json.")(command)
    option = click.option(
        "-o", "--output", type=click.Choice(FORMATS), envvar="BRIDGE_OUTPUT", help="How it is printed."
    )
    return option(command)


def chosen(ctx: click.Context, output: str | None, as_json: bool) -> str:
    """The format asked for: after the verb, before it, in BRIDGE_OUTPUT, or a table."""
    return "json" if as_json else output or (ctx.obj or {}).get("output") or "table"


def safe(value: object) -> str:
    """Text from outside, fit for a terminal: control and bidirectional characters are spelt out."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found.group()):02x}", str(value))


def emit(rows: Iterable[Row], how: str, columns: Columns, *, key: str) -> None:
    """Print rows: a table, one JSON array, one JSON object a line, or the ids alone."""
    if how == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif how == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    elif how == "ids":
        for row in rows:
            click.echo(safe(row[key]))
    else:
        _table(list(rows), columns)


def emit_one(row: Row, how: str, *, key: str) -> None:
    """Print one thing: its fields a line each, or JSON."""
    if how == "json":
        click.echo(json.dumps(row, indent=2))
    elif how == "jsonl":
        click.echo(json.dumps(row))
    elif how == "ids":
        click.echo(safe(row[key]))
    else:
        width = max(len(name) for name in row)
        for name, value in row.items():
            shown = value if isinstance(value, str | int | float | None) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{name:<{width}}  {'—' if shown is None else safe(shown)}")


def say(text: str) -> None:
    """Narrate: on stderr, so that data stays clean."""
    click.echo(text, err=True)


def ago(milliseconds: int | None, now: int | None = None) -> str:
    """How long ago a moment was, or how far ahead it is."""
    if milliseconds is None:
        return "—"
    seconds = ((now or int(time.time() * 1000)) - milliseconds) / 1000
    text = span(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(rows: Sequence[Row], columns: Columns) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Piped, a line is a row whatever its length: nothing is wrapped or cut that a script may want.
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for title, _ in columns:
        table.add_column(title.upper(), overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text(safe(show(row))) for _, show in columns))
    console.print(table)


def field(name: str) -> Callable[[Row], str]:
    """A column that shows a field as it is."""
    return lambda row: "—" if row.get(name) in (None, "") else str(row[name])
