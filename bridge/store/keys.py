"""The names of the keys, in one place. What a key holds is said beside it; `docs/architecture.md` draws the picture.

Scripts build the names that depend on data (an endpoint, a task, an event) from the prefix, by the same patterns.
"""

from dataclasses import dataclass

ALONE = frozenset((
    "tasks", "endpoints", "watches", "events", "rejected", "meta", "stats", "watch", "finding", "ended", "orphans",
    "registry", "names", "pauses", "ready", "fanout", "unconfirmed", "notices",
))  # fmt: skip
"""The keys that have one name."""
BEFORE_A_COLON = frozenset((
    "task", "snapshot", "stats", "watch", "endpoint", "account", "spent", "listing", "event", "queue", "leases",
    "deliveries", "turns", "line", "latest", "done", "dead", "attempts", "fanout", "wake", "shifts", "workers",
    "aside", "scratch",
))  # fmt: skip
"""The first words of those of which there is one for each task, endpoint, event, …"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix."""

    prefix: str = "bridge:"

    def __call__(self, *parts: str) -> str:
        """`keys("queue", "billing")` is `bridge:queue:billing`."""
        return self.prefix + ":".join(parts)

    def ours(self, key: str) -> bool:
        """Whether a key is one of those that are named here, or by a script; any other one is read by nobody."""
        word, colon, _ = key.removeprefix(self.prefix).partition(":")
        return word in (BEFORE_A_COLON if colon else ALONE)

    # -- written by clients --

    @property
    def tasks(self) -> str:
        """ZSET member → Unix seconds: a request when <= now, +inf when taken in."""
        return self("tasks")

    def task(self, member: str) -> str:
        """HASH: a task's options."""
        return self("task", member)

    @property
    def endpoints(self) -> str:
        """HASH name → JSON."""
        return self("endpoints")

    @property
    def watches(self) -> str:
        """HASH `account` | `index:<id>` → JSON: whose tasks are registered by themselves."""
        return self("watches")

    # -- written by the bridge, read by clients --

    def snapshot(self, member: str) -> str:
        """HASH: the last committed observation."""
        return self("snapshot", member)

    @property
    def events(self) -> str:
        """STREAM of pointers to events."""
        return self("events")

    @property
    def rejected(self) -> str:
        """HASH `task:<member>` | `endpoint:<name>` → JSON with reason and fix."""
        return self("rejected")

    @property
    def meta(self) -> str:
        """HASH: version of the data, version of the endpoint set, and the clock as last seen by a sweep (ms)."""
        return self("meta")

    @property
    def stats(self) -> str:
        """HASH: counters since the data was made, by the names of `bridge/tally.py`."""
        return self("stats")

    def stats_of(self, label: str) -> str:
        """HASH: an endpoint's own counters, until it is removed and has nothing left to show; `url:*` are all callback
        URLs together."""
        return self("stats", label)

    # -- the registry's own --

    @property
    def watch(self) -> str:
        """ZSET member → ms: when it is due, or when its lease ends."""
        return self("watch")

    def watching(self, member: str) -> str:
        """HASH: options as validated, token of the lease, faults, doubt."""
        return self("watch", member)

    @property
    def finding(self) -> str:
        """HASH: who finds tasks for the watches, and until when; `text:<watch>`, each as it is in force; of each kind
        that it finds `state:<kind>:<watch>`, how far that has come, and `found:<kind>:<watch>`, how many it registered.
        """
        return self("finding")

    @property
    def ended(self) -> str:
        """ZSET member → ms: tasks no longer watched, until retention."""
        return self("ended")

    @property
    def orphans(self) -> str:
        """ZSET member → ms: option hashes seen without a member."""
        return self("orphans")

    @property
    def registry(self) -> str:
        """HASH name → JSON: the endpoints as accepted, the implicit `url:<digest>` ones included."""
        return self("registry")

    @property
    def names(self) -> str:
        """SET: the endpoints that have, or had and still show, deliveries."""
        return self("names")

    def endpoint(self, name: str) -> str:
        """HASH: an endpoint's state (active, held, disabled, removed), who disabled it and why, pause, failures, order,
        cap, registry entry; when its last hold ended, and how far what was held has been made due."""
        return self("endpoint", name)

    @property
    def pauses(self) -> str:
        """ZSET account → ms: no upstream request before."""
        return self("pauses")

    def account(self, name: str) -> str:
        """HASH: what is known of an upstream account's key."""
        return self("account", name)

    # -- the outbox's own --

    def event(self, event_id: str) -> str:
        """HASH: type, task, revision, body, and how many still need the body."""
        return self("event", event_id)

    @property
    def ready(self) -> str:
        """ZSET endpoint → ms: the earliest moment at which its queue has something to do."""
        return self("ready")

    def queue(self, endpoint: str) -> str:
        """ZSET event id → ms: due deliveries that nobody has claimed."""
        return self("queue", endpoint)

    def leases(self, endpoint: str) -> str:
        """ZSET `<event id>/<token>` → ms: claimed deliveries and when their lease ends."""
        return self("leases", endpoint)

    def deliveries(self, endpoint: str) -> str:
        """HASH event id → JSON record."""
        return self("deliveries", endpoint)

    def turns(self, endpoint: str) -> str:
        """HASH member → event id: of each task's deliveries the one whose turn it is; it is in the queue, or leased."""
        return self("turns", endpoint)

    def line(self, endpoint: str, member: str) -> str:
        """LIST of event ids of one task: those behind the one whose turn it is."""
        return self("line", endpoint, member)

    def latest(self, endpoint: str) -> str:
        """HASH member → `<revision> <event id>`: the latest that was delivered of each task, at an endpoint that
        supersedes; a note goes with the record that it names."""
        return self("latest", endpoint)

    def done(self, endpoint: str) -> str:
        """ZSET event id → ms: delivered, superseded or cancelled, until retention."""
        return self("done", endpoint)

    def dead(self, endpoint: str) -> str:
        """ZSET event id → ms: dead letters, until retention."""
        return self("dead", endpoint)

    def attempts(self, endpoint: str, event_id: str) -> str:
        """LIST of JSON, the latest attempts of one delivery."""
        return self("attempts", endpoint, event_id)

    @property
    def fanout(self) -> str:
        """LIST of event ids that are still being handed to more endpoints than one step takes."""
        return self("fanout")

    @property
    def unconfirmed(self) -> str:
        """ZSET endpoint → ms: when its receiver is asked next whether it consents to be sent events."""
        return self("unconfirmed")

    @property
    def notices(self) -> str:
        """LIST of JSON: what is to be told of endpoints, the oldest first; four at most each time one fails."""
        return self("notices")

    def wake(self, kind: str) -> str:
        """LIST, bounded: a nudge for a waiting pump."""
        return self("wake", kind)

    # -- the supervisors' own --

    def shifts(self, kind: str) -> str:
        """ZSET shift id → ms until which it is believed to be alive."""
        return self("shifts", kind)

    def workers(self, kind: str) -> str:
        """ZSET worker id → ms until which it is believed to be alive."""
        return self("workers", kind)
