"""`bridge endpoint` on a real Redis: add, ls, show, rm."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from owing import take_in
from redis import Redis

from bridge.signature import generate_secret

Bridge = Callable[..., tuple[int, str, str]]
URL = "http://127.0.0.1:9/hook"
SECRET = generate_secret(bytes(range(32)))


def written(client: "Redis", name: str) -> dict[str, object]:
    """An endpoint's definition as a client wrote it."""
    found: dict[str, object] = json.loads(str(client.hget("bridge:endpoints", name)))
    return found


def test_an_endpoint_is_in_force_at_once(bridge: Bridge, client: "Redis") -> None:
    """A secret is made and printed once; the definition is the contract's; nothing shows the secret again."""
    words = ("--events", "index.task.ready,index.task.failed", "--tasks", "a*", "--ordering", "strict")
    code, out, told = bridge("endpoint", "add", "billing", f"{URL}?token=hidden", *words, "--json")
    made = json.loads(out)
    assert (code, made["endpoint"], made["url"]) == (0, "billing", f"{URL}?…")
    assert "Copy the secret" in told
    assert written(client, "billing") == {
        "url": f"{URL}?token=hidden",
        "events": ["index.task.ready", "index.task.failed"],
        "tasks": ["a*"],
        "format": "standard",
        "ordering": "strict",
        "secret": made["secret"],
    }
    assert client.hget("bridge:endpoint:billing", "state") == "active"
    for look in ("show billing", "show billing --json", "ls", "ls --json", "ls -o ids"):
        code, out, _ = bridge("endpoint", *look.split())
        assert (code, "billing" in out) == (0, True)
        assert made["secret"] not in out
        assert "hidden" not in out


def test_a_table_says_what_the_secret_is_for(bridge: Bridge) -> None:
    """The secret on stdout, labelled; what to do with it on stderr."""
    code, out, told = bridge("endpoint", "add", "a", URL)
    label, secret = out.splitlines()[-1].split()
    assert (code, label, secret[:6]) == (0, "secret", "whsec_")
    assert secret not in told


def test_a_secret_comes_from_a_file_or_standard_input(bridge: Bridge, client: "Redis", tmp_path: Path) -> None:
    """Such a secret is not printed; one that cannot be used is not repeated either."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    code, out, told = bridge("endpoint", "add", "a", URL, "--secret-file", "secret")
    assert (code, SECRET in out + told, written(client, "a")["secret"]) == (0, False, SECRET)
    code, out, told = bridge("endpoint", "add", "b", URL, "--secret-file", "-", stdin=SECRET.encode())
    assert (code, SECRET in out + told, written(client, "b")["secret"]) == (0, False, SECRET)
    assert "it keeps its secret" in bridge("endpoint", "add", "b", URL)[2]
    assert "the secret of that file signs then" in bridge("endpoint", "add", "b", URL, "--secret-file", "secret")[2]
    for text in (b"", b"whsec_short", b"\xff\xfe", b"two words", b"whsec_doNotRepeatThis!"):
        file.write_bytes(text)
        code, out, told = bridge("endpoint", "add", "c", URL, "--secret-file", "secret")
        assert (code, "→" in told) == (2, True)
        assert "doNotRepeatThis" not in out + told
        assert bridge("endpoint", "add", "c", URL, "--secret-file", "-", stdin=text)[0] == 2
    assert bridge("endpoint", "add", "c", URL, "--secret-file", "nowhere")[0] == 2
    assert not client.hexists("bridge:endpoints", "c")


def test_the_default_secret_signs_where_it_is_asked_for(
    bridge: Bridge, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is made or written; an endpoint's own goes; without a default secret there is nothing to sign with."""
    code, _, told = bridge("endpoint", "add", "a", URL, "--default-secret")
    assert (code, "BRIDGE_DELIVERY_DEFAULT_SECRET" in told) == (2, True)
    assert bridge("endpoint", "add", "a", URL)[0] == 0
    monkeypatch.setenv("BRIDGE_DELIVERY_DEFAULT_SECRET", SECRET)
    code, out, told = bridge("endpoint", "add", "a", URL, "--default-secret", "--replace")
    assert (code, "secret" in out + told, "secret" in written(client, "a")) == (0, False, False)
    assert bridge("endpoint", "add", "b", URL, "--default-secret", "--secret-file", "f")[0] == 2


