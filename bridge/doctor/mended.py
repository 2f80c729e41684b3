"""What to do about what an endpoint is owed, once its receiver takes events again."""

from bridge.doctor.findings import span
from bridge.doctor.work import SOON_MS, OwedFacts, hastened, way_back
from bridge.waiting import Advice


def afterwards(owed: OwedFacts) -> tuple[Advice, ...]:
    """What to do, now that its receiver takes events, about what the endpoint is owed and does not get at once."""
    if owed.kept:
        return (Advice("bridge doctor"),)
    dead = dead_letters(owed)
    if owed.state != "active":
        return Advice(f"bridge endpoint enable {owed.name}"), *dead
    return *waiting(owed), *dead


def waiting(owed: OwedFacts) -> tuple[Advice, ...]:
    """What makes that due which it is owed and which waits for its next attempt; nothing where that is soon, and where
    another thing is in its way."""
    if owed.kept or owed.state != "active" or not owed.pending or owed.next_ms is None:
        return ()
    waits = f"{owed.pending} wait{'s' * (owed.pending == 1)}"
    if owed.paused_ms:
        return (Advice("", f"{waits}: it asked for a rest, which ends in {span(owed.paused_ms)}"),)
    return () if owed.next_ms < SOON_MS else (Advice(hastened(owed), f"{waits}, the next in {span(owed.next_ms)}"),)


def dead_letters(owed: OwedFacts) -> tuple[Advice, ...]:
    """What brings back those that it has; nothing where it has none."""
    return (Advice(way_back(owed), f"{owed.dead} {'is' if owed.dead == 1 else 'are'} dead"),) if owed.dead else ()
