"""What a search takes from a page, and where it goes on: nothing is lost or taken twice, however the list moves."""

from dataclasses import replace

import pytest
from factories import START
from hypothesis import given
from hypothesis import strategies as st

from bridge.finding import (
    AHEAD_MS,
    ASKED_MS,
    FIRST_PAGES,
    OVERLAP_MS,
    REFUSED_MS,
    WAY_MS,
    Row,
    Search,
    after_failure,
    after_page,
)

ROWS = 3
"""Of a page here."""
AGAIN_MS = 15_000


class Upstream:
    """A list that moves while it is read, and what a search over it has registered."""

    def __init__(self, *, since: int | None = None) -> None:
        self.rows: list[Row] = []
        self.search, self.now, self.pages = Search(since=since), START, 0
        self.registered: list[str] = []
        self.since = since

    def add(self, *names: str, ended: bool = False, ago_ms: int = 0) -> None:
        """Create tasks, each a millisecond after the other."""
        for name in names:
            self.now += 1
            self.rows.append(Row(name, self.now - ago_ms, ended))

    def end(self, name: str) -> None:
        """A task has ended."""
        self.rows = [replace(row, ended=True) if row.id == name else row for row in self.rows]

    def delete(self, name: str) -> None:
        """A task is not in the list any more."""
        self.rows = [row for row in self.rows if row.id != name]

    def page(self) -> bool:
        """Read one page; replies whether the pass is over. What is known is not registered again, as in Redis."""
        found = [row for row in self.rows if not (self.search.on_way and row.ended)]
        found.sort(key=lambda row: -(row.created or 0))
        first = (self.search.page - 1) * ROWS
        part = found[first : first + ROWS]
        # Kept as Redis keeps it: whoever goes on may be another process.
        search = Search.read(self.search.as_json(), since=self.since)
        step = after_page(search, part, last=len(part) < ROWS, now=self.now, again_ms=AGAIN_MS)
        self.registered += [one for one in dict.fromkeys(step.wanted) if one not in self.registered]
        self.search, self.pages = step.search, self.pages + 1
        return step.over

    def read(self) -> list[str]:
        """Read until nothing more is due; replies what was registered."""
        before = len(self.registered)
        for _ in range(1_000):
            if self.page():
                return self.registered[before:]
        raise AssertionError("it does not end")


def test_what_is_on_its_way_is_registered_and_what_had_ended_is_not() -> None:
    """However far down it stands: the first look also reads those on their way alone."""
    upstream = Upstream()
    upstream.add("deep", ago_ms=10**9)
    upstream.add(*(f"old{n}" for n in range(50)), ended=True, ago_ms=5 * 10**8)
    upstream.add("ended", ended=True)
    upstream.add("running")
    assert sorted(upstream.read()) == ["deep", "running"]
    assert upstream.read() == []


def test_what_is_created_later_is_registered_even_if_it_has_ended() -> None:
    """A short video may be through between two looks, and one that is refused at once."""
    upstream = Upstream()
    upstream.add("before", ended=True)
    upstream.read()
    upstream.add("quick", ended=True)
    upstream.add("slow")
    assert sorted(upstream.read()) == ["quick", "slow"]


def test_an_empty_account_has_nothing_that_had_ended() -> None:
    """All that comes is new."""
    upstream = Upstream()
    assert upstream.read() == []
    upstream.add("first", ended=True)
    assert upstream.read() == ["first"]


@pytest.mark.parametrize("since_ago", [0, 1_000, 10**8])
def test_what_had_ended_is_registered_from_a_moment_on_if_asked_for(since_ago: int) -> None:
    """`--since`: as far down as it says."""
    upstream = Upstream(since=START - since_ago)
    upstream.add(*(f"older{n}" for n in range(8)), ended=True, ago_ms=since_ago + 500_000)
    upstream.add(*(f"young{n}" for n in range(8)), ended=True, ago_ms=since_ago)
    assert sorted(upstream.read()) == [f"young{n}" for n in range(8)]
    assert upstream.read() == []


def test_a_first_look_at_a_busy_account_is_bounded() -> None:
    """A thousand that ended within the last minute are not all read; none of them is told, and the next one is."""
    upstream = Upstream()
    upstream.add(*(f"t{n}" for n in range(1_000)), ended=True)
    assert upstream.read() == []
    assert upstream.pages == FIRST_PAGES + 1
    upstream.add("new", ended=True)
    assert upstream.read() == ["new"]


def test_what_shows_late_is_found() -> None:
    """Created before the newest one that was seen, and in the list only after that."""
    upstream = Upstream()
    upstream.add("a")
    upstream.read()
    upstream.add("b")
    upstream.read()
    upstream.add("late", ended=True, ago_ms=2)
    assert upstream.read() == ["late"]


def test_a_pass_stops_a_little_below_where_the_one_before_began() -> None:
    """A look at a large account is a page or two, and no more."""
    upstream = Upstream()
    upstream.add(*(f"t{n}" for n in range(300)), ended=True, ago_ms=10 * OVERLAP_MS)
    upstream.add("a")
    upstream.read()
    before = upstream.pages
    upstream.read()
    assert upstream.pages - before == 1


