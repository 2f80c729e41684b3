"""The guard's rules one by one, what its settings lift, and its agreement with other parsers and tables."""

import unicodedata
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import urlsplit

import httpx
import idna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ssrfguard import DEFAULT_DENIED

from bridge import guard
from bridge.errors import InvalidInput
from bridge.exchange import Origin, Request
from bridge.guard import OURS_TO_LIFT, REASONS, Network, Policy, Refused, Target, Verdict

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
DEFAULT_PORTS = {"http": 80, "https": 443}


def networks(text: str) -> tuple[Network, ...]:
    """Networks from a line of CIDRs."""
    return tuple(ip_network(cidr) for cidr in text.split())


DOCKER = Policy(allow_networks=networks("172.16.0.0/12"))
LOOPBACK = Policy(allow_networks=networks("127.0.0.0/8 ::1/128"))
HTTP = Policy(allow_http=True)
LAB = Policy(allow_networks=networks("127.0.0.0/8 172.16.0.0/12 fd00:1::/32"), allow_http=True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("https://example.com?a=b", Target("https", "example.com", 443, "/?a=b")),
        ("https://example.com/?", Target("https", "example.com", 443, "/?")),
        (
            "HTTPS://Hooks.EXAMPLE.com:8443/A/../b%2F?Q#"[:-1],
            Target("https", "hooks.example.com", 8443, "/A/../b%2F?Q"),
        ),
        ("http://example.com/x", Target("http", "example.com", 80, "/x")),
        ("http://127.0.0.1:5000/x", Target("http", "127.0.0.1", 5000, "/x")),
        ("https://[FD00:1::A]:99/x", Target("https", "fd00:1::a", 99, "/x")),
        ("http://receiver:8000/hook", Target("http", "receiver", 8000, "/hook")),
    ],
)
def test_parse(url: str, target: Target) -> None:
    """Scheme and host come lower-case, the port is filled in, path and query stay as they were written."""
    assert LAB.parse(url) == target


def test_a_setting_is_named_for_what_it_lets_through() -> None:
    """BRIDGE_DELIVERY_ALLOW_HTTP is for http://."""
    detail = Policy().judge_url("http://example.com/").detail
    assert "(http:// needs BRIDGE_DELIVERY_ALLOW_HTTP=true)" in detail
    assert HTTP.judge_url("http://example.com/").allowed


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://localhost/", "http://receiver/", "http://example.com:9/"]
)
def test_both_settings_are_named_where_one_would_not_do(url: str) -> None:
    """Whoever lifts the scheme alone would be refused a second time, and learn then of the other."""
    assert "BRIDGE_DELIVERY_ALLOW_NETWORKS" in Policy().judge_url(url).detail
    assert "BRIDGE_DELIVERY_ALLOW_HTTP=true" in Policy().judge_url(url).detail
    assert Policy().judge_url(url).reason == "scheme_not_https"
    inside = Policy(allow_networks=networks("127.0.0.0/8"))
    assert "BRIDGE_DELIVERY_ALLOW_NETWORKS" not in inside.judge_url(url).detail


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("htp://localhost/hook", "“htp:”, which is no known scheme; did you mean http:// or https://?"),
        ("htps://example.com/", "“htps:”, which is no known scheme; did you mean https:// or http://?"),
        ("ftp://example.com/", "a scheme other than https or http; write https:// before the host"),
        ("whsec_c2VjcmV0://example.com/", "a scheme other than https or http; write https:// before the host"),
        ("example.com/hook", "begins with no scheme; write https:// before the host"),
        ("localhost:300/hook", "begins with no scheme; write http:// or https:// before the host"),
        ("127.0.0.1:300", "begins with no scheme; write http:// or https:// before the host"),
        ("[::1]:300", "begins with no scheme; write http:// or https:// before the host"),
        ("y", "begins with no scheme; write http:// or https:// before the host"),
        ("http//x", "lacks the colon after its scheme; write http:// or https:// before the host"),
        ("HTTPS//example.com/a:b", "lacks the colon after its scheme; write https:// before the host"),
        ("whsec/c2V:jcmV0", "begins with no scheme; write http:// or https:// before the host"),
    ],
    ids=[
        "near http",
        "near https",
        "other",
        "a secret",
        "a public host",
        "host and port",
        "address",
        "address of IPv6",
        "a word",
        "no colon",
        "no colon, and one further on",
        "a secret without one",
    ],
)
def test_a_scheme_that_no_setting_lets_through_is_told_as_such(url: str, said: str) -> None:
    """A misspelt scheme sends nobody to a setting that would not help; the reason's name is the one it always was."""
    for policy in (Policy(), HTTP):
        verdict = policy.judge_url(url)
        assert verdict.reason == "scheme_not_https"
        assert said in verdict.detail
        assert "c2V" not in verdict.detail
        assert "BRIDGE_DELIVERY_ALLOW_HTTP" not in verdict.detail


