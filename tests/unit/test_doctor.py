"""The doctor's judgement: facts in, findings out. Each bad one says what, why, and the next command."""

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from factories import an_observation
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import AuthenticationError

from bridge.contract import UNSIGNED_CALLBACK
from bridge.deployment import Deployment
from bridge.doctor import (
    Finding,
    Level,
    entries,
    exit_code,
    fail,
    ok,
    server,
    shortened,
    tasks,
    together,
    upstream,
    warn,
    work,
)
from bridge.doctor.findings import SHOWN, span
from bridge.errors import LOG_IN, START_REDIS, UnsafeRedis
from bridge.guard import Policy
from bridge.keyset import NO_KEY
from bridge.model import FetchFailure, FetchFault
from bridge.rejection import Refusal
from bridge.store import check_durable
from bridge.store.scripts import as_store_error

HEALTHY = server.ServerFacts("7.2.4", data_version="1")
JUDGE = entries.Judge(Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True), has_default_secret=True)
SECRET = "whsec_" + "A" * 44
GOOD = "are admissible by this shell's settings"


def examined(facts: server.ServerFacts, *, allow_volatile: bool = False) -> dict[str, Finding]:
    """The worst finding of each check."""
    found: dict[str, Finding] = {}
    for one in server.server(facts, allow_volatile=allow_volatile, our_data=1, prefix="bridge:"):
        if one.check not in found or one.level is not Level.OK:
            found[one.check] = one
    return found


def told(found: list[Finding]) -> str:
    """Everything that they say."""
    return "\n".join(f"{one.level} {one.check} {one.found} | {one.why} | {one.fix}" for one in found)


# -- Redis --


def test_a_healthy_redis_has_nothing_to_look_at() -> None:
    """Five checks, all well, and the loss window is told although nothing is wrong."""
    found = examined(HEALTHY)
    assert list(found) == ["redis", "durability", "memory", "clock", "data"]
    assert {one.level for one in found.values()} == {Level.OK}
    assert "second of registrations" in examined(replace(HEALTHY, appendfsync="everysec"))["durability"].why


@pytest.mark.parametrize(
    ("fields", "check", "level", "word", "fix"),
    [
        ({"version": "6.0.16"}, "redis", "fail", "6.0.16", "upgrade"),
        ({"version": "5"}, "redis", "fail", "version 5", "upgrade"),
        ({"version": "6.2.0"}, "redis", "ok", "6.2.0", ""),
        ({"version": "8.0-rc1"}, "redis", "ok", "8.0-rc1", ""),
        ({"cluster": True}, "redis", "fail", "Cluster", "one primary"),
        ({"role": "slave", "primary": "10.0.0.1:6379"}, "redis", "fail", "replica", "10.0.0.1:6379"),
        ({"role": "slave"}, "redis", "fail", "replica", "REPLICAOF NO ONE"),
        ({"loading": True}, "redis", "fail", "LOADING", "wait"),
        ({"append_only": False}, "durability", "fail", "no append-only file", "appendonly yes"),
        ({"append_error": True}, "durability", "fail", "failed", "make room"),
        ({"appendfsync": None}, "durability", "warn", "unknown", "appendfsync"),
        ({"appendfsync": "no"}, "durability", "warn", "appendfsync no", "appendfsync always"),
        ({"policy": "allkeys-lru"}, "memory", "fail", "allkeys-lru", "noeviction"),
        ({"used": 70, "limit": 100}, "memory", "ok", "70%", ""),
        ({"used": 75, "limit": 100}, "memory", "warn", "75%", "maxmemory"),
        ({"used": 90, "limit": 100}, "memory", "fail", "90%", "maxmemory"),
        ({"used": 10**12, "limit": 0}, "memory", "ok", "no limit", ""),
        ({"skew_ms": 1_999}, "clock", "ok", "2.0 s", ""),
        ({"skew_ms": 2_000}, "clock", "warn", "ahead of", "chronyc"),
        ({"skew_ms": -59_999}, "clock", "warn", "behind", "chronyc"),
        ({"skew_ms": -60_000}, "clock", "fail", "1 min behind", "chronyc"),
        ({"ahead": (server.Ahead("the latest event", 5_001, 5_000, "wait"),)}, "clock", "fail", "event lies", "wait"),
        ({"ahead": (server.Ahead("the latest event", 5_000, 5_000, "wait"),)}, "clock", "ok", "0.0 s", ""),
        ({"data_version": None}, "data", "ok", "nothing", ""),
        ({"data_version": "2"}, "data", "fail", "version 2", "newer bridge"),
        ({"data_version": "x"}, "data", "fail", "“x”", "redis-cli HSET bridge:meta data_version 1"),
    ],
)
def test_what_redis_says_is_judged(fields: dict[str, object], check: str, level: str, word: str, fix: str) -> None:
    """One fact changed, one finding changed: its level, what it names, and the way out."""
    found = examined(replace(HEALTHY, **fields))  # type: ignore[arg-type]
    one = found.pop(check)
    assert (one.level, word in one.found, fix in one.fix) == (Level(level), True, True), one
    assert (one.level is Level.OK) == (one.fix == "")
    assert {other.level for other in found.values()} == {Level.OK}


