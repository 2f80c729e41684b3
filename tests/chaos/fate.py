"""What may befall a process at each of its effects: a command to Redis, a dial, a request, an answer.

Effects are numbered as they come. A `Fates` says what happens at each; the crash-point proof lets one effect go wrong,
the simulation draws from a seed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Fate(StrEnum):
    """What happens at one effect."""

    PASS = "pass"
    KILL_BEFORE = "killed before"
    """The process dies; the effect never happens."""
    KILL_AFTER = "killed after"
    """The effect happens; the process dies before it hears of it."""
    LOSE = "reply lost"
    """The effect happens, the reply does not arrive. At Redis the client repeats the command by itself."""
    CUT = "cut"
    """As LOSE, but the caller hears of a broken connection."""
    REFUSE = "refused"
    """The effect does not happen and the caller hears of a broken connection."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect of one process."""

    number: int
    process: str
    label: str
    """`redis EVALSHA commit`, `net dial`, `net request`, `net answer`."""

    def __str__(self) -> str:
        return f"#{self.number} {self.process}: {self.label}"


class Fates(Protocol):
    """Says what happens at each effect, and how long it takes (seconds) before and after."""

    def at(self, effect: Effect) -> Fate: ...
    def pace(self, effect: Effect) -> tuple[float, float]: ...


class Fair:
    """Nothing goes wrong; every effect takes a moment. Remembers what passed."""

    def __init__(self) -> None:
        self.passed: list[Effect] = []

    def at(self, effect: Effect) -> Fate:
        """Pass."""
        self.passed.append(effect)
        return Fate.PASS

    def pace(self, effect: Effect) -> tuple[float, float]:
        """A fifth of a millisecond there, another one back."""
        return 0.0002, 0.0002


class One(Fair):
    """One effect goes wrong, all others pass."""

    def __init__(self, number: int, fate: Fate) -> None:
        super().__init__()
        self.number, self.fate = number, fate
        self.met: Effect | None = None

    def at(self, effect: Effect) -> Fate:
        """The chosen fate at the chosen effect."""
        super().at(effect)
        if effect.number != self.number:
            return Fate.PASS
        self.met = effect
        return self.fate
