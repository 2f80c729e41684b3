"""What clients wrote, judged as registration and sending judge it: by `contract` and `guard`."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from types import MappingProxyType

from bridge.callback import assignments
from bridge.contract import IN_MILLISECONDS, UNSIGNED_CALLBACK, check_member, task_options
from bridge.definition import endpoint
from bridge.deployment import Deployment
from bridge.doctor.findings import MISTAKEN, Finding, exit_code, fail, ok, shortened, warn
from bridge.guard import OURS_TO_LIFT, Policy, Refused, Target
from bridge.hints import endpoint_warnings
from bridge.keyset import NO_KEY
from bridge.model import MILLISECONDS_FROM, OPTIONS, Endpoint
from bridge.rejection import LAST_GOOD, Refusal, Rejection, redacted, rejected_field, typed
from bridge.sealing import Keyring

DEFAULT_SECRET = "BRIDGE_DELIVERY_DEFAULT_SECRET"  # noqa: S105  its name
SIGNING_KEY = "BRIDGE_SIGNING_KEY"
OURS = "this shell's settings refuse it, the running worker's allow it"
THEIRS = "this shell's settings allow it, the running worker's do not"

Answers = Mapping[str, Sequence[str]]
"""Host → its addresses; a host without an answer is missing."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of bridge:tasks that no worker has taken in yet."""

    member: bytes
    score: float
    options: Mapping[bytes, bytes] | None
    """None when the key of its options is no hash."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The classifier as this installation is configured."""

    policy: Policy
    has_default_secret: bool
    deployment: Deployment = Deployment.BY_HAND
    has_signing_key: bool = False

    def endpoint(self, name: bytes, text: bytes) -> Endpoint:
        """A definition as it stands, judged as registration does. Raises Rejection."""
        return endpoint(
            *_decoded(name, text),
            self.policy,
            has_default_secret=self.has_default_secret,
            has_signing_key=self.has_signing_key,
        )

    @property
    def assignments(self) -> list[str]:
        """What of it a worker would have to be given, to judge alike."""
        networks = {"ALLOW": self.policy.allow_networks, "DENY": self.policy.deny_networks}
        lists = [f"BRIDGE_DELIVERY_{verb}_NETWORKS={','.join(map(str, one))}" for verb, one in networks.items() if one]
        return [*lists, *(["BRIDGE_DELIVERY_ALLOW_HTTP=true"] if self.policy.allow_http else [])]


def endpoints(
    written: Mapping[bytes, bytes],
    implicit: Mapping[str, str],
    judge: Judge,
    answers: Answers | None = None,
    *,
    admitted: Mapping[str, str] = MappingProxyType({}),
) -> list[Finding]:
    """Each endpoint's definition as it stands, and each callback URL in force; with `answers` their addresses too.

    `admitted`: those that a running worker works by, name → URL, whatever is thought of them here.
    """
    found = [one for name, text in written.items() for one in _endpoint(name, text, judge, answers, admitted)]
    for name, url in implicit.items():
        called, refused = f"{name} ({redacted(url)})", _parsed(url, judge.policy)
        if name in admitted and isinstance(refused, Refused):
            found.append(_only_theirs(called, url, f"{refused.reason}: {refused.detail}", judge))
        else:
            found += _url(called, url, judge.policy, answers)
    if implicit and not judge.has_default_secret:
        why = "callback_urls are signed with the default secret, and there is none"
        fix = judge.deployment.with_secret(DEFAULT_SECRET)
        found.append(fail("endpoint", f"{len(implicit)} callback URLs", why, fix))
    told = shortened(found, fix="bridge endpoint ls")
    if exit_code(found):
        return told
    if not written and not implicit:
        fix = "bridge endpoint add NAME URL"
        return [warn("endpoint", "none is registered", "events are recorded and nobody is told", fix)]
    count = len(written) + len(implicit) - sum(OURS in one.found for one in found)
    if not count:
        return told
    addresses = "" if answers is None else ", their addresses too"
    admissible = f"{count} {'is' if count == 1 else 'are'} admissible by this shell's settings"
    return [ok("endpoint", f"{admissible}{addresses}"), *told]


def sealed(written: Mapping[bytes, bytes], keyring: Keyring) -> list[Finding]:
    """Endpoints whose secrets no key here opens: whoever works with these settings cannot sign for them."""
    found = []
    for raw, text in written.items():
        name = raw.decode(errors="backslashreplace")
        if closed := keyring.closed(name, text.decode(errors="replace")):
            why = "whoever works with these settings cannot sign or send for it, and what it is owed waits"
            found.append(fail("endpoint", f"{name}: {closed}", why, closed.fix, about=name, cause=str(closed)))
    return shortened(found, fix="bridge config show")


