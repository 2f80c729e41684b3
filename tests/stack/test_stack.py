"""The stack of docker-compose.yml, run: with three workers and the demo beside them, killed, and looked into.

It needs a Docker engine on this machine, root to kill from outside, and BRIDGE_TEST_COMPOSE, which holds the compose
command with its files: `docker compose --project-directory . -f docker-compose.yml`. `make stack` sets that.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from until import until

from bridge.sandbox.receiver import Receiver
from bridge.signature import generate_secret

ROOT = Path(__file__).parents[2]
COMPOSE = shlex.split(os.environ.get("PYTEST_BRIDGE_TEST_COMPOSE", ""))
WORKERS = 3
DEMO = 6
"""The videos that the demo registers."""
STATES = 5
"""What a simulated video goes through."""
MANY = 300

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not COMPOSE, reason="needs Docker: BRIDGE_TEST_COMPOSE is not set (make stack)"),
]


class Stack:
    """The running stack."""

    def compose(self, *words: str, text: str | None = None) -> str:
        """Run a compose command; what it prints."""
        command = [*COMPOSE, "--env-file", str(ROOT / "config/demo.env"), *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace", timeout=300)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def bridge(self, *words: str, text: str | None = None) -> str:
        """The command line in its container."""
        return self.compose("run", "--rm", "-T", "bridge", *words, text=text)

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """What it says as JSON lines."""
        return [json.loads(line) for line in self.bridge(*words, "-o", "jsonl").splitlines()]

    def redis(self, user: str, *words: str) -> str:
        """`redis-cli` in the container of Redis, as one of the users that the stack made."""
        script = f'redis-cli --no-auth-warning -u "$(sed s/@redis:/@127.0.0.1:/ /run/bridge/{user}.url)" "$@"'
        return self.compose("exec", "-T", "redis", "sh", "-c", script, "sh", *words).strip()

    def containers(self, service: str) -> list[str]:
        """Ids, of those that ended too."""
        return self.compose("ps", "-aq", service).split()

    def said(self, *services: str) -> str:
        """All that they have logged."""
        return self.compose("logs", "--no-log-prefix", *services)

    def arrivals(self) -> Counter[str]:
        """Event id → how often the receiver took it."""
        lines = re.findall(r"✓ sig ok .* (evt_[0-9a-f]+) .* → 204", self.said("receiver"))
        return Counter(lines)


def inspect(container: str) -> dict[str, Any]:
    """What Docker says of it."""
    found: list[dict[str, Any]] = json.loads(subprocess.check_output(["docker", "inspect", container], text=True))
    return found[0]


def is_healthy(container: str) -> bool:
    """By its own health check."""
    state = inspect(container)["State"]
    return bool(state["Running"] and state["Health"]["Status"] == "healthy")


def kill(container: str) -> int:
    """SIGKILL to its first process, from outside: `docker kill` would count as wanted. How often it was restarted."""
    about = inspect(container)
    os.kill(about["State"]["Pid"], signal.SIGKILL)
    return int(about["RestartCount"])


def comes_back(container: str, restarts: int) -> float:
    """Seconds until it is healthy again."""
    killed = time.monotonic()
    until(lambda: inspect(container)["RestartCount"] > restarts and is_healthy(container), 90)
    return time.monotonic() - killed


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Up and healthy; gone in the end, with its volumes."""
    stack = Stack()
    stack.compose("up", "-d", "--wait", "--wait-timeout", "180", "--scale", f"worker={WORKERS}")
    try:
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "-v", "--remove-orphans")


def is_done(stack: Stack) -> bool:
    """Nothing is watched any more, and nothing is owed."""
    status = json.loads(stack.bridge("status", "--json"))
    return (status["tasks"]["watched"], status["tasks"]["requests"], status["pending"]) == (0, 0, 0)


def all_arrived(stack: Stack, tasks: int) -> bool:
    """Every state of every task."""
    return len(stack.arrivals()) == tasks * STATES


def test_three_workers_share_the_work_and_every_event_of_the_demo_arrives(stack: Stack) -> None:
    """As many workers as containers, none idle, though their process ids are alike."""
    status = json.loads(stack.bridge("status", "--json"))
    assert {kind: (role["workers"], role["shifts"]) for kind, role in status["roles"].items()} == {
        "poll": (WORKERS, WORKERS), "deliver": (WORKERS, WORKERS),
    }  # fmt: skip
    until(lambda: all_arrived(stack, DEMO), 120)
    assert set(stack.arrivals()) == {row["event_id"] for row in stack.rows("event", "ls", "--limit", "100000")}
    ended = Counter(row["status"] for row in stack.rows("task", "ls", "--limit", "0"))
    assert ended == {"ready": DEMO - 1, "failed": 1}


