"""What clients declared, as lines of a file and back: nothing is lost, nothing secret is in it, nothing crashes it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.definition import EndpointDefinition
from bridge.entries import Judge
from bridge.errors import InvalidInput
from bridge.guard import Policy
from bridge.manifest import END, HEAD, Entry, Line, Manifest, endpoint_line, task_line
from bridge.model import OPTIONS
from bridge.plan import Standing, endpoint_plan, task_plan
from bridge.rejection import Rejection
from bridge.signature import generate_secret

JUDGE = Judge(Policy(), has_default_secret=True)
SECRET = generate_secret(bytes(range(32)))
URL = "https://example.com/hook"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.text("abcxyz_-", min_size=1, max_size=10)
own = st.dictionaries(names.map("x-".__add__), texts, max_size=3)
"""Fields that belong to users."""
urls = st.sampled_from([URL, f"{URL}?token={SECRET}", f"{URL}?a=1&b=2"])
tasks = st.builds(
    lambda metadata, fixed, mine: {
        **mine,
        **({"metadata": json.dumps(metadata)} if metadata is not None else {}),
        **fixed,
    },
    values,
    st.fixed_dictionaries(
        {}, optional={"callback_url": urls, "endpoints": st.just("a, b"), "expires_at": st.just("4000000000.5")}
    ),
    own,
)
endpoints = st.builds(
    lambda fixed, mine: {**mine, **fixed},
    st.fixed_dictionaries(
        {"url": urls},
        optional={
            "events": st.lists(st.sampled_from(["*", "index.task.*", "index.task.ready"]), min_size=1, max_size=3),
            "tasks": st.lists(st.sampled_from(["*", "a*", "t1"]), min_size=1, max_size=3),
            "secret": st.sampled_from([SECRET, SECRET.removeprefix("whsec_"), None]),
            "previous_secrets": st.lists(
                st.sampled_from([SECRET, SECRET.removeprefix("whsec_")]).map(lambda one: {"secret": one, "until": 9}),
                max_size=2,
            ),
            "ordering": st.sampled_from(["strict", "none", "first-attempt"]),
            "headers": st.dictionaries(st.just("x-key"), st.sampled_from(["", "hidden"])),
        },
    ),
    st.dictionaries(names.map("x-".__add__), values, max_size=3),
)


def read_back(line: Line) -> Entry:
    """The thing that a printed line declares."""
    manifest = Manifest()
    manifest.read_line(1, json.dumps(line.fields).encode())
    assert manifest.refused == []
    (entry,) = manifest.entries
    return entry


@given(tasks, st.booleans())
@example({"metadata": '"text"'}, False)
@example({"metadata": "null"}, False)
@example({"metadata": " [1.50, 1e3, 1E400]"}, True)
@example({"metadata": json.dumps({"a": SECRET})}, False)
def test_a_task_that_is_exported_and_imported_is_unchanged(options: dict[str, str], with_secrets: bool) -> None:
    """Where it stands. Elsewhere, an export with secrets makes the same of it."""
    stored = {name.encode(): value.encode() for name, value in options.items()}
    try:
        JUDGE.task(b"t1", 0, stored)
    except Rejection:
        return
    entry = read_back(task_line(b"t1", stored, with_secrets=with_secrets))
    assert task_plan(entry, Standing(True, stored), JUDGE).word == "unchanged"
    if with_secrets:
        plan = task_plan(entry, Standing(False, {}), JUDGE)
        assert plan.word == "added"
        written = {name.encode(): value.encode() for name, value in plan.options.items()}
        assert JUDGE.task(b"t1", 0, written) == JUDGE.task(b"t1", 0, stored)


@given(endpoints, st.booleans())
def test_an_endpoint_that_is_exported_and_imported_is_unchanged(definition: dict[str, Any], with_secrets: bool) -> None:
    """Where it stands. Elsewhere, an export with secrets makes the same of it."""
    stored = json.dumps(definition).encode()
    line = endpoint_line(b"a", stored, with_secrets=with_secrets)
    assert with_secrets or SECRET.removeprefix("whsec_") not in json.dumps({**line.fields, "url": ""})
    entry = read_back(line)
    assert endpoint_plan(entry, stored, JUDGE).word == "unchanged"
    if with_secrets:
        plan = endpoint_plan(entry, None, JUDGE)
        assert JUDGE.endpoint(b"a", plan.text.encode()) == JUDGE.endpoint(b"a", stored)


@given(st.dictionaries(texts, values | st.just(SECRET), max_size=5), st.sampled_from(["url", "x", "headers", "secret"]))
def test_no_field_lets_a_signing_secret_into_an_export(definition: dict[str, Any], name: str) -> None:
    """Wherever in a definition or among the options it stands, as name or as value."""
    stored = json.dumps({**definition, name: {"a": [SECRET]}, SECRET: 1}).encode()
    assert SECRET[:20] not in json.dumps(endpoint_line(b"a", stored, with_secrets=False).fields)
    options = {
        b"metadata": stored,
        b"x": SECRET.encode(),
        SECRET.encode(): b"",
        b"callback_url": f"u?{SECRET}".encode(),
    }
    line = task_line(b"t", options, with_secrets=False)
    assert (SECRET[:20] in json.dumps(line.fields), line.left_out) == (False, 4)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"{}", b'{"kind":"task","id":"t"}', b"null"]), max_size=5))
def test_whatever_the_lines_hold_each_is_taken_or_refused(lines: list[bytes]) -> None:
    """Nothing else happens to it."""
    manifest = Manifest()
    for number, line in enumerate(lines):
        manifest.read_line(number, line)
    assert len(manifest.entries) + len(manifest.refused) == sum(bool(line.strip()) for line in lines)


@given(texts)
@example("[endpoints]\na = 1")
@example("endpoints.a.url = [[[")
def test_whatever_the_tables_are_they_are_taken_or_refused(text: str) -> None:
    """InvalidInput for the file, or a refusal for a table."""
    manifest = Manifest()
    with suppress(InvalidInput):
        manifest.read_tables(text)
    assert all(one.rejection.fix for one in manifest.refused)


@pytest.mark.parametrize(
    ("things", "cut"),
    [
        ([], False),
        ([HEAD], True),
        ([HEAD, END], False),
        ([HEAD, HEAD, END], True),
        ([HEAD, END, HEAD, END], False),
        ([END], False),
        ([{"kind": "task", "id": "t"}], False),
    ],
)
def test_an_export_without_its_end_was_cut_off(things: list[dict[str, Any]], cut: bool) -> None:
    """Several may stand one after the other, one of them without its end; a file of a person's has neither."""
    manifest = Manifest()
    for number, thing in enumerate(things):
        manifest.read_line(number, json.dumps(thing).encode())
    assert manifest.cut is cut


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_another_version_is_refused_as_a_whole(version: object) -> None:
    """What its lines mean is not known."""
    with pytest.raises(InvalidInput, match="this bridge reads version 1"):
        Manifest().read_line(1, json.dumps({**HEAD, "version": version}).encode())


