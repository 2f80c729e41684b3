"""Why a hook did not arrive, set up for real: a town whose one endpoint `billing` misses events of its task `keynote`.

A Redis, a simulated TwelveLabs, a receiver, `worker.py`, `bridge` and `bridge console`, each a process or a server of
its own. What a person would ask is asked by `cli` and `page`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from shlex import split
from typing import Any, cast

import httpx
from redis import Redis
from town import HERE, SECRET, Running, worker
from until import until

from bridge.sandbox.receiver import Receiver
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator

ENDPOINT, TASK = "billing", "keynote"
ASKS_JSON = {"accept": "application/json"}
SCHEDULE = {"BRIDGE_DELIVERY_SCHEDULE_SECONDS": "90,300,1800"}


class HookScene:
    """The town, its command line and its console. `here` are the settings of whoever asks, as of the worker."""

    def __init__(
        self, redis: RedisServer, simulator: Simulator, receiver: Receiver, folder: Path, here: dict[str, str]
    ) -> None:
        self.redis, self.simulator, self.receiver, self.folder = redis, simulator, receiver, folder
        self.here = {
            "PATH": os.environ["PATH"],
            "NO_COLOR": "1",
            "COLUMNS": "120",
            "BRIDGE_REDIS_URL": redis.url,
            "BRIDGE_TWELVELABS_BASE_URL": simulator.base_url,
            "TWELVELABS_API_KEY": "tlk_sandbox",
            "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
            "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
            **here,
        }
        self.console = ""
        (folder / "billing.whsec").write_text(SECRET)
        (folder / "billing.whsec").chmod(0o600)

    @property
    def hook(self) -> str:
        """Where `billing` is to hear."""
        return f"{self.receiver.url}/hook"

    def cli(self, line: str, *, ok: bool = True) -> str:
        """A command as a person types it; what the terminal shows. `ok`: it has to end with 0."""
        words = split(line)
        assert words[0] == "bridge", line
        command = [sys.executable, "-m", "bridge", *words[1:]]
        ran = subprocess.run(
            command, cwd=self.folder, env=self.here | {"PYTHONPATH": str(HERE)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in ran.stdout, ran.stdout
        assert not ok or ran.returncode == 0, f"{line}\n{ran.stdout}"
        return ran.stdout

    def source(self, path: str) -> str:
        """A page as a browser gets it."""
        answer = httpx.get(self.console + path, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.text

    def page(self, path: str) -> str:
        """What a page says, without its markup; spaces are single."""
        text = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|<button.*?</button>|<[^>]+>", " ", self.source(path))
        return " ".join(unescape(text).split())

    def twin(self, path: str) -> Any:
        """The JSON twin of a page."""
        answer = httpx.get(self.console + path, headers=ASKS_JSON, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def add_endpoint(self, *words: str, name: str = ENDPOINT, url: str = "") -> str:
        """Register an endpoint, signed by the secret that the receiver knows."""
        chosen = " ".join(words)
        return self.cli(f"bridge endpoint add {name} {url or self.hook} --secret-file billing.whsec {chosen}")

    def add_task(self, *words: str, status: str = "indexing") -> None:
        """Register the task, whose status stays as it is until `change`."""
        self.simulator.add_task(TASK, timeline=(Step(0.0, {"status": status}),))
        self.cli(" ".join(("bridge task add", TASK, *words)))

    def change(self, status: str) -> None:
        """Let the task go on, upstream."""
        self.simulator.change(TASK, {"status": status}, touch=True)

    def events(self, count: int) -> list[str]:
        """The ids of the task's events, as soon as there are so many, in the order of their commits."""
        return until(lambda: found if len(found := self._told()) >= count else [], 20)

    def delivery(self, name: str = ENDPOINT) -> dict[str, Any]:
        """The delivery of the latest event to an endpoint, as the console says; empty while there is none."""
        told = self._told()
        answer = told and httpx.get(f"{self.console}/deliveries/{told[-1]}/{name}", headers=ASKS_JSON, timeout=20)
        return cast(dict[str, Any], answer.json()) if answer and answer.status_code == 200 else {}

    def _told(self) -> list[str]:
        with self.client() as client:
            entries = cast(list[tuple[str, dict[str, str]]], client.xrange("bridge:events"))
        return [entry["id"] for _, entry in entries if entry["task"] == TASK]

    def client(self) -> "Redis":
        """A client's own connection."""
        return Redis.from_url(self.redis.url, decode_responses=True)

    @contextmanager
    def working(self, **settings: str) -> Iterator[Running]:
        """`worker.py` with the settings of here, and those. Nothing is tried again while somebody looks."""
        ours = SCHEDULE | {name: value for name, value in self.here.items() if name.startswith("BRIDGE_DELIVERY_")}
        with worker(self.redis.url, self.folder, base_url=self.simulator.base_url, **(ours | settings)) as running:
            yield running


def _address(log: Path) -> str:
    """Where a console says that it is; empty before it does."""
    found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
    return found[0] if found else ""


@contextmanager
def a_scene(folder: Path, **here: str) -> Iterator[HookScene]:
    """The town with its console; no worker runs yet, and nothing is registered."""
    simulator, receiver = Simulator(), Receiver(SECRET)
    with RedisServer() as redis, simulator.in_thread(), receiver.in_thread():
        scene = HookScene(redis, simulator, receiver, folder, here)
        with served(scene) as address:
            scene.console = address
            yield scene


@contextmanager
def served(scene: HookScene) -> Iterator[str]:
    """`bridge console` as a process; where it is."""
    command = [sys.executable, "-m", "bridge", "console", "--bind", "127.0.0.1:0"]
    environment = scene.here | {"PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
    with (scene.folder / "console.log").open("w+") as log:
        console = subprocess.Popen(command, cwd=scene.folder, env=environment, stdout=log, stderr=log, text=True)
        try:
            yield until(lambda: _address(scene.folder / "console.log"), 30)
        finally:
            console.terminate()
            console.wait(20)
