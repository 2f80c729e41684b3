"""The dial: which addresses are judged, which is dialled, and what a failure on the way is called."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from misbehave import OK, Misbehaviour, Peer, polite, says
from servers import DEADLINE, SHORT, allow, free_port
from until import eventually

from bridge.guard import MAX_ANSWERS
from bridge.model import Fault
from bridge.transport import Limits, Origin, Phase, Request, Resolve, SystemResolver, Transport, TransportFault

pytest_plugins = ("transport_fixtures",)

CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def resolving(*answers: Sequence[str]) -> Resolve:
    """A name server that gives these answers one after the other, and the last one for ever."""
    remaining = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return resolve


class Judging:
    """A judge that remembers what it was shown, and refuses addresses that begin with `forbidden`."""

    def __init__(self, forbidden: str = "never") -> None:
        self._forbidden = forbidden
        self.seen: list[tuple[str, int, tuple[str, ...]]] = []

    def __call__(self, host: str, port: int, addresses: Sequence[str]) -> str | None:
        self.seen.append((host, port, tuple(addresses)))
        refused = any(address.startswith(self._forbidden) for address in addresses)
        return "the address is not allowed" if refused else None


async def get(transport: Transport, origin: Origin, deadline_seconds: float = DEADLINE) -> bytes:
    answer = await transport.exchange("a", Request("GET", origin, "/"), deadline_seconds=deadline_seconds)
    return answer.body


async def fault_of(transport: Transport, origin: Origin, deadline_seconds: float = DEADLINE) -> TransportFault:
    with pytest.raises(TransportFault) as raised:
        await get(transport, origin, deadline_seconds)
    return raised.value


async def test_the_judge_sees_every_address() -> None:
    """Not only the address to be dialled: one bad address among good ones condemns the name."""
    judge = Judging()
    addresses = ["127.0.0.1", "127.0.0.2", "::1"]
    async with Misbehaviour(polite) as server, Transport(judge, resolve=resolving(addresses)) as transport:
        assert await get(transport, server.named("hooks.example.com")) == b"ok"
        assert judge.seen == [("hooks.example.com", server.origin.port, tuple(addresses))]
        assert b"\r\nHost: hooks.example.com:" in server.requests[0]


async def test_a_refusal_dials_nothing_and_tells_no_address() -> None:
    """BLOCKED carries the judge's reason and nothing of what the name resolved to."""
    judge = Judging(forbidden="10.")
    resolve = resolving(["127.0.0.1", "10.1.2.3"])
    async with Misbehaviour(polite) as server, Transport(judge, resolve=resolve) as transport:
        fault = await fault_of(transport, server.named("hooks.example.com"))
        assert server.connections == 0
    assert (fault.fault, fault.detail, fault.sent) == (Fault.BLOCKED, "the address is not allowed", False)
    assert fault.timing.dns_ms is not None
    assert fault.timing.connect_ms is None


async def test_a_literal_address_is_judged_too() -> None:
    """An address in the URL skips the resolver, not the judge."""
    async with Misbehaviour(polite) as server, Transport(Judging(forbidden="127.")) as transport:
        fault = await fault_of(transport, server.origin)
        assert server.connections == 0
    assert fault.fault is Fault.BLOCKED


async def test_every_new_connection_is_judged_again() -> None:
    """Rebinding: the name that was fine a moment ago resolves to a forbidden address at the next dial."""
    judge = Judging(forbidden="169.254.")
    resolve = resolving(["127.0.0.1"], ["169.254.169.254"])
    async with Misbehaviour(says(CLOSING)) as server, Transport(judge, resolve=resolve) as transport:
        assert await get(transport, server.named("rebind.example.com")) == b"ok"
        assert (await fault_of(transport, server.named("rebind.example.com"))).fault is Fault.BLOCKED
        assert (server.connections, len(judge.seen)) == (1, 2)


async def test_a_kept_connection_was_judged_when_it_was_dialled() -> None:
    """No lookup and no judgement while a connection is reused: it cannot change its peer."""
    judge = Judging()
    async with Misbehaviour(polite) as server, Transport(judge, resolve=resolving(["127.0.0.1"])) as transport:
        for _ in range(3):
            assert await get(transport, server.named("hooks.example.com")) == b"ok"
        assert (server.connections, len(judge.seen)) == (1, 1)


