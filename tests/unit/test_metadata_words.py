"""`--metadata`, in its two forms: JSON for what is echoed, NAME=VALUE for what is asked for."""

import json
import shlex
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.cli.metadata import as_word, value_from, wanted_from, words_in
from bridge.errors import InvalidInput
from bridge.rejection import VALUE_HEAD, redacted

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PLAIN = SCALARS.filter(lambda value: str(value).isprintable())
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)


@given(st.lists(SCALARS, min_size=1))
def test_what_is_json_comes_back_as_it_was(words: list[Any]) -> None:
    """Commas, quotes and line ends inside a JSON text separate nothing; 1 is not true, and 1.0 not 1."""
    for comma in (",", " , "):
        assert json.dumps(words_in(comma.join(map(json.dumps, words)))) == json.dumps(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,audio", ["video", "audio"]), ("42,'x'", [42, "'x'"]), ("0042", ["0042"]),
        ("1e999,NaN", ["1e999", "NaN"]),
        ("", [""]), ("a,", ["a", ""]), ("true story, null", ["true story", None]), ('"a"b', ['"a"b']), ("-", ["-"]),
        ("2026-11-29T10:00:00Z", ["2026-11-29T10:00:00Z"]), ("[" * 100_000, ["[" * 100_000]),
    ],
)  # fmt: skip
def test_what_is_no_json_is_text(text: str, words: list[Any]) -> None:
    """Nobody has to quote a word, a date or a number with zeros before it."""
    assert words_in(text) == words


def test_a_name_that_comes_twice_takes_all_its_values() -> None:
    """And one value stands alone, as a person would write it into JSON."""
    assert wanted_from(["team=a", "order=1,2", "team=b"]) == {"team": ["a", "b"], "order": [1, 2]}
    assert wanted_from(["url=a=b"]) == {"url": "a=b"}
    for text in ("team", "=a", " =a"):
        with pytest.raises(InvalidInput):
            wanted_from([text])


@given(SCALARS | st.sampled_from(["42", "true", " a", "a,b", '"red"', '"', ""]))
def test_a_value_is_shown_as_it_is_read(value: Any) -> None:
    """Also the text 42, which is none without its quotes."""
    assert json.dumps(words_in(as_word(value))) == json.dumps([value])


@given(NAMES, NAMES | st.integers())
def test_name_and_value_given_to_a_task_come_back_as_the_json_that_says_so(name: str, value: str | int) -> None:
    """What the error prints can be pasted, and means for a task what an endpoint of that form asks for."""
    with pytest.raises(InvalidInput) as refused:
        value_from(f"{name}={value}")
    option, text = shlex.split(refused.value.fix)
    assert option == "--metadata"
    assert value_from(text) == wanted_from([f"{name}={value}"])


@given(st.dictionaries(NAMES, PLAIN | st.lists(PLAIN, min_size=2, max_size=3), min_size=1, max_size=3))
def test_an_object_given_to_an_endpoint_comes_back_as_names_and_values(wanted: dict[str, Any]) -> None:
    """The same the other way round."""
    assume(redacted(json.dumps(wanted)) == json.dumps(wanted))
    with pytest.raises(InvalidInput) as refused:
        wanted_from([json.dumps(wanted)])
    words = shlex.split(refused.value.fix)
    assert set(words[::2]) == {"--metadata"}
    assert json.dumps(wanted_from(words[1::2])) == json.dumps(wanted)


@given(st.dictionaries(st.text(max_size=3), st.recursive(SCALARS, lambda one: st.lists(one, max_size=3)), max_size=2))
def test_no_object_comes_back_as_another_one(wanted: dict[str, Any]) -> None:
    """Where names and values cannot say it, the error has an example."""
    with pytest.raises(InvalidInput) as refused:
        wanted_from([json.dumps(wanted)])
    words = shlex.split(refused.value.fix)
    assert refused.value.fix.isprintable()
    assert words[1:] == ["team=video,audio"] or json.dumps(wanted_from(words[1::2])) == json.dumps(wanted)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("red", """--metadata '"red"'"""),
        ("order=42", """--metadata '{"order": 42}'"""),
        ("{order: 42}", """--metadata '{"order": 42}'"""),
        ("x" * (VALUE_HEAD + 1), """--metadata '{"order": 42}'"""),
        ("whsec_" + "A" * 44, """--metadata '{"order": 42}'"""),
    ],
)
def test_a_text_for_a_task_is_shown_as_json(text: str, fix: str) -> None:
    """Unless nobody knows what was meant, or what it may hold."""
    with pytest.raises(InvalidInput, match="is not JSON") as refused:
        value_from(text)
    assert refused.value.fix == fix


def test_a_secret_given_to_an_endpoint_is_not_repeated() -> None:
    """Nor is a text that is no object."""
    for text in ("red", json.dumps({"secret": "whsec_" + "A" * 44}), "[1]", "{}"):
        with pytest.raises(InvalidInput) as refused:
            wanted_from([text])
        assert refused.value.fix == "--metadata team=video,audio"
