"""A callback URL that is refused: what was probably meant by it, and which settings would let it pass. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from bridge.guard import Policy
from bridge.redaction import bare

THE_HOST = "host.docker.internal"
"""The machine that runs the containers, as they call it."""
PRIVATE_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Where containers are, and what they know as their host."""
LOOPBACK = ("127.0.0.1", "::1")
"""What `localhost` resolves to: both, on many machines, and then both have to be allowed."""

RESERVED = frozenset({"invalid", "example", "test"})
"""Last labels that stand for no machine of anybody's."""

PLACEHOLDER = "URL"
"""What stands in commands for a URL that only whoever reads them knows."""

SHOWN_CHARS = 120
"""A longer URL is not told again."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/*")
_NO_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:///")
"""A URL that leaves its host out: what follows is a path, and no name of a machine."""
_OPEN = [ip_network(one) for one in ("127.0.0.0/8", "::1/128", "fc00::/7", *PRIVATE_NETWORKS.split(","))]
"""What somebody may want to allow for a receiver of their own; of no other network it is suggested."""


def corrected(url: str) -> str:
    """The URL as it was probably meant: with a scheme, with https for a public host. Empty where that is not known, and
    where it is so already."""
    if url == PLACEHOLDER:
        return ""
    meant: Sequence[str] = ("http",)
    if "://" not in url:
        rest = re.sub("^https?:?/+", "", url.lstrip("/"), flags=re.IGNORECASE)
    elif (found := _SCHEME.match(url)) and (meant := get_close_matches(found[1].lower(), ("https", "http"), 1, 0.7)):
        rest = url[found.end() :]
    else:
        return ""
    public, near = f"https://{rest}", f"{meant[0]}://{rest}"
    if Policy().judge_url(public).allowed:
        return public if public.lower() != url.lower() else ""
    named = not _NO_HOST.match(url)
    return near if named and near.lower() != url.lower() and networks_for(near) else ""


def networks_for(url: str) -> str:
    """The networks to be allowed for a URL that leads to a machine of one's own; empty for any other."""
    host = _host(url)
    if host == "localhost":
        return ",".join(str(ip_network(one)) for one in LOOPBACK)
    if reserved(url):
        return ""
    reason = Policy(allow_http=True).judge_url(url).reason
    if reason == "ip_literal":
        address = ip_address(host)
        return str(ip_network(address)) if any(address in one for one in _OPEN) else ""
    return PRIVATE_NETWORKS if reason in {"special_name", "single_label"} else ""


def reserved(url: str) -> str:
    """What to do about a name that no network makes lead anywhere; empty for any other."""
    label = _host(url).rpartition(".")[2]
    if label not in RESERVED:
        return ""
    return f"use a real name: no public one ends in .{label}, which is reserved for tests and examples (RFC 6761)"


def assignments(url: str, policy: Policy) -> list[str]:
    """The settings (`NAME=value`) that this URL lacks to pass; empty where none help, or none should."""
    return list(_lacking(url, policy)) if _passes_by_settings(url, policy) else []


def _lacking(url: str, policy: Policy) -> Iterator[str]:
    if url.lower().startswith("http:") and not policy.allow_http:
        yield "BRIDGE_DELIVERY_ALLOW_HTTP=true"
    needed = networks_for(url)
    if needed and (not replace(policy, allow_http=True).judge_url(url).allowed or is_vain(url, policy)):
        yield f"BRIDGE_DELIVERY_ALLOW_NETWORKS={','.join([*map(str, policy.allow_networks), needed])}"


def _passes_by_settings(url: str, policy: Policy) -> bool:
    networks = [ip_network(one) for one in networks_for(url).split(",") if one]
    generous = replace(policy, allow_http=True, allow_networks=[*policy.allow_networks, *networks])
    return generous.judge_url(url).allowed


def is_vain(url: str, policy: Policy) -> bool:
    """Whether it would be admitted by its text, and each attempt refused: `localhost`, where no loopback is allowed."""
    return _host(url) == "localhost" and not any(policy.judge_address(one).allowed for one in LOOPBACK)


def leads_to_itself(url: str) -> bool:
    """Whether it leads to the machine that sends, which in a container is the container."""
    host = _host(url)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def from_a_container(url: str) -> str:
    """The URL by which a container reaches what listens on the machine that runs it."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{THE_HOST}{port}").geturl()


def way(url: str, policy: Policy) -> str:
    """What to do about one that is refused; of the URL it tells what may be shown."""
    if url == PLACEHOLDER:
        return f"write your receiver's in the place of the word {PLACEHOLDER}, such as https://example.com/hook"
    if told := reserved(url):
        return told
    meant = corrected(url) if {".", ":", "/"} & set(url) else ""  # a word alone may be a secret in a wrong place
    shown = bare(meant) if len(meant) <= SHOWN_CHARS else "it with https://"
    if meant and not assignments(meant, policy):
        return f"write {shown}"
    if lacking := assignments(meant or url, policy):
        written = f"write {shown}, and " if meant else ""
        return f"{written}set {' '.join(lacking)} for the worker and here; or use a public https:// URL"
    return "correct it as that says; `bridge endpoint check URL` judges what you write"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
