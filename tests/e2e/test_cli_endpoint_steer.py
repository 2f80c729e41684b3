"""`bridge endpoint disable`, `enable` and `recover`, on deliveries that real verbs made."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from owing import DEAD, DELIVERED, announce, claim, deliver_all, settle, take_in, with_store
from redis import Redis

from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect
from bridge.store import Store
from bridge.store.steering import Steering

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/"
GONE = replace(DEAD, effect=EndpointEffect.DISABLE_GONE, reason=DeadReason.GONE)
EXPIRED = replace(DEAD, reason=DeadReason.EXPIRED)
EXHAUSTED = replace(DEAD, reason=DeadReason.EXHAUSTED)
LATER = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=3_600_000)


@pytest.fixture
def billing(bridge: Bridge) -> None:
    """An endpoint."""
    assert bridge("endpoint", "add", "billing", URL)[0] == 0


def of(bridge: Bridge, *words: str) -> tuple[int, dict[str, object], str]:
    """A command's exit code, its one object, and what it told."""
    code, out, told = bridge(*words, "--json")
    row: dict[str, object] = json.loads(out)
    return code, row, told


@pytest.mark.usefixtures("billing")
def test_a_disabled_endpoint_is_said_everywhere_until_it_is_enabled(bridge: Bridge, redis_url: str) -> None:
    """With its reason and who did it; `add --replace` does not enable it, and says so."""
    announce(redis_url, "t1", "ready")
    code, row, told = of(bridge, "endpoint", "disable", "billing", "--reason", "it moves")
    assert (code, row["state"], row["was"], row["reason"], row["pending"]) == (0, "disabled", "active", "it moves", 1)
    assert "bridge endpoint enable billing" in told
    assert claim(redis_url) == []
    for words in (("endpoint", "ls"), ("endpoint", "show", "billing"), ("doctor",)):
        assert "it moves" in bridge(*words)[1], words
    assert of(bridge, "endpoint", "show", "billing")[1]["by"] == "operator"
    assert "\ndisabled since " in bridge("endpoint", "show", "billing")[1]
    code, _, told = bridge("endpoint", "add", "billing", URL, "--replace")
    assert (code, "disabled still (it moves)" in told) == (0, True)
    code, row, told = of(bridge, "endpoint", "enable", "billing")
    assert (code, row["state"], row["was"], row["pending"]) == (0, "active", "disabled", 1)
    assert "It was disabled (it moves); 1 delivery is due now." in told
    assert len(claim(redis_url)) == 1
    code, _, told = of(bridge, "endpoint", "enable", "billing")
    assert (code, "active already" in told) == (0, True)


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("reason", ["gone", "blocked", "failing", "refused"])
def test_an_operators_reason_is_a_text_whatever_it_looks_like(bridge: Bridge, redis_url: str, reason: str) -> None:
    """The bridge disables for reasons of the same names; who did it tells them apart, and what an operator held is
    enabled."""
    (event_id,) = announce(redis_url, "t1", "ready")
    assert bridge("endpoint", "disable", "billing", "--reason", reason)[0] == 0
    (row,) = [row for row in json.loads(bridge("doctor", "--json")[1]) if "billing is disabled" in row["found"]]
    assert row["why"].startswith("an operator holds it; 1 delivery is held"), row
    assert row["fix"] == "bridge endpoint enable billing"
    looks = (("endpoint", "show", "billing"), ("task", "show", "t1"), ("delivery", "show", event_id, "billing"))
    for words in (*looks, ("delivery", "retry", event_id)):
        _, out, err = bridge(*words)
        assert "→ bridge endpoint enable billing" in out + err, words
        wrong = re.findall(r"(?<![\w.])410\b|recover|--url|bridge doctor", out + err)
        assert wrong == [], words


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize("words", ["enable billing", "recover billing", "recover billing --dry-run"])
def test_what_waits_for_its_next_attempt_is_told_with_what_makes_it_due(
    bridge: Bridge, redis_url: str, words: str
) -> None:
    """An endpoint that was active all the time, and has nothing dead: both verbs come too late or too early for it."""
    for task in ("t1", "t2"):
        announce(redis_url, task, "ready")
    settle(redis_url, LATER)
    told = bridge("endpoint", *words.split())[2]
    retry = "bridge delivery ls --endpoint billing --state pending -o ids | bridge delivery retry -"
    assert ("It has no dead letter that this brings back." in told) == words.startswith("recover")
    assert f"2 wait, the next in 60 min → {retry}" in told.replace("1 h", "60 min")
    assert bridge("delivery", "retry", "-", stdin=bridge(*retry.partition(" | ")[0].split()[1:])[1].encode())[0] == 0
    assert "→ bridge delivery" not in bridge("endpoint", *words.split())[2]


