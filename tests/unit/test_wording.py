"""What is wrong with a value is told in our words, whatever library found it."""

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from bridge.wording import wrong


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
