"""`bridge demo`: the main job in one go, with everything that it needs made for it and removed after it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli import stage
from bridge.cli.calling import program
from bridge.cli.demo_screen import Screen
from bridge.cli.output import chosen
from bridge.cli.word import Word
from bridge.model import TERMINAL_STATUSES
from bridge.sandbox.answers import Served
from bridge.sandbox.receiver import Arrival, Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.thread import in_thread
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.signature import generate_secret

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.store import Store

TIMELINES = (
    a_timeline(validating=0.8, pending=0.8, queued=1.0, indexing=2.6, filename="keynote.mp4"),
    a_timeline(validating=1.0, pending=1.3, queued=0.8, indexing=3.2, filename="interview.mov"),
    a_timeline(validating=0.7, pending=0.9, queued=1.4, indexing=1.5, filename="broken.avi", end="failed"),
    a_timeline(validating=1.2, pending=0.7, queued=0.7, indexing=1.8, filename="trailer.mp4"),
    a_timeline(validating=0.9, pending=1.1, queued=1.2, indexing=4.0, filename="lecture.mp4"),
    a_timeline(validating=1.4, pending=0.8, queued=0.9, indexing=2.2, filename="match.ts"),
)
POLL_SECONDS = 0.4
ALL, ENDS = "everything", "ends"
"""The two endpoints, and their paths: one takes every event, one only those that end a task."""
FILTERS: Mapping[str, list[str]] = {ALL: ["index.task.*"], ENDS: ["index.task.ready", "index.task.failed"]}

SETTINGS = {
    "BRIDGE_POLL_INTERVAL_SECONDS": str(POLL_SECONDS),
    "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.1/32",
    "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
}
COUNTS = (
    ("tasks", "events", "deliveries", "attempts", "retried", "verified"),
    ("duplicates", "out_of_order", "lost"),
)
"""What the summary counts: what came, and what should be none."""
WORDS = {"out_of_order": "first attempts out of order"}
"""What is counted, where its name does not say it."""
FAULTS = ("missing", "lost", "invented", "unverified", "out_of_order")

State = tuple[str, str, str]
"""Task, status, updated_at: a state as TwelveLabs showed it and as an event tells it."""


class Play:
    """The simulated TwelveLabs, the receiver, and what they saw. `answered` belongs to the main loop."""

    def __init__(self) -> None:
        self.simulator, self.secret = Simulator(), generate_secret(os.urandom(32))
        self.receiver = Receiver(self.secret)
        self.receiver.always(self._answer)
        self.tasks: list[str] = []
        self.answered: list[tuple[Arrival, int]] = []
        self.news = asyncio.Event()
        self.started = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._stumbled = False

    def endpoints(self) -> dict[str, dict[str, Any]]:
        """What is registered, as JSON in `bridge:endpoints`."""
        return {
            name: {"url": f"{self.receiver.url}/{name}", "events": events, "secret": self.secret}
            for name, events in FILTERS.items()
        }

    def begin(self) -> None:
        """Upload the videos, so to say: the tasks start now."""
        self.tasks = [self.simulator.add_task(timeline=timeline) for timeline in TIMELINES]
        self.started = time.monotonic()

    def _answer(self, arrival: Arrival) -> int:
        """204, but for one early event 500, once. Called in the servers' thread."""
        stumbles = not self._stumbled and arrival.path == f"/{ALL}" and arrival.type == "index.task.pending"
        self._stumbled = self._stumbled or stumbles
        status = 500 if stumbles else 204
        self._loop.call_soon_threadsafe(self._note, arrival, status)
        return status

    def _note(self, arrival: Arrival, status: int) -> None:
        self.answered.append((arrival, status))
        self.news.set()

    def owed(self) -> set[tuple[str, State]]:
        """Every state that the simulator has shown by now, for each endpoint that wants it."""
        shown = {_state(one) for one in list(self.simulator.served)}
        return {(ALL, one) for one in shown} | {(ENDS, one) for one in shown if one[1] in TERMINAL_STATUSES}

    def taken(self) -> set[tuple[str, State]]:
        """Every state that the receiver has taken: signature valid, answered 2xx."""
        return {_told(arrival) for arrival, status in self.answered if status < 300}

    def open(self) -> list[str]:
        """What is still to come, in words; empty when the demo is complete."""
        if not self.tasks:
            return ["a worker that takes in the endpoints"]
        ended = {state[0] for name, state in self.owed() if name == ENDS}
        unfinished = [f"the end of task {task}" for task in self.tasks if task not in ended]
        return unfinished + [f"{s[1]} of {s[0]} at {name}" for name, s in sorted(self.owed() - self.taken())]

    def tally(self) -> dict[str, Any]:
        """Everything counted: the simulator's truth beside what the receiver got."""
        arrivals, invalid = [arrival for arrival, _ in self.answered], self.receiver.invalid
        owed, taken, lags = self.owed(), self.taken(), self._lags()
        ends = [state[1] for name, state in owed if name == ENDS]
        return {
            "tasks": len(self.tasks),
            "ready": ends.count("ready"),
            "failed": ends.count("failed"),
            "events": len({arrival.id for arrival in arrivals}),
            "deliveries": len({(arrival.path, arrival.id) for arrival in arrivals}),
            "attempts": len(arrivals) + len(invalid),
            "retried": sum(arrival.attempt > 1 for arrival in arrivals),
            "verified": len(arrivals),
            "unverified": len(invalid),
            "duplicates": len(self.receiver.duplicates),
            "out_of_order": len(self.receiver.out_of_order),
            "invented": len(taken - owed),
            "lost": len(owed - taken),
            "missing": self.open(),
            "median_ms": round(median(lags) * 1000, 1) if lags else None,
            "seconds": round(max((arrival.at for arrival in arrivals), default=self.started) - self.started, 1),
        }

    def _lags(self) -> list[float]:
        """Seconds from TwelveLabs' answer to the arrival, for each first attempt."""
        shown: dict[State, float] = {}
        for one in list(self.simulator.served):
            shown.setdefault(_state(one), one.at)
        firsts = [arrival for arrival, _ in self.answered if arrival.attempt == 1]
        return [arrival.at - shown[_told(arrival)[1]] for arrival in firsts if _told(arrival)[1] in shown]


