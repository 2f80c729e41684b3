"""The simulated rate limit: token buckets per organisation, requests per minute and per day."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from bridge.sandbox.faults import http_date

MINUTE, DAY = 60.0, 86_400.0


class RetryAfter(StrEnum):
    """How a 429 says when to come back."""

    SECONDS = "seconds"
    DATE = "date"
    ABSENT = "absent"


class LimitHeaders(StrEnum):
    """Which family of rate-limit headers the counted answers carry."""

    BOTH = "both"
    DOCUMENTED = "documented"
    """`X-Ratelimit-Limit`, `-Remaining`, `-Used`, `-Reset` (UTC epoch seconds)."""
    REQUEST = "request"
    """`X-RateLimit-Request-Remaining`, `-Request-Reset` (epoch seconds too; the true unit is not known)."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """An organisation's budget; None = no limit in that dimension."""

    per_minute: int | None = None
    per_day: int | None = None
    counts_gets: bool = True
    """False: GETs spend nothing and carry no headers, as upstream's list of limited calls suggests."""
    headers: LimitHeaders = LimitHeaders.BOTH
    retry_after: RetryAfter = RetryAfter.SECONDS
    retry_after_seconds: float | None = None
    """Say this instead of the true wait: 3600, say."""


class TokenBucket:
    """`size` tokens, refilled evenly over `seconds`. The time is an argument: Unix seconds."""

    def __init__(self, size: int, seconds: float, now: float) -> None:
        self.size = size
        self._rate = size / seconds
        self._tokens = float(size)
        self._at = now

    def refill(self, now: float) -> None:
        """Let time pass."""
        self._tokens = min(float(self.size), self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now

    @property
    def remaining(self) -> int:
        """Whole tokens left."""
        return int(self._tokens + 1e-9)

    def take(self) -> None:
        """Spend one token, which must be there."""
        self._tokens -= 1.0

    def wait_seconds(self) -> float:
        """Until there is a whole token."""
        return max(0.0, (1.0 - self._tokens) / self._rate) if self._rate else math.inf

    def full_seconds(self) -> float:
        """Until the bucket is full."""
        return (self.size - self._tokens) / self._rate if self._rate else math.inf


class Budget:
    """What one organisation has left, over all its keys. `granted` and `refused` count what spends."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        self.granted = 0
        self.refused = 0
        windows = ((limit.per_minute, MINUTE), (limit.per_day, DAY))
        self._buckets = [TokenBucket(size, seconds, now) for size, seconds in windows if size is not None]

    def spend(self, method: str, now: float) -> tuple[bool, tuple[tuple[str, str], ...]]:
        """Whether the request may pass, and the headers for its answer. A refused request spends nothing."""
        if not self._buckets or (method == "GET" and not self.limit.counts_gets):
            return True, ()
        for bucket in self._buckets:
            bucket.refill(now)
        if all(bucket.remaining for bucket in self._buckets):
            for bucket in self._buckets:
                bucket.take()
            self.granted += 1
            return True, self._headers(now)
        self.refused += 1
        return False, (*self._headers(now), *self._retry_after(now))

    def _headers(self, now: float) -> tuple[tuple[str, str], ...]:
        bucket = min(self._buckets, key=lambda one: one.remaining)
        reset = str(math.ceil(now + min(bucket.full_seconds(), DAY)))
        documented = (
            ("X-Ratelimit-Limit", str(bucket.size)),
            ("X-Ratelimit-Remaining", str(bucket.remaining)),
            ("X-Ratelimit-Used", str(bucket.size - bucket.remaining)),
            ("X-Ratelimit-Reset", reset),
        )
        request = (
            ("X-RateLimit-Request-Remaining", str(bucket.remaining)),
            ("X-RateLimit-Request-Reset", reset),
        )
        match self.limit.headers:
            case LimitHeaders.BOTH:
                return (*documented, *request)
            case LimitHeaders.DOCUMENTED:
                return documented
            case LimitHeaders.REQUEST:
                return request
            case LimitHeaders.NONE:
                return ()

    def _retry_after(self, now: float) -> tuple[tuple[str, str], ...]:
        wait = self.limit.retry_after_seconds
        if wait is None:
            wait = min(max(bucket.wait_seconds() for bucket in self._buckets), DAY)
        match self.limit.retry_after:
            case RetryAfter.SECONDS:
                return (("Retry-After", str(math.ceil(wait))),)
            case RetryAfter.DATE:
                return (("Retry-After", http_date(datetime.fromtimestamp(math.ceil(now + wait), UTC))),)
            case RetryAfter.ABSENT:
                return ()