def test_a_secret_of_twelvelabs_is_taken_as_it_is(bridge: Bridge, client: "Redis") -> None:
    """With --format twelvelabs any text; it is shown nowhere, and what is wrong says which format it is for."""
    theirs, words = b"tlwh-hidden/theirs", ("endpoint", "add", "old", URL, "--secret-file", "-")
    code, _, told = bridge(*words, stdin=theirs)
    assert (code, "format twelvelabs" in told, "hidden" in told) == (2, True, False)
    code, out, told = bridge(*words, "--format", "twelvelabs", stdin=theirs)
    assert (code, "hidden" in out + told) == (0, False)
    assert (written(client, "old")["format"], written(client, "old")["secret"]) == ("twelvelabs", theirs.decode())
    for look in ("endpoint show old", "endpoint ls --json", "export"):
        code, out, told = bridge(*look.split())
        assert (code, "hidden" in out + told) == (0, False)
    assert json.loads(bridge("endpoint", "show", "old", "--json")[1])["secret"] == "its own"
    code, _, told = bridge("endpoint", "add", "old", URL, "--replace")
    assert (code, "format twelvelabs" in told, "hidden" in told) == (2, True, False)
    for bad in (b"short", b"two hidden words", "schl\u00fcssel-hidden".encode()):
        code, _, told = bridge(*words, "--format", "twelvelabs", "--replace", stdin=bad)
        assert (code, "8 to 256" in told, "hidden" in told) == (2, True, False)
    assert written(client, "old")["secret"] == theirs.decode()


def test_a_secret_made_for_twelvelabs_says_what_its_key_is(bridge: Bridge) -> None:
    """A receiver that decodes it, as another standard has it, would refuse everything."""
    assert "whsec_ included" in bridge("endpoint", "add", "a", URL, "--format", "twelvelabs")[2]
    assert "whsec_ included" not in bridge("endpoint", "add", "b", URL)[2]


def test_a_filter_that_takes_nothing_in_its_format_is_refused(bridge: Bridge, client: "Redis") -> None:
    """What would be silent for ever."""
    words = ("endpoint", "add", "a", URL, "--format", "twelvelabs", "--events", "index.task.status.*")
    code, _, told = bridge(*words)
    assert (code, "index.task.failed and index.task.ready" in told, "→" in told) == (2, True, True)
    assert not client.hexists("bridge:endpoints", "a")
    assert bridge(*words[:-1], "index.task.indexing,index.task.*")[0] == 0


def test_an_endpoint_is_not_overwritten_by_accident(bridge: Bridge, client: "Redis") -> None:
    """A second `add` says so; --replace writes it anew, and its secret stays unless one is given."""
    bridge("endpoint", "add", "a", URL, "--events", "index.task.ready")
    before = written(client, "a")
    code, _, told = bridge("endpoint", "add", "a", f"{URL}2")
    assert (code, "--replace" in told, written(client, "a")) == (2, True, before)
    code, out, _ = bridge("endpoint", "add", "a", f"{URL}2", "--replace", "--json")
    assert (code, "secret" in json.loads(out)) == (0, False)
    after = written(client, "a")
    assert (after["url"], after["events"], after["secret"]) == (f"{URL}2", ["index.task.*"], before["secret"])
    bridge("endpoint", "add", "a", URL, "--replace", "--secret-file", "-", stdin=SECRET.encode())
    assert written(client, "a")["secret"] == SECRET
    assert json.loads(str(client.hget("bridge:registry", "a")))["url"] == URL


@pytest.mark.parametrize(
    "words",
    [
        ("a", "http://10.0.0.1/"),
        ("a", "https://user:do-not-repeat@example.com/"),
        ("a b", URL),
        ("url", URL),
        ("a\x1b[2J", URL),
        ("a", "\x1b[2J"),
        ("a", URL, "--format", "xml"),
        ("a", URL, "--ordering", "random"),
        ("a", URL, "--events", "a..b"),
        ("a", URL, "--tasks", "?"),
    ],
)
def test_bad_input_is_refused_with_its_fix(bridge: Bridge, client: "Redis", words: tuple[str, ...]) -> None:
    """P10: exit code 2, what failed and what to do, nothing registered, no control character repeated."""
    code, out, told = bridge("endpoint", "add", *words)
    assert code == 2
    assert "→" in told or "Try" in told
    assert "\x1b" not in out + told
    assert "do-not-repeat" not in out + told
    assert client.exists("bridge:endpoints", "bridge:registry") == 0


