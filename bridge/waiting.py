"""Why a delivery that is owed is not on its way, what an endpoint last failed by, and the next command. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from shlex import quote
from typing import Any

from bridge.model import DeliveryState, Fault
from bridge.recovery import command

REFUSED = "the running worker's settings refuse it, so each attempt at it is refused, too → bridge doctor"
"""What to say of an endpoint whose `kept` is true, however this process judges it; and where to look."""

BLOCKED = "blocked"
"""Why an endpoint is disabled whose address policy forbids: to enable it alone leads nowhere."""
GONE = "gone"
"""Why an endpoint is disabled, and its delivery dead, that answered 410."""
OPERATOR = "operator"
"""Who disabled an endpoint, if not the bridge: the reason is a text of theirs then, whatever it looks like."""
LEADS = "redirects to "
"""What stands before the place that an endpoint redirects to, in what an attempt at it came to."""
_ALLOWING = re.compile(r"BRIDGE_DELIVERY_ALLOW_[A-Z]+")


class Holder(StrEnum):
    """What a delivery waits for, other than its moment."""

    ATTEMPT = "attempt"
    """It is being attempted."""
    DISABLED = "disabled"
    BREAKER = "breaker"
    LINE = "line"


@dataclass(frozen=True, slots=True)
class Standing:
    """What an endpoint does with what it is owed. Times are milliseconds."""

    state: str = "active"
    reason: str = ""
    probe_at: int | None = None
    paused_until_at: int | None = None
    error: str = ""
    """What its latest attempt came to; empty unless it failed."""
    kept: bool = False
    """The running worker's settings refuse its definition."""
    by: str = ""
    """Who disabled it: operator, or nobody but the bridge."""

    @property
    def cause(self) -> str:
        """Why the bridge disabled it; empty where it did not."""
        return self.reason if self.state == "disabled" and self.by != OPERATOR else ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is sent at the moment that its schedule names."""

    by: Holder
    reason: str = ""
    """Why the endpoint is disabled."""
    by_settings: bool = False
    """It is, as the running worker's settings forbid it: to enable it alone would not help."""
    by_operator: bool = False
    """Somebody disabled it, and the reason is their own text."""
    probe_at: int | None = None
    """When the endpoint is probed: one of its deliveries goes out then."""
    behind: str | None = None
    """The event of the same task whose turn comes first."""
    again_at: int | None = None
    """When it is attempted anew if the worker that attempts it just now is lost: its lease ends then."""


def hold_of(standing: Standing, behind: str | None, leased_until: int | None = None) -> Hold | None:
    """What holds a pending delivery, the gravest first; None for one that goes out at its moment. One that is going out
    is held by nothing else."""
    if leased_until is not None:
        return Hold(Holder.ATTEMPT, again_at=leased_until)
    if standing.state == "disabled":
        ours = standing.kept and standing.cause == BLOCKED
        return Hold(Holder.DISABLED, standing.reason, ours, standing.by == OPERATOR)
    if standing.state == "held":
        return Hold(Holder.BREAKER, standing.reason, probe_at=standing.probe_at)
    return Hold(Holder.LINE, behind=behind) if behind else None


def told(hold: Mapping[str, Any], endpoint: str, probe: str) -> str:
    """A hold in words; `probe` is when the next probe goes out, as people read it."""
    if hold["by"] == Holder.ATTEMPT:
        return "being attempted"
    if hold["by"] == Holder.DISABLED:
        whose = " by the running worker's settings" if hold["by_settings"] else ""
        return f"held: endpoint {endpoint} is disabled" + (f" ({hold['reason']}{whose})" if hold["reason"] else "")
    if hold["by"] == Holder.BREAKER:
        return f"held: its breaker is open, next probe {probe}"
    return f"waits behind {hold['behind']} of its task"


