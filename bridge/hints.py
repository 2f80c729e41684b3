"""What a client wrote that is legal and still looks like a mistake: unknown fields are ignored in silence. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from shlex import quote

from bridge.definition import EndpointDefinition
from bridge.events import ENDPOINT_PREFIX, ENDPOINT_TYPES
from bridge.kinds import FAMILIES, KINDS, TASK
from bridge.model import OPTIONS
from bridge.rejection import redacted
from bridge.watches import WatchDefinition

KNOWN_TYPES = (
    *(kind.family + status for kind in KINDS.values() for status in sorted(kind.statuses)),
    *(word for kind in KINDS.values() for word in (kind.gone, kind.updated, kind.stalled, kind.family + "*")),
    *(*ENDPOINT_TYPES, ENDPOINT_PREFIX + "*", "bridge.*"),
)
OPTION_OF = {
    **{name: f"--{name}" for name in ("events", "tasks", "indexes", "format", "signatures", "ordering", "concurrency")},
    **{name: f"--{name}" for name in ("rate", "schedule", "handshake")},
}
"""The option of `bridge endpoint set` for each field whose value is a word, or several."""
_WORD = re.compile(r"[a-z0-9_]+")
TASK_OPTION_OF = {
    "metadata": "--metadata JSON", "endpoints": "--endpoint NAME,…", "callback_url": "--callback-url URL",
    "expires_at": "--expires-in TIME", "traceparent": "--traceparent W3C",
}  # fmt: skip
"""What `bridge task add` writes each option of a task by."""
NAME_CHARS = 64
"""The longest name that is compared with the known ones, and shown."""


def endpoint_hints(definition: object) -> list[str]:
    """Of an endpoint's definition, as read from its JSON; nothing for what is no object."""
    if not isinstance(definition, Mapping):
        return []
    patterns = definition.get("events")
    return [
        *(_unknown(name, meant) for name, meant in misspelt(definition).items()),
        *event_hints(patterns if isinstance(patterns, list) else []),
    ]


def misspelt(definition: Mapping[str, object]) -> dict[str, str]:
    """The fields of an endpoint's definition that nobody reads → what each was probably meant to be."""
    return _near_fields(definition, tuple(EndpointDefinition.model_fields))


def rewritings(name: str, definition: Mapping[str, object]) -> dict[str, str]:
    """For each hint about a field of an endpoint's definition the command that writes it as it was probably meant."""
    return {
        _unknown(field, meant): _rewriting(name, meant, definition[field])
        for field, meant in misspelt(definition).items()
    }


def endpoint_warnings(name: str, definition: object) -> dict[str, str]:
    """Each hint about an endpoint's definition, with the command that puts it right, or shows all of it."""
    if not isinstance(definition, Mapping):
        return {}
    listed, ways = definition.get("events"), rewritings(name, definition)
    patterns = listed if isinstance(listed, list) else []
    if events := ",".join(map(quote, mended(patterns))):
        ways |= dict.fromkeys(event_hints(patterns), f"bridge endpoint set {name} --events {events}")
    return {hint: ways.get(hint, f"bridge endpoint show {name}") for hint in endpoint_hints(definition)}


def _rewriting(name: str, field: str, value: object) -> str:
    """By the option of the field, with its value where that is words; what has no option is written anew as a whole."""
    words = [str(one) for one in (value if isinstance(value, list) else [value])]
    text = redacted(",".join(words))
    if field in OPTION_OF and text and text.isprintable() and not set("…{") & set(text):
        return f"bridge endpoint set {name} {OPTION_OF[field]} {quote(text)}"
    return f"bridge endpoint add {name} URL --replace"


def task_hints(options: Iterable[str]) -> list[str]:
    """Of the names of a task's options."""
    return _misspelt(options, OPTIONS)


def task_rewriting(member: str, options: Iterable[str], endpoints: Sequence[str] = ()) -> str:
    """The command that writes a task's options, those of these names, as they were meant: it replaces them as a whole.

    `endpoints`: the value of that one, as it is to be; their values are their client's to know.
    """
    written = list(options)
    meant = {*written, *misspelt_options(written).values()}
    ways = TASK_OPTION_OF | ({"endpoints": f"--endpoint {quote(','.join(endpoints))}"} if endpoints else {})
    return " ".join([f"bridge task add {quote(member)}", *(way for name, way in ways.items() if name in meant)])


