"""What can be wrong with an answer of the simulated TwelveLabs: section 8, points 5 to 7."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from bridge.sandbox import faults
from bridge.sandbox.faults import Fault
from bridge.sandbox.http import HttpServer
from bridge.sandbox.limits import LimitHeaders, RateLimit, RetryAfter
from bridge.sandbox.message import Request, Response
from bridge.sandbox.timeline import ABSENT, NOW, Step, a_timeline
from bridge.sandbox.twelvelabs import API_KEY, Simulator

NOON = 1_793_448_000.0
ID = "6a0b1c2d3e4f5a6b7c8d9e01"
PATH = f"/tasks/{ID}"
SHORT = httpx.Timeout(5, read=0.05)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A started simulator with one indexing task; its clock moves by `advance` only."""
    running = Simulator(clock=lambda: NOON)
    running.add_task(ID, [(0, {"status": "indexing"})])
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the right key that follows no redirect."""
    headers = {"x-api-key": API_KEY}
    async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers, timeout=5) as ready:
        yield ready


async def statuses(client: httpx.AsyncClient, count: int, path: str = PATH) -> list[int]:
    """The status codes of so many GETs."""
    return [(await client.get(path)).status_code for _ in range(count)]


# 5


async def test_the_nth_call_of_a_path_gets_the_nth_fault(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """None is a true answer, and so is everything past the end; other paths are not touched."""
    simulator.fault(PATH, None, faults.unavailable(503), None, faults.empty(429))
    assert await statuses(client, 2, "/tasks") == [200, 200]
    assert await statuses(client, 6) == [200, 503, 200, 429, 200, 200]


async def test_a_script_can_start_late_repeat_and_be_cleared(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Globs match below /v1.3; the first rule with a fault wins; a rule counts its calls."""
    rule = simulator.fault("/tasks*", faults.html(502), None, after=2, repeat=True)
    simulator.fault("/tasks/*", faults.empty(418), after=6, method="GET")
    simulator.fault("/tasks/*", faults.empty(418), method="DELETE")
    assert await statuses(client, 6) == [200, 200, 502, 200, 502, 200]
    assert await statuses(client, 1) == [502]
    assert rule.calls == 7
    simulator.clear_faults()
    assert await statuses(client, 2) == [200, 200]


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        (faults.unavailable(500), 500, "application/json", '"internal_server_error"'),
        (faults.unauthorized(), 401, "application/json", '"api_key_invalid"'),
        (faults.nested(404), 404, "application/json", '{"error": {"code": "not_found"'),
        (faults.html(502), 502, "text/html", "<html>"),
        (faults.half_json(), 200, "application/json", '{"_id":"6a0b1c2d3e4f'),
        (Fault(200, "[]", {"Content-Type": "text/plain"}), 200, "text/plain", "[]"),
    ],
)
async def test_a_fault_answers_in_the_documented_shapes(
    simulator: Simulator, client: httpx.AsyncClient, fault: Fault, status: int, kind: str, body: str
) -> None:
    """Flat, nested, HTML and half JSON; nothing of it counts as served."""
    simulator.fault(PATH, fault)
    answer = await client.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert answer.text.startswith(body) or body in answer.text
    assert list(simulator.served) == []


@pytest.mark.parametrize(
    ("said", "header"),
    [
        (1, "1"),
        (3600, "3600"),
        (0.5, "0.5"),
        (datetime(2026, 11, 1, 10, 5, tzinfo=UTC), "Sun, 01 Nov 2026 10:05:00 GMT"),
        ("soon", "soon"),
        (None, None),
    ],
)
async def test_retry_after_comes_in_every_form(
    simulator: Simulator, client: httpx.AsyncClient, said: float | datetime | str | None, header: str | None
) -> None:
    """Seconds, hours of them, a date, nonsense, or nothing; other headers can be added."""
    simulator.fault(PATH, faults.throttled(said, {"X-Ratelimit-Remaining": "0"}))
    answer = await client.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert answer.headers.get("retry-after") == header
    assert answer.headers["x-ratelimit-remaining"] == "0"


