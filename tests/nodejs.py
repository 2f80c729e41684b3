"""Node, where this machine has it and the package that a test needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def modules_with(package: str) -> Path:
    """The `node_modules` that holds this package, below NODE_PATH or among the global ones; skips without."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed here")
    told = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True)
    places = [Path(one) for one in [*os.environ.get("NODE_PATH", "").split(":"), told.stdout.strip()] if one]
    modules = next((one for one in places if (one / package).is_dir()), None)
    if modules is None:
        pytest.skip(f"{package} is not installed here; with it in a directory, NODE_PATH=<directory>/node_modules")
    return modules.resolve()
