"""What a client writes in clear is sealed where it stands, and to everybody else nothing has changed."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any, cast

import pytest
from planted import everything, found_in
from redis import Redis
from scene import Clock, Scene

from bridge.definition import endpoint as judged
from bridge.guard import Policy
from bridge.model import Endpoint
from bridge.sealing import CannotOpen, Keyring, is_sealed
from bridge.signature import generate_secret
from bridge.store.intake import Intake
from bridge.store.steering import Steering

OLD, NEW, OTHER = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(3))
PLANTED = {
    "url": "https://example.com/hook",
    "secret": generate_secret(b"3planted secret of one endpoint."),
    "previous_secrets": [{"secret": generate_secret(b"0planted secret, rotated away..."), "until": 4_000_000_000}],
    "headers": {"authorization": "Bearer 6planted-header-value"},
    "x-team": "vidéo",
}


def intake(scene: Scene, *keys: str) -> Intake:
    """A worker's, with these keys."""
    return Intake(scene.store, Policy(), has_default_secret=False, keyring=Keyring(keys))


async def write(scene: Scene, **more: Any) -> None:
    await scene.store.client.hset("bridge:endpoints", "a", json.dumps({**PLANTED, **more}))


async def stands(scene: Scene) -> dict[str, Any]:
    text = await scene.store.client.hget("bridge:endpoints", "a")
    return cast(dict[str, Any], json.loads(text or b"{}"))


async def hash_of(scene: Scene) -> dict[str, str]:
    raw = cast(dict[bytes, bytes], await scene.store.client.hgetall("bridge:endpoint:a"))
    return {field.decode(): value.decode() for field, value in raw.items()}


async def in_force(scene: Scene) -> Endpoint:
    return (await scene.store.registry.reload_endpoints()).by_name["a"]


async def rejected(scene: Scene) -> int:
    return int(await scene.store.client.hlen("bridge:rejected"))


@pytest.fixture
def look(redis_url: str) -> Iterator["Redis"]:
    """A connection that looks at everything."""
    with Redis.from_url(redis_url) as client:
        yield client


def leaks(look: "Redis") -> list[tuple[str, set[str]]]:
    return [(place, found) for place, text in everything(look) if (found := found_in(text))]


async def test_nothing_of_what_a_client_wrote_in_clear_is_left(scene: Scene, look: "Redis") -> None:
    """In no key, field or value; what is in force opens to what was written, and all else stands as it was."""
    await write(scene)
    assert {name for _, found in leaks(look) for name in found} == {"own secret", "old secret", "header value"}
    taken = await intake(scene, NEW).run()
    assert (taken.endpoints, await rejected(scene)) == (1, 0)
    assert leaks(look) == []
    assert (await stands(scene))["x-team"] == "vidéo"
    clear = judged("a", json.dumps(PLANTED), Policy(), has_default_secret=False)
    assert Keyring([NEW]).endpoint(await in_force(scene)) == clear


async def test_without_a_key_all_is_as_it_was(scene: Scene) -> None:
    """To the letter."""
    await write(scene)
    await intake(scene).run()
    assert await stands(scene) == PLANTED
    assert (await hash_of(scene))["raw"] == json.dumps(PLANTED)


@pytest.mark.parametrize("before", [(), (OLD,)], ids=["in clear", "with an older key"])
async def test_what_is_in_force_is_sealed_and_nothing_else_changes(
    scene: Scene, clock: Clock, look: "Redis", before: tuple[str, ...]
) -> None:
    """A disabled endpoint stays disabled, its failures are not forgotten; but everybody reads the set anew."""
    await write(scene)
    await intake(scene, *before).run()
    await Steering(scene.store).disable("a", "failing")
    key = "bridge:endpoint:a"
    await scene.store.client.hdel(key, "by")  # as if the bridge had
    await scene.store.client.hset(
        key, mapping={"failures": 7, "failing_since": clock.now, "paused_until": clock.now + 9}
    )
    was, version = await hash_of(scene), (await scene.store.registry.reload_endpoints()).version
    clock.advance(1_000)
    worker = intake(scene, NEW, OLD)
    await worker.run()
    assert leaks(look) == []
    is_ = await hash_of(scene)
    assert {field for field in {*was, *is_} if was.get(field) != is_.get(field)} == {"digest", "raw", "config"}
    assert (await scene.store.registry.reload_endpoints()).version > version
    Keyring([NEW]).endpoint(await in_force(scene))  # the newest key alone opens it
    again = await stands(scene)
    await worker.run()
    await intake(scene, NEW, OLD).run()
    assert await stands(scene) == again
    assert await hash_of(scene) == is_


async def test_a_client_that_writes_anew_makes_a_disabled_one_active(scene: Scene) -> None:
    """What it wrote is sealed on the way in, which takes nothing from its meaning."""
    await write(scene)
    worker = intake(scene, NEW)
    await worker.run()
    await scene.store.client.hset("bridge:endpoint:a", mapping={"state": "disabled", "reason": "gone"})
    await write(scene)
    await worker.run()
    assert (await hash_of(scene))["state"] == "active"