def test_parse_raises_what_judge_url_says() -> None:
    """A refusal is an input error with the same reason and sentence as the verdict."""
    with pytest.raises(Refused) as caught:
        Policy().parse("https://example.com:22/")
    refused = caught.value
    assert Policy().judge_url("https://example.com:22/") == Verdict(False, refused.reason, refused.detail)
    assert isinstance(refused, InvalidInput)
    assert (refused.exit_code, refused.reason, str(refused)) == (2, "port_not_allowed", refused.detail)


@pytest.mark.parametrize("reason", REASONS)
def test_every_sentence_says_what_to_do(reason: str) -> None:
    """A reason is a snake_case word; its sentence is one, ends in a full stop and names a fix after the semicolon."""
    assert reason.isidentifier()
    assert reason == reason.lower()
    assert REASONS[reason].endswith(".")
    assert "; " in REASONS[reason]


@pytest.mark.parametrize(
    ("policy", "url", "answer", "reason"),
    [
        # http alone: the scheme and its own port, nothing else
        (HTTP, "http://example.com/", [PUBLIC], ""),
        (HTTP, "http://example.com:80/", [PUBLIC], ""),
        (HTTP, "http://example.com:8443/", [PUBLIC], ""),
        (HTTP, "https://example.com/", [PUBLIC], ""),
        (HTTP, "http://example.com:8080/", None, "port_not_allowed"),
        (HTTP, "https://example.com:80/", None, "port_not_allowed"),
        (HTTP, "http://127.0.0.1/", None, "ip_literal"),
        (HTTP, "http://localhost/", None, "special_name"),
        (HTTP, "http://receiver/", None, "single_label"),
        (HTTP, "http://example.com/", ["10.0.0.1"], "address_not_allowed"),
        (HTTP, "ftp://example.com/", None, "scheme_not_https"),
        # trusted networks: inside them anything goes but the scheme
        (DOCKER, "http://receiver/", None, "scheme_not_https"),
        (DOCKER, "https://receiver/", None, ""),
        (DOCKER, "https://receiver:8000/", ["172.18.0.4"], ""),
        (DOCKER, "https://receiver/", ["172.18.0.4", "172.18.0.5"], ""),
        (DOCKER, "https://hooks.example.org/", ["172.18.0.4"], ""),
        (DOCKER, "https://hooks.example.org:8000/", ["172.18.0.4"], ""),
        (DOCKER, "https://172.18.0.4:8000/", None, ""),
        (DOCKER, "https://172.18.0.4/", [], ""),
        (DOCKER, "https://host.docker.internal:1/", ["172.17.0.1"], ""),
        # … but what is admitted only for their sake must lie in them, all of it
        (DOCKER, "https://receiver/", [PUBLIC], "single_label"),
        (DOCKER, "https://receiver/", ["172.18.0.4", PUBLIC], "single_label"),
        (DOCKER, "https://hooks.example.org:8000/", [PUBLIC], "port_not_allowed"),
        (DOCKER, "https://hooks.example.org:8000/", ["172.18.0.4", PUBLIC_6], "port_not_allowed"),
        (DOCKER, "https://localhost/", ["127.0.0.1"], "address_not_allowed"),
        (DOCKER, "https://localhost/", [PUBLIC], "special_name"),
        (DOCKER, "https://receiver/", ["172.18.0.4", "10.0.0.1"], "address_not_allowed"),
        (DOCKER, "https://receiver/", [], "no_addresses"),
        (DOCKER, "https://receiver/", ["172.18.0.4"] * 17, "too_many_addresses"),
        (DOCKER, "https://receiver/", ["172.18.0.4", "receiver"], "bad_address"),
        # … and everything else is as strict as before
        (DOCKER, "https://hooks.example.org/", [PUBLIC, "172.18.0.4"], ""),
        (DOCKER, "https://hooks.example.org/", ["10.0.0.1"], "address_not_allowed"),
        (DOCKER, f"https://{PUBLIC}/", None, "ip_literal"),
        (DOCKER, "https://127.0.0.1/", None, "ip_literal"),
        (DOCKER, "https://[::ffff:172.18.0.4]/", None, "ip_literal"),
        (DOCKER, "https://172.18.4/", None, "bad_ipv4"),
        (DOCKER, "https://2886860804/", None, "bad_ipv4"),
        (DOCKER, "https://u:p@receiver/", None, "userinfo"),
        (DOCKER, "https://receiver./", None, "trailing_dot"),
        (DOCKER, "https://rece_iver/", None, "bad_hostname"),
        (DOCKER, "https://receiver:0/", None, "bad_port"),
        # an IPv4 network never lets a mapped address through; an IPv6 one that holds it does
        (LOOPBACK, "https://hooks.example.org/", ["127.0.0.1"], ""),
        (LOOPBACK, "https://hooks.example.org/", ["::1"], ""),
        (LOOPBACK, "https://[::1]:5000/", None, ""),
        (LOOPBACK, "https://hooks.example.org/", ["::ffff:127.0.0.1"], "address_not_allowed"),
        (LOOPBACK, "https://[::ffff:127.0.0.1]/", None, "ip_literal"),
        (Policy(allow_networks=networks("::ffff:127.0.0.0/104")), "https://[::ffff:127.0.0.1]/", None, ""),
        (Policy(allow_networks=networks("fe80::/10")), "https://hooks.example.org/", ["fe80::1%eth0"], "bad_address"),
        # both settings
        (LAB, "http://localhost:8000/", ["127.0.0.1"], ""),
        (LAB, "http://127.0.0.1:8000/", None, ""),
        (LAB, "http://receiver/", ["172.18.0.2"], ""),
        (LAB, "http://receiver/", [PUBLIC], "single_label"),
        (LAB, "http://example.com/", [PUBLIC], ""),
        (LAB, "http://example.com:8000/", [PUBLIC], "port_not_allowed"),
    ],
)  # fmt: skip
def test_what_the_settings_lift(policy: Policy, url: str, answer: list[str] | None, reason: str) -> None:
    """Trusted networks open names, literals and ports for themselves alone; http opens the scheme alone."""
    verdict = policy.judge(url, answer)
    assert (verdict.allowed, verdict.reason) == (not reason, reason)


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("receiver", 443, "single_label"),
        ("localhost", 443, "special_name"),
        ("LOCALHOST.", 443, "special_name"),
        ("example.com", 8080, "port_not_allowed"),
        ("example.com", 80, "port_not_allowed"),
        (PUBLIC, 443, "ip_literal"),
        (PUBLIC_6, 443, "ip_literal"),
        ("[::1]", 443, "ip_literal"),
        ("127.1", 443, "ip_literal"),
        ("", 443, "single_label"),
    ],
)
def test_the_dial_does_not_rely_on_admission(host: str, port: int, reason: str) -> None:
    """What admission would have refused is refused again at the dial, even with a public address."""
    assert Policy().judge_addresses(host, port, [PUBLIC]).reason == reason


