"""`bridge doctor --probe` against the simulated TwelveLabs: what each of its switches makes it say."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.doctor_probe import glimpse
from bridge.doctor import Finding, Level
from bridge.doctor.probed import findings
from bridge.doctor.probing import LATEST, READS, Glimpse, next_read
from bridge.sandbox.answers import Answer
from bridge.sandbox.faults import Fault, html, nested, unavailable
from bridge.sandbox.limits import RateLimit
from bridge.sandbox.listing import DateFilter
from bridge.sandbox.shelf import INDEX_ID
from bridge.sandbox.timeline import TimeStyle, instant
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.transport import Transport
from bridge.twelvelabs import TwelveLabs

DAY = 86_400


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulated account with a few days of tasks, one of which failed."""
    running = Simulator()
    for n in range(5):
        running.add_task(f"t{n}", age_seconds=n * DAY + 600)
    running.add_task("f1", [(0, {"status": "failed", "failure_reason": "secret stuff"})], age_seconds=5 * DAY + 600)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def probed(simulator: Simulator) -> list[Finding]:
    """What a probe finds; it is read-only, and a handful of requests."""
    transport = Transport(lambda *_: None)
    api = TwelveLabs(transport, base_url=simulator.base_url, api_key=API_KEY, deadline_seconds=5)
    seen: dict[str, Glimpse] = {}
    try:
        while read := next_read(seen):
            seen[read[0]] = glimpse(await api.look(read[1]))
    finally:
        await transport.aclose()
    assert len(simulator.requests) == len(seen) <= READS
    assert {asked.method for asked in simulator.requests} == {"GET"}
    return findings(seen, now=instant(time.time()))


def said(found: list[Finding], level: Level | None = None) -> str:
    """All of it, as a person reads it."""
    lines = [f"{one.found}\n{one.why}" for one in found if level in (None, one.level)]
    text = "\n".join(lines)
    assert not any(name in text for name in ("t0", "f1", INDEX_ID, "secret stuff", API_KEY))
    return text


async def test_an_upstream_as_it_is_documented_is_well(simulator: Simulator) -> None:
    """Everything is told, and nothing is a warning."""
    found = await probed(simulator)
    assert said(found, Level.WARN) == ""
    for word in (
        "no rate-limit headers",
        "unknown id answers HTTP 404 resource_not_exist",
        "6 tasks",
        "is the same by id and in the list (milliseconds by id, milliseconds in the list)",
        "only by id: failure_reason, video_id",
        "index_id= is honoured",
        "that day and all later ones",
        "status= is honoured; a failed task has beside what is documented: failure_reason",
        "no indexed assets",
        "5 days ago",
    ):
        assert word in said(found), word


