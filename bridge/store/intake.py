"""Takes in what clients wrote into their keys: endpoints first, then tasks, so that a task never outruns its endpoints.

Bad input goes to `bridge:rejected` with its reason and fix, and stops nothing else.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge.consent import consenting
from bridge.contract import MILLISECONDS_FROM, OPTIONS
from bridge.entries import Judge, judged_and_sealed, wrong_type
from bridge.guard import Policy
from bridge.model import Endpoint
from bridge.rejection import REJECTED, Rejection, rejected_field
from bridge.sealing import Keyring
from bridge.store.keys import Keys
from bridge.store.records import as_text, endpoint_to_json, options_to_json
from bridge.store.registry import Registry
from bridge.store.scripts import Argument, Scripts, as_store_error
from bridge.throttle import parse_rate

BATCH = 500
REMOVE_BATCH = 500

ACCEPTED = (b"accepted", b"same")
REFUSED = (b"restored", b"deleted", b"kept")
TAKEN = (*ACCEPTED, b"kept")
"""The words after which an endpoint stands as its client wrote it."""


class HasRegistry(Protocol):
    """What intake needs of the store."""

    client: "Redis"
    keys: Keys
    scripts: Scripts
    registry: Registry


@dataclass(frozen=True, slots=True)
class Taken:
    """What one round of intake did."""

    tasks: int = 0
    endpoints: int = 0
    rejected: Mapping[str, Rejection] = field(default_factory=dict)
    """What was refused, by `task:<member>` or `endpoint:<name>`."""
    trouble: str = ""
    """Why nothing could be taken in: a client's key has the wrong type."""
    more: bool = False
    """The batch was full: come again at once."""
    notices: bool = False
    """Something is to be told of an endpoint."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What clients had written at one moment."""

    requests: list[bytes]
    """Members whose score is a request by now."""
    mistaken: list[bytes]
    """Members whose score is in milliseconds by mistake."""
    notices: int
    endpoints: "_Endpoints | None" = None


@dataclass(frozen=True, slots=True)
class _Endpoints:
    """What stands in `bridge:endpoints`, which of it was taken in, and the version of the set in force."""

    raw: dict[bytes, bytes]
    registered: set[bytes]
    version: bytes


_Judged = tuple[bytes, Rejection | None]
"""The script's word on a definition, and why it is refused."""
_Seen = tuple[dict[bytes, bytes], bytes]
"""What clients had written, and the version of the set in force, at one moment."""


