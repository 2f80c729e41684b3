"""`bridge event`: what happened."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import (
    Columns,
    Row,
    as_json,
    chosen,
    emit,
    emit_one,
    field,
    fields_of,
    output_option,
    plain,
    safe,
    say,
    when,
)
from bridge.cli.session import speakable, with_store
from bridge.errors import NotFound
from bridge.formats import rfc3339

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.events import EventView, KeptEvent


@click.group()
def event() -> None:
    """Look at the stream of events.

    \b
    Examples:
      bridge event tail
      bridge event show evt_0bb06a7e892c546f59f0307403e02660
      bridge event ls --task 6a0b1c2d3e4f5a6b7c8d9e01
    """


COLUMNS: Columns = (
    ("event", field("event_id")),
    ("type", field("type")),
    ("task", field("task")),
    ("revision", field("revision")),
    ("committed", when("committed_at")),
    ("cursor", field("cursor")),
)
SPARE = ("cursor", "revision")
"""The columns that a narrow terminal does without, the least needed first."""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `ls` and `tail` have in common."""
    for option in (
        click.option("--type", "event_type", metavar="TYPE", help="Only those of this type; index.task.* is a prefix."),
        click.option("--task", "task_id", metavar="ID", help="Only those of this task."),
        click.option("--after", metavar="ID", callback=speakable, help="Only those after this event id or cursor."),
    ):
        command = option(command)
    return command


def _say_of_type(pattern: str | None) -> None:
    """That no event has such a type, where somebody asks for one."""
    if pattern is None:
        return
    from bridge.hints import event_hints

    for hint in event_hints([pattern]):
        say(f"! {safe(hint)}")


@event.command()
@_filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@output_option
@click.pass_context
def ls(ctx: click.Context, /, **given: Any) -> None:
    """List events in the order of their commits: the latest ones, or the next ones after a cursor.

    \b
    Examples:
      bridge event ls --type index.task.ready
      bridge event ls --after 1763925001123-0 -o jsonl
    """
    from bridge.store.reading.events import events_after, fitting, latest_events, place_of

    async def look(store: "Store", _: Any) -> "list[EventView]":
        fits, limit = fitting(given["task_id"], given["event_type"]), given["limit"]
        if given["after"] is None:
            return await latest_events(store, fits, limit)
        return await events_after(store, await place_of(store, given["after"]), fits, limit)

    rows = [asdict(view) for view in with_store(ctx, look)]
    _say_of_type(given["event_type"])
    emit(rows, chosen(ctx, given["output"], given["as_json"]), COLUMNS, key="event_id", spare=SPARE)


@event.command()
@click.argument("event_id", callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, event_id: str, output: str | None, as_json: bool) -> None:
    """Show one event with its body, which is what is sent in the format `standard`.

    A body is kept while a delivery may need it, and while it tells the state that its task is in.

    \b
    Examples:
      bridge event show evt_0bb06a7e892c546f59f0307403e02660
      bridge event show evt_0bb06a7e892c546f59f0307403e02660 --json | jq .body.data.task
    """
    kept = with_store(ctx, lambda store, _: _kept(store, event_id))
    _show(asdict(kept) | {"body": _read(kept.body)}, chosen(ctx, output, as_json))


async def _kept(store: "Store", event_id: str) -> "KeptEvent":
    """An event with its body. NotFound where that is not kept, or nobody knows it."""
    from bridge.cli.delivery_absent import a_task, tasks_among
    from bridge.store.reading.events import kept_event

    if kept := await kept_event(store, event_id):
        return kept
    if await tasks_among(store, [event_id]):
        raise a_task(event_id)
    raise NotFound(
        f"the body of {safe(event_id)} is not kept (any more), or there never was such an event",
        fix="bridge event ls shows what the stream holds; bridge task poll ID has a task read again",
    )


def _show(row: dict[str, Any], how: str) -> None:
    if how != "table":
        emit_one(row, how, key="event_id")
        return
    body = row.pop("body")
    click.echo(fields_of(row))
    click.echo(as_json(body, indent=2))


def _read(body: bytes) -> Any:
    """What a body says; what somebody wrote over one, as text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace")


@event.command()
@_filters
@click.option("--limit", type=click.IntRange(1), help="End after so many; else at Ctrl-C.")
@output_option
@click.pass_context
def tail(ctx: click.Context, /, **given: Any) -> None:
    """Follow events as they are committed: from now on, or from a cursor.

    Each is a line; as JSON an object a line. A Redis that goes away meanwhile is waited for: nothing is missed.

    \b
    Examples:
      bridge event tail
      bridge event tail -o jsonl | jq .task
    """
    how = chosen(ctx, given["output"], given["as_json"])
    _say_of_type(given["event_type"])
    with_store(ctx, lambda store, settings: _tail(store, settings, how, given))


async def _tail(store: "Store", settings: "Settings", how: str, given: dict[str, Any]) -> None:
    from bridge.cli.outage import going_on
    from bridge.store.reading.events import fitting, follow, last_cursor, place_of

    fits, left = fitting(given["task_id"], given["event_type"]), given["limit"] or -1
    cursor = await last_cursor(store) if given["after"] is None else await place_of(store, given["after"])

    async def further() -> "AsyncGenerator[list[EventView]]":
        nonlocal cursor
        async with aclosing(follow(store, cursor)) as found:
            async for events in found:
                cursor = events[-1].cursor if events else cursor
                yield events

    async with aclosing(going_on(store, settings, further, begun=True)) as pages:
        async for events in pages:
            for one in filter(fits, events):
                click.echo(_line(asdict(one), how))
                left -= 1
                if left == 0:
                    return


def _line(row: Row, how: str) -> str:
    if how in {"json", "jsonl"}:
        return as_json(plain(row))
    if how == "ids":
        return safe(row["event_id"])
    return safe(f"{rfc3339(row['committed_at'])}  {row['type']}  {row['task']}  {row['event_id']}")
