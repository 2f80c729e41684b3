"""The command line: a noun, then a verb.

Commands are imported when they are used, not when they are listed: `bridge --help` and `bridge endpoint check` need
neither Redis nor RQ.
"""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rich_click as click
from click.exceptions import Abort, Exit, NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import CompletionItem

from bridge import __version__
from bridge.cli.calling import as_typed, program
from bridge.cli.output import FORMATS, FORMS, complain, read_or_not
from bridge.cli.page import LOOK, PageContext, dressed
from bridge.cli.unknown import path_of, unknown_command
from bridge.cli.word import Word
from bridge.errors import BridgeError, InvalidInput, WrongOption

COMMANDS = {
    "demo": ("bridge.cli.demo:demo", "Watch the main job, from a video to a signed event. Needs no key and no Redis."),
    "dev": ("bridge.cli.dev:dev", "Watch real tasks in the foreground, with a line for each event."),
    "listen": ("bridge.cli.listen:listen", "Receive deliveries on this machine and verify each one."),
    "verify": ("bridge.cli.verify:verify", "Say whether a received request is ours, and if not, why."),
    "simulate": ("bridge.cli.simulate:simulate", "Serve a simulated TwelveLabs: any id is a video there."),
    "init": ("bridge.cli.init:init", "Write what a new installation needs into the current directory."),
    "worker": ("bridge.cli.operate:worker", "Run the worker, as `python worker.py` does."),
    "doctor": ("bridge.cli.doctor:doctor", "Look at everything; say what is wrong, why, and the next command."),
    "status": ("bridge.cli.operate:status", "Show the whole bridge on one screen."),
    "health": ("bridge.cli.operate:health", "Say in one line whether work drains."),
    "metrics": ("bridge.cli.metrics:metrics", "Print the figures that Prometheus reads, or serve them."),
    "console": ("bridge.console.command:console", "Serve pages with what the command line shows."),
    "task": ("bridge.cli.task:task", "Register tasks, look at them, wait for them."),
    "watch": ("bridge.cli.watch:watch", "Watch an index or the account: its tasks are registered by themselves."),
    "endpoint": ("bridge.cli.endpoint:endpoint", "Register callback URLs, try, hold and recover them."),
    "event": ("bridge.cli.event:event", "Look at the stream of events."),
    "delivery": ("bridge.cli.delivery:delivery", "Look at deliveries and their attempts, retry or cancel them."),
    "rejected": ("bridge.cli.rejected:rejected", "Look at entries that were refused, and why."),
    "replay": ("bridge.cli.replay:replay", "Send again what has ended, by range: dead letters, or what was delivered."),
    "key": ("bridge.cli.key:key", "Make the keys that sign v1a, and show their public halves."),
    "contract": ("bridge.cli.contract:contract", "Show and check what may be written into Redis by hand."),
    "config": ("bridge.cli.config:config", "Look at the configuration."),
    "export": ("bridge.cli.exporting:export", "Print endpoints, watches and tasks as JSON lines, without secrets."),
    "import": ("bridge.cli.importing:import_", "Register what a file declares: JSON lines, or config/endpoints.toml."),
    "completion": ("bridge.cli.completion:completion", "Print the completion script of bash, zsh or fish."),
}
"""Name → where the command is, and what a list of commands says of it."""

EXIT_CODES = {
    0: "ok",
    1: "failed",
    2: "usage",
    3: "not found",
    4: "auth",
    5: "a dependency is down",
    6: "partly done",
    7: "a watched task failed",
    124: "timed out",
    130: "interrupted",
}
EPILOG = f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}."

TOO_MANY = "Got unexpected extra argument"
"""What click says of a word too many: often there is a blank in what was meant as one word."""
PORT_OPTION = "--port"
"""What many a program has, and we have otherwise: the near name, --host, would be another thing."""
NO_NUMBER = {
    "integer range": "no whole number",
    "float range": "no number",
    "integer": "no whole number",
    "float": "no number",
}
"""What click calls an option that takes numbers, and what is said of a value that is none."""
COLLECTED_AFTER = 10_000
"""So many new objects before Python looks for garbage (by itself 700): a command imports much, and drops little."""
CONTEXT = {"help_option_names": ["-h", "--help"], "rich_help_config": LOOK}


