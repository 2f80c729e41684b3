"""Where settings come from: flat places of names and values, strongest first, each remembering what it gave.

They keep three promises that pydantic-settings' own sources do not: a misspelt `BRIDGE_…` is reported, a secret
may also come as a file (`…_FILE`), and each value knows its place, for `bridge config show` and for errors.
Unknown names travel on as extra keys: pydantic, which forbids extras, reports them with the rest.
"""

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from bridge.redaction import value_without_secrets, without_secrets
from bridge.settings_types import SAYS_ALL, knob_of, plain_text
from bridge.wording import wrong

Origin = Literal["cli", "env", ".env", "secrets", "config file", "default"]

PREFIX = "BRIDGE_"
DEFAULT_CONFIG = Path("config/bridge.toml")
MAX_SECRET_BYTES = 64 * 1024
MOUNTED = Path("/run/secrets")
"""Where a container of docker-compose.yml has its host's config/secrets."""

API_KEY_NAMES = ("TWELVELABS_API_KEY", "TWELVE_LABS_API_KEY")
"""Both are in use among TwelveLabs' users; `BRIDGE_TWELVELABS_API_KEY`, wins over them."""

RESERVED = frozenset({"BRIDGE_CONFIG", "BRIDGE_OUTPUT", "BRIDGE_SOAK"})
"""Names that mean something to the CLI, to the test suite or to this module, but are no settings."""

_SECRETIVE = re.compile(r"[:@=+]|(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{12}|(?=.*[0-9]).{16}")
"""What few names of files have, and most secrets."""
_LONE = 16
"""A word without a slash that is as long as a token has to be may be one."""

