"""Fixtures of the transport's tests: nginx, uvicorn, certificates, and a transport that must end without a connection.

A plugin that the test modules name in `pytest_plugins`; only they run on both event loops.
"""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvicorn
import uvloop
from asgi_echo import echo
from authorities import AUTHORITIES
from servers import NGINX_CONF, Authority, Nginx, allow, free_port, listening
from until import until

from bridge.transport import Transport


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The transport must work on the loop that we run and on the one that everybody has."""
    if not item.path.name.startswith("test_transport"):
        return {"asyncio": asyncio.new_event_loop}  # the hook, once registered, is asked for every test
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """A transport that may dial anything; after the test no connection is left, and the loop had no complaint."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    running = Transport(allow, ssl_context=AUTHORITIES)
    yield running
    await running.aclose()
    assert not complaints
    assert repr(running) == "<Transport 0 pools, 0 connections, 0 idle>"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of this test session."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Nginx]:
    """A real nginx of this session; skips where there is none."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if binary is None:
        pytest.skip("nginx is not installed on this machine, and pip cannot install it")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "html").mkdir()
    (folder / "html" / "large.txt").write_text("0123456789abcdef" * 16_384)
    certificate, key = authority.issue("nginx.test", "127.0.0.1")
    running = Nginx(free_port(), free_port())
    # Started by root, nginx would serve as nobody, who may not read a temporary folder of root's.
    user = "user root; " if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        NGINX_CONF.format(
            user=user, folder=folder, certificate=certificate, key=key, port=running.port, tls_port=running.tls_port
        )
    )
    process = subprocess.Popen(
        [binary, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: process.poll() is not None or listening(running.tls_port))
        assert process.poll() is None, (folder / "error.log").read_text()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def uvicorn_port() -> Iterator[int]:
    """The port of a real uvicorn that runs `echo`, in a thread with a loop of its own."""
    port = free_port()
    config = uvicorn.Config(echo, port=port, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    until(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join(timeout=10)
