"""`bridge simulate`: a TwelveLabs on this machine, where every id is a video that starts when it is first read."""

import asyncio
import sys
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

import rich_click as click

from bridge.cli import stage
from bridge.cli.calling import program
from bridge.doctor.probing import UNKNOWN_ID
from bridge.sandbox.timeline import Step, a_timeline, an_analysis, an_indexing
from bridge.sandbox.twelvelabs import API_KEY, Simulator

PORT = 8788
FAILS, UNKNOWN = "fail", "unknown"
"""How an id begins whose video fails, or which does not exist."""
STAGES = (("validating", 1, 2), ("pending", 1, 3), ("queued", 2, 10), ("indexing", 5, 20))
"""Their least length in seconds, and how much longer they may be."""
SHOWN = 60


def life_of(member: str, speed: float) -> tuple[Step, ...] | None:
    """What becomes of an id: from 9 to 44 s until its end, the same for the same id. None if it does not exist.

    A member of another kind than an index task is named as it is registered, and lives as long.
    """
    task_id = member.rpartition("/")[2].rpartition(":")[2]
    if task_id.startswith(UNKNOWN) or task_id == UNKNOWN_ID:
        return None
    drawn = sha256(member.encode()).digest()
    lengths = {name: (least + drawn[number] / 255 * more) / speed for number, (name, least, more) in enumerate(STAGES)}
    end = "failed" if task_id.startswith(FAILS) else "ready"
    if member.startswith("analyze:"):
        queued, pending = lengths["queued"], lengths["pending"]
        return an_analysis(queued=queued, pending=pending, processing=lengths["indexing"], end=end)
    make = an_indexing if member.startswith("asset:") else a_timeline
    return make(**lengths, end=end, filename=f"{task_id[:SHOWN]}.mp4")


async def _simulate(host: str, port: int, speed: float) -> int:
    lines, narration = stage.console(), stage.console(stderr=True)

    def birth(task_id: str) -> Iterable[Step] | None:
        life = life_of(task_id, speed)
        will = "does not exist" if life is None else f"starts; {life[-1].patch['status']} in {life[-1].at:.0f} s"
        lines.print(f"{datetime.now():%H:%M:%S} {stage.printable(task_id, SHOWN)} {will}")
        return life

    simulator = Simulator(birth=birth)
    with stage.port_errors(port):
        await simulator.start(port, host)
    try:
        narration.print(
            f"A simulated TwelveLabs at {simulator.base_url} (Ctrl-C ends). For a worker, or both in its .env:\n"
            f"  export BRIDGE_TWELVELABS_BASE_URL={simulator.base_url} TWELVELABS_API_KEY={API_KEY}\n"
            f"Then any id will do; without a Redis: {program()} dev keynote\n"
            f"  or, beside a worker: {program()} task add keynote {FAILS}-1 {UNKNOWN}-1"
        )
        await asyncio.Event().wait()
    finally:
        await simulator.stop()
    return 0


@click.command()
@click.argument("port", type=click.IntRange(0, 65_535), default=PORT)
@stage.host_option
@click.option("--speed", type=click.FloatRange(0.1, 100), default=1, show_default=True, help="So many times faster.")
def simulate(port: int, host: str, speed: float) -> None:
    """Serve a simulated TwelveLabs: each id that is asked for is a video whose indexing starts at that moment.

    It goes through validating, pending, queued and indexing and is ready after 9 to 44 s. An id that begins with
    “fail” ends as failed, one that begins with “unknown” does not exist. Indexed assets (asset:INDEX/ID) and
    analyses (analyze:ID) live likewise. Nothing is kept when it ends.

    \b
    Examples:
      bridge simulate
      bridge simulate 9000 --speed 5
    """
    sys.exit(stage.run(_simulate(host, port, speed), interrupted=0))
