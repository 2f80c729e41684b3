"""What stands in `bridge:rejected`. Read only, and bounded as that key is."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from bridge.rejection import REJECTED, Refusal, told_of
from bridge.store.reading.trips import PAGE, HasClient, as_ms, as_record, ask, some
from bridge.store.records import as_text


async def read_refusals(client: Any, key: str) -> list[Refusal]:
    """With a client's rights: what is in force all the same is not told apart."""
    pairs: AsyncIterator[tuple[bytes, bytes]] = some(client.hscan_iter(key, count=PAGE), REJECTED)
    return sorted([_refusal(name, text) async for name, text in pairs], key=lambda one: one.name)


async def refusals(store: HasClient) -> list[Refusal]:
    """All that is known of them."""
    found = await read_refusals(store.client, store.keys.rejected)
    endpoints = [one.name for one in found if one.name.startswith("endpoint:")]
    kept = await ask(store, endpoints, lambda pipe, name: pipe.hget(store.keys(name), "kept"))
    in_force = {name for name, one in zip(endpoints, kept, strict=True) if one}
    return [replace(one, kept=one.name in in_force) for one in found]


def _refusal(name: bytes, text: bytes) -> Refusal:
    record = as_record(text)
    where, fix, value = (str(record.get(one) or "") for one in ("field", "fix", "value"))
    at = record.get("at")
    return Refusal(as_text(name), told_of(record), fix, where, value, as_ms(at) if isinstance(at, int) else None)
