"""`bridge key` and what asks for its keys: made, rotated, published. The private halves are shown nowhere."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from bridge.cli.output import FORMATS
from bridge.deployment import with_extra
from bridge.keypair import PrivateKey
from bridge.keyset import KEYS, parse_keys
from bridge.signature import Signer

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
KEY = Path("bridge_signing_key")


def made(bridge: Bridge, *words: str) -> dict[str, str]:
    code, out, told = bridge("key", "new", str(KEY), "--json", *words)
    assert code == 0, told
    return dict(json.loads(out))


@pytest.mark.parametrize("how", FORMATS)
def test_a_new_key_is_in_its_file_and_nowhere_else(bridge: Bridge, how: str) -> None:
    """Readable by its owner alone; what is printed is the public half."""
    code, out, told = bridge("key", "new", str(KEY), "-o", how)
    (key,) = parse_keys(KEY.read_text())
    assert (code, KEY.stat().st_mode & 0o777) == (0, 0o600)
    assert key.private.public.text in out
    assert "whsk_" not in out + told
    assert key.private.text[5:40] not in out + told
    assert [path.name for path in Path().iterdir()] == [KEY.name]


def test_the_next_key_goes_before_the_old_one_and_both_are_published(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first; one that waits is published with the moment from which on it signs."""
    first, second = made(bridge), made(bridge, "--after", "24h")
    assert [one.private.public.text for one in parse_keys(KEY.read_text())] == [
        second["public_key"], first["public_key"],
    ]  # fmt: skip
    monkeypatch.setenv("BRIDGE_SIGNING_KEY_FILE", str(KEY))
    code, out, told = bridge("key", "show")
    keys = json.loads(out)["keys"]
    assert (code, [one["whpk"] for one in keys]) == (0, [second["public_key"], first["public_key"]])
    assert [one["kid"] for one in keys] == [second["kid"], first["kid"]]
    assert 86_000 < keys[0]["nbf"] - keys[1]["nbf"] < 87_000
    assert "whsk_" not in out + told


def test_who_could_read_the_file_still_can(bridge: Bridge) -> None:
    """Workers that run as another user of its group, say."""
    made(bridge)
    KEY.chmod(0o640)
    made(bridge)
    assert KEY.stat().st_mode & 0o777 == 0o640


def test_a_first_key_that_waits_keeps_endpoints_waiting_and_says_so(bridge: Bridge) -> None:
    """There is no other that signs until then."""
    assert "endpoints that ask for v1a wait" in bridge("key", "new", str(KEY), "--after", "1h")[2]
    assert "endpoints that ask for v1a wait" not in bridge("key", "new", str(KEY), "--after", "1h")[2]


def test_what_is_in_a_file_is_lost_in_no_case(bridge: Bridge) -> None:
    """Not what is no key, nor the keys where there is no room for one more; and no half of a file is left."""
    KEY.write_text("something else\n")
    code, out, told = bridge("key", "new", str(KEY))
    assert (code, out, KEY.read_text()) == (2, "", "something else\n")
    assert "one that is not there" in told
    KEY.unlink()
    for _ in range(KEYS):
        made(bridge)
    before = KEY.read_text()
    code, _, told = bridge("key", "new", str(KEY))
    assert (code, "take out the oldest" in told, KEY.read_text()) == (2, True, before)
    code, _, told = bridge("key", "new", "nowhere/key")
    assert (code, "directory that is there" in told) == (1, True)
    assert bridge("key", "new", str(KEY), "--after", "2y")[0] == 2
    assert bridge("key", "new", str(KEY), "--after", "9999d")[0] == 2
    assert [path.name for path in Path().iterdir()] == [KEY.name]


def test_without_a_key_there_is_nothing_to_show(bridge: Bridge) -> None:
    """And how to get one."""
    code, out, told = bridge("key", "show")
    assert (code, out, "bridge key new" in told) == (2, "", True)


