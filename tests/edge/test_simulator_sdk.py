"""Section 8, point 9: the official SDK, unchanged, works against the simulated TwelveLabs, through faults too."""

from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from twelvelabs import TwelveLabs
from twelvelabs.core.api_error import ApiError
from twelvelabs.errors import BadRequestError
from twelvelabs.wrapper.task_client_wrapper import TaskClientWrapper

from bridge.sandbox import faults
from bridge.sandbox.timeline import a_timeline, an_analysis, an_indexing
from bridge.sandbox.twelvelabs import API_KEY, Simulator

ID = "6a0b1c2d3e4f5a6b7c8d9e01"
PATH = f"/tasks/{ID}"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator in a thread, its clock moved by `advance` only."""
    running = Simulator(clock=lambda: 1_793_448_000.0)
    with running.in_thread():
        yield running


@pytest.fixture
def sdk(simulator: Simulator) -> Iterator[TwelveLabs]:
    """The SDK's synchronous client."""
    with httpx.Client(timeout=10) as http:
        yield TwelveLabs(api_key=API_KEY, base_url=simulator.base_url, httpx_client=http)


def tasks(sdk: TwelveLabs) -> TaskClientWrapper:
    """What `sdk.tasks` really is; its annotation says less."""
    return cast(TaskClientWrapper, sdk.tasks)


def wait(sdk: TwelveLabs, simulator: Simulator) -> tuple[str | None, list[str | None]]:
    """Run the SDK's own wait; each poll that it sees moves the simulator's clock a second on."""
    seen: list[str | None] = []

    def tick(task: object) -> None:
        seen.append(getattr(task, "status", None))
        simulator.advance(1)

    return tasks(sdk).wait_for_done(ID, sleep_interval=0.001, callback=tick).status, seen


def test_the_sdk_retrieves_a_task(simulator: Simulator, sdk: TwelveLabs) -> None:
    """All documented fields arrive typed, the stream included."""
    simulator.add_task(ID, a_timeline(hls=0), age_seconds=60)
    task = sdk.tasks.retrieve(ID)
    assert (task.id, task.status, task.updated_at) == (ID, "ready", "2026-10-31T11:59:08.000Z")
    assert task.system_metadata is not None
    assert task.system_metadata.duration == 612.48
    assert task.hls is not None
    assert task.hls.status == "COMPLETE"
    assert simulator.requests[0].headers["user-agent"].startswith("twelvelabs/1.3.6")


def test_the_sdk_lists_over_all_pages(simulator: Simulator, sdk: TwelveLabs) -> None:
    """Its pager asks until a page is empty; filters arrive as repeated keys."""
    for n in range(7):
        simulator.add_task(f"t{n}", [(0, {"status": ("ready", "failed", "queued")[n % 3]})], age_seconds=100 - n)
    pager = sdk.tasks.list(page_limit=2, sort_by="updated_at", sort_option="asc", status=["ready", "failed"])
    assert [task.id for task in pager] == ["t0", "t1", "t3", "t4", "t6"]
    assert [value for name, value in simulator.requests[0].params if name == "status"] == ["ready", "failed"]
    assert len(simulator.requests) == 4


