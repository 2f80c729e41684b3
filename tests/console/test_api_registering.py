"""What the API writes: the same keys as a client's, once however often it is asked, and no secret shown."""

import json
from typing import Any

import pytest
from apiscene import DEFINITION, OTHER, SECRET, URL, api_of, api_settings
from consolescene import something_of_everything
from cryptography.fernet import Fernet
from httpx import AsyncClient
from scene import Scene

from bridge.keypair import PrivateKey
from bridge.sealing import is_sealed
from bridge.store import Store
from bridge.store.steering import Steering


async def written(store: Store, name: str = "a") -> dict[str, Any]:
    """A definition as it stands in Redis."""
    found: dict[str, Any] = json.loads(await store.client.hget("bridge:endpoints", name) or "null")
    return found


async def test_an_endpoint_is_in_force_when_it_is_answered(store: Store, api: AsyncClient) -> None:
    """Made, read, and gone again; a second time there is nothing to take back."""
    made = await api.put("/api/endpoints/a", json=DEFINITION | {"events": ["index.task.ready"], "x-mine": 1})
    assert (made.status_code, made.json()) == (
        201, {"endpoint": "a", "result": "added", "url": URL, "warnings": []},
    )  # fmt: skip
    shown = (await api.get("/api/endpoints/a")).json()["endpoint"]
    assert (shown["state"], shown["events"], shown["secret"]) == ("active", ["index.task.ready"], "whsec_…")
    assert (await written(store))["x-mine"] == 1
    assert (await api.delete("/api/endpoints/a")).json() == {"endpoint": "a", "result": "removed", "cancelled": 0}
    again = await api.delete("/api/endpoints/a")
    assert (again.status_code, again.json()["reason"]) == (404, "there is no endpoint “a”")


async def test_the_same_endpoint_twice_is_the_same_as_once(scene: Scene, api: AsyncClient) -> None:
    """Nothing is written the second time: one that was disabled stays so. Written otherwise, it is active."""
    assert (await api.put("/api/endpoints/a", json=DEFINITION)).status_code == 201
    await scene.store.client.hset("bridge:endpoint:a", mapping={"state": "disabled", "reason": "failing"})
    before = await scene.store.client.hgetall("bridge:endpoint:a")
    for body in (DEFINITION, {"url": URL}, DEFINITION | {"ordering": "first-attempt"}):
        again = await api.put("/api/endpoints/a", json=body)
        assert (again.status_code, again.json()["result"]) == (200, "unchanged")
    assert await scene.store.client.hgetall("bridge:endpoint:a") == before
    changed = await api.put("/api/endpoints/a", json={"url": f"{URL}/2"})
    assert (changed.status_code, changed.json()["result"]) == (200, "changed")
    assert (await api.get("/api/endpoints/a")).json()["endpoint"]["state"] == "active"


async def test_an_endpoint_is_written_anew_as_a_whole_but_for_its_secret(store: Store) -> None:
    """A secret is kept, changed where one is given, and dropped for the default one by null."""
    async with api_of(store, delivery_default_secret=OTHER) as api:
        await api.put("/api/endpoints/a", json=DEFINITION | {"rate": "10/s", "headers": {"x-a": "b"}})
        await api.put("/api/endpoints/a", json={"url": URL})
        assert await written(store) == DEFINITION
        await api.put("/api/endpoints/a", json={"url": URL, "secret": OTHER})
        assert (await written(store))["secret"] == OTHER
        await api.put("/api/endpoints/a", json={"url": URL, "secret": None})
        assert (await written(store))["secret"] is None


async def test_an_endpoint_may_ask_for_v1a_where_there_is_a_key(store: Store) -> None:
    """As by the command line: with a key it is in force, and needs no secret; without one the fix makes a key."""
    body = {"url": URL, "signatures": ["v1a"]}
    async with api_of(store, signing_key=PrivateKey(bytes(32)).text) as api:
        made = await api.put("/api/endpoints/a", json=body)
        assert (made.status_code, made.json()["result"]) == (201, "added"), made.text
        assert (await api.get("/api/endpoints/a")).json()["endpoint"]["signatures"] == ["v1a"]
    async with api_of(store) as api:
        refused = await api.put("/api/endpoints/b", json=body)
        assert (refused.status_code, refused.json()["field"]) == (422, "signatures")
        assert "bridge key new" in refused.json()["fix"]


