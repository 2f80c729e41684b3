"""What the CLI writes is what any client may write by hand: the same keys, the same contract."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis

from bridge.contract import OPTIONS
from bridge.hints import misspelt_options
from bridge.rejection import rejected_field
from bridge.store.keys import Keys
from bridge.store.records import as_bytes, as_text
from bridge.store.scripts import store_errors

PIECE = 250
"""How many tasks one MULTI registers."""


class HasClient(Protocol):
    """What declaring needs of the store."""

    client: "Redis"
    keys: Keys


class Declaring:
    """Registering and taking back, as a client. Each raises StoreDown when Redis is away."""

    def __init__(self, store: HasClient) -> None:
        self._client, self._keys = store.client, store.keys

    async def register_tasks(
        self, members: Sequence[str], options: Mapping[str, str], *, done: Callable[[int], None] = lambda _: None
    ) -> dict[str, str]:
        """Ask for tasks to be watched; replies for each `registered`, `updated` or `known`.

        The options of a new registration replace those of an earlier one as a whole, in one MULTI with its ZADD. A task
        that is registered keeps its own when none are given; given ones replace them, and are in force at its next
        read, which is asked for. `done` is told how many more are registered.
        """
        words: dict[str, str] = {}
        for start in range(0, len(members), PIECE):
            piece = members[start : start + PIECE]
            known = await self._registered(piece)
            meant = await self._misspelt(piece) if options else {}
            pipe = self._client.pipeline(transaction=True)
            for member in piece:
                words[member] = "registered" if member not in known else "updated" if options else "known"
                if words[member] == "known":
                    continue
                pipe.hdel(self._keys.task(member), *OPTIONS, *meant.get(member, ()))
                if options:
                    pipe.hset(self._keys.task(member), mapping=cast(Any, options))
                pipe.zadd(self._keys.tasks, {member: 0}, nx=member not in known)
            with store_errors():
                await pipe.execute()
            done(len(piece))
        return words

    async def _misspelt(self, members: Sequence[str]) -> dict[str, list[str]]:
        """The options of tasks that nobody reads and that were probably meant to be some that are: those that are
        written now end them."""
        pipe = self._client.pipeline(transaction=False)
        for member in members:
            pipe.hkeys(self._keys.task(member))
        with store_errors():
            found = await pipe.execute(raise_on_error=False)
        names = [list(map(as_text, one)) if isinstance(one, list) else [] for one in found]
        return {member: list(misspelt_options(theirs)) for member, theirs in zip(members, names, strict=True)}

    async def write_tasks(
        self, tasks: Mapping[str, Mapping[str, str]], *, known: Collection[str], optioned: Collection[str]
    ) -> None:
        """Register tasks, each with its own options, in one MULTI of few commands.

        Those that are `known` are registered, and to be read again; those that are `optioned` have options, which these
        replace as a whole.
        """
        pipe = self._client.pipeline(transaction=True)
        for member, options in tasks.items():
            if member in optioned:
                pipe.hdel(self._keys.task(member), *OPTIONS)
            if options:
                pipe.hset(self._keys.task(member), mapping=cast(Any, options))
        for again in (False, True):
            if members := dict.fromkeys((one for one in tasks if (one in known) is again), 0):
                pipe.zadd(self._keys.tasks, members, nx=not again)
        with store_errors():
            await pipe.execute()

    async def remove_tasks(self, members: Sequence[str]) -> list[str]:
        """Take tasks back; replies those that were there."""
        replies: list[Any] = []
        for start in range(0, len(members), PIECE):
            pipe = self._client.pipeline(transaction=False)
            for member in members[start : start + PIECE]:
                pipe.zrem(self._keys.tasks, member)
            with store_errors():
                replies += await pipe.execute()
        return [member for member, removed in zip(members, replies, strict=True) if removed]

    async def poll_now(self, members: Sequence[str]) -> list[str]:
        """Ask for tasks to be read at once; replies those that are registered."""
        found: list[str] = []
        for start in range(0, len(members), PIECE):
            piece = members[start : start + PIECE]
            known = await self._registered(piece)
            if known:
                with store_errors():
                    await self._client.zadd(self._keys.tasks, dict.fromkeys(known, 0), xx=True)
            found += [member for member in piece if member in known]
        return found

    async def write_endpoint(self, name: str, definition: Mapping[str, Any], *, replace: bool) -> bool:
        """Write an endpoint's definition, for intake to judge; False if there is one that is not to be replaced."""
        text = json.dumps(definition)
        if not replace:
            return await self.write_new_endpoint(name, text)
        with store_errors():
            await self._client.hset(self._keys.endpoints, name, text)
        return True

    async def write_new_endpoint(self, name: str, text: str) -> bool:
        """Write a definition, for intake to judge, if there is none; False if there is one."""
        with store_errors():
            return bool(await self._client.hsetnx(self._keys.endpoints, name, text))

    async def write_endpoints(self, texts: Mapping[str, str]) -> None:
        """Write many definitions, for intake to judge, over those that stand there."""
        names = list(texts)
        for start in range(0, len(names), PIECE):
            piece = {name: texts[name] for name in names[start : start + PIECE]}
            with store_errors():
                await self._client.hset(self._keys.endpoints, mapping=cast(Any, piece))

    async def remove_endpoint(self, name: str) -> bool:
        """Take an endpoint back; False if it was not there."""
        with store_errors():
            return bool(await self._client.hdel(self._keys.endpoints, name))

    async def write_watches(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Write watches, for a worker to judge; replies for each `watched`, `updated` or `known`."""
        names = list(texts)
        with store_errors():
            before = await self._client.hmget(self._keys.watches, names)
            await self._client.hset(self._keys.watches, mapping=cast(Any, texts))
        known = {name: None if old is None else as_bytes(old) for name, old in zip(names, before, strict=True)}
        return {
            name: "watched" if known[name] is None else "known" if known[name] == text.encode() else "updated"
            for name, text in texts.items()
        }

    async def remove_watches(self, names: Sequence[str]) -> list[str]:
        """Take watches back; replies those that were there."""
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hdel(self._keys.watches, name)
        with store_errors():
            replies = await pipe.execute()
        return [name for name, removed in zip(names, replies, strict=True) if removed]

    async def forget_rejections(self, kind: str, names: Sequence[str]) -> list[str]:
        """Take the complaints about entries out of `bridge:rejected`; replies those about which there was one.

        `kind` is `task`, `endpoint` or `watch`.
        """
        entries = {rejected_field(kind, name.encode("utf-8", "surrogateescape")): name for name in names}
        return [entries[entry] for entry in await self.dismiss(list(entries))]

    async def dismiss(self, entries: Sequence[str]) -> list[str]:
        """Take entries out of `bridge:rejected`, by their names there; replies those that were there."""
        replies: list[Any] = []
        for start in range(0, len(entries), PIECE):
            pipe = self._client.pipeline(transaction=False)
            for entry in entries[start : start + PIECE]:
                pipe.hdel(self._keys.rejected, entry.encode("utf-8", "surrogateescape"))
            with store_errors():
                replies += await pipe.execute()
        return [entry for entry, was in zip(entries, replies, strict=True) if was]

    async def endpoint_text(self, name: str) -> str | None:
        """An endpoint's definition as its client wrote it."""
        with store_errors():
            text = await self._client.hget(self._keys.endpoints, name)
        return text.decode(errors="replace") if isinstance(text, bytes) else text

    async def _registered(self, members: Sequence[str]) -> set[str]:
        pipe = self._client.pipeline(transaction=False)
        for member in members:
            pipe.zscore(self._keys.tasks, member)
        with store_errors():
            scores = await pipe.execute()
        return {member for member, score in zip(members, scores, strict=True) if score is not None}
