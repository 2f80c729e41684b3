"""Who may do what: names, the token, the header that no other origin can send."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from consolescene import TOKEN, asked, something_of_everything
from httpx import AsyncClient
from scene import Scene

from bridge.console.access import COOKIE, CSRF_HEADER, HEADERS, Access
from bridge.keypair import PrivateKey
from bridge.keyset import MEDIA_TYPE, PUBLISHED_AT, SigningKey, document
from bridge.store import Store

ACCESS = Access(TOKEN)


async def test_who_may_only_look_changes_nothing(scene: Scene, client: AsyncClient) -> None:
    """Without --allow-writes there is no way, whatever is sent along."""
    made = await something_of_everything(scene)
    headers = {CSRF_HEADER: ACCESS.derived("csrf"), "authorization": f"Bearer {TOKEN}"}
    answer = await client.post("/deliveries/replay", headers=headers, data={"delivery": f"{made['dead']}/a"})
    assert answer.status_code == 403
    assert (await client.get("/unlock")).status_code == 404
    assert "Read only" in (await client.get("/")).text
    for path in ("/", "/deliveries", "/rejected"):
        assert (await client.post(path)).status_code == 405


async def test_the_public_keys_are_published(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `bridge key show` prints them; without any it says so. It changes nothing, and asks Redis nothing."""
    async with asked(store) as client:
        assert (await client.get(PUBLISHED_AT)).status_code == 404
    key = PrivateKey(b"1" * 32)
    monkeypatch.setenv("BRIDGE_SIGNING_KEY", key.text)
    async with asked(store) as client:
        answer = await client.get(PUBLISHED_AT)
        assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
        assert answer.json() == document([SigningKey(key, None)])
        assert (await client.post(PUBLISHED_AT)).status_code == 405


async def the_state(scene: Scene, event_id: str) -> str:
    text = await scene.store.client.hget("bridge:deliveries:a", event_id)
    return str(json.loads(text or "{}")["state"])


@pytest.mark.parametrize(
    ("headers", "cookie", "status"),
    [
        ({}, "", 403),
        ({CSRF_HEADER: ACCESS.derived("csrf")}, "", 403),
        ({CSRF_HEADER: ACCESS.derived("csrf")}, "x" * 64, 403),
        ({CSRF_HEADER: "1"}, ACCESS.derived("cookie"), 403),
        ({}, ACCESS.derived("cookie"), 403),
        ({"authorization": f"Bearer {TOKEN}"}, "", 403),
        ({"authorization": "Bearer wrong", CSRF_HEADER: ACCESS.derived("csrf")}, "", 403),
        ({CSRF_HEADER: ACCESS.derived("csrf")}, ACCESS.derived("cookie"), 200),
        ({"authorization": f"Bearer {TOKEN}", CSRF_HEADER: ACCESS.derived("csrf")}, "", 200),
    ],
    ids=["nothing", "header alone", "forged cookie", "wrong header", "cookie alone", "token alone", "wrong token",
         "cookie and header", "token and header"],
)  # fmt: skip
async def test_to_send_again_takes_the_token_and_the_header(
    scene: Scene, operator: AsyncClient, headers: dict[str, str], cookie: str, status: int
) -> None:
    """One of them alone is what another site's page could bring along."""
    made = await something_of_everything(scene)
    cookies = {"cookie": f"{COOKIE}={cookie}"} if cookie else {}
    answer = await operator.post(
        "/deliveries/replay", headers=headers | cookies, data={"delivery": f"{made['dead']}/a"}
    )
    assert answer.status_code == status
    assert await the_state(scene, made["dead"]) == ("pending" if status == 200 else "dead")


async def test_a_browser_is_unlocked_by_the_token(scene: Scene, operator: AsyncClient) -> None:
    """A wrong one says so; the right one leaves a cookie that no script reads and no other site sends."""
    await something_of_everything(scene)
    assert "<form hx-post" not in (await operator.get("/dead")).text
    wrong = await operator.post("/unlock", data={"token": "0" * 20})
    assert (wrong.status_code, "This is not the token." in wrong.text, "set-cookie" in wrong.headers) == (
        403,
        True,
        False,
    )
    right = await operator.post("/unlock", data={"token": TOKEN})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"].lower()
    assert ("httponly" in cookie, "samesite=strict" in cookie, TOKEN in cookie) == (True, True, False)
    page = (await operator.get("/dead")).text
    assert ('hx-post="/deliveries/replay"' in page, ACCESS.derived("csrf") in page, TOKEN in page) == (
        True,
        True,
        False,
    )