async def test_a_hold_of_an_operator_outlives_it_and_is_told(scene: Scene, api: AsyncClient) -> None:
    """With the command that ends it."""
    await api.put("/api/endpoints/a", json=DEFINITION)
    await Steering(scene.store).disable("a", "maintenance")
    answer = await api.put("/api/endpoints/a", json=DEFINITION | {"rate": "1/s"})
    assert answer.json()["warnings"] == ["a is disabled still (maintenance) → POST /api/endpoints/a/enable"]


async def test_secrets_are_sealed_where_there_is_a_key(store: Store) -> None:
    """And sealed or not, the same definition is the same."""
    async with api_of(store, secrets_key=Fernet.generate_key().decode()) as api:
        body = DEFINITION | {"headers": {"authorization": "Bearer hush-hush"}}
        assert (await api.put("/api/endpoints/a", json=body)).status_code == 201
        assert is_sealed((await written(store))["secret"])
        assert (await api.put("/api/endpoints/a", json=body)).json()["result"] == "unchanged"


async def test_a_secret_is_taken_and_never_shown(scene: Scene) -> None:
    """By no operation, right or wrong: neither what signs nor what a header or a URL holds."""
    hidden = ("hush-hush", "tok-tok-tok", "pass-word", SECRET[6:])
    body = DEFINITION | {"url": f"{URL}?key=tok-tok-tok", "headers": {"authorization": "Bearer hush-hush"}}
    async with api_of(scene.store) as api:
        bad: list[dict[str, Any]] = [
            {"headers": {"authorization": "Bearer hush-hush\n"}}, {"url": "http://u:pass-word@10.0.0.1/"},
            {"secret": [SECRET]}, {"events": [SECRET]}, {SECRET: 1}, {"url": SECRET}, {"metadata": {"a": SECRET}},
            {"previous_secrets": [{"secret": SECRET, "until": "x"}]},
        ]  # fmt: skip
        answers = [await api.put("/api/endpoints/a", json=body) for _ in range(2)]
        refused = [await api.put("/api/endpoints/a", json=body | one) for one in bad]
        refused.append(await api.put(f"/api/endpoints/{SECRET}", json=body))
        refused.append(await api.put("/api/tasks/t1", json={"callback_url": f"{URL}?key=tok-tok-tok"}))
        refused.append(await api.put("/api/tasks/t1", json={"metadata": SECRET}))
        refused.append(await api.put(f"/api/tasks/{SECRET}"))
        assert {answer.status_code for answer in refused} == {422}
        shown = ("endpoints", "endpoints/a", "status", "rejected")
        answers += [await api.get(f"/api/{path}") for path in shown]
        answers += [await api.delete("/api/endpoints/a"), await api.delete(f"/api/tasks/{SECRET}")]
    assert {answer.status_code for answer in answers} == {200, 201, 404}
    for answer in (*answers, *refused):
        assert not [word for word in hidden if word in answer.text], answer.text


async def test_a_task_is_registered_as_by_any_client(scene: Scene, api: AsyncClient) -> None:
    """With its options; intake takes it in, and it is watched."""
    await api.put("/api/endpoints/a", json=DEFINITION)
    made = await api.put("/api/tasks/t1", json={"metadata": {"order": 42}, "endpoints": ["a", "b"]})
    assert (made.status_code, made.json()["result"]) == (201, "added")
    assert "there is no endpoint “b” yet → PUT /api/endpoints/b" in made.json()["warnings"]
    await scene.intake.run()
    shown = (await api.get("/api/tasks/t1")).json()
    assert (shown["state"], shown["options"]["metadata"], shown["options"]["endpoints"]) == (
        "watched", {"order": 42}, ["a", "b"],
    )  # fmt: skip


