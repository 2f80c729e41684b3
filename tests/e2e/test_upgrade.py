"""docs/how-to/upgrade.md: the copy of Redis' data, and the way back by it, on each Redis that there is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from bridge.sandbox.redis import RedisServer
from bridge.sandbox.redis_binary import embedded_binary, find_binary

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/upgrade.md").read_text()
BLOCKS = [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
BACKUP, SINCE, EXCHANGE, AGAIN = (
    next(one for one in BLOCKS if word in one)
    for word in ("BGREWRITEAOF", "export --with-secrets > backup/since", "SHUTDOWN", "import")
)
REDIS_CLI = shutil.which("redis-cli") or str(Path(sys.executable).parent / "redis-cli")
Shell = Callable[[str], None]


@pytest.fixture(params=["path", "embedded"])
def binary(request: pytest.FixtureRequest) -> Path:
    """A redis-server."""
    found = find_binary() if request.param == "path" else embedded_binary()
    if found is None:
        pytest.skip("no embedded redis-server here")
    return found


def shell_for(server: RedisServer, directory: Path) -> Shell:
    """Runs a block of the page where `bridge` is ours and `redis-cli` speaks to this Redis; each line has to work."""
    programs = directory / "bin"
    programs.mkdir()
    for name, call in (("bridge", f"{sys.executable} -m bridge"), ("redis-cli", f"{REDIS_CLI} -p {server.port}")):
        (programs / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}", "BRIDGE_REDIS_URL": server.url, "NO_COLOR": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }  # fmt: skip

    def shell(block: str) -> None:
        done = subprocess.run(["bash", "-ec", block], cwd=directory, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return shell


@pytest.mark.slow
def test_the_copy_leads_back_and_what_came_since_is_registered_again(binary: Path, tmp_path: Path) -> None:
    """What the newer version wrote into Redis is gone, what was registered before and since is there."""
    data = tmp_path / "its data"
    with RedisServer(binary, directory=data) as server:
        shell = shell_for(server, tmp_path)
        with Redis.from_url(server.url) as client:
            shell("bridge task add before")
            client.hset("bridge:meta", "data_version", 1)
            shell(BACKUP)
            assert oct((tmp_path / "backup").stat().st_mode)[-3:] == "700"
            client.hset("bridge:meta", "x-written-by", "the newer one")
            shell("bridge task add since")
            shell(SINCE)
        shell(EXCHANGE)
        server.restart()
        with Redis.from_url(server.url) as client:
            assert client.hgetall("bridge:meta") == {b"data_version": b"1"}
            assert client.zrange("bridge:tasks", 0, -1) == [b"before"]
            shell(AGAIN.replace("bridge doctor", "bridge doctor || true"))
            assert set(client.zrange("bridge:tasks", 0, -1)) == {b"before", b"since"}


@pytest.mark.slow
def test_a_newer_redis_goes_on_with_the_file_of_6_2_and_not_the_other_way_round(tmp_path: Path) -> None:
    """In the same directory; whoever starts the older one again begins with nothing, as the page says."""
    older, newer = embedded_binary(), find_binary()
    if older is None:
        pytest.skip("no embedded redis-server here")
    found = []
    for binary in (older, newer, older):
        with RedisServer(binary, directory=tmp_path) as server, Redis.from_url(server.url) as client:
            if (int(server.version.partition(".")[0]) < 7) is not (binary is older):
                pytest.skip("it is not 6.2 and a newer one that are here")
            found.append(client.zrange("bridge:tasks", 0, -1))
            client.zadd("bridge:tasks", {"t1": 0})
    assert found == [[], [b"t1"], []]
