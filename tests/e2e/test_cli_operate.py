"""`bridge status`, `health` and `worker`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer

Bridge = Callable[..., tuple[int, str, str]]


def now_ms() -> int:
    """The wall clock, as Redis has it too."""
    return int(time.time() * 1000)


def alive(client: "Redis", *kinds: str) -> None:
    """A worker and a shift of each kind, for a minute."""
    for kind in kinds or ("poll", "deliver"):
        client.zadd(f"bridge:workers:{kind}", {f"{kind}:1": now_ms() + 60_000})
        client.zadd(f"bridge:shifts:{kind}", {"5f": now_ms() + 60_000})


def test_status_of_nothing_has_everything_in_it(bridge: Bridge) -> None:
    """An empty Redis: zeroes, and what Redis says of itself."""
    code, out, _ = bridge("status", "--json")
    row = json.loads(out)
    assert (code, row["pending"], row["dead"], row["oldest_due_ms"]) == (0, 0, 0, 0)
    assert row["tasks"] == {"watched": 0, "requests": 0, "ended": 0, "rejected": 0}
    assert row["unreadable"] == {}
    assert {kind: role["workers"] for kind, role in row["roles"].items()} == {"poll": 0, "deliver": 0}
    assert row["redis"]["append_only"] is True
    code, out, _ = bridge("status")
    assert (code, "nothing is polled → export TWELVELABS_API_KEY=…  # or that in .env; then stop" in out) == (0, True)
    assert "\\n" not in out
    assert out.count("NO WORKER, 0 s behind → bridge worker") == 2


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis that wants a password, in BRIDGE_REDIS_URL without one."""
    with RedisServer() as server:
        with Redis.from_url(server.url) as client:
            client.config_set("requirepass", "hunter2")
        monkeypatch.setenv("BRIDGE_REDIS_URL", server.url)
        yield server


@pytest.mark.parametrize("words", [("status",), ("task", "ls"), ("health",), ("doctor",)])
def test_a_redis_that_wants_a_password_is_not_called_away(
    bridge: Bridge, locked: RedisServer, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Exit code 5, what it wants and where it is set; a wrong one is told apart, and not repeated."""
    code, out, told = bridge(*words)
    assert (code, "Redis wants a password" in out + told, "redis-server" in out + told) == (5, True, False)
    assert "→ write :PASSWORD@ (" in out + told
    monkeypatch.setenv("BRIDGE_REDIS_URL", locked.url.replace("//", "//:hunter3@"))
    code, out, told = bridge(*words)
    assert (code, "does not accept the user and password" in out + told, "hunter3" in out + told) == (5, True, False)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an HTTP server, which BRIDGE_REDIS_URL names."""
    receiver = Receiver("whsec_" + "A" * 44)
    with receiver.in_thread():
        address = receiver.url.removeprefix("http://")
        monkeypatch.setenv("BRIDGE_REDIS_URL", f"redis://{address}/0")
        yield address


@pytest.mark.parametrize(
    "words", [("status",), ("task", "ls"), ("health",), ("contract", "check", "--live"), ("doctor",)]
)
def test_what_is_no_redis_is_not_told_to_be_started(bridge: Bridge, no_redis: str, words: tuple[str, ...]) -> None:
    """Its port is taken: who listens there, and the setting that leads elsewhere."""
    code, out, told = bridge(*words)
    assert (code, f"what listens at {no_redis} is no Redis" in out + told) == (5, True), out + told
    assert "→ set BRIDGE_REDIS_URL" in out + told
    assert "redis-server" not in out + told
    assert "append-only file" not in out + told  # it has none


def test_a_worker_says_what_is_no_redis(no_redis: str, tmp_path: Path) -> None:
    """It waits, as the right one may come; its log has the setting."""
    line = first_trouble(tmp_path)
    assert ("is no Redis" in line["error"], "set BRIDGE_REDIS_URL" in line["fix"]) == (True, True), line


def test_a_worker_says_that_redis_wants_a_password(locked: RedisServer, tmp_path: Path) -> None:
    """It waits, as the password may come; its log says for what, with the setting."""
    line = first_trouble(tmp_path)
    assert ("wants a password" in line["error"], ":PASSWORD@" in line["fix"]) == (True, True)


@pytest.mark.parametrize(
    ("words", "said", "fix"),
    [
        (("ACL", "SETUSER", "default", "-evalsha"), "no permissions", "bridge contract acl"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "NOREPLICAS", "CONFIG SET"),
    ],
    ids=["noperm", "noreplicas"],
)
def test_a_worker_does_not_call_a_redis_away_that_refuses(
    redis_server: RedisServer, client: "Redis", tmp_path: Path, words: tuple[str, ...], said: str, fix: str
) -> None:
    """Starting another would not help: its log says what was refused, and what to do about that."""
    client.execute_command(*words)  # type: ignore[no-untyped-call]
    try:
        line = first_trouble(tmp_path, BRIDGE_REDIS_URL=redis_server.url)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+evalsha")  # type: ignore[no-untyped-call]
        client.config_set("min-replicas-to-write", "0")
    assert (said in line["error"], fix in line["fix"], "redis-server" in line["fix"]) == (True, True, False)


def test_a_worker_names_the_redis_that_it_waits_for(tmp_path: Path) -> None:
    """By its port, so that the command starts that one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = first_trouble(tmp_path, BRIDGE_REDIS_URL=f"redis://127.0.0.1:{port}")
    assert f"--port {port} &" in line["fix"]


def first_trouble(place: Path, **settings: str) -> dict[str, str]:
    """The first line of a worker that starts now about a Redis it cannot use."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "bridge", "worker"], cwd=place, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BRIDGE_LOG_FORMAT": "json", **settings},
    )  # fmt: skip
    assert worker.stderr
    try:
        return next(json.loads(line) for line in worker.stderr if '"redis.away"' in line)
    finally:
        worker.terminate()
        worker.communicate()


