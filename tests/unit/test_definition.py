"""What clients may write of an endpoint into Redis. Refused with a field, a reason and a fix."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import CANARY, LOCAL, STRICT, URL, assert_whole, secret_of

from bridge.definition import ENDPOINT_BYTES, EndpointDefinition, endpoint
from bridge.exchange import Origin, Request
from bridge.faults import each, not_by_hand
from bridge.guard import Policy
from bridge.model import Endpoint, Ordering
from bridge.rejection import Rejection
from bridge.signature import generate_secret


def judged(definition: Any, *, name: str = "a", has_default_secret: bool = True) -> Endpoint:
    """The endpoint that this definition (JSON text, or what is to be written as JSON) makes."""
    text = definition if isinstance(definition, str) else json.dumps(definition)
    return endpoint(name, text, STRICT, has_default_secret=has_default_secret)


def test_a_definition_is_read_with_its_defaults() -> None:
    """Only the URL has to be there, where there is a default secret."""
    assert judged({"url": URL}) == Endpoint(name="a", url=URL)
    assert judged({"url": URL, "x-team": {"a": [1]}, "later": None}) == Endpoint(name="a", url=URL)


def test_a_whole_definition_is_read() -> None:
    """Each field as it was written."""
    definition = {
        "url": URL,
        "events": ["index.task.ready", "*"],
        "tasks": ["t1", "a*"],
        "indexes": ["ix1", "ix2*"],
        "metadata": {"tenant": "a", "tier": [1, 2.5, True, None]},
        "secret": secret_of(32),
        "format": "standard",
        "ordering": "strict",
        "headers": {"X-Team": "a b", "authorization": "Bearer x"},
    }
    assert judged(definition, has_default_secret=False) == Endpoint(
        name="a",
        url=URL,
        events=("index.task.ready", "*"),
        tasks=("t1", "a*"),
        indexes=("ix1", "ix2*"),
        metadata={"tenant": ("a",), "tier": (1, 2.5, True, None)},
        secrets=(secret_of(32),),
        ordering=Ordering.STRICT,
        headers={"X-Team": "a b", "authorization": "Bearer x"},
    )


def test_a_filter_of_metadata_names_no_number_that_json_has_not() -> None:
    """NaN equals nothing: such a filter would take no event, and say nothing of it."""
    with pytest.raises(Rejection, match="a value") as refused:
        judged('{"url":"https://example.com/","metadata":{"a":NaN}}')
    assert refused.value.field == "metadata"


@pytest.mark.parametrize(
    "text",
    [
        '{"url":"https://example.com/","url":"https://example.org/"}',
        '{"url":"https://example.com/","events":["*"],"\\u0065vents":["index.task.ready"]}',
        '{"url":"https://example.com/","headers":{"x-a":"1","x-a":"2"}}',
        '{"url":"https://example.com/","x-mine":[{"a":1,"a":1}]}',
    ],
)
def test_a_field_that_is_there_twice_is_refused(text: str) -> None:
    """One parser takes the first, another the last: nobody should have to know which one ours is."""
    with pytest.raises(Rejection, match="twice") as refused:
        judged(text)
    assert_whole(refused.value)


def test_a_field_that_is_there_twice_is_not_shown_where_it_may_hold_a_secret() -> None:
    """Neither its values nor an odd name."""
    with pytest.raises(Rejection, match="twice") as refused:
        judged('{"url":"https://example.com/","whsec_' + CANARY + '":1,"whsec_' + CANARY + '":2}')
    assert CANARY not in refused.value.as_json(0) + str(refused.value)


@pytest.mark.parametrize("name", ["a", "A", "0", "a.b", "a_b-c", "x" * 64, "urls", "url-1"])
def test_a_name_is_a_name(name: str) -> None:
    """Of an endpoint."""
    assert judged({"url": URL}, name=name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "url", "url:0", "a b", "a:b", "-a", ".a", "_a", "a\n", "\na", "a\x00", "a/b", "a,b", "x" * 65, "é", "а", "١",
     "*", "\ud800"],
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    """It becomes part of a key, a label and a list with commas."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL}, name=name)
    assert_whole(refused.value, field="name")


