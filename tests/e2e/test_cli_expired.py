"""What a client wrote into the hash of a task that has ended, read again to say why: it may be anything by then."""

import json
from collections.abc import Callable

import pytest
from owing import announce
from redis import Redis

from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
SECRET = generate_secret(bytes(range(32)))


@pytest.mark.parametrize("written", ["-1e300", "-99999999999999", "nan", "-inf", "9" * 4_000, "soon", ""])
def test_a_moment_that_is_none_stops_no_listing(bridge: Bridge, redis_url: str, client: "Redis", written: str) -> None:
    """It was changed after its task had ended, so that nobody judged it."""
    announce(redis_url, "t1", "queued", ends=True)
    client.zrem("bridge:tasks", "t1")
    client.hset("bridge:task:t1", "expires_at", written)
    code, out, _ = bridge("task", "ls", "--json")
    assert (code, [row["task"] for row in json.loads(out)]) == (0, ["t1"])
    assert bridge("task", "show", "t1")[0] == 0


def test_a_secret_in_the_place_of_a_name_is_in_no_fix(bridge: Bridge, redis_url: str, client: "Redis") -> None:
    """The command that registers a task as it was repeats what it names."""
    for name in ("audit", "other"):
        bridge("endpoint", "add", name, "http://127.0.0.1:9/", "--events", "index.task.failed")
    (event,) = announce(redis_url, "t2", "ready", ends=True)
    client.zrem("bridge:tasks", "t2")
    client.hset("bridge:task:t2", mapping={"endpoints": f"audit,{SECRET}"})
    looks = [("task", "show", "t2"), ("task", "show", "t2", "--json"), ("delivery", "show", event)]
    looks.append(("delivery", "show", event, "other"))
    for words in looks:
        _, out, told = bridge(*words)
        assert SECRET.removeprefix("whsec_") not in out + told, words
