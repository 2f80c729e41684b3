"""`bridge metrics`: printed once, and served."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from bridge.keypair import PrivateKey
from bridge.keyset import MEDIA_TYPE, PUBLISHED_AT, SigningKey, document
from bridge.sandbox.redis import RedisServer

Bridge = Callable[..., tuple[int, str, str]]


def get(url: str) -> tuple[int, str, str]:
    """Status, content type and text of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


@contextmanager
def served(redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The exporter, on a free port."""
    command = [sys.executable, "-m", "bridge", "metrics", "--serve", "127.0.0.1:0"]
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}
    exporter = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert exporter.stderr
    try:
        told = exporter.stderr.readline()
        found = re.search(r"http://[\d.:]+", told)
        assert found, told
        yield found[0]
    finally:
        exporter.terminate()
        exporter.communicate(timeout=20)


def test_the_figures_of_nothing_are_figures(bridge: Bridge) -> None:
    """Prometheus' own parser reads them, each family is explained, and opening an empty Redis wrote nothing."""
    code, out, told = bridge("metrics")
    families = {family.name: family for family in text_string_to_metric_families(out)}
    assert (code, told) == (0, "")
    assert all(name.startswith("bridge_") and family.documentation for name, family in families.items())
    assert families["bridge_redis_up"].samples[0].value == 1
    assert families["bridge_build_info"].samples[0].labels.keys() == {"version", "python", "rq"}
    assert len(families) >= 24


def test_looking_writes_nothing(bridge: Bridge, client: "Redis") -> None:
    """Not even the version of the data: an exporter may look at a Redis that no worker has used yet."""
    assert bridge("metrics")[0] == 0
    assert client.dbsize() == 0


def test_without_redis_it_says_so(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5, and the next command."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    code, out, told = bridge("metrics")
    assert (code, out, "→ redis-server" in told) == (5, "", True)


@pytest.mark.parametrize("address", ["x", "127.0.0.1:", "127.0.0.1:70000", ":-1"])
def test_an_address_that_is_none_is_an_error(bridge: Bridge, address: str) -> None:
    """Exit code 2, with one that would do."""
    code, _, told = bridge("metrics", "--serve", address)
    assert (code, "write HOST:PORT" in told) == (2, True)


def test_the_exporter_publishes_the_public_keys(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `bridge key show` prints them, for a proxy in front to pass on; without any it says so."""
    with served(redis_url, tmp_path) as url:
        assert get(f"{url}{PUBLISHED_AT}")[0] == 404
    key = PrivateKey(b"1" * 32)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY", key.text)
    with served(redis_url, tmp_path) as url:
        status, kind, text = get(f"{url}{PUBLISHED_AT}")
    assert (status, kind, json.loads(text)) == (200, MEDIA_TYPE, document([SigningKey(key, None)]))


def test_the_exporter_outlives_redis(tmp_path: Path) -> None:
    """/metrics and /livez answer without it, /readyz says no; what `bridge health` says is what /readyz says."""
    with RedisServer() as redis, served(redis.url, tmp_path) as url, Redis.from_url(redis.url) as client:
        status, kind, text = get(f"{url}/metrics")
        assert (status, kind, "bridge_redis_up 1.0" in text) == (
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            True,
        )
        status, _, text = get(f"{url}/readyz")
        assert (status, "no poll shift is alive, no deliver shift is alive" in text) == (503, True)
        until = int(time.time() * 1000) + 60_000
        for kind in ("poll", "deliver"):
            client.zadd(f"bridge:workers:{kind}", {"a:1": until})
            client.zadd(f"bridge:shifts:{kind}", {"5f": until})
        status, _, text = get(f"{url}/readyz")
        assert (status, text.startswith("healthy: poll 1 shift")) == (200, True)
        assert get(f"{url}/livez")[::2] == (200, "alive\n")
        assert get(f"{url}/other")[0] == 404
        redis.stop()
        status, _, text = get(f"{url}/metrics")
        assert (status, "bridge_redis_up 0.0" in text, "bridge_workers" in text) == (200, True, False)
        assert get(f"{url}/livez")[0] == 200
        assert (get(f"{url}/readyz")[0], "unhealthy: Redis" in get(f"{url}/readyz")[2]) == (503, True)
