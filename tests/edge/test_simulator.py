"""The simulated TwelveLabs answers as twelvelabs-api.md, section 8, points 1 to 4, says the real one does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge.sandbox.answers import Answer
from bridge.sandbox.listing import DateFilter
from bridge.sandbox.timeline import TimeStyle, a_timeline
from bridge.sandbox.twelvelabs import API_KEY, Simulator

NOON = 1_793_448_000.25  # 2026-10-31T12:00:00.250Z
ID = "6a0b1c2d3e4f5a6b7c8d9e01"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A started simulator whose clock moves by `advance` only."""
    running = Simulator(clock=lambda: NOON)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the right key."""
    headers = {"x-api-key": API_KEY}
    async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers, timeout=5) as ready:
        yield ready


async def ids(client: httpx.AsyncClient, query: str) -> list[str]:
    """The last characters of the ids of a list answer, in order."""
    return [row["_id"].removeprefix("t") for row in (await client.get(f"/tasks?{query}")).json()["data"]]


# 1


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": f"Bearer {API_KEY}"}])
async def test_no_key_or_a_wrong_one_is_401(simulator: Simulator, headers: dict[str, str]) -> None:
    """In the documented words, on existing and on missing paths alike."""
    simulator.add_task(ID)
    async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers) as stranger:
        for path in ("/tasks", f"/tasks/{ID}", "/nothing"):
            answer = await stranger.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "api_key_invalid")


async def test_a_key_can_be_added_and_revoked(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """From one request to the next."""
    simulator.add_key("second")
    assert (await client.get("/tasks", headers={"x-api-key": "second"})).status_code == 200
    simulator.revoke_key(API_KEY)
    assert (await client.get("/tasks")).status_code == 401


async def test_every_answer_names_the_api_version_and_is_json(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Good and bad answers alike; nothing is served outside /v1.3."""
    simulator.add_task(ID)
    root = simulator.base_url.removesuffix("v1.3")
    inside = ["/tasks", f"/tasks/{ID}", "/tasks/unknown", "/tasks?page=0", "/nothing"]
    answers = [await client.get(url) for url in (*inside, f"{root}tasks", f"{root}v1.2/tasks")]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 400, 404, 404, 404]
    assert {answer.headers["x-api-version"] for answer in answers} == {"1.3"}
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert (await client.post("/tasks")).status_code == 405


# 2


