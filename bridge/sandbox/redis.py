"""A throw-away Redis: found, started on a free loopback port, and gone when its parent is gone.

Dying with the parent: a one-line `/bin/sh` beside the server reads a pipe whose write end is ours. When we
end in any way, SIGKILL included, it reads end-of-file, kills the server and removes the temporary directory.
Not PR_SET_PDEATHSIG: it needs `preexec_fn`, which is unsafe beside threads, and fires when the *thread* that
started the server ends. A process forked from us without an exec keeps the pipe open, so the server lives on.
Both children run in a session of their own: Ctrl-C reaches us, not the data.
"""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.errors import DependencyDown
from bridge.sandbox.redis_binary import find_binary, fix

READY_SECONDS = 10.0
"""How long a server may take to answer PING; loading a large append-only file counts."""

STOP_SECONDS = 5.0
"""How long a server may take to end on SIGTERM before it is killed."""

PORT_TRIES = 5
"""Ports to try, should another process be quicker."""

WATCHDOG = 'read -r word || { kill -9 "$1"; test -z "$2" || rm -rf -- "$2"; } 2>/dev/null'


class RedisServer:
    """A server process of our own on 127.0.0.1, with an append-only file and no eviction.

    `directory` keeps the data and is left in place; without it a temporary one is made and removed by `stop`.
    `fsync` is `always`, `everysec` or `no`; `extra` are further words for the server's command line.
    Synchronous: a start takes about 10 ms. Not for use from several threads at once.
    """

    def __init__(
        self,
        binary: str | Path | None = None,
        *,
        directory: str | Path | None = None,
        fsync: str = "everysec",
        port: int | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self._binary = Path(binary) if binary is not None else None
        self._directory = Path(directory) if directory is not None else None
        self._owned: Path | None = None
        self._fsync = fsync
        self._port = port
        self._extra = tuple(extra)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._version = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}, {self._version}" if self._process else "not running"
        return f"<RedisServer 127.0.0.1:{self._port}, {state}>"

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`; the port is known from the first start on."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def port(self) -> int:
        """The TCP port. Raises RuntimeError before the first start, unless it was given."""
        if self._port is None:
            raise RuntimeError("this Redis was never started, so it has no port yet")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id. Raises RuntimeError when it is not running."""
        return self._running().pid

    @property
    def version(self) -> str:
        """The running server's version, as it says itself; empty before the first start."""
        return self._version

    @property
    def binary(self) -> Path:
        """The server's program. Raises DependencyDown if none was given and none is found."""
        if self._binary is None:
            self._binary = find_binary()
        return self._binary

    @property
    def directory(self) -> Path:
        """Where the append-only file and `redis.log` lie. Raises RuntimeError while there is none."""
        if where := self._directory or self._owned:
            return where
        raise RuntimeError("this Redis is not started, and its directory is a temporary one")

    def start(self) -> Self:
        """Start and wait until it answers. Raises DependencyDown with the tail of its log if it does not."""
        if self._process is not None:
            raise RuntimeError("this Redis is already started")
        _ = self.binary
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        elif self._owned is None:
            self._owned = Path(tempfile.mkdtemp(prefix="bridge-redis-"))
        for last in range(PORT_TRIES if self._port is None else 1, 0, -1):
            port = self._port if self._port is not None else _free_port()
            try:
                self._launch(port)
            except DependencyDown:
                if last == 1:
                    self.stop()
                    raise
            else:
                self._port = port
                break
        return self

    def stop(self) -> None:
        """End it kindly, else by force; remove the temporary directory. Harmless when stopped."""
        self._end()
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)
            self._owned = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; the directory stays for `start`."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def restart(self) -> None:
        """End it kindly, if it runs, and start it again on the same port and directory."""
        self._end()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("this Redis is not running")
        return self._process

    def _launch(self, port: int) -> None:
        command = [str(self.binary), *self._options(port)]
        log = self.directory / "redis.log"
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            raise DependencyDown(f"{self._binary} does not start: {error}", fix=fix()) from error
        self._watchdog = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                WATCHDOG,
                "bridge-redis-watchdog",
                str(self._process.pid),
                str(self._owned or ""),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._version = _await_ready(self._process, port)
        except DependencyDown as error:
            self._process.kill()
            self._reap()
            tail = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise DependencyDown("\n".join((str(error), *tail))) from None

    def _options(self, port: int) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.directory.resolve())]
        options += ["--appendonly", "yes", "--appendfsync", self._fsync, "--save", ""]
        options += ["--maxmemory-policy", "noeviction", "--daemonize", "no"]
        return [*options, *self._extra]

    def _end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def _reap(self) -> None:
        """Wait for the server's end, then send the watchdog home, in this order: its target must be dead."""
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._watchdog is not None:
            self._watchdog.communicate(b"home\n")
            self._watchdog = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await_ready(process: subprocess.Popen[bytes], port: int) -> str:
    """Ask until the server on `port` answers PING and is this very process; its version."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DependencyDown(f"Redis ended with exit code {process.returncode} instead of listening on {port}.")
        reply = _ask(port)
        if reply.startswith("+PONG") and f"process_id:{process.pid}\r" in reply:
            match = re.search(r"^(?:valkey|redis)_version:(\S+)", reply, re.MULTILINE)
            return match[1] if match else "unknown"
        time.sleep(0.003)
    raise DependencyDown(f"Redis did not answer on port {port} within {READY_SECONDS:g} s.")


def _ask(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            reply = b""
            while b"\r\nexecutable:" not in reply and (chunk := connection.recv(65536)):
                reply += chunk
            return reply.decode(errors="replace")
    except OSError:
        return ""
