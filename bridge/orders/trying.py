"""One POST of a made-up event by the exact path that deliveries take, and what came of it."""

import time
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.errors import Conflict
from bridge.model import Fault
from bridge.orders.definitions import absent
from bridge.orders.steering import kept_back
from bridge.trial import TYPE, advice, delivered, trial
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.model import Delivery, Endpoint, Outcome
    from bridge.settings import Settings
    from bridge.store import Store

OF_SETTINGS = {Fault.TLS, Fault.DNS, Fault.BLOCKED}
"""What an attempt may fail by where another one, made elsewhere or by other settings, does not."""
PHASES = ("dns", "connect", "tls", "wait", "total")


class Tried(NamedTuple):
    """What came of a trial."""

    row: dict[str, Any]
    warnings: list[str]
    """Why what is owed may fare otherwise."""
    next: list[str]
    """What to do about it."""


async def tried(store: "Store", settings: "Settings", name: str, event_type: str) -> Tried:
    """Send it, by this process and these settings. Raises NotFound, InvalidInput for a type that no event has, and
    Conflict where the receiver has not consented."""
    from bridge.doctor.mended import afterwards
    from bridge.filters import matches
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.reading.standings import standings
    from bridge.wiring import sender_from

    endpoint = (await store.registry.reload_endpoints()).by_name.get(name)
    view = await find_endpoint(store, name)
    if endpoint is None or view is None:
        raise await absent(store, name)
    if not view.consented:
        raise Conflict(
            f"nothing is sent to “{safe(name)}” before its receiver has consented ({safe(view.reason)})",
            fix=f"bridge endpoint enable {name} has it asked again, bridge endpoint show {name} says what it answered",
        )
    delivery = trial(endpoint, event_type, now=int(time.time() * 1000), token=token_hex(16))
    async with sender_from(settings) as sender:
        outcome = await sender.post(endpoint, delivery)
    took, disabled = delivered(outcome), view.state != "active"
    warnings = []
    anybody = replace(endpoint, tasks=("*",), indexes=("*",), metadata={})
    if event_type != TYPE and not matches(anybody, event_type, delivery.task):
        warnings.append(f"Its filter would keep such an event from it → bridge endpoint show {safe(name)}")
    if disabled:
        warnings.append(f"It is {view.state} ({safe(view.reason)}): what is owed is held.")
    failed_by = (await standings(store, [name]))[name].error
    if took and failed_by.partition(":")[0] in OF_SETTINGS:
        warnings.append(
            f"The worker's latest attempt failed by {safe(failed_by)}, and this one had the settings that are here: if "
            "that goes on, give the worker the same, and start it anew."
        )
    (owed,) = await owed_facts(store, {name: endpoint.url}, [name])
    warnings += kept_back(owed)
    next_ = afterwards(owed) if took else advice(endpoint, outcome, settings.policy)
    told = [safe(one) for one in next_ if not (took and owed.kept)]
    text = "; ".join(one.command if one.command and not one.when else str(one) for one in next_)
    return Tried(_row(endpoint, delivery, outcome) | {"next": text}, warnings, told)


def _row(endpoint: "Endpoint", delivery: "Delivery", outcome: "Outcome") -> dict[str, Any]:
    """What came of it; times to a tenth of a millisecond."""
    from bridge.redaction import bare

    spent = {f"{phase}_ms": getattr(outcome.timing, f"{phase}_ms") for phase in PHASES}
    return {
        "endpoint": endpoint.name,
        "url": bare(endpoint.url),
        "type": delivery.type,
        "event_id": delivery.event_id,
        "outcome": "delivered" if delivered(outcome) else "failed",
        "status_code": outcome.status_code,
        "fault": outcome.fault,
        "detail": outcome.detail,
        **{name: None if ms is None else round(ms, 1) for name, ms in spent.items()},
        "answer": outcome.excerpt,
    }
