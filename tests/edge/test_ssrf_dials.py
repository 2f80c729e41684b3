"""The shared case list through a real sender and transport: what is registered, looked up and dialled.

The witness is not ours: Python reports every `connect` of this process to an audit hook, which writes it down and
refuses it, so that a dial to the outside never leaves the machine.
"""

import errno
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from authorities import AUTHORITIES
from ssrfguard import DEFAULT_DENIED

from bridge import definition
from bridge.cli import run as check
from bridge.doctor import entries
from bridge.doctor.findings import Level
from bridge.guard import MAX_ANSWERS, REASONS, Policy
from bridge.model import Delivery, Endpoint, Fault, Outcome
from bridge.rejection import Rejection
from bridge.sender import Sender
from bridge.settings import load_settings
from bridge.signature import generate_secret
from bridge.transport import Judge, Limits, Origin, Request, Resolve, SystemResolver, Transport, TransportFault

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "ssrf_cases.json").read_text())["cases"]
SECRET = generate_secret(bytes(range(32)))
PUBLIC = "93.184.216.34"
DEFAULT = Policy()
DELIVERY = Delivery(
    event_id="evt_0af7651916cd43dd8448eb211c80319c", endpoint="e1", type="index.task.ready", task="t1", revision=7,
    created_at=0, attempts=0, trigger="schedule", token="t", body=b"{}",
)  # fmt: skip

_witness: list[tuple[str, int]] | None = None


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _witness is not None:
        _witness.append((str(arguments[1][0]), int(arguments[1][1])))
        raise OSError(errno.ECONNREFUSED, "Connection refused")


sys.addaudithook(_see)  # for ever: it cannot be taken away, and looks only while `dials` is in use


@pytest.fixture
def dials() -> Iterator[list[tuple[str, int]]]:
    """Every (address, port) that this process tries to connect to; none is reached."""
    global _witness
    _witness = []
    yield _witness
    _witness = None


