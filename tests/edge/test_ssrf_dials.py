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
from ssrfguard import DEFAULT_DENIED

from bridge import contract
from bridge.guard import MAX_ANSWERS, REASONS, Policy
from bridge.model import Delivery, Endpoint, Fault, Outcome
from bridge.rejection import Rejection
from bridge.sender import Sender
from bridge.signature import generate_secret
from bridge.transport import Limits, Origin, Request, SystemResolver, Transport, TransportFault

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "ssrf_cases.json").read_text())["cases"]
SECRET = generate_secret(bytes(range(32)))
PUBLIC = "93.184.216.34"
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


def judge(host: str, port: int, addresses: Sequence[str]) -> str | None:
    """The default policy, as the engine hands it to a transport."""
    verdict = Policy().judge_addresses(host, port, addresses)
    return None if verdict.allowed else f"{verdict.reason}: {verdict.detail}"


async def attempts(url: str, resolve: Any, times: int = 1) -> list[Outcome]:
    """What attempts at an endpoint with this URL come to, had it been registered."""
    async with Transport(judge, resolve=resolve) as transport:
        sender = Sender(transport, Policy(), deadline_seconds=5.0, default_secret=SECRET)
        return [await sender.post(Endpoint("e1", url), DELIVERY) for _ in range(times)]


def reason_of(outcome: Outcome) -> str:
    """The guard's word for it."""
    return outcome.detail.partition(":")[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_case_at_registration_and_dial(case: dict[str, Any], dials: list[tuple[str, int]]) -> None:
    """Registered or refused as expected; a refused URL is not even looked up; what is dialled was allowed."""
    definition = json.dumps({"url": case["url"], "secret": SECRET})
    if case["stage"] == "admit":
        with pytest.raises(Rejection) as refused:
            contract.endpoint("e1", definition, Policy(), has_default_secret=False)
        assert refused.value.reason.partition(":")[0] in REASONS or len(case["url"]) > 2048
    else:
        contract.endpoint("e1", definition, Policy(), has_default_secret=False)
    names = NameServer(case.get("dns", {}))
    (outcome,) = await attempts(case["url"], names)
    assert len(names.asked) == (case["stage"] == "connect"), "one lookup for an attempt, none for what is refused"
    if case["expect"] == "allow":
        (first,) = case["dns"].values()
        assert outcome.fault is Fault.CONNECT, "the witness refuses what the guard let through"
        assert dials
        assert {address for address, _ in dials} <= set(first[0] if _is_successive(first) else first)
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

        async with Transport(judge, resolve=resolve) as transport:
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
