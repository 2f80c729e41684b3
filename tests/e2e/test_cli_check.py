"""`bridge endpoint check`: the classifier through the real command."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bridge = Callable[..., tuple[int, str, str]]
Check = Callable[..., list[dict[str, Any]]]
ROOT = Path(__file__).resolve().parents[2]
CASES: list[dict[str, Any]] = json.loads((ROOT / "tests/ssrf_cases.json").read_text())["cases"]
GOOD = "93.184.216.34"


def first_answer(case: dict[str, Any]) -> list[str]:
    """What the first connection may dial."""
    for answers in case.get("dns", {}).values():
        return list(answers[0]) if isinstance(answers[0], list) else list(answers)
    return []


@pytest.fixture
def check(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> Check:
    """`bridge endpoint check` under the default policy and without a Redis; its rows."""
    for name in ("BRIDGE_DELIVERY_ALLOW_NETWORKS", "BRIDGE_DELIVERY_ALLOW_HTTP"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")

    def call(*words: str, stdin: bytes = b"") -> list[dict[str, Any]]:
        code, out, _ = bridge("endpoint", "check", *words, "-o", "jsonl", stdin=stdin)
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == int(any(row["verdict"] == "block" for row in rows))
        return rows

    return call


def test_every_case_gets_its_verdict(check: Check, tmp_path: Path) -> None:
    """All cases of the shared list, each with its scripted answers; what is allowed dials its first answer only."""
    for case in CASES:
        (tmp_path / "dns.json").write_text(json.dumps(case.get("dns", {})))
        (row,) = check(case["url"], "--dns", "dns.json")
        assert row["verdict"] == case["expect"], (case, row)
        assert row["dials"] == (first_answer(case) if case["expect"] == "allow" else [])
        assert bool(row["reason"]) is (case["expect"] == "block")


def test_every_case_gets_its_verdict_from_standard_input() -> None:
    """In a process of its own, all lines at once: a row a line, in their order; without --dns the URL alone."""
    cases = [case for case in CASES if "\n" not in case["url"]]
    lines = "".join(case["url"] + "\n" for case in cases).encode("utf-8", "surrogatepass")
    command = [sys.executable, "-m", "bridge", "endpoint", "check", "-", "-o", "json"]
    done = subprocess.run(command, input=lines, capture_output=True, cwd=ROOT)
    rows = json.loads(done.stdout)
    assert (done.returncode, len(rows)) == (1, len(cases))
    pairs = zip(cases, rows, strict=True)
    assert [pair for pair in pairs if (pair[1]["verdict"] == "block") is not (pair[0]["stage"] == "admit")] == []
    assert [row["url"] for row in rows] == [case["url"] for case in cases]
    assert all("dials" not in row for row in rows)


def test_a_line_is_taken_exactly_as_it_stands(check: Check) -> None:
    """Only the line feed ends a line: blanks, tabs and carriage returns belong to the URL; an empty line is one too."""
    url = "https://example.com/"
    lines = [url, f" {url}", f"{url} ", f"{url}\t", f"{url}\r", "", "#", f"{url}\x0b", f"{url}\x85", f"{url}\u2028"]
    rows = check("-", stdin="\n".join(lines).encode() + b"\n\xff\n" + url.encode())
    assert [row["url"] for row in rows] == [*lines, "\\xff", url]
    assert [row["verdict"] for row in rows] == ["allow", *["block"] * 10, "allow"]
    assert check("-", stdin=b"") == []
    assert [row["verdict"] for row in check("-", stdin=b"\n")] == ["block"]
    rows = check("https://a.com/", "-", "https://c.com/", stdin=b"https://b.com/\n")
    assert [row["url"] for row in rows] == ["https://a.com/", "https://b.com/", "https://c.com/"]


def test_scripted_answers(check: Check, tmp_path: Path) -> None:
    """By the lower-cased host; a missing one does not resolve; of successive answers the first decides."""
    answers = {
        "Example.com": [GOOD], "none.com": [], "turns.com": [[GOOD], ["127.0.0.1"]],
        "turned.com": [["127.0.0.1"], [GOOD]], "mixed.com": [GOOD, "10.0.0.1"],
    }  # fmt: skip
    (tmp_path / "dns.json").write_text(json.dumps(answers))
    hosts = ["EXAMPLE.com", "none.com", "turns.com", "turned.com", "mixed.com", "missing.com"]
    rows = check(*(f"https://{host}/" for host in hosts), "--dns", "dns.json")
    assert [row["verdict"] for row in rows] == ["allow", "block", "allow", "block", "block", "block"]
    assert [row["dials"] for row in rows] == [[GOOD], [], [GOOD], [], [], []]
    assert [row["reason"] for row in rows[1::2]] == ["no_addresses", "address_not_allowed", "dns_no_answer"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a.com": "1.2.3.4"}', '{"a.com": [1]}', '{"a.com": [["1.2.3.4"], "1.2.3.4"]}', "\x00"]
)
def test_a_bad_file_of_answers_is_a_usage_error(bridge: Bridge, tmp_path: Path, text: str) -> None:
    """Exit code 2 with an example, and no verdict."""
    (tmp_path / "dns.json").write_text(text)
    code, out, told = bridge("endpoint", "check", "https://a.com/", "--dns", "dns.json")
    assert (code, out, '{"host": ["ip", …]}' in told) == (2, "", True)


def test_usage(bridge: Bridge) -> None:
    """A file that is not there, two sources of addresses, no URL at all: exit code 2."""
    assert bridge("endpoint", "check", "https://a.com/", "--dns", "nowhere.json")[0] == 2
    assert bridge("endpoint", "check", "https://a.com/", "--dns", "x", "--resolve")[0] == 2
    assert bridge("endpoint", "check")[0] == 2


def test_what_is_allowed_here_is_allowed(bridge: Bridge, tmp_path: Path) -> None:
    """Networks and http as configured; a literal is its own only address and needs no answer."""
    (tmp_path / "dns.json").write_text('{"inside.com": ["127.0.0.5"], "outside.com": ["10.0.0.1"]}')
    urls = ("http://127.0.0.1:9/", "http://inside.com:81/", "http://outside.com/", "http://10.0.0.1/")
    code, out, _ = bridge("endpoint", "check", *urls, "--dns", "dns.json", "--json")
    assert [row["verdict"] for row in json.loads(out)] == ["allow", "allow", "block", "block"]
    assert [row["dials"] for row in json.loads(out)] == [["127.0.0.1"], ["127.0.0.5"], [], []]
    assert code == 1


def test_the_system_resolver_is_asked_as_the_transport_asks_it(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resolve: localhost leads to the loopback, which is allowed here; a name that cannot exist does not resolve."""
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
    urls = ("http://localhost:9/", f"https://{'no-such-name-' * 4}x.com.invalid-tld-x/")
    code, out, _ = bridge("endpoint", "check", *urls, "--resolve", "--json")
    good, bad = json.loads(out)
    assert code == 1
    assert (good["verdict"], bool(set(good["dials"]) & {"127.0.0.1", "::1"})) == ("allow", True)
    assert (bad["verdict"], bad["reason"], bad["dials"]) == ("block", "dns_no_answer", [])


