"""A simulated TwelveLabs API v1.3: tasks that follow scripted timelines, answered as the real API does.

Source: TwelveLabs' documentation and SDK 1.3.6; where they leave a choice open, a switch does too.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bridge.model import TERMINAL_STATUSES
from bridge.sandbox.answers import Answer, Asked, RefusalError, Route, Served
from bridge.sandbox.faults import Fault, FaultRule, FaultScript, http_date
from bridge.sandbox.http import HttpServer
from bridge.sandbox.limits import Budget, RateLimit
from bridge.sandbox.listing import DateFilter, Distortion, ParameterError, page, query
from bridge.sandbox.message import Request, Response, json_response
from bridge.sandbox.shelf import Shelf, Shelves
from bridge.sandbox.thread import LoopThread, in_thread
from bridge.sandbox.timeline import (
    Fields,
    Step,
    Timeline,
    TimeStyle,
    instant,
    merged,
    rendered,
)

BASE_PATH = "/v1.3"
API_KEY = "tlk_sandbox"
ORGANISATION = "sandbox"

LOG_LIMIT = 500_000
"""Entries kept in `requests` and in `served`; the oldest go first."""


class Simulator:
    """The API, its tasks and what is wrong with it today. Its switches may be set at any time."""

    def __init__(
        self,
        api_key: str = API_KEY,
        *,
        clock: Callable[[], float] = time.time,
        limit: RateLimit | None = None,
        time_style: TimeStyle = TimeStyle.MILLISECONDS,
        list_time_style: TimeStyle | None = None,
        date_filter: DateFilter = DateFilter.AT_OR_AFTER,
        full_rows: bool = False,
        missing_status: int = 404,
        strict_params: bool = False,
        birth: Callable[[str], Iterable[Step] | None] = lambda _: None,
    ) -> None:
        """`clock` gives Unix seconds. `missing_status` (404, 400 or 403) answers for unknown ids.

        `birth` is asked for the timeline of an id (as in `add_task`) that is retrieved and not known; None: there is
        no such task.
        """
        self._birth = birth
        self.time_style = time_style
        self.list_time_style = list_time_style
        self.date_filter = date_filter
        self.full_rows = full_rows
        self.missing_status = missing_status
        self.strict_params = strict_params
        self.distortion = Distortion()
        self.retrieve_lag_seconds = 0.0
        """A task read by id is shown as it was so long ago."""
        self.dated = True
        """Whether answers say what time it is."""
        self.requests: deque[Asked] = deque(maxlen=LOG_LIMIT)
        self.served: deque[Served] = deque(maxlen=LOG_LIMIT)
        self._clock = clock
        self._advanced = 0.0
        self._shelves = Shelves()
        self._faults = FaultScript()
        self._organisations = {api_key: ORGANISATION}
        self._budgets: dict[str, Budget] = {}
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []
        self._server = HttpServer(self._respond)
        if limit is not None:
            self.limit(limit)
        shelves, assets = self._shelves, "/indexes/(?P<index>[^/]+)/indexed-assets"
        self.route("GET", "/tasks", lambda asked, _: self._list(shelves.tasks, asked))
        self.route("GET", "/tasks/(?P<id>[^/]+)", lambda _, match: self._retrieve(shelves.tasks, match["id"]))
        self.route("DELETE", "/tasks/(?P<id>[^/]+)", self._delete)
        self.route("GET", assets, lambda asked, match: self._list(shelves.index(match["index"]), asked))
        self.route("GET", f"{assets}/(?P<id>[^/]+)", lambda _, match: self._retrieve(shelves.index(match[1]), match[2]))
        self.route(
            "GET", "/analyze/tasks/(?P<id>[^/]+)", lambda _, match: self._retrieve(shelves.analyses, match["id"])
        )

    @property
    def base_url(self) -> str:
        """`http://<host>:<port>/v1.3`: for BRIDGE_TWELVELABS_BASE_URL or the SDK."""
        return self._server.url + BASE_PATH

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self._server.connections

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one. Raises OSError if the port is taken."""
        await self._server.start(port, host)

    async def stop(self) -> None:
        """Close the port and every connection; tasks and logs stay."""
        await self._server.stop()

    @contextmanager
    def in_thread(self) -> Iterator[LoopThread]:
        """Run it beside synchronous code; see `thread.in_thread`."""
        with in_thread(self) as inside:
            yield inside

    def now(self) -> float:
        """The simulator's time in Unix seconds."""
        return self._clock() + self._advanced

    def advance(self, seconds: float) -> None:
        """Let time pass at once: for timelines and rate limits, not for delays."""
        self._advanced += seconds

    def add_task(
        self,
        task_id: str | None = None,
        timeline: Iterable[Step | tuple[float, Mapping[str, Any]]] | None = None,
        *,
        age_seconds: float = 0.0,
        **fields: Any,
    ) -> str:
        """Add a task, started `age_seconds` ago; gives its id. `fields` replace standing ones (`index_id`).

        An id `asset:<index>/<id>` makes an indexed asset, `analyze:<id>` an analysis. Without a timeline it is the
        usual one of its kind; without an id one is made, the same ones in every run.
        """
        member = task_id if task_id is not None else f"6a0b1c2d3e4f5a6b{len(self._shelves.tasks.things):08x}"
        shelf, name = self._shelves.place(member)
        shelf.put(name, self.now() - age_seconds, timeline, fields)
        return member

    def change(self, task_id: str, patch: Mapping[str, Any], *, touch: bool | None = None) -> None:
        """Change a task now (see `Step`). Raises KeyError for an id that does not exist."""
        shelf, name = self._shelves.place(task_id)
        shelf.things[name].change(self.now(), patch, touch=touch)

    def remove(self, task_id: str) -> None:
        """Let a task vanish, whatever its status. Raises KeyError for an id that does not exist."""
        shelf, name = self._shelves.place(task_id)
        del shelf.things[name]

    def task(self, task_id: str) -> Fields:
        """The true task object now, as retrieve would show it. Raises KeyError for an unknown id."""
        shelf, name = self._shelves.place(task_id)
        shown: Fields = rendered(shelf.shown(shelf.things[name].state(self.now())), self.time_style)
        return shown

    def fault(
        self, path: str, *script: Fault | None, method: str = "*", after: int = 0, repeat: bool = False
    ) -> FaultRule:
        """Script the next calls of `path` (a glob below /v1.3): the n-th call gets the n-th fault.

        None in its place is a true answer; `after` of those come first; past its end the script is over, or
        starts again with `repeat`. A call that a fault answers spends nothing of the rate limit.
        """
        rule = FaultRule(path, script, method=method, after=after, repeat=repeat)
        self._faults.add(rule)
        return rule

    def clear_faults(self) -> None:
        """Forget the fault script."""
        self._faults.clear()

    def add_key(self, api_key: str, organisation: str = ORGANISATION) -> None:
        """Accept another key; keys of one organisation share its budget."""
        self._organisations[api_key] = organisation

    def revoke_key(self, api_key: str) -> None:
        """Answer 401 to this key from now on."""
        self._organisations.pop(api_key, None)

    def limit(self, limit: RateLimit, organisation: str = ORGANISATION) -> Budget:
        """Give an organisation a fresh budget, and that budget to look at."""
        self._budgets[organisation] = Budget(limit, self.now())
        return self._budgets[organisation]

    def route(self, method: str, pattern: str, route: Route) -> None:
        """Answer further paths below /v1.3 (a regular expression, matched whole); the newest route wins."""
        self._routes.insert(0, (method, re.compile(pattern), route))

    def _respond(self, request: Request) -> Response:
        path = request.path.removeprefix(BASE_PATH)
        asked = Asked(request.arrived, request.method, path, tuple(request.params), request.headers)
        self.requests.append(asked)
        fault = self._faults.next(request.method, path)
        if fault is not None and fault.before is not None:
            fault.before()
        if fault is not None and fault.replaces:
            response = fault.response()
        else:
            response = self._true_response(request, path, fault)
        always = [("X-Api-Version", "1.3")]
        if self.dated and all(name.lower() != "date" for name, _ in response.headers):
            always.append(("Date", http_date(instant(self.now()))))
        return replace(response, headers=(*response.headers, *always))

    def _true_response(self, request: Request, path: str, fault: Fault | None) -> Response:
        limits: tuple[tuple[str, str], ...] = ()
        try:
            budget = self._budget(request)
            if budget is not None:
                allowed, limits = budget.spend(request.method, self.now())
                if not allowed:
                    raise self._throttled(budget)
            answer = self._routed(request, path)
        except RefusalError as refusal:
            answer = refusal.answer
        except ParameterError as error:
            answer = RefusalError(400, error.code, str(error)).answer
        if fault is not None and fault.patch is not None:
            self._patch(answer, fault.patch)
        if answer.payload is None:
            response = Response(answer.status, limits)
        else:
            response = json_response(answer.payload, answer.status, limits)
        if fault is not None:
            response = fault.spoil(response)
        if answer.tasks and response.is_whole:
            response = replace(response, on_sent=lambda: self._note(answer))
        return response

    def _budget(self, request: Request) -> Budget | None:
        organisation = self._organisations.get(request.headers.get("x-api-key", ""))
        if organisation is None:
            raise RefusalError(401, "api_key_invalid", "API Key is either invalid or expired.")
        return self._budgets.get(organisation)

    def _throttled(self, budget: Budget) -> RefusalError:
        limit = budget.limit
        rate = f"{limit.per_minute}req/1min" if limit.per_minute is not None else f"{limit.per_day}req/1day"
        later = rendered(instant(self.now() + 60), TimeStyle.SECONDS)
        message = f"You have exceeded the rate limit ({rate}). Please try again later after {later}."
        return RefusalError(429, "too_many_requests", message)

    def _routed(self, request: Request, path: str) -> Answer:
        known = False
        for method, pattern, route in self._routes if request.path.startswith(BASE_PATH + "/") else ():
            if match := pattern.fullmatch(path):
                if method == request.method:
                    return route(request, match)
                known = True
        if known:
            raise RefusalError(405, "method_not_allowed", f"{request.method} is not allowed here.")
        raise RefusalError(404, "api_not_found", f"There is nothing at {request.path}.")

    def _retrieve(self, shelf: Shelf, name: str) -> Answer:
        found, now, lag = self._found(shelf, name), self.now(), self.retrieve_lag_seconds
        task = rendered(shelf.shown(found.past(now - lag) if lag else found.state(now)), self.time_style)
        return Answer(task, tasks=(task,))

    def _list(self, shelf: Shelf, request: Request) -> Answer:
        known = [(name, value) for name, value in request.params if name not in self.distortion.ignores]
        asked = query(known, strict=self.strict_params)
        asked = replace(asked, sort_by=self.distortion.sort_by or asked.sort_by)
        states, info = page(self.distortion.states(shelf.things, self.now()), asked, self.date_filter)
        style = self.list_time_style or self.time_style
        rows = tuple(rendered(shelf.listed(state, full=self.full_rows), style) for state in states)
        return Answer({"data": rows, "page_info": info}, tasks=rows, via="list")

    def _delete(self, _: Request, match: re.Match[str]) -> Answer:
        if self._found(self._shelves.tasks, match["id"]).state(self.now()).get("status") not in TERMINAL_STATUSES:
            raise RefusalError(400, "task_cannot_be_deleted", "A task can only be deleted when it is ready or failed.")
        del self._shelves.tasks.things[match["id"]]
        return Answer(status=204)

    def _found(self, shelf: Shelf, name: str) -> Timeline:
        if name not in shelf.things and (steps := self._birth(shelf.prefix + name)) is not None:
            self.add_task(shelf.prefix + name, steps)
        if thing := shelf.things.get(name):
            return thing
        raise shelf.missing(name, self.missing_status)

    def _patch(self, answer: Answer, patch: Mapping[str, Any]) -> None:
        for task in answer.tasks:
            after = rendered(merged(task, patch, instant(self.now())), self.time_style)
            task.clear()
            task.update(after)

    def _note(self, answer: Answer) -> None:
        at = time.monotonic()
        for task in answer.tasks:
            name = str(task.get("_id", task.get("task_id")))
            self.served.append(Served(name, at, task.get("status"), task.get("updated_at"), answer.via))
