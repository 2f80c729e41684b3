"""What must be true of the keys at any moment, and of any step from one moment to the next.

A `State` is every key under the prefix with all that it holds, so that two states are equal only if nothing changed.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from math import ceil
from typing import Any, cast

from redis.asyncio import Redis

from bridge.events import is_lasting
from bridge.model import Delivery
from bridge.packing import unpack
from bridge.store.reading.trips import as_delivery

State = dict[str, Any]

_READ = """
local out = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'stream' then value = redis.call('XLEN', key)
  else value = redis.call('GET', key) end
  out[#out + 1] = {key, kind, redis.call('PTTL', key), value}
end
return out
"""


async def read_state(client: "Redis", prefix: str = "bridge:") -> State:
    """Everything, in one step. No key of ours may expire by itself: what is owed does not go with the time."""
    state: State = {}
    for raw_key, kind, ttl, value in await cast(Any, client.eval(_READ, 0, prefix)):
        key = _text(raw_key).removeprefix(prefix)
        assert ttl == -1, f"{key} expires in {ttl} ms"
        state[key] = _plain(_text(kind), value)
    return state


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _plain(kind: str, value: Any) -> Any:
    if kind in {"hash", "zset"}:
        pairs = [_text(item) for item in value]
        found = dict(zip(pairs[::2], pairs[1::2], strict=True))
        return found if kind == "hash" else {member: float(score) for member, score in found.items()}
    if kind in {"list", "set"}:
        items = [_text(item) for item in value]
        return items if kind == "list" else frozenset(items)
    return _text(value)


def difference(before: State, after: State) -> str:
    """Which keys changed, for a message."""
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "; ".join(f"{key}: {before.get(key)} → {after.get(key)}" for key in keys)


def under(state: State, kind: str) -> Iterator[tuple[str, Any]]:
    """The keys `<kind>:<rest>`, as (rest, value)."""
    for key, value in state.items():
        if key.startswith(kind + ":"):
            yield key[len(kind) + 1 :], value


def records(state: State) -> dict[tuple[str, str], dict[str, Any]]:
    """The delivery records by (endpoint, event id)."""
    return {
        (endpoint, event_id): as_delivery(text)
        for endpoint, owed in under(state, "deliveries")
        for event_id, text in owed.items()
    }


def check_state(state: State, now: int, cap: int, *, reordered: Collection[str] = ()) -> None:
    """What holds at any moment; `reordered` are the endpoints whose ordering was changed while something was owed."""
    _check_tasks(state)
    _check_snapshots(state)
    _check_places(state, now)
    _check_lines(state)
    _check_turns(state, reordered)
    _check_bodies(state)
    _check_latest(state)
    _check_endpoints(state, now, cap)


def _check_tasks(state: State) -> None:
    """I1: a registered task is watched, or waits for intake."""
    for member, score in state.get("tasks", {}).items():
        assert score != float("inf") or member in state.get("watch", {}), f"{member} is taken in, but nobody watches it"
    for member in state.get("watch", {}):
        assert "options" in state.get(f"watch:{member}", {}), f"{member} is watched without its options"


def _check_snapshots(state: State) -> None:
    """I2: a snapshot and its event tell the same."""
    for member, snapshot in under(state, "snapshot"):
        event = state.get("event:" + snapshot["event_id"])
        assert event, f"the event of {member}'s snapshot is gone"
        data = json.loads(unpack(event["body"].encode("utf-8", "surrogateescape")))["data"]
        assert (event["task"], event["revision"]) == (member, snapshot["revision"])
        assert (data["task_id"], str(data["revision"])) == (member, snapshot["revision"])
        assert data["status"] == snapshot["status"]


def _check_places(state: State, now: int) -> None:
    """I6: each delivery is in exactly one place, and nothing is in a place without being a delivery.

    A lease that is over is no place beside one in a line, in which an earlier one was put before it meanwhile: whoever
    ends that lease leaves it there.
    """
    places: Counter[tuple[str, str]] = Counter()
    for kind, expected in (("queue", {"pending"}), ("leases", {"pending"}), ("done", None), ("dead", {"dead"})):
        for endpoint, held in under(state, kind):
            for entry in held:
                pair = (endpoint, entry.partition("/")[0])
                places[pair] += 1
                record = records_of(state, endpoint).get(pair[1])
                assert record, f"{kind}:{endpoint} holds {entry}, which is no delivery"
                word = as_delivery(record)["state"]
                assert word in (expected or {"delivered", "superseded", "cancelled"}), f"{pair} is {word}, in {kind}"
    for endpoint, line in _lines(state):
        over = {entry.partition("/")[0] for entry, end in state.get(f"leases:{endpoint}", {}).items() if end <= now}
        before = [as_delivery(records_of(state, endpoint)[event_id]).get("again") for event_id in line]
        for at, event_id in enumerate(line[1:], 1):
            places[endpoint, event_id] += not (event_id in over and all(before[:at]))
    for pair in records(state):
        assert places[pair] == 1, f"{pair} is in {places[pair]} places"


def records_of(state: State, endpoint: str) -> dict[str, str]:
    """One endpoint's records, as text."""
    return cast(dict[str, str], state.get(f"deliveries:{endpoint}", {}))


def _lines(state: State) -> Iterator[tuple[str, list[str]]]:
    """Each endpoint with each task's line, whose turn it is first."""
    for endpoint, turns in under(state, "turns"):
        for member in turns:
            yield endpoint, _line(state, endpoint, member)


def _line(state: State, endpoint: str, member: str) -> list[str]:
    turn = state.get(f"turns:{endpoint}", {}).get(member)
    behind = cast(list[str], state.get(f"line:{endpoint}:{member}", []))
    assert turn or not behind, f"nobody's turn has come in the line of {member} at {endpoint}"
    return [turn, *behind] if turn else []


def _check_lines(state: State) -> None:
    """P4: the revisions of a line grow. Only what has had its first attempt may come after a later one: that was on its
    way when it was to be sent again, and has since failed, waits, or was given back."""
    for endpoint, line in _lines(state):
        told = [as_delivery(records_of(state, endpoint)[event_id]) for event_id in line]
        revisions = [int(record["revision"]) for record in told]
        firsts = [revision for revision, record in zip(revisions, told, strict=True) if not record.get("again")]
        assert len(set(revisions)) == len(revisions), f"the line of {endpoint} has one twice: {revisions}"
        assert firsts == sorted(firsts), f"the line of {endpoint} is out of order: {revisions}"


def _ahead(state: State) -> set[tuple[str, str, str]]:
    """(endpoint, later, earlier) wherever the later of two events stands first in a line."""
    found = set()
    for endpoint, line in _lines(state):
        revisions = [int(as_delivery(records_of(state, endpoint)[event_id])["revision"]) for event_id in line]
        for at, later in enumerate(line):
            found |= {(endpoint, later, line[n]) for n in range(at + 1, len(line)) if revisions[n] < revisions[at]}
    return found


def _check_overtaken(before: State, after: State) -> None:
    """What is sent again takes its place by its revision, too, but behind what was on its way at that moment."""
    known = _ahead(before)
    for endpoint, later, earlier in _ahead(after) - known:
        leases = [*before.get(f"leases:{endpoint}", {}), *after.get(f"leases:{endpoint}", {})]
        on_its_way = later in {entry.partition("/")[0] for entry in leases}
        was_ahead = any(pair[:2] == (endpoint, later) for pair in known)
        assert on_its_way or was_ahead, f"{earlier} was put behind {later} at {endpoint}"


def _check_turns(state: State, reordered: Collection[str]) -> None:
    """P4: of a task one delivery at a time has its first turn; whoever had it lets the next one, strict or not."""
    firsts: Counter[tuple[str, str]] = Counter()
    for (endpoint, event_id), record in records(state).items():
        ordering = state.get(f"endpoint:{endpoint}", {}).get("ordering")
        if endpoint in reordered or ordering in {None, "none"} or record["state"] != "pending":
            continue
        line = _line(state, endpoint, record["task"])
        if event_id in line[1:]:
            continue
        had_its_turn = (record["attempts"] or record.get("claims")) and not record.get("again")
        if ordering == "strict":
            assert event_id in line, f"{event_id} is owed to {endpoint}, and its successors do not wait"
        elif had_its_turn:
            assert event_id not in line, f"{event_id} has had its turn at {endpoint}, and others wait for it"
        if ordering == "strict" or not had_its_turn:
            firsts[endpoint, record["task"]] += 1
    assert all(number == 1 for number in firsts.values()), f"more than one at a time: {firsts}"


def _check_bodies(state: State) -> None:
    """A body lives exactly as long as a record, a snapshot or a hand-out needs it."""
    needed = Counter(event_id for _, event_id in records(state))
    needed.update(snapshot["event_id"] for _, snapshot in under(state, "snapshot"))
    needed.update(state.get("fanout", []))
    events = dict(under(state, "event"))
    assert set(events) == set(needed), f"bodies {sorted(events)}, needed {sorted(needed)}"
    for event_id, event in events.items():
        assert int(event["refs"]) == needed[event_id], f"{event_id} counts {event['refs']}, needed {needed[event_id]}"


def _check_latest(state: State) -> None:
    """Who supersedes notes what was delivered, and as long as that can be looked up."""
    for endpoint, notes in under(state, "latest"):
        assert state.get(f"endpoint:{endpoint}", {}).get("supersede") == "1", f"{endpoint} does not supersede"
        for member, note in notes.items():
            revision, event_id = note.split(" ")
            record = as_delivery(records_of(state, endpoint)[event_id])
            assert (record["task"], record["revision"]) == (member, revision), f"{note}: {record}"
            assert record["state"] == "delivered", f"{endpoint} was not delivered {event_id}"


def is_overtaken(state: State, delivery: Delivery) -> bool:
    """Whether a claimed delivery should not have been: a later one of its task was delivered, and it tells progress."""
    revision = state.get(f"latest:{delivery.endpoint}", {}).get(delivery.task, "0").split(" ")[0]
    asked = records(state)[delivery.endpoint, delivery.event_id].get("asked")
    return int(revision) > delivery.revision and not asked and not is_lasting(delivery.type, delivery.body)


def _check_superseded(before: State, after: State) -> None:
    """P2: only where its owner asked for that, only progress, and only for a later event that was delivered."""
    was = records(before)
    for (endpoint, event_id), record in records(after).items():
        if record["state"] != "superseded" or was.get((endpoint, event_id), {}).get("state") == "superseded":
            continue
        later = as_delivery(records_of(after, endpoint)[record["reason"]])
        assert after[f"endpoint:{endpoint}"].get("supersede") == "1", f"{endpoint} did not ask for that"
        assert (later["state"], later["task"]) == ("delivered", record["task"]), f"{event_id}: {record}, {later}"
        assert int(later["revision"]) > int(record["revision"]), f"{event_id} was superseded by an earlier one"
        body = after[f"event:{event_id}"]["body"].encode("utf-8", "surrogateescape")
        assert not is_lasting(record["type"], body), f"{event_id} tells a task's end"


def _check_endpoints(state: State, now: int, cap: int) -> None:
    """The cap holds (I16), and no endpoint is looked at later than it has something to do."""
    for endpoint, known in under(state, "endpoint"):
        leases = state.get(f"leases:{endpoint}", {}).values()
        live = sum(1 for end in leases if end > now)
        assert live <= cap, f"{endpoint} has {live} in flight"
        own = int(known.get("cap", cap))  # its definition may ask for fewer
        limit = int(known.get("limit", own))
        assert own <= cap, f"{endpoint} has a cap of {own}"
        assert 1 <= limit < own or "limit" not in known, f"{endpoint} may have {limit} of {own} in flight"
        looked_at = state.get("ready", {}).get(endpoint)
        held = known.get("state") == "held"
        _check_breaker(endpoint, known)
        if known.get("state") not in {"active", "held"}:
            assert looked_at is None, f"{endpoint} is {known.get('state')}, and looked at"
            continue
        moments = list(leases)
        queued = state.get(f"queue:{endpoint}", {}).values()
        if queued and live < (1 if held else limit):
            rests = (known.get("paused_until", 0), known.get("probe_at", 0) if held else 0, _next_by_rate(known, now))
            moments.append(max(0 if held else min(queued), *map(float, rests)))  # a probe may ask ahead of its time
        if moments:
            due = max(min(moments), now)
            assert looked_at is not None, f"{endpoint} has something to do at {due}, and nobody looks"
            assert looked_at <= due, f"{endpoint} has something to do at {due}, and is looked at at {looked_at}"


def _next_by_rate(known: dict[str, str], now: int) -> float:
    """From when on an endpoint's rate lets the next attempt go."""
    if "rate" not in known:
        return 0
    interval, burst = map(float, known["rate"].split())
    spent = max(now, float(known.get("rate_at", 0)))
    spent = now if spent > now + interval * burst + 1 else spent
    return ceil(spent + interval - interval * burst - 0.001)


def _check_breaker(endpoint: str, known: dict[str, str]) -> None:
    """A breaker is open only of who fails, and an endpoint is probed only while it is."""
    held = known.get("state") == "held"
    assert held == ("probe_at" in known) == ("probes" in known), f"{endpoint}: {known}"
    if held:
        assert known["reason"] == "failing"
        assert int(known["failures"]) > 0
        assert "failing_since" in known


def check_step(before: State, after: State, verbs: Counter[str]) -> None:
    """What holds of a step from one state to the next, given the verbs that ran in it."""
    was, is_ = records(before), records(after)
    for pair, record in was.items():
        if pair not in is_:
            assert record["state"] != "pending", f"{pair} was owed, and is forgotten"
            assert "prune" in verbs
            continue
        if record["state"] != "pending":
            back = record["state"] == "dead" and verbs["recover_deliveries"] > 0
            assert back or is_[pair]["state"] == record["state"], f"{pair} had ended"
        grown = is_[pair]["attempts"] - record["attempts"]
        assert 0 <= grown <= verbs["settle"], f"{pair} has {grown} attempts more"
        if record.get("early") and "early" not in is_[pair] and is_[pair]["state"] == "pending":
            spent = grown - is_[pair].get("round_from", 0) + record.get("round_from", 0)
            assert spent <= max(0, verbs["settle"] - 1), f"a probe ahead of its time cost {pair} of its schedule"
    _check_superseded(before, after)
    _check_overtaken(before, after)
    for event_id, event in under(before, "event"):
        if f"event:{event_id}" in after:
            assert after[f"event:{event_id}"]["body"] == event["body"], f"{event_id} says something else now"
    for member, snapshot in under(before, "snapshot"):
        later = after.get(f"snapshot:{member}")
        assert later is None or int(later["revision"]) >= int(snapshot["revision"]), f"{member} went back"
    for event_id, waiting in under(before, "fanout"):
        for endpoint in set(waiting) - set(after.get(f"fanout:{event_id}", [])):
            served = (endpoint, event_id) in is_ or f"endpoint:{endpoint}" not in before
            assert served, f"{event_id} was not handed to {endpoint}"
