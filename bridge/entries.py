"""An entry of a client's key as its bytes stand in Redis: judged for intake and for `bridge contract check`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.contract import check_member, check_score, task_options
from bridge.definition import endpoint
from bridge.guard import Policy
from bridge.model import OPTIONS, Endpoint, WatchOptions
from bridge.rejection import Rejection
from bridge.sealing import Keyring
from bridge.watches import Watch, watch


@dataclass(frozen=True, slots=True)
class Judge:
    """The contract, under one installation's policy. Each verb raises Rejection."""

    policy: Policy
    has_default_secret: bool
    has_signing_key: bool = False

    def endpoint(self, name: bytes, text: bytes) -> Endpoint:
        """A field of `bridge:endpoints`."""
        try:
            definition = text.decode()
        except UnicodeDecodeError:
            raise Rejection("", "not UTF-8", "write one JSON object") from None
        return endpoint(
            name.decode(errors="backslashreplace"),
            definition,
            self.policy,
            has_default_secret=self.has_default_secret,
            has_signing_key=self.has_signing_key,
        )

    def watch(self, name: bytes, text: bytes) -> Watch:
        """A field of `bridge:watches`."""
        try:
            definition = text.decode()
        except UnicodeDecodeError:
            raise Rejection("", "not UTF-8", "write one JSON object") from None
        shown = name.decode(errors="backslashreplace")
        return watch(shown, definition, self.policy, has_default_secret=self.has_default_secret)

    def task(
        self, raw: bytes, score: float, options: Mapping[bytes, bytes] | None
    ) -> tuple[WatchOptions, Endpoint | None]:
        """A member of `bridge:tasks` with its hash, None for one that is of another type."""
        member = raw.decode(errors="backslashreplace")
        check_member(member)
        check_score(member, score)
        if options is None:
            again = f"DEL bridge:task:{member}, HSET the options, then ZADD bridge:tasks NX 0 {member}"
            raise Rejection("", f"bridge:task:{member} is not a hash", again, member)
        try:
            fields = {name: options[name.encode()].decode() for name in OPTIONS if name.encode() in options}
        except UnicodeDecodeError:
            raise Rejection("", "an option is not UTF-8", "write the options as UTF-8 text", member) from None
        return task_options(fields, self.policy, has_default_secret=self.has_default_secret)


def judged_and_sealed(judge: Judge, keyring: Keyring, raw_name: bytes, text: bytes) -> tuple[bytes, Endpoint]:
    """A definition judged by what it says, and as it is to stand in Redis: where there is a key, its secrets sealed.

    Raises Rejection.
    """
    if not keyring:
        return text, judge.endpoint(raw_name, text)
    try:
        name = raw_name.decode()
        judge.endpoint(raw_name, keyring.opened_text(name, text.decode()).encode())
        sealed = keyring.sealed_text(name, text.decode()).encode()
    except UnicodeDecodeError:
        return text, judge.endpoint(raw_name, text)  # which refuses it
    except ValueError:
        reason = "it holds a number or a character that cannot be written again, as sealing its secrets has to"
        raise Rejection("", reason, "write it as a text") from None
    return sealed, judge.endpoint(raw_name, sealed)


def wrong_type(key: str, kind: str, wanted: str) -> Rejection:
    """The refusal of a client's key as a whole."""
    return Rejection(
        "",
        f"{key} is a {kind}, not a {wanted}",
        f"RENAME {key} to another name; what was registered is then written back",
    )
