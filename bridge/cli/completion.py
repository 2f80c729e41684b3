"""`bridge completion`: the script that makes a shell complete commands and options."""

import rich_click as click

from bridge.cli.calling import OURS, program
from bridge.cli.output import say
from bridge.cli.word import Word

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=Word(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell: commands, options, and the words that an option takes.

    \b
    Examples:
      bridge completion bash > ~/.local/share/bash-completion/completions/bridge
      bridge completion zsh > "${fpath[1]}/_bridge"
      bridge completion fish > ~/.config/fish/completions/bridge.fish
      source <(bridge completion bash)      # only in the shell that is open
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from bridge.cli import bridge

    writers = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    click.echo(writers[shell](bridge, {}, OURS, "_BRIDGE_COMPLETE").source())
    if (here := program()) != OURS:
        say(f"! It completes the word {OURS}, which does not run {here} here: put its directory first in PATH.")
