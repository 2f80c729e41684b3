"""P10, tried: whatever clients write is taken in or refused, repeats no secret, and stops no entry beside it."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import strategies as st
from nonsense import BEARING, HEADER, SIGNING, URL, assert_silent, hunt, objects, values, words

from bridge.entries import Judge
from bridge.finder import Finder, FindPolicy
from bridge.guard import Policy
from bridge.model import FetchFailure, FetchFault
from bridge.rejection import rejected_field
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.records import as_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200)]

BATCH = 20
"""Entries that are written beside one another, and beside a good one."""
SHORT, LONG = {"endpoints": 8, "tasks": 8, "watches": 6}, {"endpoints": 1_000, "tasks": 1_000, "watches": 750}
"""Batches in `make test` and in `make soak`."""
POLICY = Policy(allow_networks=[ip_network("127.0.0.0/8")])
GOOD = json.dumps({"url": URL}).encode()

urls = st.sampled_from(
    [URL, BEARING, "ftp://x", "https://127.0.0.1/", "https://", "//", f"https://{SIGNING}@x.example/"]
)
raw_names = st.one_of(
    st.text("ab0_.-", min_size=1, max_size=4).map(str.encode),
    words.map(lambda word: word.encode("utf-8", "surrogatepass")),
    st.binary(max_size=10),
)
events = st.lists(st.sampled_from(["*", "index.task.*", "index.task.ready", "bridge.endpoint.*", "nope"]), max_size=3)
endpoints = objects(
    {
        "url": urls, "events": events, "tasks": st.lists(words, max_size=2), "secret": st.just(SIGNING),
        "previous_secrets": st.lists(st.fixed_dictionaries({"secret": st.just(SIGNING), "until": st.integers()})),
        "headers": st.dictionaries(st.sampled_from(["x-a", "host", "Authorization"]), st.just(HEADER)),
        "ordering": st.sampled_from(["strict", "none", "no"]), "rate": st.sampled_from(["1/s", "0/m", "9"]),
        "schedule": st.lists(st.floats(0, 1e6)), "concurrency": st.integers(-1, 2_000), "supersede": st.booleans(),
        "format": st.sampled_from(["standard", "twelvelabs"]), "indexes": st.lists(words, max_size=2),
        "metadata": st.dictionaries(words, values, max_size=2),
    }
)  # fmt: skip
option_values = st.one_of(
    st.sampled_from([URL, BEARING, "a,b", "1e11", "1800000000", "{}", "[", "default"]).map(str.encode),
    words.map(lambda word: word.encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
)
options = st.dictionaries(
    st.sampled_from([b"metadata", b"endpoints", b"callback_url", b"expires_at", b"account", b"x-mine"]), option_values
)
members = st.one_of(st.from_regex(r"[a-z:/]{1,12}", fullmatch=True).map(str.encode), raw_names)
tasks = st.tuples(members, st.one_of(st.just(0.0), st.floats(allow_nan=False)), options)
watched = st.one_of(st.just(b"account"), st.from_regex(r"index:[a-z]{1,3}", fullmatch=True).map(str.encode), raw_names)
watches = objects(
    {
        "kinds": st.lists(st.sampled_from(["task", "asset", "video"]), max_size=3), "metadata": values,
        "since": st.floats(), "expires_at": st.integers(), "callback_url": urls,
        "endpoints": st.lists(words, max_size=2),
    }
)  # fmt: skip


class Nowhere:
    """An upstream without tasks, and a poller whom nothing moves."""

    async def fetch_created(self, *_: object, **__: object) -> FetchFailure:
        """Not now."""
        return FetchFailure(FetchFault.TRANSIENT, "away")

    async def rest(self, _: FetchFailure) -> bool:
        """No."""
        return False

    async def accept(self) -> None:
        """Good."""


class Faults:
    """A log in which a fault of ours is one."""

    def info(self, event: str, **fields: object) -> None:
        """What is told repeats no secret."""
        assert_silent(repr(fields), where=event)

    warning = info

    def exception(self, event: str, **fields: object) -> None:
        """Nobody foresaw it."""
        raise AssertionError(f"{event}: {fields}")


def on(url: str, test: Callable[[Store, Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """A check that runs on an empty Redis."""

    async def alone(batch: Any) -> None:
        async with Store.open(url) as store:
            await store.client.flushall()
            await test(store, batch)

    return lambda batch: asyncio.run(alone(batch))


async def assert_told(store: Store, kind: str, refused: set[bytes]) -> None:
    """Each of these is in `bridge:rejected`, and nothing there repeats a secret."""
    told = {as_text(name): as_text(text) for name, text in (await store.client.hgetall("bridge:rejected")).items()}
    for name, entry in told.items():
        assert_silent(name, where="the name of a refusal")
        assert_silent(entry, where="a refusal")
        assert json.loads(entry).keys() >= {"reason", "fix", "field", "value", "at"}
    missing = {rejected_field(kind, one) for one in refused} - told.keys()
    assert not missing, f"nobody was told of {missing}"


async def endpoints_of(store: Store, batch: list[tuple[bytes, bytes]]) -> None:
    """A batch of endpoints, with a good one."""
    written = {**dict(batch), b"good": GOOD}
    await store.client.hset("bridge:endpoints", mapping=written)  # type: ignore[arg-type]
    intake = Intake(store, POLICY, has_default_secret=True)
    for _ in range(2):
        await intake.run()
    taken = set(await store.client.hkeys("bridge:registry"))
    assert b"good" in taken
    await assert_told(store, "endpoint", written.keys() - taken)


async def tasks_of(store: Store, batch: list[tuple[bytes, float, dict[bytes, bytes]]]) -> None:
    """A batch of tasks, with a good one."""
    for member, score, given in [*batch, (b"good", 0.0, {})]:
        await store.client.zadd("bridge:tasks", {member: score})
        await store.client.delete(b"bridge:task:" + member)
        if given:
            await store.client.hset(b"bridge:task:" + member, mapping=given)  # type: ignore[arg-type]
    intake = Intake(store, POLICY, has_default_secret=True)
    while (await intake.run()).more:
        pass
    taken = set(await store.client.zrange("bridge:watch", 0, -1))
    assert b"good" in taken
    asked = {member: score for member, score, _ in batch}  # of one that is there twice, the later score
    await assert_told(store, "task", {member for member, score in asked.items() if score <= 0} - taken)


async def watches_of(store: Store, batch: list[tuple[bytes, bytes]]) -> None:
    """A batch of watches, with a good one."""
    written = {**dict(batch), b"index:good": b"{}"}
    await store.client.hset("bridge:watches", mapping=written)  # type: ignore[arg-type]
    nowhere: Any = Nowhere()
    policy = FindPolicy(Judge(POLICY, has_default_secret=True))
    await Finder(store.watches, store.listings, nowhere, nowhere, policy, permitted=lambda: True, log=Faults()).round()
    taken = {name for name in written if await store.client.hexists("bridge:finding", b"text:" + name)}
    assert b"index:good" in taken
    await assert_told(store, "watch", written.keys() - taken)


def test_no_endpoint_stops_another(redis_url: str, soak: bool) -> None:
    batches = st.lists(st.tuples(raw_names, endpoints), min_size=BATCH, max_size=BATCH)
    hunt(batches, on(redis_url, endpoints_of), examples=(LONG if soak else SHORT)["endpoints"])


def test_no_task_stops_another(redis_url: str, soak: bool) -> None:
    batches = st.lists(tasks, min_size=BATCH, max_size=BATCH)
    hunt(batches, on(redis_url, tasks_of), examples=(LONG if soak else SHORT)["tasks"])


def test_no_watch_stops_another(redis_url: str, soak: bool) -> None:
    batches = st.lists(st.tuples(watched, watches), min_size=BATCH, max_size=BATCH)
    hunt(batches, on(redis_url, watches_of), examples=(LONG if soak else SHORT)["watches"])
