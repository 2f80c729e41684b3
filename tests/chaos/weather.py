"""Bad weather from a seed: kills, freezes, lost replies, jumping clocks, an upstream that lies, a Redis that forgets.

It lasts for a while; then the sky clears, and everything must come to rest with every promise kept.
"""

import asyncio
from random import Random

from fate import Effect, Fair, Fate
from world import MEMORY_SECONDS, World

from bridge.sandbox import faults

STORM_SECONDS = 30.0
FORGETS_SECONDS = 2.0
"""The most that Redis forgets."""
LIES = (
    None, None, None, None, faults.unavailable(), faults.html(200), faults.truncated(), faults.half_json(),
    faults.reset(), faults.slow(3.0), faults.hang(), faults.patched(status=7), faults.patched(_id="another"),
    faults.patched(updated_at="2020-01-01T00:00:00Z"), faults.throttled(1),
)  # fmt: skip


class Storm(Fair):
    """At each effect the dice decide, until the storm is over."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = Random(seed)
        self.over = False
        self.away = False
        """Redis does not answer anybody."""
        self.befell: list[tuple[Effect, Fate]] = []

    def at(self, effect: Effect) -> Fate:
        """Mostly nothing."""
        if self.over:
            return Fate.PASS
        fate = self._draw()
        if self.away and effect.label.startswith("redis"):
            fate = Fate.REFUSE
        if fate is not Fate.PASS:
            self.befell.append((effect, fate))
        return fate

    def _draw(self) -> Fate:
        roll = self.dice.random()
        for share, fate in ((0.004, Fate.KILL_BEFORE), (0.008, Fate.KILL_AFTER), (0.014, Fate.LOSE), (0.02, Fate.CUT)):
            if roll < share:
                return fate
        return Fate.PASS

    def pace(self, effect: Effect) -> tuple[float, float]:
        """Mostly quick."""
        if self.over:
            return super().pace(effect)
        slow = self.dice.random() < 0.02
        return self.dice.uniform(0.0001, 0.5 if slow else 0.003), self.dice.uniform(0.0001, 0.003)

    async def rage(self, world: World) -> None:
        """What happens beside the effects."""
        upstream = world.upstream
        upstream.fault("/tasks/*", *(self.dice.choice(LIES) for _ in range(60)))
        memory = asyncio.create_task(world.remember())
        while world.loop.time() < STORM_SECONDS:
            await asyncio.sleep(self.dice.uniform(0.5, 4.0))
            await self._strike(world)
        self.over, self.away = True, False
        upstream.clear_faults()
        memory.cancel()

    async def _strike(self, world: World) -> None:
        _, process = self.dice.choice(sorted(world.living.items()))
        deed = self.dice.choice(("kill", "freeze", "freeze", "clock", "away", "forget"))
        if deed == "kill":
            process.kill()
        elif deed == "freeze":
            process.frozen_until = world.loop.time() + self.dice.choice((0.5, 3.0, 30.0))
        elif deed == "clock":
            world.skew_ms += int(self.dice.choice((-1, 1)) * self.dice.choice((50, 1_500, 60_000)))
        elif deed == "away":
            self.away = True
            await asyncio.sleep(self.dice.uniform(0.1, 5.0))
            self.away = False
        elif world.loop.time() > world.settled_at + FORGETS_SECONDS + MEMORY_SECONDS:
            world.roll_back(self.dice.uniform(0.0, FORGETS_SECONDS))
