"""The receiver: what it verifies, what it answers, and what it notices. Signed by the official library, not by us."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from bridge.sandbox.message import Response
from bridge.sandbox.receiver import UNVERIFIABLE, Arrival, Receiver
from bridge.sandbox.thread import in_thread
from bridge.sandbox.twelvelabs import API_KEY, Simulator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

SHORT = httpx.Timeout(5, read=0.05)


def signed(event_id: str, body: bytes, *, secret: str = SECRET, age_seconds: int = 0) -> dict[str, str]:
    """The headers of a delivery, as a Standard Webhooks sender makes them."""
    at = int(time.time()) - age_seconds
    signature = Webhook(secret).sign(event_id, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": event_id, "webhook-timestamp": str(at), "webhook-signature": signature}


def event(task: str = "t1", revision: int = 1, status: str = "ready") -> bytes:
    """An event's body."""
    data = {"task_id": task, "status": status, "revision": revision}
    return json.dumps({"type": f"index.task.{status}", "data": data}).encode()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A started receiver that trusts one secret."""
    running = Receiver(SECRET)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    """What posts to it."""
    async with httpx.AsyncClient(base_url=receiver.url, timeout=5) as ready:
        yield ready


async def post(client: httpx.AsyncClient, event_id: str, body: bytes, path: str = "/", **options: Any) -> int:
    """POST one signed event; the status code."""
    headers = signed(event_id, body, **options)
    return (await client.post(path, content=body, headers={**headers, "bridge-attempt": "2"})).status_code


async def test_an_arrival_is_recorded_as_it_came(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """Headers, raw bytes, parsed event, verdict and time; 204 is the default answer."""
    body = event(status="failed") + b"\n"
    before = time.monotonic()
    assert await post(client, "evt_1", body, "/hook") == 204
    (arrival,) = receiver.arrivals
    assert (arrival.body, arrival.event, arrival.verdict) == (body, json.loads(body), None)
    assert (arrival.method, arrival.path, arrival.id, arrival.attempt) == ("POST", "/hook", "evt_1", 2)
    assert (arrival.type, arrival.task_id, arrival.status, arrival.revision) == ("index.task.failed", "t1", "failed", 1)
    assert before < arrival.at < time.monotonic()


async def test_a_forged_or_old_event_is_refused(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """401 with the reason, recorded as invalid, and the script not touched."""
    receiver.script(500)
    assert await post(client, "evt_1", event(), secret=OTHER) == 401
    assert await post(client, "evt_2", event(), age_seconds=301) == 401
    answer = await client.post("/", content=event(), headers=signed("evt_3", event(revision=9)))
    assert (answer.status_code, answer.text) == (401, receiver.invalid[2].verdict)
    assert (await client.post("/", content=event())).status_code == 401
    assert await post(client, "evt_4", event()) == 500
    assert (len(receiver.invalid), [arrival.id for arrival in receiver.valid]) == (4, ["evt_4"])


async def test_the_clock_that_judges_is_injectable(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """A receiver an hour ahead refuses what is fresh here."""
    ahead = Receiver(SECRET, clock=lambda: time.time() + 3600)
    await ahead.start()
    async with httpx.AsyncClient(base_url=ahead.url) as other:
        assert await post(other, "evt_1", event()) == 401
        assert await post(other, "evt_1", event(), age_seconds=-3600) == 204
    await ahead.stop()


async def test_each_path_may_trust_secrets_of_its_own(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """Several at once, for a rotation; without any the verdict says so, and answering is a choice."""
    receiver.trust("/rotating", OTHER, SECRET)
    receiver.trust("/b", OTHER)
    assert await post(client, "evt_1", event(), "/rotating") == 204
    assert await post(client, "evt_1", event(), "/rotating", secret=OTHER) == 204
    assert await post(client, "evt_1", event(), "/b") == 401
    receiver.trust("/open")
    receiver.reject_invalid = False
    assert await post(client, "evt_1", event(), "/open") == 204
    assert receiver.arrivals[-1].verdict == UNVERIFIABLE


async def test_answers_come_as_scripted(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """In order, then the default; a path's own script first; numbers, responses and functions."""

    def once_busy(arrival: Arrival) -> int | Response:
        return 204 if arrival.earlier else Response(429, (("retry-after", "7"),))

    receiver.script(500, Response(503), once_busy)
    receiver.script(410, path="/gone")
    codes = [await post(client, "evt_1", event(), path) for path in ("/", "/gone", "/", "/gone", "/")]
    assert codes == [500, 410, 503, 204, 204]
    receiver.always(302)
    receiver.always(once_busy, path="/busy")
    assert [await post(client, "evt_2", event(), path) for path in ("/", "/busy", "/busy", "/")] == [302, 429, 204, 302]


