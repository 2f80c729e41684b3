"""An operator's word about an endpoint as a whole: held, tried again, its dead letters brought back, written anew."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, cast

from bridge.model import DeadReason
from bridge.recovery import DeadLetter
from bridge.store.reading.trips import as_ms, as_record
from bridge.store.records import as_text
from bridge.store.registry import HasClient
from bridge.store.scripts import store_errors

BATCH = 250
"""How many deliveries one step moves: some ten milliseconds of Redis' time."""
LOOKED = 2_000
"""How many records of lines one step of a recovery looks at, or the like of it."""
BATCHES = 10_000
"""How many steps an enabling takes at most."""
PAGE = 1_000
RECOVERED = 500_000
"""The most dead letters that one recovery looks at; the rest is the next one's."""


@dataclass(frozen=True, slots=True)
class Steered:
    """What came of disabling or enabling."""

    word: str
    """`done`, `same` (it was so), `missing`, `overruled` (somebody else has said the opposite meanwhile),
    `unconfirmed` (its receiver has to consent first, and is asked), or `more`: the time was up before all was done."""
    before: str
    """Its state until then."""
    reason: str
    """Why it was disabled until then; empty if it was not."""
    pending: int
    """How many deliveries it is owed."""
    why: str = ""
    """Of a hold that was asked for: its reason."""


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Those of an endpoint since a moment."""

    found: tuple[DeadLetter, ...]
    more: bool
    """There are more than one recovery looks at."""
    reached: int = 0
    """When the last of these ended (ms): since then there may be more."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came of bringing dead letters back."""

    recovered: int = 0
    lost: int = 0
    """Their bodies are gone from Redis: there is nothing to send."""
    left: int = 0
    """The time was up before these were come to."""
    removed: bool = False
    """The endpoint was removed meanwhile."""


class Steering:
    """The verbs. Each raises StoreDown when Redis is away, and may then be repeated."""

    def __init__(self, store: HasClient) -> None:
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts

    async def disable(self, name: str, reason: str = "") -> Steered:
        """Hold everything that is owed to an endpoint, until somebody enables it. In-flight attempts finish.

        Without a reason, that of an operator's hold which stands is kept.
        """
        return await self._steer(name, "disable", reason)

    async def enable(
        self, name: str, *, moved: Callable[[int], None] = lambda _: None, deadline: float | None = None
    ) -> Steered:
        """Let an endpoint be tried again, with all that was held for it; killed in between, it is still disabled.

        `moved` is told how many more deliveries were looked at. At `deadline` (monotonic seconds) it ends with `more`;
        with a deadline, too, it goes on where another one had ended so.
        """
        token = None if deadline is None else await self._under_way(name)
        return await self._steer(name, "enable", "", moved, token=token, deadline=deadline)

    async def _under_way(self, name: str) -> str | None:
        """The token of an enabling of this very hold that was begun and has not come to its end."""
        asked = ["asked:enable", "resuming", "resumed_at", "disabled_at"]
        with store_errors():
            token, resuming, begun, held = await self._client.hmget(self._keys.endpoint(name), asked)
        goes_on = token and resuming and (as_ms(begun) or 0) >= (as_ms(held) or 0)
        return as_text(token) if goes_on else None

    async def _steer(
        self,
        name: str,
        verb: str,
        reason: str,
        moved: Callable[[int], None] = lambda _: None,
        *,
        token: str | None = None,
        deadline: float | None = None,
    ) -> Steered:
        token = token or token_hex(8)
        word, state, before, pending, why = await self._scripts.call("steer_endpoint", name, verb, token, reason, BATCH)
        for _ in range(BATCHES):
            if word != b"more" or (deadline is not None and time.monotonic() >= deadline):
                break
            moved(BATCH)
            word, *_ = await self._scripts.call("steer_endpoint", name, verb, token, reason, BATCH)
        return Steered(as_text(word), as_text(state), as_text(before), int(pending), as_text(why))

    async def dead_letters(self, name: str, since: int, *, most: int = RECOVERED) -> DeadLetters:
        """The dead letters of an endpoint that ended at or after `since` (ms), about `most` of them.

        They are all of each moment, so that whoever goes on since `reached` meets each of them once.
        """
        found: list[DeadLetter] = []
        ended: list[int] = []
        for start in range(0, RECOVERED, PAGE):
            if start >= most and ended[-1] > since:
                whole = bisect_left(ended, ended[-1])
                return DeadLetters(tuple(found[:whole]), more=True, reached=ended[-1])
            with store_errors():
                reply: Any = await self._client.zrange(
                    self._keys.dead(name), since, "+inf", byscore=True, offset=start, num=PAGE, withscores=True
                )
                ids = [as_text(one) for one, _ in reply]
                texts = await self._client.hmget(self._keys.deliveries(name), ids) if ids else []
            found += map(_dead_letter, ids, texts)
            if len(ids) < PAGE:
                return DeadLetters(tuple(found), more=False)
            ended += [int(moment) for _, moment in reply]
        return DeadLetters(tuple(found), more=True, reached=ended[-1])

    async def recover(
        self,
        name: str,
        event_ids: Sequence[str],
        *,
        done: Callable[[int], None] = lambda _: None,
        deadline: float | None = None,
    ) -> Recovered:
        """Owe dead letters again, in this order, a batch a step. What is killed in between leaves the rest dead, and so
        does the `deadline` (monotonic seconds)."""
        token, at, came = token_hex(8), 0, Recovered()
        while at < len(event_ids):
            word, dealt, recovered, lost = await self._scripts.call(
                "recover_deliveries", name, token, LOOKED, *event_ids[at : at + BATCH]
            )
            if word == b"removed":
                return replace(came, removed=True)
            at += int(dealt)
            came = Recovered(came.recovered + int(recovered), came.lost + int(lost), left=len(event_ids) - at)
            done(int(dealt))
            if deadline is not None and time.monotonic() >= deadline:
                break
        return came

    async def rewrite(self, name: str, before: str, after: str) -> bool:
        """Write a definition over the one that was read; False if somebody else changed it meanwhile."""
        word = await self._scripts.call("rewrite_endpoint", name, before, after)
        return cast(bytes, word) == b"written"


def _dead_letter(event_id: str, text: bytes | str | None) -> DeadLetter:
    record = as_record(text)
    return DeadLetter(event_id, as_ms(record.get("revision")) or 0, str(record.get("reason") or DeadReason.UNREADABLE))