def ways_to_name(
    name: str, member: str, options: Iterable[str], known: Mapping[str, bool], *, watched: bool = True
) -> str:
    """What somebody hears of a task by that names an endpoint which there is not: that is registered, or others are
    named. `known`: all that it names, and whether there is one.

    A task that is not `watched` is registered anew, which tells its present state.
    """
    written = ("endpoints", *options)
    there = "" if watched else f" && {task_rewriting(member, written, list(known))}"
    others = [one for one, is_there in known.items() if is_there] or ["NAME"]
    return f"bridge endpoint add {quote(name)} URL{there}  # or: {task_rewriting(member, written, others)}"


def misspelt_options(options: Iterable[str]) -> dict[str, str]:
    """The names of a task's options that nobody reads → what each was probably meant to be."""
    return _near_fields(options, OPTIONS)


def watch_hints(definition: object) -> list[str]:
    """Of a watch, as read from its JSON."""
    return _misspelt(definition, tuple(WatchDefinition.model_fields)) if isinstance(definition, Mapping) else []


def event_hints(patterns: Iterable[object]) -> list[str]:
    """Of event patterns: those that no event type matches, and those that only look like one that does."""
    hints = []
    for pattern in patterns:
        if not isinstance(pattern, str) or pattern in KNOWN_TYPES:
            continue
        shown = redacted(pattern[:NAME_CHARS])
        matching = _can_match(pattern)
        near = _near(pattern[:NAME_CHARS].lower(), by_status=not matching)
        meant = f": did you mean “{near[0]}”?" if near else ""
        if not matching:
            families = " or ".join(f"“{family}<status>”" for family in FAMILIES)
            hints.append(f"the pattern “{shown}” matches no event, whose types are {families}{meant}")
        elif near:
            hints.append(f"the pattern “{shown}” is no status that is known{meant}")
    return hints


def mended(patterns: Iterable[object]) -> list[str]:
    """These event patterns, as they were probably meant; empty where there is nothing to mend, or no near word."""
    words = [one for one in patterns if isinstance(one, str)]
    near = {word: _near(word[:NAME_CHARS].lower(), by_status=not _can_match(word)) for word in words if _odd(word)}
    if not near or not all(near.values()):
        return []
    return list(dict.fromkeys(near[word][0] if word in near else word for word in words))


def _odd(pattern: str) -> bool:
    """Whether there is a hint about it."""
    return bool(event_hints([pattern]))


def _near(text: str, *, by_status: bool) -> list[str]:
    """The known type that is nearest, if one is near; `by_status`: also where the status alone was written."""
    spelt = [text, TASK.family + text.rpartition(".")[2]] if by_status else [text]
    return next(filter(None, (get_close_matches(one, KNOWN_TYPES, 1, cutoff=0.85) for one in spelt)), [])


def _can_match(pattern: str) -> bool:
    """Whether a type of some family can fit: its beginning, and one lower-case word."""
    head = pattern.removesuffix("*")
    if head != pattern and any(family.startswith(head) for family in FAMILIES):
        return True
    rests = [head.removeprefix(family) for family in FAMILIES if head.startswith(family)]
    return any(_WORD.fullmatch(rest) for rest in rests)


def _misspelt(names: Iterable[str], known: Sequence[str]) -> list[str]:
    return [_unknown(name, meant) for name, meant in _near_fields(names, known).items()]


def _unknown(name: str, meant: str) -> str:
    return f"the unknown field “{name}” is ignored: did you mean “{meant}”?"


def _near_fields(names: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Those of these names that nobody knows, and that are near one that is known → that one."""
    found = {}
    for name in names:
        if name in known or name.lower().startswith("x-") or len(name) > NAME_CHARS:
            continue
        near = get_close_matches(name.lower().replace("-", "_"), known, 1, cutoff=0.7)
        if near:
            found[name] = near[0]
    return found
