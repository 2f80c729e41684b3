"""`bridge export`: what clients registered, as JSON lines."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import as_json, safe, say
from bridge.cli.progress import bar
from bridge.cli.session import with_store

if TYPE_CHECKING:
    from bridge.manifest import Line
    from bridge.sealing import Keyring
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY = 6
TASKS = 1_000_000
"""The most tasks that are exported."""
REPORTED = 100
"""The most entries that are named as not to be exported."""


@dataclass
class Told:
    """What became of it."""

    left_out: int = 0
    closed: int = 0
    """Endpoints with a secret that no key here opens."""
    unsayable: list[str] = field(default_factory=list)
    more: bool = False


@click.command()
@click.option("--with-secrets", is_flag=True, help="Signing secrets, header values and whole URLs too: a backup.")
@click.pass_context
def export(ctx: click.Context, with_secrets: bool) -> int:
    """Print endpoints, watches and tasks as JSON lines, for `bridge import`.

    Without --with-secrets no secret is printed; where the endpoint is still there, `bridge import` keeps what it has.
    Events and deliveries are no part of it.

    \b
    Examples:
      bridge export > registry.jsonl
      (umask 077; bridge export --with-secrets > backup.jsonl)
      bridge export | grep '"kind": "endpoint"' | BRIDGE_PREFIX=other: bridge import -
    """
    told = with_store(ctx, lambda store, settings: _export(store, settings, with_secrets=with_secrets), look=True)
    for text in told.unsayable[:REPORTED]:
        say(text)
    if len(told.unsayable) > REPORTED:
        say(f"✗ and {len(told.unsayable) - REPORTED} more")
    if told.more:
        say(f"✗ there are more than {TASKS} tasks; the rest is not exported")
    if told.closed:
        say(
            f"! Secrets of {told.closed} endpoints are printed as they are sealed: no key here opens them "
            "(BRIDGE_SECRETS_KEY)."
        )
    if with_secrets:
        say("! This holds secrets: keep it where only you can read it.")
    elif told.left_out:
        say(
            f"Without secrets: what may be one is left out of {told.left_out} fields (header values, queries, tokens "
            "of URLs). For a Redis that has none of these endpoints: bridge export --with-secrets"
        )
    return PARTLY if told.unsayable or told.more else 0


async def _export(store: "Store", settings: "Settings", *, with_secrets: bool) -> Told:
    from bridge.manifest import END, HEAD, endpoint_line, task_line, watch_line
    from bridge.store.reading.trips import check_cancelled, pieces
    from bridge.store.reading.written import options_of, read_endpoints, read_watches, scan_tasks
    from bridge.wiring import keyring_from

    told = Told()
    endpoints, keyring = await read_endpoints(store.client, store.keys), keyring_from(settings)
    if with_secrets:
        endpoints = {name: _opened(told, keyring, name, text) for name, text in endpoints.items()}
    scores, told.more = await scan_tasks(store.client, store.keys, TASKS)
    lines = [
        _line(told, f"endpoint {_shown(name)}", partial(endpoint_line, name, text, with_secrets=with_secrets))
        for name, text in sorted(endpoints.items())
    ]
    lines += [
        _line(told, f"watch {_shown(name)}", partial(watch_line, name, text, with_secrets=with_secrets))
        for name, text in sorted((await read_watches(store.client, store.keys)).items())
    ]
    _print([as_json(HEAD), *lines])
    with bar("Exporting", len(scores), shown=not sys.stdout.isatty()) as advance:
        for piece in pieces(sorted(scores)):
            check_cancelled()
            options = await options_of(store.client, store.keys, piece)
            tasks = zip(piece, options, strict=True)
            _print(
                [
                    _line(told, f"task {_shown(member)}", partial(task_line, member, one, with_secrets=with_secrets))
                    for member, one in tasks
                ]
            )
            advance(len(piece))
    _print([as_json(END)])
    return told


def _opened(told: Told, keyring: "Keyring", raw: bytes, text: bytes) -> bytes:
    """A definition with its secrets open, as far as a key is here; what cannot be read is told of by its line."""
    try:
        name = raw.decode()
        told.closed += keyring.closed(name, text.decode()) is not None
        return keyring.opened_text(name, text.decode()).encode()
    except ValueError:
        return text


def _line(told: Told, what: str, say_it: "Callable[[], Line]") -> str:
    """One line; empty for what none can say, which is noted."""
    from bridge.rejection import Rejection

    try:
        line = say_it()
    except Rejection as rejection:
        told.unsayable.append(f"✗ {what} is not exported: {safe(rejection)}\n  → {safe(rejection.fix)}")
        return ""
    told.left_out += line.left_out
    return as_json(line.fields)


def _print(lines: Iterable[str]) -> None:
    if text := "\n".join(filter(None, lines)):
        click.echo(text)


def _shown(name: bytes) -> str:
    from bridge.rejection import rejected_field

    return safe(rejected_field("", name)[1:])
