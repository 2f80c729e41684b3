"""/openapi.json: valid, made anew, and true of every route."""

import json
from pathlib import Path
from typing import Any

import pytest
from apiscene import DEFINITION, DESCRIBED, OTHER, SECRET, URL, api_of
from consolescene import TOKEN, something_of_everything
from httpx import AsyncClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from scene import Scene
from starlette.routing import Mount, Route

from bridge.console.access import Access
from bridge.console.app import Console
from bridge.console.openapi import render
from bridge.keyset import PUBLISHED_AT
from bridge.model import OPTIONS
from bridge.schemas import SCHEMAS
from bridge.settings import load_settings
from bridge.store import Store

ROOT = Path(__file__).parents[2]
PAGES = {"/", "/tasks", "/tasks/{task}", "/endpoints", "/endpoints/{name}", "/deliveries",
         "/deliveries/{event_id}/{endpoint}", "/dead", "/rejected", "/unlock", "/deliveries/replay",
         PUBLISHED_AT}  # fmt: skip
"""What is for browsers; and the keys, whose form is RFC 7517's and not ours to describe."""
VERBS = [(path, method) for path, verbs in DESCRIBED["paths"].items() for method in verbs]


def test_it_is_valid_and_the_file_is_made_anew() -> None:
    """By another's judgement. Anew: `python -m bridge.console.openapi > docs/openapi.json`."""
    OpenAPIV31SpecValidator(json.loads(render())).validate()
    assert (ROOT / "docs/openapi.json").read_text() == render()


async def test_every_route_is_a_page_or_is_described(store: Store) -> None:
    """And nothing is described that is no route."""
    app = Console(store, load_settings(), Access(TOKEN)).application()
    found, pages = set(), set()
    for route in app.routes:
        if isinstance(route, Mount) and route.path == "/api":
            inner = [one for one in route.routes if isinstance(one, Route)]
            found |= {(f"/api{plain(one.path)}", verb.lower()) for one in inner for verb in one.methods or ()}
        elif isinstance(route, Route) and route.path == "/openapi.json":
            found |= {(route.path, verb.lower()) for verb in route.methods or ()}
        elif isinstance(route, Route):
            pages.add(plain(route.path))
    assert {pair for pair in found if pair[1] != "head"} == set(VERBS)
    assert pages == PAGES


def plain(path: str) -> str:
    """A path without Starlette's converters."""
    return path.replace(":path}", "}")


async def test_it_is_served_as_it_is_made(api: AsyncClient) -> None:
    """Without a token, too."""
    assert (await api.get("/openapi.json")).json() == DESCRIBED


def calls(made: dict[str, str]) -> dict[tuple[str, str], tuple[str, Any]]:
    """For every operation a path and a body with which it succeeds, in an order in which they all do."""
    dead = f"/api/deliveries/{made['dead']}/a"
    return {
        ("/openapi.json", "get"): ("/openapi.json", None),
        ("/api/status", "get"): ("/api/status", None),
        ("/api/tasks", "get"): ("/api/tasks?state=watched&limit=1", None),
        ("/api/tasks/{task}", "get"): ("/api/tasks/t1", None),
        ("/api/tasks/{task}", "put"): ("/api/tasks/asset:i%2Fx", {"metadata": {"order": 42}}),
        ("/api/tasks/{task}", "post"): ("/api/tasks/t1", None),
        ("/api/tasks/{task}", "delete"): ("/api/tasks/t1", None),
        ("/api/endpoints", "get"): ("/api/endpoints", None),
        ("/api/endpoints/{name}", "get"): ("/api/endpoints/a", None),
        ("/api/endpoints/{name}", "put"): ("/api/endpoints/new", DEFINITION),
        ("/api/endpoints/{name}/disable", "post"): ("/api/endpoints/a/disable", {"reason": "it moves"}),
        ("/api/endpoints/{name}/enable", "post"): ("/api/endpoints/a/enable", None),
        ("/api/endpoints/{name}/recover", "post"): ("/api/endpoints/a/recover", {"since": "1d", "dry_run": True}),
        ("/api/endpoints/{name}/test", "post"): ("/api/endpoints/new/test", None),
        ("/api/endpoints/{name}/rotate", "post"): ("/api/endpoints/new/rotate", {"secret": OTHER}),
        ("/api/replay", "post"): ("/api/replay", {"dead": True, "dry_run": True}),
        ("/api/events", "get"): ("/api/events?type=index.task.*&limit=2", None),
        ("/api/deliveries", "get"): ("/api/deliveries?state=dead", None),
        ("/api/deliveries/{event_id}/{endpoint}", "get"): (dead, None),
        ("/api/deliveries/{event_id}/{endpoint}", "post"): (dead, None),
        ("/api/endpoints/{name}", "delete"): ("/api/endpoints/b", None),
        ("/api/rejected", "get"): ("/api/rejected", None),
    }


