"""config/kubernetes against the schema of Kubernetes, and against docker-compose.yml, whose worker it is.

`tests/kubernetes.schema.json` is the strict schema of Kubernetes 1.37 (Apache-2.0) for the kinds used here, without its
descriptions.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from bridge.settings import Settings, load_settings
from bridge.settings_sources import env_names, is_secret

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config/kubernetes"
SCHEMA = json.loads((ROOT / "tests/kubernetes.schema.json").read_text())
GUIDE = (ROOT / "docs/how-to/kubernetes.md").read_text()
GROUPS = {"apps/v1": "api.apps.v1", "v1": "api.core.v1", "networking.k8s.io/v1": "api.networking.v1"}
Row = dict[str, Any]


def loaded(text: str) -> Iterator[Row]:
    """The documents of a manifest, read as Kubernetes does: 0440 is octal."""
    yaml = YAML(typ="safe")
    yaml.version = (1, 1)
    yield from yaml.load_all(text)


MANIFESTS: dict[str, Row] = {one["kind"]: one for path in FOLDER.rglob("*.yaml") for one in loaded(path.read_text())}
POD = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
(WORKER,) = POD["containers"]


@pytest.fixture(scope="module")
def compose() -> Row:
    """The worker of docker-compose.yml."""
    return cast(Row, YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())["services"]["worker"])


def complaints(manifest: Row) -> list[str]:
    """What the schema has against it."""
    name = f"#/definitions/{GROUPS[manifest['apiVersion']]}.{manifest['kind']}"
    found = Draft7Validator({**SCHEMA, "$ref": name}).iter_errors(manifest)
    return [f"{'/'.join(map(str, one.path))}: {one.message}" for one in found]


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "ConfigMap", "Secret"])
def test_a_manifest_is_what_kubernetes_takes(kind: str) -> None:
    """Each field is known there, and of its type."""
    assert complaints(MANIFESTS[kind]) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [("terminationGracePeriodSecond", 25), ("terminationGracePeriodSeconds", "25s"), ("containers", None)],
)
def test_the_schema_sees_a_mistake(place: str, value: object) -> None:
    """A misspelt field, and one of another type."""
    spec = {"template": {"spec": {**POD, place: value}}}
    broken = {**MANIFESTS["Deployment"], "spec": MANIFESTS["Deployment"]["spec"] | spec}
    assert complaints(broken)


def test_it_runs_what_compose_runs(compose: Row) -> None:
    """The same image, command and words, with the same time to end and the same bound on memory."""
    assert WORKER["image"] == compose["image"]
    assert (WORKER["command"], WORKER["args"]) == (compose["entrypoint"], compose["command"])
    assert f"{POD['terminationGracePeriodSeconds']}s" == compose["stop_grace_period"]
    assert WORKER["resources"]["limits"]["memory"] == compose["mem_limit"].replace("m", "Mi")


def test_it_may_as_little_as_in_compose(compose: Row) -> None:
    """The user of the image, no capability, nothing to write to but what is in memory, nobody to become."""
    user, group = re.search(r"(\d+):(\d+)", compose["user"]).groups()  # type: ignore[union-attr]
    whole, own = POD["securityContext"], WORKER["securityContext"]
    assert (whole["runAsUser"], whole["runAsGroup"], whole["runAsNonRoot"]) == (int(user), int(group), True)
    assert [str(whole["fsGroup"])] == compose["group_add"]
    assert own["capabilities"]["drop"] == compose["cap_drop"]
    assert own["readOnlyRootFilesystem"] is compose["read_only"]
    assert (own["allowPrivilegeEscalation"], compose["security_opt"]) == (False, ["no-new-privileges:true"])
    assert POD["shareProcessNamespace"] is compose["init"]
    mounts = {one["mountPath"]: one["name"] for one in WORKER["volumeMounts"]}
    volumes = {one["name"]: one for one in POD["volumes"]}
    assert [path for path, name in mounts.items() if "emptyDir" in volumes[name]] == compose["tmpfs"]
    assert volumes[mounts["/run/secrets"]]["secret"]["defaultMode"] == 0o440
    assert POD["automountServiceAccountToken"] is False  # it would be mounted into /run/secrets, which is ours


def test_it_is_asked_as_in_compose(compose: Row) -> None:
    """The same question, as often and as patiently."""
    asked, ready = compose["healthcheck"], WORKER["readinessProbe"]
    assert ["CMD", *ready["exec"]["command"]] == asked["test"]
    assert f"{ready['periodSeconds']}s" == asked["interval"]
    assert f"{ready['timeoutSeconds']}s" == asked["timeout"]
    assert ready["failureThreshold"] == asked["retries"]
    assert f"{WORKER['livenessProbe']['initialDelaySeconds']}s" == asked["start_period"]


@pytest.mark.parametrize(("health", "lives"), [(0, True), (1, False), (5, True)])
def test_a_worker_is_not_killed_for_a_redis_that_is_away(tmp_path: Path, health: int, lives: bool) -> None:
    """Exit code 5 is Redis' fault: only 1, not heard of, is the worker's own."""
    (tmp_path / "bridge").write_text(f"#!/bin/sh\nexit {health}\n")
    (tmp_path / "bridge").chmod(0o755)
    command = WORKER["livenessProbe"]["exec"]["command"]
    ran = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (ran.returncode == 0) is lives


def test_settings_and_secrets_are_where_they_belong() -> None:
    """Under names that there are; no secret in the environment, and the Secret's keys are those of the guide."""
    names = {name: info for field, info in Settings.model_fields.items() for name in env_names(field)}
    secret = {name for name, info in names.items() if is_secret(info)}
    settings, secrets = MANIFESTS["ConfigMap"]["data"], MANIFESTS["Secret"]["stringData"]
    assert settings.keys() <= names.keys() - secret
    assert {name.upper() for name in secrets} <= secret
    assert set(re.findall(r"--from-file=(\w+)=", GUIDE)) <= set(secrets)
    assert WORKER["envFrom"] == [{"configMapRef": {"name": MANIFESTS["ConfigMap"]["metadata"]["name"]}}]
    assert POD["volumes"][1]["secret"]["secretName"] == MANIFESTS["Secret"]["metadata"]["name"]


def test_a_mounted_secret_is_read_through_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kubelet lays it out: each file is a link into a folder that is exchanged as a whole."""
    monkeypatch.chdir(tmp_path)
    mount, dated = tmp_path / "secrets", tmp_path / "secrets/..2026_11_29"
    dated.mkdir(parents=True)
    (mount / "..data").symlink_to(dated.name)
    for name, text in MANIFESTS["Secret"]["stringData"].items():
        (dated / name).write_text(text)
        (mount / name).symlink_to(f"..data/{name}")
    for name, text in MANIFESTS["ConfigMap"]["data"].items():
        monkeypatch.setenv(name, text)
    settings = load_settings(_secrets_dir=mount)
    assert settings.twelvelabs_api_key
    assert settings.twelvelabs_api_key.get_secret_value() == "tlk_YOURS"
    assert settings.redis_url.get_secret_value().startswith("redis://bridge-worker:")


def test_applying_the_folder_writes_no_placeholder_over_a_secret() -> None:
    """`kubectl apply -f` reads the files of one folder, and none below it."""
    kinds = [one["kind"] for path in FOLDER.glob("*.yaml") for one in loaded(path.read_text())]
    assert "Secret" not in kinds
