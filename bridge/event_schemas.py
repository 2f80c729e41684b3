"""What a subscriber receives, as JSON Schema: an event in each format, and what tells of an endpoint. Pure."""

import re
from typing import Any

from bridge.cloudevents import DATA_CONTENT_TYPE, OWN_SOURCE, SOURCE, TYPE_PREFIX
from bridge.events import ENDPOINT_TYPES
from bridge.formats import BODY_BYTES, CLOUDEVENTS, CLOUDEVENTS_BINARY, TWELVELABS
from bridge.kinds import ASSET, FAMILIES, TASK

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
TASK_TYPE = rf"^({'|'.join(map(re.escape, FAMILIES))})(status\.)?[a-z0-9_]+$"
INDEX_TYPE = rf"^({re.escape(TASK.family)}|{re.escape(ASSET.family)})(status\.)?[a-z0-9_]+$"


def event_schema() -> Schema:
    """The body that a subscriber receives in the format `standard`."""
    text = {"type": ["string", "null"]}
    data: dict[str, Schema] = {
        "task_id": {"type": "string", "description": "The member as it was registered: an id, or "
                    "<kind>:<path>, as in asset:<index>/<id>."},
        "status": text | {"description": "Upstream's word, an open set; null for a task that was never seen."},
        "updated_at": text | {"description": "As upstream wrote it."},
        "revision": {"type": "integer", "minimum": 1, "description": "Grows with each change of a task. Apply the "
                     "highest; gaps mean nothing."},
        "changed": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "What changed."},
        "previous": {
            "type": ["object", "null"],
            "required": ["status", "updated_at"],
            "properties": {"status": text, "updated_at": text},
            "description": "What was known before; null at first sight.",
        },
        "task": {"type": ["object", "null"], "description": "The whole upstream object; null when it is gone, or "
                 "omitted because the body would be too large."},
        "metadata": {"description": "The task's own, as it was registered."},
    }  # fmt: skip
    omitted = {"const": True, "description": f"There only where `task` would make the body exceed {BODY_BYTES} bytes."}
    unseen = {"const": True, "description": "There only in `….gone`: upstream never knew this id."}
    stalled = {
        "type": "string", "format": "date-time", "pattern": MOMENT,
        "description": "There only in `….stalled`: since when the task has stood still.",
    }  # fmt: skip
    sometimes = {"task_omitted": omitted, "never_seen": unseen, "stalled_since": stalled}
    return {
        "$schema": DIALECT,
        "title": "Event",
        "description": f"The body of a delivery, in the format `standard`, at most {BODY_BYTES} bytes. Fields may be "
        "added: ignore those that you do not know. Verify the signature over the raw bytes first; the id of the event "
        "is the header webhook-id.",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "pattern": TASK_TYPE},
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "pattern": MOMENT,
                "description": "When the change was observed.",
            },
            "data": {"type": "object", "required": list(data), "properties": data | sometimes},
        },
    }


