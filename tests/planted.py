"""Ten planted secrets, and where they are found again.

Each begins with a mark of its own (`5plant`) that no escaping changes, neither percent-encoding nor JSON nor HTML, so
that also a cut or half-escaped secret is found; what follows the mark is full of what gets escaped. A signing secret is
base64: there the mark is looked for in the text, in the key and in its hexadecimal digits.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from bridge.keypair import PrivateKey
from bridge.packing import unpack
from bridge.signature import generate_secret

API_KEY = '1plant"ed/api&key+='
DEFAULT_SECRET = generate_secret(b"2planted default signing secret.")
OWN_SECRET = generate_secret(b"3planted secret of one endpoint.")
OLD_SECRET = generate_secret(b"0planted secret, rotated away...")
"""It signs beside the endpoint's own."""
SIGNING_KEY = PrivateKey(b"kplanted private key, all of it.").text
USERINFO = "4plant/ed-password-of-a-url"
QUERY = "5plant/ed+query&token="
HEADER = 'Bearer 6plant"ed\\header-value'
PASSWORD = '6plant"ed:pass w\u00f6rd'
"""Of Basic credentials, which are the value of a header too."""
BASIC = "Basic " + b64encode(f"me:{PASSWORD}".encode()).decode("ascii")
REDIS_PASSWORD = "7plant/ed@redis:word"
CALLBACK_QUERY = "8planted-query-of-a-callback"
CALLBACK_PATH = "9planted-path-of-a-callback"

NAMES = {
    "0": "old secret", "1": "API key", "2": "default secret", "3": "own secret",
    "4": "userinfo", "5": "query token", "6": "header value",
    "7": "Redis password", "8": "callback's query", "9": "callback's path", "k": "signing key",
}  # fmt: skip
"""The callback's has two parts."""

URL_QUERY = f"k={quote(QUERY, safe='')}&colour=blue"
CALLBACK = f"/hooks/{CALLBACK_PATH}/in?t={CALLBACK_QUERY}"


DIGITS = ((0, 8), (2, 9), (3, 10))
"""Which digits of base64 the six bytes of a mark decide alone, after none, one and two bytes of something else."""


def found_in(text: str | bytes) -> set[str]:
    """The names of the planted secrets of which there is a trace."""
    raw = text.encode(errors="backslashreplace") if isinstance(text, str) else text
    lower = raw.lower()
    return {name for digit, name in NAMES.items() if _is_in(f"{digit}plant".encode(), raw, lower)}


def _is_in(mark: bytes, raw: bytes, lower: bytes) -> bool:
    """In plain or in hexadecimal digits, whatever their case, or inside base64, at each of its three alignments."""
    if mark in lower or mark.hex().encode() in lower:
        return True
    return any(b64encode(bytes(shift) + mark + b"__")[first:last] in raw for shift, (first, last) in enumerate(DIGITS))


def everything(client: Any) -> Iterator[tuple[str, bytes]]:
    """All that a Redis (its client) holds: the place (key, or key and field) and its bytes, names included.

    What RQ compresses, the data of its jobs and the tracebacks of those that failed, is unpacked.
    """
    for key in sorted(client.scan_iter(count=1_000)):
        name = key.decode(errors="backslashreplace")
        yield f"name of {name}", key
        for field, value in READERS[client.type(key).decode()](client, key):
            shown = f" {field.decode(errors='backslashreplace')}" if field else ""
            yield f"field in {name}", field
            yield f"{name}{shown}", value
            yield f"{name}{shown}, unpacked", _unpacked(value)


def _unpacked(value: bytes) -> bytes:
    if (body := unpack(value)) != value:
        return body
    with suppress(zlib.error):
        return zlib.decompress(value)
    with suppress(ValueError, zlib.error):
        return zlib.decompress(b64decode(value))
    return b""


READERS: dict[str, Callable[[Any, bytes], list[tuple[bytes, bytes]]]] = {
    "none": lambda *_: [],  # gone since it was listed: somebody works there
    "string": lambda client, key: [(b"", client.get(key) or b"")],
    "hash": lambda client, key: list(client.hgetall(key).items()),
    "list": lambda client, key: [(b"", value) for value in client.lrange(key, 0, -1)],
    "set": lambda client, key: [(b"", value) for value in client.smembers(key)],
    "zset": lambda client, key: [(b"", value) for value in client.zrange(key, 0, -1)],
    "stream": lambda client, key: [pair for _, fields in client.xrange(key) for pair in fields.items()],
}
"""Fields and values of a key, by its type. One that is missing here is a KeyError: nothing is passed over."""
