"""`bridge task` on a real Redis."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from owing import DEAD, DELIVERED, announce, claim, take_in, with_store
from redis import Redis
from until import until

from bridge.model import Postponement
from bridge.store import Store
from bridge.store.shifts import KEYED

Bridge = Callable[..., tuple[int, str, str]]
Fields = dict[Any, Any]


def test_tasks_are_registered_by_the_contract(bridge: Bridge, client: "Redis") -> None:
    """ZADD and HSET as a client writes them; what is missing for the events to arrive is said on stderr."""
    words = ("--metadata", '{"order": 1}', "--endpoint", "a,b", "--expires-in", "2h")
    code, out, told = bridge("task", "add", "t1", "t2", "t1", *words, "--json")
    assert (code, [row["result"] for row in json.loads(out)]) == (0, ["registered", "registered"])
    assert [client.zscore("bridge:tasks", member) for member in ("t1", "t2")] == [0, 0]
    options = client.hgetall("bridge:task:t1")
    assert abs(float(str(options.pop("expires_at"))) - time.time() - 7_200) < 60
    assert options == {"metadata": '{"order": 1}', "endpoints": "a,b"}
    assert client.llen("bridge:wake:poll") == 1
    assert "no endpoint “a”" in told
    assert "no endpoint “b”" in told
    assert "bridge worker" in told


def test_nobody_to_tell_is_said(bridge: Bridge, client: "Redis") -> None:
    """Without any endpoint the command that makes one is named; with one, and a worker, nothing is."""
    assert "bridge endpoint add" in bridge("task", "add", "t1")[2]
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    client.zadd("bridge:workers:poll", {"poll:1": (time.time() + 60) * 1000})
    assert bridge("task", "add", "t2")[2] == ""


def test_bad_ids_are_told_one_by_one_and_good_ones_registered(bridge: Bridge, client: "Redis") -> None:
    """Exit code 6 if some were bad, 2 if all were; a bad id reaches no terminal as it is."""
    code, out, told = bridge("task", "add", "t1", "../x", "a\x1b[31m", "-o", "ids")
    assert (code, out) == (6, "t1\n")
    assert "../x" in told
    assert "a\\x1b[31m" in told
    assert told.count("→ use the task id") == 2
    rows = json.loads(bridge("task", "add", "t2", "a b", "--json")[1])
    assert [(row["task"], row["result"]) for row in rows] == [("t2", "registered"), ("a b", "rejected")]
    assert bridge("task", "add", "a b", "x" * 201)[:2] == (2, "")
    assert client.zrange("bridge:tasks", 0, -1) == ["t1", "t2"]


def test_ids_come_from_standard_input(bridge: Bridge, client: "Redis") -> None:
    """`-`: one a line, blank lines, comments, a byte order mark and line ends of other systems make no difference."""
    text = b"\xef\xbb\xbft1\n\n# a comment\r\n  t2\r\nt1\n\xff\xfe\n"
    code, out, told = bridge("task", "add", "-", "t3", "-o", "ids", stdin=text)
    assert (code, out.split()) == (6, ["t1", "t2", "t3"])
    assert "\\udcff" in told
    assert bridge("task", "poll", "-", stdin=b"t1\nt2")[0] == 0
    assert bridge("task", "rm", "-", stdin=b"t1\nt2\nt3\n")[0] == 0
    assert client.exists("bridge:tasks") == 0
    for words in (("task", "add"), ("task", "poll"), ("task", "wait"), ("delivery", "retry"), ("delivery", "cancel")):
        code, _, told = bridge(*words, "-", stdin=b"\n# nothing\n")
        assert (code, "Nothing to do" in told) == (0, True), words  # what wrote the list found none
    assert bridge("task", "poll")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("t1", "--metadata", "{"),
        ("t1", "--metadata", json.dumps("x" * 5_000)),
        ("t1", "--callback-url", "http://127.0.0.1:9/"),
        ("t1", "--callback-url", "http://10.0.0.1/"),
        ("t1", "--endpoint", "a b"),
        ("t1", "--expires-in", "soon"),
        ("../x",),
    ],
)
def test_bad_input_is_refused_with_its_fix(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """P10: exit code 2, what failed and what to do, nothing registered."""
    code, _, told = bridge("task", "add", *words)
    assert code == 2
    assert "→" in told
    assert client.exists("bridge:tasks", "bridge:task:t1") == 0


def test_a_registered_task_keeps_its_options_unless_others_are_given(bridge: Bridge, client: "Redis") -> None:
    """Added again bare: nothing changes, and it is said. With options: these and no others, and it is read again."""
    bridge("task", "add", "t1", "--metadata", "1", "--endpoint", "a")
    client.hset("bridge:task:t1", "x-mine", "kept")
    client.zadd("bridge:tasks", {"t1": "+inf"})
    code, out, _ = bridge("task", "add", "t1")
    assert (code, "registered already" in out) == (0, True)
    assert client.hgetall("bridge:task:t1") == {"metadata": "1", "endpoints": "a", "x-mine": "kept"}
    assert client.zscore("bridge:tasks", "t1") == float("inf")
    (row,) = json.loads(bridge("task", "add", "t1", "--metadata", "2", "--json")[1])
    assert row["result"] == "updated"
    assert client.hgetall("bridge:task:t1") == {"metadata": "2", "x-mine": "kept"}
    assert client.zscore("bridge:tasks", "t1") == 0


def test_a_new_registration_drops_the_options_of_an_earlier_one(bridge: Bridge, client: "Redis") -> None:
    """What a task was registered with once does not come back with it."""
    bridge("task", "add", "t1", "--metadata", "1")
    bridge("task", "rm", "t1")
    bridge("task", "add", "t1")
    assert client.hgetall("bridge:task:t1") == {}


def test_a_misspelt_option_is_told_and_ended_by_the_command_that_is_told(bridge: Bridge, client: "Redis") -> None:
    """By `doctor` before and after it is taken in, and by `task show`; what a client keeps for itself stays."""
    client.hset("bridge:task:t1", mapping={"metadat": '{"order":42}', "x-mine": "1", "color": "red"})
    client.zadd("bridge:tasks", {"t1": 0})
    hint, fix = "the unknown field “metadat” is ignored: did you mean “metadata”?", "bridge task add t1 --metadata JSON"
    assert f"! {hint} → {fix}" in bridge("task", "show", "t1")[1]
    assert f"{hint} → {fix}" in json.loads(bridge("task", "show", "t1", "--json")[1])["warnings"]
    for _ in range(2):
        found = json.loads(bridge("doctor", "--json")[1])
        assert [row["fix"] for row in found if hint in row["found"]] == [fix]
        client.zadd("bridge:tasks", {"t1": "+inf"})
        client.zadd("bridge:watch", {"t1": 1})
    bridge(*fix.split()[1:-1], "1")
    assert client.hgetall("bridge:task:t1") == {"metadata": "1", "x-mine": "1", "color": "red"}
    assert hint not in bridge("doctor")[1]
    client.delete("bridge:task:t1")
    client.set("bridge:task:t1", "no hash")
    assert bridge("task", "show", "t1")[0] == 0
    assert "not looked at" not in str(
        [row for row in json.loads(bridge("doctor", "--json")[1]) if row["check"] == "task"]
    )


def test_a_name_that_is_nearly_an_endpoint_is_written_as_that(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Wherever it is told that there is no such endpoint: not how to register one of that name."""
    bridge("endpoint", "add", "local", "http://127.0.0.1:9/")
    bridge("endpoint", "add", "ends", "http://127.0.0.1:9/", "--events", "index.task.ready")
    told = bridge("task", "add", "t1", "--endpoint", "ends,lcal", "--metadata", "1")[2]
    fix = "bridge task add t1 --metadata JSON --endpoint ends,local"
    assert f"! there is no endpoint “lcal”: did you mean local? → {fix}" in told
    assert (
        f"its option `endpoints` names “lcal”, and there is none: did you mean local? → {fix}"
        in (bridge("task", "show", "t1")[1])
    )
    announce(redis_url, "t1", "indexing")
    shown = bridge("task", "show", "t1")[1]
    assert shown.count(f"did you mean local? → {fix}") == 1, shown
    client.hset("bridge:task:t2", "endpoints", "lcal")
    announce(redis_url, "t2", "indexing")
    fix = "bridge task add t2 --endpoint local"
    shown = bridge("task", "show", "t2")[1]
    assert shown.count(f"did you mean local? → {fix}") == 1, shown
    assert "endpoint add" not in shown
    event_id = json.loads(bridge("task", "show", "t2", "--json")[1])["event_id"]
    told = bridge("delivery", "show", event_id)[2]
    assert ("did you mean local?" in told, f"→ {fix}" in told) == (True, True), told
    found = json.loads(bridge("doctor", "--json")[1])
    (row,) = [row for row in found if "“lcal”" in row["found"]]
    assert row["why"].endswith("did you mean local?")
    assert "bridge endpoint add other URL" in bridge("task", "add", "t3", "--endpoint", "other")[2]


