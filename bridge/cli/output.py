"""How commands print: data on stdout, narration on stderr, nothing from outside unescaped.

A row is what Redis knows, under the names that `-o json` shows. Moments are milliseconds in fields that end in `_at`;
JSON shows them as RFC 3339, tables as "4 s ago".
"""

import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TypeVar

import click as plain_click
import rich_click as click
from click.core import ParameterSource
from click.exceptions import Exit

from bridge.cli.calling import pasteable, program
from bridge.cli.word import Word
from bridge.errors import BridgeError, InvalidInput
from bridge.formats import rfc3339
from bridge.wording import safe as safe
from bridge.wording import safe_lines as safe_lines

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("table", "json", "jsonl", "ids")
FORMS = "table, json, jsonl or ids"
WITHOUT_IDS = FORMATS[:-1]
NAMED = 10
"""Of how many things a command complains by name; of the others it says how many they are."""
JOINED = "\0"
"""For a blank at which no line is broken, while lines are; `safe` leaves none in a text."""
EMPTY: Sequence[object] = (None, "", [], (), {})
"""What a field holds that has nothing to say."""

_PICTURE: "ContextVar[Console | None]" = ContextVar("_PICTURE", default=None)
Function = TypeVar("Function", bound=Callable[..., Any])
Row = Mapping[str, Any]
Columns = Sequence[tuple[str, Callable[[Row], str]]]


class FormWithoutIds(Word):
    """One of the forms of a command that has no ids. Who asks for them, after the verb or before it, is refused; who
    wants them of all commands, by BRIDGE_OUTPUT, gets its table."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """As click does."""
        if value == "ids" and ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
            return "table"
        if value == "ids":
            self.fail(f"it has no ids; choose one of {', '.join(map(repr, self.choices))}.", param, ctx)
        return super().convert(value, param, ctx)


def output_option(command: Function) -> Function:
    """Adds `-o` and `--json` to a command that prints data."""
    return _with_options(command, Word(FORMATS), FORMS)


def output_without_ids(command: Function) -> Function:
    """The same for a command that prints what has no ids."""
    return _with_options(command, FormWithoutIds(WITHOUT_IDS), "table, json or jsonl")


def _with_options(command: Function, form: Word, forms: str) -> Function:
    command = click.option("--json", "as_json", is_flag=True, help="The same as -o json.")(command)
    option = click.option("-o", "--output", type=form, envvar="BRIDGE_OUTPUT", metavar="FORM",
                          help=f"How it is printed: {forms}.")  # fmt: skip
    return option(command)


def chosen(ctx: plain_click.Context, output: str | None, as_json: bool) -> str:
    """The format asked for: after the verb, before it, in BRIDGE_OUTPUT, or a table."""
    if as_json:
        return "json"
    before = (ctx.obj or {}).get("output")
    said = output if ctx.get_parameter_source("output") is not ParameterSource.ENVIRONMENT else None
    how = said or before or output or "table"
    if how == "ids" and not _has_ids(ctx.command):
        command = ctx.command_path
        raise InvalidInput(f"{command} has no ids; choose table, json or jsonl", fix=f"{command} --help")
    return how


def _has_ids(command: plain_click.Command) -> bool:
    return not any(isinstance(one.type, FormWithoutIds) for one in command.params)


def emit(rows: Iterable[Row], how: str, columns: Columns, *, key: str, spare: Sequence[str] = ()) -> None:
    """Print rows: a table, one JSON array, one JSON object a line, or the ids alone.

    `spare`: the columns that a table may do without at a narrow terminal, the least needed first.
    """
    if how == "json":
        click.echo(as_json([plain(row) for row in rows], indent=2))
    elif how == "jsonl":
        for row in rows:
            click.echo(as_json(plain(row)))
    elif how == "ids":
        for row in rows:
            click.echo(safe(row[key]))
    else:
        from bridge.cli.table import print_table

        print_table(list(rows), columns, spare)


def emit_one(row: Row, how: str, *, key: str) -> None:
    """Print one thing: its fields a line each, or JSON."""
    if how in {"json", "jsonl"}:
        click.echo(as_json(plain(row), indent=2 if how == "json" else None))
    elif how == "ids":
        click.echo(safe(row[key]))
    else:
        click.echo(fields_of(row))


def fields_of(row: Row) -> str:
    """The fields of one thing that say something, a line each."""
    told = {_label(name): _shown(name, value) for name, value in row.items() if value not in EMPTY}
    width = max(map(len, told), default=0)
    blank = " " * (width + 2)
    lines = ((f"{label:<{width}}  ", indented(text, blank).removeprefix(blank)) for label, text in told.items())
    return "\n".join(f"{label}{text}".rstrip() for label, text in lines)


def plain(value: Any) -> Any:
    """A row as JSON shows it: moments as RFC 3339."""
    if isinstance(value, Mapping):
        return {name: _moment(one) if name.endswith("_at") else plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON in ASCII: no character of it means anything to a terminal, and any decoder reads it."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def say(text: str) -> None:
    """Narrate: on stderr, so that data stays clean. A secret that was typed in a wrong place is not repeated."""
    from bridge.redaction import narrated

    told = pasteable(narrated(text))
    console = _PICTURE.get()
    if console is None or not sys.stderr.isatty():
        click.echo(told, err=True)
        return
    from rich.text import Text

    console.print(Text(told))


@contextmanager
def above(console: "Console") -> Iterator[None]:
    """While this console shows a live picture: what is narrated at its terminal stands above that, and not within."""
    token = _PICTURE.set(console)
    try:
        yield
    finally:
        _PICTURE.reset(token)


def complain(error: BridgeError) -> None:
    """What failed, why, and the next thing to do."""
    say(f"Error: {safe_lines(str(error))}")
    if error.fix:
        say(f"  → {safe(error.fix)}")


@contextmanager
def read_or_not() -> Iterator[None]:
    """Whoever reads us may have read enough (`| head -1`): that ends a command, and is no failure of it.

    What Python would still flush at its end goes nowhere then.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(0) from None


