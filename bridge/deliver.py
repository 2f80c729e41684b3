"""Delivering: claim due deliveries, sign and post each, decide, and settle. A pump, not a batch."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from bridge.attempt import attempt_record
from bridge.errors import BridgeError, StoreDown
from bridge.model import Decision, Delivery, Endpoint, Outcome
from bridge.pump import Batch, Log, RedisClock, persist
from bridge.schedule import RetryPolicy, decide
from bridge.tally import Tally, attempt_word, of_attempt

NOT_ATTEMPTED_MS = 20_000
"""How long a delivery waits that we could not attempt, for a reason of ours such as a missing secret."""


class Claimed(Protocol):
    """What a claim brought."""

    @property
    def now(self) -> int: ...
    @property
    def next_at(self) -> int | None: ...
    @property
    def endpoints_version(self) -> str: ...
    @property
    def hand_outs(self) -> bool: ...
    @property
    def deliveries(self) -> Sequence[Delivery]: ...


class Outbox(Protocol):
    """What delivering needs of the store."""

    async def claim(self, slots: int, *, lease_ms: int) -> Claimed: ...
    async def settle(self, delivery: Delivery, decision: Decision, attempt: str, *, word: str, tally: Tally) -> str: ...
    async def give_back(self, delivery: Delivery, *, delay_ms: int) -> str: ...
    async def fan_out(self) -> int: ...


class EndpointSet(Protocol):
    """The endpoints in force at one version."""

    @property
    def version(self) -> str: ...
    @property
    def by_name(self) -> Mapping[str, Endpoint]: ...


class Registry(Protocol):
    """Where endpoints are looked up."""

    @property
    def endpoints(self) -> EndpointSet: ...
    async def reload_endpoints(self) -> EndpointSet: ...


class Sender(Protocol):
    """What makes one attempt."""

    async def post(self, endpoint: Endpoint, delivery: Delivery) -> Outcome: ...
    def forget(self, endpoint: str) -> None: ...


class Deliverer:
    """One process' delivering. `jitter` gives a number uniform in [-1, 1]."""

    def __init__(
        self,
        outbox: Outbox,
        registry: Registry,
        sender: Sender,
        policy: RetryPolicy,
        *,
        lease_seconds: float,
        clock: RedisClock,
        jitter: Callable[[], float],
        log: Log,
    ) -> None:
        self._outbox, self._registry, self._sender, self._policy = outbox, registry, sender, policy
        self._lease_seconds, self._clock, self._jitter, self._log = lease_seconds, clock, jitter, log

    async def claim(self, slots: int) -> Batch[tuple[Delivery, float]]:
        """Lease due deliveries; events for more endpoints than one step takes are handed on beside.

        What is leased is ours to work, also when Redis goes away a moment later.
        """
        claimed = await self._outbox.claim(slots, lease_ms=int(self._lease_seconds * 1000))
        claimed_at = time.monotonic()
        self._clock.set(claimed.now)
        if claimed.endpoints_version != self._registry.endpoints.version:
            until = claimed_at + self._lease_seconds
            if await persist(self.renew_endpoints, until=until, log=self._log) is None:
                return Batch(claimed.now, claimed.next_at, [])
        if claimed.hand_outs:
            with suppress(StoreDown):  # the next claim finds it still waiting
                await self._outbox.fan_out()
        items = [(delivery, claimed_at) for delivery in claimed.deliveries]
        return Batch(claimed.now, claimed.next_at, items, more=claimed.hand_outs)

    async def attempt(self, item: tuple[Delivery, float]) -> None:
        """Make one attempt and settle it."""
        delivery, claimed_at = item
        if time.monotonic() >= claimed_at + self._lease_seconds:
            self._log.warning("lease.lost", error="this worker slept or was starved between claim and attempt")
            return
        endpoint = self._registry.endpoints.by_name.get(delivery.endpoint)
        if endpoint is None:  # taken back meanwhile, and what it is owed is being cancelled; or Redis forgot it
            await self._give_back(delivery, claimed_at)
            return
        try:
            outcome = await self._sender.post(endpoint, delivery)
        except BridgeError as error:
            self._log.warning("delivery.not_attempted", endpoint=endpoint.name, error=str(error), fix=error.fix)
            await self._give_back(delivery, claimed_at)
            return
        now = self._clock.now()
        decision = decide(delivery, outcome, self._policy.of(endpoint), now=now, jitter=self._jitter())
        attempt, counted = attempt_record(delivery, outcome, decision, at=now), attempt_word(outcome)
        tally = of_attempt(delivery, outcome, decision, now=now)
        word = await persist(
            lambda: self._outbox.settle(delivery, decision, attempt, word=counted, tally=tally),
            until=claimed_at + self._lease_seconds,
            log=self._log,
        )
        self._report(delivery, outcome, decision, word)
        self._report_endpoint(delivery, decision, word)

    async def _give_back(self, delivery: Delivery, claimed_at: float) -> None:
        await persist(
            lambda: self._outbox.give_back(delivery, delay_ms=NOT_ATTEMPTED_MS),
            until=claimed_at + self._lease_seconds,
            log=self._log,
        )

    async def renew_endpoints(self) -> EndpointSet:
        """Read the endpoints anew; of those that are gone or changed, connections close."""
        before = dict(self._registry.endpoints.by_name)
        after = await self._registry.reload_endpoints()
        for name, endpoint in before.items():
            if after.by_name.get(name) != endpoint:
                self._sender.forget(name)
        return after

    def _report(self, delivery: Delivery, outcome: Outcome, decision: Decision, word: str | None) -> None:
        """One wide line per attempt: what was tried, what came of it, and what follows."""
        self._log.info(
            "delivery.attempted",
            endpoint=delivery.endpoint,
            task=delivery.task,
            event_id=delivery.event_id,
            type=delivery.type,
            attempt=delivery.attempts + 1,
            trigger=delivery.trigger,
            probe=delivery.probe,
            status_code=outcome.status_code,
            fault=outcome.fault,
            detail=outcome.detail or None,
            duration_ms=round(outcome.timing.total_ms, 1),
            next=str(decision.state),
            reason=decision.reason,
            retry_in_ms=decision.retry_in_ms,
            settled=word,
        )

    def _report_endpoint(self, delivery: Delivery, decision: Decision, word: str | None) -> None:
        """What an attempt changed for its endpoint as a whole."""
        if word == "held":
            show = f"bridge endpoint show {delivery.endpoint}"
            self._log.warning("endpoint.held", endpoint=delivery.endpoint, probe_in_ms=decision.probe_in_ms, fix=show)
        elif word == "back":
            self._log.info("endpoint.back", endpoint=delivery.endpoint)
