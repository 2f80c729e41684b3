"""`bridge simulate`: what the SDK's users would see of it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from until import until

from bridge.cli.simulate import life_of
from bridge.doctor.probing import UNKNOWN_ID

pytestmark = pytest.mark.slow


class Simulating:
    """A `bridge simulate` process on a free port, a hundred times faster than real."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "simulate", "0", "--speed", "100", *words],
            env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.told = self.process.stderr.readline()
        self.port = int(self.told.split(" at http://")[1].split(":")[1].split("/")[0])

    def read(self, task_id: str, key: str = "tlk_sandbox") -> tuple[int, Any]:
        """`GET /v1.3/tasks/<id>`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", f"/v1.3/tasks/{task_id}", headers={"x-api-key": key})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer


@pytest.fixture(params=[(), ("--host", "0.0.0.0")], ids=["loopback", "all addresses"])
def simulating(request: pytest.FixtureRequest) -> Iterator[Simulating]:
    """One that is ended in any case."""
    one = Simulating(*request.param)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def test_any_id_is_a_video_that_reaches_its_end(simulating: Simulating) -> None:
    """It starts when it is first read; its name says how it ends; Ctrl-C ends the process with 0."""
    status, task = simulating.read("keynote")
    assert (status, task["_id"], task["status"]) == (200, "keynote", "validating")
    until(lambda: simulating.read("keynote")[1]["status"] == "ready")
    until(lambda: simulating.read("fail-1")[1]["status"] == "failed")
    assert simulating.read("unknown-1")[0] == 404
    assert simulating.read(UNKNOWN_ID)[0] == 404
    assert simulating.read("keynote", key="another")[0] == 401
    simulating.process.send_signal(signal.SIGINT)
    out, _ = simulating.process.communicate(timeout=20)
    assert simulating.process.returncode == 0
    assert [line.split()[1:3] for line in out.splitlines()][:2] == [["keynote", "starts;"], ["fail-1", "starts;"]]


def test_a_taken_port_is_said_with_a_way_out(simulating: Simulating) -> None:
    """As by `bridge listen`."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "simulate", str(simulating.port)], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, "is taken" in done.stderr, "lsof" in done.stderr) == (1, True, True)


@pytest.mark.parametrize(
    "task_id",
    ["keynote", "x" * 200, "a/b:c", "6a0b1c2d3e4f5a6b7c8d9e01", "asset:ix/keynote", "analyze:keynote"],
)
def test_a_life_is_as_long_as_the_help_says_and_always_the_same(task_id: str) -> None:
    """From 9 to 44 s; a restarted simulator goes on as the one before would have."""
    life = life_of(task_id, 1)
    assert life is not None
    assert life == life_of(task_id, 1)
    assert 9 <= life[-1].at <= 44


@pytest.mark.parametrize("member", ["fail-1", "asset:ix/fail-1", "analyze:fail-1"])
def test_what_is_to_fail_fails_whatever_its_kind(member: str) -> None:
    """By how its own id begins; so does what does not exist."""
    life = life_of(member, 1)
    assert life is not None
    assert life[-1].patch["status"] == "failed"
    assert life_of(member.replace("fail", "unknown"), 1) is None
