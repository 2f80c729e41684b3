"""Who may do what in Redis, as ACL lines: a client reaches its own keys, a worker the bridge's and RQ's. Pure.

Scripts run with the rights of who calls them, so a worker needs each command that a script of ours uses. Redis before 7
grants a key whole or not at all: there reading is a user of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

CLIENT, READER, WORKER = "bridge-client", "bridge-client-reader", "bridge-worker"

OWN_KEYS = ("tasks", "task:*", "endpoints")
"""What clients write, below the prefix."""
READ_KEYS = ("snapshot:*", "events", "rejected", "meta")
"""What clients may look at, below the prefix."""

_CONNECT = ("+ping", "+hello", "+select", "+client|setname", "+acl|whoami")
_READ = (
    "+type", "+exists", "+hget", "+hmget", "+hgetall", "+hkeys", "+hlen", "+hexists", "+hscan", "+zscore", "+zcard",
    "+zcount", "+zrange", "+zrangebyscore", "+zscan", "+xrange", "+xrevrange", "+xread", "+xlen",
)  # fmt: skip
_WRITE = ("+zadd", "+zrem", "+hset", "+hsetnx", "+hdel", "+del")
_TRANSACT = ("+multi", "+exec", "+discard")
_WORK = (
    "+@read", "+@write", "+@transaction", "-@dangerous", "+evalsha", "+script|load", "+time", "+info", "+subscribe",
    "+unsubscribe", "+client|list", "+client|info",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """One ACL user. Its password is a placeholder that Redis refuses, so that no line works before it has one."""

    name: str
    rules: tuple[str, ...]

    @property
    def placeholder(self) -> str:
        """Stands where `#` and the SHA-256 of the password in hexadecimal digits belong."""
        return f"#SHA256-OF-THE-PASSWORD-OF-{self.name}"

    def line(self, *, command: bool = False) -> str:
        """As a line of an aclfile, or as a command."""
        return " ".join(("ACL SETUSER" if command else "user", self.name, "reset on", self.placeholder, *self.rules))


def users(prefix: str, *, before_7: bool = False, client: str = CLIENT) -> Sequence[User]:
    """The users of one installation; `client` is another name for its client."""
    own = [f"~{prefix}{key}" for key in OWN_KEYS]
    look = [f"{'~' if before_7 else '%R~'}{prefix}{key}" for key in READ_KEYS]
    acts = ["resetchannels", "-@all", *_CONNECT, *_READ, *_WRITE, *_TRANSACT]
    worker = User(WORKER, (f"~{prefix}*", "~rq:*", "resetchannels", "&rq:*", "-@all", *_CONNECT, *_WORK))
    if not before_7:
        return [User(client, (*own, *look, *acts)), worker]
    reader = READER if client == CLIENT else f"{client}-reader"
    return [
        User(client, (*own, *acts)),
        User(reader, (*look, "resetchannels", "-@all", *_CONNECT, *_READ)),
        worker,
    ]
