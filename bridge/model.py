"""The nouns. Frozen values without I/O and without a clock; times are integer milliseconds since the Unix epoch.

A *task* is upstream's: ours to watch, never to run. A *job* is RQ's. The two words are never exchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

KNOWN_STATUSES = frozenset({"uploading", "validating", "pending", "queued", "indexing", "ready", "failed"})
"""What TwelveLabs documents for video indexing tasks; the set is open, so another word is doubted, not refused."""

TERMINAL_STATUSES = frozenset({"ready", "failed"})
"""The statuses that a video indexing task does not leave."""

STAGES = {word: place for place, word in enumerate(("uploading", "validating", "pending", "queued", "indexing"))}
"""The documented order of what comes before these."""

TERMINAL_HLS_STATUSES = frozenset({"COMPLETE", "CANCELED", "ERROR"})
"""The states that `hls.status` does not leave; it may still be PROCESSING when the task is `ready`."""


V1, V1A = "v1", "v1a"
"""The signatures that an endpoint may ask for: with a secret that both sides have, with a key that is ours alone."""


class Ordering(StrEnum):
    """What a first attempt waits for, within one (endpoint, task)."""

    FIRST_ATTEMPT = "first-attempt"
    """The first attempt of the revision before it."""
    STRICT = "strict"
    """The success (or the end) of the revision before it."""
    NONE = "none"
    """Nothing."""


class DeliveryState(StrEnum):
    """Where a delivery stands. All but `pending` are final."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class DeadReason(StrEnum):
    """Why a delivery is a dead letter."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    BLOCKED = "blocked"
    POISON = "poison"
    EXPIRED = "expired"
    BODY_LOST = "body-lost"
    """Its event's body is gone from Redis: there is nothing to send."""
    UNREADABLE = "unreadable"
    """Its record was overwritten by somebody with something else."""


class Fault(StrEnum):
    """Why an exchange had no answer. A value: it is recorded, logged and decided upon, never raised past its edge."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    BLOCKED = "blocked"


class FetchFault(StrEnum):
    """How upstream failed to tell us a task's state. Named by what follows from it, not by status code."""

    GONE = "gone"
    """404, or 400 with a code that starts with `resource_not_exist`: believed after three answers over 60 s."""
    BAD_WATCH = "bad_watch"
    """Any other 400: this id cannot be watched."""
    FORBIDDEN = "forbidden"
    """403: this id belongs to somebody else."""
    CREDENTIAL = "credential"
    """401: the key is broken, for every task alike."""
    THROTTLED = "throttled"
    """429."""
    TRANSIENT = "transient"
    """Anything that may be over at the next read: 5xx, 408, 409, a network fault, a body that is not a task."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one read said about a task. `None` means that the answer did not say, which is not a change."""

    task_id: str | None
    status: str
    updated_at: datetime | None
    updated_at_text: str | None
    hls_status: str | None
    system_metadata: Mapping[str, Any] | None
    task: Mapping[str, Any]
    """The whole upstream object, as served."""
    from_list: bool = False
    """A row of upstream's list said so, not the task read by id."""
    dated: datetime | None = None
    """What time it was when upstream said so, by its own clock; None where it did not say."""


@dataclass(frozen=True, slots=True)
class FetchFailure:
    """What a read came to when it did not become an Observation."""

    fault: FetchFault
    detail: str
    retry_after_seconds: float | None = None
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last committed observation of a task, and the revision and event it was announced with."""

    status: str
    updated_at: datetime | None
    updated_at_text: str | None
    hls_status: str | None
    system_metadata_digest: str | None
    revision: int
    event_id: str
    announced: tuple[str, ...] = ()
    """The digests of the states announced before, newest last, so that a return to one gets an id of its own."""
    terminal_since: int | None = None
    gone: bool = False
    """Upstream no longer knew the task when it was last watched."""
    from_list: bool = False
    """A row of upstream's list said so: what the task says, read by id, may take it back."""
    observed_at: int | None = None
    """When it was committed."""


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of snapshot and observation. In memory only; committed, it is an Event."""

    observation: Observation | None
    """None when the task is gone: there was nothing left to observe."""
    previous: Snapshot | None
    changed: tuple[str, ...]
    stalled_since: int | None = None
    """With `("stalled",)`, when nothing has changed: since when it has stood still."""


@dataclass(frozen=True, slots=True)
class Event:
    """An immutable fact made from a change. `body` is made once: what is stored is what is signed is what is sent."""

    id: str
    type: str
    task: str
    revision: int
    observed_at: int
    digest: str
    body: bytes = field(repr=False)


MetadataWord = str | int | float | bool | None
"""A value of a metadata field that an endpoint's filter can name."""

