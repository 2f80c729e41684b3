"""What the HTTP API can do, one operation a row: the routes are made of these, and so is /openapi.json. Data alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.model import DeliveryState
from bridge.store.reading.pages import MOST, PER_PAGE, TASK_STATES

Schema = dict[str, Any]

LOOKING, WRITING = "look", "write"
BODY_BYTES = 64 * 1024
"""The longest body; the longest definition is a quarter of it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A word of the query."""

    name: str
    schema: Schema
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One verb at one path."""

    id: str
    method: str
    path: str
    """Below /api; what stands in braces is a name, at the end of the path with its slashes written as %2F or not."""
    summary: str
    failure: str
    """What a problem says first."""
    answers: Mapping[int, str]
    """Status → the schema of what is answered, by its name in the description."""
    description: str = ""
    query: tuple[Parameter, ...] = ()
    takes: str = ""
    """The schema of the body, by its name; empty where there is none."""
    needs_body: bool = False
    problems: tuple[int, ...] = field(default=())
    """Statuses of its own, beside those that follow from what it is."""
    sends: bool = False
    """It waits for a receiver, too, as long as a delivery does."""

    @property
    def writes(self) -> bool:
        """Whether it needs the token."""
        return self.method != "GET"

    @property
    def failures(self) -> list[int]:
        """Every status that is a problem document."""
        statuses = {421, 500, 503, *self.problems, *((401, 403) if self.writes else ())}
        statuses |= {400, 404} if "{" in self.path else {400}
        return sorted(statuses | ({408, 413, 415, 422} if self.takes else set()))


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


LIMIT = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": PER_PAGE}, "The most entries of a page."
)
AFTER = Parameter("after", {"type": "string"}, "Where to go on: `after` of the page before; empty for the first one.")
STATES = tuple(str(one) for one in DeliveryState)
TASK_QUERY = (
    Parameter("state", _one_of(*TASK_STATES) | {"default": TASK_STATES[0]}, "Which tasks."),
    Parameter("status", {"type": "string"}, "Upstream's word: only tasks that have it."),
    AFTER,
    LIMIT,
)
DELIVERY_QUERY = (
    Parameter("state", _one_of(*STATES), "Only deliveries in this state; `dead` are the dead letters."),
    Parameter("endpoint", {"type": "string"}, "Only those to this endpoint."),
    Parameter("task", {"type": "string"}, "Only those of this task."),
    AFTER,
    LIMIT,
)
EVENT_QUERY = (
    Parameter("type", {"type": "string"}, "Only events of this type; index.task.* is a prefix."),
    Parameter("task", {"type": "string"}, "Only those of this task."),
    Parameter("after", {"type": "string"}, "Only those after this cursor, or this event's id; without: the latest."),
    LIMIT,
)
FORCE = Parameter("force", _one_of("true", "false") | {"default": "false"}, "Also one that was delivered.")
ANEW = "What is so already is left alone: the same request twice is the same as once."

