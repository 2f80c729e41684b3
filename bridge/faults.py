"""What is wrong with an endpoint's definition, told as one refusal: where, why, and what to write instead. Pure."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bridge.redaction import bare
from bridge.rejection import Rejection, redacted
from bridge.rotation import SECRET_FIELDS
from bridge.wording import NOTE, wrong

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

TOLD = 5
"""Of how many faults of one definition the reason tells."""
WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"
"""What HTTP allows in a header's name, and what may be repeated of a field's."""
_WORD = re.compile(WORD, re.ASCII)


def objections(*checks: Callable[[], None]) -> list[Rejection]:
    """What these have to object."""
    found = []
    for check in checks:
        try:
            check()
        except Rejection as rejection:
            found.append(rejection)
    return found


def together(faults: Sequence[Rejection]) -> Rejection:
    """All of them as one: at the place of the first, the others told behind its reason, with what mends each."""
    first, *others = faults
    if not others:
        return first
    told = [str(one).removesuffix(".") for one in others[: TOLD - 1]]
    left = len(others) - len(told)
    more = [f"and {left} more fault{'s' * (left > 1)}"] if left else []
    reason = "; ".join([first.reason.removesuffix("."), *told, *more])
    tops = [(one.field.partition(".")[0], _within(one.fix)) for one in faults[:TOLD]]
    fixes = dict.fromkeys(f"{top}: {fix}" if top else fix for top, fix in tops)
    return Rejection(first.field, reason, "; ".join(fixes), first.value, tuple(faults))


def _within(fix: str) -> str:
    """A fix among others: what stands behind its command, as a comment, in brackets."""
    command, mark, note = fix.partition(NOTE)
    return f"{command} ({note})" if mark else fix


def each(fault: Rejection, change: Callable[[Rejection], Rejection]) -> Rejection:
    """The same, each of the faults that it tells of changed."""
    return together([change(one) for one in fault.parts]) if fault.parts else change(fault)


def not_by_hand(fix: str) -> str:
    """A fix where nobody types a definition into redis-cli."""
    return re.sub(r",? and HSET it again", "", fix)


@dataclass(frozen=True)
class Written:
    """The text of a definition as somebody wrote it, and the fields that it could have."""

    raw: str
    fields: Collection[str]

    def text(self, *location: int | str) -> str:
        """The text in this place; empty where there is none."""
        try:
            value = json.loads(self.raw)
            for part in location:
                value = value[part]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        return value if isinstance(value, str) else ""

    def misspelt(self, field: str) -> Rejection | None:
        """The fault of a field that is missing, where an unknown one was probably meant for it."""
        for name in json.loads(self.raw):
            spelt = name.lower().replace("-", "_")
            like = field in spelt.split("_") or get_close_matches(spelt, [field], 1, cutoff=0.6)
            if like and name not in self.fields and _is_showable(name):
                reason = f"is missing, and the unknown field “{name}” is ignored: did you mean “{field}”?"
                return Rejection(field, reason, f'write "{field}" instead of "{name}", and HSET it again')
        return None

    def faults(self, error: ValidationError, fixes: Mapping[str, str], shapes: Mapping[str, str]) -> list[Rejection]:
        """What the model finds, in the order of its fields, with the fix of each and, of a text that is not of its
        field's shape, what that is. By which format a secret is to be judged is not known where
        that is a fault itself."""
        found = error.errors(include_url=False, include_input=False)
        known = all(one["loc"][:1] != ("format",) for one in found)
        return [self._fault(one, fixes, shapes) for one in found if known or one["loc"][0] not in SECRET_FIELDS]

    def _fault(self, error: "ErrorDetails", fixes: Mapping[str, str], shapes: Mapping[str, str]) -> Rejection:
        location = error["loc"]
        top = str(location[0]) if location else ""
        if error["type"] == "missing" and len(location) == 1 and (misspelt := self.misspelt(top)):
            return misspelt
        field = ".".join(str(part) for part in location if isinstance(part, int) or _is_showable(part))
        fix = fixes.get(field.partition(".")[0], f"correct “{field}” and HSET it again")
        # It may hold a secret or an authorization header anywhere: only the offending field itself is shown.
        value = "" if top in {"", *SECRET_FIELDS, "headers"} else self.text(*location)
        reason = shapes.get(top) if error["type"] == "string_pattern_mismatch" else None
        return Rejection(field, reason or wrong(error), fix, bare(value) if field == "url" else value)


def _is_showable(name: str) -> bool:
    """Whether a name within a definition may be repeated: it is no secret that stands in a name's place."""
    return _WORD.fullmatch(name) is not None and redacted(name) == name