def test_kills_from_outside_lose_nothing(stack: Stack) -> None:
    """A worker, then Redis, in the middle of many tasks: both come back by themselves, and every event arrives."""
    before = len(stack.arrivals())
    stack.bridge("task", "add", "-", text="".join(f"many-{number}\n" for number in range(MANY)))
    until(lambda: len(stack.arrivals()) > before + MANY, 60)
    worker, redis = stack.containers("worker")[0], stack.containers("redis")[0]
    worker_took = comes_back(worker, kill(worker))
    redis_took = comes_back(redis, kill(redis))
    until(lambda: is_done(stack), 180)
    arrivals, events = stack.arrivals(), stack.rows("event", "ls", "--limit", "100000")
    again = sum(times - 1 for times in arrivals.values())
    print(
        f"worker back after {worker_took:.1f} s, Redis after {redis_took:.1f} s; {len(events)} events, {again} doubled"
    )
    # Which states a task went through while Redis was away, nobody has seen; what was seen is an event, and arrived.
    assert set(arrivals) == {row["event_id"] for row in events}
    ends = Counter(row["type"] for row in events if row["task"].startswith("many-"))
    assert ends["index.task.ready"] == MANY
    assert stack.rows("delivery", "ls", "--state", "dead") == []


def test_an_app_on_this_machine_hears_of_it(stack: Stack) -> None:
    """By the name that the compose file gives it; its secret comes by standard input."""
    secret = generate_secret(bytes(range(32)))
    receiver = Receiver(secret, host="0.0.0.0")  # containers do not come by the loopback address
    with receiver.in_thread():
        url = receiver.url.replace("0.0.0.0", "host.docker.internal") + "/hook"
        stack.bridge("endpoint", "add", "mine", url, "--secret-file", "-", "--tasks", "own-*", text=secret)
        stack.bridge("task", "add", "own-video")
        until(lambda: any(arrival.status == "ready" for arrival in receiver.valid), 90)
    assert not receiver.invalid
    stack.bridge("endpoint", "rm", "mine")


def test_a_producer_may_register_and_nothing_else(stack: Stack) -> None:
    """With the password that the stack made for it; an unnamed client may do nothing at all."""
    endpoint = '{"url": "http://receiver:8787/hook", "secret": "whsec_' + "A" * 43 + '=", "events": ["x.none"]}'
    assert stack.redis("producer", "ZADD", "bridge:tasks", "NX", "0", "by-hand") == "1"
    assert stack.redis("producer", "HSET", "bridge:endpoints", "by-hand", endpoint) == "1"
    until(lambda: "queued" in stack.redis("producer", "HGETALL", "bridge:snapshot:by-hand"), 60)
    assert stack.redis("producer", "ZREM", "bridge:tasks", "by-hand") == "1"
    assert stack.redis("producer", "HDEL", "bridge:endpoints", "by-hand") == "1"
    refused = [
        "LPUSH rq:queue:bridge-poll x", "HGETALL rq:job:x", "DEL rq:workers", "HSET bridge:snapshot:by-hand status x",
        "DEL bridge:snapshot:by-hand", "CONFIG GET *", "CONFIG SET appendonly no", "FLUSHALL", "FLUSHDB", "KEYS *",
        "ACL LIST", "SHUTDOWN", "EVAL return(1) 0", "ZADD bridge:watch 0 x",
    ]  # fmt: skip
    for line in refused:
        assert "NOPERM" in stack.redis("producer", *line.split()), line
    unnamed = stack.compose("exec", "-T", "redis", "redis-cli", "GET", "bridge:tasks")
    assert "NOAUTH" in unnamed


def test_no_secret_of_the_stack_is_where_people_look(stack: Stack) -> None:
    """Logs of all containers, `docker inspect`, the arguments of every process, all that was written to Redis."""
    names = "worker.url operator.url producer.url demo.whsec"
    urls = stack.compose("exec", "-T", "redis", "sh", "-c", f"cd /run/bridge && cat {names}").split()
    secrets = [re.sub(r".*:([0-9a-f]{64})@.*", r"\1", one) for one in urls] + ["tlk_sandbox"]
    assert len(set(secrets)) == 5
    everything = {"logs": stack.said(), "arguments": stack.compose("top")}
    for service in ("redis", "worker", "simulator", "receiver", "demo"):
        for container in stack.containers(service):
            everything[f"inspect of {service}"] = json.dumps(inspect(container))
    everything["Redis"] = stack.compose("exec", "-T", "redis", "sh", "-c", "cat /data/appendonlydir/*.incr.aof")
    found = {(place, secret[:12]) for place, text in everything.items() for secret in secrets if secret in text}
    # The simulator tells everybody its key; an endpoint's secret is written to bridge:endpoints by its client.
    assert found == {("logs", "tlk_sandbox"), ("Redis", secrets[3][:12])}


def test_what_is_in_the_containers_can_be_changed_by_nobody(stack: Stack) -> None:
    """No root, no capability, nothing to write to but /tmp; Redis is on no network that leads outside."""
    for service in ("redis", "worker", "simulator", "receiver"):
        about = stack.compose(
            "exec", "-T", service, "sh", "-c", "id -u; grep CapEff /proc/self/status; touch /x || true"
        )
        uid, caps = about.split("\n")[:2]
        assert (uid != "0", int(caps.split()[1], 16)) == (True, 0), service
        assert inspect(stack.containers(service)[0])["HostConfig"]["ReadonlyRootfs"] is True
    assert len(inspect(stack.containers("redis")[0])["NetworkSettings"]["Networks"]) == 1
