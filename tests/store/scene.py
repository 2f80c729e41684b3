"""The store's verbs as tests speak them, on a clock that the test moves."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from bridge import diff, events
from bridge.model import Change, Delivery, Event, Observation, WatchedTask
from bridge.store import Store
from bridge.store.intake import Intake

START = 1_800_000_000_000
LEASE_MS = 25_000


class Clock:
    """Milliseconds, as the scripts see them."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms


@dataclass
class Scene:
    """The verbs as tests speak them."""

    store: Store
    clock: Clock
    intake: Intake

    async def endpoint(self, name: str, **fields: object) -> None:
        """Register an endpoint by hand, and take it in."""
        definition = {"url": f"http://127.0.0.1:9/{name}", **fields}
        await self.store.client.hset("bridge:endpoints", name, json.dumps(definition))
        await self.intake.run()

    async def task(self, member: str = "t1", **options: str) -> None:
        """Register a task by hand, and take it in."""
        if options:
            await self.store.client.hset(f"bridge:task:{member}", mapping=cast(Any, options))
        await self.store.client.zadd("bridge:tasks", {member: 0}, nx=True)
        await self.intake.run()

    async def claim_task(self) -> WatchedTask:
        """The one due task."""
        claim = await self.store.registry.claim_tasks(10, lease_ms=20_000)
        (task,) = claim.tasks
        return task

    def change(self, task: WatchedTask, status: str, **fields: object) -> tuple[Change, Event]:
        """What a reading with this status would commit."""
        change = diff.diff(
            task.snapshot, an_observation(task.member, status, self.clock.now, **fields), now=self.clock.now
        )
        assert isinstance(change, Change), change
        return change, events.event_from(
            change, task.member, now=self.clock.now, metadata=task.options.metadata, behind_ms=task.behind_ms
        )

    async def commit(self, status: str, *, delay_ms: int = 1_000, member: str = "t1") -> Event:
        """Claim, see this status, commit."""
        claim = await self.store.registry.claim_tasks(10, lease_ms=20_000)
        task = next(task for task in claim.tasks if task.member == member)
        change, event = self.change(task, status)
        word = await self.store.registry.commit(task, event, events.snapshot_after(change, event), delay_ms=delay_ms)
        assert word == "ok"
        self.clock.advance(max(delay_ms, 0))
        return event

    async def claim(self, slots: int = 100) -> list[Delivery]:
        """The due deliveries."""
        return (await self.store.outbox.claim(slots, lease_ms=LEASE_MS)).deliveries


def an_observation(member: str, status: str, now: int, **fields: object) -> Observation:
    """A whole, believable reading."""
    moment = datetime.fromtimestamp(now / 1000, UTC)
    text = moment.isoformat(timespec="milliseconds")
    task = {"_id": member, "status": status, "updated_at": text}
    defaults: dict[str, object] = {
        "task_id": member, "status": status, "updated_at": moment, "updated_at_text": text,
        "hls_status": None, "system_metadata": None, "task": task,
    }  # fmt: skip
    return Observation(**{**defaults, **fields})  # type: ignore[arg-type]
