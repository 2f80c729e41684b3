"""What is said of what an endpoint is owed, once its receiver takes events."""

import pytest

from bridge.doctor.mended import afterwards
from bridge.doctor.work import OwedFacts

RETRY = "bridge delivery ls --endpoint a --state pending -o ids | bridge delivery retry -"
SHOW = "bridge delivery ls --endpoint a --state dead"
RECOVER = "bridge endpoint recover a"


@pytest.mark.parametrize(
    ("owed", "said"),
    [
        (OwedFacts("a"), []),
        (OwedFacts("a", pending=3), []),
        (OwedFacts("a", pending=3, next_ms=-5), []),
        (OwedFacts("a", pending=3, next_ms=9_999), []),
        (OwedFacts("a", pending=10, next_ms=240_000), [f"10 wait, the next in 4 min → {RETRY}"]),
        (OwedFacts("a", pending=1, next_ms=240_000), [f"1 waits, the next in 4 min → {RETRY}"]),
        (
            OwedFacts("a", pending=250, next_ms=240_000),
            ["250 wait, the next in 4 min → " + RETRY.replace(" -o", " --limit 250 -o")],
        ),
        (
            OwedFacts("a", pending=2, next_ms=-5, paused_ms=60_000),
            ["2 wait: it asked for a rest, which ends in 1 min"],
        ),
        (OwedFacts("a", dead=14, reasons={"exhausted": 14}), [f"14 are dead → {RECOVER}"]),
        (OwedFacts("a", dead=1, reasons={"expired": 1}), [f"1 is dead → {RECOVER} --reason expired"]),
        (
            OwedFacts("a", dead=1, reasons={"body-lost": 1}),
            [f"1 is dead → {SHOW}"],
        ),
        (
            OwedFacts("a", pending=2, next_ms=240_000, dead=2, reasons={"gone": 2}),
            [f"2 wait, the next in 4 min → {RETRY}", f"2 are dead → {RECOVER}"],
        ),
        (OwedFacts("a", "held", pending=2, next_ms=240_000), ["→ bridge endpoint enable a"]),
        (
            OwedFacts("a", "disabled", pending=2, next_ms=-5, dead=1, reasons={"gone": 1}),
            ["→ bridge endpoint enable a", f"1 is dead → {RECOVER}"],
        ),
        (OwedFacts("a", "disabled", pending=2, kept=True, dead=1), ["→ bridge doctor"]),
    ],
)
def test_what_waits_or_is_dead_has_its_command(owed: OwedFacts, said: list[str]) -> None:
    """Nothing is said of what goes out by itself within seconds, nor where another thing has to be mended first."""
    assert [str(one) for one in afterwards(owed)] == said
