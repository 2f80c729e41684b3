"""`bridge endpoint test` against a real receiver: what it gets, and what is said of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from owing import DEAD, announce, claim, settle, settle_as, with_store
from redis import Redis

from bridge.guard import Policy
from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Receiver
from bridge.signature import generate_secret, verify
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.tl_signature import verify_any

Bridge = Callable[..., tuple[int, str, str]]
LATER = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000)
SECRET = generate_secret(bytes(range(32)))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that verifies."""
    receiver = Receiver(SECRET)
    with receiver.in_thread():
        yield receiver


@pytest.fixture
def billing(bridge: Bridge, receiver: Receiver) -> None:
    """An endpoint there."""
    words = ("endpoint", "add", "billing", f"{receiver.url}/hook?key=hidden", "--secret-file", "-")
    assert bridge(*words, stdin=SECRET.encode())[0] == 0


def everything(client: "Redis") -> dict[str, Any]:
    """All keys of ours but the clients'."""
    read = {"hash": client.hgetall, "zset": lambda key: client.zrange(key, 0, -1, withscores=True)}
    return {key: read.get(str(client.type(key)), client.type)(key) for key in sorted(map(str, client.keys("bridge:*")))}


def test_a_trial_that_failed_shows_what_there_is(bridge: Bridge) -> None:
    """No line for a status, an answer or a time that never came to be; JSON has each."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    names = [line.partition("  ")[0] for line in bridge("endpoint", "test", "a")[1].splitlines()]
    assert names == ["endpoint", "url", "type", "event id", "outcome", "fault", "detail", "total ms"]
    assert json.loads(bridge("endpoint", "test", "a", "--json")[1])["status_code"] is None


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("event_type", [None, "index.task.ready", "index.task.gone", "index.task.updated"])
def test_a_trial_is_a_delivery_like_any_other(
    bridge: Bridge, client: "Redis", receiver: Receiver, redis_url: str, event_type: str | None
) -> None:
    """Signed, with our headers, in the event's shape; and nothing of it is in Redis, neither before nor after."""
    announce(redis_url, "t1", "ready")
    before = everything(client)
    given = ("--type", event_type) if event_type else ()
    code, out, told = bridge("endpoint", "test", "billing", *given, "--json")
    row = json.loads(out)
    assert (code, row["outcome"], row["status_code"], row["fault"], told) == (0, "delivered", 204, None, "")
    assert row["url"] == f"{receiver.url}/hook?…"
    assert row["total_ms"] > 0
    (arrival,) = receiver.valid
    assert (arrival.id, arrival.type) == (row["event_id"], event_type or "bridge.endpoint.test")
    assert (arrival.headers["bridge-trigger"], arrival.headers["bridge-attempt"]) == ("test", "1")
    assert verify([SECRET], arrival.headers, arrival.body, float(arrival.headers["webhook-timestamp"])) is None
    assert arrival.headers["traceparent"].split("-")[1] == row["event_id"].removeprefix("evt_")
    data = json.loads(arrival.body)["data"]
    assert data["task_id"] == "test" if event_type else data == {"endpoint": "billing"}
    assert everything(client) == before
    assert len(claim(redis_url)) == 1


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(500, body=b"no \x1b[31m"), "look at the receiver's log"),
        (Response(302, (("location", "/x"),)), "bridge endpoint set billing --url http://127.0.0.1:"),
        (
            Response(401),
            "with it, saved as secret.whsec: → bridge endpoint rotate billing --secret-file secret.whsec",
        ),
        (Response(403), "→ bridge verify --secret-file secret.whsec request.txt"),
        (Response(404), "bridge endpoint set billing --url URL"),
        (Response(410), "bridge endpoint set billing --url URL"),
        (Response(reset=True), "closed the connection"),
    ],
)
def test_a_failed_trial_says_what_to_do(
    bridge: Bridge, client: "Redis", receiver: Receiver, answer: Response, said: str
) -> None:
    """Exit code 1; what was answered, its head included; and the endpoint is none the worse for it."""
    receiver.always(answer)
    before = everything(client)
    code, out, told = bridge("endpoint", "test", "billing", "--json")
    row = json.loads(out)
    assert (code, row["outcome"], row["status_code"]) == (1, "failed", None if answer.reset else answer.status)
    assert said in told
    assert said in row["next"]
    assert (row["fault"] == "reset") == answer.reset
    _, shown, told = bridge("endpoint", "test", "billing")
    assert ("\x1b" in shown, said in shown, said in told) == (False, False, True)
    assert (row["total_ms"], row["wait_ms"]) == (round(row["total_ms"], 1), row["wait_ms"] and round(row["wait_ms"], 1))
    assert everything(client) == before


