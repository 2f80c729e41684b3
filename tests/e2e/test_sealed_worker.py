"""A worker with a key, in a town of processes: what a client writes in clear is sealed, signed for and sent."""

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from planted import HEADER, OWN_SECRET, everything, found_in
from redis import Redis
from town import a_town
from until import until

from bridge.sealing import is_sealed

pytestmark = pytest.mark.slow

SIGNING = {"own secret", "header value"}


def test_a_client_that_writes_in_clear_is_served_and_sealed(tmp_path: Path) -> None:
    """HSET by hand, while a worker runs and before it does: the receiver verifies, and nothing is left in clear."""
    with a_town(tmp_path) as town, Redis.from_url(town.redis.url) as client:
        town.receiver.trust("/hook", OWN_SECRET)
        definition = {"url": f"{town.receiver.url}/hook", "secret": OWN_SECRET, "headers": {"x-partner": HEADER}}
        client.hset("bridge:endpoints", "mine", json.dumps(definition))
        with town.worker("all", BRIDGE_SECRETS_KEY=Fernet.generate_key().decode()) as worker:
            town.round_trip()
            client.hset("bridge:endpoints", "mine", json.dumps(definition | {"ordering": "strict"}))
            until(lambda: is_sealed(json.loads(client.hget("bridge:endpoints", "mine") or b"{}")["secret"]), 20)
            town.round_trip()
            assert worker.stop() == 0
            assert not found_in(worker.log) & SIGNING
        assert {arrival.headers["x-partner"] for arrival in town.receiver.valid} == {HEADER}
        assert [place for place, text in everything(client) if found_in(text) & SIGNING] == []