OPERATIONS: tuple[Operation, ...] = (
    Operation("status", "GET", "/status", "How everything fares", "The status was not read", {200: "Status"}),
    Operation(
        "listTasks", "GET", "/tasks", "Tasks, a page at a time", "The tasks were not read", {200: "Tasks"},
        query=TASK_QUERY,
    ),
    Operation(
        "getTask", "GET", "/tasks/{task}", "All that is known of a task", "The task was not read", {200: "TaskShown"},
    ),
    Operation(
        "putTask", "PUT", "/tasks/{task}", "Register a task, or give it other options", "The task was not registered",
        {200: "TaskWritten", 201: "TaskWritten"},
        f"Options replace those of before as a whole; without any, a registered task keeps its own. {ANEW} A task that "
        "has ended is read once more.",
        takes="TaskOptions",
    ),
    Operation(
        "deleteTask", "DELETE", "/tasks/{task}", "Watch a task no longer", "The task was not taken back",
        {200: "TaskRemoved"},
        "What is owed for it is still delivered. Of a refused one the complaint is forgotten. 404: there is none any "
        "more.",
    ),
    Operation(
        "pollTask", "POST", "/tasks/{task}", "Read a task at once", "The task is not to be read", {202: "TaskAsked"},
    ),
    Operation(
        "listEndpoints", "GET", "/endpoints", "All endpoints", "The endpoints were not read", {200: "Endpoints"},
    ),
    Operation(
        "getEndpoint", "GET", "/endpoints/{name}", "One endpoint", "The endpoint was not read", {200: "EndpointShown"},
        "Of its secrets the number, of its headers the names, of its URL neither user nor query.",
    ),
    Operation(
        "putEndpoint", "PUT", "/endpoints/{name}", "Register an endpoint, or write it anew",
        "The endpoint was not registered", {200: "EndpointWritten", 201: "EndpointWritten"},
        "Written anew as a whole; only its secret stays, unless one is given, or null for the operator's default one. "
        f"{ANEW} What the bridge had disabled is active again if it is written otherwise, and not if it is not.",
        takes="EndpointDefinition", needs_body=True, problems=(409,),
    ),
    Operation(
        "deleteEndpoint", "DELETE", "/endpoints/{name}", "Take an endpoint back", "The endpoint was not taken back",
        {200: "EndpointRemoved"}, "What it is still owed is cancelled. 404: there is none any more.",
    ),
    Operation(
        "disableEndpoint", "POST", "/endpoints/{name}/disable", "Hold all that an endpoint is owed",
        "The endpoint was not disabled", {200: "EndpointDisabled"},
        "Until it is enabled. Nothing is dropped, and nothing expires meanwhile; what is in flight finishes. Without a "
        f"reason, that of an operator's hold which stands is kept. {ANEW}",
        takes="Disabling", problems=(409,),
    ),
    Operation(
        "enableEndpoint", "POST", "/endpoints/{name}/enable", "Let an endpoint be tried again",
        "The endpoint was not enabled", {200: "EndpointEnabled", 202: "EndpointEnabled"},
        "What was held is due, in order, and its retries begin anew. 202: there was not time for all of it, it is held "
        "still, and the same request goes on (`more`); or its receiver has to consent first, and is asked (`asked`).",
        problems=(409,),
    ),
    Operation(
        "recoverEndpoint", "POST", "/endpoints/{name}/recover", "Bring an endpoint's dead letters back",
        "The dead letters were not brought back", {200: "EndpointRecovered", 202: "EndpointRecovered"},
        "In order, and at the end of them the endpoint is enabled. Where there is `more`, send `next` there.",
        takes="Recovering", problems=(409,),
    ),
    Operation(
        "testEndpoint", "POST", "/endpoints/{name}/test", "Send an endpoint a made-up event, now",
        "No event was sent", {200: "EndpointTested"},
        "By the way of every delivery, by the console's process and with its settings. It changes nothing of what is "
        "owed, and counts as no failure; whether the receiver took it is in `outcome`, and what to do in `fix`.",
        takes="Trying", problems=(409,), sends=True,
    ),
    Operation(
        "rotateEndpoint", "POST", "/endpoints/{name}/rotate", "Give an endpoint another secret",
        "The secret was not changed", {200: "EndpointRotated"},
        "For a while the old one signs, too. With the secret that it has nothing changes, but that without an overlap "
        "what is old signs no more.",
        takes="Rotating", needs_body=True, problems=(409,),
    ),
    Operation(
        "listDeliveries", "GET", "/deliveries", "Deliveries, a page at a time", "The deliveries were not read",
        {200: "Deliveries"},
        "Those that ended, the latest first; those that are pending, the soonest first.", query=DELIVERY_QUERY,
    ),
    Operation(
        "getDelivery", "GET", "/deliveries/{event_id}/{endpoint}", "One delivery, attempt by attempt",
        "The delivery was not read", {200: "DeliveryShown"},
    ),
    Operation(
        "retryDelivery", "POST", "/deliveries/{event_id}/{endpoint}", "Attempt a delivery at once",
        "The delivery is not to be attempted", {202: "DeliveryAsked"}, "One that has ended is owed again.",
        query=(FORCE,), problems=(409,),
    ),
    Operation(
        "replay", "POST", "/replay", "Send again what has ended, by range", "Nothing was sent again",
        {200: "Replayed", 202: "Replayed"},
        "Dead letters, and what was delivered. What is owed still is left alone, as is what was cancelled; what was "
        "delivered meanwhile is sent once more by each request. Where there is `more`, send `next`.",
        takes="Replaying", needs_body=True, problems=(404,),
    ),
    Operation(
        "listEvents", "GET", "/events", "Events in the order of their commits, a page at a time",
        "The events were not read", {200: "Events"},
        "Without their bodies. `after` is where to go on, now if there is `more`, or later.",
        query=EVENT_QUERY, problems=(404,),
    ),
    Operation(
        "listRejected", "GET", "/rejected", "What was refused, why, and what puts it right",
        "The refused entries were not read", {200: "Rejected"},
    ),
)  # fmt: skip
