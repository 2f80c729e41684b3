"""How the person who reads this can call us, and our Redis: what is told as a command works when it is pasted."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from shlex import join, quote, split
from urllib.parse import unquote, urlsplit

from bridge.errors import BridgeError
from bridge.wording import apart

OURS = "bridge"
THEIRS = "redis-cli"
REDIS_URL = "BRIDGE_REDIS_URL"
USUAL = set(product(("redis",), ("127.0.0.1", "localhost"), (None, 6379), ("", "/", "/0")))
"""The scheme, host, port and database of the Redis that redis-cli speaks to unless it is told otherwise."""


def program() -> str:
    """How we were called, as it works from here. A `bridge` on PATH may be another program: iproute2 has one."""
    called, found = Path(sys.argv[0]), shutil.which(OURS)
    if called.name != OURS or (found and Path(found).resolve() == called.resolve()):
        return OURS
    there, home = called.absolute(), Path.home()
    ways = [quote(os.path.relpath(there)), quote(str(there))]
    if there.is_relative_to(home):
        ways.append(f"~/{quote(str(there.relative_to(home)))}")
    return min(ways, key=len)


def pasteable(text: str) -> str:
    """A text for a person, in which each command can be pasted: as it works here, with nothing behind it."""
    return as_called(apart(text))


def as_called(text: str) -> str:
    """The same lines, in which each command of ours, or for our Redis, is as it works here. Data has them as they are
    called."""
    if f"{THEIRS} " in text and (there := redis_cli()) != THEIRS:
        text = _SPOKEN.sub(lambda found: found["quoted"] or f"{there} ", text)
    if f"{OURS} " not in text or (here := program()) == OURS:
        return text
    return _commands().sub(lambda found: found["quoted"] or f"{here} ", text)


def as_typed(fix: str, typed: Sequence[str]) -> str:
    """The command line that was typed, with this option, `--name value`, in the place of the one it had; the option
    alone where that is not there once."""
    words = split(fix)
    option = words[0]
    places = [place for place, word in enumerate(typed) if word.partition("=")[0] == option]
    if len(places) != 1:
        return fix
    (place,) = places
    after = place + 1 if "=" in typed[place] else place + 2
    return join([OURS, *typed[:place], *words, *typed[after:]])


def redis_cli() -> str:
    """What speaks to the Redis of the settings: by the variable's name where this shell has it, as a password may be in
    it; by its address where a file has that, without a password. Else, as in the stack, redis-cli as it is called.
    """
    from bridge.settings import load_settings

    try:
        settings = load_settings()
    except BridgeError:
        return THEIRS
    url = settings.redis_url.get_secret_value()
    parts = urlsplit(url)
    if parts.query:  # redis-py reads a database there, and redis-cli does not
        return THEIRS
    if parts.scheme == "unix":
        return f"{THEIRS} -s {quote(unquote(parts.path))}"
    if parts.username is None and (parts.scheme, parts.hostname, parts.port, parts.path) in USUAL:
        return THEIRS
    if settings.redis_in_shell:
        nameless = " --user default" if parts.username == "" else ""  # to it `:PASSWORD@` has a user without a name
        return f'{THEIRS} -u "${REDIS_URL}"{nameless}'
    return THEIRS if {"@", "?"} & set(url) else f"{THEIRS} -u {quote(url)}"


_QUOTED = r"""(?P<quoted>(?<!\w)'(?:[^']|'"'"')*')"""
"""An argument, whatever it says: a command in an entry's name is none, and to change it would break the quotes."""
_SPOKEN = re.compile(rf"{_QUOTED}|(?<![\w./-]){THEIRS} (?=[A-Z])")
"""`redis-cli` before a command for Redis."""


@cache
def _commands() -> re.Pattern[str]:
    """`bridge` before one of its commands, where it begins a command: not in a path, nor in another's name."""
    from bridge.cli import COMMANDS

    return re.compile(rf"{_QUOTED}|(?<![\w./-])bridge (?=(?:{'|'.join(COMMANDS)})(?![\w-]))")