def test_who_allows_a_volatile_redis_is_warned_only() -> None:
    """It is their decision, and it is still said."""
    facts = replace(HEALTHY, append_only=False, policy="allkeys-lru")
    levels = {name: one.level for name, one in examined(facts, allow_volatile=True).items()}
    assert (levels["durability"], levels["memory"]) == (Level.WARN, Level.WARN)


@pytest.mark.parametrize(
    ("changed", "check"),
    [({"append_only": False}, "durability"), ({"policy": "allkeys-lru"}, "memory"),
     ({"appendfsync": "no"}, "durability"), ({"role": "slave"}, "redis")],
)  # fmt: skip
def test_what_is_to_be_said_to_redis_can_be_pasted_into_a_shell(changed: dict[str, Any], check: str) -> None:
    """CONFIG SET is no program; what is prose behind it is a comment. A worker that refuses to start says the same."""
    assert examined(replace(HEALTHY, **changed))[check].fix.partition("#")[0].startswith("redis-cli ")
    with pytest.raises(UnsafeRedis) as caught:
        check_durable({"aof_enabled": 0} if check != "memory" else {"maxmemory_policy": "allkeys-lru"})
    assert caught.value.fix.startswith("redis-cli CONFIG SET ")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("Redis: Connection refused (127.0.0.1:1)", START_REDIS),
        ("Redis: Redis is loading the dataset in memory", "wait, then `bridge doctor` again"),
        (str(as_store_error(AuthenticationError("invalid username-password pair or user is disabled."))), LOG_IN),
        (str(as_store_error(AuthenticationError("Authentication required."))), LOG_IN),
    ],
)
def test_a_redis_that_cannot_be_asked_says_why(error: str, fix: str) -> None:
    """Away, still loading, or not letting us in: three ways out, and exit code 5."""
    one = server.unreachable(error)
    assert (one.level, one.fix, exit_code([one])) == (Level.FAIL, fix, 5)


def test_a_key_of_the_wrong_type_is_named() -> None:
    """A client's pauses intake; one of ours was written over. An absent key is no fault."""
    found = server.types(
        [("bridge:tasks", "zset", "string"), ("bridge:meta", "hash", "list"), ("bridge:watch", "zset", "none")],
        ours=frozenset({"bridge:tasks"}),
    )
    assert [(one.level, one.found) for one in found] == [
        (Level.FAIL, "bridge:tasks is a string, not a zset"),
        (Level.FAIL, "bridge:meta is a list, not a hash"),
    ]
    assert "intake is paused" in found[0].why
    assert found[0].fix == "redis-cli RENAME bridge:tasks bridge:tasks.aside"
    assert [one.level for one in server.types([("bridge:tasks", "zset", "zset")], ours=frozenset())] == [Level.OK]


def test_keys_that_are_not_there_are_not_counted() -> None:
    """A fresh Redis has none."""
    tasks, meta = ("bridge:tasks", "zset", "none"), ("bridge:meta", "hash", "none")
    (fresh,) = server.types([tasks, meta], ours=frozenset())
    (begun,) = server.types([tasks, ("bridge:meta", "hash", "hash")], ours=frozenset())
    assert (fresh.level, fresh.found) == (Level.OK, "no key is there yet")
    assert (begun.level, "(1)" in begun.found) == (Level.OK, True)


# -- settings and key --


def test_who_has_no_key_is_told_of_the_simulator() -> None:
    """One can go on without."""
    assert upstream.no_key().why.endswith("without a key: bridge simulate")


def test_every_mistake_of_a_broken_configuration_is_a_finding() -> None:
    """And what was not looked at is said, so that nobody believes that the rest is well."""
    found = upstream.broken(["  BRIDGE_POL_X (env): no such setting", "  b"], "correct this")
    assert [one.level for one in found] == [Level.FAIL, Level.FAIL, Level.WARN]
    assert found[0].found == "BRIDGE_POL_X (env): no such setting"
    assert "not looked at" in found[2].found
    assert exit_code(found) == 1


def test_settings_are_told_by_their_places() -> None:
    """How many by which place, warnings, and what the lack of a default secret means."""
    facts = upstream.SettingsFacts({"env": 2, "default": 30}, ["readable by all"], has_default_secret=False)
    text = told(upstream.configured(facts))
    assert "settings 2 by env" in text
    assert "warn config readable by all" in text
    assert "callback_url is refused" in text
    assert "every setting at its default" in told(upstream.configured(upstream.SettingsFacts({"default": 30})))