def indented(text: str, indent: str, hang: str = "") -> str:
    """At a terminal on as many lines as it needs there; piped on one, as a script may want it.

    Each line begins with `indent`, all but the first with `hang` as well.
    """
    if not sys.stdout.isatty():
        return indent + text
    width = get_terminal_size().columns
    return "\n".join(
        textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + hang, break_long_words=False,
                      break_on_hyphens=False)
    )  # fmt: skip


def unbroken(text: str, indent: str) -> str:
    """The same, except that no line ends within a command of ours, as far as that has room on one."""
    room = get_terminal_size().columns - len(indent)
    command = re.compile(rf"(?<![\w./-]){re.escape(program())} [a-z].*?(?=[;,:)`]+ | \(|[;,:.)`]*$)")

    def joined(found: re.Match[str]) -> str:
        whole = found[0]
        return whole.replace(" ", JOINED, -1 if len(whole) < room else 1)  # at least what is run, with its verb

    return indented(command.sub(joined, text), indent).replace(JOINED, " ")


def with_command(line: str, hang: str = "  ") -> str:
    """A line as `indented` breaks it, except that a command at its end, after an arrow, stays whole: to be pasted."""
    indent = line[: len(line) - len(line.lstrip())]
    if not sys.stdout.isatty() or len(line) <= get_terminal_size().columns:
        return line
    words, arrow, command = line.removeprefix(indent).partition("→ bridge ")
    told = [indented(words.rstrip(), indent, hang)] if words else []
    return "\n".join([*told, *([f"{indent}{hang * bool(words)}{arrow}{command}"] if arrow else [])])


def ago(milliseconds: int | None, now: int | None = None) -> str:
    """How long ago a moment was, or how far ahead it is."""
    if milliseconds is None:
        return "—"
    seconds = ((int(time.time() * 1000) if now is None else now) - milliseconds) / 1000
    text = span(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def soon(milliseconds: int | None) -> str:
    """How far ahead a moment is; what is past is due now, and so is what nobody knows."""
    return "now" if milliseconds is None or milliseconds <= time.time() * 1000 else ago(milliseconds)


def due(milliseconds: int | None) -> str:
    """When the next of something comes: ahead, or due already, as nobody has got to it yet."""
    if milliseconds is None:
        return "—"
    text = soon(milliseconds)
    return "due now" if text == "now" else text


def next_due(milliseconds: int) -> str:
    """The same in a sentence: `next in 4 s`, or `due now`."""
    text = due(milliseconds)
    return text if text.startswith("due") else f"next {text}"


def span(seconds: float) -> str:
    """A length of time in one unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def field(name: str) -> Callable[[Row], str]:
    """A column that shows a field as it is."""
    return lambda row: "—" if row.get(name) in (None, "") else str(row[name])


def when(name: str) -> Callable[[Row], str]:
    """A column that shows a moment as a distance from now."""
    return lambda row: ago(row.get(name))


def upcoming(name: str) -> Callable[[Row], str]:
    """A column that shows the moment of what comes next."""
    return lambda row: due(row.get(name))


def _moment(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, int) and 0 <= value < 10**14 else value


def _label(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_at") and isinstance(value, int):
        return f"{_moment(value)} ({due(value) if name == 'next_at' else ago(value)})"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return safe(", ".join(value))
    return safe(value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False))
