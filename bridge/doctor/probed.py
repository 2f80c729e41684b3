"""What the reads of a probe mean for the bridge. No finding shows an id, a name or a URL of the user's."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.doctor.findings import Finding, ok, warn
from bridge.doctor.probing import Glimpse, Seen, index_of_row, moment_of, settled_row
from bridge.kinds import TASK

CHECK = "probe"
_RATE = re.compile(r"(x-)?rate-?limit[a-z-]*|retry-after")
_WORD = re.compile(r"[\w.:+-]{1,64}", re.ASCII)


def findings(seen: Seen, *, now: datetime) -> list[Finding]:
    """What the reads say, and what that means for the bridge."""
    latest = seen.get("latest")
    if latest is None or latest.status != 200:
        why = f"the list of tasks answers {latest.said if latest else 'nothing'}; tasks are read by id then"
        return [warn(CHECK, "not probed", why, "bridge doctor")]
    found: list[Finding] = [*_rates(seen), *_unknown(seen), *_list(latest)]
    for name, judge in _JUDGES.items():
        if name in seen:
            found += judge(seen)
    return [*found, *_retention(seen, now)]


def _rates(seen: Seen) -> list[Finding]:
    """Which rate headers GETs carry, and whether they are counted."""
    named: dict[str, list[str]] = {}
    for glimpse in seen.values():
        for name, value in glimpse.headers.items():
            if _RATE.fullmatch(name) and _WORD.fullmatch(value):
                named.setdefault(name, []).append(value)
    if not named:
        why = "no header tells whether they count; a 429 would, and is obeyed (BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE)"
        return [ok(CHECK, "GETs carry no rate-limit headers", why)]
    found = ", ".join(f"{name}: {values[-1]}" for name, values in sorted(named.items()))
    lines = [ok(CHECK, f"GETs carry {found}", "429, Retry-After and X-Ratelimit-Reset are obeyed")]
    for name, values in sorted(named.items()):
        if name.endswith("remaining") and len(values) > 1 and all(map(str.isdigit, values)):
            spent = int(values[0]) - int(values[-1])
            counted = f"fell by {spent} over {len(values) - 1} GETs" if spent > 0 else "did not fall"
            means = "reading counts: each read is one of what the plan allows" if spent > 0 else "reading seems free"
            lines.append(ok(CHECK, f"{name} {counted}", f"{means} (other programs use the same key, maybe)"))
        if name.endswith("reset") and values[-1].isdigit():
            lines.append(ok(CHECK, f"{name} is {_unit(int(values[-1]))}"))
    return lines


def _unit(value: int) -> str:
    """What a reset counts."""
    if value > 10**11:
        return "milliseconds since 1970, which the bridge does not read"
    return "seconds since 1970" if value > 10**8 else "seconds from now, which the bridge does not read"


def _unknown(seen: Seen) -> list[Finding]:
    came = seen.get("unknown")
    if came is None or came.status is None:
        return []
    gone = came.status == 404 or (came.status == 400 and came.code.startswith(TASK.missing))
    means = "told as gone after three such answers over a minute" if gone else (
        "no sign that it is gone: after three such answers it is refused (bridge:rejected), and no event tells it"
    )  # fmt: skip
    return [(ok if gone else warn)(CHECK, f"an unknown id answers {came.said}", means)]


def _list(latest: Glimpse) -> list[Finding]:
    """The first page: how many rows, in which order, with which fields and times."""
    rows = latest.rows
    info = latest.body.get("page_info") if isinstance(latest.body, dict) else None
    total = info.get("total_results") if isinstance(info, dict) else None
    if not rows:
        return [ok(CHECK, "there are no tasks", "what needs one was not asked: once there are some, probe again")]
    lines = [ok(CHECK, f"the list has {total if isinstance(total, int) else 'some'} tasks, {len(rows)} on a page")]
    if isinstance(total, int) and total > len(rows) and len(rows) < 50:
        why = "a page of fewer than 50 counts as the last one: strategy retrieve is safer"
        lines.append(warn(CHECK, f"of {total} tasks a page of 50 has {len(rows)}", why, _BY_ID))
    moments = [moment_of(row.get("updated_at")) for row in rows]
    known = [moment for moment in moments if moment]
    if len(known) < len(moments):
        why = "such rows are left to the read by id"
        lines.append(warn(CHECK, f"{len(moments) - len(known)} rows have no readable updated_at", why))
    if known != sorted(known, reverse=True):
        why = "it was asked for by updated_at, the latest first: the list cannot be relied on"
        lines.append(warn(CHECK, "the list is in another order than asked for", why, _BY_ID))
    odd = sorted({str(row.get("status")) for row in rows} - TASK.statuses)
    if odd:
        shown = ", ".join(word if _WORD.fullmatch(word) else "?" for word in odd[:5])
        why = "each is told once two reads agree, and never counts as an end"
        lines.append(warn(CHECK, f"statuses that are not documented: {shown}", why))
    return lines


def _compared(seen: Seen) -> list[Finding]:
    """A row beside the same task read by id."""
    row, came = settled_row(seen), seen["task"]
    if row is None or came.status != 200 or not isinstance(came.body, dict):
        return [warn(CHECK, f"a listed task answers {came.said} by id", "it is read again, as any task")]
    task, lines = came.body, []
    there, here = str(task.get("updated_at")), str(row.get("updated_at"))
    precise = f"{_precision(there)} by id, {_precision(here)} in the list"
    first, second = moment_of(there), moment_of(here)
    if first and second and first != second:
        apart = abs((first - second).total_seconds())
        why = "the list is less exact, or later: within that, which of two changes came first is told by the read by id"
        lines.append(warn(CHECK, f"updated_at differs by {apart:g} s ({precise})", why, _BY_ID if apart >= 1 else ""))
    else:
        lines.append(ok(CHECK, f"updated_at is the same by id and in the list ({precise})"))
    if task.get("status") != row.get("status"):
        why = "it changed just now, or the list lags"
        lines.append(warn(CHECK, "its status in the list is another than by id", why))
    missing = sorted(_fields(task) - _fields(row))
    if missing:
        lines.append(ok(CHECK, f"only by id: {', '.join(missing)}", "why each end is read by id once"))
    return lines


def _filtered(seen: Seen) -> list[Finding]:
    came, index = seen["one index"], index_of_row(seen)
    if came.status != 200:
        why = "`bridge watch index` finds nothing"
        return [warn(CHECK, f"index_id= answers {came.said}", why, "bridge watch account")]
    named = [row.get("index_id") for row in came.rows]
    if any(isinstance(one, str) and one != index for one in named):
        why = "`bridge watch index` leaves other rows alone, and reads all pages for it"
        return [warn(CHECK, "index_id= is ignored: rows of other indexes are there", why)]
    if named and not all(isinstance(one, str) for one in named):
        return [ok(CHECK, "index_id= is taken; rows do not name their index")]
    return [ok(CHECK, "index_id= is honoured")]


def _since(seen: Seen) -> list[Finding]:
    """What `updated_at=` means: from then on, or on that day."""
    came = seen["dated"]
    if came.status != 200:
        return [ok(CHECK, f"updated_at= answers {came.said}", "the bridge does not use it")]
    everything = [moment for row in seen["latest"].rows if (moment := moment_of(row.get("updated_at")))]
    days = {moment.astimezone(UTC).date() for row in came.rows if (moment := moment_of(row.get("updated_at")))}
    first = min(everything).astimezone(UTC).date()
    means = "that day and all later ones" if days - {first} else "that day alone" if days else "nothing that was found"
    return [ok(CHECK, f"updated_at= means {means}", "the bridge does not use it")]


def _failures(seen: Seen) -> list[Finding]:
    listed = seen["failed list"]
    if listed.status != 200:
        return [warn(CHECK, f"status= answers {listed.said}", "`bridge watch` finds those on their way by it")]
    if any(row.get("status") != "failed" for row in listed.rows):
        return [warn(CHECK, "status= is ignored: rows in other statuses are there", "more pages are read for a watch")]
    failed = seen.get("failed")
    if failed is None or failed.status != 200 or not isinstance(failed.body, dict):
        return [ok(CHECK, "status= is honoured", "no task has failed, so what such a one looks like is not known")]
    more = sorted(_fields(failed.body) - _DOCUMENTED)
    what = f"a failed task has beside what is documented: {', '.join(more)}" if more else "a failed task says no more"
    return [ok(CHECK, f"status= is honoured; {what}", "an event has the whole object")]


def _other_kind(seen: Seen) -> list[Finding]:
    came = seen["assets"]
    if came.status != 200:
        return [warn(CHECK, f"the list of indexed assets answers {came.said}", "assets can be watched by id, maybe")]
    ids, tasks = _words(came, "_id"), _words(seen["latest"], "_id", "video_id")
    if not ids:
        return [ok(CHECK, "the index has no indexed assets", "whether /tasks lists them too is not known")]
    both = len(ids & tasks)
    means = "watch an upload as a task or as an asset, else it is told twice" if both else "they are watched apart"
    return [ok(CHECK, f"{both} of {len(ids)} indexed assets are in the list of tasks, too", means)]


def _retention(seen: Seen, now: datetime) -> list[Finding]:
    rows = seen["oldest"].rows if "oldest" in seen else []
    created = moment_of(rows[0].get("created_at")) if rows else None
    if created is None:
        return []
    return [
        ok(CHECK, f"the oldest task was created {(now - created).days} days ago", "tasks are kept at least so long")
    ]


_JUDGES: Mapping[str, Callable[[Seen], Sequence[Finding]]] = {
    "task": _compared,
    "one index": _filtered,
    "dated": _since,
    "failed list": _failures,
    "assets": _other_kind,
}
_BY_ID = "BRIDGE_TWELVELABS_STRATEGY=retrieve"
_DOCUMENTED = frozenset(
    {"_id", "index_id", "video_id", "status", "created_at", "updated_at", "system_metadata", "hls", "estimated_time"}
)


def _words(glimpse: Glimpse, *names: str) -> set[str]:
    """What these fields of its rows hold, where that is text."""
    found = (row.get(name) for row in glimpse.rows for name in names)
    return {one for one in found if isinstance(one, str)}


def _precision(text: str) -> str:
    fraction = re.search(r"\.(\d+)", text)
    digits = len(fraction[1]) if fraction else 0
    return {0: "whole seconds", 3: "milliseconds", 6: "microseconds"}.get(digits, f"{digits} digits")


def _fields(task: Mapping[str, Any]) -> set[str]:
    """Names of upstream's fields, which are no secret; what could be somebody's data is left out."""
    return {name for name in task if re.fullmatch(r"[a-z_]{1,40}", name)}
