"""`bridge task`: what is watched."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.metadata import value_from
from bridge.cli.output import Columns, Row, chosen, due, emit, field, output_option, safe, say, when
from bridge.cli.progress import bar
from bridge.cli.session import ids_from, names_in, with_store
from bridge.cli.task_follow import wait, watch
from bridge.cli.task_show import show
from bridge.cli.task_steer import poll, rm
from bridge.errors import InvalidInput
from bridge.formats import rfc3339
from bridge.kinds import STATUSES, kind_of
from bridge.orders.moments import seconds_from

if TYPE_CHECKING:
    from bridge.deployment import Deployment
    from bridge.kinds import Kind
    from bridge.settings import Settings
    from bridge.store import Store

Again = Callable[[Sequence[str]], str]
"""The command that registers the same with these endpoints named."""

PARTLY = 6
ROWS_SHOWN = 100
"""More tasks than these, registered at once, are counted and not listed."""


@click.group()
def task() -> None:
    """Register tasks, look at them, wait for them.

    \b
    Examples:
      bridge task add 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task ls --status indexing
      bridge task wait 6a0b1c2d3e4f5a6b7c8d9e01 --timeout 30m
    """


task.add_command(rm)
task.add_command(poll)
task.add_command(show)
task.add_command(watch)
task.add_command(wait)


def note(row: Row) -> str:
    """What a person should know about a task at a glance. An end by its status speaks for itself."""
    words = {"waiting": "not taken in yet", "ended": "no longer watched", "rejected": "rejected"}
    if row["state"] == "ended" and row["status"] in kind_of(row["task"]).terminal:
        return str(row["note"])
    if row["state"] == "waiting" and row["next_at"]:
        return str(row["note"])
    if row["state"] in words:
        return f"{words[row['state']]}: {row['note']}" if row["note"] else words[row["state"]]
    if row["faults"]:
        return f"{row['note']} ({row['faults']} in a row)"
    return row["note"] or ("hls PROCESSING" if row["hls_status"] == "PROCESSING" else "")


def _next(row: Row) -> str:
    return "now" if row["being_read"] else due(row["next_at"])


COLUMNS: Columns = (
    ("task", field("task")),
    ("status", field("status")),
    ("updated", when("observed_at")),
    ("polled", when("polled_at")),
    ("next", _next),
    ("delivered", lambda row: f"{row['delivered']}/{row['owed']}" if row["owed"] else "—"),
    ("note", note),
)
SPARE = ("polled", "next")
"""The columns that a narrow terminal does without, the least needed first."""
COUNTED: Columns = (("result", field("result")), ("tasks", field("tasks")))
REGISTERED: Columns = (("task", field("task")), ("result", field("result")), ("note", field("note")))


@task.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME,…", help="Only these endpoints hear of it.")
@click.option("--callback-url", metavar="URL", help="POST its events here too, signed with the default secret.")
@click.option("--metadata", metavar="JSON", help="Up to 4 KiB, echoed in every event of the task.")
@click.option("--expires-in", metavar="TIME", help="Watch no longer than this: 90s, 30m, 2h, 1d.")
@click.option("--traceparent", metavar="W3C", help="The span that registers it; its events' traces are linked to that.")
@output_option
@click.pass_context
def add(ctx: click.Context, /, ids: tuple[str, ...], **given: Any) -> int:
    """Register tasks: their changes are delivered from now on, their present state first.

    A task that is registered keeps its options unless some are given, which then replace them as a whole. An ID alone
    is a video indexing task; asset:INDEX/ID is an indexed asset, analyze:ID an analysis.

    \b
    Examples:
      bridge task add 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task add ID --metadata '{"order": 42}' --endpoint billing
      bridge task add asset:INDEX/ID --endpoint billing
      cat ids.txt | bridge task add -
    """
    options = {name: given[name] for name in ("callback_url", "metadata", "traceparent") if given[name] is not None}
    if given["metadata"] is not None:
        value_from(given["metadata"])
    if given["endpoints"]:
        options["endpoints"] = ",".join(names_in(given["endpoints"]))
    if given["expires_in"]:
        options["expires_at"] = str(int(time.time() + seconds_from(given["expires_in"])))
    members = ids_from(ids)
    if until := options.get("expires_at"):
        say(f"To be watched until {rfc3339(int(until) * 1000)} at most.")
    rows = with_store(ctx, lambda store, settings: _add(store, settings, members, options))
    good = [row for row in rows if row["result"] != "rejected"]
    how = chosen(ctx, given["output"], given["as_json"])
    if how == "table" and len(good) > ROWS_SHOWN:
        counts = Counter(str(row["result"]) for row in good)
        emit([{"result": word, "tasks": count} for word, count in counts.items()], how, COUNTED, key="result")
    else:
        if good or how != "table":
            emit(good if how in {"table", "ids"} else rows, how, REGISTERED, key="task")
    if not good:
        return InvalidInput.exit_code
    return 0 if len(good) == len(rows) else PARTLY


async def _add(store: "Store", settings: "Settings", members: list[str], options: dict[str, str]) -> list[Row]:
    from bridge.contract import check_member, task_options
    from bridge.hints import task_rewriting
    from bridge.redaction import narrated
    from bridge.rejection import Rejection
    from bridge.store.declaring import Declaring

    try:
        task_options(options, settings.policy, has_default_secret=settings.delivery_default_secret is not None)
    except Rejection as rejection:
        raise InvalidInput(str(rejection), fix=rejection.fix) from None
    refused: dict[str, str] = {}
    for member in members:
        try:
            check_member(member)
        except Rejection as rejection:
            refused[member] = rejection.reason
            if len(refused) <= ROWS_SHOWN:
                fix = rejection.fix.replace("ZADD bridge:tasks NX 0", "bridge task add")
                say(f"✗ {safe(member[:200])}: {safe(rejection.reason)}\n  → {safe(fix)}")
    if len(refused) > ROWS_SHOWN:
        say(f"✗ and {len(refused) - ROWS_SHOWN} more; -o jsonl names them all")
    good = [member for member in members if member not in refused]
    words: dict[str, str] = {}
    if good:
        with bar("Registering", len(good), shown=len(good) > ROWS_SHOWN) as done:
            words = await Declaring(store).register_tasks(good, options, done=done)
        await store.wake("poll")
        named = names_in([options.get("endpoints", "")])
        again = partial(task_rewriting, good[0] if len(good) == 1 else "ID", list(options))
        await say_what_lacks(store, settings.deployment, named, everybody=not named, again=again)
        if "callback_url" not in options:
            await say_who_lacks(store, list(dict.fromkeys(map(kind_of, good))), named)
    notes = {"known": "registered already: unchanged", "updated": "registered already: its options are replaced"}
    return [
        {
            "task": narrated(safe(member)),
            "result": words.get(member, "rejected"),
            "note": refused.get(member) or notes.get(words[member], ""),
        }
        for member in members
    ]


async def say_what_lacks(
    store: "Store", deployment: "Deployment", named: Sequence[str], *, everybody: bool, again: Again | None = None
) -> None:
    """Warn whoever registered tasks of what keeps their events from being told."""
    for lack in await what_lacks(store, deployment, named, everybody=everybody, again=again):
        say(f"! {lack}")


async def what_lacks(
    store: "Store", deployment: "Deployment", named: Sequence[str], *, everybody: bool, again: Again | None = None
) -> list[str]:
    """What keeps the events of tasks from being told: no worker, no (such) endpoint. `again`: how those are named that
    were meant."""
    from bridge.store.reading.endpoints import any_endpoint, unknown_endpoints
    from bridge.store.reading.near import near_endpoints
    from bridge.store.reading.vitals import live_workers

    unknown = await unknown_endpoints(store, named)
    near = await near_endpoints(store, unknown)
    way = safe(again([near.get(name, name) for name in named])) if again and near else ""
    lacks = []
    for name in unknown:
        one, shown = safe(near.get(name, "")), safe(name)
        if one and way:
            lacks.append(f"there is no endpoint “{shown}”: did you mean {one}? → {way}")
        else:
            meant = f" (did you mean {one}?)" if one else ""
            lacks.append(f"there is no endpoint “{shown}” yet{meant} → bridge endpoint add {shown} URL")
    if everybody and not await any_endpoint(store):
        lacks.append("no endpoint is registered: events are recorded, nobody is told → bridge endpoint add NAME URL")
    if not await live_workers(store, "poll"):
        lacks.append(f"no worker is running → {deployment.start()}")
    return lacks


async def say_who_lacks(store: "Store", kinds: Sequence["Kind"], named: Sequence[str]) -> None:
    """Warn whoever registered tasks of what no endpoint takes."""
    for lack in await who_lacks(store, kinds, named):
        say(f"! {lack}")


async def who_lacks(store: "Store", kinds: Sequence["Kind"], named: Sequence[str]) -> list[str]:
    """Of other tasks than index tasks, what no endpoint takes: few ask for that unasked."""
    from bridge.kinds import TASK
    from bridge.store.reading.audience import takers

    lacks = []
    for kind in kinds:
        if kind is TASK or (heard := await takers(store, kind, named)) or heard is None:
            continue
        events = f"{TASK.family}*,{kind.family}*"
        who = safe(named[0]) if named else "NAME"
        lacks.append(f"no endpoint takes {kind.family}* yet → bridge endpoint set {who} --events '{events}'")
    return lacks


@task.command()
@click.option("--status", metavar="WORD", help="Only those in this status or state: indexing, gone, waiting, rejected.")
@click.option("--limit", type=click.IntRange(0), default=1_000, show_default=True, help="At most so many; 0 for all.")
@output_option
@click.pass_context
def ls(ctx: click.Context, status: str | None, limit: int, output: str | None, as_json: bool) -> None:
    """List what is watched, due first; then what has ended, the latest first, and what was rejected.

    DELIVERED counts the deliveries of a task's latest event.

    \b
    Examples:
      bridge task ls --status indexing
      bridge task ls --status watched -o ids | bridge task poll -
    """
    from bridge.store.reading.tasks import list_tasks

    views = with_store(ctx, lambda store, _: list_tasks(store, status=status, limit=limit and limit + 1))
    shown = views[:limit] if limit else views
    emit([asdict(view) for view in shown], chosen(ctx, output, as_json), COLUMNS, key="task", spare=SPARE)
    if len(shown) < len(views):
        say(f"There are more than these {limit}: --limit 0 shows all.")
    if status and not views:
        say(f"No task is “{safe(status)}” now{_meant(status)}")


def _meant(status: str) -> str:
    """What a word for which there is no task may have been meant to be. Upstream's words are an open set."""
    from difflib import get_close_matches

    from bridge.store.reading.tasks import STATES

    words = sorted({*STATES, *STATUSES})
    if status in words:
        return "."
    near = get_close_matches(status.lower(), words, 1)
    return f": did you mean “{near[0]}”?" if near else f"; known are {', '.join(words)}."
