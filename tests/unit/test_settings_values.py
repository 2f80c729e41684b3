"""Settings: what each may be, and that a refusal names the knob and never repeats a secret."""

import base64
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.errors import SettingsError
from bridge.keypair import PrivateKey
from bridge.settings import Settings, load_settings

CANARY = "C4n4ryS3cret"

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """load_settings in an empty directory, with tmp_path/secrets in the place of /run/secrets."""
    monkeypatch.chdir(tmp_path)
    return lambda **overrides: load_settings(_secrets_dir=tmp_path / "secrets", **overrides)


def refusal(load: Load, **overrides: Any) -> str:
    """The text of the one error that loading comes to."""
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    assert caught.value.fix
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/nope/twelvelabs_api_key", True),
        ("config/secrets/key", True),
        ("nothere", True),
        (f"tlk_{CANARY}", False),
        ("0123456789abcdef0123", False),
        ("correct-horse-battery", False),
        (f"whsec_{base64.b64encode(CANARY.encode() * 3).decode()}", False),
        (f"/{base64.b64encode(CANARY.encode() * 3).decode()}", False),
        (f"redis://:{CANARY}@host:6379/0", False),
    ],
)
def test_a_secrets_file_that_is_not_there_is_named_unless_it_may_be_the_secret(
    load: Load, monkeypatch: pytest.MonkeyPatch, path: str, named: bool
) -> None:
    """People put the secret itself where its file was asked for."""
    monkeypatch.setenv("TWELVELABS_API_KEY_FILE", path)
    text = refusal(load)
    assert "TWELVELABS_API_KEY_FILE (env): " in text
    assert (f"{path} cannot be read: No such file or directory" in text) == named
    assert named or ("it names no file" in text and path not in text and CANARY not in text)


def test_a_secrets_file_that_is_empty_is_named(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever mounts it from elsewhere looks there."""
    (tmp_path / "key").touch()
    monkeypatch.setenv("TWELVELABS_API_KEY_FILE", str(tmp_path / "key"))
    assert f"TWELVELABS_API_KEY_FILE (env): {tmp_path / 'key'} is empty" in refusal(load)


@pytest.mark.parametrize("kind", ["poll", "delivery"])
def test_a_lease_must_outlast_its_deadline(load: Load, kind: str) -> None:
    """Deadline + 5 s is the least, whether lease or deadline was changed, and other errors do not hide it."""
    assert getattr(load(**{f"{kind}_deadline_seconds": 5, f"{kind}_lease_seconds": 10}), f"{kind}_lease_seconds") == 10
    text = refusal(load, **{f"{kind}_lease_seconds": 19, f"{kind}_deadline_seconds": 14.5, "poll_workers": 0})
    assert f"BRIDGE_{kind.upper()}_LEASE_SECONDS (cli): must be at least 19.5, the deadline of 14.5 plus 5" in text
    assert f"BRIDGE_{kind.upper()}_LEASE_SECONDS: must be" in refusal(load, **{f"{kind}_deadline_seconds": 60})


@pytest.mark.parametrize("value", ["10.0.0.0/8, fd00::/8", '["10.0.0.0/8", "fd00::/8"]', ["10.0.0.0/8", "fd00::/8"]])
def test_networks_are_read_from_text_json_and_lists(load: Load, value: object) -> None:
    """Commas in the environment, JSON where somebody prefers it, a list in TOML."""
    assert load(delivery_allow_networks=value).delivery_allow_networks == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10.0.0.0/8,10.0.0.0/33", "'10.0.0.0/33' is not a network in CIDR form"),
        ("10.0.0.1/8", "'10.0.0.1/8' has host bits set: the network is 10.0.0.0/8"),
        ("localhost", "'localhost' is not a network"),
        ([10], "'10' is not a network"),
        ("[1", "is not a valid JSON list"),
        (7, "must be a list"),
    ],
)
def test_a_bad_network_is_named(load: Load, value: object, reason: str) -> None:
    """An allow list is not guessed at: the bad item is named and nothing of it is used."""
    assert f"BRIDGE_DELIVERY_ALLOW_NETWORKS (cli): {reason}" in refusal(load, delivery_allow_networks=value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "cannot be read: No such file or directory"), ("", "without a certificate"), ("-----", "without a certif")],
)
def test_a_file_of_authorities_must_hold_one(load: Load, tmp_path: Path, text: str | None, reason: str) -> None:
    """Known at the start, and not when the first delivery fails; empty is not set."""
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    told = refusal(load, delivery_ca_file="ca.pem")
    assert "BRIDGE_DELIVERY_CA_FILE (cli): is the path of a file" in told
    assert reason in told
    assert load(delivery_ca_file="").delivery_ca_file == ""


def test_an_empty_list_clears_a_weaker_place(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[]` in the environment takes back what the configuration file allows."""
    Path("weaker.toml").write_text('delivery_allow_networks = ["10.0.0.0/8"]')
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "[]")
    assert load(config="weaker.toml").delivery_allow_networks == ()


