"""What is wrong with a value is told in our words, whatever library found it."""

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from bridge.wording import apart, memory, wrong


class Everything(BaseModel):
    """A field of each type that clients' entries and settings have."""

    seconds: float = 1
    whole: Annotated[int, Field(ge=1, le=9)] = 1
    flag: bool = False
    name: Annotated[str, StringConstraints(pattern="^a*$")] = ""
    names: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    words: dict[str, str] = {}
    form: Literal["one", "two"] = "one"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seconds": "abc"}, "must be a number of seconds"),
        ({"seconds": []}, "must be a number of seconds"),
        ({"whole": 1.5}, "must be a whole number of seconds"),
        ({"whole": 0}, "must be at least 1"),
        ({"whole": 10}, "must be at most 9"),
        ({"flag": "maybe"}, "must be true or false"),
        ({"name": 5}, "must be a text"),
        ({"name": "b"}, "has a character, or an order of them, that it must not have"),
        ({"names": "a"}, "must be a list"),
        ({"names": []}, "must have at least 1"),
        ({"names": ["a"] * 3}, "must have at most 2"),
        ({"words": []}, "must be an object"),
        ({"form": "three"}, "must be one or two"),
        ([], "must be an object"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(given: Any, told: str) -> None:
    """Nothing of the library that checks shows, and nothing of the value."""
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(given)
    text = wrong(caught.value.errors()[0], "seconds")
    assert text == told
    assert not re.search("[Ii]nput|valid|parse", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  → a --b  # c\n", "  → a --b\n    c\n"),
        ("! x → a  # b → c", "! x → a\n  b → c"),
        ("→ a 'b  # c'  # d", "→ a 'b  # c'\n  d"),
        ("→ a 'b  # c", "→ a 'b  # c"),
        ("    → a  # b  # c\n    → d", "    → a\n      b  # c\n    → d"),
        ("a  # b", "a  # b"),
        ("  → a#b\n", "  → a#b\n"),
    ],
)
def test_nothing_stands_behind_a_command_that_is_to_be_pasted(text: str, told: str) -> None:
    """A shell may know no comments; what is no command of ours to paste is left as it is."""
    assert apart(text) == told


def test_memory_is_told_in_binary_units() -> None:
    """With one decimal."""
    assert [memory(count) for count in (0, 3 * 2**20 + 2**19, 2**30)] == ["0.0 MiB", "3.5 MiB", "1.0 GiB"]