def test_a_denied_network_comes_first() -> None:
    """The operator's own networks are closed even if they are public or trusted, and in their mapped spelling."""
    policy = Policy(allow_networks=networks("10.0.0.0/8 ::/0"), deny_networks=networks("93.184.216.0/24 10.1.0.0/16"))
    assert policy.judge("https://hooks.example.org/", [PUBLIC]).reason == "address_denied"
    assert policy.judge("https://hooks.example.org/", ["10.1.0.1"]).reason == "address_denied"
    assert policy.judge("https://hooks.example.org/", ["::ffff:10.1.0.1"]).reason == "address_denied"
    assert policy.judge("https://10.1.0.1/", None).reason == "ip_literal"
    assert policy.judge("https://hooks.example.org/", ["10.2.0.1", "93.184.217.1"]).allowed


def test_is_global_holds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were our table empty, the standard library's would still refuse what it knows."""
    monkeypatch.setattr(guard, "_CLOSED_NETWORKS", ())
    assert Policy().judge_address("10.0.0.1").reason == "address_not_allowed"
    assert Policy().judge_address("2001:db8::1").reason == "address_not_allowed"
    assert Policy().judge_address(PUBLIC).allowed


@pytest.mark.parametrize("reading", ["https://other.example.com/", "https://example.com:8443/", "https://[/"])
def test_a_second_parser_can_veto(monkeypatch: pytest.MonkeyPatch, reading: str) -> None:
    """If the standard library sees another host or port, or nothing, the URL is refused."""
    monkeypatch.setattr(guard, "urlsplit", lambda _url: urlsplit(reading))
    assert Policy().judge_url("https://example.com/").reason == "parsers_disagree"


