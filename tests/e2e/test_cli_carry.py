"""`bridge export` and `bridge import` of JSON lines, on a real Redis."""

import gzip
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bridge.cli import declared
from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9/hook"
SECRET = generate_secret(bytes(range(32)))
DEFAULT = generate_secret(bytes(range(1, 33)))
EVERYTHING = "".join(
    json.dumps(one) + "\n"
    for one in (
        {"kind": "bridge-export", "version": 1},
        {"kind": "endpoint", "name": "billing", "url": f"{URL}?token=hidden", "events": ["index.task.ready"],
         "secret": SECRET, "headers": {"x-key": "hidden too"}, "x-owner": "Ana"},
        {"kind": "task", "id": "t1", "metadata": {"order": 42}, "endpoints": "billing", "expires_at": "4000000000"},
        {"kind": "task", "id": "t2", "callback_url": f"{URL}?key=hidden", "x-mine": "yes"},
        {"kind": "task", "id": "t3"},
        {"kind": "end"},
    )
)  # fmt: skip


@pytest.fixture(autouse=True)
def default_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is configured, unless a test takes it away."""
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", DEFAULT)


def rows_of(out: str) -> list[tuple[str, str, str]]:
    """(result, kind, name) of each row."""
    return [(row["result"], row["kind"], row["name"]) for row in json.loads(out)]


def dump(client: "Redis") -> dict[str, Any]:
    """All that is in Redis."""
    return {str(key): client.dump(key) for key in sorted(client.keys())}


def lines(*things: dict[str, Any]) -> bytes:
    """These things, a line each."""
    return "".join(json.dumps(one) + "\n" for one in things).encode()


def test_a_backup_comes_back_whole(bridge: Bridge, client: "Redis") -> None:
    """With secrets, an export is what a fresh Redis needs; the second export is equal to the first."""
    code, out, told = bridge("import", "-", "--json", stdin=EVERYTHING.encode())
    assert (code, rows_of(out)) == (
        0,
        [("added", "endpoint", "billing"), ("added", "task", "t1"), ("added", "task", "t2"), ("added", "task", "t3")],
    )
    assert "4 added" in told
    assert SECRET not in out + told
    assert client.hget("bridge:endpoint:billing", "state") == "active"
    code, first, told = bridge("export", "--with-secrets")
    assert (code, "keep it" in told) == (0, True)
    assert [json.loads(line) for line in first.splitlines()] == [json.loads(line) for line in EVERYTHING.splitlines()]
    client.flushall()
    assert bridge("import", "-", stdin=first.encode())[0] == 0
    assert bridge("export", "--with-secrets")[1] == first


def test_an_export_holds_no_secret(bridge: Bridge, client: "Redis") -> None:
    """P8: no signing secret, wherever it was written, no header value, no query of a URL; it says what it left out."""
    bridge("import", "-", stdin=EVERYTHING.encode())
    definition = {
        "url": "https://user:hidden@example.com/",
        "secrett": SECRET,
        "headers": "hidden",
        "kind": 1,
        "name": 2,
    }
    client.hset("bridge:endpoints", "by-hand", json.dumps(definition))
    client.hset("bridge:endpoints", SECRET, "{}")
    client.hset("bridge:task:t3", mapping={"metadata": json.dumps({"secret": SECRET}), "x-note": "fine"})
    code, out, told = bridge("export")
    assert (code, "--with-secrets" in told, "its name is a signing secret" in told) == (6, True, True)
    assert SECRET not in out + told
    assert "hidden" not in out + told
    found = {one.get("name", one.get("id")): one for one in map(json.loads, out.splitlines())}
    assert found["billing"]["url"] == f"{URL}?…"
    assert found["billing"]["headers"] == {"x-key": "…"}
    assert found["by-hand"] == {"kind": "endpoint", "name": "by-hand", "url": "https://…@example.com/"}
    assert found["t3"] == {"kind": "task", "id": "t3", "x-note": "fine"}


def test_an_import_keeps_what_its_export_left_out(bridge: Bridge, client: "Redis") -> None:
    """Repeated, and without secrets, it changes nothing; a change of something else keeps secret, query and headers."""
    bridge("import", "-", stdin=EVERYTHING.encode())
    before = dump(client)
    exported = bridge("export")[1]
    code, out, _ = bridge("import", "-", "--json", stdin=exported.encode())
    assert (code, {result for result, *_ in rows_of(out)}) == (0, {"unchanged"})
    assert bridge("import", "-", stdin=EVERYTHING.encode())[0] == 0
    assert dump(client) == before
    changed = exported.replace('"index.task.ready"', '"index.task.failed"').replace('"order": 42', '"order": 43')
    code, out, _ = bridge("import", "-", "--json", stdin=changed.encode())
    assert [name for result, _, name in rows_of(out) if result == "changed"] == ["billing", "t1"]
    found = json.loads(str(client.hget("bridge:endpoints", "billing")))
    assert (found["url"], found["secret"], found["events"]) == (f"{URL}?token=hidden", SECRET, ["index.task.failed"])
    assert found["headers"] == {"x-key": "hidden too"}
    assert json.loads(str(client.hget("bridge:registry", "billing")))["secrets"] == [SECRET]
    assert client.hgetall("bridge:task:t1")["metadata"] == '{"order":43}'
    assert client.hgetall("bridge:task:t2") == {"callback_url": f"{URL}?key=hidden", "x-mine": "yes"}


def test_what_was_left_out_and_is_known_nowhere_is_refused(bridge: Bridge, client: "Redis") -> None:
    """A URL without its query would be another URL: on a fresh Redis such lines are bad ones, each with its fix."""
    bridge("import", "-", stdin=EVERYTHING.encode())
    exported = bridge("export")[1]
    client.flushall()
    code, out, told = bridge("import", "-", "--json", stdin=exported.encode())
    assert (code, [row for row in rows_of(out) if row[0] != "rejected"]) == (
        6,
        [("added", "task", "t1"), ("added", "task", "t3")],
    )
    assert told.count("--with-secrets") == 2
    assert "there is no endpoint “billing” yet" in told


def test_a_new_endpoint_without_a_secret_is_signed_by_the_default_one(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is said; without a default secret it is refused, as by registration."""
    line = lines({"kind": "endpoint", "name": "a", "url": URL})
    code, _, told = bridge("import", "-", stdin=line)
    assert (code, "BRIDGE_DELIVERY_DEFAULT_SECRET signs for: a" in told) == (0, True)
    assert json.loads(str(client.hget("bridge:registry", "a")))["secrets"] == []
    client.flushall()
    monkeypatch.delenv("BRIDGE_DELIVERY_DEFAULT_SECRET")
    code, _, told = bridge("import", "-", stdin=line)
    assert (code, "there is no secret to sign with" in told, "→" in told) == (2, True, True)
    assert client.exists("bridge:endpoints") == 0


