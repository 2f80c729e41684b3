"""What may be written into `bridge:watches`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import LOCAL, URL, assert_whole
from test_definition import JSON

from bridge.contract import task_options
from bridge.guard import Policy
from bridge.kinds import ASSET, TASK
from bridge.rejection import Rejection
from bridge.watches import Watch, shown, watch


def judged(name: str = "account", definition: Any = None, *, policy: Policy = LOCAL, secret: bool = True) -> Watch:
    """A watch as a worker judges it."""
    text = definition if isinstance(definition, str) else json.dumps({} if definition is None else definition)
    return watch(name, text, policy, has_default_secret=secret)


def test_the_least_watch_is_an_empty_object() -> None:
    """Index tasks, on their way or new, without options."""
    assert judged() == Watch("account", None, (TASK,), None, None, {})
    assert judged("index:ix1").index == "ix1"


def test_its_options_are_those_of_each_task_that_it_finds() -> None:
    """As a client would write them into the task's hash, and judged as they are."""
    definition = {
        "metadata": {"a": ["é", 1.0]},
        "endpoints": ["a", "b"],
        "callback_url": URL,
        "expires_at": 4_102_444_800,
    }
    found = judged(definition=definition)
    assert found.options == {
        "metadata": '{"a":["é",1.0]}', "endpoints": "a,b", "callback_url": URL, "expires_at": "4102444800",
    }  # fmt: skip
    options, callback = task_options(found.options, LOCAL, has_default_secret=True)
    assert (options.metadata, options.endpoints, options.expires_at) == (
        {"a": ["é", 1.0]}, ("a", "b"), 4_102_444_800_000,
    )  # fmt: skip
    assert callback is not None
    assert callback.url == URL


def test_an_index_may_be_watched_for_assets_too() -> None:
    """Either, or both; the account has no list of them."""
    assert judged("index:ix1", {"kinds": ["asset"]}).kinds == (ASSET,)
    assert judged(
        "index:ix1",
        {
            "kinds": [
                "asset",
                "task",
            ]
        },
    ).kinds == (ASSET, TASK)
    with pytest.raises(Rejection, match="index by index") as refused:
        judged("account", {"kinds": ["task", "asset"]})
    assert_whole(refused.value, field="kinds")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Account",
        "account ",
        "index",
        "index:",
        "index:a/b",
        "index:a b",
        "index:a:b",
        "index:é",
        "ix1",
        "index:" + "x" * 101,
        "index:..",
        "text:account",
    ],
)
def test_a_watch_is_of_the_account_or_of_an_index(name: str) -> None:
    """Nothing else has a list."""
    with pytest.raises(Rejection) as refused:
        judged(name)
    assert_whole(refused.value, field="name")


REFUSED_WATCHES: list[tuple[dict[str, Any], str]] = [
    ({"kinds": []}, "kinds"),
    ({"kinds": ["analyze"]}, "kinds"),
    ({"kinds": "task"}, "kinds"),
    ({"since": "yesterday"}, "since"),
    ({"since": -1}, "since"),
    ({"since": 1763925001123}, "since"),
    ({"since": True}, "since"),
    ({"expires_at": "1"}, "expires_at"),
    ({"expires_at": 1e12}, "expires_at"),
    ({"endpoints": []}, "endpoints"),
    ({"endpoints": "a,b"}, "endpoints"),
    ({"endpoints": ["a b"]}, "endpoints"),
    ({"endpoints": ["a", ""]}, "endpoints"),
    ({"endpoints": ["a"] * 201}, "endpoints"),
    ({"metadata": "x" * 5_000}, "metadata"),
    ({"callback_url": "ftp://example.com/"}, "callback_url"),
    ({"callback_url": 1}, "callback_url"),
]
NESTED = json.dumps({"metadata": json.loads("[" * 500 + "]" * 500)})
NO_WATCHES = [
    "",
    "[]",
    "{",
    "null",
    '{"a": 1, "a": 2}',
    '{"since": NaN}',
    "{" + " " * 20_000 + "}",
    "[" * 2_000,
    NESTED,
]


@pytest.mark.parametrize(
    ("definition", "field"),
    [*REFUSED_WATCHES, *((text, "") for text in NO_WATCHES)],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_watch_is_refused_with_its_fix(definition: Any, field: str) -> None:
    """P10: what is wrong, where, and what to do."""
    with pytest.raises(Rejection) as refused:
        judged(definition=definition)
    assert_whole(refused.value, field=field)


def test_a_callback_needs_what_a_tasks_callback_needs() -> None:
    """A default secret, and an address that policy allows."""
    with pytest.raises(Rejection, match="default secret"):
        judged(definition={"callback_url": URL}, secret=False)
    with pytest.raises(Rejection, match="callback_url"):
        judged(definition={"callback_url": "http://10.0.0.1/"}, policy=Policy())


@given(
    JSON
    | st.dictionaries(
        st.sampled_from(["kinds", "since", "metadata", "endpoints", "callback_url", "expires_at", "x"]), JSON
    )
)
def test_whatever_is_written_is_taken_or_refused(definition: Any) -> None:
    """Never an accident; and what is taken can be written into Redis, as a task's options are."""
    try:
        found = judged(definition=json.dumps(definition))
    except Rejection as rejection:
        assert_whole(rejection, field=None)
    else:
        assert all(text.encode() for text in found.options.values())
        task_options(found.options, LOCAL, has_default_secret=True)


def test_what_is_shown_of_a_watch_has_no_secret() -> None:
    """A callback URL as everywhere; nonsense is nothing."""
    seen = shown(json.dumps({"callback_url": "https://u:p4ss@example.com/?token=1", "since": 1}))
    assert seen["since"] == 1
    assert "p4ss" not in seen["callback_url"]
    assert "token" not in seen["callback_url"]
    assert [shown(text) for text in ("", "[]", "{")] == [{}, {}, {}]
