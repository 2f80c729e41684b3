"""JSON of which every parser reads the same: what others read differently is refused. Pure hooks for `json.loads`."""

import re
from collections import Counter
from collections.abc import Callable
from json import JSONDecodeError
from math import isfinite
from typing import Any

from bridge.rejection import Rejection, redacted

_SHOWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""A name that is fit to be shown."""


def each_once(field: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """A hook for objects: of two equal names one parser takes the first and another the last, so they are refused."""

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
            shown = f"“{name}”" if _SHOWN.fullmatch(name) and redacted(name) == name else "a name"
            raise Rejection(field, f"{shown} is there twice in one object", "write each name once")
        return found

    return read


def no_constant(text: str) -> Any:
    """A hook for NaN and Infinity, which are no JSON."""
    raise ValueError(text)


class TooLarge(ValueError):
    """A number that is JSON, and too large for a float."""


def finite(text: str) -> float:
    """A hook for numbers: one too large for a float is refused, as TooLarge."""
    number = float(text)
    if not isfinite(number):
        raise TooLarge(text)
    return number


def not_json(error: Exception) -> str:
    """That a text is not JSON, and where: of what stands there nothing is repeated."""
    at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, JSONDecodeError) else ""
    return f"is not JSON{at}"


def is_shallow(value: Any, depth: int) -> bool:
    """Whether a value is nested in at most `depth` levels."""
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(depth):
        if not layer:
            return True
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return not layer
