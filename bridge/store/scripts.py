"""Runs the Lua verbs. One verb is one file in `lua/`; each is one atomic step.

Calls made while a round trip is under way travel together in the next one: an idle caller waits for nothing, a busy one
shares the trip (and, under `appendfsync always`, the fsync). A call whose reply was lost is sent again with the same
arguments, which the scripts are written for.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis import exceptions
from redis.asyncio import Redis

from bridge.errors import ANOTHER_ADDRESS, LOG_IN, NoRedis, StoreAway, StoreDown, StoreLoading, StoreLocked

Argument = str | bytes | int | float

BATCH = 256
"""The most calls in one round trip."""

_AGAIN = "`bridge doctor` says what is wrong with it, `bridge health` when it is back"
_REFUSALS = {
    "MISCONF": "see its log for why it cannot write to its disk",
    "NOREPLICAS": "start the replicas that its min-replicas-to-write asks for, or redis-cli CONFIG SET it to 0",
    "MASTERDOWN": "this is a replica: let BRIDGE_REDIS_URL name the primary",
    "OOM": "free memory, or raise its maxmemory: bridge doctor has the command",
    "READONLY": "this is a replica: let BRIDGE_REDIS_URL name the primary",
    "LOADING": "wait: it reads its data after a start, and `bridge health` says when it is done",
    "CLUSTERDOWN": _AGAIN,
    "BUSY": "somebody's script runs for too long: redis-cli SCRIPT KILL",
    "UNBLOCKED": _AGAIN,
}
"""What Redis refuses with when it does not work now, and what helps."""
_BY_CLASS = {
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.BusyLoadingError: "LOADING",
}
"""The refusals whose word redis-py takes off, by what it raises instead."""
_REFUSED = re.compile(rf"(?:\s*|.*: -)({'|'.join(_REFUSALS)})\b", re.DOTALL)
"""Where a refusal stands: first, or before 7.0, of a command inside a script, further on."""
_PART = re.compile(r"^-- with: (\w+)$", re.MULTILINE)
"""How a verb names what it shares with a few others."""
_FORBIDDEN = re.compile(r"\bNOPERM\b|has no permissions to |user executing the script can't run")
"""What Redis says when our user lacks a command or a key; of a command inside a script, under another class."""

_NOT_CONNECTED = re.compile(r"Error (?:Multiple exceptions: \[Errno )?(-?\d+)(?:\].*)? connecting to (\S+)\. ?(.*)$")
"""What redis-py says of a connection that was not made: the system's number, of several addresses the first one's."""
_OF_A_PIPELINE = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: (?:\((['\"]))?(.*?)(?(1)\1,\))", re.DOTALL)
"""What redis-py makes of an error of one command of several: all of that command, whatever stands in it, and then the
error, which asyncio's has as a tuple."""
_UNNAMED = re.compile(r"HELLO must be called with|Authentication required")
"""What Redis says to who gave no password."""


@cache
def script_text(name: str, *, shebang: bool) -> str:
    """The text of one verb: prelude, the parts that it is written with, and body.

    Redis before 7 does not know the `#!lua` line, so it goes.
    """
    lua = files("bridge.store") / "lua"
    body = (lua / f"{name}.lua").read_text()
    head, _, rest = body.partition("\n")
    if not head.startswith("#!lua"):
        raise ValueError(f"{name}.lua has no #!lua line")
    parts = (lua / "parts" / f"{part}.lua" for part in _PART.findall(rest))
    shared = "".join(text.read_text() for text in (lua / "prelude.lua", *parts))
    return (head + "\n" if shebang else "") + shared + rest


def script_names() -> list[str]:
    """All verbs."""
    lua = files("bridge.store") / "lua"
    return sorted(
        entry.name[:-4] for entry in lua.iterdir() if entry.name.endswith(".lua") and entry.name != "prelude.lua"
    )


@cache
def commands() -> tuple[str, ...]:
    """Every Redis command that some verb runs."""
    texts = "".join(script_text(name, shebang=False) for name in script_names())
    return tuple(sorted(set(re.findall(r"redis\.p?call\('([A-Z]+)'", texts))))


