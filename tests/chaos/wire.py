"""The wire between a client and Redis, as a TCP proxy that reads RESP and spoils it when told: reply by reply.

Each connection carries one command at a time, so what is spoilt is known: this command, before or after it ran.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import hiredis

from bridge.sandbox.thread import LoopThread, in_thread

RST_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befalls a command. Without any of it, Redis' own answer passes untouched."""

    error: str = ""
    """Answer with this error; Redis never hears the command."""
    cut_before: bool = False
    """Reset the connection; Redis never hears the command."""
    cut_after: bool = False
    """Redis runs the command, then the connection is reset instead of its answer."""
    half: bool = False
    """Redis runs the command, the first half of its answer passes, then the connection is reset."""
    delay_seconds: float = 0.0
    """The answer comes so much later."""


Judge = Callable[[Sequence[bytes]], Trouble | None]
"""What befalls this command (its words); None for nothing."""


class Wire:
    """Listens on a port of its own in front of one Redis."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._judge: Judge = lambda _: None
        self.spoilt: Counter[str] = Counter()
        """How many commands something befell, by their first word in capitals."""

    @property
    def url(self) -> str:
        """The Redis behind the wire."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @contextmanager
    def in_thread(self) -> Iterator[LoopThread]:
        """Run it beside synchronous code."""
        with in_thread(self) as inside:
            yield inside

    @contextmanager
    def spoiling(self, judge: Judge | Trouble) -> Iterator[None]:
        """What befalls commands meanwhile; every one of them, if it is said without a judge."""
        self.spoilt.clear()
        self._judge = judge if callable(judge) else lambda _: judge
        try:
            yield
        finally:
            self._judge = lambda _: None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_writer = None
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
            commands, answers = hiredis.Reader(), hiredis.Reader()
            while chunk := await reader.read(65536):
                commands.feed(chunk)
                while (command := commands.gets()) is not False:
                    if not await self._one(command, answers, redis_reader, redis_writer, writer):
                        return
        except OSError:
            return
        finally:
            for side in (writer, redis_writer):
                if side is not None:
                    side.close()
                    with suppress(OSError):
                        await side.wait_closed()

    async def _one(
        self,
        command: list[bytes],
        answers: hiredis.Reader,
        redis_reader: asyncio.StreamReader,
        redis_writer: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Carry one command and its answer; replies whether the connection lives on."""
        trouble = self._judge(command)
        if trouble is not None:
            self.spoilt[command[0].decode().upper()] += 1
        trouble = trouble or Trouble()
        if trouble.cut_before:
            return _reset(writer)
        if trouble.error:
            answer = f"-{trouble.error}\r\n".encode()
        else:
            redis_writer.write(
                b"".join([b"*%d\r\n" % len(command), *(b"$%d\r\n%b\r\n" % (len(w), w) for w in command)])
            )
            answer = await _answer(answers, redis_reader)
        await asyncio.sleep(trouble.delay_seconds)
        if trouble.cut_after or not answer:
            return _reset(writer)
        writer.write(answer[: len(answer) // 2] if trouble.half else answer)
        await writer.drain()
        return not trouble.half or _reset(writer, hard=False)


async def _answer(answers: hiredis.Reader, redis_reader: asyncio.StreamReader) -> bytes:
    """One whole answer, as the bytes that it came in; empty when Redis is gone."""
    raw = b""
    while chunk := await redis_reader.read(65536):
        raw += chunk
        answers.feed(chunk)
        if answers.gets() is not False:
            return raw
    return b""


def _reset(writer: asyncio.StreamWriter, *, hard: bool = True) -> bool:
    """Close by RST, or softly where bytes are still to arrive."""
    if hard:
        found = writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    writer.close()
    return False
