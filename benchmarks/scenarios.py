"""The scenarios that are measured. Each is a run, or two side by side."""

from collections.abc import Iterator

from benchmarks.actors import task_id
from benchmarks.stage import Result, run

ALL: dict[str, dict[str, object]] = {"all": {"path": "/hook"}}


def shared_by(endpoints: int, *, tasks: int) -> dict[str, dict[str, object]]:
    """Endpoints that answer, each for its own share of the tasks."""
    return {
        f"healthy-{n}": {"path": f"/healthy/{n}", "tasks": [task_id(number) for number in range(n, tasks, endpoints)]}
        for n in range(endpoints)
    }


def end_to_end(seconds: float) -> Iterator[tuple[str, Result]]:
    """1,000 tasks, each read once a second, 100 changes a second, one endpoint; both ways to fsync."""
    for fsync in ("always", "everysec"):
        yield (
            f"1,000 tasks, 100 changes/s, fsync {fsync}",
            run(tasks=1_000, changes_per_second=100, seconds=seconds, endpoints=ALL, fsync=fsync),
        )


def one_hangs(seconds: float) -> Iterator[tuple[str, Result]]:
    """50 endpoints share 200 events a second; then the same with one more endpoint that takes each event and hangs."""
    healthy = shared_by(50, tasks=1_000)
    hanging: dict[str, dict[str, object]] = {"hang": {"path": "/hang"}}
    for name, endpoints in (("50 answer", healthy), ("50 answer, 1 hangs", {**healthy, **hanging})):
        yield (
            f"200 events/s, {name}",
            run(tasks=1_000, changes_per_second=200, seconds=seconds, endpoints=endpoints),
        )
