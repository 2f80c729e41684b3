"""A task's options as its client wrote them, and what looks mistaken in them."""

from collections.abc import Sequence

from bridge.audience import NO_SUCH
from bridge.redaction import without_secrets
from bridge.store.reading.endpoints import unknown_endpoints
from bridge.store.reading.near import near_endpoints
from bridge.store.reading.trips import HasClient, ask
from bridge.store.records import as_text


async def written_options(store: HasClient, members: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of the options of each of these; none where that key is no hash."""
    found = await ask(store, members, lambda pipe, one: pipe.hkeys(store.keys.task(one)), wrong_types=True)
    return [tuple(map(as_text, names)) if isinstance(names, list) else () for names in found]


def names_in(text: object) -> list[str]:
    """The endpoints that an option of a task names, as its client wrote it. Without what is no name and must not be
    shown: a secret in a wrong place."""
    words = as_text(text).split(",") if isinstance(text, bytes | str) else []
    return [word.strip() for word in words if word.strip() and without_secrets(word) == word]


async def named_endpoints(store: HasClient, member: str) -> list[str]:
    """The endpoints that a task names, as its client wrote them; none where that key is no hash."""
    (text,) = await ask(
        store, [member], lambda pipe, one: pipe.hget(store.keys.task(one), "endpoints"), wrong_types=True
    )
    return names_in(text)


async def option_warnings(store: HasClient, member: str, named: Sequence[str], *, watched: bool = True) -> list[str]:
    """What is legal and looks like a mistake, each with the command that puts it right. `named`: the endpoints that the
    task names."""
    from bridge.hints import task_hints, task_rewriting, ways_to_name

    (written,), unknown = await written_options(store, [member]), await unknown_endpoints(store, named)
    near = await near_endpoints(store, unknown)
    meant = list(dict.fromkeys(near.get(name, name) for name in named))
    fix = task_rewriting(member, ("endpoints", *written) if meant else written, meant)
    names = [
        f"its option `endpoints` names “{name}”, and there is none: did you mean {one}?" for name, one in near.items()
    ]
    known = {name: name not in unknown for name in named}
    ways = {name: ways_to_name(name, member, written, known, watched=watched) for name in unknown if name not in near}
    nobody = [f"its option `endpoints` names “{name}”, {NO_SUCH} → {way}" for name, way in ways.items()]
    return [*(f"{hint} → {fix}" for hint in (*task_hints(written), *names)), *nobody]
