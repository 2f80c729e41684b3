"""`worker.py`: runs the worker processes, restarts whichever ends, and keeps their shifts filled."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from secrets import token_hex
from typing import get_args

import structlog
from redis import Redis
from redis.exceptions import RedisError

from bridge import logs
from bridge.engine import Kind
from bridge.errors import BridgeError, InvalidInput, StoreAway, StoreDown
from bridge.jobs import Bell, queue_for, send_shift
from bridge.settings import Settings, load_settings
from bridge.store import connect_for_rq
from bridge.store.scripts import as_store_error
from bridge.store.shifts import KEYED, KEYLESS, Fleet
from bridge.wiring import open_store
from bridge.wording import apart

TICK_SECONDS = 1.0
FILL_SECONDS = 2.0
"""How often it is looked whether a shift is missing: often enough for who hands over to be relieved in time."""
QUICK_SECONDS = 10.0
"""A worker that ends sooner than this after its start may do so again …"""
PATIENCE_SECONDS = 5.0
"""… so the next one of its kind waits a second longer each time, up to this."""
STOP_MARGIN_SECONDS = 5.0
"""On SIGTERM everything ends within the delivery deadline and this."""


class Child:
    """One worker process."""

    def __init__(self, kind: Kind, supervisor: str) -> None:
        self.kind, self._supervisor = kind, supervisor
        self.started_at = time.monotonic()
        # Its standard input is its life line: when we end, however we end, it reads end-of-file and stops too.
        self.process = subprocess.Popen([sys.executable, "-m", "bridge.jobs", kind], stdin=subprocess.PIPE)

    @property
    def name(self) -> str:
        """What the registry of workers knows it by: of all machines, and in containers process ids are all alike."""
        return f"{self._supervisor}{self.process.pid}"

    def close(self) -> None:
        """Let go of an ended process."""
        if self.process.stdin:
            self.process.stdin.close()


class Supervisor:
    """All worker processes of one machine."""

    def __init__(self, counts: dict[Kind, int], settings: Settings) -> None:
        self._counts, self._settings = counts, settings
        self._log = structlog.get_logger("bridge.supervisor")
        self.name = f"{socket.gethostname()}:{token_hex(4)}:"
        self._children: list[Child] = []
        self._quick: Counter[Kind] = Counter()
        self._not_before: dict[Kind, float] = {}
        self._stop = Bell()
        self._connected: tuple[Redis, Fleet] | None = None
        self._away = 0

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; replies the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.ring())
        self._log.info("supervisor.started", **{kind: n for kind, n in self._counts.items() if n})
        # Beside the children's care: a Redis that hangs must hold up neither that nor our end.
        threading.Thread(target=self._keep_filled, name="filler", daemon=True).start()
        while not self._stop.rung:
            self._restore()
            self._stop.wait(TICK_SECONDS)
        return self._end()

    def _restore(self) -> None:
        """Start what is missing. A child is restarted whatever its exit code: RQ ends with 0 on some Redis outages.

        At once, unless its kind ends again and again soon after its start: then a little later each time.
        """
        now = time.monotonic()
        for child in [child for child in self._children if child.process.poll() is not None]:
            self._children.remove(child)
            child.close()
            self._quick[child.kind] = self._quick[child.kind] + 1 if now - child.started_at < QUICK_SECONDS else 0
            self._not_before[child.kind] = now + min(max(0, self._quick[child.kind] - 1), PATIENCE_SECONDS)
            self._log.warning("worker.ended", kind=child.kind, pid=child.process.pid, code=child.process.returncode)
        for kind, wanted in self._counts.items():
            if now < self._not_before.get(kind, 0.0):
                continue
            for _ in range(wanted - sum(child.kind == kind for child in self._children)):
                self._children.append(Child(kind, self.name))

    def _keep_filled(self) -> None:
        while not self._stop.rung:
            try:
                self._fill()
            except Exception:
                self._log.exception("supervisor.fault")  # ours; without this thread no shift would ever be sent again
            time.sleep(FILL_SECONDS)

    def _fill(self) -> None:
        """Send the shifts that are missing."""
        try:
            connection, fleet = self._connect()
            children = tuple(self._children)
            queues = {kind: queue_for(connection, self._settings.prefix, kind) for kind in self._counts}
            missing = fleet.missing(
                {
                    kind: (queue.key, [child.name + self.keyed(kind) for child in children if child.kind == kind])
                    for kind, queue in queues.items()
                }
            )
            for kind, queue in queues.items():
                for _ in range(missing[kind]):
                    send_shift(queue, kind, self._settings.shift_seconds)
            if self._away:
                self._log.info("redis.back", after_seconds=self._away)
            self._away = 0
        except (StoreDown, RedisError, OSError) as error:
            if self._away % 30 == 0:
                _log_away(error, self._settings)
            self._away += 1

    def keyed(self, kind: Kind) -> str:
        """What the name of a worker of this kind says of the API key: other shells cannot know whether we have one."""
        if kind != "poll":
            return ""
        return KEYED if self._settings.twelvelabs_api_key else KEYLESS

    def _connect(self) -> tuple["Redis", Fleet]:
        if self._connected is None:
            connection = connect_for_rq(self._settings.redis_url.get_secret_value())
            self._connected = connection, Fleet(connection, self._settings.prefix)
        return self._connected

    def _end(self) -> int:
        """Ask every child to stop, wait as long as an attempt may take, and report whether all did."""
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + self._settings.delivery_deadline_seconds + STOP_MARGIN_SECONDS - 0.5
        clean = True
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                clean = False
            child.close()
        self._log.info("supervisor.ended", clean=clean)
        return 0 if clean else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """`worker.py [all|poll|deliver]`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        settings = load_settings()
        logs.configure(settings.log_level, settings.log_format, secrets=settings.secret_values())
        logs.catch_uncaught()
        for warning in settings.warnings:
            structlog.get_logger("bridge.settings").warning("settings", warning=warning)
        supervisor = Supervisor(_counts(words, settings), settings)
        _check_redis(settings)
    except BridgeError as error:
        sys.stderr.write(apart(f"{error}\n  → {error.fix}\n" if error.fix else f"{error}\n"))
        return error.exit_code
    return supervisor.run()


def _counts(words: list[str], settings: Settings) -> dict[Kind, int]:
    word = words[0] if words else "all"
    if len(words) > 1 or word not in {"all", *get_args(Kind)}:
        raise InvalidInput(f"worker.py does not know “{' '.join(words)}”", fix="worker.py [all|poll|deliver]")
    counts: dict[Kind, int] = {}
    if word in {"all", "poll"}:
        counts["poll"] = settings.poll_workers
    if word in {"all", "deliver"}:
        counts["deliver"] = settings.delivery_workers
    return counts


def _check_redis(settings: Settings) -> None:
    """Refuse a Redis that could forget. One that does not answer yet is waited for: it may be starting too."""

    async def look() -> None:
        async with open_store(settings):
            pass

    try:
        asyncio.run(look())
    except (StoreDown, RedisError, OSError) as error:
        _log_away(error, settings)


def _log_away(error: Exception, settings: Settings) -> None:
    """Say that Redis does not answer, or does not let us work, and what to do."""
    seen = as_store_error(error)
    start = settings.deployment.start_redis(settings.redis_url.get_secret_value())
    fix = seen.fix if isinstance(seen, StoreDown) and not isinstance(seen, StoreAway) else start
    structlog.get_logger("bridge.supervisor").warning("redis.away", error=str(seen), fix=fix)
