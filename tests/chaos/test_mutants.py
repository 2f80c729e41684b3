"""The proofs are proved: each mutant turns two of them red, each for itself."""

import pytest
from mutants import (
    MUTANTS,
    Mutant,
    ack_first,
    budget_not_counted,
    commit_in_two_steps,
    end_superseded,
    hand_out_cut_short,
    hold_not_in_force,
    id_without_digest,
    no_fence,
    no_lease_push,
    notice_told_twice,
    old_secret_for_ever,
    rate_ignored,
    row_told_unread,
    settle_replayed,
    strict_forgotten,
    ttl_on_a_live_key,
    turn_not_promoted,
)
from redis import Redis as SyncRedis
from suites import Suite, crash_points, second_story, selected, state_machine, storms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LISTER = "tests/core/test_lister.py"
KILLERS: dict[Mutant, dict[str, Suite]] = {
    no_fence: {"crash points": crash_points, "second story": second_story},
    commit_in_two_steps: {"crash points": crash_points, "second story": second_story},
    ack_first: {"crash points": crash_points, "deliverer": selected("tests/core/test_deliver.py")},
    no_lease_push: {"crash points": crash_points, "second story": second_story},
    id_without_digest: {"storms": storms, "ids": selected("tests/unit/test_events.py")},
    settle_replayed: {"crash points": crash_points, "state machine": state_machine},
    ttl_on_a_live_key: {"crash points": crash_points, "second story": second_story},
    turn_not_promoted: {"crash points": crash_points, "second story": second_story},
    strict_forgotten: {"second story": second_story, "outbox": selected("tests/store/test_outbox.py")},
    hold_not_in_force: {"second story": second_story, "state machine": state_machine},
    hand_out_cut_short: {"second story": second_story, "state machine": state_machine},
    end_superseded: {"state machine": state_machine, "supersede": selected("tests/store/test_supersede.py")},
    notice_told_twice: {
        "verbs": selected("tests/chaos/test_redis_verbs.py", "-k", "tell"),
        "notices": selected("tests/store/test_notices.py"),
    },
    rate_ignored: {
        "second story": second_story,
        "throttling": selected("tests/store/test_throttling.py", "-k", "spaces"),
    },
    budget_not_counted: {"second story": second_story, "lister": selected(LISTER, "-k", "budget")},
    row_told_unread: {"second story": second_story, "lister": selected(LISTER, "-k", "end")},
    old_secret_for_ever: {"second story": second_story, "sender": selected("tests/edge/test_sender.py")},
}
"""Who kills whom. Others may, too: these are quick about it."""
GATE = tuple(KILLERS)[:7]
"""Those without which nothing is committed: fence, atomic commit, acknowledgement, lease, id, replay, expiry."""


def test_every_mutant_has_two_killers() -> None:
    assert set(KILLERS) == set(MUTANTS)
    assert all(len(suites) == 2 for suites in KILLERS.values())


@pytest.mark.parametrize("suite", [crash_points, second_story, storms], ids=lambda suite: suite.__name__)
def test_without_a_mutant_nobody_is_killed(world_redis: SyncRedis, suite: Suite) -> None:
    assert next(suite(world_redis)) == []


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        pytest.param(mutant, name, id=f"{mutant.__name__}-{name}")
        for mutant, suites in KILLERS.items()
        for name in suites
    ],
)
def test_a_mutant_does_not_live(
    world_redis: SyncRedis, mutant: Mutant, name: str, monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    """It is killed for what it does: one that merely falls over itself would be killed by anything.

    In `make test` the first seven, by the first of their suites; in `make soak` all, by each.
    """
    if not soak and (mutant not in GATE or name != next(iter(KILLERS[mutant]))):
        pytest.skip("the others and the second killers are for `make soak`")
    monkeypatch.setenv("MUTANT", mutant.__name__)
    with mutant():
        found = next((complaints for complaints in KILLERS[mutant][name](world_redis) if complaints), [])
    assert found, f"{name} stayed green"
    assert not all(one.startswith("fault of ours") for one in found), found
