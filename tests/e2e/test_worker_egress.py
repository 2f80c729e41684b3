"""`python worker.py` with an egress proxy: every delivery goes through it, and nothing else does."""

import asyncio
from pathlib import Path

import pytest
from egress import Egress
from town import a_town
from until import until

pytestmark = pytest.mark.slow


async def test_a_worker_delivers_through_its_proxy(tmp_path: Path) -> None:
    """The setting reaches the sender; upstream is read without it; its password is in no log line."""
    async with Egress() as egress:

        def trip() -> tuple[str, str]:
            with a_town(tmp_path) as town, town.worker(BRIDGE_DELIVERY_PROXY_URL=egress.url) as running:
                town.round_trip()
                assert running.stop() == 0
                return town.receiver.url, running.log

        receiver, log = await asyncio.to_thread(trip)
    assert {f"http://{authority}" for authority in egress.asked} == {receiver}
    assert "s3cr" not in log


async def test_a_worker_whose_proxy_refuses_says_so(tmp_path: Path) -> None:
    """The log line names the proxy and the next step; the attempt is not counted."""
    async with Egress(b"HTTP/1.1 407 No\r\n\r\n") as egress:

        def trip() -> tuple[int, list[dict[str, str]]]:
            with a_town(tmp_path) as town, town.worker(BRIDGE_DELIVERY_PROXY_URL=egress.url) as running:
                town.change()
                until(lambda: running.said("delivery.not_attempted"), 20)
                assert running.stop() == 0
                return town.receiver.connections, running.said("delivery.not_attempted")

        connections, lines = await asyncio.to_thread(trip)
    assert connections == 0
    assert "(407)" in lines[0]["error"]
    assert "BRIDGE_DELIVERY_PROXY_URL_FILE" in lines[0]["fix"]
