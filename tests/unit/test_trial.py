"""What to do about a trial that was not taken."""

import pytest

from bridge.guard import Policy
from bridge.model import Endpoint, Fault, Outcome
from bridge.trial import advice


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host.docker.internal:3000/hook", True),
        ("http://HOST.docker.internal/hook", True),
        ("http://receiver:3000/hook", False),
        ("https://example.com/host.docker.internal", False),
    ],
    ids=["the host", "in capitals", "a container", "in the path"],
)
def test_a_refusal_of_the_host_says_where_to_listen(url: str, said: bool) -> None:
    """From a container, an app that listens on 127.0.0.1 looks as if it were not there."""
    endpoint = Endpoint(name="a", url=url, events=("*",))
    (refused,) = advice(endpoint, Outcome(fault=Fault.CONNECT, detail="connection refused"), Policy())
    assert ("0.0.0.0" in refused.when) is said
    assert refused.command == "bridge endpoint set a --url URL"
    (late,) = advice(endpoint, Outcome(fault=Fault.TIMEOUT, detail="no answer"), Policy())
    assert "0.0.0.0" not in late.when


@pytest.mark.parametrize(
    ("url", "place"),
    [("https://example.com/hook", "http://example.com/hook"), ("https://example.com/hook?key=1", "URL")],
)
def test_what_speaks_no_tls_is_not_told_to_mend_its_certificate(url: str, place: str) -> None:
    """It has none: the same place by http, as far as it may be shown."""
    outcome = Outcome(fault=Fault.TLS, detail="tls: wrong version number")
    (told,) = advice(Endpoint(name="a", url=url, events=("*",)), outcome, Policy())
    assert str(told) == f"what listens there speaks no TLS: → bridge endpoint set a --url {place}"
