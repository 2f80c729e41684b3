"""How the person who reads this can call us: what is told as a command works when it is pasted."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from shlex import quote

OURS = "bridge"


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
    """A text for a person, in which each command of ours is as it works here. Data has them as they are called."""
    if f"{OURS} " not in text or (here := program()) == OURS:
        return text
    return _commands().sub(lambda _: f"{here} ", text)


@cache
def _commands() -> re.Pattern[str]:
    """`bridge` before one of its commands, where it begins a command: not in a path, nor in another's name."""
    from bridge.cli import COMMANDS

    return re.compile(rf"(?<![\w./-])bridge (?=(?:{'|'.join(COMMANDS)})(?![\w-]))")