@pytest.mark.usefixtures("billing")
def test_a_reason_stands_until_another_is_given(bridge: Bridge, client: "Redis") -> None:
    """To disable a second time keeps it; one of the bridge's own is no operator's, and is not kept as such."""
    assert of(bridge, "endpoint", "disable", "billing")[1]["reason"] == "operator"
    for words, reason in ((("--reason", "it moves"), "it moves"), ((), "it moves"), (("--reason", ""), "operator")):
        assert of(bridge, "endpoint", "disable", "billing", *words)[1]["reason"] == reason
        assert of(bridge, "endpoint", "show", "billing")[1]["reason"] == reason
    client.hset("bridge:endpoint:billing", mapping={"reason": "gone", "by": ""})
    assert of(bridge, "endpoint", "disable", "billing")[1]["reason"] == "operator"
    bridge("endpoint", "disable", "billing", "--reason", "it moves")
    bridge("endpoint", "enable", "billing")
    assert of(bridge, "endpoint", "disable", "billing")[1]["reason"] == "operator"


@pytest.mark.usefixtures("billing")
def test_a_reason_is_shown_without_what_it_may_hide(bridge: Bridge) -> None:
    """P8: neither a secret nor a URL's query nor a control character goes from it into Redis."""
    words = "see https://example.com/?token=hidden \x1b[31m whsec_" + "A" * 44
    _, row, told = of(bridge, "endpoint", "disable", "billing", "--reason", words)
    assert row["reason"] == "see https://example.com/?… \\x1b[31m whsec_…"
    assert "hidden" not in told


@pytest.mark.parametrize("verb", ["disable", "enable", "recover", "test"])
def test_what_is_not_there_is_not_found(bridge: Bridge, client: "Redis", verb: str) -> None:
    """Exit code 3, and the command that lists what there is; a name that is no text is refused before."""
    code, _, told = bridge("endpoint", verb, "nobody")
    assert (code, "bridge endpoint ls" in told) == (3, True)
    assert bridge("endpoint", verb, "a\x07")[0] == 2
    assert not client.keys("bridge:endpoint*")


@pytest.mark.usefixtures("billing")
def test_what_a_removal_cancels_comes_back_as_it_says(bridge: Bridge, redis_url: str) -> None:
    """Before and after; where nothing is cancelled there is nothing to bring back."""
    made = announce(redis_url, "t1", "ready")
    back = "bridge delivery ls --endpoint billing --state cancelled -o ids | bridge delivery retry -"
    for words in (("rm", "billing", "--dry-run"), ("rm", "billing")):
        told = bridge("endpoint", *words)[2]
        assert f"receiver holds → bridge endpoint add billing URL --secret-file F && {back}" in told, words
    assert bridge("endpoint", "add", "billing", URL)[0] == 0
    ids = bridge(*back.partition(" | ")[0].split()[1:])[1]
    assert bridge("delivery", "retry", "-", stdin=ids.encode())[0] == 0
    assert deliver_all(redis_url) == made
    assert "after all" not in bridge("endpoint", "rm", "billing")[2]


@pytest.mark.parametrize("words", ["set private --rate 1/s", "rotate private", *(f"{one} private" for one in (
    "disable", "enable", "recover", "test"))])  # fmt: skip
def test_what_was_refused_is_told_so(bridge: Bridge, client: "Redis", redis_url: str, words: str) -> None:
    """It was never in force: neither is it gone, nor was it never there; the reason stands there, and what to do."""
    client.hset("bridge:endpoints", "private", '{"url": "https://10.0.0.1/x"}')
    take_in(redis_url)
    code, out, told = bridge("endpoint", *words.split())
    assert (code, out) == (3, "")
    assert "“private” was refused (url: ip_literal: The host is an IP address; " in told
    assert "never in force" in told
    assert "→ bridge endpoint add private URL" in told


