"""TLS: who is believed, what is offered, and that nothing of one pool's session serves another."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest
from misbehave import OK, Misbehaviour, Peer, polite
from servers import DEADLINE, SHORT, Authority, allow

from bridge.model import Fault
from bridge.transport import Answer, Origin, Phase, Request, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)

NAME = "hooks.example.com"


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def trusting(authority: Authority) -> Transport:
    """A transport that trusts the test authority, and finds every name on loopback."""
    return Transport(allow, resolve=loopback, ssl_context=authority.trusting())


async def get(transport: Transport, origin: Origin, pool: str = "a") -> Answer:
    return await transport.exchange(pool, Request("GET", origin, "/"), deadline_seconds=DEADLINE)


async def fault_of(transport: Transport, origin: Origin) -> TransportFault:
    with pytest.raises(TransportFault) as raised:
        await get(transport, origin)
    assert (raised.value.phase, raised.value.sent) == (Phase.TLS, False)
    return raised.value


async def test_a_certificate_for_the_host_of_the_url_is_believed(authority: Authority) -> None:
    """Whatever the address: what counts is the name in the URL, which is also what is asked for by SNI."""
    serving = authority.serving(NAME)
    asked: list[str] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    serving.set_alpn_protocols(["h2", "http/1.1"])
    negotiated: list[str | None] = []

    async def script(peer: Peer) -> None:
        negotiated.append(peer.tls.selected_alpn_protocol())
        await polite(peer)

    async with Misbehaviour(script, tls=serving) as server, trusting(authority) as transport:
        answer = await get(transport, server.named(NAME))
    assert (answer.status, asked, negotiated) == (200, [NAME], ["http/1.1"])
    assert None not in (answer.timing.dns_ms, answer.timing.connect_ms, answer.timing.tls_ms)


async def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    """The reason is OpenSSL's, in words, and names the host."""
    tls = authority.serving("other.example.com")
    async with Misbehaviour(polite, tls=tls) as server, trusting(authority) as transport:
        fault = await fault_of(transport, server.named(NAME))
        assert server.requests == []
    assert fault.fault is Fault.TLS
    assert "certificate refused: Hostname mismatch" in fault.detail


async def test_a_certificate_for_another_address_is_refused(authority: Authority) -> None:
    """An address in the URL has to stand in the certificate as well."""
    async with Misbehaviour(polite, tls=authority.serving(NAME)) as server, trusting(authority) as transport:
        assert "certificate refused" in (await fault_of(transport, server.origin)).detail


async def test_a_self_signed_certificate_is_refused(authority: Authority) -> None:
    """Nobody vouches for it, and there is no option to believe it all the same."""
    tls = authority.serving(NAME, self_signed=True)
    async with Misbehaviour(polite, tls=tls) as server, trusting(authority) as transport:
        fault = await fault_of(transport, server.named(NAME))
    assert (fault.fault, fault.detail) == (Fault.TLS, "certificate refused: self-signed certificate")


async def test_an_unknown_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    """A certificate that is right in all but its authority."""
    tls = Authority.make(tmp_path).serving(NAME)
    async with Misbehaviour(polite, tls=tls) as server, trusting(authority) as transport:
        assert "certificate refused" in (await fault_of(transport, server.named(NAME))).detail


async def test_the_default_trusts_the_authorities_of_the_system(authority: Authority) -> None:
    """Without a context of the caller's, a private authority is not believed."""
    async with (
        Misbehaviour(polite, tls=authority.serving(NAME)) as server,
        Transport(allow, resolve=loopback) as transport,
    ):
        assert (await fault_of(transport, server.named(NAME))).fault is Fault.TLS


async def test_plain_text_on_a_tls_port_is_a_tls_fault(authority: Authority) -> None:
    """The server speaks HTTP where https was asked for."""

    async def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with Misbehaviour(script) as server, trusting(authority) as transport:
        fault = await fault_of(transport, Origin("https", NAME, server.origin.port))
    assert (fault.fault, fault.detail) == (Fault.TLS, "wrong version number")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_close_during_the_handshake_is_a_tls_fault(authority: Authority, reset: bool) -> None:
    """A load balancer without a backend, say."""

    async def script(peer: Peer) -> None:
        peer.reset() if reset else peer.close()

    async with Misbehaviour(script) as server, trusting(authority) as transport:
        fault = await fault_of(transport, Origin("https", NAME, server.origin.port))
    assert fault.fault is Fault.TLS
    assert fault.detail


