"""Receivers that are to consent first: asked, held until they do, and sent no more than they allow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from corescene import Delivering, Stage, delivering

from bridge.consent import Consent, Word, consenting
from bridge.guard import Policy
from bridge.handshake import Asker
from bridge.sandbox.message import Request, Response
from bridge.store.reading.endpoints import EndpointView, find_endpoint
from bridge.store.steering import Steering
from bridge.store.sweep import Sweep

LEASE_MS = 15_000
ORIGIN = "bridge-for-twelvelabs"
HOUR_MS = 3_600_000
RESET = Response(reset=True)


@dataclass
class Asking:
    """An asker beside a deliverer."""

    deliver: Delivering
    asker: Asker

    async def register(self, name: str = "e1", **fields: object) -> None:
        """An endpoint whose receiver is to consent first."""
        await self.deliver.endpoint(name, f"/{name}", **{"handshake": "required", "format": "cloudevents", **fields})

    async def round(self, advance_ms: int = 0) -> int:
        """Let time pass, ask who is due, and say how many that was."""
        self.deliver.stage.clock.advance(advance_ms)
        batch = await self.asker.claim(100)
        await asyncio.gather(*(self.asker.ask(one) for one in batch.items))
        return len(batch.items)

    async def view(self, name: str = "e1") -> EndpointView:
        """What a person is shown of an endpoint."""
        view = await find_endpoint(self.deliver.stage.store, name)
        assert view is not None
        return view

    async def ready(self, member: str = "t1") -> str:
        """An event that is owed; its id."""
        await self.deliver.stage.task(member)
        return (await self.deliver.stage.commit("ready", member=member)).id

    def answers(self, *answers: Response | Callable[[Request], Response]) -> None:
        """What the receiver says when it is asked, the last one ever after."""
        left = list(answers)

        def answer(request: Request) -> Response:
            said = left.pop(0) if len(left) > 1 else left[0]
            return said if isinstance(said, Response) else said(request)

        self.deliver.receiver.consent = answer

    @property
    def asked(self) -> list[Request]:
        """The questions that arrived."""
        return self.deliver.receiver.asked


def granting(origin: str = "*", rate: str | None = "*") -> Response:
    """A consent."""
    rates = (("WebHook-Allowed-Rate", rate),) if rate else ()
    return Response(200, (("Allow", "POST"), ("WebHook-Allowed-Origin", origin), *rates))


def beside(deliver: Delivering) -> Asking:
    """An asker as production builds it."""
    stage = deliver.stage
    renew = deliver.deliverer.renew_endpoints
    handshakes, registry = stage.store.handshakes, stage.store.registry
    asker = Asker(handshakes, registry, deliver.sender, renew=renew, deadline_seconds=5, log=stage.log)
    return Asking(deliver, asker)


@pytest.fixture
async def asking(stage: Stage) -> AsyncIterator[Asking]:
    async with delivering(stage) as deliver:
        yield beside(deliver)


async def test_nothing_is_sent_before_the_receiver_consented(asking: Asking) -> None:
    """It is held and shown so; asked by OPTIONS at the exact URL; then all of it comes, with the origin that asked."""
    await asking.register(headers={"authorization": "Bearer theirs"}, rate="10/s")
    event_id = await asking.ready()
    asking.answers(granting(ORIGIN))
    assert await asking.deliver.round() == 0
    view = await asking.view()
    assert (view.state, view.reason, view.consented) == ("disabled", "unanswered", False)
    assert await asking.round() == 1
    (question,) = asking.asked
    assert (question.method, question.target, question.body) == ("OPTIONS", "/e1", b"")
    assert question.headers["webhook-request-origin"] == ORIGIN
    assert question.headers["webhook-request-rate"] == "600"
    assert question.headers["authorization"] == "Bearer theirs"
    assert "content-type" not in question.headers
    view = await asking.view()
    assert (view.state, view.reason, view.consented, view.granted_rate) == ("active", None, True, None)
    assert await asking.deliver.round() == 1
    (arrival,) = asking.deliver.receiver.valid
    assert (arrival.id, arrival.headers["webhook-request-origin"]) == (event_id, ORIGIN)
    assert await asking.round(HOUR_MS) == 0


async def test_who_is_not_to_consent_is_neither_asked_nor_told_an_origin(asking: Asking) -> None:
    """Most receivers know nothing of it: that is the default, in every format. Redis is not even asked for others."""
    await asking.deliver.endpoint(format="cloudevents")
    await asking.ready()
    assert (await asking.round(), await asking.deliver.round()) == (0, 1)
    (arrival,) = asking.deliver.receiver.valid
    assert "webhook-request-origin" not in arrival.headers
    client: Any = asking.deliver.stage.store.client
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    batch = await asking.asker.claim(4)
    assert (list(batch.items), batch.next_at) == ([], None)
    assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


REFUSALS: list[tuple[Response, str]] = [
    (Response(405), "HTTP 405 without WebHook-Allowed-Origin"),
    (Response(200, (("Allow", "GET, POST, OPTIONS"),)), "HTTP 200 without WebHook-Allowed-Origin"),
    (Response(301, (("Location", "/elsewhere"),)), "HTTP 301 without WebHook-Allowed-Origin"),
    (granting("other.example.com"), f"names somebody else than {ORIGIN}"),
    (granting("*", "many"), "WebHook-Allowed-Rate"),
]


@pytest.mark.parametrize(("answer", "told"), REFUSALS, ids=[told for _, told in REFUSALS])
async def test_a_refusal_is_shown_held_and_asked_again_each_hour(asking: Asking, answer: Response, told: str) -> None:
    """Nothing is lost: once it consents, what was owed is sent."""
    await asking.register()
    event_id = await asking.ready()
    asking.answers(answer, granting())
    assert await asking.round() == 1
    view = await asking.view()
    assert (view.state, view.reason) == ("disabled", "refused")
    assert view.last_error is not None
    assert told in view.last_error
    (line,) = asking.deliver.stage.log.named("handshake.refused")
    assert line["fix"] == "bridge endpoint show e1"
    assert (await asking.round(HOUR_MS - 1_000), await asking.deliver.round()) == (0, 0)
    assert (await asking.round(2_000), await asking.deliver.round()) == (1, 1)
    assert [arrival.id for arrival in asking.deliver.receiver.valid] == [event_id]
    assert [question.path for question in asking.asked] == ["/e1", "/e1"]  # no redirect was followed


async def test_trouble_is_asked_again_and_is_no_refusal(asking: Asking) -> None:
    """After five seconds, ten, …; what came of it is shown meanwhile. On a kept connection a reset is tried twice."""
    await asking.register()
    asking.answers(Response(503), Response(503, (("Retry-After", "60"),)), RESET, RESET, granting())
    assert await asking.round() == 1
    view = await asking.view()
    assert (view.state, view.reason, view.last_error) == ("disabled", "unanswered", "HTTP 503")
    assert (await asking.round(4_000), await asking.round(1_000)) == (0, 1)
    assert (await asking.round(59_000), await asking.round(1_000)) == (0, 1)
    assert "reset" in str((await asking.view()).last_error)
    assert (await asking.round(19_000), await asking.round(1_000)) == (0, 1)
    assert (await asking.view()).state == "active"


async def test_an_address_that_policy_forbids_is_not_asked_either(stage: Stage) -> None:
    """The question goes the way of every attempt: the guard judges the address at the dial."""
    await stage.endpoint("e1", "http://127.0.0.1:9/hook", handshake="required")
    async with delivering(stage, guard=Policy(allow_http=True)) as deliver:
        asking = beside(deliver)
        assert await asking.round() == 1
        view = await asking.view()
        assert (view.state, view.reason) == ("disabled", "unanswered")
        assert "blocked" in str(view.last_error)


async def test_the_granted_rate_is_not_exceeded(asking: Asking) -> None:
    """A hundred are owed, three a minute allowed: three in the first minute, and in any other."""
    await asking.register(ordering="none", rate="10/s")
    for number in range(9):
        await asking.ready(f"t{number}")
    asking.answers(granting(rate="3"))
    await asking.round()
    assert (await asking.view()).granted_rate == "3/m"
    moments = []
    for second in range(180):
        moments += [second] * await asking.deliver.round(1_000)
    assert len(moments) == 9
    assert all(sum(start <= one < start + 60 for one in moments) <= 3 for start in range(180))


async def test_its_own_rate_counts_where_it_is_the_lower_one(asking: Asking) -> None:
    """One a minute, though more is granted."""
    await asking.register(ordering="none", rate="1/m")
    for number in range(3):
        await asking.ready(f"t{number}")
    asking.answers(granting(rate="600"))
    await asking.round()
    assert [await asking.deliver.round(30_000) for _ in range(4)] == [1, 0, 1, 0]


async def test_a_consent_outlives_a_changed_definition_but_not_another_url(asking: Asking) -> None:
    """It was given for that URL; at a new one somebody else may listen, whose word is waited for."""
    asking.answers(granting(rate="60"))
    await asking.register()
    await asking.round()
    await asking.register(events=["index.task.*", "bridge.endpoint.*"])
    view = await asking.view()
    assert (view.state, view.granted_rate, await asking.round()) == ("active", "60/m", 0)
    await asking.deliver.endpoint("e1", "/elsewhere", handshake="required")
    event_id = await asking.ready()
    assert ((await asking.view()).state, await asking.deliver.round()) == ("disabled", 0)
    asking.answers(granting())
    assert (await asking.round(), await asking.deliver.round()) == (1, 1)
    assert [(one.path, one.id) for one in asking.deliver.receiver.valid] == [("/elsewhere", event_id)]
    assert (await asking.view()).granted_rate is None


async def test_written_anew_one_that_refused_is_asked_again_at_once(asking: Asking) -> None:
    """As whoever registers it again expects."""
    asking.answers(Response(404), granting())
    await asking.register()
    await asking.round()
    await asking.register(**{"x-written": "again"})
    assert await asking.round() == 1
    assert (await asking.view()).state == "active"


async def test_without_its_handshake_it_is_active(asking: Asking) -> None:
    """Its owner no longer asks for that."""
    asking.answers(Response(404))
    await asking.register()
    await asking.round()
    await asking.register(handshake="none")
    assert ((await asking.view()).state, await asking.round(HOUR_MS)) == ("active", 0)


async def test_enabling_it_has_it_asked_and_nothing_more(asking: Asking) -> None:
    """An operator cannot consent for the receiver."""
    asking.answers(Response(404), granting())
    await asking.register()
    await asking.ready()
    await asking.round()
    steered = await Steering(asking.deliver.stage.store).enable("e1")
    assert (steered.word, steered.pending) == ("unconfirmed", 1)
    view = await asking.view()
    assert (view.state, view.reason, await asking.deliver.round()) == ("disabled", "unanswered", 0)
    assert (await asking.round(), await asking.deliver.round()) == (1, 1)


async def test_an_operators_hold_stands_above_a_consent(asking: Asking) -> None:
    """It is asked all the same; enabled, it has consented already."""
    asking.answers(granting())
    await asking.register()
    await asking.ready()
    steering = Steering(asking.deliver.stage.store)
    await steering.disable("e1", "it moves")
    assert await asking.round() == 1
    view = await asking.view()
    assert (view.state, view.reason, view.consented, await asking.deliver.round()) == ("disabled", "it moves", True, 0)
    assert (await steering.enable("e1")).word == "done"
    assert await asking.deliver.round() == 1


async def test_whoever_asks_and_dies_is_followed_by_another(asking: Asking) -> None:
    """kill -9 between claim and answer: asked again once the lease is over. Nobody asks meanwhile."""
    asking.answers(granting())
    await asking.register()
    assert len((await asking.asker.claim(4)).items) == 1
    assert (await asking.round(LEASE_MS - 1), await asking.round(1)) == (0, 1)
    assert (await asking.view()).state == "active"


async def test_a_word_about_another_url_counts_for_nothing(asking: Asking) -> None:
    """It came after the definition had changed: whoever answers at the new URL is asked. Nor does a second word."""
    await asking.register()
    handshakes, granted = asking.deliver.stage.store.handshakes, Consent(Word.GRANTED)
    (one,) = (await handshakes.claim(4, lease_ms=LEASE_MS)).unconfirmed
    old, new = (f"{asking.deliver.receiver.url}{path}" for path in ("/e1", "/elsewhere"))
    await asking.deliver.endpoint("e1", "/elsewhere", handshake="required")
    assert await handshakes.settle(one, consenting(old), granted) == "stale"
    assert (await asking.view()).state == "disabled"
    assert await handshakes.settle(one, consenting(new), granted) == "ok"
    assert await handshakes.settle(one, consenting(new), Consent(Word.REFUSED)) == "stale"
    assert (await asking.view()).state == "active"


async def test_a_question_that_hangs_keeps_nobody_waiting(asking: Asking) -> None:
    """Deliveries of others go on, and so do questions to others."""
    asking.answers(lambda request: Response(hang=True) if request.path == "/e1" else granting())
    await asking.register("e1")
    await asking.register("e2")
    await asking.deliver.endpoint("e3", "/e3")
    await asking.ready()
    batch = await asking.asker.claim(4)
    tasks = [asyncio.create_task(asking.asker.ask(one)) for one in batch.items]
    done, hanging = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(hanging)) == (1, 1)
    assert await asking.deliver.round() == 2
    assert {one.path for one in asking.deliver.receiver.valid} == {"/e2", "/e3"}
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_secret_that_is_missing_is_our_fault(stage: Stage) -> None:
    """It is said in the log and with the endpoint, and tried again: the receiver was not asked."""
    async with delivering(stage, default_secret=None) as deliver:
        asking = beside(deliver)
        asking.answers(granting())
        await asking.register(secret=None)
        assert (await asking.round(), asking.asked) == (1, [])
        assert "BRIDGE_DELIVERY_DEFAULT_SECRET" in str(stage.log.named("handshake.not_asked")[0]["fix"])
        assert "not asked" in str((await asking.view()).last_error)
        assert await asking.round(5_000) == 1


async def test_what_redis_lost_of_it_is_asked_again(asking: Asking) -> None:
    """The set of those to be asked, or the endpoint's whole hash: nothing is sent without a consent for that."""
    asking.answers(granting())
    await asking.register()
    client: Any = asking.deliver.stage.store.client
    sweep = Sweep(asking.deliver.stage.store, delivered_ms=HOUR_MS, dead_ms=HOUR_MS, tasks_ms=HOUR_MS)
    await client.delete("bridge:unconfirmed")
    assert await asking.round() == 0
    await sweep.page()
    assert await asking.round() == 1
    event_id = await asking.ready()
    await client.delete("bridge:endpoint:e1")
    await sweep.page()
    assert ((await asking.view()).state, await asking.deliver.round()) == ("disabled", 0)
    await asking.deliver.stage.intake.run()
    assert await asking.round() == 1
    await sweep.page()
    assert await asking.deliver.round() == 1
    assert asking.deliver.receiver.valid[-1].id == event_id


async def test_a_set_of_another_type_stops_nobody(asking: Asking) -> None:
    """Somebody wrote over it: registering goes on, and the sweep has everybody asked."""
    asking.answers(granting())
    client: Any = asking.deliver.stage.store.client
    await client.set("bridge:unconfirmed", "nonsense")
    await asking.register()
    assert await asking.round() == 0
    await Sweep(asking.deliver.stage.store, delivered_ms=HOUR_MS, dead_ms=HOUR_MS, tasks_ms=HOUR_MS).page()
    assert await asking.round() == 1


async def test_one_that_was_taken_back_is_forgotten(asking: Asking) -> None:
    """It is asked no more."""
    asking.answers(Response(404))
    await asking.register()
    await asking.round()
    client: Any = asking.deliver.stage.store.client
    await client.hdel("bridge:endpoints", "e1")
    await asking.deliver.stage.intake.run()
    assert await asking.round(HOUR_MS) == 0
    assert await client.exists("bridge:unconfirmed") == 0
