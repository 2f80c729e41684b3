"""A world whose time, chance and network are ours, so that a run can be repeated to the letter.

The loop never waits: when nothing is left to do now, its time jumps to the next timer. What the product asks of the
`time` module, of chance and of the kernel's sockets is answered from here; everything else is the real thing.
"""

import asyncio
import importlib
import pkgutil
import random
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import bridge.store

Result = TypeVar("Result")

START = 1_800_000_000.0
"""Unix seconds at which every world begins."""


class JumpingSelector(selectors.SelectSelector):
    """Has no file to wait for: where another one would sleep, it moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing ever arrives from outside. Raises RuntimeError when there is nothing left to wait for."""
        if timeout is None:
            raise RuntimeError("every task of this world waits for something that can no longer happen")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._virtual = JumpingSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds since this world began."""
        return self._virtual.now


class Chance:
    """All that is left to chance, from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def token(self, size: int) -> str:
        """What `secrets.token_hex` would give."""
        return self.random.randbytes(size).hex()


def _times(loop: VirtualLoop) -> SimpleNamespace:
    return SimpleNamespace(
        monotonic=loop.time,
        perf_counter=loop.time,
        monotonic_ns=lambda: int(loop.time() * 1e9),
        time=lambda: START + loop.time(),
        sleep=lambda seconds: None,
    )


@contextmanager
def in_our_hands(loop: VirtualLoop, chance: Chance, names: Mapping[str, object]) -> Iterator[None]:
    """While it lasts, each module of the product has this loop's time and this chance; `names` are replaced too.

    Parts of the store are imported when they are first used: now, as one that comes later would have its own time.
    """
    for part in pkgutil.iter_modules(bridge.store.__path__, "bridge.store."):
        importlib.import_module(part.name)
    times = _times(loop)
    modules = [module for name, module in sorted(sys.modules.items()) if name.split(".")[0] == "bridge"]
    changed: list[tuple[Any, str, object]] = []

    def replace(module: Any, name: str, value: object) -> None:
        changed.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    try:
        for module in modules:
            if getattr(module, "time", None) is time:
                replace(module, "time", times)
            if getattr(module, "random", None) is random:
                replace(module, "random", chance.random)
            if hasattr(module, "token_hex"):
                replace(module, "token_hex", chance.token)
        for path, value in names.items():
            module_name, _, name = path.rpartition(".")
            replace(sys.modules[module_name], name, value)
        yield
    finally:
        for module, name, value in reversed(changed):
            setattr(module, name, value)


def run(
    loop: VirtualLoop, chance: Chance, main: Callable[[], Coroutine[Any, Any, Result]], names: Mapping[str, object]
) -> Result:
    """Run a coroutine function to its end in a world of its own."""
    with in_our_hands(loop, chance, names):
        try:
            return loop.run_until_complete(main())
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
