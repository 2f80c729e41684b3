"""Tracing by the SDK's own memory: what is read, committed and posted, under which ids; and nothing where it is off."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from corescene import INTERVAL_MS, Stage, delivering, watching
from opentelemetry.trace import SpanKind, StatusCode
from tracescene import Traced, ids, traced, written

from bridge.errors import SettingsError
from bridge.otel import Exporting, OpenTelemetry, exporter_from, root_of
from bridge.settings import load_settings
from bridge.tracing import UNTRACED
from bridge.wiring import tracing_from

REGISTERED = f"00-{'a' * 32}-{'b' * 16}-01"
TRACE, SPAN = REGISTERED.split("-")[1:3]
LATER = INTERVAL_MS + 500
ROOT = Path(__file__).parents[2]


@pytest.fixture
def trace() -> Iterator[Traced]:
    with traced() as found:
        yield found


async def test_a_change_is_one_trace_from_its_commit_to_each_attempt(stage: Stage, trace: Traced) -> None:
    """Its id is the event's; the receiver is told the very span that posted to it; what failed is an error."""
    async with watching(stage, tracing=trace.tracing) as watch, delivering(stage, tracing=trace.tracing) as deliver:
        await deliver.endpoint()
        await watch.add("ready")
        deliver.receiver.script(500)
        for wait in (0, 6_000):
            assert await deliver.round(wait) == 1
        arrivals = deliver.receiver.valid
    (commit,), posts = trace.spans("commit"), trace.spans("post")
    event_id = arrivals[0].id or ""
    assert ids(commit)[0] == event_id.removeprefix("evt_")
    assert commit.parent is None
    assert [written(post.parent) for post in posts] == [ids(commit)] * 2
    told = [tuple(arrival.headers["traceparent"].split("-")[1:3]) for arrival in arrivals]
    assert told == [ids(post) for post in posts]
    assert [post.status.status_code for post in posts] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [dict(post.attributes or {})["http.response.status_code"] for post in posts] == [500, 204]
    assert dict(commit.attributes or {}) == {
        "bridge.task": "t1", "bridge.event.id": event_id, "bridge.event.type": "index.task.ready",
        "bridge.result": "ok",
    }  # fmt: skip
    assert (commit.kind, posts[0].kind) == (SpanKind.PRODUCER, SpanKind.CLIENT)
    log = await stage.attempts("e1", event_id)
    assert f"traceparent: {arrivals[0].headers['traceparent']}" in log[0]["request"]


async def test_the_span_that_registered_a_task_is_linked_to_its_events(stage: Stage, trace: Traced) -> None:
    """Each commit refers to it, and to the read that found the change; so does each read."""
    async with watching(stage, tracing=trace.tracing) as watch:
        watch.simulator.add_task("t1", timeline=(), status="indexing")
        await stage.task("t1", traceparent=REGISTERED)
        await watch.round()
        watch.simulator.change("t1", {"status": "ready"})
        await watch.round(LATER)
    reads, commits = trace.spans("fetch"), trace.spans("commit")
    assert len(reads) == len(commits) == 2
    for read, commit in zip(reads, commits, strict=True):
        assert [written(link.context) for link in read.links] == [(TRACE, SPAN)]
        assert [written(link.context) for link in commit.links] == [(TRACE, SPAN), ids(read)]
        assert ids(read)[0] != ids(commit)[0]


async def test_a_read_that_fails_says_by_what(stage: Stage, trace: Traced) -> None:
    """Its kind and its status, and nothing that upstream said."""
    async with watching(stage, tracing=trace.tracing) as watch:
        await stage.task("nobody")
        await watch.round()
    (read,) = trace.spans("fetch")
    assert read.status.status_code is StatusCode.ERROR
    assert dict(read.attributes or {}) == {
        "bridge.task": "nobody", "error.type": "gone", "http.response.status_code": 404,
    }  # fmt: skip


async def test_what_is_our_fault_ends_its_span_as_an_error(stage: Stage, trace: Traced) -> None:
    """Without the words, which may name what nobody else is to know."""
    async with delivering(stage, tracing=trace.tracing, default_secret=None) as deliver:
        await deliver.endpoint(secret=None)
        await stage.task("t1")
        await stage.commit("ready")
        await deliver.round()
    (post,) = trace.spans("post")
    assert (post.status.status_code, post.status.description, post.events) == (StatusCode.ERROR, None, ())
    assert dict(post.attributes or {})["error.type"] == "SettingsError"


async def test_no_secret_is_in_a_span(stage: Stage, trace: Traced) -> None:
    """Neither of the endpoint's URL, its headers or its secret, nor of the task's metadata."""
    async with watching(stage, tracing=trace.tracing) as watch, delivering(stage, tracing=trace.tracing) as deliver:
        await deliver.endpoint(path="/e1?key=hush-hush", headers={"authorization": "Bearer hush-hush"})
        watch.simulator.add_task("t1", timeline=(), status="ready")
        await stage.task("t1", metadata='"hush-hush"')
        await watch.round()
        assert await deliver.round() == 1
    spans = [*trace.spans("fetch"), *trace.spans("commit"), *trace.spans("post")]
    assert len(spans) == 3
    for span in spans:
        assert "hush-hush" not in span.to_json()
        assert "whsec_" not in span.to_json()


