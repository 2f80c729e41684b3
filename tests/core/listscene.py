"""A lister beside a poller: upstream's list on the clock that the test moves."""

import asyncio
import json
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from corescene import INTERVAL_MS, Stage, Watching

from bridge.lister import Lister, ListPolicy
from bridge.packing import unpack
from bridge.poll import PollPolicy
from bridge.twelvelabs import TwelveLabs

RECONCILE_MS = 900_000
LIST = "/tasks"
STATES = ("validating", "pending", "queued", "indexing")


@dataclass
class Listing:
    """A lister beside a poller, both on the clock that the test moves."""

    stage: Stage
    watch: Watching
    lister: Lister
    members: list[str] = field(default_factory=list)

    async def tasks(self, number: int) -> None:
        """Tasks that are watched and have been seen, and a first pass."""
        self.members = [f"t{n}" for n in range(number)]
        for member in self.members:
            self.watch.simulator.add_task(member, timeline=(), status="validating")
            await self.stage.store.client.zadd("bridge:tasks", {member: 0})
        client = self.stage.store.client
        while await client.zcard("bridge:watch") < number:  # so many at a time are taken in
            await self.stage.intake.run()
        while await self.watch.round():
            pass
        await self.look()

    async def look(self, advance_ms: int = INTERVAL_MS) -> float:
        """Let time pass, and let the lister look."""
        self.stage.clock.advance(advance_ms)
        return await self.lister.round()

    async def told_at(self) -> bytes | None:
        """When a pass was last complete; None if nobody relies on the list."""
        return cast(bytes | None, await cast(Any, self.stage.store.client.hget("bridge:listing:default", "listed")))

    def change(self, member: str, **patch: Any) -> None:
        """A task moves on upstream, a moment after all before."""
        self.stage.clock.advance(1)
        self.watch.simulator.change(member, patch)

    def move(self, chance: Random) -> None:
        """Some task that has not ended moves on, to wherever."""
        member = chance.choice(self.members)
        status = self.watch.simulator.task(member)["status"]
        if status in STATES:
            others = [one for one in STATES if one != status]
            self.change(member, status="ready" if chance.random() < 0.1 else chance.choice(others))

    async def assert_told(self, member: str, served: list[tuple[str, str]]) -> None:
        """Every state that was served is an event, once and in order, and the last one is how it is."""
        told = await self.told(member)
        assert len(told) == len(set(told)), f"{member} was told twice"
        moments = [moment for _, moment in told]
        assert moments == sorted(moments), f"{member} is out of order"
        missing = [state for state in dict.fromkeys(served) if state not in told]
        assert not missing, f"{member}: {missing} was served and not told"
        assert told[-1][0] == self.watch.simulator.task(member)["status"]

    def asked(self, since: int = 0) -> list[str]:
        """Which paths were asked for, `list` for a page."""
        paths = [one.path.removeprefix("/v1.3") for one in list(self.watch.simulator.requests)[since:]]
        return ["list" if path == LIST else path for path in paths]

    async def body(self, member: str) -> dict[str, Any]:
        """The body of a task's current event."""
        client = cast(Any, self.stage.store.client)
        event_id = await client.hget(f"bridge:snapshot:{member}", "event_id")
        return cast(dict[str, Any], json.loads(unpack(await client.hget(f"bridge:event:{event_id.decode()}", "body"))))

    async def told(self, member: str) -> list[tuple[str, str]]:
        """Status and `updated_at` of each event of a task, in the order of their commits."""
        found = []
        entries = cast(Any, await self.stage.store.client.xrange("bridge:events"))
        for _, entry in entries:
            if entry[b"task"].decode() == member:
                body = await cast(Any, self.stage.store.client.hget(f"bridge:event:{entry[b'id'].decode()}", "body"))
                data = json.loads(unpack(body))["data"]
                found.append((data["status"], data["updated_at"]))
        return found


def listing_of(stage: Stage, watch: Watching, **policy: Any) -> Listing:
    """A lister over this watching's upstream and poller."""
    watch.poller._policy = PollPolicy(INTERVAL_MS / 1000, reconcile_seconds=RECONCILE_MS / 1000)
    wanted = {"interval_seconds": INTERVAL_MS / 1000, "least_tasks": 1, **policy}

    async def sleep(seconds: float) -> None:
        stage.clock.advance(int(seconds * 1000))
        await asyncio.sleep(0)

    upstream = cast(TwelveLabs, watch.poller._upstream)
    lister = Lister(
        stage.store.listings, upstream, watch.poller, ListPolicy(**wanted),
        permitted=lambda: True, sleep=sleep, log=stage.log,
    )  # fmt: skip
    watch.poller.found = lister.compare
    return Listing(stage, watch, lister)
