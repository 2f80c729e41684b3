"""What clients declared, as a file: the lines of `bridge export`, and the tables of `config/endpoints.toml`. Pure.

A file of lines begins with {"kind": "bridge-export", "version": 1} and ends with {"kind": "end"}, by which one that was
cut off is known; between them stand {"kind": "endpoint", "name": …, …}, {"kind": "watch", "name": …, …} and
{"kind": "task", "id": …, …}. Without those two it is a file that a person wrote, and as good.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.errors import InvalidInput
from bridge.redaction import SIGNING_SECRET, bare
from bridge.rejection import Rejection, redacted
from bridge.rotation import SECRET_FIELDS
from bridge.strict_json import not_json

VERSION = 1
HEAD = {"kind": "bridge-export", "version": VERSION}
END = {"kind": "end"}
LEFT_OUT = "…"
"""Stands where something secret was left out; no URL and no header that can be registered has this character."""
IDS = {"endpoint": "name", "watch": "name", "task": "id"}
"""The kinds of things, and what names each."""
LINES = "write one JSON object a line, as `bridge export` does; ids alone go to `bridge task add -`"
TABLES = 'write tables [endpoints.<name>] with url = "https://…"'


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a file declares."""

    kind: str
    """endpoint, watch or task."""
    name: str
    place: str
    """Where in the file: `line 3`, or `[endpoints.billing]`."""
    fields: dict[str, Any] = field(repr=False)


class Refused(NamedTuple):
    """What a file declares in vain."""

    place: str
    kind: str
    """Empty where not even that is known; so is the name."""
    name: str
    rejection: Rejection


class Line(NamedTuple):
    """One thing as an export shows it, and how many secrets are left out of it."""

    fields: dict[str, Any]
    left_out: int = 0


