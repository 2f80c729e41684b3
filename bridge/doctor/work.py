"""The work: who does it, how late it is, what has failed for good, and what keeps failing."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.deployment import Deployment
from bridge.doctor.findings import Finding, counted, fail, ok, shortened, span, warn
from bridge.hints import task_rewriting, ways_to_name
from bridge.recovery import command, dismissal, each_of
from bridge.schedule import RETRY_AFTER_SECONDS
from bridge.waiting import BLOCKED, CAUSES, GONE, OPERATOR, UNSIGNED, after_gone, elsewhere, registering, remedies
from bridge.wording import near_name

LATE_WARN_MS, LATE_FAIL_MS = 15_000, 120_000
"""How late work may be. The second is what `bridge health` goes by."""
QUEUED = 10
"""More jobs than this in a queue of RQ's are piling up."""
LONGEST_REST_MS = RETRY_AFTER_SECONDS * 1000
FAULTS = 3
"""Failed reads in a row from which on a task is read less often."""

NOBODY = "there is no such endpoint, so nobody hears of it"
SOON_MS = 10_000
"""What is due sooner is not worth a command."""

_DEAD = {
    "poison": "whoever attempted it ended without a word",
    "body-lost": "its body is gone from Redis",
    "unreadable": "somebody wrote over its record",
    "exhausted": "every attempt of its schedule failed",
    "expired": "a progress event was not delivered in time",
    "gone": "its endpoint answered 410",
    "blocked": "policy forbids its address",
}


_DISABLED = {
    "gone": "it answered 410, as one does that wants no more",
    "blocked": "policy forbids its address: the worker's settings did, or its name led there",
    "failing": "it failed for the whole failure window",
    "unanswered": "its receiver has to consent first, and is asked again and again",
    "refused": "its receiver has to consent first, and did not; it is asked again each hour",
}
"""Why we disable an endpoint; any other reason is the word of whoever disabled it."""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """One kind of worker, all machines together. Times are milliseconds."""

    kind: str
    workers: int
    shifts: int
    queued: int = 0
    """Jobs in its RQ queue."""
    late_ms: int = 0
    """How long the oldest due work waits for a claim."""
    due: int = 0
    """How much of it is due: tasks, or endpoints with something to do and a free slot."""
    rests: bool = False
    """Polling: there is no key, the key is refused, or upstream asked for a rest."""


@dataclass(frozen=True, slots=True)
class OwedFacts:
    """What one endpoint is owed."""

    name: str
    state: str = "active"
    reason: str = ""
    by: str = ""
    """Who disabled it: operator, or nobody but the bridge."""
    in_force: bool = True
    url: str = ""
    """Of an implicit endpoint, whose name says nothing: where it leads, as that may be shown."""
    pending: int = 0
    next_ms: int | None = None
    """Until the first of these that waits for its moment; below 0 it is due, None when none waits for one."""
    overdue: int = 0
    """Due and unclaimed, while the endpoint takes deliveries."""
    oldest_ms: int = 0
    paused_ms: int = 0
    """How much longer it rests, as it asked."""
    failures: int = 0
    failing_ms: int = 0
    """Since the first of these failures."""
    probe_ms: int = 0
    """While it is held as failing: until the next probe."""
    error: str = ""
    """What its latest attempt came to, if that failed."""
    kept: bool = False
    """The running worker's settings refuse its definition, which is in force all the same."""
    dead: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Of its latest dead letters."""

    @property
    def cause(self) -> str:
        """Why the bridge disabled it; empty where an operator did, whatever the reason that they gave."""
        return "" if self.by == OPERATOR else self.reason

    @property
    def called(self) -> str:
        """Its name, and where that is a digest, the URL."""
        return f"{self.name} ({self.url})" if self.url else self.name


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One watched task."""

    member: str
    faults: int = 0
    error: str = ""
    endpoints: tuple[str, ...] = ()
    """Those that its `endpoints` option names."""
    written: tuple[str, ...] = ()
    """The names of its options, as its client wrote them."""


