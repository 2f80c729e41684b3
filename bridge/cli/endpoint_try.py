"""`bridge endpoint test`: one POST by the exact path that deliveries take, and what came of it."""

from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import chosen, emit_one, output_without_ids, say
from bridge.cli.session import speakable, with_store

if TYPE_CHECKING:
    from bridge.orders.trying import Tried
    from bridge.settings import Settings
    from bridge.store import Store

TYPE = "bridge.endpoint.test"


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
    row, warnings, next_ = with_store(ctx, lambda store, settings: _tried(store, settings, name, event_type))
    how = chosen(ctx, output, as_json)
    emit_one({key: one for key, one in row.items() if how != "table" or key != "next"}, how, key="endpoint")
    for line in (*(f"! {one}" for one in warnings), *next_):
        say(line)
    return 0 if row["outcome"] == "delivered" else 1


async def _tried(store: "Store", settings: "Settings", name: str, event_type: str) -> "Tried":
    from bridge.orders.trying import tried

    return await tried(store, settings, name, event_type)
