"""The contract as JSON Schema: what a client writes, what a subscriber receives, what a refusal looks like. Pure.

Made from what judges, so that no second hand keeps it; `bridge contract show` prints what stands in `docs/contract/`. A
schema refuses nothing that the bridge takes in. The other way round it cannot say everything; its descriptions tell
what is judged beyond it.
"""

import json
from collections.abc import Callable, Mapping

from bridge.contract import METADATA_BYTES, METADATA_DEPTH, NAME, SECONDS, TASK_ENDPOINTS, TRACEPARENT
from bridge.definition import (
    ENDPOINT_BYTES,
    HEADER_NAME,
    HEADER_VALUE,
    HEADERS,
    RESERVED_HEADERS,
    RESERVED_PREFIXES,
    EndpointDefinition,
)
from bridge.event_schemas import (
    DIALECT,
    Schema,
    cloudevents_schema,
    endpoint_event_schema,
    event_schema,
    twelvelabs_schema,
)
from bridge.filters import METADATA_FIELDS, METADATA_WORDS
from bridge.formats import CLOUDEVENTS, CLOUDEVENTS_BINARY, TWELVELABS, WILDCARD_TYPES
from bridge.guard import MAX_URL_CHARS
from bridge.model import V1
from bridge.rejection import REJECTED, VALUE_HEAD
from bridge.rotation import PREVIOUS_SECRETS
from bridge.sealing import SEALED, SEALED_BYTES
from bridge.signature import MAX_SECRET_BYTES, MIN_SECRET_BYTES, SECRET_PREFIX
from bridge.tl_signature import SECRET
from bridge.watches import INDEX_ID, WATCH_BYTES, WATCHES, WORDS

URL = r"[Hh][Tt][Tt][Pp][Ss]?://[!$-;=?-\[\]_a-z~]+"
"""What every URL that the guard may admit looks like: printable ASCII without a fragment."""
GUARD = (
    "Judged by the guard beyond this schema (`bridge endpoint check <url>` tells): https, a public host name, port "
    "443 or 8443, unless the operator allows more."
)

EVENTS = (
    "Event types it takes: exact, `*`, or all below a word, as in `index.task.*`. In the format "
    f"{TWELVELABS} a star stands for {' and '.join(sorted(WILDCARD_TYPES[TWELVELABS]))} only; beyond this schema, a "
    "pattern with a star that takes neither is refused."
)


def endpoint_schema() -> Schema:
    """An endpoint's definition."""
    made = EndpointDefinition.model_json_schema()
    fields: dict[str, Schema] = made["properties"]
    fields["url"] |= {"minLength": 1, "maxLength": MAX_URL_CHARS, "pattern": f"^{URL}$", "description": GUARD}
    fields["events"]["description"] = EVENTS
    fields["tasks"]["description"] = "Members it takes: exact, or a beginning and `*`."
    fields["indexes"]["description"] = "Ids of the tasks' indexes; an event that shows no index is always taken."
    fields["metadata"] |= _words_schema()
    fields["secret"] = _secret_schema()
    fields["previous_secrets"] = _previous_schema()
    fields["format"]["description"] = (
        f"How bodies are written and signed; {TWELVELABS}: as TwelveLabs' own webhooks; {CLOUDEVENTS}: CloudEvents "
        f"1.0, all in one JSON object; {CLOUDEVENTS_BINARY}: its attributes in headers, the data alone in the body."
    )
    fields["ordering"] = made["$defs"]["Ordering"] | {"default": fields["ordering"]["default"]}
    fields["headers"] |= _headers_schema()
    fields["concurrency"]["description"] = (
        "Attempts in flight at most; without it BRIDGE_DELIVERY_ENDPOINT_CONCURRENCY."
    )
    fields["rate"]["description"] = (
        "Attempts a second or a minute at most, as `10/s` or `300/m`: spaced evenly, after a "
        "silence up to a second's worth at once."
    )
    fields["schedule"]["description"] = (
        "The wait before each attempt in seconds, the first one's included (it is made "
        "at once), and so the number of attempts; without it BRIDGE_DELIVERY_SCHEDULE_SECONDS."
    )
    fields["supersede"]["description"] = (
        "Whether a progress event that waits to be sent again is dropped once a later event of its task was delivered. "
        "What tells a task's end, or changes after it, never is."
    )
    fields["signatures"] |= {
        "maxItems": 2,
        "uniqueItems": True,
        "description": "What stands in webhook-signature: v1, made with the secret, v1a, made with the installation's "
        "key and verified with its public half, or both. Beyond this schema: v1a is refused where the installation has "
        f"no key. In the format {TWELVELABS} it is v1.",
    }
    fields["handshake"]["description"] = (
        "Whether nothing is sent before the receiver has consented: it is asked as CloudEvents' HTTP WebHook has it "
        "(section 4), by OPTIONS with WebHook-Request-Origin. Until it answers with WebHook-Allowed-Origin the "
        "endpoint is disabled, what it is owed is held, and it is asked again; WebHook-Allowed-Rate is not exceeded."
    )
    properties = {name: _without_title(field) for name, field in fields.items()}
    return {
        "$schema": DIALECT,
        "title": "Endpoint",
        "description": f"The value of a field of the hash bridge:endpoints, as JSON. The field is the endpoint's name: "
        f"^{NAME}$, and not “url”. Unknown fields are ignored; those that begin with x- belong to users. Beyond this "
        f"schema: at most {ENDPOINT_BYTES} bytes of UTF-8 (where secrets are sealed {SEALED_BYTES} more), and no name "
        "twice in one object.",
        "type": "object",
        "required": made["required"],
        "properties": properties,
        "patternProperties": {"^x-": True},
        **_secret_by_format(),
    }


