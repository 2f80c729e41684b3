"""Logs: one line each, routed, and without any secret that was planted."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge import logs

KEY = "tlk_C4N4RY/key+1"
SIGNING = "whsec_Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5+/=="

Lines = Callable[[], list[dict[str, Any]]]


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process's logging as it was before the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines() -> Lines:
    """Configure JSON at DEBUG with the key as a known secret; call to get the lines so far."""
    stream = io.StringIO()
    logs.configure("DEBUG", "json", stream, secrets=[KEY, ""])
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_in_utc(lines: Lines) -> None:
    """Event, level, logger, bound fields and an ISO timestamp that ends in Z."""
    structlog.contextvars.bind_contextvars(worker="w1")
    logs.get_logger("bridge.poll").info("task.read\nnext", task="t1", ms=1.5, ok=True, none=None)
    (line,) = lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "event": "task.read\nnext",
        "level": "info",
        "logger": "bridge.poll",
        "task": "t1",
        "ms": 1.5,
        "ok": True,
        "none": None,
        "worker": "w1",
    }


@pytest.mark.parametrize("name", ["rq.worker", "redis.connection", "anything.else"])
def test_stdlib_loggers_take_the_same_path(lines: Lines, name: str) -> None:
    """What libraries log becomes a line of the same form, redacted."""
    logging.getLogger(name).warning("job %s of %s", 7, KEY)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("job 7 of ***", "warning", name)


@pytest.mark.parametrize("name", ["httpx", "httpcore", "httpcore.http11"])
def test_httpx_says_only_what_is_wrong(lines: Lines, name: str) -> None:
    """Its INFO lines are URLs and its DEBUG lines headers; warnings pass."""
    logger = logging.getLogger(name)
    logger.info("HTTP Request: GET https://h/x?token=1")
    logger.debug("send_request_headers")
    logger.warning("odd")
    assert [line["event"] for line in lines()] == ["odd"]


def test_levels_are_obeyed_by_both_kinds() -> None:
    """Below the level nothing is written, neither by us nor by libraries, httpx included."""
    stream = io.StringIO()
    logs.configure("ERROR", "json", stream)
    logs.get_logger("a").warning("no")
    logging.getLogger("rq").warning("no")
    logging.getLogger("httpx").warning("no")
    logs.get_logger("a").error("yes")
    assert stream.getvalue().count("\n") == 1


def test_a_placeholder_of_ours_is_no_secret(lines: Lines) -> None:
    """A command that is to be completed can be read; what only begins as a placeholder is struck out."""
    logger = logs.get_logger("a")
    logger.info("a", fix="export TWELVELABS_API_KEY=… (or that in .env); export B_SECRET=tlk_…")
    logger.info("b", fix="TWELVELABS_API_KEY=…C4N4RY B_TOKEN=tlk_…C4N4RY")
    first, second = lines()
    assert first["fix"] == "export TWELVELABS_API_KEY=… (or that in .env); export B_SECRET=tlk_…"
    assert second["fix"] == "TWELVELABS_API_KEY=*** B_TOKEN=***"


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY}",
        f"quoted {KEY.replace('/', '%2F').replace('+', '%2B')}",
        f"signed with {SIGNING}.",
        "x-api-key: C4N4RY",
        "{'X-Api-Key': 'C4N4RY', 'a': 1}",
        "(b'x-api-key', b'C4N4RY')",
        "Authorization: Bearer C4N4RY",
        "api_key='C4N4RY'",
        "GET /tasks?page=1&access_token=C4N4RY",
        "to https://user:C4N4RY@h/p",
        "to https://h/p?sig=C4N4RY#x",
        "to https://h/p#C4N4RY",
        "Error 111 connecting to redis://:C4N4RY@h:6379/0.",
        "redis://:C4/N4?RY#C4N4RY@h:6379/0",
        "rediss://u:C4N4RY@h unix://:C4N4RY@/run/s",
    ],
)
def test_secrets_in_texts_are_struck_out(lines: Lines, text: str) -> None:
    """By value, by shape, by header name and in URLs: in the event, in fields, in nested values and in exceptions."""
    logger = logs.get_logger("a")
    logger.info(text)
    logger.info("field", text=text, nested={"a": [{"b": (text, text.encode())}], text: 1}, error=ValueError(text))
    logger.info("positional %s", text)
    logging.getLogger("rq").info("%s", text)
    for report in (logger.exception, logging.getLogger("rq").exception):
        try:
            raise RuntimeError(text)
        except RuntimeError:
            report("failed")
    told = json.dumps(lines()).replace(str(Path(__file__).parent), "")  # where we are may have such letters
    assert len(lines()) == 6
    assert not re.search("C4|N4|RY|Q2Fu", told), told
    assert "Traceback" in lines()[-1]["exception"]


@pytest.mark.parametrize("value", ["C4N4RY", 31415926, ["C4N4RY"], {"a": "C4N4RY"}])
def test_secrets_are_struck_out_by_key(lines: Lines, value: object) -> None:
    """A field or header of such a name is hidden whatever it holds."""
    keys = ("secret", "secrets", "password", "api_key", "Authorization", "Set-Cookie", "x-api-key")
    for key in keys:
        logs.get_logger("a").info(
            "x", **{key: value}, headers={key: value}, listed=[(key, value)], raw=[(b"cookie", b"v")]
        )
    told = json.dumps(lines())
    assert "C4N4RY" not in told
    assert "31415926" not in told
    assert told.count("***") == 4 * len(keys)


def test_innocent_texts_stay_whole(lines: Lines) -> None:
    """Redaction keeps what people need: hosts, paths, ids, signatures' names and ordinary words."""
    text = "POST https://example.com:8443/hooks/@me → 200, evt_1 token bucket, Webhook-Signature v1; a whsec is set"
    logs.get_logger("a").info(text, tokens=3, secretary="Ann")
    assert lines()[0]["event"] == text
    assert (lines()[0]["tokens"], lines()[0]["secretary"]) == (3, "Ann")


