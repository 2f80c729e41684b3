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
from bridge.sandbox.timeline import a_timeline
from bridge.sandbox.twelvelabs import API_KEY, Simulator
from bridge.signature import Signer, generate_secret
from bridge.trial import TYPE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text()
PORTS = ("6379", "8788", "8787")
"""Of Redis, of the simulator and of the receiver."""
OWN_PORT = "3000"
"""Of the receiver of one's own."""
REAL = "6a0b1c2d3e4f5a6b7c8d9e01"
"""The task that is watched with a key."""
NO_TASKS = (TYPE, *ENDPOINT_TYPES)
"""The types of the events that tell of an endpoint, and have neither a task id nor a revision."""


def free_ports(count: int) -> list[str]:
    """Ports that nobody has at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found


def script(own: str) -> str:
    """The steps from the second one on, in one shell, that ends at the first command that fails.

    `own` is the port of the third step's receiver. The fourth's TwelveLabs is $REAL, and then, as without a key, a
    simulator of its own; what is for a server is left out.
    """
    second, third, fourth = (TEXT.split(f"\n## {number}. ")[1].split("\n## ")[0] for number in (2, 3, 4))
    blocks = re.findall(r"```sh\n(.*?)```", second + third, re.DOTALL)
    real, keyless, _ = re.findall(r"```sh\n(.*?)```", fourth, re.DOTALL)
    lines = "".join([*blocks, "export BRIDGE_TWELVELABS_BASE_URL=$REAL\n", real.replace("tlk_…", API_KEY), keyless])
    redis, simulator, _ = ports = free_ports(len(PORTS))
    for written, free in zip((*PORTS, OWN_PORT), (*ports, own), strict=True):
        lines = lines.replace(written, free)
    lines = lines.replace("config/redis.conf", f"config/redis.conf --port {redis}")
    lines = re.sub(r"bridge simulate( --speed 3)?", f"bridge simulate {simulator} --speed 10", lines)
    return "set -e\n" + re.sub(r"(?<=[ \n])\.venv/bin/", f"{Path(sys.executable).parent}/", lines)


def test_the_steps_show_what_they_say_in_one_terminal(tmp_path: Path) -> None:
    """From the second to the last, in the order in which they stand there.

    Doctor, a task that gets ready and one that fails, what was received, and what waited for its receiver; a receiver
    of one's own; then, when all of that was put away, a run with a key, which does not look for the Redis that is gone.
    """
    (own,) = free_ports(1)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    environment["PORT"] = own
    if not (ROOT / ".venv/bin/bridge").exists():
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    simulator = Simulator()
    with (tmp_path / "out").open("wb") as out, simulator.in_thread():
        simulator.add_task(REAL, timeline=a_timeline(indexing=0.5))
        shell = subprocess.Popen(
            ["bash", "-c", script(own)], cwd=ROOT, env=environment | {"REAL": simulator.base_url},
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
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
    assert "ignored bridge.endpoint.test" in shown
    assert re.search(r"applied index\.task\.ready lecture \d", shown)
    assert "Redis: a throw-away one of this run." in shown
    assert re.search(rf"✓ sig ok  index\.task\.ready  {REAL} .* → 204", shown)
    assert re.search(r"✓ sig ok  index\.task\.ready  lecture .* → 204", shown.rpartition("throw-away one")[2])
    assert "sig BAD" not in shown
    assert "no worker is running" not in shown
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_the_receiver_that_is_shown_verifies_and_drops_repeats(tmp_path: Path) -> None:
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
