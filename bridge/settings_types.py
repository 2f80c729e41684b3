"""What a setting may be: types that check themselves and say what is right, never what was given."""

import base64
import ipaddress
import json
import re
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from bridge.deployment import with_extra
from bridge.errors import InvalidInput
from bridge.keyset import parse_keys
from bridge.redaction import without_secrets
from bridge.sealing import keys_in

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DAY = 86_400


class Knob(NamedTuple):
    """What is told of a setting, piece by piece."""

    text: str
    unit: str
    default: str
    """As people write it in the environment; `not set` or `empty` where there is nothing to write."""
    bounds: str


def knob(default: Any, text: str, unit: str = "", ge: float | None = None, le: float | None = None, **more: Any) -> Any:
    """A field whose description ends in its unit, default and bounds, made from the field itself."""
    shown = default.get_secret_value() if isinstance(default, SecretStr) else plain_text(default)
    bounds = f"{plain_text(ge)} to {plain_text(le)}" if ge is not None else ""
    told = Knob(text, unit, "not set" if default is None else shown or "empty", bounds)
    facts = "; ".join(filter(None, (unit, f"default {told.default}", bounds)))
    extra: dict[str, Any] = {"knob": list(told)}
    return Field(default, description=f"{text} ({facts})", ge=ge, le=le, json_schema_extra=extra, **more)


def knob_of(field: FieldInfo) -> Knob:
    """What is told of the setting that this field is."""
    return Knob(*cast(dict[str, Any], field.json_schema_extra)["knob"])


def plain_text(value: object) -> str:
    """A value as people write it in the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(plain_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def masked(value: object) -> str:
    """A value as it may be shown: of a secret nothing, but of a URL the part that says where it leads."""
    if not isinstance(value, SecretStr):
        return "" if value is None else plain_text(value)
    url, _, query = value.get_secret_value().partition("?")
    return re.sub(r"//.*@", "//***@", url) + ("?***" if query else "") if "://" in url else "***"


def _split_url(text: str) -> SplitResult:
    """urlsplit without its silent repairs, and without its errors, which repeat pieces of the password."""
    try:
        if re.fullmatch(r"[\x21-\x7e]+", text):
            parts = urlsplit(text)
            _ = "," in parts.netloc or parts.port  # looking at the port checks it; a list of hosts has several
            return parts
    except ValueError:
        pass
    raise ValueError("is not a URL; percent-encode special characters of a password, @ as %40 and / as %2F")


SAYS_ALL = frozenset({"lease", "placeholder", "address"})
"""The kinds of an error that says itself what would be right, so that an example would only disagree."""


def _complete(text: str, what: str) -> None:
    """Refuse what was pasted as it stands in a page, where … is for the reader to fill in."""
    if "…" in text:
        told = f"holds the … of an example: replace the … by {what}"
        raise PydanticCustomError("placeholder", "{reason}", {"reason": told})


NO_SENTINEL = (
    "leads to Sentinels, which the bridge does not ask: give one redis:// address that always leads to the primary "
    "(docs/how-to/redis-sentinel.md)"
)


_ADDRESS = re.compile(r"(?P<host>localhost|\d{1,3}(?:\.\d{1,3}){3})(?::(?P<port>\d{1,4}|[1-5]\d{4}))?/?", re.ASCII)
"""An address that can be told, as it can hold no password."""


def _redis_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    _complete(text, "what it stands for, such as :PASSWORD or USER:PASSWORD")
    if found := _ADDRESS.fullmatch(text):
        told = f"lacks redis:// before it, write BRIDGE_REDIS_URL=redis://{found['host']}:{found['port'] or '6379'}/0"
        raise PydanticCustomError("address", "{reason}", {"reason": told})
    parts = _split_url(text)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if parts.scheme == "redis+sentinel":
        raise ValueError(NO_SENTINEL)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must start with redis://, rediss:// or unix://")
    if parts.scheme == "unix" and len(parts.path) < 2:
        raise ValueError("needs the path of a socket")
    if parts.scheme in ("redis", "rediss") and (len(hosts) > 1 or not re.fullmatch(r"/?|/\d{1,5}", parts.path)):
        raise ValueError("must be one host, with a number as its database")
    return value


def _base_url(value: str) -> str:
    parts = _split_url(value.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a whole URL, http:// or https://")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("must not carry a user, a password, a query or a fragment")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1.3'}"


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_{}:.-]{0,63}:", value):
        raise ValueError("must be at most 64 of A-Z a-z 0-9 _ { } : . - and end in a colon")
    return value


def _api_key(value: SecretStr | None) -> SecretStr | None:
    _complete(value.get_secret_value() if value else "", "your key, which the TwelveLabs dashboard shows")
    if value and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as it travels in a header")
    return value


def _token(value: SecretStr | None) -> SecretStr | None:
    _complete(value.get_secret_value() if value else "", "your token")
    if value and not re.fullmatch(r"[\x21-\x7e]{16,200}", value.get_secret_value()):
        raise ValueError("must be 16 to 200 characters of printable ASCII without spaces, as it travels in a header")
    return value


def _signing_secret(value: SecretStr | None) -> SecretStr | None:
    _complete(value.get_secret_value() if value else "", "your secret")
    prefix, _, encoded = value.get_secret_value().partition("_") if value else ("whsec", "", "A" * 32)
    try:
        right = prefix == "whsec" and 24 <= len(base64.b64decode(encoded, validate=True)) <= 64
    except ValueError:
        right = False
    if not right:
        raise ValueError("must be whsec_ and then the base64 of 24 to 64 bytes")
    return value


def _secrets_key(value: SecretStr | None) -> SecretStr | None:
    keys = keys_in(value.get_secret_value()) if value else None
    if keys is None:
        return value
    for key in keys:
        try:
            right = len(base64.urlsafe_b64decode(key)) == 32 and re.fullmatch(r"[A-Za-z0-9_-]{43}=", key)
        except ValueError:
            right = None
        if not right:
            raise ValueError("must be Fernet keys: each the URL-safe base64 of 32 random bytes, 44 characters")
    if not keys:
        raise ValueError("must hold a key")
    _need_cryptography()
    return value


def _signing_key(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    _need_cryptography()
    try:
        parse_keys(value.get_secret_value())
    except InvalidInput as error:
        raise ValueError(str(error).removeprefix("The signing key ")) from None
    return value


def _need_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise ValueError(f"needs the package cryptography: {with_extra('crypto')}")


def _tracing(value: bool) -> bool:
    if value and not (find_spec("opentelemetry") and find_spec("opentelemetry.sdk")):
        raise ValueError(f"needs the package opentelemetry-sdk: {with_extra('otel')}")
    return value


def _items(value: Any) -> list[Any]:
    """A list as TOML, as JSON in a variable, or as text with commas."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("is not a valid JSON list") from None
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list, or a text with commas")  # noqa: TRY004  pydantic reports a ValueError
    return list(value)


