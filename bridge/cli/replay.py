"""`bridge replay`: deliveries that have ended, owed again by range."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import Columns, chosen, emit, field, output_option, safe, say
from bridge.cli.progress import bar
from bridge.cli.session import names_in, speakable, with_store
from bridge.errors import InvalidInput
from bridge.orders import replaying
from bridge.orders.moments import moment_from

if TYPE_CHECKING:
    from bridge.store import Store
    from bridge.store.reading.deliveries import DeliveryView
    from bridge.store.reading.replayable import Choice

PARTLY = 6
BATCH = 100
"""How many are asked for at a time, so that what is behind can be seen while it goes on."""

COLUMNS: Columns = tuple(
    (name, field(name)) for name in ("endpoint", "deliveries", "dead", "delivered", "superseded", "tasks")
)


@click.command()
@click.option("--endpoint", "endpoints", metavar="NAME,…", multiple=True, help="Those to these endpoints.")
@click.option("--task", "tasks", metavar="ID,…", multiple=True, help="Those of these tasks.")
@click.option("--type", "types", metavar="P,…", multiple=True, help="Event types; index.task.* is a prefix.")
@click.option("--since", metavar="WHEN", callback=speakable, help="Events committed since: 2h, 3d, or RFC 3339.")
@click.option("--until", metavar="WHEN", callback=speakable, help="Events committed until then.")
@click.option("--dead", is_flag=True, help="Dead letters only; else also what was delivered.")
@click.option("--rate", type=click.IntRange(1, 100_000), help="At most so many a second; unbounded without.")
@click.option("--dry-run", is_flag=True, help="Count what would be sent, and send nothing.")
@output_option
@click.pass_context
def replay(ctx: click.Context, /, **given: Any) -> int:
    """Send again what has ended: dead letters, and what was delivered (and perhaps lost at the receiver).

    The events keep their ids and bodies, attempt numbers go on, the schedule starts anew. What is still owed is left
    alone, as is what an operator cancelled and what is older than retention. Say at least one thing about which.

    \b
    Examples:
      bridge replay --endpoint billing --since 2h --dry-run
      bridge replay --endpoint billing --dead
      bridge replay --type index.task.ready --since 2026-11-24T09:00:00Z --until 2026-11-24T10:00:00Z --rate 50
    """
    how = chosen(ctx, given["output"], given["as_json"])
    return with_store(ctx, lambda store, _: _replay(store, how, given))


def _choice(given: dict[str, Any], now: int) -> "Choice":
    from bridge.store.reading.replayable import Choice

    since, until = (moment_from(given[name], now) if given[name] else None for name in ("since", "until"))
    if since is not None and until is not None and since > until:
        raise InvalidInput("--since is later than --until: nothing lies between", fix="exchange them")
    endpoints, tasks, types = (names_in(given[name]) for name in ("endpoints", "tasks", "types"))
    choice = Choice(tuple(endpoints), frozenset(tasks), tuple(types), since, until, only_dead=given["dead"])
    if not choice.says_which:
        raise InvalidInput("that would be everything that is kept", fix="say which: --endpoint, --since 2h, --dead, …")
    return choice


async def _replay(store: "Store", how: str, given: dict[str, Any]) -> int:
    from bridge.hints import event_hints

    choice = _choice(given, await store.scripts.now())
    for hint in event_hints(choice.types):
        say(f"! {safe(hint)}")
    ones, left_out, unknown = await replaying.meant(store, choice)
    for line in (*filter(None, [unknown]), *replaying.left_out(left_out)):
        say(f"! {line}")
    emit(replaying.counted(ones), how, COLUMNS, key="endpoint") if ones or how != "table" else None
    if not ones:
        for line in await replaying.never_told(store, choice):
            say(safe(line))
        say(f"Nothing that has ended fits. What is still owed: bridge delivery ls --state pending{_of(choice)}")
    for line in await replaying.held(store, ones):
        say(f"! {line}")
    if given["dry_run"]:
        say(f"{len(ones)} would be sent again; nothing was changed.")
    if given["dry_run"] or not ones:
        return 0
    words = await _revive(store, ones, given["rate"])
    return _tell(words, len(ones))


def _of(choice: "Choice") -> str:
    """The task that was asked for, if it was one, as an option."""
    return f" --task {safe(next(iter(choice.tasks)))}" if len(choice.tasks) == 1 else ""


def pause_seconds(asked: int, rate: int | None, elapsed_seconds: float) -> float:
    """How long to wait, so many having been asked for in this time, before more go out than the rate allows."""
    return max(0.0, asked / rate - elapsed_seconds) if rate else 0.0


async def _revive(store: "Store", ones: "Sequence[DeliveryView]", rate: int | None) -> Counter[str]:
    """Have each owed again, oldest first; replies how often the store said what."""
    words: Counter[str] = Counter()
    step = min(BATCH, rate or BATCH)
    began = time.monotonic()
    with bar("Replaying", len(ones)) as done:
        for start in range(0, len(ones), step):
            await asyncio.sleep(pause_seconds(start, rate, time.monotonic() - began))
            piece = ones[start : start + step]
            words += await replaying.owe_again(store, piece)
            done(len(piece))
    return words


def _tell(words: Counter[str], asked: int) -> int:
    owed = replaying.owed(words)
    say(f"{owed} of {asked} are owed again: bridge delivery ls --state pending")
    for line in replaying.failures(words):
        say(f"✗ {line}")
    return 0 if owed == asked else PARTLY if owed else 1
