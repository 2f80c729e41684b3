"""Many tasks, three subscribers, and what may be said of everything that arrived."""

import json
import os
import signal
from collections import defaultdict

from redis import Redis
from town import SECRET, Running, Town

STATES = 3
"""The states of a task here, the one at its registration included."""
HOOKS = ("a", "b", "c")


def populate(town: Town, tasks: int) -> list[str]:
    """Tasks that are queued upstream, and three endpoints that take all of it."""
    names = [f"m{number:04}" for number in range(tasks)]
    for name in names:
        town.simulator.add_task(name, (), status="queued")
    with Redis.from_url(town.redis.url) as client:
        client.zrem("bridge:tasks", "t1")
        client.hdel("bridge:endpoints", "mine")
        for hook in HOOKS:
            definition = {"url": f"{town.receiver.url}/{hook}", "secret": SECRET}
            client.hset("bridge:endpoints", hook, json.dumps(definition))
        client.zadd("bridge:tasks", dict.fromkeys(names, 0))
    return names


def everybody_knows(town: Town, names: list[str]) -> bool:
    """Each subscriber holds each task's true status."""
    for name in names:
        truth = town.simulator.task(name)["status"]
        for hook in HOOKS:
            latest = town.receiver.latest(name, f"/{hook}")
            if latest is None or latest.status != truth:
                return False
    return True


def move_on(town: Town, names: list[str], status: str) -> None:
    """All tasks reach this status upstream."""
    for name in names:
        town.simulator.change(name, {"status": status})


def judge(town: Town, names: list[str]) -> dict[str, int]:
    """Nothing invented, no state under two ids, no id with two bodies; what was doubled or came late is counted."""
    served = {(s.task_id, s.status, s.updated_at) for s in town.simulator.served}
    ids: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    bodies: defaultdict[str, set[bytes]] = defaultdict(set)
    arrivals = list(town.receiver.arrivals)
    for arrival in arrivals:
        assert arrival.verdict is None
        state = (arrival.task_id, arrival.status, str(arrival.data["updated_at"]))
        assert state in served
        assert not state[2].startswith("2020"), f"{state} was a lie"
        ids[state].add(arrival.id)
        bodies[arrival.id].add(arrival.body)
    assert all(len(known) == 1 for known in ids.values())
    assert all(len(known) == 1 for known in bodies.values())
    assert everybody_knows(town, names)
    assert len(ids) == STATES * len(names)
    figures = {"tasks": len(names), "arrivals": len(arrivals)}
    return {**figures, "doubled": len(town.receiver.duplicates), "late": len(town.receiver.out_of_order)}


def leased(url: str) -> int:
    """Deliveries in flight."""
    with Redis.from_url(url) as client:
        return sum(client.zcard(f"bridge:leases:{hook}") for hook in HOOKS)


def kill_tree(running: Running) -> None:
    """SIGKILL to the supervisor and to each of its children."""
    pids = [running.process.pid, *running.children()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    running.process.wait()
