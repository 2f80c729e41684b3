"""A request as somebody saved it: a whole one, or its headers beside its body. Pure."""

import json
import re
from typing import Any, NamedTuple

from bridge.errors import InvalidInput

HEADERS = 1_000
"""The most headers that are read."""
FORMS = "write a line `name: value` for each, or a JSON object of names and values"

Pairs = list[tuple[str, str]]

_START = re.compile(rb"[A-Z]{1,32} \S+ HTTP/\d(\.\d)?\r?\n")
_MARK = re.compile(r"^[<>] ?")
"""How `curl -v` and the like begin a line."""
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256})\s*:\s*(.*)")
_START_LINE = re.compile(r"[A-Z]{1,32} \S+( HTTP/\d(\.\d)?)?|HTTP/\d.*")


class Capture(NamedTuple):
    """Headers as they came, and the raw bytes of the body."""

    headers: Pairs
    body: bytes


def request_in(raw: bytes) -> Capture:
    """Take a whole request apart. Raises InvalidInput for what is none."""
    if not _START.match(raw):
        raise InvalidInput(
            "it is not a whole request, which begins with POST … HTTP/1.1",
            fix="name the file with the request's headers, too: --headers FILE",
        )
    found = re.search(rb"\r?\n\r?\n", raw)
    if found is None:
        raise InvalidInput("the request has no empty line after its headers", fix="save it as it came, body included")
    headers, body = headers_in(raw[: found.start()]), raw[found.end() :]
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        raise InvalidInput(
            "its body is still cut into chunks, by a proxy: the bridge sends none",
            fix="save the body alone, and the headers beside it: --headers FILE BODYFILE",
        )
    return Capture(headers, body)


def headers_in(raw: bytes) -> Pairs:
    """Read headers: lines, a JSON object (a value may be a list), JSON pairs. Raises InvalidInput; repeats no value."""
    text = raw.decode("utf-8-sig", "surrogateescape").strip()
    pairs = _from_json(text) if text[:1] in {"{", "["} else _from_lines(text)
    if not pairs:
        raise InvalidInput("there is no header", fix=FORMS)
    if len(pairs) > HEADERS:
        raise InvalidInput(f"there are more than {HEADERS} headers", fix=FORMS)
    return pairs


def _from_lines(text: str) -> Pairs:
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = _MARK.sub("", line).strip()
        if (found := _LINE.fullmatch(bare)) and not line.startswith("* "):
            pairs.append((found[1], found[2]))
        elif bare and not line.startswith("* ") and not _START_LINE.fullmatch(bare):
            raise InvalidInput(f"line {number} of the headers is no `name: value`", fix=FORMS)
    return pairs


def _from_json(text: str) -> Pairs:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("the headers are not valid JSON", fix=FORMS) from None
    if isinstance(found, dict) and isinstance(found.get("headers"), dict | list):
        found = found["headers"]  # of an event, as functions in a cloud get it
    entries: list[Any] = list(found.items()) if isinstance(found, dict) else found
    pairs: Pairs = []
    for entry in entries:
        if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str)):
            raise InvalidInput("the headers are no JSON of names and values", fix=FORMS)
        values = entry[1] if isinstance(entry[1], list) else [entry[1]]
        pairs += [(entry[0], str(value)) for value in values if isinstance(value, str | int)]
    return pairs