BAD = {
    2: (b'{"kind": "endpoint", "name": "a", "url": "http://10.0.0.1/"}', "IP address"),
    3: (b"6a0b1c2d3e4f5a6b7c8d9e01", "not JSON"),
    4: (b'{"kind": "task"}', "missing"),
    5: (b'{"kind": "tusk", "id": "t"}', "neither"),
    6: (b'{"kind": "task", "id": "a b"}', "characters"),
    7: (b'{"kind": "task", "id": "t1"}', "line 1 already"),
    8: (b'{"kind": "task", "id": "t2", "id": "t3"}', "twice"),
    9: (b'["task"]', "no JSON object"),
    10: (b"\xff\xfe{}", "not UTF-8"),
    11: (b'{"kind": "task", "id": "t4", "metadata": "{"}', "not JSON"),
    12: (b'{"kind": "task", "id": "t5", "expires_at": 1e13}', "Unix seconds"),
    13: (b'{"kind": "task", "id": "t6", "callback_url": "http://169.254.169.254/"}', "IP address"),
    14: (b'{"kind": "task", "id": "t7", "metadata": NaN}', "not JSON"),
    15: (b"[" * 100_000, "not JSON"),
    16: (b'{"kind": "task", "id": "t8", "x-big": ' + b"9" * 10_000 + b"}", "not JSON"),
    17: (b'{"kind": "endpoint", "name": "url", "url": "%s"}' % URL.encode(), "not “url”"),
    18: (b'{"kind": "endpoint", "name": "b", "url": "%s", "secret": "whsec_doNotRepeat!"}' % URL.encode(), "secret"),
    19: (b'{"kind": "endpoint", "name": "c", "url": "%s", "secret_file": "s"}' % URL.encode(), ".toml"),
    20: (b'{"kind": "task", "id": "t9", "x": "' + b"x" * 300_000 + b'"}', "longer than"),
    21: (b'{"kind": "task", "id": "\\ud800"}', "characters"),
    22: (b'{"kind": "task", "id": "u1", "x": "\\ud800"}', "not UTF-8"),
    23: (b'{"kind": "endpoint", "name": "\\u001b[2J", "url": "%s"}' % URL.encode(), "name"),
    24: (b'{"kind": ["task"], "id": "t"}', "neither"),
    25: (b'{"kind": "task", "id": 7}', "no text"),
    26: (b'{"kind": "endpoint", "name": "d", "url": 7}', "must be a text"),
    27: (b"\0\0\0", "not JSON"),
}  # fmt: skip
"""Line number → a bad line, and a word of what is said of it."""


