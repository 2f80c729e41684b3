"""The fields of an endpoint's definition as options: what `endpoint add` and `endpoint set` have in common."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import rich_click as click

from bridge.cli.defining import text_from
from bridge.cli.metadata import wanted_from
from bridge.cli.output import Function, safe, say
from bridge.cli.session import names_in
from bridge.cli.word import Word
from bridge.errors import InvalidInput
from bridge.formats import CONTENT_TYPES
from bridge.model import Ordering
from bridge.orders.definitions import Definition
from bridge.orders.moments import seconds_from
from bridge.redaction import SECRETIVE

AUTHORIZATION = "authorization"
HEADER_CHARS = 1024
"""The longest value of a header, as the contract has it."""
UNSET = (
    *("events", "tasks", "indexes", "metadata", "format", "signatures"),
    *("ordering", "concurrency", "rate", "schedule", "headers", "handshake"),
)
"""The fields that can go back to their defaults."""
MAPS = ("metadata", "headers")
"""Those of which one entry can be named alone."""

Value = TypeVar("Value")


def field_options(command: Function) -> Function:
    """Adds an option for each field that is not the URL and not a secret that signs."""
    for option in reversed(
        (
            click.option("--events", metavar="P,…", multiple=True, help="Event types it takes, as index.task.* or "
                         "index.asset.*; in the format twelvelabs a star stands for a task's ready and failed.  "
                         "[default: index.task.*]"),
            click.option("--tasks", metavar="P,…", multiple=True, help="Tasks it takes.  [default: *]"),
            click.option("--indexes", metavar="P,…", multiple=True, help="Indexes whose tasks it takes.  [default: *]"),
            click.option("--metadata", metavar="NAME=VALUE,…", multiple=True,
                         help="Tasks it takes: those whose own metadata has one of these values there. What is JSON "
                         "is read as JSON: 42 is a number, '\"42\"' a text. Once for each name."),
            click.option("--format", "body_format", type=Word(list(CONTENT_TYPES)), metavar="FORMAT",
                         help="How bodies are written and signed: standard; twelvelabs, as TwelveLabs' own webhooks "
                         "are; cloudevents, or cloudevents-binary with its attributes in headers.  "
                         "[default: standard]"),
            click.option("--signatures", metavar="S,…", multiple=True,
                         help="What signs: v1, with a secret that both sides have, v1a, with a key of which the "
                         "receiver has the public half, or both.  [default: v1]"),
            click.option("--ordering", type=Word([str(one) for one in Ordering]), metavar="ORDER",
                         help="What the first attempt of a task's event waits for: first-attempt, strict or none.  "
                         "[default: first-attempt]"),
            click.option("--concurrency", metavar="N", type=int,
                         help="Attempts in flight at most.  [default: BRIDGE_DELIVERY_ENDPOINT_CONCURRENCY]"),
            click.option("--rate", metavar="N/s|N/m", help="Attempts a second, or a minute, at most."),
            click.option("--schedule", metavar="TIME,…", help="The wait before each attempt, and so their number: "
                         "0,5,5m,1h.  [default: BRIDGE_DELIVERY_SCHEDULE_SECONDS]"),
            click.option("--handshake", type=Word(["none", "required"]), metavar="WHETHER",
                         help="required: nothing is sent before the receiver has consented, as CloudEvents' HTTP "
                         "WebHook has it (OPTIONS with WebHook-Request-Origin).  [default: none]"),
            click.option("--header", "headers", metavar="NAME=VALUE", multiple=True,
                         help="A header of its own on every request, for what is no secret."),
            click.option("--auth-file", metavar="F", help="File with the value of the header authorization, such as "
                         "Bearer …, or with user:password, which becomes Basic; - reads standard input."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def fields_from(given: Mapping[str, Any]) -> Definition:
    """Those fields of a definition that the options name, as they are written. Raises InvalidInput."""
    named: Definition = {
        "events": names_in(given["events"]) or None,
        "tasks": names_in(given["tasks"]) or None,
        "indexes": names_in(given["indexes"]) or None,
        "metadata": wanted_from(given["metadata"]) or None,
        "format": given["body_format"],
        "signatures": names_in(given["signatures"]) or None,
        "ordering": given["ordering"],
        "concurrency": given["concurrency"],
        "rate": given["rate"],
        "schedule": None if given["schedule"] is None else schedule_from(given["schedule"]),
        "handshake": given["handshake"],
        "headers": _headers_from(given["headers"], given["auth_file"]) or None,
    }
    return {field: value for field, value in named.items() if value is not None}


def schedule_from(text: str) -> list[float]:
    """Read `0,5,5m` as seconds. Raises InvalidInput."""
    waits = [seconds_from(one) for one in names_in([text])]
    return [int(one) if one.is_integer() else one for one in waits]


def authorization_from(path: str) -> str:
    """The value of the header that a file holds, or standard input. What is in it is repeated in no error."""
    text = text_from(path, "--auth-file", "the value of the header authorization")
    scheme, space, _ = text.partition(" ")
    if not text.isprintable():
        raise InvalidInput(
            "--auth-file: it holds more than one line, or something that is no text",
            fix=f"leave one line in it: {AUTH}",
        )
    if ":" in scheme:
        text = "Basic " + b64encode(text.encode()).decode("ascii")
    elif not space:
        say(f"! --auth-file names no scheme, and is sent as it stands; usual is: {AUTH}")
    if not text.isascii() or len(text) > HEADER_CHARS:
        raise InvalidInput(f"--auth-file: it is not ASCII, or longer than {HEADER_CHARS} characters", fix=AUTH)
    return text


AUTH = "Bearer TOKEN, or user:password for Basic"


def _headers_from(texts: Sequence[str], auth_file: str | None) -> dict[str, str]:
    """Raises InvalidInput, which repeats no value: it may be a secret all the same."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not (name and equals):
            raise InvalidInput("--header: it is not NAME=VALUE", fix="--header x-team=video")
        if name.lower() == AUTHORIZATION:
            raise InvalidInput(
                "--header: what is on a command line, everybody on this machine can see",
                fix="put the header's value into a file, or pipe it in: --auth-file F",
            )
        if SECRETIVE.search(name):
            say(f"! The value of {safe(name)} was on a command line; a secret belongs into a file → bridge import FILE")
        found = with_header(found, name, value.strip())
    return with_header(found, AUTHORIZATION, authorization_from(auth_file)) if auth_file else found


