"""What a refused callback URL was meant to be, and which settings would let it pass."""

from ipaddress import ip_network

import pytest

from bridge.callback import assignments, corrected, from_a_container, is_vain, leads_to_itself, way
from bridge.guard import Policy

HTTP, NETWORKS = "BRIDGE_DELIVERY_ALLOW_HTTP=true", "BRIDGE_DELIVERY_ALLOW_NETWORKS="
LOOPBACK, PRIVATE = "127.0.0.1/32,::1/128", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("example.com/hook", "https://example.com/hook"),
        ("//example.com/hook", "https://example.com/hook"),
        ("http://example.com/hook?a=1", "https://example.com/hook?a=1"),
        ("htps://example.com/hook", "https://example.com/hook"),
        ("https:/example.com/hook", "https://example.com/hook"),
        ("http//127.0.0.1:3000/hook", "http://127.0.0.1:3000/hook"),
        ("localhost:3000/hook", "http://localhost:3000/hook"),
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("host.docker.internal:3000/hook", "http://host.docker.internal:3000/hook"),
        ("http://localhost:3000/hook", ""),
        ("https://10.0.0.1/x", ""),
        ("https://example.com/hook", ""),
        ("HTTPS://example.com/hook", ""),
        ("https://localhost:3000/hook", ""),
        ("htps://receiver/hook", "https://receiver/hook"),
        ("htp://receiver/hook", "http://receiver/hook"),
        ("https://example.invalid/hook", ""),
        ("example.test/hook", ""),
        ("http://example.com:3000/hook", ""),
        ("ftp://example.com/hook", ""),
        ("mailto:me@example.com", ""),
        ("https://me:word@example.com/", ""),
        ("http://[", ""),
        ("", ""),
    ],
)
def test_a_url_is_corrected_where_it_is_known_what_was_meant(url: str, meant: str) -> None:
    """A scheme before it; https for a public host, http for a machine of one's own that was written without any;
    nothing is guessed beyond."""
    assert corrected(url) == meant


@pytest.mark.parametrize(
    ("url", "policy", "lacking"),
    [
        ("http://localhost:3000/hook", Policy(), [HTTP, NETWORKS + LOOPBACK]),
        ("http://127.0.0.1:3000/hook", Policy(allow_http=True), [f"{NETWORKS}127.0.0.1/32"]),
        ("http://host.docker.internal:3000/", Policy(), [HTTP, NETWORKS + PRIVATE]),
        ("http://receiver:3000/", Policy(allow_networks=[ip_network("10.0.0.0/8")]), [HTTP]),
        (
            "http://localhost:3000/",
            Policy(allow_http=True, allow_networks=[ip_network("10.0.0.0/8")]),
            [f"{NETWORKS}10.0.0.0/8,{LOOPBACK}"],
        ),
        ("http://example.com/hook", Policy(), [HTTP]),
        ("http://169.254.169.254/latest", Policy(), []),
        ("http://8.8.8.8/", Policy(), []),
        ("https://10.0.0.1/x", Policy(), [f"{NETWORKS}10.0.0.1/32"]),
        ("https://example.invalid/hook", Policy(), []),
        ("http://127.0.0.1/", Policy(deny_networks=[ip_network("127.0.0.0/8")]), []),
        ("https://example.com/hook", Policy(), []),
    ],
    ids=[
        "localhost",
        "literal",
        "host",
        "service",
        "other-networks",
        "public",
        "metadata",
        "public-literal",
        "https-literal",
        "reserved",
        "denied",
        "passes",
    ],
)
def test_all_settings_that_a_url_lacks_are_named_at_once(url: str, policy: Policy, lacking: list[str]) -> None:
    """What is in force stays in them; no place where clouds keep credentials is suggested; with them it passes."""
    assert assignments(url, policy) == lacking


def test_what_to_do_tells_nothing_that_a_url_hides() -> None:
    """Its query may hold a token. A long URL is not told again; where nothing is known, the reason has to do."""
    assert way("http://example.com/hook?token=s3cret", Policy()) == "write https://example.com/hook?…"
    assert way(f"http://example.com/{'x' * 200}", Policy()) == "write it with https://"
    assert way("localhost:3000/hook", Policy()).startswith(
        f"write http://localhost:3000/hook, and set {HTTP} {NETWORKS}"
    )
    assert "`bridge endpoint check URL`" in way("https://exa mple.com/", Policy())


@pytest.mark.parametrize("host", ["example.invalid", "hook.example", "a.b.TEST", "test"])
def test_a_name_that_is_reserved_for_tests_needs_a_real_one(host: str) -> None:
    """No network that is allowed makes it lead anywhere."""
    for scheme in ("https", "http"):
        told = way(f"{scheme}://{host}/hook", Policy())
        assert told.startswith("use a real name: "), told
        assert "BRIDGE" not in told
    assert way("https://10.0.0.1/x", Policy()).startswith(f"set {NETWORKS}10.0.0.1/32 for the worker and here; or")


def test_localhost_is_vain_where_no_loopback_is_allowed() -> None:
    """Its text passes wherever any network is allowed; its addresses do not."""
    private = Policy(allow_http=True, allow_networks=[ip_network("10.0.0.0/8")])
    assert private.judge_url("http://localhost:3000/").allowed
    assert is_vain("http://localhost:3000/", private)
    assert not is_vain("http://localhost:3000/", Policy(allow_networks=[ip_network("127.0.0.0/8")]))
    assert not is_vain("http://receiver:3000/", private)


def test_a_container_reaches_its_host_by_another_name() -> None:
    """Its own loopback is the container itself."""
    urls = [
        "http://localhost:3000/hook?a=1",
        "http://127.0.0.1/",
        "http://[::1]:9/",
        "http://receiver:3000/",
        "http://[",
    ]
    assert [leads_to_itself(url) for url in urls] == [True, True, True, False, False]
    assert from_a_container(urls[0]) == "http://host.docker.internal:3000/hook?a=1"
    assert from_a_container(urls[1]) == "http://host.docker.internal/"


def test_the_word_in_the_place_of_a_url_is_no_host() -> None:
    """Whoever pastes a command as it stands reads what the word stands for, and not which network it would need."""
    assert corrected("URL") == ""
    assert (
        way("URL", Policy()) == "write your receiver's in the place of the word URL, such as https://example.com/hook"
    )
