"""One attempt: what goes out, to whom, and what comes back as a value."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from authorities import AUTHORITIES
from misbehave import OK, Misbehaviour, Peer, says
from standardwebhooks import Webhook

from bridge.errors import BridgeError, SettingsError
from bridge.guard import Policy
from bridge.keypair import PrivateKey
from bridge.keyset import SigningKey
from bridge.model import Delivery, Endpoint, Fault, Outcome, PreviousSecret
from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Response
from bridge.sandbox.receiver import Receiver
from bridge.sender import EXCERPT_BYTES, Sender, traceparent
from bridge.signature import generate_secret, verify
from bridge.transport import Transport

FIRST, SECOND = (generate_secret(bytes(range(start, start + 32))) for start in (0, 1))
LOCAL = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
BODY = b'{"type":"index.task.ready","data":{"name":"Zo\\u00eb"}}'


def a_delivery(**fields: Any) -> Delivery:
    """A claimed delivery."""
    known: dict[str, Any] = {
        "event_id": "evt_" + "0af7651916cd43dd8448eb211c80319c", "endpoint": "e1", "type": "index.task.ready",
        "task": "t1", "revision": 7, "created_at": 0, "attempts": 0, "trigger": "schedule", "token": "t", "body": BODY,
    }  # fmt: skip
    return Delivery(**{**known, **fields})


class Post:
    """A sender on a transport of its own, with a clock to move."""

    def __init__(
        self,
        *,
        policy: Policy = LOCAL,
        dial: Policy | None = None,
        default: str | None = None,
        keys: tuple[SigningKey, ...] = (),
    ) -> None:
        self.moment = datetime.now(UTC)
        judge_by = dial or policy

        def judge(host: str, port: int, addresses: Any) -> str | None:
            verdict = judge_by.judge_addresses(host, port, addresses)
            return None if verdict.allowed else str(verdict.reason)

        self.transport = Transport(judge, ssl_context=AUTHORITIES)
        self.sender = Sender(
            self.transport,
            policy,
            deadline_seconds=2.0,
            default_secret=default,
            signing_keys=keys,
            now=lambda: self.moment,
        )

    async def __aenter__(self) -> "Post":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.aclose()

    async def __call__(self, url: str, delivery: Delivery | None = None, **fields: Any) -> Outcome:
        endpoint = Endpoint("e1", url, **{"secrets": (FIRST,), **fields})
        return await self.sender.post(endpoint, delivery or a_delivery())


@pytest.fixture
async def receiver() -> Any:
    receiver = Receiver(FIRST)
    await receiver.start()
    yield receiver
    await receiver.stop()


async def test_both_secrets_of_a_rotation_sign(receiver: Receiver) -> None:
    """While a secret is rotated, either side's key verifies."""
    async with Post() as post:
        assert (await post(f"{receiver.url}/x", secrets=(SECOND, FIRST))).status_code == 204
    (arrival,) = receiver.arrivals
    for secret in (FIRST, SECOND):
        Webhook(secret).verify(arrival.body, dict(arrival.headers))


async def test_an_old_secret_signs_until_its_time_on_the_same_connection(receiver: Receiver) -> None:
    """The new one signs before and after; the old one only before: nothing else changes at that moment."""
    async with Post() as post:
        until = int(post.moment.timestamp()) + 3_600
        old = (PreviousSecret(SECOND, until), PreviousSecret(generate_secret(bytes(32)), 1))
        await post(f"{receiver.url}/x", previous_secrets=old)
        post.moment += timedelta(seconds=3_601)
        await post(f"{receiver.url}/x", previous_secrets=old)
    before, after = receiver.arrivals
    assert len(before.headers["webhook-signature"].split()) == 2
    for secret in (FIRST, SECOND):
        Webhook(secret).verify(before.body, dict(before.headers))
    assert len(after.headers["webhook-signature"].split()) == 1
    assert verify([FIRST], after.headers, after.body, post.moment.timestamp()) is None
    assert receiver.connections == 1


