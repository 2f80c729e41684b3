"""What went wrong, as programs read it: a problem document (RFC 9457) with what, why and the next step."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import Response

from bridge.cli.output import as_json, safe
from bridge.console.spoken import spoken
from bridge.errors import BridgeError, Conflict, InvalidInput, NotFound
from bridge.redaction import narrated
from bridge.rejection import Rejection

KIND = "application/problem+json"
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
"""What RFC 9110 calls them, whatever this Python does."""
DESCRIBED = "see /openapi.json for what there is"


def is_programs(path: str) -> bool:
    """Whether what is asked for there is for programs, so that a failure is a problem document."""
    return path.startswith("/api/") or path == "/openapi.json"


@dataclass(eq=False)
class Problem(Exception):
    """Why there is no answer."""

    status: int
    reason: str
    fix: str
    field: str = ""
    """Where in the body it stands; empty for the whole, and for what is no matter of the body."""
    headers: tuple[tuple[str, str], ...] = ()

    def response(self, what: str = "") -> Response:
        """As it is sent. `what` failed, as a sentence without its end."""
        reason = narrated(safe(self.reason))
        told: dict[str, object] = {
            "type": "about:blank",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": f"{what}: {reason}" if what else reason,
            "reason": reason,
            "fix": narrated(safe(spoken(self.fix))),
        }
        if self.field:
            told["field"] = safe(self.field)
        headers = {"vary": "accept", **dict(self.headers)}
        return Response(as_json(told, indent=2) + "\n", self.status, headers, KIND)


def problem_of(error: Exception) -> Problem:
    """What is to be told of an error, whatever it is."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Rejection):
        return Problem(422, str(error), error.fix, error.field)
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, BridgeError):
        return Problem(_status(error), str(error), error.fix or "bridge doctor")
    return Problem(500, "this was not foreseen", "the console's log says more; `bridge doctor` may")


def _status(error: BridgeError) -> int:
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, Conflict):
        return 409
    return 400 if isinstance(error, InvalidInput) else 503


def _http(error: HTTPException) -> Problem:
    status = error.status_code if error.status_code in TITLES else 500
    reason = {404: "there is no such address", 405: "there is no such verb at this address"}.get(status, error.detail)
    return Problem(status, reason, DESCRIBED, headers=tuple((error.headers or {}).items()))