def test_a_name_that_does_not_resolve_has_a_next_step(bridge: Bridge, tmp_path: Path) -> None:
    """And that is not the same command once more."""
    (tmp_path / "dns.json").write_text("{}")
    code, out, told = bridge("endpoint", "check", "https://nowhere.example.com/hook", "--dns", "dns.json")
    assert (code, "dns_no_answer" in out, "bridge endpoint check" in told) == (1, True, False)
    assert "→ check the name nowhere.example.com and its DNS records" in told
    assert "where the worker runs" in told


def test_a_table_says_why_and_no_terminal_obeys_it(bridge: Bridge) -> None:
    """The sentence that a person needs, the URL escaped; `ids` are the URLs."""
    url = "https://example.com/\x1b[31m"
    code, out, _ = bridge("endpoint", "check", url, "https://example.com/")
    assert code == 1
    assert "forbidden_character: The URL holds a character" in out
    assert "\x1b" not in out + bridge("endpoint", "check", url, "-o", "ids")[1]


def test_a_crowd_of_addresses_is_refused_as_at_the_dial(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resolve does not look at the first sixteen of a name's addresses and call that all of them."""
    crowd = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n + 1}", 80)) for n in range(40)]
    monkeypatch.setattr("bridge.dial.socket.getaddrinfo", lambda *_, **__: crowd)
    code, out, _ = bridge("endpoint", "check", "http://crowd.example.com/", "--resolve", "--json")
    (row,) = json.loads(out)
    assert (code, row["verdict"], row["reason"], row["dials"]) == (1, "block", "too_many_addresses", [])


