"""One exchange: a request, and the answer or the fault that it came to. Values and bytes; no I/O."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from bridge.model import Fault, Timing

_START = re.compile(r"[A-Z]{1,32} [!-~]+ HTTP/1\.1\r\nHost: [a-z0-9._:\[\]-]{1,262}")
# What frames the message is the transport's to write: a second opinion in it would be request smuggling.
_NAMES = re.compile(
    r"(?:(?!(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*)\n)"
    r"[!#$%&'*+.^_`|~0-9a-z-]+\n)*"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Phase(StrEnum):
    """What an exchange was doing when it failed. Never the body: once the head is here, the answer counts."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    WRITE = "write"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom we speak to. The host is as in the URL: lower case, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host header: brackets round IPv6, and the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `headers` leave out Host, Content-Length and Connection: the transport writes those."""

    method: str
    origin: Origin
    target: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """The bytes on the wire.

        Raises ValueError for anything that could end a line early (CR, LF, NUL in whatever part) or that
        would frame the message otherwise than its body does.
        """
        origin = self.origin
        start = f"{self.method} {self.target} HTTP/1.1\r\nHost: {origin.authority}"
        if origin.scheme not in _DEFAULT_PORTS or not 0 < origin.port < 65_536 or not _START.fullmatch(start):
            raise ValueError("the method, target, scheme, host or port of a request is none that HTTP allows")
        lines = [start, *[f"{name}: {value}" for name, value in self.headers]]
        if not _accepts(tuple([name for name, _ in self.headers])):
            lines.append("Accept-Encoding: identity")
        if self.body or self.method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join(lines)
        # The start holds one line end, and so does each joint: any more came out of a header.
        if not head.count("\r") == head.count("\n") == len(lines) or "\0" in head:
            raise ValueError("a header of a request holds CR, LF or NUL")
        return head.encode("latin-1") + b"\r\n\r\n" + self.body


@lru_cache(maxsize=4_096)
def _accepts(names: tuple[str, ...]) -> bool:
    """Whether these headers, the same from one request to the next, name the encodings that are accepted."""
    lines = "".join([f"{name.lower()}\n" for name in names])
    if not _NAMES.fullmatch(lines):
        raise ValueError("a request sets a header that is no token, or that is the transport's to write")
    return "\naccept-encoding\n" in f"\n{lines}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status at all is an answer. Header names are lower case, header values latin-1."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """Never decompressed, and no longer than `Limits.body_bytes`."""
    truncated: bool
    """The body was cut, whatever the reason: our limit, the deadline, a reset, nonsense. Else it is whole."""
    timing: Timing

    def header(self, name: str) -> str | None:
        """The first value of the header `name`, compared without regard to case; None if there is none."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)


class TransportFault(Exception):
    """An exchange had no answer.

    `fault` says what kind of failure, `detail` says it to a person (short, and without resolved addresses),
    `phase` where. `sent` tells whether any byte of the request was written on the connection that failed: if
    not, the other side cannot have acted on it.
    """

    def __init__(
        self, fault: Fault, detail: str, *, phase: Phase, sent: bool = False, timing: Timing | None = None
    ) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail
        self.phase = phase
        self.sent = sent
        self.timing = timing or Timing()


class ClosedUnanswered(TransportFault):
    """Closed before a byte of an answer. On a kept connection that is no news of the request: it is retried."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bound on everything that the other side could make unbounded."""

    header_bytes: int = 65_536
    """All heads of one exchange together, the skipped 1xx answers included."""
    headers: int = 256
    """How many headers these may have: as an object each takes ten times what the shortest takes on the wire."""
    body_bytes: int = 65_536
    informational: int = 8
    """How many 1xx answers may precede the real one."""
    body_seconds: float = 2.0
    """What the body gets after the head, within the deadline: the status counts, the body is decoration."""
    dns_seconds: float = 3.0
    connect_seconds: float = 5.0
    """For one try of connecting, and again for the TLS handshake."""
    addresses: int = 16
    """The most addresses of a name that a judge permits; of more than these it is shown one, so that it can refuse."""
    dials: int = 2
    """How many addresses are tried for one connection."""
    idle_seconds: float = 20.0
    idle_per_pool: int = 64
    """Idle connections kept for one (pool, origin)."""
    open_total: int = 1_024
    """Connections open at once, in use or idle; beyond it the one that has been idle longest makes room."""

    @property
    def answers(self) -> int:
        """How many of a name's addresses are looked at, however many there are."""
        return self.addresses + 1

    @property
    def wire_bytes(self) -> int:
        """What one answer may take on the wire, framing included: one-byte chunks are no excuse."""
        return self.header_bytes + 8 * self.body_bytes


class Stopwatch:
    """Collects the Timing of one exchange while it happens. Milliseconds of the monotonic clock."""

    __slots__ = ("_lap", "_started", "connect_ms", "dns_ms", "tls_ms", "wait_ms")

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()
        self.dns_ms: float | None = None
        self.connect_ms: float | None = None
        self.tls_ms: float | None = None
        self.wait_ms: float | None = None

    def start(self) -> None:
        """Begin a lap."""
        self._lap = time.perf_counter()

    def lap_ms(self) -> float:
        """Milliseconds since the lap began."""
        return (time.perf_counter() - self._lap) * 1000

    def timing(self) -> Timing:
        """What is known by now; the total runs from the stopwatch's making."""
        total_ms = (time.perf_counter() - self._started) * 1000
        return Timing(self.dns_ms, self.connect_ms, self.tls_ms, self.wait_ms, total_ms)
