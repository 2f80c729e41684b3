"""A real subscriber: it verifies what arrives, records it, answers as scripted, and notices what is wrong.

Its words: a *duplicate* is an event that it had already answered 2xx; a retry after a failure is none. *Out of
order* is a first arrival whose revision is lower than one that came before it for the same task and path. A path
is a subscriber: `/a` and `/b` are two endpoints that know nothing of each other.
"""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response
from bridge.sandbox.thread import LoopThread, in_thread
from bridge.signature import Known
from bridge.tl_signature import verify_any

UNVERIFIABLE = "this receiver was given no secret"

ARRIVALS_LIMIT = 500_000
"""Arrivals kept; the oldest go first."""

Scripted = int | Response | Callable[["Arrival"], int | Response]
"""An answer: a status code, a whole `Response` (slow, hanging, reset…), or a function of the arrival."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST, as it arrived and as it was judged."""

    at: float
    """`time.monotonic()` when its last byte was read."""
    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes = field(repr=False)
    event: Any = field(repr=False)
    """The body as JSON; None if it is none."""
    verdict: str | None
    """None: the signature is valid. Else the reason why not."""
    earlier: int
    """How many arrivals of this `webhook-id` came before, on this path."""
    duplicate: bool
    """One of them was answered 2xx, wholly sent."""
    out_of_order: bool

    @property
    def id(self) -> str:
        """The `webhook-id`; empty if absent."""
        return self.headers.get("webhook-id", "")

    @property
    def attempt(self) -> int:
        """`bridge-attempt`; 0 if absent or no number."""
        text = self.headers.get("bridge-attempt", "")
        return int(text) if text.isdecimal() else 0

    @property
    def type(self) -> str:
        """The event's type; empty if it has none."""
        own = self.event.get("type", "") if isinstance(self.event, dict) else ""
        return self.headers.get("ce-type") or str(own)

    @property
    def data(self) -> Mapping[str, Any]:
        """The event's data; empty if the body has none. In CloudEvents' binary mode the body is nothing else."""
        data = self.event
        if isinstance(data, dict) and "ce-type" not in self.headers:
            data = data.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def task_id(self) -> str:
        """`data.task_id`; empty if absent."""
        return str(self.data.get("task_id", ""))

    @property
    def status(self) -> str:
        """`data.status`; empty if absent."""
        return str(self.data.get("status", ""))

    @property
    def revision(self) -> int | None:
        """`data.revision`; None if absent or no whole number."""
        revision = self.data.get("revision")
        return revision if isinstance(revision, int) and not isinstance(revision, bool) else None


