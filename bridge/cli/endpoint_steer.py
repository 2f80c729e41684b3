"""`bridge endpoint disable`, `enable` and `recover`: an operator's word about an endpoint as a whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.defining import absent
from bridge.cli.output import chosen, emit_one, output_option, safe, say
from bridge.cli.progress import bar
from bridge.cli.session import moment_from, names_in, speakable, with_store
from bridge.errors import BridgeError, InvalidInput

if TYPE_CHECKING:
    from bridge.doctor.work import OwedFacts
    from bridge.store import Store
    from bridge.store.steering import Steered

PARTLY = 6
UNCONFIRMED = "unconfirmed"


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
    from bridge.rejection import redacted

    why = "" if reason is None else redacted(safe(reason.strip())) or "operator"
    steered = with_store(ctx, lambda store, _: _disable(store, name, why))
    row = {
        "endpoint": name,
        "state": "disabled",
        "reason": steered.why,
        "was": steered.before,
        "pending": steered.pending,
    }
    emit_one(row, chosen(ctx, output, as_json), key="endpoint")
    say(f"{_deliveries(steered.pending)} held, and so is what comes; nothing is lost → bridge endpoint enable {name}")


async def _disable(store: "Store", name: str, why: str) -> "Steered":
    """Hold it. Raises what a person has to hear."""
    from bridge.store.steering import Steering

    steered = await Steering(store).disable(name, why)
    await _check(store, name, steered)
    return steered


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

    steered, owed = with_store(ctx, lambda store, _: _enable(store, name))
    row = {"endpoint": name, "state": _state(steered), "was": steered.before, "pending": steered.pending}
    emit_one(row, chosen(ctx, output, as_json), key="endpoint")
    if steered.word == UNCONFIRMED:
        _tell_asked(name, steered)
    elif steered.before != "active":
        say(f"It was {steered.before} ({safe(steered.reason)}); {_deliveries(steered.pending)} due now.")
    else:
        say(f"It was active already; {_deliveries(steered.pending)} owed.")
    for advice in (*waiting(owed), *dead_letters(owed)):
        say(safe(advice))
    _warn(kept=owed.kept)


async def _enable(store: "Store", name: str) -> "tuple[Steered, OwedFacts]":
    """Let it go, with a bar where much is held; also what it is owed then, and what stays dead.

    Raises what a person has to hear.
    """
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import Steering

    view = await find_endpoint(store, name)
    with bar("Enabling", view.pending if view else 0) as advance:
        steered = await Steering(store).enable(name, moved=advance)
    await _check(store, name, steered)
    (owed,) = await owed_facts(store, {}, [name])
    return steered, owed


def _warn(*, kept: bool) -> None:
    """Of an endpoint that is let go and yet gets nothing."""
    from bridge.waiting import REFUSED

    if kept:
        say(f"! {REFUSED}")


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
    row, owed = with_store(ctx, lambda store, _: _recover(store, name, given["since"], reasons, dry=given["dry_run"]))
    left = row.pop("left")
    emit_one(row, chosen(ctx, given["output"], given["as_json"]), key="endpoint")
    _narrate(name, row, left)
    for advice in waiting(owed):
        say(safe(advice))
    _warn(kept=owed.kept)
    return PARTLY if row["lost"] or row["more"] else 0


async def _recover(
    store: "Store", name: str, since: str | None, reasons: Sequence[str], *, dry: bool
) -> "tuple[dict[str, Any], OwedFacts]":
    """Count, bring back, enable; replies the row, in it of those that stay dead how many for each reason, and what the
    endpoint is owed then."""
    from bridge.recovery import choose
    from bridge.store.reading.checkup import owed_facts
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import Recovered, Steering

    steering = Steering(store)
    view = await find_endpoint(store, name)
    if view is None or view.state not in {"active", "held", "disabled"}:
        raise await absent(store, name)
    at = moment_from(since, await store.scripts.now()) if since is not None else 0
    letters = await steering.dead_letters(name, at)
    choice = choose(letters.found, reasons)
    came, state = Recovered(), view.state
    if not dry:
        with bar("Recovering", len(choice.event_ids)) as advance:
            came = await steering.recover(name, choice.event_ids, done=advance)
        if came.removed:
            raise await absent(store, name)
        if state != "active":  # last, so that all of it goes out in order
            steered, _ = await _enable(store, name)
            state = _state(steered)
    (owed,) = await owed_facts(store, {}, [name])
    row = {
        "endpoint": name,
        "state": state,
        "was": view.state,
        "dead": len(choice.event_ids),
        "reasons": dict(choice.wanted),
        "recovered": came.recovered,
        "lost": came.lost,
        "dry_run": dry,
        "more": letters.more,
        "left": dict(choice.left),
    }
    return row, owed


def _state(steered: "Steered") -> str:
    """The state of an endpoint that was to be enabled."""
    return "disabled" if steered.word == UNCONFIRMED else "active"


def _tell_asked(name: str, steered: "Steered") -> None:
    say(f"Its receiver has not consented yet, and is asked again now; until it does, {_deliveries(steered.pending)} "
        f"held → bridge endpoint show {name}")  # fmt: skip


async def _check(store: "Store", name: str, steered: "Steered") -> None:
    """Raise what a person has to hear instead of a success."""
    if steered.word == "missing":
        raise await absent(store, name)
    if steered.word not in {"done", "same", UNCONFIRMED}:
        raise BridgeError(
            f"somebody else steers “{safe(name)}” at the same time",
            fix=f"bridge endpoint show {name}, then say it again",
        )


def _narrate(name: str, row: dict[str, Any], left: dict[str, int]) -> None:
    from bridge.recovery import command

    counts = ", ".join(f"{count} {reason}" for reason, count in row["reasons"].items())
    what = f"{row['dead']} dead letters" + (f" ({counts})" if counts else "")
    if not row["dead"] and row["was"] == "active":
        say("It has no dead letter that this brings back.")
    elif row["dry_run"]:
        enabled = ", and it would be enabled" if row["was"] != "active" else ""
        say(f"{what} would come back{enabled} → bridge endpoint recover {name}")
    else:
        enabled = f" {safe(name)} is active again." if row["was"] != "active" == row["state"] else ""
        say(f"{row['recovered']} of {what} are owed again.{enabled}")
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