def test_each_bad_line_is_told_and_stops_no_other(bridge: Bridge, client: "Redis") -> None:
    """P10: its number, a reason, a fix; the good ones are in, and the exit code says partly."""
    good = [b'{"kind": "task", "id": "t1"}', *(bad for bad, _ in BAD.values()), b'{"kind": "task", "id": "last"}']
    code, out, told = bridge("import", "-", "-o", "ids", stdin=b"\n".join(good))
    assert (code, out.split()) == (6, ["t1", "last"])
    assert client.zrange("bridge:tasks", 0, -1) == ["last", "t1"]
    assert client.exists("bridge:endpoints", "bridge:rejected") == 0
    told_of = [line for line in told.splitlines() if line.startswith("✗ line")]
    said = {
        number: line for line in told_of for number in re.findall(r"\bline (\d+)[ ,:]", line.partition(": ")[0] + ":")
    }
    assert sorted(map(int, said)) == list(BAD)
    for number, (_, word) in BAD.items():
        assert word in said[str(number)], number
    assert told.count("\n  → ") == len(told_of)
    assert "doNotRepeat" not in told
    assert "\x1b" not in told
    code, out, _ = bridge("import", "-", "-o", "jsonl", stdin=b"\n".join(good))
    rejected = [row for row in map(json.loads, out.splitlines()) if row["result"] == "rejected"]
    assert [row["place"] for row in rejected] == [f"line {number}" for number in BAD]
    assert all(row["reason"] and row["fix"] for row in rejected)


def test_many_bad_lines_are_told_in_part(bridge: Bridge) -> None:
    """A list of ids, say: exit code 2 as nothing was good, and one reason is told once, with what takes ids.

    Of different ones a hundred are told, and the others counted.
    """
    code, out, told = bridge("import", "-", stdin=b"6a0b\n" * 5_000)
    assert (code, out) == (2, "")
    assert told.count("✗ line") == told.count("bridge task add -") == 1
    assert "line 5 and 4995 more: it is not JSON" in told
    different = b"\n".join(b'"' + b"x" * number + b'" 1' for number in range(150))
    _, _, told = bridge("import", "-", stdin=different)
    assert told.count("✗ line") == 100
    assert "✗ and 50 more" in told


def test_a_misspelt_field_of_a_refused_entry_is_told_once(bridge: Bridge) -> None:
    """With what to write, in a file: nobody types into redis-cli here."""
    _, _, told = bridge("import", "-", stdin=lines({"kind": "endpoint", "name": "a", "urll": URL, "rate": "5"}))
    assert told.count("did you mean “url”?") == 1
    assert '\n  → url: write "url" instead of "urll"; rate: write attempts a second' in told


def test_a_secret_in_an_export_that_is_none_is_told_as_that(bridge: Bridge) -> None:
    """And not as one that was left out of it."""
    bad = {"kind": "endpoint", "name": "a", "url": "https://example.com/", "secret": "whsec_short"}
    _, _, told = bridge("import", "-", stdin=lines({"kind": "bridge-export", "version": 1}, bad, {"kind": "end"}))
    assert "→ bridge endpoint add a https://example.com/ --replace\n" in told
    assert "--with-secrets" not in told


