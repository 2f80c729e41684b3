"""The settings, and the account at TwelveLabs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.deployment import Deployment
from bridge.doctor.findings import Finding, fail, ok, span, warn
from bridge.model import FetchFailure, FetchFault, Observation
from bridge.schedule import RETRY_AFTER_SECONDS

KEY = "TWELVELABS_API_KEY"

ITSELF = (
    "unset BRIDGE_TWELVELABS_BASE_URL && docker compose up -d  # and look into .env: that address is the container "
    "itself, and what your shell exports wins"
)


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """Where the settings come from; no value of any."""

    sources: Mapping[str, int]
    """Place → how many settings it gives."""
    warnings: Sequence[str] = ()
    has_key: bool = True
    has_default_secret: bool = True


@dataclass(frozen=True, slots=True)
class ListFacts:
    """How watching by upstream's list fares. Times are milliseconds."""

    told_ms: int | None = None
    """Since a pass over it was complete; None: nobody relies on it."""
    rests_ms: int = 0
    """Until it is asked for again."""
    why: str = ""
    """What the latest pass failed for, or what it was found out by."""


def broken(lines: Sequence[str], fix: str) -> list[Finding]:
    """A configuration that cannot be used: one finding a mistake, and what could not be looked at for it."""
    rest = "Redis, the key, endpoints and workers were not looked at"
    return [
        *(fail("config", line.strip(), "no command works until it is right", fix) for line in lines),
        warn("config", rest, "without settings there is nowhere to look", "bridge config check"),
    ]


def configured(facts: SettingsFacts) -> list[Finding]:
    """A configuration that can be used."""
    given = [f"{count} by {place}" for place, count in facts.sources.items() if place != "default"]
    findings = [ok("config", f"valid; settings {', '.join(given)}" if given else "valid; every setting at its default")]
    findings += [warn("config", text, "", "bridge config show") for text in facts.warnings]
    if facts.has_default_secret:
        findings.append(ok("config", "a default secret is set"))
    else:
        why = "there is no BRIDGE_DELIVERY_DEFAULT_SECRET, so that a task's callback_url is refused"
        findings.append(ok("config", "each endpoint signs with a secret of its own", why))
    return findings


def way_out(where: str) -> Finding:
    """The egress proxy takes connections; whether it lets us through, the first delivery tells."""
    return ok("proxy", f"deliveries go through {where}, which takes connections")


def no_way_out(found: str, fix: str) -> Finding:
    """The egress proxy does not even take a connection."""
    return fail("proxy", found, "nothing is delivered; what is owed waits, and counts against no endpoint", fix)


def no_key(deployment: Deployment = Deployment.BY_HAND, *, here: bool = False, theirs: bool | None = None) -> Finding:
    """None where it is needed, or none to be tried. `here`: this shell has one; `theirs`: a live worker has."""
    if theirs:
        return ok("key", "the running worker has one", "this shell has none, so it was not tried")
    if here:
        why = "this shell has one; nothing is polled until the worker is started with it"
        return fail("key", "the running worker has none", why, deployment.with_secret(KEY))
    without = "" if deployment is Deployment.COMPOSE else "; without a key: bridge simulate"
    return fail("key", "there is none", f"nothing is polled{without}", deployment.with_secret(KEY))


def unasked(rest_ms: int = 0) -> Finding:
    """We are told to leave upstream alone just now: one request more would be one too many."""
    if rest_ms > RETRY_AFTER_SECONDS * 1000:
        why = f"nothing is polled for {span(rest_ms)}; no Retry-After asks for that, so somebody wrote it there"
        return fail("key", "not tried: the account rests", why, "redis-cli ZREM bridge:pauses default")
    if rest_ms > 0:
        why = f"TwelveLabs asked for a rest (Retry-After); reading goes on in {span(rest_ms)}"
        return warn("key", "not tried: the account rests", why, "bridge status -w")
    why = "BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE is used up for this minute"
    return warn("key", "not tried: no request is left", why, "bridge doctor, in a minute")


def key(
    came: Observation | FetchFailure,
    base_url: str,
    *,
    refused_for_ms: int | None = None,
    deployment: Deployment = Deployment.BY_HAND,
) -> Iterator[Finding]:
    """What one real read said of the key and the address.

    `refused_for_ms`: the workers say that their key is refused, and probe it again in so many milliseconds.
    """
    if isinstance(came, Observation):
        yield from _accepted("accepted", refused_for_ms, deployment)
    elif came.fault is FetchFault.CREDENTIAL:
        why = f"{base_url} answered {came.detail}; nothing is polled, one read a minute probes it"
        yield fail("key", "refused", why, f"with a valid key: {deployment.with_secret(KEY)}", code=4)
    elif came.fault is FetchFault.THROTTLED:
        why = f"{came.detail}: this account's requests are used up for now"
        yield warn("key", "accepted, and throttled", why, "lower BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE")
    elif came.fault is FetchFault.TRANSIENT:
        fix = _answering(base_url, deployment, listens=not came.detail.startswith("connect"))
        yield fail("key", f"{base_url} does not answer as it should", came.detail, fix)
    elif " " in came.detail.removeprefix("HTTP "):
        yield from _accepted(f"accepted ({came.detail} for a task that is not ours)", refused_for_ms, deployment)
    else:
        why = f"{came.detail} without an error code of theirs: this may be another server"
        yield warn("key", f"{base_url} answers strangely", why, "check BRIDGE_TWELVELABS_BASE_URL")


def _answering(base_url: str, deployment: Deployment, *, listens: bool) -> str:
    """What to do about an address that does not answer as it should. `listens`: somebody took the connection."""
    parts, look = urlsplit(base_url), f"curl -sSI {base_url}"
    if parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return look
    if deployment is Deployment.COMPOSE:
        return ITSELF
    simulator = f"bridge simulate {parts.port or 80}  # or unset BRIDGE_TWELVELABS_BASE_URL, for TwelveLabs itself"
    return look if listens else simulator


def listing(facts: ListFacts) -> Iterator[Finding]:
    """What upstream's list is worth just now; nothing, where it was not asked for yet."""
    by_id = "until then every task is read by id, as without a list: nothing is missed, and it costs more requests"
    if facts.rests_ms > 0:
        fix = "none needed; to ask for it at once: redis-cli HDEL bridge:listing:default rests"
        yield warn("list", f"rests for {span(facts.rests_ms)}: {facts.why or 'somebody wrote it there'}", by_id, fix)
    elif facts.told_ms is not None:
        yield ok("list", f"upstream's list tells what changes; last read {span(facts.told_ms)} ago")
    elif facts.why:
        yield warn("list", f"does not tell: {facts.why}", by_id, "none needed; it is asked for again by itself")


def _accepted(found: str, refused_for_ms: int | None, deployment: Deployment) -> Iterator[Finding]:
    yield ok("key", found)
    if refused_for_ms is not None:
        why = f"they have not tried since; they probe it in {span(max(refused_for_ms, 0))}, and go on"
        fix = f"if it was started with the old key, {deployment.restart}; else wait: bridge status -w"
        yield fail("key", "the workers say that it is refused", why, fix, code=4)
