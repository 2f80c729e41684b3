"""The command line on a real Redis: what each command prints, its exit code, and that nothing hostile gets through."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bridge.cli import run

Bridge = Callable[..., tuple[int, str, str]]
CASES = json.loads((Path(__file__).resolve().parents[1] / "ssrf_cases.json").read_text())["cases"]


@pytest.fixture
def bridge(
    redis_url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Bridge:
    """`bridge` in this process, on an empty Redis, with loopback callbacks allowed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_REDIS_URL", redis_url)
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "true")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        out, told = capfd.readouterr()
        return code, out, told

    return call


@pytest.fixture
def client(redis_url: str) -> Iterator["Redis"]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def test_an_endpoint_is_added_shown_and_taken_back(bridge: Bridge, client: "Redis") -> None:
    """A secret is made and printed once; the definition is the contract's; `show` and `ls` never tell the secret."""
    code, out, _ = bridge(
        "endpoint", "add", "billing", "http://127.0.0.1:9/x", "--events", "index.task.ready", "--json"
    )
    assert code == 0
    secret = json.loads(out)["secret"]
    assert secret.startswith("whsec_")
    assert json.loads(str(client.hget("bridge:endpoints", "billing")))["secret"] == secret
    for words in (("endpoint", "show", "billing"), ("endpoint", "ls"), ("endpoint", "ls", "--json")):
        code, out, _ = bridge(*words)
        assert code == 0
        assert "billing" in out
        assert secret not in out
    assert bridge("endpoint", "rm", "billing")[0] == 0
    assert client.hgetall("bridge:registry") == {}
    assert bridge("endpoint", "show", "billing")[0] == 3
    assert bridge("endpoint", "rm", "billing")[0] == 3


def test_an_endpoint_is_not_overwritten_by_accident(bridge: Bridge, client: "Redis") -> None:
    """A second `add` says so; --replace changes it and keeps its secret."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/x")
    before = json.loads(str(client.hget("bridge:endpoints", "a")))
    code, _, told = bridge("endpoint", "add", "a", "http://127.0.0.1:9/y")
    assert (code, "--replace" in told) == (2, True)
    assert bridge("endpoint", "add", "a", "http://127.0.0.1:9/y", "--replace")[0] == 0
    after = json.loads(str(client.hget("bridge:endpoints", "a")))
    assert (after["url"], after["secret"]) == ("http://127.0.0.1:9/y", before["secret"])


@pytest.mark.parametrize(
    "words",
    [
        ("endpoint", "add", "a", "http://10.0.0.1/"),
        ("endpoint", "add", "a b", "http://127.0.0.1:9/"),
        ("endpoint", "add", "a", "http://127.0.0.1:9/", "--format", "xml"),
        ("endpoint", "add", "a", "http://127.0.0.1:9/", "--ordering", "random"),
        ("endpoint", "add", "a", "http://127.0.0.1:9/", "--events", "a..b"),
        ("task", "add", "../x"),
        ("task", "add", "t1", "--metadata", "{"),
        ("task", "add", "t1", "--callback-url", "http://127.0.0.1:9/"),
        ("task", "add", "t1", "--expires-in", "soon"),
        ("event", "ls", "--after", "x; y"),
    ],
)
def test_bad_input_is_refused_with_its_fix(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """P10: exit code 2, what failed and what to do, no traceback, nothing registered."""
    code, out, told = bridge(*words)
    assert code == 2
    assert "→" in told
    assert "Traceback" not in told + out
    assert client.exists("bridge:tasks", "bridge:endpoints") == 0


def test_tasks_are_added_listed_and_taken_back(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good ids are registered though a bad one is among them (6); `-` reads them from standard input."""
    code, out, told = bridge("task", "add", "t1", "../x", "--metadata", '{"order":1}')
    assert code == 6
    assert "t1  registered" in out
    assert "../x" in told
    assert "bridge worker" in told
    assert client.hgetall("bridge:task:t1") == {"metadata": '{"order":1}'}
    monkeypatch.setattr("sys.stdin", iter(["t2\n", "# no\n", "\n", "t1\n"]))
    assert bridge("task", "add", "-")[0] == 0
    assert client.hgetall("bridge:task:t1") == {}
    assert bridge("task", "ls", "-o", "ids")[1].split() == ["t1", "t2"]
    assert bridge("task", "rm", "t1", "nobody")[0] == 6
    assert bridge("task", "rm", "nobody")[0] == 3
    assert bridge("task", "poll", "nobody")[0] == 3
    assert bridge("task", "show", "nobody")[0] == 3
    assert bridge("task", "wait", "nobody")[0] == 3
    assert bridge("task", "wait", "t2", "--timeout", "0")[0] == 124


def seed(client: "Redis", text: str) -> None:
    """A finished task, an event and a dead delivery, with this text wherever upstream or a subscriber may write."""
    client.hset(
        "bridge:snapshot:t1", mapping={"status": text, "revision": "7", "event_id": "evt_1", "updated_at": text}
    )
    client.zadd("bridge:ended", {"t1": 1})
    client.sadd("bridge:names", "a")
    record = {"task": "t1", "type": f"index.task.{text}", "revision": "7", "created": 1, "attempts": 1, "state": "dead"}
    client.hset("bridge:deliveries:a", "evt_1", json.dumps({**record, "reason": "exhausted", "ended": 2}))
    attempt = {"attempt": 1, "at": 1, "status_code": 500, "excerpt": text, "next": "dead", "reason": "exhausted"}
    client.rpush("bridge:attempts:a:evt_1", json.dumps(attempt))
    client.xadd("bridge:events", {"id": "evt_1", "type": f"index.task.{text}", "task": "t1", "revision": "7"})


