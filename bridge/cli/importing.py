"""`bridge import`: what a file declares, registered: judged as one by one, written together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridge.cli import output as out
from bridge.cli.output import Columns, Row, chosen, emit, output_option, safe, say
from bridge.cli.progress import Advance, bar
from bridge.cli.session import with_store
from bridge.errors import InvalidInput

if TYPE_CHECKING:
    from bridge.entries import Judge
    from bridge.manifest import Entry, Manifest, Refused
    from bridge.plan import Standing, TaskPlan
    from bridge.rejection import Rejection
    from bridge.sealing import Keyring
    from bridge.settings import Settings
    from bridge.store import Store

PARTLY = 6
PIECE = 250
"""How many tasks one round trip asks about, and one MULTI registers."""
REPORTED = 100
"""The most refusals that are told on stderr, and the most warnings."""
ROWS = 20
"""A table that would show more tasks of one result than these shows their number."""
NAMED = 5
"""So many entries of one refusal are named."""
WHOLE = "import what `bridge export --with-secrets` printed, or set BRIDGE_DELIVERY_DEFAULT_SECRET, which signs then"
"""What helps where an export without secrets meets no endpoint that has them."""
RESULTS = ("added", "changed", "unchanged", "removed", "rejected")

COLUMNS: Columns = (("result", out.field("result")), ("kind", out.field("kind")), ("name", out.field("name")))


@dataclass
class Import:
    """One file on its way in."""

    store: "Store"
    settings: "Settings"
    manifest: "Manifest"
    judge: "Judge"
    dry_run: bool
    rows: list[Row] = field(default_factory=list)
    unsigned: list[str] = field(default_factory=list)
    """New endpoints that the default secret signs for, as the file gives them none."""
    named: set[str] = field(default_factory=set)
    """Endpoints that new or changed tasks name; empty text stands for all."""

    def note(self, kind: str, name: str, result: str) -> None:
        """One more thing is settled."""
        self.rows.append({"result": result, "kind": kind, "name": name})

    def refuse(self, entry: "Entry", rejection: "Rejection") -> None:
        """One more thing is refused."""
        from bridge.manifest import Refused

        self.manifest.refused.append(Refused(entry.place, entry.kind, entry.name, rejection))


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--prune", is_flag=True, help="Of a .toml file: take back the endpoints that are not in it.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@output_option
@click.pass_context
def import_(ctx: click.Context, file: str, prune: bool, dry_run: bool, output: str | None, as_json: bool) -> int:
    """Register what a file declares: the JSON lines of `bridge export`, or the tables of a .toml file.

    What is there already and says the same is left alone. An endpoint without a secret keeps the one it has; a new one
    is signed with the default secret. Bad entries are told with their line and stop no other; the exit code is then 6,
    or 2 where nothing was good.

    \b
    Examples:
      bridge import registry.jsonl
      bridge import config/endpoints.toml --prune --dry-run
      ssh other bridge export --with-secrets | bridge import -
    """
    from bridge.cli.declared import is_toml, read

    if prune and not is_toml(file):
        raise InvalidInput("--prune takes a .toml file, which declares all endpoints there are to be",
                           fix="bridge import config/endpoints.toml --prune")  # fmt: skip
    manifest = read(file)
    done = with_store(ctx, lambda store, settings: _import(store, settings, manifest, prune, dry_run), look=dry_run)
    manifest.refused.sort(key=lambda one: (len(one.place), one.place))  # `line 9` before `line 10`
    refused: list[Row] = [_refused_row(one, toml=is_toml(file), headed=manifest.headed) for one in manifest.refused]
    how = chosen(ctx, output, as_json)
    rows = list(_in_short(done.rows)) if how == "table" else done.rows + (refused if how != "ids" else [])
    if rows or how != "table":
        emit(rows, how, COLUMNS, key="name")
    _tell(done, refused)
    if manifest.cut:
        say("✗ the file ends before its end: it was cut off, and things may be missing\n  → export it again")
    if not (refused or manifest.cut):
        return 0
    return PARTLY if done.rows else InvalidInput.exit_code


async def _import(store: "Store", settings: "Settings", manifest: "Manifest", prune: bool, dry_run: bool) -> Import:
    """Endpoints first, so that no event outruns the one who is to hear of it."""
    from bridge.cli.endpoint_remove import take_back
    from bridge.cli.importing_watches import import_watches
    from bridge.cli.task import say_what_lacks
    from bridge.entries import Judge
    from bridge.store.reading.written import read_endpoints

    judge = Judge(settings.policy, settings.delivery_default_secret is not None, settings.signing_key is not None)
    work = Import(store, settings, manifest, judge, dry_run)
    before = await read_endpoints(store.client, store.keys)
    gone = _undeclared(before, manifest) if prune else []
    endpoints = [entry for entry in manifest.entries if entry.kind == "endpoint"]
    watches = [entry for entry in manifest.entries if entry.kind == "watch"]
    tasks = [entry for entry in manifest.entries if entry.kind == "task"]
    with bar("Importing", len(manifest.entries)) as advance:
        await _endpoints(work, endpoints, before, advance)
        await import_watches(work, watches, advance)
        await _tasks(work, tasks, advance)
    missing = set(await take_back(store, settings, gone)) if gone and not dry_run else set()
    for name in gone:
        if name not in missing:
            work.note("endpoint", name, "removed")
    if work.named and not dry_run:
        await store.wake("poll")
        await say_what_lacks(store, settings.deployment, sorted(work.named - {""}), everybody="" in work.named)
    return work


async def _endpoints(work: Import, entries: "Sequence[Entry]", before: dict[bytes, bytes], advance: Advance) -> None:
    from bridge.plan import ADDED, UNCHANGED, endpoint_plan
    from bridge.rejection import Rejection, rejected_field
    from bridge.store.declaring import Declaring
    from bridge.wiring import intake_from, keyring_from

    keyring = keyring_from(work.settings)
    news: dict[str, str] = {}
    plans = {}
    for entry in entries:
        try:
            stands = _opened(keyring, entry.name, before.get(entry.name.encode("utf-8", "replace")))
            opened = replace(entry, fields=keyring.opened(entry.name, entry.fields))
            plans[entry.name] = plan = endpoint_plan(opened, stands, work.judge)
        except Rejection as rejection:
            work.refuse(entry, rejection)
            continue
        if plan.word != UNCHANGED:
            news[entry.name] = keyring.sealed_text(entry.name, plan.text)
        if plan.word == ADDED and plan.unsigned:
            work.unsigned.append(entry.name)
    refused: set[str] = set()
    if news and not work.dry_run:
        await Declaring(work.store).write_endpoints(news)
        refused = set(await intake_from(work.store, work.settings).take_endpoint(*news))
    for entry in entries:
        if rejected_field("endpoint", entry.name.encode("utf-8", "replace")) in refused:
            work.refuse(entry, Rejection("", "somebody changed it meanwhile", "bridge endpoint ls"))
        elif entry.name in plans:
            work.note("endpoint", entry.name, plans[entry.name].word)
    advance(len(entries))


def _opened(keyring: "Keyring", name: str, text: bytes | None) -> bytes | None:
    """A definition as it stands, its secrets open, so that it can be compared; to the letter where that cannot be."""
    try:
        return None if text is None else keyring.opened_text(name, text.decode()).encode()
    except ValueError:
        return text


async def _tasks(work: Import, entries: "Sequence[Entry]", advance: Advance) -> None:
    from bridge.plan import UNCHANGED
    from bridge.store.declaring import Declaring
    from bridge.store.reading.trips import check_cancelled

    for start in range(0, len(entries), PIECE):
        check_cancelled()
        piece = entries[start : start + PIECE]
        plans, stand = await _planned(work, piece)
        news = {name: plan.options for name, plan in plans.items() if plan.word != UNCHANGED}
        if news and not work.dry_run:
            known = {name for name, one in stand.items() if one.registered}
            optioned = {name for name, one in stand.items() if one.options}
            await Declaring(work.store).write_tasks(news, known=known, optioned=optioned)
        for options in news.values():
            work.named |= set(map(str.strip, options.get("endpoints", "").split(",")))
        for name, plan in plans.items():
            work.note("task", name, plan.word)
        advance(len(piece))


async def _planned(work: Import, entries: "Sequence[Entry]") -> "tuple[dict[str, TaskPlan], dict[str, Standing]]":
    """What becomes of each task, and how each stands."""
    from bridge.contract import check_member
    from bridge.plan import Standing, task_plan
    from bridge.rejection import Rejection
    from bridge.store.reading.written import options_of, registered

    good = []
    for entry in entries:
        try:
            check_member(entry.name)
            good.append(entry)
        except Rejection as rejection:
            work.refuse(entry, rejection)
    members = [entry.name.encode() for entry in good]
    known = await registered(work.store.client, work.store.keys, members)
    options = await options_of(work.store.client, work.store.keys, members)
    stand = {one.decode(): Standing(one in known, fields) for one, fields in zip(members, options, strict=True)}
    plans: dict[str, TaskPlan] = {}
    for entry in good:
        try:
            plans[entry.name] = task_plan(entry, stand[entry.name], work.judge)
        except Rejection as rejection:
            work.refuse(entry, rejection)
    return plans, stand


def _undeclared(before: dict[bytes, bytes], manifest: "Manifest") -> list[str]:
    """The endpoints that the file does not name; what it names badly it names. Callback URLs are the tasks' own."""
    named = {entry.name for entry in manifest.entries} | {one.name for one in manifest.refused}
    if not named:
        raise InvalidInput(
            f"the file names no endpoint: --prune would take back all {len(before)}",
            fix="take them back by name: bridge endpoint ls -o ids, bridge endpoint rm NAME…",
        )
    texts = []
    for raw in before:
        with suppress(UnicodeDecodeError):  # such a name is intake's to refuse
            texts.append(raw.decode())
    return sorted(name for name in texts if name not in named and not name.startswith("url:") and name.isprintable())


