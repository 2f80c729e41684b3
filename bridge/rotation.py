"""How one secret takes over from another: the new one signs, and the old ones go on until their time. Pure.

A receiver changes over in between, in its own time: while both sign, either of them verifies.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bridge.errors import InvalidInput
from bridge.formats import TWELVELABS
from bridge.model import V1, Endpoint, PreviousSecret
from bridge.sealing import is_sealed
from bridge.signature import parse_secret

PREVIOUS_SECRETS = 3
"""The most secrets that still sign beside the one in force; each is one more signature in every request."""
OVERLAP_SECONDS = 30 * 86_400
"""The longest that an old secret goes on."""
SECRET_FIELDS = ("secret", "previous_secrets")
"""The fields of a definition that hold signing secrets, however they are spelt."""


class OverlapRefused(InvalidInput):
    """The old secret cannot go on signing beside the new one."""


def checked_secret(text: str) -> str:
    """A validator: refuse what no key can be read from, in words that repeat nothing of it. Sealed, it may be any."""
    if is_sealed(text):
        return text
    try:
        parse_secret(text)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return text


class PreviousSecretDefinition(BaseModel):
    """An old secret as a client writes it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    secret: Annotated[str, AfterValidator(checked_secret)]
    until: Annotated[int, Field(strict=True, ge=0, lt=10**11)]


def signing_secrets(
    endpoint: Endpoint, default: str | None, now_seconds: float
) -> tuple[tuple[str, ...], float | None]:
    """The secrets that sign for an endpoint now, the one in force first; and when that changes next (Unix seconds)."""
    if V1 not in endpoint.signatures:
        return (), None
    current = endpoint.secrets or ((default,) if default else ())
    if not current:
        return (), None
    valid = [one for one in endpoint.previous_secrets if one.until > now_seconds]
    return (*current, *(one.secret for one in valid)), min((one.until for one in valid), default=None)


def rotated(definition: Mapping[str, Any], new: str, *, now_seconds: int, overlap_seconds: int) -> dict[str, Any]:
    """The definition with a new secret; the old one goes on for `overlap_seconds`, with 0 nothing old signs any more.

    Raises InvalidInput where that cannot be, in words that hold no secret.
    """
    if V1 not in definition.get("signatures", (V1,)):
        raise InvalidInput(
            "it is signed with the key of the installation alone, and has no secret that could change",
            fix="change over the key instead: bridge key new --help; or set --signatures v1,v1a first",
        )
    old = definition.get("secret")
    if has_secret(definition, new):
        raise InvalidInput(
            "this is the secret that the endpoint has",
            fix="name another one, or leave --secret-file out to have one made",
        )
    made = without_expired(definition, now_seconds) | {"secret": new}
    if overlap_seconds and definition.get("format") == TWELVELABS:
        raise OverlapRefused(
            f"in the format {TWELVELABS} one secret signs at a time, as with TwelveLabs itself",
            fix="change over at once: --overlap 0",
        )
    if not overlap_seconds:
        made.pop("previous_secrets", None)
        return made
    if not isinstance(old, str):
        raise OverlapRefused(
            "it is signed with BRIDGE_DELIVERY_DEFAULT_SECRET, which cannot go on signing beside a secret of its own",
            fix="give the receiver a secret of its own first, then: --secret-file F --overlap 0",
        )
    going = [{"secret": old, "until": now_seconds + overlap_seconds}, *made.get("previous_secrets", [])]
    if len(going) > PREVIOUS_SECRETS:
        raise OverlapRefused(
            f"{PREVIOUS_SECRETS} earlier secrets sign still",
            fix="wait until one has ended, or end them all: --overlap 0",
        )
    return made | {"previous_secrets": going}


def has_secret(definition: Mapping[str, Any], secret: str) -> bool:
    """Whether this is the secret in force, however it is written."""
    old = definition.get("secret")
    return isinstance(old, str) and _same(old, secret)


def rotated_once(definition: Mapping[str, Any], new: str, *, now_seconds: int, overlap_seconds: int) -> dict[str, Any]:
    """The same where it may be asked for again: with the secret that is in force already nothing changes, but that
    without an overlap what is old signs no more."""
    if not has_secret(definition, new):
        return rotated(definition, new, now_seconds=now_seconds, overlap_seconds=overlap_seconds)
    if overlap_seconds:
        return dict(definition)
    return {name: value for name, value in definition.items() if name != "previous_secrets"}


def old_until(definition: Mapping[str, Any], now_seconds: int) -> int | None:
    """Until when an old secret signs (Unix seconds); None where none does."""
    going = without_expired(definition, now_seconds).get("previous_secrets", [])
    return max((one["until"] for one in going if isinstance(one.get("until"), int)), default=None)


def without_expired(definition: Mapping[str, Any], now_seconds: int) -> dict[str, Any]:
    """The definition without the old secrets whose time is over."""
    made = dict(definition)
    previous = made.pop("previous_secrets", None)
    if not isinstance(previous, Sequence):
        return made
    going = [one for one in previous if isinstance(one, Mapping) and not _is_over(one.get("until", 0), now_seconds)]
    return made | ({"previous_secrets": going} if going else {})


def _is_over(until: Any, now_seconds: int) -> bool:
    """Whether this time is over. What is no time is for whoever judges the definition."""
    return isinstance(until, int | float) and until <= now_seconds


def previous_secrets(definitions: Sequence[PreviousSecretDefinition]) -> tuple[PreviousSecret, ...]:
    """The nouns that were written."""
    return tuple(PreviousSecret(one.secret, one.until) for one in definitions)


def _same(one: str, other: str) -> bool:
    try:
        return one == other or parse_secret(one) == parse_secret(other)
    except InvalidInput:
        return False