@pytest.mark.parametrize(
    ("switches", "told", "level"),
    [
        ({"missing_status": 400}, "unknown id answers HTTP 400 resource_not_exist", Level.OK),
        ({"missing_status": 403}, "no sign that it is gone", Level.WARN),
        ({"list_time_style": TimeStyle.SECONDS}, "milliseconds by id, whole seconds in the list", Level.WARN),
        ({"time_style": TimeStyle.MICROSECONDS}, "microseconds", Level.OK),
        ({"time_style": TimeStyle.PLUS_NINE, "list_time_style": TimeStyle.MILLISECONDS}, "is the same by id", Level.OK),
        ({"date_filter": DateFilter.SAME_DAY}, "that day alone", Level.OK),
        ({"full_rows": True}, "the same by id and in the list", Level.OK),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_left_open_is_told_as_it_is(
    simulator: Simulator, switches: Mapping[str, Any], told: str, level: Level
) -> None:
    """Each switch of the simulator is a question that only a key answers."""
    for name, value in switches.items():
        setattr(simulator, name, value)
    assert told in said(await probed(simulator), level)


async def test_gets_that_are_counted_are_known_by_their_headers(simulator: Simulator) -> None:
    """Both families of headers, what they fell by, and what the reset counts."""
    simulator.limit(RateLimit(per_minute=60, counts_gets=True))
    told = said(await probed(simulator))
    assert "x-ratelimit-remaining: 5" in told
    assert "x-ratelimit-remaining fell by 8 over 8 GETs" in told
    assert "x-ratelimit-reset is seconds since 1970" in told


async def test_assets_that_are_tasks_too_are_told(simulator: Simulator) -> None:
    """Whether an upload would be told twice."""
    simulator.add_task(f"asset:{INDEX_ID}/t0")
    simulator.add_task(f"asset:{INDEX_ID}/a1")
    assert "1 of 2 indexed assets are in the list of tasks, too" in said(await probed(simulator))


@pytest.mark.parametrize(
    ("path", "fault", "told"),
    [
        ("/tasks/t0", Fault(404, {"code": "resource_not_exist"}), "a listed task answers HTTP 404"),
        ("/tasks/t?", Fault(patch={"status": "indexing"}), "another than by id"),
        ("/indexes/*", unavailable(503), "the list of indexed assets answers HTTP 503"),
        ("/indexes/*", html(502), "HTTP 502"),
        ("/tasks/0*", nested(404), "HTTP 404 not_found"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_what_goes_wrong_is_told_and_stops_nothing(
    simulator: Simulator, path: str, fault: Fault, told: str
) -> None:
    """The other questions are asked all the same."""
    for n in (1, 2, 3, 4):
        simulator.remove(f"t{n}")
    simulator.remove("f1")
    simulator.fault(path, fault, repeat=True)
    found = await probed(simulator)
    assert told in said(found)
    assert "index_id= is honoured" in said(found)


async def test_a_list_that_does_not_do_as_it_is_told_is_a_warning(simulator: Simulator) -> None:
    """In another order, with filters ignored: the bridge should read by id."""
    rows = [
        {"_id": f"r{n}", "status": "ready", "index_id": f"ix{n}", "updated_at": f"2026-11-0{n + 1}T10:00:00Z"}
        for n in range(3)
    ]
    info = {"total_results": 70}
    simulator.route("GET", "/tasks", lambda *_: Answer({"data": rows, "page_info": info}))
    told = said(await probed(simulator), Level.WARN)
    for word in ("in another order", "index_id= is ignored", "status= is ignored", "a page of 50 has 3"):
        assert word in told, word


@pytest.mark.parametrize(
    "fault", [unavailable(), Fault(401, {"code": "api_key_invalid"}), Fault(reset=True)], ids=["503", "401", "reset"]
)
async def test_without_the_list_nothing_is_probed(simulator: Simulator, fault: Fault) -> None:
    """One request, one finding."""
    simulator.fault("/tasks", fault, repeat=True)
    (found,) = await probed(simulator)
    assert (found.found, found.level) == ("not probed", Level.WARN)
    assert len(simulator.requests) == 1


async def test_an_account_without_tasks_is_told_so(simulator: Simulator) -> None:
    """What needs a task is left out."""
    for name in ("t0", "t1", "t2", "t3", "t4", "f1"):
        simulator.remove(name)
    found = await probed(simulator)
    assert "there are no tasks" in said(found)
    assert "updated_at" not in said(found)


FIELDS = ["data", "_id", "status", "updated_at", "index_id", "page_info", "total_results", "created_at", "video_id"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(JSON, min_size=READS, max_size=READS), st.sampled_from([200, 404, 400, None]))
def test_whatever_upstream_says_a_probe_ends_and_says_something(bodies: list[Any], status: int | None) -> None:
    """P10: no nonsense is an accident, and no more is asked than was promised."""
    seen: dict[str, Glimpse] = {}
    while read := next_read(seen):
        assert read[0] not in seen
        body = bodies[len(seen)]
        rows = {"data": [{"_id": "t1", "status": "ready", "index_id": "ix", "updated_at": json.dumps(body)[:9]}, body]}
        seen[read[0]] = Glimpse(200 if read[1] == LATEST else status, {"x-ratelimit-reset": str(body)[:9]}, rows)
    assert 1 < len(seen) <= READS
    assert findings(seen, now=instant(1.8e9))
