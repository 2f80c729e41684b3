"""`bridge endpoint test`: one POST by the exact path that deliveries take, and what came of it."""

import time
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import chosen, emit_one, output_without_ids, safe, say
from bridge.cli.session import speakable, with_store
from bridge.errors import BridgeError
from bridge.orders.definitions import absent

if TYPE_CHECKING:
    from bridge.model import Delivery, Endpoint, Outcome
    from bridge.settings import Settings
    from bridge.store import Store

TYPE = "bridge.endpoint.test"
PHASES = ("dns", "connect", "tls", "wait", "total")


@click.command("test")
@click.argument("name", callback=speakable)
@click.option("--type", "event_type", metavar="T", default=TYPE, show_default=True,
              help="The type of the event that is made up, such as index.task.ready.")  # fmt: skip
@output_without_ids
@click.pass_context
def test(ctx: click.Context, name: str, event_type: str, output: str | None, as_json: bool) -> int:
    """POST a made-up event to an endpoint, now, and say what came of it. Exit code 1 if it was not taken.

    It goes the way of every delivery: guard, signature, headers, deadline; by this process, with these settings. It
    changes nothing of what is owed, and counts as no failure. Its header says `bridge-trigger: test`. The table leaves
    out what did not come to be; -o json has every field.

    \b
    Examples:
      bridge endpoint test billing
      bridge endpoint test billing --type index.task.ready --json
    """
    row, told = with_store(ctx, lambda store, settings: _test(store, settings, name, event_type))
    how = chosen(ctx, output, as_json)
    emit_one({key: one for key, one in row.items() if how != "table" or key != "next"}, how, key="endpoint")
    for line in told:
        say(line)
    return 0 if row["outcome"] == "delivered" else 1


async def _test(store: "Store", settings: "Settings", name: str, event_type: str) -> tuple[dict[str, Any], list[str]]:
    from bridge.doctor.mended import afterwards
    from bridge.engine import sender_from
    from bridge.filters import matches
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.trial import advice, delivered, trial
    from bridge.waiting import REFUSED

    endpoint = (await store.registry.reload_endpoints()).by_name.get(name)
    view = await find_endpoint(store, name)
    if endpoint is None or view is None:
        raise await absent(store, name)
    if not view.consented:
        raise BridgeError(
            f"nothing is sent to “{safe(name)}” before its receiver has consented ({safe(view.reason)})",
            fix=f"bridge endpoint enable {name} has it asked again, bridge endpoint show {name} says what it answered",
        )
    delivery = trial(endpoint, event_type, now=int(time.time() * 1000), token=token_hex(16))
    async with sender_from(settings) as sender:
        outcome = await sender.post(endpoint, delivery)
    took, disabled = delivered(outcome), view.state != "active"
    told = []
    anybody = replace(endpoint, tasks=("*",), indexes=("*",), metadata={})
    if event_type != TYPE and not matches(anybody, event_type, delivery.task):
        told.append(f"! Its filter would keep such an event from it → bridge endpoint show {safe(name)}")
    if disabled:
        told.append(f"! It is {view.state} ({safe(view.reason)}): what is owed is held.")
    (owed,) = await owed_facts(store, {name: endpoint.url}, [name])
    if owed.kept:
        told.append(f"! {REFUSED}")
    next_ = afterwards(owed) if took else advice(endpoint, outcome, settings.policy)
    told += [safe(one) for one in next_ if not (took and owed.kept)]
    next_text = "; ".join(one.command if one.command and not one.when else str(one) for one in next_)
    return _row(endpoint, delivery, outcome) | {"next": next_text}, told


def _row(endpoint: "Endpoint", delivery: "Delivery", outcome: "Outcome") -> dict[str, Any]:
    """What came of it; times to a tenth of a millisecond."""
    from bridge.redaction import bare
    from bridge.trial import delivered

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
