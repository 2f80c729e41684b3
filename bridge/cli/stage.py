"""What `demo`, `dev` and `listen` share: a worker that ends with us, signals that end us cleanly, lines for eyes."""

import asyncio
import errno
import json
import os
import signal
import site
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import rich_click as click

from bridge.errors import BridgeError
from bridge.kinds import TASK, Kind

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from bridge.store import Store

T = TypeVar("T")

FOREIGN = ("BRIDGE_", "TWELVELABS_", "TWELVE_LABS_")
"""How the names of variables begin that would configure a worker."""

LIFELINE = "from bridge.cli.stage import work; raise SystemExit(work())"

TAIL_LINES = 8
LINE_BYTES = 1_048_576

Line = Mapping[str, Any]
"""One line of the worker's log; what is not JSON comes as `{"event": <text>}`."""


LOOPBACK = "127.0.0.1"
host_option = click.option(
    "--host",
    default=LOOPBACK,
    show_default=True,
    help="Listen on this address; 0.0.0.0 is all of them, for a container. Whoever reaches it may speak to it.",
)


@contextmanager
def port_errors(port: int) -> Iterator[None]:
    """Around the start of a server: a port that cannot be had becomes a BridgeError that says what to do."""
    try:
        yield
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken by another process" if taken else f"cannot be used: {error.strerror}"
        fix = f"name another port, or 0 for a free one; `lsof -i :{port}` tells who has it"
        raise BridgeError(f"Port {port} {why}.", fix=fix) from None


def work() -> int:
    """The child of `Worker`: the real worker, which is asked to stop when its standard input ends.

    So it goes the way of its parent, however that goes; its own children do the same one step further down.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from bridge.supervisor import main

    return main(["all"])


def _end_with_parent() -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held by this thread when the interpreter ends
    os.kill(os.getpid(), signal.SIGTERM)


class Worker:
    """`worker.py all` as a child process in a session of its own, so that Ctrl-C reaches us, and we end it in order."""

    def __init__(
        self,
        environment: Mapping[str, str],
        hear: Callable[[Line], None],
        *,
        directory: Path | None = None,
        grace_seconds: float = 21.0,
    ) -> None:
        """`hear` is called with each line of its log, in our loop. `directory` is where it looks for its files."""
        self._environment, self._directory, self._hear = dict(environment), directory, hear
        self._grace_seconds = grace_seconds
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            LIFELINE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            cwd=self._directory,
            start_new_session=True,
            limit=LINE_BYTES,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let it finish what is in flight and end; by force when that takes too long. Harmless when it has ended."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self._grace_seconds)
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        await self._reader

    async def ended(self) -> BridgeError:
        """Wait until it ends by itself, which it should not; what to say then."""
        await self._process.wait()
        await self._reader
        said = "\n".join(f"  {printable(line, 400)}" for line in self._tail)
        return BridgeError(f"The worker ended with {self._process.returncode}. Its last lines:\n{said}")

    async def _read(self) -> None:
        stream = self._process.stderr
        while stream is not None:
            try:
                raw = await stream.readline()
            except ValueError:
                continue  # a line longer than any of ours
            if not raw:
                return
            text = raw.decode(errors="replace").rstrip()
            self._tail.append(text)
            self._hear(_parsed(text))


def _parsed(text: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    return line if isinstance(line, dict) else {"event": text}


def environment(settings: Mapping[str, str], *, scrubbed: bool) -> dict[str, str]:
    """Our environment for a worker, `settings` laid over it; `scrubbed`: without anything that configures a bridge."""
    ours = {name: value for name, value in os.environ.items() if not (scrubbed and name.upper().startswith(FOREIGN))}
    package_root = str(Path(__file__).resolve().parents[2])
    if package_root not in {str(Path(one).resolve()) for one in (*site.getsitepackages(), site.getusersitepackages())}:
        # A checkout: its worker is to be found from another directory too.
        ours["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, ours.get("PYTHONPATH"))))
    return {**ours, "BRIDGE_LOG_FORMAT": "json", "BRIDGE_LOG_LEVEL": "INFO", **settings}


async def register(store: "Store", endpoints: Mapping[str, Mapping[str, Any]], tasks: Iterable[str] = ()) -> None:
    """Write the clients' keys, and nothing else, as any Redis client would; a known task is polled at once."""
    from bridge.store.scripts import store_errors

    with store_errors():
        for name, definition in endpoints.items():
            await store.client.hset(store.keys.endpoints, name, json.dumps(definition))
        if members := dict.fromkeys(tasks, 0):
            await store.client.zadd(store.keys.tasks, members)


