"""What the state machine stands on: a recorded store, its clients, time, and what must hold after each step."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, ClassVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from model_store import State, check_state, check_step, difference, read_state, records, under
from scene import LEASE_MS, Clock

from bridge.guard import Policy
from bridge.model import Decision, Delivery, DeliveryState, EndpointEffect, WatchedTask
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.keys import Keys
from bridge.store.registry import Registry
from bridge.store.scripts import Scripts
from bridge.store.steering import Steering
from bridge.store.sweep import Sweep

CAP = 2
DAY_MS = 86_400_000
RATE_MS = 2_000
"""When an endpoint with the rate that is written here takes another one."""
TASK_LEASE_MS = 20_000

FENCED = {"commit", "announce", "postpone_task", "refuse_task", "settle", "give_back", "tell"}
"""Verbs that a lease's token lets in once: a repetition finds the token gone."""
SETTLED_AT_ONCE = FENCED | {
    *("admit_tasks", "accept_endpoint", "reject_task", "reject_endpoint", "steer_endpoint", "recover_deliveries"),
}
"""Verbs that leave, called twice, what they leave called once. (A claim, a hand-out or a batch goes on instead.)"""

DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)

members = st.sampled_from(["t0", "t1", "t2"])
names = st.sampled_from(["a", "b", "c"])
turns = st.integers(0, 7)
"""Which one of what there is, counted from the latest."""
statuses = st.sampled_from(["queued", "indexing", "ready", "failed"])
rarely = st.integers(0, 5).map(lambda number: number == 5)
orderings = st.sampled_from(["first-attempt", "strict", "none"])
options = st.fixed_dictionaries(
    {},
    optional={
        "endpoints": st.sampled_from(["a", "a,b", "b,c"]),
        "callback_url": st.sampled_from(["http://127.0.0.1:9/1", "http://127.0.0.1:9/2"]),
    },
)


@dataclass
class Call:
    """One script call as it went out, and what came of it."""

    verb: str
    command: list[Any]
    reply: Any


@dataclass
class Lab:
    """A Redis and a loop that all examples share: loading the verbs for each of them would take most of the time."""

    client: Any
    loop: asyncio.AbstractEventLoop
    shebang: bool
    verbs: dict[str, str]
    """sha → name."""


