"""The programs in docs/contract/README.md, run as they stand there, with no more than a producer's rights."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nodejs import modules_with
from redis import Redis
from test_contract_by_hand import README, SECRET, major, observe, url_for, users_of, with_password

from bridge.acl import PRODUCER
from bridge.guard import Policy
from bridge.sandbox.redis import RedisServer
from bridge.store import Store
from bridge.store.intake import Intake

OLD, TASK, BAD = (f"6a0b1c2d3e4f5a6b7c8d9e{number}" for number in ("01", "02", "03"))


def program(language: str) -> str:
    """The one program of the page in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def python(directory: Path) -> list[str]:
    """How the Python program is run."""
    (directory / "recipe.py").write_text(program("python"))
    return [sys.executable, "recipe.py"]


def node(directory: Path) -> list[str]:
    """How the Node program is run, where Node has its library: below NODE_PATH or among the global packages."""
    (directory / "node_modules").symlink_to(modules_with("ioredis"))
    (directory / "recipe.mjs").write_text(program("js"))
    return ["node", "recipe.mjs"]


def go(directory: Path) -> list[str]:
    """How the Go program is run, where Go finds its library without asking the network."""
    if not shutil.which("go"):
        pytest.skip("go is not installed here")
    (directory / "main.go").write_text(program("go"))
    assert subprocess.run(["gofmt", "-l", "."], cwd=directory, capture_output=True, text=True, check=True).stdout == ""
    steps = (["go", "mod", "init", "recipe"], ["go", "get", "github.com/redis/go-redis/v9@v9.5.1"],
             ["go", "mod", "tidy"], ["go", "vet", "./..."], ["go", "build", "-o", "recipe"])  # fmt: skip
    for words in steps:
        done = subprocess.run(
            words, cwd=directory, env={**os.environ, "GOPROXY": "off"}, capture_output=True, text=True
        )
        if done.returncode and words[1] == "get":
            pytest.skip("go-redis is not in Go's module cache here")
        assert done.returncode == 0, done.stderr
    return ["./recipe"]


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    """A Redis that knows a producer by name."""
    with RedisServer() as server:
        if major(server) < 7:
            pytest.skip("before Redis 7 a producer's reading is another user's")
        with Redis.from_url(server.url) as operator:
            for user in users_of(server):
                operator.execute_command(*with_password(user.line(command=True)).split())
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("how", [python, node, go], ids=lambda how: how.__name__)
async def test_a_program_of_the_page_does_what_it_says_under_a_producers_rights(
    guarded: RedisServer, tmp_path: Path, how: Callable[[Path], list[str]]
) -> None:
    """It registers, reads a snapshot, the events and a rejection that are there, and removes what was there."""
    command = how(tmp_path)
    async with Store.open(guarded.url) as store:
        intake = Intake(store, Policy(), has_default_secret=False)
        ends = {"url": "https://example.com/ends", "secret": SECRET, "events": ["index.task.ready"]}
        await store.client.hset("bridge:endpoints", "ends", json.dumps(ends))
        await store.client.zadd("bridge:tasks", {OLD: 0, TASK: 0, BAD: 1763925001123})
        await intake.run()
        await observe(store, TASK)
        await store.client.zrem("bridge:tasks", TASK)

        environment = {**os.environ, "REDIS_URL": url_for(guarded, PRODUCER), "HOOK_SECRET": SECRET}
        done = await asyncio.to_thread(run, command, tmp_path, environment)
        assert (done.returncode, done.stderr) == (0, "")
        seen, event, refused = done.stdout.splitlines()
        assert seen == f"{TASK} indexing"
        assert re.fullmatch(rf"\d+-\d+ index\.task\.indexing {TASK} evt_[0-9a-f]{{32}}", event)
        assert refused.startswith(f"task:{BAD} - a score above 1e11 is in milliseconds")
        assert refused.endswith(f" - ZADD bridge:tasks NX 0 {BAD}")

        assert not (await intake.run()).rejected
        assert await store.client.hkeys("bridge:registry") == [b"billing"]
        assert await store.client.zrange("bridge:tasks", 0, -1) == [TASK.encode()]
        assert json.loads(await store.client.hget(f"bridge:task:{TASK}", "metadata") or "") == {"order": 42}


def run(command: list[str], directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The program, to its end."""
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=50)