def test_a_token_in_a_path_is_left_out_and_kept_where_it_is_known() -> None:
    """As a query is: chat services put the secret there."""
    text = json.dumps({"url": f"{URL}/T0AbCdEfGhIjKlMnOp/in"}).encode()
    line = endpoint_line(b"a", text, with_secrets=False)
    assert (line.fields["url"], line.left_out) == (f"{URL}/…/in", 1)
    assert endpoint_plan(Entry("endpoint", "a", "line 1", {"url": line.fields["url"]}), text, JUDGE).word == "unchanged"


def test_a_url_without_its_query_counts_only_for_the_url_that_it_is() -> None:
    """Another host under the same name is no reason to fill in the old query."""
    stored = json.dumps({"url": f"{URL}?token=1"}).encode()
    kept = endpoint_plan(Entry("endpoint", "a", "line 1", {"url": f"{URL}?…"}), stored, JUDGE)
    assert (kept.word, json.loads(kept.text)["url"]) == ("unchanged", f"{URL}?token=1")
    for url in ("https://example.org/hook?…", "https://…@example.com/hook", "https://example.com/…/hook"):
        with pytest.raises(Rejection, match="left out of the export"):
            endpoint_plan(Entry("endpoint", "a", "line 1", {"url": url}), stored, JUDGE)


def test_true_is_not_one() -> None:
    """Python thinks so; the receiver of an event does not."""
    stored = {b"metadata": b'{"a": 1}'}
    entry = Entry("task", "t", "line 1", {"metadata": {"a": True}})
    assert task_plan(entry, Standing(True, stored), JUDGE).word == "changed"


def test_what_names_a_thing_is_no_field_of_it() -> None:
    """`kind`, `name` and `id` are the line's own, and mean nothing in the contract."""
    assert not {"kind", "name", "id"} & {*OPTIONS, *EndpointDefinition.model_fields}
