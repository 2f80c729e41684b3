"""`bridge task`: what is watched."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import Columns, ago, chosen, emit, emit_one, field, output_option, safe, say
from bridge.cli.session import ids_from, seconds_from, with_store
from bridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY, TASK_FAILED, TIMED_OUT = 6, 7, 124

STAGES = ("validating", "pending", "queued", "indexing")


@click.group()
def task() -> None:
    """Register tasks, look at them, wait for them."""


def note(row: dict[str, Any]) -> str:
    """What a person should know about a task at a glance."""
    if row.get("gone"):
        return "gone upstream"
    if row.get("error"):
        return f"{row['error']} ({row['faults']} in a row)" if row.get("faults") else str(row["error"])
    if row.get("hls_status") == "PROCESSING":
        return "hls PROCESSING"
    return "doubted, asking again" if row.get("doubted") else ""


COLUMNS: Columns = (
    ("task", field("task")),
    ("status", field("status")),
    ("updated", field("updated_at")),
    ("polled", lambda row: ago(row["polled_at"])),
    ("next", lambda row: ago(row["next_at"])),
    ("note", lambda row: note(dict(row))),
)


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option(
    "--endpoint", "endpoints", metavar="NAME,…", help="Only these endpoints hear of it; all matching ones else."
)
@click.option("--callback-url", metavar="URL", help="POST its events here too, signed with the default secret.")
@click.option("--metadata", metavar="JSON", help="Up to 4 KiB, echoed in every event of the task.")
@click.option("--expires-in", metavar="TIME", help="Watch no longer than this: 90s, 30m, 2h, 1d.")
@click.pass_context
def add(
    ctx: click.Context,
    ids: tuple[str, ...],
    endpoints: str | None,
    callback_url: str | None,
    metadata: str | None,
    expires_in: str | None,
) -> int:
    """Register tasks: their changes are delivered from now on, their present state first.

    \b
    Examples:
      bridge task add 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task add ID --metadata '{"order": 42}' --endpoint billing
      cat ids.txt | bridge task add -
    """
    options = {"endpoints": endpoints, "callback_url": callback_url, "metadata": metadata}
    given = {name: value for name, value in options.items() if value is not None}
    if expires_in:
        given["expires_at"] = str(int(time.time() + seconds_from(expires_in)))
    members = ids_from(ids)
    return with_store(ctx, lambda store, settings: _add(store, settings, members, given))


async def _add(store: "Store", settings: "Settings", members: list[str], options: dict[str, str]) -> int:
    from bridge.contract import Rejection, check_member, task_options
    from bridge.engine import policy_from
    from bridge.store.declaring import Declaring
    from bridge.store.reading import Reading

    try:
        task_options(options, policy_from(settings), has_default_secret=settings.delivery_default_secret is not None)
    except Rejection as rejection:
        raise InvalidInput(str(rejection), fix=rejection.fix) from None
    declaring, bad = Declaring(store), 0
    for member in members:
        try:
            check_member(member)
        except Rejection as rejection:
            bad += 1
            say(f"✗ {safe(member)}: {rejection.reason}\n  → {rejection.fix}")
            continue
        new = await declaring.register_task(member, options)
        click.echo(
            f"{safe(member)}  {'registered' if new else 'was registered already; poll it to have its options read'}"
        )
    await store.wake("poll")
    reading = Reading(store)
    await _warn(reading, options.get("endpoints"))
    if bad == len(members):
        return 2
    return PARTLY if bad else 0


async def _warn(reading: Any, named: str | None) -> None:
    known = [row["endpoint"] for row in await reading.endpoints()]
    for name in (named or "").split(","):
        if name.strip() and name.strip() not in known:
            say(f"! there is no endpoint “{safe(name.strip())}” yet → bridge endpoint add {safe(name.strip())} URL")
    if not known and not named:
        say("! no endpoint is registered: events are recorded, nobody is told → bridge endpoint add NAME URL")
    status = await reading.status()
    if not status["workers"]["poll"]:
        say("! no worker is running → bridge worker")


@task.command()
@click.option("--status", help="Only those in this status.")
@click.option("--limit", default=1_000, show_default=True, help="At most so many.")
@output_option
@click.pass_context
def ls(ctx: click.Context, status: str | None, limit: int, output: str | None, as_json: bool) -> None:
    """List what is watched, due first.

    \b
    Examples:
      bridge task ls --status indexing
      bridge task ls -o ids | bridge task poll -
    """
    from bridge.store.reading import Reading

    rows = with_store(ctx, lambda store, _: Reading(store).tasks(status=status, limit=limit))
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="task")


@task.command()
@click.argument("task_id", metavar="ID")
@output_option
@click.pass_context
def show(ctx: click.Context, task_id: str, output: str | None, as_json: bool) -> None:
    """Show all that is known of one task: snapshot, watch, deliveries, or why it was refused.

    \b
    Examples:
      bridge task show 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task show ID --json
    """
    from bridge.store.reading import Reading

    row = with_store(ctx, lambda store, _: Reading(store).task(task_id))
    if row is None:
        raise _not_found(task_id)
    how = chosen(ctx, output, as_json)
    if how != "table":
        emit_one(row, how, key="task")
        return
    deliveries = row.pop("deliveries")
    emit_one(row, how, key="task")
    for delivery in deliveries:
        attempts = f"{delivery['attempts']} attempt{'s' if delivery['attempts'] != 1 else ''}"
        reason = f" ({delivery['reason']})" if delivery["reason"] else ""
        click.echo(safe(f"  {delivery['endpoint']}  {delivery['type']}  {delivery['state']}{reason}, {attempts}"))


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.pass_context
def rm(ctx: click.Context, ids: tuple[str, ...]) -> int:
    """Watch tasks no longer; what is owed for them is still delivered.

    \b
    Examples:
      bridge task rm 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task ls -o ids | bridge task rm -
    """
    from bridge.store.declaring import Declaring

    members = ids_from(ids)
    removed = with_store(ctx, lambda store, _: Declaring(store).remove_tasks(members))
    say(f"{removed} of {len(members)} were watched, and no longer are")
    if removed == 0:
        raise _not_found(members[0])
    return 0 if removed == len(members) else PARTLY


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.pass_context
def poll(ctx: click.Context, ids: tuple[str, ...]) -> int:
    """Read tasks at once, instead of when they are due.

    \b
    Examples:
      bridge task poll 6a0b1c2d3e4f5a6b7c8d9e01
    """
    members = ids_from(ids)
    return with_store(ctx, lambda store, _: _poll(store, members))


async def _poll(store: "Store", members: list[str]) -> int:
    from bridge.store.declaring import Declaring

    declaring = Declaring(store)
    missing = [member for member in members if not await declaring.poll_now(member)]
    await store.wake("poll")
    for member in missing:
        say(f"✗ {safe(member)} is not registered → bridge task add {safe(member)}")
    if len(missing) == len(members):
        return NotFound.exit_code
    return PARTLY if missing else 0


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option("--timeout", metavar="TIME", help="Give up after this: 90s, 30m, 2h. Exit code 124.")
@output_option
@click.pass_context
def wait(ctx: click.Context, ids: tuple[str, ...], timeout: str | None, output: str | None, as_json: bool) -> int:
    """Wait until registered tasks have ended. Exit code 0 if all are ready, 7 if one failed or is gone.

    \b
    Examples:
      bridge task wait ID --timeout 30m && ./next-step
    """
    members = ids_from(ids)
    seconds = seconds_from(timeout) if timeout else None
    rows, code = with_store(ctx, lambda store, _: _follow(store, members, seconds, live=False))
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="task")
    return code


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.pass_context
def watch(ctx: click.Context, ids: tuple[str, ...]) -> int:
    """Print a line for each change of registered tasks until all have ended. Exit codes as `wait`.

    \b
    Examples:
      bridge task watch 6a0b1c2d3e4f5a6b7c8d9e01
    """
    members = ids_from(ids)
    _, code = with_store(ctx, lambda store, _: _follow(store, members, None, live=True))
    return code


async def _follow(
    store: "Store", members: Sequence[str], seconds: float | None, *, live: bool
) -> tuple[list[dict[str, Any]], int]:
    """Look at the tasks whenever an event says that something moved, and once a second in any case."""
    from bridge.store.reading import Reading

    reading, told, rows = Reading(store), dict[str, Any](), dict[str, dict[str, Any]]()
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        for member in members:
            row = await reading.task(member)
            if row is None:
                raise _not_found(member)
            rows[member] = row
            seen = (row["status"], row["state"], row["gone"])
            if live and told.get(member) != seen and row["status"]:
                click.echo(f"{time.strftime('%H:%M:%S')}  {safe(member)}  {_stage(row)}")
            told[member] = seen
        open_ = [row for row in rows.values() if row["state"] != "ended"]
        if not open_:
            bad = any(row["gone"] or row["status"] != "ready" for row in rows.values())
            return list(rows.values()), TASK_FAILED if bad else 0
        if deadline is not None and time.monotonic() >= deadline:
            say(f"timed out; {len(open_)} of {len(rows)} have not ended")
            return list(rows.values()), TIMED_OUT
        await asyncio.sleep(min(1.0, 0.25 if deadline is None else max(0.0, deadline - time.monotonic())))


def _stage(row: dict[str, Any]) -> str:
    status = str(row["status"])
    if row["gone"]:
        return "gone upstream"
    if status in STAGES:
        at = STAGES.index(status)
        return " ".join("●" if i < at else "◐" if i == at else "○" for i in range(len(STAGES))) + f"  {status}"
    return safe(f"{'● ● ● ●' if status == 'ready' else '✗' if status == 'failed' else '?'}  {status}")


def _not_found(member: str) -> NotFound:
    return NotFound(f"task {safe(member)} is not registered", fix=f"bridge task add {safe(member)}")
