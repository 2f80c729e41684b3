"""Moments and lengths of time as people and programs write them."""

from datetime import datetime

from bridge.errors import InvalidInput
from bridge.wording import safe

FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
"""The milliseconds of the years 1 to 9999, UTC, which is what can be written again."""


def moment_from(text: str, now: int) -> int:
    """Read `2h` as that long before `now`, or an RFC 3339 moment; milliseconds."""
    if text.isdigit():
        raise InvalidInput(f"“{safe(text)}” has no unit", fix="write 2h, 1d, or 2026-11-29T10:00:00Z")
    if text[-1:] in "smhd":
        return now - int(seconds_from(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"“{safe(text)}” is not a moment", fix="write 2h, 1d, or 2026-11-29T10:00:00Z")
    milliseconds = round(moment.timestamp() * 1000)
    if not FIRST <= milliseconds <= LAST:
        raise InvalidInput(f"“{safe(text)}” is no moment of the years 1 to 9999", fix="write a later one, or 2h, 1d")
    return milliseconds


def seconds_from(text: str) -> float:
    """Read `90`, `90s`, `30m`, `2h` or `1d` as seconds."""
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise InvalidInput(f"“{safe(text)}” is not a length of time", fix="write 90, 90s, 30m, 2h or 1d")
    return seconds
