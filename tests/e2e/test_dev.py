"""`bridge dev` against the simulator."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from owing import with_store
from redis import Redis

from bridge.cli.dev import _has_own_redis, _until_done
from bridge.cli.dev_session import Session
from bridge.cli.dev_verdict import verdict
from bridge.cli.dev_written import others, take_back, unheard, write
from bridge.cli.stage import either
from bridge.errors import StoreDown
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.settings import load_settings
from bridge.signature import generate_secret, verify
from bridge.store.reading import written

pytestmark = pytest.mark.slow

SECRET = generate_secret(bytes(range(32)))


def settings(simulator: Simulator, **more: str) -> dict[str, str]:
    """The environment of a user who set a key."""
    return {
        **os.environ,
        "TWELVELABS_API_KEY": "tlk_sandbox",
        "BRIDGE_TWELVELABS_BASE_URL": simulator.base_url,
        "BRIDGE_POLL_INTERVAL_SECONDS": "0.3",
        **more,
    }


def run_dev(
    simulator: Simulator, directory: Path, *words: str, given: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """`bridge dev` to its end, on a Redis of its own unless `more` names one."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", "dev", *words],
        env=settings(simulator, **more), cwd=directory, input=given, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def test_dev_shows_each_change_until_the_tasks_have_ended(tmp_path: Path) -> None:
    """Ids and a key are enough: each status of each task is a verified line, and the exit code tells the end."""
    simulator = Simulator()
    with simulator.in_thread():
        tasks = [
            simulator.add_task(timeline=a_timeline(validating=1, pending=1, queued=1, indexing=9)) for _ in range(2)
        ]
        done = run_dev(simulator, tmp_path, *tasks, "--until-done")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "sig ok" in line]
    assert sum("index.task.ready" in line for line in lines) == 2
    assert all(any(task in line and "index.task.indexing" in line for line in lines) for task in tasks)


def test_dev_tells_by_its_exit_code_that_a_task_failed(tmp_path: Path) -> None:
    """One failed task: exit code 7."""
    simulator = Simulator()
    with simulator.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5, end="failed"), age_seconds=60)
        done = run_dev(simulator, tmp_path, task, "--until-done")
    assert done.returncode == 7, done.stderr
    assert done.stderr.endswith("Done: a task failed; exit code 7.\n")


