"""Run sandbox servers beside synchronous code: one event loop in one daemon thread."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Startable(Protocol):
    """What `in_thread` can run: a Simulator, a Receiver, an HttpServer."""

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one."""

    async def stop(self) -> None:
        """Close the port and every connection."""


class LoopThread:
    """The loop that the servers run in, for code outside of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_seconds: float = 30.0) -> T:
        """Run `coroutine` in the servers' loop, give its result or exception; TimeoutError when late."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_seconds)
        finally:
            future.cancel()


@contextmanager
def in_thread(*servers: Startable) -> Iterator[LoopThread]:
    """Start `servers` on free ports in a thread of their own; stop them all at the end.

    Their scripting methods may be called from the outer thread meanwhile: each is one short step under the
    GIL. What waits (`receiver.wait_for`) goes through `LoopThread.run`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="bridge-sandbox", daemon=True)
    thread.start()
    started: list[Startable] = []
    inside = LoopThread(loop)
    try:
        for server in servers:
            inside.run(server.start())
            started.append(server)
        yield inside
    finally:
        for server in reversed(started):
            inside.run(server.stop())
        inside.run(loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
