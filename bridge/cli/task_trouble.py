"""Why registered tasks are not read just now: `task wait`, `watch` and `show` say it instead of keeping silent."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cli.output import say
from bridge.deployment import Deployment

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.store import Store
    from bridge.store.reading.tasks import TaskView
    from bridge.store.reading.vitals import Role

LAG_MS = 30_000
"""What is due for longer is not being read, whatever the reason."""
OVERDUE_MS = 1_500
"""A task that is due for longer was passed over at least once."""
NO_WORKER = "no worker is running"
RETURN_SECONDS = 15.0
"""Once Redis is back, a worker may take so long until it is seen again: it begins anew, and not at once."""
RAISE = (
    "raise BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE for the worker, or BRIDGE_POLL_INTERVAL_SECONDS; or: bridge status -w"
)
FULL = "Redis is full: what changes at TwelveLabs is not written until it has room; what is owed is delivered"
UNCHANGED = "nothing changed at TwelveLabs since its latest event, so there is no newer one"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps tasks from being read, and the next command."""

    reason: str
    fix: str


def trouble_of(
    role: "Role",
    *,
    has_key: bool,
    was_read: bool,
    overdue: bool = False,
    full: bool = False,
    deployment: Deployment = Deployment.BY_HAND,
) -> Trouble | None:
    """What is wrong with the polling of all tasks; None if nothing is, as far as it shows.

    `has_key`: there is one here, which counts where the workers do not say whether they have one; `was_read`: some of
    the tasks were read well, so that they have one. `overdue`: some of them is due for longer than it takes.
    `full`: Redis takes nothing new.
    """
    if not role.workers:
        return Trouble(NO_WORKER, deployment.start())
    if role.key_refused:
        return Trouble("TwelveLabs refuses the API key: nothing is read", "bridge doctor")
    if not role.polls_by(has_key or was_read):
        fix = f"{deployment.with_secret('TWELVELABS_API_KEY')}; or set what `bridge simulate` prints"
        if role.has_key is False:
            return Trouble("the running worker has no API key: nothing is read", fix)
        return Trouble("there is no API key here: if the worker has none either, nothing is read", fix)
    if full:
        return Trouble(FULL, "bridge doctor")
    if role.paused_until_at:
        return Trouble(
            "TwelveLabs asked for a rest (its limit, or Retry-After): nothing is read until it ends", "bridge status -w"
        )
    if role.spent_of and overdue:
        return Trouble(
            f"this minute's {role.spent_of} requests are used up: what is due waits for the next ones", RAISE
        )
    if role.lag_ms > LAG_MS:
        return Trouble("what is due is not read", "bridge doctor")
    return None


async def find_trouble(store: "Store", settings: "Settings", views: Iterable["TaskView"]) -> Trouble | None:
    """What keeps these tasks, all of them registered, from being read."""
    from bridge.store.reading.vitals import redis_is_full, role

    views = list(views)
    was_read = any(view.polled_at and not view.faults for view in views)
    has_key = settings.twelvelabs_api_key is not None
    seen, deployment = await role(store, "poll"), settings.deployment
    now = await store.scripts.now()
    overdue = any(view.next_at and view.next_at < now - OVERDUE_MS for view in views)
    full = await redis_is_full(store)
    return trouble_of(seen, has_key=has_key, was_read=was_read, overdue=overdue, full=full, deployment=deployment)


def unchanged(view: "TaskView") -> bool:
    """Whether it is read well, there is nothing to tell of it since its latest event, and whoever is to hear of
    that has: while one has not, or nobody is to, that is why nothing arrived."""
    read = view.state == "watched" and view.polled_at and view.observed_at
    return bool(read and view.event_id and not view.faults and not view.note and 0 < view.delivered == view.owed)


def doubted(view: "TaskView") -> str:
    """What follows if TwelveLabs goes on to say that there is no such task, or that it is none of this account's; empty
    while it says neither."""
    if not view.absences:
        return ""
    check = "" if view.status else "check the id; "
    return f"{check}after three such answers over a minute it is believed gone (or refused), and read no more"


def unread(view: "TaskView") -> str:
    """Where it is looked into why it cannot be read; empty while it can."""
    return "bridge doctor" if view.state == "watched" and view.faults else ""


class Warnings:
    """Says each trouble once, when it first shows."""

    def __init__(self, store: "Store", settings: "Settings", now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._settings, self._now = store, settings, now
        self._told: set[Trouble] = set()
        self._begun = False
        self._returning_until = 0.0

    def begin(self) -> None:
        """The looking begins; when it does so again, Redis was away, and its workers come back after it."""
        self._returning_until = self._now() + RETURN_SECONDS if self._begun else 0.0
        self._begun = True

    async def look(self, views: Iterable["TaskView"]) -> None:
        """Say what is new about those that are still waited for; nothing if none is."""
        waiting = list(views)
        trouble = await find_trouble(self._store, self._settings, waiting) if waiting else None
        if trouble and trouble.reason == NO_WORKER and self._now() < self._returning_until:
            return
        if trouble and trouble not in self._told:
            self._told.add(trouble)
            say(f"! {trouble.reason} → {trouble.fix}")