def twelvelabs_schema() -> Schema:
    """The body that a subscriber receives in the format `twelvelabs`."""
    text = {"type": "string"}
    return {
        "$schema": DIALECT,
        "title": "Event, as TwelveLabs' own webhooks have it",
        "description": f"The body of a delivery, in the format `{TWELVELABS}`. Verify the header TL-Signature over the "
        "raw bytes first. Other types than ready and failed come only to endpoints that name them in full; those of "
        "indexed assets, of which TwelveLabs sends none, have the same fields.",
        "type": "object",
        "required": ["id", "created_at", "type", "data"],
        "properties": {
            "id": {**text, "pattern": "^whe_", "description": "The event's: the same on each attempt and replay."},
            "created_at": {**text, "format": "date-time", "description": "When the change was observed."},
            "type": {**text, "pattern": INDEX_TYPE},
            "data": {
                "type": "object",
                "required": ["id", "metadata", "status", "models", "tags"],
                "properties": {
                    "id": {**text, "description": "The task as it was registered: its id."},
                    "metadata": {"type": "object", "description": "The task's system_metadata, such as its duration."},
                    "status": {**text, "description": "Upstream's word; `gone` for a task that is no longer there."},
                    "models": {"const": [], "description": "Always empty: what is polled does not tell them."},
                    "tags": {"const": [], "description": "Always empty, likewise."},
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def cloudevents_schema() -> Schema:
    """The body that a subscriber receives in the format `cloudevents`."""
    text = {"type": "string"}
    properties: dict[str, Schema] = {
        "specversion": {"const": "1.0"},
        "id": {**text, "pattern": "^evt_", "description": "That of webhook-id: the same on each attempt and replay."},
        "source": {**text, "description": f"{SOURCE}, whose tasks they are; {OWN_SOURCE} where it is about an "
                   "endpoint of the bridge."},
        "type": {**text, "description": f"The type of the event; a task's, after {TYPE_PREFIX}."},
        "subject": {**text, "minLength": 1, "description": "The task as it was registered, or the endpoint."},
        "time": {**text, "format": "date-time", "pattern": MOMENT, "description": "When it was observed."},
        "datacontenttype": {"const": DATA_CONTENT_TYPE},
        "revision": {**text, "pattern": "^[1-9][0-9]*$", "description": "An extension, of tasks only: data.revision "
                     "as a text, since an Integer of CloudEvents has 32 bits. Apply the highest number."},
        "data": {"description": "As in the format `standard`."},
    }  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "Event, as CloudEvents 1.0 has it",
        "description": f"The body of a delivery, in the format `{CLOUDEVENTS}`, at most {BODY_BYTES} bytes. In the "
        f"format `{CLOUDEVENTS_BINARY}` the body is what stands under `data` here, and the rest are headers, `ce-` "
        "before each name. Attributes may be added: ignore those that you do not know. Verify the signature over the "
        "raw bytes first.",
        "type": "object",
        "required": [name for name in properties if name != "revision"],
        "properties": properties,
        "oneOf": [
            _about(SOURCE, rf"^{re.escape(TYPE_PREFIX)}{TASK_TYPE[1:]}", event_schema(), ["revision"]),
            _about(OWN_SOURCE, rf"^({'|'.join(map(re.escape, ENDPOINT_TYPES))})$", endpoint_event_schema(), []),
        ],
    }


def _about(source: str, kind: str, standard: Schema, more: list[str]) -> Schema:
    """What belongs together: where it is from, its types, and the data of the event in the format `standard`."""
    own = {"source": {"const": source}, "type": {"pattern": kind}, "data": standard["properties"]["data"]}
    return {"required": more, "properties": own}


def endpoint_event_schema() -> Schema:
    """The body that tells of an endpoint, to those that ask for `bridge.endpoint.*`."""
    moment = {"type": "string", "format": "date-time", "pattern": MOMENT}
    data: dict[str, Schema] = {
        "endpoint": {"type": "string", "description": "The name of the endpoint that this is about."},
        "url": {"type": ["string", "null"], "description": "Without what may be a secret; null once it was removed."},
        "reason": {"enum": ["failing", "gone", "blocked", "recovered"], "description": "gone: it answered 410. "
                   "blocked: policy forbids its address. recovered: an attempt succeeded, the first since another of "
                   "these types was told."},
        "failures": {"type": "integer", "minimum": 0, "description": "Failed attempts in a row; 0 if it was enabled "
                     "again before it recovered."},
        "failing_since": moment | {"description": "When the first of them failed."},
        "share": {"type": ["number", "null"], "minimum": 0, "description": "The part of the failure window that is "
                  "over; null where there is none."},
        "percent": {"type": ["integer", "null"], "description": "The mark that this warns of, 50, 70 or 90; null in "
                    "the other types."},
        "status_code": {"type": ["integer", "null"], "description": "Of its latest answer."},
        "fault": {"type": ["string", "null"], "description": "Why there was no answer."},
        "disabled_at": moment | {"type": ["string", "null"], "description": "When it was disabled, or will be unless "
                                 "an attempt succeeds before; null in `bridge.endpoint.recovered`."},
    }  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "Endpoint event",
        "description": "The body of a delivery that tells of an endpoint. It goes to the endpoints whose `events` name "
        "such a type, as in `bridge.endpoint.*` (`*` does not), whatever their `tasks`, and never to the one that it "
        "is about. Fields may be added: ignore those that you do not know.",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"enum": list(ENDPOINT_TYPES)},
            "timestamp": moment,
            "data": {"type": "object", "required": list(data), "properties": data},
        },
    }
