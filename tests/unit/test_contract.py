"""What clients may write of a task into Redis: its member and its options. Refused with a field, a reason and a fix."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import CANARY, LOCAL, STRICT, URL, assert_whole

from bridge.contract import METADATA_BYTES, METADATA_DEPTH, TASK_ENDPOINTS, check_member, implicit_name, task_options
from bridge.formats import standard
from bridge.model import Change, Endpoint, WatchOptions
from bridge.rejection import Rejection


def options_of(raw: dict[str, str], *, has_default_secret: bool = True) -> WatchOptions:
    """The options that this hash makes."""
    return task_options(raw, LOCAL, has_default_secret=has_default_secret)[0]


# -- members --


@pytest.mark.parametrize("member", ["t1", "6a0b1c2d3e4f5a6b7c8d9e01", "A_b-c", "0", "-", "_", "x" * 200])
def test_an_id_is_a_member(member: str) -> None:
    """As TwelveLabs writes them, and a little more."""
    check_member(member)


@pytest.mark.parametrize(
    "member",
    ["", " ", "a b", " a", "a ", "a\n", "\na", "a\r", "a\x00", "\x00", "a\t", "a\x7f", "a\x85", "a\u2028",
     ".", "..", "../x", "a.b", "a/b", "a//b", "/a", "a/", "/", "//", ":", ":a", "a:", "a:b", "task:",
     "video:1", "a:b:c", "x" * 201, "x" * 100_000, "a%2e", "a?b", "a#b", "a\\b", "a*", "a@b", "é", "а", "ａ", "١",
     "a\u200b", "a\u202e", "😀", "e\u0301", "\ud800"],
)  # fmt: skip
def test_what_cannot_be_an_id_is_refused(member: str) -> None:
    """No path tricks, no look-alikes, no line ends, no unknown kinds."""
    with pytest.raises(Rejection) as refused:
        check_member(member)
    assert_whole(refused.value, field="member")


@given(st.text(st.characters(), max_size=220))
def test_what_is_a_member_is_plain_ascii(member: str) -> None:
    """It becomes part of a Redis key and of a URL's path: it is taken as it stands, or refused."""
    try:
        check_member(member)
    except Rejection as rejection:
        assert_whole(rejection, field="member")
    else:
        assert member.replace("-", "").replace("_", "").isalnum() or set(member) <= set("-_")
        assert member.isascii()
        assert len(member) <= 200


# -- task options --


def test_no_options_are_the_defaults() -> None:
    """Everybody who matches is told, for ever."""
    assert task_options({}, STRICT, has_default_secret=False) == (WatchOptions(), None)


def test_options_are_read() -> None:
    """Unknown fields are ignored, `x-` fields belong to users."""
    raw = {"metadata": '{"a":[1]}', "endpoints": " a, b ,", "expires_at": "1800000000.5", "account": "default",
           "x-team": "\x00", "later": "…"}  # fmt: skip
    assert options_of(raw) == WatchOptions({"a": [1]}, ("a", "b"), None, 1_800_000_000_500, "default")


def test_a_callback_url_is_an_endpoint_of_its_own() -> None:
    """It takes everything, is signed with the default secret, and two tasks with one URL share it."""
    options, callback = task_options({"callback_url": URL}, STRICT, has_default_secret=True)
    assert callback == Endpoint(name=implicit_name(URL), url=URL, events=("*",))
    assert options.callback == callback.name
    assert callback.name.startswith("url:")
    assert implicit_name(URL) != implicit_name(URL + "/")


@pytest.mark.parametrize("blank", ["callback_url", "expires_at", "account"])
def test_an_empty_option_is_none(blank: str) -> None:
    """As a shell variable that was not set."""
    assert options_of({blank: ""}) == WatchOptions()


