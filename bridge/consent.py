"""A receiver's consent to be sent events: how CloudEvents' abuse protection asks for it, and what an answer says. Pure.

A status alone is never consent, as many servers answer any OPTIONS. The permission to come back later by a callback
(`WebHook-Request-Callback`) is not asked for.
Source: github.com/cloudevents/spec v1.0.2, cloudevents/http-webhook.md, section 4.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from bridge.throttle import Rate

REQUEST_ORIGIN, REQUEST_RATE = "webhook-request-origin", "webhook-request-rate"
ALLOWED_ORIGIN, ALLOWED_RATE = "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"

UNANSWERED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that say nothing of the receiver's mind: asked again soon. A 501 knows no OPTIONS, and so refuses."""

REFUSED_MS = 3_600_000
"""When one that refused is asked again: its owner may have changed that."""
SOON_MS, LATE_MS = 5_000, 900_000
"""When one is asked again that gave no answer: the first time, twice as late each time, and at the latest, …"""
LONGEST_MS = 86_400_000
"""… unless it asks for more by Retry-After, up to a day."""

_RATE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class Word(StrEnum):
    """What came of asking."""

    GRANTED = "granted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Consent:
    """What came of asking, why not, and of a consent how many requests a minute it allows; None: as many as we like."""

    word: Word
    status_code: int | None = None
    fault: str | None = None
    detail: str = ""
    per_minute: int | None = None
    retry_after_seconds: float | None = None

    def failure(self) -> str:
        """Why not, as an endpoint's latest failure is kept: JSON."""
        return json.dumps({"status_code": self.status_code, "fault": self.fault, "detail": self.detail})

    def again_ms(self, tries: int) -> int:
        """When to ask again, after so many tries in a row without an answer before this one."""
        if self.word is Word.REFUSED:
            return REFUSED_MS
        asked = int((self.retry_after_seconds or 0) * 1000)
        return max(min(SOON_MS << min(tries, 20), LATE_MS), min(asked, LONGEST_MS))


def consent_from(
    status: int, allowed_origin: str | None, allowed_rate: str | None, origin: str, retry_after_seconds: float | None
) -> Consent:
    """Read an answer to the question of `origin`. Nothing of what the receiver wrote is repeated."""
    if status in UNANSWERED_STATUSES:
        return Consent(Word.UNANSWERED, status_code=status, retry_after_seconds=retry_after_seconds)
    if allowed_origin is None or not 200 <= status < 300:
        without = f" without {ALLOWED_ORIGIN}" if allowed_origin is None else ""
        return _refused(f"OPTIONS was answered HTTP {status}{without}")
    if allowed_origin.strip().lower() not in {"*", origin.lower()}:
        return _refused(f"{ALLOWED_ORIGIN} names somebody else than {origin}")
    rate = (allowed_rate or "*").strip()
    if rate == "*":
        return Consent(Word.GRANTED, status_code=status)
    if not _RATE.fullmatch(rate):
        return _refused(f"{ALLOWED_RATE} is neither * nor a number of requests a minute")
    return Consent(Word.GRANTED, status_code=status, per_minute=int(rate))


def _refused(detail: str) -> Consent:
    return Consent(Word.REFUSED, fault=Word.REFUSED, detail=detail)


def granted_rate(per_minute: int) -> Rate:
    """The bucket that lets no more than this through in any minute, its first second's worth included."""
    burst = max(1, per_minute // 60)
    return Rate(60_000 / (per_minute - burst + 1), burst)


def consenting(url: str) -> str:
    """What stands in Redis for the URL that is asked; another URL is another receiver."""
    return blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
