"""A command that there is not: the one that was probably meant, as long as nothing is lost where that is wrong."""

from difflib import get_close_matches

import click

from bridge.cli.calling import program
from bridge.errors import InvalidInput

SYNONYMS = {
    **dict.fromkeys(("remove", "delete", "del", "destroy", "unregister"), "rm"),
    **dict.fromkeys(("update", "edit", "modify", "change"), "set"),
    **dict.fromkeys(("create", "new", "register"), "add"),
    "list": "ls",
    **dict.fromkeys(("log", "logs", "follow"), "tail"),
    **dict.fromkeys(("get", "describe", "view", "info"), "show"),
}
"""What other command lines call our verbs."""
GRAVE = frozenset(
    {"rm", "cancel", "disable", "enable", "recover", "replay", "retry", "rotate", "test", "import", "dev", "worker"}
)
"""The commands that send or end something: none of them is guessed from a word that merely looks like it."""


def unknown_command(word: str, ctx: click.Context) -> InvalidInput:
    """What to say of a word that stands where a command should."""
    group, path = ctx.command, path_of(ctx)
    known = group.list_commands(ctx) if isinstance(group, click.Group) else []
    what = f"No such command {word!r}."
    verb = SYNONYMS.get(word.lower(), word.lower())
    if verb == "add" and "account" in known:
        return InvalidInput(f"{what} A watch is of an index, or of the account.", fix=f"{path} index INDEX_ID")
    if verb in known:
        return InvalidInput(f"{what} Did you mean {verb!r}?", fix=f"{path} {verb} --help")
    if ctx.parent is None and (nouns := _nouns_of(verb, group, ctx)):
        meant = " or ".join(f"“{noun} {verb}”" for noun in nouns)
        page = f"{path} {nouns[0]} {verb}" if len(nouns) == 1 else path
        return InvalidInput(f"{what} Did you mean {meant}?", fix=f"{page} --help")
    near = get_close_matches(word.lower(), [one for one in known if one not in GRAVE])
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InvalidInput(what + meant, fix=f"{path} --help")


def path_of(ctx: click.Context) -> str:
    """How a command is called from here: where it stands alone, what follows it says nothing of whose it is."""
    return program() if ctx.parent is None else ctx.command_path


def _nouns_of(verb: str, group: click.Command, ctx: click.Context) -> list[str]:
    """The commands of ours that have this verb: to name them runs none, however grave it is."""
    if not isinstance(group, click.Group):
        return []
    nouns = {name: group.get_command(ctx, name) for name in group.list_commands(ctx)}
    return [name for name, one in nouns.items() if isinstance(one, click.Group) and verb in one.list_commands(ctx)]
