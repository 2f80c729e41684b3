"""An endpoint's definition as the CLI writes it: its secret read, what is judged of it said."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.output import safe, say
from bridge.cli.session import settings_of
from bridge.cli.ways_in import in_a_container
from bridge.errors import InvalidInput
from bridge.orders.definitions import Definition, Rewritten, held, vetted
from bridge.orders.definitions import rewrite as rewritten

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.signature import Known
    from bridge.store import Store


def secret_from(path: str) -> str:
    """One secret that signs, from a file or from standard input."""
    return text_from(path, "--secret-file", "the secret")


public_key_option = click.option(
    "--public-key", "public_keys", metavar="whpk_…", multiple=True,
    help="A public key, as `bridge key show` has it, to verify v1a with; as often as there are keys. It is no secret.",
)  # fmt: skip


def known_from(path: str | None, public_keys: Sequence[str], ctx: click.Context) -> "tuple[Known, ...]":
    """What to verify with: the secrets of a file, one a line, and public keys; where neither is named, the configured
    default secret and the public halves of the configured keys. All of it is checked."""
    from bridge.keypair import PublicKey

    if path is None and not public_keys:
        settings = settings_of(ctx)
        default = settings.delivery_default_secret
        ours = [one.private.public for one in settings.signing_keys]
        return (*([default.get_secret_value()] if default else []), *ours)
    return (*(_secrets_in(path) if path is not None else ()), *map(PublicKey.parse, public_keys))


def _secrets_in(path: str) -> tuple[str, ...]:
    from bridge.tl_signature import check_any_secret

    secrets = tuple(text_from(path, "--secret-file", "the secrets, one a line").split())
    for secret in secrets:
        check_any_secret(secret)
    return secrets


def text_from(path: str, option: str, what: str) -> str:
    """What a file holds, or standard input, without the white space around. It is repeated in no error."""
    from bridge.settings_sources import MAX_SECRET_BYTES, read_secret

    if path == "-":
        try:
            text = sys.stdin.buffer.read(MAX_SECRET_BYTES).decode().strip()
        except UnicodeDecodeError:
            raise InvalidInput(f"{option} -: standard input is not UTF-8 text", fix=f"pipe {what} into it") from None
        if not text:
            raise InvalidInput(f"{option} -: standard input is empty", fix=f"pipe {what} into it")
        return text
    given = read_secret(Path(path), "cli", option)
    if given.problem:
        raise InvalidInput(
            f"{option}: {given.problem}",
            fix=f"name a file that holds {what}, or - and pipe it in"
            + (": a container has files of its own" if in_a_container() else ""),
        )
    if given.warning:
        say(f"! {safe(given.warning)}")
    return str(given.value)


def check(settings: "Settings", name: str, definition: Mapping[str, Any]) -> None:
    """Judge a definition as registration does, and say what it may have meant. Raises InvalidInput."""
    from bridge.rejection import Rejection

    try:
        for doubt in vetted(settings, name, definition):
            say(f"! {doubt}")
    except Rejection as rejection:
        raise InvalidInput(str(rejection), fix=rejection.fix.replace(", without quotes", "")) from None


async def rewrite(
    store: "Store", settings: "Settings", name: str, change: Callable[[Definition, int], Definition]
) -> Rewritten:
    """Change a definition, which is judged as registration does; what it may have meant is said."""
    return await rewritten(store, settings, name, change, lambda made: check(settings, name, made))


def tell_state(one: Rewritten) -> None:
    """What writing it anew did to an endpoint that was disabled, or did not do; and what it does not bring back."""
    if one.is_.state == "disabled":
        say(f"! {held(one.is_)}")
    elif one.was.state in {"held", "disabled"}:
        say(f"It was {one.was.state} ({safe(one.was.reason)}); written anew, it is active, and what was held is due.")
    if dead := one.is_.dead:
        again = f"bridge endpoint recover {safe(one.is_.name)}"
        say(f"{dead} {'is' if dead == 1 else 'are'} dead; once it takes events, to have them owed again → {again}")
