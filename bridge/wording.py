"""What is wrong with a value, in our words: the library that checks types tells it in its own. And others' words, fit
to be shown. Pure."""

import re
import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

TYPES = {
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number{of}"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number{of}"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "finite_number": "must be a number{of}, and no infinite one",
    "string_type": "must be a text",
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be an object"),
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_pattern_mismatch": "has a character, or an order of them, that it must not have",
    "json_invalid": "is not JSON{at}",
}
"""Pydantic's kind of an error → what must be; `{of}` is the unit, the others are what pydantic knows of the bound, and
`{at}` where the text stops to be JSON."""
NEAR = 0.8
"""How near a name is that may have been meant. Ids of TwelveLabs' that are strangers to each other stay well below."""
_AT = re.compile(r"at (line \d+) (column \d+)$")


def wrong(error: Mapping[str, Any], unit: str = "") -> str:
    """What is wrong with a value: `must be a number of seconds`. `error` is one of pydantic's, with its context."""
    words = TYPES.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must", 1)
    told = {name: f"{one:g}" if isinstance(one, float) else one for name, one in error.get("ctx", {}).items()}
    where = _AT.search(str(told.get("error", "")))
    at = f" ({where[1]}, {where[2]})" if where else ""
    return words.format(of=f" of {unit}" if unit else "", at=at, **told).replace("'", "")


def safe(value: object) -> str:
    """Text from outside, fit for a terminal: what a terminal would obey and no eye can see is spelt out."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def safe_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(safe, text.split("\n")))


ARROW, NOTE = "→ ", "  # "
"""What stands before a command that can be pasted, and what behind it, before words for whoever reads it."""


def apart(text: str) -> str:
    """A text for a person: what stands behind a command, as a comment, on a line of its own. Not every shell that a
    command is pasted into knows comments: zsh takes them for words."""
    return "\n".join(map(_apart, text.split("\n"))) if NOTE in text else text


def with_note(fix: str) -> tuple[str, str]:
    """A command, and what is said behind it as a comment; empty where nothing is."""
    command, mark, note = fix.partition(NOTE)
    while mark and not _is_whole(command):  # within quotes it is no comment
        more, mark, note = note.partition(NOTE)
        command += NOTE + more
    return command, note


def _apart(line: str) -> str:
    before, arrow, rest = line.partition(ARROW)
    command, note = with_note(rest)
    if not (arrow and note):
        return line
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    return f"{before}{arrow}{command}\n{indent}{note}"


def _is_whole(command: str) -> bool:
    """Whether every quote in it ends."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def memory(count: int) -> str:
    """So many bytes, as people say it."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def near_names(name: str) -> frozenset[str]:
    """What it becomes by one letter that is left out, doubled or exchanged with its neighbour."""
    left_out = {name[:i] + name[i + 1 :] for i in range(len(name))}
    doubled = {name[:i] + name[i] + name[i:] for i in range(len(name))}
    exchanged = {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}
    return frozenset(left_out | doubled | exchanged) - {name}


def near_name(name: str, known: Iterable[str]) -> str:
    """The one of these that it may have been meant to be; empty where none is near."""
    return next(iter(get_close_matches(name, known, 1, NEAR)), "")
