"""`bridge event` and `bridge delivery` on a real Redis, and hostile text everywhere."""

import json
import threading
from collections.abc import Callable
from typing import Any

import owing
import pytest
from redis import Redis
from until import until

Bridge = Callable[..., tuple[int, str, str]]
HOSTILE = "\x1b]0;title\x07\x1b[31mred\u202e\u2066\u200b\x9b2J\r\n\t[bold]x[/bold][/nope]:smile:\x7f"
FORBIDDEN = {"\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\x9b", "\r", "\t", "\x7f", "\x00"}


def announce(client: "Redis", event_id: str, event_type: str, task: str = "t1") -> str:
    """An event in the stream; replies its cursor."""
    return str(client.xadd("bridge:events", {"id": event_id, "type": event_type, "task": task, "revision": "7"}))


def test_events_are_listed_in_the_order_of_their_commits(bridge: Bridge, client: "Redis") -> None:
    """The latest ones, or the next ones after a cursor or an event id; filters come before the limit."""
    words = ["queued", "indexing", "ready", "queued", "indexing", "ready"]
    cursors = [announce(client, f"evt_{i}", f"index.task.{word}", f"t{i // 3}") for i, word in enumerate(words)]

    def ids(*options: str) -> list[str]:
        return bridge("event", "ls", *options, "-o", "ids")[1].split()

    assert ids() == [f"evt_{i}" for i in range(6)]
    assert ids("--limit", "2") == ["evt_4", "evt_5"]
    assert ids("--after", cursors[1], "--limit", "2") == ids("--after", "evt_1", "--limit", "2") == ["evt_2", "evt_3"]
    assert ids("--after", cursors[5]) == []
    assert ids("--task", "t0", "--limit", "1") == ["evt_2"]
    assert ids("--type", "index.task.ready") == ["evt_2", "evt_5"]
    assert ids("--type", "index.*", "--after", "0", "--limit", "1") == ["evt_0"]
    row = json.loads(bridge("event", "ls", "--limit", "1", "-o", "jsonl")[1])
    assert (row["event_id"], row["cursor"], row["task"], row["revision"]) == ("evt_5", cursors[5], "t1", 7)
    assert bridge("event", "ls", "--after", "evt_unknown")[0] == 3
    code, _, told = bridge("event", "ls", "--after", "x; y")
    assert (code, "→" in told) == (2, True)


