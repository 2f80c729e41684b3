"""What a pass over upstream's list comes to: which rows are new, and when it may stop. Pure.

The list is sorted by `updated_at`, the latest first, and moves while it is read: rows repeat, jump to the front, go
missing. What a pass misses, the next one finds (it is newer than the mark), or the reading by id does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.model import Observation

DEEP_MS = 60_000
"""A pass ends where the one before began. Once in this time it is a deep one, and goes on …"""
OVERLAP_MS = 120_000
"""… so far below that: rows arrive late, get lost while a moving list is read, and clocks and precisions differ."""
QUIET_MS = 60_000
"""Where nothing has moved for longer, the mark follows our clock this far behind: else a quiet account, whose tasks all
moved last at about the same time, would be read down to that time in every pass. The first page is always read: a
clock of upstream's that is further behind hides no change but of a crowd, and that until the reading by id."""
AHEAD_MS = 3_600_000
"""A row whose `updated_at` is further ahead than this sets no mark: all that follows would be missed until then."""


@dataclass
class Pass:
    """One pass. Moments are milliseconds, of upstream's `updated_at`."""

    mark: int | None
    """The latest of the pass before; None for the first one, which reads a page and starts from there."""
    now: int
    deep: bool = True
    _rows: dict[str, dict[tuple[str, int], Observation]] = field(default_factory=dict)
    _latest: int | None = None
    complete: bool = False
    """Everything down to the mark was read."""

    def add(self, rows: Iterable[Observation], *, last: bool) -> None:
        """Take a page in. `last`: there is none after it."""
        below = False
        for row in rows:
            if row.updated_at is None:
                continue  # the reading by id sees it
            moment = int(row.updated_at.timestamp() * 1000)
            self._rows.setdefault(str(row.task_id), {})[row.status, moment] = row
            if moment <= self.now + AHEAD_MS:
                self._latest = max(moment, self._latest or 0)
            below = below or (self.mark is not None and moment < self.mark - (OVERLAP_MS if self.deep else 0))
        self.complete = self.complete or last or below or self.mark is None

    @property
    def next_mark(self) -> int | None:
        """Where the next pass may stop: never before where this one did."""
        known = [one for one in (self.mark, self._latest) if one is not None]
        return max(*known, self.now - QUIET_MS) if known else None

    def layers(self) -> list[list[Observation]]:
        """Each task's rows in the order of their instants, the first of each together, then the second, …"""
        ordered = [sorted(rows.values(), key=_moment) for rows in self._rows.values()]
        depth = max(map(len, ordered), default=0)
        return [sorted((rows[n] for rows in ordered if len(rows) > n), key=_moment) for n in range(depth)]


def _moment(row: Observation) -> float:
    return row.updated_at.timestamp() if row.updated_at else 0.0
