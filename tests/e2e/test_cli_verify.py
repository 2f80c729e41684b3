"""`bridge verify`: what somebody received and saved, judged; it needs neither Redis nor settings."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.keypair import PrivateKey
from bridge.signature import Signer, generate_secret
from bridge.tl_signature import signer_for

Bridge = Callable[..., tuple[int, str, str]]
SECRET, OTHER = (generate_secret(bytes([number]) * 32) for number in (1, 2))
BODY = b'{"type":"index.task.ready","data":{"task_id":"6a0b1c2d"}}'
NOW = 1_795_953_515


@pytest.fixture(autouse=True)
def _files(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret, a body and its headers, saved in the current directory; and no Redis at all."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    for name, text in (("secret", f"{OTHER}\n{SECRET}\n"), ("other", OTHER)):
        Path(name).write_text(text)
        Path(name).chmod(0o600)
    headers = [*signer_for("standard", [SECRET]).headers("evt_1", NOW, BODY), ("bridge-attempt", "2")]
    lines = "\n".join(f"{name}: {value}" for name, value in headers)
    Path("headers").write_text(lines)
    Path("headers.json").write_text(json.dumps(dict(headers)))
    Path("body").write_bytes(BODY)
    Path("request").write_bytes(f"POST /hook HTTP/1.1\n{lines}\n\n".encode() + BODY)


@pytest.mark.parametrize(
    ("words", "piped"),
    [
        (("--headers", "headers", "body"), None), (("--headers", "headers.json", "body"), None), (("request",), None),
        (("--headers", "-", "body"), "headers"), (("--headers", "headers", "-"), "body"), (("-",), "request"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", [("--at", str(NOW)), ("--at", "2026-11-29T11:58:35Z"), ("--tolerance", "9999d")])
def test_what_is_ours_is_said_to_be(
    bridge: Bridge, words: tuple[str, ...], piped: str | None, when: tuple[str, ...]
) -> None:
    """From files, a pipe, one whole file; an old one at its moment, or with a long patience."""
    stdin = Path(piped).read_bytes() if piped else b""
    code, out, told = bridge("verify", "--secret-file", "secret", *when, *words, "--json", stdin=stdin)
    assert (code, json.loads(out)) == (
        0,
        {
            "verdict": "ours", "reason": "one of the secrets signed it (standard)", "fix": "", "mismatch": None,
            "scheme": "standard", "event_id": "evt_1", "type": "index.task.ready",
            "attempt": "2", "signed_at": "2026-11-29T11:58:35.000Z", "bytes": len(BODY),
        },
    )  # fmt: skip
    assert "✓ It is ours" in told


@pytest.mark.parametrize(
    ("change", "words", "reason", "fix"),
    [
        (b"\n", (), "white space", "save it without"),
        (b"", ("--secret-file", "other"), "another secret", "endpoint add"),
        (b"", ("--at", "2020-01-01T00:00:00Z"), "after the moment", f"--at {NOW}"),
        (b"", ("--tolerance", "0", "--at", str(NOW + 1)), "1 s before", "compare the clocks"),
    ],
)  # fmt: skip
def test_what_is_not_says_why_and_what_to_do(
    bridge: Bridge, change: bytes, words: tuple[str, ...], reason: str, fix: str
) -> None:
    """Exit code 1; the verdict is data, the reason is told; no secret is in either."""
    Path("body").write_bytes(BODY + change)
    common = ("--secret-file", "secret", "--at", str(NOW), "--headers", "headers")
    for how in ("table", "json", "jsonl"):
        code, out, told = bridge("verify", *common, *words, "body", "-o", how)
        assert (code, "not ours" in out, reason in out + told, fix in out + told) == (1, True, True, True)
        assert SECRET not in out + told
        assert OTHER not in out + told


def test_the_default_secret_serves_where_no_file_is_named(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without one there is nothing to verify with."""
    code, _, told = bridge("verify", "--at", str(NOW), "request")
    assert (code, "--secret-file F" in told) == (2, True)
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", SECRET)
    code, out, _ = bridge("verify", "--at", str(NOW), "request", "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "ours")


KEY, OTHER_KEY = (PrivateKey(bytes([number]) * 32) for number in (1, 2))


def saved(secrets: list[str], *keys: PrivateKey) -> None:
    """A request, signed by these, saved as `signed`."""
    lines = "\n".join(f"{name}: {value}" for name, value in Signer(secrets, keys).headers("evt_1", NOW, BODY))
    Path("signed").write_bytes(f"POST /hook HTTP/1.1\n{lines}\n\n".encode() + BODY)


def test_a_public_key_verifies_v1a(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, one of several, or by default our own; and it is said that a key signed, not a secret."""
    saved([SECRET], KEY)
    ours = ("verify", "--at", str(NOW), "signed", "--json")
    for words in (
        ("--public-key", KEY.public.text),
        ("--public-key", OTHER_KEY.public.text, "--public-key", KEY.public.text),
        ("--secret-file", "other", "--public-key", KEY.public.text),
    ):
        (code, out, _) = bridge(*ours, *words)
        if "--secret-file" not in words:
            assert json.loads(out)["reason"] == "the private half of one of the public keys signed it (standard)"
        assert (code, json.loads(out)["verdict"]) == (0, "ours")
    monkeypatch.setenv("BRIDGE_SIGNING_KEY", f"{OTHER_KEY.text},{KEY.text}")
    assert bridge(*ours)[0] == 0


def test_why_a_public_key_does_not_verify_is_said(bridge: Bridge) -> None:
    """Another key, another version, a changed body: each with what to do."""
    words = ("verify", "--at", str(NOW), "signed", "--json", "--public-key", KEY.public.text)
    for keys, mismatch, fix in (
        ([OTHER_KEY], "no_matching_signature", "bridge key show"), ([], "no_v1a_signature", "--signatures v1,v1a"),
    ):  # fmt: skip
        saved([SECRET], *keys)
        code, out, _ = bridge(*words)
        assert (code, json.loads(out)["mismatch"], fix in json.loads(out)["fix"]) == (1, mismatch, True)
    saved([SECRET], KEY)
    with Path("signed").open("ab") as file:
        file.write(b"\n")
    _, out, _ = bridge(*words)
    assert "the key is right, but the body is not as it was sent: white space" in json.loads(out)["reason"]


@pytest.mark.parametrize("wrong", [KEY.text, "whpk_short", SECRET, ""])
def test_what_is_no_public_key_is_told_and_not_repeated(bridge: Bridge, wrong: str) -> None:
    """A private key on a command line may have been seen: that is said."""
    code, out, told = bridge("verify", "--at", str(NOW), "request", "--public-key", wrong)
    assert (code, "make another pair" in told) == (2, wrong == KEY.text)
    assert not wrong or wrong[6:20] not in out + told or wrong == "whpk_short"


@pytest.mark.parametrize("when", ["0s ago", "0s", "2m ago", "2m"])
def test_a_moment_is_read_as_its_help_writes_it(bridge: Bridge, when: str) -> None:
    """`2h ago` as well as `2h`."""
    words = ("verify", "--secret-file", "secret", "--at", when, "--tolerance", "9999d", "request", "--json")
    code, out, _ = bridge(*words)
    assert (code, json.loads(out)["verdict"]) == (0, "ours")


@pytest.mark.parametrize(
    "words",
    [
        ("body",), ("nowhere",), ("--headers", "nowhere", "body"), ("--headers", "secret", "body"),
        ("--secret-file", "nowhere", "request"), ("--secret-file", "short", "request"), ("--headers", "-", "-"),
        ("--at", "soon", "request"), ("--at", " ago", "request"),
        ("--tolerance", "soon", "request"), ("\0",), ("large",), (".",),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_told(bridge: Bridge, words: tuple[str, ...]) -> None:
    """Exit code 2: it says nothing about the request; nothing of a file is repeated."""
    Path("large").write_bytes(b"x" * 2_000_000)
    Path("short").write_text("short")
    code, out, told = bridge("verify", "--secret-file", "secret", *words)
    assert (code, out) == (2, "")
    assert "→" in told or "Only one" in told
    assert SECRET[6:] not in told


def test_hostile_text_stays_text(bridge: Bridge) -> None:
    """What a stranger sent is shown without what a terminal would obey."""
    Path("request").write_bytes(b'POST / HTTP/1.1\r\nwebhook-id: \x1b[2J\xff\r\n\r\n{"type": "\\u001b[2J", "id": [1]}')
    for how in ("table", "json", "jsonl"):
        code, out, told = bridge("verify", "--secret-file", "secret", "request", "-o", how)
        assert (code, "\x1b" in out + told) == (1, False)


class Recorder(socketserver.StreamRequestHandler):
    """Keeps one request as it comes off the wire."""

    kept: bytes = b""

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline()
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        type(self).kept = head + self.rfile.read(length)
        self.wfile.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


@pytest.fixture
def wire() -> Iterator[str]:
    """The URL of a server that knows nothing of signatures."""
    with socketserver.TCPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("form", ["standard", "twelvelabs", "cloudevents", "cloudevents-binary"])
def test_what_an_endpoint_is_really_sent_verifies(
    bridge: Bridge, wire: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Byte for byte as it came off the wire, in each format."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", redis_url)
    assert bridge("endpoint", "add", "a", wire, "--format", form, "--secret-file", "other")[0] == 0
    assert bridge("endpoint", "test", "a")[0] == 0
    code, out, _ = bridge("verify", "--secret-file", "secret", "-", "--json", stdin=Recorder.kept)
    found = json.loads(out)
    scheme = "twelvelabs" if form == "twelvelabs" else "standard"
    assert (code, found["scheme"], found["type"], found["attempt"]) == (
        0, scheme, "index.task.ready" if form == "twelvelabs" else "bridge.endpoint.test", "1",
    )  # fmt: skip
    code, out, _ = bridge("verify", "--secret-file", "secret", "-", stdin=Recorder.kept + b"\n")
    assert (code, "white space" in out) == (1, True)