def test_what_only_settings_allow_is_said_to_be_allowed_here(bridge: Bridge) -> None:
    """The verdict is this shell's: a running worker may have others. What anybody allows needs no such word."""
    code, _, told = bridge("endpoint", "check", "http://127.0.0.1:9/")
    assert (code, "whether the worker that runs has the same → bridge doctor" in told) == (0, True)
    assert bridge("endpoint", "check", "https://example.com/")[2] == ""
    assert bridge("endpoint", "check", "ftp://127.0.0.1/")[2] == ""
    assert bridge("endpoint", "check", "http://127.0.0.1:9/", "--json")[2] == ""


def test_what_is_blocked_is_not_said_to_be_allowed(bridge: Bridge, tmp_path: Path) -> None:
    """Settings that let the URL pass, and not the addresses of its name, allow nothing; those that do are told of."""
    (tmp_path / "dns.json").write_text('{"outside.com": ["10.0.0.1"], "inside.com": ["127.0.0.5"]}')
    code, out, told = bridge("endpoint", "check", "http://outside.com/", "--dns", "dns.json")
    assert (code, out.splitlines()[1].split()[0], "Allowed" in told) == (1, "block", False)
    code, _, told = bridge("endpoint", "check", "https://inside.com/", "--dns", "dns.json")
    assert (code, "Allowed by this shell's settings" in told) == (0, True)


def test_what_nobody_means_is_told_as_what_it_is(bridge: Bridge) -> None:
    """A URL without a host, an address where clouds keep credentials, an endpoint's name: no setting is advised."""
    for url, why in (("http:///hook", "names no host"), ("http://169.254.169.254/", "clouds keep credentials")):
        code, out, told = bridge("endpoint", "check", url)
        assert (code, why in out, "BRIDGE_DELIVERY_" in out + told, "→" in told) == (1, True, False, False), url
    assert "→ of an endpoint by its name: bridge endpoint test billing\n" in bridge("endpoint", "check", "billing")[2]
    assert "check https://example.com/hook" in bridge("endpoint", "check", "https:///example.com/hook")[2]


def test_the_command_that_was_meant_is_told(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the refusal, where it is known; for a machine of one's own both settings at once. No script reads it."""
    assert (
        "→ bridge endpoint check https://example.com/hook --resolve"
        in bridge("endpoint", "check", "example.com/hook")[2]
    )
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "false")
    monkeypatch.delenv("BRIDGE_DELIVERY_ALLOW_NETWORKS")
    told = bridge("endpoint", "check", "http://localhost:3000/")[2]
    assert "BRIDGE_DELIVERY_ALLOW_HTTP=true BRIDGE_DELIVERY_ALLOW_NETWORKS=127.0.0.1/32,::1/128" in told
    assert bridge("endpoint", "check", "example.com/hook", "--json")[2] == ""
    many = "".join(f"http://e{n}.com/\n" for n in range(40)).encode()
    assert bridge("endpoint", "check", "-", stdin=many)[2].count("→") == 10
