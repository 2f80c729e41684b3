"""An entry that is refused, as it stands in `bridge:rejected`: what, why, what to do. Bounded, and without secrets."""

import json
import re
from dataclasses import dataclass
from hashlib import blake2b

REJECTED = 1_000
"""The most entries that `bridge:rejected` holds."""
VALUE_HEAD = 120
"""How much of a refused value is kept in `bridge:rejected`."""
NAME_BYTES = 240
"""The longest field name in `bridge:rejected`; a longer one is cut, and its fingerprint tells it from its like."""

SIGNING_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]*")
_WORD = re.compile(r"[^\s\"]+")
_QUERY = re.compile(r"(?<=.)\?.+", re.DOTALL)
_FRAGMENT = re.compile(r"#.+", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[[^\]]*\]|[^:@?#\[]*)(?::\d*)?")


@dataclass(eq=False)
class Rejection(Exception):
    """An entry that is refused: which field, why, and what to do."""

    field: str
    reason: str
    fix: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason

    def as_json(self, at: int) -> str:
        """The entry in `bridge:rejected`; `at` in milliseconds."""
        entry = {
            "reason": self.reason,
            "field": self.field,
            "value": redacted(self.value),
            "at": at,
            "fix": self.fix,
        }
        return json.dumps(entry)


def rejected_field(kind: str, raw: bytes) -> str:
    """What a refused entry is called in `bridge:rejected`: `task:<member>` or `endpoint:<name>`, as plain text.

    Bytes that are no text are spelt out, and a signing secret (name and value exchanged) is struck out. A name that is
    not shown as it was ends in its fingerprint.
    """
    shown = SIGNING_SECRET.sub("whsec_…", raw.decode("utf-8", "backslashreplace"))
    field = f"{kind}:{shown}"
    if len(field.encode()) <= NAME_BYTES and shown.encode() == raw:
        return field
    fingerprint = "…" + blake2b(raw, digest_size=8).hexdigest()
    return field.encode()[: NAME_BYTES - len(fingerprint.encode())].decode(errors="ignore") + fingerprint


def redacted(text: str) -> str:
    """The head of a value that may hold secrets, fit to be shown.

    Without signing secrets, and without the userinfo, query and fragment of a URL.
    """
    text = _WORD.sub(lambda word: bare(word[0]), SIGNING_SECRET.sub("whsec_…", text))
    return text.encode("utf-8", "backslashreplace").decode()[:VALUE_HEAD]


def bare(url: str) -> str:
    """A URL, or a word that may be one, without what it hides. It may be broken anywhere: in doubt, less is left."""
    before, slashes, rest = url.partition("//")
    scheme, rest = (before + slashes, rest) if slashes else ("", url)
    userinfo, at, after = rest.rpartition("@")
    authority, slash, _ = userinfo.partition("/")
    if at and not (slashes and slash and _AUTHORITY.fullmatch(authority)):  # else the @ is of the path or the query
        if "?" in userinfo or "#" in userinfo:
            return scheme + "…"
        rest = "…@" + after
    if slashes:
        rest = _FRAGMENT.sub("#…", rest)
    return scheme + _QUERY.sub("?…", rest)
