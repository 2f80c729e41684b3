"""What one run of `bridge dev` watches, where its events go and what signs them."""

import asyncio
import contextlib
import ipaddress
import json
import os
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.callback import corrected
from bridge.cli import stage
from bridge.definition import ENDPOINT_BYTES
from bridge.definition import endpoint as read_endpoint
from bridge.errors import InvalidInput, WrongOption
from bridge.redaction import bare
from bridge.rejection import Rejection
from bridge.signature import generate_secret

if TYPE_CHECKING:
    from bridge.settings import Settings

SCHEDULE = "0,2,5,10,20,30,60,120,300"
"""The waits before each attempt of a run in the foreground, unless others are set: its receiver is being written."""
SHOWN = 5
"""How many ids a command names."""
RUN = "dev-"
"""How the name of a run's endpoint begins."""


@dataclass
class Session:
    """One run: what it watches, where events go, and the console for narration."""

    settings: "Settings"
    ids: list[str]
    url: str
    config: str | None = None
    given_secret: str | None = field(default=None, repr=False)
    """From --secret-file: then it signs."""
    name: str = field(default_factory=lambda: f"{RUN}{os.urandom(3).hex()}")
    made: str = field(default_factory=lambda: generate_secret(os.urandom(32)), repr=False)
    key_refused: asyncio.Event = field(default_factory=asyncio.Event)
    new: list[str] = field(default_factory=list)
    """The ids that nobody had registered before."""
    elsewhere: dict[str, list[str]] = field(default_factory=dict)
    """The ids that name endpoints, and so not this run's → those."""
    troubles: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    """What came of the latest attempt that somebody else's receiver, behind --to, did not take."""
    doubted: bool = False
    """It was told that the receiver may hold another secret."""
    alone: bool = False
    """It was told that nobody listens where events go."""

    @property
    def default_secret(self) -> str | None:
        """The one that is configured, if any: then it signs where none was given, and none is made."""
        secret = self.settings.delivery_default_secret
        return secret.get_secret_value() if secret else None

    @property
    def secret(self) -> str:
        """What signs."""
        return self.given_secret or self.default_secret or self.made

    @property
    def again(self) -> str:
        """The command of a run like this one that signs with another secret."""
        ids = [quote(one) for one in self.ids[:SHOWN]] + ["…"] * (len(self.ids) > SHOWN)
        url = bare(self.url)
        return " ".join(["bridge dev", *ids, "--to", "URL" if "…" in url else quote(url), "--secret-file secret.whsec"])

    def definition(self) -> dict[str, Any]:
        """Our endpoint. With ids it takes their events and nobody else's, unless the list is too long to be written."""
        whole = {"url": self.url, "events": ["*"], "tasks": self.ids or ["*"]}
        whole |= {} if self.secret == self.default_secret else {"secret": self.secret}
        return whole if len(json.dumps(whole)) <= ENDPOINT_BYTES else {**whole, "tasks": ["*"]}

    @property
    def hastened(self) -> bool:
        """Whether nobody chose a schedule, so that this run's own holds."""
        default = type(self.settings).model_fields["delivery_schedule_seconds"].default
        return bool(self.settings.delivery_schedule_seconds == default)

    @property
    def patience(self) -> int:
        """How often an event may be refused before --until-done waits for it no longer."""
        return 4 if self.hastened else 2

    def environment(self, redis_url: str | None) -> dict[str, str]:
        """The worker's: the user's own, and what this run needs beside it. InvalidInput for a URL not allowed."""
        networks, http = list(self.settings.delivery_allow_networks), self.settings.delivery_allow_http
        if nets := loopback_networks(self.url):
            networks, http = [*networks, *nets], True
        policy = replace(self.settings.policy, allow_networks=networks, allow_http=http)
        try:
            read_endpoint(
                self.name, json.dumps(self.definition()), policy, has_default_secret=self.default_secret is not None
            )
        except Rejection as rejection:
            meant = corrected(self.url)
            what = f"Events cannot go to {stage.printable(bare(self.url))}: {rejection}"
            if loopback_networks(meant):
                raise WrongOption(what, fix=f"--to {quote(bare(meant))}") from None
            raise InvalidInput(what, fix=rejection.fix) from None
        changed = {
            "BRIDGE_DELIVERY_ALLOW_NETWORKS": json.dumps([str(one) for one in networks]),
            "BRIDGE_DELIVERY_ALLOW_HTTP": str(http).lower(),
        }
        if self.hastened:
            changed["BRIDGE_DELIVERY_SCHEDULE_SECONDS"] = SCHEDULE
        changed |= {"BRIDGE_REDIS_URL": redis_url} if redis_url else {}
        changed |= {"BRIDGE_CONFIG": self.config} if self.config else {}
        return stage.environment(changed, scrubbed=False)


def loopback_networks(url: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Exactly the addresses of a URL that leads to this machine; none for any other."""
    with contextlib.suppress(ValueError):
        host = urlsplit(url).hostname or ""
        if host == "localhost":
            return [ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1")]
        address = ipaddress.ip_address(host)
        return [ipaddress.ip_network(address)] if address.is_loopback else []
    return []
