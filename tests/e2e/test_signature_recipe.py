"""docs/contract/signatures.md: its programs, run as they stand, on what a bridge publishes and sends."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.keypair import PrivateKey
from bridge.keyset import MEDIA_TYPE, PUBLISHED_AT, SigningKey, document
from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response
from bridge.sandbox.thread import in_thread
from bridge.signature import Signer, generate_secret

PAGE = (Path(__file__).parents[2] / "docs/contract/signatures.md").read_text()
SECRET = generate_secret(bytes(32))
KEY, OTHER, NEXT = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
BODY = '{"name":"Zoë"}'.encode()


@pytest.fixture
def recipes() -> list[dict[str, Callable[..., Any]]]:
    """The functions of each program of the page."""
    found = []
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        names: dict[str, Any] = {}
        exec(compile(program, "signatures.md", "exec"), names)
        found.append(names)
    return found


def headers(*keys: PrivateKey, at: float = 0.0) -> dict[str, str]:
    return dict(Signer([SECRET], keys).headers("evt_1", int(time.time() + at), BODY))


def test_the_first_program_verifies_by_the_secret(recipes: list[dict[str, Callable[..., Any]]]) -> None:
    """Also beside another signature; not another secret, another body, another time, a key alone, or rubbish."""
    ours, other = recipes[0]["is_ours"], generate_secret(bytes(range(32)))
    good = headers(KEY)
    assert ours(SECRET, headers(), BODY)
    assert ours(SECRET, good, BODY)
    assert ours(SECRET, dict(Signer([other, SECRET]).headers("evt_1", int(time.time()), BODY)), BODY)
    assert not ours(other, good, BODY)
    assert not ours(SECRET, good, BODY + b" ")
    assert not ours(SECRET, headers(at=-400), BODY)
    assert not ours(SECRET, headers(at=400), BODY)
    assert not ours(SECRET, good | {"webhook-signature": good["webhook-signature"].split()[-1]}, BODY)
    for name in good:
        for rubbish in ("", "x", "v1,", "v1,AAAA", "v1,é", "²"):
            assert not ours(SECRET, good | {name: rubbish}, BODY)
        assert not ours(SECRET, {one: value for one, value in good.items() if one != name}, BODY)


def test_the_second_program_verifies_by_what_is_published(recipes: list[dict[str, Callable[..., Any]]]) -> None:
    """Either key of a rotation; not another key, another body, another time, a secret alone, or rubbish."""

    def published(request: Request) -> Response:
        text = json.dumps(document([SigningKey(NEXT, 10**10), SigningKey(KEY, None)]))
        return Response(200, (("content-type", MEDIA_TYPE),), text.encode())

    server = HttpServer(published)
    with in_thread(server):
        keys = recipes[1]["keys_at"](server.url + PUBLISHED_AT)
    ours = recipes[1]["is_ours"]
    for signing in ([KEY], [NEXT], [OTHER, NEXT]):
        assert ours(keys, headers(*signing), BODY)
    assert not ours(keys, headers(KEY), BODY + b" ")
    assert not ours(keys, headers(KEY, at=-400), BODY)
    assert not ours(keys, headers(KEY, at=400), BODY)
    assert not ours(keys, headers(OTHER), BODY)
    assert not ours(keys, headers(), BODY)
    good = headers(KEY)
    for name in good:
        for rubbish in ("", "x", "v1a,", "v1a,AAAA", "v1a,é", "²"):
            assert not ours(keys, good | {name: rubbish}, BODY)
        assert not ours(keys, {one: value for one, value in good.items() if one != name}, BODY)


def test_the_example_of_the_page_is_a_document() -> None:
    """Its key is the published pair's, and its id is that key's."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    key = PrivateKey.parse(
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    )
    assert json.loads(shown) == document([SigningKey(key, 1_795_953_600)])
