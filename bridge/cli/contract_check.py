"""`bridge contract check`: entries of the clients' keys, judged as intake judges them. Only `--live` needs Redis."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.calling import pasteable
from bridge.cli.output import Columns, chosen, emit, field, output_option, safe, say
from bridge.cli.session import naming_redis, settings_of
from bridge.errors import InvalidInput
from bridge.hints import endpoint_hints, task_hints, watch_hints
from bridge.rejection import Refusal, Rejection, rejected_field, typed
from bridge.strict_json import not_json

if TYPE_CHECKING:
    from bridge.doctor import Finding
    from bridge.entries import Judge
    from bridge.settings import Settings

FAILED, PARTLY = 1, 6
SHAPE = (
    'write {"endpoints": {"<name>": {"url": …}}, "tasks": {"<member>": {"metadata": …}}, "watches": {"account": {}}}; '
    "tasks may be a list of ids"
)
NAN = "NaN and Infinity are no JSON"

Row = dict[str, Any]
COLUMNS: Columns = (
    ("verdict", field("verdict")),
    ("entry", field("entry")),
    ("reason", lambda row: "; ".join(filter(None, [row["reason"].removesuffix("."), *row["warnings"]]))),
    ("fix", lambda row: pasteable(typed(field("fix")(row)))),
)


@click.command()
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option("--live", is_flag=True, help="Judge what stands in Redis now. Only reads.")
@output_option
@click.pass_context
def check(ctx: click.Context, file: str | None, live: bool, output: str | None, as_json: bool) -> int:
    """Judge endpoints, tasks and watches as the workers would. Exit code 1 if all are rejected, 6 if some are.

    With --live, what a worker refused before is there too, as refused (`bridge rejected rm` dismisses it), and a key
    that nobody reads, as its name is misspelt, as ignored, if this user of Redis may see it.

    A document is {"endpoints": {NAME: DEFINITION}, "tasks": {MEMBER: OPTIONS}} (or a list of members), with "watches":
    {NAME: DEFINITION} if there are any; an option that is no text is taken as its JSON. What is legal and looks like a
    mistake is told as a warning.

    \b
    Examples:
      bridge contract check entries.json
      bridge contract check --live -o jsonl
    """
    if live == (file is not None):
        raise InvalidInput(
            "there is one thing to check: a document, or what stands in Redis", fix="name FILE, - or --live"
        )
    settings = settings_of(ctx)
    rows = _live(settings) if file is None else list(_document(_read(file), _judge_from(settings)))
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="entry")
    for row in rows:
        for warning in row["warnings"]:
            say(f"! {safe(row['entry'])}: {safe(warning)}")
    rejected = sum(row["verdict"] != "accept" for row in rows)
    return 0 if not rejected else FAILED if rejected == len(rows) else PARTLY


def _judge_from(settings: "Settings") -> "Judge":
    from bridge.entries import Judge

    return Judge(settings.policy, settings.delivery_default_secret is not None, settings.signing_key is not None)


def _document(document: Mapping[str, Any], judge: "Judge") -> Iterator[Row]:
    for name, definition in document["endpoints"].items():
        text = definition if isinstance(definition, str) else _as_text(definition)
        yield _endpoint_row(judge, _as_bytes(name), _as_bytes(text))
    for member, options in document["tasks"].items():
        fields = {_as_bytes(name): _as_bytes(_as_text(value)) for name, value in options.items()}
        yield _task_row(judge, _as_bytes(member), 0, fields)

    for name, definition in document["watches"].items():
        text = definition if isinstance(definition, str) else _as_text(definition)
        yield _watch_row(judge, _as_bytes(name), _as_bytes(text))


def _live(settings: "Settings") -> list[Row]:
    from bridge.doctor.server import misspelt
    from bridge.store.reading.written import MEMBERS, read_written

    judge = _judge_from(settings)
    with naming_redis(settings):
        written = asyncio.run(read_written(settings.redis_url.get_secret_value(), settings.prefix))
    if written.more:
        say(f"! {settings.prefix}tasks has more than {MEMBERS} members; the rest is not looked at")
    rows = [
        *(_row(f"key:{key}", rejection, []) for key, rejection in written.broken.items()),
        *map(_ignored_row, written.misspelt, misspelt(written.misspelt)),
        *(_endpoint_row(judge, name, text) for name, text in written.endpoints.items()),
        *(_task_row(judge, *entry) for entry in written.tasks),
        *(_watch_row(judge, name, text) for name, text in written.watches.items()),
    ]
    bad = {row["entry"] for row in rows if row["verdict"] == "reject"}
    return [*rows, *(_refused_row(one) for one in written.refused if one.name not in bad)]


def _endpoint_row(judge: "Judge", name: bytes, text: bytes) -> Row:
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError):
        definition = None
    try:
        judge.endpoint(name, text)
    except Rejection as rejection:
        return _row(rejected_field("endpoint", name), rejection, endpoint_hints(definition))
    return _row(rejected_field("endpoint", name), None, endpoint_hints(definition))


def _task_row(judge: "Judge", member: bytes, score: float, options: dict[bytes, bytes] | None) -> Row:
    hints = task_hints(name.decode(errors="backslashreplace") for name in options or ())
    try:
        judge.task(member, score, options)
    except Rejection as rejection:
        return _row(rejected_field("task", member), rejection, hints)
    return _row(rejected_field("task", member), None, hints)


def _watch_row(judge: "Judge", name: bytes, text: bytes) -> Row:
    try:
        hints = watch_hints(json.loads(text))
    except (ValueError, RecursionError):
        hints = []
    try:
        judge.watch(name, text)
    except Rejection as rejection:
        return _row(rejected_field("watch", name), rejection, hints)
    return _row(rejected_field("watch", name), None, hints)


def _ignored_row(key: tuple[str, ...], found: "Finding") -> Row:
    """A key that nobody reads, as doctor tells of it: no entry of it comes to anything."""
    return {"entry": f"key:{key[0]}", "verdict": "ignored", "reason": found.why, "fix": found.fix, "warnings": []}


def _refused_row(refusal: Refusal) -> Row:
    """What a worker refused before, and put back or deleted: it stands nowhere any more, to be judged."""
    return {
        "entry": refusal.name,
        "verdict": "refused",
        "reason": refusal.reason,
        "fix": refusal.fix,
        "warnings": [],
    }


def _row(entry: str, rejection: Rejection | None, warnings: list[str]) -> Row:
    return {
        "entry": entry,
        "verdict": "reject" if rejection else "accept",
        "reason": str(rejection) if rejection else "",
        "fix": rejection.fix if rejection else "",
        "warnings": warnings,
    }


def _read(file: str) -> dict[str, dict[str, Any]]:
    """The document: endpoints, tasks and watches, each a mapping. Raises InvalidInput, which repeats nothing of it."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{safe(file)} cannot be read: {error.strerror}", fix="name a file, or -") from None
    where = "standard input" if file == "-" else safe(file)
    try:
        document = json.loads(raw, object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, _Unclear) else f"it {not_json(error)}"
        raise InvalidInput(f"{where} cannot be judged: {why}", fix=SHAPE) from None
    tasks = document.get("tasks", {}) if isinstance(document, dict) else None
    if isinstance(tasks, list) and all(isinstance(member, str) for member in tasks):
        tasks = dict.fromkeys(tasks)
    endpoints = document.get("endpoints", {}) if isinstance(document, dict) else None
    watches = document.get("watches", {}) if isinstance(document, dict) else None
    if not (isinstance(tasks, dict) and isinstance(endpoints, dict) and isinstance(watches, dict)):
        raise InvalidInput(f"{where} holds neither endpoints nor tasks in their form", fix=SHAPE)
    options = {member: {} if one is None else one for member, one in tasks.items()}
    if not all(isinstance(one, dict) for one in options.values()):
        raise InvalidInput(f"{where} has a task whose options are no object", fix=SHAPE)
    found = {"endpoints": endpoints, "tasks": options, "watches": watches}
    strange = [name for name in document if name not in found and not name.startswith("x-")]
    if strange or not any(found.values()):
        raise InvalidInput(
            f"{where} has {'a part that is neither endpoints nor tasks' if strange else 'no entry'}", fix=SHAPE
        )
    return found


class _Unclear(ValueError):
    """A document that two parsers would read differently."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unclear("a name is there twice in one object")
    return found


def _no_constant(_: str) -> Any:
    raise _Unclear(NAN)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
