"""What `bridge dev` and `bridge listen` say to whoever runs them."""

import io
from typing import Any

import pytest
from rich.console import Console

from bridge.cli.dev import SENTENCES, hearer, upstream_of
from bridge.cli.dev_session import Session
from bridge.cli.ways_in import ways_in
from bridge.settings import load_settings

FIELDS: dict[str, Any] = {
    "reads": 3, "detail": "HTTP 500", "seconds": 15.0, "task": "t1", "endpoint": "dev-1", "error": "gone", "code": 1,
}  # fmt: skip


def told(line: dict[str, Any], *ids: str) -> str:
    """What becomes of a line of the worker's log, where these tasks were named."""
    heard = io.StringIO()
    console = Console(file=heard, width=500)
    hearer(Session(load_settings(), list(ids), ""), console, console, attempts=True)(line)
    return heard.getvalue()


@pytest.mark.parametrize("event", sorted(SENTENCES))
def test_a_warning_is_told_in_words(event: str) -> None:
    """No name of an event and no fields of a log, but what happened, and the fix where there is one."""
    said = told({"event": event, "level": "warning", "logger": "bridge.poll", "fix": "do it", **FIELDS})
    assert said.startswith("! ")
    assert said.endswith("\n  do it\n")
    assert event not in said
    assert "=" not in said
    assert "{" not in said


def test_a_signature_that_is_refused_is_explained_once() -> None:
    """Its receiver holds another secret, most likely: said beside the first 401, and not beside each."""
    heard = io.StringIO()
    console, session = (
        Console(file=heard, width=500),
        Session(load_settings(), ["t1", "t 2"], "http://localhost:9/x?key=1"),
    )
    hear = hearer(session, console, console, attempts=True)
    line = {"event": "delivery.attempted", "endpoint": session.name, "level": "info", "type": "x", "next": "pending"}
    for status in (500, 401, 401):
        hear(line | {"status_code": status})
    again = "bridge dev t1 't 2' --to URL --secret-file secret.whsec"
    assert heard.getvalue().count(f"! It holds another secret? With that one in secret.whsec → {again}\n! Or it") == 1
    assert heard.getvalue().splitlines()[2].startswith("! It holds another secret?")


@pytest.mark.parametrize(
    ("url", "trouble", "said"),
    [
        (
            "http://127.0.0.1:8788/v1.3",
            "connect: refused",
            " (at http://127.0.0.1:8788/v1.3); it is tried again → bridge simulate 8788",
        ),
        ("https://api.example.com/v1.3", "dns: no answer", " (at https://api.example.com/v1.3); it is tried again"),
        ("http://127.0.0.1:8788/v1.3", "HTTP 500", ""),
    ],
    ids=["simulator", "elsewhere", "answers"],
)
def test_an_upstream_that_does_not_answer_is_named(url: str, trouble: str, said: str) -> None:
    """Where it was looked for, and what serves one there; one that answers is known."""
    assert upstream_of(Session(load_settings(twelvelabs_base_url=url), ["t1"], ""), trouble) == said


def test_a_warning_without_a_sentence_is_told_all_the_same() -> None:
    """A new one, or one that lacks a field: nothing is swallowed."""
    assert told({"event": "new.trouble", "level": "error", "why": "x"}) == "! new.trouble why=x\n"
    assert told({"event": "redis.away", "level": "warning"}) == "! redis.away\n"
    assert told({"event": "poll.round", "level": "info", "reads": 1}) == ""


def test_failed_reads_are_told_once() -> None:
    """Of tasks that were named, each one's own line says it."""
    line = {"event": "upstream.faulty", "level": "warning", **FIELDS}
    assert told(line, "t1") == ""
    assert "HTTP 500" in told(line)


@pytest.mark.parametrize(
    ("host", "contained", "urls", "networks"),
    [
        ("127.0.0.1", False, ["http://127.0.0.1:8787/hook"], "127.0.0.1/32"),
        ("localhost", False, ["http://localhost:8787/hook"], "127.0.0.1/32"),
        ("::1", False, ["http://[::1]:8787/hook"], "::1/128"),
        ("10.1.2.3", False, ["http://10.1.2.3:8787/hook"], "10.1.2.3/32"),
        (
            "0.0.0.0",
            False,
            ["http://127.0.0.1:8787/hook", "http://host.docker.internal:8787/hook"],
            "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        ),
        (
            "0.0.0.0",
            True,
            ["http://127.0.0.1:8787/hook", "http://SERVICE:8787/hook"],
            "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        ),
    ],
    ids=["loopback", "name", "ipv6", "one address", "all addresses", "in a container"],
)
def test_a_receiver_names_urls_that_lead_to_it(host: str, contained: bool, urls: list[str], networks: str) -> None:
    """0.0.0.0 is no place to send to; the last way in tells the networks that its worker has to allow."""
    ways = ways_in(host, 8787, contained=contained)
    assert [one.url for one in ways] == urls
    assert ways[-1].networks == networks
