"""What is not documented of upstream, found out against the user's own key: which reads to make, a handful of GETs,
each planned from the answers before it. `probed` says what they mean.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from bridge.diff import parse_instant
from bridge.kinds import TASK

READS = 10
"""The most requests that a probe makes."""
UNKNOWN_ID = "0" * 24
"""An id that names no task; the simulator knows none by it either."""
LATEST = "/tasks?" + urlencode({"sort_by": "updated_at", "sort_option": "desc", "page_limit": 50, "page": 1})
OLDEST = "/tasks?" + urlencode({"sort_by": "created_at", "sort_option": "asc", "page_limit": 1, "page": 1})


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What one GET came to."""

    status: int | None
    """None: there was no answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: Any = None
    """As JSON; None for anything else."""
    code: str = ""
    """Of an error."""
    detail: str = ""
    """Why there was no answer."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a list."""
        data = self.body.get("data") if isinstance(self.body, dict) else None
        return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []

    @property
    def said(self) -> str:
        """The status, and the code of an error."""
        return self.detail if self.status is None else f"HTTP {self.status}{' ' * bool(self.code)}{self.code}"


Seen = Mapping[str, Glimpse]


def next_read(seen: Seen) -> tuple[str, str] | None:
    """The name and the target of the next read; None when there is nothing more to ask."""
    if "latest" not in seen:
        return "latest", LATEST
    if len(seen) >= READS or seen["latest"].status != 200:
        return None
    for name, plan in _PLANS.items():
        if name not in seen and (target := plan(seen)):
            return name, target
    return None


def settled_row(seen: Seen) -> dict[str, Any] | None:
    """A row that has ended, the one that has rested for longest: it does not move between two reads."""
    rows = [row for row in seen["latest"].rows if isinstance(row.get("_id"), str)]
    ended = [row for row in rows if row.get("status") in TASK.terminal]
    return (ended or rows)[-1] if rows else None


def index_of_row(seen: Seen) -> str | None:
    """The index of that row."""
    row = settled_row(seen)
    index = row.get("index_id") if row else None
    return index if isinstance(index, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", index) else None


def _task(seen: Seen) -> str | None:
    row = settled_row(seen)
    named = TASK.named(str(row["_id"])) if row else None
    return TASK.retrieve.format_map(named) if named else None


def _one_index(seen: Seen) -> str | None:
    index = index_of_row(seen)
    return f"/tasks?{urlencode({'index_id': index, 'page_limit': 10, 'page': 1})}" if index else None


def _dated(seen: Seen) -> str | None:
    """From the oldest row's day on, if there are later days on the page: that tells the two readings apart."""
    moments = [moment for row in seen["latest"].rows if (moment := moment_of(row.get("updated_at")))]
    if not moments or max(moments).date() == min(moments).date():
        return None
    since = min(moments).astimezone(UTC) - timedelta(seconds=1)
    asked = {"updated_at": since.strftime("%Y-%m-%dT%H:%M:%SZ"), "page_limit": 50, "page": 1}
    return f"/tasks?{urlencode(asked | {'sort_by': 'updated_at', 'sort_option': 'desc'})}"


def _failed_list(_: Seen) -> str | None:
    return f"/tasks?{urlencode({'status': 'failed', 'page_limit': 1, 'page': 1})}"


def _failed(seen: Seen) -> str | None:
    rows = seen["failed list"].rows if "failed list" in seen else []
    named = TASK.named(str(rows[0].get("_id"))) if rows and rows[0].get("status") == "failed" else None
    return TASK.retrieve.format_map(named) if named else None


def _assets(seen: Seen) -> str | None:
    index = index_of_row(seen)
    return f"/indexes/{index}/indexed-assets?{urlencode({'page_limit': 10, 'page': 1})}" if index else None


_PLANS: Mapping[str, Callable[[Seen], str | None]] = {
    "task": _task,
    "unknown": lambda _: f"/tasks/{UNKNOWN_ID}",
    "one index": _one_index,
    "dated": _dated,
    "failed list": _failed_list,
    "failed": _failed,
    "assets": _assets,
    "oldest": lambda _: OLDEST,
}


def moment_of(text: object) -> datetime | None:
    """An instant as upstream writes it; None for what is none."""
    return parse_instant(text) if isinstance(text, str) else None
