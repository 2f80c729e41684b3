"""The signature of TwelveLabs' own webhooks: `TL-Signature: t=<unix seconds>,v1=<hex>`.

Signed are the bytes `{t}.{body}`, by HMAC-SHA256 under the secret's text as it stands. Receivers take the header apart
in ways of their own, some the first `v1` and some the last: there is exactly one, of the newest secret, and rotating is
a change-over at once, as with TwelveLabs itself.
Source: docs.twelvelabs.io, "Requirements for processing notifications".
"""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

from bridge.errors import InvalidInput
from bridge.formats import TWELVELABS
from bridge.keypair import PrivateKey
from bridge.signature import (
    ID_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_SECONDS,
    Known,
    Mismatch,
    Signer,
    keys_of,
    parse_secret,
    shared_of,
    verify,
)

HEADER = "TL-Signature"

MIN_SECRET_CHARS = 8
MAX_SECRET_CHARS = 256
SECRET = rf"[\x21-\x7e]{{{MIN_SECRET_CHARS},{MAX_SECRET_CHARS}}}"
"""What a secret looks like. TwelveLabs makes it and says no more about it than that it is text."""

WHERE_FROM = (
    "copy it from “Reveal Secret” on the Webhooks page of TwelveLabs' Playground, or make one: openssl rand -hex 32"
)
"""What to do about a secret that cannot be used."""

_SECRET = re.compile(SECRET, re.ASCII)
_T = re.compile(r"t=([0-9]{1,12})", re.ASCII)


def check_secret(text: str, form: str = TWELVELABS) -> None:
    """Refuse a secret that cannot sign in this format. Raises InvalidInput, which never holds any part of the text."""
    if form != TWELVELABS:
        parse_secret(text)
    elif not _SECRET.fullmatch(text):
        raise InvalidInput(
            f"The signing secret cannot be used: in the format {TWELVELABS} it is {MIN_SECRET_CHARS} to "
            f"{MAX_SECRET_CHARS} printable ASCII characters without spaces.",
            fix=WHERE_FROM,
        )


def check_any_secret(text: str) -> None:
    """Refuse what is a secret of no format: `whsec_…` that cannot be decoded may still be one of TwelveLabs'."""
    if not _SECRET.fullmatch(text):
        parse_secret(text)


class TwelveLabsSigner:
    """Signs for one endpoint of the format `twelvelabs`, with its newest secret.

    Where a secret is one of Standard Webhooks too, `webhook-signature` stands beside it, so that a receiver can
    change over to that one before its endpoint changes its format. Raises InvalidInput where there is no usable secret.
    """

    __slots__ = ("_keyed", "_standard")

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise InvalidInput("The signing secret cannot be used: there is none.")
        check_secret(secrets[0])
        self._keyed = hmac.new(secrets[0].encode("ascii"), digestmod="sha256")
        standard = _standard(secrets)
        self._standard = Signer(standard) if standard else None

    def headers(self, event_id: str, timestamp_seconds: int, body: bytes) -> list[tuple[str, str]]:
        """The headers of one attempt, made at `timestamp_seconds` (Unix) with exactly this body."""
        timestamp = str(timestamp_seconds)
        own = (HEADER, f"t={timestamp},v1={_digest(self._keyed, timestamp, body)}")
        if self._standard:
            return [*self._standard.headers(event_id, timestamp_seconds, body), own]
        return [(ID_HEADER, event_id), (TIMESTAMP_HEADER, timestamp), own]


AnySigner = Signer | TwelveLabsSigner


def signer_for(form: str, secrets: Sequence[str], keys: Sequence[PrivateKey] = ()) -> AnySigner:
    """What signs in this format; TwelveLabs' own knows no keys."""
    return TwelveLabsSigner(secrets) if form == TWELVELABS else Signer(secrets, keys)


def verify_any(
    known: Sequence[Known],
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str | None:
    """As `signature.verify`, for a request of either format: by `TL-Signature` where there is one."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    ours = [value for name, value in pairs if name.lower() == HEADER.lower() and value]
    if not ours:
        usable: list[Known] = [*_standard(shared_of(known)), *keys_of(known)]
        return verify(usable or known, pairs, body, now_seconds, tolerance_seconds)
    if len(ours) > 1:
        return Mismatch.DUPLICATE_HEADER
    return _verify(shared_of(known), ours[0], body, now_seconds, tolerance_seconds)


def _verify(secrets: Sequence[str], header: str, body: bytes, now: float, tolerance: float) -> str | None:
    usable = [secret for secret in secrets if _SECRET.fullmatch(secret)]
    if not usable:
        return Mismatch.BAD_SECRET
    parts = [part.strip() for part in header.split(",")]
    times = [found[1] for part in parts if (found := _T.fullmatch(part))]
    if len(times) != 1:
        return Mismatch.BAD_TIMESTAMP
    age = now - int(times[0])
    if abs(age) > tolerance:
        return Mismatch.TOO_OLD if age > 0 else Mismatch.TOO_NEW
    signatures = [part.removeprefix("v1=").encode("utf-8", "surrogatepass") for part in parts if part[:3] == "v1="]
    if not signatures:
        return Mismatch.NO_V1_SIGNATURE
    keyed = (hmac.new(secret.encode("ascii"), digestmod="sha256") for secret in usable)
    expected = [_digest(one, times[0], body).encode("ascii") for one in keyed]
    same = any(hmac.compare_digest(good, one) for one in signatures for good in expected)
    return None if same else Mismatch.NO_MATCHING_SIGNATURE


def _digest(keyed: hmac.HMAC, timestamp: str, body: bytes) -> str:
    state = keyed.copy()
    state.update(timestamp.encode("ascii") + b".")
    state.update(body)
    return state.hexdigest()


def _standard(secrets: Sequence[str]) -> list[str]:
    """Those of the secrets that are Standard Webhooks' too."""
    found = []
    for secret in secrets:
        try:
            parse_secret(secret)
        except InvalidInput:
            continue
        found.append(secret)
    return found
