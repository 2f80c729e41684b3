"""`bridge doctor --probe`: a handful of reads, within the budget, and nothing changed."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from test_cli_doctor import alive, bad, doctor

from bridge.sandbox.twelvelabs import API_KEY, Simulator

Bridge = Callable[..., tuple[int, str, str]]


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulated TwelveLabs whose key we have."""
    simulator = Simulator()
    simulator.add_task("t1", age_seconds=600)
    with simulator.in_thread():
        monkeypatch.setenv("BRIDGE_TWELVELABS_BASE_URL", simulator.base_url)
        monkeypatch.setenv("TWELVELABS_API_KEY", API_KEY)
        yield simulator


def probes(bridge: Bridge) -> list[str]:
    """What was found of upstream."""
    return [row["found"] for row in doctor(bridge, "--probe")[1] if row["check"] == "probe"]


def test_a_probe_is_made_only_if_it_is_asked_for(bridge: Bridge, client: "Redis", upstream: Simulator) -> None:
    """One read without it; with it a handful, all GETs, and Redis is as it was."""
    alive(client)
    before = sorted(client.keys())
    doctor(bridge)
    assert len(upstream.requests) == 1
    found = probes(bridge)
    assert any("unknown id answers HTTP 404" in one for one in found)
    assert len(upstream.requests) <= 12
    assert {asked.method for asked in upstream.requests} == {"GET"}
    assert sorted(client.keys()) == before


def test_a_probe_is_within_the_request_budget(
    bridge: Bridge, upstream: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is used, the rest is said to be left out; a worker's reads count, too."""
    monkeypatch.setenv("BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE", "4")
    found = probes(bridge)
    assert found[-1] == "not probed to the end"
    assert sum(asked.path != "/tasks/000000000000000000000000" for asked in upstream.requests) <= 4
    before = len(upstream.requests)
    assert probes(bridge) == ["not probed to the end"]
    assert len(upstream.requests) == before


def test_without_a_key_nothing_is_probed(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding about the key says why; a refused one says so itself."""
    monkeypatch.delenv("TWELVELABS_API_KEY", raising=False)
    assert probes(bridge) == []
    assert bad(doctor(bridge, "--probe")[1], "key")


def test_a_refused_key_ends_a_probe_at_once(bridge: Bridge, upstream: Simulator) -> None:
    """Exit code 4, as without the probe."""
    upstream.revoke_key(API_KEY)
    code, rows = doctor(bridge, "--probe")
    assert code == 4
    assert [row["found"] for row in rows if row["check"] == "probe"] == ["not probed"]
