"""`bridge delivery retry` and `cancel`, on deliveries that real verbs made."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from owing import DEAD, DELIVERED, announce, claim, deliver_all, settle, with_store
from redis import Redis

from bridge.guard import Policy
from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.outbox import BLOCKED_BEFORE_DISABLED, CLAIMS_BEFORE_POISON, Outbox, Retried

Bridge = Callable[..., tuple[int, str, str]]
LATER = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000)


@pytest.fixture
def billing(bridge: Bridge) -> None:
    """An endpoint."""
    assert bridge("endpoint", "add", "billing", "http://127.0.0.1:9/")[0] == 0


def states(bridge: Bridge) -> dict[str, str]:
    """Every delivery's state."""
    return {row["delivery"]: row["state"] for row in json.loads(bridge("delivery", "ls", "--json")[1])}


@pytest.mark.usefixtures("billing")
def test_dead_letters_go_round_by_their_ids(bridge: Bridge, redis_url: str) -> None:
    """`ls -o ids` prints what `retry -` reads: all of them are owed again, and one more time there are none."""
    made = [*announce(redis_url, "t1", "pending", "queued"), *announce(redis_url, "t2", "ready")]
    while settle(redis_url, DEAD):
        pass
    ids = bridge("delivery", "ls", "--state", "dead", "-o", "ids")[1]
    assert set(ids.split()) == {f"{one}/billing" for one in made}
    code, out, told = bridge("delivery", "retry", "-", "-o", "jsonl", stdin=ids.encode())
    assert (code, "3 of 3 to be attempted now." in told) == (0, True)
    assert {json.loads(line)["result"] for line in out.splitlines()} == {"owed again"}
    assert set(states(bridge).values()) == {"pending"}
    assert bridge("delivery", "ls", "--state", "dead", "-o", "ids")[1] == ""
    assert bridge("delivery", "retry", "-", stdin=b"")[::2] == (0, "Nothing to do: no id came by standard input.\n")


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("decision", [DEAD, LATER], ids=["dead", "pending"])
def test_what_ls_lists_newest_first_goes_out_in_order(
    bridge: Bridge, redis_url: str, decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: the tool's own recipe; a worker that takes each as soon as it is asked for gets them in order, too."""
    made = announce(redis_url, "t1", "pending", "queued", "indexing", "ready")
    other = announce(redis_url, "t2", "pending", "ready")
    while settle(redis_url, decision):
        pass
    ids = bridge("delivery", "ls", "--endpoint", "billing", "--state", str(decision.state), "-o", "ids")[1]
    listed = [one.partition("/")[0] for one in ids.split()]
    assert listed != sorted(listed, key=[*made, *other].index)
    asked, retry = list[str](), Outbox.retry

    async def noted(self: Outbox, event_id: str, endpoint: str, **given: bool) -> Retried:
        asked.append(event_id)
        return await retry(self, event_id, endpoint, **given)

    monkeypatch.setattr(Outbox, "retry", noted)
    code, out, _ = bridge("delivery", "retry", "-", "-o", "ids", stdin=ids.encode())
    assert (code, out) == (0, ids)
    sent = deliver_all(redis_url)
    for order in (asked, sent):
        assert [one for one in order if one in made] == made
        assert [one for one in order if one in other] == other


@pytest.mark.usefixtures("billing")
def test_pending_ones_are_cancelled_by_their_ids(bridge: Bridge, redis_url: str) -> None:
    """The head of a line and what waits behind it; said twice it is the same."""
    announce(redis_url, "t1", "pending", "queued", "indexing")
    ids = bridge("delivery", "ls", "--state", "pending", "-o", "ids")[1].encode()
    assert bridge("delivery", "cancel", "-", stdin=ids)[0] == 0
    assert bridge("delivery", "cancel", "-", stdin=ids)[0] == 0
    assert set(states(bridge).values()) == {"cancelled"}
    assert claim(redis_url) == []


def test_an_events_id_stands_for_its_deliveries(bridge: Bridge, redis_url: str) -> None:
    """All of them, or the one to --endpoint; `show` takes the same names."""
    for name in ("a", "b"):
        bridge("endpoint", "add", name, "http://127.0.0.1:9/")
    (event,) = announce(redis_url, "t1", "ready")
    assert bridge("delivery", "cancel", event, "--endpoint", "a")[0] == 0
    assert states(bridge) == {f"{event}/a": "cancelled", f"{event}/b": "pending"}
    assert bridge("delivery", "retry", event)[0] == 0
    assert set(states(bridge).values()) == {"pending"}
    assert bridge("delivery", "show", f"{event}/b")[1] == bridge("delivery", "show", event, "b")[1]
    code, _, told = bridge("delivery", "retry", f"{event}/a", "--endpoint", "b")
    assert (code, "leave --endpoint out" in told) == (2, True)


@pytest.mark.usefixtures("billing")
def test_what_cannot_be_done_is_said_with_the_next_command(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Exit code 3 for what is not there, 1 where nothing could be done, 6 where something could."""
    (event,) = announce(redis_url, "t1", "ready")
    code, out, told = bridge("delivery", "retry", "evt_none", "--endpoint", "billing")
    assert (code, out, "bridge delivery ls" in told) == (3, "", True)
    assert bridge("delivery", "cancel", "evt_none")[0] == 3
    assert bridge("delivery", "cancel", "evt_x/")[0] == 2
    settle(redis_url, DELIVERED)
    code, out, told = bridge("delivery", "retry", event)
    assert (code, f"bridge delivery retry --force {event}/billing" in told) == (1, True)
    assert bridge("delivery", "retry", event, "evt_none/billing")[0] == 1
    assert bridge("delivery", "cancel", event)[0] == 1
    code, _, told = bridge("delivery", "retry", "--force", event, "evt_none/billing")
    assert (code, "1 of 2" in told) == (6, True)
    assert len(claim(redis_url)) == 1
    code, out, _ = bridge("delivery", "retry", event, "--json")
    assert (code, json.loads(out)[0]["result"]) == (0, "in flight")
    code, _, told = bridge("delivery", "cancel", event)
    assert (code, "being attempted" in told) == (1, True)


@pytest.mark.usefixtures("billing")
def test_many_are_counted_and_not_listed_one_by_one(bridge: Bridge, client: "Redis") -> None:
    """A handful of complaints and the number of the rest; in JSON each has its row."""
    record = {"task": "t1", "type": "index.task.ready", "revision": "1", "created": 1, "attempts": 0}
    for number in range(120):
        event_id = f"evt_{number}"
        client.hset("bridge:deliveries:billing", event_id, json.dumps({**record, "state": "pending"}))
        client.zadd("bridge:queue:billing", {event_id: 4e12})
        client.hset(f"bridge:event:{event_id}", "body", "{}")
    assert bridge("endpoint", "disable", "billing")[0] == 0
    ids = bridge("delivery", "ls", "--limit", "1000", "-o", "ids")[1].encode()
    code, out, told = bridge("delivery", "retry", "-", stdin=ids)
    assert (code, out.split()) == (0, ["RESULT", "DELIVERIES", "due", "now", "120"])
    assert told.count("held, as endpoint billing is disabled") == 10
    assert "and 110 more; -o jsonl has each" in told
    assert len(bridge("delivery", "retry", "-", "-o", "jsonl", stdin=ids)[1].splitlines()) == 120
    strange = b"\n".join(b"nobody%d" % number for number in range(30))
    bridge("task", "add", "t1")
    for verb in ("poll", "rm"):
        told = bridge("task", verb, "t1", "-", stdin=strange)[2]
        assert (told.count("✗"), "✗ and 20 more" in told) == (11, True), told


@pytest.mark.usefixtures("billing")
def test_one_that_waits_for_another_names_it(bridge: Bridge, redis_url: str) -> None:
    """P4: order is kept, and the command that helps is the one for the earlier delivery."""
    first, second = announce(redis_url, "t1", "pending", "queued")
    code, _, told = bridge("delivery", "retry", second)
    assert (code, f"bridge delivery retry {first}/billing" in told) == (1, True)


@pytest.mark.usefixtures("billing")
def test_a_disabled_or_removed_endpoint_is_said(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Held for the one, refused for the other."""
    (event,) = announce(redis_url, "t1", "ready")
    gone = replace(DEAD, effect=EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)
    settle(redis_url, gone)
    code, out, told = bridge("delivery", "retry", event)
    assert (code, "owed again" in out, "held, as endpoint billing is disabled" in told) == (0, True, True)
    assert states(bridge) == {f"{event}/billing": "pending"}
    assert "bridge endpoint enable billing" in told
    assert bridge("endpoint", "enable", "billing")[0] == 0
    assert [one.event_id for one in claim(redis_url)] == [event]
    bridge("endpoint", "rm", "billing")
    code, _, told = bridge("delivery", "retry", event)
    assert (code, "bridge endpoint add billing URL" in told) == (1, True)


@pytest.mark.usefixtures("billing")
def test_a_poisoned_delivery_is_listed_and_revived(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Claimed twenty times and never settled: a dead letter with that reason; a retry makes it an ordinary one."""
    (event,) = announce(redis_url, "t1", "ready")
    for _ in range(CLAIMS_BEFORE_POISON):
        assert len(claim(redis_url)) == 1
        (lease,) = client.zrange("bridge:leases:billing", 0, -1)
        client.zadd("bridge:leases:billing", {str(lease): 1})
        client.zadd("bridge:ready", {"billing": 1})
    assert claim(redis_url) == []
    code, out, _ = bridge("delivery", "ls", "--state", "dead")
    assert (code, "dead (poison)" in out) == (0, True)
    assert bridge("delivery", "retry", event)[0] == 0
    assert [one.event_id for one in claim(redis_url)] == [event]


@pytest.mark.usefixtures("billing")
def test_where_the_workers_settings_hold_it_retry_names_the_setting(bridge: Bridge, redis_url: str) -> None:
    """To enable the endpoint would not help: it would be refused again. One that an operator holds, that does help."""
    (event,) = announce(redis_url, "t1", "ready")

    async def forbid(store: Store) -> None:
        await Intake(store, Policy(), has_default_secret=True).run()

    with_store(redis_url, forbid)
    for _ in range(BLOCKED_BEFORE_DISABLED):
        assert settle(redis_url, Decision(DeliveryState.PENDING, EndpointEffect.BLOCKED, retry_in_ms=0)) == [event]
    code, _, told = bridge("delivery", "retry", event)
    assert code == 0
    assert "the running worker's settings refuse it: url: scheme_not_https" in told
    assert "BRIDGE_DELIVERY_ALLOW_HTTP" in told
    assert "→ bridge doctor" in told
    assert "endpoint enable" not in told
    assert bridge("endpoint", "add", "other", "http://127.0.0.1:9/")[0] == 0
    (event,) = announce(redis_url, "t2", "ready")
    assert bridge("endpoint", "disable", "other")[0] == 0
    assert "→ bridge endpoint enable other" in bridge("delivery", "retry", f"{event}/other")[2]
