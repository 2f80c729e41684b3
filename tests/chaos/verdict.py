"""Whether a world at rest kept the promises, judged from Redis, from upstream's truth, from the receiver's log.

Each complaint begins with the invariant that it breaks.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from world import World

from bridge.packing import unpack
from bridge.store.reading.trips import as_delivery

P = "bridge:"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the scenario is about: which endpoint takes what, which tasks end, and what may repeat."""

    endpoints: tuple[str, ...]
    tasks: tuple[str, ...]
    """Tasks that are watched to their end."""
    faults: int = 0
    """Lost answers and late leases: each may double a delivery, or cost one its place in line."""
    held: frozenset[str] = frozenset()
    """Endpoints that are held to the end: what they are owed waits."""


def text(value: Any) -> str:
    """Bytes as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


class State:
    """Redis at rest."""

    def __init__(self, world: World, expected: Expected) -> None:
        redis = world.redis
        self.world, self.expected = world, expected
        self.allowed = expected.faults + world.in_hand
        self.served = {(s.task_id, s.status, s.updated_at) for s in world.upstream.served}
        stream = cast(Any, redis.xrange(P + "events"))
        self.events = [{text(k): text(v) for k, v in entry.items()} for _, entry in stream]
        self.bodies: dict[bytes, Any] = {key: redis.hgetall(key) for key in redis.scan_iter(P + "event:*")}
        self.records = {
            name: {text(k): as_delivery(v) for k, v in redis.hgetall(f"{P}deliveries:{name}").items()}
            for name in expected.endpoints
        }

    def complaints(self) -> Iterator[str]:
        """All that is wrong."""
        for fault in self.world.log.faults:
            yield f"fault of ours: {fault}"
        for check in (
            self._watched, self._snapshots, self._history, self._owed, self._places, self._counters, self._bodies,
            self._attempts,
            self._arrivals, self._heard, self._order, self._leftovers,
        ):  # fmt: skip
            yield from check()

    def _watched(self) -> Iterator[str]:
        redis = self.world.redis
        for member, _ in redis.zscan_iter(P + "tasks"):
            yield f"I1: {text(member)} is at rest in bridge:tasks, and was not watched to its end"
        for member in redis.zrange(P + "watch", 0, -1):
            yield f"I1: {text(member)} is still watched"

    def _snapshots(self) -> Iterator[str]:
        """As upstream is; while it lies, a snapshot may hold the lie about a time, if that was said of this status."""
        for task in self.expected.tasks:
            snapshot = {text(k): text(v) for k, v in self.world.redis.hgetall(f"{P}snapshot:{task}").items()}
            truth = self.world.upstream.task(task)
            said = (task, snapshot.get("status"), snapshot.get("updated_at"))
            if snapshot.get("status") != truth["status"] or said not in self.served:
                yield f"I8: {task} is {truth['status']} upstream and {snapshot.get('status')} in its snapshot"
            event = self.bodies.get(f"{P}event:{snapshot.get('event_id')}".encode())
            if not event or text(event.get(b"revision")) != snapshot.get("revision"):
                yield f"I2: the snapshot of {task} has no event of its revision"
            elif json.loads(unpack(event[b"body"]))["data"]["status"] != snapshot["status"]:
                yield f"I2: the snapshot of {task} and its event differ"

    def _history(self) -> Iterator[str]:
        by_task: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            body = self.bodies.get(f"{P}event:{event['id']}".encode())
            if not body or b"body" not in body:
                yield f"I5: {event['type']} of {event['task']} has no body"
                continue
            data = json.loads(unpack(body[b"body"]))["data"]
            by_task[event["task"]].append({**event, **data})
            if (event["task"], data["status"], data["updated_at"]) not in self.served:
                yield f"invented: {event['task']} {data['status']} was never served"
        for task, events in by_task.items():
            for earlier, later in pairwise(events):
                if int(later["revision"]) <= int(earlier["revision"]):
                    yield f"I3: the revision of {task} did not grow"
                if (later["status"], later["updated_at"]) == (earlier["status"], earlier["updated_at"]):
                    yield f"I4: {task} {later['status']} was committed twice"
                if later["updated_at"] < earlier["updated_at"]:
                    yield f"I9: {task} went back in time"

    def _owed(self) -> Iterator[str]:
        known = {event["id"] for event in self.events}
        for name, records in self.records.items():
            for event_id in known - records.keys():
                yield f"I5: {name} is not owed {event_id}"
            for event_id in records.keys() - known:
                yield f"I5: {name} is owed {event_id}, which nobody committed"
            for event_id, record in records.items():
                if record["state"] not in {"delivered", "dead"}:
                    yield f"I7: {name} {event_id} ({record['type']}) is {record['state']}"

    def _places(self) -> Iterator[str]:
        redis = self.world.redis
        for name, records in self.records.items():
            places: Counter[str] = Counter()
            for key in ("queue", "done", "dead"):
                places.update(text(member) for member in redis.zrange(f"{P}{key}:{name}", 0, -1))
            places.update(text(lease).split("/")[0] for lease in redis.zrange(f"{P}leases:{name}", 0, -1))
            for event_id in records:
                if places[event_id] != 1:
                    yield f"I6: {name} {event_id} is in {places[event_id]} places"

    def _counters(self) -> Iterator[str]:
        """Nothing ends twice: not by a settle of somebody who came too late, nor by one that was repeated.

        But what an operator brought back ended as a dead letter before.
        """
        ended = Counter(record["state"] for records in self.records.values() for record in records.values())
        ended["dead"] += int(self.world.redis.hget(P + "stats", "retried") or 0)
        for word in ("delivered", "dead"):
            counted = int(self.world.redis.hget(P + "stats", word) or 0)
            if counted != ended[word]:
                yield f"I13: {ended[word]} deliveries are {word}, and {counted} times one became so"

    def _bodies(self) -> Iterator[str]:
        held: Counter[str] = Counter()
        for key in self.world.redis.scan_iter(P + "deliveries:*"):
            held.update(text(event_id) for event_id in self.world.redis.hkeys(key))
        for key in self.world.redis.scan_iter(P + "snapshot:*"):
            held[text(self.world.redis.hget(key, "event_id"))] += 1
        for key, event in self.bodies.items():
            event_id = text(key).removeprefix(P + "event:")
            if int(event[b"refs"]) != held[event_id]:
                yield f"refs: {event_id} is held {held[event_id]} times and counts {text(event[b'refs'])}"

    def _attempts(self) -> Iterator[str]:
        posts: Counter[tuple[str, str]] = Counter((a.path[1:], a.id) for a in self.world.receiver.arrivals)
        for name, records in self.records.items():
            for event_id, record in records.items():
                logged = self.world.redis.llen(f"{P}attempts:{name}:{event_id}")
                made = posts[name, event_id]
                if logged != record["attempts"]:
                    yield f"I10: {name} {event_id} counts {record['attempts']} attempts and remembers {logged}"
                if abs(made - logged) > self.allowed:
                    yield f"I10: {name} {event_id} was posted {made} times and remembers {logged}"
                if record["state"] == "delivered" and not made:
                    yield f"ack first: {name} {event_id} is delivered and was never posted"

    def _arrivals(self) -> Iterator[str]:
        receiver = self.world.receiver
        if len(receiver.duplicates) > self.allowed:
            yield f"I11: {len(receiver.duplicates)} duplicates where {self.allowed} may be"
        for arrival in receiver.invalid:
            yield f"signature: {arrival.verdict}"
        said: dict[str, bytes] = {}
        for arrival in receiver.arrivals:
            if said.setdefault(arrival.id, arrival.body) != arrival.body and not self.world.rolled_back:
                yield f"I12: {arrival.id} has two bodies"
        ids: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        for arrival in receiver.arrivals:
            ids[arrival.task_id, arrival.status, str(arrival.data["updated_at"])].add(arrival.id)
        for state, names in ids.items():
            if len(names) > 1:
                yield f"two ids: {state} is {sorted(names)}"

    def _heard(self) -> Iterator[str]:
        """What a subscriber holds that applies the highest revision."""
        for task in self.expected.tasks:
            for name in self.expected.endpoints:
                latest = self.world.receiver.latest(task, f"/{name}")
                truth = self.world.upstream.task(task)["status"]
                if latest is None or latest.status != truth:
                    yield f"I7: {name} believes that {task} is {latest and latest.status}, and it is {truth}"

    def _order(self) -> Iterator[str]:
        late = self.world.receiver.out_of_order
        if len(late) > self.allowed:
            yield f"P4: {late[0].path} heard of {late[0].type} after a later one"

    def _leftovers(self) -> Iterator[str]:
        redis = self.world.redis
        if redis.exists(P + "fanout"):
            yield "I15: a hand-out was never finished"
        for key in [*redis.scan_iter(P + "line:*"), *redis.scan_iter(P + "turns:*")]:
            if text(key).split(":")[2] not in self.expected.held:
                yield f"I15: {text(key)} is left"
        for key in redis.scan_iter(P + "*"):
            if redis.ttl(key) != -1:
                yield f"TTL: {text(key)} would vanish by itself"


def at_rest(world: World, expected: Expected) -> bool:
    """Nothing is due, in flight or watched any more."""
    redis = world.redis
    keys = ["tasks", "watch", "fanout", *(f"{kind}:{n}" for n in expected.endpoints for kind in ("queue", "leases"))]
    return redis.exists(*(P + key for key in keys)) == 0
