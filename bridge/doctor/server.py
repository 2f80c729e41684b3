"""Redis: may it be relied on, does it keep what it acknowledges, has it room, and is its clock right?"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from bridge.doctor.findings import Finding, fail, ok, span, warn
from bridge.errors import LOG_IN, ONE_PRIMARY, START_REDIS
from bridge.redaction import narrated
from bridge.wording import memory

OLDEST = (6, 2)
"""The oldest Redis whose commands the scripts use."""
MEMORY_WARN, MEMORY_FAIL = 0.75, 0.9
"""Shares of maxmemory."""
SKEW_WARN_MS, SKEW_FAIL_MS = 2_000, 60_000
"""Difference of two clocks. Receivers refuse signatures that are 5 min off, so that a minute is already much of it."""
NAMED = 10
"""Of so many keys the doctor tells the name …"""
KEY_CHARS = 120
"""… and of each so much."""
LOSS = {
    "always": "nothing that was acknowledged is lost, whatever happens",
    "everysec": "up to a second of registrations is lost if the machine loses power; changes are found again",
    "no": "what the system has not yet written, often 30 s, is lost if the machine loses power",
}
"""What each appendfsync may cost."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far ahead of Redis' time the latest moment of something lies, and how far it may."""

    what: str
    ms: int
    allowed_ms: int
    fix: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What Redis says of itself; sizes are bytes."""

    version: str
    role: str = "master"
    primary: str = ""
    """Of a replica: the host and port of its primary."""
    loading: bool = False
    cluster: bool = False
    append_only: bool = True
    append_error: bool = False
    """The latest write to the append-only file failed."""
    appendfsync: str | None = "always"
    """None when this user may not ask."""
    policy: str = "noeviction"
    used: int = 0
    limit: int = 0
    """0 is none."""
    skew_ms: int = 0
    """Redis' time less ours."""
    ahead: tuple[Ahead, ...] = ()
    data_version: str | None = None
    """None for a Redis that no bridge has used yet."""


@dataclass(frozen=True, slots=True)
class Strangers:
    """Keys under our prefix that are none of ours."""

    keys: tuple[str, ...]
    bound: int | None = None
    """About so many keys were looked at, and there are more; None if all were."""


def server(facts: ServerFacts, *, allow_volatile: bool, our_data: int, prefix: str) -> list[Finding]:
    """All that Redis' own words tell."""
    return [
        *_itself(facts),
        *_durability(facts, allow_volatile=allow_volatile),
        *_memory(facts, allow_volatile=allow_volatile),
        *_clock(facts),
        _data(facts, our_data, prefix),
    ]


def unreachable(error: str, start: str = START_REDIS) -> Finding:
    """Redis cannot be asked at all. `start`: what starts it, if it does not run."""
    if "LOADING" in error or "loading the dataset" in error:
        why, fix = "it is reading its append-only file after a start", "wait, then `bridge doctor` again"
    elif "password" in error:
        why, fix = "nothing is watched or delivered until it lets us in", LOG_IN
    else:
        kept = "" if "is no Redis" in error else "; what was acknowledged is in its append-only file"
        why, fix = f"nothing is watched or delivered{kept}", start
    return fail("redis", error, why, fix, code=5)


def _itself(facts: ServerFacts) -> Iterator[Finding]:
    if facts.loading:
        yield unreachable("Redis is LOADING its data")
    if facts.cluster:
        yield fail("redis", "this is a Redis Cluster", "RQ does not run on it", ONE_PRIMARY)
    if facts.role != "master":
        primary = (
            f"point BRIDGE_REDIS_URL at its primary, {facts.primary}" if facts.primary else "redis-cli REPLICAOF NO ONE"
        )
        yield fail("redis", "this is a read-only replica", "every change is refused (READONLY)", primary)
    numbers = tuple(int(part) if part.isdigit() else 0 for part in facts.version.split(".")[:2])
    if numbers < OLDEST:
        yield fail("redis", f"version {facts.version}", "6.2 is the oldest that works", "upgrade Redis to 7")
    elif not (facts.loading or facts.cluster or facts.role != "master"):
        yield ok("redis", f"version {facts.version}, answers")


def _durability(facts: ServerFacts, *, allow_volatile: bool) -> Iterator[Finding]:
    level = warn if allow_volatile else fail
    if not facts.append_only:
        yield level(
            "durability", "no append-only file", "a restart of Redis forgets what is owed",
            "redis-cli CONFIG SET appendonly yes  # and write it into redis.conf",
        )  # fmt: skip
        return
    if facts.append_error:
        yield fail(
            "durability", "the latest write to the append-only file failed", "Redis refuses changes until it works",
            "make room on Redis' disk, then look at aof_last_write_status in INFO persistence",
        )  # fmt: skip
        return
    word = facts.appendfsync
    if word is None:
        yield warn(
            "durability", "append-only file on; appendfsync unknown", "this user may not read the configuration",
            "allow it CONFIG GET, or look yourself: redis-cli CONFIG GET appendfsync",
        )  # fmt: skip
    elif word == "no":
        yield warn("durability", "appendfsync no", LOSS["no"], "redis-cli CONFIG SET appendfsync always")
    else:
        yield ok("durability", f"append-only file on, appendfsync {word}", LOSS.get(word, ""))


