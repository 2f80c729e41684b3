"""Why a delivery is not on its way, in words, and the next command."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.guard import Policy
from bridge.waiting import Hold, Holder, Standing, advised, after_gone, error_of, hold_of, remedies, told


@given(
    st.sampled_from(["active", "held", "disabled", "removed"]),
    st.none() | st.just("evt_1"),
    st.sampled_from(["blocked", "gone", ""]),
)
def test_the_gravest_hold_is_the_one_that_is_told(state: str, behind: str | None, reason: str) -> None:
    """To wait for one's turn matters only where turns come."""
    hold = hold_of(Standing(state, reason, 5, kept=True), behind)
    ours = Hold(Holder.DISABLED, reason, by_settings=reason == "blocked")
    wanted = {"disabled": ours, "held": Hold(Holder.BREAKER, reason, probe_at=5)}
    assert hold == wanted.get(state, Hold(Holder.LINE, behind=behind) if behind else None)


@pytest.mark.parametrize(
    ("hold", "words", "command"),
    [
        (Hold(Holder.DISABLED, "blocked"), "held: endpoint a is disabled (blocked)", "bridge endpoint set a --url URL"),
        (
            Hold(Holder.DISABLED, "blocked", by_settings=True),
            "held: endpoint a is disabled (blocked by the running worker's settings)",
            "bridge doctor",
        ),
        (
            Hold(Holder.DISABLED, "he moves"),
            "held: endpoint a is disabled (he moves)",
            "bridge endpoint enable a",
        ),
        (Hold(Holder.DISABLED), "held: endpoint a is disabled", "bridge endpoint enable a"),
        (Hold(Holder.BREAKER), "held: its breaker is open, next probe in 4 min", "bridge endpoint test a"),
        (Hold(Holder.ATTEMPT, again_at=5), "being attempted", ""),
        (Hold(Holder.LINE, behind="evt_0"), "waits behind evt_0 of its task", "bridge delivery show evt_0 a"),
    ],
)
def test_a_hold_is_told_in_words_with_what_ends_it(hold: Hold, words: str, command: str) -> None:
    """As it comes out of a row, where it is a mapping."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": "pending", "reason": None, "hold": asdict(hold)}
    assert told(row["hold"], "a", "in 4 min") == words  # type: ignore[arg-type]
    failing = "HTTP 500" if hold.by is Holder.BREAKER else None
    assert [one.command for one in advised(row | {"endpoint_error": failing})] == ([command] if command else [])


@pytest.mark.parametrize(
    ("state", "reason", "error", "command"),
    [
        ("pending", None, None, "bridge delivery retry evt_1 --endpoint a"),
        ("dead", "body-lost", None, ""),
        ("cancelled", None, None, "bridge delivery retry evt_1 --endpoint a"),
        ("superseded", None, None, "bridge delivery retry evt_1 --endpoint a --force"),
        ("delivered", None, None, ""),
    ],
)
def test_what_nothing_holds_has_a_next_command_too(state: str, reason: str | None, error: str, command: str) -> None:
    """The one that a person who looks at it may want; none without a body, and none to send what is delivered again."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": state, "reason": reason, "hold": None}
    assert [one.command for one in advised(row | {"endpoint_error": error})] == ([command] if command else [])


@pytest.mark.parametrize("error", ["HTTP 500", "HTTP 401"])
def test_what_waits_for_its_next_attempt_may_go_once_its_receiver_is_mended(error: str) -> None:
    """After what finds the trouble, what ends the wait; nothing does while its endpoint is held."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": "pending", "reason": None, "endpoint_error": error}
    assert advised(row | {"hold": None})[-1].command == "bridge delivery retry evt_1 --endpoint a"
    for hold in (Hold(Holder.BREAKER), Hold(Holder.ATTEMPT)):
        assert advised(row | {"hold": asdict(hold)}) == advised(row | {"hold": None})[:-1]


@pytest.mark.parametrize(
    ("reason", "recover"),
    [
        ("exhausted", ["bridge endpoint recover a"]),
        ("expired", ["bridge endpoint recover a --reason expired"]),
        ("unreadable", ["bridge endpoint recover a --reason unreadable"]),
    ],
)
def test_a_dead_one_comes_back_alone_or_with_the_others(reason: str, recover: list[str]) -> None:
    """A progress event that had expired does by name; without its endpoint none does."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": "dead", "reason": reason, "hold": None}
    alone = "bridge delivery retry evt_1 --endpoint a"
    assert [one.command for one in advised(row)] == [alone, *recover]
    removed = [one.command for one in advised(row | {"endpoint_removed": True})]
    assert removed == ["bridge endpoint add a URL", "bridge delivery cancel evt_1 --endpoint a"]


