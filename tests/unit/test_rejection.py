"""A refused entry as it is shown: in Redis, in the log and to operators."""

import json

import pytest

from bridge.callback import way
from bridge.guard import Policy
from bridge.rejection import Rejection, rejected_field

HIDDEN = "hunter2passX0001"


@pytest.mark.parametrize(
    "name", [f"a tlk_{HIDDEN}", f"Bearer {HIDDEN}", f"password={HIDDEN}", f"x, Basic {HIDDEN}", f'"token": "{HIDDEN}"']
)
def test_a_name_with_credentials_hides_them_everywhere(name: str) -> None:
    """What it is called, and the fix that names it; its fingerprint tells it from its like."""
    called, other = (rejected_field("task", one.encode()) for one in (name, f"{name}2"))
    entry = Rejection("member", "it is none", f"strike {called} off", name)
    assert HIDDEN not in called + entry.as_json(0, called) + json.dumps(entry.told())
    assert called != other


@pytest.mark.parametrize("name", ["tlk_x", "secret:abc", "MyEndpointProduction2024x", "asset:a/b"])
def test_a_name_that_may_be_a_good_one_is_called_so(name: str) -> None:
    """Once a good entry of that name is taken in, the complaint about it goes by the same name."""
    assert rejected_field("task", name.encode()) == f"task:{name}"


@pytest.mark.parametrize("path", [f"services/{HIDDEN}0001111", f"?k={HIDDEN}"])
def test_a_url_without_its_scheme_hides_what_it_would_hide_with_it(path: str) -> None:
    """In the value, and in the fix that says how it is written."""
    url = f"host.example/{path}"
    shown = Rejection("url", "it has no scheme", way(url, Policy()), url).as_json(0)
    assert (HIDDEN in shown, "host.example" in shown) == (False, True)


def test_a_word_in_the_place_of_a_url_is_not_repeated_in_its_fix() -> None:
    """It may be a key."""
    assert HIDDEN not in way(HIDDEN, Policy())