# What ssrfguard permits and we do not: transition forms of public IPv4 that no receiver needs to publish, anycast
# services and sinks that are no receivers, space that nobody was given, and Azure's inner service.
STRICTER = networks(
    "192.0.0.9/32 192.0.0.10/32 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 168.63.129.16/32 "
    "2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:3::/32 2001:4:112::/48 2001:20::/28 2001:30::/28 "
    "2620:4f:8000::/48 2001::/32 2002::/16 ::/3 4000::/2 8000::/1"
)
CLOSED = networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32 "
    "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20"
)
LAXER = networks("")  # what we permit and ssrfguard does not: nothing


def edges(network: Network) -> list[IPv4Address | IPv6Address]:
    """The first and last address of a network and their neighbours outside."""
    first, last = int(network[0]), int(network[-1])
    kind = IPv4Address if network.version == 4 else IPv6Address
    return [kind(n) for n in (first - 1, first, last, last + 1) if 0 <= n < 2**network.max_prefixlen]


def agrees_with_ssrfguard(ip: IPv4Address | IPv6Address) -> bool:
    """One verdict, or a difference that the two tables above explain."""
    ours, theirs = Policy().judge_address(str(ip)).allowed, not DEFAULT_DENIED.classify(ip).blocked
    return ours == theirs or any(ip in network for network in (LAXER if ours else STRICTER))


@pytest.mark.parametrize("block", DEFAULT_DENIED.blocks, ids=lambda block: str(block.network))
def test_same_edges_as_ssrfguard(block: object) -> None:
    """At both ends of every network of IANA's registries the verdicts agree."""
    network: Network = block.network  # type: ignore[attr-defined]
    assert [ip for ip in edges(network) if not agrees_with_ssrfguard(ip)] == []


def test_our_table() -> None:
    """It holds these networks, no wider and no narrower, and at both ends of each the verdicts agree."""
    closed = [network for network, _ in guard._CLOSED_NETWORKS]
    assert set(closed) == set(CLOSED)
    assert [ip for network in closed for ip in edges(network) if not agrees_with_ssrfguard(ip)] == []


wrapped = st.builds(
    lambda prefix, v4, shift: IPv6Address(int(IPv6Address(prefix)) | int(v4) << shift),
    st.sampled_from(["::", "::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "2002::", "2001::", "2600::", "fd00::"]),
    st.ip_addresses(v=4),
    st.sampled_from([0, 64, 80]),
)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), wrapped))
def test_never_laxer_than_ssrfguard(ip: IPv4Address | IPv6Address) -> None:
    """Any address that we permit is permitted there, wrapped IPv4 included; the reverse but for a small table."""
    assert agrees_with_ssrfguard(ip)


hosts = st.one_of(
    st.from_regex(r"([a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?\.){0,3}[a-z][a-z0-9-]{0,5}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.sampled_from(["EXAMPLE.com", "xn--mnchen-3ya.de", "localhost", "127.1", "[::ffff:1.2.3.4]", "[::1%25lo]"]),
    st.text(max_size=12),
)
ports = st.one_of(st.just(""), st.integers(-1, 70_000).map(lambda n: f":{n}"), st.sampled_from([":443", ":80", ":"]))
tails = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=12)
urls = st.builds(
    "{}{}{}{}{}{}".format,
    st.sampled_from(["https://", "http://", "HTTPS://", "https:", "ftp://"]),
    st.sampled_from(["", "", "", "", "u@", "a:b@", "%40"]),
    hosts,
    ports,
    st.sampled_from(["", "/", "?", "/?", "#", "\\", "/@"]),
    tails,
)
ANYWHERE = Policy(allow_networks=networks("0.0.0.0/0 ::/0"), allow_http=True)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), urls), st.lists(st.one_of(st.text(), st.ip_addresses().map(str)), max_size=3))
@example("https://[", [])
@example("https://[::1", ["::1"])
@example("https://a:\u0663/", [])
@example("http://\udcff", ["\udcff"])
@example("https://xn--" + "9" * 59 + ".com", [])
def test_judging_never_raises(url: str, answer: list[str]) -> None:
    """Whatever the text and the answers, there is a verdict, with a known reason if it is no."""
    for policy in (Policy(), LAB, ANYWHERE):
        for verdict in (policy.judge_url(url), policy.judge(url, answer)):
            assert verdict.allowed == (not verdict.reason) == (not verdict.detail)
            assert verdict.allowed or verdict.reason in REASONS


