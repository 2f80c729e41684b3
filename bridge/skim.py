"""What a pass over upstream's list comes to: which rows are new, which of them are told, and when it may stop. Pure.

The list is sorted by `updated_at`, the latest first, and moves while it is read: rows repeat, jump to the front, go
missing. What a pass misses, the next one finds (it is newer than the mark), or the reading by id does.

A row is a hint. It is told by itself only where nothing speaks against it; else the task is read by id, and where the
two contradict each other, the task is right.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from bridge.diff import SECOND, is_onward, order
from bridge.model import TERMINAL_STATUSES, FetchFailure, FetchFault, Observation, Snapshot

DEEP_MS = 60_000
"""A pass ends where the one before began. Once in this time it is a deep one, and goes on …"""
OVERLAP_MS = 120_000
"""… so far below that: rows arrive late, get lost while a moving list is read, and clocks and precisions differ."""
QUIET_MS = 60_000
"""Where nothing has moved for longer, the mark follows upstream's clock this far behind: else a quiet account, whose
tasks all moved last at about the same time, would be read down to that time in every pass. Where upstream does not say
what time it is, so it is."""
AHEAD_MS = 60_000
"""A row that is further ahead of upstream's clock is not told by itself."""
CLOCKS_APART_MS = 86_400_000
"""What upstream says of the time is believed if it is no further from ours than this."""
BELOW = 3
"""So many rows below the mark are the end of what is new: a single one may be out of place."""
DISORDER = 2
"""So many rows of a page may be later than the one before them: a task may move while the page is made."""
REST_SECONDS = 600.0
"""How long a list that is of no use, or lied, is not asked for; each lie more rests it twice as long …"""
LONGEST_REST_SECONDS = 86_400.0
"""… up to this. A day without a lie, and the ones before are forgotten."""
FRESH_PASSES = 3.0
"""Tasks are read seldom only while a pass was complete within so many intervals, and …"""
FRESH_SECONDS = 30.0
"""… this long."""
CONTRADICTIONS = 20
"""More rows than this in one pass that their tasks contradict are a list that does not tell what is so."""


@dataclass
class Pass:
    """One pass. Moments are milliseconds, of upstream's `updated_at`, but for `now`."""

    mark: int | None
    """The latest of the pass before; None for the first one, which begins two minutes ago."""
    now: int
    deep: bool = True
    _rows: dict[str, dict[tuple[str, int], Observation]] = field(default_factory=dict)
    _latest: int = 0
    _below: int = 0
    _pages: int = 0
    _contradicted: int = 0
    _apart: int | None = None
    complete: bool = False
    """Everything down to the mark was read."""
    lie: str = ""
    """What shows that this list is not the one that was asked for; empty if nothing does."""

    def add(self, rows: Sequence[Observation], *, last: bool, dated: datetime | None = None) -> None:
        """Take a page in. `last`: there is none after it; `dated`: upstream's time."""
        self._pages += 1
        if self._pages == 1 and dated:
            apart = _ms(dated) - self.now
            self._apart = apart if abs(apart) <= CLOCKS_APART_MS else None
        newest: dict[str, tuple[int, Observation]] = {}
        for row in rows:
            if row.updated_at is None:
                continue  # the reading by id sees it
            moment = _ms(row.updated_at)
            if moment >= newest.get(str(row.task_id), (moment, row))[0]:
                newest[str(row.task_id)] = moment, row  # a page is of one moment, when only one can be so
            self._latest = max(moment, self._latest)
            self._below += moment < self._end
        for task_id, (moment, row) in newest.items():
            self._rows.setdefault(task_id, {})[row.status, moment] = row
        if not (last and self._pages == 1) and _disorder(rows) > DISORDER:
            self.lie = "its rows are not sorted by updated_at"
        self.complete = self.complete or last or self._below >= BELOW

    def contradict(self) -> None:
        """A task, read by id, said something else than its row."""
        self._contradicted += 1
        if self._contradicted > CONTRADICTIONS:
            self.lie = f"more than {CONTRADICTIONS} of its rows say something else than their tasks"

    def is_ahead(self, row: Observation) -> bool:
        """Whether a row is from the future."""
        return row.updated_at is not None and _ms(row.updated_at) > self._theirs + AHEAD_MS

    @property
    def _theirs(self) -> int:
        """Upstream's time when this began, or ours where it does not say."""
        return self.now + (self._apart or 0)

    @property
    def _end(self) -> int:
        """What is older than this is known."""
        if self.mark is None:
            return self._theirs - OVERLAP_MS
        return min(self.mark, self._theirs) - (OVERLAP_MS if self.deep else 0)

    @property
    def next_mark(self) -> int:
        """Where the next pass may stop: never before where this one did, and never ahead of upstream's time.

        One row from the future would hide all others until then.
        """
        latest = min(max(self.mark or 0, self._latest), self._theirs)
        return latest if self._apart is None else max(latest, self._theirs - QUIET_MS)

    def layers(self) -> list[list[Observation]]:
        """Each task's rows in the order of their instants, the first of each together, then the second, …"""
        ordered = [sorted(rows.values(), key=_moment) for rows in self._rows.values()]
        depth = max(map(len, ordered), default=0)
        return [sorted((rows[n] for rows in ordered if len(rows) > n), key=_moment) for n in range(depth)]


