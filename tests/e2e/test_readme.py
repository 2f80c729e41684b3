"""README.md, its commands by hand run as they stand there, but for the ports and the speed of the simulated video."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from test_tutorial import NO_TASKS, PORTS, free_ports, notice
from until import until

from bridge.signature import Signer, generate_secret

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
ENDING = "trap 'kill $(jobs -p); wait' EXIT; trap exit TERM"
BY_HAND = README.split("\nOr by hand")[1].split("\nAny Redis client")[0]


@pytest.mark.slow
def test_the_commands_by_hand_lead_to_an_event(tmp_path: Path) -> None:
    """In the order in which they stand there a worker starts that knows where to read, and may call the receiver.

    No line ends in a comment: a shell that people paste into may know none (zsh).
    """
    assert "#" not in "".join(re.findall(r"^    (.*\n)", BY_HAND, re.MULTILINE))
    lines = "".join(re.findall(r"^    (.*\n)", BY_HAND, re.MULTILINE))
    redis, simulator, receiver = ports = free_ports(len(PORTS))
    for written, free in zip(PORTS, ports, strict=True):
        lines = lines.replace(written, free)
    lines = lines.replace("config/redis.conf", f"config/redis.conf --port {redis}")
    lines = lines.replace("bridge simulate", f"bridge simulate {simulator} --speed 10")
    for name in ("config", "worker.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    out = tmp_path / "out"
    with out.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-c", f"{ENDING}\nset -e\n{lines}wait"], cwd=tmp_path, stdout=file, stderr=file,
            start_new_session=True, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "NO_COLOR": "1"},
        )  # fmt: skip
        try:
            until(lambda: re.search(r"✓ sig ok  index\.task\.ready  keynote .* → 204", out.read_text()), 50)
            shell.terminate()
            shell.wait(40)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # what is left when something failed
    assert receiver in out.read_text()
    assert "no worker is running" not in out.read_text()


def test_the_way_to_call_it_brings_no_other_redis(tmp_path: Path) -> None:
    """Beside `bridge` the environment has a redis-server of its own, which keeps its data in other files: by its name
    alone the machine's is started, as before. What the stack calls `bridge` may take its place afterwards.
    """
    (line,) = re.findall(r"`(here=[^`]+)`", README)
    (stack,) = re.findall(r"^    (bridge\(\) \{.*\})$", README, re.MULTILINE)
    for name, words in (("my clone/.venv/bin/bridge", "ours"), ("my clone/.venv/bin/redis-server", "its own"),
                        ("sbin/bridge", "iproute2"), ("sbin/redis-server", "the machine's")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{words}"\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"{line}\ncd /\nbridge\nredis-server\n{stack}"], cwd=tmp_path / "my clone",
        env={"PATH": f"{tmp_path}/sbin"}, executable=shutil.which("bash"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["ours", "the machine's"]
    assert [page.name for page in PAGES if ".venv/bin:" in page.read_text()] == []


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no git repository")
@pytest.mark.parametrize(
    "path", ["local.whsec", "worker.log", "appendonlydir/x.aof", "appendonly.aof", "dump.rdb", ".env"]
)
def test_what_trying_it_leaves_is_not_committed_by_accident(path: str) -> None:
    """A signing secret, and the data of a Redis that was started here."""
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT, check=False).returncode == 0


def test_the_receiver_that_is_shown_applies_tasks_and_leaves_the_rest_alone() -> None:
    """What `bridge endpoint test` sends, and what tells of endpoints, is answered 204, and nothing is applied."""
    (code,) = re.findall(r"^    from standardwebhooks.*?\n\n(?!    )", README, re.MULTILINE | re.DOTALL)
    secret = generate_secret(bytes(32))
    applied: list[Any] = []
    names: dict[str, Any] = {"seen_before": lambda _: False, "apply": lambda data: applied.append(data["task_id"])}
    exec(textwrap.dedent(code).replace("whsec_…", secret), names)  # the page's own words
    ready = b'{"type": "index.task.ready", "data": {"task_id": "t1", "revision": 7}}'
    for body in (ready, *map(notice, NO_TASKS)):
        assert names["hook"](dict(Signer([secret]).headers("evt_1", int(time.time()), body)), body) == 204
    assert applied == ["t1"]


def test_the_types_that_are_named_are_all_that_there_are() -> None:
    """A receiver that does not know of a type cannot skip it."""
    assert [kind for kind in NO_TASKS if f"`{kind}`" not in README.split("## What you receive")[1]] == []


def test_the_key_is_written_after_its_reader_was_chosen() -> None:
    """By docker-compose: without RUN_AS a file that only its owner may read stops every container."""
    stack = README.split("For good, by docker-compose")[1].split("Or by hand")[0]
    assert -1 < stack.find("RUN_AS=") < stack.find("docker compose up -d") < stack.find("> config/secrets/")
