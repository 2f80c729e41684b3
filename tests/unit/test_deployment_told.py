"""What people are told to do where the worker is started by hand, and in the compose stack."""

import subprocess
from pathlib import Path

import pytest

from bridge.deployment import Deployment, where_is
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
    assert len(names) == 5
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


@pytest.mark.parametrize(
    ("url", "where", "start"),
    [
        ("redis://127.0.0.1:6379/0", "127.0.0.1:6379", "redis-server config/redis.conf &"),
        ("redis://localhost/0", "localhost:6379", "redis-server config/redis.conf &"),
        ("redis://me:hunter2@127.0.0.1:7000/0", "127.0.0.1:7000", "redis-server config/redis.conf --port 7000 &"),
        (
            "rediss://me:hunter2@redis.example.com/0",
            "redis.example.com:6379",
            "start the Redis at redis.example.com:6379,",
        ),
        ("unix:///run/redis.sock?db=0", "/run/redis.sock", "start the Redis at /run/redis.sock,"),
    ],
    ids=["default", "by-name", "another-port", "elsewhere", "socket"],
)
def test_a_redis_that_does_not_answer_is_named(url: str, where: str, start: str) -> None:
    """Where it should be, and what starts that one; never the password of its URL."""
    assert where_is(url) == where
    assert Deployment.BY_HAND.start_redis(url).startswith(start)
    assert Deployment.COMPOSE.start_redis(url) == "docker compose up -d redis"
    assert "hunter2" not in Deployment.BY_HAND.start_redis(url)


def test_a_key_file_is_written_from_a_variable_that_is_set() -> None:
    """By nobody else to be read, and not empty where the variable was forgotten."""
    kept = Deployment.COMPOSE.with_secret("TWELVELABS_API_KEY")
    assert kept.startswith('(umask 077; printf %s "${TWELVELABS_API_KEY:?}" > config/secrets/twelvelabs_api_key)')
