"""What clients want to be watched as a whole, and who of all workers finds its tasks just now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from bridge.entries import wrong_type
from bridge.kinds import Kind
from bridge.rejection import REJECTED, Rejection, rejected_field
from bridge.store.records import as_text
from bridge.store.registry import HasClient
from bridge.store.scripts import Argument, store_errors
from bridge.watches import WORDS, Watch


@dataclass(frozen=True, slots=True)
class Turn:
    """How the finding stands. Moments are milliseconds by Redis' clock."""

    word: str
    """`yours`, `wait`, `none`: nothing is watched as a whole, or `broken`: bridge:watches is no hash."""
    now: int
    next_at: int
    token: str
    written: Mapping[bytes, bytes] = field(default_factory=dict)
    """The watches, as their clients wrote them."""
    known: Mapping[bytes, bytes] = field(default_factory=dict)
    """`bridge:finding`."""
    probe: bool = False
    """The key is refused, and a page is what finds out whether it still is."""

    def in_force(self, name: bytes) -> bytes | None:
        """The text of a watch that was judged good."""
        return self.known.get(b"text:" + name)

    def state(self, watch: Watch, kind: Kind) -> bytes | None:
        """How far the search for one kind has come."""
        return self.known.get(f"state:{_search(watch, kind)}".encode())


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a page."""

    word: str
    """`ok`; `stale`: somebody else finds; `moved`: the watch is another now; `broken`: bridge:tasks has a wrong type.
    """
    registered: int = 0


class Watches:
    """The verbs of finding. Each raises StoreDown when Redis is away, and may then be repeated."""

    def __init__(self, store: HasClient) -> None:
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts

    async def claim(self, *, lease_ms: int, look_ms: int, account: str = "default") -> Turn:
        """Take the turn, if nobody has it."""
        token = token_hex(16)
        reply = await self._scripts.call("claim_finding", account, token, lease_ms, look_ms)
        word, now, at, written, known, probe = reply
        return Turn(as_text(word), int(now), int(at), token, _pairs(written), _pairs(known), probe == 1)

    async def take(self, token: str, name: bytes, text: bytes) -> str:
        """A watch is good as it is written. Replies `ok`, `stale` or `moved`."""
        return as_text(await self._scripts.call("take_watch", token, name, text, rejected_field("watch", name)))

    async def reject(self, token: str, name: bytes, text: bytes, rejection: Rejection) -> str:
        """Refuse a watch. Replies `restored`, `deleted`, `kept`, `stale` or `moved`."""
        at = await self._scripts.now()
        rejection.value = rejection.value or name.decode(errors="backslashreplace")
        shown = rejected_field("watch", name)
        entry = rejection.as_json(at, shown)
        return as_text(await self._scripts.call("reject_watch", token, name, text, shown, entry, REJECTED))

    async def found(
        self, token: str, watch: Watch, text: bytes, kind: Kind, *, state: str, members: Sequence[str], lease_ms: int
    ) -> Found:
        """Register what is new, and remember how far the search has come; the turn is ours for so much longer."""
        options: list[Argument] = [word for pair in watch.options.items() for word in pair]
        reply = await self._scripts.call(
            "find_tasks", token, lease_ms, watch.name, text, _search(watch, kind), state, len(members), *members,
            *options,
        )  # fmt: skip
        return Found(as_text(reply[0]), int(reply[1]) if len(reply) > 1 else 0)

    async def end(self, token: str) -> None:
        """The turn is the next one's."""
        await self._scripts.call("end_finding", token)

    async def say_broken(self) -> str:
        """Say in `bridge:rejected` that bridge:watches has a wrong type; replies what is to be done."""
        with store_errors():
            refusal = wrong_type(self._keys.watches, as_text(await self._client.type(self._keys.watches)), "hash")
            at = await self._scripts.now()
            await self._client.hset(self._keys.rejected, f"key:{self._keys.watches}", refusal.as_json(at))
        return f"{refusal.reason}; rename it away"


def _search(watch: Watch, kind: Kind) -> str:
    word = next(word for word, one in WORDS.items() if one is kind)
    return f"{word}:{watch.name}"


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
