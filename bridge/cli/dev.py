"""`bridge dev`: poller, worker and a receiver in the foreground against the real API, with readable lines."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import rich_click as click

from bridge.cli import stage
from bridge.cli.calling import pasteable
from bridge.cli.defining import secret_from
from bridge.cli.dev_session import Session, loopback_networks
from bridge.cli.dev_verdict import verdict
from bridge.cli.dev_written import others, take_back, unheard, write
from bridge.cli.listen import Listener, answer_from
from bridge.cli.session import ids_from, naming_redis, settings_of
from bridge.contract import check_member
from bridge.errors import BridgeError, CredentialRefused, InvalidInput, SettingsError, StoreDown
from bridge.model import DeliveryState, Fault
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.sandbox.redis import RedisServer
from bridge.signature import parse_secret
from bridge.waiting import REWRITTEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import Console

    from bridge.settings import Settings
    from bridge.store import Store

LOOK_SECONDS = 0.5
IDS = 1_000
SENTENCES = {
    "upstream.faulty": "TwelveLabs: {detail} (reads that failed since the last line: {reads}; they are tried again)",
    "upstream.throttled": "TwelveLabs asks for a rest of {seconds} s: {detail}",
    "task.refused": "{task}  TwelveLabs refuses this id: {detail}",
    "delivery.not_attempted": "An event for {endpoint} could not be sent, and is tried again: {error}",
    "endpoint.held": "{endpoint} keeps failing: what it is owed waits, and is tried less often",
    "redis.away": "Redis: {error}",
    "worker.ended": "A process of the worker ended (exit code {code}); another one takes its place",
}
"""What warnings of the worker's log mean to whoever runs it in the foreground."""
DOUBTED = f"! It holds another secret? With that one in secret.whsec → {{again}}\n! Or {REWRITTEN}"
NO_KEY = (
    "export TWELVELABS_API_KEY=tlk_…  # or that in .env, without export; "
    "without a key: `bridge simulate` in another terminal, and what it prints"
)


def checked(ids: list[str]) -> list[str]:
    """These ids, each of which can be one. Raises InvalidInput."""
    for one in ids:
        try:
            check_member(one)
        except Rejection as rejection:
            raise InvalidInput(f"{stage.printable(one, 80)}: {rejection.reason}", fix=rejection.fix) from None
    if len(ids) > IDS:
        raise InvalidInput(f"These are {len(ids)} ids, more than {IDS}.", fix="use `bridge task add -` and a worker")
    return ids


def in_words(line: stage.Line) -> str:
    """A warning of the worker's as a person reads it; one that has no sentence here with its name and fields."""
    told = {k: v for k, v in line.items() if k not in {"event", "level", "logger", "timestamp", "fix"}}
    with contextlib.suppress(LookupError):
        return SENTENCES[str(line.get("event"))].format_map(told)
    return f"{line.get('event')} {' '.join(f'{name}={value}' for name, value in told.items())}"


def hearer(session: Session, lines: "Console", narration: "Console", *, attempts: bool) -> Callable[[stage.Line], None]:
    """What the worker's log lines become: attempts at our endpoint, and whatever is a warning."""

    def hear(line: stage.Line) -> None:
        event = line.get("event")
        if event == "key.refused":
            session.key_refused.set()
        elif event == "delivery.attempted":
            if attempts and line.get("endpoint") == session.name:
                lines.print(stage.attempt_line(line))
                session.refusal = session.refusal if line.get("next") == "delivered" else stage.came(line)
                if line.get("status_code") in {401, 403} and not session.doubted:
                    session.doubted = True
                    narration.print(pasteable(DOUBTED.format(again=session.again)))
                if line.get("fault") == Fault.CONNECT and "refused" in str(line.get("detail")) and not session.alone:
                    session.alone = True
                    narration.print(f"! {at(session.url)}: start the receiver there; what waits is tried again")
        elif event == "upstream.faulty" and session.ids:
            pass  # `look` says so of each of them, once
        elif line.get("level") not in {"debug", "info"}:
            narration.print(f"! {stage.printable(in_words(line), 500)}".rstrip())
            if fix := line.get("fix"):
                narration.print(pasteable(f"  {stage.printable(fix)}"))

    return hear


def at(url: str) -> str:
    """That nobody listens at a URL, of which the path says nothing about it."""
    return f"nobody listens at {urlsplit(bare(url))._replace(path='', query='').geturl()}"