def targets(written: Mapping[bytes, bytes], implicit: Mapping[str, str], judge: Judge) -> list[Target]:
    """Where the admissible ones lead, for their names to be resolved."""
    urls = list(implicit.values())
    for name, text in written.items():
        try:
            urls.append(judge.endpoint(name, text).url)
        except Rejection:
            continue
    return [target for url in urls if isinstance(target := _parsed(url, judge.policy), Target)]


def _endpoint(
    raw_name: bytes, text: bytes, judge: Judge, answers: Answers | None, admitted: Mapping[str, str]
) -> Iterator[Finding]:
    name = raw_name.decode(errors="backslashreplace")
    try:
        definition = judge.endpoint(raw_name, text)
    except Rejection as rejection:
        if url := _admitted_url(name, text, rejection, admitted):
            yield _only_theirs(name, url, str(rejection), judge, lacks=_lacked(rejection))
            return
        why = "it is refused, or works by its last good definition"
        yield fail("endpoint", f"{name}: {rejection}", why, rejection.fix, about=name, cause=str(rejection))
        return
    yield from _url(name, definition.url, judge.policy, answers)
    for hint, fix in endpoint_warnings(name, json.loads(text)).items():
        yield warn("endpoint", f"{name}: {hint}", MISTAKEN, fix, about=name, cause=hint)


def _admitted_url(name: str, text: bytes, rejection: Rejection, admitted: Mapping[str, str]) -> str:
    """The URL of a definition that only the settings here refuse, while a worker works by it; empty for any other."""
    by_settings = rejection.field == "url" or _lacked(rejection)
    url = str(json.loads(text).get("url", "")) if by_settings and name in admitted else ""
    return url if url and admitted[name] == url else ""


def _lacked(rejection: Rejection) -> str:
    """The secret setting for want of which a definition is refused; empty where that is not why."""
    return SIGNING_KEY if rejection.reason == NO_KEY else DEFAULT_SECRET if rejection.field == "secret" else ""


def _only_theirs(name: str, url: str, said: str, judge: Judge, *, lacks: str = "") -> Finding:
    """Of one that the settings of this shell refuse, and those of the running worker do not.

    `lacks`: the secret setting that they have and we have not.
    """
    why = (
        f"by these it is refused ({said.rstrip('.')}), and commands of this shell refuse it; the worker delivers to it"
    )
    lacking = [f"{lacks}=…"] if lacks else assignments(url, judge.policy)
    fix = f"export {' '.join(lacking)}  # here" if lacking else "bridge config show"
    return warn("endpoint", f"{name}: {OURS}", why, fix, about=name, cause=said)


def _url(name: str, url: str, policy: Policy, answers: Answers | None) -> Iterator[Finding]:
    target = _parsed(url, policy)
    why = "its attempts are refused, and three in a row disable it"
    fix = f"bridge endpoint check {quote(redacted(url))} --resolve"
    if isinstance(target, Refused):
        said = f"{target.reason}: {target.detail}"
        yield fail("endpoint", f"{name}: {said}", why, fix, about=name, cause=said)
    elif answers is not None:
        if not target.is_address and target.host not in answers:
            said = f"{target.host} does not resolve"
            yield fail("endpoint", f"{name}: {said}", "its attempts fail", fix, about=name, cause=said)
            return
        verdict = policy.judge(url, answers.get(target.host, ()))
        if not verdict.allowed:
            said = f"{verdict.reason}: {verdict.detail}"
            yield fail("endpoint", f"{name}: {said}", why, fix, about=name, cause=said)


def _parsed(url: str, policy: Policy) -> Target | Refused:
    try:
        return policy.parse(url)
    except Refused as refused:
        return refused


def _decoded(name: bytes, text: bytes) -> tuple[str, str]:
    try:
        return name.decode(errors="backslashreplace"), text.decode()
    except UnicodeDecodeError:
        raise Rejection("", "not UTF-8", "write one JSON object") from None


def waiting(tasks: Sequence[Waiting], judge: Judge) -> list[Finding]:
    """Registrations that intake is going to refuse."""
    found = []
    for one in tasks:
        name = one.member.decode(errors="backslashreplace")
        try:
            _judge_task(name, one, judge)
        except Rejection as rejection:
            name, why, said = name[:200], "intake is going to refuse it", str(rejection)
            found.append(fail("task", f"{name}: {said}", why, rejection.fix, about=name, cause=said))
    return shortened(found, fix="bridge task ls --status waiting")