class Recorded(Scripts):
    """The verbs, with a memory of what was sent; `echo` sends each one twice, as a client whose reply was lost."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        super().__init__(lab.client, "bridge:", shebang=lab.shebang, clock=clock)
        self.calls: list[Call] = []
        self.verbs = lab.verbs
        self.echo = False

    async def send_again(self, command: list[Any]) -> Any:
        """One call, not remembered."""
        (reply,) = await super()._send([command])
        return reply

    async def _send(self, commands: list[list[Any]]) -> list[Any]:
        replies = []
        for command in commands:
            (reply,) = await super()._send([command])
            verb = self.verbs[command[0]]
            self.calls.append(Call(verb, command, reply))
            replies.append(reply)
            if self.echo and verb in SETTLED_AT_ONCE:
                before = await read_state(self._client)
                await self.send_again(command)
                after = await read_state(self._client)
                assert before == after, f"{verb}, repeated: {difference(before, after)}"
        return replies


class ClientsAndTime(RuleBasedStateMachine):
    """Two workers' memories of one store; what clients do to it; and time."""

    lab: ClassVar[Lab]

    def __init__(self) -> None:
        super().__init__()
        lab = self._lab = self.lab
        self.clock = Clock()
        self._run(lab.client.flushall())
        self._scripts = Recorded(lab, self.clock)
        self._store = Store(lab.client, Keys(), self._scripts)
        self._registries = [self._store.registry, Registry(self._store)]
        self._intakes = [Intake(self._store, POLICY, has_default_secret=True, cap=CAP) for _ in range(2)]
        self._steering = Steering(self._store)
        self._sweep = Sweep(self._store, delivered_ms=60_000, dead_ms=60_000, tasks_ms=120_000)
        self._tasks: list[WatchedTask] = []
        self._deliveries: list[Delivery] = []
        self._turns: dict[tuple[str, str], list[int]] = {}
        self._orderings: dict[str, set[str]] = {}
        self._state: State = {}
        self._verbs_since = 0
        self._harmed = False

    def _run(self, work: "Coroutine[Any, Any, Any]") -> Any:
        return self._lab.loop.run_until_complete(work)

    def _read(self) -> State:
        return cast(State, self._run(read_state(self._lab.client)))

    def _do(self, work: "Coroutine[Any, Any, Any]", *, echo: bool = False) -> Any:
        self._scripts.echo = echo
        return self._run(work)

    def _unmoved(self, work: "Coroutine[Any, Any, Any]") -> str:
        """A verb's reply; where that says that the caller came too late, nothing may have changed."""
        before = self._read()
        word = str(self._do(work))
        if word == "stale":
            after = self._read()
            assert before == after, f"stale, and yet: {difference(before, after)}"
        return word

    def _reordered(self) -> set[str]:
        """The endpoints that had another ordering once, or no order ever."""
        return {name for name, orderings in self._orderings.items() if len(orderings) > 1 or "none" in orderings}

    def _take_turn(self, endpoint: str, task: str, revision: int) -> None:
        """P4: of one (endpoint, task), first attempts come in the order of the revisions."""
        turns = self._turns.setdefault((endpoint, task), [])
        if revision not in turns:
            overtaken = not self._harmed and turns and revision < turns[-1] and endpoint not in self._reordered()
            assert not overtaken, f"{endpoint}, {task}: {revision} comes after {turns}"
            turns.append(revision)

    # -- clients --

    @rule(member=members, given=options)
    def register(self, member: str, given: dict[str, str]) -> None:
        """As the CLI does it, or by hand."""
        client = self._lab.client
        self._run(client.delete(f"bridge:task:{member}"))
        if given:
            self._run(client.hset(f"bridge:task:{member}", mapping=given))
        self._run(client.zadd("bridge:tasks", {member: 0}))

    @rule(member=members, word=st.sampled_from(["poll now", "poll now", "remove", "expire"]))
    def ask(self, member: str, word: str) -> None:
        """What else a client does to a task."""
        client = self._lab.client
        if word == "remove":
            self._run(client.zrem("bridge:tasks", member))
        elif word == "poll now":
            self._run(client.zadd("bridge:tasks", {member: 0}, xx=True))
        elif self._run(client.zscore("bridge:tasks", member)) is not None:
            self._run(client.hset(f"bridge:task:{member}", "expires_at", self.clock.now // 1000 + 5))
            self._run(client.zadd("bridge:tasks", {member: 0}))

    @rule(name=names, ordering=orderings, only=rarely, mark=turns)
    def write_endpoint(self, name: str, ordering: str, only: bool, mark: int) -> None:
        """A new endpoint, or a change of it; every eighth is refused."""
        text: dict[str, object] = {"url": f"http://127.0.0.1:9/{name}", "ordering": ordering, "x-mark": mark}
        if only:
            text["events"] = ["index.task.ready"]
        if mark % 2:
            text["events"] = ["index.task.*", "bridge.endpoint.*"]
        self._orderings.setdefault(name, set()).add(ordering)
        if mark % 3 == 1:
            text["supersede"] = True
        if mark == 6:
            text |= {"rate": "30/m", "concurrency": 1}
        if mark == 7:
            text["url"] = "ftp://nowhere"
        self._run(self._lab.client.hset("bridge:endpoints", name, json.dumps(text)))

    @rule(name=names)
    def drop_endpoint(self, name: str) -> None:
        """HDEL."""
        self._run(self._lab.client.hdel("bridge:endpoints", name))

    # -- time, and accidents --

    @rule(ms=st.sampled_from([1, 1_000, 5_000, TASK_LEASE_MS, LEASE_MS, 60_000, 3_600_000, DAY_MS]))
    def advance(self, ms: int) -> None:
        """Time."""
        self.clock.advance(ms)

    @rule(
        what=st.sampled_from(["ready", "registry", "queue:a", "leases:a", "endpoint:a", "endpoint:b", "clock"]),
        really=rarely,
    )
    @precondition(lambda self: not self._harmed)
    def harm(self, what: str, really: bool) -> None:
        """Somebody deletes a key of ours, or Redis' clock jumps back an hour. What follows may be odd, until mended."""
        self._harmed = really
        if not really:
            return
        if what == "clock":
            self._do(self._sweep.page())
            self.clock.advance(-3_600_000)
        else:
            self._run(self._lab.client.delete(f"bridge:{what}"))

    def teardown(self) -> None:
        """Left in peace for some minutes, all that is owed is delivered, or held for a disabled endpoint (I15)."""
        if sys.exc_info()[0] is not None:
            return
        for _ in range(40):
            self._do(self._intakes[0].run())
            while self._do(self._store.outbox.fan_out()):
                pass
            while self._deliver_all():
                self.advance(RATE_MS)  # of an endpoint with a rate there is one a visit
            self._do(self._sweep.page())
            state = self._read()
            held = {name for name, known in under(state, "endpoint") if known.get("state") == "disabled"}
            owed = [pair for pair, one in records(state).items() if one["state"] == "pending" and pair[0] not in held]
            if not owed and not self._harmed:
                break
            self.advance(30_000)
        assert not owed, f"never delivered: {owed}"
        check_state(state, self.clock.now, CAP, reordered=self._reordered())

    def _deliver_all(self) -> int:
        """Deliver what is due, as much as the caps allow at a time; replies how much that was."""
        due = self._do(self._store.outbox.claim(100, lease_ms=LEASE_MS)).deliveries
        for delivery in due:
            self._take_turn(delivery.endpoint, delivery.task, delivery.revision)
            self._do(self._store.outbox.settle(delivery, DELIVERED, "{}"))
        return len(due)

    # -- what must hold --

    @invariant()
    def holds(self) -> None:
        """After each step."""
        if self._harmed:
            return
        state = self._read()
        calls = self._scripts.calls[self._verbs_since :]
        check_state(state, self.clock.now, CAP, reordered=self._reordered())
        check_step(self._state, state, Counter(call.verb for call in calls))
        self._state, self._verbs_since = state, len(self._scripts.calls)
