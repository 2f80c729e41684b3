"""Endpoints as a person asks about them: what is in force, how each one fares, what was refused. Without secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bridge.filters import words_of
from bridge.hints import endpoint_warnings
from bridge.redaction import bare, narrated
from bridge.rejection import LAST_GOOD, told_of
from bridge.store.reading.trips import HasClient, as_ms, as_record, ask
from bridge.store.records import as_text
from bridge.waiting import error_of

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

_STATE = (
    "state",
    "reason",
    "by",
    "paused_until",
    "failures",
    "failing_since",
    "since",
    "disabled_at",
    "probe_at",
    "cap",
    "limit",
    "kept",
    "last_failure",
    "granted",
    "handshake",
    "consent",
)


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint. Of its secrets only the number, of its headers only the names; times are milliseconds."""

    name: str
    url: str
    """Without user name, password, query and what may be a token in its path: they may be secrets."""
    events: tuple[str, ...]
    tasks: tuple[str, ...]
    indexes: tuple[str, ...]
    metadata: Mapping[str, tuple[Any, ...]]
    """Fields of a task's own metadata, each with the values that it takes; a signing secret among them is hidden."""
    format: str
    ordering: str
    headers: tuple[str, ...]
    secrets: int
    old_secret_until_at: int | None
    """Until when an old secret signs beside the one in force."""
    state: str
    """active, held (its breaker is open), disabled, removed, waiting (not taken in yet) or rejected."""
    reason: str | None
    by: str | None
    """Who disabled it: operator, or nobody but the bridge."""
    paused_until_at: int | None
    failures: int
    """Failed attempts in a row."""
    last_error: str | None
    """What the latest of them came to."""
    failing_since_at: int | None
    probe_at: int | None
    """While it is held: when one delivery is attempted to see whether it is back."""
    since_at: int | None
    concurrency: int | None
    """How many attempts it may have in flight; None while it is not taken in."""
    limit: int | None
    """How many of these at present, while it is overloaded; it grows with each success."""
    rate: str | None
    schedule: tuple[float, ...]
    """Its own waits in seconds; empty: the operator's."""
    supersede: bool
    """A progress event that waits is dropped once a later one of its task was delivered."""
    signatures: tuple[str, ...]
    """What signs its deliveries: v1, v1a or both."""
    handshake: str
    """none, or required: nothing is sent before its receiver consented."""
    consented: bool
    """It has, or need not."""
    granted_rate: str | None
    """What the receiver allowed when it consented, as `120/m`; None where that is all."""
    pending: int
    delivered: int
    """Ended well, superseded or cancelled, until retention."""
    dead: int
    last_at: int | None
    """When a delivery last ended."""
    note: str = ""
    """Why its latest definition was refused."""
    fix: str = ""
    warnings: tuple[str, ...] = ()
    """What of its definition is legal and looks like a mistake; the next step after →."""


async def list_endpoints(store: HasClient, *, written: bool = True) -> list[EndpointView]:
    """Those in force, the implicit ones of callback URLs included; those not taken in yet; those refused.

    `written` false: what clients wrote is not looked at, as it cannot be read.
    """
    pipe = store.client.pipeline(transaction=False)
    pipe.hgetall(store.keys.registry)
    pipe.hgetall(store.keys.rejected)
    if written:
        pipe.hgetall(store.keys.endpoints)
    registry, rejected, *theirs = await pipe.execute()
    refusals = {name[9:]: text for name, text in _decoded(rejected).items() if name.startswith("endpoint:")}
    accepted, asked = _decoded(registry), _decoded(theirs[0] if theirs else {})
    return await _views(store, sorted({*accepted, *asked, *refusals}), accepted, asked, refusals)


async def find_endpoint(store: HasClient, name: str) -> EndpointView | None:
    """One endpoint, or None if there is no trace of it."""
    pipe = store.client.pipeline(transaction=False)
    pipe.hget(store.keys.registry, name)
    pipe.hget(store.keys.endpoints, name)
    pipe.hget(store.keys.rejected, f"endpoint:{name}")
    places = [{name: text} if text is not None else {} for text in await pipe.execute()]
    return (await _views(store, [name], *places))[0] if any(places) else None


async def unknown_endpoints(store: HasClient, names: Sequence[str]) -> list[str]:
    """Which of these are neither in force nor written by a client."""
    if not names:
        return []
    pipe = store.client.pipeline(transaction=False)
    pipe.hmget(store.keys.registry, list(names))
    pipe.hmget(store.keys.endpoints, list(names))
    in_force, written = await pipe.execute()
    return [name for name, one, two in zip(names, in_force, written, strict=True) if one is None and two is None]


async def any_endpoint(store: HasClient) -> bool:
    """Whether somebody is to be told at all."""
    return bool(await store.client.exists(store.keys.registry, store.keys.endpoints))


