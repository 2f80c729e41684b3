"""What is read, committed and posted, as spans: what the cores tell whoever traces, and the silence if nobody does."""

from contextlib import AbstractContextManager
from typing import Protocol

from bridge.model import Delivery, Endpoint, Event, FetchFailure, Observation, Outcome, WatchedTask

Result = Observation | FetchFailure | Outcome | str | None
"""What a span came to: a reading, an attempt, or the store's word; None if the store could not be told."""


class Span(Protocol):
    """One deed, while it lasts."""

    @property
    def traceparent(self) -> str | None:
        """What a request in it carries (W3C Trace Context); None if there is no trace."""

    def came_to(self, result: Result) -> None:
        """Take note of what came of it."""


class Tracing(Protocol):
    """Spans, each as long as its `with`."""

    def fetch(self, task: WatchedTask) -> AbstractContextManager[Span]:
        """A task is read by id."""

    def commit(self, task: WatchedTask, event: Event) -> AbstractContextManager[Span]:
        """A change is committed as an event."""

    def post(self, endpoint: Endpoint, delivery: Delivery) -> AbstractContextManager[Span]:
        """An attempt is made."""


class Untraced(AbstractContextManager["Untraced"]):
    """Nobody traces: its own only span, which tells nothing and costs nothing that can be measured."""

    traceparent: str | None = None

    def fetch(self, task: WatchedTask) -> "Untraced":
        return self

    def commit(self, task: WatchedTask, event: Event) -> "Untraced":
        return self

    def post(self, endpoint: Endpoint, delivery: Delivery) -> "Untraced":
        return self

    def came_to(self, result: Result) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


UNTRACED = Untraced()
