"""A hostile HTTP server on a real socket: each connection is played by a script, which may do anything a peer can."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from bridge.transport import Origin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: "Misbehaviour") -> None:
        self._reader = reader
        self._writer = writer
        self._server = server
        self.closed_by_client = asyncio.Event()

    @property
    def tls(self) -> ssl.SSLObject:
        """The server's side of the TLS connection."""
        return self._writer.get_extra_info("ssl_object")  # type: ignore[no-any-return]

    @property
    def address(self) -> str:
        """The address that the client dialled."""
        return str(self._writer.get_extra_info("sockname")[0])

    async def request(self) -> bytes:
        """Read one whole request; IncompleteReadError ends the script when the client is gone."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
        )
        request = head + await self._reader.readexactly(length)
        self._server.requests.append(request)
        self._server.asked.set()
        return request

    def send(self, data: bytes) -> None:
        """Send, or let the loop send when it can."""
        self._writer.write(data)

    def send_now(self, data: bytes) -> None:
        """Send before this call returns: the bytes are in the client's kernel while its loop cannot have run."""
        os.write(self._writer.get_extra_info("socket").fileno(), data)

    async def pour(self, data: bytes) -> None:
        """Send the same again and again, as fast as the client takes it, until it closes."""
        while True:
            self._writer.write(data)
            await self._writer.drain()

    async def drip(self, data: bytes, every_seconds: float = 0.02) -> None:
        """Send byte by byte, for ever slow enough to bore and fast enough to keep a per-read timeout from firing."""
        for index in range(len(data)):
            self.send(data[index : index + 1])
            await self._writer.drain()
            await asyncio.sleep(every_seconds)

    def stop_reading(self) -> None:
        """Leave everything that comes in the kernel's buffers, until they are full."""
        cast(asyncio.Transport, self._writer.transport).pause_reading()

    def close(self) -> None:
        """Close in good order."""
        self._writer.close()

    def reset(self) -> None:
        """Close with RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass
        self.closed_by_client.set()


Script = Callable[[Peer], Awaitable[None]]


class Misbehaviour:
    """The server. The nth connection is played by the nth script, all further ones by the last."""

    def __init__(self, *scripts: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._host = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        """A whole request was read, on whichever connection."""
        self.origin = Origin("https" if tls else "http", host, 0)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls)
        port: int = self._server.sockets[0].getsockname()[1]
        self.origin = Origin(self.origin.scheme, self._host, port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many connections were accepted (for TLS: shook hands)."""
        return len(self.peers)

    def named(self, host: str) -> Origin:
        """This server under a name, for a transport with a resolver of its own."""
        return Origin(self.origin.scheme, host, self.origin.port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self)
        self.peers.append(peer)
        script = self._scripts[min(len(self.peers), len(self._scripts)) - 1]
        self._tasks.add(asyncio.get_running_loop().create_task(self._play(script, peer, writer)))

    async def _play(self, script: Script, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            await script(peer)
            await peer.gone()
        except (ConnectionError, asyncio.IncompleteReadError):
            peer.closed_by_client.set()
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def says(answer: bytes) -> Script:
    """A script that answers every request on its connection with these bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(answer)

    return script


async def polite(peer: Peer) -> None:
    """Answer every request properly."""
    await says(OK)(peer)