async def test_a_crash_between_writing_sealing_and_taking_in_loses_nothing(
    scene: Scene, look: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead after the client's HSET, and again between the sealing and the taking in: the next worker goes on."""
    await write(scene)
    await intake(scene, NEW).run()
    await scene.store.client.hset("bridge:endpoint:a", mapping={"state": "disabled", "reason": "gone"})
    await write(scene, url="https://example.com/new")
    call = scene.store.scripts.call

    async def dies(name: str, *arguments: Any) -> Any:
        if name == "accept_endpoint":
            raise asyncio.CancelledError
        return await call(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scene.store.scripts, "call", dies)
        with pytest.raises(asyncio.CancelledError):
            await intake(scene, NEW).run()
    assert is_sealed((await stands(scene))["secret"])
    assert leaks(look) == []
    await intake(scene, NEW).run()
    assert ((await in_force(scene)).url, (await hash_of(scene))["state"]) == ("https://example.com/new", "active")


async def test_who_writes_while_it_is_sealed_wins(scene: Scene, look: "Redis") -> None:
    """Compare and set: the older definition is not written over the newer one, which is sealed in its turn."""
    await write(scene)
    worker, call = intake(scene, NEW), scene.store.scripts.call

    async def overtaken(name: str, *arguments: Any) -> Any:
        if name == "seal_endpoint":
            scene.store.scripts.call = call  # type: ignore[method-assign]
            await write(scene, url="https://example.com/newer")
        return await call(name, *arguments)

    scene.store.scripts.call = overtaken  # type: ignore[assignment]
    await worker.run()
    assert (await stands(scene))["secret"] == PLANTED["secret"]
    await worker.run()
    assert (await in_force(scene)).url == "https://example.com/newer"
    assert leaks(look) == []


async def test_a_bad_definition_leaves_no_secret_behind(scene: Scene, look: "Redis") -> None:
    """It is answered with the last good one, which is sealed; without one it goes."""
    worker = intake(scene, NEW)
    await write(scene, url="ftp://nowhere")
    await worker.run()
    assert (await stands(scene), leaks(look)) == ({}, [])
    await write(scene)
    await worker.run()
    good = await stands(scene)
    await write(scene, url="ftp://nowhere")
    await worker.run()
    assert (await stands(scene), leaks(look)) == (good, [])
    assert await rejected(scene) == 1


async def test_what_is_sealed_is_judged_by_what_it_says(scene: Scene) -> None:
    """A spoilt secret is no better for having been sealed."""
    sealed = Keyring([NEW]).sealed("a", {**PLANTED, "secret": "whsec_spoilt!"})
    await scene.store.client.hset("bridge:endpoints", "a", json.dumps(sealed))
    await intake(scene, NEW).run()
    assert (await stands(scene), await rejected(scene)) == ({}, 1)


@pytest.mark.parametrize("keys", [(), (OTHER,)], ids=["without a key", "with another key"])
async def test_a_secret_that_no_key_opens_loses_nobodys_endpoint(scene: Scene, keys: tuple[str, ...]) -> None:
    """It stays in force, sealed as it is, and is nobody's rejection; only to sign for it cannot be done here."""
    await write(scene)
    await intake(scene, NEW).run()
    before, text = await hash_of(scene), await stands(scene)
    stranger = intake(scene, *keys)
    await stranger.run()
    assert (await hash_of(scene), await stands(scene), await rejected(scene)) == (before, text, 0)
    with pytest.raises(CannotOpen):
        Keyring(keys).endpoint(await in_force(scene))
    await scene.store.client.hset("bridge:endpoints", "a", json.dumps(text | {"x-mine": 1}))
    await stranger.run()
    assert Keyring([NEW]).endpoint(await in_force(scene)).secrets == (PLANTED["secret"],)


async def test_two_workers_of_which_one_has_no_key_come_to_rest(scene: Scene, look: "Redis") -> None:
    """Whoever takes it in first: it ends sealed, once, and neither undoes what the other did."""
    for first in (0, 1):
        await write(scene, url=f"https://example.com/{first}")
        workers = [intake(scene), intake(scene, NEW)]
        for turn in range(6):
            await workers[(turn + first) % 2].run()
        rest = await scene.store.client.hgetall("bridge:endpoint:a"), await stands(scene)
        for worker in workers:
            await worker.run()
        assert (await scene.store.client.hgetall("bridge:endpoint:a"), await stands(scene)) == rest
        assert leaks(look) == []
        assert (await in_force(scene)).url == f"https://example.com/{first}"


async def test_sealing_twice_changes_nothing_more(scene: Scene) -> None:
    """A client whose reply was lost repeats the script."""
    await write(scene)
    await intake(scene).run()
    calls: list[tuple[Any, ...]] = []
    call = scene.store.scripts.call

    async def heard(*arguments: Any) -> Any:
        calls.append(arguments)
        return await call(*arguments)

    scene.store.scripts.call = heard  # type: ignore[assignment]
    await intake(scene, NEW).run()
    (sealing,) = [one for one in calls if one[0] == "seal_endpoint"]
    before = await hash_of(scene), await scene.store.client.hgetall("bridge:meta")
    assert await call(*sealing) == b"sealed"
    assert (await hash_of(scene), await scene.store.client.hgetall("bridge:meta")) == before


async def test_what_cannot_be_written_again_as_it_was_is_refused(scene: Scene) -> None:
    """An infinite number in a field of the client's own: sealing has to write it anew, and JSON cannot say it."""
    await scene.store.client.hset("bridge:endpoints", "a", json.dumps(PLANTED)[:-1] + ', "x-far": 1e999}')
    await intake(scene, NEW).run()
    assert (await stands(scene), await rejected(scene)) == ({}, 1)


async def test_a_client_key_that_broke_comes_back_sealed(scene: Scene, look: "Redis") -> None:
    """What recovery writes back is what was kept."""
    worker = intake(scene, NEW)
    await write(scene)
    await worker.run()
    await scene.store.client.set("bridge:endpoints", "x")
    await worker.run()
    await scene.store.client.delete("bridge:endpoints")
    await worker.run()
    assert is_sealed((await stands(scene))["secret"])
    assert leaks(look) == []
