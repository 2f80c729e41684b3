"""`bridge rejected`: what was refused, and its dismissal."""

import json
import re
import shlex
from collections.abc import Callable

from owing import take_in
from redis import Redis

Bridge = Callable[..., tuple[int, str, str]]


def refuse(client: "Redis", redis_url: str) -> None:
    """An endpoint, a watch's task and a task in milliseconds that no worker can use."""
    client.hset("bridge:endpoints", "a", '{"url": "https://10.0.0.1/x"}')
    client.zadd("bridge:tasks", {"t1": 1_763_925_001_123, "t 2": 1_763_925_001_123})
    take_in(redis_url)


def test_what_was_refused_is_listed_with_what_puts_it_right(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Names, reasons and fixes as they stand in Redis; of a member that cannot be one, that it cannot."""
    assert bridge("rejected", "ls", "--json")[:2] == (0, "[]\n")
    refuse(client, redis_url)
    rows = {row["name"]: row for row in json.loads(bridge("rejected", "ls", "--json")[1])}
    assert list(rows) == ["endpoint:a", "task:t 2", "task:t1"]
    assert rows["task:t1"]["fix"] == "ZADD bridge:tasks NX 0 t1"
    assert rows["task:t 2"]["field"] == "member"
    assert all(row["reason"] and row["fix"] and row["refused_at"].endswith("Z") for row in rows.values())
    shown = bridge("rejected", "ls")[1]
    assert 'redis-cli -u "$BRIDGE_REDIS_URL" ZADD bridge:tasks NX 0 t1' in shown
    assert bridge("rejected", "ls", "-o", "ids")[1].splitlines() == list(rows)


def test_what_was_refused_can_be_struck_off(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """By name, by pipe, partly; and what is not there is said."""
    refuse(client, redis_url)
    assert bridge("rejected", "rm", "task:t1")[0] == 0
    assert set(client.hkeys("bridge:rejected")) == {"endpoint:a", "task:t 2"}
    code, _, told = bridge("rejected", "rm", "task:t1")
    assert (code, "task:t1 is not among the refused entries" in told, "→ bridge rejected ls" in told) == (3, True, True)
    code, _, told = bridge("rejected", "rm", "-", stdin=b"task:t 2\ntask:none\n")
    assert (code, "✗ task:none" in told, "1 of 2" in told) == (6, True, True)
    assert client.hkeys("bridge:rejected") == ["endpoint:a"]


def test_what_was_refused_for_its_name_says_how_it_is_struck_off(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """No good entry of that name ever takes its place, and there is nothing left in Redis to delete: the command in
    the fix, as it stands there, is what ends it."""
    client.hset("bridge:endpoints", "bad name", '{"url": "https://example.com/"}')
    client.zadd("bridge:tasks", {"t 2": 0})
    take_in(redis_url)
    assert client.exists("bridge:endpoints", "bridge:tasks") == 0
    fixes = {row["name"]: row["fix"] for row in json.loads(bridge("rejected", "ls", "--json")[1])}
    for name, kind in (("endpoint:bad name", "endpoint"), ("task:t 2", "task")):
        assert "DEL" not in fixes[name]
        (command,) = re.findall(r"`([^`]+)`", fixes[name])
        assert f"bridge {kind} rm" not in bridge("doctor")[1]
        assert bridge(*shlex.split(command)[1:])[0] == 0
    assert fixes["endpoint:bad name"].startswith("register it under another name; ")
    assert json.loads(bridge("rejected", "ls", "--json")[1]) == []


def test_options_that_are_no_hash_are_told_by_the_commands_that_put_them_right(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """The key is there still, the registration is not."""
    client.set("bridge:task:t1", "x")
    client.zadd("bridge:tasks", {"t1": 0})
    take_in(redis_url)
    (row,) = json.loads(bridge("rejected", "ls", "--json")[1])
    assert row["fix"] == "DEL bridge:task:t1, HSET the options, then ZADD bridge:tasks NX 0 t1"
    client.delete("bridge:task:t1")
    client.hset("bridge:task:t1", "metadata", "1")
    client.zadd("bridge:tasks", {"t1": 0}, nx=True)
    take_in(redis_url)
    assert client.exists("bridge:rejected") == 0


def test_the_log_of_refused_entries_may_hold_anything(bridge: Bridge, client: "Redis") -> None:
    """What another hand wrote there is shown as far as it says something."""
    client.hset("bridge:rejected", mapping={"x": "no JSON", "y": "[]", "z": '{"at": "noon", "reason": 7}'})
    rows = json.loads(bridge("rejected", "ls", "--json")[1])
    assert [(row["name"], row["reason"], row["refused_at"]) for row in rows] == [
        ("x", "", None), ("y", "", None), ("z", "7", None),
    ]  # fmt: skip
    assert bridge("rejected", "ls")[0] == 0


def test_a_refused_secret_is_replaced_by_the_command_of_its_fix(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """As it stands there, it makes an endpoint that signs; a URL that no policy lets through is not in it."""
    bad = {"url": "https://example.com/hook", "secret": "whsec_short"}
    client.hset("bridge:endpoints", mapping={"a": json.dumps(bad), "b": json.dumps({**bad, "url": "http://10.0.0.1/"})})
    take_in(redis_url)
    fixes = {row["name"]: row["fix"] for row in json.loads(bridge("rejected", "ls", "--json")[1])}
    assert "bridge endpoint add b URL --replace" in fixes["endpoint:b"]
    assert "TwelveLabs revealed" not in fixes["endpoint:a"]
    command = re.search(r"^ +→ (bridge endpoint add a .*)$", bridge("doctor")[1], re.MULTILINE)
    assert command
    assert bridge(*shlex.split(command[1])[1:])[0] == 0
    assert json.loads(bridge("endpoint", "show", "a", "--json")[1])["state"] == "active"
    assert client.hkeys("bridge:rejected") == ["endpoint:b"]
