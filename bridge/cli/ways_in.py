"""By which URLs a receiver on this machine is reached: what it listens on is not always a place to send to."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from bridge.callback import PRIVATE_NETWORKS, THE_HOST
from bridge.cli.stage import LOOPBACK

SERVICE = "SERVICE"
"""Stands for the name of this container's service, which it does not know itself."""


@dataclass(frozen=True, slots=True)
class WayIn:
    """A URL that leads to a receiver, from where it does, and the networks that a worker there has to allow."""

    url: str
    networks: str
    whence: str = ""


def in_a_container() -> bool:
    """Whether this process runs in a container of Docker's."""
    return Path("/.dockerenv").exists()


def ways_in(host: str, port: int, *, contained: bool) -> list[WayIn]:
    """How what listens on an address is reached, from this machine first. `contained`: it is a container."""
    try:
        address = ip_address(host)
    except ValueError:  # a name, which is this machine's own
        return [WayIn(f"http://{host}:{port}/hook", str(ip_network(LOOPBACK)))]
    if not address.is_unspecified:
        shown = f"[{address}]" if address.version == 6 else host
        return [WayIn(f"http://{shown}:{port}/hook", str(ip_network(address)))]
    whence, there = ("another container", SERVICE) if contained else ("a container on this machine", THE_HOST)
    return [
        WayIn(f"http://{LOOPBACK}:{port}/hook", str(ip_network(LOOPBACK))),
        WayIn(f"http://{there}:{port}/hook", PRIVATE_NETWORKS, f" from {whence}"),
    ]
