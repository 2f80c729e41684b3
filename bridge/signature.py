"""Who sent this, and is it unchanged: Standard Webhooks 1.0.0, with a shared secret (`v1`) or a pair of keys (`v1a`).

Signed are the bytes `{webhook-id}.{webhook-timestamp}.{body}`: for `v1` by HMAC-SHA256 under the bytes that the base64
after `whsec_` stands for, for `v1a` by Ed25519 (`keypair`). The timestamp is the attempt's, so each attempt is signed
anew; each secret and each key adds a signature, so that a receiver can change over in its own time.
Source: standard-webhooks, spec/standard-webhooks.md.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from bridge.errors import InvalidInput
from bridge.keypair import PRIVATE_PREFIX, SIGNATURE_BYTES, PrivateKey, PublicKey

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
HEADERS = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)

SECRET_PREFIX = "whsec_"  # noqa: S105  no secret: how secrets begin
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
TOLERANCE_SECONDS = 300
"""How far two clocks may be apart, either way: five minutes, as in every official library."""
ITEMS = 16
"""The most signatures `v1a` of one request that are looked at: each costs work, and anybody may write many."""

Known = str | PublicKey
"""What a receiver verifies with: a shared secret, or a public key. Two types, so that a key, which anybody may have, is
never taken for a secret."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")


class Mismatch(StrEnum):
    """Why a request is not to be believed."""

    BAD_SECRET = "bad_secret"  # noqa: S105  no secret: the name of a mismatch
    """Not the sender's fault: there is no secret, or one that `parse_secret` refuses."""
    MISSING_HEADER = "missing_header"
    """One of the three headers is absent or empty."""
    DUPLICATE_HEADER = "duplicate_header"
    """One of the three came twice; whoever reads it next might take the other one."""
    BAD_TIMESTAMP = "bad_timestamp"
    """It is not a whole number of seconds since the Unix epoch."""
    TOO_OLD = "too_old"
    """Its timestamp is further back than the tolerance: a replay, or a slow clock."""
    TOO_NEW = "too_new"
    """Its timestamp is further ahead than the tolerance: a fast clock."""
    NO_V1_SIGNATURE = "no_v1_signature"
    """It holds signatures of other versions only."""
    NO_V1A_SIGNATURE = "no_v1a_signature"
    """It holds none that a public key can verify, and no secret is known."""
    NO_MATCHING_SIGNATURE = "no_matching_signature"
    """Id, timestamp or body were changed on the way, or another secret signed them."""


def generate_secret(random_bytes: bytes) -> str:
    """A secret, `whsec_…`, from 24 to 64 bytes of a cryptographic source. InvalidInput for fewer or more."""
    _check_length(random_bytes)
    return SECRET_PREFIX + b64encode(random_bytes).decode("ascii")


def parse_secret(text: str) -> bytes:
    """The key that `text` spells: standard base64, padded or not, with or without `whsec_`, white space around.

    Raises InvalidInput, which never holds any part of the text.
    """
    encoded = text.strip().removeprefix(SECRET_PREFIX)
    if encoded.startswith(PRIVATE_PREFIX):
        raise _unusable(f"it is a private key ({PRIVATE_PREFIX}), which is nobody's but the sender's")
    digits = encoded.rstrip("=")
    padded = digits + "=" * (-len(digits) % 4)
    if not _BASE64.fullmatch(encoded) or len(digits) % 4 == 1 or encoded not in (digits, padded):
        raise _unusable("it is not standard base64 (A-Z a-z 0-9 + /) after an optional whsec_")
    key = b64decode(padded)
    _check_length(key)
    return key


def _check_length(key: bytes) -> None:
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise _unusable(f"it stands for {len(key)} bytes, not {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}")


def _unusable(why: str) -> InvalidInput:
    return InvalidInput(
        f"The signing secret cannot be used: {why}.",
        fix='make one with: echo "whsec_$(openssl rand -base64 32)"',
    )