@pytest.mark.usefixtures("billing")
def test_dead_letters_come_back_and_the_endpoint_with_them(bridge: Bridge, redis_url: str) -> None:
    """Counted before, brought back in order; what had expired is named, and comes back by name."""
    made = announce(redis_url, "t1", "validating", "pending", "queued", "ready")
    for decision in (EXHAUSTED, EXPIRED, EXHAUSTED, GONE):
        assert len(settle(redis_url, decision)) == 1
    code, row, told = of(bridge, "endpoint", "recover", "billing", "--dry-run")
    assert (code, row["dead"], row["recovered"], row["state"]) == (0, 3, 0, "disabled")
    assert row["reasons"] == {"exhausted": 2, "gone": 1}
    assert "would come back → bridge endpoint recover billing" in told
    assert "It is disabled (gone), and would be active again." in told
    assert "Not asked for: 1 expired → bridge endpoint recover billing --reason expired" in told
    assert claim(redis_url) == []
    code, row, told = of(bridge, "endpoint", "recover", "billing")
    assert (code, row["recovered"], row["state"], row["was"]) == (0, 3, "active", "disabled")
    assert (
        "3 of 3 dead letters (2 exhausted, 1 gone) are owed again.\nIt was disabled (gone), and is active again."
        in told
    )
    assert deliver_all(redis_url) == [made[0], made[2], made[3]]
    assert of(bridge, "endpoint", "recover", "billing", "--reason", "expired")[1]["recovered"] == 1
    assert of(bridge, "endpoint", "recover", "billing")[1]["dead"] == 0
    bridge("endpoint", "disable", "billing", "--reason", "maintenance")
    told = bridge("endpoint", "recover", "billing")[2]
    assert "no dead letter that this brings back.\nIt was disabled (maintenance), and is active again." in told


@pytest.mark.usefixtures("billing")
def test_a_table_of_what_comes_back_has_words_and_no_zeros(bridge: Bridge, redis_url: str) -> None:
    """Nothing that says nothing: neither `lost 0` nor `more no`, and no JSON among the words."""
    announce(redis_url, "t1", "validating", "ready")
    assert [len(settle(redis_url, one)) for one in (EXHAUSTED, GONE)] == [1, 1]
    shown = [line.split("  ")[0] for line in bridge("endpoint", "recover", "billing", "--dry-run")[1].splitlines()]
    assert shown == ["endpoint", "state", "dead letters", "would come back"]
    out = bridge("endpoint", "recover", "billing")[1]
    assert [re.split("  +", line) for line in out.splitlines()] == [
        ["endpoint", "billing"],
        ["state", "active (was disabled)"],
        ["dead letters", "2: 1 exhausted, 1 gone"],
        ["owed again", "2"],
    ]
    out = bridge("endpoint", "recover", "billing")[1]
    assert [re.split("  +", line) for line in out.splitlines()] == [
        ["endpoint", "billing"],
        ["state", "active"],
        ["dead letters", "none"],
    ]


@pytest.mark.usefixtures("billing")
def test_to_enable_one_that_was_gone_tells_of_what_stays_dead(bridge: Bridge, redis_url: str) -> None:
    """Nobody is told any more to remove an endpoint that is active again; its dead letters come back by `recover`."""
    (event,) = announce(redis_url, "t1", "ready")
    settle(redis_url, GONE)
    for words in (("task", "show", "t1"), ("delivery", "show", event)):
        assert "bridge endpoint rm billing" in bridge(*words)[1], words
    told = bridge("endpoint", "enable", "billing")[2]
    assert "1 is dead → bridge endpoint recover billing" in told
    for words in (("task", "show", "t1"), ("delivery", "show", event)):
        shown = bridge(*words)[1]
        assert "bridge endpoint rm billing" not in shown, words
        assert f"this one → bridge delivery retry {event} --endpoint billing" in shown, words
    bridge("endpoint", "recover", "billing")
    assert "dead" not in bridge("endpoint", "enable", "billing")[2]


