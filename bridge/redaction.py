"""What hides a secret whose text is known, however it is spelt, and what is taken for one in a URL's path. Pure."""

import html
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

MIN_SECRET_LENGTH = 4
"""A shorter secret is not struck out by its value: it would take pieces out of innocent words."""

PATH_TOKEN = re.compile(r"(?<=/)(?=[^/?#\s]*[0-9]|[^/?#\s]{32})[^/?#\s]{16,}")
"""A part of a URL's path that may be a token, as chat services put one there: 16 characters with a digit, or 32."""

AUTHORITY = re.compile(r"(?:\[[^\]]*\]|[^:@?#\[]*)(?::\d*)?")
"""Host and port without a user: whatever else precedes an @ may be a password, slashes included."""

SIGNING_SECRET = re.compile(r"whs(?:ec|k)_[A-Za-z0-9+/=_-][^\s,\"'}\]]*", re.IGNORECASE)
"""A signing secret, also one that is misspelt; `whsec_…`, as we write it for one, is none."""
_WORD = re.compile(r"[^\s\"]+")
_QUERY = re.compile(r"(?<=.)\?.+", re.DOTALL)
_FRAGMENT = re.compile(r"#.+", re.DOTALL)


def without_secrets(text: str) -> str:
    """A text without signing secrets, and without what a URL in it hides; every word may be one."""
    return _WORD.sub(lambda word: bare(word[0]), SIGNING_SECRET.sub("whsec_…", text))


def value_without_secrets(text: str, head: int) -> str:
    """The first `head` characters of a value that somebody wrote into a field where it does not belong.

    Beside what `without_secrets` strikes out, that is credentials, and what stands under a name that says so.
    """
    if _BEGINS_AS_SECRET.match(text):
        return "whsec_…"
    if _RANDOM.fullmatch(text.strip()):
        return "…"
    return without_credentials(without_secrets(text)[:head])


def without_credentials(text: str) -> str:
    """A text without what follows `Bearer` and the like, and without what stands under a name that says so."""
    return _UNDER_A_NAME.sub(r"\1…", _CREDENTIALS.sub(r"\1…", text))


def narrated(text: str) -> str:
    """The same for a sentence, of whose words only those with `://` are URLs; without credentials, too."""
    told = _CREDENTIALS.sub(r"\1…", SIGNING_SECRET.sub("whsec_…", text))
    return _WORD.sub(lambda word: bare(word[0]) if "://" in word[0] else word[0], told)


def bare(url: str) -> str:
    """A URL, or a word that may be one, without what it hides. It may be broken anywhere: in doubt, less is left."""
    before, slashes, rest = url.partition("//")
    scheme, rest = (before + slashes, rest) if slashes else ("", url)
    userinfo, at, after = rest.rpartition("@")
    authority, slash, _ = userinfo.partition("/")
    if at and not (slashes and slash and AUTHORITY.fullmatch(authority)):  # else the @ is of the path or the query
        if "?" in userinfo or "#" in userinfo:
            return scheme + "…"
        rest = "…@" + after
    if slashes:
        rest = PATH_TOKEN.sub("…", _FRAGMENT.sub("#…", rest))
    return scheme + _QUERY.sub("?…", rest)


def spellings(secret: str) -> set[str]:
    """A secret as it is, percent-encoded, in JSON, HTML and Python, twice too; with and without its prefix."""
    found = {secret, re.sub("^whs(?:ec|k)_", "", secret), quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found |= {re.sub("%[0-9A-F]{2}", lambda digits: digits[0].lower(), one) for one in found}
    for _ in range(2):
        found |= {escape(one) for one in found for escape in _ESCAPES}
    return found


_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    html.escape,
    lambda text: text.replace("/", "\\/"),
)


def all_spellings(secrets: Iterable[str]) -> list[str]:
    """How these secrets may be spelt, the longest first; too short ones are left out."""
    found = {one for secret in secrets if len(secret) >= MIN_SECRET_LENGTH for one in spellings(secret)}
    return sorted(found, key=len, reverse=True)


