"""docs/how-to/redis-sentinel.md: a replica takes over behind one address, under a live worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from relay import Relay, a_relay
from town import Town, a_town
from until import until

from bridge.sandbox.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def followed(town: Town) -> Iterator[tuple[Relay, RedisServer, Redis]]:
    """An address that leads to the town's Redis, a replica of that, and a client of the replica."""
    extra = ("--replicaof", "127.0.0.1", str(town.redis.port))
    with (
        RedisServer(extra=extra) as replica,
        a_relay(town.redis.port) as relay,
        Redis.from_url(replica.url) as client,
    ):
        until(lambda: client.info()["master_link_status"] == "up", 20)
        yield relay, replica, client


def has_the_same(town: Town, client: Redis) -> bool:
    """Whether the replica has got all that the primary wrote."""
    with Redis.from_url(town.redis.url) as primary:
        return bool(client.info()["slave_repl_offset"] >= primary.info()["master_repl_offset"])


def test_a_worker_goes_on_at_the_replica_that_took_over(tmp_path: Path) -> None:
    """The primary dies, its replica is promoted, the address leads there: changes arrive as before, in order."""
    with a_town(tmp_path) as town, followed(town) as (relay, replica, client), town.worker(redis_url=relay.url) as ran:
        town.round_trip()
        until(lambda: has_the_same(town, client), 20)
        town.redis.stop()
        client.replicaof("NO", "ONE")
        relay.lead_to(replica.port)
        for _ in range(3):
            town.round_trip(40)
        assert ran.stop() == 0
        assert {town.step_of(one) for one in town.receiver.valid} >= {1, 2, 3, 4}
        assert not town.receiver.out_of_order


def test_what_changes_before_the_promotion_is_told_after_it(tmp_path: Path) -> None:
    """While the address leads to a replica that refuses every change, the worker waits, and goes on by itself."""
    with a_town(tmp_path) as town, followed(town) as (relay, replica, client), town.worker(redis_url=relay.url) as ran:
        town.round_trip()
        until(lambda: has_the_same(town, client), 20)
        relay.lead_to(replica.port)
        step = town.change()
        until(lambda: ran.said("redis.away"), 20)
        client.replicaof("NO", "ONE")
        until(lambda: town.arrived(step), 40)
        assert ran.stop() == 0
