"""Kept connections: who may reuse one, when it must not be reused, and that none is left behind."""

import asyncio

import pytest
from misbehave import FORGED, OK, Misbehaviour, Peer, polite, says
from servers import DEADLINE, SHORT, allow
from until import eventually

from bridge.model import Fault
from bridge.transport import Limits, Request, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)


def a_post(server: Misbehaviour) -> Request:
    return Request("POST", server.origin, "/hook", [], b"{}")


async def test_a_connection_is_kept_for_its_pool(transport: Transport) -> None:
    """Exchanges of one pool share a connection, and only the first one spends time on connecting."""
    async with Misbehaviour(polite) as server:
        first = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        second = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert (server.connections, len(server.requests)) == (1, 2)
        assert repr(transport) == "<Transport 1 pools, 1 connections, 1 idle>"
    assert first.timing.connect_ms is not None
    assert second.timing.connect_ms is None
    assert None not in (first.timing.wait_ms, second.timing.wait_ms)


async def test_pools_share_no_connection(transport: Transport) -> None:
    """Two endpoints on one origin never meet on a connection, though both of theirs are kept."""
    async with Misbehaviour(polite) as server:
        for pool in ("a", "b", "a", "b"):
            await transport.exchange(pool, a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2


async def test_one_connection_carries_one_exchange_at_a_time(transport: Transport) -> None:
    """Exchanges at the same time take connections of their own: nothing is pipelined."""
    async with Misbehaviour(polite) as server:
        exchanges = [transport.exchange("a", a_post(server), deadline_seconds=DEADLINE) for _ in range(5)]
        answers = await asyncio.gather(*exchanges)
        assert server.connections == 5
    assert [answer.body for answer in answers] == [b"ok"] * 5


@pytest.mark.parametrize("surplus", [FORGED, b"H", b"garbage"])
async def test_surplus_bytes_end_the_connection(transport: Transport, surplus: bytes) -> None:
    """An unasked second answer in the same breath: the first counts, the second answers no later request."""
    async with Misbehaviour(says(OK + surplus), polite) as server:
        first = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        await server.peers[0].closed_by_client.wait()
        second = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2
    assert (first.body, first.truncated, second.body) == (b"ok", False, b"ok")


async def test_a_byte_on_an_idle_connection_closes_it(transport: Transport) -> None:
    """A forged answer that comes while nothing was asked closes the connection at once."""
    forge = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await forge.wait()
        peer.send(FORGED)

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        forge.set()
        await server.peers[0].closed_by_client.wait()
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2
    assert answer.body == b"ok"


async def test_a_byte_that_the_loop_has_not_seen_yet_closes_it_too(transport: Transport) -> None:
    """The kernel is asked before a connection is reused, so a busy loop opens no window for a forged answer."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        server.peers[0].send_now(FORGED)
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2
    assert answer.body == b"ok"


async def test_a_kept_connection_closed_meanwhile_is_replaced(transport: Transport) -> None:
    """The server closes while we are idle: the next exchange takes a fresh connection, and nobody notices."""
    close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await close.wait()
        peer.close()

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        close.set()
        await eventually(lambda: "0 connections" in repr(transport))
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_closed_under_our_request_is_tried_once_more(transport: Transport, reset: bool) -> None:
    """The close crosses our request: it is sent again, the same bytes, on a fresh connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()
        peer.reset() if reset else peer.close()

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert (server.connections, len(server.requests)) == (2, 3)
        assert server.requests[1] == server.requests[2]
    assert answer.body == b"ok"


async def test_it_is_tried_once_more_and_not_twice(transport: Transport) -> None:
    """A fresh connection that closes too is the end of it, whatever was kept beside."""

    async def once(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()
        peer.close()

    async def never(peer: Peer) -> None:
        await peer.request()
        peer.close()

    async with Misbehaviour(once, once, never) as server:
        pair = [transport.exchange("a", a_post(server), deadline_seconds=DEADLINE) for _ in range(2)]
        await asyncio.gather(*pair)
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 3
    assert (raised.value.fault, raised.value.sent) == (Fault.RESET, True)


async def test_a_kept_connection_closed_in_mid_answer_is_not_tried_again(transport: Transport) -> None:
    """Once a byte of an answer came, the request was taken: sending it again is the caller's decision."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()
        peer.send(b"HTTP/1.1 2")
        peer.close()

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 1
    assert (raised.value.fault, raised.value.sent) == (Fault.RESET, True)


async def test_a_kept_connection_that_only_hangs_is_not_tried_again(transport: Transport) -> None:
    """Silence is not a close: the deadline ends it, and the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)

    async with Misbehaviour(script, polite) as server:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", a_post(server), deadline_seconds=SHORT)
        await server.peers[0].closed_by_client.wait()
        assert server.connections == 1
    assert raised.value.fault is Fault.TIMEOUT


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_server_that_wants_no_second_request_gets_none(transport: Transport, answer: bytes) -> None:
    """`Connection: close`, and HTTP/1.0 without keep-alive: the answer is whole, the connection ends with it."""
    async with Misbehaviour(says(answer)) as server:
        for _ in range(2):
            got = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
            assert (got.body, got.truncated) == (b"ok", False)
        assert server.connections == 2


async def test_a_cut_answer_ends_its_connection(transport: Transport) -> None:
    """What is left of a body that was too long is never read as the next answer."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
    async with Misbehaviour(says(long), polite) as server:
        assert (await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)).truncated
        assert (await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)).body == b"ok"
        assert server.connections == 2


async def test_closing_a_pool_closes_its_idle_connections_only(transport: Transport) -> None:
    """An endpoint was removed: its connections close, another's are kept."""
    async with Misbehaviour(polite) as server:
        for pool in ("a", "b"):
            await transport.exchange(pool, a_post(server), deadline_seconds=DEADLINE)
        transport.close_pool("a")
        await server.peers[0].closed_by_client.wait()
        await transport.exchange("b", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 2
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        assert server.connections == 3


async def test_closing_a_pool_lets_an_exchange_under_way_end(transport: Transport) -> None:
    """What is in flight gets its answer; its connection is not kept."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        peer.send(OK)

    async with Misbehaviour(script) as server:
        exchange = asyncio.ensure_future(transport.exchange("a", a_post(server), deadline_seconds=DEADLINE))
        await asked.wait()
        transport.close_pool("a")
        go.set()
        assert (await exchange).body == b"ok"
        await server.peers[0].closed_by_client.wait()


@pytest.mark.parametrize(("limits", "pools"), [(Limits(idle_per_pool=1), "aaa"), (Limits(open_total=1), "abc")])
async def test_idle_connections_are_bounded(limits: Limits, pools: str) -> None:
    """Within a pool and over all of them, the oldest idle connection makes room."""
    async with Misbehaviour(polite) as server, Transport(allow, limits=limits) as transport:
        exchanges = [transport.exchange(pool, a_post(server), deadline_seconds=DEADLINE) for pool in pools]
        await asyncio.gather(*exchanges)
        await eventually(lambda: repr(transport) == "<Transport 1 pools, 1 connections, 1 idle>")


async def test_an_idle_connection_makes_room_for_a_new_one() -> None:
    """As many may be open as there are, in use or idle: the one that is idle closes before another is dialled."""
    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            if len(server.peers) == 3:
                await answered.wait()
            peer.send(OK)

    async with Misbehaviour(script) as server, Transport(allow, limits=Limits(open_total=2)) as transport:
        for pool in "ab":
            await transport.exchange(pool, a_post(server), deadline_seconds=DEADLINE)
        third = asyncio.ensure_future(transport.exchange("c", a_post(server), deadline_seconds=DEADLINE))
        await server.peers[0].closed_by_client.wait()
        answered.set()
        assert (await third).status == 200
        await eventually(lambda: repr(transport) == "<Transport 2 pools, 2 connections, 2 idle>")
        assert not server.peers[1].closed_by_client.is_set()


async def test_idle_connections_expire() -> None:
    """Nobody asks any more: the connection closes by itself, and its pool is forgotten."""
    async with Misbehaviour(polite) as server, Transport(allow, limits=Limits(idle_seconds=0.05)) as transport:
        await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        await server.peers[0].closed_by_client.wait()
        await eventually(lambda: repr(transport) == "<Transport 0 pools, 0 connections, 0 idle>")


async def test_a_cancelled_exchange_closes_its_connection(transport: Transport) -> None:
    """Nobody will read the answer, so nobody may: the connection closes, whatever the server does next."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()

    async with Misbehaviour(script) as server:
        exchange = asyncio.ensure_future(transport.exchange("a", a_post(server), deadline_seconds=3600))
        await asked.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await server.peers[0].closed_by_client.wait()
        await eventually(lambda: repr(transport) == "<Transport 0 pools, 0 connections, 0 idle>")


async def test_cancelling_when_the_answer_is_already_here_is_harmless(transport: Transport) -> None:
    """The race of an answer and a cancellation leaves no connection in an unknown state, and no exception behind."""
    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send_now(OK)
            answered.set()

    async with Misbehaviour(script) as server:
        exchange = asyncio.ensure_future(transport.exchange("a", a_post(server), deadline_seconds=DEADLINE))
        await answered.wait()
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
    assert answer.body == b"ok"


async def test_closing_the_transport_fails_what_is_under_way() -> None:
    """`aclose` waits for no server: an exchange in flight ends as reset, and a later one is refused."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()

    transport = Transport(allow)
    async with Misbehaviour(script) as server:
        exchange = asyncio.ensure_future(transport.exchange("a", a_post(server), deadline_seconds=DEADLINE))
        await asked.wait()
        await transport.aclose()
        with pytest.raises(TransportFault) as raised:
            await exchange
        with pytest.raises(RuntimeError):
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
    assert raised.value.fault is Fault.RESET
