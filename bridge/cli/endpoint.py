"""`bridge endpoint`: who is told."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from shlex import quote
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rich_click as click

from bridge.cli import output as out
from bridge.cli.check import check
from bridge.cli.defining import check as check_definition
from bridge.cli.defining import secret_from
from bridge.cli.endpoint_fields import field_options, fields_from
from bridge.cli.endpoint_remove import rm
from bridge.cli.endpoint_steer import disable, enable, recover
from bridge.cli.endpoint_try import test
from bridge.cli.endpoint_write import rotate, set_
from bridge.cli.metadata import as_word
from bridge.cli.output import Columns, Row, chosen, emit, emit_one, output_option, safe, say, when
from bridge.cli.session import settings_of, speakable, with_store
from bridge.errors import InvalidInput
from bridge.filters import star_of
from bridge.formats import STANDARD, TWELVELABS, rfc3339
from bridge.model import V1, Ordering
from bridge.orders.definitions import absent, held_still, take_in
from bridge.signature import generate_secret

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.endpoints import EndpointView
    from bridge.waiting import Advice

SECRET_BYTES = 32
ALWAYS_WRITTEN = {
    "events": ["index.task.*"],
    "tasks": ["*"],
    "format": STANDARD,
    "ordering": str(Ordering.FIRST_ATTEMPT),
}
"""What a definition says even where it is the default, so that who reads it in Redis need not know the defaults."""
AT_DEFAULT: dict[str, Any] = {
    "tasks": ("*",), "indexes": ("*",), "format": STANDARD, "ordering": str(Ordering.FIRST_ATTEMPT), "failures": 0,
    "supersede": False, "signatures": (V1,), "handshake": "none", "consented": True,
}  # fmt: skip
"""What is shown of an endpoint only where it is otherwise."""


@click.group()
def endpoint() -> None:
    """Register callback URLs, look at them, try them; hold them, let them go, recover what died.

    \b
    Examples:
      bridge endpoint add billing https://example.com/hook
      bridge endpoint ls
      bridge endpoint test billing
      bridge endpoint recover billing --since 2d
      bridge endpoint check https://example.com/hook --resolve
    """


for command in (check, disable, enable, recover, rm, rotate, set_, test):
    endpoint.add_command(command)


def _state(row: Row) -> str:
    probe = f"next probe {out.soon(row['probe_at'])}" if row["pending"] else "asked by what comes next"
    probed = f", {probe}" if row["probe_at"] else ""
    return f"{row['state']} ({row['reason']}{probed})" if row["reason"] else str(row["state"])


def _heard(row: Row) -> str:
    """What it hears of: types of events, and after a semicolon what more is asked of their tasks."""
    asked = [f"{name}={','.join(map(as_word, words))}" for name, words in row["metadata"].items()]
    for one, many in (("index", "indexes"), ("task", "tasks")):
        if (patterns := tuple(row[many])) not in {("*",), ()}:
            asked.append(f"{one} {patterns[0]}" if len(patterns) == 1 else f"{len(patterns)} {many}")
    return "; ".join([", ".join(row["events"]), *asked])


COLUMNS: Columns = (
    ("endpoint", out.field("endpoint")),
    ("url", out.field("url")),
    ("events", _heard),
    ("state", _state),
    ("pending", out.field("pending")),
    ("delivered", out.field("delivered")),
    ("dead", out.field("dead")),
    ("last", when("last_at")),
    ("note", lambda row: row["note"] or (f"last error: {row['last_error']}" if row["last_error"] else "—")),
)
STANDING = {"active": "active_since_at", "disabled": "disabled_since_at"}
"""What `since_at` is called in each state, so that nobody takes it for another moment."""
SPARE = ("last", "delivered")
"""The columns that a narrow terminal does without, the least needed first."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `endpoint add` was asked for."""

    name: str
    definition: dict[str, Any]
    secret: str | None = field(repr=False)
    """From --secret-file."""
    by_default: bool
    """The default secret signs, and none of its own."""
    replace: bool


@endpoint.command()
@click.argument("name", callback=speakable)
@click.argument("url")
@click.option("--secret-file", metavar="F", help="File with the secret: whsec_…, or what TwelveLabs reveals for "
              "--format twelvelabs; - reads it from standard input.")  # fmt: skip
