"""Whatever is typed after `bridge`: a known exit code, no traceback, and no secret.

What is kept as a secret stands on neither stream; what was typed in a wrong place is not narrated. (Data on stdout
names what was asked for as it was typed.)
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from hypothesis import strategies as st
from nonsense import BEARING, HEADER, PASSWORD, URL, assert_silent, hunt, words
from redis import Redis

from bridge.cli import COMMANDS, run
from bridge.cli import bridge as group
from bridge.signature import generate_secret

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200)]

KEPT_SECRET = generate_secret(bytes(range(50, 82)))
KEPT_HEADER, KEPT_TOKEN, KEPT_KEY = "hdr8Kept-in-redis", "q8Kept-in-redis", "tlk_8KeptInTheSettings"
KEPT = (KEPT_SECRET.removeprefix("whsec_"), KEPT_HEADER, KEPT_TOKEN, KEPT_KEY)
SHORT, LONG = 40, 5_000
"""Command lines in `make test` and in `make soak`."""
CODES = {*range(7), 130}
ENDLESS = {
    *("demo", "dev", "listen", "simulate", "worker", "metrics", "console", "status", "doctor", "init"),
    *("task watch", "task wait", "event tail", "endpoint test", "endpoint check"),
}
"""What serves, waits, works or asks the network, and does so as long as it is let."""


def verbs(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every command that ends by itself, with its options."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in COMMANDS if command is group else command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from verbs(inner, (*path, name))
    elif not {path[0], " ".join(path)} & ENDLESS:
        yield path, [name for one in command.params if isinstance(one, click.Option) for name in one.opts]


VERBS = sorted(verbs(group, ()))
arguments = st.one_of(
    st.sampled_from(
        ["a", "good", "t1", "evt_1", "evt_1/a", "-", "--", "1h", "0", "-1", "ready", "index.task.ready", "json"]
    ),
    st.sampled_from([URL, BEARING, f"Authorization={HEADER}", f"x-a: {HEADER}", "in.json", "nowhere.json", "."]),
    words.filter(lambda word: "\0" not in word and len(word) < 1_000).map(
        lambda word: word.encode("utf-8", "replace").decode()
    ),
)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line: a verb, some of its options, some arguments, in any order behind the verb."""
    verb, known = draw(st.sampled_from(VERBS))
    options = st.sampled_from(known) if known else st.just("-o")
    behind = draw(st.lists(st.one_of(arguments, options, st.tuples(options, arguments)), max_size=6))
    flat = [word for one in behind for word in ((one,) if isinstance(one, str) else one)]
    return [*verb, *flat]


def typed(line: list[str]) -> tuple[int, str, str]:
    """What a command line comes to: its exit code, and what it prints on either stream."""
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        code = run(line)
    return code, out.getvalue(), told.getvalue()


@pytest.fixture
def furnished(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A place to type in, and what makes it as it was: an endpoint full of secrets, a task, a file."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"REDIS_URL": redis_url, "DELIVERY_DEFAULT_SECRET": KEPT_SECRET}.items():
        monkeypatch.setenv(f"BRIDGE_{name}", value)
    monkeypatch.setenv("TWELVELABS_API_KEY", KEPT_KEY)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    definition = json.dumps(
        {
            "url": f"https://example.com/hook?token={KEPT_TOKEN}",
            "secret": KEPT_SECRET,
            "headers": {"Authorization": f"Bearer {KEPT_HEADER}"},
        }
    )
    with Redis.from_url(redis_url) as client:

        def furnish() -> None:
            client.flushall()
            client.hset("bridge:endpoints", "good", definition)
            client.zadd("bridge:tasks", {"t1": 0})
            Path("in.json").write_text(json.dumps({"type": "endpoint", "name": "b", "url": BEARING, "x": PASSWORD}))

        yield furnish


def test_whatever_is_typed_ends_with_a_known_code_and_no_secret(furnished: Callable[[], None], soak: bool) -> None:
    assert len(VERBS) > 20
    furnished()
    assert typed(["endpoint", "ls", "-o", "ids"]) == (0, "good\n", "")

    def check(line: list[str]) -> None:
        furnished()
        code, out, told = typed(line)
        assert code in CODES
        assert "Traceback" not in out + told
        said = f"bridge {' '.join(line)}"
        assert_silent(told, where=said)
        if "--with-secrets" not in line:
            assert_silent(out + told, where=said, secrets=KEPT)

    hunt(lines(), check, examples=LONG if soak else SHORT)