@settings(deadline=None, max_examples=500)
@given(urls)
@example("https://EXAMPLE.com?@127.0.0.1/")
@example("https://[::FFFF:1.2.3.4]:8443/")
@example("http://a.b:80//c:d@e/")
def test_three_parsers_agree_on_what_is_admitted(url: str) -> None:
    """Once admitted, a URL has the same scheme, host and port for us, for urllib and for httpx."""
    try:
        target = ANYWHERE.parse(url)
    except Refused:
        return
    ours = (target.scheme, target.host, target.port)
    split, other = urlsplit(url), httpx.URL(url)
    default = DEFAULT_PORTS[target.scheme]
    assert (split.scheme, split.hostname, split.port or default) == ours
    assert (other.scheme, other.raw_host.decode("ascii").lower(), other.port or default) == ours
    assert target.path.startswith("/")
    assert url.endswith(target.path.removeprefix("/"))
    assert target.path.isascii()
    assert target.path.isprintable()
    assert " " not in target.path


@settings(deadline=None, max_examples=300)
@given(urls)
@example("https://[FD00:1::A]:99/?a=[b]")
def test_what_is_admitted_can_be_sent(url: str) -> None:
    """No URL passes the guard and then fails as a request: the wire has its host, and its path as it was written."""
    try:
        target = ANYWHERE.parse(url)
    except Refused:
        return
    sent = Request("POST", Origin(target.scheme, target.host, target.port), target.path).encode()
    assert sent.startswith(f"POST {target.path} HTTP/1.1\r\nHost: ".encode())


@settings(deadline=None, max_examples=300)
@given(urls, st.lists(st.ip_addresses().map(str), min_size=1, max_size=3))
def test_the_default_is_the_strictest(url: str, answer: list[str]) -> None:
    """What passes without settings passes with any of them, except with a denied network."""
    if Policy().judge(url, answer).allowed:
        assert all(policy.judge(url, answer).allowed for policy in (HTTP, DOCKER, LOOPBACK, LAB, ANYWHERE))


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(min_codepoint=0x80, exclude_categories=["Cs"]), min_size=1, max_size=8))
@example("münchen")
@example("straße")
@example("βόλος")
@example("例え")
@example("пример")
def test_no_idn_beyond_the_standard(text: str) -> None:
    """A label that we take for an IDN is one for the `idna` package too, context and direction rules aside."""
    label = "xn--" + text.encode("punycode").decode("ascii").lower()
    if len(label) <= 63 and Policy().judge_url(f"https://{label}.com/").allowed:
        with suppress(idna.IDNABidiError, idna.InvalidCodepointContext):
            assert idna.ulabel(label) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    "character", "\u034f\u0640\u1100\u17b4\u180b\u20d0\u302e\u3031\ud7fb\ufe0f\U0001d165\U000e0100"
)
def test_disallowed_letters_and_marks(character: str) -> None:
    """Old jamo, variation selectors and the like are letters or marks by category, but not of a name."""
    label = "xn--" + f"a{character}".encode("punycode").decode("ascii")
    with pytest.raises(idna.InvalidCodepoint):
        idna.ulabel(label)
    assert Policy().judge_url(f"https://{label}.com/").reason == "bad_idn"


@pytest.mark.parametrize("text", ["münchen", "straße", "βόλος", "例え", "пример", "مثال", "हिन्दी", "한국"])
def test_idn_in_many_scripts(text: str) -> None:
    """Names of the world's scripts are admitted in their xn-- form."""
    label = idna.alabel(text).decode("ascii")
    assert Policy().judge_url(f"https://{label}.com/").allowed


@pytest.mark.parametrize(
    ("reason", "url"),
    [
        ("scheme_not_https", "http://example.com/"),
        ("ip_literal", "https://10.0.0.1/"),
        ("special_name", "https://app.internal/"),
        ("single_label", "https://app/"),
        ("port_not_allowed", "https://example.com:9/"),
    ],
)
def test_what_settings_lift_is_named_as_theirs(reason: str, url: str) -> None:
    """Refused by one installation and admitted by another: those who tell people whose settings differ go by this."""
    everywhere = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert Policy().judge_url(url).reason == reason
    assert Policy(allow_networks=everywhere, allow_http=True).judge_url(url).allowed
    assert reason in OURS_TO_LIFT
    assert REASONS.keys() >= OURS_TO_LIFT
