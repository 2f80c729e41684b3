"""A small asyncio HTTP/1.1 server that can also misbehave on purpose.

One connection answers one request at a time, in order; pipelined requests wait their turn. A handler
returns a `Response`, which itself says how it is spoilt: late, dripped, cut, reset, never, or raw bytes.
"""

import asyncio
import contextlib
import inspect
import socket
import ssl as tls
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

import httptools

from bridge.sandbox.message import Request, Response, head

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A request's body above this is answered 413 and the connection closed."""

MAX_PIPELINED = 64
"""Requests waiting on one connection; above this the socket is not read."""

RST_ON_CLOSE = struct.pack("ii", 1, 0)


Handler = Callable[[Request], Response | Awaitable[Response]]
"""What answers: synchronous (fast: no task is made) or a coroutine function. An exception becomes a 500."""


class HttpServer:
    """Listens on one port and hands each request to `handler`.

    `connections` counts every accepted connection, also those that never said anything.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections = 0
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._host = ""
        self._scheme = "http"
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port; kept after `stop`, so that a client can meet a closed port."""
        return self._port

    @property
    def url(self) -> str:
        """`http://host:port`, without a trailing slash."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}"

    async def start(self, port: int = 0, host: str = "127.0.0.1", ssl: tls.SSLContext | None = None) -> None:
        """Listen; port 0 takes a free one. Raises OSError if the port is taken."""
        if self._server is not None:
            raise RuntimeError("this server is already started")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, ssl=ssl, backlog=1024)
        self._host, self._scheme = host, "https" if ssl else "http"
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection at once; harmless when not started."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        lost = [connection.lost for connection in self._open]
        self.drop_connections()
        await asyncio.gather(*lost)
        if self._tasks:
            await asyncio.wait(self._tasks)
        await server.wait_closed()

    def drop_connections(self, *, reset: bool = False) -> None:
        """Close every open connection, idle or not; with `reset` by RST. Call it in the server's own loop."""
        for connection in tuple(self._open):
            connection.drop(reset=reset)


class _Connection(asyncio.Protocol):
    """One client. The `on_*` names are httptools' callbacks."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._answering = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections += 1
        self._server._open.add(self)
        if self._server._server is None:  # accepted, but stopped before it was handed to us
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if not self.lost.done():
            self.lost.set_result(None)
        self._server._open.discard(self)
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(400, f"not HTTP/1.1 as understood here: {error}")

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body, self._body_bytes = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        elif not self._ended:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._ended:
            return
        method, target = self._parser.get_method().decode("latin-1"), self._target.decode("latin-1")
        request = Request(method, target, self._headers, b"".join(self._body), time.monotonic())
        self._waiting.append((request, self._parser.should_keep_alive()))
        if len(self._waiting) > MAX_PIPELINED:
            self._transport.pause_reading()
        if not self._answering:
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        """Answer what can be answered at once; what takes time continues here when it is done."""
        self._answering = True
        while self._waiting and not self._ended:
            request, keep_alive = self._waiting.popleft()
            answer = self._ask(request)
            if isinstance(answer, Response) and not (answer.delay_seconds or answer.drip_seconds):
                self._write(request, answer, keep_alive)
                if not answer.hang:
                    continue
            else:
                self._task = asyncio.create_task(self._answer_later(request, answer, keep_alive))
                self._server._tasks.add(self._task)
                self._task.add_done_callback(self._server._tasks.discard)
            return
        self._answering = False
        if not self._ended and not self._transport.is_reading():
            self._transport.resume_reading()

    def _ask(self, request: Request) -> Response | Awaitable[Response]:
        try:
            return self._server.handler(request)
        except Exception as error:
            return self._blame(error)

    def _blame(self, error: Exception) -> Response:
        context = {"message": "a sandbox handler failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        return Response(500, (("content-type", "text/plain"),), f"{type(error).__name__}: {error}".encode(), close=True)

    async def _answer_later(self, request: Request, answer: Response | Awaitable[Response], keep_alive: bool) -> None:
        try:
            response = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            response = self._blame(error)
        if response.delay_seconds:
            await asyncio.sleep(response.delay_seconds)
        if response.drip_seconds and response.is_whole:
            await self._drip(request, response, keep_alive)
        else:
            self._write(request, response, keep_alive)
        self._task = None
        if not response.hang:
            self._answer_waiting()

    async def _drip(self, request: Request, response: Response, keep_alive: bool) -> None:
        self._transport.write(head(response, close=response.close or not keep_alive))
        for byte in response.body if request.method != "HEAD" else b"":
            await asyncio.sleep(response.drip_seconds)
            self._transport.write(bytes((byte,)))
        self._sent(response, keep_alive)

    def _write(self, request: Request, response: Response, keep_alive: bool) -> None:
        if self._ended or response.hang:
            return
        if response.reset:
            self.drop(reset=True)
        elif response.raw is not None:
            self._transport.write(response.raw)
            self._end()
        elif response.cut_at is not None:
            self._transport.write(head(response, close=True) + response.body[: response.cut_at])
            self._end()
        else:
            body = b"" if request.method == "HEAD" or response.status in (204, 304) else response.body
            self._transport.write(head(response, close=response.close or not keep_alive) + body)
            self._sent(response, keep_alive)

    def _sent(self, response: Response, keep_alive: bool) -> None:
        if response.on_sent is not None:
            response.on_sent()
        if response.close or not keep_alive:
            self._end()

    def _refuse(self, status: int, reason: str) -> None:
        if not self._ended:
            response = Response(status, (("content-type", "text/plain"),), reason.encode())
            self._transport.write(head(response, close=True) + response.body)
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._transport.close()

    def drop(self, *, reset: bool = False) -> None:
        """Close at once and forget what was not sent yet."""
        self._ended = True
        sock = self._transport.get_extra_info("socket")
        if reset and sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        self._transport.abort()
