"""Fetches a task from TwelveLabs (API v1.3). The only module that knows how upstream speaks.

Source of the wire contract: the public reference of `GET /tasks/{task_id}` and the official Python SDK 1.3.6. The model
is tolerant: only `status` must be there; what is missing is unknown, what is new is passed through.
"""

import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard
from urllib.parse import urlencode, urlsplit

from bridge import __version__
from bridge.diff import parse_instant
from bridge.kinds import TASK, Kind, find_kind, is_id
from bridge.model import FetchFailure, FetchFault, Observation
from bridge.redaction import HIDDEN, pattern_of
from bridge.schedule import parse_retry_after
from bridge.tally import request_word
from bridge.transport import Answer, Origin, Request, Transport, TransportFault

BODY_BYTES = 1_048_576
"""The largest answer that is read; a longer one is a fault."""
STATUS_CHARACTERS = 64
DEPTH = 100
"""The deepest nesting of a task object that is believed to be one."""
PAGE_ROWS = 50
"""The most that upstream puts on a page, and how many we ask for."""
PAGE_ROWS_READ = 1_000
POOL = "twelvelabs"
CLOCKS_APART_SECONDS = 86_400
"""An answer's Date further than this from our clock is not believed."""

LIMITS = (
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-request-remaining", "x-ratelimit-request-reset"),
)
"""Two families of headers say how many requests are left, and when there are more: both are seen, and both are read."""
EPOCH = 1_000_000_000
"""A reset is a Unix time; a smaller number is so many seconds, in the family that does not say which it is."""

_BY_STATUS = {401: FetchFault.CREDENTIAL, 403: FetchFault.FORBIDDEN, 404: FetchFault.GONE, 429: FetchFault.THROTTLED}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of tasks, thin ones: without `hls`, often without `system_metadata`."""

    rows: tuple[Observation, ...]
    """Those that can be read, in upstream's order."""
    count: int
    """How many there were."""
    dated: datetime | None = None
    """What time it was upstream."""
    full: int = PAGE_ROWS
    """How many a page has that is not the last: fewer than were asked for, where upstream says so."""


