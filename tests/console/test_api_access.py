"""Who may write by the API: nobody without the token, whatever else is sent along."""

import json
from typing import Any

import pytest
from apiscene import BEARER, DEFINITION, OTHER, api_of, everything_in
from consolescene import TOKEN, something_of_everything
from httpx import AsyncClient
from scene import Scene

from bridge.console.access import COOKIE, CSRF_HEADER, Access
from bridge.console.operations import OPERATIONS
from bridge.store import Store

ACCESS = Access(TOKEN)
WRITES = [(one.method, one.path) for one in OPERATIONS if one.writes]
BODIES: dict[str, Any] = {
    "/endpoints/{name}": DEFINITION,
    "/tasks/{task}": {"metadata": 1},
    "/endpoints/{name}/rotate": {"secret": OTHER, "overlap_seconds": 0},
    "/replay": {"tasks": ["t1"]},
}
BROWSER = {"cookie": f"{COOKIE}={ACCESS.derived('cookie')}", CSRF_HEADER: ACCESS.derived("csrf")}
"""What a browser sends that was unlocked."""


def filled(path: str, event_id: str) -> str:
    """A path of something that is there."""
    return "/api" + path.format(task="t1", name="a", event_id=event_id, endpoint="a")


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong-wrong-wrong"}, {"authorization": "Bearer "}, {"authorization": TOKEN},
     {"authorization": f"Basic {TOKEN}"}, {"authorization": f"Bearer {TOKEN}x"}, BROWSER,
     {"authorization": "Bearer é"}, {"x-token": TOKEN}],
    ids=["nothing", "wrong", "empty", "no scheme", "basic", "longer", "cookie and header", "latin", "elsewhere"],
)  # fmt: skip
async def test_without_the_token_no_write_passes(scene: Scene, headers: dict[str, str]) -> None:
    """By no operation. What a browser was unlocked with does not count: it is sent unasked."""
    made = await something_of_everything(scene)
    before = await everything_in(scene.store)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with api_of(scene.store) as client:
        del client.headers["authorization"]
        for method, path in WRITES:
            answer = await client.request(method, filled(path, made["dead"]), json=BODIES.get(path), headers=raw)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="bridge"'), path
            assert "BRIDGE_CONSOLE_TOKEN" in answer.json()["fix"]
    assert await everything_in(scene.store) == before


async def test_a_console_that_only_looks_writes_for_nobody(scene: Scene) -> None:
    """Nor for who guesses that its token is empty; it says how it is started."""
    made = await something_of_everything(scene)
    before = await everything_in(scene.store)
    async with api_of(scene.store, token="") as client:
        for given in ({}, {"authorization": "Bearer "}, BEARER):
            for method, path in WRITES:
                answer = await client.request(method, filled(path, made["dead"]), json=BODIES.get(path), headers=given)
                assert (answer.status_code, "--allow-writes" in answer.json()["fix"]) == (403, True), path
        assert (await client.get("/api/status")).status_code == 200
    assert await everything_in(scene.store) == before


async def test_with_the_token_each_of_them_writes(scene: Scene, api: AsyncClient) -> None:
    """So that what is refused above is refused for its token."""
    made = await something_of_everything(scene)
    assert len(WRITES) == 12
    for method, path in sorted(WRITES, key=lambda pair: pair[0] == "DELETE"):
        before = await everything_in(scene.store)
        answer = await api.request(method, filled(path, made["dead"]), json=BODIES.get(path))
        assert answer.status_code < 300, answer.text
        # a test event goes to the receiver, and changes nothing here
        assert (await everything_in(scene.store) == before) == path.endswith("/test"), (method, path)


async def test_the_scheme_is_read_in_any_capitals(store: Store) -> None:
    """As RFC 9110 has it."""
    async with api_of(store) as client:
        answer = await client.put("/api/tasks/t1", headers={"authorization": f"bEaReR  {TOKEN}"})
        assert answer.status_code == 201


async def test_looking_writes_nothing(scene: Scene, api: AsyncClient) -> None:
    """Whoever looks leaves Redis as it was."""
    made = await something_of_everything(scene)
    before = await everything_in(scene.store)
    for one in OPERATIONS:
        if not one.writes:
            assert (await api.get(filled(one.path, made["dead"]))).status_code == 200
    assert await everything_in(scene.store) == before


async def test_the_token_is_in_no_answer(scene: Scene, api: AsyncClient) -> None:
    """Not even where it was sent in a wrong place."""
    await something_of_everything(scene)
    for answer in (
        await api.get("/api/status"),
        await api.get("/openapi.json"),
        await api.put("/api/endpoints/a", json={"url": f"http://10.0.0.1/?{TOKEN}"}),
        await api.get("/api/tasks", params={"state": "x"}),
    ):
        assert TOKEN not in json.dumps(answer.json())
