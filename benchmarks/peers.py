"""What others would write to send the same deliveries: each a process of its own, beside the bridge's.

`python -m benchmarks.peers bridge|aiohttp|rq|celery` works off what was queued, until SIGTERM. `bridge` and `aiohttp`
are the same deliver process but for the HTTP client; the second one keeps every safety of the first: the address that
is dialled is judged, no redirects, no cookies, no decompression, a whole deadline, 64 KiB of an answer at most, and no
connection shared by two endpoints. `rq` and `celery` make a job of each delivery, sign it, POST it by httpx and have it
retried; they keep no record of attempts, no order, no limit per endpoint and no guard.
"""

import os
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import aiohttp
import aiohttp.abc
import celery
import httpx
from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.serializers import JSONSerializer

import bridge.wiring
from bridge import jobs
from bridge.dial import Judge
from bridge.exchange import Answer, Limits, Origin, Phase, Request, Stopwatch, TransportFault
from bridge.model import Fault
from bridge.signature import Signer

QUEUE = "peer"
Job = tuple[str, str, str, str]
"""URL, secret, event id, body."""

_client = httpx.Client(timeout=15.0, follow_redirects=False)
_signers: dict[str, Signer] = {}

app = celery.Celery("benchmarks.peers", broker=os.environ.get("BRIDGE_REDIS_URL", ""))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=32, task_acks_late=True)


def send(url: str, secret: str, event_id: str, body: str) -> None:
    """Sign and POST one delivery; anything but a 2xx raises, and is retried by whoever called."""
    signer = _signers.get(secret) or _signers.setdefault(secret, Signer([secret]))
    headers = signer.headers(event_id, int(time.time()), body.encode())
    headers.append(("content-type", "application/json"))
    _client.post(url, content=body.encode(), headers=headers).raise_for_status()


send_by_celery: Any = app.task(autoretry_for=(httpx.HTTPError,), retry_backoff=True, max_retries=10)(send)


def fill(peer: str, url: str, queued: Iterable[Job]) -> None:
    """Queue deliveries for a peer that makes a job of each."""
    if peer == "celery":
        app.conf.broker_url = url
        with app.connection_for_write() as connection:
            for job in queued:
                send_by_celery.apply_async(job, connection=connection)
        return
    with Redis.from_url(url) as connection:
        queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        retry = Retry(max=10, interval=[5, 300, 1800])
        queue.enqueue_many([Queue.prepare_data(send, job, result_ttl=0, retry=retry, timeout=30) for job in queued])


class Resolver(aiohttp.abc.AbstractResolver):  # type: ignore[misc]
    """The system's answers, if the policy allows each of them."""

    def __init__(self, judge: Judge) -> None:
        self._judge, self._resolver = judge, aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
        """Where a name leads."""
        found: list[Any] = await self._resolver.resolve(host, port, family)
        require_allowed(self._judge, host, port, [one["host"] for one in found])
        return found

    async def close(self) -> None:
        """Nothing is kept."""


def require_allowed(judge: Judge, host: str, port: int, addresses: Sequence[str]) -> None:
    """Raise the fault of a blocked dial unless all of these may be dialled."""
    why = judge(host, port, addresses)
    if why:
        raise TransportFault(Fault.BLOCKED, why, phase=Phase.CONNECT)


class AiohttpTransport:
    """The bridge's transport, on aiohttp."""

    def __init__(self, judge: Judge, **_: object) -> None:
        self._judge, self._limits = judge, Limits()
        self._sessions: dict[tuple[str, Origin], aiohttp.ClientSession] = {}

    def _session(self, pool: str, origin: Origin) -> aiohttp.ClientSession:
        session = self._sessions.get((pool, origin))
        if session is None:
            if origin.host[0].isdigit() or ":" in origin.host:  # aiohttp resolves no address
                require_allowed(self._judge, origin.host, origin.port, [origin.host])
            limits = self._limits
            session = self._sessions[pool, origin] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=Resolver(self._judge), limit=limits.idle_per_pool, keepalive_timeout=limits.idle_seconds
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return session

    async def exchange(self, pool: str, request: Request, *, deadline_seconds: float) -> Answer:
        """One request, one answer."""
        watch = Stopwatch()
        url = f"{request.origin.scheme}://{request.origin.authority}{request.target}"
        try:
            async with self._session(pool, request.origin).request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=deadline_seconds),
            ) as response:
                body = await response.content.read(self._limits.body_bytes)
                headers = tuple((name.lower(), value) for name, value in response.headers.items())
                return Answer(response.status, headers, body, not response.content.at_eof(), watch.timing())
        except TimeoutError:
            raise TransportFault(Fault.TIMEOUT, "timed out", phase=Phase.HEAD, timing=watch.timing()) from None
        except aiohttp.ClientError as error:
            raise TransportFault(Fault.RESET, str(error), phase=Phase.HEAD, timing=watch.timing()) from None

    def close_pool(self, pool: str) -> None:
        """No endpoint changes in a benchmark."""

    async def aclose(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()


def work(peer: str) -> int:
    """Work until SIGTERM."""
    if peer == "rq":
        with Redis.from_url(os.environ["BRIDGE_REDIS_URL"]) as connection:
            SimpleWorker([QUEUE], connection=connection, serializer=JSONSerializer).work(logging_level="WARNING")
        return 0
    if peer == "celery":
        app.worker_main(["worker", "--pool=threads", "--concurrency=32", "--loglevel=ERROR"])
        return 0
    if peer == "aiohttp":
        vars(bridge.wiring)["Transport"] = AiohttpTransport
    return jobs.main("deliver")


if __name__ == "__main__":
    sys.exit(work(sys.argv[1]))
