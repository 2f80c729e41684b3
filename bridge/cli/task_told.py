"""A task in words: first what became of its events, then what to do about it, each thing once; its figures last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.audience import NAMES_OTHERS, SHOWN, WOULD_TAKE
from bridge.cli.delivery import waits
from bridge.cli.output import ago, fields_of, next_due, safe, with_command
from bridge.cli.task_trouble import UNCHANGED
from bridge.model import DeliveryState
from bridge.recovery import each_of
from bridge.rejection import typed
from bridge.waiting import Advice, advised

Row = Mapping[str, Any]
FIGURES = ("updated_at", "observed_at", "polled_at", "next_at", "ended_at", "expires_at", "revision", "event_id",
           "hls_status", "faults", "options")  # fmt: skip
STATES = {"waiting": "not taken in yet", "ended": "no longer watched"}
"""The states that have other words here than in JSON."""
WHOLE_ERROR = 600
"""How much of an error stands beside a delivery here, where there is room for what to do about it."""


def told(row: Row) -> str:
    """All of it, `row` as `task_show.task_row` has it."""
    events = row["events"][::-1]
    silent = _said_once(events)
    hints = [f"  {safe(one)}" for one in (*_passed_over(events), *hints_of(events, row["task"]))]
    if not events and row["event_id"]:
        hints.append("  none of its events is kept any more")
    shown = ["\n".join(_event(one, untold=why)) for one, why in zip(events, silent, strict=True)]
    blocks = ["\n".join(map(with_command, block.split("\n"))) for block in (_headed(row), *shown, "\n".join(hints))]
    return "\n\n".join(filter(None, (*blocks, _figures(row))))


def _headed(row: Row) -> str:
    """What it is, how far its latest event came, and how its reading fares."""
    ahead = row["state"] == "waiting" and row["next_at"]
    state = "waiting" if ahead else STATES.get(row["state"], row["state"])
    came = f"; its latest event reached {row['delivered']} of {row['owed']} endpoint{'s' * (row['owed'] != 1)}"
    first = f"{row['task']}  {', '.join(filter(None, (row['status'], state)))}{came if row['owed'] else ''}"
    note, reading = row["note"], row["reading"]
    if note and row["state"] == "watched" and row["polled_at"]:
        note = f"at its latest read, {ago(row['polled_at'])}: {note}"
    lines = [safe(first), *([f"  {reading}"] if reading == UNCHANGED else [])]
    reading = None if reading == UNCHANGED else reading
    silent = row["events"] and row["events"][-1]["untold"] and row["fix"]
    told = [*filter(None, (note, reading))] or ["nobody is owed its latest event" if silent else ""]
    fix = "" if any(one.endswith(f"→ {row['fix']}") for one in row["warnings"]) else typed(row["fix"])
    told[-1] = " → ".join(filter(None, (told[-1], fix)))
    return "\n".join([*lines, *(safe(f"  ! {one}") for one in (*told, *row["warnings"]) if one)])


def _said_once(events: Sequence[Row]) -> list[str]:
    """Why nobody is owed each event; empty where the same was said of an event above it."""
    said: set[str] = set()
    found = []
    for event in events:
        why = event["untold"] or ""
        alike = why.replace(event["type"], "")
        found.append("" if alike in said else why)
        said.add(alike)
    return found


def _passed_over(events: Sequence[Row]) -> list[str]:
    """Once for all events, whom no filter that is known keeps them from."""
    names = sorted({one["endpoint"] for event in events for one in event["passed_over"] if one["why"] == WOULD_TAKE})
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    who = f"{', '.join(names[:SHOWN])}{more}"
    return [f"what does not stand above as sent to {who}: {WOULD_TAKE}"] if names else []


def _event(event: Row, *, untold: str) -> Iterator[str]:
    yield safe(f"{event['type']}  {event['event_id']}  {ago(event['committed_at'])}")
    if untold:
        yield safe(f"  {untold}")
    for one in event["deliveries"]:
        reason = f" ({one['reason']})" if one["reason"] else ""
        attempts = f"{one['attempts']} attempt{'s' * (one['attempts'] != 1)}"
        following = next_due(one["next_at"]) if one["next_at"] else ""
        told = ", ".join(filter(None, (attempts, following, waits(one, width=WHOLE_ERROR))))
        yield safe(f"  → {one['endpoint']}  {one['state']}{reason}, {told}")
    passed = _together_left_out([one for one in event["passed_over"] if one["why"] != WOULD_TAKE])
    for one in passed[:SHOWN]:
        yield safe(f"  not to {one['endpoint']}: {one['why']}")
    if len(passed) > SHOWN:
        yield safe(f"  and not to {len(passed) - SHOWN} more → bridge delivery show {event['event_id']} NAME")


def _together_left_out(passed: Sequence[Row]) -> list[Row]:
    """Once for all, that the task names others: that was somebody's choice, and no fault of each."""
    chosen = [one for one in passed if one["why"].startswith(NAMES_OTHERS)]
    if len(chosen) < 2:
        return list(passed)
    named = chosen[0]["why"].removeprefix(NAMES_OTHERS).strip()
    others = {"endpoint": f"{len(chosen)} others", "why": f"the task names {named}"}
    return [*(one for one in passed if one not in chosen), others]


def hints_of(events: Sequence[Row], task: str) -> list[Advice]:
    """What to do about what did not arrive, the latest events first: what several need alike is said once."""
    alike: dict[tuple[str, str], list[tuple[Advice, Row]]] = {}
    for event in events:
        for one in event["deliveries"]:
            for advice in advised(one) if waits(one) or one["state"] == DeliveryState.DEAD else ():
                need = advice.when, advice.command.replace(event["event_id"], "")
                alike.setdefault(need, []).append((advice, one))
    return [_together(needs, task) for needs in alike.values()]


def _together(needs: Sequence[tuple[Advice, Row]], task: str) -> Advice:
    """One piece of advice for all of these; to retry one of them becomes to retry each."""
    advice, one = needs[0]
    if len(needs) == 1 or not advice.command.startswith("bridge delivery retry "):
        return advice
    command = each_of(one["endpoint"], one["state"], len(needs), "retry", task=task)
    return replace(advice, command=command, when=advice.when.replace("this one", "these"))


def _figures(row: Row) -> str:
    """What is known beyond that, and nothing of what is not."""
    return fields_of({name: row[name] for name in FIGURES if row[name] != 0})