@click.option("--default-secret", is_flag=True, help="Sign with BRIDGE_DELIVERY_DEFAULT_SECRET, and make no secret.")
@field_options
@click.option(
    "--replace", is_flag=True, help="Write an existing endpoint anew; only its secret stays, unless one is given."
)
@output_option
@click.pass_context
def add(ctx: click.Context, /, name: str, url: str, **options: Any) -> None:
    """Register a callback URL. Without --secret-file or --default-secret a secret is made, and printed this once.

    With --signatures v1,v1a each request also has a signature that a public key verifies (`bridge key show`); with v1a
    alone there is no secret.

    With --format twelvelabs a receiver of TwelveLabs' own webhooks hears of a task's end as it is: the same envelope,
    signed in TL-Signature by the secret that it knows already.

    \b
    Examples:
      bridge endpoint add billing https://example.com/hook
      bridge endpoint add ends https://example.com/ends --events index.task.ready,index.task.failed
      bridge endpoint add billing https://example.com/hook --secret-file - --replace < secret
      bridge endpoint add video https://example.com/video --metadata team=video --rate 10/s --auth-file bearer
      bridge endpoint add old https://example.com/twelvelabs --format twelvelabs --secret-file revealed
    """
    from bridge.hints import endpoint_warnings

    if options["secret_file"] and options["default_secret"]:
        raise click.UsageError("--secret-file and --default-secret: which one signs?")
    if [options["secret_file"], options["auth_file"]].count("-") > 1:
        raise click.UsageError("--secret-file and --auth-file: only one of them can be on standard input.")
    definition = {"url": url, **ALWAYS_WRITTEN, **fields_from(options)}
    given = secret_from(options["secret_file"]) if options["secret_file"] else None
    wish = Wish(name, definition, given, options["default_secret"], options["replace"])
    made, shown_url = with_store(ctx, lambda store, settings: _add(store, settings, wish))
    for hint, fix in endpoint_warnings(name, {"events": definition["events"]}).items():
        say(f"! {safe(hint)} → {safe(fix)}")
    how = chosen(ctx, options["output"], options["as_json"])
    emit_one({"endpoint": name, "url": shown_url, **({"secret": made} if made else {})}, how, key="endpoint")
    if made and how == "ids":
        say("A secret was made, which -o ids does not print: it stands in bridge:endpoints.")
    elif made:
        if definition["format"] == TWELVELABS:
            say("All of its text is the key of TL-Signature, whsec_ included.")
        say("Copy the secret to the receiver now: it is shown this once (`bridge listen --secret-file F` uses it too).")
    named = "" if _is_address(url) else ", nor its name looked up"
    called = "Written anew" if options["replace"] else f"It was not called yet{named}"
    say(f"{called}; try it → bridge endpoint test {quote(safe(name))}")


def _is_address(url: str) -> bool:
    """Whether its host is one already: there is no name to look up."""
    try:
        ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


async def _add(store: "Store", settings: "Settings", wish: Wish) -> tuple[str | None, str]:
    """Judge, write, take in; replies the secret if it was made here, and the URL as it may be shown."""
    from bridge.redaction import bare
    from bridge.store.declaring import Declaring
    from bridge.wiring import keyring_from

    declaring, name, keyring = Declaring(store), wish.name, keyring_from(settings)
    before = await declaring.endpoint_text(name)
    if before is not None and not wish.replace:
        raise _exists(name, wish.secret)
    known = {} if before is None or wish.by_default else _secrets_in(before)
    kept = {"secret": wish.secret} if wish.secret else known
    lacks = V1 in wish.definition.get("signatures", (V1,)) and not (kept or wish.by_default or _read(before))
    made = generate_secret(secrets.token_bytes(SECRET_BYTES)) if lacks else None
    definition = wish.definition | kept | ({"secret": made} if made else {})
    if before is not None:  # written anew, one that the bridge had disabled is active again, be it otherwise as it was
        definition["x-written"] = rfc3339(int(time.time() * 1000))
    check_definition(settings, name, keyring.opened(name, definition))
    if not await declaring.write_endpoint(name, keyring.sealed(name, definition), replace=wish.replace):
        raise _exists(name, wish.secret)
    await take_in(store, settings, name)
    for held in await held_still(store, name):
        say(f"! {held}")
    if lost := _headers_in(before) - _headers_in(json.dumps(definition)):
        say(f"! Headers that were not named again are gone: {safe(', '.join(sorted(lost)))}")
    return made, bare(definition["url"])