def test_those_on_their_way_are_read_now_and_then() -> None:
    """Once in five minutes, so that what a moving list hid is found."""
    upstream = Upstream()
    upstream.add("a")
    upstream.read()
    upstream.add(*(f"hidden{n}" for n in range(4)), ago_ms=10**8)
    upstream.now += 2 * OVERLAP_MS
    upstream.add("b")
    assert "hidden0" not in upstream.read()
    upstream.now += WAY_MS
    assert "hidden0" in upstream.read()
    assert {f"hidden{n}" for n in range(4)} <= set(upstream.registered)


def test_a_row_in_the_future_sets_no_mark() -> None:
    """Else nothing would be read until its time."""
    upstream = Upstream()
    upstream.add("future", ended=True, ago_ms=-2 * AHEAD_MS)
    upstream.read()
    assert (upstream.search.mark or 0) <= upstream.now + AHEAD_MS
    upstream.add("new", ended=True)
    assert upstream.read() == ["new"]


@pytest.mark.parametrize("created", [None, 0])
def test_a_row_without_a_time_is_registered_while_it_is_on_its_way(created: int | None) -> None:
    """When it was created cannot be known; that it has not ended can."""
    upstream = Upstream()
    upstream.add("a")
    upstream.read()
    upstream.rows += [Row("odd", created, ended=False), Row("over", created, ended=True)]
    assert upstream.read() == ["odd"]


def test_a_failure_changes_nothing_but_when_it_is_tried_again() -> None:
    """Soon, or, where upstream says that there is no such list, in ten minutes."""
    search = Search(page=3, mark=START, edge=7, old=("x",), top=START + 1)
    failed = after_failure(search, "HTTP 503", refused=False, now=START, again_ms=AGAIN_MS)
    assert failed == replace(search, due=START + AGAIN_MS, error="HTTP 503")
    assert after_failure(search, "x", refused=True, now=START, again_ms=AGAIN_MS).due == START + REFUSED_MS
    again = after_page(failed, [], last=True, now=START, again_ms=AGAIN_MS).search
    assert again.error == ""


@pytest.mark.parametrize("refused", [True, False])
def test_a_filter_that_upstream_does_not_take_hides_no_new_task(refused: bool) -> None:
    """Those on their way are read for what was missed; the list itself is what must go on."""
    search = Search(mark=START, on_way=True, page=2, way_due=START)
    failed = after_failure(search, "HTTP 400", refused=refused, now=START, again_ms=AGAIN_MS)
    assert (failed.on_way, failed.page, failed.due) == (False, 1, START + AGAIN_MS)
    assert failed.way_due >= START + WAY_MS
    assert failed.error == "HTTP 400"


@pytest.mark.parametrize(
    "text",
    [
        *(None, b"", b"{", b"[]", b"{}", b'{"old": 1}', b'{"page": "x", "old": []}', b'{"more": 1, "old": []}'),
        *(b'{"old": [[1]]}', b'{"mark": "x", "old": []}', b'{"top": [], "old": []}', b'{"error": 1, "old": []}'),
    ],
)
def test_a_state_that_somebody_wrote_over_is_begun_anew(text: bytes | None) -> None:
    """P10: it is a hash that anybody may write into."""
    assert Search.read(text, since=5) == Search(since=5)


@pytest.mark.parametrize("error", ["", "HTTP 404"])
def test_what_is_due_later_than_it_can_be_is_due(error: str) -> None:
    """The clock was set back; a list that upstream refuses is left alone for as long as ever."""
    late = Search(due=START + ASKED_MS + 1, way_due=START + REFUSED_MS + 1, error=error)
    assert late.by(START, AGAIN_MS) == replace(late, due=START, way_due=START)
    refused = after_failure(Search(mark=START), "HTTP 404", refused=True, now=START, again_ms=AGAIN_MS)
    assert refused.by(START + 1, AGAIN_MS) == refused
    usual = after_page(Search(mark=START), [], last=True, now=START, again_ms=AGAIN_MS).search
    assert usual.by(START, AGAIN_MS) == usual


def test_another_since_begins_anew() -> None:
    """What is asked for now is to be found."""
    known = Search(mark=START, since=START).as_json()
    assert Search.read(known, since=START).mark == START
    assert Search.read(known, since=None) == Search()


STEPS = st.lists(st.tuples(st.sampled_from(["add", "page", "end", "delete", "wait"]), st.booleans()), max_size=60)


@given(STEPS, st.integers(0, 12))
def test_nothing_is_lost_whatever_happens_between_two_pages(steps: list[tuple[str, bool]], there: int) -> None:
    """What is created after the first look is registered, once, unless it is deleted before the list is read in peace.

    Rows that go while it is read hide others for that pass: two minutes further down, the next one finds them.
    """
    upstream = Upstream()
    upstream.add(*(f"before{n}" for n in range(there)), ended=True, ago_ms=3 * OVERLAP_MS)
    upstream.read()
    made = 0
    for step, flag in steps:
        if step == "add":
            upstream.add(f"t{made}", ended=flag)
            made += 1
        elif step == "page":
            upstream.page()
        elif step == "end" and made:
            upstream.end(f"t{made // 2}")
        elif step == "delete" and flag and made:
            upstream.delete(f"t{made - 1}")
        elif step == "delete" and there:
            there -= 1
            upstream.delete(f"before{there}")
        elif step == "wait":
            upstream.now += 1_000
    upstream.read()
    upstream.read()
    left = {row.id for row in upstream.rows if row.id.startswith("t")}
    assert left <= set(upstream.registered) <= {f"t{n}" for n in range(made)}
