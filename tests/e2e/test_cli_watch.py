"""`bridge watch` on a real Redis, and a worker that finds what it names."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from test_cli_doctor import alive, bad, doctor
from town import a_town
from until import until

from bridge.finding import Search
from bridge.sandbox.shelf import INDEX_ID
from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
INDEX = "69f0aa11bb22cc33dd44ee55"


def test_an_index_is_watched_as_any_client_would_write_it(bridge: Bridge, client: "Redis") -> None:
    """One HSET; written anew it replaces what was asked for; what lacks for its events to arrive is said."""
    code, out, told = bridge("watch", "index", INDEX, "other", "--endpoint", "a", "--metadata", '{"t": 1}', "--json")
    rows = [(row["watch"], row["result"]) for row in json.loads(out)]
    assert (code, rows) == (0, [(f"index:{INDEX}", "watched"), ("index:other", "watched")])
    assert json.loads(client.hget("bridge:watches", f"index:{INDEX}") or "") == {
        "endpoints": ["a"],
        "metadata": {"t": 1},
    }
    assert "no endpoint “a”" in told
    assert "bridge worker" in told
    words = ("--kind", "task,asset", "--since", "2h", "--expires-in", "1d", "-o", "ids")
    assert bridge("watch", "index", INDEX, *words)[1] == f"index:{INDEX}\n"
    now = json.loads(client.hget("bridge:watches", f"index:{INDEX}") or "")
    assert (now["kinds"], now.keys()) == (["task", "asset"], {"kinds", "since", "expires_at"})
    assert abs(now["since"] - time.time() + 7_200) < 60
    (row,) = json.loads(bridge("watch", "index", INDEX, "--json")[1])
    assert row["result"] == "updated"
    (row,) = json.loads(bridge("watch", "index", INDEX, "--json")[1])
    assert row["result"] == "known"


def test_who_watches_for_assets_that_no_endpoint_takes_is_told(bridge: Bridge) -> None:
    """As by `task add`: an endpoint takes index tasks unless it says more."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    assert "no endpoint takes index.asset.*" in bridge("watch", "index", INDEX, "--kind", "task,asset")[2]
    assert "no endpoint takes" not in bridge("watch", "index", INDEX)[2]


@pytest.mark.parametrize(
    "words",
    [
        ("index", "a b"),
        ("index", INDEX, "--kind", "video"),
        ("index", INDEX, "--metadata", "{"),
        ("index", INDEX, "--since", "yesterday"),
        ("account", "--callback-url", "http://10.0.0.1/"),
        ("account", "--endpoint", "a b"),
        ("account", "--expires-in", "soon"),
    ],
    ids="-".join,
)
def test_a_bad_watch_is_refused_with_its_fix(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """P10: exit code 2, what failed and what to do, nothing written."""
    code, _, told = bridge("watch", *words)
    assert (code, "→" in told) == (2, True)
    assert client.exists("bridge:watches") == 0


def force(client: "Redis", name: str, state: str) -> None:
    """A worker took it in, and has come so far."""
    client.hset("bridge:finding", mapping={f"text:{name}": "{}", f"state:task:{name}": state})


def test_watches_are_listed_and_taken_back(bridge: Bridge, client: "Redis") -> None:
    """Before a worker saw them, in force, faulty and refused; by name or by the index alone."""
    bridge("watch", "account")
    bridge("watch", "index", INDEX)
    client.hset("bridge:watches", "index:new", "{}")
    state = Search(due=5, listed_at=1_800_000_000_000, mark=1, error="HTTP 404 resource_not_exist").as_json()
    force(client, f"index:{INDEX}", state)
    client.hset("bridge:finding", mapping={f"found:task:index:{INDEX}": "7", "text:account": "{}"})
    client.hset("bridge:rejected", "watch:bad", json.dumps({"reason": "why", "fix": "what"}))
    rows = {row["watch"]: row for row in json.loads(bridge("watch", "ls", "--json")[1])}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"account": "watched", f"index:{INDEX}": "watched", "index:new": "waiting", "bad": "rejected"}
    row = rows[f"index:{INDEX}"]
    assert (row["found"], row["listed_at"], row["note"]) == (
        7,
        "2027-01-15T08:00:00.000Z",
        "HTTP 404 resource_not_exist",
    )
    table = bridge("watch", "ls")[1]
    assert ("not taken in yet" in table, "due now" in table) == (True, True)
    code, _, told = bridge("watch", "rm", INDEX, "account", "none")
    assert (code, "index:none is not watched" in told) == (6, True)
    assert client.hkeys("bridge:watches") == ["index:new"]
    assert bridge("watch", "rm", "bad")[0] == 3
    assert bridge("watch", "rm", "index:none")[0] == 3