class Receiver:
    """Listens for events on every path. The same start and stop as the Simulator."""

    def __init__(
        self,
        *secrets: Known,
        default: Scripted = 204,
        reject_invalid: bool = True,
        clock: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
    ) -> None:
        """`secrets` (`whsec_…`, or public keys) are trusted on every path. `clock` (Unix seconds) judges how old it is.

        With `reject_invalid` a bad signature is answered 401 without touching the script.
        """
        self.arrivals: deque[Arrival] = deque(maxlen=ARRIVALS_LIMIT)
        self.reject_invalid = reject_invalid
        self.consent: Callable[[Request], Response] | None = None
        """What answers the question for its consent (CloudEvents' HTTP WebHook); else 405, as to all but a POST."""
        self.asked: list[Request] = []
        """The questions that `consent` answered."""
        self._default = default
        self._clock = clock
        self._host = host
        self._secrets = secrets
        self._path_secrets: dict[str, tuple[Known, ...]] = {}
        self._script: deque[Scripted] = deque()
        self._path_scripts: defaultdict[str, deque[Scripted]] = defaultdict(deque)
        self._always: dict[str, Scripted] = {}
        self._seen: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._accepted: set[tuple[str, str]] = set()
        self._highest: dict[tuple[str, str], int] = {}
        self._latest: dict[tuple[str, str], Arrival] = {}
        self._news = asyncio.Event()
        self._server = HttpServer(self._respond)

    @property
    def url(self) -> str:
        """`http://<host>:<port>`; append a path to tell subscribers apart."""
        return self._server.url

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self._server.connections

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises OSError if the port is taken."""
        await self._server.start(port, self._host)

    async def stop(self) -> None:
        """Close the port and every connection; the record stays."""
        await self._server.stop()

    @contextmanager
    def in_thread(self) -> Iterator[LoopThread]:
        """Run it beside synchronous code; see `thread.in_thread`."""
        with in_thread(self) as inside:
            yield inside

    def trust(self, path: str, *secrets: Known) -> None:
        """Trust these secrets, and no others, on `path`."""
        self._path_secrets[path] = secrets

    def script(self, *answers: Scripted, path: str | None = None) -> None:
        """Queue answers for the next POSTs: of `path`, or of any path that has no script of its own left."""
        (self._script if path is None else self._path_scripts[path]).extend(answers)

    def always(self, answer: Scripted, path: str | None = None) -> None:
        """What to answer when no script is left: on `path`, or on every path that has no such rule."""
        if path is None:
            self._default = answer
        else:
            self._always[path] = answer

    @property
    def valid(self) -> list[Arrival]:
        """The arrivals whose signature is valid."""
        return [arrival for arrival in self.arrivals if arrival.verdict is None]

    @property
    def invalid(self) -> list[Arrival]:
        """The arrivals whose signature is not valid."""
        return [arrival for arrival in self.arrivals if arrival.verdict is not None]

    @property
    def duplicates(self) -> list[Arrival]:
        """The arrivals of events that had been answered 2xx before."""
        return [arrival for arrival in self.arrivals if arrival.duplicate]

    @property
    def out_of_order(self) -> list[Arrival]:
        """The first arrivals that came after one of a higher revision."""
        return [arrival for arrival in self.arrivals if arrival.out_of_order]

    def latest(self, task_id: str, path: str = "/") -> Arrival | None:
        """What a correct subscriber holds: the valid, accepted arrival of the highest revision."""
        return self._latest.get((path, task_id))

    async def wait_for(self, predicate: Callable[["Receiver"], bool], timeout_seconds: float = 10.0) -> list[Arrival]:
        """Wait until `predicate` is true, asked after each arrival and each 2xx sent; give the arrivals.

        Raises TimeoutError, which says what did arrive. Call it in the receiver's loop.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not predicate(self):
                    await self._news.wait()
        except TimeoutError:
            last = ", ".join(f"{a.type or a.path} attempt {a.attempt}" for a in list(self.arrivals)[-5:])
            count = len(self.arrivals)
            raise TimeoutError(
                f"not so after {timeout_seconds:g} s, {count} arrivals, the last: {last or '-'}"
            ) from None
        return list(self.arrivals)

    def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS" and self.consent:
            self.asked.append(request)
            return self.consent(request)
        if request.method != "POST":
            return Response(405, (("allow", "POST"),))
        arrival = self._judge(request)
        self.arrivals.append(arrival)
        if arrival.verdict is not None and self.reject_invalid:
            response = Response(401, (("content-type", "text/plain"),), arrival.verdict.encode())
        else:
            response = self._answer(arrival)
        self._tell()
        if 200 <= response.status < 300 and response.is_whole:
            scripted = response.on_sent
            response = replace(response, on_sent=lambda: self._accept(arrival, scripted))
        return response

    def _judge(self, request: Request) -> Arrival:
        path, name = request.path, request.headers.get("webhook-id", "")
        secrets = self._path_secrets.get(path, self._secrets)
        verdict: str | None = UNVERIFIABLE
        if secrets:
            verdict = verify_any(secrets, request.headers, request.body, int(self._clock()))
        try:
            event = json.loads(request.body)
        except ValueError:
            event = None
        arrival = Arrival(
            at=request.arrived,
            method=request.method,
            path=path,
            headers=request.headers,
            body=request.body,
            event=event,
            verdict=verdict,
            earlier=self._seen[path, name],
            duplicate=bool(name) and (path, name) in self._accepted,
            out_of_order=False,
        )
        self._seen[path, name] += 1
        return replace(arrival, out_of_order=self._is_late(arrival))

    def _is_late(self, arrival: Arrival) -> bool:
        if arrival.revision is None or arrival.earlier:
            return False
        task = (arrival.path, arrival.task_id)
        highest = self._highest.get(task, arrival.revision)
        self._highest[task] = max(highest, arrival.revision)
        return arrival.revision < highest

    def _answer(self, arrival: Arrival) -> Response:
        own = self._path_scripts.get(arrival.path)
        if own:
            answer = own.popleft()
        elif self._script:
            answer = self._script.popleft()
        else:
            answer = self._always.get(arrival.path, self._default)
        said = answer(arrival) if callable(answer) else answer
        return Response(said) if isinstance(said, int) else said

    def _accept(self, arrival: Arrival, scripted: Callable[[], None] | None) -> None:
        if scripted is not None:
            scripted()
        self._accepted.add((arrival.path, arrival.id))
        known = self._latest.get((arrival.path, arrival.task_id))
        if arrival.verdict is None and (known is None or (known.revision or 0) < (arrival.revision or 0)):
            self._latest[arrival.path, arrival.task_id] = arrival
        self._tell()

    def _tell(self) -> None:
        """Wake everyone who waits; those who come later wait for the next news."""
        news, self._news = self._news, asyncio.Event()
        news.set()
