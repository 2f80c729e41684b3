"""Why a received request is not believed, as exactly as it can be told, and what to do about it. Pure."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.signature import HEADERS, TIMESTAMP_HEADER, Known, Mismatch, shared_of
from bridge.tl_signature import HEADER as TL_HEADER
from bridge.tl_signature import verify_any

Pairs = Sequence[tuple[str, str]]

STANDARD, TWELVELABS = "standard", "twelvelabs"
FOR_EVER = 10.0**12
"""A tolerance in seconds that every timestamp is within."""

RAW = "verify the raw bytes, before anything parses them: `await request.body()`, `request.get_data()`, express.raw()"
SECRETS = "is it the secret that `bridge endpoint add` or `rotate` printed for this endpoint? Several: one a line"
PUBLIC_KEYS = "is it one of the public keys that the sender publishes now (`bridge key show`)?"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Whether a request is ours, and if not, why, and what to do. Without values of headers."""

    mismatch: str | None
    """None: it is ours."""
    reason: str
    fix: str = ""
    signed_at: int | None = None
    """Unix seconds, as the request says."""
    scheme: str = STANDARD


def diagnose(known: Sequence[Known], headers: Pairs, body: bytes, at: float, tolerance_seconds: float) -> Diagnosis:
    """Judge a request as a receiver does, at `at` (Unix seconds), and look for what befell it."""
    scheme = TWELVELABS if _value(headers, TL_HEADER) else STANDARD
    signed_at = _signed_at(headers)
    mismatch = verify_any(known, headers, body, at, tolerance_seconds)
    if mismatch is None:
        shared = shared_of(known)
        by_secret = bool(shared) and verify_any(shared, headers, body, at, tolerance_seconds) is None
        who = "one of the secrets" if by_secret else "the private half of one of the public keys"
        return Diagnosis(None, f"{who} signed it ({scheme})", "", signed_at, scheme)
    timely = mismatch not in (Mismatch.TOO_OLD, Mismatch.TOO_NEW)
    if not timely and verify_any(known, headers, body, at, FOR_EVER) is not None:
        mismatch = Mismatch.NO_MATCHING_SIGNATURE  # its age is the lesser of two faults
    reason, fix = _explained(Mismatch(mismatch), known, headers, body, at)
    return Diagnosis(mismatch, reason, fix, signed_at, scheme)


def _explained(mismatch: Mismatch, known: Sequence[Known], headers: Pairs, body: bytes, at: float) -> tuple[str, str]:
    signed_at = _signed_at(headers)
    if mismatch in (Mismatch.TOO_OLD, Mismatch.TOO_NEW) and signed_at is not None:
        apart, side = abs(at - signed_at), "before" if at > signed_at else "after"
        reason = f"its signature is right, but was made {apart:.0f} s {side} the moment it is judged at"
        return reason, f"compare the clocks; for a capture say when it came: --at {signed_at}, or --tolerance"
    if mismatch is Mismatch.MISSING_HEADER:
        return _missing(headers)
    if mismatch is Mismatch.NO_MATCHING_SIGNATURE:
        return _changed(known, headers, body)
    return _PLAIN.get(mismatch, ("it is not ours", SECRETS))


_PLAIN = {
    Mismatch.BAD_SECRET: (
        "none of the secrets can have signed it: webhook-signature is made with whsec_…, TL-Signature with a text of 8 "
        "to 256 characters",
        "take the secret of this endpoint, in its format: bridge endpoint show NAME",
    ),
    Mismatch.DUPLICATE_HEADER: (
        "a header of the signature is there twice",
        "see what on the way adds it: a proxy, or two captures in one file",
    ),
    Mismatch.BAD_TIMESTAMP: (
        "its timestamp is no number of seconds",
        "save the headers as they came: something wrote them anew",
    ),
    Mismatch.NO_V1_SIGNATURE: (
        "its signature header holds no v1 signature",
        "save the whole value, from v1 on: something cut it, or another sender made it",
    ),
    Mismatch.NO_V1A_SIGNATURE: (
        "its signature header holds no v1a signature, which a public key verifies",
        "have the sender add it: bridge endpoint set NAME --signatures v1,v1a; or verify v1: --secret-file F",
    ),
}