def test_dev_posts_to_a_url_of_ones_own(tmp_path: Path) -> None:
    """--to: the events arrive there, signed with a secret that is told; each attempt is a line, a failed one too."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False)
    receiver.script(500)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = ("-", "--until-done", "--to", f"{receiver.url}/mine")
        done = run_dev(simulator, tmp_path, *words, given=f"{task}\n", BRIDGE_DELIVERY_SCHEDULE_SECONDS="0,0.2")
    assert done.returncode == 0, done.stderr
    assert [(a.path, a.type, a.attempt) for a in receiver.arrivals] == [
        ("/mine", "index.task.ready", 1),
        ("/mine", "index.task.ready", 2),
    ]
    secret = done.stderr.partition("made for this run: ")[2].split()[0]
    assert all(verify([secret], a.headers, a.body, time.time()) is None for a in receiver.arrivals)
    first, second = done.stdout.splitlines()
    assert "✗ 500" in first
    assert "✓ 204" in second
    assert task in second


def test_dev_signs_with_the_configured_secret(tmp_path: Path) -> None:
    """BRIDGE_DELIVERY_DEFAULT_SECRET signs where it is set, and is not printed."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = (task, "--until-done", "--to", receiver.url)
        done = run_dev(simulator, tmp_path, *words, BRIDGE_DELIVERY_DEFAULT_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    assert len(receiver.valid) == 1
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("default", ["", generate_secret(bytes(32))])
def test_dev_signs_with_the_secret_of_a_file(tmp_path: Path, default: str) -> None:
    """--secret-file: the same secret run after run, before the configured one, and it is not printed."""
    path = tmp_path / "local.whsec"
    path.write_text(SECRET)
    path.chmod(0o600)
    simulator, receiver = Simulator(), Receiver(SECRET)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = (task, "--until-done", "--to", receiver.url, "--secret-file", str(path))
        done = run_dev(simulator, tmp_path, *words, BRIDGE_DELIVERY_DEFAULT_SECRET=default)
    assert done.returncode == 0, done.stderr
    assert len(receiver.valid) == 1
    assert "secret of --secret-file" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_dev_gives_up_an_endpoint_that_takes_nothing(tmp_path: Path) -> None:
    """A delivery that is dead in the end: --until-done ends with exit code 1, although the task is ready."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False, default=500)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = (task, "--until-done", "--to", receiver.url)
        done = run_dev(simulator, tmp_path, *words, BRIDGE_DELIVERY_SCHEDULE_SECONDS="0,0.2")
    assert done.returncode == 1, done.stderr
    assert "dead, exhausted" in done.stdout


def test_dev_says_once_that_nobody_listens_and_what_it_was_at_the_end(tmp_path: Path) -> None:
    """Whoever forgot to start a receiver reads that, beside the attempts; and of three causes the one that it was."""
    simulator = Simulator()
    with simulator.in_thread(), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        tasks = [simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60) for _ in range(2)]
        words = (*tasks, "--until-done", "--to", f"http://127.0.0.1:{port}/hook")
        done = run_dev(simulator, tmp_path, *words, BRIDGE_DELIVERY_SCHEDULE_SECONDS="0,0.2,600")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("connection refused") == 4
    assert done.stderr.count(f"nobody listens at http://127.0.0.1:{port}: start the receiver") == 1
    assert "did not take 2 events, 2 times; at last: connect: connection refused." in done.stderr
    assert done.stderr.endswith("Done: 2 events were not taken; exit code 1.\n")


def test_dev_says_which_task_was_not_found(tmp_path: Path, redis_url: str) -> None:
    """And not that an event was not taken, when all were."""
    simulator = Simulator()
    with simulator.in_thread(), Redis.from_url(redis_url) as client:
        found = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        client.hset("bridge:snapshot:6a0b", mapping={"status": "indexing", "gone": "1"})
        session = Session(load_settings(), [found, "6a0b", "6a0c"], "http://127.0.0.1:1/dev")
        client.hset(f"bridge:snapshot:{found}", "status", "ready")
        came = with_store(redis_url, lambda store: verdict(session, store))
    assert came == (1, "6a0b was not found at TwelveLabs, and 6a0c was refused")


def test_dev_tries_again_soon(tmp_path: Path) -> None:
    """A receiver that is not ready for the first two attempts is told within seconds, without a setting."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False)
    receiver.script(500, 401)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        done = run_dev(simulator, tmp_path, task, "--to", receiver.url, "--until-done")
    assert done.returncode == 0, done.stderr
    assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2, 3]


