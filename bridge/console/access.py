"""Who may do what in the console, and what a browser may do with its pages."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response

from bridge.console.problem import Problem, is_programs

COOKIE = "bridge_console"
CSRF_HEADER = "x-bridge-csrf"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""No script and no style but our files: what got into a page as markup could not run."""
HEADERS = (
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Access:
    """What this console permits. `token` is empty where nothing may be changed."""

    token: str = ""
    hosts: frozenset[str] | None = LOOPBACK
    """The names by which it may be asked for; None: any. A page elsewhere whose name leads here is refused by it."""

    @property
    def writes(self) -> bool:
        """Whether anybody may change anything."""
        return bool(self.token)

    def derived(self, purpose: str) -> str:
        """What follows from the token, and does not tell it."""
        return hmac.new(self.token.encode(), purpose.encode(), sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return self.writes and hmac.compare_digest(token.encode(), self.token.encode())

    def bears(self, request: HTTPConnection) -> bool:
        """Whether this very request shows the token."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(given.strip())

    def unlocked(self, request: HTTPConnection) -> bool:
        """Whether who asks has shown the token: in this request, or before in this browser."""
        if not self.writes:
            return False
        return self.bears(request) or hmac.compare_digest(
            request.cookies.get(COOKIE, "").encode(), self.derived("cookie").encode()
        )

    def may_write(self, request: Request) -> bool:
        """The token, and a header that no page of another origin can send."""
        given = request.headers.get(CSRF_HEADER, "")
        expected = self.derived("csrf")
        return self.unlocked(request) and hmac.compare_digest(given.encode(), expected.encode())

    def answers_to(self, host: str) -> bool:
        """Whether the console is called so."""
        name = host.rpartition("]")[0].strip("[]") if host.startswith("[") else host.partition(":")[0]
        return self.hosts is None or name.lower() in self.hosts


def _misdirected(path: str) -> Response:
    """The answer to who asks by another name, in the form that is answered there."""
    if is_programs(path):
        return Problem(421, "this console is not called so", "start it with: bridge console --host NAME").response()
    return PlainTextResponse("This console is not called so: bridge console --host NAME\n", 421)


class Guarded:
    """Around the application: refuses other names, and says with each answer what a browser may do with it."""

    def __init__(self, app: Any, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS]
                known = {name for name, _ in ours}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in known]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        app = self._app
        if not self._access.answers_to(HTTPConnection(scope).headers.get("host", "")):
            app = _misdirected(scope["path"])
        await app(scope, receive, sealed)
