"""P8: ten planted secrets are found nowhere but where the contract itself puts them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import planted
import pytest
from consolescene import Markup, asked
from planted import found_in
from secretive import FAILING, Town, a_secretive_town

from bridge.cli import COMMANDS, run
from bridge.cli.output import FORMATS
from bridge.settings import load_settings
from bridge.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("secrets")]

Call = Callable[..., tuple[int, str]]
PAGES_LOOKED_AT = 300

SENT = {"own secret", "old secret", "header value", "query token"}
CALLED_BACK = {"callback's query", "callback's path"}
ALLOWED = [
    # The client wrote these two itself, and may read them: they are the contract's own.
    (r"bridge:endpoints \S+", SENT),
    (r"bridge:task:t1 callback_url", CALLED_BACK),
    (r"bridge:task:t2 callback_url", CALLED_BACK | {"userinfo"}),
    (r"bridge:task:t3 (metadata|endpoints)", CALLED_BACK | {"userinfo", "own secret"}),
    # The endpoints in force: whom to POST to, with what headers, signed with what. Whoever delivers needs all of it.
    (r"bridge:registry (?!url:)\S+", SENT),
    (r"bridge:registry url:\S+", CALLED_BACK),
    # `raw` is the last good definition, which a bad one is answered with; from `config` a lost registry is remade.
    (r"bridge:endpoint:(?!url:)\S+ (raw|config)", SENT),
    (r"bridge:endpoint:url:\S+ config", CALLED_BACK),
]
"""The places in Redis where a secret stands by contract, and which ones."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The town of all these tests."""
    with a_secretive_town(tmp_path_factory.mktemp("secrets")) as town:
        yield town


