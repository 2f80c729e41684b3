"""What an entry of a file comes to beside what stands in Redis: added, changed or unchanged, and what is written. Pure.

What an export left out (a signing secret, header values, the query of a URL) is what it was, where the thing is still
there; where it is not, a secret may be missing, and anything else is refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.definition import EndpointDefinition
from bridge.entries import Judge
from bridge.manifest import LEFT_OUT, Entry, holds_secret
from bridge.model import V1
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.rotation import SECRET_FIELDS

ADDED, CHANGED, UNCHANGED = "added", "changed", "unchanged"
_BARE = re.compile(rf"[?#/]{LEFT_OUT}")
COMPLETE = "take an export made --with-secrets, or write it in full"


class Standing(NamedTuple):
    """A task as it stands: registered or not, and its options, None where that key is no hash."""

    registered: bool
    options: Mapping[bytes, bytes] | None


class EndpointPlan(NamedTuple):
    """What becomes of an endpoint."""

    word: str
    text: str
    """Its definition as it is written."""
    unsigned: bool
    """It needs a secret and has none of its own."""


class TaskPlan(NamedTuple):
    """What becomes of a task."""

    word: str
    options: dict[str, str]


def endpoint_plan(entry: Entry, before: bytes | None, judge: Judge) -> EndpointPlan:
    """Judge an endpoint as registration does, beside its definition so far. Raises Rejection."""
    old = _definition(before)
    new = _completed(entry.fields, old)
    name, text = _bytes(entry.name), _json(new)
    judged = judge.endpoint(name, _bytes(text))
    unsigned = V1 in judged.signatures and not judged.secrets
    if before is None:
        return EndpointPlan(ADDED, text, unsigned)
    try:
        same = judged == judge.endpoint(name, before)
    except Rejection:
        same = False
    others = [one for one in new if one not in EndpointDefinition.model_fields]
    same = same and all(one in old and _json(old[one]) == _json(new[one]) for one in others)
    return EndpointPlan(UNCHANGED if same else CHANGED, text, unsigned)


def watch_plan(entry: Entry, before: bytes | None, judge: Judge) -> EndpointPlan:
    """Judge a watch as registration does, beside its definition so far. Raises Rejection."""
    old, new = _definition(before), dict(entry.fields)
    if isinstance(new.get("callback_url"), str):
        new["callback_url"] = _url("callback_url", new["callback_url"], old.get("callback_url"))
    new |= {one: value for one, value in old.items() if one not in new and holds_secret({one: value})}
    text = _json(new)
    judge.watch(_bytes(entry.name), _bytes(text))
    if before is None:
        return EndpointPlan(ADDED, text, unsigned=False)
    return EndpointPlan(UNCHANGED if new == old else CHANGED, text, unsigned=False)


def task_plan(entry: Entry, before: Standing, judge: Judge) -> TaskPlan:
    """Judge a task as registration does; a registered one keeps its options if none are given. Raises Rejection."""
    old = None if before.options is None else {_shown(one): _shown(value) for one, value in before.options.items()}
    options = {one: value if isinstance(value, str) else _json(value) for one, value in entry.fields.items()}
    if "callback_url" in options:
        options["callback_url"] = _url("callback_url", options["callback_url"], (old or {}).get("callback_url"))
    if options:
        options |= {one: value for one, value in (old or {}).items() if one not in options and holds_secret(value)}
    given = {_bytes(one): _bytes(value) for one, value in options.items()}
    _check_text(given)
    judge.task(_bytes(entry.name), 0, None if old is None else given)
    if not before.registered:
        return TaskPlan(ADDED, options)
    return TaskPlan(UNCHANGED if not options or _alike(options, old or {}) else CHANGED, options)


def _completed(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with what was left out of it, as far as that is known."""
    made = dict(new)
    if isinstance(new.get("url"), str):
        made["url"] = _url("url", new["url"], old.get("url"))
    if isinstance(headers := new.get("headers"), dict) and LEFT_OUT in headers.values():
        known = old["headers"] if isinstance(old.get("headers"), dict) else {}
        if unknown := [one for one, value in headers.items() if value == LEFT_OUT and one not in known]:
            raise Rejection("headers", f"the value of {unknown[0]} was left out of the export", COMPLETE)
        made["headers"] = {one: known[one] if value == LEFT_OUT else value for one, value in headers.items()}
    return made | {one: old[one] for one in old if one not in new and (one in SECRET_FIELDS or holds_secret(old[one]))}


def _url(field: str, new: str, old: Any) -> str:
    if not _BARE.search(new):
        return new
    if not isinstance(old, str) or bare(old) != new:
        raise Rejection(field, "what may be secret in it was left out of the export", COMPLETE, new)
    return old


def _alike(new: Mapping[str, str], old: Mapping[str, str]) -> bool:
    """Whether a task's options say the same; metadata may be written in another way."""
    return {**new, "metadata": _canonical(new.get("metadata"))} == {**old, "metadata": _canonical(old.get("metadata"))}


def _canonical(text: str | None) -> str | None:
    try:
        return None if text is None else json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _definition(text: bytes | None) -> dict[str, Any]:
    """A definition as it stands; empty for what cannot be read."""
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        reason = "it holds what JSON cannot say: a date, infinity, or too many levels"
        raise Rejection("", reason, "write a text or a number instead") from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _check_text(fields: Mapping[bytes, bytes]) -> None:
    """Registration asks this of its own options alone; here what is foreign is written too, and has to be text."""
    try:
        for one in (*fields, *fields.values()):
            one.decode()
    except UnicodeDecodeError:
        raise Rejection("", "an option is not UTF-8", "write the options as UTF-8 text") from None


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