def _state(served: Served) -> State:
    return served.task_id, str(served.status), str(served.updated_at)


def _told(arrival: Arrival) -> tuple[str, State]:
    return arrival.path.strip("/"), (arrival.task_id, arrival.status, str(arrival.data.get("updated_at")))


async def perform(console: "Console", play: Play, bound_seconds: float) -> None:
    """The whole demo, from an empty machine to an empty machine. Raises what the worker died of."""
    from bridge.store import Store

    ready = asyncio.Event()

    def hear(line: stage.Line) -> None:
        if line.get("event") == "intake":
            ready.set()

    with RedisServer() as redis, in_thread(play.simulator, play.receiver):
        settings = {
            **SETTINGS,
            "BRIDGE_REDIS_URL": redis.url,
            "BRIDGE_TWELVELABS_BASE_URL": play.simulator.base_url,
            "BRIDGE_TWELVELABS_API_KEY": API_KEY,
        }
        environment = stage.environment(settings, scrubbed=True)
        worker = stage.Worker(environment, hear, directory=redis.directory, grace_seconds=10)
        async with Store.open(redis.url) as store, worker:
            _narrate(console, play, redis, worker.pid)
            await stage.register(store, play.endpoints())
            show = _show(console, play, store, ready)
            if fault := await stage.either(worker.ended(), show, bound_seconds=bound_seconds):
                raise fault
            await worker.stop()


async def _show(console: "Console", play: Play, store: "Store", ready: asyncio.Event) -> None:
    """Start the tasks once the worker is there, and show what arrives until everything has."""
    await ready.wait()
    _tell(
        console,
        "\nWhat the receiver gets: seconds since the videos began, task, its status, at which endpoint, and the "
        "answer:",
    )
    play.begin()
    await stage.register(store, {}, play.tasks)
    screen = Screen(console, play)
    screen.open()
    try:
        while play.open():
            await play.news.wait()
            play.news.clear()
            screen.refresh()
    finally:
        screen.close()


