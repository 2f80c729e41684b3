"""The egress proxy: what it is told, that the guard still judges, and that its failures are ours."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from egress import Egress
from misbehave import OK, Misbehaviour, polite, says
from servers import DEADLINE, SHORT, Authority, allow, free_port

from bridge.errors import EgressDown
from bridge.model import Fault
from bridge.transport import Answer, Limits, Origin, Proxy, Request, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)

NAME = "hooks.example.com"


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def get(transport: Transport, origin: Origin, pool: str = "a", deadline: float = DEADLINE) -> Answer:
    return await transport.exchange(pool, Request("GET", origin, "/"), deadline_seconds=deadline)


async def test_the_proxy_is_told_the_address_that_was_judged() -> None:
    """Not the name, which it might resolve otherwise; the receiver sees the name, and none of our credentials."""
    async with (
        Misbehaviour(polite) as server,
        Egress() as egress,
        Transport(allow, resolve=loopback, proxy=egress.proxy) as transport,
    ):
        assert (await get(transport, server.named(NAME))).body == b"ok"
        authority = f"127.0.0.1:{server.origin.port}"
        assert egress.heads == [
            f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Basic dXNlcjpzM2NyQHQ=\r\n\r\n"
        ]
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\nHost: hooks.example.com:")
        assert b"roxy" not in server.requests[0]


async def test_tls_is_with_the_receiver_and_not_with_the_proxy(authority: Authority) -> None:
    """The certificate has to be for the URL's host, as without a proxy."""
    right, wrong = authority.serving(NAME), authority.serving("proxy.example.com")
    async with (
        Misbehaviour(polite, tls=right) as server,
        Misbehaviour(polite, tls=wrong) as other,
        Egress() as egress,
        Transport(allow, resolve=loopback, ssl_context=authority.trusting(), proxy=egress.proxy) as transport,
    ):
        assert (await get(transport, server.named(NAME))).body == b"ok"
        with pytest.raises(TransportFault) as raised:
            await get(transport, other.named(NAME))
    assert raised.value.fault is Fault.TLS


async def test_the_guard_judges_before_the_proxy_hears() -> None:
    """A forbidden address is not even asked for, at whatever attempt the name leads to it."""
    answers = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    def judge(host: str, port: int, addresses: Sequence[str]) -> str | None:
        return None if all(ip_address(address).is_loopback for address in addresses) else "not allowed"

    async with (
        Misbehaviour(says(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))) as server,
        Egress() as egress,
        Transport(judge, resolve=rebinding, proxy=egress.proxy) as transport,
    ):
        assert (await get(transport, server.named(NAME))).body == b"ok"
        for _ in range(2):
            with pytest.raises(TransportFault) as raised:
                await get(transport, server.named(NAME))
            assert raised.value.fault is Fault.BLOCKED
        assert egress.asked == [f"127.0.0.1:{server.origin.port}"]


async def test_tunnels_are_kept_for_their_endpoint_and_shared_with_none() -> None:
    """P7 holds behind a proxy too."""
    async with (
        Misbehaviour(polite) as server,
        Egress() as egress,
        Transport(allow, proxy=egress.proxy) as transport,
    ):
        for pool in "aabba":
            await get(transport, server.origin, pool)
        assert (len(egress.asked), server.connections) == (2, 2)


