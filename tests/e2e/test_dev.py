"""`bridge dev` and `bridge listen` against the simulator."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.sandbox.receiver import Receiver
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import Simulator
from bridge.signature import Signer, generate_secret

pytestmark = pytest.mark.slow

SECRET = generate_secret(bytes(range(32)))


def run_dev(
    simulator: Simulator, directory: Path, *words: str, key: str = "tlk_sandbox"
) -> subprocess.CompletedProcess[str]:
    """`bridge dev`, on a Redis of its own."""
    environment = {
        **os.environ,
        "TWELVELABS_API_KEY": key,
        "BRIDGE_TWELVELABS_BASE_URL": simulator.base_url,
        "BRIDGE_POLL_INTERVAL_SECONDS": "0.3",
    }
    return subprocess.run(
        [sys.executable, "-m", "bridge", "dev", *words],
        env=environment, cwd=directory, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def test_dev_shows_each_change_until_the_tasks_have_ended(tmp_path: Path) -> None:
    """Ids and a key are enough: each status of each task is a verified line, and the exit code tells the end."""
    simulator = Simulator()
    with simulator.in_thread():
        tasks = [
            simulator.add_task(timeline=a_timeline(validating=1, pending=1, queued=1, indexing=1)) for _ in range(2)
        ]
        done = run_dev(simulator, tmp_path, *tasks, "--until-done")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "sig ok" in line]
    assert sum("index.task.ready" in line for line in lines) == 2
    assert all(any(task in line and "index.task.indexing" in line for line in lines) for task in tasks)


def test_dev_tells_by_its_exit_code_that_a_task_failed(tmp_path: Path) -> None:
    """One failed task: exit code 7."""
    simulator = Simulator()
    with simulator.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5, end="failed"), age_seconds=60)
        done = run_dev(simulator, tmp_path, task, "--until-done")
    assert done.returncode == 7, done.stderr


def test_dev_posts_to_a_url_of_ones_own(tmp_path: Path) -> None:
    """--to: the events arrive there."""
    simulator, receiver = Simulator(), Receiver(reject_invalid=False)
    with simulator.in_thread(), receiver.in_thread():
        task = simulator.add_task(timeline=a_timeline(indexing=0.5), age_seconds=60)
        done = run_dev(simulator, tmp_path, task, "--until-done", "--to", f"{receiver.url}/mine")
    assert done.returncode == 0, done.stderr
    assert [(a.path, a.type) for a in receiver.arrivals] == [("/mine", "index.task.ready")]
    assert task in done.stdout


def test_dev_says_that_the_key_is_refused(tmp_path: Path) -> None:
    """A wrong key ends it with exit code 4 and what to do, not with silence."""
    simulator = Simulator()
    with simulator.in_thread():
        done = run_dev(simulator, tmp_path, simulator.add_task(), key="tlk_wrong")
    assert done.returncode == 4
    assert "TWELVELABS_API_KEY" in done.stderr


def test_listen_verifies_what_it_is_sent(tmp_path: Path) -> None:
    """A rightly signed delivery is a ✓ line and 204, any other a ✗ line with the reason and 401; Ctrl-C ends with 0."""
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET)
    secret_file.chmod(0o600)
    listener = subprocess.Popen(
        [sys.executable, "-m", "bridge", "listen", "0", "--secret-file", str(secret_file)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert listener.stderr is not None
    port = int(listener.stderr.readline().split("127.0.0.1:")[1].split()[0])
    body = b'{"type":"index.task.\\u001b[31mready","data":{"task_id":"t1"}}'
    statuses = []
    for sent in (body, body + b" "):
        headers = dict(Signer([SECRET]).headers("evt_1", int(time.time()), body))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", "/", sent, headers)
        statuses.append(connection.getresponse().status)
        connection.close()
    listener.send_signal(signal.SIGINT)
    out, _ = listener.communicate(timeout=20)
    assert statuses == [204, 401]
    assert "✓ sig ok" in out
    assert "✗ sig BAD" in out
    assert "\x1b" not in out
    assert listener.returncode == 0