async def test_an_old_secret_does_not_replace_a_missing_one(receiver: Receiver) -> None:
    """What signs beside another is not what signs alone."""
    async with Post() as post:
        with pytest.raises(SettingsError):
            await post(f"{receiver.url}/x", secrets=(), previous_secrets=(PreviousSecret(SECOND, 10**10),))


async def test_each_attempt_is_signed_anew(receiver: Receiver) -> None:
    """Same id and bytes; another timestamp and signature; the attempt is counted in the head."""
    async with Post() as post:
        await post(f"{receiver.url}/x")
        post.moment += timedelta(seconds=60)
        await post(f"{receiver.url}/x", a_delivery(attempts=1, trigger="replay"))
    first, second = receiver.valid
    assert (first.id, first.body) == (second.id, second.body) == (a_delivery().event_id, BODY)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.headers["bridge-trigger"], second.headers["bridge-trigger"]) == ("schedule", "replay")


async def test_connections_are_kept_for_one_endpoint_and_shared_with_none(receiver: Receiver) -> None:
    """P7: two attempts at one endpoint share a connection; another endpoint at the same address has its own."""
    async with Post() as post:
        for name in ("a", "a", "b"):
            endpoint = Endpoint(name, f"{receiver.url}/{name}", secrets=(FIRST,))
            await post.sender.post(endpoint, a_delivery(endpoint=name))
    assert receiver.connections == 2


async def test_a_changed_endpoint_begins_anew(receiver: Receiver) -> None:
    """Another secret, header or URL: the old connection is closed, the new definition counts."""
    async with Post() as post:
        await post(f"{receiver.url}/x")
        await post(f"{receiver.url}/x", headers={"x-team": "video"})
        await post(f"{receiver.url}/y", headers={"x-team": "video"})
        assert len(post.transport._open) == 1
    assert receiver.connections == 3
    assert [arrival.headers.get("x-team") for arrival in receiver.arrivals] == [None, "video", "video"]


async def test_a_forgotten_endpoint_leaves_no_connection(receiver: Receiver) -> None:
    """Removed: its idle connection closes at once."""
    async with Post() as post:
        await post(f"{receiver.url}/x")
        post.sender.forget("e1")
        post.sender.forget("never heard of")
        assert not post.transport._idle
        assert await post(f"{receiver.url}/x") is not None
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::1]/",
        "ftp://127.0.0.1/",
        "https://a:b@example.com/",
        "x",
    ],
)
async def test_a_forbidden_url_is_an_outcome(url: str) -> None:
    """The guard's no is a blocked attempt, not an exception."""
    async with Post() as post:
        outcome = await post(url)
    assert outcome.fault is Fault.BLOCKED
    assert outcome.detail


async def test_a_forbidden_address_is_an_outcome(receiver: Receiver) -> None:
    """The URL passes and the address does not: judged at the dial, nothing is dialled."""
    async with Post(dial=Policy(allow_http=True)) as post:
        outcome = await post(f"{receiver.url}/x")
    assert outcome.fault is Fault.BLOCKED
    assert receiver.connections == 0


async def test_without_any_secret_nothing_is_sent(receiver: Receiver) -> None:
    """That is our fault, not theirs: an exception with the fix."""
    async with Post() as post:
        with pytest.raises(SettingsError) as raised:
            await post(f"{receiver.url}/x", secrets=())
    assert "BRIDGE_DELIVERY_DEFAULT_SECRET" in raised.value.fix
    assert receiver.connections == 0


async def test_the_default_secret_signs_where_there_is_no_other(receiver: Receiver) -> None:
    """And only there."""
    async with Post(default=FIRST) as post:
        assert (await post(f"{receiver.url}/x", secrets=())).status_code == 204
        assert (await post(f"{receiver.url}/x", secrets=(SECOND,))).status_code == 401


async def test_a_secret_that_is_none_is_our_fault(receiver: Receiver) -> None:
    """A secret that somebody spoilt in Redis raises a BridgeError that does not show it."""
    async with Post() as post:
        with pytest.raises(BridgeError) as raised:
            await post(f"{receiver.url}/x", secrets=("whsec_!canary!",))
    assert "canary" not in str(raised.value) + raised.value.fix
    assert receiver.connections == 0


