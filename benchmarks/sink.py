"""A receiver that costs next to nothing: it answers 204 and counts, so that what is measured is the sender.

`python -m benchmarks.sink COUNT` prints its port as the first line, an empty one when so many different deliveries
(`webhook-id` and path) have come, and at SIGTERM one line of JSON: how many requests came, for how many different
deliveries, and when (monotonic) the first and the last came, and each id for the first time.
"""

import asyncio
import json
import signal
import sys
import time
from typing import Any, cast

import httptools
import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink:
    """What has come."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.requests, self.at, self.deliveries = 0, dict[bytes, float](), set[bytes]()
        self.first = self.last = 0.0

    def note(self, webhook_id: bytes, path: bytes) -> None:
        """One more."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.requests += 1
        self.at.setdefault(webhook_id, self.last)
        delivery = webhook_id + path
        if delivery not in self.deliveries:
            self.deliveries.add(delivery)
            if len(self.deliveries) == self._count:
                print(flush=True)


class Connection(asyncio.Protocol):
    """One sender's connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._parser, self._id = sink, httptools.HttpRequestParser(self), b""
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it, to answer."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Which endpoint it is for."""
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """All that is looked at is the id."""
        if name == b"webhook-id":
            self._id = value

    def on_message_complete(self) -> None:
        """Count it, answer."""
        self._sink.note(self._id, self._path)
        self._transport.write(ANSWER)


async def serve(count: int) -> None:
    """Until SIGTERM."""
    loop, stop, sink = asyncio.get_running_loop(), asyncio.Event(), Sink(count)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    seen: dict[str, Any] = {
        "requests": sink.requests,
        "ids": len(sink.deliveries),
        "first": sink.first,
        "last": sink.last,
    }
    seen["at"] = {webhook_id.decode(): at for webhook_id, at in sink.at.items()}
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