@pytest.mark.parametrize(
    ("key", "line", "kind"), [("bridge:tasks", "tasks", "zset"), ("bridge:endpoints", "endpoints", "hash")]
)
def test_status_shows_the_rest_beside_a_key_of_a_wrong_type(
    bridge: Bridge, client: "Redis", key: str, line: str, kind: str
) -> None:
    """What a client wrote over hides that alone, and is named with what it should be; a listing of it names it too."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    client.zadd("bridge:watch", {"t1": now_ms()})
    client.delete(key)
    client.set(key, "oops")
    code, out, told = bridge("status")
    assert (code, told) == (0, "")
    found = next(one for one in out.splitlines() if one.startswith(line))
    assert f" unreadable: {key} is a string, not a {kind} → bridge doctor" in found
    assert ("1 watched: 1 not seen yet" in out, "1 active" in out, "append-only file on" in out) == (True, True, True)
    row = json.loads(bridge("status", "--json")[1])
    assert row["unreadable"] == {line: f"{key} is a string, not a {kind}"}
    code, _, told = bridge("task" if line == "tasks" else "endpoint", "ls")
    assert (code, key in told, "`bridge doctor`" in told) == (1, True, True)


def test_status_says_that_tasks_cannot_be_read(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many, by what most of them fail, and where it is looked into; nothing once they are read again."""
    client.zadd("bridge:watch", {f"t{n}": n for n in range(5)})
    for n in range(4):
        error = "connect: connection refused" if n else "HTTP 500"
        client.hset(f"bridge:watch:t{n}", mapping={"faults": n + 1, "error": error})
    row = json.loads(bridge("status", "--json")[1])
    assert (row["unread"], row["unread_by"]) == (4, "connect: connection refused")
    out = bridge("status")[1]
    line = next(line for line in out.splitlines() if line.startswith("upstream"))
    assert line.endswith(" 4 watched tasks failed at the latest read, most by connect: connection refused "
                         "→ bridge doctor"), out  # fmt: skip
    monkeypatch.setattr("bridge.store.reading.vitals.UNREAD", 3)
    assert " 3 watched tasks of the first 3 failed at the latest read" in bridge("status")[1]
    client.delete(*(f"bridge:watch:t{n}" for n in range(4)))
    assert "upstream" not in bridge("status")[1]