KEY, LATER = (PrivateKey(bytes([number]) * 32) for number in (1, 2))
BOTH = ("v1", "v1a")


async def test_a_key_signs_beside_the_secret_where_that_was_asked_for(receiver: Receiver) -> None:
    """One header; the secret verifies it, and so does the public key; who asked for nothing gets what it always got."""
    async with Post(keys=(SigningKey(KEY, None),)) as post:
        await post(f"{receiver.url}/x", signatures=BOTH)
        await post(f"{receiver.url}/x")
        await post(f"{receiver.url}/x", signatures=("v1a",), secrets=())
        moment = post.moment.timestamp()
    both, plain, alone = receiver.arrivals
    Webhook(FIRST).verify(both.body, dict(both.headers))
    for arrival in (both, alone):
        assert verify([KEY.public], arrival.headers, arrival.body, moment) is None
    assert [len(one.headers["webhook-signature"].split()) for one in (both, plain, alone)] == [2, 1, 1]
    assert verify([FIRST], alone.headers, alone.body, moment) == "no_v1_signature"


async def test_a_key_that_begins_later_signs_from_then_on(receiver: Receiver) -> None:
    """On the same connection, beside the one that signed before."""
    begins = int(datetime.now(UTC).timestamp()) + 3_600
    async with Post(keys=(SigningKey(LATER, begins), SigningKey(KEY, None))) as post:
        await post(f"{receiver.url}/x", signatures=BOTH)
        post.moment += timedelta(seconds=3_601)
        await post(f"{receiver.url}/x", signatures=BOTH)
        moment = post.moment.timestamp()
    before, after = receiver.arrivals
    assert verify([LATER.public], before.headers, before.body, moment, 3_700) == "no_matching_signature"
    for key in (KEY, LATER):
        assert verify([key.public], after.headers, after.body, moment) is None
    assert receiver.connections == 1


@pytest.mark.parametrize("keys", [(), (SigningKey(KEY, 10**10),)])
async def test_nothing_is_sent_with_fewer_signatures_than_were_asked_for(
    receiver: Receiver, keys: tuple[SigningKey, ...]
) -> None:
    """Without a key, or before the only one begins, that is our fault: what is owed waits."""
    async with Post(keys=keys) as post:
        for signatures in (BOTH, ("v1a",)):
            with pytest.raises(SettingsError, match="no key signs now") as raised:
                await post(f"{receiver.url}/x", signatures=signatures)
            assert "bridge key new" in raised.value.fix
        with pytest.raises(BridgeError):  # of a newer bridge, say
            await post(f"{receiver.url}/x", signatures=("v2",))
    assert receiver.connections == 0


async def test_an_answer_is_kept_by_its_head(receiver: Receiver) -> None:
    """Status, Retry-After, a kilobyte of the body, and where the time went."""
    receiver.script(Response(503, (("retry-after", "120"),), b"\xff" + "é".encode() * 4_000))
    async with Post() as post:
        outcome = await post(f"{receiver.url}/x")
    assert (outcome.status_code, outcome.fault, outcome.retry_after_seconds) == (503, None, 120.0)
    assert len(outcome.excerpt) <= EXCERPT_BYTES
    assert outcome.excerpt.encode()
    assert outcome.timing.total_ms > 0


@pytest.mark.parametrize(
    "value",
    ["soon", "-1", "1e9", "9" * 40, "Thu, 99 Foo 2026 99:99:99 GMT", "Fri, 31 Dec 9999 23:59:59 -2359", "1 1", "\xe9"],
)
async def test_a_strange_retry_after_does_not_raise(receiver: Receiver, value: str) -> None:
    """Whatever stands there."""
    receiver.script(Response(503, (("retry-after", value),)))
    async with Post() as post:
        assert (await post(f"{receiver.url}/x")).status_code == 503


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver, status: int) -> None:
    """The event goes where its owner said, and nowhere else."""
    thief = Receiver()
    await thief.start()
    try:
        receiver.script(Response(status, (("location", f"{thief.url}/x"),)))
        async with Post() as post:
            outcome = await post(f"{receiver.url}/x")
            assert (outcome.status_code, outcome.detail) == (status, f"redirects to {thief.url}/x")
        assert thief.connections == 0
        assert len(receiver.arrivals) == 1
    finally:
        await thief.stop()


