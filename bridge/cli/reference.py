"""docs/cli.md, made from the commands themselves: `python -m bridge.cli.reference > docs/cli.md`.

It walks whatever commands there are, so that a new one needs nothing here.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from bridge.cli import EXIT_CODES, bridge
from bridge.cli.page import EXAMPLES

HEAD = """# The command line

Made from the commands themselves by `python -m bridge.cli.reference > docs/cli.md`; a test sees to it that it is up
to date. `bridge COMMAND --help` says the same at the terminal.

A noun, then a verb. Data goes to standard output, narration to standard error. `-o` has `table`, `json` (one array; one
object where a command tells of one thing, as `status`, `task show` and `endpoint add` do), `jsonl` (an object a line)
and, where there are any, `ids` (for the next command); `BRIDGE_OUTPUT` sets it for good. `-` reads ids from standard
input. Secrets never stand on a command line: `--secret-file F`, or `-` for standard input. Colour is left out in a pipe
and where `NO_COLOR` is set. `.venv/bin/bridge` is what is called `bridge` here.

An error is narration, with `--json` too: on standard error stand what failed and why, and after `→` the next command;
standard output stays empty, and programs go by the exit code. Where several things are named, each has its row in JSON,
those that failed among them. A reader that has read enough (`| head -1`) ends a command quietly, with 0.
"""


@dataclass(frozen=True)
class Page:
    """What the help of one command says, taken apart."""

    words: tuple[str, ...]
    """What follows `bridge`."""
    command: click.Command
    context: click.Context

    @property
    def path(self) -> str:
        """The command as it is typed."""
        return " ".join(("bridge", *self.words))

    @property
    def usage(self) -> str:
        """The command and its parameters, on one line."""
        return " ".join((self.path, *self.command.collect_usage_pieces(self.context)))

    @property
    def paragraphs(self) -> list[str]:
        """Its text, without the examples."""
        return [" ".join(one.split()) for one in self._blocks() if not one.startswith(EXAMPLES)]

    @property
    def examples(self) -> list[str]:
        """The command lines under Examples."""
        block = next((one for one in self._blocks() if one.startswith(EXAMPLES)), "")
        return [line.strip() for line in block.splitlines()[1:]]

    @property
    def options(self) -> list[click.Option]:
        """Its options, but for --help, which each has."""
        return [one for one in self.command.params if isinstance(one, click.Option) and not one.hidden]

    def _blocks(self) -> list[str]:
        text = inspect.cleandoc(self.command.help or "").partition("\f")[0]
        return [one.strip("\b\n") for one in text.split("\n\n")]


def pages(command: click.Command, words: Sequence[str] = (), above: click.Context | None = None) -> Iterator[Page]:
    """The command's page, and those of all that are below it, in the order of the help."""
    context = click.Context(command, info_name=words[-1] if words else "bridge", parent=above)
    yield Page(tuple(words), command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from pages(below, (*words, name), context)


def markdown(page: Page) -> str:
    """One command: a heading, its usage, its text, its options and its examples."""
    parts = [f"{'#' * min(len(page.words) + 1, 3)} {page.path}", f"    {page.usage}", *map(escaped, page.paragraphs)]
    if page.options:
        parts.append("\n".join(["| option | meaning |", "| --- | --- |", *(_row(one, page) for one in page.options)]))
    if page.examples:
        parts.append("\n".join(["Examples:", "", "```sh", *page.examples, "```"]))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text in which Markdown finds no markup but code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(one if one.startswith("`") else re.sub(r"([*<\[\]\\])", r"\\\1", one) for one in pieces)


def cell(text: str) -> str:
    """The same inside a table."""
    return escaped(text).replace("|", "\\|")


def _row(option: click.Option, page: Page) -> str:
    names = ", ".join(f"`{one}`" for one in sorted(option.opts + option.secondary_opts, key=len))
    takes = "" if option.is_flag else _metavar(option, page).replace("|", "\\|")
    facts = [f"default {option.default}"] if option.show_default and option.default is not None else []
    facts += [f"`{option.envvar}`"] if option.envvar else []
    facts += ["may be repeated"] if option.multiple else []
    meaning = cell(option.help or "") + (f" ({cell('; '.join(facts))})" if facts else "")
    return f"| {names}{f' `{takes}`' if takes else ''} | {meaning} |"


def _metavar(option: click.Option, page: Page) -> str:
    kind = option.type
    if option.metavar or not isinstance(kind, click.IntRange | click.FloatRange):
        return option.make_metavar(page.context)
    word = "INTEGER" if isinstance(kind, click.IntRange) else "NUMBER"
    least, most = ("" if one is None else f"{one:g}" for one in (kind.min, kind.max))
    return f"{word} from {least} to {most}" if most else f"{word} from {least}"


def render() -> str:
    """The whole of docs/cli.md."""
    codes = ["| exit code | meaning |", "| --- | --- |", *(f"| {code} | {text} |" for code, text in EXIT_CODES.items())]
    return "\n".join([HEAD, "\n".join(codes) + "\n", *map(markdown, pages(bridge))])


if __name__ == "__main__":
    sys.stdout.write(render())
