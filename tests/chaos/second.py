"""A second story: strict order, a secret that is rotated, an endpoint held and let go, dead letters brought back, and a
hand-out to more endpoints than one step takes; the tasks are watched by upstream's list, within a budget.

The endpoints stand there when it begins, and a crowd of them is held to its end: how endpoints come, and how they are
sent to, the first story tells.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from aftermath import RATE, Aftermath, Course
from fate import Fates
from redis import Redis as SyncRedis
from scenario import client, come_to_rest
from verdict import Expected
from virtual import START, Chance, VirtualLoop, run
from world import SECRET, World

from bridge.guard import Policy
from bridge.recovery import RECOVERABLE, choose
from bridge.sandbox.receiver import Arrival
from bridge.signature import generate_secret
from bridge.store import Store
from bridge.store.declaring import Declaring
from bridge.store.intake import Intake
from bridge.store.registry import FANOUT_STEP
from bridge.store.steering import Steering

RECEIVER = "http://127.0.0.1:20000"
"""Where a world's first server listens."""
NEW_SECRET = generate_secret(bytes(range(32, 64)))
OLD_UNTIL = 8
"""Virtual second at which the old secret ends."""
NAMES = ("a", "h", "s")
"""`a` changes its secret, `h` is held, has a rate and a dead letter, `s` is strict."""
PER_MINUTE = 300
"""What upstream may be asked."""
POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)


@dataclass(frozen=True)
class Size:
    """How many endpoints are held to the end, and how many of all one step of a hand-out takes."""

    crowd: int
    step: int

    @property
    def held(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(f"c{number:03}" for number in range(self.crowd))


NARROW = Size(crowd=3, step=2)
"""As few as a hand-out needs, so that each point of the story can be visited."""
WIDE = Size(crowd=203, step=FANOUT_STEP)
"""The product as it ships."""

Image = Sequence[tuple[bytes | str, bytes]]
"""What Redis holds: keys, and what DUMP gives of them."""


def definition(name: str, **fields: object) -> dict[str, object]:
    """An endpoint of this story."""
    return {"url": f"{RECEIVER}/{name}", "secret": SECRET, **fields}


def stage(redis: SyncRedis, size: Size) -> Image:
    """What Redis holds when the story begins: all endpoints, the crowd held by an operator."""
    crowd = {name: definition(name, events=["index.task.ready"]) for name in size.held}
    texts = {
        "a": definition("a"),
        "h": definition("h", rate=f"{RATE}/s"),
        **crowd,
        "s": definition("s", ordering="strict", schedule=[0, 3, 1]),
    }

    async def begin() -> None:
        url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}"
        async with Store.open(url, clock=lambda: int(START * 1000) - 1_000) as store:
            await Declaring(store).write_endpoints({name: json.dumps(text) for name, text in texts.items()})
            await Intake(store, POLICY, has_default_secret=True).run()
            for name in size.held:
                await Steering(store).disable(name)

    redis.flushall()
    asyncio.run(begin())
    keys = redis.keys("*")
    return [(key, copy) for key in keys if (copy := redis.dump(key))]


