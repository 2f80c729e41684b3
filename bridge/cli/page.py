"""How a help page looks: paragraphs apart, examples that can be copied at any width, no blanks at the ends of lines.

It is put on from outside (`dressed`), so that a command is written as click has it and needs to know nothing of this.
"""

import re
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich_click.rich_help_formatter import RichHelpFormatter

if TYPE_CHECKING:
    from rich.markdown import Markdown
    from rich.text import Text

LOOK = {"padding_helptext_first_line": (0, 0, 1, 0), "text_paragraph_linebreaks": "\n\n"}
"""What rich-click is told: an empty line between paragraphs."""
EXAMPLES = "Examples:\n"
WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")
"""A word as a shell has it: what is quoted stays together."""
NARROW = 60
"""Below so many columns an option shares one of the table's with what it takes: a word of its help is not cut then."""
MARGIN = 2
"""The columns that stay free on the left and on the right of a page, together."""


class PageFormatter(RichHelpFormatter):
    """Writes a page as rich-click does, but for the examples, whose lines are a shell's."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if self.console.width < NARROW:
            self.config.options_table_column_types = ["opt_all_metavar", "help"]
            self.config.style_options_table_padding = (0, 1, 0, 0)

    def rich_text(self, text: Any, style: Any = "") -> "Text | Markdown":
        """The text as rich-click makes it; a block of examples keeps its indent and its line ends."""
        from rich.text import Text

        if not isinstance(text, str) or not (found := re.search(rf"^{EXAMPLES}", text, re.MULTILINE)):
            return super().rich_text(text, style)
        before, block = text[: found.start()].strip(), text[found.end() :]
        lines = [line.strip() for line in block.partition("\n\n")[0].splitlines() if line.strip()]
        rest = block.partition("\n\n")[2].strip()
        shown = EXAMPLES + "\n".join(folded(line, self.console.width - MARGIN) for line in lines)
        return Text("\n\n".join(filter(None, (before, shown, rest))), style=style)

    def getvalue(self) -> str:
        """The page, without the blanks that fill its lines."""
        return "\n".join(line.rstrip() for line in super().getvalue().split("\n"))


class PageContext(click.RichContext):
    """A context whose help is such a page."""

    formatter_class = PageFormatter


def dressed(command: click.Command) -> click.Command:
    """The same command, and every one below it, with such a page for its help."""
    command.context_class = PageContext
    for below in getattr(command, "commands", {}).values():
        dressed(below)
    return command


def folded(command: str, width: int) -> str:
    """A shell command, indented, on as many lines as the width needs; each but the last ends in a backslash."""
    lines, line = [], "  "
    for word in WORD.findall(command):
        longer = f"{line}{word}" if line.isspace() else f"{line} {word}"
        if len(longer) + len(" \\") > width and not line.isspace():
            lines.append(f"{line} \\")
            longer = f"    {word}"
        line = longer
    return "\n".join([*lines, line])
