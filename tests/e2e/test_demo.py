"""`bridge demo`: what it promises, and that nothing of it is left, however it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pictures import LEFT_OUT, PICTURE, PROMPT, lines_of
from redis import Redis
from until import until

pytestmark = pytest.mark.slow

ATTEMPTS = 25
"""At least; 37 where the machine is quick enough to see every status of every task."""

IN_TERMINAL = """import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"""
"""Makes standard input the controlling terminal, then runs what its arguments say."""

PID = re.compile(r"worker \(pid (\d+)\)")


def settings_of_somebody(directory: Path, redis_url: str = "redis://127.0.0.1:1/0") -> dict[str, str]:
    """An environment, and a .env in the directory, that the demo must not look at."""
    (directory / "here").mkdir(exist_ok=True)
    (directory / "tmp").mkdir(exist_ok=True)
    (directory / "here" / ".env").write_text("BRIDGE_NO_SUCH_THING=1\n")
    return {
        **os.environ,
        "BRIDGE_REDIS_URL": redis_url,
        "BRIDGE_PREFIX": "theirs:",
        "BRIDGE_POLL_INTERVAL_SECONDS": "nonsense",
        "TWELVELABS_API_KEY": "tlk_not_for_the_demo",
        "TMPDIR": str(directory / "tmp"),
    }


def start_demo(directory: Path, *options: str, redis_url: str = "redis://127.0.0.1:1/0") -> subprocess.Popen[str]:
    """The demo as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo", *options],
        env=settings_of_somebody(directory, redis_url), cwd=directory / "here",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
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
    """Those that still run; a zombie does not."""
    running = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes():
                running.add(pid)
        except OSError:
            continue
    return running


@contextmanager
def demo_under_way(directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], set[int], int]]:
    """A demo that has shown its first event, its descendants, and the pid of its worker; all of it gone afterwards."""
    demo = start_demo(directory, *options)
    assert demo.stdout is not None
    worker = 0
    for line in demo.stdout:
        if found := PID.search(line):
            worker = int(found[1])
        if "verified" in line:
            break
    ours = descendants(demo.pid)
    assert len(ours) >= 5  # Redis and its watchdog, the supervisor and its two workers
    yield demo, ours, worker
    demo.communicate(timeout=30)
    until(lambda: not alive(ours), 30)
    until(lambda: not list((directory / "tmp").iterdir()), 10)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What a demo prints where there is no terminal, on stdout and on stderr; it leaves no file."""
    directory = tmp_path_factory.mktemp("demo")
    demo = start_demo(directory)
    out, told = demo.communicate(timeout=60)
    assert demo.returncode == 0, told
    assert list((directory / "tmp").iterdir()) == []
    return out, told


@pytest.mark.xdist_group("demo")
def test_the_demo_shows_the_main_job_and_loses_nothing(plain: tuple[str, str]) -> None:
    """Plain lines where there is no terminal: each event verified, one 500 and its retry, lost 0, the next step."""
    out, told = plain
    lines = out.splitlines()
    assert sum("✓ signature verified" in line for line in lines) >= ATTEMPTS
    assert sum(" 500 " in line for line in lines) == 1
    assert sum("attempt 2: the retry" in line for line in lines) == 1
    assert lines[0].startswith("6 videos are indexed by a simulated TwelveLabs")
    assert any(line.startswith("All went well: ") for line in lines)
    assert "Nothing of this demo is left running." in lines
    assert any(line.startswith("tasks 6  events ") for line in lines)
    assert "duplicates 0  first attempts out of order 0  lost 0" in lines
    assert "The worker starts, which takes a few seconds." in lines
    assert "bridge dev" in lines[-1]
    assert "\x1b" not in out
    assert "whsec_…" in out
    assert not re.search(r"whsec_[A-Za-z0-9+/]", out + told)


@pytest.mark.xdist_group("demo")
def test_the_picture_shows_what_the_demo_prints(plain: tuple[str, str]) -> None:
    """Each line of the README's picture, figures apart, is one that the demo prints."""
    printed = [shape(PROMPT), *map(shape, plain[0].splitlines())]
    for line in map(shape, lines_of(PICTURE)):
        start = line.removesuffix(LEFT_OUT)
        cut = start != line
        found = any(one.startswith(start) if cut else one == line for one in printed)
        assert found, f"the demo prints no line like “{line}”; run: .venv/bin/python -m tests.pictures"
    text = PICTURE.read_text()
    assert not re.search("@import|url\\((?!#demo-)|href|<script", text)  # it asks no host for anything


def shape(line: str) -> str:
    """A line without its figures."""
    return re.sub(r" *\d[\d.]*", " 0", line).rstrip()


def test_the_demo_counts_in_json_and_touches_nothing_of_its_users(tmp_path: Path, redis_url: str) -> None:
    """-o json: data alone on stdout. A person's Redis, key and files are left alone, misspelt settings included."""
    demo = start_demo(tmp_path, "-o", "json", redis_url=redis_url)
    out, told = demo.communicate(timeout=60)
    assert demo.returncode == 0, told
    tally = json.loads(out)
    assert (tally["tasks"], tally["ready"], tally["failed"], tally["retried"]) == (6, 5, 1, 1)
    assert tally["attempts"] == tally["verified"] == tally["deliveries"] + tally["retried"] >= ATTEMPTS
    for fault in ("lost", "invented", "duplicates", "out_of_order", "unverified", "missing"):
        assert not tally[fault], fault
    with Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_demo_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted in the middle, or killed outright: its Redis and workers end, its files go."""
    with demo_under_way(tmp_path) as (demo, ours, _):
        demo.send_signal(number)
        assert demo.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:
            assert not alive(ours)


def test_the_demo_says_what_its_worker_died_of(tmp_path: Path) -> None:
    """A worker that ends by itself ends the demo, with exit code 1 and its last lines."""
    with demo_under_way(tmp_path) as (demo, _, worker):
        os.kill(worker, signal.SIGKILL)
        _, told = demo.communicate(timeout=30)
        assert demo.returncode == 1
        assert "The worker ended with -9" in told


def test_the_demo_says_what_is_missing(tmp_path: Path) -> None:
    """Not done in time: exit code 1, and each state that is still to come by name."""
    demo = start_demo(tmp_path, "--timeout", "6")
    out, told = demo.communicate(timeout=30)
    assert demo.returncode == 1, told
    assert "Missing:" in out
    assert "the end of task 6a0b1c2d3e4f5a6b00000000" in out


def test_ctrl_c_in_a_terminal_leaves_nothing(tmp_path: Path) -> None:
    """On a terminal there is a live table; Ctrl-C there reaches the whole group, and still ends in order."""
    terminal, inner = pty.openpty()
    demo = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, "-m", "bridge", "demo"],
        env={**settings_of_somebody(tmp_path), "TERM": "xterm", "COLUMNS": "120"},
        cwd=tmp_path, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    seen = b""
    while "◐".encode() not in seen:  # of whatever stage: on a busy machine the first one is over before it is drawn
        seen += os.read(terminal, 65_536)
    ours = descendants(demo.pid)
    os.write(terminal, b"\x03")
    with suppress(OSError):  # how Linux says that nobody holds the other end any more
        while piece := os.read(terminal, 65_536):
            seen += piece
    os.close(terminal)
    assert demo.wait(20) == 130
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")  # the cursor is back
    assert not alive(ours)
    assert list((tmp_path / "tmp").iterdir()) == []