def test_an_event_is_shown_with_the_body_that_is_sent(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """Whole, in each form; of one whose body nobody needs any more, what is left to do."""
    (event_id,) = owing.announce(redis_url, "t1", "ready")
    kept = json.loads(bridge("event", "show", event_id, "-o", "jsonl")[1])
    assert (kept["event_id"], kept["type"], kept["task"]) == (event_id, "index.task.ready", "t1")
    data = kept["body"]["data"]
    assert (kept["body"]["type"], data["status"], data["revision"]) == ("index.task.ready", "ready", kept["revision"])
    fields, _, body = bridge("event", "show", event_id)[1].partition("{")
    assert json.loads("{" + body) == kept["body"]
    assert fields.split()[:2] == ["event", "id"]
    assert bridge("event", "show", event_id, "-o", "ids")[1] == f"{event_id}\n"
    client.hset(f"bridge:event:{event_id}", mapping={"body": HOSTILE, "revision": "9" * 5_000})
    shown = bridge("event", "show", event_id)[1]
    assert not FORBIDDEN & set(shown)
    client.delete(f"bridge:event:{event_id}")
    code, out, told = bridge("event", "show", event_id)
    assert (code, out, "→ bridge event ls" in told) == (3, "", True)


def test_a_cursor_walks_the_whole_stream(bridge: Bridge, client: "Redis") -> None:
    """Page after page: every event once, in order, across the pages that Redis is asked for."""
    pipe = client.pipeline()
    for number in range(2_500):
        pipe.xadd("bridge:events", {"id": f"evt_{number}", "type": "a", "task": "t", "revision": "1"})
    pipe.execute()
    seen: list[str] = []
    cursor = "0"
    while page := json.loads(bridge("event", "ls", "--after", cursor, "--limit", "1200", "--json")[1]):
        seen += [row["event_id"] for row in page]
        cursor = page[-1]["cursor"]
    assert seen == [f"evt_{number}" for number in range(2_500)]


def test_tail_follows_from_now_on(bridge: Bridge, client: "Redis") -> None:
    """Only what is new, only what fits, as it comes; --limit ends it."""
    announce(client, "evt_old", "index.task.ready")

    def commit() -> None:
        until(lambda: any(one["cmd"] == "xread" for one in client.client_list()))
        announce(client, "evt_1", "index.task.queued")
        announce(client, "evt_2", "index.task.ready")

    thread = threading.Thread(target=commit)
    thread.start()
    code, out, _ = bridge("event", "tail", "--type", "index.task.ready", "--limit", "1", "-o", "json")
    thread.join()
    assert (code, json.loads(out)["event_id"]) == (0, "evt_2")
    out = bridge("event", "tail", "--after", "evt_old", "--limit", "2")[1]
    assert [line.split()[-1] for line in out.splitlines()] == ["evt_1", "evt_2"]


def owe(client: "Redis", endpoint: str, event_id: str, state: str, **record: object) -> None:
    """A delivery as the bridge keeps it."""
    known = {"task": "t1", "type": "index.task.ready", "revision": "7", "created": 1_000, "attempts": 0, **record}
    client.sadd("bridge:names", endpoint)
    client.hset(f"bridge:deliveries:{endpoint}", event_id, json.dumps({**known, "state": state}))
    if state == "pending":
        client.zadd(f"bridge:queue:{endpoint}", {event_id: 4e12})
    else:
        client.zadd(f"bridge:{'dead' if state == 'dead' else 'done'}:{endpoint}", {event_id: int(str(known["ended"]))})


def test_deliveries_are_listed_newest_first(bridge: Bridge, client: "Redis") -> None:
    """By endpoint, state and task; the filters come before the limit."""
    owe(client, "a", "evt_1", "dead", ended=5_000, reason="exhausted")
    owe(client, "b", "evt_1", "delivered", ended=3_000)
    owe(client, "a", "evt_2", "pending", created=4_000, task="t2")
    owe(client, "b", "evt_3", "superseded", ended=9_000, task="t2")

    def ids(*options: str) -> list[str]:
        rows = json.loads(bridge("delivery", "ls", *options, "--json")[1])
        return [f"{row['event_id']}/{row['endpoint']}" for row in rows]

    assert ids() == ["evt_3/b", "evt_1/a", "evt_2/a", "evt_1/b"]
    assert ids("--limit", "1") == ["evt_3/b"]
    assert ids("--endpoint", "a") == ["evt_1/a", "evt_2/a"]
    assert ids("--state", "dead") == ["evt_1/a"]
    assert ids("--state", "pending") == ["evt_2/a"]
    assert ids("--state", "delivered", "--limit", "1") == ["evt_1/b"]
    assert ids("--task", "t1") == ["evt_1/a", "evt_1/b"]
    assert bridge("delivery", "ls", "--state", "lost")[0] == 2


def test_an_endpoint_that_is_nearly_called_so_is_named(bridge: Bridge) -> None:
    """As by every other command that takes a name."""
    bridge("endpoint", "add", "local", "http://127.0.0.1:9/")
    assert "did you mean “local”?" in bridge("delivery", "ls", "--endpoint", "locl")[2]


def test_a_state_that_no_delivery_is_in_is_said(bridge: Bridge) -> None:
    """To a person; a script has its empty list."""
    assert bridge("delivery", "ls", "--state", "dead")[2].startswith("No delivery is dead.\n")
    assert bridge("delivery", "ls", "--state", "dead", "--json")[2] == ""


def test_a_task_without_deliveries_is_no_silence(bridge: Bridge) -> None:
    """A misspelt id and one that nobody was told of look alike: who knows more is named."""
    code, out, told = bridge("delivery", "ls", "--task", "nope", "-o", "ids")
    assert (code, out, "bridge task show nope" in told) == (0, "", True)


def test_an_endpoint_that_there_is_not_owes_no_silence(bridge: Bridge, client: "Redis") -> None:
    """A misspelt name is exit code 3, not an empty table; one without deliveries, or removed with some, is found."""
    code, _, told = bridge("delivery", "ls", "--endpoint", "nope")
    assert (code, "there is no endpoint “nope”" in told, "→ bridge endpoint ls" in told) == (3, True, True)
    client.hset("bridge:registry", "new", "{}")
    assert bridge("delivery", "ls", "--endpoint", "new")[0] == 0
    owe(client, "removed", "evt_1", "delivered", ended=5)
    assert bridge("delivery", "ls", "--endpoint", "removed", "--state", "pending")[0] == 0


def test_the_id_of_a_task_is_no_event(bridge: Bridge, client: "Redis") -> None:
    """`delivery show TASK` names the command that shows a task; what is neither names the list."""
    client.zadd("bridge:tasks", {"t1": 0})
    code, _, told = bridge("delivery", "show", "t1")
    assert (code, "t1 is a task" in told, "→ bridge task show t1" in told) == (3, True, True)
    assert "→ bridge delivery ls" in bridge("delivery", "show", "evt_9")[2]
    for words in (("event", "show"), ("delivery", "retry"), ("delivery", "cancel")):
        code, _, told = bridge(*words, "t1")
        assert (code, "t1 is a task" in told, "→ bridge task show t1" in told) == (3, True, True), told
        assert "is a task" not in bridge(*words, "evt_9")[2]
    assert json.loads(bridge("delivery", "retry", "t1", "--json")[1])[0]["fix"] == "bridge task show t1"
    told = bridge("delivery", "retry", "t1", "evt_9/a")[2]
    assert "there is no delivery t1, nor of 1 more" in told


def test_a_delivery_is_shown_with_every_attempt(bridge: Bridge, client: "Redis") -> None:
    """What was answered, where the time went, what followed; one endpoint or all of them."""
    owe(client, "a", "evt_1", "dead", ended=5_000, reason="exhausted", attempts=2)
    owe(client, "b", "evt_1", "pending")
    first = {
        "attempt": 1, "at": 1, "status_code": 503, "total_ms": 12.3, "wait_ms": 11, "retry_in_ms": 5_000,
        "next": "pending", "excerpt": "busy",
    }  # fmt: skip
    last = {"attempt": 2, "at": 2, "fault": "dns", "detail": "no such name", "next": "dead", "reason": "exhausted"}
    client.rpush("bridge:attempts:a:evt_1", json.dumps(first), json.dumps(last))
    rows = json.loads(bridge("delivery", "show", "evt_1", "--json")[1])
    assert [(row["endpoint"], len(row["attempt_log"])) for row in rows] == [("a", 2), ("b", 0)]
    assert rows[0]["attempt_log"][0]["attempt_at"] == "1970-01-01T00:00:00.001Z"
    code, out, _ = bridge("delivery", "show", "evt_1", "a")
    assert code == 0
    assert "503 → again in 5 s (as scheduled)" in out
    assert "wait 11, total 12 ms" in out
    assert "answered: busy" in out
    assert "dns: no such name → dead (exhausted: its schedule has no further attempt)" in out
    assert bridge("delivery", "show", "evt_1", "nobody")[0] == 3
    assert bridge("delivery", "show", "evt_2")[0] == 3


def test_an_attempt_is_shown_with_what_was_sent_and_answered(bridge: Bridge, client: "Redis") -> None:
    """The headers that each event has are told, too; what is not there, or written over, is passed over."""
    owe(client, "a", "evt_1", "pending", attempts=2)
    first = {
        "attempt": 1, "at": 1, "trigger": "schedule", "status_code": 429, "next": "pending", "retry_in_ms": 120_000,
        "pause_ms": 120_000, "effect": "overload", "excerpt": "busy",
        "request": "POST https://example.com/x?...\nx-team: ***\nwebhook-signature: ***",
        "answer": "server: nginx\nvia: 1.1 a\nvia: 1.1 b",
    }  # fmt: skip
    strange = {"attempt": 2, "at": 2, "request": HOSTILE, "answer": [HOSTILE], "pause_ms": HOSTILE, "effect": HOSTILE}
    client.rpush("bridge:attempts:a:evt_1", json.dumps(first), json.dumps(strange), "no json")
    shown, *_ = json.loads(bridge("delivery", "show", "evt_1", "--json")[1])[0]["attempt_log"]
    assert shown["request"] == {
        "method": "POST",
        "url": "https://example.com/x?...",
        "headers": {
            "x-team": "***", "webhook-signature": "***", "webhook-id": "evt_1", "bridge-attempt": "1",
            "bridge-trigger": "schedule",
        },
    }  # fmt: skip
    assert shown["answer_headers"] == {"server": "nginx", "via": "1.1 a, 1.1 b"}
    code, out, told = bridge("delivery", "show", "evt_1")
    assert code == 0
    assert "429 → again in 2 min (its Retry-After asks for 120 s; it gets fewer at a time)" in out
    assert "sent: POST https://example.com/x?..." in out
    assert "x-team: *** · webhook-signature: *** · webhook-id: evt_1" in out
    assert "answered with server: nginx · via: 1.1 a, 1.1 b" in out
    assert not FORBIDDEN & set(out + told)


COMMANDS = [
    ("task", "ls"),
    ("task", "show", "t1"),
    ("task", "wait", "t1"),
    ("task", "watch", "t1"),
    ("event", "ls"),
    ("event", "tail", "--after", "0", "--limit", "1"),
    ("delivery", "ls"),
    ("delivery", "show", "evt_1"),
    ("endpoint", "ls"),
    ("endpoint", "show", "a"),
    ("status",),
    ("health",),
    ("doctor",),
]


@pytest.mark.parametrize("how", ["table", "json", "jsonl", "ids"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_hostile_text_stays_text(bridge: Bridge, client: "Redis", words: tuple[str, ...], how: str) -> None:
    """Whatever upstream, a subscriber or a client wrote: no terminal obeys it, no table breaks, no markup is read."""
    snapshot: dict[Any, Any] = {
        "status": HOSTILE,
        "revision": "7",
        "event_id": "evt_1",
        "updated_at": HOSTILE,
        "hls_status": HOSTILE,
    }
    client.hset("bridge:snapshot:t1", mapping=snapshot)
    client.hset("bridge:watch:t1", mapping={"error": HOSTILE, "doubt": HOSTILE, "faults": "3"})
    client.zadd("bridge:ended", {"t1": 1, HOSTILE: 2})
    client.zadd("bridge:watch", {HOSTILE: 3})
    client.hset("bridge:rejected", mapping={"task:t1": json.dumps({"reason": HOSTILE, "fix": HOSTILE}), HOSTILE: "{"})
    owe(client, "a", "evt_1", "dead", ended=2, type=f"index.task.{HOSTILE}", reason=HOSTILE)
    attempt = {"attempt": 1, "at": 1, "status_code": 500, "excerpt": HOSTILE, "detail": HOSTILE, "next": HOSTILE}
    client.rpush("bridge:attempts:a:evt_1", json.dumps(attempt))
    announce(client, "evt_1", f"index.task.{HOSTILE}")
    client.hset("bridge:endpoints", "a", json.dumps({"url": f"https://example.com/{HOSTILE}", "events": [HOSTILE]}))
    client.hset("bridge:endpoint:a", mapping={"state": HOSTILE, "reason": HOSTILE})
    code, out, told = bridge(*words, "-o", how)
    assert code in ({2} if how == "ids" and words[0] in {"status", "health", "doctor"} else {0, 1, 7})
    assert not FORBIDDEN & set(out + told)
    if how == "table" and words[0] in {"task", "event", "delivery"}:
        assert "[bold]x[/bold][/nope]:smile:" in out
