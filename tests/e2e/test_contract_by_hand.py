"""docs/contract/README.md and `bridge contract acl`, tried on a real Redis: what is written there is what works."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError
from until import until

from benchmarks.stage import start_worker
from bridge.acl import OPERATOR, PRODUCER, READ_KEYS, WORKER, User, users
from bridge.cli import run
from bridge.cli.contract import KEYS
from bridge.diff import diff
from bridge.events import event_from, snapshot_after
from bridge.guard import Policy
from bridge.model import Change, Observation
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.redis_binary import embedded_binary, find_binary
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.store.intake import Intake

README = (Path(__file__).parents[2] / "docs/contract/README.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PASSWORD = "a-password-of-the-tests"
SECRET = generate_secret(bytes(range(32)))


def major(server: RedisServer) -> int:
    """The version that counts for ACLs."""
    return int(server.version.partition(".")[0])


def users_of(server: RedisServer) -> list[User]:
    """The users that `bridge contract acl` prints for this version."""
    return list(users("bridge:", before_7=major(server) < 7))


def with_password(line: str) -> str:
    """The line as an operator completes it."""
    return re.sub(r"#SHA256-OF-THE-PASSWORD-OF-\S+", "#" + sha256(PASSWORD.encode()).hexdigest(), line)


def url_for(server: RedisServer, name: str) -> str:
    """How a user connects."""
    return f"redis://{name}:{PASSWORD}@127.0.0.1:{server.port}/0"


@pytest.fixture(params=["path", "embedded"])
def guarded(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis with our users, and the default user closed; its landlord can look at its ACL log."""
    binary = find_binary() if request.param == "path" else embedded_binary()
    if binary is None:
        pytest.skip("no embedded redis-server here")
    with RedisServer(binary) as server:
        with Redis.from_url(server.url) as landlord:
            for user in users_of(server):
                words = with_password(user.line(command=True)).split()
                assert landlord.execute_command(*words) == b"OK"
            landlord.execute_command("ACL", "SETUSER", "landlord", "on", f">{PASSWORD}", "+@all", "~*", "&*")
            landlord.execute_command("ACL", "SETUSER", "default", "off")
        yield server


@pytest.fixture
async def store(guarded: RedisServer) -> AsyncIterator[Store]:
    """The store, as the worker's user."""
    async with Store.open(url_for(guarded, WORKER)) as store:
        yield store


