"""Takes in what clients wrote into their keys: endpoints first, then tasks, so that a task never outruns its endpoints.

Bad input goes to `bridge:rejected` with its reason and fix, and stops nothing else.
"""

import asyncio
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge.contract import MILLISECONDS_FROM, not_seconds
from bridge.entries import Judge, wrong_type
from bridge.guard import Policy
from bridge.model import Endpoint
from bridge.rejection import REJECTED, Rejection, rejected_field
from bridge.store.keys import Keys
from bridge.store.registry import Registry, as_text, endpoint_to_json, options_to_json
from bridge.store.scripts import Argument, Scripts, as_store_error

BATCH = 500
REMOVE_BATCH = 500


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
    rejected: tuple[str, ...] = ()
    """`task:<member>` or `endpoint:<name>` of what was refused."""
    trouble: str = ""
    """Why nothing could be taken in: a client's key has the wrong type."""
    more: bool = False
    """The batch was full: come again at once."""


class Intake:
    """Clients' keys, taken in."""

    def __init__(self, store: HasRegistry, policy: Policy, *, has_default_secret: bool, cap: int = 32) -> None:
        self._client, self._keys, self._scripts = store.client, store.keys, store.scripts
        self._registry = store.registry
        self._judge, self._cap = Judge(policy, has_default_secret), cap
        self._troubled: bool | None = None
        self._seen: dict[bytes, bytes] | None = None
        self._lock = asyncio.Lock()

    async def run(self, *, endpoints: bool = True) -> Taken:
        """Take in what is new. Endpoints are looked at when asked for, and always before a new task."""
        async with self._lock:
            try:
                members, mistaken = await self._requests()
                taken = await self._take_endpoints() if endpoints or members else Taken()
                tasks, rejected = await self._take_tasks(members, mistaken)
                if self._troubled is not False:
                    await self._forget_trouble()
            except ResponseError as error:
                if "WRONGTYPE" in str(error):
                    return await self._without_broken_keys()
                raise as_store_error(error) from None
            except (RedisError, OSError) as error:
                raise as_store_error(error) from None
            return Taken(tasks, taken.endpoints, (*taken.rejected, *rejected), more=tasks + len(rejected) >= BATCH)

    async def _requests(self) -> tuple[list[bytes], list[bytes]]:
        """Members whose score is a request by now, and members whose score is in milliseconds by mistake."""
        seconds = await self._scripts.now() // 1000
        pipe = self._client.pipeline(transaction=False)
        pipe.zrangebyscore(self._keys.tasks, "-inf", seconds + 1, start=0, num=BATCH)
        pipe.zrangebyscore(self._keys.tasks, MILLISECONDS_FROM, "(inf", start=0, num=BATCH)
        requests, mistaken = await pipe.execute()
        return requests, mistaken

    # -- a client's key of the wrong type --

    async def _without_broken_keys(self) -> Taken:
        """Say which key has the wrong type. Endpoints are taken in all the same, tasks not without endpoints."""
        self._troubled = True
        at, trouble = await self._scripts.now(), []
        for key, wanted in ((self._keys.tasks, "zset"), (self._keys.endpoints, "hash")):
            kind = as_text(await self._client.type(key))
            if kind not in {wanted, "none"}:
                refusal = wrong_type(key, kind, wanted)
                await self._client.hset(self._keys.rejected, f"key:{key}", refusal.as_json(at))
                trouble.append((key, f"{refusal.reason}; rename it away"))
        words = "; ".join(word for _, word in trouble)
        if self._keys.endpoints in dict(trouble):
            return Taken(trouble=words)
        return replace(await self._take_endpoints(), trouble=words)

    async def _forget_trouble(self) -> None:
        await self._client.hdel(self._keys.rejected, f"key:{self._keys.tasks}", f"key:{self._keys.endpoints}")
        self._troubled = False

    # -- endpoints --

    async def take_endpoint(self, name: str) -> list[str]:
        """Take in one endpoint and look at nothing else; replies what was refused.

        For a caller whose settings may be others than the workers': it must not judge, and so reject, their entries.
        """
        async with self._lock:
            try:
                text = await self._client.hget(self._keys.endpoints, name)
                refused = (
                    []
                    if text is None
                    else await self._take_endpoint(name.encode(), cast(bytes, text), await self._scripts.now())
                )
            except (RedisError, OSError) as error:
                raise as_store_error(error) from None
            await self._registry.reload_endpoints()
            return refused

    async def _take_endpoints(self) -> Taken:
        raw = cast(dict[bytes, bytes], await self._client.hgetall(self._keys.endpoints))
        registered = set(await self._client.hkeys(self._keys.registry))
        # What we saw before counts only while Redis knows it too: it may have lost a second, or everything.
        if raw == self._seen and registered >= raw.keys():
            return Taken()
        accepted = 0
        rejected: list[str] = []
        known = self._seen or {}
        fresh = [(name, text) for name, text in raw.items() if known.get(name) != text or name not in registered]
        at = await self._scripts.now()
        for refused in await asyncio.gather(*(self._take_endpoint(name, text, at) for name, text in fresh)):
            accepted, rejected = accepted + (not refused), rejected + refused
        gone = [as_text(name) for name in registered - raw.keys() if not as_text(name).startswith("url:")]
        await asyncio.gather(*(self._cancel(name) for name in gone))
        await self._registry.reload_endpoints()
        # What was refused has been put back or deleted: look at it again rather than remember what is not there.
        self._seen = None if rejected else raw
        return Taken(endpoints=accepted, rejected=tuple(rejected))

    async def _take_endpoint(self, raw_name: bytes, text: bytes, at: int) -> list[str]:
        try:
            definition = self._judge.endpoint(raw_name, text)
        except Rejection as rejection:
            field = rejected_field("endpoint", raw_name)
            await self._scripts.call("reject_endpoint", raw_name, text, field, rejection.as_json(at), REJECTED)
            return [field]
        await self._accept(definition, text)
        return []

    async def _accept(self, definition: Endpoint, raw: bytes) -> None:
        config = endpoint_to_json(definition)
        # Of the client's own text: to write it anew, be it with an x- field changed, makes a disabled endpoint active.
        digest = blake2b(raw or config.encode(), digest_size=16).hexdigest()
        await self._scripts.call(
            "accept_endpoint", definition.name, config, digest, definition.ordering, self._cap, raw
        )

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

    async def _take_tasks(self, members: list[bytes], mistaken: list[bytes]) -> tuple[int, list[str]]:
        bad = [(member, not_seconds()) for member in mistaken]
        if not members:
            return 0, await self._reject_tasks(bad)
        pipe = self._client.pipeline(transaction=False)
        for member in members:
            pipe.hgetall(self._keys.prefix.encode() + b"task:" + member)
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
        parsed, callback = self._judge.task(member, 0, options if isinstance(options, dict) else None)
        expires = "" if parsed.expires_at is None else parsed.expires_at
        return [member, options_to_json(parsed), expires, parsed.callback or ""], callback

    async def _reject_tasks(self, bad: list[tuple[bytes, Rejection]]) -> list[str]:
        """Refuse entries, together; replies what they are called in `bridge:rejected`."""
        at = await self._scripts.now() if bad else 0
        fields = [rejected_field("task", member) for member, _ in bad]
        for field, (_, rejection) in zip(fields, bad, strict=True):
            rejection.value = rejection.value or field.removeprefix("task:")
        await asyncio.gather(
            *(
                self._scripts.call("reject_task", member, field, one.as_json(at), REJECTED)
                for field, (member, one) in zip(fields, bad, strict=True)
            )
        )
        return fields
