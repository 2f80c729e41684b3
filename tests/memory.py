"""Resident memory of another process, as Linux counts it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

GROWTH_BYTES = 20_000_000
"""What no receiver may add to the peak of a delivery process."""


@dataclass(frozen=True)
class Memory:
    """Of one process."""

    pid: int

    def read(self, name: str) -> int:
        """VmRSS (now) or VmHWM (the peak), in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)

    def forget_peak(self) -> int:
        """Let the peak begin at what is resident now, and return that."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.read("VmRSS")


def needs_proc() -> None:
    """Skip where peaks cannot be read."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from Linux' /proc")