def error_of(attempt: Mapping[str, Any]) -> str:
    """What a failed attempt came to: `HTTP 401`, `HTTP 302, redirects to …`, `timeout: no answer within 15 s`."""
    if attempt.get("status_code"):
        return ", ".join(filter(None, (f"HTTP {attempt['status_code']}", str(attempt.get("detail") or ""))))
    return ": ".join(str(attempt[name]) for name in ("fault", "detail") if attempt.get(name))


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person may want to do: one command that can be pasted as it stands, and when it is the right one."""

    command: str
    """Empty where it is not a command of ours that helps."""
    when: str = ""

    def __str__(self) -> str:
        arrow = f"→ {self.command}" if self.command else ""
        return " ".join(filter(None, (self.when, arrow)))


REWRITTEN = "it verifies a body that it parsed and wrote anew (`bridge verify` tells which)"
CAUSES = f"it holds another secret, or {REWRITTEN.removeprefix('it ')}"
"""Why a receiver refuses a signature, where there is no room for a command each."""


UNSIGNED = frozenset({"HTTP 400", "HTTP 401", "HTTP 403"})
"""What receivers answer to a signature that they do not believe."""


def is_forbidden(error: str) -> bool:
    """Whether nothing was sent, as the guard refused the address: no receiver could mend that."""
    return error.startswith(f"{Fault.BLOCKED}:") or error == Fault.BLOCKED


def lacking(error: str) -> str:
    """The settings that whoever refused an address names as those that would let it pass; empty where none would."""
    return " and ".join(dict.fromkeys(_ALLOWING.findall(error)))


def remedies(endpoint: str, error: str) -> tuple[Advice, ...]:
    """What an error suggests, beyond looking at the receiver: one for each cause that it may have."""
    if is_forbidden(error):
        allowed = f" allow it by {lacking(error)} for the worker, or" if lacking(error) else ""
        return (Advice(elsewhere(endpoint), f"policy forbids the address that it leads to:{allowed}"),)
    if error.startswith("HTTP 3"):
        return (Advice(elsewhere(endpoint, redirected_to(error)), "redirects are not followed:"),)
    if error not in UNSIGNED:
        return ()
    rewritten = "or verifies a body that it parsed and wrote anew? with a request as it came:"
    if endpoint.startswith("url:"):
        ours = "the receiver holds another secret than BRIDGE_DELIVERY_DEFAULT_SECRET, which signs callback_urls?"
        return Advice("bridge config show", ours), Advice("bridge verify request.txt", rewritten)
    return (
        Advice(
            f"bridge endpoint rotate {endpoint} --secret-file secret.whsec",
            "the receiver holds another secret? with it, saved as secret.whsec:",
        ),
        Advice(f"bridge endpoint rotate {endpoint}", "or with a new one, for both:"),
        Advice("bridge verify --secret-file secret.whsec request.txt", rewritten),
    )


def redirected_to(error: str) -> str:
    """The place that an endpoint redirects to by its error; empty where part of it is hidden, or more is said of it."""
    _, leads, place = error.partition(LEADS)
    return place if leads and not {"…", " "} & set(place) else ""


def elsewhere(endpoint: str, url: str = "") -> str:
    """How it leads to another place; written anew, one that was disabled by the bridge is active again."""
    place = quote(url) if url else "URL"
    if endpoint.startswith("url:"):
        return f"bridge task add ID --callback-url {place}"
    return f"bridge endpoint set {endpoint} --url {place}"


def registering(endpoint: str) -> str:
    """How an endpoint that was removed comes back; that of a callback URL does as one with a name."""
    return f"bridge endpoint add {'NAME' if endpoint.startswith('url:') else endpoint} URL"


def after_gone(endpoint: str) -> tuple[Advice, ...]:
    """What to do about an endpoint that answered 410, whoever asks: it was a mistake, or it was meant.

    The endpoint of a callback URL is its tasks', and nobody's to remove.
    """
    again = Advice(f"bridge endpoint recover {endpoint}", f"{endpoint} answered 410; if its receiver does want them:")
    if endpoint.startswith("url:"):
        return (again,)
    return again, Advice(f"bridge endpoint rm {endpoint}", "if it wants no more:")


def of_disabled(endpoint: str, hold: Mapping[str, Any], error: str) -> tuple[Advice, ...]:
    """What ends the hold of a disabled endpoint, which failed by this error."""
    named = lacking(error)
    if hold["by_operator"]:
        return (Advice(f"bridge endpoint enable {endpoint}"),)
    if hold["by_settings"]:
        lacks = f"the worker lacks {named}; with that set, it is active again by itself:" if named else ""
        return (Advice("bridge doctor", lacks),)
    if hold["reason"] == BLOCKED:
        allowed = f" allow it by {named} and enable it, or" if named else ""
        return (Advice(elsewhere(endpoint), f"the running worker may not send there:{allowed}"),)
    return after_gone(endpoint) if hold["reason"] == GONE else (Advice(f"bridge endpoint enable {endpoint}"),)


def advised(delivery: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What a person who looks at this delivery may want to do about it; nothing where nothing helps."""
    name, event_id, hold = delivery["endpoint"], delivery["event_id"], delivery["hold"]
    retry = Advice(f"bridge delivery retry {event_id} --endpoint {name}")
    if delivery["reason"] == "body-lost":
        return ()
    if delivery.get("endpoint_removed"):
        return _of_removed(delivery)
    if delivery["state"] == DeliveryState.DEAD and delivery["reason"] == GONE and delivery["endpoint_gone"]:
        return after_gone(name)
    if delivery["state"] == DeliveryState.DEAD:
        recover = command(name, [delivery["reason"]])
        return (replace(retry, when="this one"), *([Advice(recover, "all of these that it has")] if recover else []))
    if delivery["state"] == DeliveryState.DELIVERED:  # nothing is amiss, and to send it again would be a duplicate
        return ()
    if delivery["state"] == DeliveryState.SUPERSEDED:
        return (Advice(f"{retry.command} --force", "to send it all the same"),)
    if delivery["state"] == DeliveryState.CANCELLED:
        return (retry,)
    if hold and hold["by"] == Holder.DISABLED:
        return of_disabled(name, hold, delivery["endpoint_error"] or "")
    return _of_pending(delivery, retry)


def _of_removed(delivery: Mapping[str, Any]) -> tuple[Advice, ...]:
    """Of one whose endpoint was removed: a dead letter may be dismissed."""
    again = Advice(registering(delivery["endpoint"]), "its endpoint was removed")
    if delivery["state"] != DeliveryState.DEAD:
        return (again,)
    dismiss = Advice(f"bridge delivery cancel {delivery['event_id']} --endpoint {delivery['endpoint']}")
    return again, replace(dismiss, when="or nobody needs it:")


def _of_pending(delivery: Mapping[str, Any], retry: Advice) -> tuple[Advice, ...]:
    """Of one at an endpoint that takes deliveries, or is probed."""
    name, hold, error = delivery["endpoint"], delivery["hold"], delivery["endpoint_error"] or ""
    what = "that" if is_forbidden(error) else "its receiver"
    mended = () if hold else (replace(retry, when=f"once {what} is mended, not to wait for it:"),)
    if found := remedies(name, error):
        return *found, *mended
    if hold and hold["by"] == Holder.LINE:
        return (Advice(f"bridge delivery show {hold['behind']} {name}"),)
    if hold and hold["by"] == Holder.ATTEMPT and not error:
        return ()
    return (Advice(f"bridge endpoint test {name}"), *mended) if error else (retry,)