class Weight(StrEnum):
    """What a task, read by id, makes of a row that had news of it."""

    AGREES = "agrees"
    """The row need not be told: what the task says is."""
    MOVED_ON = "moved on"
    """It was as the row said, and is otherwise by now: both are told. Never of an end, which only the task tells."""
    CONTRADICTS = "contradicts"
    """The task is not so, or not yet: it is right."""


def is_plain(known: Snapshot, row: Observation) -> bool:
    """Whether a row may be told without asking the task: another status, surely later, and not an end."""
    return row.status not in TERMINAL_STATUSES and row.status != known.status and order(row, known) > 0


def weigh(known: Snapshot | None, row: Observation, seen: Observation) -> Weight:
    """What `seen`, read by id after the row, makes of it."""
    later = order(seen, row) or int(is_onward(row.status, seen.status))
    if seen.status == row.status:
        return Weight.AGREES if later >= 0 or seen.status in TERMINAL_STATUSES else Weight.CONTRADICTS
    if later <= 0:
        return Weight.CONTRADICTS
    news = known is not None and (order(row, known) > 0 or is_onward(known.status, row.status))
    return Weight.MOVED_ON if news and row.status not in TERMINAL_STATUSES else Weight.AGREES


def fresh_seconds(interval_seconds: float, requests_per_minute: int = 0) -> float:
    """How long after a complete pass the list is relied on: where requests are few, long enough for three of a page."""
    scarce = FRESH_PASSES * 3 * 60 / requests_per_minute if requests_per_minute else 0
    return max(FRESH_PASSES * interval_seconds, FRESH_SECONDS, scarce)


def is_useless(failure: FetchFailure, *, before: str = "") -> bool:
    """Whether upstream's answer says that there is no such list, or not for us; else it may be there the next time.

    `before`: how the pass before failed. If the key was refused then, too, the list alone refuses it: nobody lists
    before a read by id has proved it good.
    """
    if failure.fault is FetchFault.CREDENTIAL:
        return failure.detail == before
    refused = failure.fault in {FetchFault.GONE, FetchFault.BAD_WATCH, FetchFault.FORBIDDEN}
    return refused or failure.status_code in {200, 405, 410, 501}


def asked_ms(failure: FetchFailure) -> int:
    """How long upstream asks to be left alone with its list; what it asks of the whole key is the key's rest."""
    if failure.fault is not FetchFault.TRANSIENT or failure.retry_after_seconds is None:
        return 0
    return int(min(failure.retry_after_seconds, LONGEST_REST_SECONDS) * 1000)


def _disorder(rows: Iterable[Observation]) -> int:
    """How many rows are later than the one before them."""
    moments = [row.updated_at for row in rows if row.updated_at is not None]
    return sum(after > before + SECOND for before, after in pairwise(moments))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(row: Observation) -> float:
    return row.updated_at.timestamp() if row.updated_at else 0.0
