"""Between a command and the store: settings, one open Redis, and ids from the command line or standard input."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

import rich_click as click
from click.exceptions import Exit

from bridge.cli.output import safe, say
from bridge.deployment import where_is
from bridge.errors import START_REDIS, InvalidInput, NoRedis, StoreAway, StoreDown

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

OPEN_SECONDS = 3.0
"""A person waits no longer for a Redis that does not answer."""

Result = TypeVar("Result")
Work = Callable[["Store", "Settings"], Awaitable[Result]]


def settings_of(ctx: click.Context) -> "Settings":
    """The settings as every door reads them."""
    from bridge.settings import load_settings

    return load_settings(config=(ctx.obj or {}).get("config"))


def with_store(ctx: click.Context, work: Work[Result], *, look: bool = False) -> Result:
    """Run `work` on an open store. A command that only looks, or writes what clients write, accepts any Redis.

    `look`: nothing is written by opening it either, not even the version of the data.
    """
    settings = settings_of(ctx)
    return asyncio.run(_with_store(settings, work, look=look))


async def _with_store(settings: "Settings", work: Work[Result], *, look: bool) -> Result:
    from bridge.store.reading import reading_errors

    async with AsyncExitStack() as stack:
        with naming_redis(settings), reading_errors():
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    store = await stack.enter_async_context(_opening(settings, look=look))
            except TimeoutError:
                raise StoreAway(f"Redis does not answer within {OPEN_SECONDS:g} s", fix=START_REDIS) from None
            try:
                return await work(store, settings)
            except Exception:
                if (task := asyncio.current_task()) and task.cancelling():
                    raise asyncio.CancelledError from None  # Ctrl-C, which redis-py may turn into an error of its own
                raise


@contextmanager
def naming_redis(settings: "Settings") -> Iterator[None]:
    """Of a Redis that does not answer, or is none, say which one: a URL may be set in many places, or nowhere."""
    try:
        yield
    except StoreDown as error:
        if error.fix != START_REDIS and not isinstance(error, NoRedis):
            raise
        told, fix = named_redis(error, settings)
        raise StoreDown(told, fix=fix) from None


def named_redis(error: StoreDown, settings: "Settings") -> tuple[str, str]:
    """What is said of a Redis that does not answer, with its place, and what starts that one; or why it refuses."""
    if isinstance(error, NoRedis):
        return f"what listens at {where_is(settings.redis_url.get_secret_value())} is no Redis", error.fix
    if error.fix and not isinstance(error, StoreAway):
        return str(error), error.fix
    url = settings.redis_url.get_secret_value()
    where = "" if where_is(url) in str(error) else f" ({where_is(url)})"
    return f"{error}{where}", settings.deployment.start_redis(url)


@asynccontextmanager
async def _opening(settings: "Settings", *, look: bool) -> "AsyncIterator[Store]":
    from bridge.store import Store
    from bridge.store.scripts import store_errors

    url, prefix = settings.redis_url.get_secret_value(), settings.prefix
    if not look:
        async with Store.open(url, prefix=prefix, allow_volatile=True) as store:
            yield store
        return
    async with Store.look(url, prefix=prefix) as store:
        try:
            with store_errors():
                await store.client.ping()
        except StoreAway as error:
            raise StoreAway(str(error), fix=START_REDIS) from None
        yield store


def ids_from(words: Sequence[str]) -> list[str]:
    """The ids named, `-` meaning those on standard input: one a line, blank lines and # comments skipped.

    Where that holds none the command ends well: what wrote them found nothing, and there is nothing to do.
    """
    ids: list[str] = []
    for word in words:
        ids += _read() if word == "-" else [word]
    if not ids and "-" in words:
        say("Nothing to do: no id came by standard input.")
        raise Exit(0)
    if not ids:
        raise InvalidInput("no id was given", fix="name one or more, or `-` to read them from standard input")
    return list(dict.fromkeys(ids))


def _read() -> list[str]:
    lines = sys.stdin.buffer.read().decode("utf-8-sig", "surrogateescape").split("\n")
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def names_in(texts: Sequence[str]) -> list[str]:
    """The items of options that may be given several times, each a list with commas."""
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def speakable(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A click callback: refuse a name that is no text, before Redis has to."""
    if value is not None and not value.isprintable():
        raise InvalidInput(f"“{safe(value)}” is not a name", fix="write it in printable characters")
    return value
