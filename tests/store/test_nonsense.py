"""P10: whatever a client writes ends in bridge:rejected with reason and fix, and stops nothing beside it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator
from redis.exceptions import ResponseError
from scene import START, Scene

from bridge.errors import StoreDown
from bridge.guard import Policy
from bridge.rejection import NAME_BYTES, REJECTED, rejected_field
from bridge.schemas import rejection_schema
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.records import as_bytes

MB = 1_000_000
GOOD_URL = "https://example.com/hook"
GOOD = json.dumps({"url": GOOD_URL}).encode()
SECRET = "whsec_" + "c2VjcmV0" * 4
ENTRY_BYTES = 4_096
"""No entry of bridge:rejected is larger, whatever was refused."""
WRITES = {
    "string": lambda client, key: client.set(key, "oops"),
    "list": lambda client, key: client.rpush(key, "oops"),
    "set": lambda client, key: client.sadd(key, "oops"),
    "zset": lambda client, key: client.zadd(key, {"oops": 0}),
    "hash": lambda client, key: client.hset(key, "oops", "1"),
    "stream": lambda client, key: client.xadd(key, {"oops": "1"}),
}
FORBIDDEN_URLS = [
    "", "nope", "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "https://127.0.0.1/",
    "https://[::1]/", "https://169.254.169.254/latest", "https://10.0.0.1/", "https://0x7f.1/", "https://2130706433/",
    "https://localhost/", "https://redis/", "https://example.com:6379/", "https://u:p@example.com/",
    "https://example.com/#a", "https://example.com/\r\nhost: x", "https://example.com/\x00", "https://éxample.com/",
    "https://example.com/" + "x" * 2 * MB,
]  # fmt: skip


async def entry_of(store: Store, field: str) -> dict[str, Any]:
    """What stands in bridge:rejected, as its schema says and within its bounds."""
    text = await store.client.hget("bridge:rejected", field)
    fields = await store.client.hkeys("bridge:rejected")
    assert text is not None, fields
    assert len(text) <= ENTRY_BYTES
    assert all(len(as_bytes(name)) <= NAME_BYTES and as_bytes(name).decode() for name in fields)
    entry: dict[str, Any] = json.loads(text)
    Draft202012Validator(rejection_schema()).validate(entry)
    return entry


@pytest.fixture
def strict(store: Store) -> Intake:
    """An intake that allows what the public may: nothing local, https only."""
    return Intake(store, Policy(), has_default_secret=True)


BAD_MEMBERS = [
    b"x" * 2 * MB, "é".encode() * MB, b"..", b"../x", b"a/../b", b"a/./b", b".", b"a//b", b"/a", b"a.b", b"", b" ",
    b"a\x00b", b"\x00", b"\xff\xfe", b"\xff" * MB, b"a\nb", b"a:b:c", "١".encode(), b"\xed\xa0\x80", b"*", b"a\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("member", BAD_MEMBERS, ids=lambda member: ascii(member)[:20])
async def test_a_member_that_is_none_is_rejected_beside_a_good_one(strict: Intake, store: Store, member: bytes) -> None:
    """Cut and spelt out, where it is long or no text."""
    await store.client.zadd("bridge:tasks", {member: 0, b"good": 0})
    taken = await strict.run()
    field = rejected_field("task", member)
    assert (taken.tasks, tuple(taken.rejected)) == (1, (field,))
    assert (await entry_of(store, field))["field"] == "member"
    assert await store.client.zrange("bridge:tasks", 0, -1) == [b"good"]


@pytest.mark.parametrize("score", [1e11, START, 1e300])
async def test_a_score_in_milliseconds_is_rejected_beside_a_good_one(
    strict: Intake, store: Store, score: float
) -> None:
    """Or one that no clock will reach."""
    await store.client.zadd("bridge:tasks", {"late": score, "good": 0})
    assert (await strict.run()).tasks == 1
    assert (await entry_of(store, "task:late"))["field"] == "score"


@pytest.mark.parametrize("score", [-1e308, float("-inf")])
async def test_a_score_below_everything_is_a_request(strict: Intake, store: Store, score: float) -> None:
    """Any score up to now is; Redis itself keeps NaN out of a sorted set."""
    await store.client.zadd("bridge:tasks", {"early": score, "good": 0})
    assert (await strict.run()).tasks == 2
    with pytest.raises(ResponseError, match="not a valid float"):
        await store.client.execute_command("ZADD", "bridge:tasks", "nan", "never")  # type: ignore[no-untyped-call]


BAD_OPTIONS: list[tuple[bytes, bytes]] = [
    *((b"callback_url", url.encode()) for url in FORBIDDEN_URLS if url),
    (b"callback_url", b"https://example.com/\xff"),
    (b"metadata", b'"' + b"x" * 10 * MB + b'"'),
    (b"metadata", b"[" * 100_000 + b"]" * 100_000),
    (b"metadata", b"[" * 2_000 + b"]" * 2_000),
    (b"metadata", b"9" * 10_000),
    (b"metadata", b""),
    (b"metadata", b"{'a': 1}"),
    (b"metadata", b'{"a": 1, "a": 2}'),
    (b"metadata", b"NaN"),
    (b"metadata", b"[-Infinity]"),
    (b"metadata", b'"\x00"'),
    (b"metadata", b"\xff"),
    (b"endpoints", b"../x"),
    (b"endpoints", b"a," * 2 * MB),
    (b"endpoints", b"x" * 2 * MB),
    (b"endpoints", b"a\x00"),
    (b"expires_at", b"1800000000000"),
    (b"expires_at", b"nan"),
    (b"expires_at", b"-inf"),
    (b"expires_at", b"9" * 2 * MB),
    (b"account", b"x" * 2 * MB),
    (b"traceparent", b"00-" * MB),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS, ids=lambda text: ascii(text)[:30])
async def test_a_bad_option_is_rejected_beside_a_good_task(
    strict: Intake, store: Store, name: bytes, value: bytes
) -> None:
    """At its field, where it has one."""
    await store.client.hset("bridge:task:bad", mapping=cast(Any, {name: value}))
    await store.client.hset("bridge:task:good", mapping={"callback_url": GOOD_URL, "metadata": "7"})
    await store.client.zadd("bridge:tasks", {"bad": 0, "good": 0})
    taken = await strict.run()
    assert (taken.tasks, tuple(taken.rejected)) == (1, ("task:bad",))
    assert (await entry_of(store, "task:bad"))["field"] in {name.decode(errors="replace"), ""}
    assert await store.client.zrange("bridge:tasks", 0, -1) == [b"good"]


@pytest.mark.parametrize("name", [b"x-blob", b"\xff", b"Metadata"])
async def test_a_field_that_means_nothing_to_us_may_hold_anything(strict: Intake, store: Store, name: bytes) -> None:
    """Other fields of a task's hash belong to those who wrote them: not read, however large, text or not."""
    await store.client.hset("bridge:task:good", mapping=cast(Any, {name: b"\xff" * MB, b"metadata": b"7"}))
    await store.client.zadd("bridge:tasks", {"good": 0})
    assert (await strict.run()).tasks == 1


