"""What we pack is what redis-py would have sent, and a command that cannot be sent is refused before anything is."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError

from bridge.model import DeliveryState
from bridge.store import connect
from bridge.store.wire import packing

ARGUMENTS = st.one_of(
    st.text(), st.binary(), st.integers(), st.floats(allow_nan=False), st.sampled_from(list(DeliveryState))
)
NAMES = st.lists(st.text(string.ascii_letters, min_size=1), min_size=1, max_size=2).map(" ".join)
COMMANDS = st.tuples(NAMES, st.lists(ARGUMENTS)).map(lambda pair: (pair[0], *pair[1]))


@given(st.lists(COMMANDS, min_size=1))
def test_the_bytes_are_those_of_redis_py(commands: list[tuple[Any, ...]]) -> None:
    """Of one command and of many, whatever they hold: text, bytes, numbers, and the words of our own enumerations."""
    theirs, ours = Connection(), packing(Connection)()
    assert b"".join(ours.pack_commands(commands)) == b"".join(theirs.pack_commands(commands))
    assert b"".join(ours.pack_command(*commands[0])) == b"".join(theirs.pack_command(*commands[0]))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://127.0.0.1", Connection),
        ("rediss://127.0.0.1", SSLConnection),
        ("unix:///redis.sock", UnixDomainSocketConnection),
    ],
)
async def test_each_kind_of_connection_packs_so(url: str, kind: type[Any]) -> None:
    """Plain, TLS and Unix sockets."""
    client = connect(url)
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert isinstance(connection, kind)
    assert connection.pack_command("SET", "a", 1) == [b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"]
    await client.aclose()


async def test_what_no_command_can_hold_is_refused_and_harms_nobody(redis_url: str) -> None:
    """As redis-py does; the connection goes on."""
    client = connect(redis_url)
    with pytest.raises(DataError):
        await client.set("key", None)  # type: ignore[arg-type]
    assert await client.set("key", "value")
    assert isinstance(client, Redis)
    await client.aclose()
