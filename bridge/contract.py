"""What clients may write into Redis: members, task options, endpoints. Pure: judged here, refused with a fix.

The same models judge what the CLI writes and what a person types into redis-cli, so that nobody is told two stories.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo

from bridge.callback import way
from bridge.errors import InvalidInput
from bridge.events import ENDPOINT_PREFIX
from bridge.filters import checked_words, star_of, takes_nothing, words_of
from bridge.formats import CONTENT_TYPES, STANDARD, TWELVELABS, WILDCARD_TYPES
from bridge.guard import Policy
from bridge.keyset import MAKE_ONE, NO_KEY
from bridge.kinds import ANALYSIS, KINDS, find_kind
from bridge.model import MILLISECONDS_FROM, V1, V1A, Endpoint, Ordering, WatchOptions
from bridge.redaction import bare
from bridge.rejection import Rejection, redacted
from bridge.rotation import PREVIOUS_SECRETS, SECRET_FIELDS, PreviousSecretDefinition, previous_secrets
from bridge.sealing import SEALED_BYTES, is_sealed
from bridge.strict_json import TooLarge, each_once, finite, is_shallow, no_constant, not_json
from bridge.throttle import RATE
from bridge.tl_signature import WHERE_FROM, check_secret
from bridge.wording import wrong

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

METADATA_BYTES = 4_096
METADATA_EXAMPLES = 'as {"order": 42}; a plain text stands in quotes of its own: "red", within JSON "\\"red\\""'
"""What metadata may be, for who wrote a text that is none of it."""
METADATA_DEPTH = 100
"""The deepest nesting of metadata: it is read and written again on call stacks deeper than the one that judges it."""
TASK_ENDPOINTS = 200
"""The most endpoints that one task names."""
ENDPOINT_BYTES = 16_384
FAULTS_TOLD = 5
"""Of how many faults of one definition the reason tells."""
HEADERS = 10
"""The most headers that an endpoint adds to its requests."""
CONCURRENCY = 1_000
"""The most attempts in flight that an endpoint may ask for."""
ATTEMPTS = 50
"""The most attempts that an endpoint's own schedule has."""
LONGEST_WAIT_SECONDS = 7 * 86_400
"""The longest wait in it."""

MEMBER = r"[A-Za-z0-9_:/-]{1,200}"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
SECONDS = r"[0-9]{1,11}(\.[0-9]{0,9})?"
TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""W3C Trace Context, of any version that may be: no id is zeros alone."""
HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"
HEADER_VALUE = r"[\x20-\x7e]{0,1024}"
_MEMBER, _NAME, _SECONDS = (re.compile(pattern, re.ASCII) for pattern in (MEMBER, NAME, SECONDS))
_MILLISECONDS = re.compile(r"[0-9]{12,14}(\.[0-9]*)?", re.ASCII)
_TRACEPARENT = re.compile(TRACEPARENT, re.ASCII)
_HEADER_NAME, _HEADER_VALUE = (re.compile(pattern, re.ASCII) for pattern in (HEADER_NAME, HEADER_VALUE))
RESERVED_HEADERS = frozenset(
    {
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "te"),
        *("trailer", "upgrade", "expect", "cookie", "user-agent", "traceparent", "accept-encoding", "keep-alive"),
        *("forwarded", "via", "x-real-ip"),
    }
)
RESERVED_PREFIXES = ("webhook-", "proxy-", "x-forwarded-", "bridge-", "tl-signature", "ce-")


MAKE_ONE_OF_OURS = (
    'make one with: echo "whsec_$(openssl rand -base64 32)"; what TwelveLabs revealed is for the format twelvelabs'
)
"""Where a secret comes from in all formats but TwelveLabs' own."""
IN_MILLISECONDS = "a score above 1e11 is in milliseconds; bridge:tasks counts seconds"
UNSIGNED_CALLBACK = "a callback_url is signed with the default secret, and there is none"
"""Why a callback_url is refused that a setting alone would allow."""


