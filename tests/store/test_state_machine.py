"""The Lua verbs, called in any order, at any time, again and again, by workers that hold what is no longer theirs.

Found failures are printed as a sequence of rules that can be pasted into a test.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model_store import State, check_state, check_step, difference, read_state, records, under
from scene import LEASE_MS, Clock, an_observation

from bridge import diff, events
from bridge.guard import Policy
from bridge.model import (
    Change,
    DeadReason,
    Decision,
    Delivery,
    DeliveryState,
    EndpointEffect,
    Postponement,
    WatchedTask,
)
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.keys import Keys
from bridge.store.registry import Registry
from bridge.store.scripts import Scripts
from bridge.store.sweep import Sweep

CAP = 2
DAY_MS = 86_400_000
TASK_LEASE_MS = 20_000

FENCED = {"commit", "announce", "postpone_task", "refuse_task", "settle", "give_back"}
"""Verbs that a lease's token lets in once: a repetition finds the token gone."""
SETTLED_AT_ONCE = FENCED | {"admit_tasks", "accept_endpoint", "reject_task", "reject_endpoint"}
"""Verbs that leave, called twice, what they leave called once. (A claim, a hand-out or a batch goes on instead.)"""

FAILED = EndpointEffect.FAILURE
DECISIONS = (
    Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS),
    Decision(DeliveryState.PENDING, FAILED, retry_in_ms=5_000),
    Decision(DeliveryState.PENDING, FAILED, retry_in_ms=5_000, pause_ms=60_000),
    Decision(DeliveryState.PENDING, EndpointEffect.BLOCKED, retry_in_ms=1_000),
    Decision(DeliveryState.DEAD, FAILED, reason=DeadReason.EXHAUSTED),
    Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE),
)
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
    verbs: dict[str, str] = field(default_factory=dict)
    """sha → name."""


