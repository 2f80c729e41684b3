"""One small story of everything: registration, four states, two endpoints, a retry, a dead letter, a removal."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fate import Fates
from redis import Redis as SyncRedis
from verdict import Expected, State, at_rest
from virtual import Chance, VirtualLoop, run
from world import HORIZON_SECONDS, SECRET, Process, World

from bridge.sandbox.receiver import Arrival
from bridge.store import Store
from bridge.store.declaring import Declaring

EXPECTED = Expected(endpoints=("a", "b"), tasks=("t1", "t3"))
LIVES = {
    "t1": ((0, "pending"), (1, "queued"), (2.5, "indexing"), (4.5, "ready")),
    "t3": ((0, "validating"), (1, "pending"), (2.5, "indexing"), (4, "failed")),
}
"""When (seconds) which status."""
Trouble = Callable[[World], Awaitable[None]]
Step = tuple[float, Callable[[Store], Awaitable[object]]]


async def client(world: World, steps: list[Step]) -> None:
    """A client does one step after the other; one that got no answer is done again, after its death too."""
    done = 0

    async def life(_: Process) -> None:
        nonlocal done
        async with Store.open("redis://world") as store:
            while done < len(steps):
                at, step = steps[done]
                await asyncio.sleep(max(0.0, at - world.loop.time()))
                await step(store)
                done += 1
        world.settled_at = min(world.settled_at, world.loop.time())

    await world.spawn("client", life)


async def come_to_rest(world: World, expected: Expected, *awaited: "asyncio.Future[None]") -> None:
    """Wait until these are done and nothing is due any more, or until the horizon."""
    while (  # noqa: ASYNC110 - rest is the absence of events, and this time costs nothing
        not (all(task.done() for task in awaited) and at_rest(world, expected)) and world.loop.time() < HORIZON_SECONDS
    ):
        await asyncio.sleep(1)


def refuses_progress(arrival: Arrival) -> int:
    """Endpoint b never takes that t1 is indexing: the dead letter."""
    return 500 if (arrival.task_id, arrival.status) == ("t1", "indexing") else 204


async def play(world: World, expected: Expected = EXPECTED, trouble: Trouble | None = None) -> list[str]:
    """The story; replies what is wrong at its end. `trouble` runs beside it, and its own end is waited for."""
    await world.receiver.start()
    await world.upstream.start()
    for name, life in LIVES.items():
        world.upstream.add_task(name, [(at, {"status": status}) for at, status in life])
    world.upstream.add_task("t2", [(0, {"status": "queued"}), (600, {"status": "ready"})])
    world.receiver.script(204, 500, path="/a")
    world.receiver.always(refuses_progress, path="/b")
    url = world.receiver.url
    settings = world.settings()
    world.worker("poll", "poll", settings)
    world.worker("deliver", "deliver", settings)
    story = asyncio.create_task(
        client(
            world,
            [
                (0.1, lambda s: Declaring(s).write_endpoint("a", {"url": f"{url}/a", "secret": SECRET}, replace=True)),
                (0.1, lambda s: Declaring(s).write_endpoint("b", {"url": f"{url}/b"}, replace=True)),
                (0.2, lambda s: Declaring(s).register_tasks(["t1", "t2", "t3"], {"metadata": '{"order": 7}'})),
                (3.0, lambda s: Declaring(s).remove_tasks(["t2"])),
            ],
        )
    )
    beside = [asyncio.ensure_future(trouble(world))] if trouble else []
    await come_to_rest(world, expected, story, *beside)
    complaints = list(State(world, expected).complaints())
    await world.end()
    return complaints


def tell(
    redis: SyncRedis, fates: Fates, *, faults: int = 0, seed: int = 0, trouble: Trouble | None = None
) -> tuple[World, list[str]]:
    """Play it under these fates."""
    redis.flushall()
    redis.script_flush()  # what Redis knows of the run before, too: else this one would load fewer verbs
    loop, chance = VirtualLoop(), Chance(seed)
    world = World(loop, redis, fates)
    expected = replace(EXPECTED, faults=faults)
    return world, run(loop, chance, lambda: play(world, expected, trouble), world.names())