NO_CONCURRENCY: list[Any] = [0, 1_001, "5", True, 1.5, []]
NO_SWITCH: list[Any] = [None, 1, "true", []]
NO_WAIT: list[Any] = [-1, 604_801, "5", True, None]
REFUSED_DEFINITIONS: list[tuple[dict[str, Any], str]] = [
    ({"url": None}, "url"),
    ({"url": 5}, "url"),
    ({"url": ""}, "url"),
    ({"url": "http://example.com/"}, "url"),
    ({"url": "https://127.0.0.1/"}, "url"),
    ({"url": URL + "\n"}, "url"),
    *(({"concurrency": bad}, "concurrency") for bad in NO_CONCURRENCY),
    *(({"rate": bad}, "rate") for bad in ("", "0/s", "10", "10/h", "-1/s", "100000/s", "10/s ")),
    ({"rate": 10}, "rate"),
    *(({"supersede": bad}, "supersede") for bad in NO_SWITCH),
    *(({"handshake": bad}, "handshake") for bad in (True, None, "", "Required", "optional")),
    ({"schedule": []}, "schedule"),
    ({"schedule": [0] * 51}, "schedule"),
    ({"schedule": "0,5"}, "schedule"),
    *(({"schedule": [0, bad]}, "schedule.1") for bad in NO_WAIT),
    ({"url": URL + "x" * 2_048}, "url"),
    ({"events": []}, "events"),
    ({"events": None}, "events"),
    ({"events": "index.task.*"}, "events"),
    ({"events": {"a": 1}}, "events"),
    ({"events": ["*"] * 101}, "events"),
    ({"events": [5]}, "events.0"),
    ({"events": ["*", ""]}, "events.1"),
    ({"tasks": []}, "tasks"),
    ({"tasks": "t1"}, "tasks"),
    ({"tasks": ["*"] * 1_001}, "tasks"),
    ({"tasks": [None]}, "tasks.0"),
    ({"tasks": ["t1", "x" * 201]}, "tasks.1"),
    ({"indexes": []}, "indexes"),
    ({"indexes": ["ix/1"]}, "indexes.0"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {str(n): 1 for n in range(11)}}, "metadata"),
    ({"metadata": {"": 1}}, "metadata"),
    ({"metadata": {"a": []}}, "metadata"),
    ({"metadata": {"a": {"b": 1}}}, "metadata"),
    ({"metadata": {"a": [["b"]]}}, "metadata"),
    ({"metadata": {"a": [1] * 101}}, "metadata"),
    ({"secret": "hunter2"}, "secret"),
    ({"secret": ""}, "secret"),
    ({"secret": 5}, "secret"),
    ({"secret": "whsec_"}, "secret"),
    ({"secret": secret_of(23)}, "secret"),
    ({"secret": secret_of(65)}, "secret"),
    ({"secret": secret_of(32) + "\x00"}, "secret"),
    ({"format": "twelvelabs", "secret": "1234567"}, "secret"),
    ({"format": "twelvelabs", "secret": "x" * 257}, "secret"),
    ({"format": "twelvelabs", "secret": "two words"}, "secret"),
    ({"format": "twelvelabs", "secret": "schlüssel"}, "secret"),
    ({"format": "xml"}, "format"),
    ({"format": "Standard"}, "format"),
    ({"format": None}, "format"),
    ({"ordering": "random"}, "ordering"),
    ({"ordering": "STRICT"}, "ordering"),
    ({"ordering": "first_attempt"}, "ordering"),
    ({"ordering": "strict\n"}, "ordering"),
    ({"ordering": None}, "ordering"),
    ({"ordering": 1}, "ordering"),
    ({"headers": None}, "headers"),
    ({"headers": ["x-a"]}, "headers"),
    ({"headers": {"x-a": 5}}, "headers.x-a"),
    ({"headers": {f"x-{n}": "b" for n in range(11)}}, "headers"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED_DEFINITIONS, ids=lambda change: ascii(change)[:40])