def _networks(value: Any) -> tuple[Network, ...]:
    return tuple(_network(item) for item in _items(value))


def _network(item: Any) -> Network:
    if isinstance(item, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return item
    hint = "is not a network in CIDR form"
    try:
        loose = ipaddress.ip_network(item, strict=False) if isinstance(item, str) else None
        hint = f"has host bits set: the network is {loose}" if loose else hint
        return ipaddress.ip_network(str(item))
    except ValueError:
        raise ValueError(f"{without_secrets(str(item))[:60]!r} {hint}") from None


def _waits(value: tuple[float, ...]) -> tuple[float, ...]:
    if not 1 <= len(value) <= 50 or not all(0 <= wait <= 7 * DAY for wait in value):
        raise ValueError("must be 1 to 50 waits, each from 0 to 604800 seconds")
    return value


def _proxy_url(value: SecretStr | None) -> SecretStr | None:
    parts = _split_url(value.get_secret_value() if value else "http://h:1")
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise ValueError("must be http://host:port or http://user:password@host:port, the port included")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end after its port")
    return value


def _ca_file(value: str) -> str:
    import ssl

    try:
        if value:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except ssl.SSLError:
        raise ValueError("is the path of a file without a certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"is the path of a file that cannot be read: {error.strerror}") from None
    return value


def _dns_name(value: str) -> str:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(value) > 253 or not re.fullmatch(rf"{label}(\.{label})*", value, re.ASCII):
        raise ValueError("must be a DNS name, such as bridge.example.com, without scheme, port or path")
    return value


CaFile = Annotated[str, AfterValidator(_ca_file)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
ProxyUrl = Annotated[SecretStr | None, AfterValidator(_proxy_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
KeyPrefix = Annotated[str, AfterValidator(_prefix)]
ApiKey = Annotated[SecretStr | None, AfterValidator(_api_key)]
SigningSecret = Annotated[SecretStr | None, AfterValidator(_signing_secret)]
Token = Annotated[SecretStr | None, AfterValidator(_token)]
SigningKey = Annotated[SecretStr | None, AfterValidator(_signing_key)]
Tracing = Annotated[bool, AfterValidator(_tracing)]
SecretsKey = Annotated[SecretStr | None, AfterValidator(_secrets_key)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Waits = Annotated[tuple[float, ...], BeforeValidator(_items), AfterValidator(_waits)]
Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
