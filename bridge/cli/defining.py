"""An endpoint's definition as the CLI writes it: its secret read, judged as registration does, written, taken in."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import rich_click as click

from bridge.callback import assignments, corrected, from_a_container, is_vain, leads_to_itself, reserved
from bridge.cli.output import safe, say
from bridge.cli.session import settings_of
from bridge.deployment import Deployment
from bridge.errors import BridgeError, InvalidInput, NotFound
from bridge.redaction import bare

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.signature import Known
    from bridge.store import Store
    from bridge.store.reading.endpoints import EndpointView

WRITES = 10
"""How often a definition that somebody else changes meanwhile is read and written again."""

Definition = dict[str, Any]


class Rewritten(NamedTuple):
    """A definition before and after, and the endpoint as it stands then; equal ones were not written."""

    before: Definition
    after: Definition
    was: "EndpointView"
    is_: "EndpointView"


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
            fix=f"name a file that holds {what}, or - and pipe it in: a container has files of its own",
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


def vetted(settings: "Settings", name: str, definition: Mapping[str, Any]) -> list[str]:
    """Judge a definition as registration does; replies what is legal, and leads elsewhere than it looks.

    Raises Rejection, with the fix that is one here, where nobody types into redis-cli.
    """
    from bridge.contract import endpoint as judged
    from bridge.rejection import Rejection

    has_default = settings.delivery_default_secret is not None
    url = str(definition.get("url", ""))
    try:
        judged(
            name,
            json.dumps(definition),
            settings.policy,
            has_default_secret=has_default,
            has_signing_key=settings.signing_key is not None,
        )
    except Rejection as rejection:
        fix = rejection.fix.replace(" and HSET it again", "")
        fix = "choose another name" if rejection.field == "name" else fix
        rejection.fix = _way_of(url, settings) or fix if rejection.field == "url" else fix
        raise
    if is_vain(url, settings.policy):
        raise Rejection("url", f"{_whose(settings)}, where nothing may be sent to", _way_of(url, settings))
    if told := reserved(url) if (urlsplit(url).hostname or "").endswith(".invalid") else "":
        return [told]
    if settings.deployment is Deployment.COMPOSE and leads_to_itself(url):
        return [f"{_whose(settings)}: an app on this machine is {bare(from_a_container(url))}"]
    return []


def _whose(settings: "Settings") -> str:
    return "localhost is the container itself" if settings.deployment is Deployment.COMPOSE else "localhost is loopback"


def _way_of(url: str, settings: "Settings") -> str:
    """What to do about a refused URL of one's own machine, here; empty where `callback.way` says all that is known."""
    meant = corrected(url) or url
    if settings.deployment is Deployment.COMPOSE and leads_to_itself(meant):
        meant = from_a_container(meant)
    written = f"write {bare(meant)}" if meant != url else ""
    if not (lacking := assignments(meant, settings.policy)):
        return written
    return f"{written}{'; and ' * bool(written)}{settings.deployment.allowing(lacking)}"


async def take_in(store: "Store", settings: "Settings", name: str) -> None:
    """Put it in force at once, and look at nothing else: other entries are the workers' to judge."""
    from bridge.engine import intake_from
    from bridge.store.reading.endpoints import find_endpoint

    if await intake_from(store, settings).take_endpoint(name):
        view = await find_endpoint(store, name)
        raise BridgeError(f"the endpoint was refused: {view.note if view else 'it is gone'}", fix="bridge endpoint ls")


async def rewrite(
    store: "Store", settings: "Settings", name: str, change: Callable[[Definition, int], Definition]
) -> Rewritten:
    """Read a definition, change it (the wall clock's seconds are told, too), judge it, write it over the one that was
    read, and put it in force; read again if somebody else wrote meanwhile."""
    from bridge.engine import keyring_from
    from bridge.store.declaring import Declaring
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import Steering

    keyring = keyring_from(settings)
    for _ in range(WRITES):
        text, was = await Declaring(store).endpoint_text(name), await find_endpoint(store, name)
        if text is None or was is None:
            raise not_written(name) if was and was.state != "rejected" else await absent(store, name)
        before = keyring.opened(name, _definition(name, text))
        after = change(before, int(time.time()))
        if same(after, before):
            return Rewritten(before, after, was, was)
        check(settings, name, after)
        if await Steering(store).rewrite(name, text, json.dumps(keyring.sealed(name, after))):
            await take_in(store, settings, name)
            return Rewritten(before, after, was, await find_endpoint(store, name) or was)
    raise BridgeError("somebody else changes this endpoint all the time", fix="see who writes bridge:endpoints")


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON; to Python 1 is true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def tell_state(one: Rewritten) -> None:
    """What writing it anew did to an endpoint that was disabled, or did not do."""
    if one.is_.state == "disabled":
        say(f"! {_held(one.is_)}")
    elif one.was.state in {"held", "disabled"}:
        say(f"It was {one.was.state} ({safe(one.was.reason)}); written anew, it is active, and what was held is due.")


async def held_still(store: "Store", name: str) -> list[str]:
    """An operator's hold outlives a new definition: what is to be said of that."""
    from bridge.store.reading.endpoints import find_endpoint

    view = await find_endpoint(store, name)
    return [_held(view)] if view and view.state == "disabled" else []


def _held(view: "EndpointView") -> str:
    if not view.consented and view.by is None:
        asked = f"{safe(view.name)} gets nothing before its receiver has consented: a worker asks it now"
        return f"{asked} → bridge endpoint show {view.name}"
    return f"{safe(view.name)} is disabled still ({safe(view.reason)}) → bridge endpoint enable {view.name}"


def not_found(name: str, near: str = "") -> NotFound:
    """There is no such endpoint; maybe the near one was meant."""
    meant = f"; did you mean “{safe(near)}”?" if near else ""
    return NotFound(f"there is no endpoint “{name}”{meant}", fix="bridge endpoint ls")


async def absent(store: "Store", name: str) -> NotFound:
    """Why a verb finds no endpoint of this name in force: it was refused, or there is none."""
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.reading.near import near_endpoint

    view = await find_endpoint(store, name)
    if view is None or view.state != "rejected":
        return not_found(name, await near_endpoint(store, name))
    why = f" ({view.note.removesuffix('.')})" if view.note else ""
    return NotFound(f"“{name}” was refused{why}, and was never in force", fix=f"bridge endpoint add {name} URL")


def not_written(name: str) -> InvalidInput:
    """An endpoint that no client wrote, or that was taken back."""
    if name.startswith("url:"):
        return InvalidInput(
            f"“{name}” is the callback_url of a task, which has no definition of its own",
            fix="register an endpoint with that URL instead: bridge endpoint add NAME URL",
        )
    return InvalidInput(f"“{name}” is not registered any more", fix=f"bridge endpoint show {name}")


def _definition(name: str, text: str) -> Definition:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(
            f"the definition of “{name}” cannot be read", fix=f"bridge endpoint add {name} URL --replace"
        )
    return found
