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
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from secrets import token_hex
from typing import Any

import structlog
from redis import Redis
from redis import exceptions as redis_errors
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

from bridge import logs
from bridge.engine import Engine, Kind
from bridge.errors import BridgeError, StoreAway, StoreDown
from bridge.pump import Permit
from bridge.settings import Settings, load_settings
from bridge.store import connect_for_rq
from bridge.store.shifts import Shifts

PERMIT_SECONDS = 1.0
"""How often a shift says that claiming is allowed …"""
BEAT_SECONDS = 2.0
"""… and tells Redis that it is alive."""
POLL_SECONDS = 0.1
LOOK_SECONDS = 1
"""How often a worker without a job looks whether it is to stop."""
RETRY_SECONDS = 1.0
"""The pause before RQ's part is started again."""
GRACE_SECONDS = 3.0
"""How long claiming stays allowed after a shift last said so: enough for the next one to start."""
STAND_IN_SECONDS = 5.0
"""The shift that a worker gives itself when RQ's part ended unasked, before RQ is tried again."""
TELL_EVERY = 12
"""That RQ's part ended is said the first time, and then every so many times in a row: about once a minute."""
HANDOVER_SECONDS = 3.0
"""A shift gives up its place so long before it ends, so that its successor is queued when it does."""

WORKER_TTL_SECONDS = 20
MAINTENANCE_SECONDS = 30
QUEUED_SECONDS = 30
FAILURE_SECONDS = 3_600


IN_THE_LOG = "the log of the worker says what went wrong"

NOT_ITS_FAULT = (redis_errors.ConnectionError, redis_errors.TimeoutError, StopRequested)
"""What may interrupt the reading of a job, whatever is in it."""


def poll_shift() -> None:
    """Named in RQ's job; a worker of the bridge runs its own shift instead, and no other worker may."""
    raise BridgeError("a shift runs only in a worker of the bridge", fix="python worker.py")


def deliver_shift() -> None:
    """As `poll_shift`."""
    poll_shift()


SHIFTS: dict[Kind, str] = {"poll": "bridge.jobs.poll_shift", "deliver": "bridge.jobs.deliver_shift"}


def queue_for(connection: "Redis", prefix: str, kind: Kind, job_class: type[Job] = Job) -> Queue:
    """The RQ queue of one kind of shift: `bridge-poll`, `bridge-deliver`."""
    return Queue(queue_name(prefix, kind), connection=connection, job_class=job_class, serializer=JSONSerializer)


def queue_name(prefix: str, kind: str) -> str:
    """What RQ calls the queue of one kind of shift."""
    return f"{prefix.rstrip(':').replace(':', '-').strip('{}')}-{kind}"


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


class ShiftJob(Job):
    """A job that runs one function under one name, and nothing else: a forged job names what it likes in vain.

    Callbacks, RQ's own HTTP callbacks, retries and repeats are dropped, whoever wrote them into the job.
    """

    shift_name = ""
    shift: Callable[[], None] = staticmethod(poll_shift)
    success_callback = None
    failure_callback = None
    stopped_callback = None

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> Any:  # noqa: A002
        """What cannot be read is no job, and is passed over; RQ would end its worker, and each one after it."""
        try:
            return super().fetch(id, connection=connection, serializer=serializer)
        except (NoSuchJobError, *NOT_ITS_FAULT):
            raise
        except Exception as error:
            raise NoSuchJobError(f"not a shift: {type(error).__name__}") from None

    @property
    def func(self) -> Callable[[], None]:
        if self.func_name != self.shift_name:
            raise BridgeError(f"not a shift: {str(self.func_name)[:80]}")
        return self.shift

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
        """Nothing of what RQ would do beside or after a job: it runs once, and leaves nothing."""
        restored = super().restore(raw_data)
        self.webhooks, self.meta = [], {}
        self.retries_left = self.repeats_left = self.group_id = None
        self.rate_limit_key = self.rate_limit_concurrency = None
        self.result_ttl, self.failure_ttl = 0, FAILURE_SECONDS
        return restored