async def test_an_empty_429_has_no_body(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """As the documentation's older text shows it."""
    simulator.fault(PATH, faults.empty(429))
    answer = await client.get(PATH)
    assert (answer.content, answer.headers.get("content-type")) == (b"", None)


async def test_a_true_answer_can_be_cut_late_or_never_come(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Truncated, slow, reset, hanging; only the slow one was served, when it was written."""
    simulator.fault(PATH, faults.truncated(20), faults.reset(), faults.hang(), faults.slow(0.05))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await client.get(PATH)
    with pytest.raises(httpx.ReadError):
        await client.get(PATH)
    with pytest.raises(httpx.ReadTimeout):
        await client.get(PATH, timeout=SHORT)
    started = time.monotonic()
    assert (await client.get(PATH)).json()["status"] == "indexing"
    (served,) = simulator.served
    assert served.at - started >= 0.05


async def test_a_redirect_leads_to_another_origin(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """A client that does not follow it sends the key nowhere; one that does would be seen here."""
    asked: list[Request] = []

    def note(request: Request) -> Response:
        asked.append(request)
        return Response(204)

    elsewhere = HttpServer(note)
    await elsewhere.start()
    simulator.fault(PATH, faults.redirect(f"{elsewhere.url}/stolen"), repeat=True)
    answer = await client.get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (302, f"{elsewhere.url}/stolen")
    assert asked == []
    await client.get(PATH, follow_redirects=True)
    assert asked[0].headers["x-api-key"] == API_KEY  # httpx keeps x-api-key over origins: why ours must not follow
    await elsewhere.stop()


# 6


async def test_the_minute_budget_is_a_token_bucket(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """A full bucket at first, then one token every 60/N seconds; a refused request spends none."""
    budget = simulator.limit(RateLimit(per_minute=3))
    assert await statuses(client, 5) == [200, 200, 200, 429, 429]
    simulator.advance(20)
    assert await statuses(client, 2) == [200, 429]
    simulator.advance(3600)
    assert await statuses(client, 4) == [200, 200, 200, 429]
    assert (budget.granted, budget.refused) == (7, 4)


async def test_the_day_budget_holds_when_the_minutes_would_not(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """RPD gives a Retry-After of many minutes."""
    simulator.limit(RateLimit(per_minute=60, per_day=24))
    for _ in range(24):
        simulator.advance(1)
        await client.get(PATH)
    answer = await client.get(PATH)
    assert answer.status_code == 429
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


async def test_keys_of_one_organisation_share_its_budget(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Another organisation's key is not concerned; nor is a request without a valid key counted."""
    simulator.add_key("sister")
    simulator.add_key("stranger", "elsewhere")
    simulator.limit(RateLimit(per_minute=2))
    keys = ("sister", API_KEY, "sister", "nobody", "stranger")
    codes = [(await client.get(PATH, headers={"x-api-key": key})).status_code for key in keys]
    assert codes == [200, 200, 429, 401, 200]


async def test_gets_may_be_free(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """The switch of what upstream's page suggests: other methods spend, GETs do not and carry no headers."""
    simulator.limit(RateLimit(per_minute=1, counts_gets=False))
    answers = [await client.get(PATH) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert "x-ratelimit-limit" not in answers[0].headers
    assert [(await client.delete("/tasks/x")).status_code for _ in range(2)] == [404, 429]


@pytest.mark.parametrize("family", LimitHeaders)
async def test_both_families_of_headers_can_be_served(
    simulator: Simulator, client: httpx.AsyncClient, family: LimitHeaders
) -> None:
    """On granted and on refused answers, with what is left after the request."""
    documented = family in (LimitHeaders.BOTH, LimitHeaders.DOCUMENTED)
    request_family = family in (LimitHeaders.BOTH, LimitHeaders.REQUEST)
    simulator.limit(RateLimit(per_minute=2, headers=family))
    for left in ("1", "0", "0"):
        headers = (await client.get(PATH)).headers
        assert headers.get("x-ratelimit-remaining") == (left if documented else None)
        assert headers.get("x-ratelimit-limit") == ("2" if documented else None)
        assert headers.get("x-ratelimit-used") == (str(2 - int(left)) if documented else None)
        assert headers.get("x-ratelimit-request-remaining") == (left if request_family else None)
    if documented:
        assert NOON < int(headers["x-ratelimit-reset"]) <= NOON + 60


async def test_a_429_says_when_to_come_back_as_told(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """In seconds, as a date, as a huge number, or not at all."""
    said = []
    for kind, instead in [("seconds", None), ("date", None), ("seconds", 3600.0), ("absent", None)]:
        simulator.limit(RateLimit(per_minute=1, retry_after=RetryAfter(kind), retry_after_seconds=instead))
        assert await statuses(client, 1) == [200]
        said.append((await client.get(PATH)).headers.get("retry-after"))
    assert (said[0], said[2], said[3]) == ("60", "3600", None)
    assert parsedate_to_datetime(said[1] or "").timestamp() == NOON + 60


# 7


async def test_a_status_can_go_back_or_be_unknown(simulator: Simulator) -> None:
    """Also out of a terminal state; updated_at moves as for any change."""
    simulator.change(ID, {"status": "ready"})
    simulator.advance(1)
    simulator.change(ID, {"status": "indexing"})
    assert simulator.task(ID)["status"] == "indexing"
    simulator.advance(1)
    simulator.change(ID, {"status": "Broken Video File"})
    assert simulator.task(ID)["updated_at"] == "2026-10-31T12:00:02.000Z"


async def test_status_and_updated_at_can_move_without_each_other(simulator: Simulator) -> None:
    """touch=False: a new status under the old time; touch=True: a new time under the old status."""
    steps = [Step(0, {"status": "queued"}), Step(1, {"status": "ready"}, touch=False), Step(2, touch=True)]
    simulator.add_task("odd", steps)
    seen = []
    for _ in range(3):
        seen.append((simulator.task("odd")["status"], simulator.task("odd")["updated_at"][17:19]))
        simulator.advance(1)
    assert seen == [("queued", "00"), ("ready", "00"), ("ready", "02")]


async def test_hls_can_change_after_ready(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Without a newer updated_at of the task, and only in retrieve."""
    simulator.add_task("stream", a_timeline(validating=0, pending=0, queued=0, indexing=1, hls=60))
    simulator.full_rows = True
    simulator.advance(1)
    first = (await client.get("/tasks/stream")).json()
    assert first["status"] == "ready"
    assert first["hls"] == {"status": "PROCESSING", "updated_at": "2026-10-31T12:00:01.000Z"}
    simulator.advance(60)
    last = (await client.get("/tasks/stream")).json()
    assert (last["hls"]["status"], last["hls"]["updated_at"]) == ("COMPLETE", "2026-10-31T12:01:01.000Z")
    assert last["updated_at"] == first["updated_at"]
    assert all("hls" not in row for row in (await client.get("/tasks")).json()["data"])


async def test_fields_can_be_missing_null_or_extra(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """For good by a change, or in a single answer by a fault; a stale or foreign answer likewise."""
    simulator.change(ID, {"updated_at": ABSENT, "video_id": None, "novel": {"at": NOW}})
    task = (await client.get(PATH)).json()
    assert ("updated_at" in task, task["video_id"], task["novel"]) == (False, None, {"at": "2026-10-31T12:00:00.000Z"})
    assert (await client.get("/tasks")).json()["data"][0].keys() == {"_id", "created_at", "status", "index_id"}
    simulator.fault(PATH, faults.patched(status=None, _id="another", updated_at="1999-01-01T00:00:00Z"))
    once, then = (await client.get(PATH)).json(), (await client.get(PATH)).json()
    assert (once["_id"], once["status"], once["updated_at"]) == ("another", None, "1999-01-01T00:00:00Z")
    assert then == task
    assert [one.task_id for one in simulator.served][-2:] == ["another", ID]


async def test_rows_can_move_between_pages(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """A row updated between two pages of `sort_by=updated_at` repeats one row and hides itself until the next pass."""
    for n in range(1, 6):
        simulator.advance(1)
        simulator.add_task(f"t{n}", [(0, {"status": "indexing"})])
    simulator.advance(1)
    simulator.fault("/tasks", None, Fault(before=lambda: simulator.change("t1", {"status": "ready"})))
    query = "/tasks?sort_by=updated_at&page_limit=3&page="
    pages = [[row["_id"] for row in (await client.get(f"{query}{n}")).json()["data"]] for n in (1, 2)]
    assert pages == [["t5", "t4", "t3"], ["t3", "t2", ID]]


async def test_a_fault_may_only_add_headers(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """The true answer goes through otherwise."""
    simulator.fault(PATH, Fault(headers={"X-RateLimit-Request-Remaining": "3"}))
    answer = await client.get(PATH)
    assert (answer.headers["x-ratelimit-request-remaining"], answer.json()["_id"]) == ("3", ID)
