"""The keys of an installation that sign `v1a`: which of them sign when, and what is published of them. Pure.

They are a setting, and never in Redis. All of them sign, so that a receiver that has any one of their public halves can
verify, and changes over in its own time; one that begins later is published until then, and does not sign yet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.errors import InvalidInput
from bridge.keypair import PrivateKey

KEYS = 4
"""The most keys; each is one more signature in every request that is to have them."""
PUBLISHED_AT = "/.well-known/jwks.json"
"""Where they are looked for: the path that senders of signed requests publish their keys at by custom."""
MEDIA_TYPE = "application/jwk-set+json"
NO_KEY = "v1a is signed with the key of this installation, and BRIDGE_SIGNING_KEY is not set"
MAKE_ONE = (
    "make one: bridge key new config/secrets/bridge_signing_key, which the containers find; elsewhere "
    "BRIDGE_SIGNING_KEY_FILE names it, for every worker and here"
)

_BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and since when it signs."""

    private: PrivateKey
    since: int | None
    """Unix seconds; None: since ever."""


def parse_keys(text: str) -> tuple[SigningKey, ...]:
    """The keys of a setting: `whsk_…`, or `whsk_…@` and a moment of RFC 3339, separated by commas or white space.

    Raises InvalidInput, which repeats nothing of the text.
    """
    found = tuple(_key(word) for word in _BETWEEN.split(text) if word)
    if not 1 <= len(found) <= KEYS:
        raise InvalidInput(f"there are {len(found)} signing keys, not 1 to {KEYS}", fix="take out the oldest")
    if len({one.private.public for one in found}) < len(found):
        raise InvalidInput("a signing key is there twice", fix="write each of them once")
    return found


def texts_in(text: str) -> list[str]:
    """The secret texts of such a setting, for the logs to strike out."""
    return [word.partition("@")[0] for word in _BETWEEN.split(text) if word]


def as_line(private: PrivateKey, since: int) -> str:
    """A key as a file has it, with the moment from which on it signs (Unix seconds)."""
    return f"{private.text}@{_rfc3339(since)}"


def signing(keys: Sequence[SigningKey], now_seconds: float) -> tuple[tuple[PrivateKey, ...], float | None]:
    """The keys that sign now, in their order; and when that changes next (Unix seconds)."""
    later = [one.since for one in keys if one.since is not None and one.since > now_seconds]
    now = tuple(one.private for one in keys if one.since is None or one.since <= now_seconds)
    return now, min(later, default=None)


def document(keys: Sequence[SigningKey]) -> dict[str, Any]:
    """What is published: a JWK set (RFC 7517, RFC 8037), each key also as Standard Webhooks spells it.

    `nbf`, of the keys that have it, is the moment from which on a key signs, in Unix seconds.
    """
    return {"keys": [_published(one) for one in keys]}


def _published(key: SigningKey) -> dict[str, Any]:
    public = key.private.public
    since = {} if key.since is None else {"nbf": key.since}
    return {"kid": public.id, **public.jwk, "alg": "EdDSA", "use": "sig", "whpk": public.text, **since}


def _key(word: str) -> SigningKey:
    text, at, moment = word.partition("@")
    private = PrivateKey.parse(text)
    if not at:
        return SigningKey(private, None)
    try:
        since = datetime.fromisoformat(moment)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise InvalidInput(
            "after a signing key's @ stands no moment", fix="write it as in whsk_…@2026-11-29T10:00:00Z, or leave @ out"
        )
    return SigningKey(private, int(since.timestamp()))


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
