"""`bridge import` of a .toml file: endpoints declared, applied, pruned."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from bridge.cli import declared
from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
Apply = Callable[..., tuple[int, dict[str, str], str]]
ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9/hook"
SECRET = generate_secret(bytes(range(32)))
DEFAULT = generate_secret(bytes(range(1, 33)))


@pytest.fixture(autouse=True)
def default_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is configured, unless a test takes it away."""
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", DEFAULT)


@pytest.fixture
def apply(bridge: Bridge, tmp_path: Path) -> Apply:
    """`bridge import config/endpoints.toml` with this text: (exit code, name → result, standard error)."""
    (tmp_path / "config").mkdir()

    def call(text: str, *options: str) -> tuple[int, dict[str, str], str]:
        (tmp_path / "config/endpoints.toml").write_text(text)
        code, out, told = bridge("import", "config/endpoints.toml", *options, "--json")
        return code, {row["name"]: row["result"] for row in json.loads(out or "[]")}, told

    return call


def secret_file(tmp_path: Path, text: str = SECRET) -> None:
    """config/secrets/billing, its owner's alone."""
    path = tmp_path / "config/secrets/billing"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(0o600)


def test_the_file_that_we_ship_declares_nothing() -> None:
    """All of it is comment."""
    assert tomllib.loads((ROOT / "config/endpoints.toml").read_text()) == {}


def test_its_examples_are_accepted_once_uncommented(apply: Apply, client: "Redis", tmp_path: Path) -> None:
    """As the file says: without the # before the lines that have no space behind it. No hint, no refusal."""
    secret_file(tmp_path)
    text = re.sub(r"^#(?=\S)", "", (ROOT / "config/endpoints.toml").read_text(), flags=re.MULTILINE)
    code, result, told = apply(text)
    names = ["everything", "billing", "archive"]
    assert (code, result) == (0, dict.fromkeys(names, "added"))
    assert [line for line in told.splitlines() if line.startswith("!")] == [
        "! the file gives no secret, so BRIDGE_DELIVERY_DEFAULT_SECRET signs for: everything, archive"
    ]
    assert json.loads(str(client.hget("bridge:registry", "billing")))["secrets"] == [SECRET]
    for word in ("--dry-run", "--prune"):
        assert f"bridge import config/endpoints.toml {word}" in text


def test_applying_twice_changes_nothing(apply: Apply, client: "Redis", tmp_path: Path) -> None:
    """Nor does writing the defaults out; a change does, and an x- field is one."""
    secret_file(tmp_path)
    text = f'[endpoints.billing]\nurl = "{URL}"\nsecret_file = "secrets/billing"\n'
    assert apply(text)[:2] == (0, {"billing": "added"})
    before = client.hgetall("bridge:endpoints")
    assert apply(text)[1] == {"billing": "unchanged"}
    assert apply(text + 'events = ["index.task.*"]\ntasks = ["*"]\nordering = "first-attempt"\n')[1] == {
        "billing": "unchanged"
    }
    assert client.hgetall("bridge:endpoints") == before
    assert apply(text + "x-again = 1\n")[1] == {"billing": "changed"}
    assert apply(text + 'x-again = 1\nevents = ["index.task.ready"]\n')[1] == {"billing": "changed"}
    assert json.loads(str(client.hget("bridge:registry", "billing")))["events"] == ["index.task.ready"]


def test_a_secret_changes_with_its_file_and_stays_without_one(apply: Apply, client: "Redis", tmp_path: Path) -> None:
    """Never printed."""
    other = generate_secret(bytes(range(2, 34)))
    text = f'[endpoints.billing]\nurl = "{URL}"\n'
    for secret, line, result in (
        (SECRET, 'secret_file = "secrets/billing"\n', "added"),
        (other, 'secret_file = "secrets/billing"\n', "changed"),
        (other, f'secret_file = "{tmp_path}/config/secrets/billing"\n', "unchanged"),
        (other, "", "unchanged"),
    ):
        secret_file(tmp_path, secret)
        code, results, told = apply(text + line)
        assert (code, results) == (0, {"billing": result})
        assert json.loads(str(client.hget("bridge:endpoints", "billing")))["secret"] == secret
        assert secret not in told


def test_a_receiver_of_twelvelabs_webhooks_is_declared(apply: Apply, client: "Redis", tmp_path: Path) -> None:
    """With the text that TwelveLabs reveals as its secret, which another format refuses and nobody repeats."""
    theirs = "tlwh-hidden/theirs"
    secret_file(tmp_path, theirs)
    text = f'[endpoints.billing]\nurl = "{URL}"\nsecret_file = "secrets/billing"\n'
    code, results, told = apply(text)
    assert (code, results, "hidden" in told) == (2, {"billing": "rejected"}, False)
    assert "format twelvelabs" in told
    assert apply(text + 'format = "twelvelabs"\n')[:2] == (0, {"billing": "added"})
    known = json.loads(str(client.hget("bridge:registry", "billing")))
    assert (known["format"], known["secrets"]) == ("twelvelabs", [theirs])