@pytest.mark.parametrize(
    ("came", "level", "code", "word"),
    [
        (an_observation(), "ok", 0, "accepted"),
        (FetchFailure(FetchFault.GONE, "HTTP 404 resource_not_exists", None, 404), "ok", 0, "accepted"),
        (FetchFailure(FetchFault.FORBIDDEN, "HTTP 403 read_not_allowed", None, 403), "ok", 0, "accepted"),
        (FetchFailure(FetchFault.BAD_WATCH, "HTTP 400 parameter_invalid", None, 400), "ok", 0, "accepted"),
        (FetchFailure(FetchFault.GONE, "HTTP 404", None, 404), "warn", 0, "strangely"),
        (FetchFailure(FetchFault.CREDENTIAL, "HTTP 401 api_key_invalid", None, 401), "fail", 4, "refused"),
        (FetchFailure(FetchFault.THROTTLED, "HTTP 429", None, 429), "warn", 0, "throttled"),
        (FetchFailure(FetchFault.TRANSIENT, "connect: refused"), "fail", 1, "does not answer"),
    ],
)
def test_one_read_tells_of_key_and_address(came: FetchFailure, level: str, code: int, word: str) -> None:
    """Accepted, refused, throttled, silent, or the server of somebody else."""
    (one,) = upstream.key(came, "https://api.example/v1.3")
    assert (one.level, exit_code([one]), word in one.found) == (Level(level), code, True), one


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (upstream.ListFacts(told_ms=3_000), "ok", "3.0 s ago"),
        (upstream.ListFacts(rests_ms=540_000, why="its rows are not sorted by updated_at"), "warn", "not sorted"),
        (upstream.ListFacts(rests_ms=540_000), "warn", "somebody wrote it there"),
        (upstream.ListFacts(why="HTTP 503"), "warn", "HTTP 503"),
    ],
    ids=["tells", "lied", "no reason", "fails"],
)
def test_what_upstreams_list_is_worth_is_said(facts: upstream.ListFacts, level: str, word: str) -> None:
    """Who wonders why so many requests are made finds the reason, and that nothing is missed."""
    (one,) = upstream.listing(facts)
    assert (one.level, word in one.found) == (level, True)
    assert one.level == Level.OK or ("nothing is missed" in one.why and one.fix)


def test_a_list_that_nobody_asked_for_is_not_spoken_of() -> None:
    """As few tasks are watched."""
    assert list(upstream.listing(upstream.ListFacts())) == []


def test_an_address_that_is_the_container_itself_is_said() -> None:
    """Exported for a simulator by hand, and taken by compose, too: curl on the host would find it well. By hand the
    simulator that was ended is started again."""
    failed = FetchFailure(FetchFault.TRANSIENT, "connect: refused")
    for base_url, place, said in (
        ("http://127.0.0.1:8788/v1.3", Deployment.COMPOSE, "unset BRIDGE_TWELVELABS_BASE_URL"),
        ("http://127.0.0.1:8788/v1.3", Deployment.BY_HAND, "bridge simulate 8788  # or"),
        ("http://[::1]/v1.3", Deployment.BY_HAND, "bridge simulate 80  # or"),
        ("https://api.example/v1.3", Deployment.COMPOSE, "curl"),
    ):
        (one,) = upstream.key(failed, base_url, deployment=place)
        assert one.fix.startswith(said)
    came = FetchFailure(FetchFault.TRANSIENT, "HTTP 500")
    (one,) = upstream.key(came, "http://127.0.0.1:8788/v1.3")
    assert one.fix.startswith("curl")  # something does listen there


def test_a_good_key_that_the_workers_have_not_is_said() -> None:
    """They hold the old one until they are restarted."""
    found = list(upstream.key(an_observation(), "x", refused_for_ms=42_000))
    assert [one.level for one in found] == [Level.OK, Level.FAIL]
    assert "they probe it in 42 s" in found[1].why
    assert "stop the worker, then: bridge worker" in found[1].fix


# -- workers, backlog, dead letters --


@pytest.mark.parametrize(
    ("facts", "levels", "word"),
    [
        (work.RoleFacts("poll", 1, 1), ["ok", "ok"], "nothing is due"),
        (work.RoleFacts("poll", 0, 0), ["fail", "ok"], "| bridge worker"),
        (work.RoleFacts("deliver", 2, 0), ["fail", "ok"], "stop the worker, then: bridge worker"),
        (work.RoleFacts("poll", 1, 1, queued=11), ["ok", "warn", "ok"], "11 jobs wait"),
        (work.RoleFacts("poll", 1, 1, late_ms=14_999, due=3), ["ok", "ok"], "3 tasks wait"),
        (work.RoleFacts("poll", 1, 1, late_ms=15_000, due=3), ["ok", "warn"], "BRIDGE_POLL_WORKERS"),
        (work.RoleFacts("deliver", 1, 1, late_ms=120_000, due=3), ["ok", "fail"], "BRIDGE_DELIVERY_WORKERS"),
        (work.RoleFacts("poll", 1, 1, late_ms=10**9, due=3, rests=True), ["ok", "ok"], "3 tasks wait"),
    ],
)
def test_workers_are_judged_by_life_and_lag(facts: work.RoleFacts, levels: list[str], word: str) -> None:
    """Nobody alive fails; late is a warning first; a rest that upstream asked for is no lateness."""
    found = list(work.role(facts))
    assert "docker" not in told(found)
    assert "bridge worker" not in told(list(work.role(facts, Deployment.COMPOSE)))
    assert [one.level for one in found] == [Level(level) for level in levels]
    assert word in told(found)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (work.OwedFacts("a", "disabled", "gone", pending=3), "a is disabled (gone)"),
        (work.OwedFacts("url:0123", "disabled", "blocked"), "bridge endpoint enable url:0123"),
        (work.OwedFacts("a", paused_ms=60_000, pending=3), "rests for 1 min more"),
        (work.OwedFacts("url:0123", failures=7, url="https://x.example/…"), "url:0123 (https://x.example/…) fails"),
        (work.OwedFacts("a", paused_ms=10**12, pending=3), "somebody wrote it there"),
        (work.OwedFacts("a", "disabled", "gone", pending=3), "it answered 410"),
        (work.OwedFacts("a", "disabled", "blocked", pending=3), "policy forbids its address"),
        (work.OwedFacts("a", "disabled", "he moves", pending=3), "an operator holds it; 3 deliveries are held"),
        (work.OwedFacts("a", "disabled", "blocked", kept=True), "active again by itself"),
        (work.OwedFacts("a", "held", "failing", pending=3, failures=12, probe_ms=240_000), "a is held (failing)"),
        (
            work.OwedFacts("a", "held", "failing", probe_ms=240_000),
            "it is probed in 4 min, or now | bridge endpoint enable a",
        ),
        (
            work.OwedFacts("a", "held", error="HTTP 401"),
            "(`bridge verify` tells which); 0 deliveries wait; it is probed",
        ),
        (work.OwedFacts("a", "held", error="HTTP 401"), "| bridge endpoint rotate a"),
        (work.OwedFacts("a", failures=1, error="HTTP 403"), "| bridge endpoint rotate a"),
        (
            work.OwedFacts("a", "held", failures=12, failing_ms=7_200_000),
            "the latest 12 attempts at it failed, for 2 h",
        ),
        (work.OwedFacts("a", overdue=4, oldest_ms=15_000), "4 overdue"),
        (work.OwedFacts("a", failures=7, pending=2), "the latest 7 attempts"),
    ],
)
def test_an_endpoint_that_takes_nothing_is_a_warning(facts: work.OwedFacts, word: str) -> None:
    """With its reason, what is held, and the next command; one that was taken back is none of them."""
    found = work.owed([facts])
    assert [one.level for one in found] == [Level.WARN, Level.OK]
    assert word in told(found)
    assert work.owed([replace(facts, in_force=False)]) == [ok("dead letters", "none")]


