"""`bridge endpoint set` and `rotate`: a definition changed in one place, against whoever else writes it."""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

import rich_click as click

from bridge.cli import output as out
from bridge.cli.defining import rewrite, secret_from, tell_state
from bridge.cli.endpoint_fields import changed, field_options, fields_from, unset_from
from bridge.cli.output import Columns, chosen, emit, emit_one, output_option, safe, say, span
from bridge.cli.session import speakable, with_store
from bridge.errors import InvalidInput
from bridge.formats import rfc3339
from bridge.orders.definitions import Definition, Rewritten, same
from bridge.orders.moments import seconds_from
from bridge.signature import generate_secret

SECRET_BYTES = 32
COLUMNS: Columns = (("field", out.field("field")), ("before", out.field("before")), ("after", out.field("after")))


@click.command("set")
@click.argument("name", callback=speakable)
@click.option("--url", metavar="URL", help="Where it leads.")
@field_options
@click.option("--unset", metavar="FIELD,…", multiple=True,
              help="Back to the default: a field, or one entry such as headers.x-team or metadata.team.")  # fmt: skip
@output_option
@click.pass_context
def set_(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Change what is named of an endpoint, and nothing else of it; judged as `add` does.

    A list is replaced as a whole; of headers and metadata only what is named changes. What is owed stays owed, and goes
    where the endpoint leads then. An endpoint that the bridge had disabled is active again.

    \b
    Examples:
      bridge endpoint set billing --url https://example.com/hook2
      bridge endpoint set billing --events index.task.ready,index.task.failed --ordering strict
      bridge endpoint set billing --auth-file - < bearer
      bridge endpoint set billing --unset rate,headers.x-team
    """
    from bridge.hints import endpoint_warnings

    changes: Definition = ({"url": given["url"]} if given["url"] is not None else {}) | fields_from(given)
    unset = unset_from(given["unset"], changes)
    if not changes and not unset:
        raise InvalidInput("nothing to change was named", fix="name it, as in --url URL; bridge endpoint set --help")
    one = with_store(
        ctx, lambda store, settings: rewrite(store, settings, name, lambda old, now: _set(old, changes, unset, now))
    )
    for hint, fix in endpoint_warnings(name, {"events": changes.get("events", [])}).items():
        say(f"! {safe(hint)} → {safe(fix)}")
    touched = dict.fromkeys([*changes, *(word.partition(".")[0] for word in unset)])
    rows = _differences(one, list(touched))
    emit(rows, chosen(ctx, given["output"], given["as_json"]), COLUMNS, key="field")
    if not rows:
        say(f"{safe(name)} is so already; nothing was written.")
    tell_state(one)


def _set(old: Definition, changes: Definition, unset: Sequence[str], now: int) -> Definition:
    from bridge.hints import misspelt
    from bridge.rotation import without_expired

    made = changed(old, changes, unset)
    ignored = [name for name, meant in misspelt(made).items() if meant in changes]
    made = {name: value for name, value in made.items() if name not in ignored}
    return old if same(made, old) else without_expired(made, now)


def _differences(one: Rewritten, fields: list[str]) -> list[dict[str, Any]]:
    """What was named and is another now; of a URL without what it hides, of headers the names."""
    from bridge.definition import EndpointDefinition

    rows = []
    for field in fields:
        default = EndpointDefinition.model_fields[field].default
        before, after = one.before.get(field, default), one.after.get(field, default)
        if not same(before, after):
            was, is_ = _text(field, before), _text(field, after)
            hides = " (what is hidden)" if was == is_ else ""
            rows.append({"field": field, "before": was, "after": f"{is_}{hides}" if is_ else None})
    return rows


def _text(field: str, value: Any) -> str | None:
    """A field's value as it may be shown; None where there is none."""
    from bridge.redaction import bare, narrated

    if not value:
        return None
    if field == "url":
        return bare(str(value))
    if field == "headers":
        return ", ".join(sorted(value))
    if isinstance(value, dict):
        return narrated("; ".join(f"{name}={_words(one)}" for name, one in value.items()))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(value: Any) -> str:
    from bridge.filters import words_of

    return ",".join(json.dumps(word, ensure_ascii=False) for word in words_of(value))


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
    from bridge.rotation import OVERLAP_SECONDS, old_until, rotated

    overlap = int(seconds_from(given["overlap"]))
    if overlap > OVERLAP_SECONDS:
        raise InvalidInput(f"an old secret goes on for {span(OVERLAP_SECONDS)} at most", fix="--overlap 30d, or less")
    read = secret_from(given["secret_file"]) if given["secret_file"] else None
    new = read or generate_secret(secrets.token_bytes(SECRET_BYTES))

    def change(old: Definition, now: int) -> Definition:
        return rotated(old, new, now_seconds=now, overlap_seconds=overlap)

    one = with_store(ctx, lambda store, settings: rewrite(store, settings, name, change))
    until = old_until(one.after, int(time.time()))
    row = {"endpoint": name, **({} if read else {"secret": new}), "old_secret_until_at": until and until * 1000}
    how = chosen(ctx, given["output"], given["as_json"])
    emit_one(row, how, key="endpoint")
    if not read and how == "ids":
        say("A secret was made, which -o ids does not print: it stands in bridge:endpoints.")
    elif not read:
        say("Copy the secret to the receiver now: it is shown this once.")
    say(f"Until {rfc3339(until * 1000)} the old one signs, too." if until else "Nothing old signs any more.")
    tell_state(one)