def test_a_definition_is_refused_at_its_field(change: dict[str, Any], field: str) -> None:
    """Each fault is named where it stands."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "secret": secret_of(32), **change})
    assert_whole(refused.value, field=field)


MANY_FAULTS = [
    ({"url": "http://a.example/", "events": [], "rate": "fast"}, ["events", "rate", "url"]),
    ({"url": URL, "secret": "x", "schedule": "often", "concurrency": 0}, ["secret", "concurrency", "schedule"]),
    ({"url": "http://8.8.8.8/", "format": "twelvelabs", "events": ["index.task.*", "analyze.*"]}, ["events", "url"]),
    ({"events": [], "rate": 5}, ["url", "events", "rate"]),
    ({"url": 5, "rate": 5}, ["url", "rate"]),
    ({"url": URL, "rate": 5, "signatures": "v1"}, ["rate", "signatures"]),
    ({"url": URL, "format": "twelvelab", "secret": "revealed by them"}, ["format"]),
]


@pytest.mark.parametrize(("definition", "fields"), MANY_FAULTS, ids=lambda one: ascii(one)[:40])
def test_all_faults_of_a_definition_are_told_at_once(definition: dict[str, Any], fields: list[str]) -> None:
    """The first at its field as ever, the others behind it; what only follows from another fault is not."""
    with pytest.raises(Rejection) as refused:
        judged(definition)
    assert_whole(refused.value, field=fields[0])
    assert re.findall(r"(?:^|; )([a-z_]+): ", str(refused.value)) == fields, str(refused.value)
    assert ".;" not in refused.value.reason


@pytest.mark.parametrize(("signatures", "lacks"), [({}, True), ({"signatures": ["v1a"]}, False)])
def test_a_secret_that_lacks_is_told_with_the_other_faults(signatures: dict[str, Any], lacks: bool) -> None:
    """Where one is needed: it would be the next thing to be refused for."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "rate": 5, **signatures}, has_default_secret=False)
    assert refused.value.field == "rate"
    assert ("; secret: there is no secret to sign with" in refused.value.reason) is lacks


def test_each_fault_is_told_with_what_mends_it() -> None:
    """Not that of the first alone: whoever follows the fix is not refused once more."""
    with pytest.raises(Rejection) as refused:
        judged({"urll": URL, "rate": "5", "concurrency": 0}, has_default_secret=False)
    url, concurrency, rate, secret = refused.value.fix.split("; ")
    assert url == 'url: write "url" instead of "urll", and HSET it again'
    assert concurrency == "concurrency: write a number from 1 to 1000, without quotes"
    assert rate == "rate: write attempts a second or a minute, as 10/s or 300/m"
    assert secret.startswith('secret: add "secret":')
    assert "rate: is no rate, such as 10/s or 300/m" in refused.value.reason
    here = each(refused.value, lambda one: replace(one, fix=not_by_hand(one.fix)))
    assert here.fix.split("; ")[0] == 'url: write "url" instead of "urll"'
    assert here.reason == refused.value.reason