async def test_a_task_follows_its_timeline(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Each status at its time; updated_at is the time of the last change of status; created_at stays."""
    simulator.add_task(ID, a_timeline(validating=1, pending=2, queued=3, indexing=4.5))
    seen: list[tuple[str, str]] = []
    for _ in range(13):
        task = (await client.get(f"/tasks/{ID}")).json()
        assert task["created_at"] == "2026-10-31T12:00:00.250Z"
        if (task["status"], task["updated_at"]) not in seen:
            seen.append((task["status"], task["updated_at"]))
        simulator.advance(1)
    assert seen == [
        ("validating", "2026-10-31T12:00:00.250Z"),
        ("pending", "2026-10-31T12:00:01.250Z"),
        ("queued", "2026-10-31T12:00:03.250Z"),
        ("indexing", "2026-10-31T12:00:06.250Z"),
        ("ready", "2026-10-31T12:00:10.750Z"),
    ]


async def test_a_task_has_the_documented_fields(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """system_metadata from pending on; hls only where a stream was asked for."""
    simulator.add_task(ID, a_timeline(uploading=1, end="failed"))
    plain = {"_id", "index_id", "video_id", "status", "created_at", "updated_at"}
    first = (await client.get(f"/tasks/{ID}")).json()
    assert (set(first), first["status"]) == (plain, "uploading")
    simulator.advance(60)
    last = (await client.get(f"/tasks/{ID}")).json()
    assert (set(last), last["status"]) == (plain | {"system_metadata"}, "failed")
    assert set(last["system_metadata"]) == {"filename", "duration", "width", "height"}


async def test_a_task_may_be_older_than_the_simulator_and_change_by_hand(simulator: Simulator) -> None:
    """age_seconds moves its start; change patches it now, objects being merged."""
    simulator.add_task(ID, a_timeline(), age_seconds=3600, index_id="mine")
    assert simulator.task(ID)["status"] == "ready"
    assert simulator.task(ID)["created_at"] == "2026-10-31T11:00:00.250Z"
    simulator.change(ID, {"status": "failed", "system_metadata": {"width": 1}})
    task = simulator.task(ID)
    assert (task["status"], task["index_id"], task["updated_at"]) == ("failed", "mine", "2026-10-31T12:00:00.250Z")
    assert (task["system_metadata"]["width"], task["system_metadata"]["height"]) == (1, 1080)


async def test_a_change_by_hand_keeps_what_is_scripted_for_later(simulator: Simulator) -> None:
    """The timeline goes on after it."""
    simulator.add_task(ID, [(0, {"status": "queued"}), (10, {"status": "ready"})])
    simulator.advance(5)
    simulator.change(ID, {"status": "indexing"})
    assert simulator.task(ID)["status"] == "indexing"
    simulator.advance(5)
    assert simulator.task(ID)["status"] == "ready"


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (TimeStyle.MILLISECONDS, "2026-10-31T12:00:00.250Z"),
        (TimeStyle.SECONDS, "2026-10-31T12:00:00Z"),
        (TimeStyle.MICROSECONDS, "2026-10-31T12:00:00.250000Z"),
        (TimeStyle.PLUS_NINE, "2026-10-31T21:00:00.250+09:00"),
    ],
)
async def test_times_are_written_as_asked(
    simulator: Simulator, client: httpx.AsyncClient, style: TimeStyle, text: str
) -> None:
    """Milliseconds by default; the style is switched for retrieve and list, or for list alone."""
    simulator.add_task(ID)
    simulator.list_time_style = style
    assert (await client.get("/tasks")).json()["data"][0]["updated_at"] == text
    assert (await client.get(f"/tasks/{ID}")).json()["updated_at"] == "2026-10-31T12:00:00.250Z"
    simulator.time_style, simulator.list_time_style = style, None
    assert (await client.get(f"/tasks/{ID}")).json()["updated_at"] == text
    assert (await client.get("/tasks")).json()["data"][0]["updated_at"] == text


async def test_what_was_served_is_logged(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Each task of each complete 200 answer, by retrieve and by list, in order and with a rising time."""
    simulator.add_task(ID, [(0, {"status": "queued"}), (1, {"status": "ready"})])
    await client.get(f"/tasks/{ID}")
    await client.get("/tasks/unknown")
    simulator.advance(1)
    await client.get("/tasks")
    assert [(one.task_id, one.status, one.updated_at, one.via) for one in simulator.served] == [
        (ID, "queued", "2026-10-31T12:00:00.250Z", "retrieve"),
        (ID, "ready", "2026-10-31T12:00:01.250Z", "list"),
    ]
    assert simulator.served[0].at < simulator.served[1].at
    assert [(one.method, one.path) for one in simulator.requests] == [
        ("GET", f"/tasks/{ID}"),
        ("GET", "/tasks/unknown"),
        ("GET", "/tasks"),
    ]


# 3


@pytest.fixture
def shelf(simulator: Simulator) -> Simulator:
    """Tasks 0 to 11, created an hour apart (the oldest is 0), in two indexes, two ready, one failed."""
    for n in range(12):
        status = {3: "ready", 5: "ready", 7: "failed"}.get(n, "indexing")
        steps = [(0.0, {"status": "indexing", "system_metadata": {"filename": f"{n}.mp4", "duration": 10.5 + n}})]
        simulator.add_task(f"t{n}", steps, age_seconds=(11 - n) * 3600, index_id="odd" if n % 2 else "even")
        if status != "indexing":
            simulator.change(f"t{n}", {"status": status})
    return simulator


async def test_a_list_has_ten_thin_rows_newest_first(shelf: Simulator, client: httpx.AsyncClient) -> None:
    """The documented defaults and page_info."""
    answer = (await client.get("/tasks")).json()
    assert [row["_id"] for row in answer["data"]] == [f"t{n}" for n in range(11, 1, -1)]
    assert answer["page_info"] == {"limit_per_page": 10, "page": 1, "total_page": 2, "total_results": 12}
    assert {frozenset(row) for row in answer["data"]} == {
        frozenset({"_id", "created_at", "updated_at", "status", "index_id"})
    }
    shelf.full_rows = True
    row = (await client.get("/tasks")).json()["data"][0]
    assert {"video_id", "system_metadata"} <= set(row)
    assert "hls" not in row


async def test_pages_are_cut_as_asked(shelf: Simulator, client: httpx.AsyncClient) -> None:
    """Past the end is an empty 200."""
    assert await ids(client, "page_limit=5&page=3") == ["1", "0"]
    assert await ids(client, "page_limit=50") == [str(n) for n in range(11, -1, -1)]
    assert await ids(client, "page_limit=50&page=2") == []


@pytest.mark.parametrize(
    "query",
    ["page_limit=0", "page_limit=51", "page_limit=x", "page=0", "page=-1", "sort_by=status", "sort_option=up",
     "created_at=yesterday", "updated_at="],
)  # fmt: skip
async def test_a_bad_query_is_400(client: httpx.AsyncClient, query: str) -> None:
    """parameter_invalid, with the parameter's name."""
    answer = await client.get(f"/tasks?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "parameter_invalid")
    assert query.partition("=")[0] in answer.json()["message"]


async def test_an_unknown_parameter_is_ignored_or_refused(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Upstream's choice is not known: a switch."""
    assert (await client.get("/tasks?ids=1")).status_code == 200
    simulator.strict_params = True
    answer = await client.get("/tasks?ids=1")
    assert (answer.status_code, answer.json()["code"]) == (400, "parameter_unknown")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sort_option=asc&page_limit=3", "0 1 2"),
        ("sort_by=updated_at&page_limit=4", "11 3 5 7"),
        ("sort_by=updated_at&sort_option=asc&page_limit=2", "0 1"),
        ("status=ready", "5 3"),
        ("status=ready&status=failed", "7 5 3"),
        ("status=ready,failed", ""),
        ("index_id=even&page_limit=3", "10 8 6"),
        ("index_id=odd&status=failed&status=ready", "7 5 3"),
        ("filename=4.mp4", "4"),
        ("duration=14.5", "4"),
        ("duration=x", ""),
        ("width=1", ""),
    ],
)
async def test_a_list_is_filtered_and_sorted(
    shelf: Simulator, client: httpx.AsyncClient, query: str, found: str
) -> None:
    """Exact filters, statuses by repeating the key, both orders of both times."""
    assert await ids(client, query) == found.split()


async def test_the_date_filters_have_two_readings(shelf: Simulator, client: httpx.AsyncClient) -> None:
    """At or after by default; on the same UTC day by the switch. Offsets and bare dates are understood."""
    shelf.add_task("t99", [(0, {"status": "ready"})], age_seconds=30 * 3600)  # the day before, 06:00 UTC
    assert await ids(client, "created_at=2026-10-31T10:00:00Z") == ["11", "10", "9"]
    assert await ids(client, "created_at=2026-10-31T19:00:00.251%2B09:00") == ["11", "10"]
    assert len(await ids(client, "created_at=2026-10-30&page_limit=50")) == 13
    assert await ids(client, "updated_at=2026-10-31T12:00:00Z") == ["11", "7", "5", "3"]
    shelf.date_filter = DateFilter.SAME_DAY
    assert await ids(client, "created_at=2026-10-30&page_limit=50") == ["99"]
    assert await ids(client, "created_at=2026-10-30T07:00:00Z&page_limit=50") == []


# 4


async def test_only_a_finished_task_can_be_deleted(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """204 when ready or failed, else 400; afterwards it is in no list."""
    simulator.add_task(ID, a_timeline(indexing=5))
    answer = await client.delete(f"/tasks/{ID}")
    assert (answer.status_code, answer.json()["code"]) == (400, "task_cannot_be_deleted")
    simulator.advance(60)
    answer = await client.delete(f"/tasks/{ID}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/tasks")).json()["data"] == []
    assert (await client.delete(f"/tasks/{ID}")).status_code == 404


@pytest.mark.parametrize(
    ("status", "code"), [(404, "resource_not_exist"), (400, "resource_not_exist"), (403, "read_not_allowed")]
)
async def test_a_missing_task_is_answered_as_the_switch_says(
    simulator: Simulator, client: httpx.AsyncClient, status: int, code: str
) -> None:
    """404 by default; 400 and 403 are what others report. The same for removed and for unknown ids."""
    simulator.missing_status = status
    simulator.add_task(ID)
    simulator.remove(ID)
    for name in (ID, "unknown"):
        answer = await client.get(f"/tasks/{name}")
        said: dict[str, Any] = answer.json()
        assert (answer.status_code, said["code"]) == (status, code)
        assert name in said["message"]


async def test_further_paths_can_be_routed(simulator: Simulator, client: httpx.AsyncClient) -> None:
    """Point 8's resources can be added from outside, under the same key, limits and faults."""
    simulator.route("GET", "/indexes/(?P<id>[^/]+)", lambda request, match: Answer({"_id": match["id"], "models": []}))
    assert (await client.get("/indexes/ix")).json() == {"_id": "ix", "models": []}
