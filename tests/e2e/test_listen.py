"""`bridge listen`: what it says and answers, whoever speaks to it."""

import hashlib
import hmac
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.keypair import PrivateKey
from bridge.sandbox.receiver import Receiver
from bridge.signature import Signer, generate_secret

pytestmark = pytest.mark.slow

SECRET = generate_secret(bytes(range(32)))
OTHER = generate_secret(bytes(range(1, 33)))
BODY = b'{"type":"index.task.ready","data":{"task_id":"6a0b1c2d"}}'


class Listening:
    """A `bridge listen` process on a free port."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "listen", "0", *words],
            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        self.port = int(first.split("127.0.0.1:")[1].split("/")[0])

    def post(self, body: bytes = BODY, headers: Mapping[str, str] | None = None, method: str = "POST") -> int:
        """Send one request, rightly signed unless `headers` are given; the status it is answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, "/", body, headers=signed(body) if headers is None else dict(headers))
        status = connection.getresponse().status
        connection.close()
        return status

    def line(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[str, str]:
        """Ctrl-C; the rest of stdout and of stderr."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # Not communicate(): it would pass over what the text streams have read ahead.
        out, told = self.process.stdout.read(), self.process.stderr.read()
        assert self.process.wait(20) == 0
        return out, told


def signed(body: bytes, secret: str = SECRET, event_id: str = "evt_1") -> dict[str, str]:
    """The headers of a delivery made now."""
    return dict(Signer([secret]).headers(event_id, int(time.time()), body))


@contextmanager
def listening(*words: str, **environment: str) -> Iterator[Listening]:
    """One that is ended in any case."""
    one = Listening(*words, **environment)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(f"{OTHER}\n{SECRET}\n")
    path.chmod(0o600)
    return str(path)


def test_listen_tells_a_valid_signature_from_any_other(secret_file: str) -> None:
    """A valid one is a ✓ line and 204, any other a ✗ line with reason and hint, and 401; Ctrl-C ends with 0."""
    with listening("--secret-file", secret_file) as one:
        assert one.post() == 204
        assert "✓ sig ok  index.task.ready  6a0b1c2d  evt_1 → 204" in one.line()
        assert one.post(headers=signed(BODY + b" ")) == 401
        assert "✗ sig BAD no_matching_signature" in (line := one.line())
        assert "another secret" in line
        assert one.post(headers={}) == 401
        assert "✗ sig BAD missing_header" in one.line()
        assert one.post(method="PUT") == 405
        out, told = one.end()
    assert "PUT /" in out or "→ 405" in out
    assert SECRET not in out + told


def test_listen_names_the_file_that_it_was_given(tmp_path: Path, secret_file: str) -> None:
    """What an endpoint would sign with, to be pasted; of a file with several secrets that cannot be said."""
    path = tmp_path / "my local.whsec"
    path.write_text(SECRET)
    path.chmod(0o600)
    with listening("--secret-file", str(path)) as one:
        assert f"--secret-file '{path}'\n" in one.end()[1]
    with listening("--secret-file", secret_file) as one:
        assert "--secret-file F\n" in one.end()[1]


def test_listen_verifies_what_twelvelabs_signs(tmp_path: Path) -> None:
    """TL-Signature, by the text that TwelveLabs revealed: its own webhooks and the format `twelvelabs` alike."""
    theirs, at = "tlwh-theirs/revealed", str(int(time.time()))
    body = b'{"id":"whe_1","created_at":"","type":"index.task.ready","data":{"id":"6a0b1c2d","status":"ready"}}'
    good = hmac.new(theirs.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    path = tmp_path / "revealed"
    path.write_text(theirs)
    path.chmod(0o600)
    with listening("--secret-file", str(path)) as one:
        assert one.post(body, {"TL-Signature": f"t={at},v1={good}"}) == 204
        assert "✓ sig ok  index.task.ready  6a0b1c2d  whe_1 → 204" in one.line()
        assert one.post(body + b" ", {"TL-Signature": f"t={at},v1={good}"}) == 401
        assert "✗ sig BAD no_matching_signature" in one.line()
        assert one.post() == 401
        assert "✗ sig BAD bad_secret" in (line := one.line())
        assert "whsec_…" in line
        out, told = one.end()
    assert theirs not in out + told


def test_listen_verifies_by_a_public_key() -> None:
    """v1a, without any secret: what another key signed, or a secret alone, is refused."""
    key, other = (PrivateKey(bytes([number]) * 32) for number in (1, 2))
    with listening("--public-key", key.public.text) as one:
        for keys, status, said in (
            ([key], 204, "✓ sig ok"), ([other], 401, "no_matching_signature"), ([], 401, "--signatures v1,v1a"),
        ):  # fmt: skip
            assert one.post(headers=dict(Signer([SECRET], keys).headers("evt_1", int(time.time()), BODY))) == status
            assert said in one.line()
        one.end()


def test_listen_reads_a_cloudevent_in_both_modes(secret_file: str) -> None:
    """Type and task stand elsewhere in the binary mode."""
    data = b'{"task_id":"6a0b1c2d"}'
    whole = b'{"type":"io.twelvelabs.index.task.ready","data":%b}' % data
    with listening("--secret-file", secret_file) as one:
        assert one.post(whole, signed(whole)) == 204
        assert "✓ sig ok  io.twelvelabs.index.task.ready  6a0b1c2d  evt_1 → 204" in one.line()
        assert one.post(data, signed(data) | {"ce-type": "io.twelvelabs.index.task.gone"}) == 204
        assert "✓ sig ok  io.twelvelabs.index.task.gone  6a0b1c2d  evt_1 → 204" in one.line()


def test_listen_consents_to_whoever_asks(secret_file: str) -> None:
    """It is there to receive; anything else that is no POST is refused as ever."""
    with listening("--secret-file", secret_file) as one:
        assert one.post(b"", method="OPTIONS", headers={"webhook-request-origin": "bridge.example.com"}) == 200
        assert "OPTIONS /" in one.line()
        assert one.post(method="OPTIONS", headers={}) == 405


def test_listen_says_when_it_cannot_verify() -> None:
    """Without a secret everything is taken, and each line says that it is not verified."""
    with listening() as one:
        assert one.post(headers={}) == 204
        assert "? not verified  index.task.ready" in one.line()
        assert "nothing is verified" in one.end()[1]


def test_listen_takes_the_configured_secret() -> None:
    """BRIDGE_DELIVERY_DEFAULT_SECRET verifies where no file is named."""
    with listening(BRIDGE_DELIVERY_DEFAULT_SECRET=SECRET) as one:
        assert one.post() == 204
        assert "✓ sig ok" in one.line()
        assert one.post(headers=signed(BODY, OTHER)) == 401
        assert "endpoint add local" in (told := one.end()[1])
        assert "--default-secret\n" in told


def test_listen_lets_nothing_from_outside_control_the_terminal() -> None:
    """Control sequences, bidirectional marks, markup and endless texts come out as harmless text."""
    body = '{"type":"\\u001b[31m[bold]x[/bold]\\u202e\\ud800","data":{"task_id":"%s"}}' % ("9" * 500)
    with listening(FORCE_COLOR="") as one:
        assert one.post(body.encode(), headers={"webhook-id": "evt_\x9b31m"}) == 204
        line = one.line()
        one.end()
    assert "\\x1b[31m[bold]x[/bold]\\u202e\\ud800" in line
    assert "evt_\\x9b31m" in line
    assert all(char.isprintable() for char in line.rstrip("\n"))
    assert len(line) < 400


def test_listen_passes_on_what_it_has_verified(secret_file: str) -> None:
    """--forward-to: the same bytes and signature reach the app, whose answer goes back; a forgery goes no further."""
    app = Receiver(SECRET)
    app.script(503)
    with app.in_thread(), listening("--secret-file", secret_file, "--forward-to", f"{app.url}/hook?x=1") as one:
        assert [one.post(), one.post()] == [503, 204]
        assert "→ 503" in one.line()
        assert "→ 204" in one.line()
        assert one.post(headers=signed(BODY, generate_secret(bytes(range(2, 34))))) == 401
        assert "✗ sig BAD" in one.line()
    assert [(arrival.path, arrival.body, arrival.verdict) for arrival in app.arrivals] == [("/hook", BODY, None)] * 2


def test_listen_says_when_the_app_does_not_answer() -> None:
    """--forward-to a closed port: 502, which the bridge tries again, and a line that says so."""
    with listening("--forward-to", "http://127.0.0.1:1/hook") as one:
        assert one.post() == 502
        assert "the app does not answer: connect" in one.line()


@pytest.mark.parametrize(("word", "statuses"), [("410", [410, 410]), ("flaky", [503, 204])])
def test_listen_answers_as_asked(word: str, statuses: list[int]) -> None:
    """--respond: a status, or every other delivery 503."""
    with listening("--respond", word) as one:
        assert [one.post(), one.post()] == statuses


def test_listen_says_that_its_port_is_taken() -> None:
    """Exit code 1, which port, and what to do."""
    with listening() as one:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "listen", str(one.port)], capture_output=True, text=True, timeout=20
        )
    assert done.returncode == 1
    assert f"Port {one.port} is taken by another process." in done.stderr
    assert "lsof" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--respond", "99"), "slow or flaky"),
        (("--forward-to", "localhost:7140/ok"), "→ bridge listen --forward-to http://localhost:7140/ok\n"),
        (("--forward-to", "http://127.0.0.1:1", "--respond", "500"), "exclude each other"),
        (("--secret-file", "/no/such/file"), "cannot be read"),
        (("70000",), "PORT"),
    ],
)
def test_listen_refuses_what_it_does_not_understand(words: tuple[str, ...], said: str) -> None:
    """Exit code 2, and what would be right."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "listen", *words], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert said in done.stderr
