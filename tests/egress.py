"""An HTTP proxy on a real socket that opens tunnels, and writes down what it was asked."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from bridge.transport import Proxy


class Egress:
    """Answers CONNECT with `answer`; after a 2xx it carries bytes both ways. With `answer` None it says nothing."""

    def __init__(self, answer: bytes | None = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.refuses: dict[str, bytes | None] = {}
        """Authority → what is answered instead."""
        self.heads: list[str] = []
        self.heard = asyncio.Event()
        """A tunnel was asked for."""
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def asked(self) -> list[str]:
        """The authorities that tunnels were asked for."""
        return [head.split()[1] for head in self.heads]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://user:s3cr%40t@127.0.0.1:{self.port}"
        self.proxy = Proxy.parse(self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.idle()
        await self._server.wait_closed()

    async def idle(self) -> None:
        """Every connection so far has ended, and no script of ours failed."""
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.heard.set()
            answer = self.refuses.get(self.asked[-1], self.answer)
            if answer is None:
                await reader.read()
            elif answer.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" in answer:
                await self._tunnel(reader, writer, answer)
            else:
                writer.write(answer)
                await writer.drain()
        await close(writer)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        host, _, port = self.asked[-1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        self._writers.append(far_writer)
        writer.write(answer)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes, until there are no more."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait for it."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
