"""`bridge doctor` against real states of Redis, a simulated upstream, and one bad entry of each kind."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from owing import DEAD, announce, claim, settle, take_in
from redis import Redis

from bridge.model import DeadReason, EndpointEffect
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.store.outbox import CLAIMS_BEFORE_POISON

Bridge = Callable[..., tuple[int, str, str]]
Rows = list[dict[str, str]]


def doctor(bridge: Bridge, *options: str) -> tuple[int, Rows]:
    """The exit code and the findings."""
    code, out, _ = bridge("doctor", *options, "-o", "jsonl")
    return code, [json.loads(line) for line in out.splitlines()]


def bad(rows: Rows, check: str) -> str:
    """Everything that is said of what is not well."""
    return "\n".join(str(row) for row in rows if row["check"] == check and row["level"] != "ok")


def alive(client: "Redis") -> None:
    """A worker and a shift of each kind, for half a minute."""
    until = int(time.time() * 1000) + 30_000
    for kind in ("poll", "deliver"):
        client.zadd(f"bridge:workers:{kind}", {f"{kind}:1": until})
        client.zadd(f"bridge:shifts:{kind}", {"5f": until})


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated TwelveLabs whose key we have."""
    simulator = Simulator()
    with simulator.in_thread():
        monkeypatch.setenv("BRIDGE_TWELVELABS_BASE_URL", simulator.base_url)
        monkeypatch.setenv("TWELVELABS_API_KEY", API_KEY)
        yield simulator


def contents(client: "Redis") -> dict[str, Any]:
    """Every key with what it holds."""
    client = Redis(connection_pool=client.connection_pool.__class__(
        **{**client.connection_pool.connection_kwargs, "decode_responses": False}))  # fmt: skip
    return {repr(key): client.dump(key) for key in sorted(client.keys())}


def test_a_healthy_bridge_is_well_and_costs_one_read(bridge: Bridge, client: "Redis", upstream: Simulator) -> None:
    """Exit code 0, no finding without its words, exactly one request, and Redis is as it was, byte for byte."""
    alive(client)
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    before = contents(client)
    code, rows = doctor(bridge)
    assert (code, [row for row in rows if row["level"] != "ok"]) == (0, [])
    assert all(set(row) == {"level", "check", "found", "why", "fix"} for row in rows)
    assert {row["check"] for row in rows} >= {
        "config",
        "redis",
        "durability",
        "memory",
        "clock",
        "data",
        "key",
        "types",
    }
    assert len(upstream.requests) == 1
    assert contents(client) == before
    assert "0 failed, 0 to look at" in bridge("doctor")[2]


def test_an_empty_redis_stays_empty(bridge: Bridge, client: "Redis") -> None:
    """Not even the data's version is written."""
    code, rows = doctor(bridge)
    assert (code, client.keys()) == (1, [])
    assert "export TWELVELABS_API_KEY=…" in bad(rows, "key")
    assert [row["fix"] for row in rows if row["check"] in {"poll worker", "deliver worker"}] == ["bridge worker"] * 2