def test_dead_letters_are_counted_by_reason_with_the_way_back() -> None:
    """Of many, those of the latest; the command brings them back, those too that come back only by name."""
    found = work.owed([work.OwedFacts("a", dead=3, reasons={"poison": 1, "exhausted": 2}), work.OwedFacts("b")])
    (one,) = found
    assert (one.level, one.found) == (Level.WARN, "a has 3: 2 exhausted, 1 poison")
    assert "poison: whoever attempted it" in one.why
    assert one.fix == "bridge endpoint recover a"
    for reasons, fix in (
        ({"expired": 1, "gone": 1}, "bridge endpoint recover a --reason gone,expired"),
        ({"body-lost": 1}, "bridge delivery ls --endpoint a --state dead"),
    ):
        assert work.owed([work.OwedFacts("a", dead=2, reasons=reasons)])[0].fix == fix
    (held, _) = work.owed([work.OwedFacts("a", "disabled", "gone", dead=1, reasons={"gone": 1})])
    assert held.fix == "bridge endpoint recover a"
    (held, _) = work.owed([work.OwedFacts("a", "disabled", "blocked", pending=1)])
    assert held.fix == "bridge endpoint set a --url URL"
    assert held.why.endswith("once a setting allows it: bridge endpoint enable a")
    many = work.owed([work.OwedFacts("a", dead=300, reasons={"poison": 20})])
    assert "of the latest: 20 poison" in many[0].found


def test_one_of_something_is_told_as_one() -> None:
    """Numbers and their words agree."""
    held, failing, disabled = (
        work.owed([work.OwedFacts("a", state, failures=1, pending=1)])[0].why
        for state in ("held", "active", "disabled")
    )
    assert "the latest attempt at it failed, for" in held
    assert "1 delivery waits" in held
    assert "1 delivery is owed" in failing
    assert "1 delivery is held" in disabled
    assert next(work.role(work.RoleFacts("poll", 1, 1))).found == "1 worker, 1 shift"
    assert next(work.role(work.RoleFacts("poll", 2, 2))).found == "2 workers, 2 shifts"


def test_what_waits_for_minutes_names_what_ends_the_wait() -> None:
    """Once its receiver is mended, nobody has to wait for the schedule; what is due soon needs no command."""
    failing = work.OwedFacts("a", failures=3, pending=2, error="HTTP 500", next_ms=300_000)
    (one, _) = work.owed([failing])
    ids = "bridge delivery ls --endpoint a --state pending -o ids | bridge delivery retry -"
    assert (one.fix, one.why.endswith(f"the next goes out in 5 min, or once it is mended: {ids}")) == (
        "bridge endpoint test a",
        True,
    )
    assert "retry" not in work.owed([replace(failing, next_ms=1_000)])[0].why


def test_dead_letters_of_a_removed_endpoint_are_dismissed_or_it_is_added() -> None:
    """`recover` would say that there is no such endpoint."""
    gone = work.OwedFacts("five", "removed", in_force=False, dead=2, reasons={"exhausted": 2})
    (one,) = work.owed([gone])
    dismiss = "bridge delivery ls --endpoint five --state dead -o ids | bridge delivery cancel -"
    assert (one.found, one.fix) == ("five has 2: 2 exhausted, and was removed", dismiss)
    assert one.why.endswith("to have them sent after all: bridge endpoint add five URL")
    assert "bridge endpoint add NAME URL" in work.owed([replace(gone, name="url:0123")])[0].why
    assert "--state dead --limit 300 -o ids" in work.owed([replace(gone, dead=300)])[0].fix


