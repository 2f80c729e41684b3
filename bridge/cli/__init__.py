"""The command line: a noun, then a verb. `bridge help exit-codes` says what the exit codes mean.

Commands are imported when they are asked for: `bridge --help` and `bridge endpoint check` need neither Redis nor RQ.
"""

import importlib
import sys
from typing import Any

import rich_click as click
from click.exceptions import Abort, Exit

from bridge import __version__
from bridge.cli.output import FORMATS
from bridge.errors import BridgeError

COMMANDS = {
    "demo": "bridge.cli.demo:demo",
    "dev": "bridge.cli.dev:dev",
    "listen": "bridge.cli.listen:listen",
    "worker": "bridge.cli.operate:worker",
    "status": "bridge.cli.operate:status",
    "health": "bridge.cli.operate:health",
    "task": "bridge.cli.task:task",
    "endpoint": "bridge.cli.endpoint:endpoint",
    "event": "bridge.cli.event:event",
    "delivery": "bridge.cli.delivery:delivery",
    "config": "bridge.cli.config:config",
}

EPILOG = """Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 auth, 5 a dependency is down, 6 partly done,
7 a watched task failed, 124 timed out, 130 interrupted."""


class LazyGroup(click.RichGroup):
    """Imports a command when it is used or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bridge")
@click.option("-o", "--output", type=click.Choice(FORMATS), help="How data is printed; also after the verb.")
@click.option("--config", metavar="FILE", help="Another config/bridge.toml.")
@click.pass_context
def bridge(ctx: click.Context, output: str | None, config: str | None) -> None:
    """Watches TwelveLabs tasks and POSTs signed change events to callback URLs.

    Start with `bridge demo`: it needs no key and no Redis.
    """
    ctx.obj = {"output": output, "config": config}


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and exits; what a person can cause ends without a traceback."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command; replies the exit code."""
    try:
        outcome: Any = bridge.main(arguments, prog_name="bridge", standalone_mode=False)
    except Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    except BridgeError as error:
        click.echo(f"Error: {error}" + (f"\n  → {error.fix}" if error.fix else ""), err=True)
        return error.exit_code
    return outcome if isinstance(outcome, int) else 0
