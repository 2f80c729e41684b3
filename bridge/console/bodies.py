"""The bodies of what programs order: read strictly, as a field that is misspelt would order something else."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from bridge.recovery import NAMEABLE, RECOVERABLE
from bridge.rejection import Rejection, redacted
from bridge.rotation import OVERLAP_SECONDS
from bridge.sealing import is_sealed
from bridge.trial import TYPE
from bridge.wording import safe, wrong

Fields = dict[str, Any]

OVERLAP_DEFAULT = 86_400
REPLAYED = 1_000
"""The most deliveries that one request has sent again."""
NAMED = 200
"""The most names in one of its lists."""
WHEN = "`2h` or `1d` before now, or a moment as in RFC 3339."


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be written in printable characters")
    return text


def _unsealed(text: str) -> str:
    if is_sealed(text):
        raise ValueError("is sealed: write it as the receiver has it")
    return _printable(text)


def _nameable(text: str) -> str:
    if text not in NAMEABLE:
        raise ValueError(f"must be one of {', '.join(NAMEABLE)}: of others nothing comes back")
    return text


Word = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_printable)]
Words = Annotated[list[Word], Field(max_length=NAMED)]
When = Annotated[str, Field(min_length=1, max_length=64)]
Reason = Annotated[str, AfterValidator(_nameable), WithJsonSchema({"type": "string", "enum": list(NAMEABLE)})]
Read = TypeVar("Read", bound="Body")


class Body(BaseModel):
    """What all have in common: other fields are refused, and what is wrong is told without what was written."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Disabling(Body):
    """To hold an endpoint."""

    reason: str | None = Field(
        None, description="Why; shown wherever the hold is. Without: as an operator said before, or `operator`."
    )


class Recovering(Body):
    """Which dead letters come back."""

    since: When | None = Field(None, description=f"Only what died since: {WHEN}")
    reasons: list[Reason] = Field(
        default_factory=lambda: [str(one) for one in RECOVERABLE],
        min_length=1,
        description=f"Only what died of these. Without: {', '.join(RECOVERABLE)}.",
    )
    dry_run: bool = Field(default=False, description="Count what would come back, and change nothing.")


class Trying(Body):
    """A made-up event."""

    type: str = Field(TYPE, pattern=r"^[A-Za-z0-9_.-]{1,128}$", description="Its type, such as index.task.ready.")


class Rotating(Body):
    """A new secret, and how long the old one goes on."""

    secret: Annotated[str, AfterValidator(_unsealed)] = Field(
        description="The new one, whsec_…; a secret is taken, and never shown."
    )
    overlap_seconds: int = Field(
        OVERLAP_DEFAULT, ge=0, le=OVERLAP_SECONDS, description="How long the old one signs, too; 0 ends all old ones."
    )


class Replaying(Body):
    """Which ended deliveries are owed again: at least one of these has to say."""

    endpoints: Words = Field(default_factory=list, description="Those to these endpoints.")
    tasks: Words = Field(default_factory=list, description="Those of these tasks.")
    types: Words = Field(default_factory=list, description="Event types; index.task.* is a prefix.")
    since: When | None = Field(None, description=f"Events committed since: {WHEN}")
    until: When | None = Field(None, description=f"Events committed until: {WHEN}")
    dead: bool = Field(default=False, description="Dead letters only; else also what was delivered.")
    dry_run: bool = Field(default=False, description="Count what would be sent, and send nothing.")
    limit: int = Field(REPLAYED, ge=1, le=REPLAYED, description="At most so many by this request.")
    after: str | None = Field(None, max_length=512, description="Where to go on, as `next` has it.")


def read(kind: type[Read], fields: Fields | None) -> Read:
    """The body. Null is as good as absent. Raises Rejection with the field that is wrong."""
    try:
        return kind.model_validate({name: one for name, one in (fields or {}).items() if one is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    known = ", ".join(kind.model_fields)
    if first["type"] == "extra_forbidden":
        raise Rejection(
            field if redacted(safe(field)) == field else "", "there is no such field", f"leave it out; there is {known}"
        )
    raise Rejection(field, wrong(first), f"see the schema {kind.__name__} in /openapi.json")
