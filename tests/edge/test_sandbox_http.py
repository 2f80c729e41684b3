"""The sandbox's HTTP server: correct where it should be, wrong only where a response says so."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from until import eventually

from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response, json_response
from bridge.sandbox.thread import in_thread

Answer = Callable[[Request], Response | Awaitable[Response]]

SHORT = httpx.Timeout(5, read=0.05)


def echo(request: Request) -> Response:
    """What was asked, as JSON."""
    asked = {"method": request.method, "path": request.path, "params": request.params, "body": request.body.decode()}
    return json_response({**asked, "x": request.headers.get("x-twice")})


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    """A started server that echoes; a test replaces its handler."""
    running = HttpServer(echo)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that server."""
    async with httpx.AsyncClient(base_url=server.url, timeout=5) as ready:
        yield ready


async def talk(server: HttpServer, request: bytes, *, end: bytes | None = None) -> bytes:
    """Send raw bytes; read to the end of the connection, or to `end`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await (reader.read() if end is None else reader.readuntil(end))
    finally:
        writer.close()
        await writer.wait_closed()


def tls_contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a fresh certificate for 127.0.0.1, and a client's that trusts it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    today, address = datetime.now(UTC), x509.IPAddress(ip_address("127.0.0.1"))
    draft = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    draft = draft.not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
    draft = draft.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    certificate = draft.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    file = directory / "server.pem"
    file.write_bytes(certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, ssl.create_default_context(cadata=certificate.decode())


async def test_a_request_is_read_whole(client: httpx.AsyncClient) -> None:
    """Path and query are decoded, repeated keys and headers kept, the body complete."""
    headers = [("x-twice", "1"), ("X-Twice", "2")]
    answer = await client.post("/a%20b?k=1&k=2&e=", content=b"x" * 200_000, headers=headers)
    asked = {"method": "POST", "path": "/a b", "params": [["k", "1"], ["k", "2"], ["e", ""]], "x": "1, 2"}
    assert answer.json() == {**asked, "body": "x" * 200_000}


async def test_a_connection_is_kept(server: HttpServer, client: httpx.AsyncClient) -> None:
    """Many requests, one connection; unless the answer or the request closes it."""
    for _ in range(3):
        await client.get("/")
    assert server.connections == 1
    server.handler = lambda request: Response(close=True)
    await client.get("/")
    await client.get("/", headers={"connection": "close"})
    await client.get("/")
    assert server.connections == 3


async def test_pipelined_requests_are_answered_in_order(server: HttpServer) -> None:
    """Also when the first of them takes longest, and when there are more than the server reads ahead."""

    async def later(request: Request) -> Response:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return Response(body=request.path.encode() + b";")

    server.handler = later
    asked = b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(300))
    said = await talk(server, asked + b"GET /end HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert [int(part.rpartition(b"/")[2]) for part in said.split(b";")[:-2]] == list(range(300))
    assert said.endswith(b"/end;")


async def test_bodies_that_must_not_be_there_are_not(server: HttpServer, client: httpx.AsyncClient) -> None:
    """HEAD has a length and no body; 204 has neither."""
    server.handler = lambda request: Response(204 if request.path == "/none" else 200, body=b"body")
    head, none = await client.head("/"), await client.get("/none")
    assert (head.content, head.headers["content-length"]) == (b"", "4")
    assert (none.content, "content-length" in none.headers) == (b"", False)
    assert (await client.get("/")).content == b"body"


async def test_what_is_not_http_is_refused(server: HttpServer) -> None:
    """Garbage is answered 400 and the connection closed."""
    assert (await talk(server, b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_an_expectation_is_met(server: HttpServer) -> None:
    """A client that waits for 100 Continue, as curl does, gets it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"ok")
    assert b'"body":"ok"' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_failing_handler_is_a_500_and_is_reported(server: HttpServer, client: httpx.AsyncClient) -> None:
    """Synchronous or not, its exception reaches the loop's exception handler, so that a test can see it."""
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    error = ValueError("a bug")

    def fail(request: Request) -> Response:
        raise error

    async def fail_later(request: Request) -> Response:
        await asyncio.sleep(0)
        raise error

    for handler in (fail, fail_later):
        server.handler = handler
        answer = await client.get("/")
        assert (answer.status_code, answer.text) == (500, "ValueError: a bug")
    assert seen == [error, error]


async def test_a_reset_is_a_reset(server: HttpServer, client: httpx.AsyncClient) -> None:
    """The peer sees ECONNRESET, not an orderly close."""
    server.handler = lambda request: Response(reset=True)
    with pytest.raises(httpx.ReadError) as caught:
        await client.get("/")
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, ConnectionResetError):
        cause = cause.__cause__ or cause.__context__
    assert isinstance(cause, ConnectionResetError)


