"""The command line as a whole: formats, errors, exit codes, help, and that it starts light."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from owing import DEAD, announce, settle_as, with_store
from redis import Redis
from until import until

from bridge.cli import COMMANDS
from bridge.cli import bridge as group
from bridge.sandbox.redis import RedisServer

Bridge = Callable[..., tuple[int, str, str]]
NAMES = list(COMMANDS)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [("task", "ls"), ("event", "ls"), ("delivery", "ls"), ("endpoint", "ls")])
def test_every_format_is_understood_where_there_is_nothing(bridge: Bridge, words: tuple[str, ...]) -> None:
    """An empty list is an empty list in each format, before and after the verb."""
    assert [bridge(*words, "-o", how)[1] for how in ("json", "jsonl", "ids")] == ["[]\n", "", ""]
    assert bridge("--json", *words)[1] == bridge("-o", "json", *words)[1] == bridge(*words, "--json")[1] == "[]\n"
    code, out, told = bridge(*words)
    assert (code, told) == (0, "")
    assert out.isupper()


def test_what_is_said_nearest_to_the_verb_wins(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the verb, before it, BRIDGE_OUTPUT, a table; an unknown format is a usage error."""
    monkeypatch.setenv("BRIDGE_OUTPUT", "json")
    assert bridge("task", "ls")[1] == "[]\n"
    assert bridge("-o", "ids", "task", "ls")[1] == ""
    assert bridge("-o", "json", "task", "ls", "-o", "table")[1].startswith("TASK")
    assert bridge("task", "ls", "-o", "xml")[0] == 2


WITHOUT_IDS = (("status",), ("health",), ("doctor",), ("config", "check"), ("verify", "-"), ("endpoint", "test", "a"))


@pytest.mark.parametrize("words", WITHOUT_IDS)
def test_ids_are_refused_where_there_are_none(bridge: Bridge, words: tuple[str, ...]) -> None:
    """A usage error that names the forms that there are; the help does not offer it either."""
    code, out, told = bridge(*words, "-o", "ids")
    assert (code, out, "'table', 'json', 'jsonl'" in told, "it has no ids" in told) == (2, "", True, True), told
    assert "table, json or jsonl" in bridge(*words, "--help")[1]


@pytest.mark.parametrize("words", WITHOUT_IDS[:4])
def test_ids_are_refused_before_the_verb_too(bridge: Bridge, words: tuple[str, ...]) -> None:
    """A script that asked for ids must not read a table as such; what stands nearer wins as ever."""
    code, out, told = bridge("-o", "ids", *words)
    assert (code, out, "has no ids" in told, f"bridge {' '.join(words)} --help" in told) == (2, "", True, True), told
    assert bridge("-o", "ids", *words, "-o", "json")[1][:1] in {"{", "["}


