"""A pair of Ed25519 keys, for signatures that a receiver verifies without a secret (`v1a` of Standard Webhooks).

The private key is `whsk_` and the base64 of seed and public key, 64 bytes; that of the seed alone is read, too.
The public one is `whpk_` and the base64 of its 32 bytes. Nothing here has a clock or makes randomness.
Sources: standard-webhooks, spec/standard-webhooks.md (prefixes, scheme); svix-webhooks, README.md ("whsk_${base64(
private_key + public_key)}"); RFC 8032 (Ed25519); RFC 8037 (as JWK) and RFC 7638 (its id).
"""

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from bridge.deployment import with_extra
from bridge.errors import InvalidInput, SettingsError

PRIVATE_PREFIX, PUBLIC_PREFIX = "whsk_", "whpk_"
SEED_BYTES = PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,4}={0,2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who has it verifies, and cannot sign: no secret."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `whpk_…`, white space around. Raises InvalidInput, which repeats nothing of the text.

        SettingsError where the package that verifies is not installed: who reads a key is going to.
        """
        text = text.strip()
        if text.startswith(PRIVATE_PREFIX):
            raise InvalidInput(
                "this is the private key (whsk_), which signs, where the public one belongs",
                fix="name the public one, whpk_…: bridge key show; and make another pair if anybody saw this one",
            )
        raw = _decoded(text, PUBLIC_PREFIX)
        if raw is None or len(raw) != PUBLIC_BYTES:
            raise InvalidInput(
                f"the public key cannot be used: it is not {PUBLIC_PREFIX} and the base64 of {PUBLIC_BYTES} bytes",
                fix="copy it from what bridge key show prints at the sender",
            )
        _ed25519()
        return cls(raw)

    @property
    def text(self) -> str:
        """`whpk_…`."""
        return PUBLIC_PREFIX + b64encode(self.raw).decode("ascii")

    @property
    def jwk(self) -> dict[str, str]:
        """As RFC 8037 has it, with the members that its id is made from and no other."""
        return {"crv": "Ed25519", "kty": "OKP", "x": _urlsafe(self.raw)}

    @property
    def id(self) -> str:
        """The thumbprint of RFC 7638: whoever has the key finds the same name for it."""
        return _urlsafe(sha256(json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()).digest())

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether its private half made this signature over these bytes."""
        from cryptography.exceptions import InvalidSignature

        try:
            _ed25519().Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, signed)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """What signs. Its text is a secret, and is in no repr."""

    __slots__ = ("_key", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        """From 32 bytes of a cryptographic source. SettingsError where the package for it is not installed."""
        self._seed = seed
        self._key: Any = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `whsk_…`, white space around. Raises InvalidInput, which repeats nothing of the text."""
        raw = _decoded(text.strip(), PRIVATE_PREFIX)
        if raw is None or len(raw) not in (SEED_BYTES, SEED_BYTES + PUBLIC_BYTES):
            raise _unusable(
                f"it is not {PRIVATE_PREFIX} and the base64 of 64 bytes, seed and public key, or of the seed"
            )
        key = cls(raw[:SEED_BYTES])
        if raw[SEED_BYTES:] not in (b"", key.public.raw):
            raise _unusable("its second half is not the public key of the first")
        return key

    @property
    def text(self) -> str:
        """`whsk_…`, as the first sender of such signatures writes it: seed and public key."""
        return PRIVATE_PREFIX + b64encode(self._seed + self.public.raw).decode("ascii")

    def sign(self, signed: bytes) -> bytes:
        """The 64 bytes of the signature, the same ones each time."""
        made: bytes = self._key.sign(signed)
        return made


def _unusable(why: str) -> InvalidInput:
    return InvalidInput(f"The signing key cannot be used: {why}", fix="make one: bridge key new FILE")


def _decoded(text: str, prefix: str) -> bytes | None:
    """The bytes after the prefix: standard base64, padded or not. None for what is none."""
    encoded = text.removeprefix(prefix)
    if not text.startswith(prefix) or not _BASE64.fullmatch(encoded):
        return None
    digits = encoded.rstrip("=")
    try:
        return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        return None


def _urlsafe(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _ed25519() -> Any:
    """An extra: an installation that neither signs nor verifies so does without."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise SettingsError("signatures v1a need the package cryptography", fix=with_extra("crypto")) from None
    return ed25519