def test_a_list_that_cannot_be_read_is_the_doctors_too(bridge: Bridge, client: "Redis") -> None:
    """With what upstream said, and the next command."""
    alive(client)
    bridge("watch", "account")
    assert not bad(doctor(bridge)[1], "watch")
    force(client, "account", Search(due=5, error="HTTP 503").as_json())
    assert "account: HTTP 503" in bad(doctor(bridge)[1], "watch")
    client.set("bridge:watches:x", "1")
    client.delete("bridge:watches")
    client.set("bridge:watches", "oops")
    assert "bridge:watches" in bad(doctor(bridge)[1], "types")


def test_watches_are_judged_beforehand(bridge: Bridge, client: "Redis") -> None:
    """`contract check`, of a document and of what stands in Redis; a misspelt field is pointed out."""
    document = {"watches": {"account": {"sinc": 1}, "index:a b": {}}}
    code, out, told = bridge("contract", "check", "-", "--json", stdin=json.dumps(document).encode())
    rows = {row["entry"]: row["verdict"] for row in json.loads(out)}
    assert (code, rows) == (6, {"watch:account": "accept", "watch:index:a b": "reject"})
    assert "did you mean “since”?" in told
    client.hset("bridge:watches", "account", "{")
    code, out, _ = bridge("contract", "check", "--live", "--json")
    assert (code, json.loads(out)[0]["entry"]) == (1, "watch:account")


def test_watches_are_carried_from_one_redis_to_another(bridge: Bridge, client: "Redis") -> None:
    """`export` and `import`: whole with secrets; a bad one stops no other."""
    definition = {"endpoints": ["a"], "metadata": {"k": 1}, "x-owner": "Ana"}
    client.hset("bridge:watches", mapping={"account": json.dumps(definition), f"index:{INDEX}": '{"kinds":["asset"]}'})
    first = bridge("export", "--with-secrets")[1]
    kept = [json.loads(line) for line in first.splitlines()][1:-1]
    assert [one["name"] for one in kept] == ["account", f"index:{INDEX}"]
    assert kept[0] == {"kind": "watch", "name": "account", **definition}
    assert "2 unchanged" in bridge("import", "-", stdin=first.encode())[2]
    client.flushall()
    assert "2 added" in bridge("import", "-", stdin=first.encode())[2]
    assert bridge("export", "--with-secrets")[1] == first
    lines = [{"kind": "watch", "name": "account", "since": 5, "sinc": 1}, {"kind": "watch", "name": "index:a b"}]
    code, out, told = bridge("import", "-", "--json", stdin="\n".join(map(json.dumps, lines)).encode())
    assert (code, [row["result"] for row in json.loads(out)]) == (6, ["changed", "rejected"])
    assert "did you mean “since”?" in told
    assert json.loads(client.hget("bridge:watches", "account") or "")["since"] == 5


def test_an_export_without_secrets_shows_no_token_of_a_watch(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: and imported over what is there, the URL stays whole; elsewhere it is refused."""
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", generate_secret(bytes(range(32))))
    url = "http://127.0.0.1:9/hook?token=hidden"
    client.hset("bridge:watches", "account", json.dumps({"callback_url": url}))
    out = bridge("export")[1]
    assert "hidden" not in out
    assert "1 unchanged" in bridge("import", "-", stdin=out.encode())[2]
    client.flushall()
    code, _, told = bridge("import", "-", stdin=out.encode())
    assert (code, "left out of the export" in told) == (2, True)


@pytest.mark.slow
def test_a_worker_finds_what_is_watched_and_tells_it(tmp_path: Path) -> None:
    """HSET bridge:watches alone: a task that comes later is registered by itself, and its events arrive."""
    with a_town(tmp_path) as town, town.worker(BRIDGE_POLL_FIND_SECONDS="1"), Redis.from_url(town.redis.url) as client:
        client.hset("bridge:watches", f"index:{INDEX_ID}", json.dumps({"metadata": {"tenant": 7}}))
        until(lambda: client.hexists("bridge:finding", f"state:task:index:{INDEX_ID}"), 20)
        town.simulator.add_task("t2", timeline=(), status="indexing")
        until(lambda: any(one.data.get("task_id") == "t2" for one in town.receiver.valid), 20)
        told = next(one.data for one in town.receiver.valid if one.data.get("task_id") == "t2")
        assert (told["metadata"], told["status"]) == ({"tenant": 7}, "indexing")