class Recorded(Scripts):
    """The verbs, with a memory of what was sent; `echo` sends each one twice, as a client whose reply was lost."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        super().__init__(lab.client, "bridge:", shebang=True, clock=clock)
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


class TheStore(RuleBasedStateMachine):
    """Clients, two workers with memories of their own, and time."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab
        self.clock = Clock()
        self._run(lab.client.flushall())
        self._scripts = Recorded(lab, self.clock)
        self._store = Store(lab.client, Keys(), self._scripts)
        self._registries = [self._store.registry, Registry(self._store)]
        self._intakes = [Intake(self._store, POLICY, has_default_secret=True, cap=CAP) for _ in range(2)]
        self._sweep = Sweep(self._store, delivered_ms=60_000, dead_ms=60_000, tasks_ms=120_000)
        self._tasks: list[WatchedTask] = []
        self._deliveries: list[Delivery] = []
        self._turns: dict[tuple[str, str], list[int]] = {}
        self._unordered: set[str] = set()
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

    # -- the ordinary course, so that each example has something to go wrong --

    @initialize(orderings=st.lists(orderings, min_size=1, max_size=3), given=options)
    def begin(self, orderings: list[str], given: dict[str, str]) -> None:
        """Some endpoints, some tasks."""
        for name, ordering in zip("abc", orderings, strict=False):
            self.write_endpoint(name, ordering, False, 0)
        for member in ("t0", "t1"):
            self.register(member, given)
        self.take_in(0, False)

    @rule(status=statuses, who=st.integers(0, 1), ends=rarely, times=st.integers(1, 3))
    def watch(self, status: str, who: int, ends: bool, times: int) -> None:
        """Time passes, due tasks are claimed, read and committed."""
        for _ in range(times):
            self.advance(5_000)
            known = len(self._tasks)
            self.claim_tasks(3)
            for turn in range(len(self._tasks) - known):
                self.read_task(turn, who, status, ends, False, False)
            status = "indexing" if status == "queued" else "queued"

    @rule(decision=st.sampled_from(DECISIONS), slots=st.integers(1, 5), times=st.integers(1, 3))
    def deliver(self, decision: Decision, slots: int, times: int) -> None:
        """What is due is handed on, claimed, attempted and settled, the latter well or as decided."""
        for _ in range(times):
            self.fan_out()
            self.fan_out()
            known = len(self._deliveries)
            self.claim_deliveries(slots)
            for turn in range(len(self._deliveries) - known):
                self.settle(turn, decision if turn == 0 else DECISIONS[0], False, False)
            self.advance(5_000)

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
        if ordering == "none":
            self._unordered.add(name)
        if mark == 7:
            text["url"] = "ftp://nowhere"
        self._run(self._lab.client.hset("bridge:endpoints", name, json.dumps(text)))

    @rule(name=names)
    def drop_endpoint(self, name: str) -> None:
        """HDEL."""
        self._run(self._lab.client.hdel("bridge:endpoints", name))

    # -- workers --

    @rule(who=st.integers(0, 1), echo=st.booleans())
    def take_in(self, who: int, echo: bool) -> None:
        """Intake."""
        self._do(self._intakes[who].run(), echo=echo)

    @rule(slots=st.integers(1, 3))
    def claim_tasks(self, slots: int) -> None:
        """Poll: claim."""
        claim = self._do(self._store.registry.claim_tasks(slots, lease_ms=TASK_LEASE_MS))
        self._tasks += claim.tasks

    @rule(turn=turns, who=st.integers(0, 1), status=statuses, ends=rarely, echo=st.booleans(), forged=rarely)
    def read_task(self, turn: int, who: int, status: str, ends: bool, echo: bool, forged: bool) -> None:
        """Poll: commit what was read, or postpone. The claim may be long over, or somebody else's."""
        if not self._tasks:
            return
        task = self._tasks[-1 - turn % len(self._tasks)]
        if forged:
            task = replace(task, token="0" * 32)
        seen = an_observation(task.member, status, self.clock.now)
        verdict = diff.diff(task.snapshot, seen, doubt=task.doubt, doubted_at=task.doubted_at, now=self.clock.now)
        delay_ms = -1 if ends else 5_000
        registry = self._registries[who]
        if isinstance(verdict, Change):
            event = events.event_from(verdict, task.member, now=self.clock.now)
            snapshot = events.snapshot_after(verdict, event)
            work = registry.commit(task, event, snapshot, delay_ms=delay_ms)
        elif task.announce and task.snapshot:
            work = registry.announce(task, task.snapshot.event_id, delay_ms=delay_ms)
        else:
            work = registry.postpone(task, Postponement(delay_ms))
        word = self._unmoved(work) if not echo else str(self._do(work, echo=True))
        assert word in ({"stale", "removed"} if forged else {"ok", "stale", "removed"})

    @rule(turn=turns, refuse=rarely, echo=st.booleans())
    def give_up_task(self, turn: int, refuse: bool, echo: bool) -> None:
        """Poll: refused for good, or a fault."""
        if self._tasks:
            task = self._tasks[-1 - turn % len(self._tasks)]
            registry = self._store.registry
            work = (
                registry.refuse(task, "no", "fix") if refuse else registry.postpone(task, Postponement(1_000, faults=1))
            )
            self._do(work, echo=True) if echo else self._unmoved(work)

    @rule(turn=turns, who=st.integers(0, 1), echo=st.booleans())
    def announce(self, turn: int, who: int, echo: bool) -> None:
        """Poll: nothing changed, and the task was registered again."""
        if self._tasks:
            task = self._tasks[-1 - turn % len(self._tasks)]
            if task.snapshot:
                work = self._registries[who].announce(task, task.snapshot.event_id, delay_ms=5_000)
                self._do(work, echo=True) if echo else self._unmoved(work)

    @rule(slots=st.integers(1, 5))
    def claim_deliveries(self, slots: int) -> None:
        """Deliver: claim. P4: of one (endpoint, task), turns come in the order of the revisions."""
        for delivery in self._do(self._store.outbox.claim(slots, lease_ms=LEASE_MS)).deliveries:
            assert delivery.body, f"{delivery} has no body"
            self._deliveries.append(delivery)
            self._take_turn(delivery.endpoint, delivery.task, delivery.revision)

    def _take_turn(self, endpoint: str, task: str, revision: int) -> None:
        turns = self._turns.setdefault((endpoint, task), [])
        if revision not in turns:
            overtaken = not self._harmed and turns and revision < turns[-1] and endpoint not in self._unordered
            assert not overtaken, f"{endpoint}, {task}: {revision} comes after {turns}"
            turns.append(revision)

    @rule(turn=turns, decision=st.sampled_from(DECISIONS), echo=st.booleans(), forged=rarely)
    def settle(self, turn: int, decision: Decision, echo: bool, forged: bool) -> None:
        """Deliver: settle. The lease may have ended, or be somebody else's."""
        if not self._deliveries:
            return
        delivery = self._deliveries[-1 - turn % len(self._deliveries)]
        if forged:
            delivery = replace(delivery, token="0" * 32)
        work = self._store.outbox.settle(delivery, decision, json.dumps({"attempt": delivery.attempts + 1}))
        word = self._unmoved(work) if not echo else str(self._do(work, echo=True))
        assert not forged or word == "stale"

    @rule(turn=turns, delay_ms=st.sampled_from([0, 20_000]), echo=st.booleans())
    def give_back(self, turn: int, delay_ms: int, echo: bool) -> None:
        """Deliver: not attempted."""
        if self._deliveries:
            work = self._store.outbox.give_back(self._deliveries[-1 - turn % len(self._deliveries)], delay_ms=delay_ms)
            self._do(work, echo=True) if echo else self._unmoved(work)

    @rule()
    def fan_out(self) -> None:
        """Deliver: hand an event on."""
        self._do(self._store.outbox.fan_out())

    @rule()
    def sweep(self) -> None:
        """Upkeep: a page, with retention."""
        self._do(self._sweep.page())

    @rule(back=st.integers(1, 30), exact=st.booleans())
    def repeat(self, back: int, exact: bool) -> None:
        """A reply was lost: the same call once more, at any later time. Where a token let it in, it no longer does."""
        if len(self._scripts.calls) < back:
            return
        call = self._scripts.calls[-back]
        if call.verb.startswith("claim_"):
            return  # nobody repeats a claim whose reply was heard; the lost ones are below
        before = self._read()
        command = call.command if exact else [*call.command[:-1], self.clock.now]
        reply = self._run(self._scripts.send_again(command))
        after = self._read()
        if call.verb in FENCED:
            assert reply in {b"stale", b"removed", b"changed"}, f"{call.verb} let the same token in twice: {reply!r}"
            if reply != b"removed":
                assert before == after, f"{call.verb}, repeated: {difference(before, after)}"

    @rule(kind=st.sampled_from(["tasks", "deliveries"]), ms=st.sampled_from([0, 2_000]))
    def lose_a_claim(self, kind: str, ms: int) -> None:
        """The reply of a claim is lost: what it leased nobody has, and the same call brings the rest."""
        known = len(self._scripts.calls)
        if kind == "tasks":
            self._do(self._store.registry.claim_tasks(1, lease_ms=TASK_LEASE_MS))
        else:
            self._do(self._store.outbox.claim(1, lease_ms=LEASE_MS))
        self.clock.advance(ms)
        (call,) = self._scripts.calls[known:]
        again = self._run(self._scripts.send_again([*call.command[:-1], self.clock.now]))
        if kind == "deliveries":
            for endpoint, _, text, _ in [*call.reply[4:], *again[4:]]:
                record = json.loads(text)
                self._take_turn(endpoint.decode(), record["task"], int(record["revision"]))

    @rule(ms=st.sampled_from([1, 1_000, 5_000, TASK_LEASE_MS, LEASE_MS, 60_000, 3_600_000, DAY_MS]))
    def advance(self, ms: int) -> None:
        """Time."""
        self.clock.advance(ms)

    @rule(what=st.sampled_from(["ready", "registry", "queue:a", "leases:a", "endpoint:a", "endpoint:b", "clock"]))
    @precondition(lambda self: not self._harmed)
    def harm(self, what: str) -> None:
        """Somebody deletes a key of ours, or Redis' clock jumps back an hour. What follows may be odd, until mended."""
        self._harmed = True
        if what == "clock":
            self._do(self._sweep.page())
            self.clock.advance(-3_600_000)
        else:
            self._run(self._lab.client.delete(f"bridge:{what}"))

    def teardown(self) -> None:
        """Left in peace for some minutes, everything that is owed to an active endpoint has been delivered (I15)."""
        if sys.exc_info()[0] is not None:
            return
        for _ in range(40):
            self._do(self._intakes[0].run())
            while self._do(self._store.outbox.fan_out()):
                pass
            self.claim_deliveries(100)
            for delivery in self._deliveries:
                self._do(self._store.outbox.settle(delivery, DECISIONS[0], "{}"))
            self._deliveries.clear()
            self._do(self._sweep.page())
            state = self._read()
            active = {name for name, known in under(state, "endpoint") if known.get("state") != "disabled"}
            owed = [pair for pair, one in records(state).items() if one["state"] == "pending" and pair[0] in active]
            if not owed and not self._harmed:
                break
            self.advance(30_000)
        assert not owed, f"never delivered: {owed}"
        check_state(state, self.clock.now, CAP)

    # -- what must hold --

    @invariant()
    def holds(self) -> None:
        """After each step."""
        if self._harmed:
            return
        state = self._read()
        calls = self._scripts.calls[self._verbs_since :]
        check_state(state, self.clock.now, CAP)
        check_step(self._state, state, Counter(call.verb for call in calls))
        self._state, self._verbs_since = state, len(self._scripts.calls)


@pytest.fixture
def lab(redis_url: str) -> Iterator[Lab]:
    """A Redis that knows the verbs."""
    loop = asyncio.new_event_loop()

    async def begin() -> Lab:
        async with Store.open(redis_url) as store:
            verbs = {sha: name for name, sha in store.scripts._shas.items()}
        from bridge.store import connect

        return Lab(connect(redis_url), loop, verbs)

    lab = loop.run_until_complete(begin())
    try:
        yield lab
    finally:
        loop.run_until_complete(lab.client.aclose())
        loop.close()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_order_of_calls_breaks_the_store(lab: Lab, soak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, I2, I5, I6, I13, I14, I16, P2, P4, and bodies that live exactly as long as they are needed."""
    monkeypatch.setattr("bridge.store.registry.FANOUT_STEP", 2)
    monkeypatch.setattr("bridge.store.outbox.FANOUT_STEP", 2)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: TheStore(lab),
        settings=settings(
            max_examples=5_000 if soak else 100,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