def _memory(facts: ServerFacts, *, allow_volatile: bool) -> Iterator[Finding]:
    if facts.policy != "noeviction":
        level = warn if allow_volatile else fail
        yield level(
            "memory", f"maxmemory-policy {facts.policy}", "Redis drops keys when memory is short: owed events vanish",
            "redis-cli CONFIG SET maxmemory-policy noeviction  # and write it into redis.conf",
        )  # fmt: skip
    used = f"{memory(facts.used)} used"
    if not facts.limit:
        yield ok("memory", f"{used}, no limit")
        return
    share = facts.used / facts.limit
    text = f"{used} of {memory(facts.limit)} ({share:.0%})"
    if share < MEMORY_WARN:
        yield ok("memory", text)
        return
    level = fail if share >= MEMORY_FAIL else warn
    why = "a full Redis refuses new tasks and changes; what is owed is still delivered"
    more = f"redis-cli CONFIG SET maxmemory {2 * facts.limit}  # or lower BRIDGE_RETENTION_… settings"
    yield level("memory", text, why, more)


def _clock(facts: ServerFacts) -> Iterator[Finding]:
    far = [one for one in facts.ahead if one.ms > one.allowed_ms]
    for one in far:
        yield fail(
            "clock", f"{one.what} lies {span(one.ms)} ahead of Redis' time", "Redis' clock was set back", one.fix
        )
    skew = abs(facts.skew_ms)
    if skew < SKEW_WARN_MS:
        if not far:
            yield ok("clock", f"{span(skew)} between Redis and this machine")
        return
    level = fail if skew >= SKEW_FAIL_MS else warn
    word = "ahead of" if facts.skew_ms > 0 else "behind"
    why = "signatures carry this machine's time, and receivers refuse those that are 5 min off"
    fix = "let both machines keep time: chronyc tracking, or timedatectl"
    yield level("clock", f"Redis is {span(skew)} {word} this machine", why, fix)


def _data(facts: ServerFacts, ours: int, prefix: str) -> Finding:
    found = facts.data_version
    if found is None:
        return ok("data", f"nothing under “{prefix}” yet")
    if not found.isdigit():
        why = "it is the version of what is stored"
        return fail("data", f"data_version is “{found}”", why, f"redis-cli HSET {prefix}meta data_version {ours}")
    if int(found) > ours:
        why = f"this bridge writes version {ours}, and refuses what a newer one wrote"
        return fail("data", f"version {found}", why, "start the newer bridge, or set another BRIDGE_PREFIX")
    return ok("data", f"version {found} under “{prefix}”")


def misspelt(found: Sequence[tuple[str, str, str, str]]) -> list[Finding]:
    """Keys that nobody reads, as their names are nearly a client's: (key, type, the key that was meant, its type)."""
    findings = []
    for key, kind, meant, wanted in found:
        why = f"nobody reads it: did you mean {meant}?"
        fix = f"redis-cli RENAMENX {key} {meant}; where that is there already, write into it, then DEL {key}"
        if kind != wanted:
            fix = f"write into {meant}, a {wanted}, then DEL {key}"
        findings.append(warn("types", f"{key} is no key of the bridge's", why, fix))
    return findings


def strange(found: Strangers, misspelt: Collection[str]) -> list[Finding]:
    """Other keys that nobody reads, once for all; `misspelt` are those of which more is known."""
    findings, keys = [], [_named(key) for key in found.keys if key not in misspelt]
    if keys:
        named, more = keys[:NAMED], f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        what, it = ("is no key", "it") if len(keys) == 1 else ("are no keys", "them")
        meant = "what it was" if len(keys) == 1 else "what they were"
        whole = [quote(key) for key in named if key in found.keys]
        findings.append(
            warn(
                "types", f"{', '.join(named)}{more} {what} of the bridge's", f"nobody reads {it}",
                f"write {meant} meant to be where `bridge contract show` says, then redis-cli DEL "
                + " ".join(whole or ["KEY"]),
            )
        )  # fmt: skip
    if found.bound:
        why = f"there are more than {found.bound:,} keys; some that nobody reads may be among the others"
        findings.append(ok("types", "not all keys were looked at", why))
    return findings


def _named(key: str) -> str:
    """A key as it may be told. Where that is not all of it, as it stands, nobody is told to delete what is named so."""
    told = narrated(key[:KEY_CHARS])
    return told if told == key and key.isprintable() and "\\" not in key else told.removesuffix("…") + "…"


def types(found: Sequence[tuple[str, str, str]], *, ours: frozenset[str]) -> list[Finding]:
    """Keys that have another type than they should: (key, type wanted, type found). `ours`: those clients write."""
    findings = []
    for key, wanted, seen in found:
        if seen in {wanted, "none"}:
            continue
        theirs = key in ours
        why = "somebody wrote over what the bridge keeps"
        if theirs:
            why = "intake is paused: nothing new is taken in; once it is renamed, what was registered is written back"
        findings.append(fail("types", f"{key} is a {seen}, not a {wanted}", why, f"redis-cli RENAME {key} {key}.aside"))
    there = sum(seen != "none" for _, _, seen in found)
    return findings or [
        ok(
            "types",
            f"each key that is there ({there}) is of the type that it should be" if there else "no key is there yet",
        )
    ]
