"""The things of one resource of the simulated TwelveLabs: their timelines by id, and how an answer shows them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from bridge.sandbox.answers import Answer, RefusalError
from bridge.sandbox.timeline import Fields, Step, Timeline, a_timeline, an_analysis, an_indexing

INDEX_ID = "69f0aa11bb22cc33dd44ee55"
TASK_ROW = ("_id", "created_at", "updated_at", "status", "index_id")
"""The fields of a task in a list, as in the documented example."""


@dataclass
class Shelf:
    """One resource. Source of the differences: the documentation and the types of SDK 1.3.6."""

    noun: str
    """As an error calls it."""
    base: Callable[[str], Fields]
    """What a new thing with this id is made of."""
    usual: Callable[[], Iterable[Step]]
    """What commonly becomes of one."""
    prefix: str = ""
    """What stands before an id where a caller of the simulator names one: a member of the bridge's."""
    row: tuple[str, ...] = ()
    """The fields of a row; empty: all but the stream."""
    hidden: tuple[str, ...] = ()
    """Fields that this resource does not have."""
    nested: bool = False
    """Errors are `{"error": {…}}`."""
    things: dict[str, Timeline] = field(default_factory=dict)

    def put(
        self,
        name: str,
        started: float,
        steps: Iterable[Step | tuple[float, Mapping[str, Any]]] | None,
        fields: Mapping[str, Any],
    ) -> None:
        """Add a thing that started at a moment (Unix seconds); `fields` replace standing ones."""
        given = self.usual() if steps is None else steps
        whole = [step if isinstance(step, Step) else Step(*step) for step in given]
        self.things[name] = Timeline(started, {**self.base(name), **fields}, whole)

    def shown(self, state: Fields) -> Fields:
        """A thing as a retrieve shows it."""
        return {name: value for name, value in state.items() if name not in self.hidden}

    def listed(self, state: Fields, *, full: bool) -> Fields:
        """A thing as a row of a list shows it."""
        if full or not self.row:
            return {name: value for name, value in self.shown(state).items() if name != "hls"}
        return {name: state[name] for name in self.row if name in state}

    def missing(self, name: str, status: int) -> RefusalError:
        """The answer for an id that is not there."""
        if status == 403:
            code, message = "read_not_allowed", f"The caller is not authorized to read entity [{name}]."
        else:
            code, message = "resource_not_exist", f"Resource with id {name} does not exist in {self.noun}."
        refusal = RefusalError(status, code, message)
        if self.nested:
            refusal.answer = Answer({"error": {"code": "not_found", "message": message}}, status)
        return refusal


class Shelves:
    """All that the simulated account has."""

    def __init__(self) -> None:
        self.tasks = Shelf("tasks", _task, a_timeline, row=TASK_ROW)
        self.analyses = Shelf("tasks", _analysis, an_analysis, "analyze:", hidden=("updated_at",), nested=True)
        self._assets: dict[str, Shelf] = {}

    def index(self, index: str) -> Shelf:
        """The assets of an index."""
        return self._assets.setdefault(index, Shelf("indexed-assets", _asset, an_indexing, f"asset:{index}/"))

    def place(self, member: str) -> tuple[Shelf, str]:
        """Where a thing stands, and its id there. `<id>` is a task, `asset:<index>/<id>` an indexed asset,
        `analyze:<id>` an analysis."""
        kind, _, path = member.partition(":")
        if kind == "asset" and path:
            index, _, name = path.partition("/")
            return self.index(index), name
        return (self.analyses, path) if kind == "analyze" and path else (self.tasks, member)


def _task(name: str) -> Fields:
    return {"_id": name, "index_id": INDEX_ID, "video_id": _made(name), "status": "validating"}


def _asset(name: str) -> Fields:
    return {"_id": name, "asset_id": _made(name), "status": "pending"}


def _analysis(name: str) -> Fields:
    return {"task_id": name, "custom_id": None, "status": "queued"}


def _made(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:24]
