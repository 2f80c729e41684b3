"""Format `twelvelabs`, whole: a receiver written to TwelveLabs' documentation alone, and a real worker."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from test_example_receivers import Server, server
from town import worker
from until import until

from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator
from bridge.tl_signature import TwelveLabsSigner

pytestmark = pytest.mark.slow

Bridge = Callable[..., tuple[int, str, str]]
REVEALED = "tlwh-5c1d2e3f_any.text~that/theirs=reveals"
BODY = json.dumps(
    {"id": "whe_1", "created_at": "", "type": "index.task.ready",
     "data": {"id": "t1", "metadata": {"duration": 30}, "status": "ready", "models": [], "tags": []}}
).encode()  # fmt: skip


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Server]:
    """The receiver in examples/, with the secret that TwelveLabs revealed to it."""
    with server(tmp_path, "hooks.db", sys.executable, "twelvelabs_receiver.py", secret=REVEALED) as receiver:
        yield receiver


def signed(body: bytes, secret: str = REVEALED, age: int = 0) -> dict[str, str]:
    """The headers of an attempt made `age` seconds ago."""
    return dict(TwelveLabsSigner([secret]).headers("evt_1", int(time.time()) - age, body))


def test_the_receiver_refuses_what_is_not_ours(theirs: Server) -> None:
    """It would accept nothing if it accepted everything: forged, changed, late, unsigned, repeated."""
    other = BODY.replace(b"t1", b"t2")
    assert theirs.take(signed(BODY), BODY) == 204
    assert theirs.take(signed(BODY, age=200), BODY) == 204
    for headers in (signed(other, "stranger"), signed(BODY), signed(other, age=400), signed(other, age=-400), {},
                    {"TL-Signature": "t=soon,v1=x"}, {"TL-Signature": "nonsense"}):  # fmt: skip
        assert theirs.take(headers, other) == 401
    lines = until(lambda: theirs.printed()[8:] and theirs.printed())
    assert lines[:2] == ["applied index.task.ready t1 ready 30", "repeat index.task.ready t1 ready 30"]
    assert {line.split()[0] for line in lines[2:]} == {"refused"}


@pytest.mark.parametrize("end", ["ready", "failed"])
def test_it_hears_of_a_tasks_end_unchanged(
    bridge: Bridge, redis_url: str, client: "Redis", theirs: Server, tmp_path: Path, end: str
) -> None:
    """Registered by the CLI with the secret that it has: one line, and none of what went before."""
    (tmp_path / "revealed").write_text(f"{REVEALED}\n")
    (tmp_path / "revealed").chmod(0o600)
    words = ("--format", "twelvelabs", "--secret-file", "revealed")
    code, out, told = bridge("endpoint", "add", "old", theirs.url, *words)
    assert (code, REVEALED in out + told) == (0, False)
    simulator = Simulator()
    with simulator.in_thread():
        before = {"status": "indexing", "system_metadata": {"duration": 612.48}}
        simulator.add_task("t1", timeline=(Step(0.0, before),))
        client.zadd("bridge:tasks", {"t1": 0}, nx=True)
        with worker(redis_url, tmp_path, base_url=simulator.base_url) as running:
            until(lambda: client.xlen("bridge:events") == 1, 30)
            simulator.change("t1", {"status": end}, touch=True)
            line = until(theirs.printed, 30)
            until(lambda: client.zscore("bridge:tasks", "t1") is None, 30)
            assert running.stop() == 0
            assert REVEALED not in running.log
    assert line == theirs.printed() == [f"applied index.task.{end} t1 {end} 612.48"]
    assert client.xlen("bridge:events") == 2
