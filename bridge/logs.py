"""Logs: one JSON object a line in containers, colours on a terminal, always to stderr and never with a secret.

Our own lines go straight from structlog to the stream; those of rq, httpx and redis come through the standard
library and take the same path. Redaction is the last step before rendering, so it sees exception text too.
"""

import json
import logging
import re
import sys
import threading
from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from bridge.redaction import AUTHORITY, HIDDEN, PATH_TOKEN, pattern_of

MAX_DEPTH = 8
_PLAIN = frozenset({str, int, bool, float, type(None)})
_JSON = json.JSONEncoder(default=repr)

_HIDDEN_KEYS = frozenset(
    {"api_key", "apikey", "authorization", "cookie", "passwd", "password", "proxy_authorization", "secret", "secrets"}
    | {"set_cookie", "twelvelabs_api_key", "x_api_key"}
)
_SIGNING_SECRET = re.compile(r"whs(ec|k)_[A-Za-z0-9+/=_-]+")
_HEADER = re.compile(
    r"""(?ix) \b (x-api-key | (?:proxy-)?authorization | (?:set-)?cookie)
        (['"]? \s* [:=,] \s* (?:b?['"])? (?:(?:bearer|basic)\s+)?) [^\s'",)}\]]+"""
)
_ASSIGNED = re.compile(
    r"(?i)\b((?:[a-z]+_)?(?:api[_-]?key|passw(?:or)?d|secret|token)=)"
    r"(?!(?:tlk_)?…(?:[\s&'\",;)]|$))"  # a placeholder of ours, in a command that is to be completed
    r"['\"]?[^\s&'\",;)]+"
)
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)://([^\s\"'<>`]+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def configure(
    level: str = "INFO",
    format: str = "auto",  # noqa: A002  the setting is called log_format
    stream: TextIO | None = None,
    *,
    secrets: Iterable[str] = (),
) -> None:
    """Set up logging for the process. Without `stream`, lines go to whatever sys.stderr is when they are written.

    `secrets` are values to strike out wherever they turn up: `Settings.secret_values()`.
    """
    sink = _Sink(stream)
    console = format == "console" or (format == "auto" and sink.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
    ]
    after: list[Processor] = [
        structlog.processors.format_exc_info,
        Redactor(secrets, escape=console),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _console_renderer(sink) if console else _as_json,
    ]
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="": _Lines(sink, name),
        cache_logger_on_first_use=True,
    )
    _route_stdlib(level, sink, before, after)


