"""Replay by range, and the stream of events, by HTTP: a page a request, each in order, and where to go on."""

import json
from typing import Any

import pytest
from apiscene import everything_in
from consolescene import DEAD, DELIVERED, RETRY
from httpx import AsyncClient
from scene import START, Scene

from bridge.formats import rfc3339

STEP = 25_000
"""From one event to the next (ms): by then whoever had claimed a task has let it go."""


async def ended(scene: Scene, endpoint: str = "a") -> list[str]:
    """Five events of two tasks to an endpoint, three of them delivered and two dead; their ids by their commits."""
    await scene.endpoint(endpoint)
    made = []
    for task, status, decision in (("t1", "pending", DELIVERED), ("t2", "pending", DEAD), ("t1", "queued", DELIVERED),
                                   ("t2", "ready", DEAD), ("t1", "indexing", DELIVERED)):  # fmt: skip
        await scene.task(task)
        made.append((await scene.commit(status, member=task, delay_ms=0)).id)
        for delivery in await scene.claim():
            await scene.store.outbox.settle(delivery, decision, "{}")
        scene.clock.advance(STEP)
    return made


async def sent(scene: Scene) -> list[str]:
    """What is due goes out, and is delivered; the ids in their order."""
    found = []
    while claimed := await scene.claim():
        for delivery in claimed:
            found.append(delivery.event_id)
            await scene.store.outbox.settle(delivery, DELIVERED, "{}")
    return found


async def test_what_is_meant_is_owed_again_page_by_page_and_once(scene: Scene, api: AsyncClient) -> None:
    """In the order of the commits; what is delivered between two pages, or made, is not sent a second time."""
    made = await ended(scene)
    body: dict[str, Any] = {"endpoints": ["a"], "limit": 2}
    told, out = [], []
    for _ in range(5):
        answer = await api.post("/api/replay", json=body)
        assert answer.status_code == 202, answer.text
        told.append(answer.json())
        scene.clock.advance(1_000)
        out += await sent(scene)
        if not told[-1]["more"]:
            break
        body = told[-1]["next"]
        await scene.task(f"new{len(told)}")
        await scene.commit("ready", member=f"new{len(told)}", delay_ms=0)
        scene.clock.advance(1_000)
        new = await sent(scene)
        assert len(new) == 1
    assert [sorted(out[:2]), sorted(out[2:4]), out[4:]] == [sorted(made[:2]), sorted(made[2:4]), made[4:]]
    assert [(one["meant"], one["owed"]) for one in told] == [(5, 2), (3, 2), (1, 1)]
    assert told[0]["endpoints"] == [
        {"endpoint": "a", "deliveries": 5, "dead": 2, "delivered": 3, "superseded": 0, "tasks": 2}
    ]
    assert told[-1]["next"] is None


async def test_a_dry_run_counts_and_changes_nothing(scene: Scene, api: AsyncClient) -> None:
    """By endpoint, and by how they ended."""
    await ended(scene)
    before = await everything_in(scene.store)
    told = (await api.post("/api/replay", json={"dead": True, "dry_run": True, "limit": 1})).json()
    assert {name: told[name] for name in ("meant", "owed", "more", "next")} == {
        "meant": 2, "owed": 0, "more": False, "next": None,
    }  # fmt: skip
    assert await everything_in(scene.store) == before


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"dead": True}, [1, 3]),
        ({"tasks": ["t1"]}, [0, 2, 4]),
        ({"types": ["index.task.ready"]}, [3]),
        ({"types": ["index.task.*"], "dead": True}, [1, 3]),
        ({"since": rfc3339(START + 2 * STEP)}, [2, 3, 4]),
        ({"since": rfc3339(START + STEP), "until": rfc3339(START + 2 * STEP)}, [1, 2]),
        ({"since": "75s"}, [2, 3, 4]),
    ],
    ids=str,
)
async def test_what_is_said_bounds_it(scene: Scene, api: AsyncClient, body: dict[str, Any], meant: list[int]) -> None:
    """As the options of the command line do."""
    made = await ended(scene)
    answer = await api.post("/api/replay", json=body)
    assert (answer.status_code, answer.json()["owed"]) == (202, len(meant)), answer.text
    out = await sent(scene)
    assert set(out) == {made[number] for number in meant}
    for numbers in ((0, 2, 4), (1, 3)):  # each task's in their order
        assert [one for one in out if one in [made[n] for n in numbers]] == [made[n] for n in numbers if n in meant]