@pytest.mark.parametrize("dead", [{}, {"gone": 1}, {"gone": 1, "expired": 2}])
def test_an_endpoint_that_answered_410_gets_the_same_advice_whatever_else_it_has(dead: dict[str, int]) -> None:
    """It may have been a mistake, or meant."""
    facts = work.OwedFacts("a", "disabled", "gone", error="HTTP 410", dead=sum(dead.values()), reasons=dead)
    one = work.owed([facts])[0]
    assert one.fix == "bridge endpoint recover a"
    assert one.why.endswith("until retention; if it wants no more: bridge endpoint rm a")
    assert "bridge endpoint rm" not in work.owed([replace(facts, name="url:0123")])[0].why


def test_tasks_that_keep_failing_are_named() -> None:
    """From the third fault in a row on."""
    tasks = [work.TaskFacts("t1", 2), work.TaskFacts("t2", 3, "HTTP 500")]
    assert [(one.found, one.why) for one in work.faulty(tasks)] == [
        ("t2 failed to be read 3 times in a row", "HTTP 500")
    ]


def test_one_cause_is_told_once() -> None:
    """A hundred tasks behind one outage are one finding, and another's cause is not among them."""
    many = [work.TaskFacts(f"t{n}", 3 + n, "dns: no answer") for n in range(100)]
    assert [(one.found, one.why) for one in work.faulty([*many, work.TaskFacts("x", 3, "HTTP 500")])] == [
        ("t0 and 99 more failed to be read 102 times in a row", "dns: no answer"),
        ("x failed to be read 3 times in a row", "HTTP 500"),
    ]


# -- entries --


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        (b"a", b"{", "JSON"),
        (b"a", b"\xff", "not UTF-8"),
        (b"a b", b'{"url":"https://example.com/"}', "an endpoint's name"),
        (b"\xff", b'{"url":"https://example.com/"}', "an endpoint's name"),
        (b"a", b'{"url":"https://10.0.0.1/"}', "ip_literal"),
        (b"a", b'{"url":"ftp://example.com/"}', "scheme_not_https"),
        (b"a", b'{"url":"https://example.com/","secret":"x"}', "secret"),
        (b"a", b'{"url":"https://example.com/","format":"xml"}', "format"),
    ],
)
def test_a_bad_endpoint_is_named_by_the_classifier_of_registration(name: bytes, text: bytes, word: str) -> None:
    """The same reason that intake would give."""
    found = entries.endpoints({name: text, b"good": b'{"url":"https://example.com/"}'}, {}, JUDGE)
    (one,) = found
    assert (one.level, word in one.found, bool(one.fix)) == (Level.FAIL, True, True), one


def test_good_endpoints_are_one_finding_and_none_a_warning() -> None:
    """A hundred good ones do not bury a bad one."""
    good = {f"e{n}".encode(): b'{"url":"https://example.com/"}' for n in range(100)}
    assert [(one.level, one.found) for one in entries.endpoints(good, {}, JUDGE)] == [(Level.OK, f"100 {GOOD}")]
    assert [one.level for one in entries.endpoints({}, {}, JUDGE)] == [Level.WARN]


def test_an_endpoint_that_looks_mistaken_is_a_warning_beside_the_good_word() -> None:
    """A pattern that no event has is legal: it works, and nobody hears of anything."""
    text = b'{"url":"https://example.com/","events":["index.task.redy"],"evnts":[]}'
    found = entries.endpoints({b"a": text}, {}, JUDGE)
    assert [one.level for one in found] == [Level.OK, Level.WARN, Level.WARN]
    assert "did you mean \u201cindex.task.ready\u201d?" in told(found)
    assert {one.fix for one in found[1:]} == {
        "bridge endpoint add a URL --replace",
        "bridge endpoint set a --events index.task.ready",
    }


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ('"event":["index.task.ready","index.task.*"]', "set a --events 'index.task.ready,index.task.*'"),
        ('"task":"t1"', "set a --tasks t1"),
        ('"concurrenc":3', "set a --concurrency 3"),
        ('"header":{"x-team":"video"}', "add a URL --replace"),
        ('"secrets":"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"', "add a URL --replace"),
        ('"rates":"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"', "add a URL --replace"),
    ],
)
def test_a_misspelt_field_is_written_as_it_was_meant(field: str, fix: str) -> None:
    """With its value, where that is words and no secret: nothing that only shows the endpoint again."""
    found = entries.endpoints({b"a": f'{{"url":"https://example.com/",{field}}}'.encode()}, {}, JUDGE)
    assert [one.fix for one in found if one.level is Level.WARN] == [f"bridge endpoint {fix}"]


def test_addresses_are_judged_when_they_were_resolved() -> None:
    """A name that leads inside, one that leads nowhere, and one that is well."""
    written = {n: f'{{"url":"https://{n.decode()}.example.com/"}}'.encode() for n in (b"in", b"no", b"out")}
    answers = {"in.example.com": ["10.0.0.1"], "out.example.com": ["93.184.216.34"]}
    found = entries.endpoints(written, {}, JUDGE, answers)
    assert ["in: address_not_allowed" in one.found or "does not resolve" in one.found for one in found] == [True, True]
    assert {target.host for target in entries.targets(written | {b"x": b"{"}, {}, JUDGE)} == {
        "in.example.com", "no.example.com", "out.example.com",
    }  # fmt: skip
    assert entries.endpoints({b"out": written[b"out"]}, {}, JUDGE, answers)[0].level is Level.OK