@pytest.mark.parametrize("words", WITHOUT_IDS[:4])
def test_ids_wanted_for_good_are_a_table_where_there_are_none(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """BRIDGE_OUTPUT is of all commands; what stands nearer wins as ever."""
    table = bridge(*words)[1].partition(" ")[0]
    monkeypatch.setenv("BRIDGE_OUTPUT", "ids")
    assert bridge(*words)[1].partition(" ")[0] == table
    assert bridge("-o", "json", *words)[1][:1] in {"{", "["}


def test_redis_down_is_said_soon_and_has_its_exit_code(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5 within a few seconds, the reason and the setting, for commands of every noun."""
    monkeypatch.setenv("BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    for words in (("task", "ls"), ("task", "add", "t1"), ("endpoint", "rm", "a"), ("event", "tail"), ("health",)):
        started = time.monotonic()
        code, out, told = bridge(*words)
        assert (code, out) == (5, "")
        assert "BRIDGE_REDIS_URL" in told
        assert time.monotonic() - started < 5


def test_a_redis_that_hangs_is_not_waited_for(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers: exit code 5 too, before the socket's own patience ends."""
    with RedisServer() as server:
        monkeypatch.setenv("BRIDGE_REDIS_URL", server.url)
        server.pause()
        started = time.monotonic()
        code = bridge("status")[0]
        spent = time.monotonic() - started
        server.resume()
    assert code == 5
    assert spent < 5


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("bridge:tasks", ("task", "ls")),
        ("bridge:tasks", ("task", "add", "t1")),
        ("bridge:tasks", ("task", "show", "t1")),
        ("bridge:endpoints", ("endpoint", "ls")),
        ("bridge:endpoints", ("endpoint", "add", "a", "http://127.0.0.1:9/")),
        ("bridge:rejected", ("status",)),
        ("bridge:events", ("event", "ls")),
    ],
)
def test_a_key_of_the_wrong_type_is_an_error_and_no_traceback(
    bridge: Bridge, client: "Redis", key: str, words: tuple[str, ...]
) -> None:
    """P10: somebody's hand was there; the answer says what to look for."""
    client.set(key, "oops")
    code, _, told = bridge(*words)
    assert (code, "of another type than it should" in told, "→" in told) == (1, True, True)
    assert not {"(", "WRONGTYPE", "Command #"} & set(told.split())


def test_settings_are_shown_with_their_source_and_checked(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are masked; a misspelt name is refused with the right one, exit code 2, by every command."""
    monkeypatch.setenv("TWELVELABS_API_KEY", "tlk_do_not_show")
    code, out, _ = bridge("config", "show", "--json")
    shown = {row["setting"]: row for row in json.loads(out)}
    assert code == 0
    assert (shown["BRIDGE_DELIVERY_ALLOW_HTTP"]["value"], shown["BRIDGE_DELIVERY_ALLOW_HTTP"]["source"]) == (
        "true",
        "env",
    )
    assert "tlk_do_not_show" not in out + bridge("config", "show")[1]
    assert bridge("config", "check")[0] == 0
    assert json.loads(bridge("config", "check", "--json")[1])["valid"] is True
    monkeypatch.setenv("BRIDGE_POL_INTERVAL_SECONDS", "3")
    for words in (("config", "check"), ("config", "show"), ("task", "ls"), ("endpoint", "check", "https://a.com/")):
        code, _, told = bridge(*words)
        assert code == 2
        assert "BRIDGE_POLL_INTERVAL_SECONDS" in told


def test_help_lists_every_command_without_importing_it() -> None:
    """`bridge --help` loads neither Redis nor RQ nor pydantic nor asyncio; `endpoint check` no Redis and no RQ."""
    code = "import sys; from bridge.cli import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    heavy = {"redis", "rq", "httptools", "structlog"}
    for words, forbidden in ((["--help"], {*heavy, "pydantic"}), (["endpoint", "check", "https://a.com/"], heavy)):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert not forbidden & set(done.stderr.split())
        assert words != ["--help"] or all(f"│ {name} " in done.stdout for name in NAMES)


@pytest.mark.parametrize("words", ["task ls", "endpoint ls", "status", "event ls", "delivery ls"])
def test_a_look_imports_nothing_that_it_has_no_use_for(redis_url: str, words: str) -> None:
    """In a script, where it is asked again and again: no judge of entries, no worker's part, nothing that draws."""
    code = "import sys; from bridge.cli import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    needless = {"rich.table", "bridge.contract", "bridge.doctor.entries", "bridge.store.handshakes", "rq", "httptools"}
    assert (done.returncode, needless & set(done.stderr.split())) == (0, set())


def test_a_misspelt_noun_or_verb_is_answered_with_the_near_one(bridge: Bridge) -> None:
    """Also at the top, whose commands are imported only when they are used."""
    for words, meant in ((("taks", "ls"), "'task'"), (("tasks",), "'task'"), (("task", "lss"), "'ls'")):
        code, _, told = bridge(*words)
        assert (code, meant in told.partition("Did you mean")[2]) == (2, True), told


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("delivery", "ls", "--state"), "dead"),
        (("endpoint", "add", "a", "https://a.com/", "--ordering"), "strict"),
        (("task", "ls", "-o"), "json"),
        (("contract", "show"), "endpoint"),
        (("worker",), "deliver"),
    ],
)
def test_a_misspelt_word_of_an_option_is_answered_with_the_near_one(
    bridge: Bridge, words: tuple[str, ...], meant: str
) -> None:
    """Beside those that there are; where none is near, those alone."""
    code, _, told = bridge(*words, meant[:-2] + meant[-1])
    assert (code, f"did you mean “{meant}”?" in told) == (2, True), told
    code, _, told = bridge(*words, "zzz")
    assert (code, "did you mean" in told, meant in told) == (2, False, True), told


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        *((("endpoint", word), "bridge endpoint rm") for word in ("remove", "delete", "Remove")),
        *((("endpoint", word), "bridge endpoint set") for word in ("update", "edit", "modify")),
        *((("endpoint", word), "bridge endpoint add") for word in ("create", "new")),
        *((("endpoint", word), "bridge endpoint show") for word in ("get", "describe")),
        (("task", "list"), "bridge task ls"),
        (("watch", "delete"), "bridge watch rm"),
        (("rejected", "delete"), "bridge rejected rm"),
        (("delivery", "get"), "bridge delivery show"),
    ],
)  # fmt: skip
def test_another_word_for_a_verb_is_answered_with_ours(bridge: Bridge, words: tuple[str, ...], meant: str) -> None:
    """Where the noun has it, with how it is used."""
    code, _, told = bridge(*words)
    assert (code, f"→ {meant} --help" in told, told.count("mean")) == (2, True, 1), told