@pytest.mark.parametrize("kind", [kind for kind in WRITES if kind != "hash"])
async def test_options_of_a_wrong_type_are_rejected_beside_a_good_task(strict: Intake, store: Store, kind: str) -> None:
    """Every type that is no hash."""
    await cast(Awaitable[Any], WRITES[kind](store.client, "bridge:task:bad"))
    await store.client.zadd("bridge:tasks", {"bad": 0, "good": 0})
    assert (await strict.run()).tasks == 1
    assert "not a hash" in (await entry_of(store, "task:bad"))["reason"]


def url(text: str) -> bytes:
    """A definition with this URL."""
    return json.dumps({"url": text}).encode()


BAD_DEFINITIONS: list[bytes] = [
    *map(url, FORBIDDEN_URLS),
    b"", b"7", b"-0", b"1e999", b"NaN", b"null", b"true", b'"x"', b"[]", b"{}", b"{", b"\xff", b"\xef\xbb\xbf" + GOOD,
    b"\x00", GOOD + b"\x00", GOOD + GOOD, b"'" + GOOD + b"'",
    b'{"url":"https://example.com/","url":"https://example.org/"}',
    b'{"url":"https://example.com/","x-a":"' + b"x" * 10 * MB + b'"}',
    b'{"url":"https://example.com/","x-a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"url":"https://example.com/","x-a":' + b"[" * 7_000 + b"]" * 7_000 + b"}",
    b'{"url":"https://example.com/","events":["' + b"a" * 16_000 + b'*"]}',
    b'{"url":"https://example.com/","events":"*"}',
    b'{"url":"https://example.com/","tasks":["../x"]}',
    b'{"url":"https://example.com/","secret":"whsec_short"}',
    b'{"url":"https://example.com/","ordering":NaN}',
    b'{"url":"https://example.com/","headers":{"a\\u0000":"b"}}',
    b'{"url":"https://example.com/","headers":{"' + b"a" * 10_000 + b'":5}}',
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_DEFINITIONS, ids=lambda text: ascii(text)[:60])
async def test_a_bad_endpoint_is_rejected_beside_a_good_one(strict: Intake, store: Store, text: bytes) -> None:
    """And a good task in the same round."""
    await store.client.hset("bridge:endpoints", mapping=cast(Any, {"bad": text, "good": GOOD}))
    await store.client.zadd("bridge:tasks", {"good": 0})
    taken = await strict.run()
    assert (taken.tasks, taken.endpoints, tuple(taken.rejected)) == (1, 1, ("endpoint:bad",))
    await entry_of(store, "endpoint:bad")
    assert await store.client.hkeys("bridge:endpoints") == [b"good"]


