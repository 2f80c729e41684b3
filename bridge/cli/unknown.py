"""A command that there is not: the one that was probably meant, as long as nothing is lost where that is wrong."""

from difflib import get_close_matches

import click

from bridge.errors import InvalidInput

SYNONYMS = {
    **dict.fromkeys(("remove", "delete", "del", "destroy", "unregister"), "rm"),
    **dict.fromkeys(("update", "edit", "modify", "change"), "set"),
    **dict.fromkeys(("create", "new", "register"), "add"),
    "list": "ls",
    **dict.fromkeys(("get", "describe", "view", "info"), "show"),
}
"""What other command lines call our verbs."""
GRAVE = frozenset(
    {"rm", "cancel", "disable", "enable", "recover", "replay", "retry", "rotate", "test", "import", "dev", "worker"}
)
"""The commands that send or end something: none of them is guessed from a word that merely looks like it."""


def unknown_command(word: str, ctx: click.Context) -> InvalidInput:
    """What to say of a word that stands where a command should."""
    group, path = ctx.command, ctx.command_path
    known = group.list_commands(ctx) if isinstance(group, click.Group) else []
    what = f"No such command {word!r}."
    verb = SYNONYMS.get(word.lower())
    if verb in known:
        return InvalidInput(f"{what} Did you mean {verb!r}?", fix=f"{path} {verb} --help")
    near = get_close_matches(word.lower(), [one for one in known if one not in GRAVE])
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InvalidInput(what + meant, fix=f"{path} --help")