async def test_what_is_chosen_is_sent_again_and_told_one_by_one(scene: Scene, operator: AsyncClient) -> None:
    """In bulk; what is not there says so and stops nothing. Too many, or nonsense, is refused whole."""
    made = await something_of_everything(scene)
    headers = {"authorization": f"Bearer {TOKEN}", CSRF_HEADER: ACCESS.derived("csrf"), "accept": "application/json"}
    names = [f"{made['dead']}/a", f"{made['dead']}/b", "evt_0/a", f"{made['delivered']}/a"]
    answer = await operator.post("/deliveries/replay", headers=headers, data={"delivery": names})
    assert {one["delivery"]: one["result"] for one in answer.json()["told"]} == dict(
        zip(names, ("revived", "revived", "missing", "delivered"), strict=True)
    )
    assert answer.json()["done"] == 2
    notes = {one["delivery"]: one["note"] for one in answer.json()["told"]}
    assert notes[names[3]] == "it was delivered already, and is left alone"
    assert (notes[names[0]], notes[names[2]]) == ("", "no such delivery is kept")
    again = await operator.post("/deliveries/replay", headers=headers, data={"delivery": names[3]})
    assert (again.json()["done"], again.json()["note"]) == (0, "Nothing was sent again.")
    page = await operator.post(
        "/deliveries/replay", headers=headers | {"accept": "text/html"}, data={"delivery": names}
    )
    for words in (
        "2 of 4 will be sent again",
        "it was delivered already, and is left alone",
        "no such delivery is kept",
    ):
        assert words in page.text
    for chosen in ([], ["x/y"] * 501, ["no slash"], ["\x00/a"]):
        refused = await operator.post("/deliveries/replay", headers=headers, data={"delivery": chosen})
        assert refused.status_code == 400, chosen[:1]
    endless = await operator.post("/deliveries/replay", headers=headers, content=b"a" * 300_000)
    assert endless.status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8790", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8790", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421)],
)  # fmt: skip
async def test_it_answers_to_its_own_names_alone(client: AsyncClient, host: str, status: int) -> None:
    """A page elsewhere whose name was made to lead here reads nothing."""
    answer = await client.get("/rejected", headers={"host": host})
    assert answer.status_code == status
    assert {name: answer.headers[name] for name, _ in HEADERS} == dict(HEADERS)


async def test_a_redis_that_refuses_is_an_error_page_with_the_next_command(scene: Scene, client: AsyncClient) -> None:
    """And no traceback, in either form."""
    await scene.store.client.set("bridge:rejected", "x")
    page = await client.get("/rejected")
    twin = await client.get("/rejected", headers={"accept": "application/json"})
    assert (page.status_code, twin.status_code) == (503, 503)
    assert "bridge doctor" in twin.json()["fix"]
    assert "Traceback" not in page.text + twin.text


async def test_a_redis_that_does_not_answer_is_told_as_that(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how long was waited."""

    async def stalled(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("bridge.console.app.PAGE_SECONDS", 0.05)
    monkeypatch.setattr("bridge.console.pages.page_of_tasks", stalled)
    twin = await client.get("/tasks", headers={"accept": "application/json"})
    assert (twin.status_code, twin.json()["error"]) == (503, "Redis did not answer within 0.05 s")


def test_a_script_makes_the_header_as_docs_console_md_says() -> None:
    """The shell's words there come to what the console expects."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    text = (Path(__file__).parents[2] / "docs/console.md").read_text()
    (line,) = re.findall(r"^csrf=.*$", text, re.MULTILINE)
    done = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$csrf"'],
        env={"BRIDGE_CONSOLE_TOKEN": TOKEN, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ACCESS.derived("csrf")
