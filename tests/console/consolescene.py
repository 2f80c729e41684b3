"""What the console's tests share: a client of its application, and a scene with something of everything."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any, cast

from httpx import ASGITransport, AsyncClient
from scene import Scene

from bridge.console.access import LOOPBACK, Access
from bridge.console.app import Console
from bridge.model import DeadReason, Decision, DeliveryState, EndpointEffect
from bridge.settings import load_settings
from bridge.store import Store

TOKEN = "0123456789abcdef-token"
DELIVERED = Decision(DeliveryState.DELIVERED, EndpointEffect.SUCCESS)
DEAD = Decision(DeliveryState.DEAD, EndpointEffect.FAILURE, reason=DeadReason.EXHAUSTED)
RETRY = Decision(DeliveryState.PENDING, EndpointEffect.FAILURE, retry_in_ms=60_000)
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
HTML = {"accept": "text/html,*/*"}
PAGES = ("/", "/tasks", "/tasks/t1", "/endpoints", "/endpoints/a", "/deliveries", "/deliveries?state=pending", "/dead",
         "/rejected")  # fmt: skip


@asynccontextmanager
async def asked(store: Store, *, token: str = "") -> AsyncIterator[AsyncClient]:
    """A client of a console over this store."""
    app = Console(store, load_settings(), Access(token, LOOPBACK)).application()
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1:8790", headers=HTML) as client:
        yield client


async def something_of_everything(scene: Scene) -> dict[str, str]:
    """Two endpoints, a task with three events, and deliveries in every state that has a page; event ids by name."""
    for name in ("a", "b"):
        await scene.endpoint(name)
    await scene.store.client.hset("bridge:endpoints", "bad", '{"url":"ftp://example.com"}')
    await scene.store.client.zadd("bridge:tasks", {"../x": 0})
    await scene.task("t1", metadata='{"order": 42}')
    made = {}
    for name, decision, status in (("delivered", DELIVERED, 204), ("dead", DEAD, 500), ("pending", RETRY, 503)):
        made[name] = (await scene.commit({"delivered": "queued", "dead": "indexing", "pending": "ready"}[name])).id
        await settled(scene, decision, status)
    return made


async def settled(scene: Scene, decision: Decision, status: int, **more: Any) -> None:
    """Settle what is due, with an attempt as a deliverer records it."""
    for delivery in await scene.claim():
        attempt = {
            "attempt": delivery.attempts + 1, "at": scene.clock.now, "trigger": "schedule", "status_code": status,
            "request": "POST https://example.com/it's\ncontent-type: application/json\nwebhook-signature: ***",
            "answer": "server: nginx", "excerpt": "no", "wait_ms": 3.5, "total_ms": 4.5, "next": decision.state,
        }  # fmt: skip
        await scene.store.outbox.settle(delivery, decision, json.dumps(attempt | more))


async def evil_everywhere(scene: Scene) -> list[str]:
    """A scene in which whatever upstream, a subscriber or a client says is an attempt at markup; its pages."""
    made = await something_of_everything(scene)
    client = scene.store.client
    await settled(scene, RETRY, 500)
    await scene.task("t2", metadata=json.dumps({EVIL: EVIL}))
    await scene.commit("pending", member="t2")
    request, answer = f"POST https://x/{EVIL}\n{EVIL}: {EVIL}", f"server: {EVIL}\n{EVIL}: x"
    more = dict.fromkeys(("excerpt", "detail", "fault", "reason", "trigger", "effect", "next", "attempt"), EVIL)
    await settled(scene, DEAD, 500, answer=answer, request=request, **more)
    fields = dict.fromkeys(("status", "updated_at", "hls_status", "error"), EVIL)
    for member in ("t1", "t2"):
        await client.hset(f"bridge:snapshot:{member}", mapping=cast(Any, fields))
        await client.hset(f"bridge:watch:{member}", "error", EVIL)
    for name in ("a", "b"):
        await client.hset(f"bridge:endpoint:{name}", mapping={"reason": EVIL, "state": "disabled", "failures": 3})
        await client.hset(f"bridge:endpoint:{name}", "last_failure", json.dumps({"fault": EVIL, "detail": EVIL}))
        await client.hset(
            "bridge:registry",
            name,
            json.dumps({"url": f"https://x/{EVIL}", "events": [EVIL], "tasks": [EVIL], "format": EVIL, "ordering": EVIL,
                        "rate": EVIL, "metadata": {EVIL: [EVIL]}, "headers": {EVIL: EVIL}, "secrets": [EVIL]}),
        )  # fmt: skip
    record = {"task": EVIL, "type": EVIL, "state": EVIL, "reason": EVIL, "revision": 1, "created": 1, "attempts": 1}
    await client.hset("bridge:deliveries:a", made["dead"], json.dumps(record))
    for name in (f"endpoint:{EVIL}", f"task:{EVIL}", EVIL):
        said = dict.fromkeys(("reason", "fix", "field", "value"), EVIL)
        await client.hset("bridge:rejected", name, json.dumps(said))
    await client.hset("bridge:endpoints", EVIL, json.dumps({"url": EVIL}))
    await client.sadd("bridge:names", EVIL)
    await client.zadd("bridge:watch", {EVIL: scene.clock.now})
    await client.zadd("bridge:tasks", {EVIL: float("inf")})
    await client.xadd("bridge:events", {"id": EVIL, "type": EVIL, "task": "t1", "revision": "1"})
    return [f"/deliveries/{made['dead']}/a", f"/deliveries/{made['pending']}/a"]


class Markup(HTMLParser):
    """Which elements and attributes a page has, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str | None] = []
        self.copied: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("href", "src", "action", "hx-get", "hx-post") if name in found]
        if "data-copy" in found:
            self.copied.append(str(found["data-copy"]))
        if tag == "script":
            self.scripts.append(found.get("src"))

    def handle_data(self, data: str) -> None:
        self.text += data
