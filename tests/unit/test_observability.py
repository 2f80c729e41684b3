"""config/prometheus and config/grafana: what they ask for exists, and each alert is tried and explained."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.cli.reference_metrics import everything
from bridge.metrics import exposition

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config/prometheus/alerts.yml"
DASHBOARD = ROOT / "config/grafana/dashboards/bridge.json"
NAME = re.compile(r"\bbridge_[a-z_]+")


def alerts() -> list[dict[str, Any]]:
    """The rules, read as what they are."""
    groups = YAML(typ="safe").load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The dashboard's."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def names_exposed() -> set[str]:
    """Every sample that a scrape of something can have."""
    lines = exposition(everything(), seconds=0.1).decode().splitlines()
    return {match[0] for line in lines if (match := NAME.match(line))}


@pytest.mark.parametrize(
    "text", [rule["expr"] for rule in alerts()] + [t["expr"] for p in panels() for t in p["targets"]]
)
def test_what_is_asked_for_exists(text: str) -> None:
    """A metric that was renamed would make an alert that never fires, or an empty panel."""
    names = set(NAME.findall(text)) - {"bridge_"}
    assert names <= names_exposed(), names - names_exposed()
    assert names or "up{" in text


def test_every_alert_is_explained_and_tried() -> None:
    """A paragraph in the runbook under its name, a severity, and a trial that sees it fire and be quiet."""
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    trials = YAML(typ="safe").load((ROOT / "config/prometheus/alerts.test.yml").read_text())["tests"]
    names = [rule["alert"] for rule in alerts()]
    assert headings == names == [trial["name"] for trial in trials]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}
    for trial in trials:
        samples = [one["exp_samples"] for one in trial["promql_expr_test"]]
        assert [len(one) for one in samples] == [0, 1], trial["name"]


def test_prometheus_itself_takes_them_and_they_fire() -> None:
    """promtool reads the configuration, runs the trials, and has no complaint about names and types."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run([promtool, *words], cwd=ALERTS.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    text = exposition(everything(), seconds=0.1)
    done = subprocess.run([promtool, "check", "metrics"], input=text.decode(), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_parts_of_the_stack_find_each_other() -> None:
    """Prometheus scrapes the exporter's service and port; Grafana asks Prometheus and finds the dashboard."""
    stack = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())["services"]
    beside = YAML(typ="safe").load((ROOT / "docker-compose.observability.yml").read_text())["services"]
    compose = {**stack, **beside}
    scrape = YAML(typ="safe").load((ROOT / "config/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (target,) = scrape[0]["static_configs"][0]["targets"]
    assert target == f"metrics:{compose['metrics']['command'][-1].rpartition(':')[2]}"
    (source,) = YAML(typ="safe").load((ROOT / "config/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert {p["datasource"]["uid"] for p in panels()} == {source["uid"]}
    (provider,) = YAML(typ="safe").load((ROOT / "config/grafana/provisioning/dashboards/bridge.yml").read_text())[
        "providers"
    ]
    assert f"./config/grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
