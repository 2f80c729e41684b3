"""What the second story promises beside what every world does.

Strict order, silence while held, a change of secrets that no receiver notices, a hand-out that leaves nobody out; ends
that were read whole; a rate and a budget that were kept.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from verdict import Expected, P, State, text
from virtual import START
from world import SECRET, World

from bridge.model import TERMINAL_STATUSES
from bridge.packing import unpack
from bridge.sandbox.receiver import Arrival
from bridge.store.reading.trips import as_delivery
from bridge.tl_signature import verify_any

UNDER_WAY_SECONDS = 0.1
"""What is in flight when its endpoint is held arrives within this."""

RATE = 2
"""Attempts a second that `h` takes, and at once."""
REMEMBERED_SECONDS = 60
"""For so long Redis remembers what was granted."""


@dataclass
class Course:
    """When what happened, in virtual seconds."""

    held_from: float = float("inf")
    """An operator's hold of `h` was in force from here …"""
    held_to: float = float("inf")
    """… to here."""


class Aftermath(State):
    """Redis at rest after the second story."""

    def __init__(self, world: World, expected: Expected, course: Course, *, old_until: float) -> None:
        super().__init__(world, expected)
        self._course, self._old_until = course, old_until

    def complaints(self) -> Iterator[str]:
        """All that is wrong."""
        yield from super().complaints()
        for check in (
            self._strictly,
            self._silence,
            self._secrets,
            self._crowd,
            self._revived,
            self._rate,
            self._budget,
            self._whole,
        ):
            yield from check()

    def _to(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.world.receiver.arrivals if arrival.path == path]

    def _strictly(self) -> Iterator[str]:
        """Of a task, `s` never hears of one event after a later one: not first, not again."""
        heard: defaultdict[str, list[Arrival]] = defaultdict(list)
        for arrival in self._to("/s"):
            heard[arrival.task_id].append(arrival)
        for arrivals in heard.values():
            for earlier, later in pairwise(arrivals):
                if (later.revision or 0) < (earlier.revision or 0):
                    yield f"strict: {later.type} attempt {later.attempt} came after {earlier.type}"

    def _silence(self) -> Iterator[str]:
        course = self._course
        for arrival in self._to("/h"):
            if course.held_from + UNDER_WAY_SECONDS < arrival.at < course.held_to:
                yield f"held: {arrival.type} arrived at {arrival.at}, held from {course.held_from} to {course.held_to}"

    def _secrets(self) -> Iterator[str]:
        """Nobody is signed to with a secret whose time is over; that each arrival verifies is judged for all."""
        for arrival in self._to("/a"):
            now = int(START + arrival.at)
            if arrival.at > self._old_until and verify_any((SECRET,), arrival.headers, arrival.body, now) is None:
                yield f"rotation: {arrival.type} is still signed with the old secret at {arrival.at}"

    def _crowd(self) -> Iterator[str]:
        """Each of those that are held is owed what it asked for, once, in its queue or behind another of the task."""
        wanted = {event["id"] for event in self.events if event["type"] == "index.task.ready"}
        redis = self.world.redis
        for name in sorted(self.expected.held):
            records = {text(k): as_delivery(v) for k, v in redis.hgetall(f"{P}deliveries:{name}").items()}
            if records.keys() != wanted or any(record["state"] != "pending" for record in records.values()):
                yield f"I5: {name} is owed {records}, and asked for {wanted}"
            places = Counter(text(member) for member in redis.zrange(f"{P}queue:{name}", 0, -1))
            for line in redis.scan_iter(f"{P}line:{name}:*") if len(wanted) > 1 else ():
                places.update(text(member) for member in redis.lrange(line, 0, -1))
            if places != Counter(wanted):
                yield f"I6: {name} has {places} in its queue and lines"

    def _revived(self) -> Iterator[str]:
        """The dead letter was brought back, once, and delivered."""
        if int(self.world.redis.hget(P + "stats", "retried") or 0) != 1:
            yield f"recover: {text(self.world.redis.hget(P + 'stats', 'retried'))} dead letters came back"

    def _rate(self) -> Iterator[str]:
        """I16 of a rate: so many attempts at once, and from then on no more than one each interval.

        A request that a kept connection lost unanswered is the same attempt when another one carries it.
        """
        seen: dict[tuple[str, int], float] = {}
        arrived = []
        for arrival in self._to("/h"):
            attempt = arrival.id, arrival.attempt
            if arrival.at - seen.get(attempt, float("-inf")) > UNDER_WAY_SECONDS:
                arrived.append(arrival.at)
            seen[attempt] = arrival.at
        for earlier, later in zip(arrived, arrived[RATE:], strict=False):
            if later - earlier < 1 / RATE - UNDER_WAY_SECONDS:
                yield f"I16: h heard {RATE + 1} times from {earlier} to {later}"

    def _budget(self) -> Iterator[str]:
        """I18: upstream was asked no more often than it was granted."""
        grants = self.world.redis.hgetall(P + "spent:default")
        granted = sum(int(number) for second, number in grants.items() if b" " not in second)
        asked = len(self.world.upstream.requests)
        if granted < asked and self.world.loop.time() < REMEMBERED_SECONDS:
            yield f"I18: upstream was asked {asked} times, and {granted} requests were granted"

    def _whole(self) -> Iterator[str]:
        """An end is told as the task itself, read by id, says it: a row of the list is thin."""
        read = {(one.task_id, one.updated_at) for one in self.world.upstream.served if one.via == "retrieve"}
        for event in self.events:
            data = json.loads(unpack(self.bodies[f"{P}event:{event['id']}".encode()][b"body"]))["data"]
            if data["status"] in TERMINAL_STATUSES and (event["task"], data["updated_at"]) not in read:
                yield f"enriched: that {event['task']} is {data['status']} was told from a row"