async def test_a_handshake_that_hangs_is_a_timeout(authority: Authority) -> None:
    """The deadline covers TLS, and the detail says so."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with Misbehaviour(script) as server, trusting(authority) as transport:
        request = Request("GET", Origin("https", NAME, server.origin.port), "/")
        with pytest.raises(TransportFault) as raised:
            await transport.exchange("a", request, deadline_seconds=SHORT)
        await server.peers[0].closed_by_client.wait()
    assert (raised.value.fault, raised.value.phase) == (Fault.TIMEOUT, Phase.TLS)
    assert raised.value.detail.startswith("tls")


async def test_no_session_is_resumed(authority: Authority) -> None:
    """Each connection shakes hands in full: a session ticket would tell the server that two endpoints are one."""
    resumed: list[bool | None] = []

    async def script(peer: Peer) -> None:
        resumed.append(peer.tls.session_reused)
        await polite(peer)

    async with (
        Misbehaviour(script, tls=authority.serving(NAME)) as server,
        trusting(authority) as transport,
    ):
        for pool in ("a", "b", "a"):
            await get(transport, server.named(NAME), pool)
        transport.close_pool("a")
        await get(transport, server.named(NAME))
        assert server.connections == 3
    assert resumed == [False] * 3


async def test_a_kept_tls_connection_is_reused_and_replaced(authority: Authority) -> None:
    """As without TLS: kept for its pool, and replaced when the server closed it."""
    async with (
        Misbehaviour(polite, tls=authority.serving(NAME)) as server,
        trusting(authority) as transport,
    ):
        for _ in range(3):
            await get(transport, server.named(NAME))
        assert server.connections == 1
        server.peers[0].close()
        await server.peers[0].closed_by_client.wait()
        await get(transport, server.named(NAME))
        assert server.connections == 2


async def test_a_server_that_asks_for_our_certificate_is_a_tls_fault(authority: Authority) -> None:
    """TLS 1.3 refuses a client after the handshake, in place of an answer: the reason is TLS's all the same."""
    tls = authority.serving(NAME)
    tls.verify_mode = ssl.CERT_REQUIRED

    def refuse(listener: socket.socket) -> None:
        # In a thread: asyncio's server closes before its alert is sent.
        accepted, _ = listener.accept()
        with tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as wrapped:
            with pytest.raises(ssl.SSLError):
                wrapped.do_handshake()
            while os.read(wrapped.fileno(), 4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal = asyncio.ensure_future(asyncio.to_thread(refuse, listener))
        origin = Origin("https", NAME, listener.getsockname()[1])
        async with trusting(authority) as transport:
            with pytest.raises(TransportFault) as raised:
                await get(transport, origin)
        await refusal
    assert raised.value.fault is Fault.TLS
    assert "certificate required" in raised.value.detail


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_tls_connection_closed_under_our_request_is_tried_once_more(
    authority: Authority, reset: bool
) -> None:
    """The safe reconnect holds however TLS reports the end of a connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()
        peer.reset() if reset else peer.close()

    async with (
        Misbehaviour(script, polite, tls=authority.serving(NAME)) as server,
        trusting(authority) as transport,
    ):
        for _ in range(2):
            assert (await get(transport, server.named(NAME))).body == b"ok"
        assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_server_of_the_last_decade_but_one_is_refused(authority: Authority) -> None:
    """TLS 1.2 is the least, also with a context that would have taken less."""
    lax = authority.trusting()
    lax.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    async with Transport(allow, ssl_context=lax):
        assert lax.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_context_that_does_not_verify_is_no_context(authority: Authority) -> None:
    """Verification cannot be turned off: not the certificate's, and not the name's."""
    nameless = authority.trusting()
    nameless.check_hostname = False
    trusting_all = ssl.create_default_context()
    trusting_all.check_hostname = False
    trusting_all.verify_mode = ssl.CERT_NONE
    for context in (nameless, trusting_all):
        with pytest.raises(ValueError, match="must require certificates"):
            Transport(allow, ssl_context=context)
