"""The shapes of the API's answers and bodies as JSON Schema, made of the views and the contract that they show."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from bridge.console.bodies import Body, Disabling, Recovering, Replaying, Rotating, Trying
from bridge.orders.trying import PHASES
from bridge.rejection import Refusal
from bridge.schemas import endpoint_schema, task_schema
from bridge.store.reading.deliveries import DeliveryView
from bridge.store.reading.endpoints import EndpointView
from bridge.store.reading.events import EventView
from bridge.store.reading.pages import Hours
from bridge.store.reading.tasks import TaskView
from bridge.store.reading.vitals import Role, Status

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
WARNINGS: Schema = {
    "type": "array",
    "items": TEXT,
    "description": "What is legal and looks like a mistake, or keeps events from being told; the next step after →.",
}
BOOL: Schema = {"type": "boolean"}
MORE: Schema = BOOL | {"description": "Whether there is more to do, or to read."}
MAYBE: Schema = {"type": ["string", "null"]}
STATE: Schema = TEXT | {"enum": ["active", "held", "disabled"]}
BODIES = (Disabling, Recovering, Trying, Rotating, Replaying)
AFTER: Schema = TEXT | {"description": "Where the next page begins; empty when there is none."}


def shapes() -> dict[str, Schema]:
    """Every schema by its name in the description."""
    task, endpoint, delivery = _task(), _endpoint(), _delivery()
    return {
        "TaskOptions": _task_options(),
        "EndpointDefinition": {name: part for name, part in endpoint_schema().items() if name != "$schema"},
        "Status": _status(endpoint),
        "Tasks": _object(
            tasks=_list(task), counts=_counts(), state=TEXT, status=TEXT, after=AFTER,
        ),
        "TaskShown": _more(task, events=_list(_event()), now_at=MOMENT),
        "TaskWritten": _object(task=TEXT, result=_words("added", "changed", "unchanged"), warnings=WARNINGS),
        "TaskRemoved": _object(task=TEXT, result=_words("removed", "forgotten")),
        "TaskAsked": _object(task=TEXT, result=_words("asked")),
        "Endpoints": _object(endpoints=_list(endpoint)),
        "EndpointShown": _object(endpoint=endpoint, remedies=_list({"type": "object"}), deliveries=_list(delivery)),
        "EndpointWritten": _object(
            endpoint=TEXT, result=_words("added", "changed", "unchanged"), url=TEXT, warnings=WARNINGS,
        ),
        "EndpointRemoved": _object(endpoint=TEXT, result=_words("removed", "forgotten"), cancelled=COUNT),
        **{kind.__name__: _body(kind) for kind in BODIES},
        "EndpointDisabled": _object(
            endpoint=TEXT, result=_words("changed", "unchanged"), state=_words("disabled"), reason=TEXT, was=STATE,
            pending=COUNT,
        ),
        "EndpointEnabled": _object(
            endpoint=TEXT, result=_words("changed", "unchanged", "asked"), state=STATE, was=STATE, pending=COUNT,
            more=MORE, warnings=WARNINGS,
        ),
        "EndpointRecovered": _object(
            endpoint=TEXT, state=STATE, was=STATE, dead=COUNT, reasons=_counts(), recovered=COUNT, lost=COUNT,
            left=_counts(), dry_run=BOOL, more=MORE, next=_next("Recovering"), warnings=WARNINGS,
        ),
        "EndpointTested": _object(
            endpoint=TEXT, url=TEXT, type=TEXT, event_id=TEXT, outcome=_words("delivered", "failed"),
            status_code={"type": ["integer", "null"]}, fault=MAYBE, detail=MAYBE,
            **{f"{phase}_ms": {"type": ["number", "null"]} for phase in PHASES},
            answer=TEXT | {"description": "The head of what was answered, without secrets."},
            fix=TEXT | {"description": "The next step; empty where there is none."}, warnings=WARNINGS,
        ),
        "EndpointRotated": _object(
            endpoint=TEXT, result=_words("changed", "unchanged"), old_secret_until_at=MOMENT, warnings=WARNINGS,
        ),
        "Replayed": _object(
            meant=COUNT | {"description": "How many deliveries that have ended fit, from `after` on."},
            endpoints=_list(_object(
                endpoint=TEXT, deliveries=COUNT, dead=COUNT, delivered=COUNT, superseded=COUNT, tasks=COUNT,
            )),
            owed=COUNT | {"description": "How many of them are owed again by this request."},
            dry_run=BOOL, more=MORE, next=_next("Replaying"), warnings=WARNINGS,
        ),
        "Events": _object(
            events=_list(_row(EventView)), after=TEXT | {"description": "Where to go on, now or later."}, more=MORE,
        ),
        "Deliveries": _object(
            deliveries=_list(delivery), after=AFTER, state=TEXT, endpoint=TEXT, task=TEXT, endpoints=_list(TEXT),
        ),
        "DeliveryShown": _more(
            delivery, attempt_log=_list({"type": "object"}), body=TEXT, advice=_list({"type": "object"}),
        ),
        "DeliveryAsked": _object(delivery=TEXT, result=TEXT, note=TEXT, fix=TEXT),
        "Rejected": _object(rejected=_list(_row(Refusal))),
        "Problem": _problem(),
    }  # fmt: skip


def _body(kind: type[Body]) -> Schema:
    """What is sent, as it is read."""
    made = kind.model_json_schema()
    properties = {
        name: {one: part for one, part in field.items() if one != "title"} for name, field in made["properties"].items()
    }
    return made | {"properties": properties}


def _next(name: str) -> Schema:
    """What to send to go on; null where there is nothing more to do."""
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]}


def _task() -> Schema:
    return _row(TaskView)


def _endpoint() -> Schema:
    row = _row(EndpointView)
    named = {"endpoint": TEXT, "secret": TEXT | {"description": "What kind of secret signs; never its text."}}
    hours = {"anyOf": [_row(Hours), {"type": "null"}]}
    kept = {name: shape for name, shape in row["properties"].items() if name not in {"name", "secrets"}}
    return _object(**named, **kept) | {"properties": named | kept | {"hours": hours}}


def _delivery() -> Schema:
    row = _row(DeliveryView)
    return _object(delivery=TEXT, **{name: shape for name, shape in row["properties"].items() if name != "log"})


def _event() -> Schema:
    return _more(_row(EventView), deliveries=_list(_row(DeliveryView)), untold={"type": ["string", "null"]})


def _status(endpoint: Schema) -> Schema:
    role = _row(Role)["properties"]
    roles = {"type": "object", "additionalProperties": _object(**{one: role[one] for one in role if one != "kind"})}
    whole = _row(Status)["properties"] | {"roles": roles, "has_key": {"type": "boolean"}}
    return _object(**whole, troubled=_list(endpoint), troubled_in_all=COUNT)


def _task_options() -> Schema:
    """As in Redis, where every option is text, and as JSON has it beside that."""
    made = task_schema()
    fields: dict[str, Schema] = made["properties"]
    names = {"type": "array", "items": TEXT, "minItems": 1}
    wider: dict[str, list[Schema]] = {
        "metadata": [{"type": ["object", "array", "number", "boolean", "null"]}],
        "endpoints": [names, {"type": "null"}],
        "callback_url": [{"type": "null"}],
        "expires_at": [{"type": "number", "minimum": 0, "exclusiveMaximum": 10**11}, {"type": "null"}],
        "account": [{"type": "null"}],
        "traceparent": [{"type": "null"}],
    }
    properties = {
        name: {"description": field.pop("description"), "anyOf": [field, *wider.get(name, [])]}
        for name, field in ((name, dict(field)) for name, field in fields.items())
    }
    return {
        "type": "object",
        "title": made["title"],
        "description": "The options of a task. Each may be a text, as in Redis, which for metadata is JSON written "
        "out. Unknown fields are kept and mean nothing; those that begin with x- belong to users.",
        "properties": properties,
    }


def _problem() -> Schema:
    fields = {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT | {"description": "What failed, and why."},
        "reason": TEXT | {"description": "Why."},
        "fix": TEXT | {"minLength": 1, "description": "The next step."},
    }
    field = TEXT | {"description": "Where in the body; absent for the whole of it."}
    made = _object(**fields) | {"description": "A problem document (RFC 9457)."}
    return made | {"properties": fields | {"field": field}}


def _row(kind: Any) -> Schema:
    """A view as it is shown: all of its fields, moments as RFC 3339."""
    made: Schema = TypeAdapter(kind).json_schema(mode="serialization")
    inlined: Schema = _inlined(made, made.get("$defs", {}))
    dated: Schema = _dated(inlined)
    return dated


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The same without references and titles. Every object has all of its fields."""
    if isinstance(node, list):
        return [_inlined(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    made = {
        name: {one: _inlined(shape, definitions) for one, shape in part.items()}
        if name == "properties"
        else _inlined(part, definitions)
        for name, part in node.items()
        if name not in {"$defs", "title", "default"}
    }
    return made | ({"required": list(made["properties"])} if "properties" in made else {})


def _dated(node: Any) -> Any:
    """Milliseconds under a name that ends in _at are shown as RFC 3339; what is upstream's own text is as it is."""
    if isinstance(node, list):
        return [_dated(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: {one: MOMENT if _is_moment(one, shape) else _dated(shape) for one, shape in part.items()}
        if name == "properties"
        else _dated(part)
        for name, part in node.items()
    }


def _is_moment(name: str, shape: Schema) -> bool:
    kinds = [shape, *shape.get("anyOf", [])]
    return name.endswith("_at") and any(one.get("type") == "integer" for one in kinds)


def _counts() -> Schema:
    return {"type": "object", "additionalProperties": COUNT}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _more(schema: Schema, **properties: Schema) -> Schema:
    return _object(**{**schema["properties"], **properties})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _words(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}