async def look(session: Session, store: "Store", narration: "Console") -> tuple[list[str], list[int]]:
    """The ids that are still watched, and the attempts of each of our open deliveries; tells what upstream refuses.

    Raises BridgeError when another worker, with a policy of its own, has refused our endpoint.
    """
    from bridge.store.reading.trips import as_delivery
    from bridge.store.scripts import store_errors

    with store_errors():
        pipe = store.client.pipeline(transaction=False)
        for one in session.ids:
            pipe.zscore(store.keys.tasks, one)
            pipe.hget(store.keys.watching(one), "error")
        pipe.hget(store.keys.rejected, f"endpoint:{session.name}")
        pipe.hvals(store.keys.deliveries(session.name))
        *answers, refused, records = await pipe.execute()
    if refused:
        raise BridgeError(
            f"Another worker on this Redis refused our endpoint: {stage.printable(json.loads(refused)['reason'])}",
            fix="stop it, or unset BRIDGE_REDIS_URL for a Redis that is this run's own",
        )
    watched = []
    for one, score, error in zip(session.ids, answers[::2], answers[1::2], strict=True):
        if score is not None:
            watched.append(one)
        trouble = error.decode(errors="replace") if error else ""
        if trouble and trouble != session.troubles.get(one):
            narration.print(
                pasteable(f"! {one}  TwelveLabs: {stage.printable(trouble)}{upstream_of(session, trouble)}")
            )
        session.troubles[one] = trouble
    return watched, [one["attempts"] for one in map(as_delivery, records) if one["state"] == DeliveryState.PENDING]


def upstream_of(session: Session, trouble: str) -> str:
    """What helps where upstream knows no such task, or does not answer; of the latter where it should be, and what
    serves one there."""
    if trouble.startswith("HTTP 404"):
        return "; check the id: after three such answers over a minute it is believed gone"
    if trouble.startswith("HTTP"):
        return ""
    base_url = session.settings.twelvelabs_base_url
    parts = urlsplit(base_url)
    ours = parts.hostname in {"127.0.0.1", "localhost", "::1"} and parts.port
    return f" (at {bare(base_url)}); it is tried again" + (f" → bridge simulate {parts.port}" if ours else "")


async def perform(session: Session, port: int, *, local: bool, until_done: bool, own_redis: bool) -> int:
    """Receiver, Redis, worker, registration; then lines until Ctrl-C, or until every task has ended."""
    from bridge.store.reading.vitals import role

    lines, narration = stage.console(), stage.console(stderr=True)
    async with contextlib.AsyncExitStack() as stack:
        if local:
            listener = Listener([session.secret], lambda heard: lines.print(heard.line()), answer=answer_from("204"))
            await listener.start(port)
            stack.push_async_callback(listener.server.stop)
            session.url = f"{listener.server.url}/dev"
        redis = None if own_redis else stack.enter_context(RedisServer())
        environment = session.environment(redis.url if redis else None)
        store = await stack.enter_async_context(_open(session, redis.url if redis else None))
        others_send = own_redis and not local and (await role(store, "deliver")).workers
        worker = stage.Worker(environment, hearer(session, lines, narration, attempts=not local))
        await stack.enter_async_context(worker)
        stack.push_async_callback(_take_back, session, store, narration)
        await write(session, store)
        _narrate(session, narration, local=local, own_redis=own_redis)
        for told in filter(None, (unheard(session), await others(session, store))):
            narration.print(f"! {told}")
        if others_send:
            narration.print("! Another worker runs on this Redis: what that one sends is not shown here.")
        outcome: BridgeError | int | None = await stage.either(
            worker.ended(), _refused(session), _until_done(session, store, narration, until_done)
        )
    if isinstance(outcome, BridgeError):
        raise outcome
    return outcome or 0


async def _take_back(session: Session, store: "Store", narration: "Console") -> None:
    if left := await take_back(session, store):
        narration.print(pasteable(left))


@contextlib.asynccontextmanager
async def _open(session: Session, redis_url: str | None) -> "AsyncIterator[Store]":
    from bridge.store import Store

    settings = session.settings
    url = redis_url or settings.redis_url.get_secret_value()
    async with contextlib.AsyncExitStack() as stack:
        with naming_redis(settings):
            opening = Store.open(url, prefix=settings.prefix, allow_volatile=settings.redis_allow_volatile)
            store = await stack.enter_async_context(opening)
        yield store


def _narrate(session: Session, narration: "Console", *, local: bool, own_redis: bool) -> None:
    redis = f"yours, BRIDGE_REDIS_URL{_of_tasks(session)}" if own_redis else "a throw-away one of this run"
    upstream, to = session.settings.twelvelabs_base_url, bare(session.url)
    narration.print(f"Redis: {redis}. TwelveLabs: {upstream}. Events go to {to}.")
    if loopback_networks(session.url):
        narration.print("For this run's worker only, http:// to that address is allowed.")
    if not local and session.given_secret:
        narration.print("Signed with the secret of --secret-file.")
    elif not local and session.default_secret:
        narration.print("Signed with BRIDGE_DELIVERY_DEFAULT_SECRET (or …_FILE).")
    elif not local:
        narration.print(f"Verify with this secret, made for this run: {session.made}")
    watched = f"{len(session.ids)} task{'s' * (len(session.ids) != 1)}" if session.ids else "what is registered already"
    narration.print(f"Watching {watched}, read every {session.settings.poll_interval_seconds:g} s. Ctrl-C ends.")