def test_the_sdk_finds_its_way_by_the_environment(
    simulator: Simulator, sdk: TwelveLabs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TWELVELABS_BASE_URL alone points existing code at the simulator."""
    simulator.add_task(ID)
    monkeypatch.setenv("TWELVELABS_BASE_URL", simulator.base_url)
    with httpx.Client() as http:
        assert TwelveLabs(api_key=API_KEY, httpx_client=http).tasks.retrieve(ID).id == ID


@pytest.mark.parametrize("end", ["ready", "failed"])
def test_the_sdk_waits_until_a_task_is_done(simulator: Simulator, sdk: TwelveLabs, end: str) -> None:
    """wait_for_done sees every stage of the timeline and ends with it."""
    simulator.add_task(ID, a_timeline(validating=1, pending=1, queued=1, indexing=2, end=end))
    assert wait(sdk, simulator) == (end, ["validating", "pending", "queued", "indexing", "indexing", end])


@pytest.mark.parametrize(
    "fault",
    [
        faults.unavailable(503),
        faults.throttled(1),
        faults.throttled(3600),
        faults.unauthorized(),
        faults.truncated(),
        faults.half_json(),
        faults.html(502),
        faults.empty(429),
        faults.reset(),
        faults.slow(0.02),
        faults.nested(404),
    ],
    ids=lambda fault: f"{fault.status}{fault.headers}" if fault.status else "spoilt",
)
def test_the_sdk_waits_through_a_fault(simulator: Simulator, sdk: TwelveLabs, fault: faults.Fault) -> None:
    """In the middle of a wait the SDK swallows anything and goes on: the outcome is the same."""
    simulator.add_task(ID, a_timeline(validating=1, pending=1, queued=0, indexing=1))
    rule = simulator.fault(PATH, None, fault)
    status, seen = wait(sdk, simulator)
    assert (status, seen[0], seen[-1]) == ("ready", "validating", "ready")
    assert rule.calls == len(seen) + (0 if fault.delay_seconds else 1)


def test_the_sdk_retries_as_retry_after_says(simulator: Simulator, sdk: TwelveLabs) -> None:
    """With max_retries=3 (its way to say one retry) a 429 is asked again."""
    simulator.add_task(ID)
    rule = simulator.fault(PATH, faults.throttled(0))
    assert sdk.tasks.retrieve(ID, request_options={"max_retries": 3}).id == ID
    assert rule.calls == 2


def test_the_sdk_raises_what_a_first_answer_deserves(simulator: Simulator, sdk: TwelveLabs) -> None:
    """401 and 404 as ApiError, 400 as BadRequestError, with the documented bodies."""
    simulator.add_task(ID)
    with pytest.raises(ApiError) as missing:
        sdk.tasks.retrieve("unknown")
    assert (missing.value.status_code, missing.value.body["code"]) == (404, "resource_not_exist")
    with pytest.raises(BadRequestError):
        sdk.tasks.delete(ID)
    with pytest.raises(BadRequestError):
        list(sdk.tasks.list(page_limit=51))
    simulator.revoke_key(API_KEY)
    with pytest.raises(ApiError) as refused:
        tasks(sdk).wait_for_done(ID, sleep_interval=0.001)
    assert (refused.value.status_code, refused.value.body["code"]) == (401, "api_key_invalid")


def test_the_sdk_deletes_a_finished_task(simulator: Simulator, sdk: TwelveLabs) -> None:
    """204 without a body satisfies it."""
    simulator.add_task(ID, age_seconds=60)
    sdk.tasks.delete(ID)
    with pytest.raises(ApiError):
        sdk.tasks.retrieve(ID)


INDEX = "69f0aa11bb22cc33dd44ee55"
ASSET = f"asset:{INDEX}/{ID}"


def test_the_sdk_retrieves_an_indexed_asset(simulator: Simulator, sdk: TwelveLabs) -> None:
    """All documented fields arrive typed, when it was indexed and its stream included."""
    simulator.add_task(ASSET, an_indexing(hls=0), age_seconds=60)
    asset = sdk.indexes.indexed_assets.retrieve(INDEX, ID)
    assert (asset.id, asset.status) == (ID, "ready")
    assert asset.updated_at == asset.indexed_at == "2026-10-31T11:59:08.000Z"
    assert asset.asset_id
    assert asset.system_metadata is not None
    assert (asset.system_metadata.duration, asset.system_metadata.fps) == (612.48, 25)
    assert asset.hls is not None
    assert asset.hls.status == "COMPLETE"


@pytest.mark.parametrize("status", ["pending", "queued", "validating", "indexing", "ready", "failed"])
def test_the_sdk_reads_an_asset_in_every_status(simulator: Simulator, sdk: TwelveLabs, status: str) -> None:
    """On its way it has not been indexed at any time."""
    simulator.add_task(ASSET, timeline=(), status=status)
    asset = sdk.indexes.indexed_assets.retrieve(INDEX, ID)
    assert (asset.status, asset.indexed_at, asset.model_extra) == (status, None, {})


def test_the_sdk_lists_the_assets_of_one_index(simulator: Simulator, sdk: TwelveLabs) -> None:
    """Page by page, by status; those of another index, and index tasks, are not there."""
    for n in range(5):
        status = ("ready", "failed", "queued")[n % 3]
        simulator.add_task(f"asset:{INDEX}/a{n}", [(0, {"status": status})], age_seconds=100 - n)
    simulator.add_task("asset:other/b")
    simulator.add_task(ID)
    found = list(sdk.indexes.indexed_assets.list(INDEX, page_limit=2, status=["ready", "failed"], sort_option="asc"))
    assert [asset.id for asset in found] == ["a0", "a1", "a3", "a4"]
    assert all(asset.asset_id and asset.created_at and asset.updated_at for asset in found)
    assert [asset.id for asset in sdk.indexes.indexed_assets.list("other")] == ["b"]
    assert not list(sdk.indexes.indexed_assets.list("none"))


def test_the_sdk_raises_for_an_asset_that_is_not_there(simulator: Simulator, sdk: TwelveLabs) -> None:
    """As documented, flat."""
    simulator.add_task(ASSET)
    with pytest.raises(ApiError) as missing:
        sdk.indexes.indexed_assets.retrieve("other", ID)
    assert (missing.value.status_code, missing.value.body["code"]) == (404, "resource_not_exist")


@pytest.mark.parametrize("end", ["ready", "failed", "canceled"])
def test_the_sdk_retrieves_an_analysis(simulator: Simulator, sdk: TwelveLabs, end: str) -> None:
    """Its own id field, no updated_at, completed_at at its end, and errors that are nested."""
    simulator.add_task(f"analyze:{ID}", an_analysis(end=end))
    task = sdk.analyze_async.tasks.retrieve(ID)
    assert (task.task_id, task.status, task.completed_at, task.model_extra) == (ID, "queued", None, {})
    simulator.advance(60)
    task = sdk.analyze_async.tasks.retrieve(ID)
    assert (task.status, task.completed_at is None) == (end, False)
    assert (task.result is not None, task.error is not None) == (end == "ready", end != "ready")
    with pytest.raises(ApiError) as missing:
        sdk.analyze_async.tasks.retrieve("unknown")
    assert missing.value.status_code == 404