def test_after_a_410_the_advice_is_the_same_for_what_is_held_and_for_what_is_dead() -> None:
    """It was a mistake, or it was meant; the endpoint of a callback URL is nobody's to remove."""
    row = {"endpoint": "a", "event_id": "evt_1", "hold": None, "endpoint_error": None}
    dead = advised(row | {"state": "dead", "reason": "gone", "endpoint_gone": True})
    held = advised(row | {"state": "pending", "reason": None, "hold": asdict(Hold(Holder.DISABLED, "gone"))})
    assert dead == held == after_gone("a")
    assert [one.command for one in dead] == ["bridge endpoint recover a", "bridge endpoint rm a"]
    assert [one.command for one in after_gone("url:0123")] == ["bridge endpoint recover url:0123"]


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        ({"status_code": 401}, "HTTP 401"),
        ({"fault": "timeout", "detail": "no answer within 15 s"}, "timeout: no answer within 15 s"),
        ({"fault": "reset"}, "reset"),
        ({}, ""),
    ],
)
def test_an_error_is_told_in_short(attempt: dict[str, object], words: str) -> None:
    """A status, or a fault with what is known of it."""
    assert error_of(attempt) == words


@pytest.mark.parametrize("error", ["HTTP 400", "HTTP 401", "HTTP 403"])
def test_a_refused_signature_has_two_causes_and_a_command_for_each(error: str) -> None:
    """Another secret, or a body that was written anew; a callback_url has no secret of its own to rotate."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": "pending", "reason": None, "hold": None}
    theirs, ours, rewritten, _ = advised(row | {"endpoint_error": error})
    known = "bridge endpoint rotate a --secret-file secret.whsec"  # before a new one, which its receiver does not know
    assert (theirs.command, "another secret" in theirs.when) == (known, True)
    assert str(ours) == "or with a new one, for both: → bridge endpoint rotate a"
    assert (rewritten.command.split()[:2], "wrote anew" in rewritten.when) == (["bridge", "verify"], True)
    assert [one.command.split()[1] for one in remedies("url:0123", error)] == ["config", "verify"]


def test_other_errors_suggest_nothing_about_signatures() -> None:
    """Nor does having none."""
    assert remedies("a", "HTTP 500") == remedies("a", "") == ()


@pytest.mark.parametrize(
    ("endpoint", "detail", "command"),
    [
        ("a", "redirects to https://b.example/x", "bridge endpoint set a --url https://b.example/x"),
        ("a", "redirects to https://b.example/$(x)", "bridge endpoint set a --url 'https://b.example/$(x)'"),
        ("a", "redirects to https://b.example/?…", "bridge endpoint set a --url URL"),
        ("a", "", "bridge endpoint set a --url URL"),
        ("url:0123", "redirects to https://b.example/x", "bridge task add ID --callback-url https://b.example/x"),
    ],
)
def test_a_redirect_is_told_with_where_to(endpoint: str, detail: str, command: str) -> None:
    """A command that can be pasted, whatever a receiver writes there; without a place where it may not be shown."""
    error = error_of({"status_code": 302, "detail": detail})
    assert error == f"HTTP 302, {detail}".removesuffix(", ")
    assert [str(one) for one in remedies(endpoint, error)] == [f"redirects are not followed: → {command}"]


def test_a_forbidden_address_is_not_the_receivers_fault() -> None:
    """To try it again, or to mend the receiver, would not help: allow the network where the worker runs, or move."""
    row = {"endpoint": "a", "event_id": "evt_1", "state": "pending", "reason": None, "hold": None}
    verdict = Policy().judge_addresses("a.example.com", 443, ["127.0.0.1"])
    moved, again = advised(row | {"endpoint_error": f"blocked: {verdict.reason}: {verdict.detail}"})
    assert (moved.command, "BRIDGE_DELIVERY_ALLOW_NETWORKS" in moved.when) == ("bridge endpoint set a --url URL", True)
    assert (again.command, "receiver" in again.when) == ("bridge delivery retry evt_1 --endpoint a", False)


HTTP, NETWORKS = "BRIDGE_DELIVERY_ALLOW_HTTP", "BRIDGE_DELIVERY_ALLOW_NETWORKS"


@pytest.mark.parametrize(
    ("url", "policy", "named"),
    [
        ("http://example.com/", Policy(), f"allow it by {HTTP} "),
        ("http://127.0.0.1:9/", Policy(), f"allow it by {HTTP} and {NETWORKS} "),
        ("http://localhost:9/", Policy(allow_http=True), f"allow it by {NETWORKS} "),
        ("https://example.com/a b", Policy(), ""),
    ],
    ids=["the scheme", "both", "the network", "none"],
)
def test_the_setting_that_really_lacks_is_the_one_that_is_named(url: str, policy: Policy, named: str) -> None:
    """As the guard that refused it names it, whether it is tried again, or was disabled for it."""
    verdict = policy.judge_url(url)
    row = {"endpoint": "a", "event_id": "evt_1", "state": "pending", "reason": None}
    row |= {"hold": None, "endpoint_error": f"blocked: {verdict.reason}: {verdict.detail}"}
    (waits, _), (held,) = advised(row), advised(row | {"hold": asdict(Hold(Holder.DISABLED, "blocked"))})
    assert (waits.command, held.command) == ("bridge endpoint set a --url URL",) * 2
    assert (named in waits.when, named in held.when) == (True, True)
    assert [one.when.count("BRIDGE_") for one in (waits, held)] == [named.count("BRIDGE_")] * 2
    (ours,) = advised(row | {"hold": asdict(Hold(Holder.DISABLED, "blocked", by_settings=True))})
    assert (ours.command, ours.when.count("BRIDGE_")) == ("bridge doctor", named.count("BRIDGE_"))