def _of_tasks(session: Session) -> str:
    """What becomes of the tasks in a Redis that stays."""
    if not session.new:
        return ""
    if len(session.new) == 1:
        return "; this task was not registered there: it tells this run alone, and goes with it"
    return f"; {len(session.new)} tasks were not registered there: they tell this run alone, and go with it"


async def _refused(session: Session) -> BridgeError:
    await session.key_refused.wait()
    return CredentialRefused(fix="check TWELVELABS_API_KEY, or make a new key in the TwelveLabs dashboard")


async def _until_done(session: Session, store: "Store", narration: "Console", until_done: bool) -> int:
    """Look now and then; ends only if asked to, once no task is watched and no delivery is worth waiting for."""
    from bridge.store.reading.trips import check_cancelled

    while True:
        check_cancelled()
        with contextlib.suppress(StoreDown):  # the worker says so, and goes on when Redis is back
            watched, owed = await look(session, store, narration)
            if until_done and not watched and all(attempts >= session.patience for attempts in owed):
                if owed:
                    many = "s" * (len(owed) != 1)
                    told = f"{bare(session.url)} did not take {len(owed)} event{many}, {session.patience} times"
                    last = f"; at last: {session.refusal}" if session.refusal else ""
                    narration.print(f"! {told}{last}. Put it right, and run this again.")
                code, why = await verdict(session, store)
                narration.print(f"Done: {why}; exit code {code}.")
                return code
        await asyncio.sleep(LOOK_SECONDS)


def _has_own_redis(settings: "Settings") -> bool:
    """Whether somebody chose the Redis. config/bridge.toml lists every default: that is no choice yet."""
    from bridge.settings import Settings, explain

    source = next(one.source for one in explain(settings) if one.name == "BRIDGE_REDIS_URL")
    default = Settings.model_fields["redis_url"].default
    return source != "default" and not (source == "config file" and settings.redis_url == default)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID…|-]")
@click.option("--to", "url", metavar="URL", help="Where events go, instead of a receiver made here.")
@click.option("--secret-file", metavar="F", help="File with the whsec_… secret that signs; - reads standard input.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Of the receiver made here; a free one else.")
@click.option(
    "--until-done",
    is_flag=True,
    help="End when every task given has ended: 0, 7 when one failed, 1 when one was not found, or refused, or an event "
    "was not taken.",
)
@click.pass_context
def dev(
    ctx: click.Context, ids: tuple[str, ...], url: str | None, secret_file: str | None, port: int, until_done: bool
) -> None:
    """Watch real tasks in the foreground: poller, worker and a verifying receiver, with a line for each event.

    Needs TWELVELABS_API_KEY. Uses BRIDGE_REDIS_URL if it is set, else a Redis that is gone with this run. Tasks
    that are new in yours are told to this run alone, and go with it; what was registered before stays. Events are
    signed with the secret of --secret-file, else with BRIDGE_DELIVERY_DEFAULT_SECRET (or …_FILE) if that is set, else
    with one made for this run, which it prints with --to.

    Without a key: run `bridge simulate` in another terminal, and set what it prints.

    \b
    Examples:
      bridge dev 6a0b1c2d3e4f5a6b7c8d9e01
      bridge dev ID --until-done --to http://localhost:3000/hook
      bridge dev ID --to http://localhost:3000/hook --secret-file local.whsec
    """
    if url and port:
        raise click.UsageError("--port is the receiver's that is made here; with --to there is none.")
    if "-" in ids and secret_file == "-":  # noqa: S105  no secret: standard input
        raise click.UsageError("Standard input cannot hold both the ids and the secret: name a file for one of them.")
    settings = settings_of(ctx)
    if settings.twelvelabs_api_key is None:
        raise SettingsError("There is no API key.", fix=NO_KEY)
    secret = secret_from(secret_file) if secret_file else None
    if secret is not None:
        parse_secret(secret)
    members, own_redis = checked(ids_from(ids)) if ids else [], _has_own_redis(settings)
    if until_done and not members:
        raise InvalidInput("--until-done waits for the tasks given, and none was.", fix="name their ids")
    if not members and not own_redis:
        raise InvalidInput("No id was given, and this run's own Redis has no task in it.", fix="bridge dev ID…")
    session = Session(settings, members, url or "", (ctx.obj or {}).get("config"), secret)
    work = perform(session, port, local=url is None, until_done=until_done, own_redis=own_redis)
    sys.exit(stage.run(work, interrupted=0))
