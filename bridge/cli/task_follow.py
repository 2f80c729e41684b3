"""`bridge task watch` and `task wait`: stay until tasks have ended."""

import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli import stage
from bridge.cli.output import Columns, above, ago, as_json, chosen, emit, field, output_option, plain, safe, say, when
from bridge.cli.session import ids_from, speakable, with_store
from bridge.cli.task_steer import registering
from bridge.cli.task_trouble import Warnings
from bridge.errors import InvalidInput, NotFound
from bridge.kinds import STATUSES, kind_of
from bridge.orders.moments import seconds_from

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.tasks import TaskView

TASK_FAILED, TIMED_OUT = 7, 124
LOOK_SECONDS = 1.0
"""How often every task is looked at, whatever the stream says."""

NEAR = 0.8
"""How alike a word and a known status are, of 1, for the word to be a slip: “indexed” may be new at TwelveLabs."""

COLUMNS: Columns = (
    ("task", field("task")),
    ("status", field("status")),
    ("updated", when("observed_at")),
    ("note", field("note")),
)

Views = dict[str, "TaskView"]
STAGES_WIDTH = 74
"""Of all stages by name, and of when the task was read."""
Tell = Callable[["TaskView"], None]


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@click.option("--timeout", metavar="TIME", help="Give up after this: 90s, 30m, 2h. Exit code 124.")
@click.option("--for", "wanted", metavar="STATUS", default="ready", show_default=True, callback=speakable,
              help="The status to wait for; a task that is ready has passed every other one.")  # fmt: skip
@output_option
@click.pass_context
def wait(
    ctx: click.Context, ids: tuple[str, ...], timeout: str | None, wanted: str, output: str | None, as_json: bool
) -> int:
    """Wait until registered tasks are ready. Exit code 0 if all are, 7 if one failed, is gone or was taken back.

    Registers nothing: exit code 3 for a task that is not known. A Redis that goes away meanwhile is waited for, too.

    \b
    Examples:
      bridge task wait ID --timeout 30m && ./next-step
      bridge task wait ID --for indexing
    """
    members = _members(ids)
    _doubt(wanted, members[0])
    seconds = seconds_from(timeout) if timeout else None
    views = with_store(ctx, lambda store, settings: _wait(store, settings, members, seconds, wanted))
    emit([asdict(view) for view in views.values()], chosen(ctx, output, as_json), COLUMNS, key="task")
    left = [view for view in views.values() if not _has_come(view, wanted)]
    if any(map(_is_over, left)):
        return TASK_FAILED
    if left:
        say(f"Timed out: {len(left)} of {len(views)} are not {safe(wanted)} yet.")
    return TIMED_OUT if left else 0


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…|-")
@output_option
@click.pass_context
def watch(ctx: click.Context, ids: tuple[str, ...], output: str | None, as_json: bool) -> int:
    """Show registered tasks as they change, until all have ended. Exit code 0 if all are ready, else 7.

    At a terminal a line for each task stays up to date; piped, each change is a line. JSON is an object a line.

    \b
    Examples:
      bridge task watch 6a0b1c2d3e4f5a6b7c8d9e01
      bridge task ls --status indexing -o ids | bridge task watch -
    """
    members = _members(ids)
    how = chosen(ctx, output, as_json)
    views = with_store(ctx, lambda store, settings: _watch(store, settings, members, how))
    return 0 if all(_has_come(view, "ready") for view in views.values()) else TASK_FAILED


def _doubt(wanted: str, member: str) -> None:
    """Refuse a status that is nearly a known one, for which one would wait in vain, and warn of any other that is
    none: upstream's words are an open set."""
    from difflib import get_close_matches

    if wanted in STATUSES:
        return
    told = f"“{safe(wanted)}” is no status that is known"
    if near := get_close_matches(wanted.lower(), sorted(STATUSES), 1, cutoff=NEAR):
        fix = f"bridge task wait {safe(member)} --for {near[0]}"
        raise InvalidInput(f"{told}: did you mean “{near[0]}”?", fix=fix)
    say(f"! {told}; known are {', '.join(sorted(STATUSES))}.")


def _members(words: Sequence[str]) -> list[str]:
    members = ids_from(words)
    for member in members:
        if not member.isprintable():
            raise InvalidInput(f"“{safe(member)}” is not a task id", fix="use the id as TwelveLabs shows it")
    return members


def _has_come(view: "TaskView", wanted: str) -> bool:
    """Whether a task has the status waited for, or is ready, which it is after every other one."""
    return view.status == wanted or (view.status == "ready" and wanted not in kind_of(view.task).terminal)


def _is_over(view: "TaskView") -> bool:
    """Whether nothing more is to be expected of it. What is gone is registered no longer."""
    return view.status in kind_of(view.task).terminal or not view.registered


async def _wait(
    store: "Store", settings: "Settings", members: Sequence[str], seconds: float | None, wanted: str
) -> Views:
    views: Views = {}
    deadline = None if seconds is None else time.monotonic() + seconds
    async with aclosing(_looks(store, settings, members, deadline)) as looks:
        async for looked in looks:
            first, views = not views, views | looked
            waits = [view.task for view in views.values() if not (_has_come(view, wanted) or _is_over(view))]
            if not waits:
                break
            if first:
                more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
                say(f"Waiting for {safe(waits[0])}{more} to be {safe(wanted)}; bridge task watch shows each change.")
    return views


