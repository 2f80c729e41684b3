"""Sockets without a kernel: what one side writes, the other receives a moment later, in order, or not at all.

Beneath it everything is real: the product's transport and parser on one side, the sandbox's servers on the other.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

from fate import Fate

if TYPE_CHECKING:
    from world import Process, World

FLIGHT_SECONDS = 0.0005
"""How long a segment is under way."""


class Plug:
    """What stands for a connected socket: one end of a cable."""

    def __init__(self, port: int, silent: int) -> None:
        self.port, self._silent = port, silent

    def fileno(self) -> int:
        """A file that never has anything to read: the loop hears of every byte before anybody could ask the kernel."""
        return self._silent

    def getpeername(self) -> tuple[str, int]:
        """The address that was dialled."""
        return "127.0.0.1", self.port

    def setsockopt(self, *_: object) -> None:
        """Nothing to set."""

    def close(self) -> None:
        """Nothing to close."""


class End(asyncio.Transport):
    """One end of a connection. `peer` is the other one; the client's end belongs to a process that may die."""

    def __init__(self, loop: asyncio.AbstractEventLoop, plug: Plug) -> None:
        super().__init__({"socket": plug, "peername": plug.getpeername()})
        self._loop = loop
        self.peer: End
        self.protocol: asyncio.Protocol
        self.context = copy_context()
        self.closing = False
        self._lost = False

    def open(self, protocol: asyncio.Protocol, peer: "End") -> None:
        """Connected."""
        self.protocol, self.peer = protocol, peer
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self._carry(bytes(data))

    def _carry(self, data: bytes) -> None:
        self._loop.call_later(FLIGHT_SECONDS, self.peer.arrive, data, context=self.peer.context)

    def arrive(self, data: bytes) -> None:
        """A segment reaches this end."""
        if not self.closing:
            self.protocol.data_received(data)

    def close(self) -> None:
        self._part(None)

    def abort(self) -> None:
        self._part(None)

    def _part(self, error: Exception | None) -> None:
        if self.closing:
            return
        self.closing = True
        self._loop.call_soon(self.lose, error, context=self.context)
        self._loop.call_later(FLIGHT_SECONDS, self.peer.lose, error, context=self.peer.context)

    def lose(self, error: Exception | None) -> None:
        """The connection is gone; the protocol hears of it once."""
        self.closing = True
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nothing to pause: a segment that arrives is read."""

    def resume_reading(self) -> None:
        """See pause_reading."""


class ClientEnd(End):
    """The end that a process of ours holds: its writing and reading are effects of that process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, plug: Plug, process: "Process") -> None:
        super().__init__(loop, plug)
        self._process = process
        process.ends.add(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing or self._process.dead:
            return
        fate = self._process.world.fate(self._process, "net request")
        if fate is Fate.KILL_BEFORE:
            self._process.kill()
            return
        if fate is not Fate.REFUSE:
            self._carry(bytes(data))
        if fate is Fate.KILL_AFTER:
            self._process.kill()
        elif fate is not Fate.PASS:
            self._loop.call_later(FLIGHT_SECONDS, self.reset)

    def arrive(self, data: bytes) -> None:
        if self.closing or self._process.dead:
            return
        if wait := self._process.frozen_for():
            self._loop.call_later(wait, self.arrive, data)
            return
        fate = self._process.world.fate(self._process, "net answer")
        if fate is Fate.KILL_BEFORE:
            self._process.kill()
        elif fate in {Fate.LOSE, Fate.REFUSE}:
            self.reset()
        elif fate is Fate.CUT:
            self.protocol.data_received(data[: len(data) // 2])
            self.reset()
        else:
            self.protocol.data_received(data)
            if fate is Fate.KILL_AFTER:
                self._process.kill()

    def reset(self) -> None:
        """A RST from somewhere in between: both ends lose the connection."""
        self._part(ConnectionResetError(errno.ECONNRESET, "reset by a simulated network"))

    def lose(self, error: Exception | None) -> None:
        self._process.ends.discard(self)
        if self._process.dead:
            self.closing = True
        else:
            super().lose(error)


class Listener:
    """What `create_server` gives."""

    def __init__(self, network: "Network", port: int) -> None:
        self._network, self.port = network, port
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def close(self) -> None:
        """Listen no longer."""
        self._network.listening.pop(self.port, None)

    async def wait_closed(self) -> None:
        """Closed at once."""


class Network:
    """All ports of a world, and the functions that stand where the loop and the dial ask the kernel."""

    def __init__(self, world: "World", loop: asyncio.AbstractEventLoop) -> None:
        self._world, self._loop = world, loop
        self._silent = os.eventfd(0)
        self.listening: dict[int, Callable[[], asyncio.Protocol]] = {}
        loop.create_server = self.create_server  # type: ignore[method-assign, assignment]
        loop.create_connection = self.create_connection  # type: ignore[method-assign, assignment]

    def close(self) -> None:
        """Give the kernel its one file back."""
        os.close(self._silent)

    async def create_server(self, factory: Callable[[], asyncio.Protocol], *_: object, **__: object) -> Listener:
        """Listen on the next port."""
        port = 20_000 + len(self.listening)
        self.listening[port] = factory
        return Listener(self, port)

    async def open(self, address: object, port: int) -> Plug:
        """Stands for `bridge.dial._open`: a connected socket to that address."""
        await self._world.effect("net dial", lambda: None)
        if port not in self.listening:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        return Plug(port, self._silent)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], *, sock: Any, **_: object
    ) -> tuple[End, asyncio.Protocol]:
        """Put protocols at both ends of a dialled socket."""
        plug = cast(Plug, sock)
        near = ClientEnd(self._loop, plug, self._world.current())
        far = End(self._loop, plug)
        far.context = self._world.outside
        far.context.run(far.open, self.listening[plug.port](), near)
        protocol = factory()
        near.open(protocol, far)
        return near, protocol
