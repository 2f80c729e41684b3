"""Ways in which this product could be wrong and look right. A proof that lets one of them live proves nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bridge import deliver, events, rotation
from bridge.diff import digest_of, order
from bridge.model import Decision, DeliveryState, EndpointEffect
from bridge.store import scripts
from bridge.store.registry import Registry

Mutant = Callable[[], Any]


@contextmanager
def lua(*changes: tuple[str, str]) -> Iterator[None]:
    """Each (old, new) stands somewhere in the scripts, and is replaced."""
    original = scripts.script_text
    everything = "".join(original(name, shebang=True) for name in scripts.script_names())
    for old, _ in changes:
        assert old in everything, f"there is nothing left to mutate: {old}"

    def text(name: str, *, shebang: bool) -> str:
        changed: str = original(name, shebang=shebang)
        for old, new in changes:
            changed = changed.replace(old, new)
        return changed

    with patch.object(scripts, "script_text", text):
        yield


PROMOTES = "if state ~= 'pending' or (ordering and ordering ~= 'strict') then"
"""When a settle lets the next event of a task go."""
ENDED = ("if record.state ~= 'pending' then -- it has ended", "if false then -- it has ended")
"""The second line of defence of a settle, behind the lease: with it a mutant of the lease alone does no harm."""


def no_fence() -> Any:
    """Whoever comes late settles and commits all the same."""
    return lua(
        ("if redis.call('HGET', P .. 'watch:' .. member, 'token') ~= token then return 'stale' end", ""),
        ("if record == nil or not lease_end then return 'stale' end", "if record == nil then return 'stale' end"),
        ENDED,
    )


@contextmanager
def commit_in_two_steps() -> Iterator[None]:
    """The snapshot first, the event after it."""
    original = Registry.commit

    async def commit(self: Registry, task: Any, event: Any, snapshot: Any, *, delay_ms: int) -> str:
        fields: Any = {"status": snapshot.status, "updated_at": snapshot.updated_at_text or "", "event_id": event.id}
        fields["revision"] = event.revision
        await self._client.hset(self._keys.snapshot(task.member), mapping=fields)
        return await original(self, task, event, snapshot, delay_ms=delay_ms)

    unchecked = ("if known[1] and tonumber(known[1]) >= revision then return 'stale' end", "")
    with lua(unchecked), patch.object(Registry, "commit", commit):
        yield


@contextmanager
def ack_first() -> Iterator[None]:
    """Settled as delivered, then sent."""

    async def attempt(self: Any, item: Any) -> None:
        delivery, _ = item
        endpoint = self._registry.endpoints.by_name.get(delivery.endpoint)
        await self._outbox.settle(delivery, Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS), "{}")
        if endpoint is not None:
            await self._sender.post(endpoint, delivery)

    with patch.object(deliver.Deliverer, "attempt", attempt):
        yield


def no_lease_push() -> Any:
    """What is claimed stays claimable."""
    return lua(
        ("redis.call('ZADD', watch, now + lease, member)", ""),
        ("redis.call('ZADD', leases, now + lease, ", "redis.call('ZADD', leases, now, "),
    )


@contextmanager
def id_without_digest() -> Iterator[None]:
    """The event's id counts, instead of saying what it is."""
    genuine = events.event_from

    def event_from(change: Any, task: str, **options: Any) -> Any:
        event = genuine(change, task, **options)
        return replace(event, id=f"evt_{digest_of([task, event.revision])}")

    with patch.object(events, "event_from", event_from):
        yield


def settle_replayed() -> Any:
    """A repeated settle counts twice."""
    return lua(("redis.call('ZREM', leases, entry)\nlocal log", "local log"), ENDED)


def ttl_on_a_live_key() -> Any:
    """What is owed forgets itself after a day."""
    return lua(
        (
            "redis.call('HINCRBY', P .. 'event:' .. event_id, 'refs', 1)\n  local known",
            "redis.call('HINCRBY', P .. 'event:' .. event_id, 'refs', 1)\n"
            "  redis.call('EXPIRE', P .. 'deliveries:' .. endpoint, 86400)\n  local known",
        )
    )


def turn_not_promoted() -> Any:
    """Who waits behind an attempt waits on, when it has been made."""
    return lua((PROMOTES + " promote(endpoint, record.task, event_id) end", ""))


def strict_forgotten() -> Any:
    """The next event of a task does not wait for this one's end."""
    return lua((PROMOTES, "if true then"))


def hold_not_in_force() -> Any:
    """What is disabled is served all the same."""
    return lua(("if known[1] ~= 'active' and not held then return nil end", "if not known[1] then return nil end"))


def hand_out_cut_short() -> Any:
    """After its first step a hand-out is over."""
    return lua(("redis.call('LTRIM', list, served, -1)", "redis.call('DEL', list)"))


def end_superseded() -> Any:
    """A later event stands for any earlier one, and not for progress alone."""
    return lua(("return redis.pcall('HGET', P .. 'event:' .. event_id, 'progress') == '1' and other or nil",
                "return other"))  # fmt: skip


def notice_told_twice() -> Any:
    """Telling does not look whether somebody has told."""
    return lua(("if redis.call('LINDEX', notices, 0) ~= ARGV[1] then return 'stale' end", ""))


def rate_ignored() -> Any:
    """A claim takes all that is due, whatever its endpoint's rate."""
    return lua(("if limits.interval then free = math.min(free, allowed_by_rate(limits)) end", ""))


def budget_not_counted() -> Any:
    """What upstream was asked is not counted."""
    return lua(("redis.call('HINCRBY', P .. 'spent:' .. account, math.floor(now / 1000), requests)", ""))


def row_told_unread() -> Any:
    """The end of a task is told from a row of the list, without reading the task."""

    def is_plain(known: Any, row: Any) -> bool:
        return bool(row.status != known.status and order(row, known) > 0)

    return patch("bridge.lister.is_plain", is_plain)


def old_secret_for_ever() -> Any:
    """A secret that another one took over from signs on after its time."""

    def signing_secrets(endpoint: Any, default: Any, _: float) -> Any:
        return rotation.signing_secrets(endpoint, default, 0.0)[0], None

    return patch("bridge.sender.signing_secrets", signing_secrets)


MUTANTS: tuple[Mutant, ...] = (
    no_fence, commit_in_two_steps, ack_first, no_lease_push, id_without_digest, settle_replayed, ttl_on_a_live_key,
    turn_not_promoted, strict_forgotten, hold_not_in_force, hand_out_cut_short, end_superseded, notice_told_twice,
    rate_ignored, budget_not_counted, row_told_unread, old_secret_for_ever,
)  # fmt: skip