def _refused_row(one: "Refused", *, toml: bool, headed: bool) -> dict[str, Any]:
    from bridge.faults import each
    from bridge.rejection import redacted

    rejection = each(one.rejection, lambda fault: replace(fault, fix=_fix(fault, toml=toml, headed=headed)))
    return {
        "result": "rejected",
        "kind": one.kind,
        "name": redacted(one.name),
        "place": one.place,
        "reason": str(rejection),
        "fix": rejection.fix,
    }


def _fix(fault: "Rejection", *, toml: bool, headed: bool) -> str:
    """What mends it in a file of this form."""
    from bridge.faults import not_by_hand

    fix = not_by_hand(fault.fix)
    if fault.field == "name":
        return "choose another name"
    if fault.field != "secret" or "bridge endpoint add" not in fix:
        return fix
    if fix.startswith("bridge endpoint add"):  # there is one, and it is none
        return f"make one with{fix.partition('by yourself')[2]}" if toml else fix
    if toml:
        return 'write secret_file = "…", or set BRIDGE_DELIVERY_DEFAULT_SECRET'
    return WHOLE if headed else fix


def _in_short(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, and of the tasks of one result only the number where they are many."""
    counts = Counter(row["result"] for row in rows if row["kind"] == "task")
    yield from (row for row in rows if row["kind"] != "task" or counts[row["result"]] <= ROWS)
    for result, count in counts.items():
        if count > ROWS:
            yield {"result": result, "kind": "task", "name": f"{count} tasks"}


def _tell(done: Import, refused: Sequence[Row]) -> None:
    """On stderr: what was refused and why, what looks like a mistake, and the sum."""
    alike = _alike(refused)
    for rows in alike[:REPORTED]:
        named = ", ".join(map(_place, rows[:NAMED])) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
        say(f"✗ {safe(named)}: {safe(rows[0]['reason'])}\n  → {safe(rows[0]['fix'])}")
    if more := sum(map(len, alike[REPORTED:])):
        say(f"✗ and {more} more; -o jsonl shows them all")
    refused_at = {row["place"] for row in refused}  # their reason says what was meant
    for hint in _hints([one for one in done.manifest.entries if one.place not in refused_at]):
        say(f"! {safe(hint)}")
    if done.unsigned:
        names = ", ".join(map(safe, done.unsigned[:ROWS])) + (" …" if len(done.unsigned) > ROWS else "")
        say(f"! the file gives no secret, so BRIDGE_DELIVERY_DEFAULT_SECRET signs for: {names}")
    counts = Counter(row["result"] for row in [*done.rows, *refused])
    told = ", ".join(f"{counts[word]} {word}" for word in RESULTS if counts[word]) or "it declares nothing"
    say(f"Nothing was changed. It would be: {told}." if done.dry_run else f"Done: {told}.")


def _alike(refused: Sequence[Row]) -> list[list[Row]]:
    """Those that were refused for one reason, and are helped by one step, together."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in refused:
        found.setdefault((row["reason"], row["fix"]), []).append(row)
    return list(found.values())


def _place(row: Row) -> str:
    """Where an entry stands, and what it names."""
    named = row["name"] and not row["place"].startswith("[")
    return f"{row['place']} ({row['kind']} {row['name']})" if named else str(row["place"])


def _hints(entries: "Sequence[Entry]") -> list[str]:
    """What is legal and looks like a mistake, each said once with the first place."""
    from bridge.hints import endpoint_hints, task_hints, watch_hints

    hints = {"endpoint": endpoint_hints, "watch": watch_hints, "task": task_hints}
    found: dict[str, str] = {}
    for entry in entries:
        for hint in hints[entry.kind](entry.fields):
            found.setdefault(hint, entry.place)
        if len(found) >= REPORTED:
            break
    return [f"{place}: {hint}" for hint, place in found.items()]
