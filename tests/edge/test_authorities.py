"""Receivers whose certificate comes from an authority of one's own."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from servers import Authority

from bridge.model import Delivery, Endpoint, Fault
from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Response
from bridge.settings import Settings, load_settings
from bridge.signature import generate_secret
from bridge.wiring import authorities_from, sender_from

NAME = "localhost"
DELIVERY = Delivery(
    event_id="evt_1", endpoint="e1", type="index.task.ready", task="t1", revision=7, created_at=0, attempts=0,
    trigger="schedule", token="t", body=b"{}",
)  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Its root stands in ca.pem."""
    made = Authority.make(tmp_path)
    (tmp_path / "ca.pem").write_bytes(made.root.public_bytes(serialization.Encoding.PEM))
    return made


def settings(**more: str) -> Settings:
    """Callbacks to this machine are allowed."""
    return load_settings(delivery_allow_networks="127.0.0.0/8", **more)


async def test_an_authority_of_ones_own_is_believed(authority: Authority, tmp_path: Path) -> None:
    """Where it is named, and only there: without the setting it is refused, and with it any other one still is."""
    (tmp_path / "other").mkdir()
    other = Authority.make(tmp_path / "other")
    answers = {}
    for name, theirs in (("ours", authority), ("other", other)):
        server = HttpServer(lambda _: Response(204))
        await server.start(ssl=theirs.serving(NAME))
        endpoint = Endpoint("e1", f"https://{NAME}:{server.port}/hook", secrets=(generate_secret(bytes(32)),))
        for given in ({}, {"delivery_ca_file": str(tmp_path / "ca.pem")}):
            async with sender_from(settings(**given)) as sender:
                outcome = await sender.post(endpoint, DELIVERY)
            answers[name, bool(given)] = outcome.status_code or outcome.fault
        await server.stop()
    assert answers == {
        ("ours", True): 204, ("ours", False): Fault.TLS, ("other", True): Fault.TLS, ("other", False): Fault.TLS,
    }  # fmt: skip


def test_the_systems_authorities_are_believed_as_before(authority: Authority, tmp_path: Path) -> None:
    """The file adds; it takes nobody's place."""
    context = authorities_from(settings(delivery_ca_file=str(tmp_path / "ca.pem")))
    assert context is not None
    before, after = (one.cert_store_stats()["x509_ca"] for one in (ssl.create_default_context(), context))
    assert after == before + 1
    assert authorities_from(settings()) is None