def shift_job(name: str, shift: Callable[[], None]) -> type[ShiftJob]:
    """The job class of a worker that runs `shift` under `name`."""
    return type("ShiftJob", (ShiftJob,), {"shift_name": name, "shift": staticmethod(shift)})


class Bell:
    """An event that a signal handler may ring, for one waiter.

    Not threading.Event: its lock may be held by the very thread that the handler has interrupted.
    """

    def __init__(self) -> None:
        self._rung = False
        self._waiter: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the waiter, now and for ever."""
        self._rung = True
        self._waiter.put(None)

    @property
    def rung(self) -> bool:
        """Whether it was rung."""
        return self._rung

    def wait(self, seconds: float) -> bool:
        """Wait until it is rung, at most `seconds`; replies whether it is."""
        if not self._rung:
            with suppress(Empty):
                self._waiter.get(timeout=seconds)
        return self._rung


class ShiftWorker(SimpleWorker):
    """RQ's SimpleWorker (no fork per job) that rings when it is asked to stop."""

    max_connection_wait_time = 2.0
    stop = Bell()

    def handle_warm_shutdown_request(self) -> None:
        """RQ was told to stop by a signal."""
        self.stop.ring()

    def subscribe(self) -> None:
        """Listen to no commands: whoever may PUBLISH could stop us, and RQ's listening thread trips over a bad line."""

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Wait for a job. An entry of the queue that can name none is passed over.

        RQ stops by an exception out of its signal handler, and loses it where it catches them all. The bell stays rung.
        """
        while not self.stop.rung:
            try:
                found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time or LOOK_SECONDS)
            except ValueError as error:
                self.log.warning("not a job: %s", type(error).__name__)
                continue
            if found is not None or timeout is None:
                return found
        raise StopRequested

    def handle_job_failure(self, *arguments: Any, **named: Any) -> None:
        """RQ keeps a failed job's traceback in Redis; ours may hold a secret, so it stands in the log alone."""
        super().handle_job_failure(*arguments, **(named | {"exc_string": IN_THE_LOG}))

    def run_maintenance_tasks(self) -> None:
        """RQ tidies up. Where it stumbles over an entry, that goes: no shift is ever missed."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            self.log.warning("RQ's keys hold something that is not RQ's: %s", type(error).__name__)
            for queue in self.queues:
                self.connection.delete(queue.intermediate_queue_key)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]
            self.last_cleaned_at = now()  # type: ignore[assignment]


def shift_worker(connection: "Redis", prefix: str, kind: Kind, shift: Callable[[], None], *, stop: Bell) -> ShiftWorker:
    """RQ's part of one worker process: it works on one queue, and runs `shift` and nothing else."""
    job_class = shift_job(SHIFTS[kind], shift)
    worker = ShiftWorker(
        [queue_for(connection, prefix, kind, job_class)],
        name=f"{socket.gethostname()}-{kind}-{os.getpid()}-{token_hex(4)}",
        connection=connection,
        job_class=job_class,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_SECONDS,
        maintenance_interval=MAINTENANCE_SECONDS,
        default_result_ttl=0,
        log_job_description=False,
    )
    worker.log_result_lifespan = False
    worker.stop = stop
    return worker