async def test_a_request_ends_when_its_time_is_up(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Having done something, and with where to go on."""
    made = await ended(scene)
    monkeypatch.setattr("bridge.console.directing.WORK_SECONDS", 0)
    monkeypatch.setattr("bridge.console.directing.BATCH", 2)
    first = (await api.post("/api/replay", json={"endpoints": ["a"]})).json()
    assert (first["owed"], first["more"]) == (2, True)
    assert (await api.post("/api/replay", json=first["next"])).json()["owed"] == 2
    assert set(await sent(scene)) == set(made[:4])


async def test_what_a_request_cannot_look_at_is_refused_with_what_can_be_said(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how many there are, before any is read; narrower it is taken."""
    await ended(scene)
    monkeypatch.setattr("bridge.console.directing.LOOKED_AT", 4)
    before = await everything_in(scene.store)
    refused = await api.post("/api/replay", json={"endpoints": ["a"]})
    assert (refused.status_code, "5 deliveries" in refused.json()["reason"]) == (422, True)
    assert "bridge replay" in refused.json()["fix"]
    assert await everything_in(scene.store) == before
    began = {"since": rfc3339(START), "after": f"{START} 1 evt_0 a"}
    assert (await api.post("/api/replay", json=began | {"dry_run": True})).json()[
        "meant"
    ] == 5  # who goes on may see more
    for body, owed in (({"since": rfc3339(START + STEP)}, 4), ({"dead": False, "tasks": ["t1"]}, 1)):
        assert (await api.post("/api/replay", json=body)).json()["owed"] == owed


async def test_what_cannot_be_sent_is_told(scene: Scene, api: AsyncClient) -> None:
    """Bodies that are gone, endpoints that were removed, tasks that nobody knows; and where nothing fits at all."""
    made = await ended(scene)
    await scene.store.client.hdel(f"bridge:event:{made[1]}", "body")
    told = (await api.post("/api/replay", json={"dead": True, "tasks": ["t2", "nobody"]})).json()
    assert (told["meant"], told["owed"]) == (2, 1)
    assert told["warnings"] == [
        "task nobody is not known here → GET /api/tasks",
        "1 not: their bodies are gone: `PUT /api/tasks/ID` announces a task's present state again",
    ]
    await api.delete("/api/endpoints/a")
    gone = await api.post("/api/replay", json={"endpoints": ["a"]})
    assert (gone.status_code, gone.json()["meant"]) == (200, 0)
    assert "left out, as a was removed" in gone.json()["warnings"][0]
    for body in ({"endpoints": ["nobody"]}, {"tasks": ["nobody"]}):
        assert (await api.post("/api/replay", json=body)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"until": "1h"}, ""),
        ({"since": "1h", "until": "2h"}, "until"),
        ({"since": "soon"}, "since"),
        ({"since": "2"}, "since"),
        ({"until": "soon", "dead": True}, "until"),
        ({"endpoints": "a"}, "endpoints"),
        ({"endpoints": [1]}, "endpoints.0"),
        ({"endpoints": ["a\x00"]}, "endpoints.0"),
        ({"endpoints": ["\ud800"]}, "endpoints.0"),
        ({"tasks": ["t"] * 201}, "tasks"),
        ({"dead": 1}, "dead"),
        ({"dead": True, "limit": 0}, "limit"),
        ({"dead": True, "limit": 10**6}, "limit"),
        ({"dead": True, "after": "x"}, "after"),
        ({"dead": True, "after": "1 2 evt_0"}, "after"),
        ({"dead": True, "rate": 5}, "rate"),
        ({"endpoint": ["a"], "dead": True}, "endpoint"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_what_is_not_understood_sends_nothing(
    scene: Scene, api: AsyncClient, body: dict[str, Any], field: str
) -> None:
    """Least of all everything that is kept."""
    await ended(scene)
    before = await everything_in(scene.store)
    answer = await api.post(
        "/api/replay", content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json().get("field", "")) == (422, field), answer.text
    assert answer.json()["fix"]
    assert await everything_in(scene.store) == before


async def test_events_are_listed_from_a_place_on(scene: Scene, api: AsyncClient) -> None:
    """The latest without one; each is on one page, and the last page says where later ones will be. Without bodies."""
    await scene.endpoint("a")
    empty = (await api.get("/api/events")).json()
    assert empty == {"events": [], "after": "0-0", "more": False}
    made = []
    for status in ("pending", "queued", "indexing", "ready"):
        await scene.task("t1")
        made.append((await scene.commit(status)).id)
    latest = (await api.get("/api/events?limit=2")).json()
    assert ([one["event_id"] for one in latest["events"]], latest["more"]) == (made[2:], False)
    assert set(latest["events"][0]) == {"cursor", "event_id", "type", "task", "revision", "committed_at"}
    found, after = [], empty["after"]
    for more in (True, False):
        page = (await api.get(f"/api/events?limit=2&after={after}")).json()
        found += [one["event_id"] for one in page["events"]]
        after = page["after"]
        assert page["more"] == more
    assert found == made
    nothing = (await api.get(f"/api/events?after={after}")).json()
    assert nothing == {"events": [], "after": after, "more": False}
    assert latest["after"] == after
    await scene.task("t2")
    new = (await scene.commit("ready", member="t2")).id
    assert [one["event_id"] for one in (await api.get(f"/api/events?after={after}")).json()["events"]] == [new]
    since = (await api.get(f"/api/events?after={made[1]}&task=t1&type=index.task.r*")).json()
    assert [one["event_id"] for one in since["events"]] == [made[3]]


async def test_a_page_of_events_looks_at_no_more_than_its_bound(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where few fit, it says that there is more, and from where on."""
    await scene.endpoint("a")
    for number in range(5):
        await scene.task(f"t{number}")
        await scene.commit("ready", member=f"t{number}")
    monkeypatch.setattr("bridge.store.reading.events.PAGE", 2)
    monkeypatch.setattr("bridge.store.reading.events.LOOKED_AT", 2)
    after, told = "0", []
    for _ in range(3):
        page = (await api.get(f"/api/events?after={after}&task=t4")).json()
        told.append(([one["task"] for one in page["events"]], page["more"]))
        after = page["after"]
    assert told == [([], True), ([], True), (["t4"], False)]


@pytest.mark.parametrize(
    ("query", "status"),
    [("after=x", 400), ("after=1-2-3", 400), ("limit=0", 400), ("limit=201", 400), ("after=%00", 400),
     ("after=evt_0", 404), ("after=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 400)],
)  # fmt: skip
async def test_a_place_that_is_none_is_refused(api: AsyncClient, query: str, status: int) -> None:
    """With what to write instead."""
    answer = await api.get(f"/api/events?{query}")
    assert (answer.status_code, bool(answer.json()["fix"])) == (status, True)
    assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" not in answer.text


async def test_a_delivery_that_is_still_owed_is_left_alone(scene: Scene, api: AsyncClient) -> None:
    """Nothing has ended, so nothing is meant."""
    await scene.endpoint("a")
    await scene.task("t1")
    await scene.commit("ready")
    for delivery in await scene.claim():
        await scene.store.outbox.settle(delivery, RETRY, "{}")
    told = await api.post("/api/replay", json={"endpoints": ["a"]})
    assert (told.status_code, told.json()["meant"], told.json()["owed"]) == (200, 0, 0)