def test_adding_one_judges_no_other_entry(bridge: Bridge, client: "Redis") -> None:
    """The CLI may run with other settings than the workers: what it would refuse stays for them to judge."""
    client.hset("bridge:endpoints", "theirs", json.dumps({"url": "https://example.com/", "events": ["*"]}))
    client.hset("bridge:task:t1", "callback_url", "https://example.com/")
    client.zadd("bridge:tasks", {"t1": 0})
    assert bridge("endpoint", "add", "mine", URL)[0] == 0
    assert bridge("endpoint", "rm", "mine")[0] == 0
    assert client.hkeys("bridge:endpoints") == ["theirs"]
    assert client.zscore("bridge:tasks", "t1") == 0
    assert client.exists("bridge:rejected") == 0
    (row,) = json.loads(bridge("endpoint", "ls", "--json")[1])
    assert (row["endpoint"], row["state"]) == ("theirs", "waiting")


def test_what_is_owed_is_cancelled_and_counted(bridge: Bridge, client: "Redis") -> None:
    """`rm` says how many; a name that is not there is 6 among others and 3 alone."""
    bridge("endpoint", "add", "a", URL)
    record = {"task": "t1", "type": "index.task.ready", "revision": "1", "created": 1, "attempts": 0}
    for event_id, state in (("evt_1", "pending"), ("evt_2", "pending"), ("evt_3", "delivered")):
        client.hset("bridge:deliveries:a", event_id, json.dumps({**record, "state": state}))
    client.zadd("bridge:queue:a", {"evt_1": 4e12, "evt_2": 4e12})
    client.zadd("bridge:done:a", {"evt_3": 2})
    (row,) = json.loads(bridge("endpoint", "ls", "--json")[1])
    assert (row["pending"], row["delivered"], row["dead"]) == (2, 1, 0)
    assert row["last_at"] == "1970-01-01T00:00:00.002Z"
    code, _, told = bridge("endpoint", "rm", "a", "nobody", "--dry-run")
    assert (code, "a would go; 2 pending deliveries would be cancelled.\n" in told) == (6, True)
    assert "Nothing was changed." in told
    assert client.hexists("bridge:endpoints", "a")
    code, _, told = bridge("endpoint", "rm", "a", "nobody", "\x07")
    assert (code, "2 pending deliveries are cancelled.\n" in told) == (6, True)
    assert "\x07" not in told
    assert client.exists("bridge:registry", "bridge:endpoints") == 0
    assert bridge("endpoint", "rm", "a")[0] == 3
    assert bridge("endpoint", "show", "a")[0] == 3
    rows = json.loads(bridge("delivery", "ls", "--state", "cancelled", "--json")[1])
    assert {row["event_id"] for row in rows} == {"evt_1", "evt_2"}


def test_dead_letters_of_a_removed_endpoint_are_dismissed_by_the_command_that_rm_prints(
    bridge: Bridge, client: "Redis"
) -> None:
    """Nothing is left then that asks to be looked at."""
    bridge("endpoint", "add", "a", URL)
    record = {"task": "t1", "type": "index.task.ready", "revision": "1", "created": 1, "attempts": 3, "state": "dead"}
    client.hset("bridge:deliveries:a", "evt_1", json.dumps({**record, "reason": "gone"}))
    client.zadd("bridge:dead:a", {"evt_1": 2})
    command = "bridge delivery ls --endpoint a --state dead -o ids | bridge delivery cancel -"
    assert f"1 dead letter stays → {command}\n" in bridge("endpoint", "rm", "a", "--dry-run")[2]
    assert f"1 dead letter stays → {command}\n" in bridge("endpoint", "rm", "a")[2]
    assert f"→ {command}" in bridge("delivery", "ls", "--state", "dead")[2]
    assert command in bridge("doctor")[1]
    ids = bridge("delivery", "ls", "--endpoint", "a", "--state", "dead", "-o", "ids")[1]
    assert bridge("delivery", "cancel", "-", stdin=ids.encode())[0] == 0
    assert bridge("delivery", "ls", "--state", "dead", "-o", "ids")[1] == ""
    assert "✓ dead letters     none" in bridge("doctor")[1]


