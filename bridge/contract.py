"""What clients may write of a task: its member, its score, its options. Pure: judged here, refused with a fix.

An endpoint's definition is judged in `definition`. What the CLI writes is judged here too, as what a person types into
redis-cli, so that nobody is told two stories.
"""

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from bridge.callback import way
from bridge.guard import Policy
from bridge.kinds import KINDS, find_kind
from bridge.model import MILLISECONDS_FROM, Endpoint, WatchOptions
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.strict_json import TooLarge, each_once, finite, is_shallow, no_constant, not_json

METADATA_BYTES = 4_096
METADATA_DEPTH = 100
"""The deepest nesting of metadata: it is read and written again on call stacks deeper than the one that judges it."""
TASK_ENDPOINTS = 200
"""The most endpoints that one task names."""

MEMBER = r"[A-Za-z0-9_:/-]{1,200}"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
SECONDS = r"[0-9]{1,11}(\.[0-9]{0,9})?"
TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""W3C Trace Context, of any version that may be: no id is zeros alone."""
_MEMBER, _NAME, _SECONDS = (re.compile(pattern, re.ASCII) for pattern in (MEMBER, NAME, SECONDS))
_MILLISECONDS = re.compile(r"[0-9]{12,14}(\.[0-9]*)?", re.ASCII)
_TRACEPARENT = re.compile(TRACEPARENT, re.ASCII)

IN_MILLISECONDS = "a score above 1e11 is in milliseconds; bridge:tasks counts seconds"
UNSIGNED_CALLBACK = "a callback_url is signed with the default secret, and there is none"
"""Why a callback_url is refused that a setting alone would allow."""


def check_score(member: str, score: float) -> None:
    """Refuse a score of `bridge:tasks` that is no time in seconds; +inf is a member that was taken in."""
    if MILLISECONDS_FROM <= score < float("inf"):
        raise Rejection("score", IN_MILLISECONDS, f"ZADD bridge:tasks NX 0 {member}", member)


def check_member(member: str) -> None:
    """Refuse a member of `bridge:tasks` that cannot name a task."""
    fix = "use the task id as TwelveLabs shows it, such as 6a0b1c2d3e4f5a6b7c8d9e01"
    if not _MEMBER.fullmatch(member):
        reason = "a task id is 1 to 200 of the characters A-Z a-z 0-9 _ : / -"
        raise Rejection("member", reason if member else "it is empty", fix, member)
    name, colon, path = member.partition(":")
    if any(part in {"", ".", ".."} for part in (path if colon else member).split("/")):
        raise Rejection("member", "a task id has no empty or dot part", fix, member)
    kind = find_kind(member)
    if kind is None or (colon and not name):
        known = ", ".join(one.shape for one in KINDS.values())
        raise Rejection("member", f"tasks of the kind “{name}” cannot be watched", f"known are: {known}", member)
    if kind.named(member) is None:
        reason = f"{kind.what} is registered as {kind.shape}" if kind.name else "a task id has no slash"
        raise Rejection("member", reason, f"ZADD bridge:tasks NX 0 {kind.shape}" if kind.name else fix, member)


def task_options(
    raw: Mapping[str, str], policy: Policy, *, has_default_secret: bool
) -> tuple[WatchOptions, Endpoint | None]:
    """Read a task's option hash; with a `callback_url` the implicit endpoint comes with it."""
    callback = None
    if url := raw.get("callback_url"):
        if not has_default_secret:
            raise Rejection(
                "callback_url",
                UNSIGNED_CALLBACK,
                "set BRIDGE_DELIVERY_DEFAULT_SECRET here and for the worker, start that anew and register the task "
                "again, or register an endpoint",
                bare(url),
            )
        check_url("callback_url", url, policy)
        callback = Endpoint(name=implicit_name(url), url=url, events=("*",))
    account = raw.get("account") or "default"
    if account != "default":
        raise Rejection(
            "account",
            "there is no such account",
            "leave `account` out: one key is configured, named “default”",
            account,
        )
    options = WatchOptions(
        metadata=_metadata(raw.get("metadata")),
        endpoints=_endpoint_names(raw.get("endpoints")),
        callback=callback.name if callback else None,
        expires_at=_expires_at(raw.get("expires_at")),
        account=account,
        traceparent=_traceparent(raw.get("traceparent")),
    )
    return options, callback


def implicit_name(url: str) -> str:
    """The name under which a task's `callback_url` acts as an endpoint."""
    return "url:" + blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def check_url(field: str, url: str, policy: Policy) -> None:
    """Refuse a URL in this field that may not be called, by what its text says; each dial is judged again."""
    verdict = policy.judge_url(url)
    if not verdict.allowed:
        raise Rejection(field, f"{verdict.reason}: {verdict.detail}", way(url, policy), bare(url))


def _metadata(text: str | None) -> Any:
    if text is None:
        return None
    if len(text.encode("utf-8", "surrogatepass")) > METADATA_BYTES:
        raise Rejection("metadata", f"is more than {METADATA_BYTES} bytes", "keep the bulk on your side", text)
    try:
        metadata = json.loads(
            text, parse_constant=no_constant, parse_float=finite, object_pairs_hook=each_once("metadata")
        )
    except TooLarge:
        raise Rejection("metadata", "a number in it is too large", "write that number as a text", text) from None
    except (ValueError, RecursionError) as error:
        fix = 'write JSON, such as {"order": 42}; a text alone is JSON only with quotes of its own'
        raise Rejection("metadata", f"its text {not_json(error)}", fix, text) from None
    if not is_shallow(metadata, METADATA_DEPTH):
        raise Rejection("metadata", f"is nested deeper than {METADATA_DEPTH} levels", "flatten it", text)
    return metadata


def _endpoint_names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise Rejection("endpoints", "it names no endpoint", "leave `endpoints` out, and all matching ones hear of it")
    if len(names) > TASK_ENDPOINTS:
        fix = "leave `endpoints` out, and name the task in the endpoints' `tasks`"
        raise Rejection("endpoints", f"a task names at most {TASK_ENDPOINTS} endpoints", fix, text)
    for name in names:
        if not _NAME.fullmatch(name):
            raise Rejection("endpoints", "not a list of endpoint names", "separate names by commas", text)
    return names


def _expires_at(text: str | None) -> int | None:
    if not text:
        return None
    seconds = float(text) if _SECONDS.fullmatch(text) else float("nan")
    if not 0 <= seconds < MILLISECONDS_FROM:
        millis = _MILLISECONDS.fullmatch(text)
        reason = "it is in milliseconds; expires_at counts Unix seconds" if millis else "not a time in Unix seconds"
        raise Rejection("expires_at", reason, "write seconds, e.g. the output of `date +%s`", text)
    return int(seconds * 1000)


def _traceparent(text: str | None) -> str | None:
    if not text:
        return None
    if not _TRACEPARENT.fullmatch(text):
        fix = "write it as W3C Trace Context has it, 00-<32 hex>-<16 hex>-<2 hex> in lower case, or leave it out"
        raise Rejection("traceparent", "not a traceparent", fix, text)
    return text