def role(facts: RoleFacts, deployment: Deployment = Deployment.BY_HAND) -> Iterator[Finding]:
    """Is it alive, and does it keep up?"""
    check = f"{facts.kind} worker"
    verb = "polled" if facts.kind == "poll" else "delivered"
    if not facts.workers:
        yield fail(check, "no worker is alive", f"nothing is {verb}", deployment.start())
    elif not facts.shifts:
        why = f"{facts.workers} workers and no shift: their supervisor sends none"
        yield fail(check, "no shift is alive", why, f"{deployment.logs}; then {deployment.restart}")
    else:
        yield ok(check, f"{counted(facts.workers, 'worker')}, {counted(facts.shifts, 'shift')}")
    if facts.queued > QUEUED:
        why = "shifts are sent and nobody takes them"
        fix = f"{deployment.start()}; the surplus ends by itself"
        yield warn(check, f"{facts.queued} jobs wait in RQ's queue", why, fix)
    backlog = f"{facts.kind} backlog"
    what = counted(facts.due, "task" if facts.kind == "poll" else "endpoint")
    text = f"{what} wait{'s' * (facts.due == 1)} for a claim, the oldest for {span(facts.late_ms)}"
    if facts.rests or facts.late_ms < LATE_WARN_MS:
        yield ok(backlog, text if facts.due else "nothing is due")
        return
    if not facts.workers:
        yield warn(backlog, text, "nobody does it", deployment.start())
        return
    level = fail if facts.late_ms >= LATE_FAIL_MS else warn
    setting = f"BRIDGE_{'POLL' if facts.kind == 'poll' else 'DELIVERY'}_WORKERS"
    fix = f"set {setting} higher, or run one more: {deployment.one_more(facts.workers)}"
    yield level(backlog, text, f"work comes in faster than it is {verb}", fix)


def owed(facts: Sequence[OwedFacts]) -> list[Finding]:
    """Endpoints that take nothing, and what was given up."""
    held = [_alike(one, finding, one.state, one.reason, one.error) for one in facts for finding in _state(one)]
    dead = [_alike(one, _dead(one), one.state, *sorted(one.reasons)) for one in facts if one.dead]
    findings = shortened(held, fix="bridge endpoint ls") + shortened(dead, fix="bridge delivery ls --state dead")
    return findings if dead else [*findings, ok("dead letters", "none")]


def _alike(one: OwedFacts, finding: Finding, *causes: str) -> Finding:
    """The finding as one of those that have these causes, and need the same: their numbers are their own."""
    needs = re.sub(rf"(?<![\w.-]){re.escape(one.name)}(?![\w.-])", "NAME", finding.fix)
    return replace(finding, about=one.called, cause="\n".join((*causes, needs)))


def _state(one: OwedFacts) -> Iterator[Finding]:
    if one.state == "held" and one.in_force:
        failing = f"{_failed(one)}, for {span(one.failing_ms)}{_last(one)}"
        cure, probed = _cure(one), f"it is probed in {span(one.probe_ms)}"
        way = probed if cure else f"put its receiver right: {probed}, or now"
        why = f"{failing}{_causes(one)}; {_waiting(one)}; {way}"
        fix = cure or f"bridge endpoint enable {one.name}"
        yield warn("endpoint", f"{one.called} is held ({one.reason or 'failing'})", why, fix)
    elif one.state == "disabled" and one.in_force:
        yield _disabled(one)
    elif one.paused_ms > LONGEST_REST_MS and one.in_force:
        why = f"no Retry-After asks for that, so somebody wrote it there; {_waiting(one)}"
        fix = f"HDEL bridge:endpoint:{one.name} paused_until"
        yield warn("endpoint", f"{one.called} rests for {span(one.paused_ms)} more", why, fix)
    elif one.paused_ms > 0 and one.in_force:
        why = f"it answered Retry-After; {_waiting(one)}"
        yield warn(
            "endpoint", f"{one.called} rests for {span(one.paused_ms)} more", why, f"bridge endpoint show {one.name}"
        )
    elif one.oldest_ms >= LATE_WARN_MS and one.in_force:
        why = "all its slots are held by slow attempts, its rate lets no more go, or no worker claims"
        fix = f"bridge delivery ls --endpoint {one.name} --state pending"
        yield warn(
            "endpoint", f"{one.called} has {one.overdue} overdue, the oldest for {span(one.oldest_ms)}", why, fix
        )
    elif one.failures and one.in_force:
        failing = f"{_failed(one)}{_last(one)}{_causes(one)}"
        waits = one.next_ms is not None and one.next_ms >= SOON_MS
        later = (
            f"; the next goes out in {span(one.next_ms or 0)}, or once it is mended: {hastened(one)}" if waits else ""
        )
        why = f"{failing}; {_are(one)} owed{later}"
        fix = _cure(one) or f"bridge endpoint test {one.name}"
        yield warn("endpoint", f"{one.called} fails" + (f": {one.error}" if one.error else ""), why, fix)