def test_what_is_not_there_or_forbidden_is_a_failed_trial(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens; a name without an address; an address that policy forbids, though it is registered."""
    bridge("endpoint", "add", "closed", "http://127.0.0.1:1/")
    bridge("endpoint", "add", "nowhere", "https://does-not-exist.invalid/")
    for name, fault, said in (("closed", "connect", "start the receiver"), ("nowhere", "dns", "does not resolve")):
        code, out, told = bridge("endpoint", "test", name, "--json")
        assert (code, json.loads(out)["fault"], said in told) == (1, fault, True)
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "")
    code, out, told = bridge("endpoint", "test", "closed", "--json")
    assert (code, json.loads(out)["fault"], "BRIDGE_DELIVERY_ALLOW_NETWORKS" in told) == (1, "blocked", True)
    assert client.hget("bridge:endpoint:closed", "blocked") == "0"


@pytest.mark.usefixtures("billing")
def test_a_trial_of_a_disabled_endpoint_leads_to_its_enabling(bridge: Bridge, receiver: Receiver) -> None:
    """That is what one does before; the reason is said, and the next command."""
    bridge("endpoint", "disable", "billing", "--reason", "moves")
    code, _, told = bridge("endpoint", "test", "billing")
    assert (code, len(receiver.valid)) == (0, 1)
    assert "It is disabled (moves)" in told
    assert "→ bridge endpoint enable billing" in told


@pytest.mark.usefixtures("billing")
def test_a_type_that_the_filter_keeps_away_is_said(bridge: Bridge, receiver: Receiver) -> None:
    """It is sent all the same; a type that no event has is not."""
    bridge("endpoint", "set", "billing", "--events", "index.task.ready")
    assert "Its filter would keep" in bridge("endpoint", "test", "billing", "--type", "index.task.failed")[2]
    assert "Its filter" not in bridge("endpoint", "test", "billing", "--type", "index.task.ready")[2]
    for event_type in ("ready", "index.task.Ready?", "index.task.", "\x07"):
        code, out, told = bridge("endpoint", "test", "billing", "--type", event_type)
        assert (code, "→" in told, "\x07" in out + told) == (2, True, False), event_type
    assert len(receiver.valid) == 2


@pytest.mark.usefixtures("billing")
def test_a_receiver_of_twelvelabs_webhooks_gets_a_trial_that_it_can_read(bridge: Bridge, receiver: Receiver) -> None:
    """There is no word for what is no task's: without a type it is a task that is ready, in that envelope."""
    bridge("endpoint", "set", "billing", "--format", "twelvelabs")
    code, out, _ = bridge("endpoint", "test", "billing", "--json")
    assert (code, json.loads(out)["type"]) == (0, "index.task.ready")
    (arrival,) = receiver.arrivals
    body = json.loads(arrival.body)
    assert (body["type"], body["data"]["id"], body["data"]["status"]) == ("index.task.ready", "test", "ready")
    assert verify_any([SECRET], arrival.headers, arrival.body, float(arrival.headers["webhook-timestamp"])) is None
    assert "tl-signature" in arrival.headers


@pytest.mark.usefixtures("billing")
def test_both_secrets_of_a_rotation_sign_a_trial(bridge: Bridge, receiver: Receiver) -> None:
    """The receiver has the old one still, and verifies."""
    new = json.loads(bridge("endpoint", "rotate", "billing", "--json")[1])["secret"]
    assert bridge("endpoint", "test", "billing")[0] == 0
    (arrival,) = receiver.valid
    assert verify([new], arrival.headers, arrival.body, float(arrival.headers["webhook-timestamp"])) is None
    bridge("endpoint", "rotate", "billing", "--overlap", "0")
    bridge("endpoint", "test", "billing")
    assert len(receiver.valid) == 1


def test_without_a_secret_to_sign_with_nothing_is_sent(
    bridge: Bridge, receiver: Receiver, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is signed with the workers' default secret, which this process has not: said, with what to set."""
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", SECRET)
    client.hset("bridge:endpoints", "a", json.dumps({"url": receiver.url}))
    assert bridge("endpoint", "set", "a", "--ordering", "none")[0] == 0
    assert bridge("endpoint", "test", "a")[0] == 0
    monkeypatch.delenv("BRIDGE_DELIVERY_DEFAULT_SECRET")
    code, _, told = bridge("endpoint", "test", "a")
    assert (code, "set BRIDGE_DELIVERY_DEFAULT_SECRET" in told) == (2, True)
    assert len(receiver.arrivals) == 1


@pytest.mark.usefixtures("billing")
def test_what_only_the_worker_refuses_is_not_called_well(
    bridge: Bridge, client: "Redis", receiver: Receiver, redis_url: str
) -> None:
    """This shell gets through and the worker does not: a trial, an enabling and a recovery lead to doctor, and say so.

    To enable it is done all the same: whoever says it may be about to start the worker anew.
    """
    announce(redis_url, "t1", "ready")
    refused_by_another(redis_url)
    refused = "the running worker's settings refuse it"
    for state in ("active", "disabled"):
        client.hset("bridge:endpoint:billing", mapping={"state": state, "reason": "blocked"})
        code, out, told = bridge("endpoint", "test", "billing", "--json")
        assert (code, json.loads(out)["next"], refused in told) == (0, "bridge doctor", True), state
        assert "→ bridge doctor" in told
        assert "endpoint enable" not in told
    assert len(receiver.valid) == 2
    for verb in ("enable", "recover"):
        client.hset("bridge:endpoint:billing", mapping={"state": "disabled", "reason": "blocked"})
        code, out, told = bridge("endpoint", verb, "billing", "--json")
        assert (code, json.loads(out)["state"], refused in told) == (0, "active", True), verb
    assert bridge("endpoint", "set", "billing", "--ordering", "none")[0] == 0
    for verb in ("test", "enable", "recover"):
        assert refused not in bridge("endpoint", verb, "billing")[2], verb


def refused_by_another(url: str) -> None:
    """A round of intake by a worker that allows nothing which this shell allows."""

    async def work(store: Store) -> None:
        await Intake(store, Policy(), has_default_secret=True).run()

    with_store(url, work)


@pytest.mark.usefixtures("billing")
def test_after_a_mend_the_trial_leads_to_what_waits(bridge: Bridge, receiver: Receiver, redis_url: str) -> None:
    """The commands that it names do what it says: the retry is due, and what is dead comes back."""
    (dead,) = announce(redis_url, "t1", "ready")
    settle(redis_url, replace(DEAD, reason=DeadReason.EXHAUSTED))
    (waits,) = announce(redis_url, "t2", "ready")
    settle(redis_url, LATER)
    assert claim(redis_url) == []
    code, _, told = bridge("endpoint", "test", "billing")
    assert (code, len(receiver.valid)) == (0, 1)
    listing = "bridge delivery ls --endpoint billing --state pending -o ids"
    assert "1 waits, the next in " in told
    assert f" → {listing} | bridge delivery retry -\n" in told
    assert "1 is dead → bridge endpoint recover billing" in told
    ids = bridge(*listing.split()[1:])[1]
    assert bridge("delivery", "retry", "-", stdin=ids.encode())[0] == 0
    assert bridge("endpoint", "recover", "billing")[0] == 0
    assert {one.event_id for one in claim(redis_url)} == {dead, waits}


@pytest.mark.usefixtures("billing")
def test_a_blocked_trial_names_the_setting_that_blocks_it(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheme is no matter of networks."""
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "false")
    code, _, told = bridge("endpoint", "test", "billing")
    assert (code, "set BRIDGE_DELIVERY_ALLOW_HTTP=true here and for the worker, or" in told) == (1, True)
    assert "ALLOW_NETWORKS" not in told


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize(("fault", "is_told"), [("tls", True), ("dns", True), ("blocked", True), ("reset", False)])
def test_a_trial_that_is_taken_where_the_workers_attempts_are_not_says_so(
    bridge: Bridge, redis_url: str, fault: str, is_told: bool
) -> None:
    """An authority, a resolver or an allowance that only this shell has: to try again here would show nothing else."""
    announce(redis_url, "t1", "ready")
    settle_as(redis_url, LATER, json.dumps({"attempt": 1, "at": 1, "fault": fault, "detail": "as it is"}))
    code, _, told = bridge("endpoint", "test", "billing")
    assert code == 0
    words = f"The worker's latest attempt failed by {fault}: as it is, and this one had the settings that are here"
    assert (words in " ".join(told.split())) is is_told
