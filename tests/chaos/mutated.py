"""A plugin for pytest (`-p mutated`, with MUTANT=<name>): all it runs is run on a product that this mutant changed."""

import os
from contextlib import ExitStack

from mutants import MUTANTS

_changed = ExitStack()


def pytest_configure() -> None:
    """Change the product."""
    (mutant,) = [one for one in MUTANTS if one.__name__ == os.environ["MUTANT"]]
    _changed.enter_context(mutant())


def pytest_unconfigure() -> None:
    """Change it back."""
    _changed.close()
