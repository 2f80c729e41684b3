"""An attempt as it is remembered: what was sent, what came of it, what follows. Bounded, and without secrets. Pure.

The two heads are texts, a line for each header: `POST <url>`, `content-type: application/json`, … What the record says
elsewhere (the event's id, the number, the trigger) is not repeated in them.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from bridge.guard import Policy
from bridge.model import DeadReason, Decision, Delivery, EndpointEffect, Outcome
from bridge.redaction import HIDDEN, SECRETIVE, Confidant, bare, without_secrets
from bridge.signature import ID_HEADER, SIGNATURE_HEADER
from bridge.waiting import LEADS

REQUEST_BYTES = 512
"""How much of a request's head is kept."""
ANSWER_BYTES = 512
"""How much of an answer's."""
ANSWER_HEADERS = 16
"""The most headers of an answer that are looked at."""
VALUE_BYTES = 160
"""How much of one value, so that a long one does not crowd out the others."""
NAME_CHARS = 40
"""A header with a longer name is left out."""

ELSEWHERE = frozenset({ID_HEADER, "bridge-attempt", "bridge-trigger"})
SIGNATURES = frozenset({SIGNATURE_HEADER, "tl-signature"})
TELLING = frozenset(
    {
        *("allow", "content-encoding", "content-length", "content-type", "date", "location", "retry-after", "server"),
        *("via", "www-authenticate", "x-request-id"),
    }
)
"""Headers of an answer that say most about why it was given: they are kept first."""
SILENT = frozenset(
    {
        *("set-cookie", "set-cookie2", "cookie", "authorization", *SIGNATURES, *ELSEWHERE),
        *("accept-ranges", "alt-svc", "cache-control", "connection", "content-security-policy", "etag", "expires"),
        *("keep-alive", "nel", "permissions-policy", "pragma", "referrer-policy", "report-to", "transfer-encoding"),
        *("strict-transport-security", "vary", "x-content-type-options", "x-frame-options", "x-xss-protection"),
    }
)
"""Those that are a secret, repeat what we sent, or are about browsers and caches."""
CUT = "..."
_PLACE = re.compile(r"https?://[!-~]{1,150}", re.ASCII)
_JSON = json.JSONEncoder(separators=(",", ":"))
_MAY_HIDE = re.compile(r"[?#@]|//|whsec_")
"""What a URL with something to hide has in it."""
QUIET_EFFECTS = frozenset({EndpointEffect.SUCCESS, EndpointEffect.FAILURE})


def keeps_heads(delivery: Delivery, status_code: int | None) -> bool:
    """Whether request and answer are worth keeping: a first attempt that is delivered raises no question."""
    return delivery.attempts > 0 or status_code is None or not 200 <= status_code < 300


def request_head(shown_url: str, headers: Sequence[tuple[str, str]], own: Mapping[str, str]) -> str:
    """A POST to this URL (as it may be shown) with these headers; `own` are the endpoint's, whose values are hidden."""
    lines = [f"POST {_cut(shown_url, VALUE_BYTES)}"]
    for name, value in headers:
        lower = name.lower()
        if lower not in ELSEWHERE:
            lines.append(f"{lower}: {HIDDEN if name in own or lower in SIGNATURES else _cut(value, VALUE_BYTES)}")
    return _bounded(lines, REQUEST_BYTES)


def answer_head(headers: Iterable[tuple[str, str]], confidant: Confidant) -> str:
    """The headers of an answer, names in lower case: the telling ones first, and no secret that it repeats."""
    told = [pair for pair in headers if pair[0] not in SILENT]
    told.sort(key=lambda pair: pair[0] not in TELLING)
    told = [pair for pair in told[:ANSWER_HEADERS] if len(pair[0]) <= NAME_CHARS]
    names = [name for name, _ in told if name not in TELLING]
    if names and confidant.knows("\n".join(names)):
        told = [pair for pair in told if pair[0] in TELLING]
    if confidant.repeated_in("\n".join([value for _, value in told])):  # seldom: so all are looked through at once
        told = [(name, confidant.head_of(value.encode("latin-1", "replace"), VALUE_BYTES)) for name, value in told]
    return _bounded([f"{name}: {_cut(_shown(name, value), VALUE_BYTES)}" for name, value in told], ANSWER_BYTES)