def test_a_refused_endpoint_is_taken_away(bridge: Bridge, client: "Redis") -> None:
    """`rm` of what stands in bridge:rejected alone forgets that, and says so; of one in force, its complaint too."""
    bridge("endpoint", "add", "a", URL)
    for field in ("endpoint:oops", "endpoint:a", "task:oops"):
        client.hset("bridge:rejected", field, json.dumps({"reason": "no", "fix": "HSET it again"}))
    code, _, told = bridge("endpoint", "rm", "oops")
    assert (code, "oops was refused and never in force" in told) == (0, True)
    assert sorted(client.hkeys("bridge:rejected")) == ["endpoint:a", "task:oops"]
    assert bridge("endpoint", "rm", "oops")[0] == 3
    assert bridge("endpoint", "rm", "a")[0] == 0
    assert client.hkeys("bridge:rejected") == ["task:oops"]
    assert json.loads(bridge("endpoint", "ls", "--json")[1]) == []


def test_a_refused_definition_is_shown_with_its_reason(bridge: Bridge, client: "Redis") -> None:
    """What the bridge said to what a person typed into redis-cli; with a last good one in force, beside it."""
    refusal = json.dumps({"reason": "no secret \x1b[31m", "fix": "add one", "field": "secret"})
    client.hset("bridge:rejected", "endpoint:a", refusal)
    bridge("endpoint", "add", "b", URL)
    client.hset("bridge:rejected", "endpoint:b", refusal)
    rows = {row["endpoint"]: row for row in json.loads(bridge("endpoint", "ls", "--json")[1])}
    assert (rows["a"]["state"], rows["b"]["state"]) == ("rejected", "active")
    assert (rows["a"]["secret"], rows["b"]["secret"]) == ("", "whsec_…")
    out = bridge("endpoint", "show", "a")[1]
    assert "secret: no secret \\x1b[31m" in out
    assert "add one" in out
    assert "secret: no secret" in bridge("endpoint", "ls")[1]


def test_a_misspelt_field_is_told_by_show(bridge: Bridge, client: "Redis") -> None:
    """With the command that writes it as it was meant; JSON has it too, and a good one nothing of the kind."""
    bridge("endpoint", "add", "a", URL)
    assert json.loads(bridge("endpoint", "show", "a", "--json")[1])["warnings"] == []
    text = {**written(client, "a"), "concurrenc": 3, "events": ["index.task.redy"]}
    client.hset("bridge:endpoints", "a", json.dumps(text))
    shown = bridge("endpoint", "show", "a")[1]
    for part in ("the unknown field “concurrenc” is ignored: did you mean “concurrency”? → bridge endpoint set a "
                 "--concurrency 3", "→ bridge endpoint set a --events index.task.ready"):  # fmt: skip
        assert part in shown
        assert part in str(json.loads(bridge("endpoint", "show", "a", "--json")[1])["warnings"])


def test_a_misspelt_type_is_told_with_the_command_that_writes_the_one_meant(bridge: Bridge) -> None:
    """By `add` and `set`; who lists its events, which there are none of, reads why."""
    told = bridge("endpoint", "add", "a", URL, "--events", "index.task.redy")[2]
    assert "did you mean “index.task.ready”? → bridge endpoint set a --events index.task.ready\n" in told
    told = bridge("endpoint", "set", "a", "--events", "index.task.*,index.tsk.ready")[2]
    assert "→ bridge endpoint set a --events 'index.task.*',index.task.ready\n" in told
    assert "did you mean" not in bridge("endpoint", "set", "a", "--events", "index.task.ready")[2]
    code, _, told = bridge("event", "ls", "--type", "index.task.redy")
    assert (code, "did you mean “index.task.ready”?" in told) == (0, True)
    assert bridge("event", "ls", "--type", "index.task.ready")[2] == ""


def test_an_option_in_the_form_of_another_command_is_told_within_the_whole_line(
    bridge: Bridge, client: "Redis"
) -> None:
    """As it was typed, so that it can be pasted; where the option is there twice, the option alone."""
    fix = """bridge task add t1 --metadata '{"order": 42}' -o ids\n"""
    assert bridge("task", "add", "t1", "--metadata=order=42", "-o", "ids")[2].endswith(f"→ {fix}")
    told = bridge("endpoint", "add", "a", URL, "--metadata", '{"team": "video"}', "--rate", "1/s")[2]
    assert told.endswith(f"→ bridge endpoint add a {URL} --metadata team=video --rate 1/s\n")
    told = bridge("endpoint", "add", "a", URL, "--metadata", '{"team": "video"}', "--metadata", "x=y")[2]
    assert told.endswith("→ --metadata team=video\n")
    assert client.exists("bridge:endpoints", "bridge:tasks") == 0


