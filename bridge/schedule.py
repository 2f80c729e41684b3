"""When to try again, and when to stop. Pure: the time and the jitter are arguments.

The default schedule is the one Standard Webhooks recommends; a 2xx delivers, every other answer is tried again, 410 and
the guard's refusals say something about the endpoint as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bridge.breaker import probe_in_ms
from bridge.events import is_lasting
from bridge.model import DeadReason, Decision, Delivery, DeliveryState, Endpoint, EndpointEffect, Fault, Outcome
from bridge.throttle import asks_for_less

RETRY_AFTER_SECONDS = 86_400
"""The longest Retry-After that is obeyed."""

FAULTS_BEFORE_BACKOFF = 2
"""A transient upstream fault is tried again at the interval; from the third in a row the interval doubles."""
BACKOFF_SECONDS = 60.0
"""… up to this."""

FIRST_SPREAD = 0.5
RECONCILE_SPREAD = 0.25
POLL_SPREAD = 0.05
BACKOFF_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a failing delivery is tried."""

    schedule_seconds: Sequence[float] = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    """The wait before each attempt; as many attempts as entries."""
    jitter: float = 0.2
    """Each wait is varied by up to this share, both ways."""
    progress_expires_ms: int = 3_600_000
    """A progress event is given up this long after it was made; a task's end, and what changes after it, never is."""
    failure_window_ms: int = 172_800_000
    """An endpoint that failed in a row for so long is disabled; 0: never."""

    def of(self, endpoint: Endpoint) -> "RetryPolicy":
        """The same with the endpoint's own schedule, if it has one."""
        return replace(self, schedule_seconds=endpoint.schedule) if endpoint.schedule else self


def decide(delivery: Delivery, outcome: Outcome, policy: RetryPolicy, *, now: int, jitter: float) -> Decision:
    """What follows from one attempt. `now` in milliseconds; `jitter` uniform in [-1, 1].

    Where the schedule was started anew, it and the expiry count from then on; attempt numbers go on. A probe ahead of
    its time that fails is due when it was.
    """
    if outcome.status_code is not None and 200 <= outcome.status_code < 300:
        return Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
    if outcome.status_code == 410:
        return Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)
    blocked = outcome.fault is Fault.BLOCKED
    effect = EndpointEffect.OVERLOAD if asks_for_less(outcome) else EndpointEffect.FAILURE
    effect = EndpointEffect.BLOCKED if blocked else effect
    pause_ms = _pause_ms(outcome)
    probe = probe_in_ms(0 if delivery.probe is None else delivery.probe + 1, jitter=jitter)
    failure = Decision(
        DeliveryState.DEAD, effect, pause_ms=pause_ms, probe_in_ms=probe, window_ms=policy.failure_window_ms
    )
    if delivery.early_until is not None:
        return replace(failure, state=DeliveryState.PENDING, retry_in_ms=max(delivery.early_until - now, pause_ms, 0))
    made = delivery.attempts - delivery.round_from + 1
    if made >= len(policy.schedule_seconds):
        reason = DeadReason.BLOCKED if blocked else DeadReason.EXHAUSTED
        return replace(failure, reason=reason)
    wait = policy.schedule_seconds[made] * (1 + policy.jitter * jitter)
    retry_in_ms = max(int(wait * 1000), pause_ms)
    begun = delivery.created_at if delivery.round_at is None else delivery.round_at
    late = now + retry_in_ms > begun + policy.progress_expires_ms
    if late and not is_lasting(delivery.type, delivery.body):
        return replace(failure, reason=DeadReason.EXPIRED)
    return replace(failure, state=DeliveryState.PENDING, retry_in_ms=retry_in_ms)


def poll_in_ms(interval_seconds: float, *, first: bool, jitter: float) -> int:
    """When to read an unchanged task again; `jitter` uniform in [-1, 1].

    The second read of a task comes somewhere in the last half of its interval, so that a thousand tasks registered at
    once do not stay a thousand requests at once.
    """
    if first:
        return int(interval_seconds * 1000 * (1 - FIRST_SPREAD * abs(jitter)))
    return int(interval_seconds * 1000 * (1 + POLL_SPREAD * jitter))


def fault_in_ms(interval_seconds: float, faults: int, *, jitter: float) -> int:
    """When to read a task again after `faults` transient faults in a row; `jitter` uniform in [-1, 1].

    Never sooner than without a fault, which matters where the interval itself is about as long as the longest backing
    off.
    """
    unhurried = poll_in_ms(interval_seconds, first=False, jitter=jitter)
    doublings = max(0, faults - FAULTS_BEFORE_BACKOFF)
    if not doublings:
        return unhurried
    wait = min(interval_seconds * 2.0 ** min(doublings, 32), max(BACKOFF_SECONDS, interval_seconds))
    return max(unhurried, int(wait * 1000 * (1 + BACKOFF_SPREAD * jitter)))


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header, in seconds or as a date, into seconds from `now`; None if it says nothing usable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _pause_ms(outcome: Outcome) -> int:
    if outcome.retry_after_seconds is None:
        return 0
    return int(max(0.0, min(outcome.retry_after_seconds, RETRY_AFTER_SECONDS)) * 1000)
