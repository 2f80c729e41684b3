"""A definition written over the one that stands, judged as registration does; and why there is none."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from bridge.callback import assignments, corrected, from_a_container, is_vain, leads_to_itself, reserved
from bridge.deployment import Deployment
from bridge.errors import Conflict, InvalidInput, NotFound
from bridge.redaction import bare
from bridge.wording import safe

if TYPE_CHECKING:
    from bridge.rejection import Rejection
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.endpoints import EndpointView

WRITES = 10
"""How often a definition that somebody else changes meanwhile is read and written again."""

Definition = dict[str, Any]
Judge = Callable[[Definition], None]
"""Refuses a definition by an error."""


class Rewritten(NamedTuple):
    """A definition before and after, and the endpoint as it stands then; equal ones were not written."""

    before: Definition
    after: Definition
    was: "EndpointView"
    is_: "EndpointView"


def vetted(settings: "Settings", name: str, definition: Mapping[str, Any]) -> list[str]:
    """Judge a definition as registration does; replies what is legal, and leads elsewhere than it looks.

    Raises Rejection, with the fix that is one here, where nobody types into redis-cli.
    """
    from bridge.definition import endpoint as judged
    from bridge.faults import each
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
        raise each(rejection, lambda one: _here(one, url, settings)) from None
    if is_vain(url, settings.policy):
        raise Rejection("url", f"{_whose(settings)}, where nothing may be sent to", _way_of(url, settings))
    if told := reserved(url) if (urlsplit(url).hostname or "").endswith(".invalid") else "":
        return [told]
    if settings.deployment is Deployment.COMPOSE and leads_to_itself(url):
        return [f"{_whose(settings)}: an app on this machine is {bare(from_a_container(url))}"]
    return []


def _here(fault: "Rejection", url: str, settings: "Settings") -> "Rejection":
    """A fault with the fix that is one here."""
    from bridge.faults import not_by_hand

    fix = "choose another name" if fault.field == "name" else not_by_hand(fault.fix)
    return replace(fault, fix=_way_of(url, settings) or fix if fault.field == "url" else fix)


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
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.wiring import intake_from

    if await intake_from(store, settings).take_endpoint(name):
        view = await find_endpoint(store, name)
        raise Conflict(f"the endpoint was refused: {view.note if view else 'it is gone'}", fix="bridge endpoint ls")


async def rewrite(
    store: "Store", settings: "Settings", name: str, change: Callable[[Definition, int], Definition], judge: Judge
) -> Rewritten:
    """Read a definition, change it (the wall clock's seconds are told, too), have it judged, write it over the one that
    was read, and put it in force; read again if somebody else wrote meanwhile."""
    from bridge.store.declaring import Declaring
    from bridge.store.reading.endpoints import find_endpoint
    from bridge.store.steering import Steering
    from bridge.wiring import keyring_from

    keyring = keyring_from(settings)
    for _ in range(WRITES):
        text, was = await Declaring(store).endpoint_text(name), await find_endpoint(store, name)
        if text is None or was is None:
            raise not_written(name) if was and was.state != "rejected" else await absent(store, name)
        before = keyring.opened(name, _definition(name, text))
        after = change(before, int(time.time()))
        if same(after, before):
            return Rewritten(before, after, was, was)
        judge(after)
        if await Steering(store).rewrite(name, text, json.dumps(keyring.sealed(name, after))):
            await take_in(store, settings, name)
            return Rewritten(before, after, was, await find_endpoint(store, name) or was)
    raise Conflict("somebody else changes this endpoint all the time", fix="see who writes bridge:endpoints")


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON; to Python 1 is true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


async def held_still(store: "Store", name: str) -> list[str]:
    """An operator's hold outlives a new definition: what is to be said of that."""
    from bridge.store.reading.endpoints import find_endpoint

    view = await find_endpoint(store, name)
    return [held(view)] if view and view.state == "disabled" else []


def held(view: "EndpointView") -> str:
    """Why an endpoint that is disabled gets nothing, and what ends that."""
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
    anew = f"bridge endpoint add {name} URL --replace"
    return NotFound(f"“{name}” was refused{why}, and was never in force", fix=anew)


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
