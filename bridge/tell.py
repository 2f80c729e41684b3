"""Telling what became of endpoints: each notice is an event for those who asked for such, and a line in the log."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from bridge.events import event_of
from bridge.formats import rfc3339
from bridge.model import Endpoint, Event, Notice, NoticeKind
from bridge.pump import Log
from bridge.redaction import bare

MATCHES = 5
"""How often a notice is matched again because the endpoints changed meanwhile; then the next round has it."""


class Waiting(Protocol):
    """What is to be told."""

    @property
    def notices(self) -> Sequence[Notice | bytes]: ...
    @property
    def dropped(self) -> int: ...


class Notices(Protocol):
    """Where notices wait."""

    async def waiting(self) -> Waiting: ...
    async def tell(self, notice: Notice, event: Event, endpoints: Sequence[str], version: str) -> str: ...
    async def drop(self, text: bytes | str) -> None: ...


class EndpointSet(Protocol):
    """The endpoints in force at one version."""

    @property
    def version(self) -> str: ...
    @property
    def by_name(self) -> Mapping[str, Endpoint]: ...
    def hearers(self, notice: Notice) -> list[str]: ...


class Registry(Protocol):
    """Where endpoints are looked up."""

    @property
    def endpoints(self) -> EndpointSet: ...
    async def reload_endpoints(self) -> EndpointSet: ...


class Teller:
    """One process' telling; others may tell at the same time."""

    def __init__(self, notices: Notices, registry: Registry, log: Log) -> None:
        self._notices, self._registry, self._log = notices, registry, log

    async def run(self) -> int:
        """Tell what waits, the oldest first; replies how many were told here. Raises StoreDown."""
        told = 0
        waiting = await self._notices.waiting()
        dropped = waiting.dropped
        for notice in waiting.notices:
            if isinstance(notice, bytes):
                await self._notices.drop(notice)
                dropped += 1
            elif await self._tell(notice):
                self._report(notice)
                told += 1
            else:
                break  # somebody else is at it, or the endpoints change too fast: the rest keeps its order
        if dropped:
            self._log.warning("notice.unreadable", dropped=dropped, error="somebody wrote into bridge:notices")
        return told

    async def _tell(self, notice: Notice) -> bool:
        for _ in range(MATCHES):
            endpoints = self._registry.endpoints
            about = endpoints.by_name.get(notice.endpoint)
            event = event_of(notice, bare(about.url) if about else None)
            word = await self._notices.tell(notice, event, endpoints.hearers(notice), endpoints.version)
            if word != "changed":
                return word == "told"
            await self._registry.reload_endpoints()
        return False

    def _report(self, notice: Notice) -> None:
        fields: dict[str, object] = {
            "endpoint": notice.endpoint,
            "failures": notice.failures,
            "failing_since": rfc3339(notice.failing_since),
        }
        if notice.kind is NoticeKind.RECOVERED:
            self._log.info("endpoint.recovered", **fields)
            return
        fields |= {"status_code": notice.status_code, "fault": notice.fault}
        fields["fix"] = f"bridge endpoint show {notice.endpoint}"
        if notice.kind is NoticeKind.DISABLED:
            self._log.warning("endpoint.disabled", reason=notice.reason, **fields)
        else:
            disabled_at = rfc3339(notice.failing_since + notice.window_ms)
            self._log.warning("endpoint.failing", percent=notice.percent, disabled_at=disabled_at, **fields)
