"""docs/pictures/demo.svg, made from a real `bridge demo`: `python -m tests.pictures`.

Not every line has room: what is left out is a line of its own, `…`, and a line that is too long ends in `…`. Ports,
pids and hundredths of a second are made even, so that a new picture differs little from the last one.
"""

import asyncio
import html
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from bridge.cli import demo

PICTURE = Path(__file__).resolve().parents[1] / "docs/pictures/demo.svg"
COLUMNS = 108
LEFT_OUT = "…"
PROMPT = "$ make demo"
FIRST_ATTEMPTS, BOUND_SECONDS = 7, 60.0
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""As the real console is."""
CHAR_WIDTH = 20 * 0.61
"""Of rich's SVG, in its units."""
TEXT = re.compile(
    r'<text (?P<class>class="[^"]*") x="(?P<x>[^"]*)" (?P<y>y="[^"]*") textLength="[^"]*" (?P<rest>[^>]*)>'
    r"(?P<inner>[^<]*)</text>"
)

GROUND, INK = (16, 20, 28), (214, 220, 228)
RED, GREEN, YELLOW = (255, 123, 114), (86, 211, 100), (240, 190, 80)
BLUE, MAGENTA, CYAN = (121, 192, 255), (210, 168, 255), (86, 212, 221)
THEME = TerminalTheme(GROUND, INK, [GROUND, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, INK])
"""Dark; each colour can be read on it."""

SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>bridge demo in a terminal</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", "Liberation Mono", monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own form asks another host for its font; this one asks nobody."""


async def performed() -> list[Text]:
    """The lines of a demo that runs now, with their colours."""
    console = Console(record=True, file=io.StringIO(), width=10_000, **PLAIN)
    play = demo.Play()
    await demo.perform(console, play, BOUND_SECONDS)
    demo.conclude(console, play.tally())
    return [Text.from_ansi(line) for line in console.export_text(styles=True).splitlines()]


def chosen(lines: Sequence[Text]) -> list[Text]:
    """The beginning until an attempt fails, the end of that task, its retry, and all that follows the last event."""
    events = [number for number, line in enumerate(lines) if "signature" in line.plain]
    stumble = next(number for number in events if "on purpose" in lines[number].plain)
    kept = {*range(events[0] + FIRST_ATTEMPTS), stumble, events[-1], *range(events[-1] + 1, len(lines))}
    kept |= {number for number in events if re.search(r" failed |the retry", lines[number].plain)}
    shown: list[Text] = []
    for before, number in zip([-1, *sorted(kept)], sorted(kept), strict=False):
        shown += [Text(LEFT_OUT, "dim")] if number > before + 1 else []
        shown.append(lines[number])
    return shown


def evened(line: Text) -> Text:
    """The line without what differs between two runs that are alike, and no longer than the picture is wide."""
    for pattern, replacement in ((r"port \d+", "port 6390"), (r"pid \d+", "pid 4711"), (r":\d{4,5}/", ":8790/")):
        if found := re.search(pattern, line.plain):
            line = Text.assemble(line[: found.start()], replacement, line[found.end() :])
    if found := re.match(r" *(\d+\.\d)\d s  ", line.plain):
        line = Text.assemble(f"{found[1] + '0':>6} s  ", line[found.end() :])
    return line if len(line) <= COLUMNS else Text.assemble(line[: COLUMNS - 1], LEFT_OUT)


def drawn(lines: Iterable[Text]) -> str:
    """The picture, as SVG."""
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, **PLAIN)
    console.print(Text(PROMPT, "bold"))
    for line in lines:
        console.print(line, no_wrap=True)
    picture = console.export_svg(title="", theme=THEME, code_format=SVG, unique_id="demo")
    return TEXT.sub(_without_blanks, picture)


def _without_blanks(found: re.Match[str]) -> str:
    """The same text where its first visible character stands: some viewers drop blanks at the beginning."""
    inner = found["inner"].replace("&#160;", "\xa0")
    blanks, kept = len(inner) - len(inner.lstrip()), inner.strip()
    if not kept:
        return ""
    x, length = float(found["x"]) + blanks * CHAR_WIDTH, len(html.unescape(kept)) * CHAR_WIDTH
    shown = kept.replace("\xa0", "&#160;")
    return f'\n<text {found["class"]} x="{x:g}" {found["y"]} textLength="{length:g}" {found["rest"]}>{shown}</text>'


def lines_of(picture: Path) -> list[str]:
    """The text lines of a picture, from top to bottom."""
    rows: dict[float, str] = {}
    for one in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text"):
        if "textLength" in one.attrib:
            y, column = float(one.attrib["y"]), round(float(one.attrib["x"]) / CHAR_WIDTH)
            rows[y] = rows.get(y, "").ljust(column) + (one.text or "").replace("\xa0", " ")
    return [rows[y] for y in sorted(rows)]


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn(map(evened, chosen(asyncio.run(performed())))), encoding="utf-8")
    sys.stdout.write("\n".join(lines_of(PICTURE)) + "\n")
