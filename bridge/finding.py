"""How new tasks are found in upstream's list: which rows of a page to register, how far the search has come. Pure.

The list is sorted by `created_at`, the newest first. That order does not change, but rows come in front of it and go
out of it while it is read: what comes repeats rows, what goes hides some. So a pass reads two minutes further down than
it must, and now and then the list of those on their way alone is read, where whatever is hidden shows.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

OVERLAP_MS = 120_000
"""How far below the newest row of the pass before a pass goes on: rows arrive late, and paging hides some."""
QUIET_MS = 3_600_000
"""Where nothing newer comes, the mark follows the clock so far behind, more than a list may lag: else what ended long
ago is read in each pass of a quiet account, and told again once it is forgotten."""
AHEAD_MS = 3_600_000
"""A row further ahead of our clock than this sets no mark: all that follows would be missed until then."""
WAY_MS = 300_000
"""How often those on their way are read."""
PAGES = 10_000
"""The most pages of one pass; a list without an end must not be read for ever."""
FIRST_PAGES = 4
"""The most pages that the first pass looks at for what had ended before, unless it is asked for; and that any other
looks at where no row says when it was created."""
REFUSED_MS = 600_000
"""How long a list that upstream refuses is left alone."""
ASKED_MS = 86_400_000
"""The longest that it is, as upstream asked for it."""
OLD = 1_000
"""The most ids that are remembered as ended before."""


@dataclass(frozen=True, slots=True)
class Row:
    """A task as a list shows it."""

    id: str
    created: int | None
    """Milliseconds, by upstream's clock."""
    ended: bool
    ours: bool = True
    """False for one of another index: upstream does not know the filter. It shows how far down the page goes."""


