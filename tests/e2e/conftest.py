"""`bridge` as a function, on an empty, real Redis."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from bridge.cli import run

Bridge = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bridge(
    redis_url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Bridge:
    """`bridge` in this process, with loopback callbacks allowed: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_REDIS_URL", redis_url)
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "true")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(list(words))
        out, told = capfd.readouterr()
        assert "Traceback" not in out + told
        return code, out, told

    return call


@pytest.fixture
def client(redis_url: str) -> Iterator["Redis"]:
    """A client's own connection. An event's body is packed, and no text."""
    with Redis.from_url(redis_url, decode_responses=True, encoding_errors="backslashreplace") as client:
        yield client
