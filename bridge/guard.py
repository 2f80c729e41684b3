"""Where a delivery may go: one classifier for registration, for every dial and for `bridge endpoint check`.

A callback URL is a stranger's wish that a machine in our network send a request. It is judged twice: its text
when it is admitted, and every address of its host when it is dialled, because names change their addresses.
Dial only what `judge_addresses` passed, send only what `parse` returned. What cannot be read is refused, and
so is what two parsers read differently: that is how such guards are fooled.
Sources: RFC 3986; RFC 1123, 5891, 6761 and 6762 (names); the IANA special-purpose registries (RFC 6890);
the WHATWG URL standard (a host that ends in a number); OWASP's SSRF prevention cheat sheet.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from bridge.errors import InvalidInput

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARS = 2_048
MAX_HOST_CHARS = 253
MAX_ANSWERS = 16
PORTS = frozenset({443, 8443})
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}

_OR_TRUST = "or name its network in BRIDGE_DELIVERY_ALLOW_NETWORKS"

REASONS: Final[Mapping[str, str]] = {
    "url_too_long": f"The URL has more than {MAX_URL_CHARS:,} characters; use a shorter one.",
    "forbidden_character": "The URL holds a character that is not printable ASCII, a space, or one of "
    '\\ " < > ^ ` { | }; percent-encode it in the path, and write an international host as xn--….',
    "scheme_not_https": "The URL does not begin with https://; use it (http:// needs BRIDGE_DELIVERY_ALLOW_HTTP=true).",
    "malformed_url": "The URL is not of the form https://host[:port][/path][?query]; correct it.",
    "userinfo": "The URL has a user name or password before an @; remove it and trust the signature.",
    "fragment": "The URL has a fragment (#…), which is never sent; remove it.",
    "percent_in_authority": "The host or port holds a %; write it without percent-encoding or zone id.",
    "bad_port": "The port is no number from 1 to 65535, written plainly; correct it or omit the colon.",
    "bad_ipv6": "The brackets do not hold an IPv6 address; use a DNS name.",
    "bad_ipv4": "The host ends in a number without being an IPv4 address a.b.c.d; use a DNS name.",
    "trailing_dot": "The host ends in a dot; write the name without it.",
    "bad_hostname": "The host is no DNS name; use a-z, 0-9 and inner hyphens, 63 between dots, 253 in all.",
    "bad_idn": "A label of the host has -- as its third character but is no valid xn-- form; correct it.",
    "parsers_disagree": "Two URL parsers read this URL differently; write it more plainly.",
    "ip_literal": f"The host is an IP address; use a DNS name, {_OR_TRUST}.",
    "special_name": f"The host's last label is reserved for local use; use a public name, {_OR_TRUST}.",
    "single_label": f"The host is a local name without a dot; use a public name, {_OR_TRUST}.",
    "port_not_allowed": f"The port is not 443 or 8443 (http: nor 80); use one of these, {_OR_TRUST}.",
    "no_addresses": "The host has no address; correct its DNS records.",
    "too_many_addresses": f"The host has more than {MAX_ANSWERS} addresses; publish fewer.",
    "bad_address": "The resolver's answer holds something that is no plain IP address; correct the records.",
    "address_denied": "The host leads to a network that this bridge's operator has closed; use another.",
    "address_not_allowed": f"The host leads to {{why}}; use one with public addresses only, {_OR_TRUST}.",
}
"""Every reason for a refusal, in the order in which they are tried, and the sentence that a person reads."""

_HTTP_TOO: Final = (
    "The URL does not begin with https://; use it (http:// needs BRIDGE_DELIVERY_ALLOW_HTTP=true, and this host its "
    "network in BRIDGE_DELIVERY_ALLOW_NETWORKS)."
)
"""What is said of `scheme_not_https` where the one setting alone would not do."""

_NO_HOST: Final = "The URL names no host; write it after the slashes, as in https://example.com/hook."
"""What is said of `trailing_dot` where there is nothing before the dot, and no dot."""

_CREDENTIALS: Final = "The host is an IP address of a network where clouds keep credentials; use a DNS name."
"""What is said of `ip_literal`, and of http:// to such a host, where nobody should name the network."""

_LIFTED_BY_NETWORKS: Final = frozenset({"ip_literal", "special_name", "single_label", "port_not_allowed"})

