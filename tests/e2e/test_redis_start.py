"""config/redis-start.sh: the Redis of the stack, run without a container."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from until import until

from bridge.sandbox.redis_binary import find_binary, server_version

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def url(directory: Path, role: str, port: int) -> str:
    """As the script wrote it for the stack, on this machine and port."""
    return (directory / "login" / f"{role}.url").read_text().strip().replace("@redis:6379", f"@127.0.0.1:{port}")


@contextmanager
def started(directory: Path, port: int) -> Iterator["Redis"]:
    """The script, until its Redis answers; then killed. The client is the worker's."""
    binary = find_binary()
    if int(server_version(binary).partition(".")[0]) < 7:
        pytest.skip("the stack's ACL lines are for Redis 7 and later")
    for name in ("login", "data", "bin"):
        (directory / name).mkdir(exist_ok=True)
    if not (directory / "bin/redis-server").exists():
        (directory / "bin/redis-server").symlink_to(binary)
    environment = {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "LOGIN_DIR": str(directory / "login"),
        "CONFIG_DIR": str(CONFIG), "DATA_DIR": str(directory / "data"),
    }  # fmt: skip
    process = subprocess.Popen(
        [shutil.which("sh") or "/bin/sh", str(CONFIG / "redis-start.sh"), "--port", str(port), "--bind", "127.0.0.1"],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(directory, port))
        with Redis.from_url(url(directory, "worker", port)) as client:
            yield client
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def answers(directory: Path, port: int) -> bool:
    """Whether it can be spoken to by now."""
    try:
        with Redis.from_url(url(directory, "worker", port)) as client:
            return bool(client.ping())
    except (OSError, RedisError):
        return False


def test_the_stack_reaches_it_over_its_network(tmp_path: Path) -> None:
    """config/redis.conf listens on this machine alone: the script says otherwise; what it is given comes last."""
    for name in ("login", "bin"):
        (tmp_path / name).mkdir()
    stand_in = tmp_path / "bin/redis-server"
    stand_in.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    stand_in.chmod(0o700)
    words = subprocess.run(
        [shutil.which("sh") or "/bin/sh", str(CONFIG / "redis-start.sh"), "--last"],
        env={"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "LOGIN_DIR": str(tmp_path / "login"),
             "CONFIG_DIR": str(CONFIG)},
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    at = words.index("--bind")
    assert (words[at + 1 : at + 3], words[-1]) == (["*", "-::*"], "--last")


def test_what_was_written_in_a_transaction_outlives_a_kill(tmp_path: Path, port: int) -> None:
    """Redis reads its append-only file as the default user, which nobody may connect as and which keeps its rights."""
    with started(tmp_path, port) as client:
        pipe = client.pipeline(transaction=True)
        pipe.zadd("bridge:tasks", {"t1": 0})
        pipe.hset("bridge:task:t1", "metadata", "{}")
        pipe.execute()
    with started(tmp_path, port) as client:
        assert client.zscore("bridge:tasks", "t1") == 0
        assert client.hget("bridge:task:t1", "metadata") == b"{}"


def test_passwords_stay_and_every_user_has_one(tmp_path: Path, port: int) -> None:
    """A restart keeps them; without one of them nobody comes in, but for asking whether it is there."""
    with started(tmp_path, port):
        before = [url(tmp_path, role, port) for role in ("worker", "operator", "producer")]
        assert len(set(before)) == 3
    with started(tmp_path, port):
        for role, one in zip(("worker", "operator", "producer"), before, strict=True):
            with Redis.from_url(one) as client:
                assert client.execute_command("ACL", "WHOAMI") == f"bridge-{role}".encode()
        with Redis(port=port) as unnamed, pytest.raises(AuthenticationError):
            unnamed.get("bridge:tasks")
        with Redis(port=port, username="health", password="any") as health:
            assert health.ping()
            with pytest.raises(NoPermissionError):
                health.get("bridge:tasks")
        with Redis(port=port, username="bridge-worker", password="guess") as guess, pytest.raises(AuthenticationError):
            guess.ping()
    assert {path.stat().st_mode & 0o007 for path in (tmp_path / "login").iterdir()} == {0}