def _missing(headers: Pairs) -> tuple[str, str]:
    names = {name.lower() for name, _ in headers}
    missing = [name for name in HEADERS if not _value(headers, name)]
    renamed = [name for name in names if name.replace("_", "-").removeprefix("http-") in {*HEADERS, TL_HEADER.lower()}]
    if any(name not in HEADERS for name in renamed):
        reason = f"it has no {' and no '.join(missing)}, but {' and '.join(sorted(renamed))}"
        return reason, "write the names as they were sent, with hyphens and without HTTP_"
    if "svix-signature" in names:
        return "it was signed by Svix, and not by a bridge", "verify it with the secret and the library of that sender"
    reason = f"it has no {' and no '.join(missing)}"
    if len(missing) == len(HEADERS):
        reason += f", and no {TL_HEADER}: no bridge sent it, or a proxy took them out"
    return reason, "save all headers of the request; a proxy in between has to pass them on"


def _changed(known: Sequence[Known], headers: Pairs, body: bytes) -> tuple[str, str]:
    """No signature fits: find what was done to the body, by trying it undone."""
    for told, undo, fix in _CHANGES:
        before = undo(body)
        if before is not None and before != body and verify_any(known, headers, before, 0, FOR_EVER) is None:
            what = "secret" if shared_of(known) else "key"
            return f"the {what} is right, but the body is not as it was sent: {told}", fix
    length = _value(headers, "content-length")
    if not body:
        return "the body is empty: something had read it before", RAW
    if length.isascii() and length.isdigit() and int(length) != len(body):
        return f"the body has {len(body)} bytes, and its content-length says {length[:12]}: it was cut or changed", RAW
    if body[:2] == b"\x1f\x8b":
        return (
            "the body is compressed, and the bridge sends none so",
            "save it as it came, before a proxy compresses it",
        )
    rewritten = _rewritten(body)
    if rewritten is None:
        return "the body is no JSON, so it is not as the bridge sent it", RAW
    if rewritten != body:
        return "the body is not written as the bridge writes JSON: it was parsed, and written again", RAW
    if not shared_of(known):
        return "another key signed it, or something in it was changed on the way", PUBLIC_KEYS
    return "another secret signed it, or something in it was changed on the way", SECRETS


def _rewritten(body: bytes) -> bytes | None:
    """The same JSON as the bridge writes it, if nothing but spaces and escapes was changed."""
    try:
        return json.dumps(json.loads(body), separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError):
        return None


def _unquoted(body: bytes) -> bytes | None:
    """The text in a JSON string."""
    try:
        text = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None


def _decoded(body: bytes) -> bytes | None:
    from base64 import b64decode

    try:
        return b64decode(body, validate=True)
    except ValueError:
        return None


_CHANGES: Sequence[tuple[str, Callable[[bytes], bytes | None], str]] = (
    ("white space was added around it, as editors and echo do", bytes.strip, "save it without, as `printf %s` does"),
    ("a byte order mark was added", lambda body: body.removeprefix(b"\xef\xbb\xbf").strip(), "save it without"),
    ("it was parsed, and written again in another way", _rewritten, RAW),
    ("it was put into a JSON string", _unquoted, "take the text out of it, and verify that"),
    ("it is in base64, as some gateways hand it on", _decoded, "decode it first, and verify that"),
)
"""What happens to bodies, in words; how to undo it; what to do."""


def _value(headers: Pairs, name: str) -> str:
    return next((value for one, value in headers if one.lower() == name.lower() and value), "")


def _signed_at(headers: Pairs) -> int | None:
    text = _value(headers, TIMESTAMP_HEADER)
    for part in _value(headers, TL_HEADER).split(","):
        if part.strip().startswith("t="):
            text = part.strip()[2:]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
