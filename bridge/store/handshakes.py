"""Whom to ask for their consent to be sent events, and what they said."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.consent import Consent, Word, granted_rate
from bridge.store.records import as_text
from bridge.store.registry import HasClient
from bridge.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """An endpoint whose receiver is to be asked."""

    name: str
    tries: int
    """How often in a row it gave no answer."""


@dataclass(frozen=True, slots=True)
class ClaimedHandshakes:
    """What a claim brought: whom to ask, Redis' time, when to come again (ms), and the version of the endpoints."""

    now: int
    next_at: int | None
    endpoints_version: str
    unconfirmed: Sequence[Unconfirmed]


class Handshakes:
    """Those that are outstanding, in Redis."""

    def __init__(self, store: HasClient) -> None:
        self._scripts: Scripts = store.scripts

    async def claim(self, slots: int, *, lease_ms: int) -> ClaimedHandshakes:
        """Take on up to `slots` of those that are due; after the lease they are due again."""
        now, next_at, version, *flat = await self._scripts.call("claim_handshakes", slots, lease_ms)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return ClaimedHandshakes(
            now=int(now),
            next_at=int(float(next_at)) if next_at else None,
            endpoints_version=version.decode(),
            unconfirmed=[Unconfirmed(as_text(name), int(tries)) for name, tries in pairs],
        )

    async def settle(self, one: Unconfirmed, asked: str, consent: Consent) -> str:
        """Keep what came of asking (`consent.consenting` of the URL says whom). Replies `ok` or `stale`."""
        granted, tries = consent.per_minute, 0 if consent.word is Word.REFUSED else one.tries + 1
        rate = f"{granted_rate(granted).as_text()} {granted}" if granted else ""
        return as_text(
            await self._scripts.call(
                "settle_handshake", one.name, asked, consent.word, rate, consent.failure(),
                consent.again_ms(one.tries), tries,
            )
        )  # fmt: skip
