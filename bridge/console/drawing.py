"""Pictures as SVG, sized and coloured by classes: a page that permits no style but its own file has no other."""

from collections.abc import Sequence

from markupsafe import Markup

from bridge.store.reading.pages import Hours

WIDTH, HEIGHT, GAP = 168, 28, 1
LEAST = 12
"""Of a thousand: a status that was short, or the last one, is seen all the same."""


def sparkline(hours: Hours) -> Markup:
    """The last 24 hours of an endpoint, a bar an hour: dead letters stand on what ended well."""
    most = max(1, *(well + dead for well, dead in zip(hours.ended, hours.dead, strict=True)))
    step = WIDTH / len(hours.ended)
    bars = []
    for hour, (well, dead) in enumerate(zip(hours.ended, hours.dead, strict=True)):
        low = _tall(well, most)
        high = _tall(dead, most)
        x = hour * step
        if well:
            bars.append(_bar("well", x, HEIGHT - low, step - GAP, low))
        if dead:
            bars.append(_bar("dead", x, HEIGHT - low - high, step - GAP, high))
    words = f"last 24 hours: {sum(hours.ended)} ended well, {sum(hours.dead)} dead"
    ground = f'<line class="ground" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    return Markup(  # noqa: S704  numbers alone
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT + 1}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{ground}{''.join(bars)}</svg>"
    )


def timeline(spans: Sequence[tuple[str, int]], now: int) -> list[tuple[int, int]]:
    """Where each status begins and how wide it is, in thousandths of the whole; `spans` are (status, since ms)."""
    if not spans:
        return []
    first, whole = spans[0][1], max(1, now - spans[0][1])
    starts = [min(1000 - LEAST, round(1000 * (since - first) / whole)) for _, since in spans]
    ends = [*starts[1:], 1000]
    return [(start, max(LEAST, end - start)) for start, end in zip(starts, ends, strict=True)]


def _tall(count: int, most: int) -> float:
    return max(2.0, round(count / most * (HEIGHT - 2), 1)) if count else 0.0


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{max(0.0, y):.1f}" width="{width:.1f}" height="{height:.1f}"/>'