def test_callback_urls_need_the_default_secret_and_an_open_way() -> None:
    """The secret may have gone since they were registered, and the policy may have changed."""
    without = replace(JUDGE, has_default_secret=False)
    text = told(
        entries.endpoints({}, {"url:1": "https://example.com/", "url:2": "https://10.0.0.1/?token=hidden"}, without)
    )
    assert "export BRIDGE_DELIVERY_DEFAULT_SECRET=…" in text
    assert "url:2 (https://10.0.0.1/?…): ip_literal" in text
    assert "hidden" not in text


def test_a_key_that_lacks_here_or_there_is_told() -> None:
    """This shell may lack what the worker has, and the worker what this shell has; both are told with the setting."""
    text = b'{"url":"https://example.com/","signatures":["v1a"]}'
    assert "bridge key new" in told(entries.endpoints({b"a": text}, {}, JUDGE))
    keyed = replace(JUDGE, has_signing_key=True)
    assert entries.endpoints({b"a": text}, {}, keyed)[0].level is Level.OK
    theirs = told(entries.endpoints({b"a": text}, {}, JUDGE, admitted={"a": "https://example.com/"}))
    assert entries.OURS in theirs
    assert "export BRIDGE_SIGNING_KEY=…" in theirs
    refusal = Refusal("endpoint:a", f"signatures: {NO_KEY}", "x", "signatures", kept=True)
    ours = told(entries.rejected([refusal], {b"a": text}, keyed))
    assert entries.THEIRS in ours
    assert "export BRIDGE_SIGNING_KEY=…" in ours


def test_a_command_is_safe_to_be_pasted() -> None:
    """What a client wrote is quoted: pasting the fix runs nothing of theirs."""
    url = "https://10.0.0.1/';touch${IFS}x;'"
    text = f'{{"url":"{url}"}}'.encode()
    (one,) = entries.endpoints({b"a": text}, {}, JUDGE)
    assert "'\"'\"'" in one.fix or "touch" not in one.fix
    (refused,) = entries.rejected([Refusal("task:$(reboot)", "bad", "")], {}, JUDGE)
    assert refused.fix == "bridge rejected rm 'task:$(reboot)'"


@pytest.mark.parametrize(
    ("member", "score", "options", "word"),
    [
        (b"a b", 0.0, {}, "a task id is"),
        (b"\xff", 0.0, {}, "a task id is"),
        (b"t1", 1.8e12, {}, "milliseconds"),
        (b"t1", 0.0, None, "is not a hash"),
        (b"t1", 0.0, {b"metadata": b"{"}, "metadata"),
        (b"t1", 0.0, {b"metadata": b"\xff"}, "not UTF-8"),
        (b"t1", 0.0, {b"callback_url": b"https://10.0.0.1/"}, "callback_url"),
        (b"t1", 0.0, {b"endpoints": b"a b"}, "endpoints"),
    ],
)
def test_a_registration_that_will_be_refused_is_named(
    member: bytes, score: float, options: dict[bytes, bytes] | None, word: str
) -> None:
    """Before any worker has seen it."""
    (one,) = entries.waiting([entries.Waiting(member, score, options), entries.Waiting(b"good", 0.0, {})], JUDGE)
    assert (one.level, word in one.found, bool(one.fix)) == (Level.FAIL, True, True), one


def test_what_is_said_to_redis_can_be_pasted() -> None:
    """By redis-cli, with the id that it is about."""
    (one,) = entries.waiting([entries.Waiting(b"t1", 1.8e12, {})], JUDGE)
    assert one.fix == "redis-cli ZADD bridge:tasks XX 0 t1"
    (one,) = entries.rejected([Refusal("task:t1", "in milliseconds", "ZADD bridge:tasks NX 0 t1")], {}, JUDGE)
    assert one.fix == "redis-cli ZADD bridge:tasks NX 0 t1"


def test_tasks_that_name_nobody_are_warned_of_once_a_name() -> None:
    """A thousand tasks with one misspelt endpoint are one finding."""
    tasks = [work.TaskFacts(f"t{n}", endpoints=("a", "biling")) for n in range(1000)]
    (one,) = work.unknown_names(tasks, frozenset({"a"}))
    assert one.found == "t0 and 999 more: its option `endpoints` names “biling”"
    assert one.fix == "bridge endpoint add biling URL  # or: bridge task add t0 --endpoint a"


def test_a_name_that_is_nearly_an_endpoint_is_written_as_that() -> None:
    """With what else the task has, as its options are replaced as a whole; callback URLs are nobody's name."""
    known = frozenset({"local", "ends", "url:lca1"})
    facts = work.TaskFacts("t1", endpoints=("ends", "lcal"), written=("metadata", "endpoints", "x-mine"))
    (one,) = work.unknown_names([facts, work.TaskFacts("t2", endpoints=("lcal",))], known)
    assert one.why.endswith("did you mean local?")
    assert one.fix == "bridge task add t1 --metadata JSON --endpoint ends,local"


