"""Endpoints steered by the API: as the command line does it, once however often it is asked, and no more than a request
may."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from apiscene import DEFINITION, OTHER, SECRET, URL, api_of, everything_in
from consolescene import DEAD, RETRY
from cryptography.fernet import Fernet
from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene import Scene

from bridge.model import DeadReason, Decision
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Receiver
from bridge.sealing import is_sealed
from bridge.signature import verify
from bridge.store import Store
from bridge.store.steering import Steering

EXPIRED = replace(DEAD, reason=DeadReason.EXPIRED)
JSON = {"content-type": "application/json"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that verifies."""
    receiver = Receiver(SECRET)
    with receiver.in_thread():
        yield receiver


async def owed(scene: Scene, many: int, decision: Decision | None = None, *, of: str = "t") -> list[str]:
    """So many events of as many tasks, owed to endpoint a, which is there; settled like this. Their ids."""
    made = []
    for number in range(many):
        await scene.task(f"{of}{number}")
        made.append((await scene.commit("ready", member=f"{of}{number}")).id)
    if decision:
        await settled(scene, decision)
    return made


async def settled(scene: Scene, decision: Decision) -> list[str]:
    """End all that is due like this, each a millisecond after the other; their ids, in the order of their turns."""
    found = []
    while claimed := await scene.claim():
        for delivery in claimed:
            await scene.store.outbox.settle(delivery, decision, "{}")
            found.append(delivery.event_id)
            scene.clock.advance(1)
    return found


