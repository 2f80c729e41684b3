"""From the settings to the parts that are made of them: for the workers, the command line and the console."""

import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from bridge.entries import Judge
from bridge.errors import SettingsError
from bridge.finder import FindPolicy
from bridge.lister import ListPolicy
from bridge.poll import PollPolicy
from bridge.pump import Log
from bridge.schedule import RetryPolicy
from bridge.sealing import Keyring, keys_in
from bridge.sender import Sender
from bridge.settings import Settings
from bridge.skim import fresh_seconds
from bridge.store import Store
from bridge.store.intake import Intake
from bridge.store.sweep import Sweep
from bridge.tracing import UNTRACED, Tracing
from bridge.transport import Limits, Proxy, Transport
from bridge.twelvelabs import BODY_BYTES, PAGE_ROWS, TwelveLabs

LEAST_TASKS = 20
"""From so many watched tasks on, the strategy `auto` reads upstream's list."""
NEVER = 1_000_000_000


def open_store(settings: Settings) -> contextlib.AbstractAsyncContextManager[Store]:
    """The store as configured."""
    return Store.open(
        settings.redis_url.get_secret_value(),
        prefix=settings.prefix,
        allow_volatile=settings.redis_allow_volatile,
        events_kept=settings.retention_events,
        rehearse=True,
    )


def intake_from(store: Store, settings: Settings) -> Intake:
    """Intake as configured: the one that workers run, and the CLI for what it writes itself."""
    return Intake(
        store,
        settings.policy,
        has_default_secret=settings.delivery_default_secret is not None,
        has_signing_key=settings.signing_key is not None,
        cap=settings.delivery_endpoint_concurrency,
        keyring=keyring_from(settings),
    )


def keyring_from(settings: Settings) -> Keyring:
    """The keys that seal endpoints' secrets, as configured."""
    return Keyring(keys_in(settings.secrets_key.get_secret_value()) if settings.secrets_key else ())


def proxy_from(settings: Settings) -> Proxy | None:
    """The egress proxy as configured, for deliveries alone."""
    url = settings.delivery_proxy_url
    return Proxy.parse(url.get_secret_value()) if url else None


def authorities_from(settings: Settings) -> ssl.SSLContext | None:
    """Whom deliveries believe beside the system's authorities, as configured; None where that is nobody."""
    if not settings.delivery_ca_file:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(settings.delivery_ca_file)
    return context


@contextlib.contextmanager
def tracing_from(settings: Settings, log: Log) -> Iterator[Tracing]:
    """Tracing as configured. What keeps spans from leaving is said, and keeps no work from being done."""
    if not settings.tracing:
        yield UNTRACED
        return
    from bridge.otel import Exporting, OpenTelemetry, exporter_from

    try:
        exporter = exporter_from(Exporting())
    except SettingsError as error:
        log.warning("tracing.off", error=str(error), fix=error.fix)
        yield UNTRACED
        return
    tracing = OpenTelemetry(exporter)
    try:
        yield tracing
    finally:
        tracing.close()


@asynccontextmanager
async def sender_from(settings: Settings, tracing: Tracing = UNTRACED) -> AsyncIterator[Sender]:
    """A sender and its transport as configured: the guard judges each address dialled."""
    policy = settings.policy

    def judge(host: str, port: int, addresses: Any) -> str | None:
        verdict = policy.judge_addresses(host, port, addresses)
        return None if verdict.allowed else f"{verdict.reason}: {verdict.detail}"

    transport = Transport(judge, proxy=proxy_from(settings), ssl_context=authorities_from(settings))
    secret = settings.delivery_default_secret
    try:
        yield Sender(
            transport,
            policy,
            deadline_seconds=settings.delivery_deadline_seconds,
            default_secret=secret.get_secret_value() if secret else None,
            keyring=keyring_from(settings),
            signing_keys=settings.signing_keys,
            origin=settings.delivery_origin,
            tracing=tracing,
        )
    finally:
        await transport.aclose()


@asynccontextmanager
async def upstream_from(settings: Settings, counted: Counter[str] | None = None) -> AsyncIterator[TwelveLabs]:
    """TwelveLabs as configured. Its address is the operator's own choice, so it is not judged."""
    limits = Limits(body_bytes=BODY_BYTES, body_seconds=settings.poll_deadline_seconds)
    transport = Transport(lambda *_: None, limits=limits)
    key = settings.twelvelabs_api_key
    try:
        yield TwelveLabs(
            transport,
            base_url=settings.twelvelabs_base_url,
            api_key=key.get_secret_value() if key else "",
            deadline_seconds=settings.poll_deadline_seconds,
            counted=counted,
        )
    finally:
        await transport.aclose()


def sweep_from(store: Store, settings: Settings) -> Sweep:
    """The sweep, and how long it keeps what, as configured."""
    return Sweep(
        store,
        delivered_ms=settings.retention_delivered_seconds * 1000,
        dead_ms=settings.retention_dead_seconds * 1000,
        tasks_ms=settings.retention_tasks_seconds * 1000,
    )


def poll_policy(settings: Settings) -> PollPolicy:
    """How tasks are read, as configured."""
    per_minute, by_id_alone = settings.twelvelabs_requests_per_minute, settings.twelvelabs_strategy == "retrieve"
    return PollPolicy(
        interval_seconds=settings.poll_interval_seconds,
        lease_seconds=settings.poll_lease_seconds,
        requests_per_minute=per_minute,
        reconcile_seconds=0 if by_id_alone else settings.poll_reconcile_seconds,
        stalled_seconds=settings.poll_stalled_seconds,
        list_fresh_seconds=fresh_seconds(settings.poll_interval_seconds, per_minute),
    )


def list_policy(settings: Settings) -> ListPolicy:
    """How upstream's list is read, as configured."""
    least = {"auto": LEAST_TASKS, "list": 1, "retrieve": NEVER}[settings.twelvelabs_strategy]
    return ListPolicy(
        interval_seconds=settings.poll_interval_seconds,
        lease_seconds=settings.poll_lease_seconds,
        requests_per_minute=settings.twelvelabs_requests_per_minute,
        least_tasks=least,
    )


def find_policy(settings: Settings) -> FindPolicy:
    """How tasks are found, as configured."""
    return FindPolicy(
        interval_seconds=settings.poll_find_seconds,
        requests_per_minute=settings.twelvelabs_requests_per_minute,
        judge=Judge(settings.policy, settings.delivery_default_secret is not None),
        page_rows=PAGE_ROWS,
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    """How long what fails is tried, as configured."""
    return RetryPolicy(
        schedule_seconds=settings.delivery_schedule_seconds,
        jitter=settings.delivery_jitter,
        progress_expires_ms=int(settings.delivery_progress_expires_seconds * 1000),
        failure_window_ms=int(settings.delivery_failure_window_seconds * 1000),
    )
