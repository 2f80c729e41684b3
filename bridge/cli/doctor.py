"""`bridge doctor`: what is wrong, why, and the next command. It changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli.calling import pasteable
from bridge.cli.output import Columns, chosen, emit, output_without_ids, safe, say, unbroken
from bridge.cli.output import field as shown
from bridge.cli.session import OPEN_SECONDS, named_redis, settings_of
from bridge.doctor import Finding, Level, exit_code, fail, together, warn
from bridge.errors import BridgeError, EgressDown, SettingsError, StoreAway, StoreDown, WrongType

if TYPE_CHECKING:
    from bridge.doctor.entries import Answers, Judge
    from bridge.settings import Settings
    from bridge.store import Store

MARKS = {Level.OK: "✓", Level.WARN: "!", Level.FAIL: "✗"}
INDENT = " " * 19
COLUMNS: Columns = tuple((name, shown(name)) for name in ("level", "check", "found", "why", "fix"))
NAMED = 10
"""How many are named that the same is to be said of; -o json has each with all that is said of it."""
LOOK_SECONDS = 30.0
"""The longest that one part of the examination takes."""

Part = Callable[[], Awaitable[list[Finding]]]


@click.command()
@click.option("--resolve", is_flag=True, help="Resolve the endpoints' names too, and judge their addresses.")
@click.option("--probe", is_flag=True, help="Ask TwelveLabs, by up to ten reads, what its documentation leaves open.")
@output_without_ids
@click.pass_context
def doctor(ctx: click.Context, resolve: bool, probe: bool, output: str | None, as_json: bool) -> int:
    """Look at everything, and say what is wrong, why, and the next command. Changes nothing.

    Settings, Redis, the API key (one real read), endpoints, entries, workers, backlog, dead letters. Exit code 0 if
    nothing failed, 1 if something did, 4 if the key is refused, 5 without Redis. What the bridge copes with and a
    person may want to mend (!: dead letters, an endpoint that fails or is disabled) is no failure of the bridge.

    With --probe also what is not documented of TwelveLabs, against your own key: rate-limit headers, the answer for an
    unknown id, how exact lists are, what filters mean. No id, name or URL of yours is printed.

    \b
    Examples:
      bridge doctor
      bridge doctor --resolve --json
      bridge doctor --probe
      bridge doctor -o jsonl | jq 'select(.level != "ok")'
    """
    how = chosen(ctx, output, as_json)
    findings = _examine(ctx, resolve=resolve, probe=probe)
    if how == "table":
        for alike in together(findings):
            click.echo(_lines(*alike))
    else:
        emit([_row(one) for one in findings], how, COLUMNS, key="check")
    counts = [sum(one.level is level for one in findings) for level in (Level.FAIL, Level.WARN, Level.OK)]
    say("{} failed, {} to look at, {} well.".format(*counts))
    return exit_code(findings)


def _row(one: Finding) -> dict[str, Any]:
    return {name: getattr(one, name) for name, _ in COLUMNS} | {"level": str(one.level)}


def _lines(one: Finding, *alike: Finding) -> str:
    """A finding, and the names of those that the same is to be said of."""
    names = [other.about for other in alike[:NAMED]]
    more = f" and {len(alike) - NAMED} more" if len(alike) > NAMED else ""
    same = f"the same of {', '.join(names)}{more}" if names else ""
    lines = [f"{MARKS[one.level]} {one.check:<16} {_told(one.found).removeprefix(INDENT)}"]
    lines += [_told(one.why)] if one.why else []
    if one.fix:  # in one piece, as it is to be pasted; of what is said behind it nobody pastes a thing
        command, mark, note = pasteable(f"{INDENT}→ {safe(one.fix)}").partition("\n")
        lines += [command, *([_told(note.strip())] if mark else [])]
    lines += [_told(same)] if same else []
    return "\n".join(lines)


def _told(text: str) -> str:
    """Its lines, indented, with the commands in it as they work here, and each of those in one piece."""
    return unbroken(pasteable(safe(text)), INDENT)


def _examine(ctx: click.Context, *, resolve: bool, probe: bool) -> list[Finding]:
    from bridge.doctor import upstream
    from bridge.settings import explain

    try:
        settings = settings_of(ctx)
    except SettingsError as error:
        first, *rest = str(error).splitlines()
        return upstream.broken(rest or [first], error.fix)
    sources: dict[str, int] = {}
    for one in explain(settings):
        sources[one.source] = sources.get(one.source, 0) + 1
    facts = upstream.SettingsFacts(
        sources,
        settings.warnings,
        has_key=settings.twelvelabs_api_key is not None,
        has_default_secret=settings.delivery_default_secret is not None,
    )
    return [*upstream.configured(facts), *asyncio.run(_look(settings, resolve=resolve, probe=probe))]


async def _look(settings: "Settings", *, resolve: bool, probe: bool) -> list[Finding]:
    from bridge.store import Store

    url = settings.redis_url.get_secret_value()
    async with Store.look(url, prefix=settings.prefix) as store:
        return [one async for one in Examination(store, settings, resolve, probe).findings()]


@dataclass
class Examination:
    """One look at an installation. A part that cannot be looked at is a finding, and stops no other."""

    store: "Store"
    settings: "Settings"
    resolve: bool = False
    probe: bool = False
    in_force: dict[str, str] = field(default_factory=dict)
    written: dict[bytes, bytes] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    """The keys of a wrong type, which are told as such, and not once more as refused."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Redis first; without it only the key."""
        from bridge.doctor import server

        try:
            first = await self._part("redis", self._server, OPEN_SECONDS)
        except StoreDown as error:
            first = [server.unreachable(*named_redis(error, self.settings))]
        down = exit_code(first) == StoreDown.exit_code
        for one in first:
            yield one
        parts: dict[str, Part] = {"key": self._key if not down else lambda: self._ask_upstream(None)}
        if not down:
            parts |= {"probe": self._probe} if self.probe else {}
            parts |= {
                "list": self._list, "types": self._types, "endpoint": self._endpoints, "task": self._tasks,
                "watch": self._watches, "rejected": self._rejected, "poll worker": lambda: self._role("poll"),
                "deliver worker": lambda: self._role("deliver"), "dead letters": self._owed, "proxy": self._proxy,
            }  # fmt: skip
        for name, part in parts.items():
            try:
                for one in await self._part(name, part, self._seconds(name)):
                    yield one
            except StoreDown as error:
                yield server.unreachable(*named_redis(error, self.settings))
                return

    def _seconds(self, name: str) -> float:
        """The longest that a part takes."""
        from bridge.doctor.probing import READS

        return LOOK_SECONDS + self.settings.poll_deadline_seconds * (READS if name == "probe" else 1)

    async def _probe(self) -> list[Finding]:
        from bridge.cli.doctor_probe import probe

        return await probe(self.store, self.settings)

    async def _part(self, name: str, part: Part, seconds: float) -> list[Finding]:
        from bridge.store.reading import reading_errors

        try:
            with reading_errors():
                async with asyncio.timeout(seconds):
                    return await part()
        except TimeoutError:
            if name == "redis":
                raise StoreAway(f"Redis does not answer within {seconds:g} s") from None
            return [fail(name, f"not done within {seconds:g} s", "something is slow", "bridge doctor, once more")]
        except StoreDown:
            raise
        except WrongType:
            return [warn(name, "not looked at", "a key of it has the wrong type", "see types, above")]
        except BridgeError as error:
            return [fail(name, str(error), "it could not be looked at", error.fix)]

    async def _server(self) -> list[Finding]:
        from bridge.doctor import server
        from bridge.store import DATA_VERSION
        from bridge.store.reading.checkup import server_facts

        facts = await server_facts(
            self.store,
            interval_ms=int(self.settings.poll_interval_seconds * 1000),
            longest_wait_ms=int(max(self.settings.delivery_schedule_seconds) * 1000),
        )
        volatile = self.settings.redis_allow_volatile
        return server.server(facts, allow_volatile=volatile, our_data=DATA_VERSION, prefix=self.settings.prefix)

    async def _types(self) -> list[Finding]:
        from bridge.doctor import server
        from bridge.store.reading.checkup import CLIENTS_KEYS, key_types
        from bridge.store.reading.unread import misspelt_keys, strange_keys

        ours, found = frozenset(self.store.keys(name) for name in CLIENTS_KEYS), await key_types(self.store)
        self.wrong = {key for key, wanted, seen in found if seen not in {wanted, "none"}}
        typed = server.types(found, ours=ours)
        misspelt = await misspelt_keys(self.store)
        others = server.strange(await strange_keys(self.store), [key for key, *_ in misspelt])
        return [*typed, *server.misspelt(misspelt), *others]

    async def _key(self) -> list[Finding]:
        """One real read, unless upstream or our own bound asks us not to."""
        from bridge.doctor import upstream
        from bridge.store.reading.checkup import a_watched_task
        from bridge.store.reading.vitals import requests_left, role

        seen, now = await role(self.store, "poll"), await self.store.scripts.now()
        if seen.has_key is False or self.settings.twelvelabs_api_key is None:
            here = self.settings.twelvelabs_api_key is not None
            return [upstream.no_key(self.settings.deployment, here=here, theirs=seen.has_key)]
        if seen.paused_until_at and not seen.key_refused:
            return [upstream.unasked(seen.paused_until_at - now)]
        left = await requests_left(self.store, self.settings.twelvelabs_requests_per_minute)
        if seen.spent_of or (left is not None and left <= 0):
            return [upstream.unasked()]
        refused_for = (seen.paused_until_at or now) - now if seen.key_refused else None
        return await self._ask_upstream(await a_watched_task(self.store), refused_for_ms=refused_for)

    async def _ask_upstream(self, member: str | None, *, refused_for_ms: int | None = None) -> list[Finding]:
        from bridge.doctor import upstream
        from bridge.doctor.probing import UNKNOWN_ID
        from bridge.wiring import upstream_from

        if self.settings.twelvelabs_api_key is None:
            return [upstream.no_key(self.settings.deployment)]
        async with upstream_from(self.settings) as api:
            came = await api.fetch(member or UNKNOWN_ID)  # which proves the key as well
        base_url, deployment = self.settings.twelvelabs_base_url, self.settings.deployment
        return list(upstream.key(came, base_url, refused_for_ms=refused_for_ms, deployment=deployment))

    async def _list(self) -> list[Finding]:
        from bridge.doctor import upstream
        from bridge.skim import fresh_seconds
        from bridge.store.reading.vitals import list_facts

        if self.settings.twelvelabs_strategy == "retrieve":
            return []
        fresh = fresh_seconds(self.settings.poll_interval_seconds, self.settings.twelvelabs_requests_per_minute)
        return list(upstream.listing(await list_facts(self.store, fresh_ms=int(fresh * 1000))))

    async def _endpoints(self) -> list[Finding]:
        from bridge.doctor import entries
        from bridge.store.reading.checkup import endpoints_in_force, written_endpoints
        from bridge.store.reading.vitals import admitted_endpoints
        from bridge.wiring import keyring_from

        self.in_force = await endpoints_in_force(self.store)
        self.written = await written_endpoints(self.store)
        judge = self._judge()
        implicit = {name: url for name, url in self.in_force.items() if name.startswith("url:")}
        answers: Answers | None = None
        if self.resolve:
            from bridge.cli.check import resolved

            answers = await resolved(entries.targets(self.written, implicit, judge))
        sealed = entries.sealed(self.written, keyring_from(self.settings))
        admitted = await admitted_endpoints(self.store, self.in_force)
        return [*entries.endpoints(self.written, implicit, judge, answers, admitted=admitted), *sealed]

    async def _tasks(self) -> list[Finding]:
        from bridge.doctor import entries, tasks, work
        from bridge.store.reading.checkup import task_facts, waiting_tasks
        from bridge.store.reading.tasks import far_ahead

        watched, waiting = await task_facts(self.store), await waiting_tasks(self.store)
        known = frozenset(self.in_force) | {name.decode(errors="replace") for name in self.written}
        refused = entries.waiting(waiting, self._judge())
        odd = tasks.misspelt_options([*tasks.of_waiting(waiting), *watched])
        later = tasks.ahead(await far_ahead(self.store))
        return [*refused, *later, *odd, *work.unknown_names(watched, known), *work.faulty(watched)]

    async def _watches(self) -> list[Finding]:
        from bridge.doctor import entries
        from bridge.store.reading.watches import faulty, list_watches

        return entries.watches({view.watch: view.note for view in faulty(await list_watches(self.store))})

    async def _rejected(self) -> list[Finding]:
        from bridge.doctor import entries
        from bridge.store.reading.refusals import refusals

        others = [one for one in await refusals(self.store) if one.name.removeprefix("key:") not in self.wrong]
        return entries.rejected(others, self.written, self._judge(), in_force=self.in_force)

    async def _role(self, kind: str) -> list[Finding]:
        from bridge.cli.operate import settled
        from bridge.doctor import work
        from bridge.jobs import queue_name
        from bridge.store.reading.checkup import role_facts

        queue, seen = queue_name(self.settings.prefix, kind), await settled(self.store, kind)
        has_key = seen.polls_by(self.settings.twelvelabs_api_key is not None)
        facts = await role_facts(self.store, seen, queue, has_key=has_key)
        return list(work.role(facts, self.settings.deployment))

    async def _proxy(self) -> list[Finding]:
        from bridge.doctor import upstream
        from bridge.exchange import Limits
        from bridge.wiring import proxy_from

        proxy = proxy_from(self.settings)
        if proxy is None:
            return []
        try:
            (await proxy.reach(by=asyncio.get_running_loop().time() + Limits().connect_seconds)).close()
        except EgressDown as error:
            return [upstream.no_way_out(str(error), error.fix)]
        return [upstream.way_out(f"{proxy.host}:{proxy.port}")]

    async def _owed(self) -> list[Finding]:
        from bridge.doctor import work
        from bridge.store.reading.checkup import owed_facts

        return work.owed(await owed_facts(self.store, self.in_force))

    def _judge(self) -> "Judge":
        from bridge.doctor.entries import Judge

        settings = self.settings
        return Judge(
            settings.policy,
            settings.delivery_default_secret is not None,
            settings.deployment,
            has_signing_key=settings.signing_key is not None,
        )
