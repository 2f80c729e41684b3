"""examples/receivers: each is sent the same requests, signed by our signer, and judged by its answers and its lines."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import pytest
from until import until

from bridge.signature import Signer, generate_secret

pytestmark = pytest.mark.slow

RECEIVERS = Path(__file__).resolve().parents[2] / "examples/receivers"
SECRET, NEXT, STRANGERS = (generate_secret(bytes([number]) * 32) for number in (1, 2, 3))

Headers = dict[str, str]


class Receiver(Protocol):
    """A receiver that runs."""

    def take(self, headers: Headers, body: bytes) -> int:
        """The status that this request is answered."""
        ...

    def printed(self) -> list[str]:
        """All lines that it has printed, of earlier runs too."""
        ...


Start = Callable[[], Any]


def event(revision: int = 7, kind: str = "index.task.ready", **fields: Any) -> bytes:
    """A body as Bridge writes it."""
    data = {"task_id": "t1", "status": kind.rpartition(".")[2], "revision": revision, "task": {"task_id": "no", "é": 1}}
    return json.dumps({"type": kind, "data": {**data, **fields}}, separators=(",", ":")).encode()


def signed(event_id: str, body: bytes, *secrets: str, age: int = 0) -> Headers:
    """The headers of an attempt made `age` seconds ago."""
    return dict(Signer(secrets or (SECRET,)).headers(event_id, int(time.time()) - age, body))


class Server:
    """A receiver that is a server, and one kept connection to it."""

    def __init__(self, port: int, out: Path) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self._connection, self._out = http.client.HTTPConnection("127.0.0.1", port, timeout=20), out

    def take(self, headers: Headers, body: bytes, path: str = "/hook") -> int:
        self._connection.request("POST", path, body, {**headers, "content-type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def printed(self) -> list[str]:
        return self._out.read_text().splitlines()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def server(folder: Path, state: str, *command: str, secret: str = SECRET) -> Iterator[Server]:
    """One that listens on PORT, until it is killed; the word PORT in the command stands for it too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(port) if word == "PORT" else word for word in command]
    out, environment = folder / "out", surroundings(folder, state) | {"PORT": str(port), "HOOK_SECRET": secret}
    with out.open("ab") as printed, (folder / "err").open("ab") as told:
        process = subprocess.Popen(words, cwd=RECEIVERS, env=environment, stdout=printed, stderr=told)
    try:
        until(lambda: listens(port) or process.poll() is not None, 30)
        assert process.poll() is None, (folder / "err").read_text()
        with closing(Server(port, out)) as receiver:
            yield receiver
    finally:
        process.kill()
        process.wait()


def surroundings(folder: Path, state: str) -> dict[str, str]:
    """What a receiver finds in its environment."""
    known = {"HOOK_SECRET": SECRET, "HOOK_STATE": str(folder / state), "PYTHONDONTWRITEBYTECODE": "1"}
    return {"PATH": os.environ["PATH"], **known}


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Script:
    """The one that judges a saved request; its exit code stands for the answer."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lines = folder, list[str]()

    def take(self, headers: Headers, body: bytes) -> int:
        lines = [f"{name.title()}: {value}\r\n" for name, value in {"host": "example.com", **headers}.items()]
        (self._folder / "headers").write_bytes("".join(lines).encode("latin-1"))
        (self._folder / "body").write_bytes(body)
        command = ["./verify.sh", str(self._folder / "headers"), str(self._folder / "body")]
        done = subprocess.run(
            command, cwd=RECEIVERS, env=surroundings(self._folder, "hooks.tsv"), capture_output=True, text=True
        )
        assert (done.stderr, done.returncode in (0, 1)) == ("", True)
        self._lines += done.stdout.splitlines()
        return 401 if done.returncode else 204

    def printed(self) -> list[str]:
        return self._lines


def stdlib(folder: Path) -> Start:
    """Python, nothing else."""
    return lambda: server(folder, "hooks.db", sys.executable, "stdlib_receiver.py")


def fastapi(folder: Path) -> Start:
    """FastAPI under uvicorn."""
    if not find_spec("fastapi") or not find_spec("uvicorn"):
        pytest.skip("fastapi and uvicorn are not installed here")
    return lambda: server(
        folder, "hooks.db", sys.executable, "-m", "uvicorn", "fastapi_receiver:app", "--port", "PORT", "--no-access-log"
    )


def node(folder: Path) -> Start:
    """Node, no package."""
    if not shutil.which("node"):
        pytest.skip("node is not installed here")
    return lambda: server(folder, "hooks.jsonl", "node", "node_receiver.mjs")


def shell(folder: Path) -> Start:
    """bash, openssl and jq."""
    if missing := [name for name in ("bash", "openssl", "jq") if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)} not installed here")
    script = Script(folder)

    @contextmanager
    def run() -> Iterator[Script]:
        yield script

    return run


@pytest.fixture(params=[stdlib, fastapi, node, shell], ids=lambda how: how.__name__)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts one of the receivers; started again, it finds what the one before remembered."""
    chosen: Start = request.param(tmp_path)
    return chosen


