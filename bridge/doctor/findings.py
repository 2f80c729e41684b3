"""What a doctor says: one finding a fact, each with its level, its reason and the exact next command."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

SHOWN = 20
"""How many findings of one kind are told one by one."""

MISTAKEN = "it is legal, and looks like a mistake"

_PRECEDENCE = (5, 4, 1)
"""A dependency that is down hides the rest; a refused key is named before what else has failed."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Something works that is going to hurt, or waits for a person."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    check: str
    """What was looked at: config, key, redis, durability, memory, clock, data, types, endpoint, task, …"""
    found: str
    why: str = ""
    """Why it matters, or why it is so."""
    fix: str = ""
    """The exact next command or setting."""
    code: int = 0
    """The exit code that it asks for."""
    about: str = ""
    """The endpoint, task or entry that it is about, where there may be others in the same trouble."""
    cause: str = ""
    """What it shares with those: findings of one check, level and cause are alike. Empty: like no other."""


def ok(check: str, found: str, why: str = "") -> Finding:
    """All is well."""
    return Finding(Level.OK, check, found, why)


def warn(check: str, found: str, why: str = "", fix: str = "", *, about: str = "", cause: str = "") -> Finding:
    """Not well, and it works."""
    return Finding(Level.WARN, check, found, why, fix, about=about, cause=cause)


def fail(
    check: str, found: str, why: str = "", fix: str = "", *, code: int = 1, about: str = "", cause: str = ""
) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, check, found, why, fix, code, about, cause)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if nothing failed; else 5 without Redis, 4 for a refused key, 1 for anything else."""
    asked = {one.code for one in findings}
    return next((code for code in _PRECEDENCE if code in asked), 0)


def together(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Those that are alike, each such group at the place of its first."""
    groups: dict[object, list[Finding]] = {}
    for one in findings:
        key = (one.check, one.level, one.cause) if one.cause else id(one)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def shortened(findings: Sequence[Finding], *, fix: str) -> list[Finding]:
    """The first of many findings of one kind, the worst before the others, and how many more there are.

    Of those that are alike one is shown before the others, so that many in one trouble hide no other trouble.
    """
    worst = sorted(findings, key=lambda one: one.level is not Level.FAIL)
    if len(worst) <= SHOWN:
        return worst
    turns = [(turn, one) for group in together(worst) for turn, one in enumerate(group)]
    turns.sort(key=lambda pair: (pair[1].level is not Level.FAIL, pair[0]))
    worst = [one for _, one in turns]
    rest = worst[SHOWN:]
    return [
        *worst[:SHOWN],
        Finding(rest[0].level, rest[0].check, f"{len(rest)} more like these", "", fix, rest[0].code),
    ]


def counted(number: int, noun: str) -> str:
    """So many of something: 1 delivery, 2 deliveries."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def span(ms: float) -> str:
    """A length of time in words."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= size:
            return f"{ms / size:.0f} {unit}"
    return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms / 1000:.0f} s"
