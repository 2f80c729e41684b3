"""A receiver that shares no line with the bridge: the standard library alone, run as a process of its own.

    python failing_receiver.py SECRET LOG

It fails the first attempt of every event, each in another way, and accepts the second, in ways that are no better:
dripping or huge. It prints its port, and writes a line for every request into LOG: what came, whether it verifies by
HMAC, and what it was answered.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

Writer = asyncio.StreamWriter
Way = Callable[[Writer], Awaitable[None]]
HUGE = b"x" * 4_000_000


def plainly(answer: bytes) -> Way:
    """Say this."""

    async def way(writer: Writer) -> None:
        writer.write(answer)

    return way


def dripping(head: bytes) -> Way:
    """Say this, and then a byte at a time until nobody listens."""

    async def way(writer: Writer) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    return way


def headed(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def retry_at(writer: Writer) -> None:
    """Retry-After as a date."""
    writer.write(headed("429 Slow", f"Retry-After: {formatdate(time.time() + 1, usegmt=True)}"))


async def reset(writer: Writer) -> None:
    """No answer at all."""
    writer.transport.abort()


FAILURES: dict[str, Way] = {
    "500": plainly(headed("500 No")),
    "503 in a second": plainly(headed("503 No", "Retry-After: 1")),
    "429 until": retry_at,
    "404 with a silly wait": plainly(headed("404 No", "Retry-After: soon")),
    "dripping head": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "dripping body": dripping(b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n"),
    "huge": plainly(headed("500 No", body=HUGE)),
    "huge head": plainly(headed("200 OK", "X: " + "x" * 900_000)),
    "reset": reset,
    "redirect": plainly(headed("302 There", "Location: /elsewhere")),
    "no HTTP": plainly(b"250 fine\r\n"),
    "a success behind a failure": plainly(headed("500 No") + headed("200 OK")),
}
SUCCESSES: dict[str, Way] = {
    "204": plainly(b"HTTP/1.1 204 OK\r\n\r\n"),
    "huge 200": plainly(headed("200 OK", body=HUGE)),
    "dripping 200": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
}


class Receiver:
    """Everything it remembers is which events it has seen."""

    def __init__(self, secret: str, log: Path) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._log = log.open("a", buffering=1)
        self._seen: set[str] = set()
        self._failures, self._successes = itertools.cycle(FAILURES), itertools.cycle(SUCCESSES)

    async def converse(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        """One connection, kept for as long as both sides like."""
        try:
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        event = headers.get("webhook-id", "")
        way = next(self._successes if event in self._seen else self._failures)
        self._seen.add(event)
        line = {"start": start, "id": event, "attempt": headers.get("bridge-attempt"), "answer": way}
        self._log.write(json.dumps({**line, "valid": self._verifies(headers, body), "body": body.decode()}) + "\n")
        await (FAILURES | SUCCESSES)[way](writer)
        await writer.drain()

    def _verifies(self, headers: dict[str, str], body: bytes) -> bool:
        stamp = headers.get("webhook-timestamp", "0")
        signed = f"{headers.get('webhook-id')}.{stamp}.".encode() + body
        good = "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        return abs(time.time() - int(stamp)) < 300 and good in headers.get("webhook-signature", "").split()


async def main(secret: str, log: str) -> None:
    """Serve until killed."""
    receiver = Receiver(secret, Path(log))
    server = await asyncio.start_server(receiver.converse, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