class Intake:
    """Clients' keys, taken in."""

    def __init__(
        self,
        store: HasRegistry,
        policy: Policy,
        *,
        has_default_secret: bool,
        has_signing_key: bool = False,
        cap: int = 32,
        keyring: Keyring | None = None,
    ) -> None:
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts
        self._registry = store.registry
        self._judge = Judge(policy, has_default_secret, has_signing_key)
        self._cap, self._keyring = cap, keyring or Keyring()
        self._troubled: bool | None = None
        self._trouble = ""
        self._seen: _Seen | None = None
        self._judged: dict[bytes, bytes] = {}
        self._caps: dict[bytes, int] = {}
        self._kept: dict[bytes, bytes] = {}
        self._lock = asyncio.Lock()

    async def run(self, *, endpoints: bool = True) -> Taken:
        """Take in what is new. Endpoints are looked at when asked for, and always before a new task."""
        async with self._lock:
            try:
                await self._recover()
                written = await self._read(endpoints=endpoints)
                taken = await self._take_endpoints(written.endpoints) if written.endpoints else Taken()
                tasks, rejected = await self._take_tasks(written.requests, written.mistaken)
                if written.endpoints:
                    self._troubled, self._trouble = False, ""
            except ResponseError as error:
                if "WRONGTYPE" in str(error):
                    return await self._without_broken_keys(error)
                raise as_store_error(error) from None
            except (RedisError, OSError, RuntimeError) as error:
                raise as_store_error(error) from None
            refused, more = {**taken.rejected, **rejected}, tasks + len(rejected) >= BATCH
            return Taken(tasks, taken.endpoints, refused, self._trouble, more, written.notices > 0)

    async def _read(self, *, requests: bool = True, endpoints: bool = True) -> _Written:
        reply = await self._scripts.call("read_written", int(requests), int(endpoints), BATCH, MILLISECONDS_FROM)
        if len(reply) == 3:
            return _Written(*reply)
        asked, mistaken, notices, flat, names, version = reply
        return _Written(
            asked, mistaken, notices, _Endpoints(dict(zip(flat[::2], flat[1::2], strict=True)), set(names), version)
        )

    # -- a client's key of the wrong type --

    async def _without_broken_keys(self, error: ResponseError) -> Taken:
        """Say which key has the wrong type. Endpoints are taken in all the same, tasks not without endpoints.

        Raises `error` if it is a key of ours: that is a bug, or somebody's accident, to be seen as it is.
        """
        self._troubled = True
        at, trouble = await self._scripts.now(), []
        for key, wanted in ((self._keys.tasks, "zset"), (self._keys.endpoints, "hash")):
            kind = as_text(await self._client.type(key))
            if kind not in {wanted, "none"}:
                refusal = wrong_type(key, kind, wanted)
                with suppress(ResponseError):  # a bridge:rejected of a wrong type is the doctor's to name
                    await self._client.hset(self._keys.rejected, f"key:{key}", refusal.as_json(at))
                trouble.append((key, f"{refusal.reason}; rename it away"))
        if not trouble:
            raise error
        self._trouble = "; ".join(word for _, word in trouble)
        if self._keys.endpoints in dict(trouble):
            return Taken(trouble=self._trouble)
        written = await self._read(requests=False)
        taken = await self._take_endpoints(written.endpoints) if written.endpoints else Taken()
        return replace(taken, trouble=self._trouble)

    async def _recover(self) -> None:
        """Write back what was registered in a client's key that had the wrong type and has not any more."""
        if self._troubled is not False:
            await self._scripts.call("recover_clients")

    # -- endpoints --

    async def take_endpoint(self, *names: str) -> list[str]:
        """Take in these endpoints and look at nothing else; replies what was refused.

        For a caller whose settings may be others than the workers': it must not judge, and so reject, their entries.
        """
        async with self._lock:
            try:
                texts = cast(list[bytes | None], await self._client.hmget(self._keys.endpoints, list(names)))
                at = await self._scripts.now()
                written = {name.encode(): text for name, text in zip(names, texts, strict=True) if text is not None}
                taken = await asyncio.gather(*(self._take_endpoint(name, text, at) for name, text in written.items()))
            except (RedisError, OSError, RuntimeError) as error:
                raise as_store_error(error) from None
            await self._registry.reload_endpoints()
            return list(_refused(zip(written, taken, strict=True)))

    async def _take_endpoints(self, written: _Endpoints) -> Taken:
        raw, registered, version = written.raw, written.registered, written.version
        # What we saw before counts only while Redis knows it too (it may have lost a second, or everything), and while
        # nobody put another definition in force meanwhile: what is written now may be what we saw, and yet not be it.
        if (raw, version) == self._seen and registered >= raw.keys():
            return Taken()
        fresh = await self._news(raw, registered)
        at = await self._scripts.now()
        judged = await asyncio.gather(*(self._take_endpoint(name, text, at) for name, text in fresh))
        words = [word for word, _ in judged]
        self._remember(raw, [(name, text, word) for (name, text), word in zip(fresh, words, strict=True)])
        gone = [as_text(name) for name in sorted(registered - raw.keys()) if not as_text(name).startswith("url:")]
        await asyncio.gather(*(self._cancel(name) for name in gone))
        if fresh or gone or (as_text(version) or "0") != self._registry.endpoints.version:
            await self._registry.reload_endpoints()
        # What moved, or was put back or deleted, is looked at again rather than remembered as it is not.
        self._seen = None if any(word not in TAKEN for word in words) else (raw, version)
        rejected = _refused(zip((name for name, _ in fresh), judged, strict=True))
        return Taken(endpoints=sum(word in ACCEPTED for word in words), rejected=rejected)

    async def _news(self, raw: dict[bytes, bytes], registered: set[bytes]) -> list[tuple[bytes, bytes]]:
        """What has not been judged by these settings, or is not in force as it is written."""
        pipe = self._client.pipeline(transaction=False)
        for name in raw:
            pipe.hmget(self._keys.endpoint("").encode() + name, ["digest", "cap"])
        found = await pipe.execute() if raw else []
        fresh = []
        for (name, text), (digest, cap) in zip(raw.items(), found, strict=True):
            in_force = name in registered and as_text(digest) == _digest(text)
            if in_force and self._kept.get(name) == text:
                continue
            if not in_force or self._judged.get(name) != text or as_text(cap) != str(self._caps.get(name, self._cap)):
                fresh.append((name, text))
        return fresh

    def _remember(self, raw: dict[bytes, bytes], taken: list[tuple[bytes, bytes, bytes]]) -> None:
        """What we judged is judged again only when it changed; a definition kept in spite of it is told once."""
        for name, text, word in taken:
            self._judged[name] = text
            if word == b"moved":  # it was neither accepted nor sealed, whatever stands there next
                self._judged.pop(name)
            if word == b"kept":
                self._kept[name] = text
            else:
                self._kept.pop(name, None)
        for known in (self._judged, self._kept, self._caps):
            for name in known.keys() - raw.keys():
                del known[name]

    async def _take_endpoint(self, raw_name: bytes, text: bytes, at: int) -> _Judged:
        """Judge one definition, and have it accepted or refused."""
        try:
            sealed, definition = judged_and_sealed(self._judge, self._keyring, raw_name, text)
        except Rejection as rejection:
            shown = rejected_field("endpoint", raw_name)
            word: bytes = await self._scripts.call(
                "reject_endpoint", raw_name, text, shown, rejection.as_json(at, shown), REJECTED
            )
            return word, rejection
        if sealed != text:
            digests = _digest(text), _digest(sealed)
            config = endpoint_to_json(definition)
            if await self._scripts.call("seal_endpoint", raw_name, text, sealed, *digests, config) != b"sealed":
                return b"moved", None
        self._caps[raw_name] = definition.concurrency or self._cap
        return await self._accept(definition, sealed), None

    async def _accept(self, definition: Endpoint, raw: bytes) -> bytes:
        config = endpoint_to_json(definition)
        word: bytes = await self._scripts.call(
            "accept_endpoint",
            definition.name,
            config,
            _digest(raw or config.encode()),
            definition.ordering,
            definition.concurrency or self._cap,
            raw,
            parse_rate(definition.rate).as_text() if definition.rate else "",
            int(definition.supersede),
            consenting(definition.url) if definition.handshake else "",
        )
        return word

    async def remove_endpoint(self, name: str) -> None:
        """Forget an endpoint that its client took back, cancelling what it is still owed."""
        await self._cancel(name)
        await self._registry.reload_endpoints()

    async def _cancel(self, name: str) -> None:
        """Batch by batch, at most a million deliveries; what is left or leased is the sweep's."""
        for _ in range(2_000):
            if await self._scripts.call("remove_endpoint", name, REMOVE_BATCH) != b"more":
                return

    # -- tasks --

    async def _take_tasks(self, members: list[bytes], mistaken: list[bytes]) -> tuple[int, dict[str, Rejection]]:
        bad = []
        for member in mistaken:
            try:
                self._judge.task(member, MILLISECONDS_FROM, None)
            except Rejection as rejection:
                bad.append((member, rejection))
        if not members:
            return 0, await self._reject_tasks(bad)
        pipe = self._client.pipeline(transaction=False)
        for member in members:
            pipe.hmget(self._keys.prefix.encode() + b"task:" + member, list(OPTIONS))
        arguments: list[Argument] = []
        callbacks: dict[str, Endpoint] = {}
        for member, options in zip(members, await pipe.execute(raise_on_error=False), strict=True):
            if isinstance(options, Exception) and "WRONGTYPE" not in str(options):
                raise options  # not the client's fault
            try:
                admitted, callback = self._admitted(member, options)
            except Rejection as rejection:
                bad.append((member, rejection))
                continue
            if callback:
                callbacks[callback.name] = callback
            arguments += admitted
        await asyncio.gather(*(self._accept(callback, b"") for callback in callbacks.values()))
        rejected = await self._reject_tasks(bad)
        taken = await self._scripts.call("admit_tasks", len(arguments) // 4, *arguments) if arguments else 0
        return int(taken), rejected

    def _admitted(self, member: bytes, options: object) -> tuple[list[Argument], Endpoint | None]:
        known = None
        if isinstance(options, list):
            known = {name.encode(): value for name, value in zip(OPTIONS, options, strict=True) if value is not None}
        parsed, callback = self._judge.task(member, 0, known)
        expires = "" if parsed.expires_at is None else parsed.expires_at
        return [member, options_to_json(parsed), expires, parsed.callback or ""], callback

    async def _reject_tasks(self, bad: list[tuple[bytes, Rejection]]) -> dict[str, Rejection]:
        """Refuse entries, together; replies them by what they are called in `bridge:rejected`."""
        at = await self._scripts.now() if bad else 0
        calls, refused = [], {}
        for member, rejection in bad:
            name = rejected_field("task", member)
            rejection.value = rejection.value or name.removeprefix("task:")
            refused[name] = rejection
            calls.append(self._scripts.call("reject_task", member, name, rejection.as_json(at, name), REJECTED))
        await asyncio.gather(*calls)
        return refused


def _refused(judged: Iterable[tuple[bytes, _Judged]]) -> dict[str, Rejection]:
    return {rejected_field("endpoint", name): why for name, (word, why) in judged if why and word in REFUSED}


def _digest(text: bytes) -> str:
    """Of the client's own text: to write it anew, be it with an x- field changed, makes a disabled endpoint active."""
    return blake2b(text, digest_size=16).hexdigest()
