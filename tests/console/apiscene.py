"""What the API's tests share: a client each of whose answers is held against /openapi.json."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from consolescene import TOKEN
from httpx import ASGITransport, AsyncClient, Response
from jsonschema import Draft202012Validator, FormatChecker

from bridge.console.access import LOOPBACK, Access
from bridge.console.app import Console
from bridge.console.openapi import description
from bridge.settings import Settings, load_settings
from bridge.store import Store

DESCRIBED = description()
BEARER = {"authorization": f"Bearer {TOKEN}"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
URL = "http://127.0.0.1:9/hook"
DEFINITION: dict[str, Any] = {"url": URL, "secret": SECRET}


def api_settings(**more: Any) -> Settings:
    """Settings under which a callback on this machine passes."""
    return load_settings(delivery_allow_networks="127.0.0.0/8", delivery_allow_http=True, **more)


@asynccontextmanager
async def api_of(store: Store, *, token: str = TOKEN, **more: Any) -> AsyncIterator[AsyncClient]:
    """A client of the API over this store, which shows the token unless told otherwise."""
    app = Console(store, api_settings(**more), Access(token, LOOPBACK)).application()
    headers = BEARER if token else {}
    async with AsyncClient(
        transport=ASGITransport(app), base_url="http://127.0.0.1:8790", headers=headers,
        event_hooks={"response": [conforms]},
    ) as client:  # fmt: skip
        yield client


async def everything_in(store: Store) -> dict[str, Any]:
    """All that Redis holds, whatever order a hash or a set has it in."""
    client, found = store.client, dict[str, Any]()
    read: dict[Any, Any] = {
        b"hash": client.hgetall, b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }  # fmt: skip
    for key in await client.keys("bridge:*"):
        found[str(key)] = await read.get(await client.type(key), client.dump)(key)
    return found


async def conforms(answer: Response) -> None:
    """Whether an answer is one that the description has for this verb at this path."""
    await answer.aread()
    method = "get" if answer.request.method == "HEAD" else answer.request.method.lower()
    operation = operation_at(answer.request.url.path, method)
    if operation is None:
        assert answer.headers["content-type"] == "application/problem+json"
        assert_is("Problem", answer)
        return
    assert str(answer.status_code) in operation["responses"], (answer.status_code, answer.text)
    content = operation["responses"][str(answer.status_code)]["content"]
    assert list(content) == [answer.headers["content-type"]]
    (shape,) = content.values()
    if answer.request.method != "HEAD" and "$ref" in shape["schema"]:
        assert_is(shape["schema"]["$ref"].rpartition("/")[2], answer)


def assert_is(name: str, answer: Response) -> None:
    """The body is what the schema of that name describes; a problem says its status, why and what to do."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DESCRIBED["components"]}
    errors = list(Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(answer.json()))
    assert not errors, errors[0]
    if name == "Problem":
        told = answer.json()
        assert told["status"] == answer.status_code
        assert told["reason"] in told["detail"]


def operation_at(path: str, method: str) -> dict[str, Any] | None:
    """What is described for a verb at a path."""
    for template, verbs in DESCRIBED["paths"].items():
        *heads, tail = re.split(r"({\w+})", template)
        names = [head if not head.startswith("{") else "[^/]+" for head in heads]
        if names and names[-1] == "[^/]+" and not tail:
            names[-1] = ".*"
        if method in verbs and re.fullmatch("".join([*names, re.escape(tail)]), path, re.DOTALL):
            found: dict[str, Any] = verbs[method]
            return found
    return None
