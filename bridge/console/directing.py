"""What programs order by HTTP of endpoints as a whole, and by range: done as the command line does it, within a bound.

An order that is not through when its time is up says `more`, and in `next` the body that goes on.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bridge.console.bodies import Disabling, Fields, Recovering, Replaying, Rotating, Trying, read
from bridge.console.problem import Problem
from bridge.console.registering import Done
from bridge.doctor.mended import dead_letters, waiting
from bridge.errors import InvalidInput
from bridge.formats import rfc3339
from bridge.orders import replaying, steering
from bridge.orders.definitions import Definition, held, rewrite, same, vetted
from bridge.orders.moments import moment_from
from bridge.orders.trying import tried
from bridge.rejection import Rejection
from bridge.rotation import OverlapRefused, old_until, rotated_once
from bridge.store.reading.replayable import Choice, ended_in, turn_of

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView

Asked = Mapping[str, str]

WORK_SECONDS = 5.0
"""A request goes on with many deliveries for so long."""
LOOKED_AT = 50_000
"""The most deliveries that one request looks at."""
BATCH = 50
"""So many are sent again between two looks at the clock."""


class Directing:
    """The verbs, over one store. Each raises Rejection, Problem or BridgeError."""

    def __init__(self, store: "Store", settings: "Settings") -> None:
        self._store, self._settings = store, settings

    async def disable(self, asked: Asked, fields: Fields | None) -> Done:
        """Hold all that an endpoint is owed."""
        name, body = asked["name"], read(Disabling, fields)
        steered = await steering.disable(self._store, name, body.reason)
        row = {"state": "disabled", "reason": steered.why, "was": steered.before, "pending": steered.pending}
        return Done(200, {"endpoint": name, "result": _result(changed=steered.word != "same"), **row})

    async def enable(self, asked: Asked, _: Fields | None) -> Done:
        """Let an endpoint go; what is held is due, as much of it as there is time for."""
        name = asked["name"]
        enabled = await steering.enable(self._store, name, deadline=time.monotonic() + WORK_SECONDS)
        steered, owed = enabled
        more, waits = steered.word == steering.MORE, steered.word == steering.UNCONFIRMED
        told = list(map(str, (*waiting(owed), *dead_letters(owed))))
        row = {
            "endpoint": name,
            "result": "asked" if waits else _result(changed=steered.before != "active"),
            "state": enabled.state,
            "was": steered.before,
            "pending": steered.pending,
            "more": more,
            "warnings": [*steering.kept_back(owed), *told],
        }
        return Done(202 if more or waits else 200, row)

    async def recover(self, asked: Asked, fields: Fields | None) -> Done:
        """Bring dead letters back, as many as there is time for; at the end of them the endpoint is enabled."""
        name, body = asked["name"], read(Recovering, fields)
        since = await self._moment("since", body.since) or 0
        row, left, owed, on_from, _ = await steering.recover(
            self._store, name, since, body.reasons, dry=body.dry_run, most=LOOKED_AT,
            deadline=time.monotonic() + WORK_SECONDS,
        )  # fmt: skip
        more = row["more"]
        next_ = {"reasons": body.reasons, "dry_run": body.dry_run} | ({"since": rfc3339(on_from)} if on_from else {})
        row |= {"left": left, "next": next_ if more else None}
        return Done(
            202 if more and not body.dry_run else 200,
            row | {"warnings": [*steering.kept_back(owed), *map(str, waiting(owed))]},
        )

    async def test(self, asked: Asked, fields: Fields | None) -> Done:
        """Send a made-up event, and tell what came of it."""
        body = read(Trying, fields)
        try:
            row, warnings, _ = await tried(self._store, self._settings, asked["name"], body.type)
        except InvalidInput as error:
            raise Rejection("type", str(error), error.fix) from None
        return Done(200, row | {"fix": row.pop("next"), "warnings": warnings})

    async def rotate(self, asked: Asked, fields: Fields | None) -> Done:
        """Give an endpoint another secret; with the one that it has, nothing changes."""
        name, body, doubts = asked["name"], read(Rotating, fields), list[str]()

        def change(old: Definition, now: int) -> Definition:
            return rotated_once(old, body.secret, now_seconds=now, overlap_seconds=body.overlap_seconds)

        def judge(made: Definition) -> None:
            doubts[:] = vetted(self._settings, name, made)

        try:
            one = await rewrite(self._store, self._settings, name, change, judge)
        except InvalidInput as error:
            field = "overlap_seconds" if isinstance(error, OverlapRefused) else ""
            raise Problem(422, str(error), _as_field(error.fix), field) from None
        until = old_until(one.after, int(time.time()))
        row = {
            "endpoint": name,
            "result": _result(changed=not same(one.before, one.after)),
            "old_secret_until_at": until and until * 1000,
            "warnings": [*doubts, *([held(one.is_)] if one.is_.state == "disabled" else [])],
        }
        return Done(200, row)

    async def replay(self, _: Asked, fields: Fields | None) -> Done:
        """Owe again what has ended, by range, as much of it as there is time for."""
        body, store = read(Replaying, fields), self._store
        choice = await self._choice(body)
        await self._check_many(choice, LOOKED_AT * (1 + bool(body.after)))
        meant = await replaying.meant(store, choice)
        begun = _place_in(body.after) if body.after else None
        ones = [one for one in meant.ones if begun is None or turn_of(one) > begun]
        done, words = (0, Counter[str]()) if body.dry_run else await self._owe_again(ones[: body.limit])
        owed, more = replaying.owed(words), done < len(ones) and not body.dry_run
        untold = [] if ones or body.after else await replaying.never_told(store, choice)
        row = {
            "meant": len(ones),
            "endpoints": replaying.counted(ones),
            "owed": owed,
            "dry_run": body.dry_run,
            "more": more,
            "next": _on(body, choice, ones[done - 1]) if more else None,
            "warnings": [
                *filter(None, [meant.unknown]),
                *replaying.left_out(meant.left_out),
                *replaying.failures(words),
                *(await replaying.held(self._store, ones)),
                *untold,
            ],
        }
        return Done(202 if owed or more else 200, row)

    async def _check_many(self, choice: Choice, most: int) -> None:
        """Raise Problem where too many would have to be looked at. Who goes on may see more of them than who begins:
        what was sent again has ended again."""
        if (many := await ended_in(self._store, choice)) > most:
            raise Problem(
                422,
                f"{many} deliveries have ended there, and a request looks at {most} at most",
                "say more: endpoints, a later since, dead; or by command line: bridge replay --help",
            )

    async def _owe_again(self, ones: "Sequence[DeliveryView]") -> tuple[int, Counter[str]]:
        """Have as many owed again as there is time for; replies how many those are, and how often Redis said what."""
        deadline = time.monotonic() + WORK_SECONDS
        done, words = 0, Counter[str]()
        while done < len(ones) and (not done or time.monotonic() < deadline):
            piece = ones[done : done + BATCH]
            words += await replaying.owe_again(self._store, piece)
            done += len(piece)
        return done, words

    async def _choice(self, body: Replaying) -> Choice:
        """What is meant. Without an end it is now: what comes while it goes on is not meant."""
        since, until = await self._moment("since", body.since), await self._moment("until", body.until)
        if since is not None and until is not None and since > until:
            raise Rejection("until", "it is before since: nothing lies between", "exchange them")
        end = until if until is not None else await self._store.scripts.now()
        choice = Choice(body.endpoints, frozenset(body.tasks), body.types, since, end, only_dead=body.dead)
        if not choice.says_which:
            raise Rejection("", "that would be everything that is kept", "say which: endpoints, since, dead, …")
        return choice

    async def _moment(self, field: str, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            return moment_from(text, await self._store.scripts.now())
        except InvalidInput as error:
            raise Rejection(field, str(error), error.fix) from None


def _result(*, changed: bool) -> str:
    return "changed" if changed else "unchanged"


def _as_field(fix: str) -> str:
    """A fix in the words of a body."""
    return fix.replace("--secret-file F --overlap 0", "--overlap 0").replace("--overlap 0", "“overlap_seconds”: 0")


def _on(body: Replaying, choice: Choice, last: "DeliveryView") -> dict[str, Any]:
    """The body that goes on after a delivery. Its moments are those of the first one: what is meant stays the same."""
    moments = {name: rfc3339(at) for name, at in (("since", choice.since), ("until", choice.until)) if at is not None}
    given = body.model_dump(exclude_defaults=True) | moments
    return given | {"after": " ".join(map(str, turn_of(last)))}


def _place_in(after: str) -> tuple[int, int, str, str]:
    """Read a place in the order of a replay. Raises Rejection for what is none."""
    words = after.split(" ", 3)
    if len(words) != 4 or not all(one.isdecimal() and one.isascii() and len(one) < 20 for one in words[:2]):
        raise Rejection("after", "this is no place in a replay", "write it as `next` had it, or leave it out")
    return int(words[0]), int(words[1]), words[2], words[3]
