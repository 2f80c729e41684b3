"""Every field that an endpoint's definition can hold, named on the command line and taken back again."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
TOKEN = "Bearer do-not-repeat"
EACH = (
    "--indexes", "a1,b*", "--metadata", "team=video,audio", "--metadata", 'order=42,"42"', "--concurrency", "3",
    "--rate", "10/s", "--schedule", "0,5,5m", "--header", "x-team=video",
)  # fmt: skip


def stored(client: "Redis", key: str = "bridge:endpoints") -> dict[str, Any]:
    """The endpoint as it stands: as it was written, or in force."""
    found: dict[str, Any] = json.loads(str(client.hget(key, "a")))
    return found


@pytest.mark.parametrize("verb", ["add", "set"])
def test_every_field_is_named_and_in_force(bridge: Bridge, client: "Redis", verb: str) -> None:
    """Both verbs write the same JSON, and `show` tells all of it; of headers the names."""
    if verb == "set":
        assert bridge("endpoint", "add", "a", URL)[0] == 0
    words = (verb, "a", *([URL] if verb == "add" else []), *EACH, "--auth-file", "-")
    code, out, told = bridge("endpoint", *words, stdin=f"{TOKEN}\n".encode())
    assert (code, "do-not-repeat" in out + told) == (0, False)
    expected = {
        "indexes": ["a1", "b*"], "metadata": {"team": ["video", "audio"], "order": [42, "42"]}, "concurrency": 3,
        "rate": "10/s", "schedule": [0, 5, 300], "headers": {"x-team": "video", "authorization": TOKEN},
    }  # fmt: skip
    assert {field: stored(client)[field] for field in expected} == expected
    assert {field: stored(client, "bridge:registry")[field] for field in expected} == expected
    shown = json.loads(bridge("endpoint", "show", "a", "--json")[1])
    assert {field: shown[field] for field in expected} == expected | {"headers": ["authorization", "x-team"]}
    table = bridge("endpoint", "show", "a")[1]
    for said in ("a1, b*", '"team": ["video", "audio"]', "10/s", "[0, 5, 300]", "authorization, x-team"):
        assert said in table


def test_a_change_is_told_and_headers_by_name_alone(bridge: Bridge) -> None:
    """Whatever they hold, before and after; what is taken back is told as well."""
    bridge("endpoint", "add", "a", URL, *EACH)

    def rows(*words: str, stdin: bytes = b"") -> list[tuple[str, str | None, str | None]]:
        code, out, _ = bridge("endpoint", "set", "a", *words, "--json", stdin=stdin)
        assert code == 0
        return [(row["field"], row["before"], row["after"]) for row in json.loads(out)]

    assert rows("--auth-file", "-", stdin=b"Bearer 1") == [("headers", "x-team", "authorization, x-team")]
    names = "authorization, x-team"
    assert rows("--auth-file", "-", stdin=b"Bearer 2") == [("headers", names, f"{names} (what is hidden)")]
    assert rows("--auth-file", "-", stdin=b"Bearer 2") == []
    assert rows("--metadata", "order=true") == [
        ("metadata", 'team="video","audio"; order=42,"42"', 'team="video","audio"; order=true')
    ]
    assert rows("--metadata", "order=1") != []
    assert rows("--unset", "rate,schedule,concurrency,indexes,events,metadata.order,headers.X-Team") == [
        ("rate", "10/s", None), ("schedule", "0, 5, 300", None), ("concurrency", "3", None), ("indexes", "a1, b*", "*"),
        ("metadata", 'team="video","audio"; order=1', 'team="video","audio"'), ("headers", names, "authorization"),
    ]  # fmt: skip
    assert rows("--unset", "headers,metadata,rate") == [
        ("headers", "authorization", None),
        ("metadata", 'team="video","audio"', None),
    ]
    assert rows("--unset", "headers,metadata") == []


def test_what_is_taken_back_is_out_of_force(bridge: Bridge, client: "Redis") -> None:
    """The defaults are those of an endpoint that never said anything; nothing else is lost."""
    bridge("endpoint", "add", "a", URL, *EACH)
    kept = {field: stored(client)[field] for field in ("url", "secret")}
    unset = "events,tasks,indexes,metadata,format,ordering,concurrency,rate,schedule,headers"
    assert bridge("endpoint", "set", "a", "--unset", unset)[0] == 0
    assert stored(client) == kept
    now = stored(client, "bridge:registry")
    assert (now["events"], now["indexes"], now["headers"], now["metadata"]) == (["index.task.*"], ["*"], {}, {})
    assert not {"rate", "schedule", "concurrency"} & now.keys()
    assert client.hmget("bridge:endpoint:a", "cap", "rate") == ["32", None]
    assert "nothing was written" in bridge("endpoint", "set", "a", "--unset", unset)[2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"Bearer abc:def\n", "Bearer abc:def"), (b"  Token token=abc  ", "Token token=abc"),
        ("j\u00f6rg:p\u00e4ss: word".encode(), "j\u00f6rg:p\u00e4ss: word"), (b"user:", "user:"), (b"lonely", "lonely"),
    ],
)  # fmt: skip
def test_a_file_holds_the_value_or_user_and_password(
    bridge: Bridge, client: "Redis", tmp_path: Path, text: bytes, value: str
) -> None:
    """What has a scheme is sent as it is; a user and a password become Basic, whatever characters they have."""
    file = tmp_path / "auth"
    file.write_bytes(text)
    file.chmod(0o644)
    code, out, told = bridge("endpoint", "add", "a", URL, "--auth-file", str(file))
    assert (code, "chmod 600" in told, "no scheme" in told) == (0, True, text == b"lonely")
    assert value not in out + told
    sent = stored(client)["headers"]["authorization"]
    if ":" in value.split(" ")[0]:
        scheme, _, digits = sent.partition(" ")
        sent = b64decode(digits).decode() if scheme == "Basic" else sent
    assert sent == value


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"Bearer do-not-repeat\r\nx-evil: 1", b"Bearer do-not-repeat\nx", b"Bearer do-not-repeat\0",
        b"do-not-repeat:\xff", "Bearer do-not-repeat-\u00e4".encode(), b"Bearer do-not-repeat" + b"x" * 1_024,
        b"user:do-not-repeat" + b"x" * 1_024, b"Bearer\tdo-not-repeat",
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused_and_not_repeated(bridge: Bridge, client: "Redis", text: bytes) -> None:
    """From a file or piped in: exit code 2, why, what to do; nothing is registered."""
    Path("auth").write_bytes(text)
    for place in ("-", "auth"):
        code, out, told = bridge("endpoint", "add", "a", URL, "--auth-file", place, stdin=text)
        assert (code, "--auth-file" in told, "→" in told, "do-not-repeat" in out + told) == (2, True, True, False)
    assert not client.exists("bridge:endpoints")


@pytest.mark.parametrize(
    "words",
    [
        ("--header", "Authorization=do-not-repeat"), ("--header", "host=do-not-repeat"),
        ("--header", "webhook-id=do-not-repeat"), ("--header", "Bridge-Attempt=do-not-repeat"),
        ("--header", "tl-signature=do-not-repeat"), ("--header", "cookie=do-not-repeat"),
        ("--header", "do-not-repeat"), ("--header", "=do-not-repeat"), ("--header", "a b=do-not-repeat"),
        ("--header", "x=do-not-repeat\r\ny: 1"), ("--header", "x=\u00e4 do-not-repeat"),
        ("--metadata", "do-not-repeat"),
        ("--metadata", 'x={"a": "do-not-repeat"}'), ("--concurrency", "0"), ("--concurrency", "1001"),
        ("--concurrency", "many"), ("--rate", "10"), ("--rate", "0/s"), ("--rate", ""), ("--schedule", "soon"),
        ("--schedule", ""), ("--schedule", "8d"), ("--indexes", "a/b"), ("--auth-file", "nowhere"),
        ("--auth-file", "-", "--secret-file", "-"),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_with_its_fix(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """P10: the contract judges, also what is reserved; no header's value is repeated."""
    code, out, told = bridge("endpoint", "add", "a", URL, *words, stdin=b"Bearer x")
    assert (code, client.exists("bridge:endpoints")) == (2, 0)
    assert "→" in told or "Try" in told or "Error" in told
    assert "do-not-repeat" not in out + told