REFUSED_OPTIONS = [
    ("callback_url", "http://example.com/"),
    ("callback_url", "https://10.0.0.1/"),
    ("callback_url", "https://u:p@example.com/"),
    ("callback_url", "javascript:alert(1)"),
    ("callback_url", URL + "\n"),
    ("callback_url", URL + "\x00"),
    ("callback_url", URL + "x" * 2_048),
    ("callback_url", "\ud800"),
    ("account", "another"),
    ("account", " default"),
    ("endpoints", ""),
    ("endpoints", " , ,"),
    ("endpoints", "a b"),
    ("endpoints", "a,b:c"),
    ("endpoints", "a\x00"),
    ("endpoints", "é"),
    ("endpoints", "x" * 65),
    ("endpoints", ",".join(f"e{n}" for n in range(TASK_ENDPOINTS + 1))),
    ("expires_at", "soon"),
    ("expires_at", "-1"),
    ("expires_at", "nan"),
    ("expires_at", "inf"),
    ("expires_at", "1e999"),
    ("expires_at", "1800000000000"),
    ("expires_at", "9" * 100_000),
    ("expires_at", "2027-01-15T08:00:00Z"),
    ("expires_at", "\x00"),
    ("expires_at", "1_800_000_000"),
    ("expires_at", "١٨٠٠٠٠٠٠٠٠"),
    ("traceparent", "x"),
    ("traceparent", f"00-{'0' * 32}-{'b' * 16}-01"),
    ("traceparent", f"00-{'a' * 32}-{'0' * 16}-01"),
    ("traceparent", f"ff-{'a' * 32}-{'b' * 16}-01"),
    ("traceparent", f"00-{'A' * 32}-{'b' * 16}-01"),
    ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01-more"),
    ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01\n"),
    ("traceparent", "9" * 100_000),
    ("metadata", ""),
    ("metadata", "{"),
    ("metadata", "{'a': 1}"),
    ("metadata", "nope"),
    ("metadata", '{"a":1,"a":2}'),
    ("metadata", '[{"b":{"a":1,"\\u0061":1}}]'),
    ("metadata", "NaN"),
    ("metadata", "[Infinity]"),
    ("metadata", "[-Infinity]"),
    ("metadata", "[1e999]"),
    ("metadata", '{"a": -1E400}'),
    ("metadata", '"\n"'),
    ("metadata", '"' + "é" * (METADATA_BYTES // 2) + '"'),
    ("metadata", "1" * (METADATA_BYTES + 1)),
    ("metadata", "[" * (METADATA_DEPTH + 1) + "]" * (METADATA_DEPTH + 1)),
    ("metadata", '{"a":' * 700 + "0" + "}" * 700),
    ("metadata", "[" * METADATA_BYTES),
    ("metadata", "\ud800"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED_OPTIONS, ids=lambda text: ascii(text)[:30])
def test_an_option_is_refused_at_its_field(name: str, text: str) -> None:
    """Each with a reason and a fix."""
    with pytest.raises(Rejection) as refused:
        task_options({name: text}, STRICT, has_default_secret=True)
    assert_whole(refused.value, field=name)


@pytest.mark.parametrize("text", ["1800000000000", "1800000000000.5"])
def test_an_end_in_milliseconds_is_told_as_that(text: str) -> None:
    """As a score is: who took `date +%s%3N` learns what to change."""
    with pytest.raises(Rejection) as refused:
        task_options({"expires_at": text}, STRICT, has_default_secret=True)
    assert refused.value.reason == "it is in milliseconds; expires_at counts Unix seconds"


@pytest.mark.parametrize(
    ("text", "where"),
    [('{"a":1', "line 1, column 7"), ('{\n  "a" 1}', "line 2, column 7"), ("NaN", ""), ("[" * METADATA_BYTES, "")],
    ids=["cut", "second line", "no JSON of ours", "too deep"],
)
def test_metadata_that_is_no_json_is_told_by_its_position(text: str, where: str) -> None:
    """Once, at its field, and with nothing of what stands there."""
    with pytest.raises(Rejection) as refused:
        task_options({"metadata": text}, STRICT, has_default_secret=True)
    assert str(refused.value) == "metadata: its text is not JSON" + (f" ({where})" if where else "")


@pytest.mark.parametrize("text", ["x" * (METADATA_BYTES + 1), "[" * (METADATA_DEPTH + 1) + "]" * (METADATA_DEPTH + 1)])
def test_metadata_is_named_once(text: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(Rejection) as refused:
        task_options({"metadata": text}, STRICT, has_default_secret=True)
    assert str(refused.value).count("metadata") == 1


def test_metadata_that_is_no_json_is_told_apart_from_what_is() -> None:
    """As an option's text is read as JSON wherever it came from, a plain text is told to stand in quotes of its own."""
    for text, reason, fix in (
        (
            "red",
            "its text is not JSON (line 1, column 1)",
            '{"order": 42}; a text alone is JSON only with quotes of its own',
        ),
        ("[1e999]", "a number in it is too large", "write that number as a text"),
    ):
        with pytest.raises(Rejection) as refused:
            task_options({"metadata": text}, STRICT, has_default_secret=True)
        assert (refused.value.reason, fix in refused.value.fix) == (reason, True)
    assert task_options({"metadata": '"red"'}, STRICT, has_default_secret=True)[0].metadata == "red"


def test_a_callback_url_needs_the_default_secret() -> None:
    """The fix names the setting."""
    with pytest.raises(Rejection) as refused:
        task_options({"callback_url": URL}, STRICT, has_default_secret=False)
    assert_whole(refused.value, field="callback_url")
    assert "BRIDGE_DELIVERY_DEFAULT_SECRET" in refused.value.fix


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("0", 0),
        ('"\\ud800"', "\ud800"),
        ("9" * METADATA_BYTES, int("9" * METADATA_BYTES)),
        ("1e308", 1e308),
        (' {"a": 1}\n', {"a": 1}),
        ('"' + "x" * (METADATA_BYTES - 2) + '"', "x" * (METADATA_BYTES - 2)),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_any_json_is_metadata(text: str, value: object) -> None:
    """Up to its bound, surrogates kept."""
    assert options_of({"metadata": text}).metadata == value


@given(
    st.text(st.characters(), max_size=60)
    | st.from_regex(r"\A[\[{\"a:,0-9eE.+-]{0,40}\Z")
    | st.integers(0, 2_000).map(lambda depth: "[" * depth + "]" * depth)
)
def test_accepted_metadata_can_be_kept_and_sent(text: str) -> None:
    """Whatever is taken in goes through each encoding that it will meet; otherwise it would stop a commit for ever."""
    try:
        metadata = options_of({"metadata": text}).metadata
    except Rejection as rejection:
        assert_whole(rejection, field="metadata")
        return
    kept = json.loads(json.dumps(metadata, allow_nan=False))
    body = standard("index.task.gone", "t1", 1, 0, Change(None, None, ("gone",)), kept)
    assert json.loads(body, parse_constant=pytest.fail)["data"]["metadata"] == metadata


@pytest.mark.parametrize("text", ["[" * METADATA_DEPTH + "]" * METADATA_DEPTH, '{"a":' * 99 + "[0]" + "}" * 99])
def test_nesting_up_to_its_bound_is_metadata(text: str) -> None:
    """A hundred levels, which leaves any call stack room to read and write them."""
    assert json.dumps(options_of({"metadata": text}).metadata, separators=(",", ":")) == text


OPTIONS = st.dictionaries(
    st.sampled_from(["metadata", "endpoints", "callback_url", "expires_at", "account", "x-mine"]) | st.text(),
    st.text(st.characters()) | st.sampled_from([text for _, text in REFUSED_OPTIONS] + [URL, "a,b", "12", "default"]),
    max_size=6,
)


@given(OPTIONS, st.booleans())
def test_nothing_written_as_an_option_raises_anything_else(raw: dict[str, str], has_default_secret: bool) -> None:
    """P10: options or a Rejection, for any text."""
    try:
        options, callback = task_options(raw, LOCAL, has_default_secret=has_default_secret)
    except Rejection as rejection:
        assert_whole(rejection)
    else:
        assert (options.callback is None) is (callback is None)
        assert options.endpoints is None or options.endpoints


@pytest.mark.parametrize("has_default_secret", [True, False])
def test_a_refused_callback_url_shows_no_secret(has_default_secret: bool) -> None:
    """Nor does the one for which there is no default secret."""
    raw = {"callback_url": f"https://u:{CANARY}' x@example.com/?token={CANARY} {CANARY}"}
    with pytest.raises(Rejection) as refused:
        task_options(raw, STRICT, has_default_secret=has_default_secret)
    assert CANARY not in refused.value.as_json(0) + str(refused.value)