async def test_a_cut_body_promises_more_than_it_sends(server: HttpServer) -> None:
    """content-length is that of the whole; the connection ends early."""
    server.handler = lambda request: Response(body=b"0123456789", cut_at=4)
    said = await talk(server, b"GET / HTTP/1.1\r\n\r\n")
    assert b"content-length: 10" in said
    assert said.endswith(b"\r\n\r\n0123")


async def test_raw_bytes_are_sent_as_they_are(server: HttpServer) -> None:
    """Nothing is added to them."""
    server.handler = lambda request: Response(raw=b"SSH-2.0-not-http\r\n")
    assert await talk(server, b"GET / HTTP/1.1\r\n\r\n") == b"SSH-2.0-not-http\r\n"


async def test_a_hanging_answer_never_comes(server: HttpServer, client: httpx.AsyncClient) -> None:
    """The connection stays open; others are served meanwhile; stop does not wait for it."""
    server.handler = lambda request: Response(hang=request.path == "/hang", body=b"ok")
    with pytest.raises(httpx.ReadTimeout):
        await client.get("/hang", timeout=SHORT)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    assert (await client.get("/")).text == "ok"
    await server.stop()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_delayed_and_a_dripped_answer_take_their_time(server: HttpServer, client: httpx.AsyncClient) -> None:
    """delay_seconds before the head, drip_seconds before each byte of the body."""
    server.handler = lambda request: Response(body=b"slow", delay_seconds=0.05, drip_seconds=0.02)
    started = time.monotonic()
    assert (await client.get("/")).text == "slow"
    assert time.monotonic() - started >= 0.13


async def test_on_sent_is_told_of_whole_answers_only(server: HttpServer, client: httpx.AsyncClient) -> None:
    """An answer that was cut, or whose client left before it came, was not sent."""
    sent: list[str] = []
    spoilt = {"/cut": {"cut_at": 1}, "/late": {"delay_seconds": 0.2}}

    def answer(request: Request) -> Response:
        return Response(body=b"ab", on_sent=lambda: sent.append(request.path), **spoilt.get(request.path, {}))  # type: ignore[arg-type]

    server.handler = answer
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/cut")
    with pytest.raises(httpx.ReadTimeout):
        await client.get("/late", timeout=SHORT)
    await eventually(lambda: not server._tasks)
    await client.get("/whole")
    assert sent == ["/whole"]


async def test_all_connections_can_be_dropped(server: HttpServer, client: httpx.AsyncClient) -> None:
    """Idle ones too; the port stays open."""
    await client.get("/")
    server.drop_connections(reset=True)
    await eventually(lambda: not server._open)
    assert (await client.get("/")).status_code == 200
    assert server.connections == 2


async def test_stop_frees_the_port_and_start_takes_it_again(server: HttpServer) -> None:
    """The port number outlives a stop; a taken port is an OSError."""
    port = server.port
    await server.stop()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await server.start(port)
    assert server.port == port
    with pytest.raises(OSError, match="address already in use"):
        await HttpServer(echo).start(port)
    with pytest.raises(RuntimeError):
        await server.start()


async def test_tls_is_spoken_when_asked_for(tmp_path: Path) -> None:
    """With the caller's context; a reset and a stop work through it as well."""
    context, trusting = tls_contexts(tmp_path)
    server = HttpServer(lambda request: Response(body=b"safe", reset=request.path == "/reset"))
    await server.start(ssl=context)
    async with httpx.AsyncClient(base_url=server.url, verify=trusting, timeout=5) as client:
        assert server.url.startswith("https://")
        assert (await client.get("/")).text == "safe"
        with pytest.raises(httpx.ReadError):
            await client.get("/reset")
        await client.get("/")
        await server.stop()


def test_servers_run_beside_synchronous_code() -> None:
    """in_thread starts several in one loop, hands over exceptions, and stops all of them."""
    first, second = HttpServer(echo), HttpServer(echo)

    async def fail() -> None:
        raise LookupError("in the loop")

    with in_thread(first, second) as inside:
        assert httpx.get(first.url).status_code == httpx.get(second.url).status_code == 200
        with pytest.raises(LookupError, match="in the loop"):
            inside.run(fail())
        with pytest.raises(TimeoutError):
            inside.run(asyncio.sleep(60), timeout_seconds=0.01)
    for server in (first, second):
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


async def test_it_is_fast_enough_not_to_be_what_is_measured(server: HttpServer) -> None:
    """Thousands of small requests a second on one core, also when the client shares it: the bound here is loose."""
    server.handler = lambda request: Response(204)
    total, width = 4000, 8
    ask, answer = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", b"\r\n\r\n"

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(total // width):
            writer.write(ask)
            await reader.readuntil(answer)
        writer.close()
        await writer.wait_closed()

    started = time.process_time()
    await asyncio.gather(*(client() for _ in range(width)))
    assert total / (time.process_time() - started) > 1500