def task_schema() -> Schema:
    """A task's options: the fields of a hash, so that every value is text."""
    names = rf"[\s,]*{NAME}(\s*,[\s,]*{NAME}){{0,{TASK_ENDPOINTS - 1}}}[\s,]*"
    properties: dict[str, Schema] = {
        "metadata": {
            "minLength": 1,
            "maxLength": METADATA_BYTES,
            "contentMediaType": "application/json",
            "description": f"JSON, echoed in every event. Beyond this schema: at most {METADATA_BYTES} bytes of UTF-8, "
            f"{METADATA_DEPTH} levels, no NaN or Infinity, and no name twice in one object.",
        },
        "endpoints": {
            "pattern": f"^{names}$",
            "description": f"Names of endpoints, separated by commas, at most {TASK_ENDPOINTS}; all matching ones hear "
            "of the task if it is absent. Beyond this schema: names are ASCII.",
        },
        "callback_url": {
            "maxLength": MAX_URL_CHARS,
            "pattern": f"^({URL})?$",
            "description": f"Acts as an endpoint `url:<digest>`, signed with the default secret; refused where there "
            f"is none. Empty counts as absent. {GUARD}",
        },
        "expires_at": {
            "pattern": f"^({SECONDS})?$",
            "description": "Unix seconds; the task is watched no longer than that. More than 11 digits are "
            "milliseconds by mistake. Empty counts as absent.",
        },
        "account": {"enum": ["", "default"], "description": "The TwelveLabs key to read with; there is one."},
        "traceparent": {
            "pattern": f"^({TRACEPARENT})?$",
            "description": "The span that registers it (W3C Trace Context), to which the traces of its events are "
            "linked where the bridge sends traces. Empty counts as absent.",
        },
    }
    return {
        "$schema": DIALECT,
        "title": "Task options",
        "description": "The hash bridge:task:<member>, written before the ZADD that registers the member. Unknown "
        "fields are ignored; those that begin with x- belong to users. Beyond this schema: names and values are UTF-8.",
        "type": "object",
        "properties": {name: {"type": "string"} | field for name, field in properties.items()},
        "additionalProperties": {"type": "string"},
    }


def watch_schema() -> Schema:
    """A watch of an index, or of the account."""
    seconds = {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 10**11, "default": None}
    properties: dict[str, Schema] = {
        "kinds": {
            "type": "array", "minItems": 1, "maxItems": len(WORDS), "items": {"enum": list(WORDS)}, "default": ["task"],
            "description": "What is found: task, an index task, or asset, an indexed asset, of which the account has "
            "no list.",
        },
        "since": seconds | {"description": "Unix seconds: what was created from then on is registered though it had "
                            "ended before it was watched."},
        "metadata": {"description": f"As of a task: echoed in every event of what is found. Beyond this schema: at "
                     f"most {METADATA_BYTES} bytes and {METADATA_DEPTH} levels."},
        "endpoints": {
            "type": ["array", "null"], "minItems": 1, "maxItems": TASK_ENDPOINTS, "default": None,
            "items": {"type": "string", "pattern": f"^{NAME}$"},
            "description": "Names of endpoints; all matching ones hear of what is found if it is absent.",
        },
        "callback_url": {"type": ["string", "null"], "maxLength": MAX_URL_CHARS, "pattern": f"^({URL})?$",
                         "default": None, "description": f"As of a task. {GUARD}"},
        "expires_at": seconds | {"description": "Unix seconds: nothing is found from then on, and what was found is "
                                 "watched no longer."},
    }  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "Watch",
        "description": "The value of a field of the hash bridge:watches, as JSON: every task of an index (the field is "
        f"index:<id>, the id ^{INDEX_ID}$) or of the account (the field is account) is registered by itself. Unknown "
        "fields are ignored; those that begin with x- belong to users. Beyond this schema: at most "
        f"{WATCH_BYTES} bytes of UTF-8, no name twice in one object, and {WATCHES} watches in all.",
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": True},
    }


