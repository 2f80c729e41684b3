"""P9 with a live worker: an endpoint held by the CLI while events come, and let go again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from town import HERE, Town, a_town
from until import until

pytestmark = pytest.mark.slow


def bridge(town: Town, *words: str) -> str:
    """The CLI as a process of its own; what it printed."""
    environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": town.redis.url, "NO_COLOR": "1"}
    environment |= {"BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", "BRIDGE_DELIVERY_ALLOW_HTTP": "true"}
    command = [sys.executable, "-m", "bridge", *words]
    ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def owed(town: Town) -> int:
    """How many events wait for the endpoint."""
    with Redis.from_url(town.redis.url) as client:
        return int(client.llen("bridge:line:mine:t1")) + int(client.hexists("bridge:turns:mine", "t1"))


def test_what_comes_while_an_endpoint_is_disabled_arrives_once_and_in_order(tmp_path: Path) -> None:
    """Disabled, five changes come and none goes out; a trial gets through; enabled, all arrive, each once, in order."""
    with a_town(tmp_path) as town, town.worker() as running:
        town.round_trip()
        assert "held" in bridge(town, "endpoint", "disable", "mine", "--reason", "it moves")
        arrived = len(town.receiver.valid)
        steps = []
        for _ in range(5):
            steps.append(town.change())
            until(lambda: owed(town) == len(steps), 20)
        bridge(town, "endpoint", "test", "mine")
        assert [one.type for one in town.receiver.valid[arrived:]] == ["bridge.endpoint.test"]
        assert "5 deliveries are due now" in bridge(town, "endpoint", "enable", "mine")
        until(lambda: all(town.arrived(step) for step in steps), 20)
        town.round_trip()
        assert running.stop() == 0
    seen = [town.step_of(one) for one in town.receiver.valid if one.type != "bridge.endpoint.test"]
    changes = [step for step in seen if step]
    assert changes == sorted(set(changes)) == list(range(1, town.steps + 1))
    assert not town.receiver.invalid


def test_dead_letters_are_recovered_under_a_live_worker(tmp_path: Path) -> None:
    """A receiver answers 410 and comes back: the endpoint was disabled, and one command brings everything back."""
    with a_town(tmp_path) as town, town.worker() as running:
        town.round_trip()
        town.receiver.script(410)
        steps = [town.change()]
        until(lambda: "disabled" in bridge(town, "endpoint", "show", "mine"), 20)
        steps.append(town.change())
        until(lambda: owed(town) == 1, 20)
        told = bridge(town, "endpoint", "recover", "mine")
        assert "1 of 1 dead letters (1 gone) are owed again.\nIt was disabled (gone), and is active again." in told
        until(lambda: len([one for one in town.receiver.valid if town.step_of(one) in steps]) == 3, 20)
        assert running.stop() == 0
    seen = [(town.step_of(one), one.headers["bridge-attempt"]) for one in town.receiver.valid]
    assert seen[-3:] == [(steps[0], "1"), (steps[0], "2"), (steps[1], "1")]