def test_the_schedule_is_read_and_bounded(load: Load) -> None:
    """Text with commas works; an empty, negative or endless schedule is refused, and the bad item counted."""
    assert load(delivery_schedule_seconds="0, 0.5,10").delivery_schedule_seconds == (0, 0.5, 10)
    assert "item 2 must be a number of seconds;" in refusal(load, delivery_schedule_seconds="0,x")
    for bad in ("[]", "-1", "604801", ",".join("1" * 51)):
        assert "must be 1 to 50 waits" in refusal(load, delivery_schedule_seconds=bad)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.twelvelabs.io", "https://api.twelvelabs.io/v1.3"),
        ("https://api.twelvelabs.io/", "https://api.twelvelabs.io/v1.3"),
        ("http://127.0.0.1:8080/v1.2/", "http://127.0.0.1:8080/v1.2"),
        ("http://[::1]:8080", "http://[::1]:8080/v1.3"),
    ],
)
def test_the_base_url_is_completed(load: Load, given: str, used: str) -> None:
    """A base without a path gets the version; a slash at the end goes."""
    assert load(twelvelabs_base_url=given).twelvelabs_base_url == used


@pytest.mark.parametrize(
    "url",
    ["api.twelvelabs.io", "ftp://h/", "https://", f"https://u:{CANARY}@h/", "https://h/?a=b", "https://h:x", "h h"],
)
def test_a_bad_base_url_is_refused(load: Load, url: str) -> None:
    """No scheme, no host, userinfo, a query: refused, and not repeated."""
    text = refusal(load, twelvelabs_base_url=url)
    assert "BRIDGE_TWELVELABS_BASE_URL (cli)" in text
    assert CANARY not in text


@pytest.mark.parametrize("url", ["http://proxy:3128", "http://me:p%40ss@10.0.0.1:80/", "http://[::1]:3128"])
def test_an_egress_proxy_is_plain_http_with_its_port(load: Load, url: str) -> None:
    """With a login or without."""
    assert load(delivery_proxy_url=url).delivery_proxy_url == SecretStr(url)


@pytest.mark.parametrize(
    "url",
    [f"http://me:{CANARY}@proxy", f"https://me:{CANARY}@proxy:443", f"socks5://:{CANARY}@h:1", f"http://{CANARY}:99999",
     f"http://h:1/{CANARY}", f"http://h:1?{CANARY}", "proxy:3128", "http://:3128", f"http://me:{CANARY} x@h:1"],
)  # fmt: skip
def test_a_bad_egress_proxy_is_refused(load: Load, url: str) -> None:
    """Another scheme, no port, something behind it: refused, and not repeated."""
    text = refusal(load, delivery_proxy_url=url)
    assert "BRIDGE_DELIVERY_PROXY_URL (cli)" in text
    assert CANARY not in text


