"""The reasons of docs/why-no-hook.md, each brought about: it yields when a person would begin to ask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hookscene import ENDPOINT, TASK, HookScene
from until import until

from bridge.sandbox.limits import RateLimit
from bridge.sandbox.message import Response
from bridge.sandbox.timeline import Step
from bridge.sandbox.twelvelabs import API_KEY
from bridge.signature import generate_secret

OTHER = generate_secret(bytes(32))
"""What a receiver may hold instead of the endpoint's secret."""
FAILURES = 10
"""So many in a row, over a minute, open a breaker."""
LONG_AGO_MS = 61_000
NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""
UNREACHED = {
    "dns": "http://no-such-host.invalid/hook",
    "tls": "https://{}/hook",
    "timeout": "http://{}/timeout",
    "reset": "http://{}/reset",
}
"""Why a receiver that may be running is not reached, and a URL where it is so."""
MANY = 3
"""So many forbidden attempts in a row disable an endpoint."""
Setup = Callable[[HookScene], Iterator[None]]


def away(scene: HookScene) -> Iterator[None]:
    """The receiver was not started."""
    scene.add_endpoint(url=f"{NOBODY}/hook")
    yield from _missed(scene)


@contextmanager
def beyond_reach(scene: HookScene) -> Iterator[None]:
    """An endpoint for each of UNREACHED, by its name."""
    scene.receiver.always(Response(hang=True), path="/timeout")
    scene.receiver.always(Response(reset=True), path="/reset")
    for fault, url in UNREACHED.items():
        scene.add_endpoint(name=fault, url=url.format(scene.receiver.url.removeprefix("http://")))
    scene.add_task()
    with scene.working(BRIDGE_DELIVERY_DEADLINE_SECONDS="2"):
        until(lambda: all(scene.delivery(fault).get("attempts") for fault in UNREACHED), 20)
        yield


def filtered(scene: HookScene) -> Iterator[None]:
    """`billing` wants the end alone; `audit` hears of everything."""
    scene.add_endpoint("--events", "index.task.ready")
    scene.add_endpoint(name="audit", url=f"{scene.receiver.url}/audit")
    scene.add_task()
    with scene.working():
        scene.events(1)
        until(lambda: scene.delivery("audit").get("state") == "delivered", 20)
        yield


def disabled(scene: HookScene) -> Iterator[None]:
    """An operator holds it, and the task gets ready."""
    scene.add_endpoint()
    scene.add_task()
    with scene.working():
        until(lambda: scene.delivery().get("state") == "delivered", 20)
        scene.cli(f"bridge endpoint disable {ENDPOINT} --reason moving")
        scene.change("ready")
        scene.events(2)
        yield


def failing(scene: HookScene) -> Iterator[None]:
    """The tenth failure in a row, a minute after the first; the nine before are written, as nobody has the minute."""
    scene.add_endpoint()
    scene.add_task()
    scene.receiver.always(503)
    with scene.client() as client, scene.working():
        until(lambda: scene.delivery().get("attempts") == 1, 20)
        long_ago = int(client.time()[0]) * 1000 - LONG_AGO_MS
        client.hset(f"bridge:endpoint:{ENDPOINT}", mapping={"failures": FAILURES - 1, "failing_since": long_ago})
        scene.cli(f"bridge delivery retry {scene.events(1)[0]} --endpoint {ENDPOINT}")
        until(lambda: (scene.delivery().get("hold") or {}).get("by") == "breaker", 20)
        yield


def forbidden(scene: HookScene) -> Iterator[None]:
    """Its name leads to this machine, which the worker, other than the shell that registered it, may not call."""
    scene.add_endpoint(url=scene.hook.replace("127.0.0.1", "localhost"))
    scene.add_task()
    with scene.working(BRIDGE_DELIVERY_ALLOW_NETWORKS="10.0.0.0/8"):
        until(lambda: scene.delivery().get("attempts"), 20)
        yield


