"""One HTTP exchange as values: what was asked, what is answered, and how the answer is to be spoilt."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end."""

    method: str
    target: str
    """As on the request line: undecoded, with the query."""
    headers: dict[str, str]
    """Lower-case names; the values of a repeated header are joined by `, `."""
    body: bytes = field(repr=False)
    arrived: float
    """`time.monotonic()` when its last byte was read."""

    @property
    def path(self) -> str:
        """The decoded path, without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def params(self) -> list[tuple[str, str]]:
        """The query's pairs in order, repeated keys included."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, and how it is spoilt. After the delay the first set one wins `hang`, `reset`, `raw`."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    """Pause before each single byte of the body."""
    cut_at: int | None = None
    """Announce the whole length, send this many bytes of the body, close."""
    close: bool = False
    """Close the connection after this answer."""
    reset: bool = False
    """Answer with a TCP RST."""
    hang: bool = False
    """Never answer; the connection stays open until the peer or the server ends it."""
    raw: bytes | None = None
    """Send exactly these bytes, close."""
    on_sent: Callable[[], None] | None = None
    """Called when the whole answer was given to the socket, and only then."""

    @property
    def is_whole(self) -> bool:
        """Whether the peer can read this answer to its end."""
        return not (self.hang or self.reset or self.raw is not None or self.cut_at is not None)


def json_response(payload: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An answer with `payload` as compact JSON."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, (("content-type", "application/json"), *headers), body)


def head(response: Response, *, close: bool) -> bytes:
    """The status line and headers as sent; `content-length` counts the whole body, also of a cut one."""
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Unnamed"
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if response.status not in (204, 304) and response.status >= 200:
        lines.append(f"content-length: {len(response.body)}")
    if close:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
