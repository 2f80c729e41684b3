"""How we can be called from here, and the commands that are told to people."""

import os
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
