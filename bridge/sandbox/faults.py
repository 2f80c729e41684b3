"""The fault script: for the n-th call of a path, an answer of another kind than the true one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from fnmatch import fnmatchcase
from typing import Any

from bridge.sandbox.message import Response

DOCS = "https://docs.twelvelabs.io/api-reference/error-codes"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one answer. Without `status`, the true answer is given and only spoilt.

    `body`: bytes or text as they are, a mapping as JSON. `patch` is laid over each task of a true answer
    (see `timeline.Mark`). `before` is called before the answer is made: the place to change a task between
    two pages. The other fields are those of `message.Response`.
    """

    status: int | None = None
    body: bytes | str | Mapping[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    cut_at: int | None = None
    close: bool = False
    reset: bool = False
    hang: bool = False
    raw: bytes | None = None
    patch: Mapping[str, Any] | None = None
    before: Callable[[], object] | None = None

    @property
    def replaces(self) -> bool:
        """Whether the true answer is not even made."""
        return self.status is not None or self.reset or self.hang or self.raw is not None

    def response(self) -> Response:
        """The answer of a fault that replaces the true one."""
        return self.spoil(Response(self.status or 200, self._typed(), self._bytes()))

    def spoil(self, true: Response) -> Response:
        """`true` with this fault's headers and its ways of going wrong."""
        return replace(
            true,
            headers=(*true.headers, *self.headers.items()),
            delay_seconds=self.delay_seconds,
            drip_seconds=self.drip_seconds,
            cut_at=self.cut_at,
            close=self.close,
            reset=self.reset,
            hang=self.hang,
            raw=self.raw,
        )

    def _bytes(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(dict(self.body))).encode()

    def _typed(self) -> tuple[tuple[str, str], ...]:
        if not self.body or any(name.lower() == "content-type" for name in self.headers):
            return ()
        text = isinstance(self.body, str) and self.body.lstrip().startswith("<")
        return (("content-type", "text/html" if text else "application/json"),)


def unavailable(status: int = 503) -> Fault:
    """A server error with TwelveLabs' flat body."""
    return Fault(status, {"code": "internal_server_error", "message": "Something went wrong."})


def html(status: int = 502) -> Fault:
    """What a proxy in between says."""
    return Fault(status, "<html><body><h1>Bad Gateway</h1></body></html>")


def empty(status: int = 429) -> Fault:
    """A status and no body at all."""
    return Fault(status)


def unauthorized() -> Fault:
    """401, as for an expired key."""
    return Fault(401, {"code": "api_key_invalid", "message": "API Key is either invalid or expired.", "docs_url": DOCS})


def throttled(retry_after: float | datetime | str | None = 1, headers: Mapping[str, str] | None = None) -> Fault:
    """429 with `Retry-After` in seconds, as an HTTP date (datetime), verbatim (text), or absent (None)."""
    extra = dict(headers or {})
    if isinstance(retry_after, datetime):
        extra["Retry-After"] = http_date(retry_after)
    elif retry_after is not None:
        extra["Retry-After"] = f"{retry_after:g}" if isinstance(retry_after, float) else str(retry_after)
    message = "You have exceeded the rate limit (60req/1min). Please try again later after 2026-11-01T10:05:00Z."
    return Fault(429, {"code": "too_many_requests", "message": message}, extra)


def nested(status: int = 404, code: str = "not_found", message: str = "Task not found") -> Fault:
    """An error in the other documented shape: `{"error": {"code", "message"}}`."""
    return Fault(status, {"error": {"code": code, "message": message}})


def redirect(location: str, status: int = 302) -> Fault:
    """A redirect, for instance to another origin, where the API key must not go."""
    return Fault(status, headers={"Location": location})


def truncated(at: int = 20) -> Fault:
    """The true answer, its body cut after `at` bytes under the length of the whole."""
    return Fault(cut_at=at)


def half_json(at: int = 20) -> Fault:
    """A complete 200 whose body is not complete JSON."""
    return Fault(200, b'{"_id":"6a0b1c2d3e4f5a6b7c8d9e01","status":"rea'[:at])


def slow(seconds: float) -> Fault:
    """The true answer, that many seconds late."""
    return Fault(delay_seconds=seconds)


def reset() -> Fault:
    """A TCP reset instead of an answer."""
    return Fault(reset=True)


def hang() -> Fault:
    """No answer, ever."""
    return Fault(hang=True)


def patched(**patch: Any) -> Fault:
    """The true answer with other fields in its tasks: a stale read, a strange type, a missing field."""
    return Fault(patch=patch)


def http_date(moment: datetime) -> str:
    """An aware datetime as an HTTP date, at whole seconds."""
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


class FaultRule:
    """One line of the fault script. `calls` counts the matching calls since the rule was made."""

    def __init__(self, path: str, script: tuple[Fault | None, ...], *, method: str, after: int, repeat: bool) -> None:
        self.path = path
        self.calls = 0
        self._script = script
        self._method = method
        self._after = after
        self._repeat = repeat

    def matches(self, method: str, path: str) -> bool:
        """Whether this rule counts a call; its path is a glob, `*` crosses slashes."""
        return self._method in ("*", method) and fnmatchcase(path, self.path)

    def next(self) -> Fault | None:
        """Count one call; its fault, or None for the true answer."""
        place = self.calls - self._after
        self.calls += 1
        if place < 0 or not self._script or (place >= len(self._script) and not self._repeat):
            return None
        return self._script[place % len(self._script)]


class FaultScript:
    """The rules, newest last. Each matching rule counts every call; the first one with a fault gives it."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> None:
        """Append a rule."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault of this call, if any."""
        found: Fault | None = None
        for rule in self._rules:
            if rule.matches(method, path):
                fault = rule.next()
                found = found or fault
        return found