def with_header(headers: Mapping[str, str], name: str, value: str | None) -> dict[str, str]:
    """The headers with one more, instead of the one of that name in whatever capitals; None: without it."""
    others = {one: known for one, known in headers.items() if one.lower() != name.lower()}
    return others if value is None else others | {name: value}


def unset_from(texts: Sequence[str], changes: Definition) -> list[str]:
    """The fields to go back to their defaults, or entries of one as in `headers.x-team`. Raises InvalidInput."""
    words = list(dict.fromkeys(names_in(texts)))
    for word in words:
        field, dot, name = word.partition(".")
        if field not in UNSET or (dot and (field not in MAPS or not name)):
            near = get_close_matches(word, [*UNSET, f"headers.{AUTHORIZATION}"], 1, cutoff=0.5)
            raise InvalidInput(
                f"--unset: “{safe(word)}” is no field with a default" + (f"; did you mean {near[0]}?" if near else ""),
                fix=f"name some of {','.join(UNSET)}, or an entry such as headers.x-team",
            )
        if field in changes and field not in MAPS:
            raise InvalidInput(f"{field} is named, and --unset takes it back", fix="leave one of the two out")
    return words


def changed(old: Definition, changes: Definition, unset: Sequence[str]) -> Definition:
    """A definition with fields taken back, then others written; of headers and metadata the entries that are named."""
    made = dict(old)
    for word in unset:
        field, dot, name = word.partition(".")
        if not dot:
            made.pop(field, None)
        elif isinstance(known := made.get(field), dict):
            made[field] = with_header(known, name, None) if field == "headers" else _without(known, name)
            if not made[field]:
                del made[field]
    for field, value in changes.items():
        known = made.get(field)
        if field == "headers" and isinstance(known, dict):
            for name, one in value.items():
                known = with_header(known, name, one)
            made[field] = known
        else:
            made[field] = known | value if field == "metadata" and isinstance(known, dict) else value
    return made


def _without(entries: Mapping[str, Value], name: str) -> dict[str, Value]:
    return {one: value for one, value in entries.items() if one != name}
