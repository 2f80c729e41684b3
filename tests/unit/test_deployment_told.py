"""What people are told to do where the worker is started by hand, and in the compose stack."""

import subprocess
from pathlib import Path

import pytest

from bridge.deployment import Deployment
from bridge.settings import load_settings

HAND, COMPOSE = Deployment.BY_HAND, Deployment.COMPOSE
NASTY = "X=a b'$(touch pwned)"


def test_the_stack_is_known_by_where_its_logins_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file elsewhere, as anybody may have one, is no stack; an address without a file is none either."""
    login = tmp_path / "operator.url"
    login.write_text("redis://127.0.0.1:1/0")
    monkeypatch.setattr("bridge.deployment.IN_THE_STACK", f"{tmp_path}/")
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(login))
    assert load_settings().deployment is COMPOSE
    monkeypatch.setattr("bridge.deployment.IN_THE_STACK", "/run/bridge/")
    assert load_settings().deployment is HAND
    monkeypatch.delenv("BRIDGE_REDIS_URL_FILE")
    assert load_settings().deployment is HAND


def test_the_stack_has_its_logins_where_we_look_for_them() -> None:
    """docker-compose.yml names the place for worker and command line alike."""
    text = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
    names = [line.split(": ")[1] for line in text.splitlines() if "BRIDGE_REDIS_URL_FILE" in line]
    assert len(names) == 3
    assert {Deployment.of(name) for name in names} == {COMPOSE}


def test_each_command_is_of_its_place() -> None:
    """No compose by hand, no bare worker in the stack."""
    for one, word in ((HAND, "bridge worker"), (COMPOSE, "docker compose")):
        said = (
            one.start(),
            one.start("poll"),
            one.restart,
            one.one_more(1),
            one.with_settings(["X=1"]),
            one.with_secret("X"),
        )
        assert all(word in text for text in said), said
    assert COMPOSE.one_more(1) == "docker compose up -d --scale worker=2"
    assert (HAND.logs, COMPOSE.logs) != (COMPOSE.logs, HAND.logs)


@pytest.mark.parametrize("deployment", list(Deployment))
def test_a_setting_is_pasted_as_it_is(deployment: Deployment, tmp_path: Path) -> None:
    """By a real shell: the value arrives whole, and nothing in it is run."""
    told = deployment.with_settings([NASTY, "Y=1"]).removeprefix("stop the worker, then: ")
    for command in ("bridge", "docker"):
        (tmp_path / command).write_text('#!/bin/sh\nprintf "%s %s" "$X" "$Y" > seen\n')
        (tmp_path / command).chmod(0o755)
    subprocess.run(
        ["/bin/bash", "-c", told], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, timeout=30
    )
    if deployment is COMPOSE:
        assert (tmp_path / ".env").read_text() == f"{NASTY}\nY=1\n"
    else:
        assert (tmp_path / "seen").read_text() == f"{NASTY.removeprefix('X=')} 1"
    assert not (tmp_path / "pwned").exists()
