"""What we owe: deliveries, claimed and settled; dead letters; retention."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from bridge.breaker import FAILURES_BEFORE_OPEN, OPEN_AFTER_MS, WARNED_AT_PERCENT
from bridge.model import Decision, Delivery, EndpointEffect
from bridge.packing import unpack
from bridge.rejection import REJECTED
from bridge.store.keys import Keys
from bridge.store.records import as_text
from bridge.store.registry import FANOUT_STEP, HasClient
from bridge.store.scripts import Argument, Scripts
from bridge.tally import Tally, as_words

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


@dataclass(frozen=True, slots=True)
class Retried:
    """What came of asking for an attempt."""

    word: str
    """`due` or `revived`; else why not: `missing`, `removed`, `body-lost`, `leased`, `behind`, `delivered`, …"""
    endpoint_state: str
    rests_until_at: int | None
    """The endpoint asked for a rest until this moment (ms)."""
    first: str = ""
    """With `behind`: the event that goes first."""


class Outbox:
    """Deliveries in Redis."""

    def __init__(self, store: HasClient) -> None:
        self._keys: Keys = store.keys
        self._scripts: Scripts = store.scripts

    async def claim(self, slots: int, *, lease_ms: int) -> ClaimedDeliveries:
        """Lease up to `slots` due deliveries, fairly over the endpoints."""
        token = token_hex(16)
        reply = await self._scripts.call(
            "claim_deliveries", slots, lease_ms, token, CLAIMS_BEFORE_POISON, BREADTH, REJECTED
        )
        return ClaimedDeliveries(
            now=int(reply[0]),
            next_at=int(float(reply[1])) if reply[1] else None,
            endpoints_version=reply[2].decode(),
            hand_outs=reply[3] == 1,
            deliveries=[_delivery(token, entry) for entry in reply[4:]],
        )

    async def settle(
        self, delivery: Delivery, decision: Decision, attempt: str, *, word: str = "", tally: Tally | None = None
    ) -> str:
        """Record an attempt (JSON) and move its delivery on. `word` is what its endpoint's counters call it.

        Replies `ok`, `stale`, or what became of the endpoint with it: `held`, `back` or `disabled`.
        """
        limits: tuple[Argument, ...] = ()
        if decision.effect is not EndpointEffect.SUCCESS:
            limits = (
                *(BLOCKED_BEFORE_DISABLED, decision.probe_in_ms, "" if delivery.probe is None else delivery.probe),
                *(FAILURES_BEFORE_OPEN, OPEN_AFTER_MS, decision.window_ms, " ".join(map(str, WARNED_AT_PERCENT))),
            )
        reply: bytes = await self._scripts.call(
            "settle", delivery.endpoint, delivery.event_id, delivery.token, decision.state, decision.retry_in_ms or 0,
            decision.reason or "", decision.effect, decision.pause_ms, attempt, ATTEMPTS_KEPT,
            word, as_words(tally), *limits,
        )  # fmt: skip
        return reply.decode()

    async def give_back(self, delivery: Delivery, *, delay_ms: int) -> str:
        """Give a claimed delivery back unattempted, for a reason of ours. Replies `ok` or `stale`."""
        word: bytes = await self._scripts.call(
            "give_back", delivery.endpoint, delivery.event_id, delivery.token, delay_ms
        )
        return word.decode()

    async def retry(self, event_id: str, endpoint: str, *, force: bool = False) -> Retried:
        """Have a delivery attempted now; one that has ended is owed again. `force`: also one that was delivered."""
        word, state, rests, first = await self._scripts.call(
            "retry_delivery", endpoint, event_id, token_hex(8), int(force)
        )
        return Retried(as_text(word), as_text(state), int(rests) or None, as_text(first))

    async def cancel(self, event_id: str, endpoint: str) -> str:
        """Owe a delivery no longer. Replies `cancelled`, `missing`, `leased`, or how it had ended."""
        return as_text(await self._scripts.call("cancel_delivery", endpoint, event_id))

    async def fan_out(self) -> int:
        """Hand the oldest waiting event to its next endpoints; replies how many were served."""
        return int(await self._scripts.call("fan_out", FANOUT_STEP))

    async def prune(self, endpoint: str, *, delivered_ms: int, dead_ms: int) -> int:
        """Forget ended deliveries of an endpoint that are older than retention asks, a batch of each kind; how many."""
        return int(await self._scripts.call("prune", endpoint, delivered_ms, dead_ms, PRUNE_BATCH))

    async def prune_tasks(self, *, older_than_ms: int) -> int:
        """Forget tasks that ended longer ago than this, a batch; replies how many."""
        return int(await self._scripts.call("prune_tasks", older_than_ms, PRUNE_BATCH))


def _delivery(token: str, entry: Sequence[Any]) -> Delivery:
    endpoint, event_id, event_type, task, revision, made, attempts, trigger, *entry = entry
    round_from, round_at, probe, early, body = entry
    return Delivery(
        event_id=as_text(event_id),
        endpoint=endpoint.decode(),
        type=as_text(event_type),
        task=as_text(task),
        revision=int(revision),
        created_at=int(made),
        attempts=int(attempts),
        trigger=as_text(trigger) or "schedule",
        token=token,
        body=unpack(body),
        round_from=int(round_from),
        round_at=int(round_at) if round_at else None,
        probe=None if probe == b"" else int(probe),
        early_until=int(early) if early else None,
    )
