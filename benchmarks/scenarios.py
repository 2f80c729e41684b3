"""The scenarios that are measured. Each is a run, or two side by side; a line without a result is a comparison."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.actors import task_id
from benchmarks.stage import Result, run

PAIRS = 5
"""How often two runs are compared, one after the other: a machine is not the same all the time."""

Line = tuple[str, Result | None]

ALL: dict[str, dict[str, object]] = {"all": {"path": "/hook"}}


def shared_by(endpoints: int, *, tasks: int) -> dict[str, dict[str, object]]:
    """Endpoints that answer, each for its own share of the tasks."""
    return {
        f"healthy-{n}": {"path": f"/healthy/{n}", "tasks": [task_id(number) for number in range(n, tasks, endpoints)]}
        for n in range(endpoints)
    }


def end_to_end(seconds: float) -> Iterator[Line]:
    """1,000 tasks, each read once a second, 100 changes a second, one endpoint; both ways to fsync."""
    for fsync in ("always", "everysec"):
        yield (
            f"1,000 tasks, 100 changes/s, fsync {fsync}",
            run(tasks=1_000, changes_per_second=100, seconds=seconds, endpoints=ALL, fsync=fsync),
        )


def one_hangs(seconds: float) -> Iterator[Line]:
    """50 endpoints share 200 events a second; then the same with one more endpoint that takes each event and hangs."""
    healthy = shared_by(50, tasks=1_000)
    hanging: dict[str, dict[str, object]] = {"hang": {"path": "/hang"}}
    for name, endpoints in (("50 answer", healthy), ("50 answer, 1 hangs", {**healthy, **hanging})):
        yield (
            f"200 events/s, {name}",
            run(tasks=1_000, changes_per_second=200, seconds=seconds, endpoints=endpoints),
        )


def ten_hang(seconds: float) -> Iterator[Line]:
    """100 endpoints share 200 events a second; then ten of them are not there, and then these ten hang.

    The 90 others have the same to receive in each run. A hanging endpoint has all its slots taken after 16 seconds.
    """
    everybody = shared_by(100, tasks=1_000)
    ten, healthy = dict(list(everybody.items())[:10]), dict(list(everybody.items())[10:])
    hanging = {f"hang-{name}": {**definition, "path": "/hang"} for name, definition in ten.items()}
    results: dict[str, list[Result]] = {}
    for number in range(1, PAIRS + 1):
        for name, endpoints in (
            ("100 answer", everybody),
            ("90 answer", healthy),
            ("90 answer, 10 hang", {**healthy, **hanging}),
        ):
            result = run(tasks=1_000, changes_per_second=200, seconds=seconds, endpoints=endpoints)
            results.setdefault(name, []).append(result)
            yield f"200 events/s, round {number}, {name}", result
    for name in ("90 answer", "100 answer"):
        for share in (0.5, 0.99):
            ratio = _ratio(results["90 answer, 10 hang"], results[name], share)
            yield f"with ten that hang, p{share * 100:g} of those that answer is {ratio:.2f} of “{name}”", None


def _ratio(ones: Sequence[Result], others: Sequence[Result], share: float) -> float:
    """The median of what each pair comes to."""
    return median(one.quantile(share) / other.quantile(share) for one, other in zip(ones, others, strict=True))