async def _watch(store: "Store", settings: "Settings", members: Sequence[str], how: str) -> Views:
    views: Views = {}
    told: dict[str, tuple[object, ...]] = {}
    with _teller(how, views) as tell:
        async with aclosing(_looks(store, settings, members)) as looks:
            async for looked in looks:
                views |= looked
                for view in looked.values():
                    state = (view.status, view.revision, view.state, view.note)
                    if told.get(view.task) != state:
                        told[view.task] = state
                        tell(view)
                if all(map(_is_over, views.values())):
                    break
    return views


def _looks(
    store: "Store", settings: "Settings", members: Sequence[str], deadline: float | None = None
) -> AsyncGenerator[Views]:
    """As `_looks_on` has it; a Redis that goes away meanwhile is waited for, until the deadline."""
    from bridge.cli.outage import going_on

    warnings = Warnings(store, settings)
    return going_on(store, settings, lambda: _looks_on(store, warnings, members, deadline), deadline=deadline)


async def _looks_on(
    store: "Store", warnings: Warnings, members: Sequence[str], deadline: float | None
) -> AsyncGenerator[Views]:
    """The tasks as they are; then those that an event was about, and every second all of them, and what is amiss."""
    from bridge.store.reading.events import follow, last_cursor
    from bridge.store.reading.tasks import find_tasks

    warnings.begin()
    cursor = await last_cursor(store)
    views = await _first_look(store, members)
    await warnings.look(view for view in views.values() if not _is_over(view))
    yield views
    ours, looked_at = set(members), time.monotonic()
    async with aclosing(follow(store, cursor, deadline=deadline)) as pages:
        async for events in pages:
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                wanted, looked_at = list(members), time.monotonic()
            else:
                wanted = list(dict.fromkeys(event.task for event in events if event.task in ours))
            if wanted:
                views = {view.task: view for view in await find_tasks(store, wanted)}
                if len(wanted) == len(members):
                    await warnings.look(view for view in views.values() if not _is_over(view))
                yield views


async def _first_look(store: "Store", members: Sequence[str]) -> Views:
    """The tasks as they are. NotFound if one of them is neither registered nor ended here."""
    from bridge.store.reading.tasks import find_tasks

    views = {view.task: view for view in await find_tasks(store, members)}
    for view in views.values():
        if not view.registered and view.status is None:
            why = f" (rejected: {safe(view.note)})" if view.note else ""
            fix = view.fix or registering(view.task)
            raise NotFound(f"task {safe(view.task)} is not registered{why}", fix=fix)
    return views


@contextmanager
def _teller(how: str, views: Views) -> Iterator[Tell]:
    """How changes are told: lines, JSON, ids as they end, or at a terminal a live picture of all tasks."""
    if how == "table" and sys.stdout.isatty():
        from rich.live import Live

        console = stage.console()
        live = Live(console=console, refresh_per_second=4, get_renderable=lambda: _picture(views, console.width))
        with live, above(console):
            yield lambda _: None
    else:
        yield lambda view: _tell(view, how)


def _tell(view: "TaskView", how: str) -> None:
    if how in {"json", "jsonl"}:
        click.echo(as_json(plain(asdict(view))))
    elif how == "table":
        note = f"  {safe(view.note)}" if view.note else ""
        click.echo(f"{time.strftime('%H:%M:%S')}  {safe(view.task)}  {safe(view.status or 'not seen yet')}{note}")
    elif _is_over(view):
        click.echo(safe(view.task))


def _picture(views: Views, width: int) -> "RenderableType":
    """A line for each task: its stages as far as they are known, and since when; in short where it is narrow. A note
    that has no room beside them has a line of its own, and no more."""
    from rich.console import Group
    from rich.text import Text

    short = max((len(view.task) for view in views.values()), default=0) + STAGES_WIDTH > width
    rows = [(Text(safe(view.task)), _stages(view, short=short), Text(ago(view.observed_at))) for view in views.values()]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for cells, view in zip(rows, views.values(), strict=True):
        for cell, widest in zip(cells[:-1], widths, strict=False):
            cell.pad_right(widest - cell.cell_len)
        line, note = Text("  ").join(cells), Text(f"  {safe(view.note)}")
        if line.cell_len + note.cell_len > width:
            note.truncate(width, overflow="ellipsis")
            lines += [line, note]
        else:
            lines.append(line + note if view.note else line)
    return Group(*lines)


def _stages(view: "TaskView", *, short: bool) -> "Text":
    """What a status lets one conclude: it has been through those before it, unless it failed, nobody knows where."""
    from rich.text import Text

    status, kind = view.status or "", kind_of(view.task)
    if status in kind.stages:
        return stage.stage_line(kind.stages[: kind.stages.index(status) + 1], kind, short=short)
    if status in kind.terminal:
        heard = {*kind.stages, status} if status == "ready" else {status}
        return stage.stage_line(heard, kind, short=short)
    return Text(safe(status) or "not seen yet")