@pytest.mark.parametrize("word", ["secret", "url", "rete", "headers."])
def test_what_cannot_be_taken_back_says_so(bridge: Bridge, client: "Redis", word: str) -> None:
    """With what is near, and nothing is written; nor is it where a field is named twice."""
    bridge("endpoint", "add", "a", URL, "--rate", "1/s")
    before = stored(client)
    code, _, told = bridge("endpoint", "set", "a", "--unset", word)
    assert (code, "→" in told, "did you mean rate?" in told) == (2, True, word == "rete")
    assert bridge("endpoint", "set", "a", "--rate", "2/s", "--unset", "rate")[0] == 2
    assert stored(client) == before


def test_a_header_that_looks_like_a_secret_is_warned_of(bridge: Bridge) -> None:
    """It was on a command line: too late for this one."""
    code, _, told = bridge("endpoint", "add", "a", URL, "--header", "x-api-key=do-not-repeat")
    assert (code, "bridge import" in told, "do-not-repeat" in told) == (0, True, False)
    assert "bridge import" not in bridge("endpoint", "set", "a", "--header", "x-team=video")[2]


def test_headers_that_are_lost_in_a_replacement_are_named(bridge: Bridge, client: "Redis") -> None:
    """Written anew, an endpoint has what was named; that its authorization is gone is said, and what it was is not."""
    bridge("endpoint", "add", "a", URL, "--header", "X-Team=video", "--auth-file", "-", stdin=TOKEN.encode())
    code, out, told = bridge("endpoint", "add", "a", URL, "--header", "x-team=audio", "--replace")
    assert (code, "gone: authorization" in told, "do-not-repeat" in out + told) == (0, True, False)
    assert stored(client)["headers"] == {"x-team": "audio"}
    assert "gone" not in bridge("endpoint", "add", "a", URL, "--header", "x-team=1", "--replace")[2]