class Second:
    """The story's steps; each may be done again when its client died or heard nothing."""

    def __init__(self, world: World, course: Course) -> None:
        self._world, self._course = world, course
        self._opened = False

    async def rotate(self, store: Store) -> None:
        """Another secret signs for `a`; until a moment the old one does, too."""
        previous = [{"secret": SECRET, "until": int(START) + OLD_UNTIL}]
        changed = definition("a", secret=NEW_SECRET, previous_secrets=previous)
        await Declaring(store).write_endpoint("a", changed, replace=True)

    async def change_over(self, store: Store) -> None:
        """While both sign, the receiver begins to trust the new one, and that alone."""
        while (  # noqa: ASYNC110 - a client asks Redis again, as a person would
            (await store.registry.reload_endpoints()).by_name["a"].secrets != (NEW_SECRET,)
        ):
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.5)  # what was in flight with the old one alone has arrived
        self._world.receiver.trust("/a", NEW_SECRET)

    async def hold(self, store: Store) -> None:
        """`h` hears nothing from now on."""
        await Steering(store).disable("h")
        self._course.held_from = min(self._course.held_from, self._world.loop.time())

    async def let_go(self, store: Store) -> None:
        """`h` hears of all it missed."""
        self._course.held_to = min(self._course.held_to, self._world.loop.time())
        await Steering(store).enable("h")

    async def recover(self, store: Store) -> None:
        """Once something was given up, `h` takes anything, and an operator brings back what was."""
        steering = Steering(store)
        while (  # noqa: ASYNC110 - as above
            not self._opened and not (await steering.dead_letters("h", 0)).found
        ):
            await asyncio.sleep(0.5)
        self._opened = True
        letters = (await steering.dead_letters("h", 0)).found
        await steering.recover("h", choose(letters, RECOVERABLE).event_ids)

    def refuses(self, arrival: Arrival) -> int:
        """`h` does not take that t2 has failed, until it is opened: the dead letter."""
        return 204 if self._opened or (arrival.task_id, arrival.status) != ("t2", "failed") else 500


def has_to_be_told_twice(arrival: Arrival) -> int:
    """`s` does not take at first that t1 is indexing: t1 is ready before it is told so again."""
    return 500 if (arrival.task_id, arrival.status, arrival.earlier) == ("t1", "indexing", 0) else 204


async def play(world: World, expected: Expected) -> list[str]:
    """The story; replies what is wrong at its end."""
    await world.receiver.start()
    await world.upstream.start()
    course = Course()
    second = Second(world, course)
    world.upstream.add_task("t1", [(0, {"status": "queued"}), (2, {"status": "indexing"}), (4, {"status": "ready"})])
    world.upstream.add_task("t2", [(0, {"status": "queued"}), (3, {"status": "indexing"}), (4.1, {"status": "failed"})])
    world.receiver.always(has_to_be_told_twice, path="/s")
    world.receiver.always(second.refuses, path="/h")
    settings = world.settings(twelvelabs_strategy="list", twelvelabs_requests_per_minute=PER_MINUTE)
    world.worker("poll", "poll", settings)
    world.worker("deliver", "deliver", settings)
    story = asyncio.create_task(
        client(
            world,
            [
                (0.2, lambda s: Declaring(s).register_tasks(["t1", "t2"], {"metadata": '{"order": 7}'})),
                (1.5, second.hold),
                (1.6, second.rotate),
                (2.6, second.change_over),
                (5.0, second.let_go),
                (6.5, second.recover),
            ],
        )
    )
    await come_to_rest(world, expected, story)
    complaints = list(Aftermath(world, expected, course, old_until=OLD_UNTIL).complaints())
    await world.end()
    return complaints


def tell(redis: SyncRedis, image: Image, size: Size, fates: Fates, *, faults: int = 0) -> tuple[World, list[str]]:
    """Play it under these fates, from what `stage` left."""
    redis.script_flush()  # what Redis knows of the run before, too: else this one would load fewer verbs
    pipe = redis.pipeline(transaction=True)
    pipe.flushall()
    for key, copy in image:
        pipe.restore(key, 0, copy)
    pipe.execute()
    loop = VirtualLoop()
    world = World(loop, redis, fates)
    expected = Expected(endpoints=NAMES, tasks=("t1", "t2"), faults=faults, held=frozenset(size.held))
    names: Mapping[str, Any] = {
        **world.names(),
        "bridge.store.registry.FANOUT_STEP": size.step,
        "bridge.store.outbox.FANOUT_STEP": size.step,
        "bridge.store.notices.FANOUT_STEP": size.step,
    }
    return world, run(loop, Chance(0), lambda: play(world, expected), names)
