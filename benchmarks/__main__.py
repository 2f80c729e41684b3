"""`make bench`: runs every scenario and prints a line for each."""

import argparse

from benchmarks.scenarios import end_to_end, one_hangs, ten_hang
from benchmarks.watching import watching

SCENARIOS = {"end-to-end": end_to_end, "one-hangs": one_hangs, "ten-hang": ten_hang, "watching": watching}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="which ones; all by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each run (default: 30)")
    options = parser.parse_args()
    for name in options.scenario or SCENARIOS:
        for title, result in SCENARIOS[name](options.seconds):
            print(title, flush=True)
            if result is None:
                continue
            cpu = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in sorted(result.cpu_seconds.items()))
            print(f"  {result.line()}\n  CPU: {cpu}; worker.py ended with {result.stopped_with}", flush=True)


if __name__ == "__main__":
    main()
