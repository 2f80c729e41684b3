"""An entry that is refused, as it stands in `bridge:rejected`: what, why, what to do. Bounded, and without secrets."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from shlex import quote

from bridge.redaction import narrated, value_without_secrets, without_credentials, without_secrets

REJECTED = 1_000
"""The most entries that `bridge:rejected` holds."""
VALUE_HEAD = 120
"""How much of a refused value is kept in `bridge:rejected`."""
NAME_BYTES = 240
"""The longest field name in `bridge:rejected`; a longer one is cut, and its fingerprint tells it from its like."""
URLS = ("url", "callback_url")
NAMES = ("name", "member")
"""The fields of an entry by which it is called."""

_PLAIN = re.compile(r"[\w.:/-]*", re.ASCII)
"""A name that may be a good one: what stands in it is no more than a name."""
_FOR_REDIS = re.compile(r"(?:ZADD|HSET|HDEL|DEL) bridge:")
LAST_GOOD = "its last good definition is in force"
"""What became of an endpoint whose change was refused."""


@dataclass(eq=False)
class Rejection(Exception):
    """An entry that is refused: which field, why, and what to do."""

    field: str
    reason: str
    fix: str
    value: str = ""
    parts: tuple["Rejection", ...] = ()
    """The faults that are told as this one; empty where there is but one."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason

    def as_json(self, at: int, entry: str = "") -> str:
        """The entry in `bridge:rejected`; `at` in milliseconds, `entry` as for `told`."""
        told = self.told(entry)
        return json.dumps(
            {"reason": told["reason"], "field": self.field, "value": self._shown_value(), "at": at, "fix": told["fix"]}
        )

    def _shown_value(self) -> str:
        """A URL without its scheme hides what one with it does."""
        if self.field in URLS and "//" not in self.value:
            return redacted(f"//{self.value}").removeprefix("//")
        return redacted(self.value)

    def told(self, entry: str = "") -> dict[str, str]:
        """Its reason, field and fix, fit to be shown.

        `entry`: what it is called in `bridge:rejected`. Where that name is what is wrong, no good entry of it ever
        takes its place, so that its fix says how it is struck off, too.
        """
        fix = narrated(self.fix)
        if entry and self.field in NAMES and entry.isprintable() and "…" not in entry:
            fix += f"; `bridge rejected rm {quote(entry)}` strikes this one off"
        return {"reason": narrated(self.reason), "field": self.field, "fix": fix}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of bridge:rejected."""

    name: str
    """`task:<member>`, `endpoint:<name>`, `watch:<name>`, `key:<key>` or `delivery:<endpoint>:<event id>`."""
    reason: str
    fix: str
    field: str = ""
    """What of the entry is refused."""
    value: str = ""
    """The refused value as it may be shown."""
    refused_at: int | None = None
    """When that was, in milliseconds."""
    kept: bool = False
    """An endpoint's definition that is in force all the same: a setting made it bad, and not its client."""


def typed(fix: str) -> str:
    """A fix as it can be pasted into a shell: what is said to Redis is said by redis-cli."""
    return f"redis-cli {fix}" if _FOR_REDIS.match(fix) else fix


def told_of(entry: Mapping[str, object]) -> str:
    """An entry of `bridge:rejected` in words: the field that is refused, and why."""
    return ": ".join(str(entry[name]) for name in ("field", "reason") if entry.get(name))


def rejected_field(kind: str, raw: bytes) -> str:
    """What a refused entry is called in `bridge:rejected`: `task:<member>` or `endpoint:<name>`, as plain text.

    Bytes that are no text are spelt out, and what a signing secret or a URL hides (name and value exchanged) is struck
    out. A name that is not shown as it was ends in its fingerprint.
    """
    text = raw.decode("utf-8", "backslashreplace")
    shown = without_secrets(text) if _PLAIN.fullmatch(text) else without_credentials(without_secrets(text))
    field = f"{kind}:{shown}"
    if len(field.encode()) <= NAME_BYTES and shown.encode() == raw:
        return field
    fingerprint = "…" + blake2b(raw, digest_size=8).hexdigest()
    return field.encode()[: NAME_BYTES - len(fingerprint.encode())].decode(errors="ignore") + fingerprint


def redacted(text: str) -> str:
    """The head of a value that may hold secrets, fit to be shown.

    Without signing secrets, credentials, what stands under a secret's name, and without the userinfo, query and
    fragment of a URL and what may be a token in its path.
    """
    return value_without_secrets(text, VALUE_HEAD).encode("utf-8", "backslashreplace").decode()[:VALUE_HEAD]
