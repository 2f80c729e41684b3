"""docs/contract/*.schema.json: made from what judges, and never stricter than it. `jsonschema` is the oracle."""

import json
from pathlib import Path
from typing import Any

import pytest
from factories import START, a_snapshot, an_observation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from refusals import LOCAL, URL, secret_of
from test_contract import REFUSED_OPTIONS
from test_definition import JSON, REFUSED_DEFINITIONS
from test_watches import REFUSED_WATCHES

from bridge.contract import TASK_ENDPOINTS, task_options
from bridge.definition import HEADERS, RESERVED_HEADERS, endpoint
from bridge.events import event_from
from bridge.model import Change, Observation, Ordering, Snapshot
from bridge.rejection import Rejection
from bridge.schemas import FILES, SCHEMAS, render
from bridge.watches import watch

ROOT = Path(__file__).parents[2] / "docs/contract"


def oracle(name: str) -> Draft202012Validator:
    """Judges by the file that people are given."""
    return Draft202012Validator(json.loads((ROOT / FILES[name]).read_text()))


ENDPOINT, TASK, WATCH, EVENT, REJECTION = (oracle(name) for name in ("endpoint", "task", "watch", "event", "rejection"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_the_one_that_the_code_makes(name: str) -> None:
    """`bridge contract show <name>` writes the file anew."""
    assert (ROOT / FILES[name]).read_text() == render(name)
    Draft202012Validator.check_schema(json.loads(render(name)))


def test_every_schema_has_a_file_and_every_file_a_schema() -> None:
    """None is left behind."""
    assert {path.name for path in ROOT.glob("*.json")} == set(FILES.values())
    assert FILES.keys() == SCHEMAS.keys()


# -- what is accepted is valid; what is not valid is refused: one sentence, said both ways round --

WORDS = st.sampled_from(
    ["*", "index.task.*", "index.task.ready", "a", "t1", "t*", "x" * 200, "", "a b", "A.B.*", "a\n"]
)
SECRETS = st.integers(22, 66).map(secret_of) | st.sampled_from(
    [f" {secret_of(24)}\n", secret_of(32)[6:], "whsec_", "", "tl-key-1", "x" * 257]
)
URLS = st.sampled_from([URL, "HTTP://127.0.0.1:9/a?b=%20", "https://[::1]/", "https://example.com/" + "x" * 2_028]) | (
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=12).map(lambda text: URL + text)
)
NAMES = st.sampled_from(
    ["x-a", "X-A", "Authorization", "a" * 64, "a" * 65, "Host", "bridge-x", "a b", *RESERVED_HEADERS]
)
GOOD = {
    "url": URLS,
    "events": st.lists(WORDS, max_size=4) | st.just(["*"] * 101),
    "tasks": st.lists(WORDS, max_size=4) | st.just(["*"] * 1_001),
    "indexes": st.lists(WORDS, max_size=4) | st.just(["*"] * 101),
    "metadata": st.dictionaries(
        st.text(max_size=3), JSON | st.lists(st.none() | st.booleans() | st.integers()), max_size=11
    ),
    "secret": SECRETS | st.none(),
    "previous_secrets": st.lists(
        st.fixed_dictionaries({}, optional={"secret": SECRETS | st.none(), "until": st.integers(-1, 10**11) | JSON}),
        max_size=4,
    ),
    "format": st.sampled_from(["standard", "twelvelabs", "cloudevents", "cloudevents-binary"]),
    "ordering": st.sampled_from([str(one) for one in Ordering]),
    "headers": st.dictionaries(
        NAMES, st.sampled_from(["", "b c", "b" * 1_024, "b" * 1_025, "é"]), max_size=HEADERS + 1
    ),
    "concurrency": st.sampled_from([None, 0, 1, 32.0, 1_000, 1_001, "5", True, 1.5]),
    "rate": st.sampled_from([None, "1/s", "99999/m", "0/s", "100000/s", "10/h", "10 / s", "10/s\n", 10]),
    "schedule": st.none()
    | st.lists(st.sampled_from([0, 5, 0.5, 604_800, 604_801, -1, "5", True, None]), max_size=4)
    | st.just([0] * 50)
    | st.just([0] * 51),
    "supersede": st.sampled_from([True, False, None, 0, "true"]),
    "signatures": st.lists(st.sampled_from(["v1", "v1a", "v2", 1]), max_size=3) | st.none(),
    "handshake": st.sampled_from(["none", "required", None, True, "Required"]),
    "x-mine": JSON,
}
ALWAYS = {"url": st.just(URL)}
ONE_FIELD = st.sampled_from(sorted(GOOD)).flatmap(lambda name: st.fixed_dictionaries(ALWAYS | {name: GOOD[name]}))
ANY_FIELDS = st.fixed_dictionaries({}, optional={name: value | JSON for name, value in GOOD.items()})


@settings(max_examples=400)
@given(ONE_FIELD | ANY_FIELDS)
@example({"url": URL, "signatures": ["v1a", "v1"]})
@example({"url": URL, "format": "twelvelabs", "signatures": ["v1"]})
@example({"url": URL, "headers": {f"x-{n}": "" for n in range(HEADERS)}})
@example({"url": URL, "format": "twelvelabs", "secret": "!" * 8})
@example({"url": URL, "format": "twelvelabs", "secret": "~" * 256})
@example({"url": URL, "secret": f"\t{secret_of(64)}\x1f"})
@example({"url": URL, "previous_secrets": [{"secret": f" {secret_of(24)}", "until": 10**11 - 1, "x": 1}] * 3})
@example({"url": URL, "events": ["a"] * 100, "tasks": ["*"] * 1_000, "ordering": "none", "format": "standard"})
def test_an_accepted_endpoint_is_valid(definition: dict[str, Any]) -> None:
    """And what the schema refuses, the contract refuses."""
    text = json.dumps(definition)
    try:
        endpoint("a", text, LOCAL, has_default_secret=True, has_signing_key=True)
    except Rejection:
        return
    errors = [error.message for error in ENDPOINT.iter_errors(json.loads(text))]
    assert not errors


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": JSON.map(json.dumps) | st.text(max_size=9),
            "endpoints": st.text("ab, \t\u2003:", max_size=12) | st.just(",".join(["a"] * TASK_ENDPOINTS)),
            "callback_url": URLS | st.just(""),
            "expires_at": st.text("0123456789.-e", max_size=14) | st.floats(0, 2e11).map(str),
            "account": st.sampled_from(["", "default", "other"]),
            "x-mine": st.text(),
        },
    )
)
@example({"endpoints": "\u2003a ,, b,\n"})
@example({"expires_at": "1800000000."})
def test_accepted_options_are_valid(raw: dict[str, str]) -> None:
    """And what the schema refuses, the contract refuses."""
    try:
        task_options(raw, LOCAL, has_default_secret=True)
    except Rejection:
        return
    assert not [error.message for error in TASK.iter_errors(raw)]


