"""`python worker.py` as a user runs it, between an upstream and a receiver that are processes of their own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from until import until

from benchmarks.scenarios import ALL, shared_by
from benchmarks.stage import Result, run, start_worker
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import generate_secret

pytestmark = pytest.mark.slow

SECRET = generate_secret(bytes(range(32)))


def is_exact(result: Result) -> bool:
    """Everything served arrived once, in order, rightly signed, and the worker ended well."""
    wrong = (result.lost, result.invented, result.doubled, result.out_of_order, result.unverified)
    assert wrong == (0, 0, 0, 0, 0), result.lines()
    return result.stopped_with == 0 and result.served > 0


def test_what_is_served_arrives_once_in_order_and_signed() -> None:
    """100 tasks read once a second, 40 changes a second: nothing lost, invented, doubled, disordered or unsigned."""
    assert is_exact(run(tasks=100, changes_per_second=40, seconds=6, endpoints=ALL))


def test_several_workers_share_the_work() -> None:
    """Two poll and two delivery workers on one Redis: as exact as one of each."""
    settings = {"BRIDGE_POLL_WORKERS": "2", "BRIDGE_DELIVERY_WORKERS": "2"}
    assert is_exact(run(tasks=100, changes_per_second=40, seconds=7, endpoints=ALL, settings=settings))


def test_an_endpoint_that_hangs_takes_nothing_from_the_others() -> None:
    """P5: ten endpoints get all that is theirs while an eleventh, which takes every event, never answers."""
    endpoints = shared_by(10, tasks=100) | {"hang": {"path": "/hang"}}
    settings = {"BRIDGE_DELIVERY_DEADLINE_SECONDS": "2", "BRIDGE_DELIVERY_LEASE_SECONDS": "12"}
    assert is_exact(run(tasks=100, changes_per_second=40, seconds=6, endpoints=endpoints, settings=settings))


def redis_cli() -> str:
    """A redis-cli: on PATH, or the one that comes beside the embedded server."""
    beside = Path(sys.executable).parent / "redis-cli"
    return shutil.which("redis-cli") or str(beside)


def test_redis_cli_alone_registers_a_task_and_a_callback() -> None:
    """HSET and ZADD, typed into redis-cli, are all that it takes to receive a task's events until it is ready."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        member = simulator.add_task(timeline=a_timeline(validating=0.2, pending=0.2, queued=0.2, indexing=0.4))
        worker = start_worker(redis.url, simulator.base_url, {"TWELVELABS_API_KEY": "tlk_sandbox"})
        try:
            definition = json.dumps({"url": f"{receiver.url}/hook", "secret": SECRET})
            for command in (
                ["HSET", "bridge:endpoints", "mine", definition],
                ["ZADD", "bridge:tasks", "NX", "0", member],
            ):
                answer = subprocess.run([redis_cli(), "-u", redis.url, *command], capture_output=True, check=True)
                assert answer.stdout.strip() == b"1"
            inside.run(receiver.wait_for(lambda seen: any(a.type == "index.task.ready" for a in seen.valid), 20), 25)
            with Redis.from_url(redis.url) as client:
                until(lambda: client.zscore("bridge:tasks", member) is None)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
        assert not receiver.invalid
        assert not receiver.out_of_order
        assert {a.task_id for a in receiver.arrivals} == {member}


def test_a_callback_url_on_the_task_is_enough() -> None:
    """With a default secret, `callback_url` in the task's own hash replaces the endpoint."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        member = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        worker = start_worker(
            redis.url,
            simulator.base_url,
            {"TWELVELABS_API_KEY": "tlk_sandbox", "BRIDGE_DELIVERY_DEFAULT_SECRET": SECRET},
        )
        try:
            with Redis.from_url(redis.url) as client:
                client.hset(f"bridge:task:{member}", mapping={"callback_url": f"{receiver.url}/own", "metadata": "[7]"})
                client.zadd("bridge:tasks", {member: 0}, nx=True)
            inside.run(receiver.wait_for(lambda seen: len(seen.valid) == 1, 20), 25)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
        (arrival,) = receiver.arrivals
        assert (arrival.path, arrival.status, arrival.data["metadata"]) == ("/own", "ready", [7])
        assert arrival.data["previous"] is None


def test_an_endpoint_that_keeps_failing_is_told_of_and_disabled() -> None:
    """Down for the whole failure window: whoever asked hears each warning once and the end, and the rest is held."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    settings = {
        "TWELVELABS_API_KEY": "tlk_sandbox",
        "BRIDGE_DELIVERY_FAILURE_WINDOW_SECONDS": "2",
        "BRIDGE_DELIVERY_SCHEDULE_SECONDS": ",".join(["0", *["0.3"] * 30]),
    }
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        member = simulator.add_task(timeline=a_timeline(indexing=0.1), age_seconds=60)
        receiver.always(500, "/down")
        worker = start_worker(redis.url, simulator.base_url, settings)
        try:
            with Redis.from_url(redis.url) as client:
                down = {"url": f"{receiver.url}/down", "secret": SECRET}
                ops = {"url": f"{receiver.url}/ops", "secret": SECRET, "events": ["bridge.endpoint.*"]}
                client.hset("bridge:endpoints", mapping={"down": json.dumps(down), "ops": json.dumps(ops)})
                client.zadd("bridge:tasks", {member: 0}, nx=True)
                ended = "bridge.endpoint.disabled"
                inside.run(receiver.wait_for(lambda seen: any(a.type == ended for a in seen.valid), 20), 25)
                assert client.hmget("bridge:endpoint:down", "state", "reason") == [b"disabled", b"failing"]
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    told = [arrival for arrival in receiver.arrivals if arrival.path == "/ops"]
    assert [arrival.data["percent"] for arrival in told] == [50, 70, 90, None]
    assert {arrival.data["endpoint"] for arrival in told} == {"down"}
    assert not receiver.invalid


def test_many_tasks_are_watched_by_the_list() -> None:
    """Sixty videos: every status that the list showed arrives, and hardly more than each one's end is read by id."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        timeline = a_timeline(validating=2, pending=3, queued=3, indexing=4)
        settings = {"TWELVELABS_API_KEY": "tlk_sandbox", "BRIDGE_TWELVELABS_STRATEGY": "auto"}
        worker = start_worker(redis.url, simulator.base_url, settings)
        try:
            with Redis.from_url(redis.url) as client:
                definition = {"url": f"{receiver.url}/hook", "secret": SECRET}
                client.hset("bridge:endpoints", "mine", json.dumps(definition))
                members = [simulator.add_task(timeline=timeline) for _ in range(60)]
                client.zadd("bridge:tasks", dict.fromkeys(members, 0))
                until(lambda: client.hexists("bridge:listing:default", "listed"), 20)
                before = len(simulator.requests)
                inside.run(receiver.wait_for(lambda seen: has_ended(seen, 60), 40), 45)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
        assert not receiver.invalid
        assert not receiver.out_of_order
        arrived = {(one.task_id, one.status) for one in receiver.arrivals}
        assert arrived >= {(one.task_id, one.status) for one in simulator.served if one.via == "list"}
        by_id = [one.path for one in list(simulator.requests)[before:] if not one.path.endswith("/tasks")]
        assert len(by_id) <= 60 * 3, "what is under way, an end each, and one more each when the list is left"


def has_ended(receiver: Receiver, tasks: int) -> bool:
    """So many tasks' last word has arrived."""
    return len({one.task_id for one in receiver.valid if one.status == "ready"}) == tasks
