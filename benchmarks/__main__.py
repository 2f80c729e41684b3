"""`make bench`: runs every scenario, prints what each comes to, and writes it to benchmarks/results/."""

import argparse
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import cast

from benchmarks.record import Record, Told

SCENARIOS = {
    "ceiling": "further",
    "drain": "drain",
    "end-to-end": "scenarios",
    "fan-out": "further",
    "idle": "idle",
    "killed": "further",
    "one-hangs": "scenarios",
    "owed": "owed",
    "rate": "rate",
    "registered": "registered",
    "ten-hang": "scenarios",
    "watching": "watching",
    "workers": "further",
}
"""Which module has it. Each is imported when it runs: `drain` alone needs what `make bench` installs."""


def scenario(name: str) -> Callable[[float], Iterator[tuple[str, Told | None]]]:
    """The generator of one scenario's titles and results; a title without a result is a comparison."""
    module = import_module(f"benchmarks.{SCENARIOS[name]}")
    return cast(Callable[[float], Iterator[tuple[str, Told | None]]], getattr(module, name.replace("-", "_")))


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="which ones; all by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each run (default: 30)")
    options = parser.parse_args()
    for name in options.scenario or SCENARIOS:
        record = Record(name)
        for title, result in scenario(name)(options.seconds):
            print(title, flush=True)
            if result is not None:
                print(result.lines(), flush=True)
            record.add(title, result)
        record.close()


if __name__ == "__main__":
    main()