@pytest.mark.parametrize(
    "words",
    [
        ("task", "show", "t1"),
        ("task", "wait", "t1"),
        ("event", "ls"),
        ("delivery", "ls"),
        ("delivery", "show", "evt_1"),
    ],
)
def test_hostile_text_stays_text(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """Control sequences and markup from upstream or a subscriber reach no terminal, and break no table."""
    seed(client, "\x1b[31mred\x07\u202e[bold]x[/bold][/nope]")
    code, out, _ = bridge(*words)
    assert code in {0, 7}
    assert "[bold]x" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_what_happened_can_be_read_as_json(bridge: Bridge, client: "Redis") -> None:
    """Events by cursor, deliveries by filter, attempts with what followed."""
    seed(client, "ready")
    assert bridge("task", "wait", "t1")[0] == 0
    (event,) = json.loads(bridge("event", "ls", "--json")[1])
    assert (event["event_id"], event["task"]) == ("evt_1", "t1")
    assert json.loads(bridge("event", "ls", "--after", event["cursor"], "--json")[1]) == []
    (delivery,) = json.loads(bridge("delivery", "ls", "--state", "dead", "--endpoint", "a", "--json")[1])
    assert (delivery["reason"], delivery["attempts"]) == ("exhausted", 1)
    assert bridge("delivery", "ls", "--state", "pending", "-o", "jsonl")[1] == ""
    (shown,) = json.loads(bridge("delivery", "show", "evt_1", "a", "--json")[1])
    assert shown["attempt_log"][0]["status_code"] == 500
    assert bridge("delivery", "show", "evt_2")[0] == 3


def test_status_and_health_tell_what_is_missing(bridge: Bridge) -> None:
    """Without a worker: unhealthy, and the command that mends it."""
    status = json.loads(bridge("status", "--json")[1])
    assert (status["tasks"], status["workers"]) == (0, {"poll": 0, "deliver": 0})
    code, out, told = bridge("health")
    assert code == 1
    assert "bridge worker" in out
    assert "TWELVELABS_API_KEY" in told


def test_config_is_shown_and_checked(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values with their source; a misspelt name is refused with the right one."""
    shown = {row["setting"]: row for row in json.loads(bridge("config", "show", "--json")[1])}
    assert shown["BRIDGE_DELIVERY_ALLOW_HTTP"]["source"] == "env"
    assert bridge("config", "check")[0] == 0
    monkeypatch.setenv("BRIDGE_POL_INTERVAL_SECONDS", "3")
    code, _, told = bridge("config", "check")
    assert code == 2
    assert "BRIDGE_POLL_INTERVAL_SECONDS" in told


def test_redis_down_is_said_and_has_its_exit_code(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5, the reason and the setting, no traceback."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    code, _, told = bridge("task", "ls")
    assert code == 5
    assert "BRIDGE_REDIS_URL" in told


def batches() -> list[list[Any]]:
    """The cases in groups within which no name has two answers."""
    found: list[tuple[dict[str, Any], list[Any]]] = []
    for case in CASES:
        answers = case.get("dns") or {}
        for known, group in found:
            if all(known.get(host, answer) == answer for host, answer in answers.items()):
                known.update(answers)
                group.append(case)
                break
        else:
            found.append((dict(answers), [case]))
    return [group for _, group in found]


def test_check_agrees_with_every_case(tmp_path: Path) -> None:
    """The classifier through the real command: one row a line of standard input, in order, each verdict as expected."""
    checked = 0
    for group in batches():
        cases = [case for case in group if not {"\n", "\r"} & set(case["url"])]
        answers = {host: answer for case in cases for host, answer in (case.get("dns") or {}).items()}
        (tmp_path / "dns.json").write_text(json.dumps(answers))
        command = [sys.executable, "-m", "bridge", "endpoint", "check", "-", "--dns", "dns.json", "-o", "jsonl"]
        lines = "".join(case["url"] + "\n" for case in cases).encode("utf-8", "surrogatepass")
        done = subprocess.run(command, input=lines, capture_output=True, cwd=tmp_path)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(rows) == len(cases), done.stderr.decode()
        assert [(c["id"], r) for c, r in zip(cases, rows, strict=True) if c["expect"] != r["verdict"]] == []
        checked += len(rows)
    assert checked >= 195


def test_help_names_every_command_with_examples(bridge: Bridge) -> None:
    """Each verb's help has examples."""
    from bridge.cli import bridge as group

    assert bridge("--help")[0] == 0
    context = group.make_context("bridge", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        verbs = getattr(command, "commands", {name: command})
        for verb in verbs.values():
            assert verb is not None
            assert "Examples:" in (verb.help or "") or name in {"demo", "listen"}, (name, verb.name)
