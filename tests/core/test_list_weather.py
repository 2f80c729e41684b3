"""Whatever upstream's list and its tasks do, at random: what was served is told once, in order, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from corescene import INTERVAL_MS
from listscene import RECONCILE_MS, STATES, Listing

from bridge.sandbox.timeline import TimeStyle, instant

STYLES = (TimeStyle.SECONDS, TimeStyle.MILLISECONDS, TimeStyle.MICROSECONDS)
TASKS = 60
State = tuple[str, str]
"""A status, and the second in which it began."""


def within(status: str, text: str) -> State:
    return status, text[:19]


@dataclass
class Weather:
    """A listing, what is wrong today, and what really happened."""

    listing: Listing
    chance: Random
    history: dict[str, list[State]] = field(default_factory=dict)
    served: dict[str, set[State]] = field(default_factory=dict)
    """What was shown of a task while it was so."""
    moved: dict[str, float] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)
    """Whose rows are from the future."""
    _seen: int = 0

    async def begin(self) -> None:
        await self.listing.tasks(TASKS)
        for member in self.listing.members:
            self.history[member], self.moved[member] = [self._now(member)], 0.0
        self._seen = len(self.listing.watch.simulator.served)

    def turn(self) -> None:
        """Other weather: how times are shown, what is hidden, invented, kept or late."""
        chance, simulator = self.chance, self.listing.watch.simulator
        simulator.time_style, simulator.list_time_style = chance.choice(STYLES), chance.choice(STYLES)
        wrong, members = simulator.distortion, self.listing.members
        wrong.empty = chance.random() < 0.15
        wrong.as_of = simulator.now() - chance.choice([0, 30]) if chance.random() < 0.15 else None
        wrong.hides = set(chance.sample(members, 3)) if chance.random() < 0.4 else set()
        self.ahead = chance.sample(members, 2) if chance.random() < 0.3 else []
        simulator.retrieve_lag_seconds = chance.choice([0, 0, 0, 3, 25])

    def move(self) -> None:
        """A task goes on; now and then back, or its time does, if two seconds have passed since it moved."""
        chance, simulator = self.chance, self.listing.watch.simulator
        member = chance.choice(self.listing.members)
        status, now = self.history[member][-1][0], simulator.now()
        if status not in STATES:
            return
        onward = [*STATES[STATES.index(status) + 1 :], "ready"]
        calm = now - self.moved[member] >= 2
        word = chance.choice(STATES) if calm and chance.random() < 0.3 else chance.choice(onward)
        if word == status:
            return
        patch = {"status": word}
        if calm and word != "ready" and chance.random() < 0.1:
            patch["updated_at"] = instant(now - 600)  # type: ignore[assignment]
        self.listing.change(member, **patch)
        self.moved[member] = simulator.now()
        self.history[member].append(self._now(member))

    async def live(self, ms: int) -> None:
        """A look and a round, and what they were shown."""
        simulator = self.listing.watch.simulator
        later = instant(simulator.now() + ms / 1000 + self.chance.choice([90, 3_000, 90_000]))
        simulator.distortion.patches = {one: {"updated_at": later} for one in self.ahead}
        await self.listing.look(ms)
        if self.chance.random() < 0.5:
            await self.listing.watch.round()
        entries = list(simulator.served)
        for one in entries[self._seen :]:
            state = within(str(one.status), str(one.updated_at))
            if state == self.history[one.task_id][-1]:
                self.served.setdefault(one.task_id, set()).add(state)
        self._seen = len(entries)

    async def assert_told(self, member: str) -> None:
        """Once, in order, nothing that was not, and the last is how it is."""
        told = [within(*state) for state in await self.listing.told(member)]
        history = self.history[member]
        assert len(told) == len(set(told)), f"{member} was told twice: {told}"
        assert set(told) <= set(history), f"{member}: told what was not so: {told}, {history}"
        assert [history.index(one) for one in told] == sorted(history.index(one) for one in told), f"{member}: {told}"
        stale = {one for n, one in enumerate(history) if any(one[1] < other[1] for other in history[:n])}
        missing = self.served.get(member, set()) - set(told) - stale
        assert not missing, f"{member}: {missing} was served and not told: {told}, {history}"
        assert history[-1] in stale or told[-1] == history[-1]

    def _now(self, member: str) -> State:
        task = self.listing.watch.simulator.task(member)
        return within(task["status"], task["updated_at"])


SKEWS = (0, -600, 600)
"""How far upstream's clock is ahead of ours."""


def clear(weather: Weather) -> None:
    """Nothing is wrong any more."""
    simulator = weather.listing.watch.simulator
    wrong = simulator.distortion
    wrong.empty, wrong.as_of, wrong.hides, weather.ahead = False, None, set(), []
    simulator.retrieve_lag_seconds = 0


@pytest.mark.parametrize("skew_seconds", SKEWS)
@pytest.mark.parametrize("seed", range(6))
async def test_what_was_served_is_told_once_in_order_and_nothing_else(
    listing: Listing, seed: int, skew_seconds: int, soak: bool
) -> None:
    """Times cut and put back, rows lost, kept, from the future, lists empty, tasks that lag behind their rows."""
    if not soak and SKEWS[seed % 3] != skew_seconds:
        pytest.skip("a seed's other clocks are for `make soak`")
    weather = Weather(listing, Random(seed))
    listing.watch.simulator.advance(skew_seconds)
    await weather.begin()
    waits: Sequence[int] = (INTERVAL_MS, INTERVAL_MS, 20_000, 60_000)
    for n in range(80):
        if n % 8 == 0:
            weather.turn()
        for _ in range(weather.chance.randrange(6)):
            weather.move()
        await weather.live(weather.chance.choice(waits))
    clear(weather)
    for _ in range(40):
        await weather.live(INTERVAL_MS)
    for _ in range(3):
        await listing.watch.round(RECONCILE_MS)
        await listing.watch.round(INTERVAL_MS)
    for member in listing.members:
        await weather.assert_told(member)