OURS_TO_LIFT: Final = frozenset(
    {"scheme_not_https", "ip_literal", "special_name", "single_label", "port_not_allowed", "address_denied"}
)
"""The reasons for which a URL is refused by one installation and admitted by another, as their settings say."""

_CLOSED_NETWORKS: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(cidr), why)
    for cidrs, why in (
        ("0.0.0.0/8", "this very host (RFC 791)"),
        ("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "the inner network of a carrier or a cloud (RFC 6598)"),
        ("127.0.0.0/8", "the loopback (RFC 1122)"),
        ("169.254.0.0/16", "the link-local network, where clouds keep credentials (RFC 3927)"),
        ("168.63.129.16/32", "an inner service of a cloud (Azure WireServer)"),
        ("192.0.0.0/24 2001::/23", "IETF protocol assignments, such as Teredo and ORCHID (RFC 6890, 2928)"),
        ("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24", "a documentation network (RFC 5737)"),
        ("2001:db8::/32 3fff::/20", "a documentation network (RFC 3849, 9637)"),
        ("192.31.196.0/24 192.175.48.0/24 2620:4f:8000::/48", "the AS112 sink (RFC 7534, 7535)"),
        ("192.52.193.0/24", "a multicast tunnel's relay (AMT, RFC 7450)"),
        ("192.88.99.0/24 2002::/16", "6to4, which wraps any IPv4 address (RFC 3056, 7526)"),
        ("198.18.0.0/15", "a benchmarking network (RFC 2544)"),
        ("224.0.0.0/4", "a multicast group (RFC 5771)"),
        ("240.0.0.0/4", "reserved space or the broadcast address (RFC 1112, 919)"),
    )
    for cidr in cidrs.split()
)
_KEEP_CREDENTIALS: Final = (ip_network("169.254.0.0/16"), ip_network("168.63.129.16/32"))
_PUBLIC_IPV6 = ip_network("2000::/3")  # outside it: loopback, wrapped IPv4, NAT64, SRv6, local, multicast

_SPECIAL_TLD = re.compile(
    "localhost|test|example|invalid|onion|alt|arpa|local"  # RFC 6761, 7686, 9476, 3172, 6762
    "|internal|intranet|private|corp|home|lan|mail"  # reserved or refused by ICANN; RFC 6762, appendix G
    "|localdomain|localnet|domain|workgroup|intra"  # what routers and offices call themselves
    "|svc|cluster|consul|docker|dockerhost"  # what orchestrators do
)
_FORBIDDEN = re.compile(r'[^\x21-\x7e]|[\\"<>^`{|}]')
_URL = re.compile(
    r"https?://(?:(?P<userinfo>[^/?#]*)@)?(?P<host>\[[^/?#@\[\]]*\]|[^/?#@:\[\]]*)(?::(?P<port>[^/?#@]*))?"
    r"(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)(?P<fragment>#.*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[^/?#]+")