def test_pruning_takes_back_what_is_not_in_the_file(apply: Apply, bridge: Bridge, client: "Redis") -> None:
    """And cancels what it was owed, which is said; the endpoints of callback URLs are their tasks'."""
    for name in ("old", "kept"):
        bridge("endpoint", "add", name, URL)
    client.hset("bridge:task:t1", "callback_url", URL)
    client.zadd("bridge:tasks", {"t1": 0})
    client.hset("bridge:endpoints", "url:0123456789abcdef", json.dumps({"url": URL}))
    text = f'[endpoints.kept]\nurl = "{URL}"\n[endpoints.new]\nurl = "{URL}"\n'
    expected = {"kept": "unchanged", "new": "added"}
    assert apply(text, "--dry-run")[1] == expected
    code, results, told = apply(text, "--prune", "--dry-run")
    assert (code, results) == (0, {**expected, "old": "removed"})
    assert "Nothing was changed" in told
    assert client.hexists("bridge:endpoints", "old")
    assert not client.hexists("bridge:endpoints", "new")
    code, results, told = apply(text, "--prune")
    assert (code, results) == (0, {**expected, "old": "removed"})
    assert "old is gone; 0 pending deliveries are cancelled" in told
    assert set(client.hkeys("bridge:endpoints")) == {"kept", "new", "url:0123456789abcdef"}
    assert set(client.hkeys("bridge:registry")) == {"kept", "new"}
    assert client.zscore("bridge:tasks", "t1") == 0
    assert apply(text, "--prune")[1] == {"kept": "unchanged", "new": "unchanged"}


def test_what_the_file_names_badly_is_not_pruned(apply: Apply, bridge: Bridge, client: "Redis") -> None:
    """A slip of the pen must not cancel what is owed: the endpoint stays as it was."""
    bridge("endpoint", "add", "a", URL)
    before = client.hgetall("bridge:endpoints")
    code, results, told = apply('[endpoints.a]\nurl = "http://10.0.0.1/"\n', "--prune")
    assert (code, results) == (2, {"a": "rejected"})
    assert "✗ [endpoints.a]: url" in told
    assert client.hgetall("bridge:endpoints") == before


def test_an_empty_file_prunes_nothing(apply: Apply, bridge: Bridge, client: "Redis") -> None:
    """Without --prune it is nothing to do; with it, a refusal that says what it would have done."""
    bridge("endpoint", "add", "a", URL)
    assert apply("# nothing\n")[:2] == (0, {})
    assert bridge("import", "config/endpoints.toml", "--json")[:2] == (0, "[]\n")
    code, _, told = apply("# nothing\n", "--prune")
    assert (code, "would take back all 1" in told, "→" in told) == (2, True, True)
    assert client.hexists("bridge:endpoints", "a")


def test_only_tables_can_be_pruned_by(bridge: Bridge) -> None:
    """JSON lines may be a part of what there is."""
    code, _, told = bridge("import", "-", "--prune", stdin=b"{}")
    assert (code, ".toml" in told) == (2, True)


GOOD = f'[endpoints.good]\nurl = "{URL}"\n'


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ('secret = "whsec_doNotRepeat"', "a secret has no place in this file"),
        ('secret_file = "nowhere"', "cannot be read"),
        ("secret_file = 7", "no path"),
        ('secret_file = "a\\u0000b"', "no path"),
        ('secret_file = "."', "cannot be read"),
        ("x-since = 2026-01-01", "what JSON cannot say"),
        ("x-most = inf", "what JSON cannot say"),
        ("events = []", "events"),
        ('ordering = "random"', "ordering"),
        ('[endpoints.bad.headers]\nwebhook-id = "1"', "the bridge's own"),
        (f"x-deep = {'[' * 90}{']' * 90}\nx-long = '{'x' * 20_000}'", "longer than"),
    ],
)
def test_a_bad_table_is_told_and_stops_no_other(apply: Apply, client: "Redis", table: str, word: str) -> None:
    """P10: exit code 6, its name, the reason and the fix."""
    code, results, told = apply(f'{GOOD}[endpoints.bad]\nurl = "{URL}"\n{table}\n')
    assert (code, results) == (6, {"good": "added", "bad": "rejected"})
    assert "✗ [endpoints.bad]: " in told
    assert word in told
    assert "\n  → " in told
    assert "doNotRepeat" not in told
    assert client.hkeys("bridge:endpoints") == ["good"]


def test_without_any_secret_the_fix_is_a_file(apply: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the `secret` that this file may not have."""
    monkeypatch.delenv("BRIDGE_DELIVERY_DEFAULT_SECRET")
    code, _, told = apply(GOOD)
    assert (code, "secret_file" in told) == (2, True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[endpoints.a", "not valid TOML"),
        ("\nurl = \n", "at line 2"),
        (GOOD + GOOD, "not valid TOML"),
        ("[endpoint.a]\nurl = 1\n", "“endpoint”"),
        ("endpoints = 1\n", "no table"),
        ("x = " + "[" * 5_000, "not valid TOML"),
        ('a = "whsec_doNotRepeat', "not valid TOML"),
        ("[tasks.t1]\n", "“tasks”"),
    ],
)
def test_a_file_that_is_not_understood_changes_nothing(apply: Apply, client: "Redis", text: str, word: str) -> None:
    """Exit code 2, with what is wrong and where."""
    code, results, told = apply(text, "--prune")
    assert (code, results, word in told, "→" in told) == (2, {}, True, True)
    assert "doNotRepeat" not in told
    assert client.exists("bridge:endpoints") == 0


def test_the_marks_of_other_systems_mean_nothing(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BOM and CRLF; UTF-16, other bytes and too many of them are told."""
    file = tmp_path / "e.TOML"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert bridge("import", "e.TOML", "-o", "ids")[:2] == (0, "good\n")
    for raw, word in ((GOOD.encode("utf-16"), "UTF-16"), (b"\xff\x00", "UTF-8")):
        file.write_bytes(raw)
        code, _, told = bridge("import", "e.TOML")
        assert (code, word in told) == (2, True)
    monkeypatch.setattr(declared, "TOML_BYTES", 10)
    file.write_text(GOOD)
    assert "longer than 10 bytes" in bridge("import", "e.TOML")[2]
