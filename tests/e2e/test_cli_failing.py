"""What the CLI says of an endpoint that keeps failing."""

import json
import re
from collections.abc import Callable

import pytest
import structlog
from owing import announce, claim, deliver_all, settle, take_in, with_store
from redis import Redis
from structlog.testing import capture_logs

from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.tell import Teller

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
SECRET = generate_secret(bytes(range(32)))
FAILED = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000, probe_in_ms=240_000)


@pytest.fixture
def held(bridge: Bridge, redis_url: str, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An endpoint whose breaker is open, with one delivery that failed and one that waits behind it."""
    monkeypatch.setattr("bridge.store.outbox.FAILURES_BEFORE_OPEN", 1)
    monkeypatch.setattr("bridge.store.outbox.OPEN_AFTER_MS", 0)
    bridge("endpoint", "add", "billing", URL)
    announced = announce(redis_url, "t1", "indexing")
    settle(redis_url, FAILED)
    return [*announced, *announce(redis_url, "t2", "indexing")]


@pytest.mark.usefixtures("held")
def test_a_held_endpoint_says_why_and_when_it_is_probed(bridge: Bridge, redis_url: str) -> None:
    """`endpoint show`, `ls`, `status` and `doctor`: held, failing since when, and the next probe."""
    code, out, _ = bridge("endpoint", "show", "billing", "--json")
    row = json.loads(out)
    assert (code, row["state"], row["reason"], row["failures"], row["pending"]) == (0, "held", "failing", 1, 2)
    assert row["probe_at"] > row["failing_since_at"]
    for words in (("endpoint", "show", "billing"), ("endpoint", "ls"), ("status",), ("doctor",)):
        _, out, told = bridge(*words)
        assert "held" in out + told, words
        assert "failing" in out + told, words
    _, out, _ = bridge("endpoint", "ls")
    assert "held (failing, next probe in 4 min)" in " ".join(out.split())
    status = " ".join(bridge("status")[1].split())
    assert "1 held; held as failing, the next probe goes out in 4 min → bridge doctor" in status
    assert claim(redis_url) == []


@pytest.mark.usefixtures("held")
def test_no_probe_is_told_as_one_that_was(bridge: Bridge, client: "Redis") -> None:
    """It is overdue, as no worker runs; and where nothing is owed, nothing is probed."""
    client.hset("bridge:endpoint:billing", "probe_at", 1)
    assert "next probe now" in bridge("endpoint", "ls")[1]
    assert "the next probe goes out now" in " ".join(bridge("status")[1].split())
    assert "its breaker is open, next probe now" in bridge("delivery", "ls")[1]
    bridge("delivery", "cancel", "-", stdin=bridge("delivery", "ls", "-o", "ids")[1].encode())
    assert "held (failing, asked by what comes next)" in bridge("endpoint", "ls")[1]
    assert "probe" not in bridge("status")[1]


def test_a_retry_has_it_probed_now(bridge: Bridge, redis_url: str, held: list[str]) -> None:
    """The word of an operator who has put the receiver right; what waits longest goes first."""
    code, out, _ = bridge("delivery", "retry", f"{held[0]}/billing")
    assert (code, "probed now" in out) == (0, True)
    (probe,) = claim(redis_url)
    assert (probe.event_id, probe.probe) == (held[1], 0)


def test_an_endpoint_is_shown_without_what_says_nothing(bridge: Bridge, redis_url: str) -> None:
    """What stands at its default, and what is empty, is in JSON alone; what an operator looks for is always there."""
    bridge("endpoint", "add", "a", URL, "--tasks", "*", "--concurrency", "32")
    assert shown(bridge) == [
        "endpoint",
        "url",
        "events",
        "state",
        "active since",
        "pending",
        "delivered",
        "dead",
        "secret",
    ]
    assert {"tasks", "failures", "granted_rate", "note"} < json.loads(
        bridge("endpoint", "show", "a", "--json")[1]
    ).keys()
    bridge("endpoint", "set", "a", "--tasks", "t*", "--ordering", "strict", "--concurrency", "8", "--rate", "1/s")
    announce(redis_url, "t1", "indexing")
    settle(redis_url, FAILED)
    bridge("endpoint", "disable", "a", "--reason", "at night")
    assert set(shown(bridge)) >= {
        "tasks", "ordering", "concurrency", "rate", "reason", "by", "failures", "failing since",
    }  # fmt: skip


def shown(bridge: Bridge) -> list[str]:
    """The fields of the endpoint `a` in the form of a table."""
    return [line.partition("  ")[0] for line in bridge("endpoint", "show", "a")[1].splitlines()]


def test_an_endpoint_shows_its_own_limits(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """What its definition asks for, and, while it is overloaded, what it gets."""
    own = {"concurrency": 8, "rate": "10/s", "schedule": [0, 60]}
    client.hset("bridge:endpoints", "a", json.dumps({"url": URL, "secret": SECRET, **own}))
    take_in(redis_url)
    row = json.loads(bridge("endpoint", "show", "a", "--json")[1])
    assert {name: row[name] for name in own} == own
    assert row["limit"] is None
    announce(redis_url, "t1", "indexing")
    settle(redis_url, Decision(DeliveryState.PENDING, EndpointEffect.OVERLOAD, retry_in_ms=1_000))
    assert json.loads(bridge("endpoint", "show", "a", "--json")[1])["limit"] == 4


def test_what_was_told_can_be_looked_up(bridge: Bridge, redis_url: str) -> None:
    """An event about an endpoint is listed and delivered like another, logged as a warning, and it is no task."""
    bridge("endpoint", "add", "billing", URL)
    bridge("endpoint", "add", "ops", URL, "--events", "bridge.endpoint.*")
    announce(redis_url, "t1", "ready")
    settle(redis_url, Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE))

    async def told(store: Store) -> int:
        await store.registry.reload_endpoints()
        return await Teller(store.notices, store.registry, structlog.get_logger()).run()

    with capture_logs() as lines:
        assert with_store(redis_url, told) == 1
    assert [(line["event"], line["log_level"], line["reason"]) for line in lines] == [
        ("endpoint.disabled", "warning", "gone")
    ]
    (row,) = json.loads(bridge("event", "ls", "--type", "bridge.*", "--json")[1])
    assert (row["type"], row["task"]) == ("bridge.endpoint.disabled", "endpoint:billing")
    code, out, _ = bridge("delivery", "show", row["event_id"], "ops")
    assert (code, "pending" in out) == (0, True)
    assert "endpoint:billing" not in bridge("task", "ls")[1]
    assert bridge("event", "ls")[0] == bridge("delivery", "ls")[0] == 0


def test_what_doctor_says_of_a_held_endpoint_lets_it_go(
    bridge: Bridge, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was made last waits behind an older event of its task: the command does what it says."""
    monkeypatch.setattr("bridge.store.outbox.FAILURES_BEFORE_OPEN", 1)
    monkeypatch.setattr("bridge.store.outbox.OPEN_AFTER_MS", 0)
    bridge("endpoint", "add", "billing", URL)
    made = announce(redis_url, "t1", "indexing", "ready")
    assert settle(redis_url, FAILED) == made[:1]
    said = re.search(r"or now\n +→ bridge (endpoint enable billing)$", bridge("doctor")[1], re.MULTILINE)
    assert said
    assert claim(redis_url) == []
    code, _, told = bridge(*said[1].split())
    assert (code, "It was held (failing)" in told) == (0, True)
    assert deliver_all(redis_url) == made