def test_a_definition_full_of_faults_is_refused_in_few_words() -> None:
    """The others are counted."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "events": ["?"] * 100, "rate": "fast"})
    assert_whole(refused.value, field="events.0")
    assert refused.value.reason.count("; events.") == 4
    assert refused.value.reason.endswith("; and 96 more faults")
    assert refused.value.fix == 'events: write a list of event types, as ["index.task.*"]'


@pytest.mark.parametrize(
    "text",
    ["", " ", "nope", "null", "5", "[]", '"x"', "{", '{"url"', "{}", '{"a": 1}', "{'url': 1}", "\x00", "\ufeff{}",
     "\ud800", '{"url":"' + URL + '"} x', "[" * 5_000 + "]" * 5_000, '{"url":' * 2_000, '{"url":"\\ud800"}',
     '{"x":' + "9" * 5_000 + "}",
     '{"url":"' + URL + '","x":"' + "x" * ENDPOINT_BYTES + '"}',
     '{"url":"' + URL + '","x":"' + "😀" * (ENDPOINT_BYTES // 4) + '"}'],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_what_is_no_definition_is_refused(text: str) -> None:
    """Not JSON, not an object, no URL, nested or long beyond reason (in bytes, as it says)."""
    with pytest.raises(Rejection) as refused:
        judged(text)
    assert_whole(refused.value)
    assert refused.value.field in {"", "url"}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"url": "https://example.com/", "events" ["*"]}', "line 1, column 42"),
        ('{"url":\n"https://example.com/",}', "line 2, column 24"),
        ('{"url"', "line 1, column 6"),
    ],
)
def test_a_definition_that_is_no_json_is_told_by_its_position(text: str, where: str) -> None:
    """So that one comma is found in a long definition."""
    with pytest.raises(Rejection) as refused:
        judged(text)
    assert refused.value.reason == f"is not JSON ({where})"


@pytest.mark.parametrize(
    "junk", ["1e999", "-1e999", "9" * 4_000, "NaN", "Infinity", '{"a":{"a":[]}}', "[" * 90 + "]" * 90]
)
def test_an_unknown_field_may_hold_anything_that_can_be_read(junk: str) -> None:
    """It is ignored, so it can do no harm."""
    try:
        assert judged(f'{{"x-mine": {junk}, "url": "{URL}"}}') == Endpoint(name="a", url=URL)
    except Rejection as rejection:
        assert_whole(rejection, field="")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("ulr", True), ("URL", True), ("callback_url", True), ("uri", True), ("team", False), ("events", False),
     ("whsec_url" + "A" * 43, False)],
)  # fmt: skip
def test_a_field_that_is_missing_is_told_by_the_one_that_was_written_for_it(written: str, meant: bool) -> None:
    """How to put quotes around it would not help; what may be a secret in a name's place is not repeated."""
    with pytest.raises(Rejection) as refused:
        endpoint("a", json.dumps({written: ["https://example.com/"]}), Policy(), has_default_secret=True)
    told = (refused.value.field, refused.value.reason.startswith("is missing"), "did you mean" in str(refused.value))
    assert told == ("url", True, meant)
    if meant:
        assert f"the unknown field “{written}” is ignored: did you mean “url”?" in refused.value.reason
        assert f'write "url" instead of "{written}"' in refused.value.fix


@pytest.mark.parametrize(("written", "meant"), [("secrett", True), ("signing_secret", True), ("note", False)])
def test_a_secret_under_a_misspelt_name_is_told_so(written: str, meant: bool) -> None:
    """Its owner needs no new one; and what stands there is not repeated."""
    secret = "whsec_" + "A" * 43
    with pytest.raises(Rejection) as refused:
        endpoint("a", json.dumps({"url": URL, written: secret}), Policy(), has_default_secret=False)
    assert (refused.value.field, "did you mean “secret”" in refused.value.reason) == ("secret", meant)
    assert secret not in str(vars(refused.value))


@pytest.mark.parametrize("pattern", ["*", "a", "index.*", "index.task.*", "index.task.ready", "a_1.B.*"])
def test_an_event_pattern_is_words_and_at_most_a_star_for_the_rest(pattern: str) -> None:
    """Exact, or all below a word."""
    assert judged({"url": URL, "events": [pattern]}).events == (pattern,)


@pytest.mark.parametrize(
    "pattern",
    ["", ".", "..", "a.", ".a", "a..b", "a.*.b", "*.a", "a*", "**", "a.**", "a b", "a-b", "*\n", "index.task.*\n",
     "index.task.ready\n", "\n*", "*\r", "*\x00", "index.task.ready\u2028", "é", "а", "*\nindex.task.ready", "a/b"],
)  # fmt: skip
def test_what_is_no_event_pattern_is_refused(pattern: str) -> None:
    """A `$` that matched before a line end would let through a filter that never matches."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "events": ["*", pattern]})
    assert_whole(refused.value, field="events.1")


@pytest.mark.parametrize("pattern", ["*", "t1", "t1*", "a:b/*", "x" * 200])
def test_a_task_pattern_is_an_id_and_at_most_a_star_at_its_end(pattern: str) -> None:
    """Exact, or a prefix."""
    assert judged({"url": URL, "tasks": [pattern]}).tasks == (pattern,)


@pytest.mark.parametrize(
    "pattern",
    ["", "*a", "a*b", "**", "a b", "a.b", "t1\n", "*\n", "\nt1", "t1\r", "t1\x00", "t1\u2028", "é", "а", "x" * 201,
     "x" * 9_999],
    ids=lambda pattern: ascii(pattern)[:20],
)  # fmt: skip
def test_what_is_no_task_pattern_is_refused(pattern: str) -> None:
    """Among them those with a line end."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "tasks": [pattern]})
    assert_whole(refused.value, field="tasks.0")


