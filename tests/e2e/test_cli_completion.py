"""`bridge completion`: scripts that shells really run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli import COMMANDS

Bridge = Callable[..., tuple[int, str, str]]
BIN = Path(sys.executable).parent

PRESS_TAB = """
source /dev/stdin
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_bridge_completion bridge
printf '%s\\n' "${COMPREPLY[@]}"
complete -p bridge
"""


def offered(bridge: Bridge, *words: str) -> list[str]:
    """What bash offers after these words, the last of which is unfinished, with the script that we print."""
    code, script, _ = bridge("completion", "bash")
    assert code == 0
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", PRESS_TAB, "bash", *words]
    done = subprocess.run(command, input=script, capture_output=True, text=True, env=environment, check=True)
    *found, registered = done.stdout.splitlines()
    assert registered.endswith("-F _bridge_completion bridge")
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("bridge", "en"), ["endpoint"]),
        (("bridge", "endpoint", "sh"), ["show"]),
        (("bridge", "endpoint", "add", "--ord"), ["--ordering"]),
        (("bridge", "task", "ls", "-o", "json"), ["json", "jsonl"]),
        (("bridge", "completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes_commands_verbs_options_and_their_words(
    bridge: Bridge, words: tuple[str, ...], expected: list[str]
) -> None:
    """Needs no Redis and no settings."""
    assert offered(bridge, *words) == expected


def test_bash_offers_every_command(bridge: Bridge) -> None:
    """After `bridge ` alone."""
    assert offered(bridge, "bridge", "") == list(COMMANDS)


def test_a_word_that_runs_something_else_is_told(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a clone whose environment is not activated, `bridge` on PATH may be iproute2's."""
    monkeypatch.setattr(sys, "argv", [str(BIN / "bridge")])
    monkeypatch.setenv("PATH", "/nowhere")
    assert "which does not run " in bridge("completion", "zsh")[2]
    monkeypatch.setenv("PATH", str(BIN))
    assert bridge("completion", "zsh")[2] == ""


@pytest.mark.parametrize(
    ("shell", "line"), [("zsh", "#compdef bridge"), ("fish", "complete --no-files --command bridge")]
)
def test_other_shells_get_their_own_script(bridge: Bridge, shell: str, line: str) -> None:
    """Each names the command that it completes."""
    code, out, told = bridge("completion", shell)
    assert (code, told) == (0, "")
    assert line in out


def test_another_shell_is_a_usage_error(bridge: Bridge) -> None:
    """It says which there are."""
    code, _, told = bridge("completion", "csh")
    assert code == 2
    assert "'bash', 'zsh', 'fish'" in told
