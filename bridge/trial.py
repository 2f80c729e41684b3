"""A trial: an event that nobody is owed, for one POST at an endpoint, and what to do about what came of it. Pure."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from bridge import events, formats
from bridge.callback import THE_HOST, assignments
from bridge.errors import InvalidInput
from bridge.guard import Policy
from bridge.kinds import TASK, Kind, family_of
from bridge.model import Change, Delivery, Endpoint, Fault, Observation, Outcome, Snapshot
from bridge.redaction import bare
from bridge.waiting import Advice, elsewhere, error_of, remedies

TYPE = "bridge.endpoint.test"
TRIGGER = "test"
"""What `bridge-trigger` says, whatever the type is."""
NO_TLS = "wrong version number"
"""What OpenSSL says of an answer that is none of TLS."""
ID = "test"
"""The id, and the index, in an event of a task's type: they are nobody's."""

FROM_A_CONTAINER = (
    "nothing listens there for containers: an app on this machine has to listen on 0.0.0.0, as they do not come by "
    "127.0.0.1 (`bridge listen --host 0.0.0.0`); or"
)


def trial(endpoint: Endpoint, event_type: str, *, now: int, token: str) -> Delivery:
    """The delivery of a made-up event, at `now` (milliseconds); `token` is 32 hexadecimal digits that tell it apart.

    Raises InvalidInput for a type that no event has. In a format of somebody else's, which has no word for what is no
    task's, `TYPE` stands for a task that is ready.
    """
    if event_type == TYPE and endpoint.format == formats.TWELVELABS:
        event_type = "index.task.ready"
    member = _member(family_of(event_type) or TASK)
    if event_type == TYPE:
        body = formats.notice(TYPE, now, {"endpoint": endpoint.name})
    else:
        body = _sample(event_type, member, now)
    return Delivery(f"evt_{token}", endpoint.name, event_type, member, now, now, 0, TRIGGER, token, body)


def _member(kind: Kind) -> str:
    path = "/".join(ID for _ in kind.parts)
    return f"{kind.name}:{path}" if kind.name else path


def _sample(event_type: str, member: str, now: int) -> bytes:
    """What an event of a task would say, the first of its task."""
    moment, text = datetime.fromtimestamp(now / 1000, UTC), formats.rfc3339(now)
    kind = family_of(event_type) or TASK
    own = {kind.updated: "ready", kind.stalled: kind.stages[-1]}
    status = own.get(event_type, event_type.removeprefix(kind.family))
    task = {kind.id_field: ID, "status": status, **({kind.marker: text} if kind.marker else {})}
    seen = Observation(ID, status, moment, text, None, None, task)
    before = Snapshot(own.get(event_type, "ready"), moment, text, None, None, now - 1, "")
    change = {
        kind.gone: Change(None, before, ("gone",)),
        kind.updated: Change(seen, before, ("system_metadata",)),
        kind.stalled: Change(seen, before, ("stalled",), stalled_since=now),
    }.get(event_type, Change(seen, None, ("status", "updated_at")))
    if events.type_of(change, kind) != event_type:
        raise InvalidInput("no event has this type", fix=f"write {TYPE}, index.task.ready or the like")
    return events.event_from(change, member, now=now).body


def delivered(outcome: Outcome) -> bool:
    """Whether the receiver took it, as deciding has it: any 2xx."""
    return outcome.status_code is not None and 200 <= outcome.status_code < 300


def advice(endpoint: Endpoint, outcome: Outcome, policy: Policy) -> tuple[Advice, ...]:
    """What to do about a trial that was not taken, sent under this policy; nothing about one that was."""
    name, status = endpoint.name, outcome.status_code
    if delivered(outcome):
        return ()
    if outcome.fault is Fault.CONNECT and urlsplit(endpoint.url).hostname == THE_HOST:
        return (_moved(name, FROM_A_CONTAINER),)
    if outcome.fault is Fault.BLOCKED and (lacking := assignments(endpoint.url, policy)):
        return (_moved(name, f"policy forbids this URL: set {' '.join(lacking)} here and for the worker, or"),)
    if outcome.fault is Fault.TLS and NO_TLS in outcome.detail:
        plain = bare(endpoint.url).replace("https:", "http:", 1)
        return (Advice(elsewhere(name, "" if "…" in plain else plain), "what listens there speaks no TLS:"),)
    if status is None:
        when, moves = _FAULTS.get(outcome.fault or Fault.RESET, ("look at the receiver's log", False))
        return (_moved(name, when) if moves else Advice("", when),)
    if status in {404, 405, 410}:
        return (_moved(name, "nothing takes a POST there"),)
    return remedies(name, error_of({"status_code": status, "detail": outcome.detail})) or (
        Advice("", "look at the receiver's log: it got this request, and answered so"),
    )


def _moved(name: str, when: str) -> Advice:
    """Have it lead elsewhere."""
    return Advice(elsewhere(name), when)


_FAULTS = {
    Fault.DNS: ("its name does not resolve from here", True),
    Fault.CONNECT: ("nothing listens there, or a firewall is in between: start the receiver, or", True),
    Fault.TLS: ("its certificate does not hold: put it right (name, date, chain), or name your own authority in "
                "BRIDGE_DELIVERY_CA_FILE, here and for the worker", False),
    Fault.TIMEOUT: ("the receiver has to answer within the deadline: answer first, work afterwards", False),
    Fault.RESET: ("the receiver, or a proxy before it, closed the connection: look at its log", False),
    Fault.PROTOCOL: ("what answers there does not speak HTTP as it should", True),
    Fault.BLOCKED: ("policy forbids this address: allow it by BRIDGE_DELIVERY_ALLOW_NETWORKS, or", True),
}  # fmt: skip
"""What each means, and whether another URL may mend it."""
