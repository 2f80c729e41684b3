"""A town full of secrets: a Redis with an ACL, an upstream that lets slip what it was sent, and subscribers that fail
in every way and repeat what they know. A worker has run in it twice, at DEBUG, once for each format of the log.
"""

import html
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import planted
from planted import everything
from redis import Redis
from town import worker
from until import until

from bridge.acl import WORKER, users
from bridge.sandbox.faults import Fault
from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response, json_response
from bridge.sandbox.redis import RedisServer
from bridge.sandbox.thread import in_thread
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import Simulator

ADMIN = "the password of these tests"
FAILING = ("echo", "html", "redirect", "reset", "garbled", "tls", "closed", "defaulted")
"""The endpoints whose deliveries die; `gone` is disabled instead, and `fine` answers well."""


def answer(request: Request) -> Response:
    """What a subscriber says, by the first part of its path; it knows all that signs, our key too."""
    what = request.path.split("/")[1]
    known = {"headers": request.headers, "to": request.target, "path": request.path, "query": request.params}
    known |= {
        "who": b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode(),
        "secrets": [planted.OWN_SECRET, planted.OLD_SECRET, planted.DEFAULT_SECRET, planted.SIGNING_KEY],
        "decoded": unquote(request.target),
    }
    told = tuple(
        (name, value) for name, value in request.headers.items() if name not in {"content-length", "connection"}
    )
    told += tuple((f"x-{word}", word) for pair in request.params for word in pair if re.fullmatch(r"[\w-]+", word))
    echo = json_response(known, 500, told)
    if what == "html":
        page = f"<pre>Cannot POST {html.escape(request.target)} {html.escape(str(request.headers))}</pre>"
        return Response(400, told, page.encode())
    if what == "redirect":
        to = ("location", f"https://{quote(planted.OWN_SECRET)}@elsewhere.example{request.target}")
        return Response(302, (to, *told), json.dumps(known).replace("/", "\\/").encode())
    if what == "garbled":
        raw = f"HTTP/1.1 200 {request.target}\r\n{planted.HEADER}\0: {planted.OWN_SECRET}\r\n\r\n"
        return Response(raw=raw.encode())
    others = {"reset": Response(reset=True), "gone": json_response(known, 410, told), "fine": json_response(known)}
    return others.get(what, echo)


def settings(redis_port: int, base_url: str) -> dict[str, str]:
    """What is secret, and what makes a subscriber's failures quick."""
    return {
        "BRIDGE_REDIS_URL": f"redis://{WORKER}:{quote(planted.REDIS_PASSWORD, safe='')}@127.0.0.1:{redis_port}/0",
        "BRIDGE_TWELVELABS_BASE_URL": base_url,
        "TWELVELABS_API_KEY": planted.API_KEY,
        "BRIDGE_DELIVERY_DEFAULT_SECRET": planted.DEFAULT_SECRET,
        "BRIDGE_SIGNING_KEY": planted.SIGNING_KEY,
        "BRIDGE_DELIVERY_SCHEDULE_SECONDS": "0,0.1",
        "BRIDGE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "BRIDGE_DELIVERY_ALLOW_HTTP": "true",
        "BRIDGE_LOG_LEVEL": "DEBUG",
    }


def endpoints(url: str) -> dict[str, Any]:
    """Good ones, each with the same secrets, and bad ones by name."""
    previous = [{"secret": planted.OLD_SECRET.removeprefix("whsec_"), "until": 4_000_000_000}]
    headers = {"x-partner": planted.HEADER, "Authorization": planted.BASIC}
    common = {"secret": planted.OWN_SECRET, "previous_secrets": previous, "headers": headers}
    common |= {"signatures": ["v1", "v1a"]}
    places = {name: f"{url}/{name}" for name in (*FAILING, "gone", "fine")}
    places |= {"tls": url.replace("http:", "https:"), "closed": "http://127.0.0.1:1"}
    good = {name: common | {"url": f"{place}/in?{planted.URL_QUERY}"} for name, place in places.items()}
    del good["defaulted"]["secret"]
    at = f"https://u:{planted.USERINFO}@callback.example/in?{planted.URL_QUERY}"
    bad = {
        "bad-userinfo": common | {"url": at},
        "bad-secret": common | {"url": places["fine"], "secret": planted.OWN_SECRET + "!"},
        "bad-signatures": common | {"url": places["fine"], "signatures": [planted.SIGNING_KEY]},
        "bad-key": common | {"url": places["fine"], "secret": planted.SIGNING_KEY},
        "bad-previous": common | {"url": places["fine"], "previous_secrets": [*previous, planted.OLD_SECRET]},
        "bad-headers": common | {"url": places["fine"], "headers": {"host": planted.HEADER}},
        "bad-events": common | {"url": places["fine"], "events": [at, planted.OWN_SECRET]},
        "bad-json": json.dumps(common | {"url": places["fine"]})[:-1],
        at: {"url": "exchanged with the name"},
        planted.OWN_SECRET: {"url": "exchanged with the name"},
    }
    return good | bad