@pytest.mark.parametrize("size", [24, 25, 32, 64])
def test_a_secret_stands_for_24_to_64_bytes(size: int) -> None:
    """As Standard Webhooks has it; the size at each end is in."""
    assert judged({"url": URL, "secret": secret_of(size)}, has_default_secret=False).secrets == (secret_of(size),)


@pytest.mark.parametrize("secret", ["!" * 8, "~" * 256, "whsec_test", secret_of(32)])
def test_a_secret_of_twelvelabs_is_any_text(secret: str) -> None:
    """It is theirs: what a receiver knows today is what is taken, wherever in the definition the format stands."""
    for fields in ({"secret": secret, "format": "twelvelabs"}, {"format": "twelvelabs", "secret": secret}):
        made = judged({"url": URL, **fields}, has_default_secret=False)
        assert (made.format, made.secrets) == ("twelvelabs", (secret,))


@pytest.mark.parametrize("fields", [{"format": "twelvelabs", "secret": "short"}, {"secret": 5, "format": "twelvelabs"}])
def test_a_refused_secret_of_twelvelabs_is_made_as_that_format_has_it(fields: dict[str, Any]) -> None:
    """A whsec_… belongs to the other formats, and so does the way to make one."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, **fields})
    assert ("openssl rand -hex 32" in refused.value.fix, "whsec_" in refused.value.fix) == (True, False)
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, **fields, "format": "standard"})
    assert 'echo "whsec_$(openssl rand -base64 32)"' in refused.value.fix


def test_a_refused_secret_of_twelvelabs_is_not_shown() -> None:
    """It has no form by which it could be struck out afterwards."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "format": "twelvelabs", "secret": f"{CANARY} {CANARY}"})
    assert CANARY not in refused.value.as_json(0) + str(refused.value) + refused.value.fix


@pytest.mark.parametrize("pattern", ["other.*", "index.task.status.*", "index.task.ready.*"])
def test_a_star_that_stands_for_nothing_in_a_format_is_refused(pattern: str) -> None:
    """Silence for ever is a mistake; `standard` takes types that are yet to come."""
    assert judged({"url": URL, "events": [pattern]}).events == (pattern,)
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "format": "twelvelabs", "events": ["*", pattern]})
    assert_whole(refused.value, field="events")
    assert refused.value.value == pattern


@pytest.mark.parametrize("definition", [{"url": URL}, {"url": URL, "secret": None}])
def test_without_any_secret_an_endpoint_is_refused(definition: dict[str, Any]) -> None:
    """Unsigned is not an option; the fix names both ways out."""
    assert judged(definition, has_default_secret=True).secrets == ()
    with pytest.raises(Rejection) as refused:
        judged(definition, has_default_secret=False)
    assert_whole(refused.value, field="secret")
    assert "BRIDGE_DELIVERY_DEFAULT_SECRET" in refused.value.fix


@pytest.mark.parametrize("names", [["v1"], ["v1a"], ["v1", "v1a"], ["v1a", "v1"]])
def test_an_endpoint_says_what_is_to_sign(names: list[str]) -> None:
    """The order in which it is written means nothing."""
    text = json.dumps({"url": URL, "secret": secret_of(32), "signatures": names})
    made = endpoint("a", text, STRICT, has_default_secret=False, has_signing_key=True)
    assert made.signatures == tuple(sorted(names))
    assert judged({"url": URL}).signatures == ("v1",)


