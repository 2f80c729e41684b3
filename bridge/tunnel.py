"""The way out through an HTTP proxy that the operator chose: CONNECT to the very address that was judged.

The proxy is a wire, no judge: names are resolved and judged here, and it is told an address. What goes wrong between
us and it says nothing about a subscriber, so it is an exception of ours. The environment's proxies do not exist.
"""

import asyncio
import base64
import os
import re
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote, urlsplit

from bridge.errors import EgressDown
from bridge.exchange import Phase, TransportFault
from bridge.model import Fault

HEAD_BYTES = 8_192
"""What the proxy may say before the tunnel is open."""
RECEIVERS = 10_000
"""How many that the proxy refused are remembered."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it is; `credentials` are `user:password` in base64, or nothing."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Of a valid BRIDGE_DELIVERY_PROXY_URL: http://[user:password@]host:port."""
        parts = urlsplit(url)
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        credentials = base64.b64encode(login.encode()).decode() if login != ":" else ""
        return cls(parts.hostname or "", parts.port or 0, credentials)

    async def reach(self, *, by: float) -> socket.socket:
        """A socket connected to the proxy itself, before `by`; raises EgressDown."""
        try:
            async with asyncio.timeout_at(by):
                return await self._open()
        except TimeoutError:
            raise self.down("does not answer in time") from None
        except socket.gaierror as error:
            raise self.down(f"is not found: {error.strerror}") from None
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else "not connected"
            raise self.down(f"cannot be reached: {reason}") from None

    async def _open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        failed: OSError = OSError("no address")
        for family, kind, protocol, _, address in infos[:2]:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError) or isinstance(error, TimeoutError):
                    raise
                failed = error
            else:
                return sock
        raise failed

    def down(self, what: str, fix: str = "") -> EgressDown:
        """The exception for it."""
        fix = fix or "start it, or correct BRIDGE_DELIVERY_PROXY_URL; `bridge doctor` tries it"
        return EgressDown(f"the egress proxy {self.host}:{self.port} {what}", fix=fix)


class _Refused(Exception):
    """The proxy is there and opens no tunnel: `fault` if that is the receiver's doing, `down` if it is the proxy's."""

    def __init__(self, fault: Fault, detail: str, down: EgressDown) -> None:
        self.fault, self.detail, self.down = fault, detail, down


class Suspicion:
    """Tells a proxy that fails from a receiver that it cannot or may not reach: by what becomes of the others.

    A refusal is held against a receiver only if it was refused before, the proxy has opened tunnels to others since,
    and nobody was newly refused after the last of them. So a proxy that fails for all is never anybody's fault, and a
    receiver that is gone does not stay owed for ever because its proxy says so with a 502.
    """

    def __init__(self) -> None:
        self._opened = 0
        self._suspect = False
        """Somebody was newly refused, and no tunnel has opened since."""
        self._refused: dict[str, int] = {}
        """Receiver → how many tunnels had opened when it was first refused; the oldest first."""

    def opened(self, receiver: str) -> None:
        """A tunnel to it opened."""
        self._refused.pop(receiver, None)
        self._opened += 1
        self._suspect = False

    def refused(self, receiver: str) -> bool:
        """The proxy opened none; whether that is the receiver's own failure."""
        since = self._refused.get(receiver)
        if since is None:
            self._refused[receiver] = self._opened
            self._suspect = True
            if len(self._refused) > RECEIVERS:
                del self._refused[next(iter(self._refused))]
            return False
        return self._opened > since and not self._suspect


class Tunnels:
    """Opens tunnels through one proxy, and remembers whom it refuses."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._suspicion = Suspicion()

    async def open(self, receiver: str, address: IPv4Address | IPv6Address, port: int, *, by: float) -> socket.socket:
        """A socket that leads to `address` and `port` of `receiver`, before `by` (the loop's time).

        Raises EgressDown: there is none, and the receiver is not to blame. Raises TransportFault if it is, as far as
        can be told.
        """
        sock = await self._proxy.reach(by=by)
        try:
            await self._ask(sock, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}", by)
        except _Refused as refused:
            sock.close()
            if self._suspicion.refused(receiver):
                raise TransportFault(refused.fault, refused.detail, phase=Phase.CONNECT) from None
            raise refused.down from None
        except BaseException:
            sock.close()
            raise
        self._suspicion.opened(receiver)
        return sock

    async def _ask(self, sock: socket.socket, authority: str, by: float) -> None:
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self._proxy.credentials:
            lines.append(f"Proxy-Authorization: Basic {self._proxy.credentials}")
        try:
            async with asyncio.timeout_at(by):
                await asyncio.get_running_loop().sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
                head = await self._head(sock)
        except TimeoutError:
            down = self._proxy.down("does not answer in time")
            raise _Refused(Fault.TIMEOUT, "connect: the egress proxy reached nobody in time", down) from None
        except OSError:
            raise self._proxy.down("closed the connection instead of an answer") from None
        self._read(head)

    async def _head(self, sock: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await asyncio.get_running_loop().sock_recv(sock, HEAD_BYTES)
            head += piece
            if not piece or len(head) > HEAD_BYTES:
                raise self._proxy.down("is no HTTP proxy, or closed the connection")
        return head

    def _read(self, head: bytes) -> None:
        answer = _STATUS.match(head)
        if answer is None:
            raise self._proxy.down("is no HTTP proxy")
        status = int(answer[1])
        if status in (401, 403, 407):
            what = f"refuses our user and password, asks for them, or forbids the address ({status})"
            fix = "write http://user:password@host:port into the file of BRIDGE_DELIVERY_PROXY_URL_FILE"
            raise _Refused(Fault.BLOCKED, "the egress proxy forbids the address", self._proxy.down(what, fix))
        if not 200 <= status < 300:
            down = self._proxy.down(f"opens no tunnel: it answered {status}", "look into the proxy's log")
            raise _Refused(Fault.CONNECT, f"the egress proxy did not reach it: {status}", down)
        if head.index(b"\r\n\r\n") + 4 < len(head):
            raise TransportFault(Fault.PROTOCOL, "the server spoke before it was asked", phase=Phase.CONNECT)