async def hang_up(peer: Peer) -> None:
    """Take the request and close."""
    await peer.request()
    peer.close()


async def silence(peer: Peer) -> None:
    """Take the request and say nothing."""
    await peer.request()


async def forge(peer: Peer) -> None:
    """Refuse, and say the next answer in advance."""
    await peer.request()
    peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" + OK)


@pytest.mark.parametrize(
    ("script", "fault"),
    [(hang_up, Fault.RESET), (silence, Fault.TIMEOUT), (says(b"220 smtp\r\n\r\n"), Fault.PROTOCOL)],
    ids=["hang-up", "silence", "nonsense"],
)
async def test_a_fault_is_an_outcome(script: Any, fault: Fault) -> None:
    """No answer at all: a value that says how, with the time it took."""
    async with Misbehaviour(script) as server, Post() as post:
        outcome = await post(f"http://127.0.0.1:{server.origin.port}/x")
    assert (outcome.status_code, outcome.fault) == (None, fault)
    assert outcome.timing.total_ms > 0


async def test_an_answer_in_advance_is_not_believed() -> None:
    """A server that refuses and adds a 200 nobody asked for does not make the next attempt a success."""
    async with Misbehaviour(forge) as server, Post() as post:
        url = f"http://127.0.0.1:{server.origin.port}/x"
        assert [(await post(url)).status_code for _ in range(3)] == [500, 500, 500]
        assert server.connections == 3


def test_attempts_of_one_event_share_their_trace() -> None:
    """A W3C traceparent: the trace is the event's, the span is the attempt's."""
    first, second = (traceparent(a_delivery().event_id).split("-") for _ in range(2))
    assert first[:2] == second[:2] == ["00", "0af7651916cd43dd8448eb211c80319c"]
    assert first[2] != second[2]
    assert (len(first[2]), first[3]) == (16, "01")


def test_no_secret_is_in_a_repr() -> None:
    """P8: neither endpoint nor delivery nor sender shows what signs."""
    post_endpoint = Endpoint("e1", "https://example.com/", secrets=(FIRST,), headers={"authorization": "Bearer canary"})
    assert FIRST not in repr(post_endpoint)
    assert "canary" not in repr(post_endpoint)
    assert "Zo" not in repr(a_delivery())


async def test_what_was_sent_and_answered_is_told_without_secrets() -> None:
    """Of a failure both heads, of a fault the request's; of a first attempt that is taken, nothing.

    A reset on a kept connection is tried once more on a fresh one: hence two.
    """
    own = {"x-team": "C4N4RY-value", "authorization": "Bearer C4N4RY-token"}
    told = (("server", "nginx"), ("x-echo", "C4N4RY-token"), ("x-c4n4ry-token", "1"), ("set-cookie", "C4N4RY-session"))
    answers = [Response(503, told), Response(204, told), Response(204, told), *[Response(reset=True)] * 2]
    server = HttpServer(lambda _: answers.pop(0))
    await server.start()
    try:
        async with Post() as post:
            url = f"{server.url}/x?key=C4N4RY-query"
            failed = await post(url, headers=own)
            taken = await post(url, headers=own)
            later = await post(url, a_delivery(attempts=1), headers=own)
            reset = await post(url, headers=own)
    finally:
        await server.stop()
    lines = failed.request.split("\n")
    assert lines[0] == f"POST {server.url}/x?..."
    assert {"content-type: application/json", "x-team: ***", "authorization: ***"} < set(lines)
    assert f"webhook-timestamp: {int(post.moment.timestamp())}" in lines
    assert "webhook-signature: ***" in lines
    assert "server: nginx" in failed.answer.split("\n")
    assert (taken.request, taken.answer) == ("", "")
    assert ("POST" in later.request, "server: nginx" in later.answer) == (True, True)
    assert (reset.fault, "POST" in reset.request, reset.answer) == (Fault.RESET, True, "")
    for outcome in (failed, taken, later, reset):
        assert "c4n4ry" not in f"{outcome}".lower()