def blocked(scene: HookScene) -> Iterator[None]:
    """The same with as many tasks as disable it."""
    for number in range(1, MANY):
        scene.simulator.add_task(f"{TASK}{number}", timeline=(Step(0.0, {"status": "indexing"}),))
        scene.cli(f"bridge task add {TASK}{number}")
    for _ in forbidden(scene):
        until(lambda: (scene.delivery().get("hold") or {}).get("by") == "disabled", 20)
        yield


def broken(scene: HookScene) -> Iterator[None]:
    """The receiver answers 500."""
    scene.receiver.always(500)
    yield from _attempted(scene)


def unbelieved(scene: HookScene) -> Iterator[None]:
    """The receiver verifies with another secret, and answers 401; a request as it came is in request.txt."""
    scene.receiver.trust("/hook", OTHER)
    (scene.folder / "receiver.whsec").write_text(OTHER)
    (scene.folder / "receiver.whsec").chmod(0o600)
    for _ in _attempted(scene):
        came = scene.receiver.arrivals[0]
        head = [f"POST {came.path} HTTP/1.1", *(f"{name}: {value}" for name, value in came.headers.items())]
        (scene.folder / "request.txt").write_bytes("\r\n".join([*head, "", ""]).encode() + came.body)
        yield


def unbelieved_by_400(scene: HookScene) -> Iterator[None]:
    """The same, by a receiver that says 400 to it, as some examples of webhooks do."""
    scene.receiver.reject_invalid = False
    scene.receiver.always(400)
    yield from _attempted(scene)


def _attempted(scene: HookScene) -> Iterator[None]:
    scene.add_endpoint()
    yield from _missed(scene)


def _missed(scene: HookScene) -> Iterator[None]:
    scene.add_task()
    with scene.working():
        until(lambda: scene.delivery().get("attempts"), 20)
        yield


def unchanged(scene: HookScene) -> Iterator[None]:
    """What there was to tell was told; the task stands still."""
    scene.add_endpoint()
    scene.add_task()
    with scene.working():
        until(lambda: scene.delivery().get("state") == "delivered", 20)
        until(lambda: scene.twin(f"/tasks/{TASK}")["reading"], 20)
        yield


def revoked(scene: HookScene) -> Iterator[None]:
    """TwelveLabs does not know the key any more; then the task gets ready."""
    scene.add_endpoint()
    scene.add_task()
    with scene.working():
        until(lambda: scene.delivery().get("state") == "delivered", 20)
        scene.simulator.revoke_key(API_KEY)
        scene.change("ready")
        until(lambda: scene.twin("/")["roles"]["poll"]["key_refused"], 20)
        yield


def spent(scene: HookScene) -> Iterator[None]:
    """Three requests a minute are allowed to the worker, and were made; then the task gets ready."""
    scene.add_endpoint()
    scene.add_task()
    with scene.working(BRIDGE_TWELVELABS_REQUESTS_PER_MINUTE="3"):
        until(lambda: scene.twin("/")["requests_left"] == 0, 20)
        scene.change("ready")
        until(lambda: "used up" in (scene.twin(f"/tasks/{TASK}")["reading"] or ""), 20)
        yield


def throttled(scene: HookScene) -> Iterator[None]:
    """The account's requests of the day are used up at TwelveLabs; then the task gets ready."""
    scene.add_endpoint()
    scene.add_task()
    with scene.working():
        until(lambda: scene.delivery().get("state") == "delivered", 20)
        scene.simulator.limit(RateLimit(per_day=1))
        until(lambda: scene.twin("/")["roles"]["poll"]["paused_until_at"], 20)
        scene.change("ready")
        yield


CASES: dict[str, Setup] = {
    "The receiver is not running": away,
    "Its filter does not take the event": filtered,
    "The endpoint is disabled": disabled,
    "The endpoint is held, as it fails": failing,
    "Its address is forbidden": forbidden,
    "The receiver answers 500": broken,
    "The receiver does not believe the signature": unbelieved,
    "The task did not change": unchanged,
    "TwelveLabs refuses the key": revoked,
    "Our own requests of the minute are used up": spent,
    "TwelveLabs' limit is reached": throttled,
}
"""By their heading in the document."""
brought_about = {heading: contextmanager(setup) for heading, setup in CASES.items()}
