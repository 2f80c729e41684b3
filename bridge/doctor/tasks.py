"""What tasks' clients wrote that is legal and looks like a mistake."""

from collections.abc import Iterable, Sequence

from bridge.doctor.entries import Waiting
from bridge.doctor.findings import MISTAKEN, Finding, shortened, warn
from bridge.doctor.work import TaskFacts
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
