"""`bridge init`: the files that a new installation needs, in the current directory."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import rich_click as click

from bridge.cli.calling import program
from bridge.cli.output import Columns, chosen, emit, field, output_option, safe, say
from bridge.errors import BridgeError

SECRET_BYTES = 32
SECRET_FILE = "config/secrets/bridge_delivery_default_secret"  # noqa: S105  no secret: where it lies
SECRET_SETTING = "BRIDGE_DELIVERY_DEFAULT_SECRET"  # noqa: S105  no secret: how the setting is called

RUN_AS = "RUN_AS"
"""Whom docker-compose.yml runs the bridge as; no setting of ours."""

DOTENV = f"""# Read by each `bridge` and worker that starts in this directory. The environment wins over it, and it wins
# over config/bridge.toml, where all settings stand: each of them may stand here, as BRIDGE_<NAME>, and so may whatever
# the documentation sets by `export`. `bridge config show` says what is in force, and why.
# It may hold secrets: keep it out of git.

# Signs for endpoints that have no secret of their own, and for tasks' callback URLs. `bridge init` made it.
{SECRET_SETTING}_FILE={SECRET_FILE}

# The key of your TwelveLabs account, or the file that holds it.
# TWELVELABS_API_KEY=tlk_…
# TWELVELABS_API_KEY_FILE=config/secrets/twelvelabs_api_key

# Where TwelveLabs is. This is where `bridge simulate` serves one, whose key is tlk_sandbox.
# BRIDGE_TWELVELABS_BASE_URL=http://127.0.0.1:8788/v1.3

# Where Redis is. It holds everything: start it with config/redis.conf, or with its settings.
# BRIDGE_REDIS_URL=redis://127.0.0.1:6379/0

# As whom docker-compose.yml runs the bridge: user and group of this directory, as only its owner may read its secrets.
%s

# For receivers on your own machine or network; by default only public https:// URLs are called.
# BRIDGE_DELIVERY_ALLOW_NETWORKS=127.0.0.1/32
# BRIDGE_DELIVERY_ALLOW_HTTP=true
"""

COLUMNS: Columns = (("result", field("result")), ("file", field("file")))


class Made(NamedTuple):
    """A file of a new installation."""

    path: str
    content: Callable[[], str]
    mode: int = 0o644


def files() -> tuple[Made, ...]:
    """What is written, in order."""
    return (
        Made("config/bridge.toml", _bridge_toml),
        Made("config/endpoints.toml", lambda: template("endpoints.toml")),
        Made("config/redis.conf", lambda: template("redis.conf")),
        Made("config/secrets/.gitignore", lambda: "*\n!.gitignore\n"),
        Made(SECRET_FILE, _new_secret, 0o600),
        Made(".env", lambda: DOTENV % run_as(), 0o600),
    )


def run_as() -> str:
    """The line of `.env` by which containers may read what this user writes."""
    return f"{RUN_AS}={os.getuid()}:{os.getgid()}"


def template(name: str) -> str:
    """A file of `config/` as this bridge brings it along: in the installed package, or in its checkout."""
    import bridge

    package = Path(bridge.__file__).parent
    for path in (package / "templates" / name, package.parent / "config" / name):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise BridgeError(f"this installation lacks its template {name}", fix="install bridge-for-twelvelabs anew")


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be created, and write nothing.")
@output_option
@click.pass_context
def init(ctx: click.Context, dry_run: bool, output: str | None, as_json: bool) -> None:
    """Write what a new installation needs into the current directory: settings, endpoints, redis.conf, a secret.

    A file that is there already is kept as it is.

    \b
    Examples:
      bridge init --dry-run
      mkdir my-bridge && cd my-bridge && bridge init
    """
    rows = []
    for made in files():
        there = os.path.lexists(made.path)
        if not there and not dry_run:
            there = not _create(made)
        rows.append({"result": "kept" if there else "would create" if dry_run else "created", "file": made.path})
    emit(rows, chosen(ctx, output, as_json), COLUMNS, key="file")
    kept = [str(row["file"]) for row in rows if row["result"] == "kept"]
    for line in _next(dry_run, kept_env=".env" in kept, kept_all=len(kept) == len(rows)):
        say(line)


def _create(made: Made) -> bool:
    """Write one file; False if somebody made it meanwhile. One that cannot be written whole is not left behind."""
    path = Path(made.path)
    content = made.content().encode()
    try:
        _make_directory(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, made.mode)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        path.unlink()
        raise _unwritable(path, error) from None
    return True


def _make_directory(path: Path) -> None:
    """Make it and those above it; one for secrets is its owner's alone."""
    if path.is_dir():
        return
    if os.path.lexists(path):
        raise NotADirectoryError(0, f"{path} is not a directory")
    _make_directory(path.parent)
    path.mkdir(mode=0o700 if path.name == "secrets" else 0o755, exist_ok=True)


def _unwritable(path: Path, error: OSError) -> BridgeError:
    return BridgeError(
        f"{path} cannot be written: {safe(error.strerror)}", fix="free the place, or run it in another directory"
    )


def _bridge_toml() -> str:
    from bridge.settings import render_toml

    return render_toml()


def _new_secret() -> str:
    from bridge.signature import generate_secret

    return generate_secret(secrets.token_bytes(SECRET_BYTES)) + "\n"


def _next(dry_run: bool, *, kept_env: bool, kept_all: bool) -> Iterator[str]:
    """What to do now."""
    if dry_run:
        yield "Nothing was written."
        return
    if kept_env and SECRET_SETTING not in _text(Path(".env")):
        yield f"! .env was there and does not name the secret; add this line: {SECRET_SETTING}_FILE={SECRET_FILE}"
    if kept_env and RUN_AS not in _text(Path(".env")):
        yield f"! .env was there; for docker compose, which could not read the secret: echo {run_as()} >> .env"
    bridge = program()
    if kept_all:
        yield f"All of it was there, and is as it was. What is still missing, and what mends it: {bridge} doctor"
        return
    yield f"""Next, with TWELVELABS_API_KEY=tlk_… in .env (and BRIDGE_REDIS_URL, if a Redis runs elsewhere):
  redis-server config/redis.conf &
  {bridge} worker &
  {bridge} endpoint add NAME https://…
  {bridge} task add TASK_ID
Each `endpoint add` makes a secret, and prints it once. With --default-secret it is
the one made here instead, by which `{bridge} listen` verifies.
Endpoints can also be written into config/endpoints.toml: {bridge} import config/endpoints.toml
What is still missing, and the command that mends it: {bridge} doctor"""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
