"""“Why did my hook not arrive?”, asked of every command that shows a delivery or an endpoint."""

import json
from collections.abc import Callable

import pytest
from owing import DELIVERED, announce, deliver_all, settle_as, take_in, tell_again, with_store
from redis import Redis
from until import until

from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
FAILED = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000, probe_in_ms=240_000)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)
REFUSED = json.dumps({"attempt": 1, "at": 1, "status_code": 401})
ROTATE, VERIFY = "→ bridge endpoint rotate billing --secret-file secret.whsec", "bridge verify"
"""What a refused signature suggests, a command for each cause; nothing follows the first on its line."""


def said(bridge: Bridge, *words: str) -> str:
    """All that a command says, its columns closed up."""
    code, out, told = bridge(*words)
    assert code in {0, 1}, told
    return " ".join((out + told).split())


def lines(bridge: Bridge, *words: str) -> list[str]:
    """All that a command says, line by line."""
    _, out, told = bridge(*words)
    return (out + told).splitlines()


@pytest.fixture
def failing(bridge: Bridge, redis_url: str) -> list[str]:
    """An endpoint whose receiver answered 401, and a task of which three events are owed to it."""
    bridge("endpoint", "add", "billing", URL)
    events = announce(redis_url, "t1", "queued")
    settle_as(redis_url, FAILED, REFUSED)
    return [*events, *announce(redis_url, "t1", "indexing", "ready")]


def test_a_failing_endpoint_says_by_what(bridge: Bridge, failing: list[str]) -> None:
    """HTTP 401, and what that suggests: in doctor, endpoint show and ls, task show, delivery show and ls."""
    for words in ("doctor", "endpoint show billing", "task show t1", f"delivery show {failing[0]}"):
        text = said(bridge, *words.split())
        assert "HTTP 401" in text, words
        assert VERIFY in text, words
        assert any(line.strip().endswith(ROTATE) for line in lines(bridge, *words.split())), words
    for words in ("endpoint ls", "delivery ls"):
        assert "last error: HTTP 401" in said(bridge, *words.split())
    assert json.loads(bridge("endpoint", "show", "billing", "--json")[1])["last_error"] == "HTTP 401"


def test_a_failing_endpoint_shows_in_status(bridge: Bridge, client: "Redis", failing: list[str]) -> None:
    """While it takes deliveries: one that is held, or disabled, is counted as such already."""
    counted = {("active", 1): "1 active; 1 fails → bridge doctor", ("held", 0): "1 held → bridge doctor"}
    for (state, number), words in counted.items():
        client.hset("bridge:endpoint:billing", "state", state)
        assert words in said(bridge, "status"), state
        assert json.loads(bridge("status", "--json")[1])["failing"] == number
    client.hset("bridge:endpoint:billing", mapping={"state": "active", "failures": "0"})
    assert "fails" not in said(bridge, "status")


def test_what_failed_before_says_so_though_its_endpoint_is_believed_again(
    bridge: Bridge, redis_url: str, failing: list[str]
) -> None:
    """The endpoint's own failures are forgotten when it is enabled; the delivery's are not. And when it goes out."""
    said(bridge, "endpoint", "disable", "billing")
    said(bridge, "endpoint", "enable", "billing")
    said(bridge, "delivery", "retry", failing[0])
    for words in (("task", "show", "t1"), ("delivery", "show", failing[0]), ("delivery", "ls")):
        assert "last error: HTTP 401" in said(bridge, *words), words
    (line,) = [one for one in lines(bridge, "task", "show", "t1") if "1 attempt," in one]
    assert line.startswith("  → billing  pending, 1 attempt, due now")
    rows = {row["event_id"]: row for row in json.loads(bridge("delivery", "ls", "--json")[1])}
    assert (rows[failing[0]]["last_error"], rows[failing[1]]["last_error"]) == ("HTTP 401", None)
    settle_as(redis_url, DELIVERED, json.dumps({"attempt": 2, "at": 2, "status_code": 200}))
    said(bridge, "delivery", "retry", failing[0], "--force")
    assert "last error" not in said(bridge, "delivery", "show", failing[0])


def test_what_waits_for_its_turn_says_for_whom(bridge: Bridge, failing: list[str]) -> None:
    """The second of the task goes next; the third waits for it, and its next command shows it."""
    for words in (("task", "show", "t1"), ("delivery", "show", failing[2]), ("delivery", "ls")):
        assert f"waits behind {failing[1]} of its task" in said(bridge, *words), words