@dataclass(frozen=True, slots=True)
class Search:
    """How far the search for one kind of tasks has come. Moments are ms; the first two and `listed_at` by Redis' clock,
    the others by upstream's."""

    due: int = 0
    way_due: int = 0
    on_way: bool = False
    """The pass reads those on their way alone."""
    page: int = 1
    """The next one of this pass."""
    mark: int | None = None
    """The newest row when the last complete pass began, or `QUIET_MS` before that; None before the first."""
    edge: int = 0
    """What is older was there before the watch, and had ended if it is not on its way."""
    old: tuple[str, ...] = ()
    """Ids that are no older, and had ended before all the same."""
    top: int | None = None
    """What the mark is to be after this pass."""
    since: int | None = None
    """What was created from then on is registered, ended or not."""
    listed_at: int | None = None
    error: str = ""

    def as_json(self) -> str:
        """As it is kept in Redis."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: bytes | str | None, *, since: int | None) -> "Search":
        """The reverse; a new one for none, for nonsense that somebody wrote there, and where `since` is another."""
        try:
            known = json.loads(text or b"")
            search = cls(**(known | {"old": tuple(known["old"])}))
        except (ValueError, TypeError, LookupError):
            return cls(since=since)
        return search if search._is_sound and search.since == since else cls(since=since)

    @property
    def _is_sound(self) -> bool:
        """Whether all that was read is of its type."""
        numbers = [self.due, self.way_due, self.page, self.edge]
        numbers += [one for one in (self.mark, self.top, self.listed_at) if one is not None]
        texts = (self.error, *self.old)
        return all(isinstance(one, int) for one in numbers) and all(isinstance(one, str) for one in texts)

    def by(self, now: int, again_ms: int) -> "Search":
        """As of `now`. What is due later than it can be is due: the clock was set back, or somebody wrote it there."""
        due_by, way_by = now + (ASKED_MS if self.error else again_ms), now + max(again_ms, REFUSED_MS)
        due, way_due = self.due if self.due <= due_by else now, self.way_due if self.way_due <= way_by else now
        return replace(self, due=due, way_due=way_due)

    def resumed(self) -> "Search":
        """As it is gone on with later: what was deleted meanwhile moved rows a little towards the front."""
        return replace(self, page=max(1, self.page - 1))


@dataclass(frozen=True, slots=True)
class Step:
    """What a page comes to."""

    search: Search
    wanted: tuple[str, ...] = ()
    """Ids to register, if they are not known."""
    over: bool = False
    """Nothing more is to be read now."""


def after_page(
    search: Search, rows: Sequence[Row], *, last: bool, now: int, again_ms: int, theirs: int | None = None
) -> Step:
    """Take a page in. `last`: there is none after it. `now` is Redis' time (ms), `theirs` upstream's, if it says so."""
    search, whole = replace(search, error=""), last or search.page >= PAGES
    ours = [row for row in rows if row.ours]
    if search.on_way:
        # Upstream ignores the filter. Once all is read; then no more than what is newest, as before.
        unfiltered = search.way_due > 0 and bool(rows) and all(row.ended for row in rows)
        wanted, complete = tuple(row.id for row in ours if not row.ended), whole or unfiltered
    else:
        moments, ahead = [row.created for row in rows if row.created is not None], max(now, theirs or now) + AHEAD_MS
        quiet = min(now, theirs) - QUIET_MS if theirs is not None and search.page == 1 else None
        top = max([one for one in (search.top, quiet, *moments) if one is not None and one <= ahead], default=None)
        search = replace(search, top=top)
        lowest = moments[-1] if moments else None
        if search.mark is None:
            search, wanted, complete = _first(search, ours, lowest, whole=whole)
        else:
            wanted, complete = _later(search, ours, lowest, whole=whole)
    if not complete:
        return Step(replace(search, page=search.page + 1), wanted)
    mark = search.mark if search.on_way else max(search.mark or 0, search.top or 0)
    way_due = now + WAY_MS if search.on_way else search.way_due
    search = replace(search, on_way=way_due <= now, page=1, mark=mark, top=None, way_due=way_due, listed_at=now)
    return Step(search, wanted) if search.on_way else Step(replace(search, due=now + again_ms), wanted, over=True)


def after_failure(search: Search, why: str, *, refused: bool, now: int, again_ms: int, asked_ms: int = 0) -> Search:
    """A page could not be read. `refused`: upstream says that there is no such list, or not for us; `asked_ms`: it says
    when to ask again.

    Those on their way are a help, and wait for later, so that the list itself is read again.
    """
    again_ms = max(again_ms, min(asked_ms, ASKED_MS))
    wait = max(again_ms, REFUSED_MS) if refused else again_ms
    if search.on_way:
        rest = replace(search, on_way=False, page=1, way_due=now + max(wait, WAY_MS))
        return replace(rest, due=now + again_ms, error=why)
    return replace(search, due=now + wait, error=why)


def _first(
    search: Search, rows: Sequence[Row], lowest: int | None, *, whole: bool
) -> tuple[Search, tuple[str, ...], bool]:
    """The first pass: those on their way, those asked for by `since`, and a note of what else is there."""
    wanted = tuple(row.id for row in rows if not row.ended or _asked(search, row))
    border = (search.top or 0) - OVERLAP_MS
    there = [row.id for row in rows if row.id not in wanted and (row.created is None or row.created >= border)]
    search = replace(search, old=tuple(dict.fromkeys((*search.old, *there)))[:OLD])
    floor = border if search.since is None else min(border, search.since)
    below = lowest is not None and lowest < floor
    cut = search.since is None and search.page >= FIRST_PAGES
    edge = border if below or whole or lowest is None else lowest + 1
    return replace(search, edge=max(0, edge)), wanted, whole or below or cut


def _later(search: Search, rows: Sequence[Row], lowest: int | None, *, whole: bool) -> tuple[tuple[str, ...], bool]:
    """Every pass after it: down to where the one before began, and a little further.

    What had ended is registered only as far up as that: further down it was seen before, and may be forgotten by now.
    """
    bottom, old = (search.mark or 0) - OVERLAP_MS, frozenset(search.old)

    def is_new(row: Row) -> bool:
        if not row.ended or row.created is None:
            return not row.ended
        young = row.created >= search.edge and row.id not in old
        return row.created >= bottom and (young or _asked(search, row))

    below = lowest is not None and lowest < bottom
    timeless = search.page >= FIRST_PAGES and None in (search.top, lowest)  # no row tells how far down this is
    return tuple(row.id for row in rows if is_new(row)), whole or below or timeless


def _asked(search: Search, row: Row) -> bool:
    return search.since is not None and row.created is not None and row.created >= search.since