class NameServer:
    """Scripted answers for one attempt after another, and the names that were asked for."""

    def __init__(self, dns: dict[str, Any]) -> None:
        self._answers = {host: list(found) if _is_successive(found) else [found] for host, found in dns.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        found = self._answers.get(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found.pop(0) if len(found) > 1 else found[0]  # type: ignore[no-any-return]


def _is_successive(found: list[Any]) -> bool:
    return bool(found) and isinstance(found[0], list)


def judge_by(policy: Policy) -> Judge:
    """The policy as the engine hands it to a transport."""

    def judge(host: str, port: int, addresses: Sequence[str]) -> str | None:
        verdict = policy.judge_addresses(host, port, addresses)
        return None if verdict.allowed else f"{verdict.reason}: {verdict.detail}"

    return judge


async def attempts(url: str, resolve: Resolve, policy: Policy = DEFAULT, times: int = 1) -> list[Outcome]:
    """What attempts at an endpoint with this URL come to, had it been registered."""
    async with Transport(judge_by(policy), resolve=resolve, ssl_context=AUTHORITIES) as transport:
        sender = Sender(transport, policy, deadline_seconds=5.0, default_secret=SECRET)
        return [await sender.post(Endpoint("e1", url), DELIVERY) for _ in range(times)]


def reason_of(outcome: Outcome) -> str:
    """The guard's word for it, if it was the guard."""
    return outcome.detail.partition(":")[0] if outcome.fault is Fault.BLOCKED else ""


def first_answers(case: dict[str, Any]) -> dict[str, list[str]]:
    """What the first lookup of each name brings."""
    return {host: found[0] if _is_successive(found) else found for host, found in case.get("dns", {}).items()}


def registered(url: str, policy: Policy) -> str:
    """The reason for which this URL is not registered, or nothing."""
    try:
        definition.endpoint("e1", json.dumps({"url": url, "secret": SECRET}), policy, has_default_secret=False)
    except Rejection as rejection:
        return str(rejection).removeprefix("url: ").partition(":")[0]
    return ""


def diagnosed(url: str, policy: Policy, answers: dict[str, list[str]]) -> str:
    """What `bridge doctor --resolve` finds about an endpoint with this URL."""
    written = {b"e1": json.dumps({"url": url, "secret": SECRET}).encode()}
    (finding,) = entries.endpoints(written, {}, entries.Judge(policy, has_default_secret=False), answers)
    return "" if finding.level is Level.OK else finding.found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_case_at_registration_and_dial(case: dict[str, Any], dials: list[tuple[str, int]]) -> None:
    """Registered or refused as expected; a refused URL is not even looked up; what is dialled was allowed."""
    assert (registered(case["url"], DEFAULT) in REASONS) is (case["stage"] == "admit")
    names = NameServer(case.get("dns", {}))
    (outcome,) = await attempts(case["url"], names)
    assert len(names.asked) == (case["stage"] == "connect"), "one lookup for an attempt, none for what is refused"
    if case["expect"] == "allow":
        (first,) = first_answers(case).values()
        assert outcome.fault is Fault.CONNECT, "the witness refuses what the guard let through"
        assert dials
        assert {address for address, _ in dials} <= set(first)
    else:
        assert outcome.fault is (Fault.BLOCKED if any(case.get("dns", {"": "-"}).values()) else Fault.DNS), outcome
        assert dials == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_the_dial_alone_goes_nowhere_forbidden(case: dict[str, Any], dials: list[tuple[str, int]]) -> None:
    """With registration out of the way and a careless parser in its place, still no forbidden address is dialled.

    A name that spells an address in any way of libc's resolves to it; every other one to a public address.
    """
    with suppress(ValueError):
        parts = urlsplit(case["url"])
        origin = Origin("https", parts.hostname or "", parts.port or 443)

        async def resolve(host: str, port: int) -> Sequence[str]:
            with suppress(OSError, UnicodeError):
                return [socket.inet_ntoa(socket.inet_aton(host))]
            return await NameServer({host: [PUBLIC], **case.get("dns", {})})(host, port)

        async with Transport(judge_by(DEFAULT), resolve=resolve, ssl_context=AUTHORITIES) as transport:
            with pytest.raises(TransportFault):
                await transport.exchange("a", Request("GET", origin, "/"), deadline_seconds=5.0)
    assert [address for address, _ in dials if DEFAULT_DENIED.classify(ip_address(address)).blocked] == []
    assert {port for _, port in dials} <= {443, 8443}


async def test_a_name_that_changes_its_mind(dials: list[tuple[str, int]]) -> None:
    """Rebinding: each attempt looks the name up once and judges that answer; what passed before counts for nothing."""
    names = NameServer({"rebind.example.net": [[PUBLIC], ["127.0.0.1"], [PUBLIC, "10.0.0.1"], [PUBLIC]]})
    outcomes = await attempts("https://rebind.example.net/hook", names, times=4)
    assert [outcome.fault for outcome in outcomes] == [Fault.CONNECT, Fault.BLOCKED, Fault.BLOCKED, Fault.CONNECT]
    assert len(names.asked) == 4
    assert {address for address, _ in dials} == {PUBLIC}


async def test_an_alias_is_judged_by_where_it_leads(
    dials: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CNAME from a public name to an inner one: the resolver follows it, and its addresses are what counts."""
    asked = []

    def follow(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "metadata.google.internal", ("169.254.169.254", port))]

    monkeypatch.setattr("bridge.dial.socket.getaddrinfo", follow)
    (outcome,) = await attempts("https://alias.example.net/hook", SystemResolver())
    assert (outcome.fault, reason_of(outcome), dials) == (Fault.BLOCKED, "address_not_allowed", [])
    assert asked == ["alias.example.net."], "once, and from the root"
    assert "169.254" not in outcome.detail


@pytest.mark.parametrize("count", [MAX_ANSWERS, MAX_ANSWERS + 1, 4_000])
async def test_no_address_escapes_judgement_in_a_crowd(count: int, dials: list[tuple[str, int]]) -> None:
    """More addresses than are judged condemn the name: nobody knows what hides behind the last of them."""
    crowd = [f"93.184.{n // 250}.{n % 250}" for n in range(count)]
    (outcome,) = await attempts("https://crowd.example.net/hook", NameServer({"crowd.example.net": crowd}))
    if count > MAX_ANSWERS:
        assert (outcome.fault, reason_of(outcome), dials) == (Fault.BLOCKED, "too_many_addresses", [])
    else:
        assert (outcome.fault, len(dials)) == (Fault.CONNECT, Limits().dials)


POLICIES = {
    "default": {},
    "lab": {
        "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
        "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8,169.254.0.0/16,172.16.0.0/12",
    },
    "own networks closed": {"BRIDGE_DELIVERY_DENY_NETWORKS": "93.184.216.0/24,8.8.8.8/32"},
}


@pytest.mark.parametrize("environment", POLICIES.values(), ids=POLICIES)
async def test_every_door_gives_the_same_reason(
    environment: dict[str, str],
    dials: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Registration, sending, `endpoint check` and `doctor` are one classifier, whatever the settings."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    policy, script = load_settings().policy, tmp_path / "dns.json"
    seen = set()
    for case in CASES:
        url, answers = case["url"], first_answers(case)
        script.write_text(json.dumps({host: [PUBLIC] for host in ("example.com", "localhost", "redis")} | answers))
        answers = json.loads(script.read_text())
        check(["endpoint", "check", url, "--dns", str(script), "-o", "jsonl"])
        row = json.loads(capsys.readouterr().out)
        (sent,) = await attempts(url, NameServer(answers), policy)
        assert registered(url, policy) in {"", row["reason"]}, case
        if row["reason"] in {"dns_no_answer", "no_addresses"}:
            assert (sent.fault, reason_of(sent)) == (Fault.DNS, "")
        else:
            assert reason_of(sent) == row["reason"], (case, sent)
            assert f"{row['reason']}:" in diagnosed(url, policy, answers) or not row["reason"], case
            assert bool(diagnosed(url, policy, answers)) is bool(row["reason"]), case
        seen.add(row["reason"])
    assert len(seen) > 15
    assert ("address_denied" in seen) is ("BRIDGE_DELIVERY_DENY_NETWORKS" in environment)
