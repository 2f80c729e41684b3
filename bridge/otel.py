"""Spans by OpenTelemetry (extra `[otel]`). The only module that knows it; where they go, OTEL_* variables say.

An event's trace is its own: the trace id is the digest that its id is made of, and the commit is its root, under a span
id made of the same. So a worker that posts needs nothing but the event's id to be part of that trace, and nothing of it
is kept in Redis. The span that registered the task, and the read that found the change, are linked to.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue
from pydantic_settings import BaseSettings, SettingsConfigDict

from bridge import __version__
from bridge.errors import SettingsError
from bridge.model import Delivery, Endpoint, Event, FetchFailure, Observation, Outcome, WatchedTask
from bridge.tracing import Result

FLUSH_SECONDS = 2.0
"""The longest that a worker's end waits for its last spans to leave."""
PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}

_read: ContextVar[tuple[str, SpanContext] | None] = ContextVar("read", default=None)
"""The task that this coroutine read last, and the span of that."""


class EventIds(RandomIdGenerator):  # type: ignore[misc]  # its package is an extra, and unknown here
    """Ids at random, but for the next span if it is an event's root."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return self.next[0] if self.next else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.next[1] if self.next else super().generate_span_id()


class Told:
    """One span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """W3C Trace Context; None where the SDK is switched off."""
        known = self._span.get_span_context()
        return f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}" if known.is_valid else None

    def came_to(self, result: Result) -> None:
        """As attributes; what failed, as an error, too. Nothing that somebody sent is repeated."""
        if isinstance(result, Observation):
            self._span.set_attribute("bridge.status", result.status)
        elif isinstance(result, FetchFailure):
            self._answered(result.status_code, str(result.fault))
        elif isinstance(result, Outcome):
            failed = result.status_code is None or not 200 <= result.status_code < 300
            fault = str(result.fault) if result.fault else str(result.status_code)
            self._answered(result.status_code, fault if failed else "")
        else:
            self._span.set_attribute("bridge.result", result or "unknown")
            if result is None:
                self.failed("store")

    def failed(self, kind: str) -> None:
        """Mark it as an error of a kind."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)

    def _answered(self, status: int | None, fault: str) -> None:
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if fault:
            self.failed(fault)


class OpenTelemetry:
    """Tracing, by a provider of our own: nothing global is set, and nothing else is instrumented."""

    def __init__(self, exporter: SpanExporter | None) -> None:
        self._ids = EventIds()
        self._provider = TracerProvider(resource=_resource(), id_generator=self._ids, shutdown_on_exit=False)
        if exporter:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("bridge", __version__)

    @contextmanager
    def fetch(self, task: WatchedTask) -> Iterator[Told]:
        """A trace of its own: most reads find nothing, and belong to no event."""
        attributes: dict[str, AttributeValue] = {"bridge.task": task.member}
        span = self._tracer.start_span(
            "bridge.fetch", Context(), SpanKind.CLIENT, attributes, _links(task.options.traceparent)
        )
        _read.set((task.member, span.get_span_context()))
        with _ended(span) as told:
            yield told

    @contextmanager
    def commit(self, task: WatchedTask, event: Event) -> Iterator[Told]:
        """The root of its event's trace."""
        attributes: dict[str, AttributeValue] = {"bridge.task": task.member, "bridge.event.id": event.id,
                                                 "bridge.event.type": event.type}  # fmt: skip
        member, read = _read.get() or ("", None)
        links = _links(task.options.traceparent, read if member == task.member else None)
        self._ids.next = root_of(event.id)
        try:
            span = self._tracer.start_span("bridge.commit", Context(), SpanKind.PRODUCER, attributes, links)
        finally:
            self._ids.next = None
        with _ended(span) as told:
            yield told

    @contextmanager
    def post(self, endpoint: Endpoint, delivery: Delivery) -> Iterator[Told]:
        """One attempt, below its event's commit, whoever made that."""
        attributes: dict[str, AttributeValue] = {
            "bridge.task": delivery.task, "bridge.event.id": delivery.event_id, "bridge.event.type": delivery.type,
            "bridge.endpoint": endpoint.name, "bridge.attempt": delivery.attempts + 1,
            "bridge.trigger": delivery.trigger, "http.request.method": "POST",
        }  # fmt: skip
        span = self._tracer.start_span("bridge.post", self._below(delivery.event_id), SpanKind.CLIENT, attributes)
        with _ended(span) as told:
            yield told

    def _below(self, event_id: str) -> Context:
        """Below the root of an event's trace, sampled as that was: who samples goes by the trace id alone."""
        root = root_of(event_id)
        if root is None:
            return Context()
        result = self._provider.sampler.should_sample(Context(), root[0], "bridge.commit", SpanKind.PRODUCER)
        flags = TraceFlags(TraceFlags.SAMPLED if result.decision == Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)
        return set_span_in_context(NonRecordingSpan(SpanContext(*root, is_remote=True, trace_flags=flags)), Context())

    def close(self) -> None:
        """Let the last spans leave, for a moment: a collector that hangs does not keep a worker from ending."""
        ending = threading.Thread(target=self._provider.shutdown, name="otel-shutdown", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


def root_of(event_id: str) -> tuple[int, int] | None:
    """Trace id and span id of an event's root; None for an id that is none of ours."""
    try:
        trace = int(event_id.removeprefix("evt_"), 16)
    except ValueError:
        return None
    root = trace % 2**128, trace >> 64 & (2**64 - 1)
    return root if all(root) else None


class Exporting(BaseSettings):
    """Which exporter OTEL_* variables name; the rest of them the SDK reads itself."""

    model_config = SettingsConfigDict(env_prefix="OTEL_", env_ignore_empty=True, extra="ignore")

    traces_exporter: str = "otlp"
    exporter_otlp_protocol: str = "http/protobuf"
    exporter_otlp_traces_protocol: str = ""

    @property
    def entry(self) -> str:
        """What the exporter is called among installed ones; empty for a protocol that there is not."""
        protocol = self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol
        return PROTOCOLS.get(protocol, "") if self.traces_exporter == "otlp" else self.traces_exporter


def exporter_from(named: Exporting) -> SpanExporter | None:
    """The exporter that is named; None for `none`.

    Raises SettingsError for one that is not installed, or that its own variables keep from being made.
    """
    if named.traces_exporter == "none":
        return None
    for entry in entry_points(group="opentelemetry_traces_exporter", name=named.entry):
        try:
            made: SpanExporter = entry.load()()
        except Exception as error:
            reason = f"the exporter “{named.entry}” cannot be made: {type(error).__name__}"
            raise SettingsError(reason, fix="look at the OTEL_EXPORTER_… variables") from None
        return made
    fix = "OTEL_TRACES_EXPORTER=otlp with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or install the exporter's package"
    raise SettingsError("there is no exporter as OTEL_TRACES_EXPORTER and the protocol for it name it", fix=fix)


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and our own name where they say none."""
    found = Resource.create()
    if not str(found.attributes["service.name"]).startswith("unknown_service"):
        return found
    return found.merge(Resource({"service.name": "bridge", "service.version": __version__}))


def _links(traceparent: str | None, read: SpanContext | None = None) -> Sequence[Link]:
    """Links to the span that registered the task, as the contract has it, and to a read."""
    links = [Link(read)] if read and read.is_valid else []
    if traceparent:
        _, trace, span, flags = traceparent.split("-")
        context = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
        links.insert(0, Link(context, {"bridge.link": "registration"}))
    return links


@contextmanager
def _ended(span: Span) -> Iterator[Told]:
    """A span that ends with its `with`; what is raised through it is told by its kind, and not in its words."""
    told = Told(span)
    try:
        yield told
    except BaseException as error:
        told.failed(type(error).__name__)
        raise
    finally:
        span.end()