def rejection_schema() -> Schema:
    """An entry of `bridge:rejected`."""
    return {
        "$schema": DIALECT,
        "title": "Rejection",
        "description": f"The value of a field of the hash bridge:rejected, as JSON; at most {REJECTED} are kept. The "
        "field is task:<member>, endpoint:<name> or watch:<field>; one that is long, or no text, is cut and ends in “…”"
        " and a fingerprint. It goes once the entry is taken in.",
        "type": "object",
        "required": ["reason", "field", "value", "at", "fix"],
        "properties": {
            "reason": {"type": "string", "minLength": 1, "description": "Why it was refused."},
            "field": {"type": "string", "description": "Where in the entry; empty for the whole of it."},
            "value": {"type": "string", "maxLength": VALUE_HEAD, "description": "The head of what was there, without "
                      "signing secrets and without user info, query and fragment of a URL."},
            "at": {"type": "integer", "minimum": 0, "description": "When, in Unix milliseconds."},
            "fix": {"type": "string", "minLength": 1, "description": "What to do."},
        },
        "additionalProperties": False,
    }  # fmt: skip


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "endpoint": endpoint_schema,
    "task": task_schema,
    "watch": watch_schema,
    "event": event_schema,
    "event-twelvelabs": twelvelabs_schema,
    "event-cloudevents": cloudevents_schema,
    "endpoint-event": endpoint_event_schema,
    "rejection": rejection_schema,
}
"""What `bridge contract show` shows."""

FILES: Mapping[str, str] = {
    "endpoint": "endpoint.schema.json",
    "task": "task-options.schema.json",
    "watch": "watch.schema.json",
    "event": "event.schema.json",
    "event-twelvelabs": "event-twelvelabs.schema.json",
    "event-cloudevents": "event-cloudevents.schema.json",
    "endpoint-event": "endpoint-event.schema.json",
    "rejection": "rejection.schema.json",
}
"""The file in `docs/contract/` that holds each."""


def render(name: str) -> str:
    """One schema, as it stands in its file."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


LEAST, MOST = (-(-size * 8 // 6) for size in (MIN_SECRET_BYTES, MAX_SECRET_BYTES))
STANDARD_SECRET = rf"^\s*({SECRET_PREFIX})?[A-Za-z0-9+/]{{{LEAST},{MOST}}}={{0,2}}\s*$"


def _secret_by_format() -> Schema:
    return {
        "if": {"required": ["format"], "properties": {"format": {"const": TWELVELABS}}},
        "then": {"properties": {"secret": {"pattern": f"^{SECRET}$|^{SEALED}$"}, "signatures": {"const": [V1]}}},
        "else": {"properties": {"secret": {"pattern": f"{STANDARD_SECRET}|^{SEALED}$"}}},
    }


def _secret_schema() -> Schema:
    return {
        "type": ["string", "null"],
        "default": None,
        "description": f"Signs the deliveries: {SECRET_PREFIX} and the standard base64 of {MIN_SECRET_BYTES} to "
        f"{MAX_SECRET_BYTES} random bytes. Without it the operator's default secret signs; where there is none, the "
        f"endpoint is refused. Beyond this schema: the padding is whole or absent. In the format {TWELVELABS} it is "
        "the text that TwelveLabs reveals. Where the operator has a key for it, the bridge writes it anew as `sealed:` "
        "and a token, as it does with header values.",
    }


def _words_schema() -> Schema:
    word: Schema = {"type": ["string", "number", "boolean", "null"]}
    words: Schema = {"type": "array", "minItems": 1, "maxItems": METADATA_WORDS, "items": word}
    return {
        "maxProperties": METADATA_FIELDS,
        "propertyNames": {"minLength": 1},
        "additionalProperties": {"anyOf": [word, words]},
        "description": "Top-level fields of the tasks' own metadata, each with a value or a list of values of which it "
        "has one. A task without such a field is not taken.",
    }


def _previous_schema() -> Schema:
    until = {"type": "integer", "minimum": 0, "exclusiveMaximum": 10**11, "description": "Unix seconds."}
    fields = {"secret": {"type": "string", "pattern": f"{STANDARD_SECRET}|^{SEALED}$"}, "until": until}
    items = {"type": "object", "required": list(fields), "properties": fields}
    description = "Secrets that another one took over from: each signs beside it until its time."
    return {"type": "array", "default": [], "maxItems": PREVIOUS_SECRETS, "items": items, "description": description}


def _headers_schema() -> Schema:
    own = "|".join(sorted(RESERVED_HEADERS))
    begins = "|".join(RESERVED_PREFIXES)
    return {
        "maxProperties": HEADERS,
        "propertyNames": {"pattern": f"^{HEADER_NAME}$", "not": {"pattern": f"^({own})$|^({begins})"}},
        "additionalProperties": {"type": "string", "pattern": f"^{HEADER_VALUE}$|^{SEALED}$"},
        "description": "Added to each request. Beyond this schema: the bridge's own names are refused in any capitals, "
        "and so is one name in two spellings.",
    }


def _without_title(field: Schema) -> Schema:
    return {name: value for name, value in field.items() if name != "title"}
