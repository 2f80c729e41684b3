"""Each page: what it shows, its twin in JSON, and that nothing from outside is markup in it."""

import json
import re
import shlex
from typing import Any
from urllib.parse import quote

import pytest
from consolescene import EVIL, PAGES, Markup, evil_everywhere, something_of_everything
from httpx import AsyncClient
from scene import Scene

from bridge.console.words import environment

ELEMENTS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "nav", "main", "aside", "footer", "section"),
    *(
        "a",
        "span",
        "h1",
        "h2",
        "h3",
        "small",
        "b",
        "strong",
        "br",
        "time",
        "p",
        "code",
        "pre",
        "div",
        "details",
        "summary",
    ),
    *("ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "line"),
    *("form", "label", "input", "select", "option", "datalist", "button"),
}
STATIC = ["/static/htmx.min.js", "/static/console.js"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_and_its_twin_say_the_same(scene: Scene, client: AsyncClient, path: str) -> None:
    """The twin is what the page is made of; moments in it are RFC 3339, as the command line prints them."""
    await something_of_everything(scene)
    page = await client.get(path)
    twin = await client.get(path, headers={"accept": "application/json"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (twin.status_code, twin.headers["content-type"]) == (200, "application/json")
    moments = re.findall(r'"\w+_at": ("?)(\d[^",]*)', twin.text)
    assert [moment for quote, moment in moments if not quote] == []
    assert page.headers["server-timing"].startswith("read;dur=")


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/deliveries?state=x"])
async def test_a_page_has_no_script_or_style_of_its_own(scene: Scene, client: AsyncClient, path: str) -> None:
    """And says that it has none: what got in as markup could do nothing."""
    await something_of_everything(scene)
    answer = await client.get(path)
    markup = Markup(answer.text)
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert markup.scripts == STATIC
    assert markup.elements <= ELEMENTS, markup.elements - ELEMENTS
    assert not [name for name in markup.attributes if name.startswith("on") or name == "style"]


async def test_all_links_lead_somewhere(scene: Scene, client: AsyncClient) -> None:
    """Every address in every page is one of ours, and answers."""
    made = await something_of_everything(scene)
    links: set[str] = set()
    for path in (*PAGES, f"/deliveries/{made['dead']}/a"):
        links |= set(Markup((await client.get(path)).text).links)
    assert len(links) > 20
    for link in links - {"/unlock", "/deliveries/replay", "#main"}:
        assert (await client.get(link)).status_code in {200, 307}, link


async def test_the_overview_has_the_numbers_and_who_is_in_trouble(scene: Scene, client: AsyncClient) -> None:
    """Four numbers, and the endpoint that fails with what it last failed by."""
    await something_of_everything(scene)
    row = (await client.get("/", headers={"accept": "application/json"})).json()
    assert (row["tasks"]["watched"], row["pending"], row["dead"], row["tasks"]["rejected"]) == (1, 2, 2, 2)
    assert {one["endpoint"]: one["last_error"] for one in row["troubled"]} == {
        "a": "HTTP 503",
        "b": "HTTP 503",
        "bad": None,
    }
    text = Markup((await client.get("/")).text).text
    assert "No worker" in text
    assert "bridge worker poll" in text


async def test_a_task_page_tells_each_status_and_who_got_it(scene: Scene, client: AsyncClient) -> None:
    """The line of its statuses, its events, and the state of each delivery."""
    made = await something_of_everything(scene)
    answer = await client.get("/tasks/t1")
    text = Markup(answer.text).text
    assert answer.text.count("<rect") == 3
    for word in (*made.values(), "index.task.indexing", "exhausted", '"order": 42'):
        assert word in text, word
    assert (await client.get("/tasks/nobody")).status_code == 404


async def test_an_attempt_tells_why_the_next_step(scene: Scene, client: AsyncClient) -> None:
    """Request, answer, times, what follows and why; a command that sends the same again, and no signature in it."""
    made = await something_of_everything(scene)
    path = f"/deliveries/{made['pending']}/a"
    row = (await client.get(path, headers={"accept": "application/json"})).json()
    (attempt,) = row["attempt_log"]
    note, command = attempt["curl"].split("\n", 1)
    words = shlex.split(command)
    assert words[:3] == ["curl", "-i", "https://example.com/it's"]
    assert "content-type: application/json" in words
    assert json.loads(words[-1])["data"]["task_id"] == "t1"
    assert note.startswith("# without webhook-signature")
    assert "***" not in attempt["curl"]
    text = Markup((await client.get(path)).text).text
    for word in ("POST https://example.com/it's", "server: nginx", "4.5 ms", "bridge endpoint test a"):
        assert word in text, word
    assert (await client.get(f"/deliveries/{made['pending']}/nobody")).status_code == 404


async def test_an_attempt_without_an_answer_or_that_cannot_be_read_has_its_page(
    scene: Scene, client: AsyncClient
) -> None:
    """A timeout has no status code; and what somebody wrote over an attempt costs no page."""
    made = await something_of_everything(scene)
    log = f"bridge:attempts:a:{made['dead']}"
    timeout = {"attempt": 2, "at": 5, "fault": "timeout", "detail": "no answer within 15 s", "next": "dead"}
    strange = {
        "attempt": {},
        "at": "x",
        "status_code": [],
        "request": 5,
        "answer": {},
        "retry_in_ms": "x",
        "pause_ms": "y",
    }
    await scene.store.client.rpush(log, json.dumps(timeout), "{}", "x", json.dumps(strange))
    answer = await client.get(f"/deliveries/{made['dead']}/a")
    text = Markup(answer.text).text
    assert (answer.status_code, "no answer within 15 s" in text, "timeout" in text) == (200, True, True)


async def test_filters_stand_in_the_address(scene: Scene, client: AsyncClient) -> None:
    """By state, endpoint and task; what fits none is told as that, and nonsense as a mistake with the choice."""
    made = await something_of_everything(scene)

    async def found(query: str) -> set[str]:
        rows = (await client.get(f"/deliveries?{query}", headers={"accept": "application/json"})).json()["deliveries"]
        return {row["delivery"] for row in rows}

    assert await found("state=dead") == {f"{made['dead']}/a", f"{made['dead']}/b"}
    assert await found("state=delivered&endpoint=b") == {f"{made['delivered']}/b"}
    assert await found("state=pending&task=t1&endpoint=a") == {f"{made['pending']}/a"}
    assert await found("task=nobody") == set()
    assert "No delivery fits." in (await client.get("/deliveries?task=nobody")).text
    for query in ("state=nonsense", "limit=0", "limit=99999", "after=x", "after=1+x", "task=%00"):
        answer = await client.get(f"/deliveries?{query}")
        assert (answer.status_code, 'class="failed"' in answer.text) == (400, True), query


async def test_a_fragment_is_what_a_drawer_takes(scene: Scene, client: AsyncClient) -> None:
    """The same address without what surrounds it."""
    made = await something_of_everything(scene)
    answer = await client.get(f"/deliveries/{made['dead']}/a", headers={"hx-request": "true"})
    markup = Markup(answer.text)
    assert ("html" in markup.elements, "section" in markup.elements, "data-close" in markup.attributes) == (
        False,
        True,
        True,
    )
    assert "hx-request" in answer.headers["vary"]


async def test_whatever_anybody_says_stays_text(scene: Scene, client: AsyncClient) -> None:
    """Upstream, a subscriber or a client: in no page is a word of theirs an element, an attribute or a script."""
    more = await evil_everywhere(scene)
    dead = (await client.get("/deliveries?state=dead", headers={"accept": "application/json"})).json()["deliveries"]
    more += [f"/deliveries/{row['event_id']}/{row['endpoint']}" for row in dead]
    seen = 0
    for path in (*PAGES, "/tasks?state=watched", "/tasks/t2", "/endpoints/b", *more):
        for headers in ({}, {"hx-request": "true"}):
            answer = await client.get(path, headers=headers)
            markup = Markup(answer.text)
            assert answer.status_code == 200, (path, answer.text)
            assert markup.elements <= ELEMENTS, (path, markup.elements - ELEMENTS)
            assert markup.scripts == ([] if headers else STATIC), path
            assert "onerror" not in markup.attributes, path
            assert "49" not in re.findall(r"onerror=alert\(1\)>(\d+)", markup.text), path
            assert all(link.startswith(("/", "#")) for link in markup.links), path
            seen += "<script>alert(1)</script>" in markup.text
    assert seen > 20
    for query in ("endpoint", "task", "status", "state", "after", "limit"):
        answer = await client.get("/deliveries", params={query: EVIL})
        assert Markup(answer.text).scripts == STATIC, query


async def test_a_command_to_paste_is_one_command(scene: Scene, client: AsyncClient) -> None:
    """A client may write any name; none of them ends the command that a person copies and begins another."""
    name = "x; touch hacked #"
    await scene.store.client.hset("bridge:endpoints", name, '{"url":"https://example.com"}')
    await scene.store.client.hset("bridge:rejected", f"task:{name}", '{"reason":"no"}')
    await scene.intake.run()
    for path in (f"/endpoints/{quote(name)}", f"/tasks/{quote(name)}", f"/dead?endpoint={quote(name)}"):
        answer = await client.get(path)
        assert answer.status_code == 200
        for command in Markup(answer.text).copied:
            if "touch" in command:
                assert name in shlex.split(command), command


def test_what_is_said_behind_a_command_is_not_copied_with_it() -> None:
    """It is shown beside it; within quotes there is nothing behind."""
    fix: Any = environment().get_template("parts.html").module
    shown = Markup(fix.fix("bridge endpoint add a URL  # or: bridge task add t"))
    assert (shown.copied, "or: bridge task add t" in shown.text) == (["bridge endpoint add a URL"], True)
    assert Markup(fix.fix("bridge endpoint set a --metadata 'b=c  # d'")).copied[0].endswith("'b=c  # d'")


def test_no_template_marks_a_text_as_markup() -> None:
    """Escaping is never switched off, and no handler, script or style stands in a template."""
    loader = environment().loader
    assert loader is not None
    for name in loader.list_templates():
        source, _, _ = loader.get_source(environment(), name)
        assert not re.search(r"\|\s*safe\b|autoescape|Markup|<style|\sstyle=|\son\w+=|javascript:", source), name