@pytest.mark.parametrize(("sampler", "told"), [("always_off", 0), ("parentbased_always_on", 2)])
async def test_an_event_is_sampled_as_a_whole(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, sampler: str, told: int
) -> None:
    """By OTEL_TRACES_SAMPLER, whichever process posts; the receiver is told by the flag."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with traced() as trace:
        async with watching(stage, tracing=trace.tracing) as watch, delivering(stage, tracing=trace.tracing) as deliver:
            await deliver.endpoint()
            await watch.add("ready")
            await deliver.round()
            (arrival,) = deliver.receiver.valid
        assert len([*trace.spans("commit"), *trace.spans("post")]) == told
    _, trace_id, _, flags = arrival.headers["traceparent"].split("-")
    assert (trace_id, int(flags, 16) & 1) == ((arrival.id or "").removeprefix("evt_"), int(told > 0))


@pytest.mark.parametrize("ratio", ["0.3", "0.7"])
def test_by_a_ratio_the_attempts_of_an_event_are_told_if_its_commit_is(
    monkeypatch: pytest.MonkeyPatch, ratio: str
) -> None:
    """Both go by the trace id, so that no trace is told in part."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    with traced() as trace:
        provider, below = trace.tracing._provider, trace.tracing._below
        seen = set()
        for number in range(1, 200):
            event_id = f"evt_{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
            root = root_of(event_id)
            assert root
            decided = provider.sampler.should_sample(None, root[0], "x").decision.name == "RECORD_AND_SAMPLE"
            span = provider.get_tracer("x").start_span("x", below(event_id))
            assert bool(span.get_span_context().trace_flags & 1) == decided
            seen.add(decided)
        assert seen == {True, False}


@pytest.mark.parametrize("event_id", ["", "evt_", "evt_x", "msg_1", "evt_" + "0" * 32])
def test_an_id_that_is_none_of_ours_has_a_trace_at_random(event_id: str) -> None:
    """As somebody may have written it into Redis."""
    assert root_of(event_id) is None


def test_the_service_is_called_as_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """And `bridge` where they say nothing."""
    for given, expected in (("", "bridge"), ("mine", "mine")):
        monkeypatch.setenv("OTEL_SERVICE_NAME", given)
        tracing = OpenTelemetry(None)
        assert tracing._provider.resource.attributes["service.name"] == expected
        tracing.close()


def test_the_exporter_is_the_one_that_its_variables_name() -> None:
    """Unless it is not installed, which is said with what would do."""
    assert type(exporter_from(Exporting())).__module__.startswith("opentelemetry.exporter.otlp.proto.http")
    assert type(exporter_from(Exporting(traces_exporter="console"))).__name__ == "ConsoleSpanExporter"
    assert exporter_from(Exporting(traces_exporter="none")) is None
    for bad in (Exporting(traces_exporter="zipkin"), Exporting(exporter_otlp_protocol="http/json")):
        with pytest.raises(SettingsError, match="there is no exporter") as caught:
            exporter_from(bad)
        assert "OTEL_TRACES_EXPORTER=otlp" in caught.value.fix


def test_what_keeps_spans_from_leaving_keeps_no_work_from_being_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a line in the log, with what to do."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with tracing_from(load_settings(tracing=True), stage.log) as tracing:
        assert tracing is UNTRACED
    (line,) = stage.log.named("tracing.off")
    assert "OTEL_TRACES_EXPORTER" in str(line["error"])
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    with tracing_from(load_settings(tracing=True), stage.log) as tracing:
        assert isinstance(tracing, OpenTelemetry)


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it is switched on."""
    monkeypatch.setattr("bridge.settings_types.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"\.whl\[otel\]"):
        load_settings(tracing=True)
    assert load_settings().tracing is False


def test_switched_off_nothing_of_it_is_imported() -> None:
    """Neither by a worker's modules nor by its settings; redis-py's own measuring is redis-py's."""
    theirs = {"bridge.otel", "opentelemetry.sdk.trace", "opentelemetry.exporter"}
    assert imported(f"print({theirs} & set(sys.modules))") == "set()\n"


def test_without_the_extra_everything_else_is_as_it_was() -> None:
    """A worker's modules are imported, and nothing of it is looked for."""
    blocked = "sys.modules['opentelemetry'] = None; "
    assert imported("print(type(tracing).__name__)", blocked) == "Untraced\n"


def imported(then: str, before: str = "") -> str:
    """What is printed by a process that imported all of a worker, and made its tracing."""
    code = (
        f"import sys, logging; {before}from bridge import engine, jobs, supervisor; "
        "from bridge.settings import load_settings; "
        f"tracing = engine.tracing_from(load_settings(), logging).__enter__(); {then}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