async def cancelled_since(store: HasClient, name: str, at: int) -> int:
    """How many deliveries of an endpoint were cancelled at or after this moment."""
    ids: Any = await store.client.zrange(store.keys.done(name), at, "+inf", byscore=True)
    texts = await ask(store, ids, lambda pipe, one: pipe.hget(store.keys.deliveries(name), one))
    return sum(as_record(text).get("state") == "cancelled" for text in texts)


async def _views(
    store: HasClient, names: Sequence[str], accepted: dict[str, bytes], asked: dict[str, bytes],
    refusals: dict[str, bytes],
) -> list[EndpointView]:  # fmt: skip
    def question(pipe: "Pipeline", name: str) -> None:
        pipe.hmget(store.keys.endpoint(name), _STATE)
        pipe.hlen(store.keys.deliveries(name))
        for ended in (store.keys.done(name), store.keys.dead(name)):
            pipe.zcard(ended)
            pipe.zrange(ended, 0, 0, desc=True, withscores=True)

    replies = await ask(store, names, question)
    views = []
    for i, name in enumerate(names):
        known = as_record(accepted.get(name) or asked.get(name))
        state = "" if name in accepted else "waiting" if name in asked else "rejected"
        view = _view(name, state, known, as_record(refusals.get(name)), replies[i * 6 : i * 6 + 6])
        hints = endpoint_warnings(name, as_record(asked.get(name)))
        views.append(replace(view, warnings=tuple(f"{hint} → {fix}" for hint, fix in hints.items())))
    return views


def _view(
    name: str, state: str, known: dict[str, Any], refusal: dict[str, Any], replies: Sequence[Any]
) -> EndpointView:
    fields, owed, done, last_done, dead, last_dead = replies
    (
        word,
        reason,
        by,
        paused,
        failures,
        failing,
        since,
        disabled,
        probe,
        cap,
        limit,
        kept,
        failure,
        granted,
        asks,
        consent,
    ) = map(as_text, fields)
    secrets = known.get("secrets") or ([known["secret"]] if known.get("secret") else [])
    return EndpointView(
        name=name,
        url=bare(str(known.get("url") or "")),
        events=_texts(known.get("events"), "index.task.*"),
        tasks=_texts(known.get("tasks"), "*"),
        indexes=_texts(known.get("indexes"), "*"),
        metadata=_words(known.get("metadata")),
        format=str(known.get("format") or "standard"),
        ordering=str(known.get("ordering") or "first-attempt"),
        headers=tuple(sorted(known["headers"])) if isinstance(known.get("headers"), dict) else (),
        secrets=len(secrets) if isinstance(secrets, list) else 0,
        old_secret_until_at=_until(known.get("previous_secrets")),
        state=state or word or "active",
        reason=reason or None,
        by=by or None,
        paused_until_at=as_ms(paused),
        failures=as_ms(failures) or 0,
        last_error=error_of(as_record(failure)) or None,
        failing_since_at=as_ms(failing),
        probe_at=as_ms(probe) if word == "held" else None,
        since_at=as_ms(disabled) or as_ms(since),
        concurrency=as_ms(cap),
        limit=as_ms(limit),
        rate=str(known["rate"]) if known.get("rate") else None,
        schedule=_waits(known.get("schedule")),
        supersede=known.get("supersede") is True,
        signatures=_texts(known.get("signatures"), "v1"),
        handshake="required" if known.get("handshake") in {True, "required"} else "none",
        consented=asks == consent,
        granted_rate=f"{granted.split()[-1]}/m" if granted else None,
        pending=max(0, owed - done - dead),
        delivered=done,
        dead=dead,
        last_at=max((int(pair[1]) for pair in [*last_done, *last_dead]), default=None),
        note=_noted(told_of(refusal), kept=bool(kept), in_force=not state),
        fix="bridge doctor" if kept else str(refusal.get("fix", "")),
    )


def _noted(why: str, *, kept: bool, in_force: bool) -> str:
    """Why its latest definition is refused, and what that means for it."""
    if kept:
        return f"the running worker's settings refuse it: {why}"
    return f"{why.removesuffix('.')}; {LAST_GOOD}" if why and in_force else why


def _until(previous: object) -> int | None:
    """The latest moment at which an old secret ends."""
    ends = [one.get("until") for one in previous if isinstance(one, dict)] if isinstance(previous, list) else []
    return max((end * 1000 for end in ends if isinstance(end, int)), default=None)


def _words(wanted: object) -> dict[str, tuple[Any, ...]]:
    """A filter of metadata, the values of each field always several."""
    entries = wanted.items() if isinstance(wanted, dict) else ()
    return {
        narrated(name): tuple(narrated(word) if isinstance(word, str) else word for word in words_of(words))
        for name, words in entries
    }


def _waits(schedule: object) -> tuple[float, ...]:
    """Whole seconds as whole numbers."""
    waits = [one for one in schedule if isinstance(one, int | float)] if isinstance(schedule, list) else []
    return tuple(int(one) if isinstance(one, float) and one.is_integer() else one for one in waits)


def _texts(value: object, default: str) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (default,)


def _decoded(pairs: dict[bytes, bytes]) -> dict[str, bytes]:
    return {as_text(name): text for name, text in pairs.items()}
