"""The figures as Prometheus reads them. Counters live in Redis, so that any process can render those of all."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bridge import __version__, tally
from bridge.store.reading.figures import STATES, EndpointFigures, Figures
from bridge.store.reading.vitals import Role

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labelled = Mapping[Any, float]
"""Values of labels, a tuple of words → value."""
ALONE = ()
"""The labels of a metric that has none."""


def exposition(figures: Figures, *, seconds: float) -> bytes:
    """The text of a scrape that took so long."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once([*_of_redis(figures), *_rest(figures, seconds)]))
    return generate_latest(registry)


class _Once(Collector):
    """What was read already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _rest(figures: Figures, seconds: float) -> Iterator[Metric]:
    if figures.redis_up:
        yield from _of_tasks(figures)
        yield from _of_counters(figures.counters)
        yield from _of_endpoints(figures.endpoints)
        workers = {(role.kind,): float(role.workers) for role in figures.roles}
        yield _gauge("workers", "Worker processes that are alive, on all machines.", ("kind",), workers)
        shifts = {(role.kind,): float(role.shifts) for role in figures.roles}
        yield _gauge("shifts", "Shifts that are alive: without one nothing is claimed.", ("kind",), shifts)
    yield _gauge("scrape_duration_seconds", "How long reading these figures took.", (), {ALONE: seconds})


def _of_redis(figures: Figures) -> Iterator[Metric]:
    labels = (__version__, platform.python_version(), version("rq"))
    yield _gauge("build_info", "1, with the versions as labels.", ("version", "python", "rq"), {labels: 1})
    yield _gauge("redis_up", "Whether Redis answers.", (), {ALONE: float(figures.redis_up)})
    if not figures.redis_up:
        return
    checks = {(name,): float(passed) for name, passed in figures.config.items()}
    yield _gauge("redis_config_ok", "Whether Redis keeps what it acknowledges, by check.", ("check",), checks)
    faults = {(name,): 1.0 for name in figures.faults}
    yield _gauge(
        "scrape_fault", "A part of these figures that Redis refused; `bridge doctor` says why.", ("part",), faults
    )


def _of_tasks(figures: Figures) -> Iterator[Metric]:
    if figures.tasks is not None:
        counts = {(word,): float(count) for word, count in figures.tasks.items()}
        yield _gauge("tasks", "Watched tasks, by upstream's status.", ("status",), counts)
        yield _gauge("tasks_due", "Watched tasks that are due to be read.", (), {ALONE: figures.due})
        yield _gauge("rejected_entries", "Entries in bridge:rejected.", (), {ALONE: figures.rejected})
    for role in figures.roles:
        if role.kind == "poll":
            yield from _of_polling(role)


def _of_polling(role: Role) -> Iterator[Metric]:
    lag = {ALONE: role.lag_ms / 1000}
    yield _gauge("poll_lag_seconds", "How long the task that waits longest has been due.", (), lag)
    rests = {ALONE: float(role.paused_until_at is not None)}
    yield _gauge("upstream_paused", "Whether no request goes out, as upstream asked for a rest.", (), rests)
    refused = {ALONE: float(role.key_refused)}
    yield _gauge("upstream_key_refused", "Whether upstream refuses the API key.", (), refused)


def _of_counters(counters: Mapping[str, int] | None) -> Iterator[Metric]:
    if counters is None:
        return
    polls = {(word,): float(counters.get(tally.POLLS + word, 0)) for word in tally.POLL_OUTCOMES}
    yield _counter("polls", "Reads of a task that ended, by what they came to.", ("outcome",), polls)
    classes = {(word,): float(counters.get(tally.REQUESTS + word, 0)) for word in tally.CODE_CLASSES}
    yield _counter("upstream_requests", "Requests to TwelveLabs, by answer.", ("code_class",), classes)
    limited = float(counters.get(tally.REQUESTS + "429", 0))
    yield _counter("upstream_rate_limited", "Requests that TwelveLabs answered with 429.", (), {ALONE: limited})
    types = {(word,): float(counters.get(tally.EVENTS + word, 0)) for word in sorted({*tally.EVENT_TYPES, tally.OTHER})}
    yield _counter("events", "Events committed, by type.", ("type",), types)
    yield _histogram(
        "detection_latency_seconds", "From upstream's updated_at to our observation, of tasks known before.",
        tally.DETECTION, counters,
    )  # fmt: skip
    yield _histogram("delivery_duration_seconds", "How long an attempt took.", tally.DURATION, counters)
    yield _histogram(
        "delivery_end_to_end_seconds", "From commit to delivery, of what no operator asked to be sent again.",
        tally.END_TO_END, counters,
    )  # fmt: skip


def _of_endpoints(endpoints: Mapping[str, EndpointFigures]) -> Iterator[Metric]:
    attempts, results, states = dict[tuple[str, ...], float](), dict[tuple[str, ...], float](), {}
    for name, one in endpoints.items():
        for word in tally.ATTEMPT_OUTCOMES:
            attempts[name, word] = float(one.counters.get(tally.ATTEMPTS + word, 0))
        for result in tally.RESULTS:
            results[name, result] = float(one.counters.get(result, 0))
        # 2xx delivers, and nothing else does: that is counted once.
        results[name, "delivered"] = attempts[name, tally.SUCCESS]
        for state in STATES:
            states[name, state] = float(one.states.get(state, 0))
    yield _counter("delivery_attempts", "Attempts, by what they came to.", ("endpoint", "outcome"), attempts)
    yield _counter("deliveries", "Deliveries that ended, by how.", ("endpoint", "result"), results)
    yield _gauge("endpoint_state", "1 for the state that an endpoint is in.", ("endpoint", "state"), states)
    pending = {(name,): float(one.pending) for name, one in endpoints.items()}
    yield _gauge("deliveries_pending", "Deliveries that are owed.", ("endpoint",), pending)
    dead = {(name,): float(one.dead) for name, one in endpoints.items()}
    yield _gauge("deliveries_dead", "Dead letters, until retention.", ("endpoint",), dead)
    backlog = {(name,): one.backlog_ms / 1000 for name, one in endpoints.items()}
    yield _gauge("delivery_backlog_seconds", "How long the oldest due delivery has waited.", ("endpoint",), backlog)


def _gauge(name: str, words: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = GaugeMetricFamily(f"bridge_{name}", words, labels=labels)
    for values_of_labels, value in values.items():
        family.add_metric(values_of_labels, value)
    return family


def _counter(name: str, words: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(f"bridge_{name}", words, labels=labels)
    for values_of_labels, value in values.items():
        family.add_metric(values_of_labels, value)
    return family


def _histogram(name: str, words: str, shape: tally.Histogram, counters: Mapping[str, int]) -> Metric:
    total, buckets = 0, []
    for index in range(len(shape.bounds) + 1):
        total += counters.get(shape.bucket(index), 0)
        bound = str(float(shape.bounds[index])) if index < len(shape.bounds) else "+Inf"
        buckets.append((bound, float(total)))
    family = HistogramMetricFamily(f"bridge_{name}", words)
    family.add_metric((), buckets, counters.get(shape.total, 0) / 1000)
    return family
