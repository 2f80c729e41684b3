"""P8 where something is wrong: no error message and no traceback repeats a secret, whoever wrote it where."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import planted
import pytest
from planted import everything, found_in
from redis import Redis
from town import Town, a_town
from until import until

from bridge.cli import run

Call = Callable[..., tuple[int, str]]

QUOTED = quote(planted.REDIS_PASSWORD, safe="")
AT = f"https://u:{planted.USERINFO}@callback.example{planted.CALLBACK}&{planted.URL_QUERY}"


@pytest.fixture
def bridge(redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`bridge` in this process, with good settings full of secrets: the exit code, and all that was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_REDIS_URL", redis_url)
    monkeypatch.setenv("BRIDGE_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("TWELVELABS_API_KEY", planted.API_KEY)
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", planted.DEFAULT_SECRET)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY", planted.SIGNING_KEY)

    def call(*words: str) -> tuple[int, str]:
        code = run(list(words))
        return code, "".join(capfd.readouterr())

    return call


BAD_SETTINGS = {
    "a raw password": ("BRIDGE_REDIS_URL", f"redis://:{planted.REDIS_PASSWORD}@127.0.0.1:1/0"),
    "a password without a user": ("BRIDGE_REDIS_URL", f"redis://{planted.REDIS_PASSWORD}"),
    "another scheme": ("BRIDGE_REDIS_URL", f"http://:{QUOTED}@127.0.0.1/0"),
    "no database": ("BRIDGE_REDIS_URL", f"redis://:{QUOTED}@127.0.0.1/{QUOTED}"),
    "no port": ("BRIDGE_REDIS_URL", f"redis://:{QUOTED}@127.0.0.1:{QUOTED}/0"),
    "no server": ("BRIDGE_REDIS_URL", f"redis://x:{QUOTED}@127.0.0.1:1/0"),
    "no such option": ("BRIDGE_REDIS_URL", f"redis://127.0.0.1:1/0?password={QUOTED}&pass={QUOTED}"),
    "an option of another kind": ("BRIDGE_REDIS_URL", f"redis://127.0.0.1:1/0?socket_timeout={QUOTED}"),
    "no socket": ("BRIDGE_REDIS_URL", f"unix://:{QUOTED}@/nowhere/at.all"),
    "a sentinel": ("BRIDGE_REDIS_URL", f"redis+sentinel://:{QUOTED}@127.0.0.1:1/mymaster"),
    "a key with a space": ("TWELVELABS_API_KEY", f"{planted.API_KEY} x"),
    "a misspelt key": ("BRIDGE_TWELVELABS_APIKEY", planted.API_KEY),
    "a key where its file belongs": ("TWELVELABS_API_KEY_FILE", planted.API_KEY),
    "a key where a URL belongs": ("BRIDGE_TWELVELABS_BASE_URL", planted.API_KEY),
    "a URL with a key": (
        "BRIDGE_TWELVELABS_BASE_URL",
        f"https://{quote(planted.API_KEY)}@api.example/?k={planted.API_KEY}",
    ),
    "a secret cut short": ("BRIDGE_DELIVERY_DEFAULT_SECRET", planted.DEFAULT_SECRET[:-3]),
    "a signing key cut short": ("BRIDGE_SIGNING_KEY", planted.SIGNING_KEY[:-3]),
    "a signing key that begins never": ("BRIDGE_SIGNING_KEY", f"{planted.SIGNING_KEY}@{planted.SIGNING_KEY}"),
    "a signing key that is there twice": ("BRIDGE_SIGNING_KEY", f"{planted.SIGNING_KEY},{planted.SIGNING_KEY}"),
    "a signing key where a secret belongs": ("BRIDGE_DELIVERY_DEFAULT_SECRET", planted.SIGNING_KEY),
    "a secret that is none": ("BRIDGE_DELIVERY_DEFAULT_SECRET", f"{planted.DEFAULT_SECRET}!"),
    "a secret where networks belong": ("BRIDGE_DELIVERY_ALLOW_NETWORKS", planted.DEFAULT_SECRET),
    "a secret where a number belongs": ("BRIDGE_POLL_WORKERS", planted.DEFAULT_SECRET),
    "a secret where a word belongs": ("BRIDGE_LOG_FORMAT", planted.DEFAULT_SECRET),
    "a URL where the prefix belongs": ("BRIDGE_PREFIX", f"redis://:{QUOTED}@127.0.0.1:1/0"),
    "a secret where a file belongs": ("BRIDGE_CONFIG", planted.DEFAULT_SECRET),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_no_bad_setting_is_repeated(bridge: Call, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """By no command, whether it says what is wrong at once or only when it goes to Redis."""
    name, value = BAD_SETTINGS[case]
    monkeypatch.setenv(name, value)
    if name == "TWELVELABS_API_KEY_FILE":
        monkeypatch.delenv("TWELVELABS_API_KEY")
    for words in (("config", "check"), ("config", "show"), ("task", "ls"), ("status", "--json"), ("doctor",)):
        _, said = bridge(*words)
        assert not found_in(said), said
        assert "Traceback" not in said


@pytest.mark.parametrize("text", ["redis_url = {}", "redis_url = [{}", "twelvelabs_api_key = [{}]", "nonsense = {}"])
def test_no_bad_file_is_repeated(bridge: Call, tmp_path: Path, text: str) -> None:
    """Neither TOML that is none, nor a value of another type or name in it, nor a `.env`."""
    quoted = f'"redis://:{planted.REDIS_PASSWORD}@127.0.0.1:1/0"'
    (tmp_path / "bridge.toml").write_text(text.format(quoted))
    (tmp_path / ".env").write_text(f"this is no line {quoted}\nBRIDGE_NONSENSE={quoted}\n")
    for words in (("config", "check"), ("task", "ls"), ("doctor",)):
        code, said = bridge("--config", "bridge.toml", *words)
        assert (code != 0, found_in(said)) == (True, set()), said


MISTAKES = [
    (planted.OWN_SECRET,),
    ("endpoint", "add", "a", "https://example.com/", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--secret", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--secret-file", planted.OWN_SECRET),
    ("endpoint", "add", planted.OWN_SECRET, "https://example.com/"),
    ("endpoint", "add", "a", AT),
    ("endpoint", "add", AT, "a"),
    ("endpoint", "add", "a", "https://example.com/", "--format", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--events", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--auth-file", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--header", f"authorization={planted.HEADER}"),
    ("endpoint", "add", "a", "https://example.com/", "--header", planted.HEADER),
    ("endpoint", "add", "a", "https://example.com/", "--header", f"x={planted.HEADER}\n;"),
    ("endpoint", "add", "a", "https://example.com/", "--rate", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--schedule", planted.OWN_SECRET),
    ("endpoint", "add", "a", "https://example.com/", "--metadata", planted.HEADER),
    ("endpoint", "set", "a", "--unset", planted.OWN_SECRET),
    ("verify", AT),
    ("verify", "--headers", planted.OWN_SECRET, os.devnull),
    ("verify", "--headers", os.devnull, "--at", planted.OWN_SECRET, os.devnull),
    ("verify", "--secret-file", planted.OWN_SECRET, __file__),
    ("verify", "--public-key", planted.SIGNING_KEY, __file__),
    ("endpoint", "add", "a", "https://example.com/", "--signatures", planted.SIGNING_KEY),
    ("key", "new", planted.SIGNING_KEY),
    ("key", "new", "key", "--after", planted.SIGNING_KEY),
    ("endpoint", "show", AT),
    ("endpoint", "rm", planted.OWN_SECRET),
    ("task", "add", AT),
    ("task", "add", planted.OWN_SECRET),
    ("task", "add", "t1", "--callback-url", AT),
    ("task", "add", "t1", "--expires-in", planted.OWN_SECRET),
    ("task", "show", AT),
    ("task", "poll", AT),
    ("task", "rm", planted.OWN_SECRET),
    ("delivery", "show", AT),
    ("event", "ls", "--after", AT),
    ("contract", "check", AT),
    ("dev", "t1", "--to", AT),
    ("listen", "--forward-to", AT.replace("://", ":// ")),
    ("--config", f"redis://:{QUOTED}@127.0.0.1:1/0", "task", "ls"),
    ("-o", planted.OWN_SECRET, "task", "ls"),
]


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: " ".join(words)[:30])
def test_no_word_that_is_a_secret_is_repeated(bridge: Call, words: tuple[str, ...]) -> None:
    """What was pasted into the wrong place does not go on into a terminal's scrollback and a CI's log."""
    code, said = bridge(*words)
    assert (code != 0, found_in(said)) == (True, set()), said
    assert "Error" in said or "✗" in said


UNEXPECTED = """
import os, sys
from bridge import cli
from bridge.store import Store
def broken(url, **_):
    said = " ".join(os.environ[name] for name in ("BRIDGE_DELIVERY_DEFAULT_SECRET", "BRIDGE_SIGNING_KEY"))
    raise RuntimeError(f"{url} {os.environ['TWELVELABS_API_KEY']!r} {said}")