def _narrate(console: "Console", play: Play, redis: RedisServer, pid: int) -> None:
    _tell(
        console,
        f"{len(TIMELINES)} videos are indexed by a simulated TwelveLabs; at each change a worker POSTs a signed event "
        "to a receiver.\nThe receiver answers one of them with 500, on purpose: it is sent again.\n",
    )
    _tell(
        console,
        f"Redis {redis.version} on port {redis.port}, a simulated TwelveLabs, a receiver and the real worker "
        f"(pid {pid}): all made for this demo, all on 127.0.0.1.\nRegistered as any Redis client would:",
    )
    for name, definition in play.endpoints().items():
        console.print(f"  HSET bridge:endpoints {name} '{json.dumps(definition).replace(play.secret, 'whsec_…')}'")
    console.print(f"  ZADD bridge:tasks 0 <task id>, {len(TIMELINES)} times")
    _tell(console, f"Not as by default: it reads every {POLL_SECONDS} s, not 5, and may use http:// to 127.0.0.1.")
    console.print("\nThe worker starts, which takes a few seconds.")


def _tell(console: "Console", text: str) -> None:
    """Sentences: at a terminal broken between words; piped, a line is a line."""
    console.print(text, soft_wrap=not console.is_terminal)


def conclude(console: "Console", tally: Mapping[str, Any]) -> bool:
    """Print the summary and what follows from it; whether all came true."""
    counted = ("  ".join(f"{WORDS.get(name, name)} {tally[name]}" for name in names) for names in COUNTS)
    _tell(console, "\n" + "\n".join(counted))
    if tally["median_ms"] is not None:
        _tell(
            console,
            f"Half of the first attempts arrived within {tally['median_ms']} ms of TwelveLabs' answer that showed the "
            f"change.\nThe last event came after {tally['seconds']} s.",
        )
    if any(tally[name] for name in FAULTS):
        console.print("\n  ".join(("\nThis is not as it should be. Missing:", *(tally["missing"] or ["nothing"]))))
        return False
    _tell(
        console,
        f"\nAll went well: {tally['deliveries']} deliveries arrived, verified, first attempts in order; "
        f"{tally['retried']} of them at its second attempt.\nNothing of this demo is left running.",
    )
    _tell(
        console,
        f"Now with your own key (without one, `{program()} simulate` in another terminal says what to set instead):",
    )
    console.print(f"  export TWELVELABS_API_KEY=tlk_…\n  {program()} dev <task id>")
    return True


async def _main(console: "Console", as_json: bool, bound_seconds: float) -> int:
    play = Play()
    await perform(console, play, bound_seconds)
    tally = play.tally()
    good = conclude(console, tally)
    if as_json:
        click.echo(json.dumps(tally, indent=2, ensure_ascii=False))
    return 0 if good else 1


@click.command()
@click.option("-o", "--output", type=Word(["table", "json"]), help="Form of the summary.")
@click.option("--timeout", type=click.FloatRange(1), default=60, show_default=True, help="Give up after these seconds.")
@click.pass_context
def demo(ctx: click.Context, output: str | None, timeout: float) -> None:
    """Watch the main job: six tasks become signed events at a receiver, one of them only at the second attempt.

    Needs no key, no Redis and no network: a throw-away Redis, a simulated TwelveLabs and a receiver are made for it
    on 127.0.0.1, beside the real worker, and nothing of them is left. Your own settings are not looked at. Exits 1 if
    anything was lost or did not verify.

    \b
    Examples:
      bridge demo
      bridge demo -o json
    """
    as_json = chosen(ctx, output, False) in {"json", "jsonl"}
    code = stage.run(_main(stage.console(stderr=as_json), as_json, timeout))
    if code > 128:
        stage.console(stderr=True).print("Interrupted. Everything that was started has ended.")
    sys.exit(code)