def _disabled(one: OwedFacts) -> Finding:
    """Nothing goes out until somebody says so, or, where a setting of ours was the cause, until that is mended."""
    found = f"{one.called} is disabled" + (f" ({one.reason})" if one.reason else "")
    held = f"{_are(one)} held, none is lost until retention"
    if one.kept and one.cause == BLOCKED:
        why = f"the running worker's settings refuse its address; {held}"
        return warn("endpoint", found, why, "mend them as `rejected` says, above: it is then active again by itself")
    cause = _DISABLED.get(one.cause, "an operator holds it") + _last(one)
    if one.cause == BLOCKED:
        why = f"{cause}; {held}; once a setting allows it: bridge endpoint enable {one.name}"
        return warn("endpoint", found, why, elsewhere(one.name))
    if one.cause == GONE:
        again, *otherwise = after_gone(one.name)
        words = [_DISABLED[GONE], held, *(f"{advice.when} {advice.command}" for advice in otherwise)]
        return warn("endpoint", found, "; ".join(words), again.command)
    verb = "recover" if command(one.name, one.reasons) == f"bridge endpoint recover {one.name}" else "enable"
    return warn("endpoint", found, f"{cause}; {held}", f"bridge endpoint {verb} {one.name}")


def hastened(one: OwedFacts) -> str:
    """What makes all that it is owed due at once."""
    return each_of(one.name, "pending", one.pending, "retry")


def _waiting(one: OwedFacts) -> str:
    return f"{counted(one.pending, 'delivery')} wait{'s' * (one.pending == 1)}"


def _failed(one: OwedFacts) -> str:
    latest = "attempt" if one.failures == 1 else f"{one.failures} attempts"
    return f"the latest {latest} at it failed"


def _are(one: OwedFacts) -> str:
    return f"{counted(one.pending, 'delivery')} {'is' if one.pending == 1 else 'are'}"


def _last(one: OwedFacts) -> str:
    return f" (last error: {one.error})" if one.error else ""


def _cure(one: OwedFacts) -> str:
    """The first command that its error suggests; empty where it suggests none."""
    return next((advice.command for advice in remedies(one.name, one.error)), "")


def _causes(one: OwedFacts) -> str:
    return f": {CAUSES}" if one.error in UNSIGNED else ""


def _dead(one: OwedFacts) -> Finding:
    latest = ", ".join(f"{count} {reason}" for reason, count in sorted(one.reasons.items()))
    whole = sum(one.reasons.values()) == one.dead
    found = f"{one.called} has {one.dead}" + (
        f": {latest}" if whole else f", of the latest: {latest}" if latest else ""
    )
    why = "; ".join(f"{reason}: {_DEAD[reason]}" for reason in sorted(one.reasons) if reason in _DEAD)
    if one.state == "removed":
        back = f"to have them sent after all: {registering(one.name)}"
        return warn("dead letters", f"{found}, and was removed", f"{why}; {back}", dismissal(one.name, one.dead))
    return warn("dead letters", found, why, way_back(one))


def way_back(one: OwedFacts) -> str:
    """What brings an endpoint's dead letters back, or where nothing does shows them."""
    return command(one.name, one.reasons) or f"bridge delivery ls --endpoint {one.name} --state dead"


def faulty(tasks: Sequence[TaskFacts]) -> list[Finding]:
    """Tasks whose reads keep failing, together where they fail for the same reason."""
    by_error: dict[str, list[TaskFacts]] = {}
    for one in tasks:
        if one.faults >= FAULTS:
            by_error.setdefault(one.error, []).append(one)
    found = []
    for error, same in by_error.items():
        first, times = same[0].member, max(one.faults for one in same)
        who = first if len(same) == 1 else f"{first} and {len(same) - 1} more"
        text = f"{who} failed to be read {times} times in a row"
        found.append(warn("task", text, error, f"bridge task show {first}"))
    return shortened(found, fix="bridge task ls --status watched")


def unknown_names(tasks: Iterable[TaskFacts], known: frozenset[str]) -> list[Finding]:
    """Tasks that name endpoints which nobody registered: they are told nothing."""
    by_name: dict[str, list[TaskFacts]] = {}
    for one in tasks:
        for name in one.endpoints:
            if name not in known:
                by_name.setdefault(name, []).append(one)
    found, named = [], [name for name in sorted(known) if not name.startswith("url:")]
    for name, theirs in sorted(by_name.items()):
        first, more = theirs[0], f" and {len(theirs) - 1} more" if len(theirs) > 1 else ""
        text, why = f"{first.member}{more}: its option `endpoints` names “{name}”", NOBODY
        fix = ways_to_name(name, first.member, first.written, {one: one in known for one in first.endpoints})
        if near := near_name(name, named):
            fix, why = _naming(first, named), f"{why}: did you mean {near}?"
        found.append(warn("task", text, why, fix))
    return shortened(found, fix="bridge endpoint ls")


def _naming(one: TaskFacts, known: Sequence[str]) -> str:
    """The command that names the endpoints which are near those that it names and that are none."""
    endpoints = list(dict.fromkeys(name if name in known else near_name(name, known) or name for name in one.endpoints))
    return task_rewriting(one.member, ("endpoints", *one.written), endpoints)
