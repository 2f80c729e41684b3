"""`bridge worker`, `status` and `health`: running it."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.calling import as_called, pasteable
from bridge.cli.output import (
    above,
    ago,
    as_json,
    chosen,
    emit_one,
    fields_of,
    output_without_ids,
    plain,
    safe,
    soon,
    span,
)
from bridge.cli.session import settings_of, with_store
from bridge.cli.task_trouble import FULL
from bridge.cli.word import Word
from bridge.orders.moments import seconds_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.deployment import Deployment
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.vitals import Role

LOOK_SECONDS = 1.0
HANDOVER_SECONDS = 4.5
"""Between two shifts there is a moment without one: a shift gives up its place three seconds before it ends."""
ROLES = ("poll", "deliver")
MAX_LAG = "2m"
DOCTOR = " → bridge doctor"
"""Where each of those that are counted here has its name, its reason and its command."""


@click.command()
@click.argument("kind", type=Word(["all", *ROLES]), default="all")
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
@output_without_ids
@click.pass_context
def status(ctx: click.Context, watch: bool, output: str | None, as_json: bool) -> None:
    """Show the whole bridge on one screen. With -w as JSON: an object a line, every second.

    \b
    Examples:
      bridge status
      bridge status -w
    """
    how = chosen(ctx, output, as_json)
    if watch:
        with_store(ctx, lambda store, settings: _keep_looking(store, settings, how))
        return
    row = with_store(ctx, whole_row)
    deployment = settings_of(ctx).deployment
    emit_one(_screen(row, deployment) if how == "table" else row, how, key="pending")


async def whole_row(store: "Store", settings: "Settings", **bounds: int) -> dict[str, Any]:
    """The status under the names that JSON shows; `bounds` as `vitals.status` takes them."""
    from bridge.store.reading.vitals import requests_left
    from bridge.store.reading.vitals import status as whole

    row = asdict(await whole(store, **bounds))
    row["roles"] = {role.pop("kind"): role for role in row["roles"]}
    here = settings.twelvelabs_api_key is not None
    theirs = row["roles"]["poll"]["has_key"]
    row["has_key"] = here if theirs is None else theirs
    left = await requests_left(store, settings.twelvelabs_requests_per_minute)
    row["requests_left"] = 0 if row["roles"]["poll"]["spent_of"] else None if left is None else max(left, 0)
    return row


async def _keep_looking(store: "Store", settings: "Settings", how: str) -> None:
    from rich.live import Live
    from rich.text import Text

    from bridge.cli import stage
    from bridge.cli.outage import going_on

    async with aclosing(going_on(store, settings, lambda: _rows(store, settings))) as rows:
        if how != "table" or not sys.stdout.isatty():
            async for row in rows:
                screen = fields_of(_screen(row, settings.deployment)) + "\n" if how == "table" else as_json(plain(row))
                click.echo(screen)
            return
        with Live(console=stage.console(), auto_refresh=False) as live, above(live.console):
            async for row in rows:
                live.update(Text(fields_of(_screen(row, settings.deployment))), refresh=True)


async def _rows(store: "Store", settings: "Settings") -> AsyncGenerator[dict[str, Any]]:
    """The status, every second."""
    from bridge.store.reading.trips import check_cancelled

    while True:
        yield await whole_row(store, settings)
        check_cancelled()
        await asyncio.sleep(LOOK_SECONDS)


def _screen(row: dict[str, Any], deployment: "Deployment") -> dict[str, Any]:
    """The status in words, a line each."""
    tasks, redis, poll = row["tasks"], row["redis"], row["roles"]["poll"]
    statuses = ", ".join(f"{count} {name}" for name, count in row["statuses"].items())
    seen = sum(row["statuses"].values())
    sample = f" (of the first {seen})" if seen < tasks["watched"] else ""
    whose = "" if poll["has_key"] is None else ", as the running worker says"
    none = f"none{whose}: nothing is polled → {deployment.with_secret('TWELVELABS_API_KEY')}"
    key = f"set{whose}" if row["has_key"] else none
    due_seconds = row["oldest_due_ms"] / 1000
    oldest = f"; the oldest due one waits {span(due_seconds)}" if due_seconds >= 1 else ""
    watched = f"{tasks['watched']} watched" + (f": {statuses}{sample}" if statuses else "")
    rest = f"{tasks['ended']} ended, {tasks['rejected']} rejected entries"
    unreadable = {name: f"unreadable: {what}{DOCTOR}" for name, what in row["unreadable"].items()}
    words = {
        "tasks": unreadable.get("tasks", watched),
        "": f"{watched}; {rest}" if "tasks" in unreadable else f"{tasks['requests']} to be taken in, {rest}",
        **{kind: _role(row["roles"][kind], deployment) for kind in ROLES},
        "API key": "refused by TwelveLabs; probed every minute" if poll["key_refused"] else key,
        "deliveries": f"{row['pending']} pending, {row['dead']} dead{oldest}" + (DOCTOR if row["dead"] else ""),
        "endpoints": "; ".join([_endpoints(row), *filter(None, [unreadable.get("endpoints")])]),
        "Redis": f"{redis['version']}, memory {redis['memory']} (limit {redis['limit']}), "
        f"append-only file {'on' if redis['append_only'] else 'OFF'}, up {span(redis['uptime_seconds'])}"
        + (f"; FULL: nothing new is written{DOCTOR}" if redis["full"] else ""),
    }
    if told := "; ".join(_upstream(row)):
        words["upstream"] = told
    return {name: as_called(safe(text)) for name, text in words.items()}


def _upstream(row: dict[str, Any]) -> "Iterator[str]":
    """How reading from TwelveLabs fares, where it does not go without saying; what leads on stands last."""
    poll, unread = row["roles"]["poll"], row["unread"]
    if poll["paused_until_at"]:
        yield f"rests, goes on {ago(poll['paused_until_at'])}"
    elif row["requests_left"] is not None:
        left = row["requests_left"] or "none"
        yield f"{left} left of this minute's requests (BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE)"
    if unread:
        from bridge.doctor import counted
        from bridge.store.reading.vitals import UNREAD

        some = f" of the first {UNREAD}" if row["tasks"]["watched"] > UNREAD else ""
        by = f"{'most ' * (unread > 1)}by {row['unread_by']}"
        yield f"{counted(unread, 'watched task')}{some} failed at the latest read, {by}{DOCTOR}"


def _endpoints(row: dict[str, Any]) -> str:
    probed = f"; held as failing, the next probe goes out {soon(row['probe_at'])}" if row["probe_at"] else ""
    fails = f"; {row['failing']} fail{'s' * (row['failing'] == 1)}" if row["failing"] else ""
    troubled = DOCTOR if fails or {"held", "disabled"} & row["endpoints"].keys() else ""
    states = ", ".join(f"{count} {state}" for state, count in row["endpoints"].items()) or "none"
    return states + probed + fails + troubled


def _role(role: dict[str, Any], deployment: "Deployment") -> str:
    from bridge.doctor import counted

    if not role["workers"]:
        return f"NO WORKER, {span(role['lag_ms'] / 1000)} behind → {deployment.start()}"
    sent = f" (+{role['tickets']} sent)" if role["tickets"] else ""
    alive = f"{counted(role['workers'], 'worker')}, {counted(role['shifts'], 'shift')}"
    return f"{alive}{sent}, {span(role['lag_ms'] / 1000)} behind"


@click.command()
@click.option("--role", type=Word(["all", *ROLES]), default="all", show_default=True, help="Whose health.")
@click.option("--here", is_flag=True, help="Only whether the workers of this machine, or container, are alive.")
@click.option("--max-lag", metavar="TIME", default=MAX_LAG, show_default=True, help="More than this is unhealthy.")
@output_without_ids
@click.pass_context
def health(ctx: click.Context, role: str, here: bool, max_lag: str, output: str | None, as_json: bool) -> int:
    """Say in one line whether work drains. Exit code 0 healthy, 1 not, 5 without Redis.

    \b
    Examples:
      bridge health
      bridge health --role deliver
      bridge health --here
    """
    kinds = ROLES if role == "all" else (role,)
    row = with_store(ctx, lambda store, settings: health_of(store, settings, kinds, max_lag, here=here))
    how = chosen(ctx, output, as_json)
    if how == "table":
        click.echo(pasteable(row["line"]))
    else:
        emit_one(row, how, key="line")
    return 0 if row["healthy"] else 1


async def health_of(
    store: "Store",
    settings: "Settings",
    kinds: tuple[str, ...] = ROLES,
    max_lag: str = MAX_LAG,
    *,
    here: bool = False,
) -> dict[str, Any]:
    """Whether work drains, and a line that says so."""
    lag_ms = int(seconds_from(max_lag) * 1000)
    roles = [await (role_of if here else settled)(store, kind) for kind in kinds]
    key_here = settings.twelvelabs_api_key is not None
    has_key = next((role.polls_by(key_here) for role in roles if role.kind == "poll"), key_here)
    absent = await _absent_here(store, kinds) if here else [role.kind for role in roles if not role.shifts]
    faults = [] if here else [fault for role in roles for fault in _faults(role, lag_ms, has_key=has_key)]
    if absent:
        who = f"worker is alive on {socket.gethostname()}" if here else "shift is alive"
        start = settings.deployment.start(absent[0] if len(absent) == 1 else "")
        faults.append(f"{', '.join(f'no {kind} {who}' for kind in absent)} → {start}")
    from bridge.store.reading.vitals import redis_is_full

    if not here and await redis_is_full(store):
        faults.append(f"{FULL}{DOCTOR}")
    notes = []
    if "poll" in kinds and not has_key:
        notes.append("nothing is polled, as there is no TWELVELABS_API_KEY")
    words = ["unhealthy", *faults, *notes] if faults else ["healthy", *map(_as_words, roles), *notes]
    line = f"{words[0]}: {'; '.join(words[1:])}"
    return {"healthy": not faults, "line": line, "roles": {role.kind: asdict(role) for role in roles}}


async def role_of(store: "Store", kind: str) -> "Role":
    """How a role fares."""
    from bridge.store.reading.vitals import role

    return await role(store, kind)


async def settled(store: "Store", kind: str) -> "Role":
    """How a role fares; while one shift hands over to the next, how it fares when that has come."""
    deadline = time.monotonic() + HANDOVER_SECONDS
    while True:
        seen = await role_of(store, kind)
        if seen.shifts or not seen.workers or time.monotonic() >= deadline:
            return seen
        await asyncio.sleep(0.2)


def _faults(role: "Role", lag_ms: int, *, has_key: bool) -> list[str]:
    if not role.shifts:
        return []
    if role.key_refused and has_key:
        return ["nothing is polled, as TwelveLabs refuses the key → bridge doctor"]
    rests = role.kind == "poll" and (not has_key or role.paused_until_at is not None)
    if role.lag_ms > lag_ms and not rests:
        return [f"{role.kind} is {span(role.lag_ms / 1000)} behind"]
    return []


async def _absent_here(store: "Store", kinds: tuple[str, ...]) -> list[str]:
    """Of this machine alone: that others are behind, or that a key is refused, no restart of it would mend."""
    from bridge.store.reading.vitals import live_workers_on

    host = socket.gethostname()
    return [kind for kind in kinds if not await live_workers_on(store, kind, host)]


def _as_words(role: "Role") -> str:
    return f"{role.kind} {role.shifts} shift{'s' * (role.shifts != 1)}, {span(role.lag_ms / 1000)} behind"
