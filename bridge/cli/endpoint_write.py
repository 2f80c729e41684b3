"""`bridge endpoint set` and `rotate`: a definition changed in one place, against whoever else writes it."""

import secrets
from typing import Any

import rich_click as click

from bridge.cli import output as out
from bridge.cli.defining import Definition, Rewritten, rewrite, secret_from, tell_state
from bridge.cli.output import Columns, chosen, emit, emit_one, output_option, safe, say, span
from bridge.cli.session import names_in, seconds_from, speakable, with_store
from bridge.errors import InvalidInput
from bridge.formats import CONTENT_TYPES
from bridge.hints import event_hints
from bridge.model import Ordering
from bridge.signature import generate_secret

SECRET_BYTES = 32
COLUMNS: Columns = (("field", out.field("field")), ("before", out.field("before")), ("after", out.field("after")))


@click.command("set")
@click.argument("name", callback=speakable)
@click.option("--url", metavar="URL", help="Where it leads.")
@click.option("--events", metavar="P,…", multiple=True, help="Event types it takes.")
@click.option("--tasks", metavar="P,…", multiple=True, help="Tasks it takes.")
@click.option("--format", "body_format", type=click.Choice(list(CONTENT_TYPES)), metavar="FORMAT",
              help=f"How bodies are written and signed: {' or '.join(CONTENT_TYPES)}.")  # fmt: skip
@click.option("--ordering", type=click.Choice([str(one) for one in Ordering]), metavar="ORDER",
              help="What the first attempt of a task's event waits for: first-attempt, strict or none.")  # fmt: skip
@output_option
@click.pass_context
def set_(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Change what is named of an endpoint, and nothing else of it; judged as `add` does.

    A list is replaced as a whole. What is owed stays owed, and goes where the endpoint leads then. An endpoint that the
    bridge had disabled is active again.

    \b
    Examples:
      bridge endpoint set billing --url https://example.com/hook2
      bridge endpoint set billing --events index.task.ready,index.task.failed --ordering strict
    """
    named: Definition = {
        "url": given["url"],
        "events": names_in(given["events"]) or None,
        "tasks": names_in(given["tasks"]) or None,
        "format": given["body_format"],
        "ordering": given["ordering"],
    }
    changes = {field: value for field, value in named.items() if value is not None}
    if not changes:
        raise InvalidInput(
            "nothing to change was named", fix="name it: --url, --events, --tasks, --format or --ordering"
        )
    for hint in event_hints(changes.get("events", [])):
        say(f"! {safe(hint)}")
    one = with_store(
        ctx, lambda store, settings: rewrite(store, settings, name, lambda old, now: _set(old, changes, now))
    )
    rows = _differences(one, list(changes))
    emit(rows, chosen(ctx, given["output"], given["as_json"]), COLUMNS, key="field")
    if not rows:
        say(f"{safe(name)} is so already; nothing was written.")
    tell_state(one)


def _set(old: Definition, changes: Definition, now: int) -> Definition:
    from bridge.rotation import without_expired

    if all(field in old and old[field] == value for field, value in changes.items()):
        return old
    return without_expired(old, now) | changes


def _differences(one: Rewritten, fields: list[str]) -> list[dict[str, Any]]:
    """What was named and is another now; of a URL without what it hides."""
    from bridge.contract import EndpointDefinition
    from bridge.redaction import bare

    rows = []
    for field in fields:
        default = EndpointDefinition.model_fields[field].default
        before, after = one.before.get(field, default), one.after[field]
        if before != after:
            shown = [bare(str(one)) if field == "url" else _text(one) for one in (before, after)]
            hides = field == "url" and shown[0] == shown[1]
            rows.append(
                {"field": field, "before": shown[0], "after": shown[1] + (" (what is hidden)" if hides else "")}
            )
    return rows


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@click.command()
@click.argument("name", callback=speakable)
@click.option("--secret-file", metavar="F", help="File with the new secret, whsec_…; - reads it from standard input.")
@click.option("--overlap", metavar="TIME", default="24h", show_default=True,
              help="How long the old secret signs, too; 0 ends all old ones at once.")  # fmt: skip
@output_option
@click.pass_context
def rotate(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Give an endpoint a new secret. For a while the old one signs, too, so that the receiver can change over.

    Without --secret-file a secret is made, and printed this once. Every request carries both signatures meanwhile:
    either secret verifies it. After a leak, --overlap 0 ends the old one at once.

    \b
    Examples:
      bridge endpoint rotate billing
      bridge endpoint rotate billing --secret-file new.whsec --overlap 7d
    """
    from bridge.rotation import OVERLAP_SECONDS, rotated

    overlap = int(seconds_from(given["overlap"]))
    if overlap > OVERLAP_SECONDS:
        raise InvalidInput(f"an old secret goes on for {span(OVERLAP_SECONDS)} at most", fix="--overlap 30d, or less")
    read = secret_from(given["secret_file"]) if given["secret_file"] else None
    new = read or generate_secret(secrets.token_bytes(SECRET_BYTES))

    def change(old: Definition, now: int) -> Definition:
        return rotated(old, new, now_seconds=now, overlap_seconds=overlap)

    one = with_store(ctx, lambda store, settings: rewrite(store, settings, name, change))
    until = max((old["until"] for old in one.after.get("previous_secrets", [])), default=None)
    row = {"endpoint": name, **({} if read else {"secret": new}), "old_secret_until_at": until and until * 1000}
    how = chosen(ctx, given["output"], given["as_json"])
    emit_one(row, how, key="endpoint")
    if not read and how == "ids":
        say("A secret was made, which -o ids does not print: it stands in bridge:endpoints.")
    elif not read:
        say("Copy the secret to the receiver now: it is shown this once.")
    say(f"The old one signs for {span(overlap)} more, beside it." if overlap else "Nothing old signs any more.")
    tell_state(one)
