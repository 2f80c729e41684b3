"""Behind httpx's interface: the same transport, with httpx's words for what went wrong."""

import gzip

import httpx
import pytest
from misbehave import OK, Misbehaviour, Peer, Script, polite, says
from servers import DEADLINE, SHORT, allow, free_port

from bridge.transport import Limits, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)


def url(server: Misbehaviour, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.origin.port}{path}"


async def test_a_client_gets_and_posts(uvicorn_port: int) -> None:
    """An httpx client on this transport behaves like an httpx client."""
    async with httpx.AsyncClient(transport=Transport(allow), base_url=f"http://127.0.0.1:{uvicorn_port}") as client:
        got = (await client.get("/a", params={"b": "c d"}, headers={"x-key": "1"})).json()
        posted = (await client.post("/a", json={"a": 1})).json()
        streamed = await client.get("/stream")
    assert (got["method"], got["path"], got["query"], got["headers"]["x-key"]) == ("GET", "/a", "b=c+d", "1")
    assert got["headers"]["accept-encoding"] == "identity"
    assert (posted["body"], posted["headers"]["content-type"]) == ('{"a":1}', "application/json")
    assert (streamed.text, streamed.http_version) == ("one,two,three", "HTTP/1.1")


async def test_the_pool_is_named_by_an_extension() -> None:
    """`bridge_pool` separates connections as `exchange` does."""
    async with Misbehaviour(polite) as server, httpx.AsyncClient(transport=Transport(allow)) as client:
        for pool in ("a", "b", "a"):
            await client.get(url(server), extensions={"bridge_pool": pool})
        assert server.connections == 2


async def test_httpx_does_not_inflate_either() -> None:
    """A server that compresses unasked is read as the bytes it sent: the bomb stays small in httpx's hands too."""
    bomb = gzip.compress(b"\0" * 20_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with Misbehaviour(says(head + bomb)) as server, httpx.AsyncClient(transport=Transport(allow)) as client:
        answer = await client.get(url(server))
    assert answer.content == bomb


async def test_a_cut_body_says_so() -> None:
    """The answer's extension tells a truncated body from a whole one."""
    transport = Transport(allow, limits=Limits(body_bytes=1))
    async with Misbehaviour(says(OK)) as server, httpx.AsyncClient(transport=transport) as client:
        answer = await client.get(url(server))
    assert (answer.content, answer.extensions["bridge_truncated"]) == (b"o", True)


async def silent(peer: Peer) -> None:
    await peer.request()


async def closing(peer: Peer) -> None:
    await peer.request()
    peer.close()


FAULTS = [
    pytest.param(silent, httpx.ReadTimeout, id="no answer"),
    pytest.param(closing, httpx.ReadError, id="closed"),
    pytest.param(says(b"nonsense\r\n\r\n"), httpx.RemoteProtocolError, id="nonsense"),
]


@pytest.mark.parametrize(("script", "error"), FAULTS)
async def test_faults_become_httpx_exceptions(script: Script, error: type[Exception]) -> None:
    """What code written for httpx expects, with the fault as its cause."""
    async with Misbehaviour(script) as server, httpx.AsyncClient(transport=Transport(allow)) as client:
        seconds = SHORT if error is httpx.ReadTimeout else DEADLINE
        with pytest.raises(error) as raised:
            await client.get(url(server), extensions={"bridge_deadline_seconds": seconds})
    assert isinstance(raised.value.__cause__, TransportFault)


async def test_faults_of_the_dial_are_connect_errors() -> None:
    """Refused by the network, refused by the judge, or not resolved: nothing was connected."""
    async with httpx.AsyncClient(transport=Transport(allow)) as client:
        with pytest.raises(httpx.ConnectError, match="connection refused"):
            await client.get(f"http://127.0.0.1:{free_port()}/")
    async with httpx.AsyncClient(transport=Transport(lambda *_: "not allowed")) as client:
        with pytest.raises(httpx.ConnectError, match="not allowed"):
            await client.get("http://127.0.0.1:1/")


async def test_a_slow_dial_is_a_connect_timeout() -> None:
    """The deadline that passes before a connection exists is httpx's ConnectTimeout."""

    async def handshakeless(peer: Peer) -> None:
        await peer.gone()

    async with Misbehaviour(handshakeless) as server, httpx.AsyncClient(transport=Transport(allow)) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"https://127.0.0.1:{server.origin.port}/", extensions={"bridge_deadline_seconds": SHORT})