async def test_the_address_that_was_judged_is_the_one_dialled() -> None:
    """The server sees the connection arrive on exactly the address that the resolver gave."""
    async with (
        Misbehaviour(polite, host="0.0.0.0") as server,
        Transport(allow, resolve=resolving(["127.0.0.77"])) as transport,
    ):
        await get(transport, server.named("hooks.example.com"))
        assert [peer.address for peer in server.peers] == ["127.0.0.77"]


async def test_a_peer_other_than_the_one_dialled_is_refused() -> None:
    """0.0.0.0 connects to 127.0.0.1: an address was judged, and another one would have been spoken to."""
    async with Misbehaviour(polite) as server, Transport(allow, resolve=resolving(["0.0.0.0"])) as transport:
        fault = await fault_of(transport, server.named("hooks.example.com"))
        await eventually(lambda: server.connections)
        await server.peers[0].closed_by_client.wait()
        assert server.requests == []
    assert (fault.fault, fault.sent) == (Fault.BLOCKED, False)
    assert "0.0.0.0" not in fault.detail


async def test_only_so_many_addresses_are_looked_at() -> None:
    """A name with a thousand addresses costs no more than one with seventeen, which is one more than pass."""
    judge = Judging()
    resolve = resolving(["127.0.0.1"] + [f"127.0.1.{n}" for n in range(200)])
    async with Misbehaviour(polite) as server, Transport(judge, resolve=resolve) as transport:
        await get(transport, server.named("hooks.example.com"))
    assert len(judge.seen[0][2]) == Limits().answers == MAX_ANSWERS + 1


async def test_the_second_address_is_tried() -> None:
    """One dead address of two costs nothing but the try."""
    resolve = resolving(["127.0.0.2", "127.0.0.1"])
    async with Misbehaviour(polite) as server, Transport(allow, resolve=resolve) as transport:
        assert await get(transport, server.named("hooks.example.com")) == b"ok"


async def test_the_second_try_is_of_the_other_family() -> None:
    """A host without a route to one family reaches the other, however many addresses the first one has."""
    resolve = resolving(["::1", "::2", "127.0.0.1"])
    async with Misbehaviour(polite) as server, Transport(allow, resolve=resolve) as transport:
        assert await get(transport, server.named("hooks.example.com")) == b"ok"


