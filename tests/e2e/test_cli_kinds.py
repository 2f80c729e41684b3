"""`bridge` with what is no index task."""

import json
from collections.abc import Callable

import pytest
from redis import Redis
from test_cli_tasks import end, seed

Bridge = Callable[..., tuple[int, str, str]]
ASSET = "asset:69f0aa11bb22cc33dd44ee55/6a0b1c2d3e4f5a6b7c8d9e01"


def test_an_asset_is_registered_as_it_is_named(bridge: Bridge, client: "Redis") -> None:
    """Its options stand beside it; one named without its index is told what to write."""
    code, out, _ = bridge("task", "add", ASSET, "--metadata", "1", "-o", "ids")
    assert (code, out) == (0, f"{ASSET}\n")
    assert client.zscore("bridge:tasks", ASSET) == 0
    assert client.hget(f"bridge:task:{ASSET}", "metadata") == "1"
    code, _, told = bridge("task", "add", "asset:6a0b")
    assert (code, "→ bridge task add asset:INDEX/ID" in told) == (2, True)
    code, _, told = bridge("task", "add", "video:6a0b")
    assert (code, "analyze:ID" in told) == (2, True)


@pytest.mark.parametrize("named", [(), ("--endpoint", "a")], ids=["everybody", "named"])
def test_who_adds_what_no_endpoint_takes_is_told(bridge: Bridge, client: "Redis", named: tuple[str, ...]) -> None:
    """An endpoint takes index tasks unless it says more; the command that says it is shown, and then nothing."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    told = bridge("task", "add", ASSET, *named)[2]
    assert "no endpoint takes index.asset.*" in told
    assert "--events 'index.task.*,index.asset.*'" in told
    bridge("endpoint", "set", "a", "--events", "index.task.*,index.asset.*")
    assert "no endpoint takes" not in bridge("task", "add", ASSET, *named)[2]
    assert "no endpoint takes analyze.task.*" in bridge("task", "add", "analyze:x", "t1")[2]


def test_an_asset_is_followed_to_its_end(bridge: Bridge, client: "Redis") -> None:
    """`ls`, `show`, `watch` and `wait` know it by its member."""
    seed(client, ASSET, "validating")
    assert bridge("task", "ls", "--status", "validating", "-o", "ids")[1] == f"{ASSET}\n"
    assert json.loads(bridge("task", "show", ASSET, "--json")[1])["status"] == "validating"
    assert bridge("task", "wait", ASSET, "--for", "validating")[0] == 0
    end(client, ASSET, "ready")
    assert bridge("task", "wait", ASSET)[0] == 0
    assert bridge("task", "watch", ASSET, "--json")[0] == 0


@pytest.mark.parametrize(("member", "code"), [("analyze:n1", 7), ("t1", 124)])
def test_a_status_is_an_end_only_where_it_is_one(bridge: Bridge, client: "Redis", member: str, code: int) -> None:
    """A canceled analysis is over; an index task with that word, which is not its, is waited for."""
    seed(client, member, "canceled")
    assert bridge("task", "wait", member, "--timeout", "0.2s")[0] == code


def test_a_made_up_event_of_an_asset_is_tried(bridge: Bridge) -> None:
    """`endpoint test --type` knows every family; nobody listens there, which is said."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/", "--events", "index.asset.*")
    code, out, told = bridge("endpoint", "test", "a", "--type", "index.asset.ready", "--json")
    assert (code, json.loads(out)["type"], "would keep" in told) == (1, "index.asset.ready", False)
    assert bridge("endpoint", "test", "a", "--type", "index.asset.Ready?")[0] == 2