class TwelveLabs:
    """The upstream API with one key. `counted` is told of each request."""

    def __init__(
        self,
        transport: Transport,
        *,
        base_url: str,
        api_key: str,
        deadline_seconds: float,
        counted: Counter[str] | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._origin = Origin(parts.scheme, parts.hostname or "", port)
        self._path = parts.path.rstrip("/")
        self._transport, self._deadline = transport, deadline_seconds
        self._counted = Counter[str]() if counted is None else counted
        self._key = pattern_of([api_key])
        self.used_up: Callable[[float], Awaitable[None]] | None = None
        """Told when a good answer was the last for so many seconds, as its headers say."""
        self._headers = (
            ("x-api-key", api_key),
            ("accept", "application/json"),
            ("cache-control", "no-cache"),
            ("user-agent", f"bridge/{__version__}"),
        )

    async def fetch(self, member: str) -> Observation | FetchFailure:
        """Read one task's state. Whatever upstream does is a value; only our own faults raise."""
        kind = find_kind(member)
        parts = kind.named(member) if kind else None
        if kind is None or parts is None:
            return FetchFailure(FetchFault.TRANSIENT, "this version of the bridge does not know such a task")
        answer = await self._ask(kind.retrieve.format_map(parts), kind)
        return answer if isinstance(answer, FetchFailure) else observe(answer, parts["id"], kind)

    async def fetch_page(self, number: int) -> Page | FetchFailure:
        """Read a page of the account's tasks, those that were updated last first; the first page is 1."""
        target = f"{TASK.listing}?sort_by=updated_at&sort_option=desc&page_limit={PAGE_ROWS}&page={number}"
        answer = await self._ask(target, TASK)
        return answer if isinstance(answer, FetchFailure) else page(answer)

    async def fetch_created(self, kind: Kind, index: str | None, number: int, *, on_way: bool) -> Page | FetchFailure:
        """Read a page of what there is of a kind in an index, or in the account, those that were created last first.

        `on_way`: only what has not ended, as far as its statuses are documented.
        """
        if kind.listing is None:
            raise ValueError(f"{kind.what} is in no list")
        query = [("sort_by", "created_at"), ("sort_option", "desc"), ("page_limit", str(PAGE_ROWS))]
        if index is not None and "{index}" not in kind.listing:
            query.append(("index_id", index))
        if on_way:
            query += [("status", status) for status in sorted(kind.statuses - kind.terminal)]
        query.append(("page", str(number)))
        target = f"{kind.listing.format_map({'index': index})}?{urlencode(query)}"
        answer = await self._ask(target, kind)
        return answer if isinstance(answer, FetchFailure) else page(answer, kind)

    async def look(self, target: str) -> Answer | FetchFailure:
        """GET a path below the base URL, as it is answered; FetchFailure only where there is no answer.

        One request, never two: each is one of the budget, and upstream may count what it does not answer.
        """
        request = Request("GET", self._origin, f"{self._path}{target}", self._headers)
        try:
            answer = await self._transport.exchange(POOL, request, deadline_seconds=self._deadline, again=False)
        except TransportFault as fault:
            self._counted[request_word(None)] += 1
            return FetchFailure(FetchFault.TRANSIENT, f"{fault.fault}: {fault.detail}")
        self._counted[request_word(answer.status)] += 1
        return answer

    async def _ask(self, target: str, kind: Kind) -> Answer | FetchFailure:
        answer = await self.look(target)
        if isinstance(answer, FetchFailure):
            return answer
        now = datetime.now(UTC)
        if answer.status == 200:
            waits = [seconds for spent, seconds in resets(answer, now) if spent]
            if waits and self.used_up:
                await self.used_up(max(waits))
            return answer
        failed = failure(answer, now=now, kind=kind)
        return replace(failed, detail=self._key.sub(HIDDEN, failed.detail)) if self._key else failed


def observe(answer: Answer, task_id: str, kind: Kind = TASK) -> Observation | FetchFailure:
    """Read a 200 answer. A body that is not this task is a transient fault: the next read may be right."""
    task = _decoded(answer)
    if isinstance(task, FetchFailure):
        return task
    if not _has_status(task):
        return _transient(answer, "the task has no readable status")
    if task.get(kind.id_field) is not None and task[kind.id_field] != task_id:
        return _transient(answer, "the answer is about another task")
    return replace(_observation(task, kind), dated=_date(answer))


def page(answer: Answer, kind: Kind = TASK) -> Page | FetchFailure:
    """Read a 200 answer that is a page. A row that is no task is left out: tasks are read by id, too, if seldom.

    So is one whose id no member can name: nobody watches it, and it may be anything, what Redis cannot take included.
    """
    body = _decoded(answer)
    if isinstance(body, FetchFailure):
        return body
    data = body.get("data")
    if data is None:
        data = []
    if not isinstance(data, list) or len(data) > PAGE_ROWS_READ:
        return _transient(answer, "the page has no list of tasks")
    rows = [row for row in data if isinstance(row, dict) and _has_status(row) and is_id(row.get(kind.id_field))]
    listed = (replace(_observation(row, kind), from_list=True) for row in rows)
    return Page(tuple(listed), len(data), _date(answer), _full(body))


def _full(body: Mapping[str, Any]) -> int:
    info = body.get("page_info")
    most = info.get("limit_per_page") if isinstance(info, dict) else None
    return most if type(most) is int and 0 < most < PAGE_ROWS else PAGE_ROWS


def _decoded(answer: Answer) -> dict[str, Any] | FetchFailure:
    if answer.truncated:
        return _transient(answer, "the body was cut off")
    try:
        body = json.loads(answer.body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return _transient(answer, "the body is not JSON")
    if not isinstance(body, dict) or not _is_shallow(body):
        return _transient(answer, "the body is not a task object")
    return body


def _has_status(task: Mapping[str, Any]) -> bool:
    return _is_word(task.get("status"))


def _is_word(status: object) -> TypeGuard[str]:
    return isinstance(status, str) and 0 < len(status) <= STATUS_CHARACTERS and status.isprintable()


def _observation(task: dict[str, Any], kind: Kind) -> Observation:
    updated_at = task.get(kind.marker) if kind.marker else None
    hls, metadata = _within(task, kind.hls), _within(task, kind.metadata)
    text = updated_at if isinstance(updated_at, str) and len(updated_at) <= STATUS_CHARACTERS else None
    instant = parse_instant(text) if text else None
    return Observation(
        task_id=task.get(kind.id_field),
        status=task["status"],
        updated_at=instant,
        updated_at_text=text if text and text.isprintable() else None,
        hls_status=hls if _is_word(hls) else None,
        system_metadata=metadata if isinstance(metadata, dict) else None,
        task=task,
    )


def failure(answer: Answer, *, now: datetime, kind: Kind = TASK) -> FetchFailure:
    """Classify any other answer by what follows from it."""
    code = error_code(answer.body)
    fault = _BY_STATUS.get(answer.status, FetchFault.TRANSIENT)
    if answer.status == 400:
        fault = FetchFault.GONE if code.startswith(kind.missing) else FetchFault.BAD_WATCH
    retry_after = _wait_asked(answer, now) if fault in {FetchFault.THROTTLED, FetchFault.TRANSIENT} else None
    detail = f"HTTP {answer.status}" + (f" {code}" if code else "")
    return FetchFailure(fault, detail, retry_after, answer.status)


def error_code(body: bytes) -> str:
    """The error's code, from any of the three shapes that upstream uses; empty when there is none."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code[:STATUS_CHARACTERS] if isinstance(code, str) and code.isprintable() else ""


def _wait_asked(answer: Answer, now: datetime) -> float | None:
    """How long upstream asks us to wait: Retry-After, else the reset of its rate limit, both by its own clock."""
    theirs = _dated(answer, now) or now
    asked = parse_retry_after(answer.header("retry-after"), now=theirs)
    if asked is not None or answer.status != 429:
        return asked
    known = resets(answer, now)
    waits = [seconds for spent, seconds in known if spent] or [seconds for _, seconds in known]
    return max(waits, default=None)


def resets(answer: Answer, now: datetime) -> list[tuple[bool, float]]:
    """For each family of rate-limit headers: whether no request is left, and in how many seconds there are more."""
    theirs, found = _dated(answer, now) or now, []
    for left, reset in LIMITS:
        text = (answer.header(reset) or "").strip()
        if text.isascii() and text.isdigit() and len(text) <= 11:
            moment = int(text)
            relative = moment < EPOCH and reset != LIMITS[0][1]
            seconds = float(moment) if relative else moment - theirs.timestamp()
            found.append(((answer.header(left) or "").strip() == "0", max(0.0, seconds)))
    return found


def _dated(answer: Answer, now: datetime) -> datetime | None:
    """The answer's own Date; None if it has none, or one too far from our clock."""
    moment = _date(answer)
    return moment if moment and abs((moment - now).total_seconds()) <= CLOCKS_APART_SECONDS else None


def _date(answer: Answer) -> datetime | None:
    try:
        moment = parsedate_to_datetime(answer.header("date") or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def _within(task: Mapping[str, Any], path: Sequence[str]) -> object:
    """What stands at the end of a path into the object; None if it leads nowhere, or there is no path."""
    found: object = task if path else None
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _transient(answer: Answer, detail: str) -> FetchFailure:
    return FetchFailure(FetchFault.TRANSIENT, detail, status_code=answer.status)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number


def _is_shallow(task: Mapping[str, Any]) -> bool:
    layer: list[Any] = [task]
    for _ in range(DEPTH):
        layer = [
            inner
            for value in layer
            for inner in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(inner, (dict, list))
        ]
        if not layer:
            return True
    return False