async def test_there_is_no_third_try() -> None:
    """Two refused connections are a fault, though a third address would have worked."""
    resolve = resolving(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    async with Misbehaviour(polite) as server, Transport(allow, resolve=resolve) as transport:
        fault = await fault_of(transport, server.named("hooks.example.com"))
        assert server.connections == 0
    assert (fault.fault, fault.detail, fault.sent) == (Fault.CONNECT, "connection refused", False)


async def test_ipv6_is_spoken(transport: Transport) -> None:
    """A literal IPv6 origin is dialled, and has its brackets in the Host header."""
    if not socket.has_ipv6 or not _loopback6():
        pytest.skip("this machine has no IPv6 loopback")
    async with Misbehaviour(polite, host="::1") as server:
        assert await get(transport, server.origin) == b"ok"
        assert b"\r\nHost: [::1]:%d\r\n" % server.origin.port in server.requests[0]


def _loopback6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", free_port())) != 99


async def test_a_refused_connection_is_a_connect_fault(transport: Transport) -> None:
    """Nobody listens: said in words, and nothing was sent."""
    fault = await fault_of(transport, Origin("http", "127.0.0.1", free_port()))
    assert (fault.fault, fault.phase, fault.detail) == (Fault.CONNECT, Phase.CONNECT, "connection refused")
    assert not fault.sent


async def test_a_connection_that_is_never_accepted_is_a_timeout(transport: Transport) -> None:
    """A full backlog swallows the SYN: the deadline covers connecting, and the detail says so."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        origin = Origin("http", "127.0.0.1", full.getsockname()[1])
        crowd = [socket.socket() for _ in range(8)]
        for member in crowd:
            member.setblocking(False)
            member.connect_ex(("127.0.0.1", origin.port))
        fault = await fault_of(transport, origin, SHORT)
        for member in crowd:
            member.close()
    assert fault.fault is Fault.TIMEOUT
    assert fault.phase in (Phase.CONNECT, Phase.HEAD), "HEAD on kernels that accept beyond the backlog"


async def test_a_resolver_without_an_address_is_a_dns_fault() -> None:
    """Nothing is judged, nothing dialled."""
    judge = Judging()
    async with Transport(judge, resolve=resolving([])) as transport:
        fault = await fault_of(transport, Origin("http", "hooks.example.com", 80))
    assert (fault.fault, fault.phase, judge.seen) == (Fault.DNS, Phase.DNS, [])


@pytest.mark.parametrize("text", ["not-an-address", "127.1", "127.0.0.1%lo", "fe80::1%lo", "::1%lo"])
async def test_what_is_no_plain_address_is_for_the_judge_and_never_dialled(text: str) -> None:
    """The judge sees what the resolver said, so that the guard has its reason; were it to permit, nobody dials."""
    guard, lax = Judging(forbidden=text), Judging()
    for judge, fault in ((guard, Fault.BLOCKED), (lax, Fault.DNS)):
        async with Misbehaviour(polite) as server, Transport(judge, resolve=resolving([text])) as transport:
            origin = server.named("hooks.example.com")
            assert (await fault_of(transport, origin)).fault is fault
            assert server.connections == 0
        assert judge.seen == [("hooks.example.com", origin.port, (text,))]


async def test_a_name_that_does_not_exist_is_a_dns_fault() -> None:
    """The resolver's own words reach the person."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with Transport(allow, resolve=resolve) as transport:
        fault = await fault_of(transport, Origin("http", "hooks.example.com", 80))
    assert (fault.fault, fault.detail) == (Fault.DNS, "Name or service not known")


@pytest.mark.parametrize(("limits", "deadline"), [(Limits(), SHORT), (Limits(dns_seconds=SHORT), DEADLINE)])
async def test_a_name_server_that_never_answers_is_a_timeout(limits: Limits, deadline: float) -> None:
    """DNS has a limit of its own within the deadline; the detail says where the time went."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with Transport(allow, resolve=resolve, limits=limits) as transport:
        fault = await fault_of(transport, Origin("http", "hooks.example.com", 80), deadline)
    assert (fault.fault, fault.phase, fault.sent) == (Fault.TIMEOUT, Phase.DNS, False)
    assert fault.detail.startswith("dns")


async def test_a_cancelled_dial_leaves_nothing(transport: Transport) -> None:
    """Cancelled while TLS waits for a server that says nothing: the socket closes."""
    accepted = asyncio.Event()

    async def script(peer: Peer) -> None:
        accepted.set()

    async with Misbehaviour(script) as server:
        origin = Origin("https", "127.0.0.1", server.origin.port)
        exchange = asyncio.ensure_future(get(transport, origin))
        await accepted.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await server.peers[0].closed_by_client.wait()


async def test_localhost_resolves_without_search_domains_or_root(transport: Transport) -> None:
    """A single label means something on this machine only, so it is looked up as it stands."""
    async with Misbehaviour(says(OK)) as server:
        assert await get(transport, server.named("localhost")) == b"ok"


async def test_a_name_that_no_dns_could_hold_is_a_dns_fault(transport: Transport) -> None:
    """An empty label, or one that is too long, fails as a name and not as an exception of Python's codecs."""
    for host in ("a..b", "x" * 64 + ".com"):
        assert (await fault_of(transport, Origin("http", host, 80))).fault is Fault.DNS


async def test_lookups_of_one_name_at_a_time_share_one() -> None:
    """However many exchanges wait for a name, one thread does; afterwards the name is looked up anew."""
    resolver = SystemResolver(lookups=1)
    answers = await asyncio.gather(*[resolver("localhost", 80) for _ in range(20)])
    assert all("127.0.0.1" in answer for answer in answers)
    assert "127.0.0.1" in await resolver("localhost", 80)


async def test_lookups_that_hang_are_bounded() -> None:
    """Beyond the limit a name is refused at once instead of waiting for a thread."""
    resolver = SystemResolver(lookups=0)
    with pytest.raises(OSError, match="too many"):
        await resolver("localhost", 80)


async def test_a_dotted_name_of_the_hosts_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers are given host.docker.internal; no search domain of this machine comes into it."""
    hosts = tmp_path / "hosts"
    lines = ("# 10.0.0.9 app.docker.internal", "10.1.2.3 other App.Docker.Internal # mine",
             "nonsense app.docker.internal", "fd00::7\tapp.docker.internal")  # fmt: skip
    hosts.write_text("\n".join(lines))
    monkeypatch.setattr("bridge.dial.HOSTS_FILE", hosts)
    assert await SystemResolver()("app.docker.internal", 80) == ["10.1.2.3", "fd00::7"]
    with pytest.raises(OSError, match=r".+"):
        await SystemResolver()("docker.internal.invalid", 80)
