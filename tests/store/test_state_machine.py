"""The Lua verbs, called in any order, at any time, again and again, by workers that hold what is no longer theirs.

A failure is printed as a sequence of rules, and with the line that reproduces it.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from laboratory import lab_at, small_steps
from machine import (
    DELIVERED,
    FENCED,
    TASK_LEASE_MS,
    Call,
    ClientsAndTime,
    Lab,
    names,
    options,
    orderings,
    rarely,
    statuses,
    turns,
)
from model_store import difference, is_overtaken
from scene import LEASE_MS, an_observation

from bridge import diff, events
from bridge.model import Change, DeadReason, Decision, DeliveryState, EndpointEffect, Postponement
from bridge.recovery import choose

FAILED = EndpointEffect.FAILURE
OUTAGE = Decision(DeliveryState.PENDING, FAILED, retry_in_ms=1_000, probe_in_ms=30_000, window_ms=150_000)
LATE = Decision(DeliveryState.PENDING, FAILED, retry_in_ms=60_000, probe_in_ms=30_000)
DECISIONS = (
    DELIVERED,
    Decision(DeliveryState.PENDING, FAILED, retry_in_ms=5_000, probe_in_ms=30_000),
    Decision(DeliveryState.PENDING, FAILED, retry_in_ms=5_000, pause_ms=60_000),
    Decision(DeliveryState.PENDING, EndpointEffect.OVERLOAD, retry_in_ms=5_000),
    Decision(DeliveryState.PENDING, EndpointEffect.BLOCKED, retry_in_ms=1_000),
    Decision(DeliveryState.DEAD, FAILED, reason=DeadReason.EXHAUSTED),
    Decision(DeliveryState.DEAD, EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE),
)


class TheStore(ClientsAndTime):
    """What the workers do."""

    # -- the ordinary course, so that each example has something to go wrong --

    @initialize(orderings=st.lists(orderings, min_size=1, max_size=3), given=options, changes=st.integers(0, 3))
    def begin(self, orderings: list[str], given: dict[str, str], changes: int) -> None:
        """Some endpoints, some tasks, some events that are owed."""
        for mark, (name, ordering) in enumerate(zip("abc", orderings, strict=False)):
            self.write_endpoint(name, ordering, False, mark)
        for member in ("t0", "t1", "t2"):
            self.register(member, given)
        self.take_in(0, False)
        self.watch("queued", 0, False, changes, False)

    @rule(status=statuses, who=st.integers(0, 1), ends=rarely, times=st.integers(1, 3), same=rarely)
    def watch(self, status: str, who: int, ends: bool, times: int, same: bool) -> None:
        """Time passes, due tasks are claimed, read and committed; or found unchanged, and announced."""
        for _ in range(times):
            self.advance(5_000)
            known = len(self._tasks)
            self.claim_tasks(3)
            for turn in range(len(self._tasks) - known):
                if same:
                    self.announce(turn, who, False)
                else:
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
                self.settle(turn, decision if turn == 0 else DELIVERED, False, False)
            self.advance(5_000)

    @rule(status=statuses, answers=st.lists(st.booleans(), min_size=2, max_size=4))
    def overtake(self, status: str, answers: list[bool]) -> None:
        """Tasks come to a status and go on in it; attempts fail or not, and what failed is old when it is due again."""
        for well in answers:
            self.watch(status, 0, False, 1, False)
            known = len(self._deliveries)
            self.claim_deliveries(5)
            for turn in range(len(self._deliveries) - known):
                self.settle(turn, DELIVERED if well else LATE, False, False)
        self.advance(60_000)
        self.claim_deliveries(5)

    @rule(rounds=st.integers(2, 6), back=st.booleans())
    def outage(self, rounds: int, back: bool) -> None:
        """Nobody answers for a while, which opens breakers and fails probes; at its end maybe one does."""
        for left in range(rounds, 0, -1):
            self.advance(30_000)
            known = len(self._deliveries)
            self.claim_deliveries(5)
            for turn in range(len(self._deliveries) - known):
                self.settle(turn, DELIVERED if back and left == 1 else OUTAGE, False, False)

    @rule(who=st.integers(0, 1), echo=st.booleans(), fresh=st.booleans())
    def tell(self, who: int, echo: bool, fresh: bool) -> None:
        """Upkeep: the oldest notice about an endpoint becomes an event, for endpoints as they were last read."""
        notices = self._do(self._store.notices.waiting()).notices
        if notices:
            if fresh:
                self._do(self._registries[who].reload_endpoints())
            endpoints = self._registries[who].endpoints
            event = events.event_of(notices[0], None)
            work = self._store.notices.tell(notices[0], event, endpoints.hearers(notices[0]), endpoints.version)
            word = self._do(work, echo=True) if echo else self._unmoved(work)
            assert word in {"told", "changed"}

    # -- an operator --

    @rule(name=names, verb=st.sampled_from(["disable", "enable", "enable"]), echo=st.booleans())
    def steer(self, name: str, verb: str, echo: bool) -> None:
        """Hold an endpoint, or let it go: nothing of it is due meanwhile, all of it afterwards."""
        work = self._steering.disable(name, "operator") if verb == "disable" else self._steering.enable(name)
        steered = self._do(work, echo=echo)
        known = self._read().get(f"endpoint:{name}", {})
        assert steered.word == "missing" or known["state"] == ("disabled" if verb == "disable" else "active")
        assert steered.word != "missing" or known.get("state") in {None, "removed"}

    @rule(name=names, batch=st.integers(1, 3), only=turns, echo=st.booleans())
    def recover(self, name: str, batch: int, only: int, echo: bool) -> None:
        """Bring dead letters back, and maybe not all of them: whoever did it was killed."""
        letters = self._do(self._steering.dead_letters(name, 0)).found
        ids = choose(letters, [str(one) for one in DeadReason]).event_ids[: only + 1]
        before = len(self._read().get(f"dead:{name}", {}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bridge.store.steering.BATCH", batch)
            came = self._do(self._steering.recover(name, ids), echo=echo)
        assert came.removed or came.recovered + came.lost == len(ids)
        assert len(self._read().get(f"dead:{name}", {})) == before - came.recovered

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
            event = events.event_from(verdict, task.member, now=self.clock.now, behind_ms=task.behind_ms)
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
            assert self._harmed or not is_overtaken(self._read(), delivery), f"{delivery} tells what is over"
            assert delivery.body, f"{delivery} has no body"
            self._deliveries.append(delivery)
            self._take_turn(delivery.endpoint, delivery.task, delivery.revision)

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
        self._scripts.calls.append(Call(call.verb, command, reply))
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
            for endpoint, _, _, task, revision, *_ in [*call.reply[4:], *again[4:]]:
                self._take_turn(endpoint.decode(), task.decode(), int(revision))


@pytest.fixture
def lab(redis_url: str) -> Iterator[Lab]:
    """A Redis that knows the verbs."""
    with lab_at(redis_url) as lab:
        yield lab


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_order_of_calls_breaks_the_store(lab: Lab, soak: bool) -> None:
    """I1, I2, I5, I6, I13, I14, I16, P2, P4, and bodies that live exactly as long as they are needed."""
    with small_steps():
        run_state_machine_as_test(
            type("TheStoreHere", (TheStore,), {"lab": lab}),
            settings=settings(
                max_examples=7_500 if soak else 150,
                stateful_step_count=40,
                deadline=None,
                phases=[Phase.reuse, Phase.generate, Phase.shrink],
                report_multiple_bugs=False,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