def test_status_counts(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks by status, lags, deliveries, endpoints by state; a shift that is only on its way is not alive."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_do_not_show")
    alive(client)
    client.zadd("bridge:shifts:poll", {"ticket:1": now_ms() + 60_000, "dead": 1})
    client.zadd("bridge:watch", {"t1": now_ms() - 30_000, "t2": now_ms() + 60_000, "t3": now_ms() + 60_000})
    for member in ("t1", "t2"):
        client.hset(f"bridge:snapshot:{member}", "status", "indexing")
    for name in ("a", "b"):
        bridge("endpoint", "add", name, "http://127.0.0.1:9/")
        client.hset(f"bridge:deliveries:{name}", mapping={"evt_1": "{}", "evt_2": "{}"})
        client.zadd(f"bridge:dead:{name}", {"evt_2": 1})
    client.zadd("bridge:queue:a", {"evt_1": now_ms() - 20_000})
    client.zadd("bridge:queue:b", {"evt_1": now_ms() - 900_000})
    client.hset("bridge:endpoint:b", mapping={"state": "disabled", "reason": "gone"})
    row = json.loads(bridge("status", "--json")[1])
    assert row["statuses"] == {"indexing": 2, "not seen yet": 1}
    assert (row["pending"], row["dead"], row["endpoints"]) == (2, 2, {"active": 1, "disabled": 1})
    assert 20_000 <= row["oldest_due_ms"] < 80_000
    assert (row["roles"]["poll"]["shifts"], row["roles"]["poll"]["tickets"]) == (1, 1)
    assert 30_000 <= row["roles"]["poll"]["lag_ms"] < 90_000
    out = bridge("status")[1]
    assert "3 watched: 2 indexing, 1 not seen yet" in out
    assert "tlk_do_not_show" not in out


def test_health_without_workers_names_the_command(bridge: Bridge) -> None:
    """One line, exit code 1, without waiting for a shift that nobody sends."""
    started = time.monotonic()
    code, out, told = bridge("health")
    assert (code, out.count("\n"), told) == (1, 1, "")
    assert "no poll shift is alive, no deliver shift is alive → bridge worker;" in out
    assert time.monotonic() - started < 4
    assert bridge("health", "--role", "deliver")[1].count("bridge worker") == 1


def test_health_without_a_key_is_healthy_and_says_so(bridge: Bridge, client: "Redis") -> None:
    """A bridge that delivers and waits for its key is no reason to restart anything, however late its polls are."""
    alive(client)
    client.zadd("bridge:watch", {"t1": 1})
    code, out, _ = bridge("health")
    assert code == 0
    assert out.startswith("healthy: ")
    assert "no TWELVELABS_API_KEY" in out
    assert "API_KEY" not in bridge("health", "--role", "deliver")[1]


def test_health_of_one_role_looks_at_that_role(bridge: Bridge, client: "Redis") -> None:
    """Containers have a role each."""
    alive(client, "deliver")
    assert bridge("health", "--role", "deliver")[0] == 0
    assert bridge("health", "--role", "poll")[0] == 1
    code, out, _ = bridge("health")
    assert (code, "no poll shift is alive → bridge worker poll;" in out) == (1, True)


def test_in_the_stack_people_are_told_its_commands(
    bridge: Bridge, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`bridge worker` means nothing where compose runs the worker: each door says what does it there."""
    login = tmp_path / "operator.url"
    login.write_text(redis_url)
    monkeypatch.setattr("bridge.deployment.IN_THE_STACK", f"{tmp_path}/")
    monkeypatch.delenv("BRIDGE_REDIS_URL")
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(login))
    key = "twelvelabs_api_key) && docker compose restart worker"
    bridge("task", "add", "t1")
    for words, commands in (
        (("status",), ("docker compose up -d worker", key)),
        (("health",), ("docker compose up -d worker",)),
        (("task", "add", "t1"), ("docker compose up -d worker",)),
        (("task", "wait", "t1", "--timeout", "0"), ("docker compose up -d worker",)),
        (("doctor",), ("docker compose up -d worker", key)),
    ):
        _, out, told = bridge(*words)
        assert all(command in out + told for command in commands), (words, out, told)
        assert "bridge worker" not in out + told, words


def test_health_here_is_that_of_this_machines_workers(bridge: Bridge, client: "Redis") -> None:
    """A container beside healthy ones is not healthy for their sake, and not unhealthy for work that all are behind."""
    alive(client)
    code, out, _ = bridge("health", "--here", "--role", "poll")
    assert (code, "no poll worker is alive on" in out, "bridge worker poll" in out) == (1, True, True)
    client.zadd("bridge:workers:poll", {f"{socket.gethostname()}:5f5f:7": now_ms() + 60_000})
    client.zadd("bridge:watch", {"t1": now_ms() - 3_600_000})
    assert bridge("health", "--here", "--role", "poll")[0] == 0


def test_what_is_too_late_is_unhealthy(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """A due task or an endpoint that nobody claims; not so while upstream asked for a rest."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_x")
    alive(client)
    client.zadd("bridge:watch", {"t1": now_ms() - 600_000})
    code, out, _ = bridge("health")
    assert (code, "poll is 10 min behind" in out) == (1, True)
    assert bridge("health", "--max-lag", "1h")[0] == 0
    client.zadd("bridge:pauses", {"default": now_ms() + 60_000})
    assert bridge("health")[0] == 0
    client.zadd("bridge:ready", {"a": now_ms() - 600_000})
    code, out, _ = bridge("health", "--json")
    assert (code, json.loads(out)["healthy"]) == (1, False)
    assert "deliver is 10 min behind" in json.loads(out)["line"]


