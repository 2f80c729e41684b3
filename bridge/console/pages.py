"""What each page shows. A row is what the command line prints as JSON, and what a page answers to who accepts that."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from bridge.cli.delivery import row_of as delivery_row
from bridge.cli.delivery_absent import absent
from bridge.cli.endpoint import row_of as endpoint_row
from bridge.cli.operate import whole_row
from bridge.cli.output import safe
from bridge.cli.task_show import task_row
from bridge.console.words import as_curl, pretty_body
from bridge.errors import InvalidInput, NotFound
from bridge.model import DeliveryState
from bridge.store.reading.deliveries import find_deliveries
from bridge.store.reading.endpoints import find_endpoint, list_endpoints
from bridge.store.reading.events import fitting, page_of_events, place_of
from bridge.store.reading.pages import (
    MOST,
    PER_PAGE,
    TASK_STATES,
    body_of,
    hours_of,
    page_of_deliveries,
    page_of_tasks,
)
from bridge.store.reading.refusals import refusals
from bridge.store.reading.tasks import count_tasks
from bridge.store.reading.trips import names_with_deliveries
from bridge.waiting import advised, remedies

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

Row = dict[str, Any]
Asked = Mapping[str, str]
"""The query of the URL, and the parts of its path."""

STATES = tuple(str(one) for one in DeliveryState)
SEEN = 2_000
"""How many watched tasks the overview, which is asked for every five seconds, counts by status."""
DEPTH = 20_000
"""Among so many events a task's page looks for its own, from its latest one back."""
TROUBLED = 10
"""The endpoints in trouble that the overview names."""
PICTURED = 200
"""The most endpoints whose last 24 hours are drawn."""


class Pages:
    """The rows of each page, from one store."""

    def __init__(self, store: "Store", settings: "Settings") -> None:
        self._store, self._settings = store, settings

    async def overview(self, asked: Asked) -> Row:
        """Four numbers, how late everything is, and who is in trouble."""
        row = await whole_row(self._store, self._settings, seen=SEEN)
        views = [one for one in await list_endpoints(self._store) if one.state != "removed"]
        troubled = [one for one in views if one.state in {"held", "disabled", "rejected"} or one.failures]
        troubled.sort(key=lambda one: (-one.pending, -one.failures, one.name))
        return row | {"troubled": [endpoint_row(one) for one in troubled[:TROUBLED]], "troubled_in_all": len(troubled)}

    async def tasks(self, asked: Asked) -> Row:
        """A page of tasks, by state and upstream's word."""
        state = _choice(asked, "state", TASK_STATES, "watched")
        start = asked.get("after") or "0"
        if not start.isdecimal() or len(start) > 9:
            raise InvalidInput("this is no place in the listing", fix="begin at its first page")
        page = await page_of_tasks(
            self._store, state=state, status=asked.get("status") or None, start=int(start), limit=_limit(asked)
        )
        return {
            "tasks": [asdict(view) for view in page.rows],
            "counts": await count_tasks(self._store),
            "state": state,
            "status": asked.get("status") or "",
            "after": page.after,
        }

    async def task(self, asked: Asked) -> Row:
        """All that is known of one task, its statuses along a line."""
        row = await task_row(self._store, self._settings, asked["task"], depth=DEPTH)
        row["now_at"] = await self._store.scripts.now()
        return row

    async def endpoints(self, asked: Asked) -> Row:
        """Every endpoint, and its last 24 hours."""
        views = [one for one in await list_endpoints(self._store) if one.state != "removed"]
        hours = await hours_of(self._store, [one.name for one in views[:PICTURED]])
        return {"endpoints": [endpoint_row(one) | {"hours": hours.get(one.name)} for one in views]}

    async def endpoint(self, asked: Asked) -> Row:
        """One endpoint, and what it was sent last."""
        name = asked["name"]
        view = await find_endpoint(self._store, name)
        if view is None:
            raise NotFound(f"there is no endpoint “{safe(name)}”", fix="bridge endpoint ls")
        page = await page_of_deliveries(self._store, endpoint=name, limit=10)
        return {
            "endpoint": endpoint_row(view) | {"hours": (await hours_of(self._store, [name]))[name]},
            "remedies": [asdict(one) for one in remedies(name, view.last_error or "")],
            "deliveries": [delivery_row(one, log=False) for one in page.rows],
        }

    async def deliveries(self, asked: Asked) -> Row:
        """A page of deliveries, filtered as the URL says."""
        state = _choice(asked, "state", STATES, "")
        return await self._deliveries(asked, state)

    async def dead(self, asked: Asked) -> Row:
        """A page of dead letters."""
        return await self._deliveries(asked, str(DeliveryState.DEAD))

    async def _deliveries(self, asked: Asked, state: str) -> Row:
        filters = {name: asked.get(name) or "" for name in ("endpoint", "task")}
        page = await page_of_deliveries(
            self._store,
            endpoint=filters["endpoint"] or None,
            state=state or None,
            task=filters["task"] or None,
            after=asked.get("after") or "",
            limit=_limit(asked),
        )
        rows = [delivery_row(view, log=False) for view in page.rows]
        names = (await names_with_deliveries(self._store))[:MOST]
        return {"deliveries": rows, "after": page.after, "state": state, **filters, "endpoints": names}

    async def delivery(self, asked: Asked) -> Row:
        """One delivery, attempt by attempt."""
        event_id, name = asked["event_id"], asked["endpoint"]
        found = await find_deliveries(self._store, event_id, name)
        if not found:
            raise await absent(self._store, self._settings, event_id, name, f"{safe(event_id)} to {safe(name)}")
        row, body = delivery_row(found[0], log=True), await body_of(self._store, event_id)
        for attempt in row["attempt_log"]:
            attempt["curl"] = as_curl(attempt, body)
        return row | {"body": pretty_body(body), "advice": [asdict(one) for one in advised(row)]}

    async def events(self, asked: Asked) -> Row:
        """The next events after a place in the stream, or the latest ones; without their bodies."""
        fits, after = fitting(asked.get("task") or None, asked.get("type") or None), asked.get("after") or None
        place = None if after is None else await place_of(self._store, after)
        page = await page_of_events(self._store, place, fits, _limit(asked))
        return {"events": [asdict(view) for view in page.rows], "after": page.after, "more": page.more}

    async def rejected(self, asked: Asked) -> Row:
        """What was refused, why, and what puts it right."""
        return {"rejected": [asdict(one) for one in await refusals(self._store)]}


def told(row: Row) -> Any:
    """What JSON shows of a row: pictures' numbers as lists."""

    def bare(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        if isinstance(value, dict):
            return {name: bare(one) for name, one in value.items()}
        return [bare(one) for one in value] if isinstance(value, list | tuple) else value

    return bare(row)


def _choice(asked: Asked, name: str, words: tuple[str, ...], default: str) -> str:
    given = asked.get(name) or default
    if given not in (*words, default):
        raise InvalidInput(f"{name} “{safe(given)}” is none", fix=f"one of {', '.join(words)}")
    return given


def _limit(asked: Asked) -> int:
    given = asked.get("limit") or str(PER_PAGE)
    if not given.isdecimal() or not 1 <= int(given[:9]) <= MOST:
        raise InvalidInput(f"limit “{safe(given)}” is none", fix=f"a number from 1 to {MOST}")
    return int(given)
