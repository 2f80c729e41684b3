"""What the stack of docker-compose.yml promises by its text; `tests/stack` runs it."""

import io
import os
import pty
import re
import subprocess
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.acl import users
from bridge.settings import Settings
from bridge.settings_sources import is_secret, shown_name
from bridge.supervisor import STOP_MARGIN_SECONDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded: dict[str, Any] = YAML(typ="safe").load(io.StringIO((ROOT / "docker-compose.yml").read_text()))
    return loaded


def pins(lock: str) -> dict[str, set[str]]:
    """Package and version → its hashes."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in (ROOT / lock).read_text().splitlines():
        if match := re.match(r"([a-z0-9.\[\]-]+==\S+)", line):
            name = match[1]
            found[name] = set()
        elif match := re.match(r" +--hash=(\S+)", line):
            found[name].add(match[1])
    return found


@pytest.mark.parametrize("lock", ["runtime", "tracing"])
def test_the_image_is_made_of_the_lock(lock: str) -> None:
    """Its own lock leaves out what only developers need, and holds nothing else. Anew: `make lock`."""
    whole, image = pins("requirements.lock") | pins("requirements.otel.lock"), pins(f"requirements.{lock}.lock")
    assert len(image) > 20
    assert {name: hashes for name, hashes in image.items() if whole.get(name) != hashes} == {}
    assert any(name.startswith("opentelemetry-sdk") for name in image) is (lock == "tracing")


def test_what_is_measured_against_moves_nothing_else() -> None:
    """What `make bench` adds has the versions of the lock where the two meet: the same bridge is measured."""
    names = {pin.partition("==")[0]: pin for pin in pins("requirements.lock")}
    added = {pin.partition("==")[0]: pin for pin in pins("requirements.bench.lock")}
    assert {"aiohttp", "celery"} <= added.keys()
    assert {name: pin for name, pin in added.items() if names.get(name, pin) != pin} == {}


def test_every_setting_that_is_no_secret_reaches_the_containers(compose: dict[str, Any]) -> None:
    """A variable in .env that compose kept to itself would be a setting without effect."""
    public = {shown_name(name) for name, info in Settings.model_fields.items() if not is_secret(info)}
    assert compose["x-settings"] == dict.fromkeys(public)
    for service in ("worker", "bridge", "demo"):
        assert public <= set(compose["services"][service]["environment"])


def test_no_secret_is_in_the_environment(compose: dict[str, Any]) -> None:
    """`docker inspect` shows it: secrets are files, which only their names reach."""
    secret = {shown_name(name) for name, info in Settings.model_fields.items() if is_secret(info)}
    for service in compose["services"].values():
        assert not secret & set(service.get("environment", {}))


def test_the_demo_sees_no_secret_of_its_owner(compose: dict[str, Any]) -> None:
    """It reads no .env, RUN_AS included: a file in config/secrets that only its owner may read would stop it."""
    given = dict(line.split("=", 1) for line in (ROOT / "config/demo.env").read_text().splitlines() if line[0] != "#")
    assert given["SECRETS_FROM"] in compose["volumes"]
    for name, service in compose["services"].items():
        places = [volume for volume in service.get("volumes", []) if "secrets" in volume]
        assert set(places) <= {"${SECRETS_FROM:-./config/secrets}:/run/secrets:ro"}, name
    assert compose["services"]["worker"]["volumes"] == compose["x-bridge"]["volumes"]


def test_the_simulator_is_had_alone_and_with_the_demo(compose: dict[str, Any]) -> None:
    """For a receiver of one's own: no other receiver, and no videos that nobody asked for."""

    def started(profile: str) -> set[str]:
        return {name for name, one in compose["services"].items() if profile in one.get("profiles", [profile])}

    assert started("") == {"redis", "worker"}
    assert started("simulator") == {"redis", "worker", "simulator"}
    assert started("demo") == {"redis", "worker", "simulator", "receiver", "demo"}
    for profile in ("simulator", "demo"):
        for name in started(profile):
            assert set(compose["services"][name].get("depends_on", {})) <= started(profile)


def test_the_last_two_lines_of_the_demo_are_what_the_guide_copies() -> None:
    """They allow callbacks to this machine, and nothing else."""
    assert "tail -n 2 config/demo.env >> .env" in (ROOT / "docs/how-to/docker-compose.md").read_text()
    last = (ROOT / "config/demo.env").read_text().splitlines()[-2:]
    names = [line.partition("=")[0] for line in last]
    assert names == ["BRIDGE_DELIVERY_ALLOW_HTTP", "BRIDGE_DELIVERY_ALLOW_NETWORKS"]


def guides_demo(tmp_path: Path, command: str) -> list[str]:
    """What a shell runs that has the guide's `demo`, and a `docker` that does nothing but print its words."""
    text = (ROOT / "docs/how-to/docker-compose.md").read_text()
    function = textwrap.dedent(text[text.index("    demo() {") : text.index("    demo endpoint add")])
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$*"\n')
    (tmp_path / "docker").chmod(0o755)
    return ["sh", "-c", f"PATH={tmp_path}:$PATH\n{function}\n{command}"]


def test_the_command_line_in_a_container_keeps_its_streams_apart_in_a_pipe(tmp_path: Path) -> None:
    """A terminal of the container's own mixes them: none is made unless all three are terminals here."""
    piped = subprocess.run(guides_demo(tmp_path, "demo task ls -o ids"), capture_output=True, text=True, check=True)
    whole = "compose --progress quiet --env-file config/demo.env run --rm -T bridge task ls -o ids"
    assert piped.stdout.strip() == whole
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        words = guides_demo(tmp_path, "demo task ls; demo task add - < /dev/null; demo event ls 2> /dev/null")
        done = subprocess.run(words, stdin=theirs, stdout=theirs, stderr=theirs, check=True, timeout=20)
        os.close(theirs)
        assert done.returncode == 0
        seen = b""
        with suppress(OSError):  # the other side is closed
            while piece := screen.read(4_096):
                seen += piece
        told = seen.decode().splitlines()
    rests = [one.partition(" run --rm ")[2] for one in told]
    assert rests == ["bridge task ls", "-T bridge task add -", "-T bridge event ls"]


def test_every_container_may_as_little_as_possible(compose: dict[str, Any]) -> None:
    """No root, no capabilities, nothing to write to, limits, and no port but of what is to be looked at from here."""
    beside = YAML(typ="safe").load((ROOT / "docker-compose.observability.yml").read_text())
    for name, service in (*compose["services"].items(), *beside["services"].items()):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= set(service), name
        assert "ports" not in service or name in {"console", "prometheus", "grafana"}, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "container_name" not in service, f"{name} could not be scaled"
    assert compose["services"]["redis"]["networks"] == ["redis"]
    assert compose["networks"]["redis"] == {"internal": True}


def test_a_worker_is_given_the_time_that_it_takes_to_end(compose: dict[str, Any]) -> None:
    """Killed earlier, it would leave what is in flight to the lease."""
    grace = float(compose["services"]["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["delivery_deadline_seconds"].default + STOP_MARGIN_SECONDS


def test_the_users_of_the_stack_are_those_that_contract_acl_prints() -> None:
    """Anew: `bridge contract acl > config/users.acl`."""
    assert (ROOT / "config/users.acl").read_text() == "".join(f"{user.line()}\n" for user in users("bridge:"))
