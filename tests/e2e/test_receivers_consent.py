"""`python worker.py` and a receiver that is to consent first; and what the command line says meanwhile."""

import json
from collections.abc import Callable

import pytest
from owing import with_store
from redis import Redis
from until import until

from benchmarks.stage import start_worker
from bridge.consent import Consent, Word, consenting
from bridge.sandbox.message import Request, Response
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import generate_secret
from bridge.store import Store

Bridge = Callable[..., tuple[int, str, str]]
Settle = Callable[[Consent], None]
URL = "http://127.0.0.1:9/hook"
SECRET = generate_secret(bytes(range(32)))
SETTINGS = {"TWELVELABS_API_KEY": "tlk_sandbox", "BRIDGE_DELIVERY_ORIGIN": "bridge.example.com"}


@pytest.fixture
def settle(redis_url: str) -> Settle:
    """What a worker would keep, of an answer that it got now."""

    def keep(consent: Consent) -> None:
        async def work(store: Store) -> None:
            (one,) = (await store.handshakes.claim(4, lease_ms=1_000)).unconfirmed
            assert await store.handshakes.settle(one, consenting(URL), consent) == "ok"

        with_store(redis_url, work)

    return keep


def granted(request: Request) -> Response:
    """Consent, to whoever asks."""
    return Response(204, (("WebHook-Allowed-Origin", request.headers["webhook-request-origin"]),))


@pytest.mark.slow
def test_a_worker_asks_and_then_delivers() -> None:
    """Registered by HSET alone; a receiver that refuses gets nothing, until it is registered anew and consents."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    receiver.consent = lambda _: Response(404)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        member = simulator.add_task(timeline=a_timeline(indexing=0.1), age_seconds=60)
        worker = start_worker(redis.url, simulator.base_url, SETTINGS)
        try:
            with Redis.from_url(redis.url, decode_responses=True) as client:
                hook = {
                    **{"url": f"{receiver.url}/hook", "secret": SECRET},
                    **{"format": "cloudevents-binary", "handshake": "required"},
                }
                client.hset("bridge:endpoints", "broker", json.dumps(hook))
                client.zadd("bridge:tasks", {member: 0}, nx=True)
                until(lambda: client.hget("bridge:endpoint:broker", "reason") == "refused")
                until(lambda: client.zscore("bridge:tasks", member) is None)
                assert not receiver.arrivals
                receiver.consent = granted
                client.hset("bridge:endpoints", "broker", json.dumps(hook | {"x-written": "again"}))
            inside.run(receiver.wait_for(lambda seen: any(a.type.endswith("ready") for a in seen.valid), 20), 25)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
        assert not receiver.invalid
        assert not receiver.out_of_order
        assert {a.headers["webhook-request-origin"] for a in receiver.arrivals} == {"bridge.example.com"}
        assert {question.method for question in receiver.asked} == {"OPTIONS"}


def test_the_command_line_says_what_it_waits_for(bridge: Bridge, settle: Settle) -> None:
    """Registered, refused, enabled: each time why nothing is sent, and the next command."""
    code, _, told = bridge("endpoint", "add", "a", URL, "--format", "cloudevents", "--handshake", "required")
    assert (code, "gets nothing before its receiver has consented" in told) == (0, True)
    shown = json.loads(bridge("endpoint", "show", "a", "--json")[1])
    assert (shown["handshake"], shown["consented"]) == ("required", False)
    assert (shown["state"], shown["reason"]) == ("disabled", "unanswered")
    code, _, told = bridge("endpoint", "test", "a")
    assert (code, "bridge endpoint enable a" in told) == (1, True)
    settle(Consent(Word.REFUSED, fault="refused", detail="OPTIONS was answered HTTP 404"))
    assert "disabled (refused)" in bridge("endpoint", "ls")[1]
    assert "OPTIONS was answered HTTP 404" in bridge("endpoint", "show", "a")[1]
    told = "".join(bridge("doctor")[1:])
    assert "did not" in told
    assert "bridge endpoint enable a" in told
    code, out, told = bridge("endpoint", "enable", "a", "--json")
    assert (code, json.loads(out)["state"], "is asked again now" in told) == (0, "disabled", True)
    code, out, _ = bridge("endpoint", "recover", "a", "--json")
    assert (code, json.loads(out)["state"]) == (0, "disabled")
    settle(Consent(Word.GRANTED, per_minute=120))
    shown = json.loads(bridge("endpoint", "show", "a", "--json")[1])
    assert (shown["state"], shown["consented"], shown["granted_rate"]) == ("active", True, "120/m")
    assert bridge("endpoint", "set", "a", "--unset", "handshake")[0] == 0
    shown = json.loads(bridge("endpoint", "show", "a", "--json")[1])
    assert (shown["handshake"], shown["granted_rate"]) == ("none", None)
