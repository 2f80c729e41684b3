"""Who sent this, and is it unchanged: Standard Webhooks 1.0.0 with a shared secret (`v1`).

Signed are the bytes `{webhook-id}.{webhook-timestamp}.{body}`, by HMAC-SHA256 under the bytes that the base64
after `whsec_` stands for. The timestamp is the attempt's, so each attempt is signed anew; each secret adds a
signature, so that a receiver can change over in its own time.
Source: standard-webhooks, spec/standard-webhooks.md.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from bridge.errors import InvalidInput

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
HEADERS = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)

SECRET_PREFIX = "whsec_"  # noqa: S105  no secret: how secrets begin
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
TOLERANCE_SECONDS = 300
"""How far two clocks may be apart, either way: five minutes, as in every official library."""

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
    """Signs for one endpoint. Made once from its secrets, newest first; the keyed hash states are kept.

    Raises InvalidInput where there is no secret, or one that `parse_secret` refuses.
    """

    __slots__ = ("_keyed",)

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise _unusable("there is none")
        self._keyed = tuple(hmac.new(parse_secret(secret), digestmod="sha256") for secret in secrets)

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
        """`v1,<base64>` for each secret, over the id and the timestamp as they stand in the headers."""
        head = f"{event_id}.{timestamp}.".encode("utf-8", "surrogatepass")
        items = []
        for keyed in self._keyed:
            state = keyed.copy()
            state.update(head)
            state.update(body)
            items.append("v1," + b64encode(state.digest()).decode("ascii"))
        return items


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str | None:
    """None if one of `secrets` signed these headers and this raw body about now; else why not, as a Mismatch.

    Header names are taken in any case. Never raises on what a request can hold. The receiver still has to
    remember the ids that it has seen, for as long as the sender retries.
    """
    try:
        signer = Signer(secrets)
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
    if not _UNIX_SECONDS.fullmatch(timestamp):
        return Mismatch.BAD_TIMESTAMP
    age = now_seconds - int(timestamp)
    if abs(age) > tolerance_seconds:
        return Mismatch.TOO_OLD if age > 0 else Mismatch.TOO_NEW
    items = [item for item in found[SIGNATURE_HEADER].split() if item.startswith("v1,")]
    if not items:
        return Mismatch.NO_V1_SIGNATURE
    expected = signer.signatures(found[ID_HEADER], timestamp, body)
    return None if _any_equal(expected, items) else Mismatch.NO_MATCHING_SIGNATURE


def _any_equal(expected: Sequence[str], received: Sequence[str]) -> bool:
    """Compared in constant time each, as bytes: `compare_digest` takes no str beyond ASCII."""
    known = [item.encode("ascii") for item in expected]
    return any(hmac.compare_digest(good, item.encode("utf-8", "surrogatepass")) for item in received for good in known)
