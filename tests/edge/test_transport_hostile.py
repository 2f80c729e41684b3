"""What a hostile server can do to one exchange: it becomes a fault, or an answer whose body was cut. Nothing hangs."""

import asyncio
import gzip

import pytest
from misbehave import OK, Misbehaviour, Peer, Script, says
from servers import DEADLINE, SHORT, allow

from bridge.model import Fault
from bridge.transport import Limits, Origin, Phase, Request, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def a_post(server: Misbehaviour) -> Request:
    return Request("POST", server.origin, "/hook", [("content-type", "application/json")], b'{"a":1}')


async def silent(peer: Peer) -> None:
    await peer.request()


async def dripping_head(peer: Peer) -> None:
    await peer.request()
    await peer.drip(OK * 100)


async def closing_at_once(peer: Peer) -> None:
    peer.close()


async def closing_after_the_request(peer: Peer) -> None:
    await peer.request()
    peer.close()


async def closing_in_the_head(peer: Peer) -> None:
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-")
    peer.close()


async def resetting(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def endless_hints(peer: Peer) -> None:
    await peer.request()
    await peer.pour(EARLY_HINTS * 4)


async def header_bomb(peer: Peer) -> None:
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    await peer.pour(b"X-Bomb: " + b"x" * 1000 + b"\r\n")


async def endless_header(peer: Peer) -> None:
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nX-Bomb: ")
    await peer.pour(b"x" * 4096)


async def banner(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.6\r\n")


FAULTS = [
    pytest.param(silent, Fault.TIMEOUT, id="silence"),
    pytest.param(dripping_head, Fault.TIMEOUT, id="dripping head"),
    pytest.param(closing_at_once, Fault.RESET, id="close after accept"),
    pytest.param(closing_after_the_request, Fault.RESET, id="close instead of an answer"),
    pytest.param(closing_in_the_head, Fault.RESET, id="close in the head"),
    pytest.param(resetting, Fault.RESET, id="reset instead of an answer"),
    pytest.param(endless_hints, Fault.PROTOCOL, id="endless 103s"),
    pytest.param(header_bomb, Fault.PROTOCOL, id="header bomb"),
    pytest.param(endless_header, Fault.PROTOCOL, id="one endless header"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 257 + b"\r\n"), Fault.PROTOCOL, id="many headers"),
    pytest.param(says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), Fault.PROTOCOL, id="head in one piece"),
]


async def test_a_server_that_speaks_first_is_refused(transport: Transport) -> None:
    """Bytes on a fresh connection are no answer, whether they come before our request or cross it on the way."""
    async with Misbehaviour(banner) as server:
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
    assert raised.value.fault is Fault.PROTOCOL


NONSENSE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 099 Hm\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 2OO OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"<html>hello</html>",
]


@pytest.mark.parametrize(("script", "fault"), FAULTS)
async def test_no_head_is_a_fault(transport: Transport, script: Script, fault: Fault) -> None:
    """Without a whole head there is no answer, and the fault says what kind of failure it was."""
    async with Misbehaviour(script) as server:
        with pytest.raises(TransportFault) as raised:
            await transport.exchange(
                "a", a_post(server), deadline_seconds=SHORT if fault is Fault.TIMEOUT else DEADLINE
            )
    assert (raised.value.fault, raised.value.phase, raised.value.sent) == (fault, Phase.HEAD, True)
    assert server.connections == 1, "a failure on a fresh connection is never repeated"
    assert "127.0.0.1" not in raised.value.detail


@pytest.mark.parametrize("answer", NONSENSE)
async def test_an_ambiguous_head_is_refused(transport: Transport, answer: bytes) -> None:
    """What two readers could read differently is no answer: lengths that contradict, upgrades, other protocols."""
    async with Misbehaviour(says(answer)) as server:
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        await server.peers[0].closed_by_client.wait()
    assert raised.value.fault is Fault.PROTOCOL
    assert raised.value.detail


async def test_informational_answers_are_counted(transport: Transport) -> None:
    """Eight may come before the answer, and nine may not."""
    async with Misbehaviour(says(EARLY_HINTS * 8 + OK), says(EARLY_HINTS * 9 + OK)) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        with pytest.raises(TransportFault, match="more than 8 informational"):
            await transport.exchange("b", a_post(server), deadline_seconds=DEADLINE)
    assert (answer.status, answer.header("link")) == (200, None)


async def test_headers_are_counted(transport: Transport) -> None:
    """256 may come, those of informational answers included, and 257 may not: each costs more than its bytes."""
    hints = b"HTTP/1.1 103 Early Hints\r\n" + b"a:b\r\n" * 200 + b"\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    async with Misbehaviour(
        says(hints + final + b"a:b\r\n" * 55 + b"\r\nok"), says(hints + final + b"a:b\r\n" * 56 + b"\r\nok")
    ) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        with pytest.raises(TransportFault, match="more than 256 headers"):
            await transport.exchange("b", a_post(server), deadline_seconds=DEADLINE)
    assert (answer.body, len(answer.headers)) == (b"ok", 56)


async def test_an_upgrade_says_what_it_was(transport: Transport) -> None:
    """The detail is a sentence, not the parser's offset."""
    async with Misbehaviour(says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n")) as server:
        with pytest.raises(TransportFault, match="switched protocols"):
            await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)


async def dripping_body(peer: Peer) -> None:
    await peer.request()
    peer.send(HEAD + b"begun")
    await peer.drip(b"." * 900)


async def stalling_body(peer: Peer) -> None:
    await peer.request()
    peer.send(HEAD + b"begun")