@pytest.mark.parametrize(
    ("command", "check", "word"),
    [
        (("CONFIG", "SET", "appendonly", "no"), "durability", "no append-only file"),
        (("CONFIG", "SET", "appendfsync", "no"), "durability", "appendfsync no"),
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "memory", "allkeys-lru"),
        (("CONFIG", "SET", "maxmemory", "1000000"), "memory", "CONFIG SET maxmemory 2000000"),
        (("REPLICAOF", "127.0.0.1", "1"), "redis", "127.0.0.1:1"),
        (("HSET", "bridge:meta", "data_version", "99"), "data", "newer bridge"),
        (("XADD", "bridge:events", "9999999999999-0", "id", "x"), "clock", "the latest event lies"),
        (("ZADD", "bridge:watch", "9999999999999", "t1"), "clock", "bridge task poll -"),
        (("ZADD", "bridge:workers:poll", "9999999999999", "x"), "clock", "a poll worker's life"),
        (("SET", "bridge:tasks", "x"), "types", "bridge:tasks is a string, not a zset"),
        (("SET", "bridge:endpoints", "x"), "types", "bridge:endpoints is a string, not a hash"),
        (("SET", "bridge:meta", "x"), "types", "bridge:meta is a string, not a hash"),
        (("SET", "bridge:rejected", "x"), "types", "bridge:rejected is a string, not a hash"),
        (("SET", "bridge:watch", "x"), "types", "bridge:watch is a string, not a zset"),
        (("ACL", "SETUSER", "default", "-config"), "durability", "appendfsync unknown"),
    ],
)
def test_each_state_of_redis_is_named(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], check: str, word: str
) -> None:
    """A real server in that state: the finding, its fix, and all the other checks still made."""
    with RedisServer() as server:
        with Redis.from_url(server.url) as client:
            client.execute_command(*command)
        monkeypatch.setenv("BRIDGE_REDIS_URL", server.url)
        _, rows = doctor(bridge)
    assert word in bad(rows, check), rows
    assert {"config", "key", "types", "poll worker", "deliver worker"} <= {row["check"] for row in rows}


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_what_is_to_be_said_to_redis_reaches_the_redis_in_use(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unix: bool
) -> None:
    """A server elsewhere than at 6379, behind a password: each fix that is printed works as it is pasted."""
    extra = ["--unixsocket", str(tmp_path / "a socket")] if unix else []
    with RedisServer(extra=extra) as server, Redis.from_url(server.url) as client:
        client.config_set("appendonly", "no")
        client.set("bridge:tasks", "x")
        url = f"unix://{quote(str(tmp_path / 'a socket'))}" if unix else server.url.replace("//", "//:hunter2@")
        if not unix:
            client.config_set("requirepass", "hunter2")
        monkeypatch.setenv("BRIDGE_REDIS_URL", url)
        _, out, _ = bridge("doctor")
        fixes = re.findall(r"→ (redis-cli .*)", out)
        assert (len(fixes), "hunter2" in out) == (2, False), out
        beside = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
        for fix in fixes:
            done = subprocess.run(
                ["bash", "-c", fix], env={"PATH": beside, "BRIDGE_REDIS_URL": url}, capture_output=True, text=True
            )
            assert (done.returncode, done.stdout.strip()) == (0, "OK"), done
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.exists("bridge:tasks.aside") == 1


