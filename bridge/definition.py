"""An endpoint as a client writes it: its definition as a model, and what is judged beyond that. Pure."""

import json
import re
from shlex import quote
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo

from bridge.contract import NAME, check_url
from bridge.errors import InvalidInput
from bridge.events import ENDPOINT_PREFIX
from bridge.faults import WORD, Written, objections, together
from bridge.filters import checked_words, star_of, takes_nothing, words_of
from bridge.formats import CONTENT_TYPES, STANDARD, TWELVELABS, WILDCARD_TYPES
from bridge.guard import Policy
from bridge.keyset import MAKE_ONE, NO_KEY
from bridge.kinds import ANALYSIS
from bridge.model import V1, V1A, Endpoint, Ordering
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.rotation import PREVIOUS_SECRETS, PreviousSecretDefinition, previous_secrets
from bridge.sealing import SEALED_BYTES, is_sealed
from bridge.strict_json import each_once
from bridge.throttle import RATE
from bridge.tl_signature import WHERE_FROM, check_secret

ENDPOINT_BYTES = 16_384
HEADERS = 10
"""The most headers that an endpoint adds to its requests."""
CONCURRENCY = 1_000
"""The most attempts in flight that an endpoint may ask for."""
ATTEMPTS = 50
"""The most attempts that an endpoint's own schedule has."""
LONGEST_WAIT_SECONDS = 7 * 86_400
"""The longest wait in it."""

HEADER_NAME = WORD
HEADER_VALUE = r"[\x20-\x7e]{0,1024}"
_NAME, _HEADER_NAME, _HEADER_VALUE = (re.compile(one, re.ASCII) for one in (NAME, HEADER_NAME, HEADER_VALUE))
RESERVED_HEADERS = frozenset(
    {
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "te"),
        *("trailer", "upgrade", "expect", "cookie", "user-agent", "traceparent", "accept-encoding", "keep-alive"),
        *("forwarded", "via", "x-real-ip"),
    }
)
RESERVED_PREFIXES = ("webhook-", "proxy-", "x-forwarded-", "bridge-", "tl-signature", "ce-")

MAKE_ONE_OF_OURS = (
    'bridge endpoint add {name} {url} --replace  # makes one; or by yourself: echo "whsec_$(openssl rand -base64 32)"'
)
"""Where a secret comes from in all formats but TwelveLabs' own: a command that can be pasted as it stands."""
THEIRS = "; what TwelveLabs revealed is for the format twelvelabs"
"""What is said beside it of a secret that is not of our form, and may be of that one."""
_FIXES = {
    "": 'write one JSON object: {"url": "https://…", "events": ["index.task.*"], "secret": "whsec_…"}',
    "url": 'write it in quotes, as "https://example.com/hook"',
    "events": 'write a list of event types, as ["index.task.*"]',
    "tasks": 'write a list of ids or of their beginnings, as ["*"]',
    "indexes": 'write a list of their ids, as ["*"]',
    "metadata": 'write an object, as {"team": ["video"]}',
    "headers": 'write an object of texts, as {"x-team": "video"}',
    "format": f"choose one of: {', '.join(CONTENT_TYPES)}",
    "ordering": f"choose one of: {', '.join(Ordering)}",
    "concurrency": f"write a number from 1 to {CONCURRENCY}, without quotes",
    "rate": "write attempts a second or a minute, as 10/s or 300/m",
    "schedule": f"write 1 to {ATTEMPTS} waits in seconds, as [0, 5, 300], none longer than {LONGEST_WAIT_SECONDS}",
    "supersede": "write true or false, without quotes",
    "signatures": 'write a list: ["v1"], ["v1a"] or ["v1","v1a"]',
    "handshake": "choose one of: none, required",
}
"""By field, what to write instead of what it cannot take."""
_SHAPES = {
    "events": "is no event type, such as index.task.ready, nor the beginning of some, such as index.task.*",
    "tasks": "is no task id, nor the beginning of some, such as 6a0b*",
    "indexes": "is no index id, nor the beginning of some, such as 6a0b*",
    "rate": "is no rate, such as 10/s or 300/m",
}
"""By field, what a text is not that has other characters, or another order of them."""


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
    written = Written(raw, EndpointDefinition.model_fields)
    try:
        definition = EndpointDefinition.model_validate_json(raw)
        json.loads(raw, object_pairs_hook=each_once(""), parse_int=str, parse_float=str)
    except ValidationError as error:
        others = objections(
            lambda: _check_any_url(written, policy),
            lambda: _check_any_secret(written, has_default_secret=has_default_secret),
        )
        raise together([*written.faults(error, _fixes_for(name, written, policy), _SHAPES), *others]) from None
    faults = objections(
        lambda: _check_events(definition),
        lambda: check_url("url", definition.url, policy),
        lambda: _check_signed(
            definition, written, has_default_secret=has_default_secret, has_signing_key=has_signing_key
        ),
    )
    if faults:
        raise together(faults)
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


def _fixes_for(name: str, written: Written, policy: Policy) -> dict[str, str]:
    """Where a secret comes from is told by the format that it would be for."""
    if written.text("format") == TWELVELABS:
        return _FIXES | {"secret": WHERE_FROM}
    url = written.text("url")
    shown = url if quote(bare(url)) == url and policy.judge_url(url).allowed else "URL"
    theirs = "" if written.text("secret").startswith("whsec_") else THEIRS
    return _FIXES | {"secret": MAKE_ONE_OF_OURS.format(name=name, url=shown) + theirs}


def _check_any_url(written: Written, policy: Policy) -> None:
    """That of a definition with another fault, if it has one that is text."""
    if url := written.text("url"):
        check_url("url", url, policy)


def _check_any_secret(written: Written, *, has_default_secret: bool) -> None:
    """Whether a definition with another fault has one, if it says that one signs."""
    try:
        found = json.loads(written.raw)
    except (ValueError, RecursionError):
        return
    if isinstance(found, dict) and V1 in _listed(found.get("signatures", [V1])) and found.get("secret") is None:
        _check_secret(written, has_default_secret=has_default_secret)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


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


def _check_signed(
    definition: EndpointDefinition, written: Written, *, has_default_secret: bool, has_signing_key: bool
) -> None:
    """Whether there is something to make each signature with that it asks for."""
    if definition.format == TWELVELABS and definition.signatures != [V1]:
        reason = f"in the format {TWELVELABS} a shared secret signs, as with TwelveLabs itself"
        raise Rejection("signatures", reason, f"leave “signatures” out, or choose the format {STANDARD}")
    if V1 in definition.signatures and definition.secret is None:
        _check_secret(written, has_default_secret=has_default_secret)
    if V1A in definition.signatures and not has_signing_key:
        raise Rejection("signatures", NO_KEY, MAKE_ONE)


def _check_secret(written: Written, *, has_default_secret: bool) -> None:
    """Of a definition that has none, and needs one."""
    if has_default_secret:
        return
    raise written.misspelt("secret") or Rejection(
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
