"""The one HTTP client: guarded, bounded, HTTP/1.1, for polling and sending alike.

`exchange` carries one request to one answer within one deadline. Around it, pools of kept connections: a pool
belongs to one name (an endpoint, an upstream account) and one origin, and shares nothing with any other pool,
neither connections nor TLS sessions. There are no redirects, no cookies and no decompression to turn off:
there are none, and no proxy but the one that is handed in. `handle_async_request` puts the same thing behind
httpx's transport interface.

A kept connection was judged when it was dialled. It may also have been closed by the other side a moment ago;
then the request is sent once more on a fresh connection, within the same deadline. That is safe for our POSTs
too: webhooks are at-least-once, and the second one bears the same webhook-id. Where requests are counted it is not.
"""

import asyncio
import ssl
from functools import partial
from typing import NoReturn

import httpx

from bridge.connection import Connection
from bridge.dial import Dialler, Judge, Resolve, SystemResolver
from bridge.exchange import (
    Answer,
    ClosedUnanswered,
    Limits,
    Origin,
    Phase,
    Request,
    Stopwatch,
    TransportFault,
)
from bridge.model import Fault
from bridge.tunnel import Proxy

__all__ = [
    "Answer",
    "Judge",
    "Limits",
    "Origin",
    "Phase",
    "Proxy",
    "Request",
    "Resolve",
    "SystemResolver",
    "Transport",
    "TransportFault",
]

_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})
"""Headers that httpx fills in by itself and that this transport decides instead."""


class Pool:
    """The connections of one name to one origin. `idle` is ordered by the time of going idle, newest last."""

    __slots__ = ("closed", "exchanges", "idle", "key")

    def __init__(self, key: tuple[str, Origin]) -> None:
        self.key = key
        self.idle: dict[Connection, None] = {}
        self.exchanges = 0
        """Exchanges under way."""
        self.closed = False
        """Its name was closed meanwhile: what is under way may end, nothing is kept."""

    def __repr__(self) -> str:
        return f"<Pool {self.key[0]!r}, {self.exchanges} exchanges, {len(self.idle)} idle>"