@pytest.mark.parametrize("name", ["bridge", "bridge.example.com", "Bridge-2.example.com", "a" * 63])
def test_an_origin_is_a_dns_name(load: Load, name: str) -> None:
    """As it is sent in a header."""
    assert load(delivery_origin=name).delivery_origin == name


@pytest.mark.parametrize(
    "name", ["https://a.example.com", "a.example.com/", "a:443", "a..b", "-a", "a-", "a b", "a\r\nx: y", "é", "*",
             "a" * 64, ".".join(["a"] * 128)],
)  # fmt: skip
def test_an_origin_that_is_no_dns_name_is_refused(load: Load, name: str) -> None:
    """Named, and with an example."""
    text = refusal(load, delivery_origin=name)
    assert "BRIDGE_DELIVERY_ORIGIN (cli)" in text
    assert "bridge.example.com" in text


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://:p%40ss@h:6379/3?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_redis_urls_of_all_forms_pass(load: Load, url: str) -> None:
    """TCP, TLS and socket."""
    assert load(redis_url=url).redis_url == SecretStr(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{CANARY}@h",
        f"redis://:a/{CANARY}@h:6379/0",
        f"redis://:{CANARY}@h/main",
        f"redis://:{CANARY}@h:99999/0",
        f"redis://:{CANARY} @h/0",
        f"unix://{CANARY}",
        f"redis+sentinel://:{CANARY}@a:1,b:2",
        f"redis+sentinel://:{CANARY}@a:1,b:2/main/0",
    ],
)
def test_a_bad_redis_url_is_refused_without_its_password(load: Load, url: str) -> None:
    """Also where urlsplit's own error would quote a piece of the password."""
    text = refusal(load, redis_url=url)
    assert "BRIDGE_REDIS_URL (cli)" in text
    assert CANARY not in text


def test_sentinels_are_refused_with_what_works_instead(load: Load) -> None:
    """`config check` says so, and not the first command that wants to connect."""
    text = refusal(load, redis_url="redis+sentinel://a:26379,b:26379/main/0")
    assert "one redis:// address that always leads to the primary" in text
    assert "redis-sentinel.md" in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("twelvelabs_api_key", "tlk_…"),
        ("redis_url", "redis://…@host:6379/0"),
        ("delivery_default_secret", "whsec_…"),
        ("console_token", "…"),
    ],
)
def test_what_was_pasted_with_its_placeholder_is_told_so(load: Load, field: str, value: str) -> None:
    """And the same thing is not shown once more as an example of what would be right."""
    text = refusal(load, **{field: value})
    assert "replace the … " in text
    assert "for example" not in text


def test_an_address_of_redis_that_is_no_url_is_told_as_one(load: Load) -> None:
    """Whole where nothing but an address can have been given; else without what was given, which may be a password."""
    text = refusal(load, redis_url="127.0.0.1:6451")
    assert "BRIDGE_REDIS_URL=redis://127.0.0.1:6451/0" in text
    assert "for example" not in text
    assert "redis://localhost:6379/0" in refusal(load, redis_url="localhost")
    for given in (f"{CANARY}:6451", f"127.0.0.1:6451/{CANARY}", f"{CANARY}@127.0.0.1:6451", "127.0.0.1:99999"):
        text = refusal(load, redis_url=given)
        assert ("must start with redis://" in text or "is not a URL" in text, CANARY in text) == (True, False), text


@pytest.mark.parametrize("prefix", ["bridge", "a b:", "é:", "x" * 64 + ":", "", "a:\n"])
def test_a_bad_prefix_is_refused(load: Load, prefix: str) -> None:
    """At most 64 safe characters with a colon at the end; empty means not given."""
    if prefix:
        assert "end in a colon" in refusal(load, prefix=prefix)
    else:
        assert load(prefix=prefix).prefix == "bridge:"


