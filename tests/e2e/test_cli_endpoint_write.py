"""`bridge endpoint set` and `rotate`: changed in one place, against whoever else writes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from owing import DEAD, announce, claim, settle
from redis import Redis

from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
SECRET, OTHER = (generate_secret(bytes([number]) * 32) for number in (1, 2))
WRITTEN = {"url": f"{URL}?key=hidden", "secret": SECRET, "headers": {"x-team": "video"}, "x-mine": [1], "tasks": ["a*"]}


def written(client: "Redis", name: str = "billing") -> dict[str, Any]:
    """An endpoint's definition as it stands."""
    found: dict[str, Any] = json.loads(str(client.hget("bridge:endpoints", name)))
    return found


def in_force(client: "Redis", name: str = "billing") -> dict[str, Any]:
    """The same, as workers have it."""
    found: dict[str, Any] = json.loads(str(client.hget("bridge:registry", name)))
    return found


@pytest.fixture
def billing(bridge: Bridge, client: "Redis") -> None:
    """An endpoint that somebody wrote by hand, and which was taken in."""
    assert bridge("endpoint", "add", "billing", URL)[0] == 0
    client.hset("bridge:endpoints", "billing", json.dumps(WRITTEN))
    assert bridge("endpoint", "set", "billing", "--ordering", "strict")[0] == 0


@pytest.mark.usefixtures("billing")
def test_only_what_is_named_changes(bridge: Bridge, client: "Redis") -> None:
    """The rest stays as it was written, a user's own fields, too; it is in force at once, and what changed is said."""
    code, out, _ = bridge("endpoint", "set", "billing", "--url", f"{URL}/2", "--events", "index.task.ready", "--json")
    assert (code, json.loads(out)) == (
        0,
        [
            {"field": "url", "before": f"{URL}?…", "after": f"{URL}/2"},
            {"field": "events", "before": "index.task.*", "after": "index.task.ready"},
        ],
    )
    now = WRITTEN | {"url": f"{URL}/2", "events": ["index.task.ready"], "ordering": "strict"}
    assert written(client) == now
    assert (in_force(client)["url"], in_force(client)["headers"]) == (f"{URL}/2", {"x-team": "video"})
    code, out, told = bridge("endpoint", "set", "billing", "--url", f"{URL}/2", "--json")
    assert (code, json.loads(out), "nothing was written" in told) == (0, [], True)


@pytest.mark.usefixtures("billing")
def test_what_a_url_hides_is_not_shown_where_only_that_changes(bridge: Bridge) -> None:
    """P8: and the row says that it did."""
    code, out, told = bridge("endpoint", "set", "billing", "--url", f"{URL}?key=secret-too")
    assert (code, "what is hidden" in out) == (0, True)
    assert "key=" not in out + told