_NO_COLON = re.compile(r"https?//+", re.IGNORECASE)
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_IDN_EXCEPTIONS = re.compile(  # letters and marks that RFC 5892 disallows all the same
    "[\u034f\u0640\u07fa\u1100-\u11ff\u17b4\u17b5\u180b-\u180f\u20d0-\u20ff\u302e-\u3035\u303b"
    "\ua960-\ua97f\ud7b0-\ud7ff\ufe00-\ufe0f\U0001d100-\U0001d24f\U000e0100-\U000e01ef]"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Target:
    """An admitted URL in parts: `host` lower-case, IPv6 without brackets; `path` with the query, as sent."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def is_address(self) -> bool:
        """The host is an address already: there is nothing to resolve."""
        return _is_literal(self.host)


@dataclass(frozen=True, slots=True)
class Verdict:
    """May it be dialled? If not: a key of `REASONS`, and a sentence that never holds a resolved address."""

    allowed: bool
    reason: str = ""
    detail: str = ""


class Refused(InvalidInput):
    """The URL may not be a callback URL; `reason` and `detail` as in Verdict."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or REASONS[reason])
        self.reason = reason
        self.detail = str(self)


_ALLOWED: Final = Verdict(allowed=True)


def _no(reason: str, why: str = "") -> Verdict:
    return Verdict(allowed=False, reason=reason, detail=REASONS[reason].replace("{why}", why))


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this installation lets through.

    `allow_networks` are trusted: an address inside passes, also as a literal and on any port. While one is
    named, a DNS name with another port, a single label (a Docker service) or a special name is admitted, if
    *every* address of it lies inside. An IPv4 network does not hold the IPv4-mapped IPv6 form of its members.
    `deny_networks` come before all else. `allow_http` lifts the scheme only; http's own port is 80.
    """

    allow_networks: Sequence[Network] = ()
    allow_http: bool = False
    deny_networks: Sequence[Network] = ()

    def judge(self, url: str, addresses: Sequence[str] | None) -> Verdict:
        """The URL, then its host's addresses; None for the URL alone. A literal is its own only address."""
        try:
            target = self.parse(url)
        except Refused as refused:
            return Verdict(allowed=False, reason=refused.reason, detail=refused.detail)
        if addresses is None or _is_literal(target.host):
            return _ALLOWED
        return self.judge_addresses(target.host, target.port, addresses)

    def judge_url(self, url: str) -> Verdict:
        """May this text be registered, and the name in it be resolved?"""
        return self.judge(url, None)

    def parse(self, url: str) -> Target:
        """The parts of an admitted URL; raises Refused for any other, so that no unjudged Target exists."""
        _require(len(url) <= MAX_URL_CHARS, "url_too_long")
        _require(not _FORBIDDEN.search(url), "forbidden_character")
        scheme = url.partition(":")[0].lower()
        if scheme != "https" and not (scheme == "http" and self.allow_http):
            raise Refused("scheme_not_https", _scheme_missed(url, scheme) or self._http_missed(url))
        parts = _URL.fullmatch(url)
        if parts is None:
            raise Refused("malformed_url")
        _require(parts["userinfo"] is None, "userinfo")
        _require(parts["fragment"] is None, "fragment")
        host, port_text = parts["host"].lower(), parts["port"]
        _require("%" not in host + (port_text or ""), "percent_in_authority")
        _require(port_text is None or (_PORT.fullmatch(port_text) and int(port_text) <= 65_535), "bad_port")
        host, port = _read_host(host), int(port_text or _DEFAULT_PORTS[scheme])
        target = Target(scheme, host, port, (parts["path"] or "/") + parts["query"])
        _require(_standard_library_agrees(url, target), "parsers_disagree")
        broken = self._conditional_rule(host, port, http=scheme == "http")
        if broken and not self._may_lift(broken, host):
            raise Refused(broken, _CREDENTIALS if _holds(_KEEP_CREDENTIALS, _read_address(host)) else "")
        return target

    def _http_missed(self, url: str) -> str:
        """What to say of http:// to a host that needs the other setting as well; nothing where the one will do."""
        also = replace(self, allow_http=True).judge_url(url)
        if also.detail in {_CREDENTIALS, _NO_HOST}:
            return also.detail
        return _HTTP_TOO if also.reason in _LIFTED_BY_NETWORKS else ""

    def judge_addresses(self, host: str, port: int, addresses: Sequence[str]) -> Verdict:
        """May these answers for an admitted host be dialled? All of them or none."""
        broken = self._conditional_rule(host, port, http=self.allow_http)
        if not 0 < len(addresses) <= MAX_ANSWERS:
            return _no("too_many_addresses" if addresses else "no_addresses")
        for address in addresses:
            verdict = self.judge_address(address)
            if not verdict.allowed:
                return verdict
            if broken and not _holds(self.allow_networks, _read_address(address)):
                return _no(broken)
        return _ALLOWED

    def judge_address(self, address: str) -> Verdict:
        """May this address (no port, brackets or zone id) be dialled for an ordinary name and port?"""
        ip = _read_address(address)
        if ip is None:
            return _no("bad_address")
        if _holds(self.deny_networks, ip) or _holds(self.deny_networks, getattr(ip, "ipv4_mapped", None)):
            return _no("address_denied")
        why = "" if _holds(self.allow_networks, ip) else _why_not_public(ip)
        return _no("address_not_allowed", why) if why else _ALLOWED

    def _conditional_rule(self, host: str, port: int, *, http: bool) -> str:
        """The rule broken here that `allow_networks` may lift, or nothing."""
        name = host.lower().rstrip(".")
        if _is_literal(name):
            return "ip_literal"
        if _SPECIAL_TLD.fullmatch(name.rpartition(".")[2]):
            return "special_name"
        if "." not in name:
            return "single_label"
        return "" if port in PORTS or (http and port == _DEFAULT_PORTS["http"]) else "port_not_allowed"

    def _may_lift(self, rule: str, host: str) -> bool:
        """A literal tells at once; of a name only its addresses will, so that any network will do for now."""
        if rule == "ip_literal":
            return _holds(self.allow_networks, _read_address(host)) and self.judge_address(host).allowed
        return bool(self.allow_networks)


def _why_not_public(ip: Address) -> str:
    """What makes this address anything but a public one, in words; nothing if it is one."""
    for network, why in _CLOSED_NETWORKS:
        if ip in network:
            return why
    if ip.version == 6 and ip not in _PUBLIC_IPV6:
        return "an IPv6 address outside the public 2000::/3"
    return "" if ip.is_global else "an address that is not globally reachable"


def _holds(networks: Iterable[Network], ip: Address | None) -> bool:
    return ip is not None and any(ip in network for network in networks)


def _read_address(text: str) -> Address | None:
    """A plain address; one with a zone id (`fe80::1%eth0`) names a link of this machine, so it is none."""
    try:
        return None if "%" in text else ip_address(text)
    except (TypeError, ValueError):
        return None


def _is_literal(host: str) -> bool:
    """An address, or what some resolver would take for one: 0x7f.1, 2130706433, 127.1 and the like."""
    return ":" in host or _ENDS_IN_NUMBER.fullmatch(host) is not None


def _read_host(host: str) -> str:
    """The host without brackets, once it is an IPv6 address, a canonical IPv4 address or a DNS name."""
    if host.startswith("["):
        _require(isinstance(_read_address(host[1:-1]), IPv6Address), "bad_ipv6")
        return host[1:-1]
    if _ENDS_IN_NUMBER.fullmatch(host):
        _require(isinstance(_read_address(host), IPv4Address), "bad_ipv4")
        return host
    if not host:
        raise Refused("trailing_dot", _NO_HOST)
    labels = host.split(".")
    _require(labels[-1], "trailing_dot")
    _require(len(host) <= MAX_HOST_CHARS and all(map(_LABEL.fullmatch, labels)), "bad_hostname")
    _require(all(label[2:4] != "--" or _is_a_label(label) for label in labels), "bad_idn")
    return host


def _scheme_missed(url: str, scheme: str) -> str:
    """What to say of a scheme that no setting lets through; nothing of http, which one does."""
    if scheme == "http":
        return ""
    written = _SCHEME.fullmatch(scheme) if ":" in url else None
    near = (
        get_close_matches(scheme, _DEFAULT_PORTS, 2, cutoff=0.7) if written else []
    )  # what is not near may hold anything: not repeated
    if near:
        meant = " or ".join(f"{one}://" for one in near)
        return f"The URL begins with “{scheme}:”, which is no known scheme; did you mean {meant}?"
    if written and "://" in url:
        return "The URL begins with a scheme other than https or http; write https:// before the host."
    host = _NO_COLON.sub("", url)
    lacks = "begins with no scheme" if host == url else "lacks the colon after its scheme"
    return f"The URL {lacks}; write {'http:// or https://' if _is_ours(host) else 'https://'} before the host."


def _is_ours(text: str) -> bool:
    """Whether what begins with a host names a machine of somebody's own, where http:// is usual."""
    host = re.split("[:/?#]", text.lower(), maxsplit=1)[0]
    return "." not in host or _is_literal(host) or bool(_SPECIAL_TLD.fullmatch(host.rpartition(".")[2]))


def _is_a_label(label: str) -> bool:
    """`xn--` and the punycode of stable letters, marks, digits (RFC 5892 without its contextual rules)."""
    try:
        text = label.removeprefix("xn--").encode("ascii").decode("punycode")
        canonical = text.encode("punycode").decode("ascii")
    except ValueError:
        return False
    folding = text.replace("ß", "x").replace("ς", "x")  # the two that IDNA 2008 keeps although they fold
    return (
        label == f"xn--{canonical}"
        and folding == unicodedata.normalize("NFKC", folding.casefold())
        and all(c == "-" or unicodedata.category(c) in {"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"} for c in text)
        and not unicodedata.category(text[0]).startswith("M")
        and not _IDN_EXCEPTIONS.search(text)
    )


def _standard_library_agrees(url: str, target: Target) -> bool:
    """A second, independent reading of scheme, host and port."""
    try:
        other = urlsplit(url)
        port = other.port or _DEFAULT_PORTS[target.scheme]
    except ValueError:
        return False
    return (other.scheme, other.hostname, port) == (target.scheme, target.host, target.port)