def test_a_bad_change_says_that_the_last_good_definition_is_in_force(
    bridge: Bridge, client: "Redis", redis_url: str
) -> None:
    """In `endpoint show` and `doctor`, beside why the change was refused; of one that never was good neither does."""
    bridge("endpoint", "add", "a", URL)
    client.hset("bridge:endpoints", mapping={"a": "{", "b": "{"})
    take_in(redis_url)
    assert "its last good definition is in force" in json.loads(bridge("endpoint", "show", "a", "--json")[1])["note"]
    assert "in force" not in json.loads(bridge("endpoint", "show", "b", "--json")[1])["note"]
    rows = {row["found"]: row["why"] for row in json.loads(bridge("doctor", "--json")[1]) if row["check"] == "rejected"}
    assert "is not JSON (line 1, column 1); its last good definition is in force" in rows["endpoint:a"]
    assert "in force" not in rows["endpoint:b"]


@pytest.mark.parametrize("verb", ["add", "set"])
def test_localhost_in_a_container_is_the_container(
    bridge: Bridge, client: "Redis", redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    """Refused where it stands, and not at each attempt; the name of the machine itself is the next command."""
    (tmp_path / "login").write_text(redis_url)
    monkeypatch.setattr("bridge.deployment.IN_THE_STACK", f"{tmp_path}/")
    monkeypatch.delenv("BRIDGE_REDIS_URL")
    monkeypatch.setenv("BRIDGE_REDIS_URL_FILE", str(tmp_path / "login"))
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "10.0.0.0/8")
    assert bridge("endpoint", "add", "there", "http://receiver:3000/hook")[0] == 0
    words = ("add", "mine", "{}") if verb == "add" else ("set", "there", "--url", "{}")
    for host in ("localhost", "127.0.0.1"):
        code, _, told = bridge("endpoint", *(one.format(f"http://{host}:3000/hook") for one in words))
        assert (code, "→ write http://host.docker.internal:3000/hook" in told) == (2, True), told
    assert "localhost is the container itself" in bridge("endpoint", "add", "mine", "http://localhost:3000/hook")[2]
    assert "receiver:3000" in str(client.hget("bridge:endpoints", "there"))
    assert client.hkeys("bridge:endpoints") == ["there"]
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8,10.0.0.0/8")
    code, _, told = bridge("endpoint", "add", "mine", "http://localhost:3000/hook")
    assert (code, "! localhost is the container itself: an app on this machine is http://host.docker" in told) == (
        0,
        True,
    )


def test_the_first_refusal_names_all_settings(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheme is judged first, and a receiver on this machine needs a network, too."""
    monkeypatch.setenv("BRIDGE_DELIVERY_ALLOW_HTTP", "false")
    monkeypatch.delenv("BRIDGE_DELIVERY_ALLOW_NETWORKS")
    code, _, told = bridge("endpoint", "add", "mine", "http://127.0.0.1:3000/hook")
    wanted = "→ export BRIDGE_DELIVERY_ALLOW_HTTP=true BRIDGE_DELIVERY_ALLOW_NETWORKS=127.0.0.1/32\n    here, and where"
    assert (code, wanted in told) == (2, True), told
    assert "→ write https://example.com/hook" in bridge("endpoint", "add", "mine", "example.com/hook")[2]
    assert "→ bridge endpoint test mine" in bridge("endpoint", "add", "mine", "https://example.com/hook")[2]


def test_a_name_that_leads_nowhere_is_told_when_it_is_registered(bridge: Bridge) -> None:
    """Where networks are allowed the guard admits any name; that of no machine is known to be one."""
    code, _, told = bridge("endpoint", "add", "b5", "https://nope.invalid/hook")
    assert (code, "! use a real name: no public one ends in .invalid" in told) == (0, True)
    assert "!" not in bridge("endpoint", "add", "b6", "https://example.com/hook")[2]