def test_misspelt_options_of_tasks_are_warned_of_once_a_field() -> None:
    """Nobody reads them; what a client keeps there for itself is nobody's business."""
    facts = [work.TaskFacts(f"t{n}", written=("metadat", "x-metadata", "color")) for n in range(3)]
    facts.append(work.TaskFacts("u1", endpoints=("a",), written=("endpoints", "callback-url")))
    found = tasks.misspelt_options(facts)
    assert [(one.level, one.check, one.fix) for one in found] == [
        (Level.WARN, "task", "bridge task add u1 --endpoint a --callback-url URL"),
        (Level.WARN, "task", "bridge task add t0 --metadata JSON"),
    ]
    assert found[1].found == "t0 and 2 more: the unknown field “metadat” is ignored: did you mean “metadata”?"


def test_tasks_that_are_to_be_taken_in_much_later_are_warned_of_together() -> None:
    """Each moment as the score says it; the command takes in the first at once."""
    assert tasks.ahead([]) == []
    found = tasks.ahead([("t1", 1_800_000_000.0), ("t2", 4_102_444_800.0)])
    assert [(one.level, one.check, one.found, one.fix) for one in found] == [
        (Level.WARN, "task", "t1 and 1 more: not taken in before 2027-01-15T08:00:00.000Z", "bridge task poll t1")
    ]
    assert "score" in found[0].why


def test_a_good_definition_that_outlived_a_bad_one_is_said_to_be_in_force() -> None:
    """Of one that was never in force nothing of the kind."""
    refusal = Refusal("endpoint:a", "url: is missing", "x", "url")
    (one,) = entries.rejected([refusal], WRITTEN, JUDGE, in_force={"a"})
    assert one.why == "url: is missing; its last good definition is in force"
    (one,) = entries.rejected([refusal], WRITTEN, JUDGE)
    assert "in force" not in one.why


def test_what_was_refused_is_told_by_name_with_its_fix() -> None:
    """An entry that is no JSON, too."""
    found = entries.rejected([Refusal("task:t1", "metadata: not JSON", "write JSON"), Refusal("x", "", "")], {}, JUDGE)
    assert told(found).splitlines() == [
        "warn rejected task:t1 | metadata: not JSON; where nobody wants it any more: bridge task rm t1 | write JSON",
        "warn rejected x | no reason stands there | bridge rejected rm x",
    ]
    assert entries.rejected([], {}, JUDGE) == [ok("rejected", "none")]