def test_a_receiver_applies_what_is_new_and_refuses_what_is_not_ours(start: Start) -> None:
    """Good, forged, changed, late, repeated, overtaken, in a rotation, of an unknown kind: each gets what is due."""
    body, none = event(7), {"webhook-id": "evt_x"}
    spaced = json.dumps(json.loads(body)).encode()
    unknown = event(kind="bridge.endpoint.failing").replace(b'"task_id":"t1",', b"")
    of_none = b'{"type":"bridge.endpoint.test","timestamp":"2026-11-29T10:00:00Z","data":{"endpoint":"a"}}'
    both = signed("evt_9", event(9), NEXT, SECRET)
    assert len(both["webhook-signature"].split()) == 2
    said: list[tuple[Headers, bytes, int, str]] = [
        (signed("evt_7", body), body, 204, "applied index.task.ready t1 7"),
        (signed("evt_8", event(8), STRANGERS), event(8), 401, "refused signature"),
        (signed("evt_8", body), spaced, 401, "refused signature"),
        (signed("evt_8", body) | {"webhook-id": "evt_88"}, body, 401, "refused signature"),
        (signed("evt_8", event(8), age=400), event(8), 401, "refused timestamp"),
        (signed("evt_8", event(8), age=-400), event(8), 401, "refused timestamp"),
        (signed("evt_8", event(8)) | {"webhook-timestamp": "soon"}, event(8), 401, "refused"),
        (signed("evt_8", event(8)) | {"webhook-signature": "v1"}, event(8), 401, "refused signature"),
        (signed("evt_8", event(8)) | {"webhook-signature": "v1,ÿ v1, ,"}, event(8), 401, "refused signature"),
        (none, body, 401, "refused"),
        (signed("evt_7", body, age=200), body, 204, "repeat index.task.ready t1 7"),
        (signed("evt_5", event(5)), event(5), 204, "older index.task.ready t1 5"),
        (signed("evt_1", event(1, task_id="t2")), event(1, task_id="t2"), 204, "applied index.task.ready t2 1"),
        (both, event(9), 204, "applied index.task.ready t1 9"),
        (signed("evt_u", unknown), unknown, 204, "ignored bridge.endpoint.failing"),
        (signed("evt_v", of_none), of_none, 204, "ignored bridge.endpoint.test"),
    ]
    with start() as receiver:
        for headers, sent, status, line in said:
            before = len(receiver.printed())
            assert receiver.take(headers, sent) == status, line
            until(lambda: len(receiver.printed()) > before)  # noqa: B023  asked before the next one is sent
            (printed,) = receiver.printed()[before:]
            assert is_said(printed, line), (printed, line)
            assert not any(word in printed for word in ("None", "undefined")), printed


def test_a_receiver_takes_nothing_at_another_path(start: Start) -> None:
    """A misspelt URL is told as such, whatever comes there; what follows is taken, and so is a query."""
    with start() as receiver:
        if not isinstance(receiver, Server):
            pytest.skip("it has no path")
        assert receiver.take(signed("evt_7", event(7)), event(7), "/hok") == 404
        assert receiver.take(signed("evt_7", event(7)), event(7), "/hook?from=bridge") == 204
        lines = until(
            lambda: [line for line in receiver.printed() if line.startswith("applied")] and receiver.printed()
        )
    assert lines[-1].startswith("applied index.task.ready t1 7")
    assert lines[:-1] in ([], ['refused path "/hok"'])


def test_a_receiver_remembers_when_it_is_started_again(start: Start) -> None:
    """Killed after its answer, it knows what it has taken: a repeat is none the newer, and an older revision is old."""
    with start() as receiver:
        assert receiver.take(signed("evt_7", event(7)), event(7)) == 204
    with start() as receiver:
        assert receiver.take(signed("evt_7", event(7)), event(7)) == 204
        assert receiver.take(signed("evt_6", event(6)), event(6)) == 204
        lines = until(lambda: receiver.printed()[2:] and receiver.printed())
    assert [line.split()[0] for line in lines] == ["applied", "repeat", "older"]


def is_said(printed: str, line: str) -> bool:
    """Whether a printed line says this; a library words a refusal in its own way."""
    verdict, _, rest = line.partition(" ")
    if verdict == "refused":
        return printed.startswith("refused ") and rest in printed.lower()
    return printed.startswith(line)


def test_the_page_names_each_receiver_and_no_other() -> None:
    """README.md beside them is their list."""
    files: Mapping[str, Path] = {path.name: path for path in RECEIVERS.iterdir() if path.is_file()}
    page = files["README.md"].read_text()
    assert all(f"[{name}]({name})" in page for name in files if name != "README.md")
    assert page.count("](") == len(files) - 1 + page.count("](http")