class Signer:
    """Signs for one endpoint. Made once from its secrets, newest first, and from keys; hash states are kept.

    Raises InvalidInput where there is neither, or a secret that `parse_secret` refuses.
    """

    __slots__ = ("_keyed", "_keys")

    def __init__(self, secrets: Sequence[str], keys: Sequence[PrivateKey] = ()) -> None:
        if not secrets and not keys:
            raise _unusable("there is none")
        self._keyed = tuple(hmac.new(parse_secret(secret), digestmod="sha256") for secret in secrets)
        self._keys = tuple(keys)

    def headers(self, event_id: str, timestamp_seconds: int, body: bytes) -> list[tuple[str, str]]:
        """The three headers of one attempt, made at `timestamp_seconds` (Unix) with exactly this body.

        Raises InvalidInput for an id with a full stop, which would make the signed bytes ambiguous.
        """
        if "." in event_id:
            raise InvalidInput("An event id holds a full stop, which separates the signed parts.")
        timestamp = str(timestamp_seconds)
        signatures = " ".join(self.signatures(event_id, timestamp, body))
        return [(ID_HEADER, event_id), (TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signatures)]

    def signatures(self, event_id: str, timestamp: str, body: bytes) -> list[str]:
        """`v1,<base64>` for each secret, then `v1a,<base64>` for each key, over id and timestamp as the headers say."""
        head = _head(event_id, timestamp)
        items = []
        for keyed in self._keyed:
            state = keyed.copy()
            state.update(head)
            state.update(body)
            items.append("v1," + b64encode(state.digest()).decode("ascii"))
        items += ["v1a," + b64encode(key.sign(head + body)).decode("ascii") for key in self._keys]
        return items


def verify(
    known: Sequence[Known],
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str | None:
    """None if one of these secrets or keys signed these headers and this raw body about now; else why, as a Mismatch.

    Header names are taken in any case. Never raises on what a request can hold. The receiver still has to
    remember the ids that it has seen, for as long as the sender retries.
    """
    secrets, keys = shared_of(known), keys_of(known)
    try:
        signer = Signer(secrets) if secrets or not keys else None
    except InvalidInput:
        return Mismatch.BAD_SECRET
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    ours = [(name.lower(), value) for name, value in pairs if name.lower() in HEADERS and value]
    found = dict(ours)
    if len(found) < len(HEADERS):
        return Mismatch.MISSING_HEADER
    if len(ours) > len(HEADERS):
        return Mismatch.DUPLICATE_HEADER
    timestamp = found[TIMESTAMP_HEADER]
    if mistimed := _mistimed(timestamp, now_seconds, tolerance_seconds):
        return mistimed
    items = found[SIGNATURE_HEADER].split()
    by_secret = [item for item in items if signer and item.startswith("v1,")]
    by_key = [item for item in items if keys and item.startswith("v1a,")]
    if not by_secret and not by_key:
        return Mismatch.NO_V1_SIGNATURE if signer else Mismatch.NO_V1A_SIGNATURE
    if signer and _any_equal(signer.signatures(found[ID_HEADER], timestamp, body), by_secret):
        return None
    signed = _head(found[ID_HEADER], timestamp) + body
    return None if _any_made_by(keys, by_key, signed) else Mismatch.NO_MATCHING_SIGNATURE


def _mistimed(timestamp: str, now: float, tolerance: float) -> Mismatch | None:
    if not _UNIX_SECONDS.fullmatch(timestamp):
        return Mismatch.BAD_TIMESTAMP
    age = now - int(timestamp)
    if abs(age) > tolerance:
        return Mismatch.TOO_OLD if age > 0 else Mismatch.TOO_NEW
    return None


def shared_of(known: Iterable[Known]) -> list[str]:
    """Of what is known, the secrets."""
    return [one for one in known if isinstance(one, str)]


def keys_of(known: Iterable[Known]) -> list[PublicKey]:
    """Of what is known, the public keys."""
    return [one for one in known if isinstance(one, PublicKey)]


def _head(event_id: str, timestamp: str) -> bytes:
    return f"{event_id}.{timestamp}.".encode("utf-8", "surrogatepass")


def _any_equal(expected: Sequence[str], received: Sequence[str]) -> bool:
    """Compared in constant time each, as bytes: `compare_digest` takes no str beyond ASCII."""
    known = [item.encode("ascii") for item in expected]
    return any(hmac.compare_digest(good, item.encode("utf-8", "surrogatepass")) for item in received for good in known)


def _any_made_by(keys: Sequence[PublicKey], received: Sequence[str], signed: bytes) -> bool:
    made = [signature for item in received[:ITEMS] if (signature := _signature(item))]
    return any(key.verifies(signature, signed) for signature in made for key in keys)


def _signature(item: str) -> bytes | None:
    """The bytes of `v1a,<base64>`; None for what cannot be a signature."""
    try:
        made = b64decode(item.removeprefix("v1a,"), validate=True)
    except ValueError:
        return None
    return made if len(made) == SIGNATURE_BYTES else None