MILLISECONDS_FROM = 1e11
"""A time in seconds is below this until the year 5138; above, it is milliseconds by mistake."""
OPTIONS = ("metadata", "endpoints", "callback_url", "expires_at", "account", "traceparent")
"""The fields of a task's hash that mean something; the others belong to those who wrote them."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a client asked for when it registered a task."""

    metadata: Any = None
    endpoints: tuple[str, ...] | None = None
    callback: str | None = None
    """Name of the implicit endpoint `url:<digest>` made from the task's `callback_url`."""
    expires_at: int | None = None
    account: str = "default"
    traceparent: str | None = None
    """The span that registered it (W3C Trace Context): the traces of its events refer to that."""


@dataclass(frozen=True, slots=True)
class WatchedTask:
    """A claimed task: what to fetch, what was known, and the token that proves that the claim is ours."""

    member: str
    token: str
    options: WatchOptions
    snapshot: Snapshot | None
    announce: bool
    """Registered again: its current event is owed to each matching endpoint that has no delivery of it."""
    faults: int
    absences: int
    absent_since: int | None
    doubt: str | None
    doubted_at: int | None
    due_at: int
    behind_ms: int = 0
    """How far Redis' clock is behind where it has been: revisions are ahead of that."""
    relied_at: int | None = None
    """Since when it was left to upstream's list to tell of it; None: it was not, but read at the interval."""


@dataclass(frozen=True, slots=True)
class Relying:
    """A delay that is long while upstream's list tells what changes; whether it does is judged when it is written."""

    near_ms: int
    far_ms: int
    """The longest; a list that has not told for so long, or tells of few, is believed for less."""
    fresh_ms: int
    """A list tells if a pass over it was complete within this."""
    share: float = 1.0
    """The part of the long delay that it is to be, so that not all are over at once."""
    pace_ms: int = 0
    """Of all tasks, one is due in such a time, and not more; 0: as many as may be."""
    closely_ms: int = 0
    """From now on so long, the short delay it is, whatever the list tells."""
    account: str = "default"

    def __str__(self) -> str:
        share = int(self.share * 1000)
        words = (self.near_ms, self.far_ms, self.fresh_ms, share, self.pace_ms, self.closely_ms, self.account)
        return " ".join(map(str, words))


Delay = int | Relying
"""When a task is due again, in ms; below 0: never, it has ended."""


@dataclass(frozen=True, slots=True)
class Postponement:
    """How a claimed task is given back without a change."""

    delay_ms: Delay
    faults: int = 0
    absences: int = 0
    """Answers in a row that said that there is nothing to watch."""
    absent_since: int | None = None
    doubt: str | None = None
    doubted_at: int | None = None
    error: str = ""

    @classmethod
    def of(cls, task: WatchedTask, delay_ms: Delay, *, error: str = "", faults: int | None = None) -> "Postponement":
        """Due again after `delay_ms`, everything else as it was when the task was claimed."""
        return cls(
            delay_ms=delay_ms,
            faults=task.faults if faults is None else faults,
            absences=task.absences,
            absent_since=task.absent_since,
            doubt=task.doubt,
            doubted_at=task.doubted_at,
            error=error,
        )