def bounded(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """A step takes so many deliveries, and a request has time for one step."""
    monkeypatch.setattr("bridge.store.steering.BATCH", batch)
    monkeypatch.setattr("bridge.console.directing.WORK_SECONDS", 0)


async def followed(api: AsyncClient, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers to an order that is sent until it is through, as each of them says."""
    told: list[dict[str, Any]] = []
    for _ in range(50):
        answer = await api.post(path, json=body)
        assert answer.status_code in {200, 202}, answer.text
        told.append(answer.json())
        if not told[-1]["more"]:
            return told
        body = told[-1].get("next") or body
    raise AssertionError("there is no end")


async def test_a_hold_is_the_same_twice_and_its_reason_is_renewed(scene: Scene, api: AsyncClient) -> None:
    """Without a reason an operator's stands; with another it is another hold. Nothing goes out until it is enabled."""
    await scene.endpoint("a")
    (event,) = await owed(scene, 1)
    first = (await api.post("/api/endpoints/a/disable")).json()
    assert first == {
        "endpoint": "a", "result": "changed", "state": "disabled", "reason": "operator", "was": "active", "pending": 1,
    }  # fmt: skip
    for body, result, reason in (
        ({"reason": "it moves"}, "changed", "it moves"), (None, "unchanged", "it moves"), ({}, "unchanged", "it moves"),
        ({"reason": None}, "unchanged", "it moves"), ({"reason": "it moves"}, "unchanged", "it moves"),
        ({"reason": ""}, "changed", "operator"),
    ):  # fmt: skip
        told = (await api.post("/api/endpoints/a/disable", json=body)).json()
        assert (told["result"], told["reason"], told["was"]) == (result, reason, "disabled"), body
    assert await scene.claim() == []
    assert (await api.get("/api/endpoints/a")).json()["endpoint"]["by"] == "operator"
    enabled = await api.post("/api/endpoints/a/enable")
    assert (enabled.status_code, enabled.json()) == (
        200,
        {"endpoint": "a", "result": "changed", "state": "active", "was": "disabled", "pending": 1, "more": False,
         "warnings": []},
    )  # fmt: skip
    again = (await api.post("/api/endpoints/a/enable")).json()
    assert (again["result"], again["was"]) == ("unchanged", "active")
    assert [one.event_id for one in await scene.claim()] == [event]


async def test_a_reason_is_kept_without_what_it_may_hide(scene: Scene, api: AsyncClient) -> None:
    """Neither a secret nor a URL's query goes from it into Redis, or back."""
    await scene.endpoint("a")
    words = f"see https://example.com/?token=hush-hush \x1b[31m {SECRET}"
    answer = await api.post("/api/endpoints/a/disable", json={"reason": words})
    assert answer.json()["reason"] == "see https://example.com/?… \\x1b[31m whsec_…"
    assert "hush-hush" not in str(await everything_in(scene.store))


async def test_an_enabling_goes_on_where_the_request_before_it_ended(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request does as much as it has time for; held until all is due, it then goes out in order."""
    await scene.endpoint("a")
    made = await owed(scene, 7, RETRY)
    await api.post("/api/endpoints/a/disable")
    bounded(monkeypatch, 2)
    first = await api.post("/api/endpoints/a/enable")
    assert (first.status_code, first.json()["more"], first.json()["state"]) == (202, True, "disabled")
    scene.clock.advance(1_000)
    assert await scene.claim() == []
    rest = await followed(api, "/api/endpoints/a/enable", {})
    assert ([one["state"] for one in rest], rest[-1]["result"]) == (["disabled", "disabled", "active"], "changed")
    assert [one.event_id for one in await scene.claim()] == made


async def test_a_hold_between_two_requests_of_an_enabling_stands(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The enabling that was begun is over; another one begins anew, and comes to its end."""
    await scene.endpoint("a")
    made = await owed(scene, 5, RETRY)
    bounded(monkeypatch, 2)
    await api.post("/api/endpoints/a/disable")
    assert (await api.post("/api/endpoints/a/enable")).json()["more"]
    assert (await api.post("/api/endpoints/a/disable", json={"reason": "no"})).json()["result"] == "changed"
    told = await followed(api, "/api/endpoints/a/enable", {})
    assert (len(told) > 2, told[-1]["state"]) == (True, "active")
    assert [one.event_id for one in await scene.claim()] == made


async def test_what_an_enabling_of_an_earlier_hold_left_is_not_gone_on_with(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint was disabled since by the bridge itself: all that is held now is due, from the first on."""
    await scene.endpoint("a")
    made = await owed(scene, 5, RETRY)
    bounded(monkeypatch, 3)
    await api.post("/api/endpoints/a/disable")
    assert (await api.post("/api/endpoints/a/enable")).json()["more"]
    scene.clock.advance(1_000)
    await scene.store.client.hset("bridge:endpoint:a", "disabled_at", scene.clock.now)
    for number in range(3):
        await scene.store.client.zadd("bridge:queue:a", {made[number]: scene.clock.now + 60_000})
    scene.clock.advance(1_000)
    await followed(api, "/api/endpoints/a/enable", {})
    assert [one.event_id for one in await scene.claim()] == made


async def test_an_enabling_that_the_sweep_came_before_is_begun_anew(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep makes due what an enabling has left, and lets nothing go: that is for whoever asks again."""
    await scene.endpoint("a")
    made = await owed(scene, 5, RETRY)
    bounded(monkeypatch, 2)
    await api.post("/api/endpoints/a/disable")
    assert (await api.post("/api/endpoints/a/enable")).json()["more"]
    await scene.store.scripts.call("mend_endpoint", "a", 32, 1_000)
    assert await scene.claim() == []
    told = await followed(api, "/api/endpoints/a/enable", {})
    assert told[-1]["state"] == "active"
    assert [one.event_id for one in await scene.claim()] == made


async def test_whoever_is_overruled_meanwhile_is_told(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody disables it while it is being enabled: a conflict, and the hold stands."""
    await scene.endpoint("a")
    await owed(scene, 5, RETRY)
    await Steering(scene.store).disable("a")
    monkeypatch.setattr("bridge.store.steering.BATCH", 2)
    call = scene.store.scripts.call

    async def raced(name: str, *given: Any, **more: Any) -> Any:
        reply = await call(name, *given, **more)
        if name == "steer_endpoint" and given[1] == "enable":
            await call("steer_endpoint", "a", "disable", "another", "no", 2)
        return reply

    monkeypatch.setattr(scene.store.scripts, "call", raced)
    answer = await api.post("/api/endpoints/a/enable")
    assert (answer.status_code, "at the same time" in answer.json()["reason"]) == (409, True)
    shown = (await api.get("/api/endpoints/a")).json()["endpoint"]
    assert (shown["state"], shown["reason"]) == ("disabled", "no")


async def test_who_has_to_consent_first_is_asked(scene: Scene, api: AsyncClient) -> None:
    """It stays disabled, and gets no test event either."""
    await api.put("/api/endpoints/a", json=DEFINITION | {"handshake": "required"})
    answer = await api.post("/api/endpoints/a/enable")
    assert (answer.status_code, answer.json()["result"], answer.json()["state"]) == (202, "asked", "disabled")
    refused = await api.post("/api/endpoints/a/test")
    assert (refused.status_code, "consented" in refused.json()["reason"]) == (409, True)
    assert "POST /api/endpoints/a/enable" in refused.json()["fix"]


async def test_dead_letters_come_back_in_order_and_once(scene: Scene, api: AsyncClient) -> None:
    """A dry run changes nothing; what was not asked for is told, and what has no body; at the end it is enabled."""
    await scene.endpoint("a")
    made = await owed(scene, 3, DEAD)
    (expired,) = await owed(scene, 1, EXPIRED, of="late")
    await api.post("/api/endpoints/a/disable")
    await scene.store.client.hdel(f"bridge:event:{made[1]}", "body")
    before = await everything_in(scene.store)
    dry = await api.post("/api/endpoints/a/recover", json={"dry_run": True})
    assert (dry.status_code, dry.json()["dead"], dry.json()["recovered"]) == (200, 3, 0)
    assert await everything_in(scene.store) == before
    told = (await api.post("/api/endpoints/a/recover")).json()
    assert {name: told[name] for name in ("dead", "reasons", "recovered", "lost", "left", "state", "was", "next")} == {
        "dead": 3, "reasons": {"exhausted": 3}, "recovered": 2, "lost": 1, "left": {"expired": 1}, "state": "active",
        "was": "disabled", "next": None,
    }  # fmt: skip
    assert [one.event_id for one in await scene.claim()] == [made[0], made[2]]
    again = (await api.post("/api/endpoints/a/recover")).json()
    assert (again["recovered"], again["lost"]) == (0, 1)
    asked = (await api.post("/api/endpoints/a/recover", json={"reasons": ["expired"], "since": "1h"})).json()
    assert (asked["recovered"], [one.event_id for one in await scene.claim()]) == (1, [expired])


@pytest.mark.parametrize("dry", [True, False])
async def test_a_recovery_goes_on_page_by_page_and_enables_at_the_end(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    """Also past those that are not asked for; each is counted once, and the hold lasts until the last page."""
    await scene.endpoint("a")
    await owed(scene, 5, EXPIRED)
    wanted = await owed(scene, 5, DEAD, of="late")
    await api.post("/api/endpoints/a/disable")
    monkeypatch.setattr("bridge.store.steering.PAGE", 2)
    monkeypatch.setattr("bridge.console.directing.LOOKED_AT", 2)
    told = await followed(api, "/api/endpoints/a/recover", {"dry_run": dry})
    assert sum(one["dead"] for one in told) == 5
    assert sum(one["recovered"] for one in told) == (0 if dry else 5)
    assert {one["state"] for one in told[:-1]} == {"disabled"}
    assert (len(told) > 2, told[-1]["state"]) == (True, "disabled" if dry else "active")
    assert [one.event_id for one in await scene.claim()] == ([] if dry else wanted)


async def test_a_recovery_whose_time_is_up_goes_on(
    scene: Scene, api: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch a request; then the enabling, batch by batch, too."""
    await scene.endpoint("a")
    made = await owed(scene, 5, DEAD)
    await api.post("/api/endpoints/a/disable")
    bounded(monkeypatch, 2)
    told = await followed(api, "/api/endpoints/a/recover", {})
    assert [one["recovered"] for one in told[:4]] == [2, 2, 1, 0]
    assert [one["state"] for one in told] == ["disabled"] * (len(told) - 1) + ["active"]
    assert [one.event_id for one in await scene.claim()] == made


async def test_a_trial_goes_the_way_of_every_delivery(scene: Scene, api: AsyncClient, receiver: Receiver) -> None:
    """Signed, and nothing of it is in Redis; what it may be sent is told, and why what is owed is held all the same."""
    await api.put("/api/endpoints/a", json=DEFINITION | {"url": f"{receiver.url}/hook?key=hidden"})
    await api.post("/api/endpoints/a/disable", json={"reason": "it moves"})
    before = await everything_in(scene.store)
    for body, kind in ((None, "bridge.endpoint.test"), ({"type": "index.task.ready"}, "index.task.ready")):
        answer = await api.post("/api/endpoints/a/test", json=body)
        told = answer.json()
        assert (answer.status_code, told["outcome"], told["status_code"], told["type"]) == (200, "delivered", 204, kind)
        assert told["warnings"] == ["It is disabled (it moves): what is owed is held."]
        assert (told["fix"], told["url"]) == ("POST /api/endpoints/a/enable", f"{receiver.url}/hook?…")
        arrival = receiver.valid[-1]
        assert (arrival.id, arrival.type, arrival.headers["bridge-trigger"]) == (told["event_id"], kind, "test")
        sent_at = float(arrival.headers["webhook-timestamp"])
        assert verify([SECRET], arrival.headers, arrival.body, sent_at) is None
    assert await everything_in(scene.store) == before


async def test_a_trial_that_fails_says_what_to_do(api: AsyncClient, receiver: Receiver) -> None:
    """An answer of the receiver's, without our secrets in it; or why there was none."""
    await api.put("/api/endpoints/a", json=DEFINITION | {"url": receiver.url})
    receiver.always(Response(404, body=f"no {SECRET}".encode()))
    answer = await api.post("/api/endpoints/a/test")
    told = answer.json()
    assert (answer.status_code, told["outcome"], told["status_code"]) == (200, "failed", 404)
    assert "bridge endpoint set a --url URL" in told["fix"]
    assert SECRET not in answer.text
    await api.put("/api/endpoints/b", json=DEFINITION)
    told = (await api.post("/api/endpoints/b/test")).json()
    assert (told["outcome"], told["fault"], told["status_code"]) == ("failed", "connect", None)
    assert told["fix"]


async def test_a_trial_has_its_own_time_beside_that_of_redis(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that does not answer is what the trial finds out, and no fault of Redis."""
    monkeypatch.setattr("bridge.console.api.SECONDS", 0.4)
    receiver.always(Response(204, hang=True))
    async with api_of(store, delivery_deadline_seconds=0.6) as api:
        await api.put("/api/endpoints/a", json=DEFINITION | {"url": receiver.url})
        answer = await api.post("/api/endpoints/a/test")
    assert (answer.status_code, answer.json()["fault"]) == (200, "timeout")


async def test_a_secret_is_rotated_once_however_often_it_is_asked(store: Store, api: AsyncClient) -> None:
    """The old one signs beside it until its time; with no overlap it ends, also when that is asked for afterwards."""
    await api.put("/api/endpoints/a", json=DEFINITION)
    first = await api.post("/api/endpoints/a/rotate", json={"secret": OTHER})
    assert (first.status_code, first.json()["result"], bool(first.json()["old_secret_until_at"])) == (
        200, "changed", True,
    )  # fmt: skip
    stands = json.loads(await store.client.hget("bridge:endpoints", "a") or "")
    assert (stands["secret"], [one["secret"] for one in stands["previous_secrets"]]) == (OTHER, [SECRET])
    again = await api.post("/api/endpoints/a/rotate", json={"secret": OTHER})
    assert again.json() == first.json() | {"result": "unchanged"}
    assert json.loads(await store.client.hget("bridge:endpoints", "a") or "") == stands
    for result in ("changed", "unchanged"):
        ended = await api.post("/api/endpoints/a/rotate", json={"secret": OTHER, "overlap_seconds": 0})
        assert (ended.json()["result"], ended.json()["old_secret_until_at"]) == (result, None)
        assert json.loads(await store.client.hget("bridge:endpoints", "a") or "") == DEFINITION | {"secret": OTHER}
    for answer in (first, again, ended):
        assert not [one for one in (SECRET, OTHER) if one[6:] in answer.text]


async def test_a_rotated_secret_is_sealed_where_there_is_a_key(store: Store) -> None:
    """And the same one is known for the same."""
    async with api_of(store, secrets_key=Fernet.generate_key().decode()) as api:
        await api.put("/api/endpoints/a", json=DEFINITION)
        words = [(await api.post("/api/endpoints/a/rotate", json={"secret": OTHER})).json()["result"] for _ in range(2)]
    assert words == ["changed", "unchanged"]
    assert is_sealed(json.loads(await store.client.hget("bridge:endpoints", "a") or "")["secret"])


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("rotate", {"secret": OTHER, "overlap": 0}, "overlap"),
    ("rotate", {"secret": OTHER, "overlap_seconds": "0"}, "overlap_seconds"),
    ("rotate", {"secret": OTHER, "overlap_seconds": True}, "overlap_seconds"),
    ("rotate", {"secret": OTHER, "overlap_seconds": 10**9}, "overlap_seconds"),
    ("rotate", {"secret": OTHER, "overlap_seconds": -1}, "overlap_seconds"),
    ("rotate", {"secret": f"{SECRET}!"}, "secret"),
    ("rotate", {"secret": "whsec_short"}, "secret"),
    ("rotate", {"secret": "whsec_\ud800"}, "secret"),
    ("rotate", {"secret": [OTHER]}, "secret"),
    ("rotate", {}, "secret"),
    ("rotate", {"secret": OTHER, SECRET: 1}, ""),
    ("disable", {"reason": 5}, "reason"),
    ("disable", {"why": "it moves"}, "why"),
    ("recover", {"since": "yesterday"}, "since"),
    ("recover", {"since": "2026-11-29T10:00:00"}, "since"),
    ("recover", {"since": 7200}, "since"),
    ("recover", {"since": ""}, "since"),
    ("recover", {"reasons": ["body-lost"]}, "reasons.0"),
    ("recover", {"reasons": []}, "reasons"),
    ("recover", {"reasons": "expired"}, "reasons"),
    ("recover", {"dry-run": True}, "dry-run"),
    ("recover", {"dry_run": "true"}, "dry_run"),
    ("test", {"type": "index.task"}, "type"),
    ("test", {"type": "index.task.ready\r\nx: y"}, "type"),
    ("test", {"type": SECRET}, "type"),
]


@pytest.mark.parametrize(("verb", "body", "field"), BAD, ids=str)
async def test_what_is_not_understood_changes_nothing(
    scene: Scene, api: AsyncClient, verb: str, body: dict[str, Any], field: str
) -> None:
    """Refused by its field, a misspelt one above all, with what to do and without the secret that was sent."""
    await scene.endpoint("a", secret=SECRET)
    await owed(scene, 1, DEAD)
    before = await everything_in(scene.store)
    answer = await api.post(f"/api/endpoints/a/{verb}", content=json.dumps(body).encode(), headers=JSON)
    assert (answer.status_code, answer.json().get("field", "")) == (422, field), answer.text
    assert answer.json()["fix"]
    assert not [one for one in (SECRET[6:], OTHER[6:]) if one in answer.text]
    assert await everything_in(scene.store) == before


@pytest.mark.parametrize(
    ("definition", "field", "fix"),
    [
        ({"secret": SECRET, "format": "twelvelabs"}, "overlap_seconds", "“overlap_seconds”: 0"),
        ({}, "overlap_seconds", "“overlap_seconds”: 0"),
        ({"secret": SECRET, "previous_secrets": [{"secret": OTHER, "until": 9_000_000_000}] * 3}, "overlap_seconds",
         "“overlap_seconds”: 0"),
        ({"secret": SECRET, "url": "http://10.0.0.1/x"}, "url", ""),
        ({"secret": SECRET, "previous_secrets": [{"secret": OTHER, "until": "soon"}]}, "previous_secrets.1.until", ""),
    ],
    ids=["one at a time", "the default one", "too many", "refused otherwise", "written badly"],
)  # fmt: skip
async def test_a_rotation_that_cannot_be_is_refused_in_the_words_of_the_body(
    store: Store, scene: Scene, definition: dict[str, Any], field: str, fix: str
) -> None:
    """With the field that is to blame, and nothing of the command line where the body can say it."""
    await scene.endpoint("a", secret=SECRET)
    text = json.dumps({"url": URL} | definition)
    await store.client.hset("bridge:endpoints", "a", text)
    async with api_of(store, delivery_default_secret=SECRET) as api:
        answer = await api.post("/api/endpoints/a/rotate", json={"secret": f"whsec_{'B' * 32}"})
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    assert (fix in answer.json()["fix"], "--" in answer.json()["fix"]) == (True, False)
    assert await store.client.hget("bridge:endpoints", "a") == text.encode()


@pytest.mark.parametrize("verb", ["disable", "enable", "recover", "test", "rotate"])
async def test_what_is_not_there_is_not_found(scene: Scene, api: AsyncClient, verb: str) -> None:
    """Nor what was refused; nor what another one is called with a slash in it; no key comes into being by it."""
    await scene.store.client.hset("bridge:endpoints", "bad", '{"url": "https://10.0.0.1/x"}')
    await scene.intake.run()
    await scene.endpoint("a")
    before = await everything_in(scene.store)
    body = {"secret": OTHER} if verb == "rotate" else None
    for name, statuses in (("nobody", {404}), ("bad", {404}), ("a/b", {405}), ("a%2Fb", {405}), ("%2e%2e", {404, 405}),
                           ("a%0d", {400}), ("", {405})):  # fmt: skip
        answer = await api.post(f"/api/endpoints/{name}/{verb}", json=body)
        assert answer.status_code in statuses, (name, answer.text)
    assert (await api.get(f"/api/endpoints/a/{verb}")).status_code == 404
    assert await everything_in(scene.store) == before


async def test_an_endpoint_may_be_called_like_a_verb(scene: Scene, api: AsyncClient) -> None:
    """As what is in the way of neither; and one that is no client's has its digest for a name."""
    await scene.endpoint("disable")
    await scene.task("t1", callback_url=URL)
    (named,) = [
        one["endpoint"]
        for one in (await api.get("/api/endpoints")).json()["endpoints"]
        if one["endpoint"].startswith("url:")
    ]
    for name in ("disable", named):
        assert (await api.post(f"/api/endpoints/{name}/disable")).json()["state"] == "disabled"
        assert (await api.get(f"/api/endpoints/{name}")).json()["endpoint"]["state"] == "disabled"
        assert (await api.post(f"/api/endpoints/{name}/enable")).json()["state"] == "active"
    answer = await api.post(f"/api/endpoints/{named}/rotate", json={"secret": OTHER})
    assert (answer.status_code, "callback_url" in answer.json()["reason"]) == (422, True)


ANY = (
    st.just("\ud800")
    | st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=9)
    | st.lists(st.text(max_size=5), max_size=2)
)
FIELDS = st.sampled_from(["reason", "since", "reasons", "dry_run", "type", "secret", "overlap_seconds", "endpoints",
                          "tasks", "types", "until", "dead", "limit", "after"])  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(FIELDS | st.text(max_size=5), ANY, max_size=4),
    path=st.sampled_from(["endpoints/a/disable", "endpoints/a/recover", "endpoints/a/rotate", "replay"]),
)
async def test_whatever_json_comes_the_answer_is_one_of_those_described(
    api: AsyncClient, fields: dict[str, Any], path: str
) -> None:
    """Never a fault of ours."""
    answer = await api.post(f"/api/{path}", content=json.dumps(fields).encode(), headers=JSON)
    assert answer.status_code in {200, 202, 404, 422}, (fields, answer.text)