class Scripts:
    """The verbs, bound to one Redis. `clock` gives milliseconds; 0 means Redis' own time."""

    def __init__(self, client: "Redis", prefix: str, *, shebang: bool, clock: Callable[[], int] = lambda: 0) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._shebang = shebang
        self._waiting: list[tuple[str, list[Argument], asyncio.Future[Any]]] = []
        self._courier: asyncio.Task[None] | None = None

    @cached_property
    def _texts(self) -> dict[str, str]:
        """All of them at the first call, so that what replaces the files later is not mixed in; a look has none."""
        return {name: script_text(name, shebang=self._shebang) for name in script_names()}

    @cached_property
    def _shas(self) -> dict[str, str]:
        return {name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._texts.items()}

    async def load(self, name: str) -> None:
        """Make a verb known to the server, which forgets it when it restarts."""
        await self._client.script_load(self._texts[name])

    async def rehearse(self) -> None:
        """Run each command of the verbs once, on scratch keys. Raises StoreDown when Redis does not permit one."""
        failed = [one.decode(errors="replace") for one in await self.call("rehearse", *commands())]
        denied = [name for name, error in zip(failed[::2], failed[1::2], strict=True) if _FORBIDDEN.search(error)]
        if denied:
            raise _not_permitted(", ".join(denied))

    async def call(self, name: str, *arguments: Argument, keys: Sequence[str] = ()) -> Any:
        """Run one verb. Raises StoreDown when Redis is away or refuses: outcome unknown, so repeat the call."""
        command: list[Argument] = [
            self._shas[name],
            1 + len(keys),
            self._prefix,
            *keys,
            *arguments,
            self._clock(),
        ]
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, command, future))
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry())
        return await future

    async def now(self) -> int:
        """The time that the verbs go by, in milliseconds. Raises StoreDown."""
        given = self._clock()
        if given:
            return given
        with store_errors():
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def close(self) -> None:
        """Let what is under way finish."""
        if self._courier is not None:
            await asyncio.wait([self._courier])

    async def _carry(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                replies = await self._trip([(name, command) for name, command, _ in batch])
            except Exception as error:  # whatever it was, each caller has to hear it
                replies = [error] * len(batch)
            for (_, _, future), reply in zip(batch, replies, strict=True):
                if future.cancelled():
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(as_store_error(reply))
                else:
                    future.set_result(reply)

    async def _trip(self, calls: list[tuple[str, list[Argument]]]) -> list[Any]:
        replies = await self._send([command for _, command in calls])
        forgotten = [i for i, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
        if forgotten:
            for name in sorted({calls[i][0] for i in forgotten}):
                await self.load(name)
            again = await self._send([calls[i][1] for i in forgotten])
            for i, reply in zip(forgotten, again, strict=True):
                replies[i] = reply
        return replies

    async def _send(self, commands: list[list[Argument]]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [await self._client.execute_command("EVALSHA", *commands[0])]  # type: ignore[no-untyped-call]
            except exceptions.ResponseError as error:
                return [error]
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command("EVALSHA", *command)
        return await pipe.execute(raise_on_error=False)


@contextmanager
def store_errors() -> Iterator[None]:
    """Around plain commands: what Redis raises becomes StoreDown, where it is that."""
    try:
        yield
    except (exceptions.RedisError, OSError, RuntimeError) as error:
        raise as_store_error(error) from None


def as_store_error(error: Exception) -> Exception:
    """Ours to wait out (StoreDown), or a bug to be seen as it is."""
    text = str(error)
    if several := _OF_A_PIPELINE.fullmatch(text):
        text = several[2]
    if isinstance(error, exceptions.AuthenticationError):
        return _locked(text)
    if isinstance(error, exceptions.NoPermissionError) or (
        isinstance(error, exceptions.RedisError) and _FORBIDDEN.search(text)
    ):
        return _not_permitted(text)
    if isinstance(error, exceptions.InvalidResponse):  # what it said is repeated to nobody
        return NoRedis(fix=ANOTHER_ADDRESS)
    if isinstance(error, exceptions.NoScriptError):  # forgotten again, between loading and calling
        return StoreDown("Redis forgets the scripts faster than they are loaded", fix="see who runs SCRIPT FLUSH")
    told = f"Redis: {unreached(text) or type(error).__name__}"
    if word := _refusal(error, text):
        kind = StoreLoading if word == "LOADING" else StoreDown
        return kind(told, fix=_REFUSALS[word])
    cut = isinstance(error, RuntimeError) and "handler is closed" in text  # uvloop's word for a connection that broke
    if cut or isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
        return StoreAway(told, fix=_AGAIN)
    return error


def unreached(text: str) -> str:
    """An error of redis-py's; of a connection that was not made, what the system says, and where it was to lead."""
    found = _NOT_CONNECTED.match(text)
    if not found:
        return text
    number, where, rest = found.groups()
    return f"{os.strerror(int(number)) if int(number) > 0 else rest.rstrip('.')} ({where})"


def _refusal(error: Exception, text: str) -> str:
    """The word that Redis refuses with, in the text of its own; empty where it does not."""
    found = isinstance(error, exceptions.RedisError) and _REFUSED.match(text)
    return found[1] if found else next((word for kind, word in _BY_CLASS.items() if isinstance(error, kind)), "")


def _locked(what: str) -> StoreLocked:
    if _UNNAMED.search(what):
        return StoreLocked("Redis wants a password, and BRIDGE_REDIS_URL has none", fix=LOG_IN)
    return StoreLocked(f"Redis does not accept the user and password of BRIDGE_REDIS_URL: {what}", fix=LOG_IN)


def _not_permitted(what: str) -> StoreDown:
    return StoreDown(
        f"Redis does not permit its user what the bridge needs: {what}",
        fix="`bridge contract acl` prints the lines of a user that may do enough; `ACL LOG 1` says what was denied",
    )