@pytest.mark.parametrize("reason", ["url: fragment: The URL has a fragment.", "url: fragment"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_reason_and_what_follows_it_are_one_sentence(reason: str, kept: bool) -> None:
    """Whether the reason ends in a full stop or not."""
    judge = replace(JUDGE, policy=Policy())
    refusal = Refusal("endpoint:a", reason, "x", "url", "https://example.com/", kept=kept)
    (one,) = entries.rejected([refusal], {b"a": b'{"url":"https://example.com/"}'} if kept else {}, judge)
    assert one.why.startswith("url: fragment")
    assert not re.search(r"\.;|\w [Ii]t stays|\. once", one.why), one.why


INSIDE = Refusal(
    "endpoint:a", "url: scheme_not_https: The URL does not begin with https://.", "bridge endpoint check x", "url",
    "http://127.0.0.1:9/…", kept=True,
)  # fmt: skip
WRITTEN = {b"a": b'{"url":"http://127.0.0.1:9/hook"}'}
LIKE_US = "BRIDGE_DELIVERY_ALLOW_NETWORKS=127.0.0.0/8 BRIDGE_DELIVERY_ALLOW_HTTP=true"


@pytest.mark.parametrize(
    ("deployment", "fix"),
    [
        (Deployment.BY_HAND, f"stop the worker, then: {LIKE_US} bridge worker"),
        (Deployment.COMPOSE, f"printf '%s\\n' {LIKE_US} >> .env && docker compose up -d  # restart reads no .env"),
    ],
)
@pytest.mark.parametrize("kept", [True, False], ids=["in force", "refused"])
def test_a_worker_with_other_settings_is_told_apart(deployment: Deployment, fix: str, kept: bool) -> None:
    """What it refuses and this shell allows: said so, and the worker's start with these settings, not the check."""
    judge = replace(JUDGE, deployment=deployment)
    (one,) = entries.rejected([replace(INSIDE, kept=kept)], WRITTEN if kept else {}, judge)
    assert (one.level, one.fix) == (Level.FAIL, fix)
    assert one.found == "endpoint:a: this shell's settings allow it, the running worker's do not"


@pytest.mark.parametrize(
    "refusal",
    [
        replace(INSIDE, value="http://10.0.0.1/"),
        replace(INSIDE, value="http://…@127.0.0.1/"),
        replace(INSIDE, reason="url: fragment: The URL has a fragment."),
        replace(INSIDE, field="events", reason="events: no pattern"),
    ],
    ids=["not ours either", "its own fault as well", "its own fault", "no URL"],
)
def test_what_is_bad_by_any_settings_is_no_matter_of_the_workers(refusal: Refusal) -> None:
    """Its client's to mend: the reason and the fix as they were."""
    (one,) = entries.rejected([replace(refusal, kept=False)], WRITTEN, JUDGE)
    assert (one.level, one.found, one.fix) == (Level.WARN, "endpoint:a", "bridge endpoint check x")


def test_what_is_in_force_and_refused_by_this_shell_too_is_told_once() -> None:
    """As an endpoint, with the reason as it is here."""
    written = {b"a": b'{"url":"http://10.0.0.1/"}'}
    (one,) = entries.endpoints(written, {}, JUDGE)
    assert (one.level, one.about) == (Level.FAIL, "a")
    assert entries.rejected([INSIDE], written, JUDGE) == [ok("rejected", "none beside the endpoints above")]


def test_a_secret_that_only_this_shell_has_is_told_without_its_text() -> None:
    """The worker lacks the default secret: its name, and where it goes."""
    refusal = Refusal("task:t1", f"callback_url: {UNSIGNED_CALLBACK}", "x", "callback_url", "https://a.example/")
    (one,) = entries.rejected([refusal], {}, JUDGE)
    assert one.fix.startswith("export BRIDGE_DELIVERY_DEFAULT_SECRET=…")
    (one,) = entries.rejected([refusal], {}, replace(JUDGE, has_default_secret=False))
    assert (one.level, one.fix) == (Level.WARN, "x")
    kept = Refusal("endpoint:a", "secret: there is no secret to sign with", "x", "secret", kept=True)
    (one,) = entries.rejected([kept], WRITTEN, replace(JUDGE, deployment=Deployment.COMPOSE))
    assert "config/secrets/bridge_delivery_default_secret) && docker compose restart worker" in one.fix


# -- findings --


@pytest.mark.parametrize(
    ("codes", "asked"), [([], 0), ([0, 0], 0), ([1, 0], 1), ([1, 4], 4), ([4, 1, 5], 5), ([0, 4], 4)]
)
def test_the_exit_code_is_that_of_the_worst(codes: list[int], asked: int) -> None:
    """Without Redis 5, with a refused key 4, with any other failure 1."""
    assert exit_code(fail("x", "y", code=code) for code in codes) == asked
    assert exit_code([warn("x", "y"), ok("x", "y")]) == 0


@given(st.lists(st.booleans(), max_size=60))
def test_of_many_findings_the_worst_are_shown(fails: list[bool]) -> None:
    """Bounded, failures first, the rest counted, and the exit code is as if all were shown."""
    many = [fail("x", str(n)) if one else warn("x", str(n)) for n, one in enumerate(fails)]
    shown = shortened(many, fix="all")
    assert len(shown) <= SHOWN + 1
    assert exit_code(shown) == exit_code(many)
    levels = [one.level for one in shown[:SHOWN]]
    assert levels == sorted(levels, key=lambda level: level is not Level.FAIL)
    if len(many) > SHOWN:
        assert shown[-1].found == f"{len(many) - SHOWN} more like these"


def test_many_in_one_trouble_hide_no_other() -> None:
    """Of a hundred alike and one other, both are among those that are shown."""
    many = [fail("endpoint", f"{number}: x", about=str(number), cause="x") for number in range(100)]
    shown = shortened([*many, fail("endpoint", "a: y", about="a", cause="y")], fix="all")
    assert [one.about for one in shown[:3]] == ["0", "a", "1"]
    assert shown[-1].found == "81 more like these"


def test_what_shares_its_cause_is_told_together() -> None:
    """Of one check and level; what has no cause of its own stays alone."""
    a, b, c = (fail("endpoint", f"{name}: x", about=name, cause="x") for name in "abc")
    alone, other, mild = (
        fail("endpoint", "one"),
        fail("endpoint", "two"),
        warn("endpoint", "c: x", about="c", cause="x"),
    )
    assert together([a, alone, b, other, mild, c]) == [[a, b, c], [alone], [other], [mild]]


def test_endpoints_that_need_the_same_are_alike_whatever_their_numbers() -> None:
    """Names, short ones too, are no difference; another error, another state or another remedy is."""
    refused = work.OwedFacts("a", pending=1, failures=3, error="HTTP 500")
    told = work.owed(
        [
            *(refused, replace(refused, name="b", pending=9), replace(refused, name="long.name", failures=4)),
            *(replace(refused, name="c", error="HTTP 401"), replace(refused, name="d", state="held", reason="failing")),
        ]
    )
    groups = [[one.about for one in alike] for alike in together(told) if alike[0].check == "endpoint"]
    assert sorted(groups) == [["a", "b", "long.name"], ["c"], ["d"]]


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.0 s"), (9_999, "10.0 s"), (10_000, "10 s"), (60_000, "1 min"), (7_200_000, "2 h"), (3e8, "3 d")],
)
def test_a_span_is_told_in_one_unit(ms: float, text: str) -> None:
    """As long as it is worth."""
    assert span(ms) == text


def test_a_rest_that_nobody_asked_for_is_told_apart() -> None:
    """No Retry-After is obeyed for longer than a day: what stands there longer was written by hand."""
    assert upstream.unasked(3_600_000).level is Level.WARN
    longer = upstream.unasked(10**12)
    assert (longer.level, longer.fix) == (Level.FAIL, "redis-cli ZREM bridge:pauses default")
