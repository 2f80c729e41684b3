"""`GET /tasks`: the query, the filters, the order and the page. Pure: states in, one page of them out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from bridge.sandbox.timeline import Fields, Timeline, instant, merged

PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX = 10, 50
EXACT = ("index_id",)
EXACT_METADATA = ("filename", "duration", "width", "height")
TIMES = ("created_at", "updated_at")
KNOWN = frozenset({"page", "page_limit", "sort_by", "sort_option", "status", *EXACT, *EXACT_METADATA, *TIMES})
EARLIEST = datetime.min.replace(tzinfo=UTC)


class DateFilter(StrEnum):
    """How `created_at=` and `updated_at=` are read; upstream's wording allows both."""

    AT_OR_AFTER = "at-or-after"
    SAME_DAY = "same-day"
    """At or after the given time, and on its UTC day."""


@dataclass
class Distortion:
    """How the list departs from the tasks, without saying so. Its fields may be set at any time."""

    empty: bool = False
    ignores: set[str] = field(default_factory=set)
    """Names of a query that it does not know, and says nothing of."""
    sort_by: str | None = None
    """Sort by this instead, whatever was asked for."""
    as_of: float | None = None
    """Show every task as it was at this time (Unix seconds): a list that is kept and not made anew."""
    hides: set[str] = field(default_factory=set)
    """Ids that are not listed."""
    patches: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Id → fields that its row shows instead; it is sorted by them, too."""

    def states(self, tasks: Mapping[str, Timeline], now: float) -> list[Fields]:
        """What there is to be listed."""
        if self.empty:
            return []
        shown = {name: timeline for name, timeline in list(tasks.items()) if name not in self.hides}
        moment = instant(now)
        return [
            merged(
                timeline.state(now) if self.as_of is None else timeline.past(self.as_of),
                self.patches.get(name, {}),
                moment,
            )
            for name, timeline in shown.items()
        ]


class ParameterError(Exception):
    """The query cannot be answered; `code` is upstream's error code."""

    def __init__(self, name: str, code: str = "parameter_invalid") -> None:
        super().__init__(f"The {name} parameter is invalid." if code == "parameter_invalid" else f"Unknown {name}.")
        self.code = code


@dataclass(frozen=True, slots=True)
class Query:
    """A list request, checked."""

    page: int = 1
    page_limit: int = PAGE_LIMIT_DEFAULT
    sort_by: str = "created_at"
    descending: bool = True
    statuses: frozenset[str] = frozenset()
    exact: tuple[tuple[str, str], ...] = ()
    times: tuple[tuple[str, datetime], ...] = field(default=())


def query(params: Sequence[tuple[str, str]], *, strict: bool) -> Query:
    """Read the query string. Raises ParameterError; if `strict`, for undocumented names too."""
    last = dict(params)
    for name in last:
        if strict and name not in KNOWN:
            raise ParameterError(name, "parameter_unknown")
    return Query(
        page=_whole(last, "page", 1, None),
        page_limit=_whole(last, "page_limit", PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX),
        sort_by=_one_of(last, "sort_by", TIMES),
        descending=_one_of(last, "sort_option", ("desc", "asc")) == "desc",
        statuses=frozenset(value for name, value in params if name == "status"),
        exact=tuple((name, last[name]) for name in (*EXACT, *EXACT_METADATA) if name in last),
        times=tuple((name, _time(last[name], name)) for name in TIMES if name in last),
    )


def page(states: Iterable[Fields], asked: Query, dates: DateFilter) -> tuple[list[Fields], dict[str, int]]:
    """The states on the page asked for, and `page_info`; past the end the page is empty."""
    found = [state for state in states if _matches(state, asked, dates)]
    found.sort(key=lambda state: str(state.get("_id")))
    found.sort(key=lambda state: _moment(state.get(asked.sort_by)), reverse=asked.descending)
    first = (asked.page - 1) * asked.page_limit
    info = {
        "limit_per_page": asked.page_limit,
        "page": asked.page,
        "total_page": math.ceil(len(found) / asked.page_limit),
        "total_results": len(found),
    }
    return found[first : first + asked.page_limit], info


def _matches(state: Fields, asked: Query, dates: DateFilter) -> bool:
    if asked.statuses and state.get("status") not in asked.statuses:
        return False
    metadata = state.get("system_metadata") or {}
    for name, value in asked.exact:
        known = state.get(name) if name in EXACT else metadata.get(name)
        if not _equal(known, value):
            return False
    return all(_on_date(_moment(state.get(name)), given, dates) for name, given in asked.times)


def _equal(known: Any, text: str) -> bool:
    if isinstance(known, int | float):
        try:
            return float(known) == float(text)
        except ValueError:
            return False
    return known is not None and str(known) == text


def _on_date(moment: datetime, given: datetime, dates: DateFilter) -> bool:
    if dates is DateFilter.SAME_DAY and moment >= given.astimezone(UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    ) + timedelta(days=1):
        return False
    return moment >= given


def _moment(value: Any) -> datetime:
    """A state's time, also one that a patch wrote as text; what is no time sorts first."""
    if isinstance(value, datetime):
        return value
    try:
        return _aware(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return EARLIEST


def _time(text: str, name: str) -> datetime:
    try:
        return _aware(datetime.fromisoformat(text))
    except ValueError as error:
        raise ParameterError(name) from error


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _whole(last: dict[str, str], name: str, default: int, most: int | None) -> int:
    text = last.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1 or (most is not None and int(text) > most):
        raise ParameterError(name)
    return int(text)


def _one_of(last: dict[str, str], name: str, words: tuple[str, ...]) -> str:
    word = last.get(name, words[0])
    if word not in words:
        raise ParameterError(name)
    return word