def run(main: Coroutine[Any, Any, int], *, interrupted: int | None = None) -> int:
    """Run `main`; SIGINT, SIGTERM and SIGHUP cancel it, once, so that each `with` on the way out does its part.

    Replies what it returns; after a signal `interrupted`, or 128 + the signal's number.
    """

    async def guarded() -> int:
        task, loop, heard = asyncio.create_task(main), asyncio.get_running_loop(), list[int]()

        def hear(number: int) -> None:
            if not heard:
                heard.append(number)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, hear, number)
        try:
            return await task
        except asyncio.CancelledError:
            if not heard:
                raise
            return 128 + heard[0] if interrupted is None else interrupted

    return asyncio.run(guarded())


async def either(*works: Coroutine[Any, Any, T], bound_seconds: float | None = None) -> T | None:
    """The result of the one that is done first, or None in `bound_seconds`; the others have been cancelled by then."""
    tasks = [asyncio.create_task(one) for one in works]
    try:
        done, _ = await asyncio.wait(tasks, timeout=bound_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next((task.result() for task in tasks if task in done), None)


def console(*, stderr: bool = False) -> "Console":
    """Where lines go. Nothing that comes from outside is read as markup; the marks survive an ASCII terminal."""
    from rich.console import Console

    class Piped(Console):
        """One whose reader may leave: that ends a command as it does elsewhere, and not as a failure."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return Piped(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def printable(text: object, limit: int = 200) -> str:
    """Text from outside, fit for a terminal: no control or bidirectional characters, no more than `limit`."""
    head = str(text)[:limit]
    clean = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in head)
    return clean + "…" * (len(str(text)) > limit)


def stage_line(heard: Collection[str], kind: Kind = TASK, *, short: bool = False) -> "Text":
    """A task's way through its stages, from the statuses that it is known to have had. There are no percentages.

    `short` names the latest stage alone, for a narrow terminal.
    """
    from rich.text import Text

    end = next((one for one in heard if one in kind.terminal), "")
    latest = next((one for one in reversed(kind.stages) if one in heard), "")
    line = Text()
    for one in kind.stages:
        mark = "◐" if one == latest and not end else "●" if one in heard else "○"
        line.append(mark if short else f"{mark} {one}  ", style="cyan" if one in heard else "dim")
    mark, style = {"": ("○", "dim"), "ready": ("●", "bold green")}.get(end, ("✗", "bold red"))
    return line.append(f"{mark} {(end or latest) if short else (end or 'ready')}", style=style)


def came(line: Line) -> str:
    """What an attempt was answered with, from a line of the worker's log about it: a status code, or why none came."""
    code = line.get("status_code")
    return printable(f"{line.get('fault')}: {line.get('detail')}" if code is None else code)


def attempt_line(line: Line) -> "Text":
    """A line of the worker's log about an attempt, for eyes."""
    from rich.text import Text

    good = line.get("next") == "delivered"
    follows = line.get("next")
    if follows == "pending":
        follows = f"again in {(line.get('retry_in_ms') or 0) / 1000:.0f} s"
    elif line.get("reason"):
        follows = f"{follows}, {line['reason']}"
    return Text.assemble(
        f"{datetime.now():%H:%M:%S} ",
        ("✓", "green") if good else ("✗", "bold red"),
        f" {came(line)}  ",
        (printable(line.get("type")), "bold"),
        f"  {printable(line.get('task'))}  {printable(line.get('event_id'))}"
        f"  attempt {line.get('attempt')} ({line.get('duration_ms')} ms)",
        "" if good else f"  {follows}",
    )
