"""`bridge contract`: show, check, acl. Without Redis, but for --live."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from owing import take_in
from redis import Redis

from bridge.acl import PRODUCER, users
from bridge.cli.contract import KEYS
from bridge.schemas import FILES
from bridge.store.keys import Keys

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
SECRET = "whsec_" + "c2VjcmV0" * 4
DOCS = Path(__file__).parents[2] / "docs/contract"


@pytest.fixture
def offline(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """`bridge` where Redis does not answer."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    return bridge


def checked(bridge: Bridge, document: Any, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the rows by entry."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    code, out, _ = bridge("contract", "check", *(words or ("-",)), "--json", stdin=text)
    return code, {row["entry"]: row for row in json.loads(out)}


@pytest.mark.parametrize("name", FILES)
def test_show_prints_the_published_schema(offline: Bridge, name: str) -> None:
    """Byte for byte."""
    assert offline("contract", "show", name) == (0, (DOCS / FILES[name]).read_text(), "")


def test_show_prints_the_keys(offline: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the configured prefix, as the store names them."""
    monkeypatch.setenv("BRIDGE_PREFIX", "acme:")
    keys = Keys("acme:")
    code, out, _ = offline("contract", "show", "keys", "--json")
    written = [keys.tasks, keys.task("<member>"), keys.endpoints, keys.watches]
    named = [*written, keys.snapshot("<member>"), keys.events, keys.rejected]
    assert (code, [row["key"] for row in json.loads(out)]) == (0, [*named, keys.meta])
    assert len(KEYS) == len(named) + 1
    assert offline("contract", "show", "-o", "ids")[1].split() == [*named, keys.meta]


def test_good_entries_are_accepted_without_redis(offline: Bridge) -> None:
    """Exit code 0, a row an entry."""
    document = {
        "endpoints": {"a": {"url": URL, "secret": SECRET}, "b": json.dumps({"url": URL, "secret": SECRET})},
        "tasks": {"t1": {"metadata": {"order": 42}, "expires_at": 1_800_000_000, "endpoints": "a,b"}, "t2": None},
        "x-note": "mine",
    }
    code, rows = checked(offline, document)
    assert (code, list(rows)) == (0, ["endpoint:a", "endpoint:b", "task:t1", "task:t2"])
    assert all(row | {"entry": ""} == rows["task:t2"] | {"entry": ""} for row in rows.values())
    assert rows["task:t2"] == {"entry": "task:t2", "verdict": "accept", "reason": "", "fix": "", "warnings": []}
    assert checked(offline, {"tasks": ["t1"]})[0] == 0


def test_bad_entries_are_rejected_with_reason_and_fix(offline: Bridge) -> None:
    """Exit code 6 beside good ones, 1 alone; nothing secret is shown."""
    bad = {
        "endpoints": {"a": {"url": "https://u:hunter2@example.com/", "secret": SECRET}, "n": 5, "url": {"url": URL}},
        "tasks": {"../x": {}, "t1": {"metadata": "{"}, "t2": {"callback_url": URL}},
    }
    code, rows = checked(offline, bad)
    assert (code, {row["verdict"] for row in rows.values()}) == (1, {"reject"})
    assert all(row["reason"] and row["fix"] for row in rows.values())
    assert "hunter2" not in repr(rows)
    assert SECRET not in repr(rows)
    assert "BRIDGE_DELIVERY_DEFAULT_SECRET" in rows["task:t2"]["fix"]
    assert checked(offline, bad | {"tasks": ["t1"]})[0] == 6


def test_the_default_secret_counts_where_there_is_one(offline: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the workers of this installation."""
    document = {"endpoints": {"a": {"url": URL}}, "tasks": {"t1": {"callback_url": URL}}}
    assert checked(offline, document)[0] == 1
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", SECRET)
    assert checked(offline, document)[0] == 0


def test_a_likely_mistake_is_a_warning(offline: Bridge) -> None:
    """In the row and on stderr; the entry is accepted all the same."""
    document = {"endpoints": {"a": {"url": URL, "secret": SECRET, "event": [], "events": ["video.*"]}},
                "tasks": {"t1": {"callback": URL}}}  # fmt: skip
    code, rows = checked(offline, document)
    assert code == 0
    assert "did you mean “events”?" in rows["endpoint:a"]["warnings"][0]
    assert "“video.*” matches no event" in rows["endpoint:a"]["warnings"][1]
    told = offline("contract", "check", "-", stdin=json.dumps(document).encode())[2]
    assert "! task:t1: the unknown field “callback” is ignored: did you mean “callback_url”?" in told
    lines = offline("contract", "check", "-", stdin=json.dumps(document).encode())[1].splitlines()
    (line,) = [line for line in lines if "task:t1" in line]
    assert line.split(maxsplit=2)[2].startswith("the unknown field “callback” is ignored")
    document["endpoints"] = {"a": {"url": "ftp://example.com/", "secret": SECRET, "event": []}}
    (line,) = [line for line in offline("contract", "check", "-", stdin=json.dumps(document).encode())[1].splitlines()
               if "endpoint:a" in line]  # fmt: skip
    assert re.search(r"^reject +endpoint:a  url: scheme_not_https: .*; the unknown field “event” is ignored", line), (
        line
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"7", b"{}", b'{"tasks":[]}', b'{"tasks":[5]}', b'{"tasks":"t1"}', b'{"tasks":{"t1":5}}',
     b'{"endpoints":[]}', b'{"endpoint":{}}', b'{"tasks":["t1"],"tasks":["t2"]}', b'{"tasks":{"t1":{"metadata":NaN}}}',
     b"\xff", b"[" * 200_000],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_what_is_no_document_is_said_to_be_none(offline: Bridge, text: bytes) -> None:
    """Exit code 2, and how to write one."""
    code, out, told = offline("contract", "check", "-", stdin=text)
    assert (code, out, "→ write {" in told) == (2, "", True)


@pytest.mark.parametrize("words", [(), ("-", "--live"), ("absent.json",)])
def test_check_wants_one_thing_to_check(offline: Bridge, words: tuple[str, ...]) -> None:
    """A document or what is live, and one that can be read."""
    code, _, told = offline("contract", "check", *words)
    assert (code, "→" in told) == (2, True)


def test_a_file_is_checked(offline: Bridge, tmp_path: Path) -> None:
    """By its name; bytes that are no text become a rejected entry, not a traceback."""
    (tmp_path / "entries.json").write_text('{"tasks": ["t1", "\\ud800", "' + "x" * 2_000 + '"]}')
    code, rows = checked(offline, b"", "entries.json")
    assert (code, len(rows), rows["task:t1"]["verdict"]) == (6, 3, "accept")
    assert max(map(len, rows)) <= 240


def test_live_judges_what_stands_in_redis_and_writes_nothing(bridge: Bridge, client: "Redis") -> None:
    """Each entry, taken in or not, by what its bytes say."""
    client.hset("bridge:endpoints", mapping={"good": json.dumps({"url": URL, "secret": SECRET}), "bad": "{"})
    client.hset("bridge:endpoints", b"\xff", b"\xff")
    client.zadd("bridge:tasks", {"t1": 0, "t2": "+inf", "ms": 1_763_925_001_123, "../x": 0, "list": 0})
    client.hset("bridge:task:t2", "metadata", "{")
    client.rpush("bridge:task:list", "oops")
    before = {key: client.dump(key) for key in client.scan_iter()}
    code, rows = checked(bridge, b"", "--live")
    assert (code, {name for name, row in rows.items() if row["verdict"] == "accept"}) == (
        6,
        {"endpoint:good", "task:t1"},
    )
    assert "milliseconds" in rows["task:ms"]["reason"]
    assert "not a hash" in rows["task:list"]["reason"]
    assert len(rows) == 8
    assert {key: client.dump(key) for key in client.scan_iter()} == before


def test_live_names_a_key_of_the_wrong_type(bridge: Bridge, client: "Redis") -> None:
    """And judges the others."""
    client.set("bridge:tasks", "oops")
    client.hset("bridge:endpoints", "good", json.dumps({"url": URL, "secret": SECRET}))
    code, rows = checked(bridge, b"", "--live")
    assert (code, rows["endpoint:good"]["verdict"]) == (6, "accept")
    assert rows["key:bridge:tasks"]["reason"] == "bridge:tasks is a string, not a zset"


def test_live_names_a_key_that_nobody_reads(
    bridge: Bridge, client: "Redis", redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which was meant, and what puts it right, as `doctor` has it. To who may not look there, nothing is said of it."""
    client.hset("bridge:endpoints", "good", json.dumps({"url": URL, "secret": SECRET}))
    client.hset("bridge:endpoint", "lost", json.dumps({"url": URL, "secret": SECRET}))
    code, rows = checked(bridge, b"", "--live")
    assert (code, rows["endpoint:good"]["verdict"]) == (6, "accept")
    row = rows["key:bridge:endpoint"]
    assert (row["verdict"], row["reason"]) == ("ignored", "nobody reads it: did you mean bridge:endpoints?")
    (told,) = [
        one for one in json.loads(bridge("doctor", "--json")[1]) if one["found"].startswith("bridge:endpoint is")
    ]
    assert row["fix"] == told["fix"]
    (rules,) = [user.rules for user in users("bridge:", before_7=before_7(client)) if user.name == PRODUCER]
    client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">x", *rules)  # type: ignore[no-untyped-call]
    monkeypatch.setenv("BRIDGE_REDIS_URL", redis_url.replace("//", "//shop:x@"))
    code, rows = checked(bridge, b"", "--live")
    assert (code, list(rows)) == (0, ["endpoint:good"])
    client.execute_command("ACL", "DELUSER", "shop")  # type: ignore[no-untyped-call]


def before_7(client: "Redis") -> bool:
    """Whether no key can be granted for reading only."""
    return int(client.info("server")["redis_version"].partition(".")[0]) < 7


def test_live_says_when_redis_is_away(offline: Bridge) -> None:
    """Exit code 5; an empty Redis has nothing to reject."""
    assert offline("contract", "check", "--live")[0] == 5


def test_live_finds_nothing_in_an_empty_redis(bridge: Bridge) -> None:
    """Exit code 0 without a row."""
    assert bridge("contract", "check", "--live", "--json")[:2] == (0, "[]\n")


def test_endpoint_add_warns_of_a_pattern_that_matches_nothing(bridge: Bridge, client: "Redis") -> None:
    """And registers it: statuses are an open set."""
    code, _, told = bridge("endpoint", "add", "a", URL, "--events", "index.tasks.*")
    assert (code, "did you mean “index.task.*”?" in told) == (0, True)
    assert client.hexists("bridge:endpoints", "a")


@pytest.mark.parametrize(
    ("words", "names"),
    [((), ["bridge-producer", "bridge-operator", "bridge-worker"]),
     (("--redis", "6.2"), ["bridge-producer", "bridge-producer-reader", "bridge-operator", "bridge-worker"]),
     (("--user", "shop"), ["shop"]), (("--user", "bridge-worker"), ["bridge-worker"]),
     (("--user", "shop", "--redis", "6.2"), ["shop", "shop-reader"])],
)  # fmt: skip
def test_acl_names_its_users(offline: Bridge, words: tuple[str, ...], names: list[str]) -> None:
    """One line each, as for an aclfile or as commands."""
    code, out, told = offline("contract", "acl", *words)
    assert (code, [line.split()[:2] for line in out.splitlines()]) == (0, [["user", name] for name in names])
    assert "sha256sum" in told
    commands = offline("contract", "acl", *words, "--commands")[1].splitlines()
    assert [line.split()[:3] for line in commands] == [["ACL", "SETUSER", name] for name in names]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--redis", "6.2"), "looked at as bridge-producer-reader"),
        (("--user", "shop", "--redis", "6.2"), "looked at as shop-reader"),
        (("--user", "shop"), "refuses %R~: that is --redis 6.2, where reading is a user of its own, shop-reader"),
        ((), "refuses %R~: that is --redis 6.2, where reading is a user of its own, bridge-producer-reader"),
    ],
)
def test_acl_says_as_whom_a_producer_looks(offline: Bridge, words: tuple[str, ...], said: str) -> None:
    """A program that writes and looks by one connection ends at NOPERM before Redis 7."""
    assert said in offline("contract", "acl", *words)[2]
    assert "-reader" not in offline("contract", "acl", "--user", "bridge-worker")[2]


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "é"])
def test_acl_refuses_what_is_no_name(offline: Bridge, name: str) -> None:
    """It would be another rule."""
    assert offline("contract", "acl", "--user", name)[0] == 2


def test_what_was_refused_before_is_not_passed_over(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """It is no longer there to be judged: a row of its own, with what was said then, until it is put right."""
    client.hset("bridge:endpoints", "a", '{"url": "https://10.0.0.1/x"}')
    take_in(redis_url)
    code, rows = checked(bridge, {}, "--live")
    stored = json.loads(client.hget("bridge:rejected", "endpoint:a") or "")
    assert (code, rows["endpoint:a"]["verdict"], rows["endpoint:a"]["fix"]) == (1, "refused", stored["fix"])
    assert stored["reason"] in rows["endpoint:a"]["reason"]

    client.zadd("bridge:tasks", {"t1": 0})
    client.hset("bridge:endpoints", "a", '{"url": "https://10.0.0.1/x"}')
    code, rows = checked(bridge, {}, "--live")
    assert (code, {name: row["verdict"] for name, row in rows.items()}) == (
        6, {"endpoint:a": "reject", "task:t1": "accept"},
    )  # fmt: skip

    client.hset("bridge:endpoints", "a", json.dumps({"url": URL, "secret": SECRET}))
    take_in(redis_url)
    assert checked(bridge, {}, "--live")[0] == 0
