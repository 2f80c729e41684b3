"""A worker with signing keys, in a town of processes: a receiver that has public keys alone believes what it sends."""

import json
from pathlib import Path

import pytest
from redis import Redis
from town import SECRET, a_town
from until import until

from bridge.keypair import PrivateKey
from bridge.keyset import as_line

pytestmark = pytest.mark.slow

OLD, NEW = (PrivateKey(bytes([number]) * 32) for number in (1, 2))


def test_a_receiver_that_holds_no_secret_is_served(tmp_path: Path) -> None:
    """Through a rotation: it knows the old key, then both sign, then it knows the new one, which is the only one."""
    with a_town(tmp_path) as town, Redis.from_url(town.redis.url) as client:
        definition = {"url": f"{town.receiver.url}/hook", "signatures": ["v1a"]}
        client.hset("bridge:endpoints", "mine", json.dumps(definition))
        for known, keys in ((OLD, OLD.text), (OLD, f"{as_line(NEW, 0)}\n{OLD.text}"), (NEW, NEW.text)):
            town.receiver.trust("/hook", known.public)
            with town.worker("all", BRIDGE_SIGNING_KEY=keys) as worker:
                town.round_trip()
                assert worker.stop() == 0
                assert "whsk_" not in worker.log
        assert len(town.receiver.valid) == len(town.receiver.arrivals)
        assert not any("v1," in arrival.headers["webhook-signature"] for arrival in town.receiver.arrivals)


def test_what_a_key_should_sign_waits_for_it(tmp_path: Path) -> None:
    """A worker that lost the key says so and sends nothing; one that has it sends what was owed, as attempt 1."""
    with a_town(tmp_path) as town, Redis.from_url(town.redis.url) as client:
        both = {"url": f"{town.receiver.url}/hook", "secret": SECRET, "signatures": ["v1", "v1a"]}
        client.hset("bridge:endpoints", "mine", json.dumps(both))
        with town.worker("all", BRIDGE_SIGNING_KEY=OLD.text) as worker:
            town.round_trip()
            assert worker.stop() == 0
        before = len(town.receiver.arrivals)
        step = town.change()
        with town.worker("all") as worker:
            until(lambda: any("no key signs now" in str(line) for line in worker.said("delivery.not_attempted")), 20)
            assert worker.stop() == 0
        assert len(town.receiver.arrivals) == before
        with town.worker("all", BRIDGE_SIGNING_KEY=OLD.text) as worker:
            until(lambda: town.arrived(step), 40)
            assert worker.stop() == 0
        late = [arrival for arrival in town.receiver.arrivals if town.step_of(arrival) == step]
        assert [arrival.attempt for arrival in late] == [1]