Store.open = broken
cli.main(["task", "ls"])
"""


def test_an_unexpected_exception_of_the_cli_is_told_without_secrets(tmp_path: Path) -> None:
    """With its traceback, which is what a report needs; exit code 1."""
    environment = {
        "PATH": os.environ["PATH"], "BRIDGE_LOG_LEVEL": "DEBUG",
        "BRIDGE_REDIS_URL": f"redis://:{QUOTED}@127.0.0.1:1/0",
        "TWELVELABS_API_KEY": planted.API_KEY, "BRIDGE_DELIVERY_DEFAULT_SECRET": planted.DEFAULT_SECRET,
        "BRIDGE_SIGNING_KEY": planted.SIGNING_KEY,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", UNEXPECTED], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "RuntimeError" in done.stderr
    assert "in broken" in done.stderr
    assert "→" in done.stderr
    assert not found_in(done.stderr), done.stderr


SABOTAGE = """
import os, sys
from bridge.sender import Sender
from bridge.store.shifts import Fleet, Shifts
from bridge.supervisor import Supervisor

names = ("BRIDGE_REDIS_URL", "TWELVELABS_API_KEY", "BRIDGE_DELIVERY_DEFAULT_SECRET", "BRIDGE_SIGNING_KEY")
secrets = " ".join(os.environ[name] for name in names)
once = set()

