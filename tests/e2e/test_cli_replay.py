"""`bridge replay`, on deliveries that real verbs made."""

import json
from collections.abc import Callable

import pytest
from owing import DEAD, DELIVERED, announce, claim, deliver_all, settle, take_in, tell_again, with_store
from redis import Redis

from bridge.cli.replay import pause_seconds
from bridge.store import Store

Bridge = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def billing(bridge: Bridge) -> None:
    """An endpoint."""
    assert bridge("endpoint", "add", "billing", "http://127.0.0.1:9/")[0] == 0


def ended(url: str) -> dict[str, list[str]]:
    """Three delivered and two dead events of two tasks."""
    delivered = announce(url, "t1", "pending", "queued", "indexing")
    while settle(url, DELIVERED):
        pass
    dead = announce(url, "t2", "pending", "ready")
    while settle(url, DEAD):
        pass
    return {"delivered": delivered, "dead": dead}


def test_a_dry_run_counts_and_changes_nothing(bridge: Bridge, redis_url: str) -> None:
    """By endpoint and by how they ended; nothing is owed afterwards."""
    ended(redis_url)
    code, out, told = bridge("replay", "--since", "1h", "--dry-run", "--json")
    assert (code, told) == (0, "5 would be sent again; nothing was changed.\n")
    assert json.loads(out) == [
        {"endpoint": "billing", "deliveries": 5, "dead": 2, "delivered": 3, "superseded": 0, "tasks": 2}
    ]
    assert claim(redis_url) == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--dead",), ["dead"]),
        (("--endpoint", "billing"), ["delivered", "dead"]),
        (("--task", "t1"), ["delivered"]),
        (("--task", "t1,t2", "--since", "1h"), ["delivered", "dead"]),
        (("--since", "1h", "--type", "index.task.*"), ["delivered", "dead"]),
    ],
)
def test_what_is_meant_is_sent_again_once_and_in_order(
    bridge: Bridge, redis_url: str, words: tuple[str, ...], what: list[str]
) -> None:
    """The same events, each task's in the order of their revisions; a second time finds them owed and leaves them."""
    made = ended(redis_url)
    meant = [one for kind in what for one in made[kind]]
    code, _, told = bridge("replay", *words)
    assert (code, f"{len(meant)} of {len(meant)} are owed again" in told) == (0, True)
    assert "Nothing that has ended fits" in bridge("replay", *words)[2] or len(what) == 1
    sent = deliver_all(redis_url)
    assert sorted(sent) == sorted(meant)
    for events in made.values():
        assert [one for one in sent if one in events] == [one for one in events if one in sent]


def test_types_and_moments_bound_it(bridge: Bridge, redis_url: str) -> None:
    """Exact types, prefixes, and a range in which nothing lies."""
    made = ended(redis_url)
    assert "1 of 1" in bridge("replay", "--type", "index.task.ready")[2]
    assert deliver_all(redis_url) == made["dead"][1:]
    code, out, told = bridge("replay", "--since", "2h", "--until", "1h")
    assert (code, out, told[:7]) == (0, "", "Nothing")


def test_an_endpoint_that_holds_what_comes_back_is_told_with_what_ends_that(bridge: Bridge, redis_url: str) -> None:
    """Also before it is done; of one that takes its events nothing is said."""
    ended(redis_url)
    bridge("endpoint", "disable", "billing", "--reason", "maintenance")
    said = "! held: endpoint billing is disabled (maintenance) → bridge endpoint enable billing\n"
    assert said in bridge("replay", "--dead", "--dry-run")[2]
    assert said in bridge("replay", "--dead")[2]
    bridge("endpoint", "enable", "billing")
    assert "held" not in bridge("replay", "--task", "t1")[2]


def test_what_was_cancelled_or_is_owed_is_left_alone(bridge: Bridge, redis_url: str) -> None:
    """An operator's word stands, and what is pending is not sent twice."""
    (first,) = announce(redis_url, "t1", "pending")
    assert bridge("delivery", "cancel", first)[0] == 0
    announce(redis_url, "t2", "ready")
    assert "0 would be" in bridge("replay", "--since", "1h", "--dry-run")[2]


