"""The other sides, each in a process of its own: an upstream with changing tasks, and a receiver that only notes.

`python -m benchmarks.actors upstream|receiver <JSON>` prints its port as the first line, works until SIGTERM, and then
prints what it saw as one line of JSON. Times are `time.monotonic()`, which processes of one machine share.
"""

import asyncio
import json
import random
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Any

import uvloop

from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response
from bridge.signature import verify

STATES = ("validating", "pending", "queued", "indexing")


class Upstream:
    """Tasks that change state at a given rate, and a note of what was served when, for the first time."""

    def __init__(self, tasks: int, changes_per_second: float) -> None:
        self.rate = changes_per_second
        self.tasks = {task_id(number): self._state("indexing") for number in range(tasks)}
        self.served: list[tuple[str, str, str, float]] = []
        self._last: dict[str, tuple[str, str]] = {}
        self.requests = 0

    def respond(self, request: Request) -> Response:
        """GET /v1.3/tasks/{id}."""
        self.requests += 1
        member = request.target.rpartition("/")[2]
        state = self.tasks.get(member)
        if state is None:
            return Response(404, body=b'{"code":"resource_not_exist","message":"no such task"}')
        seen = (state["status"], state["updated_at"])
        if self._last.get(member) != seen:
            self._last[member] = seen
            self.served.append((member, *seen, time.monotonic()))
        return Response(200, (("content-type", "application/json"),), json.dumps({"_id": member, **state}).encode())

    async def change(self) -> None:
        """Move tasks, evenly spread in time."""
        began, made, members = time.monotonic(), 0, list(self.tasks)
        while True:
            await asyncio.sleep(0.005)
            while made < (time.monotonic() - began) * self.rate:
                member = random.choice(members)
                others = [status for status in STATES if status != self.tasks[member]["status"]]
                self.tasks[member] = self._state(random.choice(others))
                made += 1

    @staticmethod
    def _state(status: str) -> dict[str, Any]:
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata = {"filename": "keynote.mp4", "duration": 612.48, "width": 1920, "height": 1080}
        return {"index_id": "ix", "status": status, "updated_at": moment, "system_metadata": metadata}


class Notes:
    """A receiver: answers 204, or never on paths under /hang, and verifies afterwards, so as not to slow the run."""

    def __init__(self) -> None:
        self.arrived: list[tuple[float, Request]] = []

    def respond(self, request: Request) -> Response:
        """Note it, answer."""
        if request.path.startswith("/hang"):
            return Response(hang=True)
        self.arrived.append((time.monotonic(), request))
        return Response(204)

    def result(self, secret: str) -> dict[str, Any]:
        """What arrived, and whether it was rightly signed."""
        rows, bad = [], 0
        for at, request in self.arrived:
            timestamp = int(request.headers.get("webhook-timestamp", 0))
            bad += verify([secret], request.headers, request.body, timestamp) is not None
            data = json.loads(request.body)["data"]
            rows.append((at, request.path, data["task_id"], data["status"], data["updated_at"], data["revision"]))
        return {"bad": bad, "arrived": rows}


def task_id(number: int) -> str:
    """24 hex digits, as upstream's ids look."""
    return f"{0x6A0B1C2D3E4F5A6B00000000 + number:024x}"


async def play(role: str, options: dict[str, Any]) -> None:
    """Serve until SIGTERM, then say what was seen."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    notes, upstream = Notes(), Upstream(options.get("tasks", 0), options.get("changes_per_second", 0))
    server = HttpServer(upstream.respond if role == "upstream" else notes.respond)
    await server.start()
    print(server.port, flush=True)
    changing = asyncio.create_task(upstream.change()) if role == "upstream" else None
    await stop.wait()
    if changing:
        changing.cancel()
    await server.stop()
    served = {"requests": upstream.requests, "served": upstream.served}
    print(json.dumps(served if role == "upstream" else notes.result(options["secret"])), flush=True)


if __name__ == "__main__":
    uvloop.run(play(sys.argv[1], json.loads(sys.argv[2])))
