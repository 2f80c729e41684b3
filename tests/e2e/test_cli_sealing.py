"""`bridge` with BRIDGE_SECRETS_KEY: nothing it writes stands in clear in Redis, and all goes on as before."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import HEADER, OWN_SECRET, everything, found_in
from redis import Redis

from bridge.sealing import Keyring, is_sealed
from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
OLD, NEW = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(2))
SIGNING = {"own secret", "old secret", "header value"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """It comes from a file, as in a container."""
    file = tmp_path / "bridge_secrets_key"
    file.write_text(NEW)
    file.chmod(0o600)
    monkeypatch.setenv("BRIDGE_SECRETS_KEY_FILE", str(file))
    return file


def definition(client: "Redis", name: str = "billing") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget("bridge:endpoints", name) or "{}")
    return found


def opened(client: "Redis", *keys: str, name: str = "billing") -> dict[str, Any]:
    return Keyring(keys or (NEW,)).opened(name, definition(client, name))


def leaks(redis_url: str) -> list[str]:
    with Redis.from_url(redis_url) as raw:
        return [place for place, text in everything(raw) if found_in(text) & SIGNING or b"whsec_" in text]


def test_what_is_made_is_sealed_and_told_once(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """`add` prints the secret that it made; in Redis there is only the sealed one, also of one that was given."""
    _, out, _ = bridge("endpoint", "add", "billing", URL, "--json")
    made = json.loads(out)["secret"]
    assert opened(client)["secret"] == made
    assert bridge("endpoint", "add", "own", URL, "--secret-file", "-", stdin=OWN_SECRET.encode())[0] == 0
    assert opened(client, name="own")["secret"] == OWN_SECRET
    assert leaks(redis_url) == []
    assert bridge("endpoint", "add", "billing", f"{URL}2", "--replace")[0] == 0
    assert (opened(client)["url"], opened(client)["secret"]) == (f"{URL}2", made)


def test_what_is_changed_stays_sealed(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """`set` and `rotate`: both secrets sign, neither is in clear; the same secret again is noticed for all that."""
    bridge("endpoint", "add", "billing", URL, "--secret-file", "-", stdin=OWN_SECRET.encode())
    assert bridge("endpoint", "set", "billing", "--ordering", "strict")[0] == 0
    code, _, told = bridge("endpoint", "rotate", "billing", "--secret-file", "-", stdin=OWN_SECRET.encode())
    assert (code, "this is the secret that the endpoint has" in told) == (2, True)
    _, out, _ = bridge("endpoint", "rotate", "billing", "--json")
    now = opened(client)
    assert (now["ordering"], now["secret"]) == ("strict", json.loads(out)["secret"])
    assert [one["secret"] for one in now["previous_secrets"]] == [OWN_SECRET]
    assert leaks(redis_url) == []
    before = client.hget("bridge:endpoints", "billing")
    assert bridge("endpoint", "set", "billing", "--ordering", "strict")[0] == 0
    assert client.hget("bridge:endpoints", "billing") == before


def backup(secret: str = OWN_SECRET) -> bytes:
    line = {"kind": "endpoint", "name": "billing", "url": URL, "secret": secret, "headers": {"x-key": HEADER}}
    return json.dumps(line).encode()


def test_a_file_is_imported_sealed_and_exported_open(
    bridge: Bridge, client: "Redis", redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same again changes nothing; --with-secrets is open where the key is; elsewhere it is sealed, and told."""
    _, out, _ = bridge("import", "-", "--json", stdin=backup())
    assert json.loads(out)[0]["result"] == "added"
    assert leaks(redis_url) == []
    before = client.hget("bridge:endpoints", "billing")
    _, out, _ = bridge("import", "-", "--json", stdin=backup())
    assert (json.loads(out)[0]["result"], client.hget("bridge:endpoints", "billing")) == ("unchanged", before)
    code, out, _ = bridge("export", "--with-secrets")
    exported = json.loads(out.splitlines()[1])
    assert (code, exported["secret"], exported["headers"]) == (0, OWN_SECRET, {"x-key": HEADER})
    _, public, _ = bridge("export")
    assert "sealed:" not in public
    assert OWN_SECRET not in public
    _, out, _ = bridge("import", "-", "--json", stdin=public.encode())
    assert json.loads(out)[0]["result"] == "unchanged"
    monkeypatch.delenv("BRIDGE_SECRETS_KEY_FILE")
    code, out, told = bridge("export", "--with-secrets")
    exported = json.loads(out.splitlines()[1])
    assert (code, is_sealed(exported["secret"]), is_sealed(exported["headers"]["x-key"])) == (0, True, True)
    assert "no key here opens them" in told


def test_keys_are_rotated_by_writing_the_new_one_first(
    bridge: Bridge, client: "Redis", key: Path, redis_url: str
) -> None:
    """What the command line touches is sealed with the newest; the older one opened it."""
    key.write_text(OLD)
    bridge("endpoint", "add", "billing", URL, "--secret-file", "-", stdin=OWN_SECRET.encode())
    key.write_text(f"{NEW}\n{OLD}\n")
    assert bridge("endpoint", "set", "billing", "--ordering", "none")[0] == 0
    assert opened(client, NEW)["secret"] == OWN_SECRET
    with Redis.from_url(redis_url) as raw:
        registry = json.loads(raw.hget("bridge:registry", "billing") or b"{}")
    assert Keyring([NEW]).open("billing", "secret", registry["secrets"][0]) == OWN_SECRET


def test_without_the_key_nothing_is_lost_and_it_is_told(bridge: Bridge, client: "Redis", key: Path) -> None:
    """The doctor names the endpoint, `set` leaves the secret alone, `test` says what lacks, `rotate` is a way out."""
    bridge("endpoint", "add", "billing", URL, "--secret-file", "-", stdin=OWN_SECRET.encode())
    sealed = definition(client)["secret"]
    key.write_text(OLD)
    _, out, _ = bridge("doctor", "--json")
    (finding,) = [one for one in json.loads(out) if "no key here opens it" in json.dumps(one)]
    assert "billing" in json.dumps(finding)
    assert "BRIDGE_SECRETS_KEY" in json.dumps(finding)
    assert bridge("endpoint", "set", "billing", "--ordering", "none")[0] == 0
    assert definition(client)["secret"] == sealed
    code, _, told = bridge("endpoint", "test", "billing")
    assert (code, "no key here opens it" in told, "BRIDGE_SECRETS_KEY" in told) == (2, True, True)
    new = generate_secret(bytes(32))
    assert bridge("endpoint", "rotate", "billing", "--overlap", "0", "--secret-file", "-", stdin=new.encode())[0] == 0
    assert opened(client, OLD)["secret"] == new
    key.write_text("no key")
    code, _, told = bridge("endpoint", "ls")
    assert (code, "BRIDGE_SECRETS_KEY" in told, "no key" in told) == (2, True, False)