@pytest.mark.parametrize("reason", ["blocked", "gone"])
def test_what_is_held_says_so_and_names_no_next_time(
    bridge: Bridge, client: "Redis", failing: list[str], reason: str
) -> None:
    """The endpoint is disabled: each place says that, and what lets it go; a blocked one leads elsewhere."""
    client.hset("bridge:endpoint:billing", mapping={"state": "disabled", "reason": reason})
    client.zrem("bridge:ready", "billing")
    held = f"held: endpoint billing is disabled ({reason})"
    for words in (("task", "show", "t1"), ("delivery", "show", failing[0]), ("delivery", "ls")):
        text = said(bridge, *words)
        assert held in text, words
        assert "next in" not in text, words
    way = "set billing --url URL" if reason == "blocked" else "recover billing"
    for place in (["delivery", "show", failing[0]], ["doctor"], ["endpoint", "show", "billing"]):
        assert f"→ bridge endpoint {way}" in said(bridge, *place), place
    (row,) = json.loads(bridge("delivery", "show", failing[0], "--json")[1])
    assert (row["hold"]["by"], row["hold"]["reason"], row["next_at"]) == ("disabled", reason, None)
    assert bridge("endpoint", "enable", "billing")[0] == 0
    assert held not in said(bridge, "delivery", "ls")


def test_who_was_registered_later_is_not_said_to_be_passed_over(
    bridge: Bridge, redis_url: str, failing: list[str]
) -> None:
    """Its filter had nothing to do with it. Of one that was there and was changed since it is said, and once."""
    bridge("endpoint", "add", "filt", URL, "--events", "index.task.uploading")
    bridge("endpoint", "add", "tardy", URL)
    text = said(bridge, "task", "show", "t1")
    assert "filt" not in text
    assert "tardy" not in text
    code, _, told = bridge("delivery", "show", failing[0], "tardy")
    assert (code, "it was registered later than this event" in told) == (3, True)
    announce(redis_url, "t2", "queued", "indexing")
    bridge("endpoint", "set", "tardy", "--rate", "1/s")
    text = said(bridge, "task", "show", "t2")
    assert text.count("not to filt: it takes index.task.uploading") == 2
    bridge("endpoint", "set", "filt", "--events", "index.task.*")
    text = said(bridge, "task", "show", "t2")
    assert text.count("as sent to filt: it would take it, and was changed later") == 1
    assert "not to filt" not in text
    bridge("endpoint", "rm", "filt")
    bridge("endpoint", "add", "filt", URL)
    assert "filt: it" not in said(bridge, "task", "show", "t2")