@pytest.mark.usefixtures("billing")
def test_dead_letters_come_back_since_a_moment(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """A length of time, or a moment with its zone; anything else is refused with what may be written."""
    made = announce(redis_url, "t1", "validating", "ready")
    while settle(redis_url, EXHAUSTED):
        pass
    client.zincrby("bridge:dead:billing", -3 * 86_400_000, made[0])
    for since, count in (("2d", 1), ("90m", 1), ("1970-01-02T00:00:00Z", 2), ("2999-01-01T00:00:00+01:00", 0)):
        assert of(bridge, "endpoint", "recover", "billing", "--since", since, "--dry-run")[1]["dead"] == count, since
    for since in ("2026-11-29T10:00:00", "yesterday", "", "-5h", "1e400", "\x07"):
        code, _, told = bridge("endpoint", "recover", "billing", "--since", since, "--dry-run")
        assert (code, "→" in told, "\x07" in told) == (2, True, False), since
    assert of(bridge, "endpoint", "recover", "billing", "--since", "2d")[1]["recovered"] == 1
    assert bridge("endpoint", "recover", "billing", "--reason", "boredom")[0] == 2
    assert bridge("endpoint", "recover", "billing", "--reason", "body-lost")[0] == 2


@pytest.mark.usefixtures("billing")
def test_what_cannot_come_back_is_counted(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Exit code 6: its body is gone from Redis."""
    first, _ = announce(redis_url, "t1", "validating", "ready")
    while settle(redis_url, EXHAUSTED):
        pass
    client.hdel(f"bridge:event:{first}", "body")
    code, row, told = of(bridge, "endpoint", "recover", "billing")
    assert (code, row["recovered"], row["lost"]) == (6, 1, 1)
    assert "1 stay dead: their bodies are gone" in told


KILLED = """
import os, signal
import bridge.store.steering as steering
from bridge.cli import main
from bridge.store.scripts import Scripts

steering.BATCH = 2
calls = []
original = Scripts.call

async def call(self, name, *arguments, **more):
    if name == "recover_deliveries":
        calls.append(name)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return await original(self, name, *arguments, **more)

Scripts.call = call
main(["endpoint", "recover", "billing"])
"""
"""`bridge endpoint recover billing`, in steps of two, killed before the third."""


@pytest.mark.usefixtures("billing")
def test_a_recovery_that_is_killed_goes_on_when_it_is_said_again(
    bridge: Bridge, redis_url: str, client: "Redis"
) -> None:
    """kill -9 between two steps: half is owed again and held, the rest is dead; said again, all go out, each once."""
    made = announce(redis_url, "t1", "uploading", "validating", "pending", "queued", "indexing", "ready")
    while settle(redis_url, EXHAUSTED):
        pass
    bridge("endpoint", "disable", "billing")
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert client.zcard("bridge:dead:billing") == 2
    assert claim(redis_url) == []
    assert of(bridge, "endpoint", "recover", "billing")[1]["recovered"] == 2
    assert deliver_all(redis_url) == made
    assert claim(redis_url) == []


@pytest.mark.usefixtures("billing")
def test_doctor_names_the_way_back(bridge: Bridge, redis_url: str) -> None:
    """Disabled by a 410: try it, then recover; what it names does what it says."""
    announce(redis_url, "t1", "ready")
    settle(redis_url, GONE)
    out = bridge("doctor")[1]
    assert "→ bridge endpoint recover billing" in out
    assert bridge("endpoint", "recover", "billing")[0] == 0
    assert len(claim(redis_url)) == 1


@pytest.mark.usefixtures("billing")
def test_what_was_made_due_is_late_only_since_then(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """Held for a day, or dead for a day, and due a moment ago: no doctor's backlog, nor a late status."""
    (event,) = announce(redis_url, "t1", "ready")
    with_store(redis_url, lambda store: _held_since_yesterday(store, event))
    assert len(claim(redis_url)) == 0
    assert bridge("endpoint", "enable", "billing")[0] == 0
    assert "overdue" not in bridge("doctor")[1]
    assert json.loads(bridge("status", "--json")[1])["oldest_due_ms"] < 60_000
    assert settle(redis_url, DELIVERED) == [event]


async def _held_since_yesterday(store: Store, event: str) -> None:
    await Steering(store).disable("billing", "operator")
    await store.client.zincrby(store.keys.queue("billing"), -86_400_000, event)
