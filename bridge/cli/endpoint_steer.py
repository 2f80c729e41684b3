"""`bridge endpoint disable`, `enable` and `recover`: an operator's word about an endpoint as a whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import chosen, emit_one, output_option, safe, say
from bridge.cli.progress import bar
from bridge.cli.session import names_in, speakable, with_store
from bridge.errors import InvalidInput
from bridge.orders import steering
from bridge.orders.moments import moment_from

if TYPE_CHECKING:
    from bridge.doctor.work import OwedFacts
    from bridge.store import Store
    from bridge.store.steering import Steered

PARTLY = 6


@click.command()
@click.argument("name", callback=speakable)
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why; it is shown wherever this is.  [default: as an operator said before, or operator]",
)
@output_option
@click.pass_context
def disable(ctx: click.Context, name: str, reason: str | None, output: str | None, as_json: bool) -> None:
    """Hold everything that an endpoint is owed, until it is enabled. Nothing is dropped, nothing expires meanwhile.

    What is in flight finishes. Events that come are held, too; a definition that is written anew changes nothing of it.

    \b
    Examples:
      bridge endpoint disable billing
      bridge endpoint disable billing --reason 'its receiver moves on Sunday'
    """
    steered = with_store(ctx, lambda store, _: steering.disable(store, name, reason))
    row = {
        "endpoint": name,
        "state": "disabled",
        "reason": steered.why,
        "was": steered.before,
        "pending": steered.pending,
    }
    emit_one(row, chosen(ctx, output, as_json), key="endpoint")
    say(f"{_deliveries(steered.pending)} held, and so is what comes; nothing is lost → bridge endpoint enable {name}")


@click.command()
@click.argument("name", callback=speakable)
@output_option
@click.pass_context
def enable(ctx: click.Context, name: str, output: str | None, as_json: bool) -> None:
    """Let an endpoint be tried again, whatever it was held or disabled for: what was held is due at once, in order.

    Where its receiver has to consent first (--handshake required), it is asked again, and enabled when it does.
    Its retries begin anew, and the time that it was held counts for no expiry. Dead letters stay dead: `recover` brings
    them back.

    \b
    Examples:
      bridge endpoint enable billing
    """
    from bridge.doctor.mended import dead_letters, waiting

    enabled = with_store(ctx, lambda store, _: steering.enable(store, name, bar=bar))
    steered, owed = enabled
    row = {"endpoint": name, "state": enabled.state, "was": steered.before, "pending": steered.pending}
    emit_one(row, chosen(ctx, output, as_json), key="endpoint")
    if steered.word == steering.UNCONFIRMED:
        _tell_asked(name, steered)
    elif steered.before != "active":
        say(f"It was {steered.before} ({safe(steered.reason)}); {_deliveries(steered.pending)} due now.")
    else:
        say(f"It was active already; {_deliveries(steered.pending)} owed.")
    for advice in (*waiting(owed), *dead_letters(owed)):
        say(safe(advice))
    _warn(owed)


def _warn(owed: "OwedFacts") -> None:
    """Of an endpoint that is let go and yet gets nothing."""
    for line in steering.kept_back(owed):
        say(f"! {line}")


@click.command()
@click.argument("name", callback=speakable)
@click.option("--since", metavar="WHEN", help="Only what died since: 2h, 1d, or 2026-11-29T10:00:00Z.")
@click.option("--reason", "reasons", metavar="R,…", multiple=True,
              help="Only what died of this.  [default: exhausted,gone,blocked,poison]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Count what would come back, and change nothing.")
@output_option
@click.pass_context
def recover(ctx: click.Context, /, name: str, **given: Any) -> int:
    """Bring an endpoint's dead letters back, in order, and enable it if it is held or disabled.

    Each keeps its id and its attempt numbers, and its schedule begins anew; the receiver sees
    `bridge-trigger: recover`. Progress events that had expired come back only if they are asked for. Interrupted, it
    goes on where it was when it is said again.

    \b
    Examples:
      bridge endpoint recover billing --dry-run
      bridge endpoint recover billing --since 2d
      bridge endpoint recover billing --reason expired,exhausted --json
    """
    from bridge.doctor.mended import waiting
    from bridge.recovery import NAMEABLE, RECOVERABLE

    reasons = names_in(given["reasons"]) or [str(one) for one in RECOVERABLE]
    if strange := [one for one in reasons if one not in NAMEABLE]:
        raise InvalidInput(
            f"no dead letter comes back from “{safe(strange[0])}”", fix=f"choose of {', '.join(NAMEABLE)}"
        )
    row, left, owed, _, reason = with_store(
        ctx, lambda store, _: _recover(store, name, given["since"], reasons, dry=given["dry_run"])
    )
    how = chosen(ctx, given["output"], given["as_json"])
    emit_one(_in_words(row) if how == "table" else row, how, key="endpoint")
    _narrate(name, row, left, f"{row['was']} ({safe(reason)})" if reason else str(row["was"]))
    for advice in waiting(owed):
        say(safe(advice))
    _warn(owed)
    return PARTLY if row["lost"] or row["more"] else 0


async def _recover(
    store: "Store", name: str, since: str | None, reasons: Sequence[str], *, dry: bool
) -> steering.Recovery:
    at = moment_from(since, await store.scripts.now()) if since is not None else 0
    return await steering.recover(store, name, at, reasons, dry=dry, bar=bar)


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    """What a recovery came to, as far as that says something; the rest is narrated."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in row["reasons"].items())
    return {
        "endpoint": row["endpoint"],
        "state": row["state"] if row["state"] == row["was"] else f"{row['state']} (was {row['was']})",
        "dead letters": f"{row['dead']}: {reasons}" if row["dead"] else "none",
        "would come back": row["dead"] if row["dry_run"] and row["dead"] else None,
        "owed again": row["recovered"] or None,
        "stay dead": row["lost"] or None,
    }


def _tell_asked(name: str, steered: "Steered") -> None:
    say(f"Its receiver has not consented yet, and is asked again now; until it does, {_deliveries(steered.pending)} "
        f"held → bridge endpoint show {name}")  # fmt: skip


def _narrate(name: str, row: dict[str, Any], left: dict[str, int], was: str) -> None:
    """`was`: its state before, with why."""
    from bridge.recovery import command

    counts = ", ".join(f"{count} {reason}" for reason, count in row["reasons"].items())
    what = f"{row['dead']} dead letters" + (f" ({counts})" if counts else "")
    if not row["dead"]:
        say("It has no dead letter that this brings back.")
    elif row["dry_run"]:
        say(f"{what} would come back → bridge endpoint recover {name}")
    else:
        say(f"{row['recovered']} of {what} are owed again.")
    if row["was"] != "active" == row["state"]:
        say(f"It was {was}, and is active again.")
    elif row["was"] != "active" and row["dry_run"]:
        say(f"It is {was}, and would be active again.")
    if row["lost"]:
        say(f"✗ {row['lost']} stay dead: their bodies are gone from Redis, and nothing can be sent.")
    if left:
        says = ", ".join(f"{count} {safe(reason)}" for reason, count in left.items())
        again = command(name, left)
        say(f"Not asked for: {says}" + (f" → {again}" if again else ""))
    if row["more"]:
        say(f"! There are more than one recovery looks at → bridge endpoint recover {name}")


def _deliveries(count: int) -> str:
    return "1 delivery is" if count == 1 else f"{count} deliveries are"
