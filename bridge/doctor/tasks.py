"""What tasks' clients wrote that is legal and looks like a mistake."""

from collections.abc import Iterable, Sequence
from shlex import quote

from bridge.doctor.entries import Waiting
from bridge.doctor.findings import MISTAKEN, Finding, shortened, warn
from bridge.doctor.work import TaskFacts
from bridge.formats import rfc3339
from bridge.hints import misspelt_options as near_options
from bridge.hints import task_hints, task_rewriting


def of_waiting(tasks: Iterable[Waiting]) -> list[TaskFacts]:
    """What is known of those that no worker has taken in yet."""
    return [
        TaskFacts(
            one.member.decode(errors="backslashreplace"),
            written=tuple(name.decode(errors="backslashreplace") for name in one.options or ()),
        )
        for one in tasks
    ]


def ahead(tasks: Sequence[tuple[str, float]]) -> list[Finding]:
    """Members whose score, in seconds, is a moment more than a day from now."""
    if not tasks:
        return []
    first, score = tasks[0]
    more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
    text = f"{first}{more}: not taken in before {rfc3339(int(score * 1000))}"
    why = "a score in bridge:tasks is the moment from which a task is watched, and this one is far ahead"
    return [warn("task", text, why, f"bridge task poll {quote(first)}")]


def misspelt_options(tasks: Sequence[TaskFacts]) -> list[Finding]:
    """Options that nobody reads, as their names are nearly those of some that are read."""
    by_field: dict[str, list[TaskFacts]] = {}
    for one in tasks:
        for field in near_options(one.written):
            by_field.setdefault(field, []).append(one)
    found = []
    for field, theirs in sorted(by_field.items()):
        first, more = theirs[0], f" and {len(theirs) - 1} more" if len(theirs) > 1 else ""
        (hint,) = task_hints([field])
        fix = task_rewriting(first.member, first.written, first.endpoints)
        found.append(warn("task", f"{first.member}{more}: {hint}", MISTAKEN, fix))
    return shortened(found, fix="bridge contract check --live")