@pytest.mark.parametrize(
    "words",
    [("endpoint", "recove"), ("endpoint", "tets"), ("delivery", "retri"), ("replai",), ("task", "rmm"),
     ("key", "delete"), ("delivery", "remove"), ("endpoint", "disab")],
)  # fmt: skip
def test_no_verb_that_sends_or_ends_something_is_guessed(bridge: Bridge, words: tuple[str, ...]) -> None:
    """Whoever pastes a guess means what they had written. The page that lists all is named."""
    code, _, told = bridge(*words)
    assert (code, "mean" in told, f"→ {' '.join(['bridge', *words[:-1]])} --help" in told) == (2, False, True), told


def test_help_and_version_are_told_whichever_way_they_are_asked_for(bridge: Bridge) -> None:
    """As a command, too, at the top and below."""
    version = bridge("--version")
    assert version[0] == 0
    assert bridge("version") == bridge("-V") == version
    assert bridge("help") == bridge("--help")
    assert bridge("help", "task", "ls") == bridge("task", "ls", "--help")
    assert bridge("task", "help") == bridge("help", "task") == bridge("task", "--help")
    assert bridge("help", "taks")[0] == 2
    code, _, told = bridge("-v")
    assert (code, "bridge --version" in told) == (2, True)


def test_another_word_for_a_state_is_answered_with_ours(bridge: Bridge) -> None:
    """Nobody who looks for what failed thinks of `dead`."""
    for word, meant in (("failed", "dead"), ("success", "delivered"), ("waiting", "pending")):
        code, _, told = bridge("delivery", "ls", "--state", word)
        assert (code, f"did you mean “{meant}”?" in told) == (2, True), told


def test_what_is_no_number_is_told_so(bridge: Bridge) -> None:
    """And not by the name of a class."""
    assert "'abc' is no whole number." in bridge("task", "ls", "--limit", "abc")[2]
    assert "'abc' is no number." in bridge("demo", "--timeout", "abc")[2]


def test_a_list_of_commands_says_what_each_command_says() -> None:
    """What the list knows of a command without importing it is no invention: it begins as the command's own help."""
    context = group.make_context("bridge", [], resilient_parsing=True)
    for name, (_, short) in COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert (command.help or "").split()[0] == short.split()[0], name


