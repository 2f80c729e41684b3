"""One HTTP/1.1 connection: a socket that carries one exchange at a time, and never speaks unasked.

    connection_made ──> idle ── send() ──> busy ── answer complete, nothing after it ──> idle …
                         │                  └── cut, `Connection: close`, leftover bytes, fault ──> closed
                         └── any byte or EOF ──> closed

An idle connection has nothing to say. A byte on it would be read as the answer to our *next* request, so it
is closed at once: that is how a server would forge the success of a POST that it never took.
"""

import asyncio
import select
import ssl
import time
from collections.abc import Callable
from typing import cast

from bridge.exchange import Answer, ClosedUnanswered, Limits, Phase, TransportFault
from bridge.model import Fault, Timing
from bridge.parser import AnswerParser, Malformed


class Connection(asyncio.Protocol):
    """A connection to one origin, for one pool. `opened` and `lost` hear of its birth and its end, once."""

    def __init__(
        self,
        limits: Limits,
        *,
        opened: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self._limits = limits
        self._opened = opened
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._inbox = select.poll()
        self._parser = AnswerParser(limits)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._sent_at = 0.0
        self._exchanges = 0
        self._unasked = False
        self.wait_ms: float | None = None
        """From the last request's writing to the head of its answer."""
        self.closed = False
        """Closed, or about to be: never to be used again."""

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self._waiter is None else "busy"
        return f"<Connection {state}, {self._exchanges} exchanges>"

    @property
    def reusable(self) -> bool:
        """The last answer left the connection in a state to carry another exchange."""
        return self._parser.reusable and not self.closed

    def quiet(self) -> bool:
        """Not a byte, nor an end, waits to be read: asked of the kernel, which knows before the loop does."""
        return not self.closed and not self._inbox.poll(0)

    def send(self, payload: bytes, method: str, deadline: float) -> asyncio.Future[None]:
        """Write a request, and return what resolves when `answer` has it, or fails with TransportFault.

        `deadline` is in the loop's time. The caller is the connection's only user until then, and aborts the
        connection if it stops waiting.
        """
        waiter = self._waiter = self._loop.create_future()
        self._parser.begin(method)
        self._exchanges += 1
        self._sent_at = 0.0
        self.wait_ms = None
        if self.closed or self._transport is None:
            if self._unasked:
                self._fail(Fault.PROTOCOL, "the server spoke before it was asked")
            else:
                self._end(None)
            return waiter
        self._deadline = deadline
        self._timer = self._loop.call_at(deadline, self._expire)
        self._sent_at = time.perf_counter()
        self._transport.write(payload)
        return waiter

    def answer(self, timing: Timing) -> Answer:
        """The answer to the last request, once what `send` returned has resolved."""
        return self._parser.answer(timing)

    def abort(self) -> None:
        """Close at once: nothing is drained, no farewell is waited for. Safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inbox.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self._unasked = True
            self.abort()
            return
        parser, answered = self._parser, self._parser.answered
        try:
            parser.feed(data)
        except Malformed as objection:
            self._fail(Fault.PROTOCOL, str(objection))
            return
        if parser.answered and not answered:
            self.wait_ms = (time.perf_counter() - self._sent_at) * 1000
        if parser.complete or parser.cut:
            self._finish()
        elif parser.answered and not answered:
            self._hurry()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._end(exc)
        self._lost(self)

    # How an exchange ends: each way settles the waiter once, and closes the connection unless it may be kept.

    def _hurry(self) -> None:
        """The head is here, the body is not: give it a little, within the deadline."""
        grace = self._loop.time() + self._limits.body_seconds
        if grace < self._deadline and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(grace, self._expire)

    def _expire(self) -> None:
        if self._parser.answered:
            self._finish()
        elif self._transport is not None and self._transport.get_write_buffer_size():
            self._fail(Fault.TIMEOUT, "write: the request was not taken in time", Phase.WRITE)
        else:
            self._fail(Fault.TIMEOUT, "the request was sent, and no answer came in time")

    def _end(self, error: Exception | None) -> None:
        if self._waiter is None:
            self.abort()
        elif self._parser.answered:
            if error is None:
                self._parser.end()
            self._finish()
        elif self._parser.touched:
            self._fail(Fault.RESET, "closed in the middle of the answer's head")
        elif isinstance(error, ssl.SSLError):
            self._fail(Fault.TLS, describe_tls(error), kind=ClosedUnanswered)
        else:
            self._fail(Fault.RESET, "closed before a byte of an answer", kind=ClosedUnanswered)

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        if self._timer is not None:
            self._timer.cancel()
        if not self._parser.reusable:
            self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(
        self,
        fault: Fault,
        detail: str,
        phase: Phase = Phase.HEAD,
        *,
        kind: type[TransportFault] = TransportFault,
    ) -> None:
        waiter, self._waiter = self._waiter, None
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(kind(fault, detail, phase=phase, sent=self._sent_at > 0))


def describe_tls(error: ssl.SSLError) -> str:
    """Why TLS failed, in a person's words: the certificate's fault if it was that, else OpenSSL's reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return (error.reason or "handshake failed").replace("_", " ").lower()
