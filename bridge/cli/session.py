"""Between a command and the store: settings, one open Redis, and ids from the command line or standard input."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import rich_click as click

from bridge.errors import InvalidInput

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

Result = TypeVar("Result")
Work = Callable[["Store", "Settings"], Awaitable[Result]]


def settings_of(ctx: click.Context) -> "Settings":
    """The settings as every door reads them."""
    from bridge.settings import load_settings

    return load_settings(config=(ctx.obj or {}).get("config"))


def with_store(ctx: click.Context, work: Work[Result]) -> Result:
    """Run `work` on an open store. A command that only looks, or writes what clients write, accepts any Redis."""
    settings = settings_of(ctx)
    return asyncio.run(_with_store(settings, work))


async def _with_store(settings: "Settings", work: Work[Result]) -> Result:
    from bridge.store import Store

    url = settings.redis_url.get_secret_value()
    async with Store.open(url, prefix=settings.prefix, allow_volatile=True) as store:
        return await work(store, settings)


def ids_from(words: Sequence[str]) -> list[str]:
    """The ids named, `-` meaning those on standard input: one a line, blank lines and # comments skipped."""
    ids: list[str] = []
    for word in words:
        ids += _read(sys.stdin) if word == "-" else [word]
    if not ids:
        raise InvalidInput("no id was given", fix="name one or more, or `-` to read them from standard input")
    return list(dict.fromkeys(ids))


def _read(lines: Iterable[str]) -> list[str]:
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def seconds_from(text: str) -> float:
    """Read `90`, `90s`, `30m`, `2h` or `1d` as seconds."""
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise InvalidInput(f"“{text}” is not a length of time", fix="write 90, 90s, 30m, 2h or 1d")
    return seconds
