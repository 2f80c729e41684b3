"""Who may do what in Redis, as ACL lines. Pure.

A producer registers tasks and endpoints and looks at what came of it; an operator is the CLI, with all of the bridge's
keys and a look at RQ's; a worker has both. Scripts run with the rights of who calls them, so the last two need each
command that a script of ours uses. Redis before 7 grants a key whole or not at all: there a producer's reading is a
user of its own, and an operator reaches RQ's keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

PRODUCER, OPERATOR, WORKER = "bridge-producer", "bridge-operator", "bridge-worker"
READER = "-reader"
"""How the user that looks, where a producer cannot, is called after it."""

OWN_KEYS = ("tasks", "task:*", "endpoints", "watches")
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
_RUN = ("+@read", "+@write", "+@transaction", "-@dangerous", "+evalsha", "+script|load", "+time", "+info")
_OPERATE = ("+config|get",)
_WORK = ("+subscribe", "+unsubscribe", "+client|list", "+client|info")


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


def users(prefix: str, *, before_7: bool = False, producer: str = PRODUCER) -> Sequence[User]:
    """The users of one installation; `producer` is another name for its producer."""
    own = [f"~{prefix}{key}" for key in OWN_KEYS]
    read_only = "~" if before_7 else "%R~"
    look = [f"{read_only}{prefix}{key}" for key in READ_KEYS]
    acts = ["resetchannels", "-@all", *_CONNECT, *_READ, *_WRITE, *_TRANSACT]
    runs = ("-@all", *_CONNECT, *_RUN)
    operator = User(OPERATOR, (f"~{prefix}*", f"{read_only}rq:*", "resetchannels", *runs, *_OPERATE))
    worker = User(WORKER, (f"~{prefix}*", "~rq:*", "resetchannels", "&rq:*", *runs, *_WORK))
    if not before_7:
        return [User(producer, (*own, *look, *acts)), operator, worker]
    reader = User(f"{producer}{READER}", (*look, "resetchannels", "-@all", *_CONNECT, *_READ))
    return [User(producer, (*own, *acts)), reader, operator, worker]
