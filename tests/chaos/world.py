"""A whole Bridge in one virtual world: poll and deliver processes, a client, upstream, a receiver, and a real Redis.

The processes are the product's own `Engine`, each on a Redis client and on sockets that pass the fates. A process that
dies takes its tasks, its connections and its memory along; its supervisor sends another one a second later.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha1
from typing import Any, cast

from authorities import AUTHORITIES
from cable import ClientEnd, Network
from fate import Effect, Fate, Fates
from gate import GatedRedis, broken
from redis import Redis as SyncRedis
from virtual import START, VirtualLoop

from bridge.engine import Engine, Kind
from bridge.errors import BridgeError
from bridge.pump import Permit
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.settings import Settings, load_settings
from bridge.signature import generate_secret
from bridge.store.scripts import script_names, script_text

SECRET = generate_secret(bytes(range(32)))
RESTART_SECONDS = 1.0
MEMORY_SECONDS = 0.2
DUMP_ALL = """
local copies = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  copies[#copies + 1] = key
  copies[#copies + 1] = redis.call('DUMP', key)
end
return copies
"""
"""All that Redis holds, on one trip: a storm asks for it a thousand times."""
HORIZON_SECONDS = 900.0
"""A world that has not come to rest by then never will."""

_current: ContextVar["Process"] = ContextVar("process")


@dataclass(eq=False)
class Process:
    """One operating-system process of ours, from its start to its death."""

    world: "World"
    name: str
    dead: bool = False
    frozen_until: float = 0.0
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)
    ends: set[ClientEnd] = field(default_factory=set)
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def frozen_for(self) -> float:
        """Seconds until it runs again; 0 if it runs."""
        return max(0.0, self.frozen_until - self.world.loop.time())

    def kill(self) -> None:
        """SIGKILL: not a byte more, and no word to anybody."""
        if self.dead:
            return
        self.dead = True
        self.world.kills += 1
        self.world.in_hand += self.world.leased()
        for end in tuple(self.ends):
            end.abort()
        for task in tuple(self.tasks):
            task.cancel()
        self.died.set()


def shas(name: str) -> list[str]:
    """By what EVALSHA calls this verb, on old and on new servers."""
    return [_sha(script_text(name, shebang=shebang)) for shebang in (True, False)]


@cache
def _sha(text: str) -> str:
    return sha1(text.encode()).hexdigest()


class Log:
    """What the product logs. A fault of ours is remembered; the rest is not needed."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Nothing to remember."""

    warning = info

    def exception(self, event: str, **fields: object) -> None:
        """A bug of ours, whoever provoked it."""
        import traceback

        self.faults.append(f"{event}: {traceback.format_exc(limit=-3)}")


class World:
    """Everything there is."""

    def __init__(self, loop: VirtualLoop, redis: SyncRedis, fates: Fates) -> None:
        self.loop, self.redis, self.fates = loop, redis, fates
        self.log = Log()
        self.kills = self.effects_seen = 0
        self.in_hand = 0
        """Deliveries in flight at a kill or a lost reply: each may be sent again, and lose its place in line."""
        self.settled_at = float("inf")
        """When the client had done all it wanted: Redis forgets none of it; that would be the client's to repeat."""
        self.rolled_back = False
        self.skew_ms = 0
        """How far Redis' clock is from the world's."""
        self.network = Network(self, loop)
        self.receiver = Receiver(SECRET, clock=lambda: START + loop.time())
        self.upstream = Simulator(clock=lambda: START + loop.time())
        self._line = redis.connection_pool.get_connection()
        self._waiting: dict[asyncio.Future[None], str] = {}
        """Who waits for something in which list."""
        self._scripts = {sha: name for name in script_names() for sha in shas(name)}
        self.outside = copy_context()
        self._lives: list[asyncio.Task[None]] = []
        self._past: deque[tuple[float, list[tuple[bytes, bytes]]]] = deque(maxlen=24)
        self.living: dict[str, Process] = {}
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._complain)

    # -- what a process meets --

    def _make_task(self, loop: Any, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=loop, **options)
        process = _current.get(None)
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
            if process.dead:
                task.cancel()
        return task

    def _complain(self, _: Any, context: dict[str, Any]) -> None:
        """What asyncio says about the tasks of the dead is no news; what a sandbox server did wrong is."""
        if "sandbox" in context["message"]:
            self.log.faults.append(f"{context['message']}: {context.get('exception')!r}")

    def current(self) -> Process:
        """The process whose code is running."""
        return _current.get()

    def fate(self, process: Process, label: str) -> Fate:
        """What happens at this effect."""
        self.effects_seen += 1
        return self.fates.at(Effect(self.effects_seen, process.name, label))

    async def effect(self, label: str, act: Callable[[], Any]) -> Any:
        """One effect of the running process."""
        return (await self.effects([label], [act]))[0]

    async def effects(self, labels: Sequence[str], acts: Sequence[Callable[[], Any]]) -> list[Any]:
        """Effects that travel together, and may be broken off between any two."""
        process = self.current()
        before, after = self.fates.pace(Effect(self.effects_seen, process.name, labels[0] if labels else ""))
        await self._pass(process, before)
        replies: list[Any] = []
        for label, act in zip(labels, acts, strict=True):
            fate = self.fate(process, label)
            if fate is Fate.KILL_BEFORE:
                process.kill()
            self._alive(process)
            if fate is Fate.REFUSE:
                raise self._broken(label)
            replies.append(act())
            if fate is Fate.KILL_AFTER:
                process.kill()
            self._alive(process)
            if fate is Fate.CUT:
                self.in_hand += self.leased()  # as for a lost reply
                raise self._broken(label)
            if fate is Fate.LOSE:
                self.in_hand += self.leased()  # what a first claim leased, nobody holds: it waits for its lease's end
                replies = [again() for again in acts]
                break
        await self._pass(process, after)
        return replies

    async def _pass(self, process: Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while (wait := process.frozen_for()) > 0:  # noqa: ASYNC110 - it may be frozen anew
            await asyncio.sleep(wait)
        self._alive(process)

    @staticmethod
    def _broken(label: str) -> Exception:
        return broken() if label.startswith("redis") else ConnectionResetError(errno.ECONNRESET, "reset")

    @staticmethod
    def _alive(process: Process) -> None:
        if process.dead:
            raise asyncio.CancelledError

    # -- Redis --

    def redis_time(self) -> tuple[int, int]:
        """What TIME says."""
        milliseconds = self.now_ms()
        return milliseconds // 1000, milliseconds % 1000 * 1000

    def now_ms(self) -> int:
        """Redis' clock."""
        return int((START + self.loop.time()) * 1000) + self.skew_ms

    def label(self, args: Sequence[Any]) -> str:
        """A command in a person's words."""
        word = str(args[0])
        return f"redis {word} {self._scripts.get(str(args[1]), '')}".strip() if word == "EVALSHA" else f"redis {word}"

    def timed(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """A script that would ask Redis for the time is told the world's."""
        return (*args[:-1], self.now_ms()) if args[0] == "EVALSHA" and args[-1] == 0 else tuple(args)

    def ask(self, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The real Redis answers. What may have put something where somebody waits takes a look there on the same trip.

        All of it on one connection, and without what redis-py's client does around each command: a proof asks millions.
        """
        awaited = sorted(set(self._waiting.values())) if args[0] in {"EVALSHA", "LPUSH"} else []
        line: Any = self._line
        line.send_packed_command(line.pack_commands([self.timed(args), *(("LLEN", key) for key in awaited)]))
        try:
            return cast(Any, self.redis).parse_response(line, args[0], **options)
        finally:
            self._tell({key for key in awaited if line.read_response()})

    def _tell(self, filled: Collection[str]) -> None:
        """Somebody was nudged."""
        for waiting, key in tuple(self._waiting.items()):
            if key in filled and not waiting.done():
                waiting.set_result(None)

    def leased(self) -> int:
        """Deliveries in flight, over all endpoints."""
        return sum(self.redis.zcard(key) for key in self.redis.scan_iter("bridge:leases:*"))

    async def wait_for(self, key: str, seconds: float) -> None:
        """Wait until there is something in this list, as far as a script or a nudge has put it there."""
        waiting: asyncio.Future[None] = self.loop.create_future()
        self._waiting[waiting] = key
        try:
            await asyncio.wait([waiting], timeout=seconds)
        finally:
            del self._waiting[waiting]

    async def remember(self) -> None:
        """Keep copies of Redis, as an append-only file that is not yet on the disk would."""
        while True:
            copies: Any = self.redis.eval(DUMP_ALL, 0)
            self._past.append((self.loop.time(), sorted(zip(copies[::2], copies[1::2], strict=True))))
            await asyncio.sleep(MEMORY_SECONDS)

    def roll_back(self, seconds: float) -> None:
        """Redis comes back as it was so long ago."""
        self.rolled_back = True
        moment = self.loop.time() - seconds
        _, copies = [past for past in self._past if past[0] <= moment][-1]
        pipe = self.redis.pipeline(transaction=True)
        pipe.flushall()
        for key, copy in copies:
            pipe.restore(key, 0, copy)
        pipe.execute()

    # -- lives --

    def names(self) -> dict[str, object]:
        """What is replaced in the product while this world lasts."""

        class Logs:
            get_logger = staticmethod(lambda *_: self.log)

        class Moment(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                """The world's wall clock."""
                return datetime.fromtimestamp(START + self.loop.time(), tz)

        return {
            "bridge.sender.datetime": Moment,
            "bridge.twelvelabs.datetime": Moment,
            "bridge.store.connect": lambda _url: GatedRedis(self),
            "bridge.dial._open": self.network.open,
            "ssl.create_default_context": lambda: AUTHORITIES,
            "bridge.engine.structlog": Logs,
        }

    def settings(self, **changes: Any) -> Settings:
        """The product as it ships, but for a pace at which a test ends."""
        values: dict[str, Any] = {
            "redis_url": "redis://127.0.0.1:1/0",
            "twelvelabs_base_url": self.upstream.base_url,
            "twelvelabs_api_key": API_KEY,
            "poll_interval_seconds": 1,
            "delivery_schedule_seconds": "0,1,2",
            "delivery_allow_networks": "127.0.0.0/8",
            "delivery_allow_http": True,
            "delivery_default_secret": SECRET,
        }
        return load_settings(**{**values, **changes})

    def spawn(self, name: str, life: Callable[[Process], Awaitable[None]]) -> "asyncio.Task[None]":
        """Start something that is started again a second after each death, until it ends by itself."""
        task = self.loop.create_task(self._supervise(name, life))
        self._lives.append(task)
        return task

    async def _supervise(self, name: str, life: Callable[[Process], Awaitable[None]]) -> None:
        while True:
            process = self.living[name] = Process(self, name)
            _current.set(process)
            main: asyncio.Task[None] = asyncio.ensure_future(life(process))  # type: ignore[arg-type, unused-ignore]
            await asyncio.wait(
                [main, died := asyncio.ensure_future(process.died.wait())], return_when="FIRST_COMPLETED"
            )
            died.cancel()
            if main.done() and not main.cancelled() and main.exception() is None:
                return
            if not process.dead and not isinstance(main.exception(), BridgeError):
                self.log.faults.append(f"{name} ended: {main.exception()!r}")
            process.kill()
            await asyncio.sleep(RESTART_SECONDS)

    def worker(self, kind: Kind, name: str, settings: Settings) -> None:
        """A worker process, with its supervisor."""

        async def life(_: Process) -> None:
            permit = Permit()
            permit.extend(1e9)
            await Engine(kind, settings, permit, lambda: None)._main()

        self.spawn(name, life)

    async def end(self) -> None:
        """Everybody goes home."""
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self.receiver.stop()
        await self.upstream.stop()
        self.network.close()
        self.redis.connection_pool.release(self._line)