def _shown(name: str, value: str) -> str:
    if name not in TELLING and SECRETIVE.search(name):
        return HIDDEN  # a session of the subscriber's, say
    return without_secrets(value) if _MAY_HIDE.search(value) else value


def redirect(url: str, location: str, confidant: Confidant, policy: Policy) -> str:
    """Where a redirect of this URL leads, in words and as it may be shown; empty where that cannot be said.

    A place that policy forbids, or on another host, is told as such: nobody is to paste what a receiver chose.
    """
    try:
        there = urljoin(url, location)
        same = urlsplit(there).hostname == urlsplit(url).hostname
    except ValueError:
        return ""
    if not _PLACE.fullmatch(there) or confidant.repeated_in(there):
        return ""
    doubt = "" if policy.judge_url(there).allowed else ", which policy forbids"
    return f"{LEADS}{bare(there)}{doubt or ('' if same else ', another host')}"


def attempt_record(delivery: Delivery, outcome: Outcome, decision: Decision, *, at: int) -> str:
    """One attempt as kept in its log, with what follows from it; `at` in milliseconds."""
    timing = outcome.timing
    record = {
        "attempt": delivery.attempts + 1,
        "at": at,
        "trigger": delivery.trigger,
        "status_code": outcome.status_code,
        "fault": outcome.fault,
        "detail": outcome.detail,
        "request": outcome.request,
        "answer": outcome.answer,
        "excerpt": outcome.excerpt,
        "dns_ms": _tenths(timing.dns_ms),
        "connect_ms": _tenths(timing.connect_ms),
        "tls_ms": _tenths(timing.tls_ms),
        "wait_ms": _tenths(timing.wait_ms),
        "total_ms": _tenths(timing.total_ms),
        "next": decision.state,
        "reason": decision.reason,
        "retry_in_ms": decision.retry_in_ms,
        "pause_ms": decision.pause_ms or None,
        "effect": None if decision.effect in QUIET_EFFECTS else decision.effect,
    }
    kept = {name: value for name, value in record.items() if value is not None and value != ""}
    return _JSON.encode(kept)


def because(record: Mapping[str, Any]) -> str:
    """Why a recorded attempt was followed by what followed; empty where that needs no words."""
    rest, wait = record.get("pause_ms"), record.get("retry_in_ms")
    effect = _EFFECTS.get(str(record.get("effect")), "")
    if isinstance(wait, int):
        asked = isinstance(rest, int) and rest >= wait
        first = f"its Retry-After asks for {rest / 1000:g} s" if asked and rest else "as scheduled"
        return "; ".join(filter(None, (first, effect)))
    return "; ".join(filter(None, (_REASONS.get(str(record.get("reason")), ""), effect)))


_REASONS: Mapping[str, str] = {
    DeadReason.EXHAUSTED: "its schedule has no further attempt",
    DeadReason.GONE: "410 says that nobody wants it there any more",
    DeadReason.BLOCKED: "its schedule has no further attempt",
    DeadReason.EXPIRED: "the next attempt would come too late for news of progress",
}
_EFFECTS: Mapping[str, str] = {
    EndpointEffect.OVERLOAD: "it gets fewer at a time",
    EndpointEffect.DISABLE_GONE: "its endpoint is disabled",
    EndpointEffect.BLOCKED: "policy forbids its address",
}
"""What it means for the endpoint as a whole, where that is more than another failure."""


def _tenths(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _cut(text: str, limit: int) -> str:
    """Printable ASCII, a byte a character, so that what is counted is what is stored."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(one if " " <= one <= "~" else "?" for one in text.replace("…", CUT))
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def _bounded(lines: Sequence[str], limit: int) -> str:
    """Whole lines, as many as there is room for."""
    kept, size = list[str](), -1
    for line in lines:
        if size + 1 + len(line) <= limit:
            kept.append(line)
            size += 1 + len(line)
    return "\n".join(kept)
