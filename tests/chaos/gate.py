"""A Redis client whose every command passes a gate: there it may be late, lost, doubled, or the end of its process.

The Redis behind it is a real one, asked synchronously, so that nothing but the seed decides what comes first. Scripts
are given the world's time where production lets them ask Redis for it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from world import World

BLOCKING = "BLPOP"


class GatedRedis(Redis):  # type: ignore[misc, unused-ignore]
    """redis-py's client, its commands carried by the world instead of by a connection."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, as one effect."""
        if args[0] == BLOCKING:
            return await self._wait_and_pop(args)
        if args[0] == "TIME":
            return await self._world.effect("redis TIME", self._world.redis_time)
        return await self._world.effect(self._world.label(args), lambda: self._world.ask(args, options))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "GatedPipeline":
        """Commands that travel together; each is an effect of its own, a MULTI is one."""
        return GatedPipeline(self._world, transaction, self.response_callbacks)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """There is no connection to close."""

    async def _wait_and_pop(self, args: Sequence[Any]) -> Any:
        """BLPOP of one key."""
        key, left = args[1], float(args[-1])
        loop = asyncio.get_running_loop()
        ends = loop.time() + left
        while True:
            if self._world.redis.llen(key):
                popped = await self._world.effect("redis BLPOP", lambda: self._world.ask(("LPOP", key), {}))
                if popped is not None:
                    return [key, popped]
            if loop.time() >= ends:
                return None
            await self._world.wait_for(key, ends - loop.time())


class GatedPipeline(Pipeline):  # type: ignore[misc, unused-ignore]
    """Collects, then sends. Outside of a MULTI a connection may break between any two of its commands."""

    def __init__(self, world: "World", transaction: bool, callbacks: Any) -> None:
        self._world = world
        self.is_transaction = transaction
        self.command_stack: list[Any] = []
        self.explicit_transaction = self.watching = False
        self.response_callbacks = callbacks

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Queue one."""
        self.command_stack.append((args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all; when a reply is lost, redis-py sends the whole of it again."""
        stack, self.command_stack = self.command_stack, []
        if self.is_transaction:
            replies = await self._world.effect("redis EXEC", lambda: self._transact(stack))
        else:
            replies = await self._world.effects([self._world.label(args) for args, _ in stack], self._steps(stack))
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors and raise_on_error:
            raise errors[0]
        return cast(list[Any], replies)

    def _transact(self, stack: Iterable[tuple[Any, Any]]) -> list[Any]:
        pipe = self._world.redis.pipeline(transaction=True)
        for args, options in stack:
            cast(Any, pipe).execute_command(*self._world.timed(args), **options)
        replies: list[Any] = pipe.execute(raise_on_error=False)
        return replies

    def _steps(self, stack: Iterable[tuple[Any, Any]]) -> list[Any]:
        return [lambda args=args, options=options: self._try(args, options) for args, options in stack]

    def _try(self, args: Any, options: Any) -> Any:
        try:
            return self._world.ask(args, options)
        except RedisError as error:
            return error


def broken() -> RedisConnectionError:
    """What redis-py says when its own retries came to nothing."""
    return RedisConnectionError("connection lost")
