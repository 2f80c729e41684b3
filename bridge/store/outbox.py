"""What we owe: deliveries, claimed and settled; dead letters; retention."""

import json
from dataclasses import dataclass
from secrets import token_hex

from bridge.model import Decision, Delivery
from bridge.store.keys import Keys
from bridge.store.registry import FANOUT_STEP, HasClient
from bridge.store.scripts import Scripts

CLAIMS_BEFORE_POISON = 20
"""A delivery that was claimed this often and never settled kills whoever takes it: it is put aside as poison."""

ATTEMPTS_KEPT = 20
"""How many attempts of a delivery are remembered, the latest ones."""

BLOCKED_BEFORE_DISABLED = 3
"""An endpoint whose address policy forbids is disabled after so many attempts in a row."""

BREADTH = 128
"""How many endpoints one claim looks at."""

PRUNE_BATCH = 500


@dataclass(frozen=True, slots=True)
class ClaimedDeliveries:
    """What a claim brought: the deliveries, Redis' time, when to come again (ms), and the version of the endpoints."""

    now: int
    next_at: int | None
    endpoints_version: str
    hand_outs: bool
    """Events wait to be handed to more endpoints than one step takes: call `fan_out`."""
    deliveries: list[Delivery]


class Outbox:
    """Deliveries in Redis."""

    def __init__(self, store: HasClient) -> None:
        self._keys: Keys = store.keys
        self._scripts: Scripts = store.scripts

    async def claim(self, slots: int, *, lease_ms: int) -> ClaimedDeliveries:
        """Lease up to `slots` due deliveries, fairly over the endpoints."""
        token = token_hex(16)
        reply = await self._scripts.call("claim_deliveries", slots, lease_ms, token, CLAIMS_BEFORE_POISON, BREADTH)
        return ClaimedDeliveries(
            now=int(reply[0]),
            next_at=int(float(reply[1])) if reply[1] else None,
            endpoints_version=reply[2].decode(),
            hand_outs=reply[3] == 1,
            deliveries=[_delivery(token, *entry) for entry in reply[4:]],
        )

    async def settle(self, delivery: Delivery, decision: Decision, attempt: str) -> str:
        """Record an attempt (JSON) and move its delivery on. Replies `ok`, `stale` or `disabled`."""
        word: bytes = await self._scripts.call(
            "settle", delivery.endpoint, delivery.event_id, delivery.token, decision.state, decision.retry_in_ms or 0,
            decision.reason or "", decision.effect, decision.pause_ms, attempt, ATTEMPTS_KEPT, BLOCKED_BEFORE_DISABLED,
        )  # fmt: skip
        return word.decode()

    async def give_back(self, delivery: Delivery, *, delay_ms: int) -> str:
        """Give a claimed delivery back unattempted, for a reason of ours. Replies `ok` or `stale`."""
        word: bytes = await self._scripts.call(
            "give_back", delivery.endpoint, delivery.event_id, delivery.token, delay_ms
        )
        return word.decode()

    async def fan_out(self) -> int:
        """Hand the oldest waiting event to its next endpoints; replies how many were served."""
        return int(await self._scripts.call("fan_out", FANOUT_STEP))

    async def prune(self, endpoint: str, *, delivered_ms: int, dead_ms: int) -> int:
        """Forget ended deliveries of an endpoint that are older than retention asks, a batch; replies how many."""
        done = await self._scripts.call("prune", "done", endpoint, delivered_ms, PRUNE_BATCH)
        dead = await self._scripts.call("prune", "dead", endpoint, dead_ms, PRUNE_BATCH)
        return int(done) + int(dead)

    async def prune_tasks(self, *, older_than_ms: int) -> int:
        """Forget tasks that ended longer ago than this, a batch; replies how many."""
        return int(await self._scripts.call("prune_tasks", older_than_ms, PRUNE_BATCH))


def _delivery(token: str, endpoint: bytes, event_id: bytes, text: bytes, body: bytes) -> Delivery:
    record = json.loads(text)
    return Delivery(
        event_id=event_id.decode(),
        endpoint=endpoint.decode(),
        type=record["type"],
        task=record["task"],
        revision=int(record["revision"]),
        created_at=int(record["created"]),
        attempts=int(record["attempts"]),
        trigger=record.get("trigger") or "schedule",
        token=token,
        body=body,
    )
