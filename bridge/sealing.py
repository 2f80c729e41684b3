"""Secrets of endpoints sealed at rest: what stands in Redis is of no use without a key, which never is in Redis. Pure.

A sealed text is `sealed:` and a Fernet token. Its endpoint's name and what it is stand inside it: a token that somebody
copied to another endpoint, or from a signing secret into a header, opens as little as one that was forged. Texts that
are not sealed pass through, and so does everything where there is no key.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from bridge.errors import SettingsError
from bridge.model import Endpoint, PreviousSecret

PREFIX = "sealed:"
SEALED = PREFIX + r"gAAAAA[A-Za-z0-9_-]{92,1700}={0,2}"
"""What a sealed text looks like; the longest header value makes one of 1,556 characters."""
SEALED_BYTES = 24_576
"""By how much sealing its secrets may lengthen a definition."""

Kind = Literal["secret", "header"]
Change = Callable[[Kind, str], str]
_SEALED = re.compile(SEALED, re.ASCII)
_BETWEEN = re.compile(r"[\s,]+")


class CannotOpen(SettingsError):
    """No key that is set here opens a sealed secret."""


def is_sealed(text: object) -> bool:
    """Whether a text has the form of a sealed one."""
    return isinstance(text, str) and _SEALED.fullmatch(text) is not None


def keys_in(text: str) -> list[str]:
    """The keys of a setting: separated by commas or white space, the newest first."""
    return [one for one in _BETWEEN.split(text) if one]


class Keyring:
    """The keys, the newest first: it seals, all of them open. Without any, nothing is sealed or opened."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys: list[Any] = []
        if keys:
            from cryptography.fernet import Fernet  # an extra, which the settings ask for where a key is set

            self._keys = [Fernet(one) for one in keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def seal(self, name: str, kind: Kind, text: str) -> str:
        """A text of an endpoint, sealed with the newest key. What is sealed so stays, as does what no key opens."""
        if not self._keys:
            return text
        if is_sealed(text):
            if self._read(text, self._keys[:1]) is not None:
                return text
            try:
                text = self.open(name, kind, text)
            except CannotOpen:
                return text
        token: bytes = self._keys[0].encrypt(f"{kind} {name} {text}".encode())
        return PREFIX + token.decode("ascii")

    def open(self, name: str, kind: Kind, text: str) -> str:
        """The text that was sealed; one that is not sealed as it is. Raises CannotOpen."""
        if not is_sealed(text):
            return text
        found = self._read(text, self._keys)
        if found is None:
            why = "no key here opens it" if self._keys else "BRIDGE_SECRETS_KEY is not set"
            raise CannotOpen(
                f"a secret of endpoint {name} is sealed, and {why}",
                fix="give this process the key that sealed it, in BRIDGE_SECRETS_KEY or its file, beside newer ones; "
                f"or bridge endpoint rotate {name} --overlap 0; what is owed waits",
            )
        was_kind, was_name, clear = found.split(" ", 2)
        if (was_kind, was_name) != (kind, name):
            raise CannotOpen(
                f"a secret of endpoint {name} was sealed for {was_name}, as its {was_kind}",
                fix=f"write it in clear: bridge endpoint rotate {name} --overlap 0, or set the header anew",
            )
        return clear

    def sealed(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """A definition in which all that is secret is sealed with the newest key."""
        return _each(definition, lambda kind, text: self.seal(name, kind, text))

    def opened(self, name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
        """A definition in which what can be opened is open."""

        def change(kind: Kind, text: str) -> str:
            try:
                return self.open(name, kind, text)
            except CannotOpen:
                return text

        return _each(definition, change)

    def closed(self, name: str, text: str) -> CannotOpen | None:
        """Why a secret of a definition (JSON) cannot be opened; None where all of them can."""
        try:
            definition = json.loads(text)
        except (ValueError, RecursionError):
            return None
        try:
            if isinstance(definition, dict):
                _each(definition, lambda kind, one: self.open(name, kind, one))
        except CannotOpen as error:
            return error
        return None

    def sealed_text(self, name: str, text: str) -> str:
        """The same of JSON; what is sealed already, and what is no definition, stays to the letter.

        Raises ValueError for what cannot be written again as it was read, such as a number that is infinite.
        """
        return self._rewritten(text, lambda definition: self.sealed(name, definition))

    def opened_text(self, name: str, text: str) -> str:
        """The same of JSON. Raises ValueError as `sealed_text`."""
        return self._rewritten(text, lambda definition: self.opened(name, definition))

    def endpoint(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint with all its secrets open, to sign and to send. Raises CannotOpen."""
        name = endpoint.name
        return replace(
            endpoint,
            secrets=tuple(self.open(name, "secret", one) for one in endpoint.secrets),
            previous_secrets=tuple(
                PreviousSecret(self.open(name, "secret", one.secret), one.until) for one in endpoint.previous_secrets
            ),
            headers={header: self.open(name, "header", value) for header, value in endpoint.headers.items()},
        )

    def _rewritten(self, text: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
        if not self._keys:
            return text
        try:
            definition = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if not isinstance(definition, dict) or (after := change(definition)) == definition:
            return text
        made = json.dumps(after, ensure_ascii=False, allow_nan=False)
        made.encode()
        return made

    @staticmethod
    def _read(text: str, keys: Sequence[Any]) -> str | None:
        for key in keys:
            from cryptography.fernet import InvalidToken

            try:
                found: bytes = key.decrypt(text.removeprefix(PREFIX))
            except InvalidToken:
                continue
            return found.decode("utf-8", "replace") if found.count(b" ") >= 2 else None
        return None


def _each(definition: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """A definition with each of its secrets changed; what has not their form is left to the contract's judgement."""
    made = dict(definition)
    if isinstance(made.get("secret"), str):
        made["secret"] = change("secret", made["secret"])
    if isinstance(previous := made.get("previous_secrets"), list):
        made["previous_secrets"] = [
            one | {"secret": change("secret", one["secret"])}
            if isinstance(one, dict) and isinstance(one.get("secret"), str)
            else one
            for one in previous
        ]
    if isinstance(headers := made.get("headers"), dict):
        made["headers"] = {
            name: change("header", value) if isinstance(value, str) else value for name, value in headers.items()
        }
    return made
