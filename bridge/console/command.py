"""`bridge console`: the door."""

import asyncio
import socket
import sys
from typing import TYPE_CHECKING

import rich_click as click

from bridge.cli.output import say
from bridge.cli.session import settings_of
from bridge.deployment import with_extra
from bridge.errors import BridgeError, InvalidInput, SettingsError

if TYPE_CHECKING:
    from bridge.console.access import Access
    from bridge.settings import Settings

ADDRESS = "127.0.0.1:8790"
MAKE_ONE = "export BRIDGE_CONSOLE_TOKEN=$(openssl rand -hex 32), or a file that BRIDGE_CONSOLE_TOKEN_FILE names"
ABREAST = 100
"""The most connections at a time; who comes beyond that is told to come again."""
INSTALL = with_extra("console")


@click.command()
@click.option("--bind", metavar="HOST:PORT", default=ADDRESS, show_default=True, help="Where to listen.")
@click.option("--host", "hosts", metavar="NAME", multiple=True,
              help="A name by which browsers may ask for it, beside this machine's own.")  # fmt: skip
@click.option(
    "--allow-writes", is_flag=True, help="Let who has BRIDGE_CONSOLE_TOKEN register, steer, and send deliveries again."
)
@click.pass_context
def console(ctx: click.Context, bind: str, hosts: tuple[str, ...], allow_writes: bool) -> None:
    """Serve pages that show what the command line shows: tasks, endpoints, deliveries, dead letters, refused entries.

    It reads, and changes nothing unless it is told otherwise. Whoever reaches it may look, so it listens on this
    machine alone; elsewhere, put it behind something that asks who is there. For programs there is an HTTP API below
    /api, by which endpoints and tasks are registered and steered, too; /openapi.json describes it.

    \b
    Examples:
      bridge console
      bridge console --allow-writes
      bridge console --bind 0.0.0.0:8790 --host bridge.example.com
    """
    host, _, port = bind.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise InvalidInput(f"“{bind}” is no address to serve on", fix=f"write HOST:PORT, for example {ADDRESS}")
    settings = settings_of(ctx)
    access = _access(settings, host.strip("[]") or "127.0.0.1", hosts, allow_writes=allow_writes)
    from bridge.cli import stage

    sys.exit(stage.run(_serve(settings, access, host.strip("[]") or "127.0.0.1", int(port)), interrupted=0))


def _access(settings: "Settings", host: str, hosts: tuple[str, ...], *, allow_writes: bool) -> "Access":
    """What is permitted. Raises BridgeError without the extra, SettingsError where a token is needed and missing."""
    try:
        from bridge.console.access import LOOPBACK, Access
    except ModuleNotFoundError as error:
        raise BridgeError(f"the console needs the package {error.name}", fix=INSTALL) from None
    if allow_writes and settings.console_token is None:
        raise SettingsError("--allow-writes needs a token that only operators know", fix=MAKE_ONE)
    token = settings.console_token.get_secret_value() if allow_writes and settings.console_token else ""
    named = frozenset(name.lower() for name in (*hosts, host))
    return Access(token, LOOPBACK | named)


async def _serve(settings: "Settings", access: "Access", host: str, port: int) -> int:
    try:
        import uvicorn

        from bridge.console.app import Console
    except ModuleNotFoundError as error:
        raise BridgeError(f"the console needs the package {error.name}", fix=INSTALL) from None
    from bridge.cli import stage
    from bridge.store import Store

    url, prefix = settings.redis_url.get_secret_value(), settings.prefix
    # Who may write opens the store, and with it the verbs; who may only look writes nothing by opening it.
    opening = Store.open(url, prefix=prefix, allow_volatile=True) if access.writes else Store.look(url, prefix=prefix)
    async with opening as store:
        app = Console(store, settings, access).application()
        with stage.port_errors(port):
            listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off", limit_concurrency=ABREAST
        )
        server = uvicorn.Server(config)
        shown = f"[{host}]" if ":" in host else host
        say(f"The console is at http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends)")
        serving = asyncio.create_task(server.serve([listening]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving
    return 0
