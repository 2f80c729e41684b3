"""How we can be called from here, and the commands that are told to people."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli.calling import pasteable


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We were called by a path, and the `bridge` on PATH is another program, as on Linux."""
    ours, other = tmp_path / "clone/.venv/bin/bridge", tmp_path / "sbin/bridge"
    for program in (ours, other):
        program.parent.mkdir(parents=True)
        program.touch(0o755)
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setattr(sys, "argv", [str(ours)])
    monkeypatch.setenv("PATH", str(other.parent))
    return ours


def test_it_is_called_by_its_shortest_path(called: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From far away not by a row of dots; below the home directory by its tilde; quoted for a shell."""
    (far := called.parents[3].joinpath(*"abcdefghijklmnopqrstuvwxyz" * 2)).mkdir(parents=True)
    monkeypatch.chdir(far)
    monkeypatch.setenv("HOME", "/nowhere")
    assert pasteable("→ bridge doctor") == f"→ {called} doctor"
    monkeypatch.setenv("HOME", str(called.parents[3]))
    assert pasteable("→ bridge doctor") == "→ ~/clone/.venv/bin/bridge doctor"
    (spaced := called.parents[3] / "my clone").mkdir()
    (other := spaced / "bridge").touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(other)])
    assert pasteable("→ bridge doctor") == "→ ~/'my clone/bridge' doctor"


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize(
    ("told", "pasted"),
    [
        ("  → bridge endpoint enable x", "  → .venv/bin/bridge endpoint enable x"),
        ("bridge ls -o ids | bridge delivery retry -", "bridge ls -o ids | .venv/bin/bridge delivery retry -"),
        (
            "stop the worker, then: A=1 bridge worker; `bridge doctor`, too",
            "stop the worker, then: A=1 .venv/bin/bridge worker; `.venv/bin/bridge doctor`, too",
        ),
        (".venv/bin/bridge task add x", ".venv/bin/bridge task add x"),
        ("bridge task-force, my-bridge task, the bridge keeps", "bridge task-force, my-bridge task, the bridge keeps"),
    ],
    ids=["arrow", "pipe", "prose", "path", "other-words"],
)
def test_a_command_that_is_told_works_where_it_is_pasted(told: str, pasted: str) -> None:
    """Each command of ours becomes the way we were called; what only looks like one is left as it is."""
    assert pasteable(told) == pasted


def test_who_is_found_on_the_path_is_called_by_name(called: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an activated environment, or in a container."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(called.parent), os.environ["PATH"]]))
    assert pasteable("→ bridge doctor") == "→ bridge doctor"


@pytest.mark.parametrize(
    ("url", "spoken"),
    [
        (None, "redis-cli"),
        ("redis://127.0.0.1:6379/0", "redis-cli"),
        ("redis://localhost", "redis-cli"),
        ("redis://127.0.0.1:6399/0", 'redis-cli -u "$BRIDGE_REDIS_URL"'),
        ("redis://127.0.0.1:6379/1", 'redis-cli -u "$BRIDGE_REDIS_URL"'),
        ("redis://:hunter2@127.0.0.1:6379/0", 'redis-cli -u "$BRIDGE_REDIS_URL" --user default'),
        ("redis://operator:hunter2@127.0.0.1:6379/0", 'redis-cli -u "$BRIDGE_REDIS_URL"'),
        ("rediss://127.0.0.1:6379/0", 'redis-cli -u "$BRIDGE_REDIS_URL"'),
        ("redis://cache.example.com", 'redis-cli -u "$BRIDGE_REDIS_URL"'),
        ("unix:///run/my%20redis/socket", "redis-cli -s '/run/my redis/socket'"),
        ("redis://cache.example.com:nonsense", "redis-cli"),
    ],
)
def test_what_is_said_to_redis_goes_to_the_one_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str | None, spoken: str
) -> None:
    """The variable is named and never its value, in which a password may be; prose about redis-cli is left alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRIDGE_REDIS_URL", raising=False)
    if url:
        monkeypatch.setenv("BRIDGE_REDIS_URL", url)
    assert pasteable("→ redis-cli CONFIG SET appendonly yes; or `redis-cli DEL x`") == (
        f"→ {spoken} CONFIG SET appendonly yes; or `{spoken} DEL x`"
    )
    assert pasteable("as redis-cli does; redis-cli -x HSET") == "as redis-cli does; redis-cli -x HSET"


@pytest.mark.parametrize(
    ("url", "spoken"),
    [
        ("redis://cache.example.com:6380/1", "redis-cli -u redis://cache.example.com:6380/1"),
        ("redis://:hunter2@cache.example.com", "redis-cli"),
        ("redis://cache.example.com?password=hunter2", "redis-cli"),
    ],
)
@pytest.mark.parametrize("place", [".env", "file"])
def test_a_redis_that_a_file_names_is_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, url: str, spoken: str
) -> None:
    """There is no such variable in the shell, and a password is not repeated."""
    monkeypatch.chdir(tmp_path)
    if place == ".env":
        Path(".env").write_text(f"BRIDGE_REDIS_URL={url}\n")
    else:
        Path("url").write_text(url)
        monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(tmp_path / "url"))
    assert pasteable("→ redis-cli DEL x") == f"→ {spoken} DEL x"


def test_what_an_argument_says_is_no_command(called: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An entry's name is another's text: rewritten within its quotes it would end them, and run as the operator."""
    name = "task:x bridge task $(touch pwned) redis-cli ZADD bridge task"
    text = f"bridge rejected rm {shlex.quote(name)}; the worker's bridge doctor, TwelveLabs' bridge task ls"
    (odd := tmp_path / "o'brien").mkdir()
    (ours := odd / "bridge").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    ours.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(ours)])
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:7777/0")
    pasted = pasteable(text)
    assert pasted.count("o'") == 3
    done = subprocess.run(["/bin/sh", "-c", pasted.partition(";")[0]], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["rejected", "rm", name]
    assert not (called.parents[2] / "pwned").exists()