class Transport(httpx.AsyncBaseTransport):
    """Sends requests; belongs to one event loop. `judge` sees every address before it is dialled.

    `ssl_context` may trust other authorities than the system's; one that does not verify raises ValueError.
    The transport offers it HTTP/1.1 only and at least TLS 1.2. With a `proxy` every connection is a tunnel through it.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._dialler = Dialler(judge, resolve=resolve, ssl_context=ssl_context, limits=self._limits, proxy=proxy)
        self._pools: dict[tuple[str, Origin], Pool] = {}
        self._open: set[Connection] = set()
        self._idle: dict[Connection, tuple[Pool, float]] = {}
        """Every idle connection with its pool and the loop's time it went idle at, oldest first."""
        self._under_way = 0
        """Exchanges, of all pools; each has one connection or is about to."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Transport {len(self._pools)} pools, {len(self._open)} connections, {len(self._idle)} idle>"

    async def exchange(self, pool: str, request: Request, *, deadline_seconds: float, again: bool = True) -> Answer:
        """The answer to `request`, over a connection of `pool`, or TransportFault.

        The deadline covers everything: DNS, connect, TLS, writing, head and body. Raises ValueError, before anything
        is done, for a request that is not well-formed, and EgressDown for a proxy that fails. A cancelled exchange
        closes its connection. `again`: it may be sent once more where a kept connection was closed unanswered.
        """
        payload = request.encode()
        if self._closed:
            raise RuntimeError("the transport is closed")
        watch = Stopwatch()
        deadline = asyncio.get_running_loop().time() + deadline_seconds
        key = (pool, request.origin)
        ours = self._pools.get(key)
        if ours is None:
            ours = self._pools[key] = Pool(key)
        ours.exchanges += 1
        self._under_way += 1
        try:
            kept = self._take(ours)
            if kept is not None:
                try:
                    return await self._converse(ours, kept, payload, request.method, deadline, watch)
                except ClosedUnanswered:
                    if not again:
                        raise
            fresh = await self._dial(ours, deadline, watch)
            return await self._converse(ours, fresh, payload, request.method, deadline, watch)
        except TransportFault as fault:
            fault.timing = watch.timing()
            raise
        finally:
            ours.exchanges -= 1
            self._under_way -= 1
            self._retire(ours)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """httpx's door. Pool and deadline are the extensions `bridge_pool` and `bridge_deadline_seconds`.

        Nothing is ever inflated, by httpx neither: `Content-Encoding` is withheld from it. Whether the body
        was cut is the answer's extension `bridge_truncated`. Raises httpx's exceptions, the TransportFault as
        their cause.
        """
        url = request.url
        ours = Request(
            method=request.method,
            origin=Origin(url.scheme, url.raw_host.decode("ascii"), _port(url)),
            target=url.raw_path.decode("ascii"),
            headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw
                if name.lower().decode("latin-1") not in _OURS
            ],
            body=await request.aread(),
        )
        pool = str(request.extensions.get("bridge_pool", "httpx"))
        deadline_seconds = float(request.extensions.get("bridge_deadline_seconds", 15.0))
        try:
            answer = await self.exchange(pool, ours, deadline_seconds=deadline_seconds)
        except TransportFault as fault:
            _raise_as_httpx(fault, request)
        return httpx.Response(
            answer.status,
            headers=[(name, value) for name, value in answer.headers if name != "content-encoding"],
            stream=httpx.ByteStream(answer.body),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "bridge_truncated": answer.truncated},
        )

    def close_pool(self, pool: str) -> None:
        """Forget `pool`, its endpoint removed or changed: idle connections close, those in use are not kept."""
        for key in [key for key in self._pools if key[0] == pool]:
            ours = self._pools.pop(key)
            ours.closed = True
            for connection in list(ours.idle):
                self._drop(connection)

    async def aclose(self) -> None:
        """Close every connection, and wait until the sockets are closed. What is under way fails as reset."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._emptied.wait()

    async def _converse(
        self,
        pool: Pool,
        connection: Connection,
        payload: bytes,
        method: str,
        deadline: float,
        watch: Stopwatch,
    ) -> Answer:
        try:
            await connection.send(payload, method, deadline)
        except BaseException:  # cancelled, say: what the server still sends belongs to nobody
            connection.abort()
            raise
        watch.wait_ms = connection.wait_ms
        answer = connection.answer(watch.timing())
        self._keep(pool, connection)
        return answer

    async def _dial(self, pool: Pool, deadline: float, watch: Stopwatch) -> Connection:
        if len(self._idle) + self._under_way > self._limits.open_total and self._idle:
            self._drop(next(iter(self._idle)))
        make = partial(Connection, self._limits, opened=self._opened, lost=partial(self._lost, pool))
        return await self._dialler.dial(pool.key[1], make, deadline, watch)

    def _opened(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._closed:
            connection.abort()

    def _lost(self, pool: Pool, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._drop(connection)
        self._retire(pool)
        if self._closed and not self._open:
            self._emptied.set()

    def _take(self, pool: Pool) -> Connection | None:
        """The pool's connection that went idle last, if it is still young and has said nothing since."""
        oldest = asyncio.get_running_loop().time() - self._limits.idle_seconds
        while pool.idle:
            connection, _ = pool.idle.popitem()
            _, idle_since = self._idle.pop(connection)
            if idle_since > oldest and connection.quiet():
                return connection
            connection.abort()
        return None

    def _keep(self, pool: Pool, connection: Connection) -> None:
        """Keep the connection for the next exchange, at the cost of the oldest if there are too many."""
        if pool.closed or self._closed or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        pool.idle[connection] = None
        self._idle[connection] = (pool, loop.time())
        if len(pool.idle) > self._limits.idle_per_pool:
            self._drop(next(iter(pool.idle)))
        if len(self._idle) + self._under_way - 1 > self._limits.open_total:  # this exchange's own is counted twice
            self._drop(next(iter(self._idle)))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._limits.idle_seconds, self._sweep)

    def _drop(self, connection: Connection) -> None:
        """Close an idle connection."""
        pool, _ = self._idle.pop(connection)
        del pool.idle[connection]
        connection.abort()

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come back for the next: one timer for all."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        while self._idle:
            connection, (_, since) = next(iter(self._idle.items()))
            expires = since + self._limits.idle_seconds
            if expires > loop.time():
                self._sweeper = loop.call_at(expires, self._sweep)
                return
            self._drop(connection)

    def _retire(self, pool: Pool) -> None:
        """Forget an empty pool: names come and go, and there may be one for each task."""
        if not pool.exchanges and not pool.idle and self._pools.get(pool.key) is pool:
            del self._pools[pool.key]


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _raise_as_httpx(fault: TransportFault, request: httpx.Request) -> NoReturn:
    kind: type[httpx.TransportError]
    match fault.fault, fault.phase:
        case Fault.TIMEOUT, Phase.WRITE:
            kind = httpx.WriteTimeout
        case Fault.TIMEOUT, Phase.HEAD:
            kind = httpx.ReadTimeout
        case Fault.TIMEOUT, _:
            kind = httpx.ConnectTimeout
        case Fault.RESET, _:
            kind = httpx.ReadError
        case Fault.PROTOCOL, _:
            kind = httpx.RemoteProtocolError
        case _:
            kind = httpx.ConnectError
    raise kind(f"{fault.fault}: {fault.detail}", request=request) from fault