def test_a_name_that_is_near_no_endpoint_is_told_with_what_helps(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """Another filter would not: the endpoint is registered, or others are named, with all other options of the task."""
    bridge("endpoint", "add", "local", "http://127.0.0.1:9/")
    bridge("task", "add", "t1", "--endpoint", "nobody", "--metadata", "1")
    announce(redis_url, "t1", "pending")
    fix = "bridge endpoint add nobody URL  # or: bridge task add t1 --metadata JSON --endpoint NAME"
    on_two_lines = fix.replace("  # ", "\n    ")
    said = "endpoints` names “nobody”, and there is no such endpoint"
    shown = bridge("task", "show", "t1")[1]
    assert f"  ! its option `{said} → {on_two_lines}\n" in shown
    assert f"  no endpoint takes index.task.pending: the task's `{said}\n" in shown
    assert shown.count("endpoint add") == 1, shown
    event_id = json.loads(bridge("task", "show", "t1", "--json")[1])["event_id"]
    assert f"→ {on_two_lines}\n" in bridge("delivery", "show", event_id)[2]
    found = json.loads(bridge("doctor", "--json")[1])
    assert [row["fix"] for row in found if "“nobody”" in row["found"]] == [fix]
    bridge("task", "add", "t2", "--endpoint", "local,nobody,other")
    way = "bridge endpoint add other URL\n    or: bridge task add t2 --endpoint local\n"
    assert f"names “other”, and there is no such endpoint → {way}" in bridge("task", "show", "t2")[1]


def test_many_tasks_are_few_round_trips(bridge: Bridge, client: "Redis") -> None:
    """Ten thousand ids from standard input, registered and listed within the test's minute."""
    text = "\n".join(f"task{number}" for number in range(10_000)).encode()
    assert bridge("task", "add", "-", "-o", "ids", stdin=text)[0] == 0
    assert client.zcard("bridge:tasks") == 10_000
    code, out, told = bridge("task", "ls", "-o", "ids")
    assert (code, len(out.split()), "--limit 0" in told) == (0, 1_000, True)
    assert len(bridge("task", "ls", "--limit", "0", "-o", "ids")[1].split()) == 10_000


def test_a_task_that_has_ended_need_not_be_taken_back(bridge: Bridge, redis_url: str) -> None:
    """It is known, and read no more: that is said, and not that nobody registered it."""
    announce(redis_url, "t1", "ready", ends=True)
    code, _, told = bridge("task", "rm", "t1")
    assert (code, "task t1 has ended (ready) and is read no more" in told) == (3, True)


def test_how_long_a_task_is_watched_is_said(bridge: Bridge) -> None:
    """Seconds are easily meant to be something else."""
    assert "To be watched until 20" in bridge("task", "add", "t1", "--expires-in", "5")[2]


@pytest.mark.parametrize("verb", ["rm", "poll", "wait", "watch", "show"])
def test_what_is_not_there_is_not_found(bridge: Bridge, client: "Redis", verb: str) -> None:
    """Exit code 3 with the command that registers it, which nobody wants who takes it back."""
    code, _, told = bridge("task", verb, "nobody")
    way = "bridge task ls" if verb == "rm" else "bridge task add nobody"
    assert (code, f"→ {way}" in told) == (3, True)
    assert client.exists("bridge:tasks") == 0


def test_partly_done_is_said(bridge: Bridge, client: "Redis") -> None:
    """Exit code 6, and the ones that were not there."""
    bridge("task", "add", "t1", "t2")
    client.zadd("bridge:tasks", {"t1": "+inf", "t2": "+inf"})
    code, _, told = bridge("task", "poll", "t1", "nobody")
    assert (code, "nobody is not registered" in told) == (6, True)
    assert client.zscore("bridge:tasks", "t1") == 0
    assert bridge("task", "rm", "t1", "nobody", "\x07")[0] == 6
    assert client.zrange("bridge:tasks", 0, -1) == ["t2"]


def seed(client: "Redis", member: str = "t1", status: str = "indexing", **snapshot: str) -> None:
    """A watched task as the bridge keeps it."""
    client.zadd("bridge:tasks", {member: "+inf"})
    client.zadd("bridge:watch", {member: 4e12})
    client.hset("bridge:watch:" + member, mapping={"polled_at": "1800000000000", "options": '{"metadata": [1]}'})
    fields: Fields = {"status": status, "revision": "7", "event_id": "evt_1", "observed_at": "1800000000000"}
    client.hset("bridge:snapshot:" + member, mapping=fields | cast(Fields, snapshot))


def end(client: "Redis", member: str, status: str, **snapshot: str) -> None:
    """It has ended."""
    fields: Fields = {"status": status, **cast(Fields, snapshot)}
    client.hset("bridge:snapshot:" + member, mapping=fields)
    client.zrem("bridge:tasks", member)
    client.zrem("bridge:watch", member)
    client.zadd("bridge:ended", {member: 1_800_000_000_000})
    client.xadd("bridge:events", {"id": "evt_2", "type": f"index.task.{status}", "task": member, "revision": "8"})


def test_a_task_is_shown_with_its_events_and_deliveries(bridge: Bridge, client: "Redis") -> None:
    """Snapshot, options, and what became of each event at each endpoint; moments as RFC 3339 in JSON."""
    seed(client)
    client.sadd("bridge:names", "a")
    client.hset("bridge:endpoint:a", "state", "active")
    client.xadd("bridge:events", {"id": "evt_1", "type": "index.task.indexing", "task": "t1", "revision": "7"})
    record = {"task": "t1", "type": "index.task.indexing", "revision": "7", "created": 5, "attempts": 2}
    client.hset("bridge:deliveries:a", "evt_1", json.dumps({**record, "state": "dead", "reason": "exhausted"}))
    row = json.loads(bridge("task", "show", "t1", "--json")[1])
    assert (row["state"], row["status"], row["options"]["metadata"]) == ("watched", "indexing", [1])
    assert row["polled_at"] == "2027-01-15T08:00:00.000Z"
    assert [one["deliveries"][0]["reason"] for one in row["events"]] == ["exhausted"]
    out = bridge("task", "show", "t1")[1]
    assert "→ a  dead (exhausted), 2 attempts" in out
    assert out.splitlines()[0].startswith("t1  indexing, watched")
    assert "its latest event reached 0 of 1 endpoint\n" in out
    assert "hls status" not in out  # nothing is known of it
    (row,) = json.loads(bridge("task", "ls", "--json")[1])
    assert (row["owed"], row["delivered"]) == (1, 0)
    assert "0/1" in bridge("task", "ls")[1]


def test_a_task_whose_moment_is_far_ahead_says_so(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Until when it waits, in `task show`, `task ls`, JSON and `doctor`, with the command after which it is taken in;
    of one that is due nothing of the kind."""
    client.zadd("bridge:tasks", {"x": 4_102_444_800, "soon": time.time() + 3_600, "due": 0})
    told = "not taken in before 2100-01-01T00:00:00.000Z, as its score says"
    shown = bridge("task", "show", "x")[1]
    assert f"  ! {told} → bridge task poll x\n" in shown
    assert "not taken in yet" not in shown
    listed = bridge("task", "ls")[1]
    assert (listed.count(told), listed.count("not taken in yet")) == (1, 1)
    row = json.loads(bridge("task", "show", "x", "--json")[1])
    assert (row["next_at"], row["fix"]) == ("2100-01-01T00:00:00.000Z", "bridge task poll x")
    assert json.loads(bridge("task", "show", "due", "--json")[1])["next_at"] is None
    found = json.loads(bridge("doctor", "--json")[1])
    (one,) = [row for row in found if row["check"] == "task"]
    assert (one["level"], one["found"], one["fix"]) == (
        "warn", "x: not taken in before 2100-01-01T00:00:00.000Z", "bridge task poll x",
    )  # fmt: skip
    take_in(redis_url)
    assert client.zscore("bridge:watch", "x") is None
    assert bridge("task", "poll", "x")[0] == 0
    take_in(redis_url)
    assert client.zscore("bridge:watch", "x") is not None
    client.zadd("bridge:tasks", {"x": 4_102_444_800})
    assert "not taken in" not in bridge("task", "show", "x")[1]
    assert not [row for row in json.loads(bridge("doctor", "--json")[1]) if row["check"] == "task"]


def test_a_delivery_that_is_being_attempted_says_so(bridge: Bridge, redis_url: str) -> None:
    """Instead of nothing: by the task, in the list and by itself, and nobody is told to retry it."""
    bridge("endpoint", "add", "a", "http://127.0.0.1:9/")
    (event_id,) = announce(redis_url, "t1", "indexing")
    (delivery,) = claim(redis_url)
    assert delivery.event_id == event_id
    for words in (("task", "show", "t1"), ("delivery", "ls"), ("delivery", "show", event_id)):
        out = bridge(*words)[1]
        assert re.search(r"being attempted; again in \d+ s if that worker dies$", out, re.MULTILINE), out
        assert "delivery retry" not in out
    (row,) = json.loads(bridge("delivery", "ls", "--json")[1])
    assert (row["hold"]["by"], row["next_at"]) == ("attempt", None)
    assert datetime.fromisoformat(row["hold"]["again_at"])


def test_a_rejected_task_is_shown_with_its_fix(bridge: Bridge, client: "Redis") -> None:
    """Why it is not watched, and what to do; waiting for it says the same."""
    refusal = {"reason": "TwelveLabs refuses this id", "fix": "check the id", "field": "member"}
    client.hset("bridge:rejected", "task:t1", json.dumps(refusal))
    code, out, _ = bridge("task", "show", "t1")
    assert code == 0
    assert "TwelveLabs refuses this id" in out
    assert "check the id" in out
    assert "rejected: TwelveLabs refuses" in bridge("task", "ls")[1]
    code, _, told = bridge("task", "wait", "t1")
    assert (code, "refuses this id" in told, "→ check the id" in told) == (3, True, True)


def test_a_rejected_option_is_named(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """What is said of it begins with which it is, in `task show` and `task ls`."""
    client.hset("bridge:task:t1", "metadata", "{")
    client.zadd("bridge:tasks", {"t1": 0})
    take_in(redis_url)
    assert "! metadata: its text is not JSON (line 1, column 2) → write JSON" in bridge("task", "show", "t1")[1]
    assert "rejected: metadata: its text is not JSON" in bridge("task", "ls")[1]


def test_a_refused_entry_is_taken_away(bridge: Bridge, client: "Redis") -> None:
    """`rm` of what stands in bridge:rejected alone forgets that, and says so; others stay. Once: then it is unknown."""
    for field in ("task:bad id", "task:t2", "endpoint:bad id"):
        client.hset("bridge:rejected", field, json.dumps({"reason": "no"}))
    code, _, told = bridge("task", "rm", "bad id")
    assert (code, told) == (0, "bad id had been refused: gone from bridge:rejected.\n")
    assert sorted(client.hkeys("bridge:rejected")) == ["endpoint:bad id", "task:t2"]
    code, _, told = bridge("task", "rm", "bad id")
    assert (code, "→ bridge task ls" in told) == (3, True)


def test_what_is_watched_and_what_was_refused_are_counted_apart(bridge: Bridge, client: "Redis") -> None:
    """Nothing that was done reads as if it had failed."""
    bridge("task", "add", "t1", "t2")
    client.hset("bridge:rejected", "task:bad id", json.dumps({"reason": "no"}))
    told = bridge("task", "rm", "t1", "bad id")[2]
    assert told == "1 is watched no longer.\nbad id had been refused: gone from bridge:rejected.\n"
    code, _, told = bridge("task", "rm", "t2", "t3")
    assert (code, "1 of 2 is watched no longer." in told) == (6, True)


@pytest.mark.parametrize("verb", ["rm", "poll", "show"])
def test_no_command_is_named_that_cannot_work(bridge: Bridge, verb: str) -> None:
    """What can be no task is not to be registered."""
    code, _, told = bridge("task", verb, "bad id")
    assert (code, "bridge task add" in told, "→ bridge task ls" in told) == (3, False, True)


def test_an_error_of_a_read_is_told_as_of_then(bridge: Bridge, redis_url: str) -> None:
    """It may be over by now; and nothing is read before the account's rest has ended, whenever the task is due."""
    assert bridge("task", "add", "t1")[0] == 0
    take_in(redis_url)

    async def refuse(store: Store) -> None:
        (task,) = (await store.registry.claim_tasks(1, lease_ms=20_000)).tasks
        assert await store.registry.postpone(task, Postponement.of(task, 1_000, error="HTTP 401 no")) == "ok"
        await store.registry.pause_account(60, key_refused=True)

    with_store(redis_url, refuse)
    (_, note, reading, *_) = bridge("task", "show", "t1")[1].splitlines()
    assert re.search(r"^  ! at its latest read, \d+ s ago: HTTP 401 no$", note)
    assert reading == "  ! no worker is running → bridge worker"
    row = json.loads(bridge("task", "show", "t1", "--json")[1])
    assert row["note"] == "HTTP 401 no"
    waits = datetime.fromisoformat(row["next_at"]) - datetime.fromisoformat(row["polled_at"])
    assert waits >= timedelta(seconds=59)


def test_a_task_that_fails_to_be_read_leads_to_the_doctor(
    bridge: Bridge, client: "Redis", redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all else is well; that of one that was read since does not."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_x")
    bridge("task", "add", "t1")
    take_in(redis_url)
    client.zadd("bridge:workers:poll", {f"poll:1{KEYED}": (time.time() + 60) * 1000})

    async def fail(store: Store, faults: int, error: str) -> None:
        (task,) = (await store.registry.claim_tasks(1, lease_ms=20_000)).tasks
        assert await store.registry.postpone(task, Postponement.of(task, 0, error=error, faults=faults)) == "ok"

    with_store(redis_url, lambda store: fail(store, 1, "connect: connection refused"))
    (_, note, *_) = bridge("task", "show", "t1")[1].splitlines()
    assert re.search(r"^  ! at its latest read, \d+ s ago: connect: connection refused → bridge doctor$", note)
    with_store(redis_url, lambda store: fail(store, 0, ""))
    assert "bridge doctor" not in bridge("task", "show", "t1")[1]


@pytest.mark.parametrize(("status", "check"), [("", True), ("indexing", False)])
def test_a_task_that_is_not_there_is_told_before_it_is_believed(
    bridge: Bridge, client: "Redis", redis_url: str, status: str, check: bool
) -> None:
    """For its first minute it is only doubted: what decides, and of one that was never seen, what to look at. Where
    nothing is read at all, that comes first."""
    assert bridge("task", "add", "t1")[0] == 0
    take_in(redis_url)
    if status:
        client.hset("bridge:snapshot:t1", "status", status)

    async def absent(store: Store) -> None:
        (task,) = (await store.registry.claim_tasks(1, lease_ms=20_000)).tasks
        rest = Postponement.of(task, 5_000, error="HTTP 404: no such task")
        await store.registry.postpone(task, replace(rest, absences=1, absent_since=1_000))

    with_store(redis_url, absent)
    assert "! no worker is running → bridge worker" in bridge("task", "show", "t1")[1]
    for role in ("poll", "deliver"):
        client.zadd(f"bridge:workers:{role}", {f"here:1{KEYED}": 4_000_000_000_000})
    (_, note, *_) = bridge("task", "show", "t1")[1].splitlines()
    assert "HTTP 404: no such task → " in note
    assert "after three such answers over a minute it is believed gone" in note
    assert ("check the id" in note) is check
    assert json.loads(bridge("task", "show", "t1", "--json")[1])["fix"] in note


def test_a_task_that_upstream_never_knew_is_shown_with_its_cause(bridge: Bridge, client: "Redis") -> None:
    """Most likely a misspelt id, which looks like any other one that is gone: it is said, with what to do."""
    seed(client)
    end(client, "t1", "", gone="1")
    row = json.loads(bridge("task", "show", "t1", "--json")[1])
    assert (row["state"], row["status"]) == ("ended", "gone")
    assert "never" in row["note"]
    assert "check the id" in row["fix"]
    assert "no longer watched: TwelveLabs never knew" in bridge("task", "ls")[1]
    seed(client, "t2")
    end(client, "t2", "indexing", gone="1")
    assert json.loads(bridge("task", "show", "t2", "--json")[1])["note"] == ""


@pytest.mark.parametrize(
    ("member", "status", "told"),
    [
        ("t1", "ready", False), ("t1", "failed", False), ("asset:i/t1", "ready", False),
        ("t1", "indexing", True), ("t1", "", True),
    ],
)  # fmt: skip
def test_that_a_task_is_watched_no_longer_is_noted_where_its_status_does_not_say_it(
    bridge: Bridge, client: "Redis", member: str, status: str, told: bool
) -> None:
    """Of one that expired, or was taken back; an end needs no comment."""
    seed(client, member, status)
    end(client, member, status)
    assert ("no longer watched" in bridge("task", "ls")[1]) is told


@pytest.mark.parametrize("fields", [{"status": "gone"}, {"gone": "1"}], ids=["upstream's word", "registered again"])
def test_a_watched_task_is_not_over_because_of_a_word(bridge: Bridge, client: "Redis", fields: dict[str, str]) -> None:
    """A status that upstream calls `gone`, or a task that was gone and is asked for again: waited for."""
    seed(client, **fields)
    assert bridge("task", "wait", "t1", "--timeout", "0.2")[0] == 124


def test_a_list_of_tasks_is_filtered_by_status_and_state(bridge: Bridge, client: "Redis") -> None:
    """Upstream's words, `gone`, and the bridge's own: waiting, watched, ended, rejected."""
    for member, status in (("t1", "indexing"), ("t2", "ready"), ("t3", "failed")):
        seed(client, member, status)
    end(client, "t2", "ready")
    end(client, "t3", "failed", gone="1")
    client.zadd("bridge:tasks", {"t4": 0})
    client.hset("bridge:rejected", "task:t5", json.dumps({"reason": "no"}))
    expected = {
        "indexing": ["t1"], "watched": ["t1"], "ready": ["t2"], "gone": ["t3"], "failed": [],
        "waiting": ["t4"], "rejected": ["t5"], "ended": ["t2", "t3"],
    }  # fmt: skip
    seen = {word: sorted(bridge("task", "ls", "--status", word, "-o", "ids")[1].split()) for word in expected}
    assert seen == expected
    assert "did you mean “ready”?" in bridge("task", "ls", "--status", "redy")[2]
    assert bridge("task", "ls", "--status", "failed")[2] == "No task is “failed” now.\n"


@pytest.mark.parametrize(
    ("status", "fields", "code"),
    [("ready", {}, 0), ("failed", {}, 7), ("indexing", {"gone": "1"}, 7), ("indexing", {}, 7)],
)
def test_waiting_for_what_is_over_ends_at_once(
    bridge: Bridge, client: "Redis", status: str, fields: dict[str, str], code: int
) -> None:
    """0 ready, 7 failed, gone, or taken back before its end; the row is printed all the same."""
    seed(client)
    end(client, "t1", status, **fields)
    seen, out, _ = bridge("task", "wait", "t1", "--json")
    assert (seen, json.loads(out)[0]["task"]) == (code, "t1")
    assert bridge("task", "watch", "t1")[0] == code


def test_a_misspelt_status_is_not_waited_for(bridge: Bridge, client: "Redis") -> None:
    """What is near a known one is refused, whatever the task's status; what is not may be new at TwelveLabs."""
    seed(client, "t1", status="ready")
    code, out, told = bridge("task", "wait", "t1", "--for", "redy")
    assert (code, out, "did you mean “ready”?" in told) == (2, "", True)
    assert "→ bridge task wait t1 --for ready" in told
    code, _, told = bridge("task", "wait", "t1", "--for", "transcoding")
    assert (code, "“transcoding” is no status that is known" in told) == (0, True)
    assert "no status" not in bridge("task", "wait", "t1", "--for", "indexing")[2]


def test_ready_is_enough_though_its_hls_is_still_made(bridge: Bridge, client: "Redis") -> None:
    """The bridge watches on for the hls; who waits for the task goes on. An earlier status has been passed by then."""
    seed(client, status="ready", hls_status="PROCESSING")
    assert bridge("task", "wait", "t1")[0] == 0
    assert bridge("task", "wait", "t1", "--for", "indexing")[0] == 0
    assert bridge("task", "wait", "t1", "--for", "failed")[0] == 7


def test_waiting_ends_at_its_time(bridge: Bridge, client: "Redis") -> None:
    """Exit code 124, with the row as it is."""
    seed(client)
    code, out, told = bridge("task", "wait", "t1", "--timeout", "0.2")
    assert (code, "indexing" in out, "Timed out" in told) == (124, True, True)
    assert bridge("task", "wait", "t1", "--timeout", "0", "-o", "ids")[:2] == (124, "t1\n")
    assert bridge("task", "wait", "t1", "--timeout", "later")[0] == 2
    assert bridge("task", "wait", "t1", "--for", "indexing")[0] == 0


def work(client: "Redis") -> None:
    """A poll worker is alive for a minute."""
    client.zadd("bridge:workers:poll", {"poll:1": (time.time() + 60) * 1000})


TROUBLES = [
    ({}, {}, "no worker is running → bridge worker"),
    ({"bridge:account:default": {"state": "refused"}}, {"TWELVELABS_API_KEY": "tlk_x"}, "refuses the API key"),
    ({}, {"TWELVELABS_API_KEY": ""}, "there is no API key here"),
]


@pytest.mark.parametrize("verb", ["wait", "watch", "show"])
@pytest.mark.parametrize(("hashes", "settings", "said"), TROUBLES)
def test_a_task_that_nobody_can_read_is_not_waited_for_in_silence(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch, hashes: dict[str, dict[str, str]],
    settings: dict[str, str], said: str, verb: str,
) -> None:  # fmt: skip
    """No worker, a refused key, no key: said at once with what to do; once the task was read, a key is somewhere."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if settings:
        work(client)
    for key, fields in hashes.items():
        client.hset(key, mapping=cast(Fields, fields))
    bridge("task", "add", "t1")
    if verb == "show":
        row = json.loads(bridge("task", "show", "t1", "--json")[1])
        assert f"{row['reading']} → {row['fix']}".count(said) == 1
    elif verb == "wait":
        code, _, told = bridge("task", "wait", "t1", "--timeout", "0.1")
        assert (code, told.count(said), told.count("→")) == (124, 1, 1)
    else:
        thread = once_it_listens(client, lambda: client.zrem("bridge:tasks", "t1"))
        code, _, told = bridge("task", "watch", "t1")
        thread.join()
        assert (code, told.count(said)) == (7, 1)


def test_who_is_read_needs_no_key_here(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers may have theirs elsewhere."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "")
    work(client)
    seed(client)
    assert bridge("task", "wait", "t1", "--timeout", "0.1")[2].startswith("Waiting for t1 to be ready; ")
    assert "!" not in bridge("task", "wait", "t1", "--timeout", "0.1")[2]


def test_a_key_refused_while_one_waits_is_said(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first read comes after the command: what it comes to is said when it shows, once."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_x")
    work(client)
    seed(client)
    thread = once_it_listens(client, lambda: client.hset("bridge:account:default", "state", "refused"))
    told = bridge("task", "wait", "t1", "--timeout", "3.5")[2]
    thread.join()
    assert told.count("refuses the API key") == 1


def once_it_listens(client: "Redis", then: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a follower blocks on the stream."""

    def work() -> None:
        until(lambda: any(one["cmd"] == "xread" for one in client.client_list()))
        then()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("verb", ["wait", "watch"])
def test_a_follower_hears_the_end(bridge: Bridge, client: "Redis", verb: str) -> None:
    """The event wakes it; `watch` tells each change, `wait` the end."""
    seed(client, "t1")
    seed(client, "t2")

    def finish() -> None:
        end(client, "t1", "ready")
        end(client, "t2", "failed")

    thread = once_it_listens(client, finish)
    code, out, _ = bridge("task", verb, "t1", "t2", "-o", "jsonl")
    thread.join()
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 7
    assert {row["task"]: row["status"] for row in rows} == {"t1": "ready", "t2": "failed"}
    assert len(rows) == 2 if verb == "wait" else len(rows) >= 4


def test_a_task_taken_back_is_not_waited_for(bridge: Bridge, client: "Redis") -> None:
    """Nothing more is to come of it: exit code 7, though no event says so."""
    seed(client)
    thread = once_it_listens(client, lambda: client.zrem("bridge:tasks", "t1"))
    code, out, _ = bridge("task", "wait", "t1", "--json")
    thread.join()
    assert (code, json.loads(out)[0]["state"]) == (7, "ended")


def test_many_tasks_at_once_are_counted(bridge: Bridge, client: "Redis") -> None:
    """Ten thousand rows are no answer for eyes; what is wrong is named as far as one reads, and counted further."""
    lines = [f"6a0b{number:05}" for number in range(500)] + [f"bad id {number}" for number in range(150)]
    code, out, told = bridge("task", "add", "-", stdin="\n".join(lines).encode())
    assert (code, out.split()) == (6, ["RESULT", "TASKS", "registered", "500"])
    assert (told.count("✗ bad id"), "and 50 more" in told) == (100, True)
    assert client.zcard("bridge:tasks") == 500


def test_a_task_that_has_ended_is_said_to_have_ended(bridge: Bridge, client: "Redis") -> None:
    """Not that it is unknown: it is read no more, and the next command has it read once."""
    seed(client)
    end(client, "t1", "ready")
    code, _, told = bridge("task", "poll", "t1")
    assert (code, "task t1 has ended (ready)" in told, "→ bridge task add t1" in told) == (3, True, True)
    assert "task t2 is not registered" in bridge("task", "poll", "t2")[2]
    seed(client, "t3")
    code, _, told = bridge("task", "poll", "t1", "t2", "t3")
    assert (code, "✗ t1 has ended (ready)" in told, "✗ t2 is not registered" in told) == (6, True, True)


def test_task_show_shows_one_task(bridge: Bridge) -> None:
    """It reads no ids, as others do, and says so."""
    code, _, told = bridge("task", "show", "-", stdin=b"t1\n")
    assert (code, "reads no ids from standard input" in told) == (2, True)


def test_a_name_that_is_nearly_known_is_answered_with_the_near_one(bridge: Bridge, redis_url: str) -> None:
    """And a stranger with what makes it known; whoever takes one back wants no such command."""
    bridge("endpoint", "add", "mine", "http://127.0.0.1:9/")
    announce(redis_url, "keynote", "ready")
    code, _, told = bridge("task", "show", "keynot")
    assert (code, "did you mean keynote?" in told, "→ bridge task show keynote" in told) == (3, True, True)
    assert "→ bridge task add nope" in bridge("task", "show", "nope")[2]
    for words in (("show", "min"), ("disable", "min"), ("test", "min")):
        code, _, told = bridge("endpoint", *words)
        assert (code, "did you mean “mine”?" in told) == (3, True), words
    code, _, told = bridge("task", "rm", "nope")
    assert (code, "task add" in told, "→ bridge task ls" in told) == (3, False, True)
    code, _, told = bridge("task", "rm", "nope", "keynote")
    assert (code, "task add" in told, "✗ nope is not registered → bridge task ls" in told) == (6, False, True)


@pytest.mark.parametrize(
    ("key", "write"),
    [
        ("bridge:task", lambda client, key: client.zadd(key, {"t1": 0})),
        ("bridge:taks", lambda client, key: client.hset(key, "t1", "0")),
    ],
)
def test_a_task_in_a_misspelt_key_is_found_there(
    bridge: Bridge, client: "Redis", key: str, write: Callable[["Redis", str], object]
) -> None:
    """Nobody reads that key: to register the task once more would leave it there."""
    write(client, key)
    code, _, told = bridge("task", "show", "t1")
    assert (code, f"it stands in {key}," in told, "→ bridge doctor" in told) == (3, True, True), told
    assert "→ bridge task add t2" in bridge("task", "show", "t2")[2]


def test_an_endpoint_that_was_removed_leaves_nothing_undelivered(bridge: Bridge, redis_url: str) -> None:
    """Neither what it was still owed, nor what died there, is a failure for ever."""
    for name in ("a", "b", "c"):
        bridge("endpoint", "add", name, "http://127.0.0.1:9/")
    announce(redis_url, "t1", "ready")

    async def work(store: Store) -> None:
        for one in (await store.outbox.claim(100, lease_ms=25_000)).deliveries:
            if one.endpoint != "c":
                await store.outbox.settle(one, DEAD if one.endpoint == "b" else DELIVERED, "{}")

    with_store(redis_url, work)
    counts = [(row["delivered"], row["owed"]) for row in json.loads(bridge("task", "ls", "--json")[1])]
    assert counts == [(1, 3)]
    for name, owed in (("b", 2), ("c", 1)):
        bridge("endpoint", "rm", name)
        (row,) = json.loads(bridge("task", "ls", "--json")[1])
        assert (row["delivered"], row["owed"]) == (1, owed)


def test_whoever_waits_is_told_for_what(bridge: Bridge, redis_url: str) -> None:
    """At once, on standard error; nothing where there is nothing to wait for."""
    announce(redis_url, "t1", "indexing")
    announce(redis_url, "t2", "ready")
    code, out, told = bridge("task", "wait", "t1", "t2", "--timeout", "1s")
    assert (code, "Waiting for t1 to be ready" in told, "Waiting" in out) == (124, True, False)
    assert "Waiting" not in bridge("task", "wait", "t2")[2]


def test_a_task_whose_time_ran_out_says_so(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """It looks else as if somebody had taken it back; the command that watches it again has its options."""
    for task in ("t2", "t3", "t1"):
        announce(redis_url, task, "queued")
    client.hset("bridge:task:t1", mapping={"endpoints": "audit", "expires_at": "3800000000"})
    client.hset("bridge:task:t2", mapping={"endpoints": "audit", "expires_at": "3800000000"})
    client.zadd("bridge:tasks", {"t1": 0})
    take_in(redis_url)
    client.hset("bridge:watch:t1", "expires", "1")
    client.hset("bridge:task:t1", "expires_at", "1")
    assert bridge("task", "rm", "t2", "t3")[0] == 0
    with_store(redis_url, lambda store: store.registry.claim_tasks(100, lease_ms=20_000))
    row = json.loads(bridge("task", "show", "t1", "--json")[1])
    assert (row["state"], row["expires_at"]) == ("ended", "1970-01-01T00:00:01.000Z")
    shown = " ".join(bridge("task", "show", "t1")[1].split())
    way = "bridge task add t1 --endpoint audit --expires-in TIME"
    assert f"! its time ran out, expires_at was 1970-01-01T00:00:01.000Z → {way}" in shown
    assert "time ran out" in bridge("task", "ls", "--json")[1]
    for task in ("t2", "t3"):
        assert "time ran out" not in bridge("task", "show", task)[1]


def test_a_full_redis_is_said_where_nothing_seems_to_change(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """In task show, status and health: what changed was read, and could not be written."""
    bridge("endpoint", "add", "audit", "http://127.0.0.1:9/")
    announce(redis_url, "t1", "queued")
    client.zadd("bridge:workers:poll", {"poll:1" + KEYED: (time.time() + 60) * 1000})
    client.config_set("maxmemory", "1")
    try:
        shown = bridge("task", "show", "t1")[1]
        screen, health = bridge("status")[1], bridge("health")
    finally:
        client.config_set("maxmemory", "0")
    assert "! Redis is full: what changes at TwelveLabs is not written until it has room" in " ".join(shown.split())
    assert "FULL: nothing new is written" in " ".join(screen.split())
    assert (health[0], "Redis is full" in health[1]) == (1, True)
    assert "full" not in bridge("task", "show", "t1")[1] + bridge("status")[1] + bridge("health")[1]


def test_a_task_whose_events_are_no_longer_kept_says_so(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """A bare header looked as if nothing had ever been told of it."""
    announce(redis_url, "t1", "ready", ends=True)
    assert "kept any more" not in bridge("task", "show", "t1")[1]
    client.xtrim("bridge:events", 0)
    assert "none of its events is kept any more" in bridge("task", "show", "t1")[1]
