"""Whom an event concerns: what the fields of an endpoint's filter take. Pure."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from bridge.events import ENDPOINT_PREFIX
from bridge.formats import WILDCARD_TYPES
from bridge.kinds import index_in
from bridge.model import Endpoint, Notice

METADATA_FIELDS = 10
"""The most fields that a filter of metadata names."""
METADATA_WORDS = 100
"""The most values for each."""


def matches(endpoint: Endpoint, event_type: str, task: str, *, index: str | None = None, metadata: Any = None) -> bool:
    """Whether an endpoint's filter takes this event. A pattern is exact, or a prefix and `*`.

    `index` is None where the event does not say whose it is: then every filter of indexes takes it, as to lose it would
    be worse. A task without the metadata that a filter asks for is another's.
    """
    return (
        takes(endpoint, event_type)
        and any(fits(pattern, task) for pattern in endpoint.tasks)
        and (index is None or any(fits(pattern, index) for pattern in endpoint.indexes))
        and all(_has(metadata, name, words) for name, words in endpoint.metadata.items())
    )


def takes(endpoint: Endpoint, event_type: str) -> bool:
    """Whether one of an endpoint's patterns of events takes this type, whatever the task."""
    return any(_takes(endpoint.format, pattern, event_type) for pattern in endpoint.events)


def fits(pattern: str, word: str) -> bool:
    """Whether a pattern takes a word: it is the same, or its beginning and `*`."""
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


def hears(endpoint: Endpoint, notice: Notice) -> bool:
    """Whether an endpoint's filter takes a notice: it names such events, and it is not itself what the notice is about.

    `*` does not name them: it was written by who wants to hear of every task.
    """
    named = [pattern for pattern in endpoint.events if pattern.startswith("bridge.")]
    return endpoint.name != notice.endpoint and any(fits(pattern, ENDPOINT_PREFIX + notice.kind) for pattern in named)


def takes_nothing(form: str, pattern: str) -> bool:
    """Whether a pattern with a star stands for no event at all in this format."""
    known = WILDCARD_TYPES.get(form)
    return known is not None and pattern.endswith("*") and not any(fits(pattern, one) for one in known)


def star_of(form: str) -> str:
    """The types that a star stands for in this format, in words; empty where it stands for all that it fits."""
    return " and ".join(sorted(WILDCARD_TYPES.get(form, ())))


def _takes(form: str, pattern: str, event_type: str) -> bool:
    """In a format of somebody else's, a star stands for the types that are known there; others are named in full."""
    known = WILDCARD_TYPES.get(form)
    return fits(pattern, event_type) and (known is None or event_type in known or not pattern.endswith("*"))


def index_of(body: bytes | None) -> str | None:
    """The index of the task that an event's body shows, or else its member names; None where neither does.

    Of an index task `gone` and `task_omitted` show none.
    """
    try:
        data = json.loads(body or b"")["data"]
        task, member = data["task"], data.get("task_id")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    index = task.get("index_id") if isinstance(task, Mapping) else None
    if isinstance(index, str):
        return index
    return index_in(member) if isinstance(member, str) else None


def words_of(written: Any) -> tuple[Any, ...]:
    """The values that a filter names for a field: a list of them, or one alone."""
    return tuple(written) if isinstance(written, list) else (written,)


def checked_words(wanted: dict[str, Any]) -> dict[str, Any]:
    """A filter of metadata as it is written. Raises ValueError for one that could take nothing, or too much to hold."""
    if len(wanted) > METADATA_FIELDS:
        raise ValueError(f"at most {METADATA_FIELDS} fields")
    for name, written in wanted.items():
        words = words_of(written)
        if not (name and 1 <= len(words) <= METADATA_WORDS and all(map(_is_plain, words))):
            raise ValueError(
                f"a field has a name, and a value (text, a number, true, false, null) or 1 to {METADATA_WORDS}"
            )
    return wanted


def _is_plain(word: Any) -> bool:
    return word is None or isinstance(word, str | int) or (isinstance(word, float) and isfinite(word))


def _has(metadata: Any, name: str, words: tuple[Any, ...]) -> bool:
    return isinstance(metadata, Mapping) and name in metadata and any(_same(metadata[name], word) for word in words)


def _same(value: Any, word: Any) -> bool:
    """Equal as JSON has it: 1 is 1.0, and neither true nor "1"."""
    return isinstance(value, bool) is isinstance(word, bool) and value == word