def test_an_event_that_nobody_takes_says_what_they_take(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """task show and delivery show: by name, and the way; taken, it is told when the task is registered again."""
    bridge("endpoint", "add", "onlyfail", URL, "--events", "index.task.failed")
    (event,) = announce(redis_url, "t1", "ready", ends=True)
    why = "no endpoint takes index.task.ready: onlyfail takes index.task.failed"
    assert why in said(bridge, "task", "show", "t1")
    code, _, told = bridge("delivery", "show", event)
    assert (code, why in told, "NAME URL && bridge task add t1\n    or first set NAME" in told) == (3, True, True)
    (row,) = json.loads(bridge("task", "show", "t1", "--json")[1])["events"]
    assert (row["untold"], row["deliveries"]) == (why, [])
    bridge("endpoint", "set", "onlyfail", "--events", "index.task.*")
    shown = said(bridge, "task", "show", "t1")
    assert "onlyfail would take it, and was changed later" in shown
    assert "! nobody is owed its latest event → bridge task add t1 which tells the present state" in shown
    bridge("task", "add", "t1")
    take_in(redis_url)
    assert tell_again(redis_url, "t1") == "ok"
    assert "onlyfail" in said(bridge, "delivery", "show", event)
    assert "would take it" not in said(bridge, "task", "show", "t1")


def test_what_a_task_named_it_names_again(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Registered without its options it would be told to everybody: so each fix has them, by name."""
    for name in ("onlyfail", "audit", "other"):
        bridge("endpoint", "add", name, URL, *(["--events", "index.task.failed"] if name == "onlyfail" else []))
    client.hset("bridge:task:t1", mapping={"endpoints": "onlyfail", "metadata": "1"})
    (event,) = announce(redis_url, "t1", "ready", ends=True)
    again = "bridge task add t1 --metadata JSON --endpoint"
    way = f"bridge endpoint set onlyfail --events … && {again} onlyfail which tells the present state"
    assert f"→ {way}" in said(bridge, "task", "show", "t1")
    assert f"→ {again} onlyfail,audit" not in said(bridge, "task", "show", "t1")
    client.hset("bridge:task:t2", mapping={"endpoints": "audit"})
    (event,) = announce(redis_url, "t2", "ready", ends=True)
    assert "→ bridge task add t2 --endpoint audit,other" in bridge("delivery", "show", event, "other")[2]
    bridge("endpoint", "add", "late", URL)
    client.hset("bridge:task:t2", mapping={"endpoints": "audit,late"})
    assert "→ bridge task add t2 --endpoint audit,late\n    which tells" in bridge("delivery", "show", event, "late")[2]


def test_whom_a_task_does_not_name_is_said_once_for_all(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """It was chosen so; whom it names and who is not owed it, as it came later, stands by itself and first."""
    for name in ("audit", "b1", "b2", "b3"):
        bridge("endpoint", "add", name, URL)
    client.hset("bridge:task:t1", mapping={"endpoints": "audit,late"})
    announce(redis_url, "t1", "ready", ends=True)
    bridge("endpoint", "add", "late", URL)
    take_in(redis_url)
    shown = [line.strip() for line in lines(bridge, "task", "show", "t1") if "not to" in line]
    assert shown == [
        "not to late: it was registered later than this event",
        "not to 3 others: the task names audit, late",
    ]


def test_what_was_delivered_long_ago_is_no_fault(
    bridge: Bridge, redis_url: str, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deliveries are no longer kept: nobody is said to have missed it, and nothing to be sent again."""
    monkeypatch.setenv("BRIDGE_RETENTION_DELIVERED_SECONDS", "1")
    bridge("endpoint", "add", "audit", URL)
    (event,) = announce(redis_url, "t1", "ready", ends=True)
    deliver_all(redis_url)
    with_store(redis_url, lambda store: store.outbox.prune("audit", delivered_ms=0, dead_ms=0))
    why = "what became of index.task.ready is no longer kept (BRIDGE_RETENTION_DELIVERED_SECONDS)"
    until(lambda: why in said(bridge, "task", "show", "t1"))
    shown = said(bridge, "task", "show", "t1")
    assert ("!" in shown, "task add" in shown) == (False, False)
    assert why in bridge("delivery", "show", event)[2]


def test_who_was_passed_over_is_told_beside_who_heard_of_it(bridge: Bridge, redis_url: str) -> None:
    """task show, and delivery show of the event and that endpoint: another one took it, and hides nothing."""
    bridge("endpoint", "add", "audit", URL)
    bridge("endpoint", "add", "billing", URL, "--events", "index.task.ready")
    (event,) = announce(redis_url, "t1", "indexing")
    assert "not to billing: it takes index.task.ready" in said(bridge, "task", "show", "t1")
    (row,) = json.loads(bridge("task", "show", "t1", "--json")[1])["events"]
    assert row["passed_over"] == [{"endpoint": "billing", "why": "it takes index.task.ready"}]
    code, _, told = bridge("delivery", "show", event, "billing")
    why = f"there is no delivery of {event} to billing: it takes index.task.ready"
    assert (code, why in told, "bridge endpoint set billing --events" in told) == (3, True, True)


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_what_an_endpoint_was_not_owed_cannot_be_steered_and_the_reason_is_told(
    bridge: Bridge, redis_url: str, verb: str
) -> None:
    """As `delivery show` tells it, of one that is named alone and of one among others."""
    bridge("endpoint", "add", "audit", URL)
    bridge("endpoint", "add", "billing", URL, "--events", "index.task.ready")
    (event,) = announce(redis_url, "t1", "indexing")
    code, _, told = bridge("delivery", verb, event, "--endpoint", "billing")
    why = f"there is no delivery {event}/billing: it takes index.task.ready"
    assert (code, why in told, "→ bridge endpoint set billing --events" in told) == (3, True, True)
    code, out, told = bridge("delivery", verb, f"{event}/audit", f"{event}/billing", "evt_x/billing", "--json")
    notes = {row["delivery"]: (row["result"], row["note"]) for row in json.loads(out)}
    assert (code, notes[f"{event}/billing"]) == (6, ("missing", "it takes index.task.ready"))
    assert notes["evt_x/billing"] == ("missing", "no such delivery is kept")
    assert f"✗ {event}/billing: it takes index.task.ready → bridge endpoint set billing" in told
    code, _, told = bridge("delivery", verb, "t1", "--endpoint", "billing")
    assert (code, "t1 is a task, and no event" in told, "→ bridge task show t1" in told) == (3, True, True)


def test_the_star_of_another_format_is_explained_wherever_it_is_shown(bridge: Bridge, redis_url: str) -> None:
    """To write the same star again is no help: what to name is said, and the endpoint says what its star stands for."""
    bridge("endpoint", "add", "old", URL, "--format", "twelvelabs")
    bridge("endpoint", "add", "audit", URL)
    (event,) = announce(redis_url, "t1", "pending")
    alone = "a star stands for index.task.failed and index.task.ready alone"
    why = f"it takes index.task.* (in the format twelvelabs {alone}; name index.task.pending in full)"
    assert f"not to old: {why}" in said(bridge, "task", "show", "t1")
    assert why in bridge("delivery", "show", event, "old")[2]
    assert f"index.task.* (in this format {alone})" in said(bridge, "endpoint", "show", "old")
    assert "a star" not in said(bridge, "endpoint", "show", "audit")
    assert json.loads(bridge("endpoint", "show", "old", "--json")[1])["events"] == ["index.task.*"]
    bridge("endpoint", "set", "old", "--events", "index.task.*,index.task.pending")
    assert "not to old" not in said(bridge, "task", "show", "t1")


def test_what_is_due_is_not_said_to_come_in_the_past(bridge: Bridge, client: "Redis", failing: list[str]) -> None:
    """Wherever the next attempt, or the next read, has a moment: “next 4 s ago” is none."""
    client.zadd("bridge:queue:billing", {failing[0]: 1})
    client.zadd("bridge:watch", {"t1": 1})
    shown = said(bridge, "delivery", "show", failing[0])
    assert ("due now" in shown, "next" in shown.partition("#1")[0]) == (True, False)
    for words in ("task ls", "delivery ls", "task show t1"):
        assert "due now" in said(bridge, *words.split()), words
    (row,) = json.loads(bridge("delivery", "show", failing[0], "--json")[1])
    assert row["next_at"] == "1970-01-01T00:00:00.001Z"


def test_a_task_says_how_its_reading_fares(bridge: Bridge, redis_url: str) -> None:
    """Beside what its latest read came to; once it has ended there is nothing more to say."""
    bridge("endpoint", "add", "billing", URL)
    announce(redis_url, "t1", "indexing")
    row = json.loads(bridge("task", "show", "t1", "--json")[1])
    assert (row["reading"], row["note"]) == ("no worker is running", "")
    announce(redis_url, "t2", "ready", ends=True)
    assert json.loads(bridge("task", "show", "t2", "--json")[1])["reading"] is None


def test_a_long_error_is_told_whole_where_one_task_is_shown(bridge: Bridge, redis_url: str) -> None:
    """Its last words are what to do."""
    bridge("endpoint", "add", "billing", URL)
    announce(redis_url, "t1", "indexing")
    detail = "address_not_allowed: The host leads to the loopback; name its network in BRIDGE_DELIVERY_ALLOW_NETWORKS."
    settle_as(redis_url, FAILED, json.dumps({"attempt": 1, "at": 1, "fault": "blocked", "detail": detail}))
    assert f"blocked: {detail}" in said(bridge, "task", "show", "t1")


def test_a_task_tells_first_what_became_of_its_events_and_each_hint_once(bridge: Bridge, failing: list[str]) -> None:
    """The latest event first; what is to be done stands below the events, not below each of them; figures are last."""
    shown = lines(bridge, "task", "show", "t1")
    assert shown[0].startswith("t1  ready, watched")
    assert [line.split()[1] for line in shown if line.startswith("index.task.")] == failing[::-1]
    assert sum(line.strip().endswith(ROTATE) for line in shown) == 1
    hints = [number for number, line in enumerate(shown) if "→ bridge" in line and "!" not in line]
    assert hints == list(range(hints[0], hints[-1] + 1))
    retry = "bridge delivery ls --endpoint billing --task t1 --state pending -o ids | bridge delivery retry -"
    assert sum("delivery retry" in line for line in shown) == 1
    assert any(line.endswith(retry) for line in shown)
    assert "revision" in "".join(shown[hints[-1] :])


def test_a_task_that_names_its_endpoints_says_so(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Another endpoint would take it; the task did not ask for that one."""
    bridge("endpoint", "add", "onlyfail", URL, "--events", "index.task.failed")
    bridge("endpoint", "add", "all", URL)
    client.hset("bridge:task:t1", "endpoints", "onlyfail")
    announce(redis_url, "t1", "indexing")
    text = said(bridge, "task", "show", "t1")
    assert "no endpoint of those that the task names takes index.task.indexing: onlyfail takes index" in text


def test_a_dead_letter_says_by_what_and_how_it_comes_back(bridge: Bridge, redis_url: str) -> None:
    """In task show, delivery show and the list of the dead; once its endpoint was removed, nothing recovers it."""
    bridge("endpoint", "add", "billing", URL)
    (event,) = announce(redis_url, "t1", "ready")
    settle_as(redis_url, DEAD, REFUSED)
    places = (("task", "show", "t1"), ("delivery", "show", event), ("delivery", "ls", "--state", "dead"))
    for words in places:
        text = said(bridge, *words)
        assert "last error: HTTP 401" in text, words
        assert "→ bridge endpoint recover billing" in text, words
    assert bridge("delivery", "ls", "--state", "dead", "--json")[2] == ""
    bridge("endpoint", "rm", "billing")
    for words in places:
        text = said(bridge, *words)
        assert "was removed → bridge endpoint add billing URL" in text, words
        assert "recover" not in text, words
