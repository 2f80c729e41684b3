"""A worker without the settings that this shell has: named by `doctor`, and over once it is started with them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from town import HERE, Town, a_town
from until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ALLOWING = {"BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", "BRIDGE_DELIVERY_ALLOW_HTTP": "true"}
THEIRS = "endpoint:mine: this shell's settings allow it, the running worker's do not"


def bridge(town: Town, *words: str) -> str:
    """What the CLI prints, as a process of its own that allows loopback."""
    environment = {"PATH": os.environ["PATH"], "BRIDGE_REDIS_URL": town.redis.url, "NO_COLOR": "1", **ALLOWING}
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.run(command, cwd=HERE, env=environment, capture_output=True, check=False).stdout.decode()


def findings(town: Town) -> dict[str, str]:
    """What `doctor` finds amiss → its fix."""
    rows = map(json.loads, bridge(town, "doctor", "-o", "jsonl").splitlines())
    return {row["found"]: row["fix"] for row in rows if row["level"] != "ok"}


def state(town: Town) -> str:
    return str(json.loads(bridge(town, "endpoint", "show", "mine", "--json"))["state"])


def seen_change(town: Town) -> int:
    """A change that the worker has read: of two between two reads only the second is ever known."""
    with Redis.from_url(town.redis.url) as client:
        before = client.xlen("bridge:events")
        step = town.change()
        until(lambda: client.xlen("bridge:events") > before)
    return step


def test_a_worker_that_forbids_what_this_shell_allows(tmp_path: Path) -> None:
    """It is named as the worker's, with the command that ends it; then what was held arrives, and nobody enables."""
    with a_town(tmp_path) as town:
        with town.worker() as running:
            town.round_trip()
            assert running.stop() == 0
        with town.worker(**dict.fromkeys(ALLOWING, "")) as running:
            until(lambda: THEIRS in findings(town), 20)
            steps = [seen_change(town)]
            while state(town) != "disabled":
                steps.append(seen_change(town))
                assert len(steps) < 30
            told = findings(town)
            shown = bridge(town, "endpoint", "show", "mine")
            assert "the running worker's settings refuse it: url: scheme_not_https" in shown
            task = bridge(town, "task", "show", "t1")
            assert "held: endpoint mine is disabled (blocked by the running worker's" in task
            lacks = "the worker lacks BRIDGE_DELIVERY_ALLOW_HTTP and BRIDGE_DELIVERY_ALLOW_NETWORKS"
            assert f"{lacks}; with that set, it is active again by itself: → bridge doctor" in task
            assert "endpoint enable" not in task + shown
            assert told["mine is disabled (blocked)"].startswith("mend them as `rejected` says")
            assert running.stop() == 0
        _, _, command = told[THEIRS].partition(": ")
        *assigned, worker, all_kinds = shlex.split(command)
        assert (worker, all_kinds) == ("bridge", "worker")
        assert dict(one.split("=") for one in assigned) == ALLOWING
        with town.worker(**dict(one.split("=") for one in assigned)) as running:
            until(lambda: all(town.arrived(step) for step in steps), 30)
            assert state(town) == "active"
            assert not {THEIRS, "mine is disabled (blocked)"} & findings(town).keys()
            assert running.stop() == 0
