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

    async def tunnel(self, address: IPv4Address | IPv6Address, port: int, *, by: float) -> socket.socket:
        """A socket that leads to `address`, before `by` (the loop's time).

        Raises EgressDown: there is none, and who is at `address` is not to blame. Raises TransportFault if they
        spoke before they were asked.
        """
        sock = await self.reach(by=by)
        try:
            async with asyncio.timeout_at(by):
                await self._ask(sock, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise self._down("does not answer in time") from None
            if isinstance(error, OSError):
                raise self._down("closed the connection instead of an answer") from None
            raise
        return sock

    async def reach(self, *, by: float) -> socket.socket:
        """A socket connected to the proxy itself, before `by`; raises EgressDown."""
        try:
            async with asyncio.timeout_at(by):
                return await self._open()
        except TimeoutError:
            raise self._down("does not answer in time") from None
        except socket.gaierror as error:
            raise self._down(f"is not found: {error.strerror}") from None
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else "not connected"
            raise self._down(f"cannot be reached: {reason}") from None

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

    async def _ask(self, sock: socket.socket, authority: str) -> None:
        loop, lines = asyncio.get_running_loop(), [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if self.credentials:
            lines.append(f"Proxy-Authorization: Basic {self.credentials}")
        await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await loop.sock_recv(sock, HEAD_BYTES)
            head += piece
            if not piece or len(head) > HEAD_BYTES:
                raise self._down("is no HTTP proxy, or closed the connection")
        self._judge(head)

    def _judge(self, head: bytes) -> None:
        answer = _STATUS.match(head)
        if answer is None:
            raise self._down("is no HTTP proxy")
        if answer[1] == b"407":
            fix = "write http://user:password@host:port into the file of BRIDGE_DELIVERY_PROXY_URL_FILE"
            raise self._down("refuses our user and password, or asks for them (407)", fix)
        if not answer[1].startswith(b"2"):
            raise self._down(f"opens no tunnel: it answered {answer[1].decode()}", "look into the proxy's log")
        if not head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") > 1:
            raise TransportFault(Fault.PROTOCOL, "the server spoke before it was asked", phase=Phase.CONNECT)

    def _down(self, what: str, fix: str = "") -> EgressDown:
        fix = fix or "start it, or correct BRIDGE_DELIVERY_PROXY_URL; `bridge doctor` tries it"
        return EgressDown(f"the egress proxy {self.host}:{self.port} {what}", fix=fix)