def test_a_seed_of_openssl_is_a_key(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no bridge to make one, on the host of containers say, two words of a shell do."""
    line = 'printf "whsk_%s\\n" "$(openssl rand -base64 32)"'
    text = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("BRIDGE_SIGNING_KEY", text)
    assert json.loads(bridge("key", "show")[1])["keys"][0]["whpk"] == PrivateKey.parse(text).public.text


def test_without_the_package_it_is_said_what_to_install(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra: whoever has no key needs it for nothing, and who has one is told before anything runs."""
    public = PrivateKey(bytes(32)).public.text
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    Path("request").write_text("POST / HTTP/1.1\nwebhook-id: evt_1\n\n{}")
    for words in (("key", "new", str(KEY)), ("verify", "--public-key", public, "request")):
        code, out, told = bridge(*words)
        assert (code, out, with_extra("crypto") in told) == (2, "", True)
    assert not KEY.exists()


def test_an_endpoint_asks_for_v1a_only_where_a_key_signs(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with the command that makes one, and nothing is written; with a key it is in force."""
    code, out, told = bridge("endpoint", "add", "billing", URL, "--signatures", "v1,v1a")
    assert (code, out, "bridge key new" in told, client.exists("bridge:endpoints")) == (2, "", True, 0)
    made(bridge)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY_FILE", str(KEY))
    code, out, _ = bridge("endpoint", "add", "billing", URL, "--signatures", "v1,v1a", "--json")
    assert (code, "secret" in json.loads(out)) == (0, True)
    shown = json.loads(bridge("endpoint", "show", "billing", "--json")[1])
    assert (shown["signatures"], shown["secret"]) == (["v1", "v1a"], "whsec_…")
    assert bridge("endpoint", "set", "billing", "--unset", "signatures")[0] == 0
    assert json.loads(bridge("endpoint", "show", "billing", "--json")[1])["signatures"] == ["v1"]
    code, _, told = bridge("endpoint", "set", "billing", "--signatures", "v2")
    assert (code, '["v1","v1a"]' in told) == (2, True)


def test_by_a_key_alone_no_secret_is_made(bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none to be handed over, none to rotate, and an import does not miss one."""
    made(bridge)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY_FILE", str(KEY))
    code, out, told = bridge("endpoint", "add", "billing", URL, "--signatures", "v1a", "--json")
    assert (code, "secret" in json.loads(out), "Copy the secret" in told) == (0, False, False)
    assert "secret" not in json.loads(client.hget("bridge:endpoints", "billing") or "")
    assert json.loads(bridge("endpoint", "show", "billing", "--json")[1])["secret"] == ""
    code, _, told = bridge("endpoint", "rotate", "billing")
    assert (code, "bridge key new" in told) == (2, True)
    code, _, told = bridge("endpoint", "set", "billing", "--signatures", "v1,v1a")
    assert (code, "there is no secret to sign with" in told) == (2, True)
    exported = bridge("export")[1]
    bridge("endpoint", "rm", "billing")
    code, out, told = bridge("import", "-", "--json", stdin=exported.encode())
    assert (json.loads(out)[0]["result"], "gives no secret" in told) == ("added", False)


NODE = """
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
const { jwks, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
const items = headers["webhook-signature"].split(" ").filter((item) => item.startsWith("v1a,"));
const believed = (text) => items.some((item) => jwks.keys.some((jwk) =>
  verify(null, text, createPublicKey({ key: jwk, format: "jwk" }), Buffer.from(item.slice(4), "base64"))));
console.log(JSON.stringify([believed(signed), believed(Buffer.concat([signed, Buffer.from(" ")]))]));
"""


def test_node_verifies_with_what_is_published(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader of the document: Node takes its keys as JWK as they are, and needs no library."""
    if not shutil.which("node"):
        pytest.skip("node is not installed here")
    for _ in range(2):
        made(bridge)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY_FILE", str(KEY))
    jwks = json.loads(bridge("key", "show")[1])
    body = '{"name":"Zoë"}'
    headers = Signer([], [parse_keys(KEY.read_text())[1].private]).headers("evt_1", 7, body.encode())
    asked = json.dumps({"jwks": jwks, "headers": dict(headers), "body": body})
    Path("verify.mjs").write_text(NODE)
    done = subprocess.run(["node", "verify.mjs"], input=asked, capture_output=True, text=True)
    assert (done.stdout, re.sub(r"\s", "", done.stderr)) == ("[true,false]\n", "")