BAD_NAMES = [b"x" * 2 * MB, b"../x", b"..", b"", b"url", b"a\x00", b"\xff", b"\xff" * MB, b"a,b", "é".encode(), GOOD]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
async def test_a_bad_name_is_rejected_beside_a_good_one(strict: Intake, store: Store, name: bytes) -> None:
    """Cut and spelt out, where it is long or no text."""
    await store.client.hset("bridge:endpoints", mapping=cast(Any, {name: GOOD, b"good": GOOD}))
    taken = await strict.run()
    field = rejected_field("endpoint", name)
    assert (taken.endpoints, tuple(taken.rejected)) == (1, (field,))
    assert (await entry_of(store, field))["field"] == "name"


async def test_name_and_value_exchanged_show_no_secret(strict: Intake, store: Store) -> None:
    """P8: the name of a field may be a whole definition."""
    await store.client.hset("bridge:endpoints", json.dumps({"url": GOOD_URL, "secret": SECRET}), "billing")
    taken = await strict.run()
    told = [(name, rejection.told()) for name, rejection in taken.rejected.items()]
    assert len(told) == 1
    assert "c2VjcmV0" not in repr((told, await store.client.hgetall("bridge:rejected")))


async def test_names_that_are_cut_are_told_apart(strict: Intake, store: Store) -> None:
    """By a fingerprint: two long members that begin alike are two entries, and one that comes again is the same."""
    alike = [b"x" * 5_000 + end for end in (b"a", b"b", b"a")]
    for member in alike:
        await store.client.zadd("bridge:tasks", {member: 0})
        await strict.run()
    assert await store.client.hlen("bridge:rejected") == 2


async def test_what_is_kept_of_refused_entries_is_bounded_in_bytes(strict: Intake, store: Store) -> None:
    """More than may be kept, each as long as it may be: number and bytes stay within their bounds."""
    members = {b"%05d" % n + "é\U0001f600".encode() * 1_000: 0 for n in range(REJECTED + 100)}
    await store.client.zadd("bridge:tasks", cast(Any, members))
    while (await strict.run()).more:
        pass
    kept = await store.client.hgetall("bridge:rejected")
    assert len(kept) == REJECTED
    assert sum(len(name) + len(text) for name, text in kept.items()) < REJECTED * (NAME_BYTES + ENTRY_BYTES)


@pytest.mark.parametrize("kind", [kind for kind in WRITES if kind != "zset"])
async def test_endpoints_are_taken_in_beside_a_broken_bridge_tasks(strict: Intake, store: Store, kind: str) -> None:
    """It says which key it is and what to do, there and in the log, until it is put right."""
    await cast(Awaitable[Any], WRITES[kind](store.client, "bridge:tasks"))
    await store.client.hset("bridge:endpoints", "good", GOOD)
    taken = await strict.run()
    assert (taken.endpoints, "bridge:tasks" in taken.trouble) == (1, True)
    assert (await entry_of(store, "key:bridge:tasks"))["reason"] == f"bridge:tasks is a {kind}, not a zset"
    await store.client.rename("bridge:tasks", "elsewhere")
    await store.client.zadd("bridge:tasks", {"good": 0})
    taken = await strict.run()
    assert (taken.tasks, taken.trouble) == (1, "")
    assert await store.client.hlen("bridge:rejected") == 0


@pytest.mark.parametrize("kind", [kind for kind in WRITES if kind != "hash"])
async def test_tasks_wait_while_bridge_endpoints_is_broken(strict: Intake, store: Store, kind: str) -> None:
    """A task must not outrun the endpoints that want to hear of it; another process' word is taken back too."""
    await cast(Awaitable[Any], WRITES[kind](store.client, "bridge:endpoints"))
    await store.client.zadd("bridge:tasks", {"good": 0})
    taken = await strict.run()
    assert (taken.tasks, "bridge:endpoints" in taken.trouble) == (0, True)
    assert (await entry_of(store, "key:bridge:endpoints"))["reason"] == f"bridge:endpoints is a {kind}, not a hash"
    await store.client.delete("bridge:endpoints")
    other: Callable[[], Awaitable[Any]] = Intake(store, Policy(), has_default_secret=True).run
    assert (await other()).tasks == 1
    assert await store.client.hlen("bridge:rejected") == 0


async def test_a_key_that_a_client_must_not_reach_is_no_fault_of_the_entry(scene: Scene, strict: Intake) -> None:
    """What Redis refuses us is ours to hear: the entry stays where it is."""
    client = scene.store.client
    await client.zadd("bridge:tasks", {"good": 0})
    rules = ["on", "nopass", "+@all", "-hgetall", "~*"]
    await client.execute_command("ACL", "SETUSER", "narrow", "reset", *rules)  # type: ignore[no-untyped-call]
    try:
        await client.execute_command("AUTH", "narrow", "x")  # type: ignore[no-untyped-call]
        with pytest.raises(StoreDown, match="does not permit"):
            await strict.run()
    finally:
        await client.execute_command("AUTH", "default", "x")  # type: ignore[no-untyped-call]
        await client.execute_command("ACL", "DELUSER", "narrow")  # type: ignore[no-untyped-call]
    assert await client.zscore("bridge:tasks", "good") == 0
