"""Real servers, nginx and uvicorn: what HTTP looks like when nobody misbehaves."""

import asyncio
import json

import pytest
from misbehave import OK, Misbehaviour, says
from servers import DEADLINE, SHORT, Authority, Nginx, allow

from bridge.transport import Answer, Origin, Request, Transport

pytest_plugins = ("transport_fixtures",)


async def get(transport: Transport, port: int, target: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
    request = Request(method, Origin("http", "127.0.0.1", port), target, headers)
    return await transport.exchange("a", request, deadline_seconds=DEADLINE)


async def test_nginx_is_read_whole_over_one_connection(transport: Transport, nginx: Nginx) -> None:
    """Keep-alive with a length: nginx's own connection number stays the same."""
    answers = [await get(transport, nginx.port, "/hello") for _ in range(3)]
    assert {(answer.status, answer.body, answer.truncated) for answer in answers} == {(200, b"hello", False)}
    assert len({answer.header("X-Connection") for answer in answers}) == 1
    assert answers[0].header("content-length") == "5"
    assert answers[0].header("no-such-header") is None


async def test_nginx_answers_without_a_body_keep_the_connection(transport: Transport, nginx: Nginx) -> None:
    """204 is complete with its head."""
    answer = await get(transport, nginx.port, "/nothing")
    assert (answer.status, answer.body, answer.truncated) == (204, b"", False)
    assert repr(transport) == "<Transport 1 pools, 1 connections, 1 idle>"


async def test_nginx_chunked_gzip_is_not_inflated(transport: Transport, nginx: Nginx) -> None:
    """Who asks for gzip gets gzip: chunks are undone, compression is not."""
    answer = await get(transport, nginx.port, "/gzip", ("accept-encoding", "gzip"))
    assert answer.status == 200
    assert (answer.header("transfer-encoding"), answer.header("content-encoding")) == ("chunked", "gzip")
    assert answer.body.startswith(b"\x1f\x8b")
    assert not answer.truncated


async def test_nginx_is_asked_for_identity(transport: Transport, nginx: Nginx) -> None:
    """By default nothing comes compressed; a large body is cut at the limit."""
    answer = await get(transport, nginx.port, "/gzip")
    assert answer.header("content-encoding") is None
    assert (answer.status, len(answer.body), answer.truncated) == (200, 65_536, True)


async def test_nginx_close_is_obeyed(transport: Transport, nginx: Nginx) -> None:
    """`keepalive_timeout 0`: the answer is whole and the connection is not kept."""
    answer = await get(transport, nginx.port, "/close")
    assert (answer.body, answer.truncated) == (b"bye", False)
    assert "0 idle" in repr(transport)


async def test_nginx_slow_body_leaves_the_status(transport: Transport, nginx: Nginx) -> None:
    """Ten bytes a second never become a body; the answer was there with its head."""
    request = Request("GET", Origin("http", "127.0.0.1", nginx.port), "/slow")
    answer = await transport.exchange("a", request, deadline_seconds=SHORT)
    assert (answer.status, answer.truncated) == (200, True)


async def test_nginx_redirect_is_an_answer(transport: Transport, nginx: Nginx) -> None:
    """302 is returned as it is: following it is nobody's business here."""
    answer = await get(transport, nginx.port, "/moved")
    assert (answer.status, answer.header("location")) == (302, f"http://127.0.0.1:{nginx.port}/hello")


async def test_nginx_over_tls(nginx: Nginx, authority: Authority) -> None:
    """Many exchanges at once over TLS, each with its own answer, and connections are kept."""
    async with Transport(allow, ssl_context=authority.trusting()) as transport:
        request = Request("POST", Origin("https", "127.0.0.1", nginx.tls_port), "/hello", [], b"x" * 10_000)
        for _ in range(2):
            exchanges = [transport.exchange("a", request, deadline_seconds=DEADLINE) for _ in range(10)]
            assert {answer.body for answer in await asyncio.gather(*exchanges)} == {b"hello"}
        assert repr(transport) == "<Transport 1 pools, 10 connections, 10 idle>"


async def test_uvicorn_sees_the_request_as_it_was_made(transport: Transport, uvicorn_port: int) -> None:
    """Method, target, headers and body arrive; what frames the message is ours; cookies are not kept."""
    origin = Origin("http", "127.0.0.1", uvicorn_port)
    request = Request("POST", origin, "/hooks/a?b=c%20d", [("webhook-id", "evt_1")], "größe".encode())
    for _ in range(2):
        answer = await transport.exchange("a", request, deadline_seconds=DEADLINE)
        assert answer.header("set-cookie")
        assert json.loads(answer.body) == {
            "method": "POST",
            "path": "/hooks/a",
            "query": "b=c%20d",
            "body": "größe",
            "headers": {
                "host": f"127.0.0.1:{uvicorn_port}",
                "webhook-id": "evt_1",
                "accept-encoding": "identity",
                "content-length": "7",
            },
        }


async def test_uvicorn_chunked(transport: Transport, uvicorn_port: int) -> None:
    """Chunks become one body, and the connection is kept."""
    for _ in range(2):
        answer = await get(transport, uvicorn_port, "/stream")
        assert (answer.body, answer.truncated) == (b"one,two,three", False)
    assert "1 connections" in repr(transport)


async def test_uvicorn_head(transport: Transport, uvicorn_port: int) -> None:
    """The answer to HEAD announces a body that never comes; it is complete all the same."""
    answer = await get(transport, uvicorn_port, "/", method="HEAD")
    assert answer.header("content-length") != "0"
    assert (answer.status, answer.body, answer.truncated) == (200, b"", False)


WHOLE = [
    pytest.param(b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", id="no length, read to the end"),
    pytest.param(b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end", id="HTTP/1.0"),
    pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b"", id="304 has no body"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
        b"ok",
        id="chunk extensions and trailers",
    ),
    pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, b"ok", id="1xx before it"),
    pytest.param(b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", b"", id="a status nobody knows, without a reason"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65_536, b"x" * 65_536, id="just 64 KiB"),
]


@pytest.mark.parametrize(("answer", "body"), WHOLE)
async def test_every_way_to_end_a_body_is_understood(transport: Transport, answer: bytes, body: bytes) -> None:
    """By length, by chunks, by the connection's end, or by having none: the body is whole, and known to be."""

    async with Misbehaviour(says(answer)) as server:
        exchange = asyncio.ensure_future(
            transport.exchange("a", Request("GET", server.origin, "/"), deadline_seconds=DEADLINE)
        )
        if b"to the end" in answer:
            await server.asked.wait()
            server.peers[0].close()
        got = await exchange
    assert (got.body, got.truncated) == (body, False)
    assert got.header("link") is None
    assert got.header("trailer") is None


async def test_header_values_are_latin_1_and_names_lower_case(transport: Transport) -> None:
    """No byte of a header makes an exchange fail, and no space around a value survives."""
    answer = b"HTTP/1.1 200 OK\r\nX-Name:  caf\xe9 \t\r\nX-NAME: second\r\nContent-Length: 0\r\n\r\n"
    async with Misbehaviour(says(answer)) as server:
        got = await transport.exchange("a", Request("GET", server.origin, "/"), deadline_seconds=DEADLINE)
    assert got.headers == (("x-name", "café"), ("x-name", "second"), ("content-length", "0"))
    assert got.header("X-Name") == "café"


async def test_the_environment_names_no_proxy(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its kin do not exist here: the request goes where its origin says."""
    async with Misbehaviour(says(OK)) as proxy, Misbehaviour(says(OK)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.origin.port}")
        await transport.exchange("a", Request("GET", server.origin, "/"), deadline_seconds=DEADLINE)
        assert (proxy.connections, server.connections) == (0, 1)