def test_dev_waits_for_no_attempt_that_is_minutes_away(tmp_path: Path) -> None:
    """Refused twice, due again in ten minutes: --until-done says so and ends with exit code 1."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False, default=500)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = (task, "--until-done", "--to", receiver.url)
        done = run_dev(simulator, tmp_path, *words, BRIDGE_DELIVERY_SCHEDULE_SECONDS="0,0.2,600")
    assert done.returncode == 1, done.stderr
    assert f"{receiver.url} did not take 1 event, 2 times; at last: 500. Put it right" in done.stderr
    assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2]


@pytest.mark.parametrize("before", [False, True], ids=["new", "registered before"])
def test_dev_in_a_redis_of_ones_own_tells_nobody_else_and_leaves_what_it_found(
    tmp_path: Path, redis_url: str, before: bool
) -> None:
    """A task that is new there is this run's alone, and is taken back with its endpoint; the snapshot stays.

    One that was registered before stays as it was, and who else hears of it is said.
    """
    simulator, others = Simulator(), Receiver(reject_invalid=False)
    with simulator.in_thread(), others.in_thread(), Redis.from_url(redis_url, decode_responses=True) as client:
        task = simulator.add_task(timeline=a_timeline(indexing=600))
        theirs = {"url": others.url, "events": ["*"], "secret": generate_secret(bytes(32))}
        client.hset("bridge:endpoints", "billing", json.dumps(theirs))
        if before:
            client.zadd("bridge:tasks", {task: 0})
        dev = subprocess.Popen(
            [sys.executable, "-m", "bridge", "dev", task],
            env=settings(simulator, BRIDGE_REDIS_URL=redis_url, BRIDGE_DELIVERY_ALLOW_NETWORKS='["127.0.0.1/32"]'),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert dev.stdout is not None
        assert "✓ sig ok" in dev.stdout.readline()
        assert client.hlen("bridge:endpoints") == 2
        owed = client.hgetall("bridge:deliveries:billing")
        dev.send_signal(signal.SIGINT)
        _, told = dev.communicate(timeout=30)
        assert dev.returncode == 0, told
        assert client.hkeys("bridge:endpoints") == client.hkeys("bridge:registry") == ["billing"]
        assert "Another worker" not in told
        assert bool(owed) is before
        assert (f"! 1 endpoint that is registered there hears of {task}, too: billing." in told) is before
        assert ("this task was not registered there: it tells this run alone, and goes with it" in told) is not before
        assert (client.zscore("bridge:tasks", task) is not None) is before
        assert not client.exists(f"bridge:task:{task}")
        assert client.exists(f"bridge:snapshot:{task}")


def test_dev_changes_nothing_that_somebody_else_wrote(redis_url: str) -> None:
    """Options of a task that has ended, or is yet to be registered, stay; so does what was registered meanwhile.

    What a run wrote that was killed is taken over. What a watch finds is its endpoints', whoever reads it first.
    """
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.hset("bridge:task:t1", "metadata", "42")
        session = Session(load_settings(), ["t1", "t2", "t3"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(session, store))
        assert session.new == ["t2", "t3"]
        assert client.hgetall("bridge:task:t1") == {"metadata": "42"}
        assert client.hgetall("bridge:task:t2") == client.hgetall("bridge:task:t3") == {"endpoints": session.name}
        client.hset("bridge:task:t3", mapping={"endpoints": "billing", "metadata": "43"})
        with_store(redis_url, lambda store: take_back(session, store))
        assert client.hkeys("bridge:endpoints") == []
        assert client.zrange("bridge:tasks", 0, -1) == ["t1", "t3"]
        assert client.hgetall("bridge:task:t3") == {"endpoints": "billing", "metadata": "43"}
        assert client.hgetall("bridge:task:t1") == {"metadata": "42"}
        assert not client.exists("bridge:task:t2")
        killed, again = (Session(load_settings(), ["t4"], "http://127.0.0.1:1/dev") for _ in range(2))
        with_store(redis_url, lambda store: write(killed, store))
        with_store(redis_url, lambda store: write(again, store))
        assert client.hgetall("bridge:task:t4") == {"endpoints": again.name}
        with_store(redis_url, lambda store: take_back(again, store))
        assert not client.exists("bridge:task:t4")
        client.hdel("bridge:endpoints", killed.name)
        client.hset("bridge:watches", "account", "{}")
        found = Session(load_settings(), ["t5"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(found, store))
        with_store(redis_url, lambda store: take_back(found, store))
        assert (found.new, client.exists("bridge:task:t5")) == ([], 0)
        assert client.zscore("bridge:tasks", "t5") is not None
        without = Session(load_settings(), ["t1"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(without, store))
        with_store(redis_url, lambda store: take_back(without, store))
        assert client.exists("bridge:endpoints") == 0


def test_dev_says_of_which_tasks_it_hears_nothing(redis_url: str) -> None:
    """Those that name others are told to those alone; who is not named is not said to hear of them."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.hset("bridge:endpoints", mapping={"audit": "{}", "billing": "{}"})
        client.hset("bridge:task:t1", "endpoints", "audit")
        client.zadd("bridge:tasks", {"t1": 0, "t2": 0})
        session = Session(load_settings(), ["t1", "t2", "t3"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(session, store))
        assert (session.new, session.elsewhere) == (["t3"], {"t1": ["audit"]})
        assert unheard(session).startswith("t1 names other endpoints (audit): nothing of it is told here. ")
        told = with_store(redis_url, lambda store: others(session, store))
        assert told.startswith("2 endpoints there hear of t2, too: audit, billing. ")
        alone = Session(load_settings(), ["t1"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(alone, store))
        assert with_store(redis_url, lambda store: others(alone, store)) == ""


def test_dev_takes_back_nothing_that_changes_while_it_looks(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody registers the task between the look and the step: it is looked at once more."""
    looks, really = 0, written.options_of

    async def options_of(client: Any, keys: Any, members: Any) -> Any:
        nonlocal looks
        looks += 1
        found = await really(client, keys, members)
        if looks == 2:  # the first look is that of `write`
            await client.hset(keys.task("t1"), "metadata", "42")
        return found

    with Redis.from_url(redis_url, decode_responses=True) as client:
        session = Session(load_settings(), ["t1", "t2"], "http://127.0.0.1:1/dev")
        monkeypatch.setattr("bridge.store.reading.written.options_of", options_of)
        with_store(redis_url, lambda store: write(session, store))
        with_store(redis_url, lambda store: take_back(session, store))
        assert looks == 3
        assert client.zrange("bridge:tasks", 0, -1) == ["t1"]
        assert client.hget("bridge:task:t1", "metadata") == "42"
        assert client.hkeys("bridge:endpoints") == []


def test_dev_says_what_it_could_not_take_back(redis_url: str) -> None:
    """And how: a Redis that takes no writes, or a key of another type, is no reason for silence."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.hset("bridge:task:t1", "x", "1")
        session = Session(load_settings(), ["t1", "t2"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(session, store))
        client.rename("bridge:endpoints", "bridge:aside")
        client.set("bridge:endpoints", "x")
        told = with_store(redis_url, lambda store: take_back(session, store))
        assert "holds something of another type" in told
        assert told.endswith(f"→ bridge endpoint rm {session.name} && bridge task rm t2")
        client.rename("bridge:aside", "bridge:endpoints")
        client.set("bridge:task:t3", "x")
        other = Session(load_settings(), ["t3"], "http://127.0.0.1:1/dev")
        with_store(redis_url, lambda store: write(other, store))
        assert (other.new, client.get("bridge:task:t3")) == ([], "x")


def test_dev_says_that_another_worker_refused_its_endpoint(tmp_path: Path, redis_url: str) -> None:
    """A worker with a stricter policy on the same Redis rejects a loopback URL: that is an end with its reason."""
    simulator = Simulator()
    with simulator.in_thread(), Redis.from_url(redis_url, decode_responses=True) as client:
        dev = subprocess.Popen(
            [sys.executable, "-m", "bridge", "dev", simulator.add_task(timeline=a_timeline(indexing=600))],
            env=settings(simulator, BRIDGE_REDIS_URL=redis_url), cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert dev.stdout is not None
        assert "✓ sig ok" in dev.stdout.readline()
        (name,) = client.hkeys("bridge:endpoints")
        client.hset("bridge:rejected", f"endpoint:{name}", json.dumps({"reason": "scheme_not_https"}))
        _, told = dev.communicate(timeout=30)
        assert client.hkeys("bridge:rejected") == []
    assert dev.returncode == 1
    assert "Another worker on this Redis refused our endpoint: scheme_not_https" in told


def test_dev_names_the_redis_that_does_not_answer(tmp_path: Path) -> None:
    """With the port in the command that starts it; one that has no such database is not started anew."""
    simulator = Simulator()
    with simulator.in_thread(), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        done = run_dev(simulator, tmp_path, "t1", BRIDGE_REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert f"→ redis-server config/redis.conf --port {port} &\n" in done.stderr


def test_dev_says_that_another_worker_sends_too(tmp_path: Path, redis_url: str) -> None:
    """What that one sends has no line here."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False)
    with simulator.in_thread(), receiver.in_thread(), Redis.from_url(redis_url) as client:
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        words = (task, "--until-done", "--to", receiver.url)
        client.zadd("bridge:workers:deliver", {"another": time.time() * 1000 + 60_000})
        told = run_dev(simulator, tmp_path, *words, BRIDGE_REDIS_URL=redis_url).stderr
        assert "! Another worker runs on this Redis: what that one sends is not shown here." in told
        assert client.hlen("bridge:registry") == 0


def test_dev_says_that_the_key_is_refused(tmp_path: Path) -> None:
    """A wrong key ends it with exit code 4 and what to do, not with silence."""
    simulator = Simulator()
    with simulator.in_thread():
        done = run_dev(simulator, tmp_path, simulator.add_task(), TWELVELABS_API_KEY="tlk_wrong")
    assert done.returncode == 4
    assert "TWELVELABS_API_KEY" in done.stderr


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (("6a0b",), {"TWELVELABS_API_KEY": ""}, "export TWELVELABS_API_KEY="),
        (("6a0b",), {"TWELVELABS_API_KEY": ""}, "bridge simulate"),
        (("6a0b", "--secret-file", "nowhere"), {}, "--secret-file: nowhere cannot be read"),
        (("6a0b", "--secret-file", "-"), {}, "standard input is empty"),
        (("-", "--secret-file", "-"), {}, "name a file for one of them"),
        (("not/an id",), {}, "a task id is 1 to 200 of the characters"),
        (("--until-done",), {}, "name their ids"),
        ((), {}, "this run's own Redis has no task in it"),
        (("6a0b", "--to", "http://10.0.0.1/hook"), {}, "http://10.0.0.1/hook"),
        (("6a0b", "--to", "localhost:3000/hook"), {}, "→ bridge dev 6a0b --to http://localhost:3000/hook"),
        (("6a0b", "--to", "https://example.com", "--port", "9"), {}, "--port"),
    ],
)
def test_dev_refuses_what_cannot_work(tmp_path: Path, words: tuple[str, ...], more: dict[str, str], said: str) -> None:
    """No key, a bad id, nothing to wait for, a URL that policy forbids: exit code 2 and what to do."""
    simulator = Simulator()
    with simulator.in_thread():
        done = run_dev(simulator, tmp_path, *words, **more)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_dev_takes_the_default_redis_only_when_it_was_asked_for(tmp_path: Path) -> None:
    """The default written in config/bridge.toml is nobody's choice; the same URL in the environment is one."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "bridge.toml").write_text('redis_url = "redis://127.0.0.1:6379/0"\n')
    assert not _has_own_redis(load_settings(config=tmp_path / "config" / "bridge.toml"))
    assert _has_own_redis(load_settings(redis_url="redis://127.0.0.1:6379/0"))


def test_dev_writes_an_endpoint_that_the_contract_takes_however_many_ids() -> None:
    """A thousand ids do not fit into a definition: then it takes every task's events."""
    ids = [f"6a0b1c2d3e4f5a6b{number:08x}" for number in range(1_000)]
    few, many = (Session(load_settings(), one, "http://127.0.0.1:1/dev") for one in (ids[:3], ids))
    assert few.definition()["tasks"] == ids[:3]
    assert many.definition()["tasks"] == ["*"]


async def test_a_look_that_swallows_its_cancel_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client library that turns a cancel into a fault of its own: the command ends all the same."""
    looking = asyncio.Event()

    async def look(*_: object) -> None:
        looking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreDown("the call was cut", fix="") from None

    async def refused() -> int:
        await looking.wait()
        return 4

    monkeypatch.setattr("bridge.cli.dev.look", look)
    nothing: Any = None
    async with asyncio.timeout(5):
        assert await either(refused(), _until_done(nothing, nothing, nothing, until_done=False)) == 4
