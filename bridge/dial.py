"""The dial: from an origin to a connection. Here, and only here, it is decided which address is spoken to.

Resolve once, show every address to the judge, then dial the very addresses that were judged, as literals:
between the judgement and the socket no name is looked up again, so a name cannot change its mind (DNS
rebinding).
"""

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from bridge.connection import Connection, describe_tls
from bridge.exchange import Limits, Origin, Phase, Stopwatch, TransportFault
from bridge.model import Fault
from bridge.tunnel import Proxy, Tunnels

Address = IPv4Address | IPv6Address

Judge = Callable[[str, int, Sequence[str]], str | None]
"""(host, port, every resolved address) -> why it must not be dialled, or None."""

HOSTS_FILE = Path("/etc/hosts")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> the host's addresses as literals, best first. Raises OSError if there are none."""


class SystemResolver:
    """The operating system's resolver, which blocks: so each name has at most one thread that waits for it.

    The loop's own `getaddrinfo` has a handful of threads for everybody (uvloop: libuv's four), so one
    subscriber with a name server that never answers would take them all, and with them everyone else's DNS.
    Daemon threads also do not hold up the exit of the process.
    """

    def __init__(self, *, lookups: int = 64) -> None:
        self._lookups = lookups
        self._pending: dict[str, asyncio.Future[list[str] | OSError]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of `host`. Raises OSError: no such name, or too many lookups hang already."""
        pending = self._pending.get(host)
        if pending is None:
            if len(self._pending) >= self._lookups:
                raise OSError("too many name lookups are waiting")
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(loop, host, port), name="bridge-dns", daemon=True).start()
            pending = self._pending[host] = loop.create_future()
        found = await asyncio.shield(pending)
        if isinstance(found, OSError):
            raise found
        return found

    def _run(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        # A dotted name is looked up as it is, from the root: the search domains of this machine are not the
        # subscriber's. A single label (localhost, a compose service) means something only on this machine.
        dotted = "." in host and not host.endswith(".")
        found: list[str] | OSError
        try:
            found = _in_hosts_file(host) if dotted else []  # which no rooted name is found in
            if not found:
                infos = socket.getaddrinfo(f"{host}." if dotted else host, port, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as error:
            found = error
        except UnicodeError:
            found = OSError("not a host name")
        with suppress(RuntimeError):  # the loop was closed while the lookup hung
            loop.call_soon_threadsafe(self._settle, host, found)

    def _settle(self, host: str, found: list[str] | OSError) -> None:
        self._pending.pop(host).set_result(found)


def _in_hosts_file(host: str) -> list[str]:
    """The addresses that this machine's own file gives a name, as containers are given host.docker.internal."""
    try:
        lines = HOSTS_FILE.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        return []
    entries = [line.partition("#")[0].split() for line in lines]
    found = dict.fromkeys(words[0] for words in entries if host.lower() in words[1:])
    return [text for text in found if _is_literal(text)]


class Dialler:
    """Opens connections that were judged. Holds no connection itself."""

    def __init__(
        self,
        judge: Judge,
        *,
        resolve: Resolve | None,
        ssl_context: ssl.SSLContext | None,
        limits: Limits,
        proxy: Proxy | None,
    ) -> None:
        self._judge = judge
        self._resolve = resolve or SystemResolver()
        self._ssl = _strict(ssl_context or ssl.create_default_context())
        self._limits = limits
        self._tunnels = Tunnels(proxy) if proxy else None

    async def dial(
        self, origin: Origin, make: Callable[[], Connection], deadline: float, watch: Stopwatch
    ) -> Connection:
        """A new connection to `origin`, made by `make`, before `deadline` (the loop's time).

        Raises TransportFault: nothing was sent, and after a refusal by the judge nothing was dialled. Raises
        EgressDown when it is the proxy that fails.
        """
        found = await self._look_up(origin, deadline, watch)
        refusal = self._judge(origin.host, origin.port, found)
        if refusal is not None:
            raise TransportFault(Fault.BLOCKED, refusal, phase=Phase.CONNECT)
        try:
            addresses = [_literal(text) for text in found]
        except ValueError:  # of which no policy makes an address
            raise TransportFault(Fault.DNS, "the resolver gave no address", phase=Phase.DNS) from None
        watch.start()
        sock = await self._connect(addresses, origin, deadline)
        watch.connect_ms = watch.lap_ms()
        return await self._start(sock, origin, make, deadline, watch)

    async def _look_up(self, origin: Origin, deadline: float, watch: Stopwatch) -> list[str]:
        """What the origin's host leads to, as the judge is to see it; never nothing."""
        with suppress(ValueError):
            return [str(_literal(origin.host))]
        watch.start()
        try:
            async with asyncio.timeout_at(self._by(self._limits.dns_seconds, deadline)):
                found = await self._resolve(origin.host, origin.port)
        except TimeoutError:
            raise _too_slow(Phase.DNS) from None
        except OSError as error:
            raise TransportFault(Fault.DNS, error.strerror or str(error), phase=Phase.DNS) from None
        watch.dns_ms = watch.lap_ms()
        if not found:
            raise TransportFault(Fault.DNS, "the name has no address", phase=Phase.DNS)
        return list(found[: self._limits.answers])

    async def _connect(self, addresses: list[Address], origin: Origin, deadline: float) -> socket.socket:
        port = origin.port
        if self._tunnels is not None:
            by = self._by(self._limits.connect_seconds, deadline)
            return await self._tunnels.open(f"{origin.host}:{port}", addresses[0], port, by=by)
        fault = TransportFault(Fault.CONNECT, "not tried", phase=Phase.CONNECT)
        for address in _tries(addresses, self._limits.dials):
            try:
                async with asyncio.timeout_at(self._by(self._limits.connect_seconds, deadline)):
                    return await _open(address, port)
            except TimeoutError:
                fault = _too_slow(Phase.CONNECT)
            except OSError as error:
                reason = os.strerror(error.errno).lower() if error.errno else "not connected"
                fault = TransportFault(Fault.CONNECT, reason, phase=Phase.CONNECT)
        raise fault

    async def _start(
        self,
        sock: socket.socket,
        origin: Origin,
        make: Callable[[], Connection],
        deadline: float,
        watch: Stopwatch,
    ) -> Connection:
        """Hand the socket to the event loop, through TLS for https. From here on the loop owns the socket."""
        loop = asyncio.get_running_loop()
        if origin.scheme == "http":
            return (await loop.create_connection(make, sock=sock))[1]
        watch.start()
        try:
            async with asyncio.timeout_at(self._by(self._limits.connect_seconds, deadline)):
                _, connection = await loop.create_connection(
                    make, sock=sock, ssl=self._ssl, server_hostname=origin.host
                )
        except TimeoutError:
            raise _too_slow(Phase.TLS) from None
        except ssl.SSLError as error:
            raise TransportFault(Fault.TLS, describe_tls(error), phase=Phase.TLS) from None
        except (OSError, ValueError):
            raise TransportFault(Fault.TLS, "closed during the handshake", phase=Phase.TLS) from None
        watch.tls_ms = watch.lap_ms()
        return connection

    def _by(self, seconds: float, deadline: float) -> float:
        return min(asyncio.get_running_loop().time() + seconds, deadline)


def _too_slow(phase: Phase) -> TransportFault:
    return TransportFault(Fault.TIMEOUT, f"{phase}: no answer in time", phase=phase)


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, verified to verify: a transport that trusts anybody cannot be made."""
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("the TLS context must require certificates and check host names")
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _literal(text: str) -> Address:
    """The address that `text` spells. Raises ValueError, also for a zone id (an interface of ours)."""
    if "%" in text:
        raise ValueError(text)
    return ip_address(text)


def _is_literal(text: str) -> bool:
    with suppress(ValueError):
        return bool(_literal(text))
    return False


def _tries(addresses: list[Address], dials: int) -> list[Address]:
    """Which addresses to dial: the resolver's order, but the second is of the other family if there is one."""
    first, *rest = addresses
    rest.sort(key=lambda address: address.version == first.version)
    return [first, *rest][:dials]


async def _open(address: Address, port: int) -> socket.socket:
    """A socket connected to that very address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
        _check_peer(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_peer(sock: socket.socket, address: Address) -> None:
    # 0.0.0.0, say, is dialled as it stands, and 127.0.0.1 answers.
    if ip_address(sock.getpeername()[0]) != address:
        raise TransportFault(Fault.BLOCKED, "connected to another address than the one dialled", phase=Phase.CONNECT)