@dataclass(frozen=True, slots=True)
class PreviousSecret:
    """A secret that another one took over from; it signs beside that one until `until` (Unix seconds)."""

    secret: str = field(repr=False)
    until: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscriber's callback URL with its filter, secrets and limits."""

    name: str
    url: str = field(repr=False)
    events: tuple[str, ...] = ("index.task.*",)
    tasks: tuple[str, ...] = ("*",)
    indexes: tuple[str, ...] = ("*",)
    """Ids of TwelveLabs indexes, as patterns."""
    metadata: Mapping[str, tuple[MetadataWord, ...]] = field(default_factory=dict)
    """Top-level fields of the task's own metadata, each with the values that it takes."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Newest first. `whsec_…`, each of which signs; in the format `twelvelabs` any text, of which the newest does."""
    format: str = "standard"
    ordering: Ordering = Ordering.FIRST_ATTEMPT
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    previous_secrets: tuple[PreviousSecret, ...] = ()
    concurrency: int | None = None
    """Attempts in flight at most; None: as the operator set it for all."""
    rate: str | None = None
    """Attempts a second or a minute at most, as `10/s` or `300/m`."""
    schedule: tuple[float, ...] = ()
    """The wait in seconds before each attempt, and so their number; empty: the operator's."""
    supersede: bool = False
    """A progress event that waits is dropped once a later one of its task was delivered."""
    signatures: tuple[str, ...] = (V1,)
    """What signs its deliveries: `v1`, `v1a` or both, in this order."""
    handshake: bool = False
    """Nothing is sent before its receiver consented."""


class NoticeKind(StrEnum):
    """What an endpoint's failing has come to. One that is younger than a worker is dropped by it, with a line."""

    FAILING = "failing"
    """A further part of the failure window is over."""
    DISABLED = "disabled"
    RECOVERED = "recovered"
    """An attempt succeeded, the first one after one of the others was told."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What those who look after endpoints are to be told of one; it waits in Redis until it is told. Times are ms."""

    kind: NoticeKind
    endpoint: str
    at: int
    revision: int
    """Grows from notice to notice of an endpoint."""
    failures: int
    """In a row."""
    failing_since: int
    window_ms: int
    """How long it may fail in a row; 0: as long as it likes."""
    percent: int | None = None
    """With `failing`: the part of the window that this warns of."""
    reason: str | None = None
    """With `disabled`: failing, gone or blocked."""
    status_code: int | None = None
    fault: str | None = None
    text: str = field(default="", repr=False, compare=False)
    """As it stands in Redis."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one endpoint, as claimed. Its identity is event id + endpoint."""

    event_id: str
    endpoint: str
    type: str
    task: str
    revision: int
    created_at: int
    attempts: int
    """Attempts settled so far; the one to be made is `attempts + 1`."""
    trigger: str
    token: str
    body: bytes = field(repr=False)
    round_from: int = 0
    """Attempts that do not count on the schedule: made before it last started anew, or ahead of their time."""
    round_at: int | None = None
    """When it did."""
    probe: int | None = None
    """Its endpoint's breaker is open and this asks whether it is back: how many probes failed before."""
    early_until: int | None = None
    """The probe asks ahead of its time, which is then (ms): a failure costs nothing of its schedule."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one exchange went, in milliseconds; a phase that did not happen (a kept connection) is None."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    wait_ms: float | None = None
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to: a status code, or a fault. A value, not an exception."""

    status_code: int | None = None
    fault: Fault | None = None
    detail: str = ""
    retry_after_seconds: float | None = None
    excerpt: str = ""
    """The head of the answer's body, at most 1 KiB."""
    request: str = ""
    """The request's head without secrets, a line for each header; empty where it is not worth keeping."""
    answer: str = ""
    """The answer's, likewise."""
    timing: Timing = Timing()


class EndpointEffect(StrEnum):
    """What an outcome means for the endpoint as a whole."""

    SUCCESS = "success"
    FAILURE = "failure"
    OVERLOAD = "overload"
    """A failure that asks for fewer attempts at a time."""
    DISABLE_GONE = "disable-gone"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an outcome: the delivery's next state, and what it means for its endpoint."""

    state: DeliveryState
    effect: EndpointEffect
    retry_in_ms: int | None = None
    """Set if and only if `state` is pending."""
    reason: DeadReason | None = None
    """Set if and only if `state` is dead."""
    pause_ms: int = 0
    """How long the whole endpoint rests, because it sent Retry-After."""
    probe_in_ms: int = 0
    """When the endpoint is probed, if this failure opens its breaker or was a probe."""
    window_ms: int = 0
    """How long the endpoint may fail in a row before it is disabled; 0: as long as it likes."""