def pattern_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """What finds these secrets in a text; None when there is none."""
    spelt = all_spellings(secrets)
    return re.compile("|".join(map(re.escape, spelt))) if spelt else None


def basic_credentials(header: str) -> tuple[str, ...]:
    """What a value `Basic …` stands for: user and password as one text, and the password; nothing of another value."""
    scheme, _, digits = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return ()
    try:
        pair = b64decode(digits.strip() + "==").decode()
    except ValueError:
        return ()
    return pair, pair.partition(":")[2]


OF_OUR_FORM = r"whs(?:ec|k)_(?:[A-Za-z0-9+/=_-]|\\/)+"
"""A signing secret by its shape, its slashes escaped or not."""
SECRETIVE = re.compile("auth|cookie|key|password|secret|session|signature|token", re.IGNORECASE)
"""What is in the names of headers whose values are probably secrets."""
TOKEN_LENGTH = 6
"""A shorter word of a query or of a header is no token: `true` and `json` stay in what a subscriber answers."""

_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/=_-]{20,}")
"""Nothing but a long word of capitals, small letters and digits: no status or id is written so, and secrets are."""
_BEGINS_AS_SECRET = re.compile(r"\W*whs(?:ec|k)_", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(\b(?:bearer|basic)\s+|tlk_)[^\s\"',}\]]+", re.IGNORECASE)
_UNDER_A_NAME = re.compile(
    rf"((?:{SECRETIVE.pattern})[\w-]*[\"']?\s*[:=]\s*)"
    r"(?:\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|[\[{].*|[^\s,;&}\]]+)",
    re.IGNORECASE | re.DOTALL,
)
"""`"token": "…"`, `secret=…` and the like, whatever is left of the value."""


class Confidant:
    """What one subscriber is told, or knows, that is nobody else's business, and that its answers may repeat.

    That is its signing secrets, the values of its own headers, its URL's query and what may be a token in its path.
    """

    def __init__(self, url: str, headers: Mapping[str, str], secrets: Iterable[str]) -> None:
        self._url, self._headers, self._signing = url, headers, tuple(secrets)

    def head_of(self, answer: bytes, limit: int) -> str:
        """The first `limit` bytes of an answer without those secrets; one that the limit cuts through goes whole."""
        if not answer:
            return ""
        secrets, longest = self._found
        text = answer[: limit + longest].decode("latin-1")  # a character is a byte until the secrets are out
        ends = [found.end() for found in secrets.finditer(text) if found.start() < limit]
        text = secrets.sub(HIDDEN, text[: max([limit, *ends])])
        return text.encode("latin-1").decode("utf-8", "replace")

    def repeated_in(self, text: str) -> bool:
        """Whether one of those secrets stands in a text, in which each character is a byte."""
        return bool(self._found[0].search(text))

    def knows(self, names: str) -> bool:
        """Whether one of them stands in the names of headers, whose capitals are lost."""
        return bool(self._in_any_case.search(names))

    @cached_property
    def _in_any_case(self) -> re.Pattern[str]:
        return re.compile(self._found[0].pattern, re.IGNORECASE)

    @cached_property
    def _found(self) -> tuple[re.Pattern[str], int]:
        """What finds them, and how long the longest is. It takes a millisecond to make: at the first body, that is."""
        path, _, query = self._url.partition("?")
        words = [query, *self._headers.values(), *PATH_TOKEN.findall(path.partition("://")[2])]
        words += [word for value in self._headers.values() for word in value.split()[1:]]  # after “Bearer”
        words += [pair.partition("=")[2] for pair in query.split("&")]
        words += [unquote(word) for word in words]
        words += [part for value in self._headers.values() for part in basic_credentials(value)]
        spelt = all_spellings([*self._signing, *(word for word in words if len(word) >= TOKEN_LENGTH)])
        spelt += [one.encode("utf-8", "surrogatepass").decode("latin-1") for one in spelt if not one.isascii()]
        spelt.sort(key=len, reverse=True)
        longest = max(map(len, spelt), default=0) + 128
        return re.compile("|".join([OF_OUR_FORM, *map(re.escape, spelt)])), longest
