"""What the simulated TwelveLabs was asked, what it answers, and what it can truthfully say it has shown."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.sandbox.message import Request
from bridge.sandbox.timeline import Fields


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached the simulator, whatever came of it. `at` is `time.monotonic()`."""

    at: float
    method: str
    path: str
    """Below /v1.3, without the query."""
    params: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Served:
    """A task as a complete 200 answer showed it: what a client can know."""

    task_id: str
    at: float
    """`time.monotonic()` when the whole answer was given to the socket."""
    status: Any
    updated_at: Any
    """As written on the wire."""
    via: str
    """`retrieve` or `list`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says: JSON (or nothing), and which tasks of it were shown."""

    payload: Any = None
    status: int = 200
    tasks: tuple[Fields, ...] = ()
    """Objects inside `payload`, the same ones: a fault's patch is laid over them."""
    via: str = "retrieve"


Route = Callable[[Request, re.Match[str]], Answer]


class RefusalError(Exception):
    """An error answer in TwelveLabs' flat shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = Answer({"code": code, "message": message}, status)
