"""Read-only questions of the doors: what is watched, announced, owed and alive. Nothing here changes a key.

A module for each noun: `tasks`, `endpoints`, `events`, `deliveries`, `vitals`. Every listing has a bound, and what
clients, upstream or subscribers wrote comes back as text that may hold anything: doors escape it.
"""

from bridge.store.reading.trips import HasClient, reading_errors

__all__ = ["HasClient", "reading_errors"]