FAILURES = [
    pytest.param(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", "407", id="407"),
    *(pytest.param(b"HTTP/1.1 %d No\r\n\r\n" % status, str(status), id=str(status)) for status in (403, 500, 502, 504)),
    pytest.param(b"HTTP/1.1 302 There\r\nLocation: http://10.0.0.1/\r\n\r\n", "302", id="redirect"),
    pytest.param(b"220 smtp\r\n\r\n", "no HTTP proxy", id="no HTTP"),
    pytest.param(b"HTTP/1.1 200 O", "no HTTP proxy|closed", id="cut"),
    pytest.param(b"HTTP/1.1 503 No\r\n" + b"X: y\r\n" * 9_000, "no HTTP proxy|closed", id="flood"),
    pytest.param(b"", "closed", id="nothing"),
    pytest.param(None, "in time", id="silence"),
]


@pytest.mark.parametrize(("answer", "word"), FAILURES)
async def test_a_proxy_that_fails_is_our_failure(answer: bytes | None, word: str) -> None:
    """Not an outcome of the endpoint's but an exception that names the proxy and the next step, and no credential."""
    limits = Limits(connect_seconds=SHORT if answer is None else DEADLINE)
    async with Misbehaviour(polite) as server, Egress() as egress:
        egress.answer = answer
        async with Transport(allow, proxy=egress.proxy, limits=limits) as transport:
            with pytest.raises(EgressDown, match=word) as raised:
                await get(transport, server.origin)
            assert repr(transport) == "<Transport 0 pools, 0 connections, 0 idle>"
        assert server.connections == 0
    assert f"127.0.0.1:{egress.port}" in str(raised.value)
    assert raised.value.fix
    told = str(raised.value) + raised.value.fix + repr(egress.proxy) + repr(raised.value)
    assert not any(secret in told for secret in ("s3cr", egress.proxy.credentials))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 502 No\r\n\r\n", Fault.CONNECT),
        (b"HTTP/1.1 403 No\r\n\r\n", Fault.BLOCKED),
        (b"HTTP/1.1 407 No\r\n\r\n", Fault.BLOCKED),
        (None, Fault.TIMEOUT),
    ],
)
async def test_a_receiver_that_alone_is_refused_is_to_blame(answer: bytes | None, fault: Fault) -> None:
    """While others get through, what the proxy says of one receiver is about that one; when none does, about itself."""
    limits = Limits(connect_seconds=SHORT if answer is None else DEADLINE)
    bad = Origin("http", "127.0.0.1", free_port())
    async with (
        Misbehaviour(says(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))) as server,
        Egress() as egress,
        Transport(allow, proxy=egress.proxy, limits=limits) as transport,
    ):
        egress.refuses[f"127.0.0.1:{bad.port}"] = answer
        await get(transport, server.origin)
        for _ in range(2):  # nobody got through since it was first refused
            with pytest.raises(EgressDown):
                await get(transport, bad, "bad")
        await get(transport, server.origin)
        with pytest.raises(TransportFault) as raised:
            await get(transport, bad, "bad")
        assert (raised.value.fault, raised.value.sent) == (fault, False)
        egress.answer = answer
        for origin in (server.origin, bad, server.origin):
            with pytest.raises(EgressDown):
                await get(transport, origin)


async def test_a_proxy_that_is_not_there_is_our_failure() -> None:
    """Nobody listens, or the name is none."""
    for host, word in (("127.0.0.1", "connection refused"), ("no-such-host.invalid", "not found")):
        async with Transport(allow, proxy=Proxy(host, free_port())) as transport:
            with pytest.raises(EgressDown, match=word):
                await get(transport, Origin("http", "127.0.0.1", 80))


async def test_who_speaks_first_behind_a_tunnel_is_refused() -> None:
    """As without a proxy: bytes before our request are the receiver's fault."""
    async with Misbehaviour(polite) as server, Egress() as egress:
        egress.answer = b"HTTP/1.1 200 Yes\r\n\r\n" + OK
        async with Transport(allow, proxy=egress.proxy) as transport:
            with pytest.raises(TransportFault) as raised:
                await get(transport, server.origin)
    assert raised.value.fault is Fault.PROTOCOL


async def test_a_cancelled_tunnel_leaves_nothing() -> None:
    """Cancelled while the proxy keeps silent: the socket closes."""
    async with Egress(None) as egress, Transport(allow, proxy=egress.proxy) as transport:
        exchange = asyncio.ensure_future(get(transport, Origin("http", "127.0.0.1", 80)))
        await egress.heard.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await egress.idle()


async def test_an_ipv6_address_has_its_brackets() -> None:
    """So that its port can be told from it."""
    async with Egress(b"HTTP/1.1 503 No\r\n\r\n") as egress, Transport(allow, proxy=egress.proxy) as transport:
        with pytest.raises(EgressDown):
            await get(transport, Origin("https", "2606:4700::1111", 443))
        assert egress.asked == ["[2606:4700::1111]:443"]
