"""An upstream that lies: one task that we watch, in one of three states, and what Redis knows after each answer."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from authorities import AUTHORITIES
from corescene import INTERVAL_MS, Stage, Watching, watching

from bridge.diff import DOUBT_MS
from bridge.poll import CLOCK_MARGIN_MS, KEY_PROBE_SECONDS
from bridge.sandbox.faults import Fault
from bridge.sandbox.twelvelabs import API_KEY
from bridge.transport import Limits, Transport
from bridge.twelvelabs import BODY_BYTES, TwelveLabs

TASK = "t1"
STATES = ("first", "pending", "ending")
"""Never read; read as `indexing`; read as `ready` while its HLS stream is made, so that it is still watched."""
DOUBT_WAIT_MS = DOUBT_MS + CLOCK_MARGIN_MS
PROBE_MS = int(KEY_PROBE_SECONDS * 1000)

Play = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What a raw server does to a client that has asked."""
Answer = Fault | Callable[[str], Fault] | Play
"""A fault of the simulator; or one made of the true task's JSON text; or a raw server's deed."""


@dataclass(frozen=True)
class Then:
    """What a lying answer leads to, and what a second one that says the same does."""

    at_once: str = ""
    """The event type, without `index.task.`, that it makes."""
    agreed: str = ""
    """The one that the second makes."""
    wait: int = INTERVAL_MS
    """Milliseconds until the next read …"""
    slack: int = 0
    """… or up to this much sooner, where the wall clock has a say."""
    record: str = ""
    """The field of `bridge:watch:<member>` in which the lie is remembered."""
    says: str = ""
    """What `bridge task show` tells of it."""
    rests: bool = False
    """The whole key waits as long."""


PEACE = Then()
STALE = Then(says="older")


def told(word: str) -> Then:
    """Believed at once."""
    return Then(at_once=word)


def doubted(word: str) -> Then:
    """Believed when the next answer agrees."""
    return Then(agreed=word, wait=DOUBT_WAIT_MS, record="doubt", says="asked again")


def fault(says: str, wait: int = INTERVAL_MS) -> Then:
    """No answer to go by: tried again."""
    return Then(wait=wait, record="faults", says=says)


def absent(says: str) -> Then:
    """A word about the id, believed only after three over a minute."""
    return Then(record="absences", says=says)


def rests(wait: int, says: str = "429", slack: int = 0) -> Then:
    """The key rests."""
    return Then(wait=wait, says=says, rests=True, slack=slack)


@dataclass(frozen=True)
class Lie:
    """One row: an answer, and what it means to a task in each state."""

    name: str
    answer: Answer
    first: Then
    pending: Then
    ending: Then
    honest_reads: int = 1
    """How many honest answers it takes to be believed again."""
    deadline_seconds: float = 5.0
    tls: bool = False

    def then(self, state: str) -> Then:
        """What it means in this state."""
        return cast(Then, getattr(self, state))


@dataclass(frozen=True)
class Known:
    """What Redis holds of the task."""

    types: list[str]
    snapshot: Mapping[str, str]
    record: Mapping[str, str]
    due: float | None
    owed: int
    pause: float | None
    key: str | None
    rejected: Mapping[str, Any]


class Switch:
    """The upstream that the poller reads, which a test may exchange."""

    def __init__(self, upstream: TwelveLabs) -> None:
        self.upstream = upstream

    async def fetch(self, task_id: str) -> Any:
        """As whoever is behind it."""
        return await self.upstream.fetch(task_id)


@dataclass
class Lying:
    """A watched task whose upstream lies until it is healed."""

    stage: Stage
    watch: Watching
    switch: Switch
    honest: TwelveLabs

    async def known(self) -> Known:
        """Look into Redis."""
        client, now = self.stage.store.client, self.stage.clock.now
        raw = cast(dict[bytes, bytes], await client.hgetall(f"bridge:snapshot:{TASK}"))
        pause = await client.zscore("bridge:pauses", "default")
        key = cast(bytes | None, await client.hget("bridge:account:default", "state"))
        return Known(
            await self.stage.event_types(),
            {name.decode(): value.decode() for name, value in raw.items()},
            await self.stage.watch(TASK),
            await self.stage.due_in(TASK),
            await client.hlen("bridge:deliveries:e1"),
            pause - now if pause is not None and pause > now else None,
            key.decode() if key else None,
            await self.stage.rejected(),
        )

    async def read(self, *, wait: float | None = None) -> Known:
        """Let it become due, and the account's rest end, have it read, and look. What the poller raises fails here."""
        due = await self.stage.due_in(TASK) if wait is None else wait
        assert due is not None, "it is not watched any more"
        pause = (await self.known()).pause or 0
        assert await self.watch.round(max(0, int(due), int(pause))) == 1
        return await self.known()

    def heal(self) -> None:
        """From now on upstream is honest, and by now the task has come to its end."""
        self.switch.upstream = self.honest
        self.watch.simulator.clear_faults()
        self.stage.clock.advance(1)
        self.watch.simulator.change(TASK, {"status": "ready", "hls": {"status": "COMPLETE"}}, touch=True)

    @property
    def truth(self) -> Mapping[str, Any]:
        """The task as it is upstream."""
        return self.watch.simulator.task(TASK)


@asynccontextmanager
async def lying(stage: Stage, lie: Lie, state: str) -> AsyncIterator[Lying]:
    """A task in this state, one endpoint that is owed its events, and an upstream that lies from now on."""
    async with watching(stage) as watch, raw_server(lie.answer) as port:
        await stage.endpoint("e1", "http://127.0.0.1:9/")
        if state == "ending":
            await watch.add("ready", TASK, hls={"status": "PROCESSING"})
        elif state == "pending":
            await watch.add("indexing", TASK)
        else:
            watch.simulator.add_task(TASK, timeline=(), status="indexing")
            await stage.task(TASK)
        base = watch.simulator.base_url
        if lie.tls:
            base = base.replace("http:", "https:")
        elif port:
            base = f"http://127.0.0.1:{port}/v1.3"
        elif isinstance(lie.answer, Fault):
            watch.simulator.fault("/tasks/*", lie.answer, repeat=True)
        else:
            made = cast(Callable[[str], Fault], lie.answer)
            watch.simulator.fault("/tasks/*", made(json.dumps(watch.simulator.task(TASK))), repeat=True)
        transport = Transport(lambda *_: None, limits=Limits(body_bytes=BODY_BYTES), ssl_context=AUTHORITIES)
        liar = TwelveLabs(transport, base_url=base, api_key=API_KEY, deadline_seconds=lie.deadline_seconds)
        honest = cast(TwelveLabs, watch.poller._upstream)
        watch.poller._upstream = switch = Switch(liar)
        try:
            yield Lying(stage, watch, switch, honest)
        finally:
            await transport.aclose()


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that plays `answer`, if that is a raw deed; else 0 and no server."""
    if not inspect.iscoroutinefunction(answer):
        yield 0
        return

    playing: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(
        lambda *streams: playing.add(asyncio.get_running_loop().create_task(play(*streams))), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        await server.wait_closed()
