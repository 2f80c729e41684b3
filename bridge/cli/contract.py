"""`bridge contract`: what may be written into Redis by hand, and by whom."""

import rich_click as click

from bridge.acl import OPERATOR, PRODUCER, READER, WORKER, users
from bridge.cli.contract_check import check
from bridge.cli.output import Columns, chosen, emit, field, output_option, say
from bridge.cli.session import settings_of
from bridge.cli.word import Word
from bridge.errors import InvalidInput
from bridge.schemas import SCHEMAS, render

KEYS = (
    ("tasks", "zset", "clients, bridge", "member → Unix seconds: a request when <= now, +inf once taken in"),
    ("task:<member>", "hash", "clients", "options of a task, written before its ZADD (`contract show task`)"),
    ("endpoints", "hash", "clients", "name → JSON (`contract show endpoint`)"),
    ("watches", "hash", "clients", "account | index:<id> → JSON (`contract show watch`)"),
    ("snapshot:<member>", "hash", "bridge", "the last observation: status, updated_at, revision, event_id"),
    ("events", "stream", "bridge", "pointers to events: id, type, task, revision"),
    ("rejected", "hash", "bridge", "task:… | endpoint:… | watch:… → JSON (`contract show rejection`)"),
    ("meta", "hash", "bridge", "version of the data, version of the set of endpoints"),
)
"""The keys of the contract, below the prefix; all others are the bridge's own."""

COLUMNS: Columns = (
    ("key", field("key")),
    ("type", field("type")),
    ("written by", field("written_by")),
    ("meaning", field("meaning")),
)


@click.group()
def contract() -> None:
    """Show and check what may be written into Redis by hand.

    \b
    Examples:
      bridge contract show
      bridge contract check entries.json
      bridge contract acl
    """


contract.add_command(check)


@contract.command()
@click.argument("part", type=Word([*SCHEMAS, "keys"]), default="keys", metavar="[PART]")
@output_option
@click.pass_context
def show(ctx: click.Context, part: str, output: str | None, as_json: bool) -> None:
    """Print a part of the contract: a JSON Schema, or the table of keys (without a name).

    The parts are endpoint, task, watch, event, event-twelvelabs, event-cloudevents, endpoint-event, rejection and keys.

    \b
    Examples:
      bridge contract show
      bridge contract show endpoint > endpoint.schema.json
    """
    if part != "keys":
        click.echo(render(part), nl=False)
        return
    prefix = settings_of(ctx).prefix
    names = ("key", "type", "written_by", "meaning")
    rows = [dict(zip(names, (prefix + key, *rest), strict=True)) for key, *rest in KEYS]
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="key")


@contract.command()
@click.option("--user", metavar="NAME", help="Only this user; another name than the usual ones is a producer's.")
@click.option("--redis", "version", type=Word(["7", "6.2"]), default="7", show_default=True,
              help="Before 7 no key can be granted for reading only: that is a user of its own.")  # fmt: skip
@click.option("--commands", is_flag=True, help="As commands for redis-cli; otherwise as lines of an aclfile.")
@click.pass_context
def acl(ctx: click.Context, user: str | None, version: str, commands: bool) -> None:
    """Print ACL lines: a producer that may register and look, an operator for this CLI, and the worker.

    The passwords are placeholders that Redis refuses until they are replaced.

    \b
    Examples:
      bridge contract acl >> users.acl
      bridge contract acl --user shop --commands
    """
    if user is not None and not (user.isascii() and user.isprintable() and user and " " not in user):
        raise InvalidInput("That is no name of a Redis user", fix="write it in printable ASCII without spaces")
    before_7, prefix = version == "6.2", settings_of(ctx).prefix
    found = list(users(prefix, before_7=before_7))
    if user in {one.name for one in found}:
        found = [one for one in found if one.name == user]
    elif user is not None:
        found = [one for one in users(prefix, before_7=before_7, producer=user) if one.name.startswith(user)]
    for one in found:
        click.echo(one.line(command=commands))
    say('Replace each #SHA256-OF-THE-PASSWORD-OF-… by # and what this prints: printf %s "$PASSWORD" | sha256sum')
    if user is None:
        say(f"The worker connects as {WORKER}, this CLI as {OPERATOR}, whoever writes by hand as {PRODUCER}. "
            "Then ACL SETUSER default off; in an aclfile: user default off ~* &* +@all. It must keep its rights, as "
            "Redis reads its append-only file as that user.")  # fmt: skip
    if told := _who_reads(PRODUCER if user is None else user, before_7=before_7):
        say(told)


def _who_reads(user: str, *, before_7: bool) -> str:
    """As whom a producer looks at what came of it; empty where another user's lines were asked for."""
    producer = user.removesuffix(READER)
    if user in {OPERATOR, WORKER}:
        return ""
    if before_7:
        return (
            f"What came of it is looked at as {producer}{READER}, by a connection of its own: to {producer} Redis "
            "answers NOPERM there."
        )
    return f"A Redis before 7 refuses %R~: that is --redis 6.2, where reading is a user of its own, {producer}{READER}."