class Manifest:
    """What a file declares, gathered line by line or from its tables."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refused: list[Refused] = []
        self.headed = False
        """It says which version its form has."""
        self._open = self._torn = False
        self._places: dict[tuple[str, str], str] = {}

    @property
    def cut(self) -> bool:
        """It begins as an export does, and has no end; or one of several exports in it does."""
        return self._open or self._torn

    def read_line(self, number: int, raw: bytes) -> None:
        """Take one line in. Raises InvalidInput if the file as a whole is of a newer form."""
        text, place = raw.strip(), f"line {number}"
        if not text:
            return
        try:
            fields = _object(text)
        except Rejection as rejection:
            self.refuse_line(number, rejection)
            return
        kind = str(fields.pop("kind", ""))
        if kind in {HEAD["kind"], END["kind"]}:
            self._frame(kind, fields, place)
            return
        name = fields.pop(IDS.get(kind, ""), None)
        entry = Entry(kind if kind in IDS else "", name if isinstance(name, str) else "", place, fields)
        self._take(entry, _check_line)

    def refuse_line(self, number: int, rejection: Rejection) -> None:
        """Take note of a line that could not even be read."""
        self.refused.append(Refused(f"line {number}", "", "", rejection))

    def read_tables(self, text: str) -> None:
        """Take a TOML document in. Raises InvalidInput if it is not one, or has other tables."""
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InvalidInput(f"it is not valid TOML: {redacted(str(error))}", fix=TABLES) from None
        tables = document.pop("endpoints", {})
        strange = [name for name in document if not name.startswith("x-")]
        if strange or not isinstance(tables, dict):
            what = f"it has a part “{redacted(strange[0])}”" if strange else "endpoints is no table"
            raise InvalidInput(f"{what}; only [endpoints.<name>] means something", fix=TABLES)
        for name, table in tables.items():
            self._take(Entry("endpoint", name, f"[endpoints.{redacted(name)}]", table), _check_table)

    def _take(self, entry: Entry, check: Callable[[Entry], None]) -> None:
        try:
            check(entry)
            self._declare(entry)
        except Rejection as rejection:
            self.refused.append(Refused(entry.place, entry.kind, entry.name, rejection))

    def _declare(self, entry: Entry) -> None:
        earlier = self._places.setdefault((entry.kind, entry.name), entry.place)
        if earlier != entry.place:
            raise Rejection("", f"it stands in {earlier} already", "write each thing once; the first one counts")
        self.entries.append(entry)

    def _frame(self, kind: str, fields: Mapping[str, Any], place: str) -> None:
        if kind == END["kind"]:
            self._open = False
            return
        version = fields.get("version")
        if version != VERSION or isinstance(version, bool):
            said = f"version {version}" if isinstance(version, int) else "no version"
            raise InvalidInput(
                f"{place}: the file's form has {said}; this bridge reads version {VERSION}",
                fix="import it with the bridge that wrote it, or a newer one",
            )
        self._torn = self._torn or self._open
        self.headed = self._open = True


def _check_line(entry: Entry) -> None:
    if not entry.kind:
        raise Rejection(
            "kind", "it is neither an endpoint nor a watch nor a task", 'write "kind": "endpoint", "watch" or "task"'
        )
    if not entry.name:
        raise Rejection(IDS[entry.kind], "it is missing, or no text", f'write "{IDS[entry.kind]}": "…"')
    if "secret_file" in entry.fields:
        raise Rejection("secret_file", "only a .toml file names files of secrets", "write `secret` instead")


def _check_table(entry: Entry) -> None:
    if not isinstance(entry.fields, dict):
        raise Rejection("", "it is no table", TABLES)
    for name in SECRET_FIELDS:
        if name in entry.fields:
            fix = 'put it into a file of its own and write secret_file = "…"'
            raise Rejection(name, "a secret has no place in this file", fix)


def endpoint_line(name: bytes, text: bytes, *, with_secrets: bool) -> Line:
    """An endpoint as an export shows it. Raises Rejection for what no line can say.

    Without secrets: no signing secret, of headers only the names, and of a URL neither user nor query nor what
    may be a token in its path.
    """
    shown = _name(name)
    written = _object(text)
    definition = {one: value for one, value in written.items() if one not in {"kind", "name"}}
    if with_secrets:
        return Line({"kind": "endpoint", "name": shown, **definition})
    left_out, public = 0, dict[str, Any]()
    for one, value in definition.items():
        kept = _public(one, value)
        left_out += kept != value
        if kept is not None or value is None:
            public[one] = kept
    return Line({"kind": "endpoint", "name": shown, **public}, left_out)


def watch_line(name: bytes, text: bytes, *, with_secrets: bool) -> Line:
    """A watch as an export shows it. Raises Rejection for what no line can say."""
    shown = _name(name)
    definition = {one: value for one, value in _object(text).items() if one not in {"kind", "name"}}
    kept = {one: value for one, value in definition.items() if with_secrets or not holds_secret({one: value})}
    left_out, url = len(definition) - len(kept), kept.get("callback_url")
    if not with_secrets and isinstance(url, str) and bare(url) != url:
        kept, left_out = kept | {"callback_url": bare(url)}, left_out + 1
    return Line({"kind": "watch", "name": shown, **kept}, left_out)


def task_line(member: bytes, options: Mapping[bytes, bytes] | None, *, with_secrets: bool) -> Line:
    """A task as an export shows it. Raises Rejection for what no line can say, such as options that are no hash."""
    if options is None:
        raise Rejection("", "its options are not a hash", "DEL them, or HSET them anew")
    written = {_text(one): _text(value) for one, value in options.items() if one not in {b"kind", b"id"}}
    texts = {one: value for one, value in written.items() if with_secrets or not holds_secret([one, value])}
    left_out = len(written) - len(texts)
    line: dict[str, Any] = {"kind": "task", "id": _name(member), **texts}
    if "metadata" in line:
        line["metadata"] = _structure(line["metadata"])
    url = texts.get("callback_url", "")
    if with_secrets or bare(url) == url:
        return Line(line, left_out)
    return Line(line | {"callback_url": bare(url)}, left_out + 1)


def holds_secret(value: object) -> bool:
    """Whether a signing secret stands anywhere in it."""
    return bool(SIGNING_SECRET.search(json.dumps(value, ensure_ascii=False)))


def _name(raw: bytes) -> str:
    if SIGNING_SECRET.search(name := _text(raw)):
        raise Rejection("", "its name is a signing secret", "take it back, and make another secret")
    return name


def _public(name: str, value: Any) -> Any:
    """A field of an endpoint without what may be secret in it; None if nothing is left."""
    if name == "url" and isinstance(value, str):
        return bare(value)
    if name == "headers":
        return dict.fromkeys(value, LEFT_OUT) if isinstance(value, dict) else None
    return None if name in SECRET_FIELDS or holds_secret({name: value}) else value


def _structure(text: str) -> Any:
    """Metadata as JSON in the line, where it comes back as the same; else as the text that it is."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


def _object(text: bytes) -> dict[str, Any]:
    """One JSON object in which no name is there twice. Raises Rejection."""
    try:
        value = json.loads(_text(text), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Rejection("", f"it {not_json(error)}", LINES) from None
    if not isinstance(value, dict):
        raise Rejection("", "it is no JSON object", LINES)
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise Rejection("", f"“{redacted(name)}” is there twice in one object", "write each name once")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Rejection("", "it is not UTF-8", "write it as UTF-8 text") from None
