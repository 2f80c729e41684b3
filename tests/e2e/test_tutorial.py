"""docs/tutorial.md, run as it stands there, but for the ports and the speed of the simulated videos."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from until import until

from bridge import formats
from bridge.events import ENDPOINT_TYPES
from bridge.signature import Signer, generate_secret
from bridge.trial import TYPE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text()
PORTS = ("6379", "8788", "8787")
"""Of Redis, of the simulator and of the receiver."""
NO_TASKS = (TYPE, *ENDPOINT_TYPES)
"""The types of the events that tell of an endpoint, and have neither a task id nor a revision."""


def free_ports(count: int) -> list[str]:
    """Ports that nobody has at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found


def script() -> str:
    """Step 2 as one script that ends at the first command that fails."""
    step = TEXT.split("\n## 2. ")[1].split("\n## ")[0]
    lines = "".join(re.findall(r"```sh\n(.*?)```", step, re.DOTALL))
    redis, simulator, _ = ports = free_ports(len(PORTS))
    for written, free in zip(PORTS, ports, strict=True):
        lines = lines.replace(written, free)
    lines = lines.replace("config/redis.conf", f"config/redis.conf --port {redis}")
    lines = lines.replace("bridge simulate --speed 3", f"bridge simulate {simulator} --speed 10")
    return "set -e\n" + lines


def test_the_second_step_shows_what_it_says(tmp_path: Path) -> None:
    """Doctor, a task that gets ready and one that fails, what was received, and what waited for its receiver."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    if not (ROOT / ".venv/bin/bridge").exists():
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (tmp_path / "out").open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script()], cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = shell.wait(150)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # what is left when a command failed
    shown = (tmp_path / "out").read_text()
    assert code == 0, shown
    assert "exit code 7" in shown
    assert "✗ redis" not in shown
    assert "✗ key" not in shown
    assert re.search(r"✓ sig ok  index\.task\.ready  keynote .* → 204", shown)
    assert re.search(r"✓ sig ok  index\.task\.failed  fail-trailer .* → 204", shown)
    assert re.search(r"✓ sig ok  index\.task\.\w+  interview .* attempt [23] → 204", shown)
    assert "sig BAD" not in shown
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_the_receiver_of_the_fourth_step_verifies_and_drops_repeats(tmp_path: Path) -> None:
    """A delivery is taken once and answered 204 each time; a wrong signature is answered 401; an older one is old.

    What is no task's, such as the event of `bridge endpoint test`, is answered 204 and left alone.
    """
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (port,) = free_ports(1)
    secret = generate_secret(bytes(range(32)))
    environment = {"PATH": os.environ["PATH"], "HOOK_SECRET": secret, "PORT": port}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            until(lambda: listens(port))
            answers = [post(port, secret, event, 2) for event in ("evt_1", "evt_1")]
            answers += [post(port, secret, "evt_0", 1), post(port, generate_secret(bytes(32)), "evt_2", 3)]
            assert answers == [204, 204, 204, 401]
            for number, kind in enumerate(NO_TASKS):
                assert send(port, secret, f"evt_n{number}", notice(kind)) == 204, kind
        finally:
            receiver.kill()
        assert receiver.stdout is not None
        assert receiver.stdout.read() == "index.task.ready t1\n"


def listens(port: str) -> bool:
    """Whether somebody answers there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
        return True
    return False


def notice(kind: str) -> bytes:
    """An event about an endpoint, as Bridge makes it."""
    return formats.notice(kind, 1_795_518_280_209, {"endpoint": "mine"})


def post(port: str, secret: str, event_id: str, revision: int) -> int:
    """The status that a signed event of a task is answered."""
    event = {"type": "index.task.ready", "data": {"task_id": "t1", "revision": revision}}
    return send(port, secret, event_id, json.dumps(event).encode())


def send(port: str, secret: str, event_id: str, body: bytes) -> int:
    """The status that a signed body is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("POST", "/", body, headers=dict(Signer([secret]).headers(event_id, int(time.time()), body)))
    status = connection.getresponse().status
    connection.close()
    return status
