"""A file that declares endpoints and tasks, read from where it lies: bounded, whatever is in it."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from bridge.cli.output import safe, say
from bridge.errors import InvalidInput
from bridge.manifest import LINES, TABLES, Entry, Manifest, Refused
from bridge.rejection import Rejection

ENTRIES = 1_000_000
"""The most lines that mean something in one file."""
LINE_BYTES = 262_144
"""The longest line that is read; the longest that can be registered is far shorter."""
TOML_BYTES = 4_194_304
UTF8_BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"\xff\xfe": ("is UTF-16", "save it as UTF-8; in PowerShell: … | Out-File -Encoding utf8 FILE"),
    b"\xfe\xff": ("is UTF-16", "save it as UTF-8"),
    b"\x1f\x8b": ("is compressed", "gunzip -c FILE | bridge import -"),
}
"""How files begin that are a text only after something was done to them."""


def is_toml(file: str) -> bool:
    """Whether it holds tables rather than lines."""
    return Path(file).suffix.lower() == ".toml"


def read(file: str) -> Manifest:
    """What the file declares; `-` is standard input. Raises InvalidInput for what cannot be read as a whole."""
    where = "standard input" if file == "-" else safe(file)
    try:
        if file == "-":
            return _from_lines(sys.stdin.buffer)
        with Path(file).open("rb") as stream:
            return _from_tables(stream, Path(file).parent) if is_toml(file) else _from_lines(stream)
    except OSError as error:
        raise InvalidInput(f"{where} cannot be read: {error.strerror}", fix="name a file, or -") from None
    except InvalidInput as error:
        raise InvalidInput(f"{where} cannot be imported: {error}", fix=error.fix) from None


def _from_lines(stream: BinaryIO) -> Manifest:
    manifest = Manifest()
    for number, raw in _lines(stream):
        if raw is None:
            manifest.refuse_line(number, Rejection("", f"it is longer than {LINE_BYTES} bytes", LINES))
        else:
            manifest.read_line(number, raw)
        if len(manifest.entries) + len(manifest.refused) > ENTRIES:
            raise InvalidInput(f"it has more than {ENTRIES} lines; nothing was imported", fix="split -l 500000 FILE")
    if not (manifest.headed or manifest.entries or manifest.refused):
        raise InvalidInput("it is empty", fix=LINES)
    return manifest


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None for one that is too long."""
    number = 0
    while raw := stream.readline(LINE_BYTES + 1):
        number += 1
        raw = _unmarked(raw) if number == 1 else raw
        if len(raw) <= LINE_BYTES or raw.endswith(b"\n"):
            yield number, raw
            continue
        while (rest := stream.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _unmarked(head: bytes) -> bytes:
    for mark, (what, fix) in FOREIGN.items():
        if head.startswith(mark):
            raise InvalidInput(f"it {what}", fix=fix)
    return head.removeprefix(UTF8_BOM)


def _from_tables(stream: BinaryIO, directory: Path) -> Manifest:
    raw = _unmarked(stream.read(TOML_BYTES + 1))
    if len(raw) > TOML_BYTES:
        raise InvalidInput(f"it is longer than {TOML_BYTES} bytes", fix="more than that is for JSON lines")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput("it is not UTF-8 text", fix=TABLES) from None
    manifest = Manifest()
    manifest.read_tables(text)
    entries, manifest.entries = manifest.entries, []
    for entry in entries:
        try:
            manifest.entries.append(_with_secret(entry, directory))
        except Rejection as rejection:
            manifest.refused.append(Refused(entry.place, entry.kind, entry.name, rejection))
    return manifest


def _with_secret(entry: Entry, directory: Path) -> Entry:
    """The entry with the secret that its `secret_file` holds. Raises Rejection, which repeats nothing of it."""
    from bridge.settings_sources import read_secret

    fields = dict(entry.fields)
    named = fields.pop("secret_file", None)
    if named is None:
        return entry
    if not isinstance(named, str) or not named or "\0" in named:
        raise Rejection("secret_file", "it is no path", "name a file that holds the secret, from this file's directory")
    given = read_secret(directory / Path(named).expanduser(), "cli", "secret_file")
    if given.problem:
        raise Rejection("secret_file", given.problem, "name a file that holds the secret, from this file's directory")
    if given.warning:
        say(f"! {safe(given.warning)}")
    return replace(entry, fields=fields | {"secret": given.value})