_NOT_OURS = re.compile(
    r"BRIDGE_TEST_\w*"
    # What Kubernetes and Docker links put into the environment for a service called `bridge` or `bridge-x`.
    r"|BRIDGE_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)"
    r"|BRIDGE_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as one place gave it, under the name written there; or the problem that kept it from us."""

    value: Any = field(repr=False)
    origin: Origin
    name: str
    problem: str = ""
    warning: str = ""
    file: str = ""
    """The file that it was read from, if it was a secret's."""


EMPTY = " is empty"
"""How the problem ends that a file is which holds nothing."""
OF_THE_SIMULATOR = "tlk_sandbox"
"""What the simulator takes for a key. It stands in this repository, and whoever reads it may."""


class Place(PydanticBaseSettingsSource):
    """One place: names with their values. An empty text counts as not set, as in compose's `X: ${X:-}`."""

    def __init__(self, cls: type[BaseSettings], origin: Origin, pairs: Mapping[str, Any]) -> None:
        super().__init__(cls)
        given = {name.upper(): Given(value, origin, name) for name, value in sorted(pairs.items(), reverse=True)}
        self.given = {name: one for name, one in given.items() if one.value is not None and one.value != ""}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Given | None, str, bool]:
        """The first of the field's names that is given here, read from its file where it names one."""
        return (
            next(filter(None, (self.named(name, is_secret(field)) for name in env_names(field_name))), None),
            field_name,
            False,
        )

    def named(self, name: str, secret: bool) -> Given | None:
        """What is given under one name, or for a secret in the file that its twin names."""
        plain, twin = self.given.get(name), self.given.get(f"{name}_FILE") if secret else None
        if plain and twin:
            return Given(None, plain.origin, plain.name, problem=f"{twin.name} is set too: remove one of the two")
        return plain if twin is None else read_secret(Path(str(twin.value)), twin.origin, twin.name)

    def __call__(self) -> dict[str, Given]:
        """All that this place gives, and what it holds that starts like a setting and is none."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(info, name)[0] for name, info in fields.items()}
        known = all_env_names(fields)
        unknown = {name: one for name, one in self.given.items() if name.startswith(PREFIX) and name not in known}
        return {name: one for name, one in found.items() if one} | self.tolerated(unknown)

    def tolerated(self, unknown: Mapping[str, Given]) -> dict[str, Given]:
        """The unknown names without those that belong to somebody else."""
        return {n: one for n, one in unknown.items() if n not in RESERVED and not _NOT_OURS.fullmatch(n)}


class BareNames(Place):
    """A place that is all ours, where settings are called as in the code: `poll_interval_seconds`."""

    def __init__(self, cls: type[BaseSettings], origin: Origin, pairs: Mapping[str, Any]) -> None:
        super().__init__(cls, origin, pairs)
        self.given = {PREFIX + name: one for name, one in self.given.items()}

    def tolerated(self, unknown: Mapping[str, Given]) -> dict[str, Given]:
        """Everything unknown is a mistake here."""
        return dict(unknown)


class ConfigFile(BareNames):
    """`config/bridge.toml`, which may be missing, or the file that was asked for, which may not."""

    def __init__(self, cls: type[BaseSettings], asked: str | Path | None) -> None:
        path = Path(asked or DEFAULT_CONFIG).expanduser()
        shown = without_secrets(str(asked or path))
        self.problem = ""
        pairs: Mapping[str, Any] = {}
        try:
            pairs = tomllib.loads(path.read_text(encoding="utf-8")) if asked or path.exists() else {}
        except OSError as error:
            self.problem = f"{shown} cannot be read: {error.strerror}"
        except tomllib.TOMLDecodeError as error:
            position = re.search(r"\(at [^()]*\)$", str(error))
            self.problem = f"{shown} is not valid TOML {position.group() if position else ''}".rstrip()
        except UnicodeDecodeError:
            self.problem = f"{shown} is not UTF-8 text"
        super().__init__(cls, "config file", pairs)

    def __call__(self) -> dict[str, Given]:
        """What the file gives; if it cannot be used, that is a problem under the name that chooses it."""
        broken = {"BRIDGE_CONFIG": Given(None, "config file", "BRIDGE_CONFIG", problem=self.problem)}
        return super().__call__() | (broken if self.problem else {})


class SecretFiles(Place):
    """A directory with a file for each setting, as containers mount it; other files are not read.

    An empty one counts as not set, like an empty text elsewhere: a worker that waits for its key must not end for it.
    """

    def __init__(self, cls: type[BaseSettings], directory: Path) -> None:
        super().__init__(cls, "secrets", {})
        try:
            paths = sorted(directory.iterdir())
        except OSError:
            paths = []
        known = {name for field_name in cls.model_fields for name in env_names(field_name)}
        files = [path for path in paths if path.name.upper() in known and path.is_file()]
        # Whoever reaches a mount of this container is meant to: what others may read is no news here.
        found = {path.name.upper(): read_secret(path, "secrets", str(path)) for path in files}
        self.given = {name: replace(one, warning="") for name, one in found.items() if not one.problem.endswith(EMPTY)}


def read_secret(path: Path, origin: Origin, name: str) -> Given:
    """The stripped text of a file. That all may read it is a mere warning: containers mount 0444."""
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(MAX_SECRET_BYTES).decode().strip()
            mode = path.expanduser().stat().st_mode
    except PermissionError:
        return Given(None, origin, name, problem=unreadable(path, os.geteuid()))
    except OSError as error:
        if not _may_be_shown(path):
            hidden = f"it names no file that can be read ({error.strerror}), and is not shown"
            return Given(None, origin, name, problem=f"{hidden}, as it may be the secret itself")
        return Given(None, origin, name, problem=f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return Given(None, origin, name, problem=f"{path} is not UTF-8 text")
    if not text:
        return Given(None, origin, name, problem=f"{path}{EMPTY}")
    told = mode & 0o004 and text != OF_THE_SIMULATOR
    warning = f"{path} can be read by every user of this machine: chmod 600 {path}" if told else ""
    return Given(text, origin, name, warning=warning, file=str(path))


def _may_be_shown(path: Path) -> bool:
    """Whether what should be a path, and leads nowhere, can be nothing else: no secret that was put in its place."""
    text = str(path)
    if len(path.parts) == 1 and len(text) >= _LONE:
        return False
    return value_without_secrets(text, len(text)) == text and not any(map(_SECRETIVE.search, path.parts))


def unreadable(path: Path, user: int) -> str:
    """What to say of a file that this user may not read, with the command that mends it.

    A file of a container is its host's to mend, under the path that it has there.
    """
    if path.parent == MOUNTED:
        mend = 'echo "RUN_AS=$(id -u):$(id -g)" >> .env && docker compose up -d'
        return (
            f"{path} cannot be read: on the host it is config/secrets/{path.name}, and user {user}, as whom this "
            f"container runs, may not; where docker-compose.yml is: {mend}"
        )
    return f"{path} cannot be read: user {user} may not; sudo chown {user} {shlex.quote(str(path.absolute()))}"


def env_names(field_name: str) -> tuple[str, ...]:
    """The names of a setting in the environment, in the order in which they win."""
    own = PREFIX + field_name.upper()
    return (own, *API_KEY_NAMES) if field_name == "twelvelabs_api_key" else (own,)


def shown_name(field_name: str) -> str:
    """The one name that people are told."""
    return API_KEY_NAMES[0] if field_name == "twelvelabs_api_key" else PREFIX + field_name.upper()


def all_env_names(fields: Mapping[str, FieldInfo]) -> frozenset[str]:
    """Every name that is understood, twins included."""
    names = [(name, info) for key, info in fields.items() for name in env_names(key)]
    return frozenset(name for name, _ in names) | {f"{name}_FILE" for name, info in names if is_secret(info)}


def is_secret(field: FieldInfo) -> bool:
    """Whether a field holds a secret: its type says so."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def suggest(name: str, known: Iterable[str]) -> str:
    """The known name nearest to a misspelt one, or nothing. The prefix that all share does not count."""
    bare = {one.removeprefix(PREFIX): one for one in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1, cutoff=0.6)
    return bare[near[0]] if near else ""


def complaint(fields: Mapping[str, FieldInfo], error: ErrorDetails, data: Mapping[str, Given]) -> str:
    """One line about one bad setting: name, place, what is wrong, what would be right; never its value."""
    key = str(error["loc"][0])
    given = data.get(key)
    place = f" ({given.origin})" if given else ""
    if error["type"] == "extra_forbidden":
        near = suggest(key, all_env_names(fields))
        return f"{given.name if given else key}{place}: no such setting" + (f"; did you mean {near}?" if near else "")
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else wrong(error, knob_of(fields[key]).unit)
    item = f"item {int(error['loc'][1]) + 1} " if len(error["loc"]) > 1 else ""
    examples, name = fields[key].examples, shown_name(key)
    example = f"; for example {name}={examples[0] if examples else plain_text(fields[key].default)}"
    return f"{name}{place}: {item}{reason}" + example * (error["type"] not in SAYS_ALL)