@pytest.mark.parametrize("size", [23, 65])
def test_a_signing_secret_has_24_to_64_bytes(load: Load, size: int) -> None:
    """The rule of Standard Webhooks, at both ends."""
    inside = 24 if size == 23 else 64
    good, bad = (f"whsec_{base64.b64encode(b'x' * n).decode()}" for n in (inside, size))
    assert load(delivery_default_secret=good).delivery_default_secret == SecretStr(good)
    text = refusal(load, delivery_default_secret=bad)
    assert "must be whsec_ and then the base64 of 24 to 64 bytes" in text
    assert bad not in text
    for spoilt in (f"whsec_!{good[6:]}", good.removeprefix("whsec_"), f"whsk_{good[6:]}", good.rstrip("=") + "é"):
        assert "must be whsec_" in refusal(load, delivery_default_secret=spoilt)


def test_signing_keys_are_read_and_are_secrets(load: Load) -> None:
    """Several, separated by commas or lines, one with its moment; all their texts are for the log to strike out."""
    first, second = (PrivateKey(bytes([number]) * 32) for number in (1, 2))
    settings = load(signing_key=f"{first.text}@2026-11-29T10:00:00+01:00,\n{second.text}\n")
    assert [one.private.public for one in settings.signing_keys] == [first.public, second.public]
    assert [one.since for one in settings.signing_keys] == [1_795_942_800, None]
    assert set(settings.secret_values()) == {first.text, second.text}
    assert load().signing_keys == ()


@pytest.mark.parametrize(
    "spoilt",
    [CANARY, f"whsk_{CANARY}", f"whsec_{'A' * 43}=", "whsk_" + "A" * 86 + "==", "whsk_" + "A" * 43 + "=@" + CANARY],
)
def test_a_signing_key_that_is_none_is_refused_and_not_repeated(load: Load, spoilt: str) -> None:
    """Among them two halves that do not belong together, and a moment that is none."""
    text = refusal(load, signing_key=spoilt)
    assert "BRIDGE_SIGNING_KEY" in text
    assert "bridge key new" in text
    assert CANARY not in text
    assert "A" * 20 not in text


@pytest.mark.parametrize("field", ["redis_url", "twelvelabs_api_key", "delivery_default_secret", "signing_key"])
@pytest.mark.parametrize("wrong", [[CANARY], {"a": CANARY}, CANARY.encode() + b"\xff", f"{CANARY} \n", 31415926535])
def test_no_error_repeats_a_secret(load: Load, field: str, wrong: object) -> None:
    """A secret of the wrong type or form appears neither in the error nor in anything that hangs on it."""
    with pytest.raises(SettingsError) as caught:
        load(**{field: wrong})
    told = f"{caught.value!r} {caught.value.fix} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert CANARY not in told
    assert "31415926535" not in told


def test_words_may_be_written_in_any_case(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels and formats are words, not codes; variables in small letters count too."""
    monkeypatch.setenv("bridge_log_level", "debug")
    settings = load(log_format="JSON")
    assert (settings.log_level, settings.log_format) == ("DEBUG", "json")


@pytest.mark.parametrize("bad", ["nan", "inf", "-1", "86401", "soon", ""])
def test_numbers_are_bounded(load: Load, bad: str) -> None:
    """No interval is negative, endless or not a number."""
    if bad:
        assert "BRIDGE_POLL_INTERVAL_SECONDS" in refusal(load, poll_interval_seconds=bad)
    else:
        assert load(poll_interval_seconds=bad).poll_interval_seconds == 5


def test_a_cap_that_caps_nothing_is_a_warning(load: Load) -> None:
    """One endpoint that may hold every slot breaks the promise that it cannot slow down others."""
    (warning,) = load(delivery_concurrency=32).warnings
    assert "BRIDGE_DELIVERY_ENDPOINT_CONCURRENCY" in warning


def test_settings_are_frozen(load: Load) -> None:
    """What was validated stays valid."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(load(), "poll_workers", 3)  # noqa: B010  mypy knows it already
