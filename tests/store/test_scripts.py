"""How the verbs meet a Redis that refuses: as something to wait out, never as a bug or a half-done step."""

import asyncio

import pytest
from redis import exceptions
from redis.asyncio import Redis
from scene import Clock, Scene

from bridge.errors import StoreAway, StoreDown
from bridge.guard import Policy
from bridge.sandbox.redis import RedisServer
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.reading.endpoints import list_endpoints
from bridge.store.scripts import commands, store_errors, unreached


@pytest.mark.parametrize(
    ("refuse", "relent"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ],
    ids=["full", "read-only", "without its replicas"],
)
async def test_a_redis_that_refuses_is_waited_for(
    clock: Clock, refuse: tuple[str, ...], relent: tuple[str, ...]
) -> None:
    """OOM, READONLY and NOREPLICAS are StoreDown: the intake is repeated, and nothing of it was done halfway."""
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store:
            scene = Scene(store, clock, Intake(store, Policy(), has_default_secret=True))
            await store.client.zadd("bridge:tasks", {"t1": 0})
            await store.client.execute_command(*refuse)  # type: ignore[no-untyped-call]
            with pytest.raises(StoreDown):
                await scene.intake.run()
            await store.client.execute_command(*relent)  # type: ignore[no-untyped-call]
            assert (await scene.intake.run()).tasks == 1


async def test_a_full_redis_can_still_empty_itself(clock: Clock) -> None:
    """What drains is allowed where intake is refused: deliveries are claimed and settled at the memory's limit."""
    with RedisServer() as server:
        async with Store.open(server.url, clock=clock) as store:
            if int((await store.client.info("server"))["redis_version"].split(".")[0]) < 7:
                pytest.skip("script flags came with Redis 7")
            scene = Scene(store, clock, Intake(store, Policy(), has_default_secret=True))
            await store.client.hset("bridge:endpoints", "a", '{"url":"https://example.com/"}')
            await scene.task()
            await scene.commit("ready")
            await store.client.config_set("maxmemory", 1)
            (delivery,) = await scene.claim()
            assert await store.outbox.give_back(delivery, delay_ms=0) == "ok"


async def test_who_only_looks_reads_no_verb(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that lists runs none of them. Who runs one has them all, whatever becomes of the files after that."""
    with monkeypatch.context() as without:
        without.setattr("bridge.store.scripts.script_names", lambda: pytest.fail("the verbs were read"))
        async with Store.open(redis_url, allow_volatile=True) as store:
            assert await list_endpoints(store) == []
    async with Store.open(redis_url, allow_volatile=True) as store:
        await store.outbox.claim(1, lease_ms=1)
        monkeypatch.setattr("bridge.store.scripts.script_text", lambda *_, **__: pytest.fail("one was read again"))
        await store.client.script_flush()
        assert (await store.outbox.claim(1, lease_ms=1)).deliveries == []


async def test_verbs_that_redis_forgot_are_loaded_again(scene: Scene) -> None:
    """SCRIPT FLUSH, as after a restart, under calls that travel together: none of them notices."""
    await scene.store.client.script_flush()
    claims = await asyncio.gather(*(scene.store.outbox.claim(1, lease_ms=1) for _ in range(20)))
    assert all(claim.deliveries == [] for claim in claims)


def test_a_connection_that_broke_under_uvloop_is_redis_away() -> None:
    """uvloop's RuntimeError for a write to a connection that just broke is StoreDown; any other one is a bug."""
    closed = "unable to perform operation on <TCPTransport closed=True reading=False 0x7f82>; the handler is closed"
    with pytest.raises(StoreDown), store_errors():
        raise RuntimeError(closed)
    with pytest.raises(RuntimeError, match="a bug"), store_errors():
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "wait"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "primary"),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "its log"),
        (exceptions.ResponseError("Error running script (call to f_1): -OOM command not allowed"), "maxmemory"),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "SCRIPT KILL"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_redis_that_refuses_is_not_away(error: Exception, fix: str) -> None:
    """It answers: each refusal has what helps against it, and starting another Redis is none of that."""
    with pytest.raises(StoreDown) as caught, store_errors():
        raise error
    assert (isinstance(caught.value, StoreAway), fix in caught.value.fix) == (False, True)