def test_a_short_secret_does_not_eat_words() -> None:
    """A password of one letter is hidden in its URL, not in every word."""
    redact = logs.Redactor(["a"])
    assert redact.text("banana redis://:a@h/0") == "banana redis://***@h/0"


def test_a_value_that_contains_itself_ends(lines: Lines) -> None:
    """Depth is bounded."""
    loop: list[Any] = []
    loop.append(loop)
    logs.get_logger("a").info("x", loop=loop)
    assert "…" in str(lines()[0]["loop"])


def test_auto_is_console_on_a_terminal_and_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """People get columns, machines get objects."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, json_expected in ((Terminal(), False), (io.StringIO(), True)):
        logs.configure("INFO", "auto", stream)
        logs.get_logger("a").info("hello")
        assert stream.getvalue().startswith("{") is json_expected


def test_the_console_shows_neither_locals_nor_control_characters() -> None:
    """Tracebacks are plain, and a subscriber's answer cannot steer the terminal; NO_COLOR or not, nothing is lost."""
    stream = io.StringIO()
    logs.configure("INFO", "console", stream)
    hidden_local = "C4N4RY" + "local"
    try:
        raise RuntimeError("\x1b]0;owned\x07\r\u202e" + "x" * len(hidden_local))
    except RuntimeError:
        logs.get_logger("a").exception("answer", excerpt="\x1b[2J")
    told = stream.getvalue()
    assert "Traceback" in told
    assert "\\x1b[2J" in told
    assert hidden_local not in told
    assert not re.search("[\x07\r\u202e]|\x1b(?!\\[[0-9;]*m)", told)


def test_a_broken_stream_stops_nobody() -> None:
    """A closed pipe or file loses the line, not the delivery."""
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    stream.close()
    logs.get_logger("a").info("x")
    logging.getLogger("rq").info("x")


def test_a_malformed_stdlib_line_does_not_print_its_arguments(lines: Lines) -> None:
    """logging's own complaint would repeat them as they are."""
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, logs._Handler))
    handler.handle(logging.makeLogRecord({"name": "rq", "msg": "%s %s", "args": (KEY,)}))
    assert lines() == [{"level": "error", "event": "malformed log line", "logger": "rq"}]


def test_configuring_again_replaces_the_handler(lines: Lines) -> None:
    """Twice configured is not twice written."""
    stream = io.StringIO()
    logs.configure("INFO", "json", stream)
    logging.getLogger("rq").info("once")
    assert stream.getvalue().count("\n") == 1
    assert lines() == []


def test_a_logger_may_be_made_first_and_goes_to_stderr() -> None:
    """Module-level loggers precede configure, and stdout is left to data."""
    code = (
        "from bridge import logs; log = logs.get_logger('early'); logs.configure();"
        "log.info('one'); import logging; logging.getLogger('rq').info('two')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == ""
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["one", "two"]