@dataclass
class Town:
    """What was seen of it, and how to ask it more."""

    redis_port: int
    environment: dict[str, str]
    logs: dict[str, str] = field(default_factory=dict)
    command_lines: dict[str, bytes] = field(default_factory=dict)
    contents: list[tuple[str, bytes]] = field(default_factory=list)

    def client(self) -> "Redis":
        """A connection with all rights."""
        return Redis(port=self.redis_port, password=ADMIN)

    def look_around(self) -> None:
        """Keep what stands in Redis and in the process table now."""
        with self.client() as client:
            self.contents += everything(client)
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.command_lines[process.parent.name] = process.read_bytes()
            except OSError:
                continue

    def worker(self, folder: Path, base_url: str, **more: str) -> Any:
        """`python worker.py` in this town."""
        own = self.environment | more
        return worker(own.pop("BRIDGE_REDIS_URL"), folder, base_url=base_url, **own)


@contextmanager
def a_secretive_town(folder: Path) -> Iterator[Town]:
    """The town, after both runs of the worker; Redis goes on."""
    subscribers, upstream = HttpServer(answer), Simulator(planted.API_KEY)
    with RedisServer() as redis, in_thread(subscribers, upstream):
        town = Town(redis.port, settings(redis.port, upstream.base_url))
        with Redis(port=redis.port) as client:
            client.config_set("requirepass", ADMIN)
        with town.client() as client:
            (rules,) = [user.rules for user in users("bridge:") if user.name == WORKER]
            client.execute_command("ACL", "SETUSER", WORKER, "reset", "on", f">{planted.REDIS_PASSWORD}", *rules)
            _register(client, subscribers.url)
        upstream.add_task("t1", timeline=(Step(0.0, {"status": "indexing"}),))
        told = {"code": planted.API_KEY, "message": f"no such key: {planted.API_KEY}"}
        slip = Fault(500, told, {"x-key": planted.API_KEY})
        upstream.fault("/tasks/t1", slip, slip)
        upstream.fault("/tasks/t4", slip, repeat=True)
        for number, style in enumerate(("json", "console"), 1):
            place = folder / style
            place.mkdir()
            with town.worker(place, upstream.base_url, BRIDGE_LOG_FORMAT=style) as running:
                upstream.change("t1", {"system_metadata": {"step": number}}, touch=True)
                until(partial(_all_ended, town, number), 40)
                town.look_around()
                assert running.stop() == 0
                town.logs[style] = running.log
        town.look_around()
        yield town


def _register(client: "Redis", url: str) -> None:
    """By hand, as any client does: one good task with a callback, and entries that are bad in each way."""
    for name, definition in endpoints(url).items():
        client.hset("bridge:endpoints", name, definition if isinstance(definition, str) else json.dumps(definition))
    client.hset("bridge:task:t1", "callback_url", url + planted.CALLBACK)
    bad = f"https://u:{planted.USERINFO}@callback.example{planted.CALLBACK}"
    client.hset("bridge:task:t2", "callback_url", bad)
    client.hset("bridge:task:t3", mapping={"metadata": f"see {bad}", "endpoints": planted.OWN_SECRET})
    client.zadd("bridge:tasks", dict.fromkeys(["t1", "t2", "t3", "t4", bad, planted.OWN_SECRET], 0))
    client.zadd("bridge:tasks", {f"{bad}&late": 2e12})


def _all_ended(town: Town, events: int) -> bool:
    """Whether each delivery of at least so many events has ended, and every bad entry was refused."""
    with town.client() as client:
        dead = all(client.zcard(f"bridge:dead:{name}") >= events for name in FAILING)
        callbacks = [key for key in client.scan_iter("bridge:dead:url:*") if client.zcard(key) >= events]
        gone = client.hget("bridge:endpoint:gone", "state") == b"disabled"
        refused = client.hlen("bridge:rejected") >= 14
        told = client.hget("bridge:watch:t4", "error")
        return bool(dead and callbacks and gone and refused and told and client.zcard("bridge:done:fine") >= events)
