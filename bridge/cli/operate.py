"""`bridge worker`, `status` and `health`: running it."""

import time
from typing import Any

import rich_click as click

from bridge.cli.output import chosen, emit_one, output_option, say, span
from bridge.cli.session import settings_of, with_store

LATE_SECONDS = 60
"""How long the oldest due work may have waited before the bridge is called unhealthy."""


@click.command()
@click.argument("kind", type=click.Choice(["all", "poll", "deliver"]), default="all")
def worker(kind: str) -> int:
    """Run the worker, as `python worker.py` does.

    \b
    Examples:
      bridge worker
      bridge worker deliver
    """
    from bridge.supervisor import main

    return main([kind])


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Stay, and look again every second.")
@output_option
@click.pass_context
def status(ctx: click.Context, watch: bool, output: str | None, as_json: bool) -> None:
    """Show the whole bridge on one screen.

    \b
    Examples:
      bridge status
      bridge status -w
    """
    from bridge.store.reading import Reading

    how = chosen(ctx, output, as_json)
    while True:
        row = with_store(ctx, lambda store, _: Reading(store).status())
        if watch and how == "table":
            click.clear()
        emit_one(row, how, key="tasks")
        if not watch:
            return
        time.sleep(1)


@click.command()
@click.option("--role", type=click.Choice(["all", "poll", "deliver"]), default="all", show_default=True)
@click.pass_context
def health(ctx: click.Context, role: str) -> int:
    """Say in one line whether work drains. Exit code 0 healthy, 1 not, 5 without Redis.

    \b
    Examples:
      bridge health
      bridge health --role deliver
    """
    from bridge.store.reading import Reading

    settings = settings_of(ctx)
    row = with_store(ctx, lambda store, _: Reading(store).status())
    has_key = settings.twelvelabs_api_key is not None
    faults = _faults(row, ("poll", "deliver") if role == "all" else (role,), has_key=has_key)
    if not has_key:
        say("no TWELVELABS_API_KEY: nothing is polled until there is one")
    click.echo(
        "; ".join(faults) if faults else f"healthy: {row['tasks']} tasks watched, {row['pending']} deliveries pending"
    )
    return int(bool(faults))


def _faults(row: dict[str, Any], roles: tuple[str, ...], *, has_key: bool) -> list[str]:
    faults = [f"no {role} shift is alive (bridge worker {role})" for role in roles if not row["shifts"][role]]
    if "poll" in roles and has_key and row["late_ms"] > LATE_SECONDS * 1000 and not row["upstream_paused_ms"]:
        faults.append(f"polling is {span(row['late_ms'] / 1000)} late")
    if "deliver" in roles and row["oldest_due_ms"] > LATE_SECONDS * 1000:
        faults.append(f"a due delivery has waited {span(row['oldest_due_ms'] / 1000)}")
    return faults
