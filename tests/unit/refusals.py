"""What the tests of the contract share: a policy, a URL, and what a refusal has to say."""

import json
from base64 import b64encode
from ipaddress import ip_network

from factories import START

from bridge.guard import Policy
from bridge.rejection import Rejection

STRICT = Policy()
LOCAL = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
URL = "https://example.com/hook"
CANARY = "c2VjcmV0LXBsYW50ZWQtaGVyZS0xMjM0"
"""Base64 of 24 bytes, so that it is a secret wherever it stands."""


def secret_of(size: int) -> str:
    """A signing secret of so many bytes."""
    return "whsec_" + b64encode(bytes(range(size))).decode()


def assert_whole(rejection: Rejection, *, field: str | None = None) -> None:
    """A refusal says where, why and what to do, in an entry that can be kept and read."""
    entry = json.loads(rejection.as_json(START))
    assert list(entry) == ["reason", "field", "value", "at", "fix"]
    assert len(rejection.as_json(START)) < 4_096
    assert (entry["at"], entry["reason"], entry["fix"]) == (START, rejection.reason, rejection.fix)
    assert rejection.reason
    assert rejection.fix
    assert rejection.reason in str(rejection)
    assert field is None or rejection.field == field
