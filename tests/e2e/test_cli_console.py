"""`bridge console`: the door, and what it refuses."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

Bridge = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


def test_it_serves_until_it_is_told_to_stop(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """On a free port here; looking at an empty Redis writes nothing; SIGTERM ends it with 0."""
    command = [sys.executable, "-m", "bridge", "console", "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}
    console = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert console.stderr
    try:
        told = console.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert found, told
        asked = urllib.request.Request(f"{found[0]}/", headers={"accept": "application/json"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert json.load(answer)["pending"] == 0
        for name in ("console.css", "console.js", "htmx.min.js", "bridge.svg"):
            with urllib.request.urlopen(f"{found[0]}/static/{name}", timeout=20) as answer:
                assert answer.status == 200
        assert client.dbsize() == 0
    finally:
        console.terminate()
        _, told = console.communicate(timeout=20)
    assert (console.returncode, told) == (0, "")


def test_writes_need_a_token(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there, and long enough; never on the command line."""
    code, _, told = bridge("console", "--allow-writes")
    assert (code, "export BRIDGE_CONSOLE_TOKEN=$(openssl rand -hex 32)" in told) == (2, True)
    monkeypatch.setenv("BRIDGE_CONSOLE_TOKEN", "short")
    code, _, told = bridge("console", "--allow-writes")
    assert (code, "at least 16" in told or "16 to 200" in told, "short" in told) == (2, True, False)


@pytest.mark.parametrize("address", ["x", "127.0.0.1:", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_an_error(bridge: Bridge, address: str) -> None:
    """Exit code 2, with one that would do."""
    code, _, told = bridge("console", "--bind", address)
    assert (code, "write HOST:PORT" in told) == (2, True)


def test_without_its_extra_it_says_how_to_install_it(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The console is for who wants one; everything else works without its packages."""
    for name in [name for name in sys.modules if name.startswith(("bridge.console.", "starlette"))]:
        if name != "bridge.console.command":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    code, _, told = bridge("console")
    assert (code, ".whl[console]" in told) == (1, True)


def test_the_command_line_does_not_carry_it_along() -> None:
    """`bridge --help` imports neither the console's packages nor those of the metrics."""
    code = (
        "import bridge.cli, sys; bridge.cli.run(['--help']); "
        "print({'starlette', 'jinja2', 'uvicorn', 'prometheus_client', 'redis'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