def failing(name, true):
    def broken(*arguments):
        if name in once:
            return true(*arguments)
        once.add(name)
        raise RuntimeError(f"sabotaged {name} {secrets}") from ValueError(secrets)
    return broken

async def post(self, endpoint, delivery):
    known = (endpoint, endpoint.url, endpoint.secrets, self._prepare(endpoint), self._signing_keys)
    raise RuntimeError(f"sabotaged post {secrets} {known}")

Sender.post = post
Shifts.start = failing("start", Shifts.start)
Fleet.missing = failing("missing", Fleet.missing)
if os.environ.get("SABOTAGE"):
    Supervisor._restore = failing("restore", None)
"""


@pytest.fixture
def sabotaged(tmp_path: Path) -> dict[str, str]:
    """Settings of a worker in which unexpected exceptions full of secrets are raised."""
    place = tmp_path / "sabotage"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SABOTAGE)
    return {
        "PYTHONPATH": str(place), "BRIDGE_LOG_LEVEL": "DEBUG",
        "TWELVELABS_API_KEY": planted.API_KEY, "BRIDGE_DELIVERY_DEFAULT_SECRET": planted.DEFAULT_SECRET,
        "BRIDGE_SIGNING_KEY": planted.SIGNING_KEY,
    }  # fmt: skip


def register(town: Town) -> None:
    """An endpoint full of secrets, instead of the town's own."""
    with Redis.from_url(town.redis.url) as client:
        definition = {"url": f"{town.receiver.url}/in?{planted.URL_QUERY}", "secret": planted.OWN_SECRET}
        definition["signatures"] = ["v1", "v1a"]  # type: ignore[assignment]
        definition["headers"] = {"x-partner": planted.HEADER}  # type: ignore[assignment]
        client.hset("bridge:endpoints", "mine", json.dumps(definition))


@pytest.mark.slow
@pytest.mark.parametrize("style", ["json", "console"])
def test_an_unexpected_exception_inside_a_job_is_told_without_secrets(
    tmp_path: Path, sabotaged: dict[str, str], style: str
) -> None:
    """In an attempt, in a shift and in the supervisor's thread: each is logged, and none ends the work or RQ's keys."""
    with a_town(tmp_path) as town:
        register(town)
        town.simulator._organisations[planted.API_KEY] = "sandbox"
        url = town.redis.url.replace("://", f"://:{QUOTED}@")
        with Redis.from_url(town.redis.url) as client:
            client.config_set("requirepass", planted.REDIS_PASSWORD)
            with town.worker(redis_url=url, BRIDGE_LOG_FORMAT=style, **sabotaged) as running:
                until(lambda: all(f"sabotaged {name}" in running.log for name in ("post", "start", "missing")), 20)
                kept = list(everything(client))
                assert running.stop() == 0
        assert any(re.fullmatch(r"rq:results:\S+ exc_string, unpacked", place) and text for place, text in kept)
        assert not [(place, text) for place, text in kept if place.startswith("rq:") and found_in(text)]
        assert not found_in(running.log), [line for line in running.log.splitlines() if found_in(line)]


@pytest.mark.slow
def test_what_ends_the_supervisor_is_told_without_secrets(tmp_path: Path, sabotaged: dict[str, str]) -> None:
    """Nobody catches it, and still it goes through the log."""
    with a_town(tmp_path) as town, town.worker(SABOTAGE="1", **sabotaged) as running:
        assert running.process.wait(20) == 1
        (line,) = running.said("uncaught")
        assert "sabotaged restore" in line["exception"]
        assert not found_in(running.log), running.log


@pytest.mark.parametrize("words", [("completion",), ("contract", "show"), ("task", "show"), ("endpoint", "show")])
def test_credentials_typed_in_a_wrong_place_are_not_repeated(bridge: Call, words: tuple[str, ...]) -> None:
    """Where click says what it was given, and where we do."""
    for typed, secret in (("Authorization: Bearer abc123def", "abc123def"), ("tlk_456ghi789", "456ghi789")):
        code, said = bridge(*words, typed)
        assert code
        assert secret not in said
