"""Whose failure it is when an egress proxy opens no tunnel."""

from hypothesis import given
from hypothesis import strategies as st

from bridge import tunnel
from bridge.tunnel import Suspicion

events = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30)
"""(receiver, whether a tunnel to it opened)."""


def is_to_blame(history: list[tuple[str, bool]]) -> bool:
    """Of the latest event, a refusal, by looking back over everything that happened."""
    receiver = history[-1][0]
    refusals: dict[str, int] = {}
    fresh, opened = -1, -1
    for at, (name, through) in enumerate(history[:-1]):
        if through:
            refusals.pop(name, None)
            opened = at
        elif name not in refusals:
            refusals[name] = fresh = at
    return receiver in refusals and opened > max(refusals[receiver], fresh)


@given(events)
def test_a_refusal_is_the_receivers_only_while_others_get_through(told: list[tuple[str, bool]]) -> None:
    """Against the definition: refused before, somebody got through since, and nobody was newly refused after that."""
    suspicion = Suspicion()
    for at, (receiver, through) in enumerate(told):
        if through:
            suspicion.opened(receiver)
        else:
            assert suspicion.refused(receiver) is is_to_blame(told[: at + 1])


@given(events, st.lists(st.sampled_from("abcd"), min_size=1))
def test_a_proxy_that_refuses_all_is_nobodys_fault_but_its_own(
    before: list[tuple[str, bool]], after: list[str]
) -> None:
    """From the first refusal of one who had been let through, nobody is blamed, however often all are refused."""
    suspicion = Suspicion()
    for receiver, through in before:
        suspicion.opened(receiver) if through else suspicion.refused(receiver)
    suspicion.opened("new")
    assert not suspicion.refused("new")
    assert not any(suspicion.refused(receiver) for receiver in after)


def test_those_who_were_refused_are_forgotten_oldest_first() -> None:
    """There is a bound on who is remembered; one who was forgotten begins anew."""
    suspicion = Suspicion()
    for n in range(tunnel.RECEIVERS + 1):
        assert not suspicion.refused(str(n))
    suspicion.opened("good")
    assert suspicion.refused("1")
    assert not suspicion.refused("0")