class EndpointDefinition(BaseModel):
    """An endpoint as a client writes it: `HSET bridge:endpoints <name> '<this as JSON>'`. Unknown fields: ignored."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: str  # its length is the guard's to judge, by name
    events: Annotated[list[Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\.\*)?|\*)$")]],
                      Field(min_length=1, max_length=100)] = ["index.task.*"]  # fmt: skip
    tasks: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:/-]*\*?$", min_length=1,
                                                           max_length=200)]],
                     Field(min_length=1, max_length=1000)] = ["*"]  # fmt: skip
    indexes: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]*\*?$", min_length=1,
                                                             max_length=100)]],
                       Field(min_length=1, max_length=100)] = ["*"]  # fmt: skip
    metadata: Annotated[dict[str, Any], AfterValidator(checked_words)] = {}
    format: Literal["standard", "twelvelabs", "cloudevents", "cloudevents-binary"] = "standard"
    secret: Annotated[str, AfterValidator(lambda text, known: _checked_secret(text, known))] | None = None
    previous_secrets: Annotated[list[PreviousSecretDefinition], Field(max_length=PREVIOUS_SECRETS)] = []
    ordering: Ordering = Ordering.FIRST_ATTEMPT
    headers: Annotated[dict[str, str], AfterValidator(lambda headers: _checked_headers(headers))] = {}
    concurrency: Annotated[int, Field(strict=True, ge=1, le=CONCURRENCY)] | None = None
    rate: Annotated[str, StringConstraints(pattern=f"^{RATE}$")] | None = None
    schedule: Annotated[list[Annotated[float, Field(strict=True, ge=0, le=LONGEST_WAIT_SECONDS)]],
                        Field(min_length=1, max_length=ATTEMPTS)] | None = None  # fmt: skip
    supersede: Annotated[bool, Field(strict=True)] = False
    signatures: Annotated[list[Literal["v1", "v1a"]], Field(min_length=1),
                          AfterValidator(lambda names: _checked_signatures(names))] = ["v1"]  # fmt: skip
    handshake: Literal["none", "required"] = "none"


def check_score(member: str, score: float) -> None:
    """Refuse a score of `bridge:tasks` that is no time in seconds; +inf is a member that was taken in."""
    if MILLISECONDS_FROM <= score < float("inf"):
        raise Rejection("score", IN_MILLISECONDS, f"ZADD bridge:tasks NX 0 {member}", member)


def check_member(member: str) -> None:
    """Refuse a member of `bridge:tasks` that cannot name a task."""
    fix = "use the task id as TwelveLabs shows it, such as 6a0b1c2d3e4f5a6b7c8d9e01"
    if not _MEMBER.fullmatch(member):
        raise Rejection("member", "a member is 1 to 200 of the characters A-Z a-z 0-9 _ : / -", fix, member)
    name, colon, path = member.partition(":")
    if any(part in {"", ".", ".."} for part in (path if colon else member).split("/")):
        raise Rejection("member", "a member has no empty or dot part", fix, member)
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
                "set BRIDGE_DELIVERY_DEFAULT_SECRET and register the task again, or register an endpoint instead",
                bare(url),
            )
        _check_url("callback_url", url, policy)
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


def endpoint(
    name: str, raw: str, policy: Policy, *, has_default_secret: bool, has_signing_key: bool = False
) -> Endpoint:
    """Read an endpoint's definition."""
    if not _NAME.fullmatch(name) or name == "url":
        raise Rejection(
            "name",
            "an endpoint's name is 1 to 64 of A-Z a-z 0-9 _ . -, starts with a letter or digit, and is not “url”",
            "register it under another name",
            name,
        )
    longest = ENDPOINT_BYTES + (SEALED_BYTES if '"sealed:' in raw else 0)
    if len(raw.encode("utf-8", "surrogatepass")) > longest:
        raise Rejection("", f"the definition is longer than {longest} bytes", "shorten its lists")
    try:
        definition = EndpointDefinition.model_validate_json(raw)
        json.loads(raw, object_pairs_hook=each_once(""), parse_int=str, parse_float=str)
    except ValidationError as error:
        others = _objections(
            lambda: _check_any_url(raw, policy), lambda: _check_any_secret(raw, has_default_secret=has_default_secret)
        )
        raise _together([*_from_pydantic(error, raw), *others]) from None
    faults = _objections(
        lambda: _check_events(definition),
        lambda: _check_url("url", definition.url, policy),
        lambda: _check_signed(definition, raw, has_default_secret=has_default_secret, has_signing_key=has_signing_key),
    )
    if faults:
        raise _together(faults)
    return Endpoint(
        name=name,
        url=definition.url,
        events=tuple(definition.events),
        tasks=tuple(definition.tasks),
        indexes=tuple(definition.indexes),
        metadata={name: words_of(one) for name, one in definition.metadata.items()},
        secrets=(definition.secret,) if definition.secret else (),
        format=definition.format,
        ordering=definition.ordering,
        headers=definition.headers,
        previous_secrets=previous_secrets(definition.previous_secrets),
        concurrency=definition.concurrency,
        rate=definition.rate,
        schedule=tuple(definition.schedule or ()),
        supersede=definition.supersede,
        signatures=tuple(sorted(definition.signatures)),
        handshake=definition.handshake == "required",
    )


