"""Watching and delivering as in the core's other tests, with every span kept in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bridge.otel import OpenTelemetry


@dataclass
class Traced:
    """The tracing, and what it told."""

    tracing: OpenTelemetry
    exporter: InMemorySpanExporter

    def spans(self, name: str) -> list[ReadableSpan]:
        """The spans of a name that have ended, in order; nothing is told after this."""
        self.tracing.close()
        return [span for span in self.exporter.get_finished_spans() if span.name == f"bridge.{name}"]


@contextmanager
def traced() -> Iterator[Traced]:
    """Tracing by the SDK, for the time of a test."""
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetry(exporter)
    try:
        yield Traced(tracing, exporter)
    finally:
        tracing.close()


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span id as they are written."""
    return written(span.context)


def written(context: Any) -> tuple[str, str]:
    """The same of a context."""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
