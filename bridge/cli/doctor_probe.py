"""`bridge doctor --probe`: asks upstream what its documentation leaves open, by a handful of reads."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.doctor import Finding, probed, probing, warn

if TYPE_CHECKING:
    from bridge.exchange import Answer
    from bridge.model import FetchFailure
    from bridge.settings import Settings
    from bridge.store import Store


async def probe(store: "Store", settings: "Settings") -> list[Finding]:
    """Each read is one of the budget's, as a worker's is. Nothing without a key, of which another finding tells."""
    from bridge.wiring import upstream_from

    if settings.twelvelabs_api_key is None:
        return []
    seen: dict[str, probing.Glimpse] = {}
    async with upstream_from(settings) as api:
        while read := probing.next_read(seen):
            if await store.listings.grant(per_minute=settings.twelvelabs_requests_per_minute):
                why = "the account rests, or BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE is used up for this minute"
                told = probed.findings(seen, now=datetime.now(UTC)) if seen else []
                return [*told, warn(probed.CHECK, "not probed to the end", why, "bridge doctor --probe, in a minute")]
            name, target = read
            seen[name] = glimpse(await api.look(target))
    return probed.findings(seen, now=datetime.now(UTC))


def glimpse(came: "Answer | FetchFailure") -> probing.Glimpse:
    """An answer as it is judged. What is not JSON, or not whole, says nothing."""
    from bridge.model import FetchFailure
    from bridge.twelvelabs import error_code

    if isinstance(came, FetchFailure):
        return probing.Glimpse(None, detail=came.detail)
    try:
        body = None if came.truncated else json.loads(came.body)
    except (ValueError, RecursionError):
        body = None
    return probing.Glimpse(came.status, dict(came.headers), body, error_code(came.body))