def test_a_signature_that_only_our_key_makes_needs_no_secret() -> None:
    """And one that the secret makes does, whatever else signs."""
    text = json.dumps({"url": URL, "signatures": ["v1a"]})
    assert endpoint("a", text, STRICT, has_default_secret=False, has_signing_key=True).secrets == ()
    both = json.dumps({"url": URL, "signatures": ["v1", "v1a"]})
    with pytest.raises(Rejection) as refused:
        endpoint("a", both, STRICT, has_default_secret=False, has_signing_key=True)
    assert_whole(refused.value, field="secret")


@pytest.mark.parametrize("names", [["v1a"], ["v1", "v1a"]])
def test_without_a_key_no_endpoint_gets_what_only_a_key_makes(names: list[str]) -> None:
    """It is refused where it is written, with the command that makes one; never sent with less than it asked for."""
    with pytest.raises(Rejection, match="BRIDGE_SIGNING_KEY is not set") as refused:
        judged({"url": URL, "signatures": names})
    assert_whole(refused.value, field="signatures")
    assert "bridge key new" in refused.value.fix


@pytest.mark.parametrize(
    ("names", "field"),
    [
        ([], "signatures"), (["v1", "v1"], "signatures"), ("v1", "signatures"), (None, "signatures"),
        ({"v1": 1}, "signatures"), (["v2"], "signatures.0"), (["v1", "V1A"], "signatures.1"), ([1], "signatures.0"),
        ([["v1"]], "signatures.0"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_signatures_is_refused(names: Any, field: str) -> None:
    """With the lists that there are."""
    text = json.dumps({"url": URL, "signatures": names})
    with pytest.raises(Rejection) as refused:
        endpoint("a", text, STRICT, has_default_secret=True, has_signing_key=True)
    assert_whole(refused.value, field=field)
    assert '["v1","v1a"]' in refused.value.fix


def test_the_format_of_twelvelabs_has_its_own_signature_alone() -> None:
    """Receivers of theirs would not look at another one."""
    text = json.dumps({"url": URL, "format": "twelvelabs", "signatures": ["v1", "v1a"]})
    with pytest.raises(Rejection, match="as with TwelveLabs") as refused:
        endpoint("a", text, STRICT, has_default_secret=True, has_signing_key=True)
    assert_whole(refused.value, field="signatures")


@pytest.mark.parametrize("form", ["standard", "cloudevents", "cloudevents-binary"])
def test_each_format_of_ours_takes_one_secret_and_every_event(form: str) -> None:
    """Standard Webhooks' own; and what befalls endpoints can be told in all of them."""
    made = judged({"url": URL, "format": form, "events": ["*", "bridge.endpoint.*"], "secret": secret_of(32)})
    assert (made.format, made.secrets) == (form, (secret_of(32),))
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "format": form, "secret": "what-twelvelabs-reveals"})
    assert_whole(refused.value, field="secret")


@pytest.mark.parametrize("ordering", list(Ordering))
def test_each_ordering_can_be_chosen(ordering: Ordering) -> None:
    """By its word."""
    assert judged({"url": URL, "ordering": str(ordering)}).ordering is ordering


@pytest.mark.parametrize(
    "name",
    ["Host", "host", "Content-Length", "content-type", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade",
     "Expect", "Cookie", "Keep-Alive", "User-Agent", "traceparent", "accept-encoding", "Proxy-Authorization",
     "Webhook-Id", "webhook-signature", "webhook-anything", "X-Forwarded-For", "Forwarded", "X-Real-IP", "Via",
     "Bridge-Attempt", "bridge-trigger", "TL-Signature", "ce-id", "Ce-Anything"],
)  # fmt: skip
def test_the_bridges_own_headers_are_reserved(name: str) -> None:
    """Whatever the case: framing, routing, signing, and what a receiver behind us would believe about the sender."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "headers": {name: "x"}})
    assert_whole(refused.value, field="headers")
    assert name.lower() in refused.value.reason


@pytest.mark.parametrize(
    "headers",
    [{"": "x"}, {" x": "b"}, {"x a": "b"}, {"x:": "b"}, {"x\n": "b"}, {"x\r\ny": "b"}, {"x\x00": "b"}, {"é": "b"},
     {"x" * 65: "b"}, {"(x)": "b"}, {"x-a": "b\n"}, {"x-a": "b\r\nc: d"}, {"x-a": "\x00"}, {"x-a": "é"}, {"x-a": "\t"},
     {"x-a": "\x7f"}, {"x-a": "b" * 1_025}],
    ids=lambda headers: ascii(headers)[:20],
)  # fmt: skip
def test_a_header_that_http_does_not_allow_is_refused(headers: dict[str, str]) -> None:
    """Nobody writes a second header, or a second request, into the first."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "headers": headers})
    assert_whole(refused.value, field="headers")


NAMES = st.one_of(
    st.text("abcXYZ019!#$%&'*+.^_`|~-: \r\n", max_size=9),
    st.sampled_from(["te", "TE", "proxy-x", "keep-alive", "host", "connection", "x-team", "authorization", "expect"]),
)


@given(st.dictionaries(NAMES, st.text("ab \t\r\n\0~é", max_size=9), min_size=1, max_size=3))
def test_headers_that_are_registered_can_be_sent(headers: dict[str, str]) -> None:
    """Whatever registration lets through, the transport puts on the wire as just these lines."""
    try:
        registered = judged({"url": URL, "headers": headers}).headers
    except Rejection:
        return
    sent = Request("POST", Origin("https", "example.com", 443), "/", [*registered.items()]).encode()
    lines = sent.decode("ascii").split("\r\n")
    assert lines[:2] == ["POST / HTTP/1.1", "Host: example.com"]
    assert lines[2 : 2 + len(headers)] == [f"{name}: {value}" for name, value in headers.items()]
    assert lines[2 + len(headers) :] == ["Accept-Encoding: identity", "Content-Length: 0", "", ""]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["url", "events", "tasks", "indexes", "metadata", "secret", "format", "ordering", "headers", "x-mine"]
DEFINITIONS = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from([URL, ["*"], secret_of(24), "strict"]))


