"""The HTTP API behind a real server: docs/http-api.md run as it stands there, and names whose dots nobody took away."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/http-api.md").read_text()
TOKEN = "0123456789abcdef-token"
STATUSES = [200, 201, 200, 200, *[200] * 4, 201, 200, 201, 202, *[200] * 9]
"""What each line of the page is answered, in order."""


@contextmanager
def served(redis_url: str, directory: Path) -> Iterator[str]:
    """The address of a console that writes."""
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url, "BRIDGE_CONSOLE_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bridge", "console", "--bind", "127.0.0.1:0", "--allow-writes"]
    with subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True) as console:
        assert console.stderr
        try:
            found = re.search(r"http://(127\.0\.0\.1:\d+)", console.stderr.readline())
            assert found
            yield found[1]
        finally:
            console.terminate()


def test_the_page_does_what_it_says(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """Each line is answered as the page promises, in JSON; at the end nothing is registered but the asset."""
    curl = shutil.which("curl")
    if curl is None or b"--json" not in subprocess.run([curl, "--help", "all"], capture_output=True).stdout:
        pytest.skip("there is no curl with --json here")
    first, *steps = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert "bridge console --allow-writes" in first
    with served(redis_url, tmp_path) as address:
        script = "set -e\n" + "".join(steps).replace("127.0.0.1:8790", address).replace(
            "curl -sS", r"curl -sS -o answer -w '%{http_code} %{content_type}\n'"
        )
        environment = {"PATH": os.environ["PATH"], "BRIDGE_CONSOLE_TOKEN": TOKEN}
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert [line.split(" ", 1) for line in done.stdout.splitlines()] == [
        [str(status), "application/json"] for status in STATUSES
    ]
    assert client.zrange("bridge:tasks", 0, -1) == ["asset:6a0b1c2d3e4f5a6b7c8d9e02/6a0b1c2d3e4f5a6b7c8d9e03"]
    assert client.hgetall("bridge:endpoints") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"answer", "bridge.curl", "billing.json", "secret.json"}


def test_dots_in_a_path_lead_nowhere(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """Neither out of /api nor to another key, spelt out or not; a second request on the connection is answered, too."""
    with served(redis_url, tmp_path) as address:
        connection = http.client.HTTPConnection(address, timeout=20)
        keys = set(client.keys("*"))
        for what in ("tasks", "endpoints"):
            for name in ("..", "../x", "../../tasks/x", "a/../b", "%2e%2e/x", "..%5cx", "."):
                body = json.dumps({"url": "https://example.com/", "secret": f"whsec_{'A' * 32}"})
                headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
                connection.request("PUT", f"/api/{what}/{name}", body, headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
                assert (answer.status, bool(told["reason"]), bool(told["fix"])) == (422, True, True), (name, told)
        connection.close()
        assert set(client.keys("*")) == keys