def speaker(server: RedisServer, directory: Path) -> Callable[[str], str]:
    """Runs a line of the page in a shell whose `redis-cli` speaks to this Redis, as the user that may."""
    real = shutil.which("redis-cli") or str(Path(sys.executable).parent / "redis-cli")
    wrapper = directory / "redis-cli"
    wrapper.write_text(f'#!/bin/sh\nexec {real} --no-auth-warning -u "$REDIS_URL" "$@"\n')
    wrapper.chmod(0o755)

    def speak(line: str) -> str:
        looks = any(f" bridge:{key.rstrip('*')}" in line for key in READ_KEYS)
        user = f"{PRODUCER}-reader" if looks and major(server) < 7 else PRODUCER
        environment = {"PATH": f"{directory}:{os.environ['PATH']}", "REDIS_URL": url_for(server, user)}
        done = subprocess.run(["sh", "-c", line], cwd=directory, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
        return done.stdout.strip()

    return speak


async def observe(store: Store, member: str) -> None:
    """Commit a first sight of this task, as a poll would."""
    claim = await store.registry.claim_tasks(10, lease_ms=20_000)
    task = next(task for task in claim.tasks if task.member == member)
    now = await store.scripts.now()
    seen = Observation(member, "indexing", None, None, None, None, {"_id": member, "status": "indexing"})
    doubt = diff(None, seen, now=now)
    change = diff(None, seen, doubt=getattr(doubt, "fingerprint", None), doubted_at=now - 5_000, now=now)
    assert isinstance(change, Change)
    event = event_from(change, member, now=now, metadata=task.options.metadata)
    assert await store.registry.commit(task, event, snapshot_after(change, event), delay_ms=60_000) == "ok"


async def test_every_line_of_the_page_does_what_it_says_under_the_clients_rights(
    guarded: RedisServer, store: Store, tmp_path: Path
) -> None:
    """Each line as it stands, with a worker's intake after it; all of this with no more than the ACL grants."""
    (tmp_path / "billing.json").write_text(json.dumps({"url": "https://example.com/hook", "secret": SECRET}))
    speak, intake = speaker(guarded, tmp_path), Intake(store, Policy(), has_default_secret=False)
    replies: list[str] = []
    for line in LINES:
        if "bridge:snapshot" in line:
            await observe(store, "6a0b1c2d3e4f5a6b7c8d9e02")
        replies.append(speak(line))
        taken = await intake.run()
        assert not taken.rejected or "1763925001123" in line, line
    assert [int(reply) for reply in replies if reply.isdecimal()] == [
        *(1, 1),
        *(0, 1, 1, 1, 3),  # endpoints
        *(3, 1, 0, 1),  # tasks
        1,  # one that is rejected
        *(1, 1),  # another kind
        *(1, 1, 1, 2),  # watches
        *(1, 1, 0, 1),  # formats, and consent
    ]
    snapshot, newest, followed, rejection, rejections = (reply for reply in replies if not reply.isdecimal())
    assert "indexing" in snapshot.splitlines()
    assert "index.task.indexing" in newest.splitlines()
    assert "index.task.indexing" in followed.splitlines()
    assert rejections.splitlines() == ["task:6a0b1c2d3e4f5a6b7c8d9e03", rejection]
    (shown,) = map(json.loads, re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    assert json.loads(rejection) | {"at": 0} == shown | {"at": 0}
    assert sorted(await store.client.hkeys("bridge:registry")) == [b"assets", b"billing", b"old"]
    assert await store.client.zscore("bridge:tasks", "6a0b1c2d3e4f5a6b7c8d9e02") == float("inf")
    for key, kind, *_ in KEYS:
        name = "bridge:" + key.replace("<member>", "6a0b1c2d3e4f5a6b7c8d9e02")
        assert (name, await store.client.type(name)) == (name, kind.encode())
    (delivery,) = (await store.outbox.claim(10, lease_ms=20_000)).deliveries
    assert json.loads(delivery.body)["data"]["metadata"] == {"order": 42}


FORBIDDEN = [
    "LPUSH rq:queue:bridge-poll x", "HSET rq:job:x data x", "HGETALL rq:job:x", "DEL rq:workers", "SADD rq:queues x",
    "ZADD bridge:watch 0 x", "ZRANGE bridge:watch 0 -1", "HSET bridge:deliveries:a e x", "HGETALL bridge:deliveries:a",
    "HSET bridge:registry a x", "ZADD bridge:queue:a 0 e", "HSET bridge:watch:t1 token x", "HGETALL bridge:event:x",
    "HSET bridge:snapshot:t1 status ready", "HSET bridge:rejected x y", "DEL bridge:events", "HSET bridge:meta x y",
    "XADD bridge:events * a b", "SET bridge:tasks x", "RENAME bridge:tasks bridge:task:x", "EXPIRE bridge:tasks 1",
    "ZADD other 0 x", "GET other", "KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "INFO",
    "SHUTDOWN", "ACL LIST", "CLIENT LIST", "CLIENT KILL ID 1", "MONITOR", "SUBSCRIBE rq:pubsub:x",
    "PUBLISH rq:pubsub:x y", "EVAL return(1) 0", "SCRIPT FLUSH", "SORT bridge:tasks", "SWAPDB 0 1",
    "COPY bridge:tasks bridge:task:x",
]  # fmt: skip


def test_a_client_is_refused_everything_else(guarded: RedisServer) -> None:
    """RQ's keys and the bridge's own, writing what it may read, and every command that looks beyond."""
    with Redis.from_url(url_for(guarded, PRODUCER)) as client:
        for line in FORBIDDEN:
            with pytest.raises(NoPermissionError):
                print(line, client.execute_command(*line.split()))
        assert client.execute_command("ACL", "WHOAMI") == PRODUCER.encode()


def test_an_operator_only_looks_at_what_is_rqs(guarded: RedisServer) -> None:
    """Whoever writes there decides what a worker runs. Before 7 nobody can be granted a look alone."""
    with Redis.from_url(url_for(guarded, OPERATOR)) as client:
        assert client.llen("rq:queue:bridge-poll") == 0
        lines = ["CONFIG SET appendonly no", "FLUSHALL", "SET other x", "ACL LIST", "EVAL return(1) 0", "SHUTDOWN"]
        lines += ["LPUSH rq:queue:bridge-poll x", "DEL rq:workers"] if major(guarded) >= 7 else []
        for line in lines:
            with pytest.raises(NoPermissionError):
                print(line, client.execute_command(*line.split()))


def test_a_worker_is_refused_what_it_does_not_need(guarded: RedisServer) -> None:
    """Other keys, other channels, and commands that end or reveal a server."""
    with Redis.from_url(url_for(guarded, WORKER)) as client:
        for line in ("SET other x", "GET other", "FLUSHALL", "CONFIG GET *", "KEYS *", "ACL LIST", "SHUTDOWN",
                     "MONITOR", "SUBSCRIBE other", "PUBLISH rq:pubsub:x y", "EVAL return(1) 0"):  # fmt: skip
            with pytest.raises(NoPermissionError):
                print(line, client.execute_command(*line.split()))


def test_an_aclfile_of_these_lines_is_understood(tmp_path: Path) -> None:
    """The other way to bring them in: a server starts on them once each has a password, and on none without."""
    with RedisServer() as server:
        found = users_of(server)
        with Redis.from_url(server.url) as landlord:
            for user in found:
                with pytest.raises(ResponseError, match="password hash"):
                    landlord.execute_command(*user.line(command=True).split())
    (tmp_path / "users.acl").write_text("".join(with_password(user.line()) + "\n" for user in found))
    with RedisServer(extra=["--aclfile", str(tmp_path / "users.acl")]) as server:
        for user in found:
            with Redis.from_url(url_for(server, user.name)) as client:
                assert client.ping()


def refusals_of(server: RedisServer, user: str) -> list[dict[str, Any]]:
    """What Redis refused this user, beside CLIENT SETINFO, which redis-py says and Redis before 7.2 does not know.

    Redis 6.2 calls it by its first word.
    """
    with Redis.from_url(url_for(server, "landlord"), decode_responses=True) as landlord:
        entries: list[dict[str, Any]] = landlord.acl_log()
    return [one for one in entries if one["username"] == user and one["object"] not in {"client|setinfo", "client"}]


@pytest.mark.slow
def test_a_whole_worker_delivers_under_its_own_user(guarded: RedisServer) -> None:
    """From a ZADD of the client to a signed POST, RQ included; Redis refuses the worker nothing on the way."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with simulator.in_thread(), receiver.in_thread() as inside, Redis.from_url(url_for(guarded, PRODUCER)) as client:
        member = simulator.add_task(timeline=a_timeline(indexing=0.4))
        worker = start_worker(url_for(guarded, WORKER), simulator.base_url, {"TWELVELABS_API_KEY": "tlk_sandbox"})
        try:
            client.hset("bridge:endpoints", "mine", json.dumps({"url": f"{receiver.url}/hook", "secret": SECRET}))
            client.zadd("bridge:tasks", {member: 0}, nx=True)
            inside.run(receiver.wait_for(lambda seen: any(a.type == "index.task.ready" for a in seen.valid), 20), 25)
            until(lambda: client.zscore("bridge:tasks", member) is None)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
        assert not receiver.invalid
        assert refusals_of(guarded, WORKER) == []


COMMANDS = [
    "health", "status", "task add t1", "task ls", "task show t1", "task poll t1", "task rm t1",
    "endpoint add a https://example.com/hook", "endpoint ls", "endpoint show a", "event ls", "delivery ls",
    "endpoint set a --ordering strict", "endpoint rotate a", "endpoint disable a", "endpoint enable a",
    "endpoint recover a", "endpoint rm a",
    "contract check --live", "doctor", "import endpoints.toml", "export", "import registry.jsonl",
    "import endpoints.toml --prune", "import registry.jsonl --dry-run",
]  # fmt: skip


@pytest.mark.parametrize("user", [OPERATOR, WORKER])
def test_the_command_line_works_with_the_operators_user_and_the_workers(
    guarded: RedisServer, user: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An operator needs no more, and a shell in a worker's container will do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_REDIS_URL", url_for(guarded, user))
    Path("endpoints.toml").write_text('[endpoints.b]\nurl = "https://example.com/hook"\nsecret_file = "secret"\n')
    Path("secret").write_text(SECRET)
    Path("registry.jsonl").write_text('{"kind": "task", "id": "t2", "metadata": {"order": 42}}\n')
    codes = {line: run(line.split()) for line in COMMANDS}
    told = capfd.readouterr().err
    assert "NOPERM" not in told, told
    assert {line: code for line, code in codes.items() if code} == {"health": 1, "doctor": 1}, told
    assert {one["object"] for one in refusals_of(guarded, user)} <= (
        {"config|get", "config"} if user == WORKER else set()
    )


def test_a_client_can_check_what_is_live(
    guarded: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With no more rights than it takes to register."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_REDIS_URL", url_for(guarded, PRODUCER))
    with Redis.from_url(url_for(guarded, PRODUCER)) as client:
        client.zadd("bridge:tasks", {"t1": 0})
    assert run(["contract", "check", "--live", "-o", "ids"]) == 0
    assert capfd.readouterr().out == "task:t1\n"
    assert run(["export"]) == 0
    assert '"id": "t1"' in capfd.readouterr().out
