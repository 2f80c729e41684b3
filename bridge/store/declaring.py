"""What the CLI writes is what any client may write by hand: the same keys, the same contract."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis

from bridge.store.keys import Keys
from bridge.store.scripts import store_errors


class HasClient(Protocol):
    """What declaring needs of the store."""

    client: "Redis"
    keys: Keys


class Declaring:
    """Registering and taking back, as a client. Each raises StoreDown when Redis is away."""

    def __init__(self, store: HasClient) -> None:
        self._client, self._keys = store.client, store.keys

    async def register_task(self, member: str, options: Mapping[str, str]) -> bool:
        """Options (replacing earlier ones) and member in one step; False if it was registered already."""
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(self._keys.task(member))
        if options:
            pipe.hset(self._keys.task(member), mapping=cast(Any, options))
        pipe.zadd(self._keys.tasks, {member: 0}, nx=True)
        with store_errors():
            replies = await pipe.execute()
        return bool(replies[-1])

    async def remove_tasks(self, members: Sequence[str]) -> int:
        """Take tasks back; replies how many were there."""
        with store_errors():
            return int(await self._client.zrem(self._keys.tasks, *members))

    async def poll_now(self, member: str) -> bool:
        """Ask for a task to be read at once; False if it is not registered."""
        with store_errors():
            if await self._client.zscore(self._keys.tasks, member) is None:
                return False
            await self._client.zadd(self._keys.tasks, {member: 0}, xx=True)
            return True

    async def write_endpoint(self, name: str, definition: Mapping[str, Any]) -> None:
        """Write an endpoint's definition; intake judges it."""
        with store_errors():
            await self._client.hset(self._keys.endpoints, name, json.dumps(definition))

    async def remove_endpoint(self, name: str) -> bool:
        """Take an endpoint back; False if it was not there."""
        with store_errors():
            return bool(await self._client.hdel(self._keys.endpoints, name))

    async def endpoint_text(self, name: str) -> str | None:
        """An endpoint's definition as its client wrote it."""
        with store_errors():
            text = await self._client.hget(self._keys.endpoints, name)
        return text.decode() if isinstance(text, bytes) else text