def test_what_cannot_be_read_is_replaced_with_a_secret_of_its_own(bridge: Bridge, client: "Redis") -> None:
    """As the refusal to change it says: there is no secret in it that could stay."""
    client.hset("bridge:endpoints", "a", "[" * 100_000)
    assert bridge("endpoint", "ls")[0] == 0
    code, _, told = bridge("endpoint", "set", "a", "--rate", "1/s")
    assert (code, "bridge endpoint add a URL --replace" in told) == (2, True)
    code, out, _ = bridge("endpoint", "add", "a", URL, "--replace", "--json")
    assert (code, stored(client)["secret"]) == (0, json.loads(out)["secret"])


def test_a_list_of_endpoints_says_what_else_filters(bridge: Bridge) -> None:
    """Whoever gets nothing sees that it is not by the type of the event alone; of many patterns, how many they are."""
    url = "http://127.0.0.1:9/"
    bridge("endpoint", "add", "all", url)
    bridge("endpoint", "add", "few", url, "--metadata", "team=video,audio", "--metadata", "order=42", "--tasks", "t1")
    bridge("endpoint", "add", "more", url, "--indexes", "a1,b*", "--tasks", "t1,t2,t3", "--events", "index.task.ready")
    lines = bridge("endpoint", "ls")[1].splitlines()[1:]
    shown = {(cells := re.split("  +", line))[0]: cells[2] for line in lines}
    assert shown == {
        "all": "index.task.*",
        "few": "index.task.*; order=42; team=video,audio; task t1",
        "more": "index.task.ready; 2 indexes; 3 tasks",
    }
