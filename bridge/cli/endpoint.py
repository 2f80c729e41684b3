"""`bridge endpoint`: who is told."""

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.check import check
from bridge.cli.output import Columns, chosen, emit, emit_one, field, output_option, safe, say
from bridge.cli.session import with_store
from bridge.errors import BridgeError, InvalidInput, NotFound

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

SECRET_BYTES = 32


@click.group()
def endpoint() -> None:
    """Register callback URLs, look at them, judge them."""


endpoint.add_command(check)


def _shown_url(row: Any) -> str:
    from bridge.contract import redacted

    return redacted(str(row["url"]).partition("?")[0])


COLUMNS: Columns = (
    ("endpoint", field("endpoint")),
    ("url", _shown_url),
    ("state", lambda row: row["state"] + (f" ({row['reason']})" if row["reason"] else "")),
    ("events", lambda row: ",".join(row["events"])),
    ("pending", field("pending")),
    ("done", field("done")),
    ("dead", field("dead")),
)


@endpoint.command()
@click.argument("name")
@click.argument("url")
@click.option("--secret-file", type=click.Path(exists=True, dir_okay=False), help="File with a whsec_ secret, or - .")
@click.option("--events", metavar="P,…", default="index.task.*", show_default=True, help="Event types it takes.")
@click.option("--tasks", metavar="P,…", default="*", show_default=True, help="Tasks it takes.")
@click.option("--format", "body_format", default="standard", show_default=True, help="How bodies are written.")
@click.option("--ordering", default="first-attempt", show_default=True, help="first-attempt, strict or none.")
@click.option("--replace", is_flag=True, help="Change an endpoint of that name; its secret stays unless given.")
@output_option
@click.pass_context
def add(ctx: click.Context, /, name: str, url: str, **options: Any) -> None:
    """Register a callback URL. Without --secret-file a secret is made, and printed this once.

    \b
    Examples:
      bridge endpoint add billing https://example.com/hook
      bridge endpoint add ends https://example.com/ends --events index.task.ready,index.task.failed
    """
    definition = {
        "url": url,
        "events": [word for word in options["events"].split(",") if word],
        "tasks": [word for word in options["tasks"].split(",") if word],
        "format": options["body_format"],
        "ordering": options["ordering"],
    }
    secret_file = options["secret_file"]
    given = Path(secret_file).read_text().strip() if secret_file else None
    replace = options["replace"]
    made = with_store(ctx, lambda store, settings: _add(store, settings, name, definition, given, replace))
    row = {"endpoint": name, "url": url, "secret": made}
    how = chosen(ctx, options["output"], options["as_json"])
    if how != "table":
        emit_one(row, how, key="endpoint")
        return
    click.echo(f"endpoint  {safe(name)}")
    click.echo(f"url       {safe(url)}")
    if made:
        click.echo(f"secret    {made}")
        say(
            "Keep this secret at the receiver: it is shown this once. `bridge listen --secret-file F` verifies with it."
        )


async def _add(
    store: "Store", settings: "Settings", name: str, definition: dict[str, Any], given: str | None, replace: bool
) -> str | None:
    """Judge, write, take in; replies the secret if it was made here."""
    from bridge.contract import Rejection
    from bridge.contract import endpoint as judged
    from bridge.engine import intake_from, policy_from
    from bridge.signature import generate_secret
    from bridge.store.declaring import Declaring

    declaring = Declaring(store)
    before = await declaring.endpoint_text(name)
    if before is not None and not replace:
        raise InvalidInput(
            f"there is an endpoint “{safe(name)}” already", fix=f"bridge endpoint add {safe(name)} … --replace"
        )
    made = None
    if given is not None:
        definition["secret"] = given
    elif before is not None and (kept := _secret_in(before)):
        definition["secret"] = kept
    elif before is None:
        made = definition["secret"] = generate_secret(secrets.token_bytes(SECRET_BYTES))
    try:
        judged(
            name,
            json.dumps(definition),
            policy_from(settings),
            has_default_secret=bool(settings.delivery_default_secret),
        )
    except Rejection as rejection:
        raise InvalidInput(str(rejection), fix=rejection.fix) from None
    await declaring.write_endpoint(name, definition)
    if await intake_from(store, settings).take_endpoint(name):
        raise BridgeError("the endpoint was refused", fix="see bridge:rejected")
    return made


@endpoint.command()
@output_option
@click.pass_context
def ls(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """List the endpoints in force and what they are owed.

    \b
    Examples:
      bridge endpoint ls
      bridge endpoint ls --json
    """
    from bridge.store.reading import Reading

    rows = with_store(ctx, lambda store, _: Reading(store).endpoints())
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="endpoint")


@endpoint.command()
@click.argument("name")
@output_option
@click.pass_context
def show(ctx: click.Context, name: str, output: str | None, as_json: bool) -> None:
    """Show one endpoint; never its secret.

    \b
    Examples:
      bridge endpoint show billing
    """
    from bridge.store.reading import Reading

    row = with_store(ctx, lambda store, _: Reading(store).endpoint(name))
    if row is None:
        raise _not_found(name)
    emit_one(row, chosen(ctx, output, as_json), key="endpoint")


@endpoint.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.pass_context
def rm(ctx: click.Context, names: tuple[str, ...]) -> int:
    """Take endpoints back; what they are still owed is cancelled.

    \b
    Examples:
      bridge endpoint rm billing
    """
    missing = with_store(ctx, lambda store, settings: _rm(store, settings, names))
    if len(missing) == len(names):
        raise _not_found(missing[0])
    for name in missing:
        say(f"✗ there is no endpoint “{safe(name)}”")
    return 6 if missing else 0


async def _rm(store: "Store", settings: "Settings", names: tuple[str, ...]) -> list[str]:
    from bridge.engine import intake_from
    from bridge.store.declaring import Declaring
    from bridge.store.reading import Reading

    declaring, reading, missing = Declaring(store), Reading(store), list[str]()
    intake = intake_from(store, settings)
    for name in names:
        row = await reading.endpoint(name)
        if not await declaring.remove_endpoint(name):
            missing.append(name)
        elif row:
            say(f"{safe(name)} is gone; {row['pending']} pending deliveries are cancelled")
            await intake.remove_endpoint(name)
    return missing


def _secret_in(text: str) -> str | None:
    try:
        definition = json.loads(text)
    except ValueError:
        return None
    secret = definition.get("secret") if isinstance(definition, dict) else None
    return secret if isinstance(secret, str) else None


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no endpoint “{safe(name)}”", fix="bridge endpoint ls")