def test_a_refused_key_is_unhealthy_for_whoever_polls(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is polled until somebody acts; a container that only delivers is as healthy as before."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_x")
    alive(client)
    client.zadd("bridge:pauses", {"default": now_ms() + 60_000})
    assert bridge("health")[0] == 0
    client.hset("bridge:account:default", "state", "refused")
    code, out, _ = bridge("health")
    assert (code, out.startswith("unhealthy: "), "refuses the key → bridge doctor" in out) == (1, True, True)
    assert bridge("health", "--role", "deliver")[0] == 0


def test_a_bad_subscriber_is_not_ill_health(bridge: Bridge, client: "Redis") -> None:
    """P5, P9: what waits for a disabled endpoint, or behind one that holds all its slots, is no fault of ours."""
    alive(client)
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    client.zadd("bridge:queue:a", {"evt_1": 1})
    client.zrem("bridge:ready", "a")
    assert bridge("health")[0] == 0


def test_between_two_shifts_health_waits_for_the_next(bridge: Bridge, client: "Redis") -> None:
    """One shift hands over to the next within seconds: a probe in between is not told that all is lost."""
    alive(client)
    client.delete("bridge:shifts:poll")
    started = time.monotonic()
    assert bridge("health", "--role", "poll")[0] == 1
    assert time.monotonic() - started > 4


def test_a_wrong_role_is_a_usage_error(bridge: Bridge) -> None:
    """Exit code 2, before anything starts."""
    assert bridge("worker", "everything")[0] == 2
    assert bridge("health", "--role", "everything")[0] == 2


def test_the_worker_takes_the_settings_of_its_own_door(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bridge worker` is `python worker.py`: the same complaint about the same mistake, exit code 2."""
    monkeypatch.setenv("BRIDGE_POL_WORKERS", "2")
    code, _, told = bridge("worker", "poll")
    assert (code, "BRIDGE_POLL_WORKERS" in told) == (2, True)


@pytest.mark.parametrize(("here", "theirs"), [(False, True), (True, False)], ids=["only-the-worker", "only-the-shell"])
def test_the_workers_key_is_told_and_not_the_shells(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch, here: bool, theirs: bool
) -> None:
    """What polls is the worker: its key counts, whatever the shell has that looks at it."""
    if here:
        monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_x")
    alive(client, "deliver")
    client.zadd("bridge:shifts:poll", {"5f": now_ms() + 60_000})
    client.zadd("bridge:workers:poll", {f"there:5f5f:7:{'keyed' if theirs else 'keyless'}": now_ms() + 60_000})
    assert json.loads(bridge("status", "--json")[1])["has_key"] is theirs
    assert ("as the running worker says: nothing is polled" in bridge("status")[1]) is not theirs
    assert ("nothing is polled" in bridge("health")[1]) is not theirs
    (finding,) = [one for one in json.loads(bridge("doctor", "--json")[1]) if one["check"] == "key"]
    assert (finding["level"], "the running worker has" in finding["found"]) == ("ok" if theirs else "fail", True)


@pytest.mark.parametrize("words", [("status",), ("task", "ls"), ("task", "add", "t1"), ("doctor",)], ids=" ".join)
def test_the_redis_that_does_not_answer_is_named(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Its host and port, which may be set in many places, and how that one is started; no password."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://me:hunter2@127.0.0.1:1/0")
    code, out, told = bridge(*words)
    assert (code, "127.0.0.1:1" in out + told, "hunter2" in out + told) == (5, True, False)
    assert "→ redis-server config/redis.conf --port 1 &" in out + told


def test_what_is_left_of_our_own_bound_is_told(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is one: a bridge that reads nothing for a minute would look idle otherwise."""
    assert "upstream" not in bridge("status")[1]
    monkeypatch.setenv("BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE", "3")
    assert "3 left of this minute's requests" in bridge("status")[1]
    client.hset("bridge:spent:default", str(now_ms() // 1000), 3)
    assert "none left of this minute's requests (BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE)" in bridge("status")[1]
    assert json.loads(bridge("status", "--json")[1])["requests_left"] == 0