async def test_an_answer_can_be_late_or_never_come(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """Slow, hanging and reset answers; the arrivals are recorded all the same."""
    receiver.script(Response(204, delay_seconds=0.05), Response(hang=True), Response(reset=True))
    started = time.monotonic()
    assert await post(client, "evt_1", event()) == 204
    assert time.monotonic() - started >= 0.05
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/", content=event(), headers=signed("evt_2", event()), timeout=SHORT)
    with pytest.raises(httpx.ReadError):
        await post(client, "evt_3", event())
    assert [arrival.id for arrival in receiver.arrivals] == ["evt_1", "evt_2", "evt_3"]


async def test_a_duplicate_is_what_was_accepted_before(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """A retry after 500 or after a lost answer is none; the same event on another path is none."""
    receiver.script(500, Response(204, reset=True), 204, 204)
    for _ in range(4):
        try:
            await post(client, "evt_1", event())
        except httpx.ReadError:
            continue
    await post(client, "evt_1", event(), "/other")
    assert [(arrival.earlier, arrival.duplicate) for arrival in receiver.arrivals] == [
        (0, False),
        (1, False),
        (2, False),
        (3, True),
        (0, False),
    ]
    assert receiver.duplicates == [receiver.arrivals[3]]


async def test_order_is_watched_per_task_and_path(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """A first arrival below a revision seen before is out of order; a retry never is."""
    receiver.script(500)
    await post(client, "evt_1", event(revision=10))
    await post(client, "evt_3", event(revision=30))
    await post(client, "evt_1", event(revision=10))
    assert receiver.out_of_order == []
    await post(client, "evt_2", event(revision=20))
    await post(client, "evt_9", event("t2", revision=5))
    await post(client, "evt_2", event(revision=20), "/other")
    assert [(arrival.id, arrival.path) for arrival in receiver.out_of_order] == [("evt_2", "/")]


async def test_the_latest_is_what_a_correct_subscriber_holds(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """The highest revision that was valid and answered 2xx, whatever the order of arrival."""
    receiver.script(204, 500, 204)
    await post(client, "evt_2", event(revision=20))
    await post(client, "evt_3", event(revision=30))
    await post(client, "evt_1", event(revision=10))
    latest = receiver.latest("t1")
    assert latest is not None
    assert latest.revision == 20
    assert receiver.latest("t2") is None


async def test_what_is_no_event_is_recorded_too(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """Neither broken JSON nor a strange shape hurts; anything but POST is 405 and no arrival."""
    for n, body in enumerate([b"{", b"[]", b'{"data": 3}', b'{"data": {"revision": true}}', b"\xff"]):
        await client.post("/", content=body, headers={"webhook-id": f"evt_{n}", "bridge-attempt": "x"})
    assert [(a.type, a.task_id, a.revision, a.attempt) for a in receiver.arrivals] == [("", "", None, 0)] * 5
    assert (await client.get("/")).status_code == 405
    assert len(receiver.arrivals) == 5


async def test_waiting_ends_with_the_event_that_was_waited_for(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """Several may wait, for different things; an answer that was sent is news as well."""
    first = asyncio.create_task(receiver.wait_for(lambda r: len(r.arrivals) >= 1))
    third = asyncio.create_task(receiver.wait_for(lambda r: len(r.arrivals) >= 3))
    accepted = asyncio.create_task(receiver.wait_for(lambda r: r.latest("t1") is not None))
    receiver.script(Response(204, delay_seconds=0.02))
    await post(client, "evt_1", event())
    assert len(await first) == 1
    await accepted
    assert not third.done()
    await post(client, "evt_2", event())
    await post(client, "evt_3", event())
    assert [arrival.id for arrival in await third] == ["evt_1", "evt_2", "evt_3"]
    assert await receiver.wait_for(lambda r: True, 0)


async def test_waiting_in_vain_says_what_did_arrive(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """TimeoutError with a count and the last arrivals."""
    await post(client, "evt_1", event())
    with pytest.raises(TimeoutError, match=r"1 arrivals, the last: index\.task\.ready attempt 2"):
        await receiver.wait_for(lambda r: len(r.arrivals) == 2, 0.01)


async def test_a_stopped_receiver_comes_back_on_its_port(receiver: Receiver, client: httpx.AsyncClient) -> None:
    """As a subscriber that is down for a while; its memory stays."""
    await post(client, "evt_1", event())
    port = int(receiver.url.rpartition(":")[2])
    await receiver.stop()
    with pytest.raises(httpx.ConnectError):
        await post(client, "evt_1", event())
    await receiver.start(port)
    await post(client, "evt_1", event())
    assert (len(receiver.arrivals), len(receiver.duplicates), receiver.connections) == (2, 1, 2)


def test_receiver_and_simulator_share_a_thread() -> None:
    """As the demo and synchronous tests use them."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with in_thread(simulator, receiver) as inside:
        task = simulator.add_task()
        assert httpx.get(f"{simulator.base_url}/tasks/{task}", headers={"x-api-key": API_KEY}).status_code == 200
        httpx.post(receiver.url, content=event(), headers=signed("evt_1", event()))
        (arrival,) = inside.run(receiver.wait_for(lambda r: bool(r.valid)))
        assert arrival.id == "evt_1"
    with receiver.in_thread():
        assert httpx.post(receiver.url, content=event(), headers=signed("evt_1", event())).status_code == 204
    assert len(receiver.duplicates) == 1