def implicit_name(url: str) -> str:
    """The name under which a task's `callback_url` acts as an endpoint."""
    return "url:" + blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _check_url(field: str, url: str, policy: Policy) -> None:
    verdict = policy.judge_url(url)
    if not verdict.allowed:
        raise Rejection(field, f"{verdict.reason}: {verdict.detail}", way(url, policy), bare(url))


def _check_any_url(raw: str, policy: Policy) -> None:
    """That of a definition with another fault, if it has one that is text."""
    if url := _plain_value(raw, ("url",)):
        _check_url("url", url, policy)


def _check_any_secret(raw: str, *, has_default_secret: bool) -> None:
    """Whether a definition with another fault has one, if it says that one signs."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict) and V1 in _listed(found.get("signatures", [V1])) and found.get("secret") is None:
        _check_secret(raw, has_default_secret=has_default_secret)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _objections(*checks: Callable[[], None]) -> list[Rejection]:
    """What these have to object."""
    found = []
    for check in checks:
        try:
            check()
        except Rejection as rejection:
            found.append(rejection)
    return found


def _together(faults: Sequence[Rejection]) -> Rejection:
    """All of them as one: at the place of the first and with its fix, the others told behind its reason."""
    first, *others = faults
    if not others:
        return first
    told = [str(one).removesuffix(".") for one in others[: FAULTS_TOLD - 1]]
    left = len(others) - len(told)
    more = [f"and {left} more fault{'s' * (left > 1)}"] if left else []
    return Rejection(first.field, "; ".join([first.reason.removesuffix("."), *told, *more]), first.fix, first.value)


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
        # Also where it came as a text within JSON: what is in its quotes is read, as Redis would hold it.
        raise Rejection("metadata", f"its text {not_json(error)}", f"write JSON, {METADATA_EXAMPLES}", text) from None
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


def _check_events(definition: EndpointDefinition) -> None:
    for pattern in definition.events:
        if definition.format in WILDCARD_TYPES and pattern.startswith(ENDPOINT_PREFIX):
            reason = f"the format {definition.format} has no words for what befalls an endpoint"
            raise Rejection("events", reason, "let an endpoint of the format standard take these events", pattern)
        if definition.format in WILDCARD_TYPES and pattern.startswith(ANALYSIS.family):
            reason = f"the format {definition.format} is written for what is indexed, and has other fields for analyses"
            raise Rejection("events", reason, "let an endpoint of the format standard take these events", pattern)
        if takes_nothing(definition.format, pattern):
            known = star_of(definition.format)
            reason = f"in the format {definition.format} a star stands for {known}, of which this pattern takes none"
            raise Rejection("events", reason, "name other event types in full, such as index.task.indexing", pattern)


def _check_signed(definition: EndpointDefinition, raw: str, *, has_default_secret: bool, has_signing_key: bool) -> None:
    """Whether there is something to make each signature with that it asks for."""
    if definition.format == TWELVELABS and definition.signatures != [V1]:
        reason = f"in the format {TWELVELABS} a shared secret signs, as with TwelveLabs itself"
        raise Rejection("signatures", reason, f"leave “signatures” out, or choose the format {STANDARD}")
    if V1 in definition.signatures and definition.secret is None:
        _check_secret(raw, has_default_secret=has_default_secret)
    if V1A in definition.signatures and not has_signing_key:
        raise Rejection("signatures", NO_KEY, MAKE_ONE)


def _check_secret(raw: str, *, has_default_secret: bool) -> None:
    """Of a definition that has none, and needs one."""
    if has_default_secret:
        return
    if written := _written_for("secret", raw):
        raise _misspelt("secret", written)
    raise Rejection(
        "secret",
        "there is no secret to sign with",
        'add "secret":"whsec_…" (`bridge endpoint add` makes one), or set BRIDGE_DELIVERY_DEFAULT_SECRET',
    )


def _checked_signatures(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a signature is there twice")
    return names


def _checked_secret(text: str, known: ValidationInfo) -> str:
    """By the format, which is judged before; where that is none, it is the fault that is told.

    What is sealed is judged by who can open it.
    """
    if is_sealed(text):
        return text
    try:
        check_secret(text, known.data.get("format", STANDARD))
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return text


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    if len(headers) > HEADERS:
        raise ValueError(f"at most {HEADERS} headers")
    for name, value in headers.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name) or not (_HEADER_VALUE.fullmatch(value) or is_sealed(value)):
            raise ValueError("a header has a character that HTTP does not allow")
        if lower in RESERVED_HEADERS or lower.startswith(RESERVED_PREFIXES):
            raise ValueError(f"the header {lower} is the bridge's own")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header is there twice, in other capitals")
    return headers


def _from_pydantic(error: ValidationError, raw: str) -> list[Rejection]:
    """The faults of a definition, in the order of its fields. By which format a secret is to be judged is not known
    where that is a fault itself."""
    found = error.errors(include_url=False, include_input=False)
    known = all(one["loc"][:1] != ("format",) for one in found)
    return [_fault(one, raw) for one in found if known or one["loc"][0] not in SECRET_FIELDS]


def _fault(error: "ErrorDetails", raw: str) -> Rejection:
    field = str(error["loc"][0]) if len(error["loc"]) == 1 and error["type"] == "missing" else ""
    if field and (written := _written_for(field, raw)):
        return _misspelt(field, written)
    field = ".".join(str(part) for part in error["loc"] if isinstance(part, int) or _is_showable(part))
    reason = wrong(error)
    fixes = {
        "": 'write one JSON object: {"url": "https://…", "events": ["index.task.*"], "secret": "whsec_…"}',
        "url": 'write it in quotes, as "https://example.com/hook"',
        "events": 'write a list, as ["index.task.*"]',
        "tasks": 'write a list of ids or of their beginnings, as ["*"]',
        "indexes": 'write a list of their ids, as ["*"]',
        "metadata": 'write an object, as {"team": ["video"]}',
        "headers": 'write an object of texts, as {"x-team": "video"}',
        "format": f"choose one of: {', '.join(CONTENT_TYPES)}",
        "secret": WHERE_FROM if _plain_value(raw, ("format",)) == TWELVELABS else MAKE_ONE_OF_OURS,
        "ordering": f"choose one of: {', '.join(Ordering)}",
        "concurrency": f"write a number from 1 to {CONCURRENCY}, without quotes",
        "rate": "write attempts a second or a minute, as 10/s or 300/m",
        "schedule": f"write 1 to {ATTEMPTS} waits in seconds, as [0, 5, 300], none longer than {LONGEST_WAIT_SECONDS}",
        "supersede": "write true or false, without quotes",
        "signatures": 'write a list: ["v1"], ["v1a"] or ["v1","v1a"]',
        "handshake": "choose one of: none, required",
    }
    # The definition may hold a secret or an authorization header anywhere: only the offending field itself is shown.
    value = (
        _plain_value(raw, error["loc"]) if error["loc"] and error["loc"][0] not in {*SECRET_FIELDS, "headers"} else ""
    )
    value = bare(value) if field == "url" else value
    return Rejection(field, reason, fixes.get(field.partition(".")[0], f"correct “{field}” and HSET it again"), value)


def _misspelt(field: str, written: str) -> Rejection:
    reason = f"is missing, and the unknown field “{written}” is ignored: did you mean “{field}”?"
    return Rejection(field, reason, f'write "{field}" instead of "{written}", and HSET it again')


def _written_for(field: str, raw: str) -> str:
    """The unknown field that was probably meant for one that is missing; empty where none is like it."""
    for name in json.loads(raw):
        spelt = name.lower().replace("-", "_")
        like = field in spelt.split("_") or get_close_matches(spelt, [field], 1, cutoff=0.6)
        if like and name not in EndpointDefinition.model_fields and _is_showable(name):
            return str(name)
    return ""


def _is_showable(name: str) -> bool:
    """Whether a name within a definition may be repeated: it is no secret that stands in a name's place."""
    return _HEADER_NAME.fullmatch(name) is not None and redacted(name) == name


def _plain_value(raw: str, location: tuple[int | str, ...]) -> str:
    try:
        value = json.loads(raw)
        for part in location:
            value = value[part]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""