async def test_the_same_task_twice_is_the_same_as_once(scene: Scene, api: AsyncClient) -> None:
    """A registered one is not asked for again, keeps its options without any, and others replace them as a whole."""
    options = {"metadata": {"order": 42, "name": "é"}, "expires_at": 1_900_000_000}
    await api.put("/api/tasks/t1", json=options)
    await scene.intake.run()
    for body in (options, {}, None):
        answer = await api.put("/api/tasks/t1", json=body)
        assert (answer.status_code, answer.json()["result"]) == (200, "unchanged")
    assert await scene.store.client.zscore("bridge:tasks", "t1") == float("inf")
    changed = await api.put("/api/tasks/t1", json={"metadata": {"order": 43}})
    assert (changed.status_code, changed.json()["result"]) == (200, "changed")
    assert await scene.store.client.zscore("bridge:tasks", "t1") == 0
    assert await scene.store.client.hgetall("bridge:task:t1") == {b"metadata": b'{"order":43}'}


async def test_a_task_with_slashes_has_one_name_however_they_are_written(scene: Scene, api: AsyncClient) -> None:
    """As they are, or as %2F."""
    assert (await api.put("/api/tasks/asset:i/x")).status_code == 201
    assert (await api.put("/api/tasks/asset:i%2Fx")).status_code == 200
    assert await scene.store.client.zrange("bridge:tasks", 0, -1) == [b"asset:i/x"]
    assert (await api.delete("/api/tasks/asset%3Ai%2Fx")).json() == {"task": "asset:i/x", "result": "removed"}


async def test_a_task_is_read_at_once_if_it_is_registered(scene: Scene, api: AsyncClient) -> None:
    """Else it says how it becomes so."""
    await scene.task("t1")
    assert (await api.post("/api/tasks/t1")).status_code == 202
    assert await scene.store.client.zscore("bridge:tasks", "t1") == 0
    answer = await api.post("/api/tasks/t2")
    assert (answer.status_code, answer.json()["fix"]) == (404, "PUT /api/tasks/t2")


@pytest.mark.parametrize(("path", "kind"), [("/api/tasks/..%2Fx", "task"), ("/api/endpoints/bad", "endpoint")])
async def test_a_complaint_is_forgotten(scene: Scene, api: AsyncClient, path: str, kind: str) -> None:
    """Of what a client wrote badly by hand."""
    await scene.store.client.zadd("bridge:tasks", {"../x": 0})
    await scene.store.client.hset("bridge:endpoints", "bad", "{}")
    await scene.intake.run()
    answer = await api.delete(path)
    assert (answer.status_code, answer.json()["result"]) == (200, "forgotten")
    left = [one["name"] for one in (await api.get("/api/rejected")).json()["rejected"]]
    assert [one.partition(":")[0] for one in left] == [{"task": "endpoint", "endpoint": "task"}[kind]]


async def test_a_delivery_is_sent_again_by_force_alone_once_it_was_delivered(scene: Scene, api: AsyncClient) -> None:
    """What is missing, or was delivered, says so."""
    made = await something_of_everything(scene)
    assert (await api.post(f"/api/deliveries/{made['dead']}/a")).json()["result"] == "owed again"
    refused = await api.post(f"/api/deliveries/{made['delivered']}/a")
    assert (refused.status_code, refused.json()["reason"]) == (409, "it was delivered already, and is left alone")
    assert (await api.post(f"/api/deliveries/{made['delivered']}/a?force=true")).status_code == 202
    assert (await api.post("/api/deliveries/evt_0/a")).status_code == 404


async def test_a_change_that_somebody_else_made_meanwhile_is_not_lost(
    store: Store, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret rotated between reading and writing: it is read again, and kept."""
    await api.put("/api/endpoints/a", json=DEFINITION)
    first = Steering.rewrite
    raced: list[str] = []

    async def rewrite(self: Steering, name: str, before: str, after: str) -> bool:
        if not raced:
            raced.append(name)
            await store.client.hset("bridge:endpoints", "a", json.dumps(DEFINITION | {"secret": OTHER}))
        return await first(self, name, before, after)

    monkeypatch.setattr(Steering, "rewrite", rewrite)
    assert (await api.put("/api/endpoints/a", json={"url": URL, "rate": "1/s"})).status_code == 200
    assert await written(store) == {"url": URL, "rate": "1/s", "secret": OTHER}


def test_the_settings_of_these_tests_admit_what_they_register() -> None:
    """So that what is refused is refused for what it is."""
    assert api_settings().policy.judge_url(URL).allowed