@given(
    DEFINITIONS.map(json.dumps)
    | DEFINITIONS.map(lambda definition: json.dumps({**definition, "url": URL}, ensure_ascii=False))
    | st.text(st.characters())
    | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.sampled_from(["a"]) | st.text(st.characters(), max_size=10),
    st.booleans(),
)
def test_nothing_written_as_an_endpoint_raises_anything_else(text: str, name: str, has_default_secret: bool) -> None:
    """P10: an endpoint or a Rejection, for any text."""
    try:
        made = endpoint(name, text, LOCAL, has_default_secret=has_default_secret)
    except Rejection as rejection:
        assert_whole(rejection)
    else:
        assert LOCAL.judge_url(made.url).allowed
        assert made.secrets or has_default_secret


@pytest.mark.parametrize("pattern", ["analyze.task.ready", "analyze.task.*"])
def test_analyses_cannot_be_told_in_the_format_twelvelabs(pattern: str) -> None:
    """TwelveLabs tells them in other fields, which existing receivers expect."""
    with pytest.raises(Rejection, match="other fields") as refused:
        judged({"url": URL, "format": "twelvelabs", "events": ["index.task.*", pattern]})
    assert_whole(refused.value, field="events")
    assert judged({"url": URL, "events": [pattern]}).events == (pattern,)


@pytest.mark.parametrize("pattern", ["bridge.endpoint.failing", "bridge.endpoint.*"])
def test_what_befalls_an_endpoint_cannot_be_told_in_the_format_twelvelabs(pattern: str) -> None:
    """It has no words for it: taken in, such a delivery could never be written, and would wait for ever."""
    with pytest.raises(Rejection, match="no words") as refused:
        judged({"url": URL, "format": "twelvelabs", "events": ["index.task.*", pattern]})
    assert_whole(refused.value, field="events")
    assert judged({"url": URL, "events": [pattern]}).events == (pattern,)


# -- what a refusal shows (P8) --