@pytest.mark.usefixtures("billing")
@pytest.mark.parametrize(
    "words",
    [
        (), ("--url", "http://10.0.0.1/"), ("--url", "https://u:do-not-repeat@example.com/"), ("--events", "a..b"),
        ("--tasks", "?"), ("--ordering", "random"), ("--format", "xml"), ("--url", "\x1b[2J"),
    ],
)  # fmt: skip
def test_a_bad_change_is_refused_and_not_written(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """Judged as `add` does: exit code 2, what failed, what to do."""
    before = client.hgetall("bridge:endpoints")
    code, out, told = bridge("endpoint", "set", "billing", *words)
    assert (code, client.hgetall("bridge:endpoints")) == (2, before)
    assert "→" in told or "Try" in told
    assert "do-not-repeat" not in out + told
    assert "\x1b" not in out + told


@pytest.mark.parametrize("verb", [("set", "--ordering", "none"), ("rotate",)])
def test_what_has_no_definition_is_said(bridge: Bridge, client: "Redis", verb: tuple[str, ...]) -> None:
    """Nobody of that name; a task's callback_url; what somebody wrote over."""
    name, *options = verb
    assert bridge("endpoint", name, "nobody", *options)[0] == 3
    client.hset("bridge:registry", "url:0123", json.dumps({"url": URL}))
    code, _, told = bridge("endpoint", name, "url:0123", *options)
    assert (code, "callback_url" in told) == (2, True)
    client.hset("bridge:endpoints", "broken", "{")
    code, _, told = bridge("endpoint", name, "broken", *options)
    assert (code, "bridge endpoint add broken URL --replace" in told) == (2, True)
    assert client.hget("bridge:endpoints", "broken") == "{"


@pytest.mark.usefixtures("billing")
def test_of_two_writers_none_overwrites_the_other(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes between our reading and our writing: it is read again, and both changes stand."""
    from bridge.cli import defining

    judged, once = defining.check, list[bool]()

    def meanwhile(*given: Any) -> None:
        judged(*given)
        if not once:
            once.append(True)
            client.hset("bridge:endpoints", "billing", json.dumps(WRITTEN | {"events": ["index.task.failed"]}))

    monkeypatch.setattr(defining, "check", meanwhile)
    assert bridge("endpoint", "set", "billing", "--tasks", "b*")[0] == 0
    assert written(client) == WRITTEN | {"events": ["index.task.failed"], "tasks": ["b*"]}
    monkeypatch.setattr(defining, "check", lambda *_: client.hset("bridge:endpoints", "billing", json.dumps(
        WRITTEN | {"x-count": time.monotonic_ns()}
    )))  # fmt: skip
    code, _, told = bridge("endpoint", "set", "billing", "--tasks", "c*")
    assert (code, "see who writes bridge:endpoints" in told) == (1, True)


@pytest.mark.usefixtures("billing")
def test_a_change_says_what_it_did_to_a_disabled_endpoint(bridge: Bridge, client: "Redis", redis_url: str) -> None:
    """One that the bridge disabled is active again; an operator's hold stays."""
    announce(redis_url, "a1", "ready")
    client.hset("bridge:endpoint:billing", mapping={"state": "disabled", "reason": "gone"})
    client.zrem("bridge:ready", "billing")
    code, _, told = bridge("endpoint", "set", "billing", "--url", f"{URL}/2")
    assert (code, "It was disabled (gone); written anew, it is active" in told) == (0, True)
    assert len(claim(redis_url)) == 1
    bridge("endpoint", "disable", "billing")
    code, _, told = bridge("endpoint", "set", "billing", "--url", f"{URL}/3")
    assert (code, "disabled still (operator) → bridge endpoint enable billing" in told) == (0, True)


@pytest.mark.usefixtures("billing")
def test_a_rotated_secret_is_printed_once_and_the_old_one_goes_on(bridge: Bridge, client: "Redis") -> None:
    """For a day; nothing shows either of them again, and of a second rotation all three sign."""
    before = time.time()
    code, out, told = bridge("endpoint", "rotate", "billing", "--json")
    row, now = json.loads(out), written(client)
    assert (code, now["secret"], now["x-mine"]) == (0, row["secret"], [1])
    assert "shown this once" in told
    (old,) = now["previous_secrets"]
    assert (old["secret"], before + 86_399 < old["until"] < time.time() + 86_401) == (SECRET, True)
    assert in_force(client)["previous_secrets"] == now["previous_secrets"]
    for words in (("show", "billing"), ("show", "billing", "--json"), ("ls",), ("ls", "--json")):
        said = "".join(map(str, bridge("endpoint", *words)))
        assert row["secret"] not in said
        assert SECRET not in said
    assert json.loads(bridge("endpoint", "show", "billing", "--json")[1])["old_secret_until_at"]
    assert SECRET not in bridge("export")[1]
    assert bridge("endpoint", "rotate", "billing", "--overlap", "1h", "-o", "ids")[1] == "billing\n"
    assert [one["secret"] for one in written(client)["previous_secrets"]] == [row["secret"], SECRET]
    bridge("endpoint", "add", "billing", URL, "--replace")
    assert len(written(client)["previous_secrets"]) == 2


@pytest.mark.usefixtures("billing")
def test_after_a_leak_nothing_old_signs_any_more(bridge: Bridge, client: "Redis", tmp_path: Path) -> None:
    """`--overlap 0`, with a secret of one's own, which is not printed."""
    file = tmp_path / "new"
    file.write_text(OTHER)
    file.chmod(0o600)
    bridge("endpoint", "rotate", "billing")
    code, out, told = bridge("endpoint", "rotate", "billing", "--secret-file", str(file), "--overlap", "0")
    assert (code, OTHER in out + told, "Nothing old signs any more." in told) == (0, False, True)
    assert written(client) == WRITTEN | {"ordering": "strict", "secret": OTHER}
    code, _, told = bridge("endpoint", "rotate", "billing", "--secret-file", "-", stdin=OTHER.encode())
    assert (code, "the endpoint has" in told, OTHER in told) == (2, True, False)
    code, _, told = bridge("endpoint", "rotate", "billing", "--secret-file", "-", stdin=b"whsec_doNotRepeat!")
    assert (code, "doNotRepeat" in told) == (2, False)


@pytest.mark.usefixtures("billing")
def test_a_rotation_has_its_bounds(bridge: Bridge, client: "Redis") -> None:
    """So many at a time, so long, and none beside the default secret, which is the operator's."""
    for _ in range(3):
        assert bridge("endpoint", "rotate", "billing")[0] == 0
    before = written(client)
    code, _, told = bridge("endpoint", "rotate", "billing")
    assert (code, "--overlap 0" in told, written(client)) == (2, True, before)
    for overlap in ("31d", "soon", "-1h"):
        assert bridge("endpoint", "rotate", "billing", "--overlap", overlap)[0] == 2
    for one in before["previous_secrets"]:
        one["until"] = 1
    client.hset("bridge:endpoints", "billing", json.dumps(before))
    bridge("endpoint", "set", "billing", "--ordering", "none")
    assert "previous_secrets" not in written(client)


@pytest.mark.usefixtures("billing")
def test_a_receiver_of_twelvelabs_webhooks_changes_over_at_once(bridge: Bridge, client: "Redis") -> None:
    """One secret signs at a time there, and it may be any text; what is refused is not repeated."""
    assert bridge("endpoint", "set", "billing", "--format", "twelvelabs")[0] == 0
    code, _, told = bridge("endpoint", "rotate", "billing")
    assert (code, "--overlap 0" in told, written(client)["secret"]) == (2, True, SECRET)
    words = ("endpoint", "rotate", "billing", "--overlap", "0", "--secret-file", "-")
    assert bridge(*words, stdin=b"what-TwelveLabs-reveals")[0] == 0
    assert in_force(client)["secrets"] == ["what-TwelveLabs-reveals"]
    code, _, told = bridge(*words, stdin=b"what-TwelveLabs-reveals")
    assert (code, "the endpoint has" in told, "reveals" in told) == (2, True, False)
    code, out, told = bridge("endpoint", "set", "billing", "--format", "standard")
    assert (code, "reveals" in out + told) == (2, False)


def test_a_rotation_from_the_default_secret_is_a_clean_cut(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to be asked for by name."""
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", SECRET)
    client.hset("bridge:endpoints", "billing", json.dumps({"url": URL}))
    assert bridge("endpoint", "set", "billing", "--ordering", "strict")[0] == 0
    code, _, told = bridge("endpoint", "rotate", "billing")
    assert (code, "--overlap 0" in told, "secret" in written(client)) == (2, True, False)
    assert bridge("endpoint", "rotate", "billing", "--overlap", "0")[0] == 0
    assert len(in_force(client)["secrets"]) == 1


def test_a_field_that_is_written_as_it_was_meant_ends_the_misspelt_one(bridge: Bridge, client: "Redis") -> None:
    """By the command that doctor has for it, which then finds nothing to say of it any more."""
    text = json.dumps(
        {"url": URL, "secret": generate_secret(bytes(32)), "event": ["index.task.ready"], "x-note": "mine"}
    )
    client.hset("bridge:endpoints", "a", text)
    found = {row["found"]: row["fix"] for row in json.loads(bridge("doctor", "--json")[1])}
    fix = found["a: the unknown field “event” is ignored: did you mean “events”?"]
    assert fix == "bridge endpoint set a --events index.task.ready"
    assert bridge(*fix.split()[1:])[0] == 0
    definition = json.loads(client.hget("bridge:endpoints", "a") or "")
    assert (definition["events"], "event" in definition, definition["x-note"]) == (["index.task.ready"], False, "mine")
    assert "did you mean" not in bridge("doctor")[1]


@pytest.mark.usefixtures("billing")
def test_dead_letters_are_not_brought_back_by_another_place(bridge: Bridge, redis_url: str) -> None:
    """What was held is due, what is dead is not: who mends an endpoint so is told of it."""
    announce(redis_url, "a1", "ready")
    settle(redis_url, DEAD)
    told = bridge("endpoint", "set", "billing", "--url", URL + "2")[2]
    assert "1 is dead; once it takes events, to have them owed again → bridge endpoint recover billing" in told
    assert "bridge endpoint recover billing" in bridge("endpoint", "rotate", "billing")[2]
