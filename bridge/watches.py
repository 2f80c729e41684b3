"""What clients may write into `bridge:watches`: an index or the account, whose tasks register by themselves. Pure.

A field is `account` or `index:<id>`, its value JSON with the options that each task found gets.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bridge.contract import MILLISECONDS_FROM, NAME, TASK_ENDPOINTS, task_options
from bridge.guard import Policy
from bridge.kinds import ASSET, TASK, Kind
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.strict_json import each_once, finite, is_shallow, no_constant, not_json
from bridge.wording import wrong

WATCHES = 200
"""The most watches that there are; each costs requests of its own."""
WATCH_BYTES = 16_384
DEPTH = 102
"""As deep as a task's metadata may be, and the object around it."""
ACCOUNT = "account"
INDEX = "index:"
INDEX_ID = r"[A-Za-z0-9_-]{1,100}"
_INDEX_ID = re.compile(INDEX_ID, re.ASCII)
WORDS: Mapping[str, Kind] = {"task": TASK, "asset": ASSET}
"""What a watch may find, by name."""
EXAMPLE = 'HSET bridge:watches index:<id> \'{"endpoints": ["billing"]}\''


class WatchDefinition(BaseModel):
    """A watch as a client writes it. Unknown fields: ignored."""

    model_config = ConfigDict(hide_input_in_errors=True)

    kinds: Annotated[list[Literal["task", "asset"]], Field(min_length=1, max_length=2)] = ["task"]
    since: Annotated[float, Field(strict=True, ge=0, lt=MILLISECONDS_FROM)] | None = None
    metadata: Any = None
    endpoints: Annotated[list[Annotated[str, StringConstraints(pattern=f"^{NAME}$")]],
                         Field(min_length=1, max_length=TASK_ENDPOINTS)] | None = None  # fmt: skip
    callback_url: str | None = None
    expires_at: Annotated[float, Field(strict=True, ge=0, lt=MILLISECONDS_FROM)] | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A watch that was judged."""

    name: str
    """Its field: `account` or `index:<id>`."""
    index: str | None
    kinds: tuple[Kind, ...]
    since: int | None
    """Milliseconds: what was created from then on is registered, ended or not."""
    expires_at: int | None
    """Milliseconds: nothing is found any more, and what was found is watched no longer."""
    options: Mapping[str, str]
    """The hash that each task gets."""


def watch(name: str, raw: str, policy: Policy, *, has_default_secret: bool) -> Watch:
    """Read a watch. Raises Rejection."""
    index = name.removeprefix(INDEX) if name.startswith(INDEX) else None
    if name != ACCOUNT and not (index is not None and _INDEX_ID.fullmatch(index)):
        raise Rejection("name", "a watch is of the account, or of an index by its id", EXAMPLE, name)
    definition = _definition(raw)
    kinds = tuple(WORDS[word] for word in dict.fromkeys(definition.kinds))
    if index is None and any("{index}" in (kind.listing or "") for kind in kinds):
        reason = "indexed assets are listed index by index"
        raise Rejection("kinds", reason, "watch each index for them: bridge watch index <id> --kind asset")
    options = _options(definition)
    task_options(options, policy, has_default_secret=has_default_secret)
    since, expires_at = _ms(definition.since), _ms(definition.expires_at)
    return Watch(name, index, kinds, since, expires_at, options)


def _definition(raw: str) -> WatchDefinition:
    if len(raw.encode("utf-8", "surrogatepass")) > WATCH_BYTES:
        raise Rejection("", f"the watch is longer than {WATCH_BYTES} bytes", "shorten its metadata")
    try:
        found = json.loads(raw, parse_constant=no_constant, parse_float=finite, object_pairs_hook=each_once(""))
    except (ValueError, RecursionError) as error:
        raise Rejection("", f"it {not_json(error)}", "write one JSON object: {} is the least") from None
    if not isinstance(found, dict) or not is_shallow(found, DEPTH):
        raise Rejection("", "it is no JSON object", "write one JSON object: {} is the least")
    try:
        return WatchDefinition.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise Rejection(field, wrong(first), _FIXES.get(field, f"correct “{field}” and HSET it again")) from None


_FIXES = {
    "kinds": 'write ["task"], ["asset"] or both',
    "since": "write Unix seconds, e.g. the output of `date +%s`, without quotes",
    "expires_at": "write Unix seconds, e.g. the output of `date +%s`, without quotes",
    "endpoints": 'write a list of their names, as ["billing"]',
}


def _options(definition: WatchDefinition) -> dict[str, str]:
    """As a task's hash has them."""
    options: dict[str, str] = {}
    if definition.metadata is not None:
        options["metadata"] = _as_text(definition.metadata)
    if definition.endpoints is not None:
        options["endpoints"] = ",".join(definition.endpoints)
    if definition.callback_url:
        options["callback_url"] = definition.callback_url
    if definition.expires_at is not None:
        options["expires_at"] = f"{definition.expires_at:.3f}".rstrip("0").rstrip(".")
    return options


def _as_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which JSON can spell and UTF-8 cannot
        return json.dumps(value, separators=(",", ":"))
    return text


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def shown(raw: str) -> dict[str, Any]:
    """A watch as a person may see it: without what may be secret in its callback URL; empty for nonsense."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    url = found.get("callback_url")
    return found | {"callback_url": bare(url)} if isinstance(url, str) else found