def _judge_task(name: str, one: Waiting, judge: Judge) -> None:
    check_member(name)
    if one.score > MILLISECONDS_FROM:
        raise Rejection("score", IN_MILLISECONDS, f"redis-cli ZADD bridge:tasks XX 0 {quote(name)}")
    if one.options is None:
        raise Rejection("", f"bridge:task:{name} is not a hash", f"DEL bridge:task:{name} and HSET the options")
    try:
        fields = {name: one.options[name.encode()].decode() for name in OPTIONS if name.encode() in one.options}
    except UnicodeDecodeError:
        raise Rejection("", "an option is not UTF-8", "write the options as UTF-8 text") from None
    task_options(fields, judge.policy, has_default_secret=judge.has_default_secret)


def watches(notes: Mapping[str, str]) -> list[Finding]:
    """Watches whose list cannot be read, with what was said last: nothing new is found for them."""
    why, fix = "until it can be read, new tasks are not found there", "bridge watch ls"
    found = [warn("watch", f"{name}: {note}", why, fix) for name, note in sorted(notes.items())]
    return shortened(found, fix=fix)


def rejected(
    refusals: Sequence[Refusal], written: Mapping[bytes, bytes], judge: Judge, *, in_force: Collection[str] = ()
) -> list[Finding]:
    """What was refused before, by name, until somebody puts it right; and who refuses it, if it is not this shell.

    `in_force`: the names of the endpoints that are.
    """
    definitions = {rejected_field("endpoint", name): (name, text) for name, text in written.items()}
    found = []
    for one in refusals:
        reason = one.reason.removesuffix(".") or "no reason stands there"
        if one.kept and one.name in definitions:
            if not _admitted(*definitions[one.name], judge):
                continue  # it is told of as an endpoint, for it is in force
            why = f"{reason}; it stays in force, and each attempt at it is refused"
            found.append(
                fail("rejected", f"{one.name}: {THEIRS}", why, _like_us(one, judge), about=one.name, cause=why)
            )
        elif not one.kept and _lifted_here(one, judge):
            why = f"{reason}; once it is started with them, register this again"
            found.append(
                fail("rejected", f"{one.name}: {THEIRS}", why, _like_us(one, judge), about=one.name, cause=why)
            )
        else:
            fix = typed(one.fix) or f"bridge rejected rm {quote(one.name)}"
            why = reason + (_outlived(one, in_force) or _dismissed(one, kept=one.name in definitions))
            found.append(warn("rejected", one.name, why, fix, about=one.name, cause=reason))
    if not found:
        return [ok("rejected", "none beside the endpoints above" if refusals else "none")]
    return shortened(found, fix="bridge rejected ls")


def _outlived(one: Refusal, in_force: Collection[str]) -> str:
    """Of a bad change of an endpoint, in words, that nothing changed."""
    kind, _, name = one.name.partition(":")
    return f"; {LAST_GOOD}" if kind == "endpoint" and not one.kept and name in in_force else ""


def _dismissed(one: Refusal, *, kept: bool) -> str:
    """How a complaint that outlived its entry goes, in words. `kept`: the entry stands, to be put right."""
    kind, _, name = one.name.partition(":")
    if kept or not one.fix or kind not in {"endpoint", "task"} or "…" in name or not name.isprintable():
        return ""
    if "bridge rejected rm " in one.fix:  # of a wrong name its fix says it already
        return ""
    return f"; where nobody wants it any more: bridge {kind} rm {quote(name)}"


def _admitted(name: bytes, text: bytes, judge: Judge) -> bool:
    try:
        judge.endpoint(name, text)
    except Rejection:
        return False
    return True


def _lifted_here(one: Refusal, judge: Judge) -> bool:
    """Whether what a worker refused for its settings would pass by ours; for what is no such reason it is false."""
    if one.field == "callback_url" and UNSIGNED_CALLBACK in one.reason:
        return judge.has_default_secret
    word = one.reason.removeprefix(f"{one.field}: ").partition(":")[0]
    return one.field in {"url", "callback_url"} and word in OURS_TO_LIFT and _passes(one.value, judge)


def _passes(shown: str, judge: Judge) -> bool:
    """Of a URL as it may be shown: what is left out of its path and query is no matter of settings."""
    return judge.policy.judge_url(shown.replace("…", "x")).allowed


def _like_us(one: Refusal, judge: Judge) -> str:
    """How to start the worker so that it judges as we do."""
    if one.field == "secret" or UNSIGNED_CALLBACK in one.reason:
        return judge.deployment.with_secret(DEFAULT_SECRET)
    if NO_KEY in one.reason:
        return judge.deployment.with_secret(SIGNING_KEY)
    if not judge.assignments:  # what it has and we have not
        return f"take its BRIDGE_DELIVERY_DENY_NETWORKS from it; {judge.deployment.restart}"
    return judge.deployment.with_settings(judge.assignments)