def _exists(name: str, secret: str | None) -> InvalidInput:
    signs = "the secret of that file signs then" if secret else "it keeps its secret"
    return InvalidInput(
        f"there is an endpoint “{name}” already",
        fix=f"add --replace to write it anew ({signs}), or choose another name",
    )


@endpoint.command()
@output_option
@click.pass_context
def ls(ctx: click.Context, output: str | None, as_json: bool) -> None:
    """List the endpoints: where they lead, how they fare, what they are owed.

    Those of tasks' callback URLs are called url:…; of a URL neither its query nor what may be a
    token in its path is shown.

    \b
    Examples:
      bridge endpoint ls
      bridge endpoint ls --json
    """
    from bridge.store.reading.endpoints import list_endpoints

    views = with_store(ctx, lambda store, _: list_endpoints(store))
    emit([row_of(view) for view in views], chosen(ctx, output, as_json), COLUMNS, key="endpoint", spare=SPARE)


@endpoint.command()
@click.argument("name", callback=speakable)
@output_option
@click.pass_context
def show(ctx: click.Context, name: str, output: str | None, as_json: bool) -> None:
    """Show one endpoint; never its secret, nor what its headers hold.

    The table leaves out what is empty or stands at its default; -o json has every field.

    \b
    Examples:
      bridge endpoint show billing
      bridge endpoint show billing --json
    """
    view = with_store(ctx, lambda store, _: _found(store, name))
    row, how = row_of(view), chosen(ctx, output, as_json)
    emit_one(_telling(row, settings_of(ctx)) if how == "table" else row, how, key="endpoint")
    for hint in _advised(view):
        say(safe(hint))


async def _found(store: "Store", name: str) -> "EndpointView":
    """All that is known of an endpoint. NotFound where there is no trace of it."""
    from bridge.store.reading.endpoints import find_endpoint

    if view := await find_endpoint(store, name):
        return view
    raise await absent(store, name)


def _telling(row: Row, settings: "Settings") -> Row:
    """A row without the fields that stand at their defaults, and with what a star stands for where that is less."""
    defaults = AT_DEFAULT | {"concurrency": settings.delivery_endpoint_concurrency}
    told = {name: value for name, value in row.items() if name not in defaults or value != defaults[name]}
    told = {STANDING.get(row["state"], "") if name == "since_at" else name: value for name, value in told.items()}
    told.pop("", None)  # of one that is held, how long it fails says more
    if (star := star_of(row["format"])) and any(pattern.endswith("*") for pattern in row["events"]):
        told["events"] = f"{', '.join(row['events'])} (in this format a star stands for {star} alone)"
    return told


def _advised(view: "EndpointView") -> "Sequence[Advice]":
    """What ends its hold, else what its latest error suggests."""
    from bridge.waiting import Standing, hold_of, of_disabled, remedies

    hold = hold_of(Standing(view.state, view.reason or "", by=view.by or ""), None)
    if hold and view.state == "disabled" and not view.fix:  # that is of the definition, and shown with it
        return of_disabled(view.name, asdict(hold), view.last_error or "")
    return remedies(view.name, view.last_error or "")


def row_of(view: "EndpointView") -> dict[str, Any]:
    """The view under the names that are shown; a secret is its kind, never its text."""
    row = asdict(view)
    count = row.pop("secrets")
    kind = "its own" if row["format"] == TWELVELABS else "whsec_…"
    secret = kind + (f" ({count})" if count > 1 else "") if count else "BRIDGE_DELIVERY_DEFAULT_SECRET"
    if view.state == "rejected" or V1 not in view.signatures:  # nothing of it was kept, or no secret signs
        secret = ""
    return {"endpoint": row.pop("name"), **row, "secret": secret}


def _secrets_in(text: str) -> dict[str, Any]:
    """The secrets of a definition: the one in force, and those that still sign beside it."""
    from bridge.rotation import SECRET_FIELDS, without_expired

    definition = _read(text)
    if not isinstance(definition.get("secret"), str):
        return {}
    known = without_expired(definition, int(time.time()))
    return {field: known[field] for field in SECRET_FIELDS if field in known}


def _headers_in(text: str | None) -> set[str]:
    """The names of the headers that a definition adds."""
    headers = _read(text).get("headers")
    return {name.lower() for name in headers} if isinstance(headers, dict) else set()


def _read(text: str | None) -> dict[str, Any]:
    """A definition as somebody wrote it; nothing where it is none."""
    try:
        definition = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return definition if isinstance(definition, dict) else {}