async def closing_body(peer: Peer) -> None:
    await peer.request()
    peer.send(HEAD + b"begun")
    peer.close()


async def closing_chunked_body(peer: Peer) -> None:
    await peer.request()
    peer.send(CHUNKED + b"5\r\nbegun\r\n")
    peer.close()


CUT = [
    pytest.param(dripping_body, id="dripping body"),
    pytest.param(stalling_body, id="stalling body"),
    pytest.param(closing_body, id="close in the body"),
    pytest.param(closing_chunked_body, id="close between chunks"),
    pytest.param(says(CHUNKED + b"5\r\nbegun\r\nnonsense\r\n"), id="bad chunk"),
]


@pytest.mark.parametrize("script", CUT)
async def test_status_counts_whatever_the_body_does(transport: Transport, script: Script) -> None:
    """A body that stalls, ends early or is nonsense leaves the answer standing, marked as truncated."""
    async with Misbehaviour(script) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=SHORT)
        await server.peers[0].closed_by_client.wait()
    assert (answer.status, answer.truncated) == (200, True)
    assert answer.body.startswith(b"begun")


async def test_a_reset_in_the_body_leaves_the_answer(transport: Transport) -> None:
    """RST after the head: the status counts; of the body there is what had arrived."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD)
        peer.reset()

    async with Misbehaviour(script) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
    assert (answer.status, answer.truncated) == (200, True)


async def test_the_body_gets_less_than_the_deadline() -> None:
    """After the head a body has `body_seconds`, however long the deadline: the test would time out otherwise."""
    async with Misbehaviour(stalling_body) as server, Transport(allow, limits=Limits(body_seconds=0.1)) as transport:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=3600)
    assert (answer.status, answer.body, answer.truncated) == (200, b"begun", True)


POURED = [
    pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096, id="without length"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 4096, id="with a length"),
    pytest.param(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", id="chunked"),
]


@pytest.mark.parametrize(("head", "part"), POURED)
async def test_an_endless_body_is_read_to_the_limit(transport: Transport, head: bytes, part: bytes) -> None:
    """Exactly `body_bytes` are kept, and the connection is closed instead of drained."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(head)
        await peer.pour(part)

    async with Misbehaviour(script) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
        await server.peers[0].closed_by_client.wait()
    assert (answer.status, answer.truncated, answer.body) == (200, True, b"x" * 65_536)


async def test_endless_framing_around_no_body_is_cut() -> None:
    """A chunk extension without end carries no body byte, and is bounded all the same: by size, not by time."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"1;")
        await peer.pour(b"extension" * 400)

    async with Misbehaviour(script) as server, Transport(allow, limits=Limits(body_seconds=3600)) as transport:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=3600)
        await server.peers[0].closed_by_client.wait()
    assert (answer.status, answer.truncated, answer.body) == (200, True, b"")


async def test_a_gzip_bomb_stays_as_small_as_it_was_sent(transport: Transport) -> None:
    """Nothing is ever decompressed; we ask for identity, and keep the bytes as they came if that is ignored."""
    bomb = gzip.compress(b"\0" * 20_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with Misbehaviour(says(head + bomb)) as server:
        answer = await transport.exchange("a", a_post(server), deadline_seconds=DEADLINE)
    assert answer.body == bomb
    assert not answer.truncated
    assert b"\r\nAccept-Encoding: identity\r\n" in server.requests[0]


async def test_a_server_that_does_not_read_is_a_timeout_while_writing(transport: Transport) -> None:
    """The detail tells a request that was not taken from one that was not answered."""

    stopped = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.stop_reading()
        await stopped.wait()

    async with Misbehaviour(script) as server:
        request = Request("POST", server.origin, "/", [], b"x" * 32_000_000)
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", request, deadline_seconds=SHORT)
        stopped.set()
    assert (raised.value.fault, raised.value.phase, raised.value.sent) == (Fault.TIMEOUT, Phase.WRITE, True)
    assert raised.value.detail.startswith("write")


async def test_a_request_that_would_split_is_refused(transport: Transport) -> None:
    """CR, LF or NUL anywhere in a request raises ValueError before anything is dialled."""
    async with Misbehaviour(says(OK)) as server:
        origin = server.origin
        for request in (
            Request("GET", origin, "/", [("x", "a\r\nHost: evil")]),
            Request("GET", origin, "/", [("x\r\ny", "a")]),
            Request("GET", origin, "/", [("x", "a\nb")]),
            Request("GET", origin, "/", [("x", "a\0")]),
            Request("GET", origin, "/ HTTP/1.1\r\nx: y"),
            Request("GET", origin, "/a b"),
            Request("GET /", origin, "/"),
            Request("GET\r\n", origin, "/"),
            Request("GET", server.named("a\r\nb"), "/"),
            Request("GET", server.named("a/b"), "/"),
            Request("GET", Origin("ftp", "127.0.0.1", origin.port), "/"),
            Request("GET", Origin("http", "127.0.0.1", 70_000), "/"),
            Request("GET", origin, "/", [("x: y", "a")]),
            Request("GET", origin, "/", [("", "a")]),
            Request("GET", origin, "/", [("Host", "169.254.169.254")]),
            Request("GET", origin, "/", [("content-length", "3")]),
            Request("GET", origin, "/", [("Transfer-Encoding", "chunked")]),
            Request("GET", origin, "/", [("Proxy-Authorization", "x")]),
            Request("GET", origin, "/", [("x", "\N{SNOWMAN}")]),
        ):
            with pytest.raises(ValueError):
                await transport.exchange("a", request, deadline_seconds=DEADLINE)
    assert server.connections == 0
