"""/openapi.json: the API described (OpenAPI 3.1), made of its operations and of what judges.

`python -m bridge.console.openapi > docs/openapi.json` writes it where it can be read without a server.
"""

import json
import re
import sys
from functools import cache
from typing import Any

from bridge import __version__
from bridge.console.operations import BODY_BYTES, OPERATIONS, Operation
from bridge.console.problem import KIND, TITLES
from bridge.console.shapes import shapes

Part = dict[str, Any]

BEARER = "bearer"
NAMES = {
    "task": "A task's id, or `<kind>:<path>`; its slashes may stand as they are, or as %2F.",
    "name": "An endpoint's name.",
    "event_id": "An event's id, `evt_…`.",
    "endpoint": "The endpoint that it is owed to.",
}
"""What stands in a path."""
DESCRIPTION = (
    "What programs that cannot reach Redis ask of Bridge. Whoever reaches the console may look; who writes sends "
    "`Authorization: Bearer` and the console's token, and no cookie counts here. A write that was answered is in "
    "force, or will be within a second or two; the same one twice is the same as once. Every failure is a problem "
    f"document with a reason and a fix. Bodies are JSON of at most {BODY_BYTES} bytes in which no name is there twice."
)


def description() -> Part:
    """The whole of it."""
    paths: dict[str, Part] = {}
    for operation in OPERATIONS:
        paths.setdefault(f"/api{operation.path}", {})[operation.method.lower()] = _operation(operation)
    paths["/openapi.json"] = {"get": _itself()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bridge",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": shapes(),
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "BRIDGE_CONSOLE_TOKEN, where the console was started with --allow-writes.",
                }
            },
        },
    }


def _operation(operation: Operation) -> Part:
    made: Part = {"operationId": operation.id, "summary": operation.summary, "security": []}
    if operation.description:
        made["description"] = operation.description
    if operation.writes:
        made["security"] = [{BEARER: []}]
    names = [
        {"name": name, "in": "path", "required": True, "description": NAMES[name], "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    query = [
        {"name": one.name, "in": "query", "description": one.description, "schema": one.schema}
        for one in operation.query
    ]
    if names or query:
        made["parameters"] = [*names, *query]
    if operation.takes:
        made["requestBody"] = {"required": operation.needs_body, "content": _json(operation.takes)}
    answers = {str(status): _answer("As asked.", name) for status, name in operation.answers.items()}
    problems = {str(status): _answer(TITLES[status], "Problem", KIND) for status in operation.failures}
    return made | {"responses": answers | problems}


def _itself() -> Part:
    answer = {"description": "This.", "content": {"application/json": {"schema": {"type": "object"}}}}
    responses = {"200": answer, "421": _answer(TITLES[421], "Problem", KIND)}
    return {"operationId": "openapi", "summary": "This description", "security": [], "responses": responses}


def _answer(description: str, schema: str, kind: str = "application/json") -> Part:
    return {"description": description, "content": _json(schema, kind)}


def _json(schema: str, kind: str = "application/json") -> Part:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


@cache
def render() -> str:
    """As it stands in docs/openapi.json, and as it is served: made once, as making it takes longer than sending it."""
    return json.dumps(description(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
