"""What can go wrong on our side, or by a person's hand. A subscriber's or upstream's failure is a value instead."""

ONE_PRIMARY = "use one primary, with replicas if you like, behind one address: docs/how-to/redis-sentinel.md"
"""What to do instead of a Redis Cluster."""
START_REDIS = "redis-server config/redis.conf &  # with the --dir that it had, if any; or set BRIDGE_REDIS_URL"
"""What to do about a Redis that does not answer."""
LOG_IN = (
    "write :PASSWORD@ (for a user of its own USER:PASSWORD@) before the host in BRIDGE_REDIS_URL, or in the file that "
    "BRIDGE_REDIS_URL_FILE names; docs/settings.md shows such a URL"
)
"""What to do about one that does not let us in. No whole URL: what is told has its passwords struck out."""

ANOTHER_ADDRESS = "set BRIDGE_REDIS_URL to where your Redis listens: another program has that port"
"""What to do about something else that answers in its place."""


class BridgeError(Exception):
    """Something failed.

    The first line of a subclass's docstring is its message when none is given. `fix` is the next thing to do, as a
    command or a sentence; doors print it on a line of its own. `exit_code` is what the CLI exits with.
    """

    exit_code = 1

    def __init__(self, message: str | None = None, *, fix: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])
        self.fix = fix


class SettingsError(BridgeError):
    """The configuration cannot be used."""

    exit_code = 2


class InvalidInput(BridgeError):
    """The input was not understood."""

    exit_code = 2


class WrongOption(InvalidInput):
    """An option has a value that it cannot take. `fix` is that option with the one that was meant: `--to http://…`."""


class NotFound(BridgeError):
    """There is nothing by that name."""

    exit_code = 3


class Conflict(BridgeError):
    """What stands forbids it, or somebody else changed it at the same time."""


class CredentialRefused(BridgeError):
    """TwelveLabs refused the API key."""

    exit_code = 4


class DependencyDown(BridgeError):
    """A service that the bridge needs does not answer."""

    exit_code = 5


class StoreDown(DependencyDown):
    """Redis does not answer, or refuses to work."""


class StoreAway(StoreDown):
    """Redis cannot be reached, or its answer does not come."""


class StoreLoading(StoreDown):
    """Redis has just started, and reads its data: it will answer by itself."""


class StoreLocked(StoreDown):
    """Redis does not let us in: it wants a password, or does not know ours."""


class NoRedis(StoreDown):
    """What listens there is no Redis."""


class EgressDown(DependencyDown):
    """The egress proxy opens no tunnel."""


class UnsafeRedis(DependencyDown):
    """This Redis could forget what the bridge owes."""


class WrongType(BridgeError):
    """A key in Redis holds something of another type than it should."""


class NewerData(BridgeError):
    """The data in this Redis was written by a newer version of the bridge."""


class OlderWorkers(BridgeError):
    """Workers of an older version are at work on this data."""


class UnreadableData(BridgeError):
    """What this Redis says of the version of its data cannot be read."""
