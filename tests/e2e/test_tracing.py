"""A worker that sends its spans to a collector: over the wire, to the last one, and whatever the collector does."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from redis import Redis
from until import until

from benchmarks.stage import HERE, start_worker
from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import generate_secret

pytestmark = pytest.mark.slow

SECRET = generate_secret(bytes(range(32)))
APART = HERE / ".venv/otel"
"""Where what traces is installed, so that no other process of the tests imports it."""
REGISTERED = f"00-{'a' * 32}-{'b' * 16}-01"


class Collector:
    """Takes spans in at /v1/traces, or keeps who sends them waiting."""

    def __init__(self, *, hangs: bool) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.asked, self.done = threading.Event(), threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.asked.set()
                if hangs:
                    collector.done.wait(60)
                collector.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body: bytes) -> None:
        """One request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]


@contextmanager
def collecting(*, hangs: bool = False) -> Iterator[Collector]:
    """A collector on this machine."""
    collector = Collector(hangs=hangs)
    thread = threading.Thread(target=collector.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        collector.done.set()
        collector.server.shutdown()
        thread.join(10)
        collector.server.server_close()


def ready_by(collector: Collector, environment: dict[str, str]) -> tuple[list[dict[str, str]], int]:
    """A task watched until it is ready; the heads of what was received, and what the worker exited with."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread() as inside:
        member = simulator.add_task(timeline=a_timeline(validating=0.2, pending=0.2, queued=0.2, indexing=0.4))
        settings = {"TWELVELABS_API_KEY": "tlk_sandbox", "BRIDGE_TRACING": "true",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "PYTHONPATH": str(APART), **environment}  # fmt: skip
        worker = start_worker(redis.url, simulator.base_url, settings)
        try:
            with Redis.from_url(redis.url) as client:
                definition = json.dumps({"url": f"{receiver.url}/hook", "secret": SECRET})
                client.hset("bridge:endpoints", "mine", definition)
                client.hset(f"bridge:task:{member}", "traceparent", REGISTERED)
                client.zadd("bridge:tasks", {member: 0})
                inside.run(
                    receiver.wait_for(lambda seen: any(a.type == "index.task.ready" for a in seen.valid), 20), 25
                )
                until(lambda: client.zscore("bridge:tasks", member) is None)
        finally:
            worker.terminate()
            code = worker.wait(40)
        return [dict(arrival.headers) | {"id": arrival.id or ""} for arrival in receiver.valid], code


def test_every_span_arrives_the_last_ones_at_the_end() -> None:
    """Batched for an hour, they leave when the worker is told to end: each commit, and the post in its trace."""
    with collecting() as collector:
        heads, code = ready_by(collector, {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_SERVICE_NAME": "video-hooks"})
    assert (code, collector.services) == (0, {"video-hooks"})
    counts = Counter(span.name for span in collector.spans)
    assert counts["bridge.commit"] == counts["bridge.post"] == len(heads) > 0
    assert counts["bridge.fetch"] >= len(heads)
    commits = {span.trace_id.hex(): span for span in collector.spans if span.name == "bridge.commit"}
    posts = {span.span_id.hex(): span for span in collector.spans if span.name == "bridge.post"}
    for head in heads:
        _, trace, span_id, _ = head["traceparent"].split("-")
        assert trace == head["id"].removeprefix("evt_")
        assert posts[span_id].parent_span_id == commits[trace].span_id
        assert commits[trace].links[0].trace_id.hex() == "a" * 32


def test_a_collector_that_hangs_holds_up_neither_work_nor_the_end() -> None:
    """What is owed is delivered, and the worker ends well."""
    with collecting(hangs=True) as collector:
        heads, code = ready_by(collector, {"OTEL_BSP_SCHEDULE_DELAY": "100"})
        assert collector.asked.is_set()
    assert (code, bool(heads)) == (0, True)