def test_a_lost_body_is_said_and_the_others_are_sent(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Exit code 6, and what to do instead; 1 when none could be sent."""
    made = ended(redis_url)
    client.hdel(f"bridge:event:{made['dead'][0]}", "body")
    code, _, told = bridge("replay", "--dead")
    assert (code, "1 of 2" in told, "bridge task add" in told) == (6, True, True)
    client.hdel(f"bridge:event:{made['delivered'][0]}", "body")
    client.hdel(f"bridge:event:{made['delivered'][1]}", "body")
    assert bridge("replay", "--type", "index.task.queued")[0] == 1


def test_a_rate_is_kept(bridge: Bridge, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two a second: before the third of five, and before the fifth, it waits for what is left of the second."""
    ended(redis_url)
    asked: list[tuple[int, int | None]] = []

    def pause(number: int, rate: int | None, _: float) -> float:
        asked.append((number, rate))
        return 0.0

    monkeypatch.setattr("bridge.cli.replay.pause_seconds", pause)
    assert "5 of 5" in bridge("replay", "--since", "1h", "--rate", "2")[2]
    assert asked == [(0, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize(
    ("asked", "rate", "elapsed", "pause"), [(0, 2, 0, 0), (2, 2, 0.25, 0.75), (4, 2, 3, 0), (4, None, 0, 0)]
)
def test_the_pause_is_what_the_rate_leaves(asked: int, rate: int | None, elapsed: float, pause: float) -> None:
    """None without a rate, and none for who is late."""
    assert pause_seconds(asked, rate, elapsed) == pause


def test_what_a_removed_endpoint_had_is_left_out_and_said(bridge: Bridge, redis_url: str) -> None:
    """The count of a dry run is what the real one sends; added again, its dead letters are meant, and come back."""
    ended(redis_url)
    bridge("endpoint", "add", "five", "http://127.0.0.1:9/")
    announce(redis_url, "t3", "ready")
    while settle(redis_url, DEAD):
        pass
    bridge("endpoint", "rm", "five")
    code, out, told = bridge("replay", "--dead", "--dry-run", "--json")
    assert (code, [(row["endpoint"], row["dead"]) for row in json.loads(out)]) == (0, [("billing", 3)])
    assert "! 1 left out, as five was removed → bridge endpoint add five URL\n" in told
    assert "3 would be sent again" in told
    doctor = bridge("doctor")[1]
    assert "bridge endpoint add five URL" in doctor
    assert "recover five" not in doctor
    assert bridge("replay", "--dead")[2].splitlines()[-1].startswith("3 of 3 are owed again")
    assert bridge("endpoint", "add", "five", "http://127.0.0.1:9/")[0] == 0
    assert "1 of 1" in bridge("replay", "--endpoint", "five", "--dead")[2]


def test_an_endpoint_that_came_later_is_told_why_nothing_fits_and_what_does(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """Of an ended task to add it again tells it; of a watched one to name it among those who hear, and nothing less."""
    announce(redis_url, "over", "ready", ends=True)
    announce(redis_url, "under", "indexing")
    deliver_all(redis_url)
    assert bridge("endpoint", "add", "late", "http://127.0.0.1:9/")[0] == 0
    code, _, told = bridge("replay", "--endpoint", "late", "--since", "2h", "--dry-run")
    assert (code, "0 would be sent again" in told) == (0, True)
    assert "late has had no delivery of 2 events that fit: it came later" in told
    assert "→ bridge task add over\n" in told
    assert "Of what is watched (under) it hears at the next change" in told
    assert "has had no delivery" not in bridge("replay", "--endpoint", "late", "--dead", "--dry-run")[2]
    assert "has had no delivery" not in bridge("replay", "--endpoint", "late", "--task", "none", "--dry-run")[2]
    assert bridge("task", "add", "over")[0] == 0
    take_in(redis_url)
    assert with_store(redis_url, tell_again_those_that_ask) == ["over"]
    assert [(one.endpoint, one.task) for one in claim(redis_url)] == [("late", "over")]
    bridge("task", "rm", "under")
    bridge("task", "add", "under")
    take_in(redis_url)
    assert not client.hexists("bridge:watch:under", "announce")


async def tell_again_those_that_ask(store: Store) -> list[str]:
    """Claim what is due and announce the present state where that was asked for, as a poller does; those tasks."""
    await store.registry.reload_endpoints()
    asked = [one for one in (await store.registry.claim_tasks(9, lease_ms=20_000)).tasks if one.announce]
    for one in asked:
        assert one.snapshot
        assert await store.registry.announce(one, one.snapshot.event_id, delay_ms=-1) == "ok"
    return [one.member for one in asked]


def test_a_watched_task_that_names_a_later_endpoint_tells_it(bridge: Bridge, redis_url: str) -> None:
    """As replay says: its present state, and to that one alone, as the other had it."""
    announce(redis_url, "under", "indexing")
    deliver_all(redis_url)
    bridge("endpoint", "add", "late", "http://127.0.0.1:9/")
    assert bridge("task", "add", "under", "--endpoint", "late,billing")[0] == 0
    take_in(redis_url)
    assert tell_again(redis_url, "under") == "ok"
    assert [(one.endpoint, one.task) for one in claim(redis_url)] == [("late", "under")]


def test_a_task_that_nobody_knows_is_named(bridge: Bridge, redis_url: str) -> None:
    """A misspelt id is no “nothing to do”: exit code 3, and nothing on standard output; beside a known one a line."""
    ended(redis_url)
    for words in ((), ("--dry-run",), ("--json",)):
        code, out, told = bridge("replay", "--task", "nope", *words)
        assert (code, out) == (3, "")
        assert "task nope is not known here" in told
        assert "→ bridge task ls" in told
    assert "none is not known here, nor are 1 more" in bridge("replay", "--task", "nope,none")[2]
    code, _, told = bridge("replay", "--task", "t1,nope", "--dry-run")
    assert (code, "! task nope is not known here → bridge task ls" in told) == (0, True)
    assert "3 would be sent again" in told


def test_a_known_task_of_which_nothing_has_ended_says_where_to_look(bridge: Bridge, redis_url: str) -> None:
    """Also with --dry-run: what is owed for it is shown by another command."""
    announce(redis_url, "t3", "pending")
    for words in ((), ("--dry-run",)):
        code, _, told = bridge("replay", "--task", "t3", *words)
        assert code == 0
        assert "Nothing that has ended fits. What is still owed: bridge delivery ls --state pending --task t3" in told


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "say which"),
        (("--until", "1h"), 2, "say which"),
        (("--since", "yesterday"), 2, "2026-11-29T10:00:00Z"),
        (("--since", "2"), 2, "no unit"),
        (("--since", "1h", "--until", "2h"), 2, "exchange them"),
        (("--endpoint", "nobody"), 3, "bridge endpoint ls"),
    ],
)
def test_what_cannot_be_meant_is_said(bridge: Bridge, words: tuple[str, ...], code: int, said: str) -> None:
    """Everything, nothing, or nobody's."""
    found, _, told = bridge("replay", *words)
    assert (found, said in told) == (code, True), told


def test_a_type_that_no_event_has_is_pointed_out(bridge: Bridge, redis_url: str) -> None:
    """As by `endpoint add`; types that there are, and what they begin with, are not."""
    ended(redis_url)
    told = bridge("replay", "--type", "ready", "--dry-run")[2]
    assert "the pattern “ready” matches no event" in told
    assert "did you mean “index.task.ready”?" in told
    assert "!" not in bridge("replay", "--type", "index.task.ready,index.*", "--dry-run")[2]