async def test_every_operation_answers_as_described(scene: Scene, api: AsyncClient) -> None:
    """With something of everything there: its status and its shape are among those described."""
    made = calls(await something_of_everything(scene))
    assert made.keys() == set(VERBS)
    for (_, method), (path, body) in made.items():
        answer = await api.request(method, path, json=body)
        assert answer.status_code in {200, 201, 202}, (method, path, answer.text)
        assert (await api.request("HEAD", path)).status_code in {200, 404, 405} if method == "get" else True


async def test_every_operation_fails_as_described(scene: Scene, api: AsyncClient) -> None:
    """A Redis in which every key is of a wrong type: a problem document, with a reason and a fix, and no traceback."""
    made = calls(await something_of_everything(scene))
    for key in await scene.store.client.keys("bridge:*"):
        await scene.store.client.delete(key)
        await scene.store.client.geoadd(key, (1.0, 1.0, "x"))
        await scene.store.client.set(key, "x")
    for (_, method), (path, body) in made.items():
        answer = await api.request(method, path, json=body)
        if path != "/openapi.json":
            assert answer.status_code >= 400, (method, path, answer.text)
            assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/tasks/t1/", "/api/rejected/x", "/api//"])
async def test_what_is_not_there_is_a_problem_too(api: AsyncClient, path: str) -> None:
    """As is a verb that no operation has, with those that there are."""
    answer = await api.get(path)
    assert answer.status_code == 404, answer.text
    answer = await api.patch("/api/tasks/t1", json={})
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (
        405,
        {"DELETE", "GET", "HEAD", "POST", "PUT"},
    )


async def test_by_another_name_it_is_not_there(api: AsyncClient) -> None:
    """A page elsewhere whose name was made to lead here reads nothing."""
    for path in ("/api/status", "/openapi.json"):
        answer = await api.get(path, headers={"host": "evil.example"})
        assert (answer.status_code, answer.json()["status"]) == (421, 421)


def test_a_definition_is_described_as_the_contract_has_it() -> None:
    """No second hand keeps it: the schema of docs/contract, and for a task all of its options."""
    schemas = DESCRIBED["components"]["schemas"]
    ours = SCHEMAS["endpoint"]()
    assert schemas["EndpointDefinition"] == {name: part for name, part in ours.items() if name != "$schema"}
    assert set(schemas["TaskOptions"]["properties"]) == set(OPTIONS)


@pytest.mark.parametrize(
    "options",
    [{}, {"metadata": {"order": 42}}, {"metadata": [1]}, {"metadata": None}, {"metadata": '{"order": 42}'},
     {"endpoints": ["a", "b"]}, {"endpoints": "a, b"}, {"endpoints": None}, {"callback_url": URL},
     {"callback_url": None}, {"expires_at": 1_900_000_000}, {"expires_at": 1.5}, {"expires_at": "1900000000"},
     {"account": "default"}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, {"traceparent": None},
     {"x-mine": {"a": 1}}, {"unknown": None}],
    ids=str,
)  # fmt: skip
async def test_options_that_are_taken_are_described(store: Store, options: dict[str, Any]) -> None:
    """Whatever form of an option is taken, a program made from the description may send."""
    async with api_of(store, delivery_default_secret=SECRET) as api:
        answer = await api.put("/api/tasks/t1", json=options)
    assert answer.status_code == 201, answer.text
    Draft202012Validator(DESCRIBED["components"]["schemas"]["TaskOptions"]).validate(options)
