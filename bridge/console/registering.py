"""What programs write by HTTP: judged, worded and kept as what the command line writes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.cli.delivery_steer import forbidden_by, retried
from bridge.cli.endpoint_remove import taken_back
from bridge.cli.output import safe
from bridge.cli.session import names_in
from bridge.cli.task import what_lacks, who_lacks
from bridge.cli.task_steer import asked_to_poll, why_not
from bridge.console.problem import Problem
from bridge.contract import check_member
from bridge.definition import EndpointDefinition
from bridge.entries import Judge
from bridge.errors import NotFound
from bridge.hints import endpoint_hints, task_hints
from bridge.kinds import kind_of
from bridge.manifest import Entry, holds_secret
from bridge.orders.definitions import WRITES, held_still, not_found, vetted
from bridge.plan import ADDED, UNCHANGED, EndpointPlan, Standing, endpoint_plan, task_plan
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.rotation import SECRET_FIELDS
from bridge.store.declaring import Declaring
from bridge.store.reading.written import options_of, registered
from bridge.store.steering import Steering
from bridge.wiring import intake_from, keyring_from

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store

Fields = dict[str, Any]


class Done(NamedTuple):
    """What came of a write: the status, and what is told."""

    status: int
    row: dict[str, Any]


class Registering:
    """The verbs that write, over one store. Each raises Rejection, Problem or BridgeError."""

    def __init__(self, store: "Store", settings: "Settings") -> None:
        self._store, self._settings = store, settings
        self._judge = Judge(
            settings.policy, settings.delivery_default_secret is not None, settings.signing_key is not None
        )

    async def put_endpoint(self, asked: Mapping[str, str], fields: Fields | None) -> Done:
        """Register an endpoint, or write it anew; what is so already is left alone, and so is its state."""
        name, fields = _named(asked["name"], "name"), _placed(fields or {})
        plan, doubts = await self._written(name, fields)
        held = [] if plan.word == UNCHANGED else await held_still(self._store, name)
        warnings = [*endpoint_hints(fields), *doubts, *held]
        row = {"endpoint": name, "result": plan.word, "url": bare(json.loads(plan.text)["url"]), "warnings": warnings}
        return Done(201 if plan.word == ADDED else 200, row)

    async def _written(self, name: str, fields: Fields) -> tuple[EndpointPlan, list[str]]:
        """Written over what was read, or read again: nobody else's change is lost unseen, as a rotated secret."""
        declaring, keyring = Declaring(self._store), keyring_from(self._settings)
        for _ in range(WRITES):
            before = await declaring.endpoint_text(name)
            plan, doubts = self._planned(name, keyring.opened(name, fields), before)
            if plan.word == UNCHANGED:
                return plan, doubts
            text = keyring.sealed_text(name, plan.text)
            if before is None:
                written = await declaring.write_new_endpoint(name, text)
            else:
                written = await Steering(self._store).rewrite(name, before, text)
            if written:
                if await intake_from(self._store, self._settings).take_endpoint(name):
                    raise Problem(409, "somebody else changed this endpoint meanwhile", "look at it, and send it again")
                return plan, doubts
        raise Problem(409, "somebody else changes this endpoint all the time", "see who writes bridge:endpoints")

    def _planned(self, name: str, fields: Fields, before: str | None) -> tuple[EndpointPlan, list[str]]:
        """What becomes of it; vetted first by what is given, as those fixes are for who has no redis-cli."""
        keyring, stands = keyring_from(self._settings), None
        if before is not None:
            stands = before.encode()
            with suppress(ValueError):  # what is no definition is compared to the letter
                stands = keyring.opened_text(name, before).encode()
        kept = json.loads(stands) if stands and _is_object(stands) else {}
        secret = {"secret": kept["secret"]} if kept.get("secret") and "secret" not in fields else {}
        doubts = vetted(self._settings, name, fields | secret)
        return endpoint_plan(Entry("endpoint", name, "the body", fields), stands, self._judge), doubts

    async def delete_endpoint(self, asked: Mapping[str, str], _: Fields | None) -> Done:
        """Take an endpoint back; what it is still owed is cancelled."""
        name = asked["name"]
        gone = await taken_back(self._store, self._settings, name)
        if gone.cancelled is None and not gone.refused:
            raise not_found(safe(name))
        result = "forgotten" if gone.cancelled is None else "removed"
        return Done(200, {"endpoint": name, "result": result, "cancelled": gone.cancelled or 0})

    async def put_task(self, asked: Mapping[str, str], fields: Fields | None) -> Done:
        """Register a task, or give a registered one other options; what is so already is left alone."""
        member, options = _named(asked["task"], "member"), _options(fields or {})
        check_member(member)
        client, keys, raw = self._store.client, self._store.keys, member.encode()
        known = bool(await registered(client, keys, [raw]))
        (before,) = await options_of(client, keys, [raw])
        plan = task_plan(Entry("task", member, "the body", options), Standing(known, before), self._judge)
        if plan.word != UNCHANGED:
            others = [member] if known else [], [member] if before else []
            await Declaring(self._store).write_tasks({member: plan.options}, known=others[0], optioned=others[1])
            await self._store.wake("poll")
        warnings = [*task_hints(options), *await self._unheard(member, plan.options)]
        row = {"task": member, "result": plan.word, "warnings": warnings}
        return Done(201 if plan.word == ADDED else 200, row)

    async def _unheard(self, member: str, options: Mapping[str, str]) -> list[str]:
        """What keeps its events from being told."""
        named, called = names_in([options.get("endpoints", "")]), "callback_url" in options
        lacks = await what_lacks(self._store, self._settings.deployment, named, everybody=not (named or called))
        return lacks if called else [*lacks, *await who_lacks(self._store, [kind_of(member)], named)]

    async def delete_task(self, asked: Mapping[str, str], _: Fields | None) -> Done:
        """Watch a task no longer; what is owed for it is still delivered."""
        member, declaring = asked["task"], Declaring(self._store)
        removed = await declaring.remove_tasks([member])
        forgotten = await declaring.forget_rejections("task", [member])
        if not (removed or forgotten):
            raise NotFound(f"task {safe(member)} is not registered", fix="bridge task ls")
        return Done(200, {"task": member, "result": "removed" if removed else "forgotten"})

    async def poll_task(self, asked: Mapping[str, str], _: Fields | None) -> Done:
        """Have a task read at once."""
        member = asked["task"]
        done, ended = await asked_to_poll(self._store, [member])
        if not done:
            raise NotFound(f"task {safe(member)} {why_not(member, ended)}", fix=f"PUT /api/tasks/{safe(member)}")
        return Done(202, {"task": member, "result": "asked"})

    async def retry_delivery(self, asked: Mapping[str, str], _: Fields | None) -> Done:
        """Have a delivery attempted at once; one that has ended is owed again."""
        event_id, endpoint = asked["event_id"], asked["endpoint"]
        came = await self._store.outbox.retry(event_id, endpoint, force=asked.get("force") == "true")
        ours = await forbidden_by(self._store, endpoint) if came.endpoint_state == "disabled" else ""
        told = retried(event_id, endpoint, came, ours)
        if not told.done:
            raise Problem(404 if told.result == "missing" else 409, told.note, told.fix)
        note = {"note": told.note, "fix": told.fix}
        return Done(202, {"delivery": f"{event_id}/{endpoint}", "result": told.result, **note})


def _named(name: str, field: str) -> str:
    """The name, if it may be shown in every listing from now on. Raises Rejection for a secret in its place."""
    if holds_secret(name):
        raise Rejection(field, "it is a signing secret", "choose another name, and make another secret")
    return name


def _placed(fields: Fields) -> Fields:
    """The fields, if no signing secret is where every listing would show it. Raises Rejection."""
    for name, value in fields.items():
        if name not in {*SECRET_FIELDS, "headers", "url"} and holds_secret({name: value}):
            shown = name if name in EndpointDefinition.model_fields else ""
            raise Rejection(shown, "a signing secret stands in a field for something else", "write it as “secret”")
    return fields


def _options(fields: Fields) -> Fields:
    """Options as programs write them: null is as good as absent, and names of endpoints may be a list."""
    options = {name: value for name, value in fields.items() if value is not None or name == "metadata"}
    names = options.get("endpoints")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        options["endpoints"] = ",".join(names)
    return options


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
