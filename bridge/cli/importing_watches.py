"""`bridge import`: the watches that a file declares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.cli.progress import Advance

if TYPE_CHECKING:
    from bridge.cli.importing import Import
    from bridge.manifest import Entry


async def import_watches(work: "Import", entries: "Sequence[Entry]", advance: Advance) -> None:
    """Judged as one by one, written together; a worker takes them in."""
    from bridge.plan import UNCHANGED, watch_plan
    from bridge.rejection import Rejection
    from bridge.store.declaring import Declaring
    from bridge.store.reading.written import read_watches

    before = await read_watches(work.store.client, work.store.keys) if entries else {}
    news: dict[str, str] = {}
    for entry in entries:
        try:
            plan = watch_plan(entry, before.get(entry.name.encode("utf-8", "replace")), work.judge)
        except Rejection as rejection:
            work.refuse(entry, rejection)
            continue
        work.note("watch", entry.name, plan.word)
        if plan.word != UNCHANGED:
            news[entry.name] = plan.text
    if news and not work.dry_run:
        await Declaring(work.store).write_watches(news)
    advance(len(entries))
