"""Shifts: which RQ jobs are alive, and how many are missing. Synchronous, on RQ's own connection."""

from collections.abc import Mapping, Sequence

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import RedisError

from bridge.store.keys import Keys
from bridge.store.scripts import as_store_error, script_text

TICKET_MS = 5_000
"""How long a job that was sent is believed to be on its way."""
ALIVE_MS = 5_000
"""How long a shift is believed to be alive after it said so; it says so every two seconds."""

KEYED, KEYLESS = ":keyed", ":keyless"
"""How the name of a live poll worker ends: with an API key it polls, without one it does not. Never the key."""


class Fleet:
    """What a supervisor asks: who is missing."""

    def __init__(self, connection: "Redis", prefix: str) -> None:
        self._prefix = prefix
        self._fill = _script(connection, "fill_shifts")

    def missing(self, kinds: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, int]:
        """Say which workers of ours are alive, and hear how many shifts are missing in all; kind → (RQ's key, workers).

        What is missing is ours to send. Raises StoreDown.
        """
        arguments: list[str | int] = [TICKET_MS]
        for kind, (_, workers) in kinds.items():
            arguments += [kind, len(workers), *workers]
        queues = [queue for queue, _ in kinds.values()]
        try:
            reply = self._fill(keys=[self._prefix, *queues], args=[*arguments, 0])
        except (RedisError, OSError) as error:
            raise as_store_error(error) from None
        return dict(zip(kinds, map(int, reply), strict=True))


class Shifts:
    """The shifts of one kind, `poll` or `deliver`."""

    def __init__(self, connection: "Redis", prefix: str, kind: str) -> None:
        self._prefix, self._kind = prefix, kind
        self._keys = Keys(prefix)
        self._connection = connection
        self._beat = _script(connection, "beat_shift")

    def start(self, shift: str) -> bool:
        """Begin a shift; False if there are enough without it. Raises StoreDown."""
        return self._say(shift, ALIVE_MS, starting=True) == b"wanted"

    def beat(self, shift: str) -> None:
        """The shift is alive. Raises StoreDown."""
        self._say(shift, ALIVE_MS, starting=False)

    def end(self, shift: str) -> None:
        """The shift is over; its place is free at once. Raises StoreDown."""
        try:
            self._connection.zrem(self._keys.shifts(self._kind), shift)
        except (RedisError, OSError) as error:
            raise as_store_error(error) from None

    def _say(self, shift: str, alive_ms: int, *, starting: bool) -> bytes:
        try:
            reply = self._beat(keys=[self._prefix], args=[self._kind, shift, alive_ms, int(starting), 0])
        except (RedisError, OSError) as error:
            raise as_store_error(error) from None
        return bytes(reply)


def _script(connection: "Redis", name: str) -> Script:
    major = int(str(connection.info("server")["redis_version"]).split(".", 1)[0])
    return connection.register_script(script_text(name, shebang=major >= 7))
