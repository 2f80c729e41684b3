"""What people build of RQ to watch tasks: a job for each read, sent again every few seconds by a loop.

`python -m benchmarks.jobs_per_poll REDIS_URL` is its worker, one SimpleWorker, until SIGTERM.
"""

import os
import sys
import threading
import time

import httpx
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from bridge.sandbox.twelvelabs import API_KEY

QUEUE, STATES, TOLD = "reads", "states", "told"
TERMINAL = ("ready", "failed")

_client = httpx.Client(timeout=10.0, headers={"x-api-key": API_KEY})


def read(base_url: str, member: str) -> None:
    """Read a task; if its status is another one than the last time, note when, and since when it is."""
    task = _client.get(f"{base_url}/tasks/{member}").raise_for_status().json()
    with Redis.from_url(os.environ["BRIDGE_REDIS_URL"]) as redis:
        before = redis.hget(STATES, member)
        if before is None or before.decode() != task["status"]:
            redis.hset(STATES, member, task["status"])
            redis.rpush(TOLD, f"{'' if before is None else time.time()} {task['updated_at']} {task['status']}")


class Loop(threading.Thread):
    """Sends a job for each task that has not ended, every so often, unless the round before is still being worked."""

    def __init__(self, redis_url: str, base_url: str, members: list[str], interval_seconds: float) -> None:
        super().__init__(daemon=True)
        self._redis_url, self._base_url, self._members = redis_url, base_url, members
        self._interval, self._stopped = interval_seconds, threading.Event()

    def run(self) -> None:
        """Until stopped."""
        with Redis.from_url(self._redis_url) as redis:
            queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
            while not self._stopped.wait(self._interval):
                if queue.count:
                    continue
                states = redis.hgetall(STATES)
                left = [one for one in self._members if states.get(one.encode(), b"").decode() not in TERMINAL]
                jobs = [Queue.prepare_data(read, (self._base_url, one), result_ttl=0, timeout=30) for one in left]
                queue.enqueue_many(jobs)

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        self.join(timeout=10)


if __name__ == "__main__":
    with Redis.from_url(os.environ["BRIDGE_REDIS_URL"]) as connection:
        SimpleWorker([QUEUE], connection=connection, serializer=JSONSerializer).work(logging_level="WARNING")
    sys.exit(0)
