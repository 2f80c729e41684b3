"""Whom an event concerns: what the fields of an endpoint's filter take. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from bridge.model import Endpoint


def matches(endpoint: Endpoint, event_type: str, task: str, *, index: str | None = None, metadata: Any = None) -> bool:
    """Whether an endpoint's filter takes this event. A pattern is exact, or a prefix and `*`.

    `index` is None where the event does not say whose it is: then every filter of indexes takes it, as to lose it would
    be worse. A task without the metadata that a filter asks for is another's.
    """
    return (
        any(fits(pattern, event_type) for pattern in endpoint.events)
        and any(fits(pattern, task) for pattern in endpoint.tasks)
        and (index is None or any(fits(pattern, index) for pattern in endpoint.indexes))
        and all(_has(metadata, name, words) for name, words in endpoint.metadata.items())
    )


def fits(pattern: str, word: str) -> bool:
    """Whether a pattern takes a word: it is the same, or its beginning and `*`."""
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


def index_of(body: bytes | None) -> str | None:
    """The index of the task that an event's body shows; None where it shows none (`gone`, `task_omitted`)."""
    try:
        index = json.loads(body or b"")["data"]["task"]["index_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return index if isinstance(index, str) else None


def _has(metadata: Any, name: str, words: tuple[Any, ...]) -> bool:
    return isinstance(metadata, Mapping) and name in metadata and any(_same(metadata[name], word) for word in words)


def _same(value: Any, word: Any) -> bool:
    """Equal as JSON has it: 1 is 1.0, and neither true nor "1"."""
    return isinstance(value, bool) is isinstance(word, bool) and value == word