def test_an_export_without_secrets_says_what_it_lacks_and_the_import_too(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoints that are not there get none, for one reason that is told once, with the way to get them."""
    monkeypatch.delenv("BRIDGE_DELIVERY_DEFAULT_SECRET")
    for name in ("a", "b"):
        client.hset("bridge:endpoints", name, json.dumps({"url": URL, "secret": SECRET}))
    _, exported, told = bridge("export")
    assert "left out of 2 fields" in told
    assert "none of these endpoints: bridge export --with-secrets" in told
    client.flushall()
    code, _, told = bridge("import", "-", stdin=exported.encode())
    assert code == 2
    assert "✗ line 2 (endpoint a), line 3 (endpoint b): secret: there is no secret to sign with\n" in told
    assert told.count("bridge export --with-secrets") == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n  \n"], ids=["LF", "CRLF", "blank lines"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_the_marks_of_other_systems_mean_nothing(bridge: Bridge, mark: bytes, end: bytes) -> None:
    """Nor does a missing newline at the end."""
    text = mark + end.join(EVERYTHING.encode().splitlines())
    code, out, told = bridge("import", "-", "-o", "ids", stdin=text)
    assert (code, out.split(), "✗" in told) == (0, ["billing", "t1", "t2", "t3"], False)


@pytest.mark.parametrize("kept", [1, 2, 3, 4, 5])
def test_a_file_that_was_cut_off_is_known(bridge: Bridge, kept: int) -> None:
    """At the end of a line too: what is whole is taken, and the exit code is not 0."""
    whole = b"".join(EVERYTHING.encode().splitlines(keepends=True)[:kept])
    for text in (whole, whole[:-10]):
        code, _, told = bridge("import", "-", stdin=text)
        assert code in ({6} if kept > 2 else {2, 6}), text
        assert "cut off" in told or "not JSON" in told
    assert "cut off" in bridge("import", "-", stdin=whole)[2]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "empty"),
        (b"\n \r\n", "empty"),
        ("x".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"x", mtime=0), "gunzip"),
        (b'{"kind": "bridge-export", "version": 2}\n{"kind": "task", "id": "t1"}\n', "version 2"),
        (b'{"kind": "bridge-export"}\n', "no version"),
    ],
)
def test_a_file_of_another_form_changes_nothing(bridge: Bridge, client: "Redis", text: bytes, word: str) -> None:
    """Exit code 2, and what to do."""
    code, out, told = bridge("import", "-", stdin=text)
    assert (code, out, word in told, "→" in told) == (2, "", True, True)
    assert client.exists("bridge:tasks") == 0


def test_a_file_without_end_is_given_up(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines than the bound: nothing of it is written."""
    monkeypatch.setattr(declared, "ENTRIES", 100)
    text = lines(*({"kind": "task", "id": f"t{number}"} for number in range(101)))
    code, _, told = bridge("import", "-", stdin=text)
    assert (code, "more than 100 lines" in told, "split" in told) == (2, True, True)
    assert client.exists("bridge:tasks") == 0


def test_a_file_that_is_none_is_an_error(bridge: Bridge, tmp_path: Path) -> None:
    """A missing one, a directory."""
    for file in ("nowhere.jsonl", "nowhere.toml", str(tmp_path)):
        code, _, told = bridge("import", file)
        assert (code, "cannot be read" in told, "→" in told) == (2, True, True)


def test_a_dry_run_says_all_and_changes_nothing(bridge: Bridge, client: "Redis") -> None:
    """Not even in an empty Redis, where opening the store would write its version; the words are the real ones."""
    code, out, told = bridge("import", "-", "--dry-run", "--json", stdin=EVERYTHING.encode())
    assert (code, "Nothing was changed" in told) == (0, True)
    assert dump(client) == {}
    assert rows_of(out) == rows_of(bridge("import", "-", "--json", stdin=EVERYTHING.encode())[1])
    before = dump(client)
    changed = EVERYTHING.replace("42", "43") + '{"kind": "task", "id": "bad id"}\n'
    code, out, told = bridge("import", "-", "--dry-run", "-o", "json", stdin=changed.encode())
    assert (code, [row[0] for row in rows_of(out)]) == (
        6,
        ["unchanged", "changed", "unchanged", "unchanged", "rejected"],
    )
    assert dump(client) == before


def test_registered_tasks_keep_their_options_as_with_task_add(bridge: Bridge, client: "Redis") -> None:
    """None given: kept. Some given: replaced as a whole, and read at once. Metadata written otherwise: the same."""
    client.hset("bridge:task:t1", mapping={"metadata": '{ "a":1,"b" : 2}', "expires_at": "4000000000"})
    client.zadd("bridge:tasks", {"t1": float("inf")})
    assert rows_of(bridge("import", "-", "--json", stdin=lines({"kind": "task", "id": "t1"}))[1])[0][0] == "unchanged"
    same = {"kind": "task", "id": "t1", "metadata": {"b": 2, "a": 1}, "expires_at": 4000000000}
    assert rows_of(bridge("import", "-", "--json", stdin=lines(same))[1])[0][0] == "unchanged"
    assert client.zscore("bridge:tasks", "t1") == float("inf")
    other = {"kind": "task", "id": "t1", "metadata": {"a": True, "b": 2}}
    assert rows_of(bridge("import", "-", "--json", stdin=lines(other))[1])[0][0] == "changed"
    assert client.hgetall("bridge:task:t1") == {"metadata": '{"a":true,"b":2}'}
    assert client.zscore("bridge:tasks", "t1") == 0


def test_options_that_are_no_hash_stop_nothing_else(bridge: Bridge, client: "Redis") -> None:
    """Somebody's hand was at one task: it is refused on the way in and out, the others go on."""
    client.set("bridge:task:t1", "oops")
    code, out, told = bridge(
        "import", "-", "-o", "ids", stdin=lines(*({"kind": "task", "id": f"t{n}"} for n in (1, 2)))
    )
    assert (code, out, "bridge:task:t1 is not a hash" in told) == (6, "t2\n", True)
    client.zadd("bridge:tasks", {"t1": 0})
    client.hset("bridge:endpoints", mapping={"a": "{broken", "b": "[]", "c": b"\xff"})
    client.hset("bridge:task:t2", "metadata", b"\xff")
    code, out, told = bridge("export")
    assert (code, out.count("\n"), told.count("✗"), told.count("→")) == (6, 2, 5, 5)


@pytest.mark.parametrize("key", ["bridge:tasks", "bridge:endpoints"])
def test_a_clients_key_of_the_wrong_type_is_an_error_and_no_traceback(
    bridge: Bridge, client: "Redis", key: str
) -> None:
    """As with every command."""
    client.set(key, "oops")
    for words in (("export",), ("import", "-"), ("import", "-", "--dry-run")):
        code, _, told = bridge(*words, stdin=EVERYTHING.encode())
        assert (code, "of another type" in told, "→" in told) == (1, True, True)


def test_redis_down_is_exit_code_5(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for those that only look."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    for words in (("export",), ("import", "-"), ("import", "-", "--dry-run")):
        code, out, told = bridge(*words, stdin=EVERYTHING.encode())
        assert (code, out, "BRIDGE_REDIS_URL" in told) == (5, "", True)


def test_what_looks_like_a_mistake_is_told_and_taken(bridge: Bridge) -> None:
    """A misspelt field, a pattern that matches nothing: each once, with its line."""
    things = [{"kind": "task", "id": f"t{number}", "endpoint": "a"} for number in range(3)]
    text = lines({"kind": "endpoint", "name": "a", "url": URL, "events": ["index.tasks.*"]}, *things)
    code, _, told = bridge("import", "-", stdin=text)
    assert code == 0
    assert "! line 1: the pattern “index.tasks.*” matches no event" in told
    assert told.count("did you mean “endpoints”?") == 1


def test_ten_thousand_tasks_are_one_row_and_few_commands(bridge: Bridge, client: "Redis") -> None:
    """Registered in pieces of 250; repeated, nothing is written."""
    text = lines(*({"kind": "task", "id": f"t{number}", "metadata": {"order": number}} for number in range(10_000)))
    client.config_resetstat()
    code, out, _ = bridge("import", "-", stdin=text)
    stats: Any = client.info("commandstats")
    assert (code, "10000 tasks" in out, client.zcard("bridge:tasks")) == (0, True, 10_000)
    assert (stats["cmdstat_exec"]["calls"], stats["cmdstat_zadd"]["calls"]) == (40, 40)
    client.config_resetstat()
    assert "unchanged" in bridge("import", "-", stdin=text)[1]
    assert "cmdstat_exec" not in client.info("commandstats")
    assert bridge("export")[1].count("\n") == 10_002


def terminal(words: list[str], environment: dict[str, str], stdin: bytes) -> bytes:
    """What `bridge` shows on stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", *words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs, env=environment, cwd=ROOT,
    )  # fmt: skip
    os.close(theirs)
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    seen = b""
    try:
        while piece := os.read(ours, 65_536):
            seen += piece
    except OSError:
        pass  # the other side is closed
    os.close(ours)
    assert process.wait(20) == 0
    return seen


def test_a_bar_moves_on_a_terminal_only(bridge: Bridge, redis_url: str) -> None:
    """On stderr; in a pipe there is none."""
    text = lines(*({"kind": "task", "id": f"t{number}"} for number in range(1_000)))
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "100"}
    assert b"1000/1000" in terminal(["import", "-"], environment, text)
    assert b"1000/1000" in terminal(["export"], environment, b"")
    assert "1000/1000" not in bridge("import", "-", stdin=text)[2]