@pytest.mark.parametrize(
    "definition",
    [
        {"secret": f"whsec_{CANARY}", "url": 5},
        {"secret": f"whsec_{CANARY}!", "url": URL},
        {"secret": CANARY + "!", "url": URL},
        {"secret": [CANARY], "url": URL},
        {"secret": {CANARY: CANARY}, "url": URL},
        {"url": URL, "headers": {"authorization": CANARY, "host": "x"}},
        {"url": URL, "headers": {"authorization": [CANARY]}},
        {"url": URL, "headers": {"authorization": CANARY + "\n"}},
        {"url": URL, "headers": {f"Authorization: Bearer {CANARY}": 5}},
        {"url": URL, "headers": f"Authorization: Bearer {CANARY}"},
        {"url": URL, "headers": {"authorization": CANARY}, "events": []},
        {"url": f"https://u:{CANARY}@example.com/"},
        {"url": f"https://u:{CANARY}@{CANARY}@example.com/"},
        {"url": f"https://u:x/{CANARY}@example.com/"},
        {"url": f"https://u:{CANARY}'x@example.com/"},
        {"url": f'https://u:{CANARY}"x@example.com/'},
        {"url": f"https://u:{CANARY} x@example.com/"},
        {"url": f"https://u:x\n{CANARY}@example.com/"},
        {"url": f"https://example.com/?token=x {CANARY}"},
        {"url": f"https://example.com/?token=x\n{CANARY}"},
        {"url": f"https://u:{CANARY} x@example.com/" + "x" * 2_048},
        {"url": f"https://u:x?{CANARY}@example.com/"},
        {"url": f"https://u:x#{CANARY}@example.com/"},
        {"url": f"https:\\\\u:{CANARY}@example.com/"},
        {"url": f"u:{CANARY}@example.com/"},
        {"url": f"http://example.com/?token={CANARY}"},
        {"url": f"http://example.com/?email=a@b.c&token={CANARY}"},
        {"url": f"http://example.com/#{CANARY}"},
        {"url": f"http://example.com?a=/@?token={CANARY}"},
        {"url": URL, "events": [f"whsec_{CANARY}!"]},
    ],
    ids=lambda definition: json.dumps(definition).replace(CANARY, "…")[:60],
)
def test_a_refused_definition_shows_no_secret(definition: dict[str, Any]) -> None:
    """Neither a signing secret nor a header nor what a URL hides, in no part of the entry."""
    with pytest.raises(Rejection) as refused:
        judged(definition)
    assert_whole(refused.value)
    assert CANARY not in refused.value.as_json(0) + str(refused.value) + repr(refused.value.__cause__)


@pytest.mark.parametrize("text", ['{"secret": "' + CANARY, '{"url": "' + URL + '", "secret": "' + CANARY + '" "'])
def test_a_definition_that_is_no_json_is_not_shown(text: str) -> None:
    """A secret may stand anywhere in it."""
    with pytest.raises(Rejection) as refused:
        judged(text)
    assert CANARY not in refused.value.as_json(0) + str(refused.value)


def test_a_refused_name_of_a_header_is_bounded() -> None:
    """The entry stays short, however long the name."""
    with pytest.raises(Rejection) as refused:
        judged({"url": URL, "headers": {"x" * 10_000: 5}})
    assert_whole(refused.value, field="headers")


FIELDS = [name for name in EndpointDefinition.model_fields if name not in {"url", "secret"}]


@pytest.mark.parametrize("field", [*FIELDS, "x-token"])
@pytest.mark.parametrize("shape", ["plain", "list", "name", "value", "old secret"])
def test_a_signing_secret_in_any_field_is_shown_nowhere(field: str, shape: str) -> None:
    """P8: typed into the wrong place, as a value or as a name, it stands in no part of `bridge:rejected`."""
    secret = f"whsec_{CANARY}.x"
    value = {
        "plain": secret, "list": [secret], "name": {secret: [1]}, "value": {"a": {"b": secret}},
        "old secret": [{"secret": secret, "until": secret}],
    }[shape]  # fmt: skip
    text = json.dumps({"url": "https://example.com/", "secret": generate_secret(bytes(32)), field: value})
    assert CANARY not in refusal(text)


def refusal(text: str) -> str:
    """What stands in `bridge:rejected` for this definition; nothing for one that is none of its errors."""
    try:
        endpoint("a", text, Policy(), has_default_secret=True)
    except Rejection as rejection:
        return rejection.as_json(0)
    return ""
