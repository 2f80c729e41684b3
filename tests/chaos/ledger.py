"""What Redis holds, for two questions: is it what it was, and does it agree with itself?"""

from collections import Counter
from typing import Any

from bridge.store.reading.trips import as_delivery

Ledger = dict[str, Any]
Client = Any
"""A redis-py client of raw replies; as it types them, each reply may be anything."""


def contents(client: Client) -> dict[bytes, object]:
    """Every key with all that it holds, without the nudges, which say nothing.

    Byte by byte, but for hashes: to read one that has just grown moves its fields about, and that is no change.
    """
    keys = sorted(key for key in _keys(client, "*") if not key.startswith(b"bridge:wake:"))
    return {key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key) for key in keys}


def ledger(client: Client) -> Ledger:
    """What the verbs have done, without what is drawn by lot (tokens) or told by the clock of the machine."""
    names = sorted(name.decode() for name in client.smembers("bridge:names"))
    return {
        "tasks": client.zrange("bridge:tasks", 0, -1, withscores=True),
        "watch": client.zrange("bridge:watch", 0, -1, withscores=True),
        "snapshots": {key: client.hgetall(key) for key in sorted(_keys(client, "bridge:snapshot:*"))},
        "events": client.xlen("bridge:events"),
        "bodies": {key: client.hgetall(key) for key in sorted(_keys(client, "bridge:event:*"))},
        "stats": client.hgetall("bridge:stats"),
        "notices": client.lrange("bridge:notices", 0, -1),
        "endpoints": {name: _of_endpoint(client, name) for name in names},
    }


def _of_endpoint(client: Client, name: str) -> Ledger:
    leases = client.zrange(f"bridge:leases:{name}", 0, -1, withscores=True)
    return {
        "state": client.hgetall(f"bridge:endpoint:{name}"),
        "records": client.hgetall(f"bridge:deliveries:{name}"),
        "queue": client.zrange(f"bridge:queue:{name}", 0, -1, withscores=True),
        "leases": sorted((entry.split(b"/")[0], ends) for entry, ends in leases),
        "attempts": {key: client.llen(key) for key in sorted(_keys(client, f"bridge:attempts:{name}:*"))},
    }


def disagreements(client: Client) -> list[str]:
    """What is half written: a delivery that waits nowhere or twice, a body that is missing or that nobody lets go of.

    To be asked while nothing works on this Redis: it is not one step.
    """
    holders: Counter[bytes] = Counter(client.lrange("bridge:fanout", 0, -1))
    for key in _keys(client, "bridge:snapshot:*"):
        if event_id := client.hget(key, "event_id"):
            holders[event_id] += 1
    found = []
    for key in _keys(client, "bridge:deliveries:*"):
        records = {name: as_delivery(text) for name, text in client.hgetall(key).items()}
        holders.update(list(records))
        found += _misplaced(client, key.decode().removeprefix("bridge:deliveries:"), records)
    for key in _keys(client, "bridge:event:*"):
        body, refs = client.hmget(key, "body", "refs")
        need = holders.pop(key.removeprefix(b"bridge:event:"), 0)
        if not body or int(refs or 0) != need:
            found.append(f"{key!r} has {len(body or b'')} bytes and {refs!r} references; {need} need it")
    return found + [f"{event_id!r} is gone, and {need} need it" for event_id, need in holders.items()]


def _misplaced(client: Client, endpoint: str, records: dict[bytes, Any]) -> list[str]:
    """A pending delivery waits in one place: queue, leases, or behind its task's turn; an ended one in none.

    And whose turn it is, is one of the pending ones, where anybody waits for it.
    """
    places: Counter[bytes] = Counter(client.zrange(f"bridge:queue:{endpoint}", 0, -1))
    places.update(entry.split(b"/")[0] for entry in client.zrange(f"bridge:leases:{endpoint}", 0, -1))
    for key in _keys(client, f"bridge:line:{endpoint}:*"):
        places.update(client.lrange(key, 0, -1))
    wanted = Counter({event_id: 1 for event_id, record in records.items() if record["state"] == "pending"})
    wrong = {event_id for event_id in {*places, *wanted} if places[event_id] != wanted[event_id]}
    turns = client.hgetall(f"bridge:turns:{endpoint}")
    stuck = [key for key in _keys(client, f"bridge:line:{endpoint}:*") if _last(key, endpoint) not in turns]
    return [f"{endpoint}/{event_id!r} waits in {places[event_id]} places" for event_id in sorted(wrong)] + [
        f"nobody's turn has come in {key!r}" for key in stuck
    ]


def _last(line: bytes, endpoint: str) -> bytes:
    """The member whose line it is."""
    return line.removeprefix(f"bridge:line:{endpoint}:".encode())


def _keys(client: Client, pattern: str) -> list[bytes]:
    return sorted(client.keys(pattern))
