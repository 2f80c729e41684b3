"""`bridge demo`: what it promises, and that nothing of it is left, however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from until import until

pytestmark = pytest.mark.slow

PID = re.compile(r"worker \(pid (\d+)\)")


def start_demo(directory: Path, *options: str) -> subprocess.Popen[str]:
    """The demo as a user starts it, with settings around that it must not look at."""
    environment = {
        **os.environ,
        "BRIDGE_REDIS_URL": "redis://127.0.0.1:1/0",
        "TWELVELABS_API_KEY": "tlk_not_for_the_demo",
        "BRIDGE_POLL_INTERVAL_SECONDS": "nonsense",
        "TMPDIR": str(directory),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo", *options],
        env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def descendants(pid: int) -> set[int]:
    """A process' children, and theirs."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found |= {int(stat.parent.name)} | descendants(int(stat.parent.name))
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_the_demo_shows_the_main_job_and_loses_nothing(tmp_path: Path) -> None:
    """Six tasks, each event verified, one retried after a 500, nothing lost; a person's settings are not looked at."""
    demo = start_demo(tmp_path, "-o", "json")
    out, told = demo.communicate(timeout=60)
    assert demo.returncode == 0, told
    tally = json.loads(out)
    assert (tally["tasks"], tally["lost"], tally["duplicates"], tally["out_of_order"]) == (6, 0, 0, 0)
    assert tally["retried"] >= 1
    assert tally["verified"] == tally["attempts"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_demo_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted in the middle, or killed outright: its Redis and workers end, its files go."""
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "verified" in line:
            break
    ours = descendants(demo.pid)
    assert len(ours) >= 3
    demo.send_signal(number)
    demo.communicate(timeout=30)
    until(lambda: not alive(ours), 30)
    until(lambda: not list(tmp_path.iterdir()), 10)
