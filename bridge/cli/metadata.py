"""`--metadata`: of a task or a watch one JSON value, of an endpoint what it asks of those.

Who writes the one form where the other is meant reads how the same value is written there.
"""

import json
from collections.abc import Sequence
from shlex import quote
from typing import Any

from bridge.errors import WrongOption
from bridge.rejection import redacted
from bridge.strict_json import finite, no_constant, not_json

_DECODER = json.JSONDecoder(parse_constant=no_constant, parse_float=finite)


def value_from(text: str) -> Any:
    """Read the JSON value that a task's events echo. Raises WrongOption, which says how this text would be written."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise WrongOption(f"--metadata: it {not_json(error)}", fix=f"--metadata {_as_json(text)}") from None


def _as_json(text: str) -> str:
    """A text that is no JSON as somebody meant it who had NAME=VALUE in mind, or forgot the quotes."""
    name, equals, value = text.partition("=")
    if not _fit(text) or any(mark in text for mark in "{}[]\"'"):
        return """'{"order": 42}'"""
    return quote(json.dumps({name.strip(): words_in(value)[0]} if equals and name.strip() else text))


def wanted_from(texts: Sequence[str]) -> dict[str, Any]:
    """Read `NAME=VALUE[,VALUE]`: for each name a value, or a list of several. Raises WrongOption; for JSON, too, in
    which there may be an equals sign."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name.strip() and equals) or _object_in(text) is not None:
            raise WrongOption("--metadata: it is not NAME=VALUE", fix=_as_words(text))
        found.setdefault(name.strip(), []).extend(words_in(values))
    return {name: words[0] if len(words) == 1 else words for name, words in found.items()}


def _as_words(text: str) -> str:
    """What is not NAME=VALUE as it would be; an object is, with each of its names."""
    value = _object_in(text)
    if value and _fit(text) and all(name and name.strip() == name and "=" not in name for name in value):
        words = [f"{name}={_words(one)}" for name, one in value.items()]
        if " ".join(words).isprintable() and wanted_from(words) == value:
            return " ".join(f"--metadata {quote(word)}" for word in words)
    return "--metadata team=video,audio"


def _object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None where it is none."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _fit(text: str) -> bool:
    """Whether an error may repeat it: what is short, and holds nothing that may be secret."""
    return redacted(text) == text


def _words(value: Any) -> str:
    return ",".join(map(as_word, value)) if isinstance(value, list) else as_word(value)


def as_word(value: Any) -> str:
    """A value as it is written for --metadata of an endpoint: a text without quotes where it is read as one."""
    plain = isinstance(value, str) and '"' not in value and words_in(value) == [value]
    return value if plain else json.dumps(value, ensure_ascii=False)


def words_in(text: str) -> list[Any]:
    """The values between commas: JSON where it is JSON (a comma in a JSON text separates nothing), else text."""
    words, rest = list[Any](), text
    while True:
        rest = rest.lstrip()
        try:
            word, end = _DECODER.raw_decode(rest)
            after = rest[end:].lstrip()
        except (ValueError, RecursionError):
            word, after = None, None
        if after is None or after[:1] not in {"", ","}:
            plain, comma, tail = rest.partition(",")
            word, after = plain.strip(), comma + tail
        words.append(word)
        if not after:
            return words
        rest = after[1:]