def catch_uncaught() -> None:
    """Let what nobody caught, in whatever thread, go through the log as well: Python prints it with all its secrets."""
    log = get_logger("bridge")

    def in_thread(found: threading.ExceptHookArgs) -> None:
        thread = found.thread.name if found.thread else None
        log.critical("uncaught", thread=thread, exc_info=found.exc_value)

    sys.excepthook = lambda _, error, __: log.critical("uncaught", exc_info=error)
    sys.unraisablehook = lambda found: log.error("uncaught", at=repr(found.object), exc_info=found.exc_value)
    threading.excepthook = in_thread


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger: name`. It may be made before `configure` and used after it."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


class Redactor:
    """A processor that strikes out secrets: by key, by shape and by value, in every text at any depth."""

    def __init__(self, secrets: Iterable[str] = (), *, escape: bool = False) -> None:
        self._values = pattern_of(secrets)
        self._escape = escape
        marks = "." if escape else "[:=,]|whs"
        self._suspect = re.compile("|".join(filter(None, (marks, self._values and self._values.pattern))), re.DOTALL)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The same event without its secrets. Its texts are looked at together first: most lines have none."""
        clean = not self._suspect.search("\0".join([value for value in event.values() if type(value) is str]))
        for key, value in event.items():
            if _hides(key):
                event[key] = HIDDEN
            elif not clean or type(value) not in _PLAIN:
                event[key] = self.value(value)
        return event

    def value(self, value: Any, depth: int = 0) -> Any:
        """A copy of any value in plain types. What JSON has no word for becomes its repr, redacted."""
        if type(value) is str:
            return self.text(value)
        if type(value) in _PLAIN:
            return value
        if depth >= MAX_DEPTH:
            return "…"
        if isinstance(value, dict):
            return {
                self.text(str(key)): HIDDEN if _hides(key) else self.value(one, depth + 1) for key, one in value.items()
            }
        if isinstance(value, list | tuple) and len(value) == 2 and _is_hidden_name(value[0]):
            return [self.value(value[0]), HIDDEN]  # a header, as clients list them
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(one, depth + 1) for one in value]
        if isinstance(value, bytes):
            return self.text(value.decode(errors="backslashreplace"))
        return self.text(str(value) if isinstance(value, str) else repr(value))

    def text(self, text: str) -> str:
        """A text without the secrets that can be recognised in it."""
        if self._values:
            text = self._values.sub(HIDDEN, text)
        if "whs" in text:
            text = _SIGNING_SECRET.sub(rf"whs\1_{HIDDEN}", text)
        if "://" in text:
            text = _URL.sub(_bare_url, text)
        if ":" in text or "=" in text or "," in text:
            text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
            text = _ASSIGNED.sub(rf"\1{HIDDEN}", text) if "=" in text else text
        return _CONTROL.sub(_escaped, text) if self._escape else text


def _is_hidden_name(name: object) -> bool:
    return isinstance(name, str | bytes) and _hides(name)


@lru_cache(maxsize=1_024)
def _hides(key: Hashable) -> bool:
    name = key.decode(errors="replace") if isinstance(key, bytes) else key
    return isinstance(name, str) and name.lower().replace("-", "_") in _HIDDEN_KEYS


def _bare_url(found: re.Match[str]) -> str:
    """A URL without userinfo, query and fragment, nor what may be a token in its path. People put raw / ? # into the
    passwords of Redis URLs, so there the last @ of all ends the userinfo; elsewhere an @ may be part of a path.
    """
    scheme, rest = found.groups()
    web = scheme.lower() in ("http", "https")
    userinfo, at, after = rest.rpartition("@")
    if web and AUTHORITY.fullmatch(re.split("[/?#]", rest, maxsplit=1)[0]):
        at, after = "", rest
    elif web and re.search("[?#]", userinfo):
        return f"{scheme}://{HIDDEN}"
    head, mark, _ = re.split(r"([?#]|$)", after, maxsplit=1)
    head = PATH_TOKEN.sub(HIDDEN, head) if web else head
    return f"{scheme}://{HIDDEN + at if at else ''}{head}{mark}{HIDDEN if mark else ''}"


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """One line. By an encoder that is kept: json.dumps, as structlog calls it, makes one for each."""
    return _JSON.encode(event)


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()


class _Sink:
    """The end of the line. A log that cannot be written, to a closed pipe or a full disk, stops no delivery."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            (self._stream or sys.stderr).write(text)
        except (OSError, ValueError):
            return

    def flush(self) -> None:
        try:
            (self._stream or sys.stderr).flush()
        except (OSError, ValueError):
            return

    def isatty(self) -> bool:
        return (self._stream or sys.stderr).isatty()


class _Lines(structlog.WriteLogger):
    """Where our own lines leave, under the name of whoever writes them."""

    def __init__(self, sink: _Sink, name: str) -> None:
        super().__init__(cast(TextIO, sink))
        self.name = name


class _Handler(logging.StreamHandler[Any]):
    """The one handler of the standard library's loggers."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Say that a line was malformed. The default prints its arguments, which nobody has redacted."""
        self.stream.write(f'{{"level": "error", "event": "malformed log line", "logger": "{record.name}"}}\n')


def _route_stdlib(level: str, sink: _Sink, before: list[Processor], after: list[Processor]) -> None:
    """Send the standard library's loggers down the same path, and keep httpx from telling every URL."""
    handler = _Handler(cast(TextIO, sink))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    rq = logging.getLogger("rq.worker")  # RQ gives it handlers of its own where it finds none, and the last word
    for theirs in rq.handlers[:]:
        rq.removeHandler(theirs)
    rq.propagate = True
    rq.setLevel(logging.NOTSET)
    least = max(logging.WARNING, root.level)
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(least)


def _console_renderer(sink: _Sink) -> Processor:
    """Plain tracebacks: pretty ones print local variables, and those hold secrets."""
    from rich.console import Console  # honours NO_COLOR, FORCE_COLOR and TERM; only consoles need it

    colors = Console(file=cast(TextIO, sink)).color_system is not None
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