async def test_what_a_full_redis_says_does_not_repeat_the_command() -> None:
    """Of several commands redis-py names the one that failed, with all that stands in it: a secret, say."""
    with RedisServer() as server:
        async with Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", 500_000)
            for transaction in (True, False):
                pipe = client.pipeline(transaction=transaction)
                pipe.hset("a", "secret", "C4N4RY) of pipeline caused error: ")
                with pytest.raises(StoreDown) as caught, store_errors():
                    await pipe.execute()
                assert str(caught.value).startswith("Redis: command not allowed when used memory"), transaction


async def test_every_command_of_the_verbs_is_rehearsed_and_leaves_nothing(scene: Scene) -> None:
    """Each has an example that Redis takes, so that what fails for a narrow user fails for its rights alone."""
    before = await scene.store.client.keys("*")
    assert await scene.store.scripts.call("rehearse", *commands()) == []
    assert await scene.store.client.keys("*") == before
    assert await scene.store.scripts.call("rehearse", "NOSUCH") == [b"NOSUCH", b"no example of it in rehearse.lua"]


async def test_a_user_that_may_too_little_is_told_at_the_start(clock: Clock) -> None:
    """What is missing, by name, and the command that prints enough."""
    with RedisServer() as server:
        async with Store.open(server.url) as store:
            words = ("ACL", "SETUSER", "narrow", "on", "nopass", "~*", "+@all", "-lpos", "-zadd")
            await store.client.execute_command(*words)  # type: ignore[no-untyped-call]
        url = server.url.replace("redis://", "redis://narrow:any@")
        with pytest.raises(StoreDown, match=r"LPOS, ZADD") as caught:
            async with Store.open(url, clock=clock, rehearse=True):
                pass
        assert "bridge contract acl" in caught.value.fix


async def test_a_verb_is_loaded_where_redis_lacks_it_and_no_other() -> None:
    """Not at each start: all of them are a megabyte, which a Redis before 7 writes into its append-only file."""
    with RedisServer() as server:
        for _ in range(3):
            async with Store.open(server.url) as store:
                await store.registry.reload_endpoints()
                await asyncio.gather(*(store.outbox.claim(1, lease_ms=1) for _ in range(3)))
                stats = await store.client.info("commandstats")
    loads = [found["calls"] for name, found in stats.items() if name in {"cmdstat_script", "cmdstat_script|load"}]
    assert loads == [2]


async def test_scripts_that_are_forgotten_again_are_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second SCRIPT FLUSH, or a restart, between loading and calling: no bug of ours, and nothing has run."""
    load = store.scripts.load

    async def in_vain(name: str) -> None:
        await load(name)
        await store.client.script_flush()

    await store.client.script_flush()
    monkeypatch.setattr(store.scripts, "load", in_vain)
    with pytest.raises(StoreDown, match="forgets"):
        await store.registry.reload_endpoints()
    monkeypatch.undo()
    await store.registry.reload_endpoints()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "Error 111 connecting to 127.0.0.1:1. Connect call failed ('127.0.0.1', 1).",
            "Connection refused (127.0.0.1:1)",
        ),
        (
            "Error Multiple exceptions: [Errno 111] Connect call failed ('::1', 6379, 0, 0), [Errno 111] Connect call "
            "failed ('127.0.0.1', 6379) connecting to localhost:6379.",
            "Connection refused (localhost:6379)",
        ),
        (
            "Error -2 connecting to nohost.invalid:6379. Name or service not known.",
            "Name or service not known (nohost.invalid:6379)",
        ),
        (
            "Error 2 connecting to /nope/r.sock. No such file or directory.",
            "No such file or directory (/nope/r.sock)",
        ),
        ("Connection closed by server.", "Connection closed by server."),
    ],
)
def test_a_connection_that_was_not_made_is_told_in_the_systems_words(theirs: str, ours: str) -> None:
    """Without numbers of errors and Python's tuples, which say nothing to who has to start a Redis."""
    assert unreached(theirs) == ours