class WorkerProcess:
    """One worker process: an engine in a thread, and RQ in the main one."""

    def __init__(self, kind: Kind, settings: Settings) -> None:
        self._kind, self._settings = kind, settings
        self._log = structlog.get_logger(f"bridge.{kind}")
        self._permit, self._stop = Permit(), Bell()
        self._engine = Engine(kind, settings, self._permit, on_end=self._engine_ended)
        self._ends = 0
        """How often RQ's part ended unasked without having run a shift in between."""

    def run(self) -> int:
        """Work until asked to stop; replies the exit code."""
        self._listen()
        self._engine.start()
        while not (self._engine.started.wait(POLL_SECONDS) or self._stop.rung):
            pass
        while self._engine.is_alive() and not self._stop.rung:
            self._work()
            self._listen()
            self._stop.wait(RETRY_SECONDS)
        if self._engine.started.is_set():  # else it has claimed nothing, and may hang on its way to Redis
            self._engine.stop()
            self._engine.join(self._settings.delivery_deadline_seconds + 4)
        return self._verdict()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return not self._engine.is_alive()

    def _listen(self) -> None:
        """Hear what ends us ourselves. While RQ works, its own handlers do, and tell us."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.ring())

    def _work(self) -> None:
        """RQ's part, until it ends: we are asked to stop, or Redis was away (and what is in flight goes on)."""
        settings = self._settings
        try:
            with closing(connect_for_rq(settings.redis_url.get_secret_value())) as connection:
                shifts = Shifts(connection, settings.prefix, self._kind)
                self._run_rq(connection, shifts)
                self._shift(shifts, STAND_IN_SECONDS)
        except (redis_errors.RedisError, OSError, StopRequested, SystemExit) as error:
            # SystemExit is RQ's answer to a second signal; to us it says no more than the first one did.
            self._tell(error)

    def _run_rq(self, connection: "Redis", shifts: Shifts) -> None:
        """RQ works. A full Redis takes none of its writes, and ends it; what is owed is delivered all the same."""
        settings = self._settings

        def shift() -> None:
            self._ends = 0
            self._shift(shifts, settings.shift_seconds)

        try:
            shift_worker(connection, settings.prefix, self._kind, shift, stop=self._stop).work(logging_level="WARNING")
        except redis_errors.ResponseError as error:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Say that RQ's part ended, but not each time of many in a row."""
        if not self._stop.rung and self._ends % TELL_EVERY == 0:
            self._log.warning("rq.ended", error=f"{type(error).__name__}: {error}")
        self._ends += 1

    def _shift(self, shifts: Shifts, seconds: float) -> None:
        """Permit claiming for a while, saying now and then that we are alive."""
        shift, ends = token_hex(8), time.monotonic() + seconds
        try:
            if self._stop.rung or not shifts.start(shift):
                return
        except StoreDown:
            return  # Redis is away; another shift is sent when it is back
        placed, beat = True, time.monotonic()
        while not self._stop.rung and time.monotonic() < ends:
            was_permitted = self._permit.valid
            self._permit.extend(GRACE_SECONDS)
            if not was_permitted:
                self._engine.permitted()
            self._stop.wait(PERMIT_SECONDS)
            try:
                if time.monotonic() >= ends - HANDOVER_SECONDS:
                    if placed:
                        shifts.end(shift)
                        placed = False
                elif time.monotonic() >= beat + BEAT_SECONDS:
                    shifts.beat(shift)
                    beat = time.monotonic()
            except StoreDown:
                continue  # Redis is away; the pump waits for it too
        if self._stop.rung:
            self._permit.revoke()

    def _engine_ended(self) -> None:
        """The loop is gone: this process is of no use any more, so end RQ's part too."""
        if not self._stop.rung:
            os.kill(os.getpid(), signal.SIGTERM)

    def _verdict(self) -> int:
        fault = self._engine.fault
        if isinstance(fault, BridgeError):
            start = self._settings.deployment.start_redis(self._settings.redis_url.get_secret_value())
            fix = start if isinstance(fault, StoreAway) else fault.fix
            self._log.error("worker.stopped", error=str(fault), fix=fix)
            return fault.exit_code
        if fault is not None:
            self._log.error("worker.fault", exc_info=fault)
            return 1
        return 0


def main(kind: Kind) -> int:
    """The child process of a supervisor: it ends when its standard input does, so that no orphan works on unseen."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, secrets=settings.secret_values())
    logs.catch_uncaught()
    process = WorkerProcess(kind, settings)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = process.run()
    if not process.is_over:
        os._exit(code)  # its thread hangs: the interpreter would trip over it on its way out
    return code


def _end_with_parent() -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held by this thread when the interpreter ends
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main("poll" if sys.argv[1:] == ["poll"] else "deliver"))