def test_a_key_of_the_wrong_type_is_one_finding(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Also after a worker has said it in bridge:rejected, where it stays once the key was renamed."""
    client.set("bridge:tasks", "oops")
    take_in(redis_url)
    _, rows = doctor(bridge)
    assert [row["check"] for row in rows if "bridge:tasks" in str(row)] == ["types"]
    client.rename("bridge:tasks", "bridge:tasks.aside")
    _, rows = doctor(bridge)
    assert [row["check"] for row in rows if "key:bridge:tasks" in str(row)] == ["rejected"]


def test_a_client_key_that_is_misspelt_is_named(bridge: Bridge, client: "Redis") -> None:
    """Nobody reads it, and nothing says so: which key was meant, and a command that does what it says."""
    client.hset("bridge:endpoint", "a", '{"url":"https://example.com/"}')
    client.zadd("bridge:taks", {"t1": 0})
    client.set("bridge:task", "t1")
    client.hset("bridge:endpoint:a", "state", "active")  # one of ours, whose name begins alike
    _, rows = doctor(bridge)
    found = {row["found"]: (row["why"], row["fix"]) for row in rows if row["check"] == "types" and row["why"]}
    assert set(found) == {f"bridge:{name} is no key of the bridge's" for name in ("endpoint", "taks", "task")}
    why, fix = found["bridge:taks is no key of the bridge's"]
    assert "did you mean bridge:tasks?" in why
    cli, verb, *keys = fix.partition(";")[0].split()
    assert (cli, verb, client.renamenx(*keys)) == ("redis-cli", "RENAMENX", True)
    assert client.zrange("bridge:tasks", 0, -1) == ["t1"]
    assert "write into bridge:tasks, a zset, then DEL bridge:task" in str(found)


def test_keys_that_nobody_reads_are_named(bridge: Bridge, client: "Redis") -> None:
    """Typed by hand under our prefix: ten by name, how many more, why, and what to do. What is ours is none of them,
    nor what another bridge keeps below its own prefix."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    bridge("task", "add", "t1", "--metadata", "1")
    assert bad(doctor(bridge)[1], "types") == ""
    client.hset("bridge:taskoptions", "t1", "{}")
    client.set("bridge:taks", "t1")
    client.hset("bridge:staging:meta", "data_version", "1")
    client.zadd("bridge:staging:tasks", {"t1": 0})
    client.zadd("bridge:eu:new:tasks", {"t1": 0})
    (near, unread) = [row for row in doctor(bridge)[1] if row["check"] == "types" and row["level"] == "warn"]
    assert "did you mean bridge:tasks?" in near["why"]
    assert unread["found"] == "bridge:taskoptions is no key of the bridge's"
    assert unread["why"] == "nobody reads it"
    assert unread["fix"] == (
        "write what it was meant to be where `bridge contract show` says, then redis-cli DEL bridge:taskoptions"
    )
    for number in range(12):
        client.set(f"bridge:x{number:02}", "whsec_" + "A" * 44)
    client.set(b"bridge:\xff \x1b[2J", "x")
    (_, unread) = [row for row in doctor(bridge)[1] if row["check"] == "types" and row["level"] == "warn"]
    assert unread["found"].count("bridge:x0") == 8
    assert unread["found"].endswith(" and 4 more are no keys of the bridge's")
    assert "\x1b" not in bridge("doctor")[1]
    client.delete(*client.keys("bridge:x*"))
    client.set("bridge:" + "y" * 200, "x")
    (_, unread) = [row for row in doctor(bridge)[1] if row["check"] == "types" and row["level"] == "warn"]
    assert "y…" in unread["found"]
    assert unread["fix"].endswith("redis-cli DEL bridge:taskoptions")


def test_a_look_for_keys_that_nobody_reads_has_a_bound(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so where it was reached."""
    assert "not all keys were looked at" not in str(doctor(bridge)[1])
    monkeypatch.setattr("bridge.store.reading.unread.KEYS", 10)
    monkeypatch.setattr("bridge.store.reading.unread.PAGE", 10)
    client.mset({f"other:{number}": "x" for number in range(200)})
    (row,) = [row for row in doctor(bridge)[1] if row["found"] == "not all keys were looked at"]
    assert (row["level"], row["check"], "more than 10 keys" in row["why"]) == ("ok", "types", True)


def test_a_cluster_is_told_apart(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ does not run on it."""
    with RedisServer(extra=("--cluster-enabled", "yes")) as server:
        monkeypatch.setenv("BRIDGE_REDIS_URL", server.url)
        code, rows = doctor(bridge)
    assert (code != 0, "Redis Cluster" in bad(rows, "redis")) == (True, True)


@pytest.mark.parametrize(
    ("url", "fix"),
    [("redis://127.0.0.1:1/0", "redis-server config/redis.conf --port 1 &"), (None, "write :PASSWORD@ (")],
    ids=["away", "wrong password"],
)
def test_without_redis_the_settings_and_the_key_are_still_judged(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, redis_url: str, upstream: Simulator, url: str | None, fix: str
) -> None:
    """Exit code 5; no password is repeated."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", url or redis_url.replace("redis://", "redis://x:hunter2@"))
    code, rows = doctor(bridge)
    assert (code, fix in bad(rows, "redis")) == (5, True)
    assert [row["level"] for row in rows if row["check"] == "key"] == ["ok"]
    assert any(row["check"] == "config" for row in rows)
    assert "hunter2" not in str(rows)


def test_a_refused_key_is_exit_code_4(
    bridge: Bridge, client: "Redis", upstream: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by one real request; the key is not shown. Tried also while the workers' own key is refused."""
    alive(client)
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_do_not_show")
    code, rows = doctor(bridge)
    assert (code, len(upstream.requests), "401" in bad(rows, "key")) == (4, 1, True)
    assert "tlk_do_not_show" not in str(rows)
    monkeypatch.setenv("TWELVELABS_API_KEY", API_KEY)
    client.hset("bridge:account:default", "state", "refused")
    client.zadd("bridge:pauses", {"default": int(time.time() * 1000) + 60_000})
    code, rows = doctor(bridge)
    assert (code, "stop the worker, then: bridge worker" in bad(rows, "key")) == (4, True)


def test_upstream_is_left_alone_where_it_asked_for_it(
    bridge: Bridge, client: "Redis", upstream: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: neither during a rest nor beyond our own bound is a request made."""
    now = int(time.time() * 1000)
    client.zadd("bridge:pauses", {"default": now + 60_000})
    assert "the account rests" in bad(doctor(bridge)[1], "key")
    client.delete("bridge:pauses")
    monkeypatch.setenv("BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE", "2")
    client.hset("bridge:spent:default", str(now // 1000), 2)
    assert "no request is left" in bad(doctor(bridge)[1], "key")
    assert len(upstream.requests) == 0


def test_a_misspelt_setting_is_named_with_its_neighbour(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, each mistake a finding, and what was not looked at for it."""
    monkeypatch.setenv("BRIDGE_POL_WORKERS", "2")
    monkeypatch.setenv("BRIDGE_POLL_WORKERS", "none")
    code, rows = doctor(bridge)
    assert (code, sum(row["level"] == "fail" for row in rows)) == (1, 2)
    assert "did you mean BRIDGE_POLL_WORKERS" in bad(rows, "config")
    assert "were not looked at" in bad(rows, "config")


def test_one_bad_entry_of_each_kind_is_named(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Before a worker has seen them by the classifier, afterwards from bridge:rejected, with reason and fix."""
    client.hset("bridge:endpoints", mapping={"broken": "{", "inside": '{"url":"https://10.0.0.1/"}'})
    client.zadd("bridge:tasks", {"a b": 0, "late": 1.8e12, "options": 0, "typed": 0, "named": 0})
    client.hset("bridge:task:options", "metadata", "{")
    client.set("bridge:task:typed", "x")
    client.hset("bridge:task:named", "endpoints", "biling")
    _, rows = doctor(bridge)
    for name, check in (("broken", "endpoint"), ("inside", "endpoint"), ("a b", "task"), ("late", "task"),
                        ("options", "task"), ("typed", "task")):  # fmt: skip
        (one,) = [row for row in rows if row["check"] == check and row["found"].startswith(f"{name}: ")]
        assert (one["level"], bool(one["fix"])) == ("fail", True), one
    take_in(redis_url)
    _, rows = doctor(bridge)
    refused = {row["found"]: row for row in rows if row["check"] == "rejected"}
    assert set(refused) == {
        "endpoint:broken", "endpoint:inside", "task:a b", "task:late", "task:options", "task:typed",
    }  # fmt: skip
    assert all(row["why"] and row["fix"] for row in refused.values())
    assert "names “biling”" in bad(rows, "task")


def test_what_went_wrong_with_deliveries_is_told(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """A nonsense record, a lost body, poison, an endpoint that said 410: named, and the commands help."""
    for name in ("a", "b", "c", "d"):
        bridge("endpoint", "add", name, "http://127.0.0.1:9/", "--tasks", name)
    nonsense, lost, poison, gone = (announce(redis_url, name, "ready")[0] for name in ("a", "b", "c", "d"))
    client.hset("bridge:deliveries:a", nonsense, "oops")
    client.hdel(f"bridge:event:{lost}", "body")
    client.zrem("bridge:ready", "d")
    for _ in range(CLAIMS_BEFORE_POISON):
        assert [one.endpoint for one in claim(redis_url)] == ["c"]
        (lease,) = client.zrange("bridge:leases:c", 0, -1)
        client.zadd("bridge:leases:c", {str(lease): 1})
        client.zadd("bridge:ready", {"c": 1})
    assert claim(redis_url) == []
    client.zadd("bridge:ready", {"d": 1})
    assert settle(redis_url, replace(DEAD, effect=EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)) == [gone]
    _, rows = doctor(bridge)
    letters = bad(rows, "dead letters")
    for word in ("a has 1: 1 unreadable", "b has 1: 1 body-lost", "c has 1: 1 poison", "d has 1: 1 gone"):
        assert word in letters
    assert f"bridge delivery retry {nonsense} --endpoint a" in bad(rows, "rejected")
    assert "d is disabled (gone)" in bad(rows, "endpoint")
    assert bridge("delivery", "retry", nonsense, "--endpoint", "a")[0] == 0
    assert bridge("delivery", "retry", poison)[0] == 0
    assert [(one.event_id, one.type) for one in claim(redis_url)] == [
        (nonsense, "index.task.ready"), (poison, "index.task.ready"),
    ]  # fmt: skip
    _, rows = doctor(bridge)
    assert (bad(rows, "rejected"), "unreadable" in bad(rows, "dead letters")) == ("", False)


def test_what_is_late_or_failing_is_told(bridge: Bridge, client: "Redis") -> None:
    """Due work that nobody claims, shifts that pile up in RQ's queue, a task whose reads fail."""
    old = int(time.time() * 1000) - 600_000
    client.zadd("bridge:watch", {"t1": old})
    client.hset("bridge:watch:t1", mapping={"faults": 4, "error": "HTTP 503"})
    client.zadd("bridge:ready", {"a": old})
    client.rpush("rq:queue:bridge-poll", *map(str, range(20)))
    _, rows = doctor(bridge)
    assert "10 min" in bad(rows, "deliver backlog")
    assert "20 jobs wait" in bad(rows, "poll worker")
    assert "t1 failed to be read 4 times in a row" in bad(rows, "task")


def test_addresses_are_judged_when_asked_for(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """--resolve: a name that nobody knows is found before its first attempt fails."""
    client.hset("bridge:endpoints", "a", '{"url":"http://no-such-host.invalid/","secret":"whsec_' + "A" * 44 + '"}')
    assert bad(doctor(bridge)[1], "endpoint") == ""
    assert "does not resolve" in bad(doctor(bridge, "--resolve")[1], "endpoint")


def test_the_egress_proxy_is_tried(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Named when it takes no connection, by host and port alone; and when it does."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        where = f"127.0.0.1:{proxy.getsockname()[1]}"
        monkeypatch.setenv("BRIDGE_DELIVERY_PROXY_URL", f"http://me:s3cret@{where}")
        _, rows = doctor(bridge)
        assert [row["found"] for row in rows if row["check"] == "proxy"] == [
            f"deliveries go through {where}, which takes connections"
        ]
    code, rows = doctor(bridge)
    assert code != 0
    assert f"the egress proxy {where} cannot be reached: connection refused" in bad(rows, "proxy")
    assert "BRIDGE_DELIVERY_PROXY_URL" in bad(rows, "proxy")
    assert "s3cret" not in str(rows)


def test_many_endpoints_in_one_trouble_are_told_once(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of all, a dozen at most, under one cause; JSON has each with all that is to be said of it."""
    for number in range(14):
        assert bridge("endpoint", "add", f"e{number}", f"http://127.0.0.1:9/{number}")[0] == 0
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "false")
    _, out, told = bridge("doctor")
    assert out.count("scheme_not_https") == 1
    (same,) = [line for line in out.splitlines() if "the same of" in line]
    assert same.endswith(" and 3 more")
    assert same.count(", ") == 9
    rows = [row for row in doctor(bridge)[1] if "scheme_not_https" in row["found"]]
    assert len(rows) == 14
    assert {row["fix"].partition(" for ")[0] for row in rows} == {"set BRIDGE_DELIVERY_ALLOW_HTTP=true"}
    assert set(rows[0]) == {"level", "check", "found", "why", "fix"}
    assert int(told.split()[0]) >= 14


def test_what_is_told_to_do_next_can_be_pasted_where_it_was_told(redis_url: str, tmp_path: Path) -> None:
    """Called by its path, as from a clone, it tells that path, as PATH may have another `bridge`; data does not."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bridge").symlink_to(Path(sys.executable).parent / "bridge")
    environment = {"PATH": "/usr/bin:/bin", "BRIDGE_REDIS_URL": redis_url, "NO_COLOR": "1"}

    def told(*words: str) -> str:
        done = subprocess.run(
            ["bin/bridge", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert "→ bin/bridge worker" in told("doctor")
    assert "→ bin/bridge worker" in told("status")
    assert "→ bin/bridge worker" in told("health")
    assert "→ bin/bridge endpoint ls" in told("endpoint", "show", "nobody")
    assert '"fix": "bridge worker"' in told("doctor", "--json")


def test_what_the_running_worker_allows_is_no_failure(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell has fewer settings than the worker, which delivers: told as the shell's, with what it lacks."""
    assert bridge("endpoint", "add", "mine", "http://127.0.0.1:9/hook")[0] == 0
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "false")
    monkeypatch.delenv("BRIDGE_DELIVERY_ALLOW_NETWORKS")

    def finding() -> dict[str, str]:
        (row,) = [row for row in doctor(bridge)[1] if row["check"] == "endpoint" and "mine" in row["found"]]
        return row

    assert finding()["level"] == "fail"  # nobody works, and who will is not known to allow it
    alive(client)
    assert "admissible by this shell's settings" not in str(doctor(bridge)[1])
    row = finding()
    assert (row["level"], "the running worker's allow it" in row["found"]) == ("warn", True)
    networks = "BRIDGE_DELIVERY_ALLOW_NETWORKS=127.0.0.1/32"
    assert row["fix"] == f"export BRIDGE_DELIVERY_ALLOW_HTTP=true {networks}  # here"
    client.hset("bridge:endpoint:mine", "kept", "1")
    assert finding()["level"] == "fail"  # the worker's settings refuse it, too