SECONDS = st.none() | st.floats() | st.integers(-1, 10**12) | st.booleans() | st.text(max_size=2)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "kinds": st.lists(st.sampled_from(["task", "asset", "analyze", 1]), max_size=3) | JSON,
            "since": SECONDS,
            "expires_at": SECONDS,
            "metadata": JSON,
            "endpoints": st.lists(st.text("ab, .", max_size=3), max_size=3) | st.just(["a"] * 201) | st.none(),
            "callback_url": URLS | st.just("") | st.none(),
            "x-mine": JSON,
            "other": JSON,
        },
    )
)
def test_an_accepted_watch_is_valid(definition: dict[str, Any]) -> None:
    """And what the schema refuses, the contract refuses."""
    text = json.dumps(definition)
    try:
        watch("index:ix1", text, LOCAL, has_default_secret=True)
    except Rejection:
        return
    assert not [error.message for error in WATCH.iter_errors(json.loads(text))]


@pytest.mark.parametrize(("definition", "field"), REFUSED_WATCHES, ids=lambda value: ascii(value)[:40])
def test_the_schema_refuses_a_bad_watch_where_it_can(definition: dict[str, Any], field: str) -> None:
    """At its field; sizes, and what the guard judges, are beyond it."""
    said = {str(error.absolute_path[0]) for error in WATCH.iter_errors(definition) if error.absolute_path}
    assert said == (set() if field == "metadata" else {field})


# -- a schema that accepts everything would pass all that --

