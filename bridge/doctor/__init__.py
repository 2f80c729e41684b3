"""Judges the facts of an installation. Pure: the reading is the store's and the CLI's, the words are here.

A module for each side: `server` (Redis), `work` (workers, backlog, dead letters), `entries` (what clients wrote),
`upstream` (settings, key, TwelveLabs).
"""

from bridge.doctor.findings import Finding, Level, counted, exit_code, fail, ok, shortened, together, warn

__all__ = ["Finding", "Level", "counted", "exit_code", "fail", "ok", "shortened", "together", "warn"]
