"""Each verb of the store against each trouble of Redis: who calls hears it, nothing is half done, a repeat is right."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1

import pytest
from ledger import Ledger, contents, disagreements, ledger
from redis import Redis
from redis.exceptions import ResponseError
from scene import Scene
from verbs import SCRIPTS, VERBS, Verb, a_scene, claim_deliveries, claim_tasks
from wire import Trouble, Wire

from bridge.errors import StoreDown
from bridge.store.scripts import script_text

every_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)

REFUSALS = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOAUTH Authentication required.",
    "NOPERM User bridge has no permissions to run the 'evalsha' command",
    "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
    "ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:9.",
    "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: -OOM command not allowed",
    "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: -READONLY You can't write",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
)
"""What Redis says when it does not work now, word for word."""


def runs(verb: Verb, trouble: Trouble, *, times: int = 1_000) -> Callable[[Sequence[bytes]], Trouble | None]:
    """This trouble for so many calls of this verb's script, and for no other command."""
    shas = {
        sha1(script_text(SCRIPTS[verb], shebang=shebang).encode(), usedforsecurity=False).hexdigest().encode()
        for shebang in (True, False)
    }
    left = times

    def judge(words: Sequence[bytes]) -> Trouble | None:
        nonlocal left
        if words[0].upper() != b"EVALSHA" or words[1] not in shas or not left:
            return None
        left -= 1
        return trouble

    return judge


@contextmanager
def beside(redis_url: str) -> Iterator["Redis"]:
    """A look at Redis that no trouble befalls."""
    with Redis.from_url(redis_url) as client:
        yield client


async def undisturbed(verb: Verb, redis_url: str) -> Ledger:
    """What Redis holds when nothing befalls the verb; Redis is empty again."""
    async with a_scene(redis_url) as scene:
        await (await verb(scene))()
        with beside(redis_url) as client:
            held = ledger(client)
            client.flushall()
            return held


@every_verb
async def test_a_refused_verb_says_so_changes_nothing_and_can_be_repeated(
    verb: Verb, wire: Wire, redis_url: str
) -> None:
    """Each refusal: StoreDown with a fix and every key as it was; the call after the last does what it would have."""
    expected = await undisturbed(verb, redis_url)
    async with a_scene(wire.url) as scene:
        call = await verb(scene)
        with beside(redis_url) as client:
            before = contents(client)
            for refusal in REFUSALS:
                with wire.spoiling(runs(verb, Trouble(error=refusal))), pytest.raises(StoreDown) as caught:
                    await call()
                assert caught.value.fix, refusal
                assert contents(client) == before, refusal
            await call()
            assert ledger(client) == expected
            assert not disagreements(client)


@every_verb
async def test_a_bug_is_seen_as_the_bug_that_it_is(verb: Verb, wire: Wire, redis_url: str) -> None:
    """WRONGTYPE on a key of ours is nothing to wait out: the error itself."""
    async with a_scene(wire.url) as scene:
        call = await verb(scene)
        wrong = "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:9."
        with beside(redis_url) as client:
            before = contents(client)
            with wire.spoiling(runs(verb, Trouble(error=wrong))), pytest.raises(ResponseError, match="WRONGTYPE"):
                await call()
            assert contents(client) == before
            await call()
            assert not disagreements(client)


async def is_right(scene: Scene, verb: Verb, redis_url: str, expected: Ledger, *, ran: bool) -> None:
    """Redis holds what it would without the trouble.

    Of a claim that ran and whose answer was lost, the lease makes it good: what it took comes back when that ends.
    """
    with beside(redis_url) as client:
        assert not disagreements(client)
        if not (ran and verb in (claim_tasks, claim_deliveries)):
            assert ledger(client) == expected
            return
    scene.clock.advance(30_000)
    if verb is claim_tasks:
        claim = await scene.store.registry.claim_tasks(10, lease_ms=20_000)
        assert {task.member for task in claim.tasks} == {"t1", "t2"}
    else:
        assert {delivery.endpoint for delivery in await scene.claim()} == {"a", "b"}


ONCE = {
    "forgotten script": Trouble(error="NOSCRIPT No matching script. Please use EVAL."),
    "reset before it ran": Trouble(cut_before=True),
    "reset after it ran": Trouble(cut_after=True),
    "half an answer": Trouble(half=True),
    "slow": Trouble(delay_seconds=0.3),
    "loading": Trouble(error="LOADING Redis is loading the dataset in memory"),
}


@every_verb
@pytest.mark.parametrize("trouble", ONCE)
async def test_what_befalls_a_verb_once_its_caller_never_hears(
    verb: Verb, trouble: str, wire: Wire, redis_url: str
) -> None:
    """A forgotten script, a connection lost before or after, half an answer: repeated by itself, and done once."""
    expected = await undisturbed(verb, redis_url)
    async with a_scene(wire.url) as scene:
        call = await verb(scene)
        with wire.spoiling(runs(verb, ONCE[trouble], times=1)):
            await call()
            assert wire.spoilt["EVALSHA"] == 1
        await is_right(scene, verb, redis_url, expected, ran=trouble in {"reset after it ran", "half an answer"})


@every_verb
@pytest.mark.parametrize("trouble", [Trouble(cut_before=True), Trouble(cut_after=True)], ids=["before", "after"])
async def test_a_verb_whose_answers_are_all_lost_is_done_at_most_once(
    verb: Verb, trouble: Trouble, wire: Wire, redis_url: str
) -> None:
    """Every try loses its connection: StoreDown, outcome unknown; repeated later, it was done exactly once."""
    expected = await undisturbed(verb, redis_url)
    async with a_scene(wire.url) as scene:
        call = await verb(scene)
        with wire.spoiling(runs(verb, trouble)), pytest.raises(StoreDown):
            await call()
        assert wire.spoilt["EVALSHA"] > 1
        await call()
        await is_right(scene, verb, redis_url, expected, ran=trouble.cut_after)


async def test_a_stalled_redis_is_given_up_and_what_was_leased_comes_back(
    wire: Wire, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer comes later than we wait: StoreDown, not a hang; when the lease has ended, everything is there."""
    monkeypatch.setattr("bridge.store.SOCKET_SECONDS", 0.2)  # of 5, so as to take less of the test's time
    async with a_scene(wire.url) as scene:
        await scene.endpoint("a")
        await scene.task("t1")
        await scene.commit("ready")
        with wire.spoiling(Trouble(delay_seconds=1)), pytest.raises(StoreDown):
            await scene.claim()
        scene.clock.advance(30_000)
        (delivery,) = await scene.claim()
        assert json.loads(delivery.body)["data"]["status"] == "ready"