BEYOND_ENDPOINT = {"http://example.com/", "https://127.0.0.1/", URL + "\n"}
"""What only the guard refuses, and a line end, which Python's `$` lets pass."""


@pytest.mark.parametrize(("fields", "field"), REFUSED_DEFINITIONS, ids=lambda value: ascii(value)[:40])
def test_the_schema_refuses_a_bad_endpoint_where_it_can(fields: dict[str, Any], field: str) -> None:
    """At its field. What it leaves to the judge is named here and told in its description."""
    definition = {"url": URL} | fields
    said = {str(error.absolute_path[0]) for error in ENDPOINT.iter_errors(definition) if error.absolute_path}
    beyond = (
        definition["url"] in BEYOND_ENDPOINT
        or str(definition["url"]).endswith("\n")
        or _is_beyond_headers(definition.get("headers"))
    )
    assert said == (set() if beyond else {field.partition(".")[0]})


def _is_beyond_headers(headers: object) -> bool:
    names = list(headers) if isinstance(headers, dict) else []
    lower = [name.lower() for name in names]
    return len(set(lower)) < len(lower) or any(name != name.lower() for name in names)


@pytest.mark.parametrize("definition", [None, [], 5, "x", {}, {"secret": None}], ids=str)
def test_the_schema_wants_an_object_with_a_url(definition: object) -> None:
    """Nothing else is an endpoint."""
    assert not ENDPOINT.is_valid(definition)


BEYOND_TASK = ("http://example.com/", "https://10.0.0.1/", "https://u:p@example.com/")


@pytest.mark.parametrize(
    ("name", "text"), [one for one in REFUSED_OPTIONS if one[0] != "metadata"], ids=lambda text: ascii(text)[:30]
)
def test_the_schema_refuses_a_bad_option_where_it_can(name: str, text: str) -> None:
    """The guard is beyond it, and so is a line end, which Python's `$` lets pass."""
    assert TASK.is_valid({name: text}) is (text in BEYOND_TASK or text.endswith("\n"))


@pytest.mark.parametrize("value", [5, None, {"a": 1}, ["a"]])
def test_an_option_is_text(value: object) -> None:
    """In a hash there is nothing else."""
    assert not TASK.is_valid({"metadata": value})
    assert not TASK.is_valid({"x-mine": value})


# -- what the bridge writes --

CHANGES = [
    Change(an_observation("validating"), None, ("status", "updated_at")),
    Change(an_observation("ready", START + 5), a_snapshot(), ("status", "updated_at")),
    Change(an_observation("Très neu!", None), a_snapshot(at=None), ("status",)),
    Change(an_observation(task={"_id": "t1", "bulk": "x" * 70_000}), a_snapshot("pending"), ("status",)),
    Change(None, a_snapshot(), ("gone",)),
    Change(None, None, ("gone",)),
]


def parts(observed: Observation | None, known: Snapshot | None) -> str:
    """What a change is made of, for the name of a test."""
    return f"{observed and observed.status} after {known and known.status}"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: parts(change.observation, change.previous))
@pytest.mark.parametrize("metadata", [None, {"order": 7}, [], "é"])
def test_an_event_is_as_its_schema_says(change: Change, metadata: object) -> None:
    """Every kind of change; and no field is there that the schema does not name."""
    body = json.loads(event_from(change, "t1", now=START, metadata=metadata).body)
    assert not [error.message for error in EVENT.iter_errors(body)]
    schema = json.loads(render("event"))
    assert body.keys() == schema["properties"].keys()
    assert body["data"].keys() <= schema["properties"]["data"]["properties"].keys()


@pytest.mark.parametrize("part", ["type", "timestamp", "data"])
def test_an_event_without_a_part_is_none(part: str) -> None:
    """The schema says more than yes."""
    body = json.loads(event_from(CHANGES[1], "t1", now=START).body)
    del body[part]
    assert not EVENT.is_valid(body)


@given(st.text(), st.text(min_size=1), st.text(min_size=1), st.text(st.characters()), st.integers(0, 10**14))
def test_a_rejection_is_as_its_schema_says(field: str, reason: str, fix: str, value: str, at: int) -> None:
    """Whatever is refused."""
    entry = json.loads(Rejection(field, reason, fix, value).as_json(at))
    assert not [error.message for error in REJECTION.iter_errors(entry)]