class LazyGroup(click.RichGroup):
    """Imports a command when it is used; a list of commands makes do with what is known of each."""

    context_class = PageContext
    _listing = False

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As click does; its help may be read by nobody."""
        with read_or_not():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; what is printed may be read by nobody. After a noun, too, `help` is its page."""
        with read_or_not():
            try:
                return super().invoke(ctx)
            except NoSuchCommand as error:
                if error.command_name != "help" or error.ctx is None:
                    raise
                click.echo(error.ctx.get_help())
                return 0

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target, short = COMMANDS.get(cmd_name, ("", ""))
        if not target:
            return super().get_command(ctx, cmd_name)
        if self._listing:
            return click.Command(cmd_name, help=short)
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return dressed(command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; `help …` and `version` are what many a command line has for the options."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, ["--version"] if args == ["version"] else args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._only_listed():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        with self._only_listed():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _only_listed(self) -> Iterator[None]:
        self._listing = True
        try:
            yield
        finally:
            self._listing = False


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", prog_name="bridge")
@click.option("-o", "--output", type=Word(FORMATS), metavar="FORM",
              help=f"How data is printed: {FORMS}; also after the verb.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@click.option("--config", metavar="FILE", help="Another config/bridge.toml.")
@click.pass_context
def bridge(ctx: click.Context, output: str | None, as_json: bool, config: str | None) -> None:
    """Watches TwelveLabs tasks and POSTs signed change events to callback URLs.

    Start with `bridge demo`: it needs no key and no Redis.

    \b
    Examples:
      bridge demo
      bridge endpoint add billing https://example.com/hook
      bridge task add 6a0b1c2d3e4f5a6b7c8d9e01
    """
    ctx.obj = {"output": "json" if as_json else output, "config": config}


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and exits; what a person can cause ends without a traceback."""
    gc.set_threshold(COLLECTED_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII only gets a ? and not a traceback
    try:
        code = run(arguments)
    except Exception:
        code = _tell_unexpected()
    gc.freeze()  # what is left goes with the process: to look through all of it once more took a sixth of the time
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run a command; replies the exit code."""
    try:
        outcome: Any = bridge.main(arguments, prog_name="bridge", standalone_mode=False)
    except Exit as exit_:
        return exit_.exit_code
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except NoSuchCommand as error:
        complain(unknown_command(error.command_name, error.ctx) if error.ctx else _misused(error))
        return error.exit_code
    except click.ClickException as error:
        complain(_misused(error))
        return error.exit_code
    except (Abort, KeyboardInterrupt):
        return 130
    except WrongOption as error:
        typed = sys.argv[1:] if arguments is None else arguments
        complain(InvalidInput(str(error), fix=as_typed(error.fix, typed)))
        return error.exit_code
    except BridgeError as error:
        complain(error)
        return error.exit_code
    return outcome if isinstance(outcome, int) else 0


def _misused(error: click.ClickException) -> BridgeError:
    """A command line that is not understood, as any other error: what is wrong with it, and the page that says what
    may stand there."""
    text = " ".join(error.format_message().split())
    for theirs, ours in NO_NUMBER.items():
        text = text.replace(f"is not a valid {theirs}", f"is {ours}")
    ctx: click.Context | None = getattr(error, "ctx", None)
    if text.startswith(TOO_MANY) and ctx and any(isinstance(one, click.Argument) for one in ctx.command.params):
        text += ": quote what belongs together"
    option = error.option_name if isinstance(error, NoSuchOption) else ""
    if ctx and option == PORT_OPTION and (form := _port_of(ctx.command)):
        return InvalidInput(f"No such option '{PORT_OPTION}' here", fix=f"{ctx.command_path} {form}")
    page = "version" if ctx and ctx.parent is None and option == "-v" else "help"
    return InvalidInput(text, fix=f"{path_of(ctx) if ctx else program()} --{page}")


def _port_of(command: click.Command) -> str:
    """How a command is told its port: as a word of its own, or in an option, with the address; empty if it has none."""
    for one in command.params:
        if isinstance(one, click.Argument) and one.name == "port":
            return "PORT"
        if "HOST:PORT" in (one.metavar or ""):
            return f"{one.opts[0]} 127.0.0.1:PORT"
    return ""


def _tell_unexpected() -> int:
    """What nobody foresaw is a fault of ours: its traceback, without the secrets that may be in its message."""
    import traceback

    from bridge.logs import Redactor
    from bridge.settings import load_settings

    try:
        secrets = load_settings().secret_values()
    except BridgeError:
        secrets = ()
    sys.stderr.write(Redactor(secrets).text(traceback.format_exc()))
    complain(BridgeError("this was not foreseen", fix="report it with the lines above; `bridge doctor` may say more"))
    return 1
