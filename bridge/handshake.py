"""Asking receivers, where their endpoints require it, for their consent before anything is sent. Beside delivering."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bridge.consent import Consent, Word, consenting
from bridge.errors import BridgeError
from bridge.model import Endpoint
from bridge.pump import Batch, Log

SLOTS = 4
"""How many are asked at a time by one process."""
LOOK_SECONDS = 1.0
"""How soon a new one is noticed, at the latest."""
LEASE_SPARE_MS = 10_000
"""After the deadline of a request, before somebody else asks."""
OURS = "not asked"
"""Where the receiver is not to blame: a missing secret, a proxy that is down."""


class Unconfirmed(Protocol):
    """An endpoint whose receiver is to be asked."""

    @property
    def name(self) -> str: ...


class Claimed(Protocol):
    """What a claim brought."""

    @property
    def now(self) -> int: ...
    @property
    def next_at(self) -> int | None: ...
    @property
    def endpoints_version(self) -> str: ...
    @property
    def unconfirmed(self) -> Sequence[Unconfirmed]: ...


class Handshakes(Protocol):
    """What asking needs of the store."""

    async def claim(self, slots: int, *, lease_ms: int) -> Claimed: ...
    async def settle(self, one: Any, asked: str, consent: Consent) -> str: ...


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


class Sender(Protocol):
    """What asks one receiver."""

    async def ask(self, endpoint: Endpoint) -> Consent: ...


class Asker:
    """One process' asking. `renew` reads the endpoints anew where a claim knows of newer ones."""

    def __init__(
        self,
        handshakes: Handshakes,
        registry: Registry,
        sender: Sender,
        *,
        renew: Callable[[], Awaitable[object]],
        deadline_seconds: float,
        log: Log,
    ) -> None:
        self._handshakes, self._registry, self._sender, self._renew = handshakes, registry, sender, renew
        self._lease_ms, self._log = int(deadline_seconds * 1000) + LEASE_SPARE_MS, log

    async def claim(self, slots: int) -> Batch[Unconfirmed]:
        """Take on those that are due. Redis is not asked while no endpoint requires a consent, as most never do."""
        if not any(one.handshake for one in self._registry.endpoints.by_name.values()):
            return Batch(0, None, [])
        claimed = await self._handshakes.claim(slots, lease_ms=self._lease_ms)
        if claimed.unconfirmed and claimed.endpoints_version != self._registry.endpoints.version:
            await self._renew()
        return Batch(claimed.now, claimed.next_at, claimed.unconfirmed)

    async def ask(self, one: Unconfirmed) -> None:
        """Ask one receiver and keep what it said. What fails on our side is asked again, like what has no answer."""
        endpoint = self._registry.endpoints.by_name.get(one.name)
        if endpoint is None:  # taken back meanwhile
            return
        try:
            consent = await self._sender.ask(endpoint)
        except BridgeError as error:
            self._log.warning("handshake.not_asked", endpoint=one.name, error=str(error), fix=error.fix)
            consent = Consent(Word.UNANSWERED, detail=str(error), fault=OURS)
        settled = await self._handshakes.settle(one, consenting(endpoint.url), consent)
        tell = self._log.info if consent.word is Word.GRANTED else self._log.warning
        tell(
            f"handshake.{consent.word}",
            endpoint=one.name,
            status_code=consent.status_code,
            fault=consent.fault,
            detail=consent.detail or None,
            per_minute=consent.per_minute,
            settled=settled,
            fix=None if consent.word is Word.GRANTED else f"bridge endpoint show {one.name}",
        )
