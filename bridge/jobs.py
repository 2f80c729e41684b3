"""The RQ seam. An RQ job is a *shift*: it carries no data, and while it runs, the worker it runs in may claim work.

A lost, doubled or flushed job costs a second of capacity and nothing else: its supervisor sends another.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import structlog
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from bridge import logs
from bridge.engine import Engine, Kind
from bridge.errors import BridgeError, StoreDown
from bridge.pump import Permit
from bridge.settings import Settings, load_settings
from bridge.store import connect_for_rq
from bridge.store.shifts import Shifts

BEAT_SECONDS = 1.0
GRACE_SECONDS = 3.0
"""How long claiming stays allowed after a shift last said so: enough for the next one to start."""
HANDOVER_SECONDS = 3.0
"""A shift gives up its place so long before it ends, so that its successor is queued when it does."""

WORKER_TTL_SECONDS = 20
MAINTENANCE_SECONDS = 30
QUEUED_SECONDS = 30
FAILURE_SECONDS = 3_600


def poll_shift() -> None:
    """Named in RQ's job; a worker of the bridge runs its own shift instead, and no other worker may."""
    raise BridgeError("a shift runs only in a worker of the bridge", fix="python worker.py")


def deliver_shift() -> None:
    """As `poll_shift`."""
    poll_shift()


SHIFTS: dict[Kind, str] = {"poll": "bridge.jobs.poll_shift", "deliver": "bridge.jobs.deliver_shift"}


def queue_for(connection: "Redis", prefix: str, kind: Kind) -> Queue:
    """The RQ queue of one kind of shift: `bridge-poll`, `bridge-deliver`."""
    name = prefix.rstrip(":").replace(":", "-").strip("{}")
    return Queue(f"{name}-{kind}", connection=connection, serializer=JSONSerializer)


def send_shift(queue: Queue, kind: Kind, shift_seconds: float) -> None:
    """Enqueue one shift."""
    queue.enqueue(
        SHIFTS[kind],
        job_timeout=int(shift_seconds) + 30,
        ttl=QUEUED_SECONDS,
        result_ttl=0,
        failure_ttl=FAILURE_SECONDS,
        description=f"{kind} shift",
    )


def shift_job(name: str, shift: Callable[[], None]) -> type[Job]:
    """A job class that runs `shift` under `name`, and nothing else: a forged job names what it likes in vain.

    Callbacks and RQ's own HTTP callbacks are dropped, whoever wrote them into the job.
    """

    class ShiftJob(Job):
        success_callback = None
        failure_callback = None
        stopped_callback = None

        @property
        def func(self) -> Callable[[], None]:
            if self.func_name != name:
                raise BridgeError(f"not a shift: {str(self.func_name)[:80]}")
            return shift

        @property
        def args(self) -> tuple[()]:
            return ()

        @args.setter
        def args(self, value: Any) -> None:
            """Ignored: a shift carries no data."""

        @property
        def kwargs(self) -> dict[str, Any]:
            return {}

        @kwargs.setter
        def kwargs(self, value: Any) -> None:
            """Ignored: a shift carries no data."""

        def restore(self, raw_data: Any) -> Any:
            restored = super().restore(raw_data)
            self.webhooks = []
            return restored

    return ShiftJob


class ShiftWorker(SimpleWorker):
    """RQ's SimpleWorker (no fork per job) that says when it is asked to stop."""

    max_connection_wait_time = 2.0
    on_stop: Callable[[], None] = staticmethod(lambda: None)

    def handle_warm_shutdown_request(self) -> None:
        self.on_stop()


class WorkerProcess:
    """One worker process: an engine in a thread, and RQ in the main one."""

    def __init__(self, kind: Kind, settings: Settings) -> None:
        self._kind, self._settings = kind, settings
        self._log = structlog.get_logger(f"bridge.{kind}")
        self._permit, self._stop = Permit(), threading.Event()
        self._engine = Engine(kind, settings, self._permit, on_end=self._engine_ended)

    def run(self) -> int:
        """Work until asked to stop; replies the exit code."""
        self._engine.start()
        self._engine.started.wait()
        if self._engine.fault is None:
            self._work()
        self._stop.set()
        self._engine.stop()
        self._engine.join(self._settings.delivery_deadline_seconds + 4)
        return self._verdict()

    def _work(self) -> None:
        settings = self._settings
        connection = connect_for_rq(settings.redis_url.get_secret_value())
        shifts = Shifts(connection, settings.prefix, self._kind)
        worker = ShiftWorker(
            [queue_for(connection, settings.prefix, self._kind)],
            name=f"{socket.gethostname()}-{self._kind}-{os.getpid()}",
            connection=connection,
            job_class=shift_job(SHIFTS[self._kind], lambda: self._shift(shifts)),
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            default_result_ttl=0,
            log_job_description=False,
        )
        worker.log_result_lifespan = False
        worker.on_stop = self._stop.set
        worker.work(logging_level="WARNING")

    def _shift(self, shifts: Shifts) -> None:
        """Permit claiming for a while, saying once a second that we are alive."""
        shift, ends = token_hex(8), time.monotonic() + self._settings.shift_seconds
        if not shifts.start(shift):
            return
        placed = True
        while not self._stop.is_set() and time.monotonic() < ends:
            self._permit.extend(GRACE_SECONDS)
            self._engine.permitted()
            self._stop.wait(BEAT_SECONDS)
            try:
                if time.monotonic() < ends - HANDOVER_SECONDS:
                    shifts.beat(shift)
                elif placed:
                    shifts.end(shift)
                    placed = False
            except StoreDown:
                continue  # Redis is away; the pump waits for it too
        if self._stop.is_set():
            self._permit.revoke()

    def _engine_ended(self) -> None:
        """The loop is gone: this process is of no use any more, so end RQ's part too."""
        if not self._stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _verdict(self) -> int:
        fault = self._engine.fault
        if isinstance(fault, BridgeError):
            self._log.error("worker.stopped", error=str(fault), fix=fault.fix)
            return fault.exit_code
        if fault is not None:
            self._log.error("worker.fault", exc_info=fault)
            return 1
        return 0


def main(kind: Kind) -> int:
    """The child process of a supervisor: it ends when its standard input does, so that no orphan works on unseen."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, secrets=settings.secret_values())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until RQ sets its own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return WorkerProcess(kind, settings).run()


def _end_with_parent() -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held by this thread when the interpreter ends
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main("poll" if sys.argv[1:] == ["poll"] else "deliver"))