@pytest.fixture
def bridge(town: Town, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`bridge` in this process, in that town: the exit code, and all that was said."""
    monkeypatch.chdir(tmp_path)
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> tuple[int, str]:
        code = run(list(words))
        return code, "".join(capfd.readouterr())

    return call


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_is_in_a_log_at_debug(town: Town, style: str) -> None:
    """Neither ours nor a subscriber's, whatever it answered; and the log does tell of every failure."""
    log = town.logs[style]
    assert all(name in log for name in FAILING)
    assert "delivery.attempted" in log
    assert not found_in(log), [line for line in log.splitlines() if found_in(line)]


def test_no_secret_is_in_a_command_line(town: Town) -> None:
    """Of no process of this machine, the supervisor and its children among them."""
    lines = b"\n".join(town.command_lines.values())
    assert b"bridge.jobs" in lines
    assert b"worker.py" in lines
    assert not found_in(lines)


def test_no_secret_is_in_redis_but_where_the_contract_puts_it(town: Town) -> None:
    """Names, fields and values of every key, RQ's too: attempts, events, rejected entries and counters hold none."""
    places = [place for place, _ in town.contents]
    for expected in ("rq:", "bridge:attempts:", "bridge:rejected", "bridge:event:", "bridge:stats", "bridge:watch"):
        assert any(expected in place for place in places), expected
    leaks = [(place, found, text) for place, text in town.contents if (found := found_in(text) - allowed(place))]
    assert not leaks, leaks


def allowed(place: str) -> set[str]:
    """What may stand there."""
    return next((names for pattern, names in ALLOWED if re.fullmatch(pattern, place)), set())


def test_the_secrets_were_really_there(town: Town) -> None:
    """Each allowed place holds what it may, so that the test before this one has looked at the real thing."""
    for pattern, names in ALLOWED:
        texts = [text for place, text in town.contents if re.fullmatch(pattern, place)]
        assert set.union(*map(found_in, texts)) == names, pattern


LOOKS = [
    ("task", "ls"), ("task", "ls", "--limit", "0"), ("task", "show", "t1"), ("task", "show", "t2"),
    ("task", "show", "t3"), ("task", "show", "t4"), ("endpoint", "ls"), ("endpoint", "show", "echo"),
    ("endpoint", "show", "bad-userinfo"), ("endpoint", "test", "echo"), ("endpoint", "test", "reset"),
    ("endpoint", "test", "redirect"), ("endpoint", "recover", "echo", "--dry-run"), ("endpoint", "disable", "echo"),
    ("endpoint", "enable", "echo"), ("endpoint", "set", "echo", "--ordering", "none"),
    ("endpoint", "set", "echo", "--url", "http://10.0.0.1/"), ("endpoint", "rotate", "nobody"),
    ("event", "ls"), ("event", "tail", "--after", "0", "--limit", "1"), ("delivery", "ls"), ("status",), ("health",),
    ("metrics",), ("doctor",), ("doctor", "--resolve"),
    ("contract", "check", "--live"), ("contract", "show"), ("contract", "acl"),
    ("config", "show"), ("config", "check"), ("key", "show"), ("key", "new", "another-key"),
]  # fmt: skip


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_no_command_shows_a_secret(bridge: Call, words: tuple[str, ...], how: str) -> None:
    """In no format, narration included."""
    _, said = bridge(*words, *(() if words in NO_FORMAT else ("-o", how)))
    assert not found_in(said), said


NO_FORMAT = {("key", "show"), ("config", "check"), ("contract", "acl"), ("contract", "show"), ("metrics",)}


async def test_no_page_of_the_console_shows_a_secret(
    town: Town, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every page that a link leads to, and its twin in JSON: attempts, answers, bodies, and a command to paste."""
    monkeypatch.chdir(tmp_path)
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    settings, waiting, seen = load_settings(), ["/"], dict[str, int]()
    async with (
        Store.look(settings.redis_url.get_secret_value(), prefix=settings.prefix) as store,
        asked(store) as client,
    ):
        while waiting and len(seen) < PAGES_LOOKED_AT:
            path = waiting.pop(0)
            page, twin = await client.get(path), await client.get(path, headers={"accept": "application/json"})
            api = await client.get(f"/api{path}")
            assert not found_in(page.text + twin.text + api.text), path
            seen[path] = page.status_code
            links = [] if path.startswith("/static") else Markup(page.text).links
            waiting += [link for link in dict.fromkeys(links) if link[0] == "/" and link not in {*seen, *waiting}]
    assert len(seen) > 40
    assert sum(path.startswith("/deliveries/") for path in seen) > 10
    assert {path: status for path, status in seen.items() if status != 200} == {}


@pytest.mark.parametrize("how", FORMATS)
def test_what_an_auth_file_holds_is_shown_nowhere(bridge: Call, tmp_path: Path, how: str) -> None:
    """By whatever reads or writes the endpoint, or tells how it differs; its receiver answers with the password."""
    bearer, basic = tmp_path / "bearer", tmp_path / "basic"
    bearer.write_text(f"{planted.HEADER}\n")
    basic.write_text(f"me:{planted.PASSWORD}\n")
    said = bridge("endpoint", "show", "echo", "--json")[1]  # what waits at the moment is told after it
    url = json.JSONDecoder().raw_decode(said)[0]["url"].partition("?")[0]
    calls = [
        ("add", "new", url, "--auth-file", str(bearer), "--default-secret", "--replace"),
        ("set", "new", "--auth-file", str(basic)), ("set", "new", "--auth-file", str(basic), "--ordering", "none"),
        ("show", "new"), ("ls",), ("test", "new"), ("set", "new", "--header", "x-partner=1"), ("show", "new"),
        ("set", "new", "--unset", "headers.authorization"),
    ]  # fmt: skip
    for words in calls:
        form = "table" if words[0] == "test" and how == "ids" else how  # an attempt has no id
        code, said = bridge("-o", form, "endpoint", *words)
        assert (code, found_in(said)) == (1 if words[0] == "test" else 0, set()), said
        assert not found_in(bridge("export")[1])
    assert json.loads(bridge("endpoint", "show", "new", "--json")[1])["headers"] == ["x-partner"]


@pytest.mark.parametrize("how", FORMATS)
def test_no_delivery_shows_a_secret(bridge: Call, how: str) -> None:
    """With every attempt, and what was answered."""
    _, ids = bridge("delivery", "ls", "-o", "ids")
    events = {line.partition("/")[0] for line in ids.splitlines()}
    assert len(events) >= 2
    for event in events:
        code, said = bridge("delivery", "show", event, "-o", how)
        assert (code, found_in(said)) == (0, set()), said


def test_a_callback_of_a_task_is_shown_without_what_may_be_a_token(bridge: Call) -> None:
    """Of its query nothing, of its path the words."""
    _, rows = bridge("endpoint", "ls", "--json")
    (name,) = [row["endpoint"] for row in json.loads(rows) if row["endpoint"].startswith("url:")]
    for how in FORMATS:
        assert not found_in(bridge("endpoint", "show", name, "-o", how)[1])
    assert "/hooks/…/in?…" in bridge("endpoint", "show", name)[1]


@pytest.mark.skipif("export" not in COMMANDS, reason="bridge export is not built yet")
def test_an_export_holds_no_secret_unless_asked_for_by_name(bridge: Call, tmp_path: Path) -> None:
    """A URL that hides something, in its query or its path, is a secret as a whole: it is left out with the others."""
    _, said = bridge("export")
    held = said + "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "echo" in held
    assert not found_in(held), held