def test_completion_knows_the_commands() -> None:
    """`bridge t<TAB>` in bash."""
    environment = {**os.environ, "_BRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "bridge t", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "from bridge.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.stdout.strip() == "plain,task"


def a_process(redis_url: str, directory: Path, *words: str, **more: str) -> "subprocess.Popen[bytes]":
    """`python -m bridge` with its own standard streams."""
    environment = {**os.environ, "BRIDGE_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT), **more}
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.Popen(command, stdout=-1, stderr=-1, env=environment, cwd=directory)


@pytest.mark.parametrize(
    "words", [("event", "tail", "-o", "ids", "--after", "0-0"), ("task", "watch", "t1", "-o", "ids"), ("status", "-w")]
)
def test_ctrl_c_ends_a_follower_with_130(
    redis_url: str, client: "Redis", tmp_path: Path, words: tuple[str, ...]
) -> None:
    """At once, without a traceback."""
    client.zadd("bridge:tasks", {"t1": 0})
    process = a_process(redis_url, tmp_path, *words)
    busy = {"xread", "xrevrange", "zcount", "zrange", "info", "time"}
    until(lambda: any(one["cmd"] in busy for one in client.client_list()), 20)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert b"Error" not in told


def test_a_terminal_that_knows_only_ascii_gets_its_answer(redis_url: str, tmp_path: Path) -> None:
    """No traceback for want of an arrow or a dash."""
    process = a_process(redis_url, tmp_path, "task", "show", "t1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    _, told = process.communicate(timeout=20)
    assert process.returncode == 3
    assert b"bridge task add t1" in told
    assert b"Traceback" not in told


def test_a_reader_that_leaves_is_no_error(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """`bridge … | head -1`: no traceback."""
    client.zadd("bridge:tasks", {f"t{number}": 0 for number in range(5_000)})
    process = a_process(redis_url, tmp_path, "task", "ls", "--limit", "0", "-o", "jsonl")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as told:
        assert json.loads(out.readline())["task"].startswith("t")
        out.close()
        assert told.read() == b""
    assert process.wait(20) == 0


def test_a_reader_that_leaves_a_live_view_is_not_redis_being_away(redis_url: str, tmp_path: Path) -> None:
    """`bridge status -w | head -2`: our own pipe broke, and nothing of Redis'."""
    process = a_process(redis_url, tmp_path, "status", "-w")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as told:
        assert out.readline().startswith(b"tasks")
        out.close()
        assert b"Redis" not in told.read()
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    "words", [("--help",), ("task", "ls", "--help"), ("task", "show", "t1"), ("doctor",), ("demo",)]
)
def test_a_reader_that_is_not_there_is_no_error(redis_url: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    """`bridge … | true`: whatever was to be printed is printed by nobody, and the exit code is that of the shell's."""
    process = a_process(redis_url, tmp_path, *words)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as told:
        assert not re.search(b"Traceback|Errno|ignored", told.read())
    assert process.wait(20) == (3 if "t1" in words else 0)


def test_a_narrow_terminal_keeps_ids_in_one_piece(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """Columns that do not fit side by side stand below the id, which stays in one piece. NO_COLOR: no colour."""
    member = "6a0b1c2d3e4f5a6b7c8d9e01" * 2
    client.hset("bridge:rejected", f"task:{member}", json.dumps({"reason": "for a long reason " * 5, "fix": "mend it"}))
    seen = at_a_terminal(redis_url, tmp_path, "task", "ls")
    lines = seen.decode().splitlines()
    assert lines[0] == member
    assert lines[1].startswith("  note rejected: for a long reason")
    assert all(line.startswith("  ") and len(line) <= 60 for line in lines[1:])
    assert not re.search(rb"\x1b\[[\d;]*[34]\d", seen)


@pytest.mark.parametrize("words", [("event", "ls"), ("delivery", "ls"), ("delivery", "ls", "--state", "dead")])
def test_a_usual_terminal_has_a_table(redis_url: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    """120 columns: what is least needed is left out, what remains is whole; with more of them nothing is."""
    with_store(redis_url, lambda store: store.client.hset("bridge:endpoints", "billing", '{"url": "https://e.com/"}'))
    made = announce(redis_url, "6a0b1c2d3e4f5a6b7c8d9e01", "indexing", "ready")
    settle_as(redis_url, DEAD, json.dumps({"attempt": 1, "at": 1, "status_code": 500}))
    head, *lines = plain(at_a_terminal(redis_url, tmp_path, *words, columns=120))
    assert {"EVENT", "TASK"} <= set(head.split())
    shown = [line for line in lines if line.startswith("evt_")]
    assert shown
    assert all(line.split()[0] in made and "6a0b1c2d3e4f5a6b7c8d9e01" in line for line in shown)
    assert ("CURSOR" if words[0] == "event" else "TYPE") not in head
    assert words[0] == "event" or "ATTEMPTS" in head
    wide, *_ = plain(at_a_terminal(redis_url, tmp_path, *words, columns=250))
    assert ("CURSOR" if words[0] == "event" else "TYPE") in wide


def plain(shown: bytes) -> list[str]:
    """The lines that say something, without their looks."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.mark.parametrize("columns", [60, 70, 80, 120])
def test_no_word_is_broken_that_fits_a_line(redis_url: str, tmp_path: Path, columns: int) -> None:
    """The name of a setting is to be copied."""
    shown = at_a_terminal(redis_url, tmp_path, "endpoint", "check", "https://10.0.0.1/hook", columns=columns).decode()
    assert "BRIDGE_DELIVERY_ALLOW_NETWORKS." in shown.partition("\n→")[0].split()


def test_a_narrow_terminal_keeps_a_label_with_its_value(redis_url: str, client: "Redis", tmp_path: Path) -> None:
    """Whatever the lengths before it are, a line ends with a whole pair; piped, an empty cell has a dash."""
    for number in range(12):
        task = "t" * (8 + number)
        client.xadd(
            "bridge:events", {"id": "evt_" + "0" * 32, "type": "index.task.ready", "task": task, "revision": "7"}
        )
    lines = at_a_terminal(redis_url, tmp_path, "event", "ls").decode().splitlines()
    assert not [line for line in lines if line.split()[-1] in {"type", "task", "revision", "committed", "cursor"}]
    client.zadd("bridge:tasks", {"t1": 0})
    client.zadd("bridge:watch", {"t1": 9e12})
    process = a_process(redis_url, tmp_path, "task", "ls")
    assert process.communicate(timeout=20)[0].decode().splitlines()[1].split()[-1] == "—"


def test_a_narrow_terminal_keeps_the_indent_of_what_doctor_says(redis_url: str, tmp_path: Path) -> None:
    """But a command, which is to be pasted, stays on its line."""
    lines = at_a_terminal(redis_url, tmp_path, "doctor").decode().splitlines()
    told = [line for line in lines if "→" not in line]
    assert not [line for line in told if len(line) > 60 and " " in line[19:].strip()]
    assert not [line for line in lines if line[:1] not in {"✓", "!", "✗", " "} and "failed," not in line]


def test_a_narrow_terminal_keeps_a_command_whole_as_it_works_here(
    redis_url: str, client: "Redis", tmp_path: Path
) -> None:
    """It is written so before lines are broken: they are no longer than the terminal, and each is found again."""
    client.hset("bridge:endpoints", "a", '{"url": "http://127.0.0.1:9/", "secret": "whsec_' + "A" * 43 + '="}')
    announce(redis_url, "t1", "ready")
    client.hset("bridge:endpoint:a", mapping={"state": "disabled", "reason": "gone"})
    for columns in (58, 60, 64, 68, 72):
        shown = at_a_terminal(redis_url, tmp_path, "doctor", columns=columns, run=AS_A_SCRIPT).decode()
        told = [line for line in shown.splitlines() if "→" not in line]
        assert not [line for line in told if len(line) > columns and " " in line[19:].strip()]
        assert any(" .venv/bin/bridge endpoint rm a" in line for line in told), shown


def test_a_command_in_a_table_and_of_no_verb_is_as_it_works_here(
    redis_url: str, client: "Redis", tmp_path: Path
) -> None:
    """JSON has it as it is called."""
    fix = "bridge endpoint add a URL"
    client.hset("bridge:rejected", "endpoint:a", json.dumps({"reason": "no", "fix": fix}))
    shown = at_a_terminal(redis_url, tmp_path, "rejected", "ls", columns=120, run=AS_A_SCRIPT).decode()
    assert f" .venv/bin/{fix}" in shown
    shown = at_a_terminal(redis_url, tmp_path, "rejected", "ls", "-o", "jsonl", run=AS_A_SCRIPT).decode()
    assert json.loads(shown)["fix"] == fix
    shown = at_a_terminal(redis_url, tmp_path, "contract", "check", "--live", columns=120, run=AS_A_SCRIPT).decode()
    assert f" .venv/bin/{fix}" in shown
    shown = at_a_terminal(redis_url, tmp_path, "taks", run=AS_A_SCRIPT).decode()
    assert "→ .venv/bin/bridge --help" in shown


def test_a_narrow_terminal_has_the_headers_of_an_attempt_on_lines_of_its_width(redis_url: str, tmp_path: Path) -> None:
    """Piped they are one line, as a script may want it."""
    with_store(redis_url, lambda store: store.client.hset("bridge:endpoints", "a", '{"url": "https://example.com/"}'))
    (event,) = announce(redis_url, "t1", "ready")
    head = "\n".join(["POST https://example.com/", *(f"x-header-{number}: value" for number in range(12))])
    settle_as(redis_url, DEAD, json.dumps({"attempt": 1, "at": 1, "status_code": 500, "request": head}))
    shown = at_a_terminal(redis_url, tmp_path, "delivery", "show", event).decode().splitlines()
    headers = [line for line in shown if "x-header" in line]
    assert len(headers) > 3
    assert all(line.startswith(" " * 8) and len(line) <= 60 for line in headers)
    piped = a_process(redis_url, tmp_path, "delivery", "show", event).communicate(timeout=20)[0].decode()
    assert len([line for line in piped.splitlines() if "x-header" in line]) == 1


def test_a_narrow_terminal_has_a_task_within_its_width(redis_url: str, tmp_path: Path) -> None:
    """All but a command, which is to be pasted, and a word that is longer by itself; piped, a line is a line."""
    with_store(redis_url, lambda store: store.client.hset("bridge:endpoints", "a", '{"url": "https://example.com/"}'))
    words = json.dumps({"order": "a long word, and another one, and a third"})
    with_store(redis_url, lambda store: store.client.hset("bridge:task:t1", "metadata", words))
    announce(redis_url, "t1", "indexing", "ready")
    settle_as(redis_url, DEAD, json.dumps({"attempt": 1, "at": 1, "error": "connect: a long reason " * 6}))
    shown = at_a_terminal(redis_url, tmp_path, "task", "show", "t1").decode().splitlines()
    wide = [line for line in shown if len(line) > 60]
    assert wide
    assert all(line.lstrip().startswith("→ bridge ") for line in wide), wide
    piped = a_process(redis_url, tmp_path, "task", "show", "t1").communicate(timeout=20)[0].decode().splitlines()
    assert len(piped) < len(shown)
    same = [re.sub(r"\b\d+\s+s\b", "", " ".join(lines)).split() for lines in (shown, piped)]
    assert same[0] == same[1]


AS_MODULE = ("-m", "bridge")
AS_A_SCRIPT = (
    "-c",
    "import sys; sys.argv[0] = '.venv/bin/bridge'; from bridge.cli import main; main()",
)
"""As in a clone whose environment is not activated."""


def at_a_terminal(
    redis_url: str, directory: Path, *words: str, columns: int = 60, run: tuple[str, ...] = AS_MODULE
) -> bytes:
    """What a command prints at a terminal of so many columns."""
    ours, theirs = pty.openpty()
    more = {"BRIDGE_REDIS_URL": redis_url, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    more["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, *run, *words]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, **more}, cwd=directory)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65_536):
            seen += piece
    except OSError:
        pass  # the other side is closed
    os.close(ours)
    assert process.wait(20) in {0, 1, 2}
    return seen


@pytest.mark.parametrize(
    ("words", "said", "page"),
    [
        ("endpoint add b3 https://exa mple.com", "(mple.com): quote what belongs together", "bridge endpoint add"),
        ("endpoint add b3", "Missing argument 'URL'.", "bridge endpoint add"),
        ("task ls --stat x", "No such option '--stat'", "bridge task ls"),
        ("task ls --port 1", "No such option '--port'", "bridge task ls"),
        ("tasks", "No such command 'tasks'.", "bridge"),
    ],
)
def test_a_word_that_is_not_understood_is_told_as_any_other_error(
    bridge: Bridge, words: str, said: str, page: str
) -> None:
    """One line with what is wrong, and below it the page that says what may stand there."""
    code, out, told = bridge(*words.split())
    first, second = told.splitlines()
    assert (code, out, first.startswith("Error: "), said in first) == (2, "", True, True), told
    assert second == f"  → {page} --help"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--watch", "5"), "unexpected extra argument (5)\n  → bridge status --help\n"),
        (("delivery", "ls", "--state", "dying"), "'superseded', 'cancelled'.\n  → bridge delivery ls --help\n"),
        (("watch", "add", "i1"), "A watch is of an index, or of the account.\n  → bridge watch index INDEX_ID\n"),
    ],
)
def test_nothing_far_fetched_is_guessed(bridge: Bridge, words: tuple[str, ...], said: str) -> None:
    """Neither quotes for a command that takes no word, nor a word that is like none, nor a verb that is none."""
    assert bridge(*words)[2].endswith(said)


@pytest.mark.parametrize(
    ("words", "meant", "page"),
    [
        ("retry evt_1", "“delivery retry”", "bridge delivery retry"),
        ("ls", "“task ls” or “watch ls” or “endpoint ls”", "bridge"),
        ("rotate", "“endpoint rotate”", "bridge endpoint rotate"),
        ("list", "“task ls” or", "bridge"),
        ("logs", "“event tail”", "bridge event tail"),
    ],
)
def test_a_verb_without_its_noun_is_told_with_it(bridge: Bridge, words: str, meant: str, page: str) -> None:
    """Whichever nouns have it; what it does is done by none of them."""
    told = bridge(*words.split())[2]
    assert f"No such command '{words.split()[0]}'. Did you mean {meant}" in told
    assert told.endswith(f"  → {page} --help\n")


@pytest.mark.parametrize(
    ("command", "form"),
    [
        ("simulate", "PORT"),
        ("listen", "PORT"),
        ("console", "--bind 127.0.0.1:PORT"),
        ("metrics", "--serve 127.0.0.1:PORT"),
    ],
)
@pytest.mark.parametrize("words", [("--port", "9000"), ("--port=9000",)])
def test_a_port_given_as_elsewhere_is_answered_with_how_it_is_given_here(
    bridge: Bridge, command: str, form: str, words: tuple[str, ...]
) -> None:
    """--host, the near name, is another thing: the command is told as it is to be called."""
    code, _, told = bridge(command, *words)
    assert (code, told.splitlines()) == (2, ["Error: No such option '--port' here", f"  → bridge {command} {form}"])
