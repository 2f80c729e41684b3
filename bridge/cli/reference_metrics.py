"""docs/metrics.md, made from a scrape itself: `python -m bridge.cli.reference_metrics > docs/metrics.md`."""

import sys

from prometheus_client.parser import text_string_to_metric_families

from bridge.cli.reference import cell
from bridge.metrics import exposition
from bridge.store.reading.figures import EndpointFigures, Figures, by_status, checks
from bridge.store.reading.vitals import KINDS, Role

HEAD = """# Metrics

Made from a scrape by `python -m bridge.cli.reference_metrics > docs/metrics.md`; a test sees to it that it is up to
date.

`bridge metrics` prints them, `bridge metrics --serve` answers `/metrics`, beside `/livez` (the exporter is there)
and `/readyz` (what `bridge health` says: 200 or 503). Counters live in Redis, so one exporter tells of all workers,
and none is lost when a process ends: attempts, ends and events are counted in the step that makes them, once. Only
reads and requests are counted by each poll worker and written with its next claim, so that one that is killed loses
its last ones.

Labels are few: an endpoint is one that was registered by name, and all callback URLs of tasks are `url:*`; a status
or an event type that is not documented is `other`. No task's id is a label. Alerts are in
[config/prometheus/alerts.yml](../config/prometheus/alerts.yml), what to do about each in [runbook.md](runbook.md).

| metric | type | labels | what it tells |
| --- | --- | --- | --- |
"""


def everything() -> Figures:
    """Figures that have something of each metric."""
    return Figures(
        config=checks({}),
        counters={},
        tasks=by_status({}, 0),
        roles=tuple(Role(kind, 1, 1, 0, 0) for kind in KINDS),
        endpoints={"billing": EndpointFigures({"active": 1}, 0, 0, 0, {})},
        faults=["counters"],
    )


def render() -> str:
    """The whole page."""
    rows = []
    for family in text_string_to_metric_families(exposition(everything(), seconds=0.1).decode()):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        words = ", ".join(f"`{one}`" for one in sorted(labels)) or "—"
        rows.append(f"| `{name}` | {family.type} | {words} | {cell(family.documentation)} |\n")
    return HEAD + "".join(sorted(rows))


if __name__ == "__main__":
    sys.stdout.write(render())
