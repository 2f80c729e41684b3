"""`bridge listen`: a local receiver that says of each delivery who sent it, and passes it on where asked."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from shlex import quote
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rich_click as click

from bridge.callback import corrected
from bridge.cli import stage
from bridge.cli.calling import program
from bridge.cli.defining import known_from, public_key_option
from bridge.cli.ways_in import in_a_container, ways_in
from bridge.consent import ALLOWED_ORIGIN, ALLOWED_RATE, REQUEST_ORIGIN
from bridge.errors import InvalidInput, WrongOption
from bridge.redaction import bare
from bridge.sandbox.http import HttpServer
from bridge.sandbox.message import Request, Response
from bridge.signature import Known, Mismatch
from bridge.tl_signature import verify_any

if TYPE_CHECKING:
    from rich.text import Text

    from bridge import transport

PORT = 8787
SLOW_SECONDS = 5.0
FORWARD_SECONDS = 14.0
"""How long a local app may take: a little less than the bridge waits by default."""
SHOWN_CHARACTERS = 80

PASSED_BACK = ("content-type", "retry-after")
HOP_BY_HOP = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
HINTS = {
    Mismatch.BAD_SECRET: "no secret here can have signed it: webhook-signature needs whsec_…, TL-Signature one of at "
    "least 8 characters",
    Mismatch.MISSING_HEADER: "no webhook-id, webhook-timestamp and webhook-signature, and no TL-Signature: the bridge "
    "did not send this",
    Mismatch.DUPLICATE_HEADER: "a header of the signature came twice: something on the way changed it",
    Mismatch.BAD_TIMESTAMP: "its timestamp is not a number of seconds",
    Mismatch.TOO_OLD: "its timestamp is more than 5 minutes behind this clock: a replay, or compare the clocks",
    Mismatch.TOO_NEW: "its timestamp is more than 5 minutes ahead of this clock: compare the clocks",
    Mismatch.NO_V1_SIGNATURE: "its signature header holds no v1 signature",
    Mismatch.NO_V1A_SIGNATURE: "its signature header holds no v1a signature: bridge endpoint set NAME --signatures "
    "v1,v1a",
    Mismatch.NO_MATCHING_SIGNATURE: "another secret signed it, or it was changed on the way: --secret-file F, with the "
    "secret that `endpoint add` printed",
}


@dataclass(frozen=True, slots=True)
class Heard:
    """One request as judged, and what it was answered. Its texts come from outside and are made printable here."""

    verdict: str | None
    """None: the signature is valid. Empty: nobody could tell, for want of a secret. Else a Mismatch."""
    type: str
    task: str
    event_id: str
    attempt: str
    status: int
    milliseconds: float
    note: str = ""

    @property
    def trusted(self) -> bool:
        """Whether it may be acted upon."""
        return not self.verdict

    def line(self) -> "Text":
        """`time ✓ sig ok  type  task  event id  attempt → status (ms)`."""
        from rich.text import Text

        marks = {None: ("✓ sig ok", "green"), "": ("? not verified", "yellow")}
        good = self.trusted and self.status < 300
        notes = [HINTS.get(Mismatch(self.verdict), "")] if self.verdict else []
        return Text.assemble(
            f"{datetime.now():%H:%M:%S} ",
            marks.get(self.verdict, (f"✗ sig BAD {self.verdict}", "bold red")),
            "  ",
            (self.type or "no event", "bold"),
            "".join(
                f"  {text}" for text in (self.task, self.event_id, self.attempt and f"attempt {self.attempt}") if text
            ),
            " → ",
            (str(self.status), "green" if good else "bold red"),
            f" ({self.milliseconds:.0f} ms)",
            "".join(f"  {note}" for note in (*notes, self.note) if note),
        )


Answer = Callable[[], Response]
"""What a trusted delivery is answered."""


class Listener:
    """Verifies, answers and tells. Without secrets nothing can be verified, and everything is taken."""

    def __init__(
        self, known: Sequence[Known], say: Callable[[Heard], None], *, answer: Answer, forward: "Forward | None" = None
    ) -> None:
        self._known, self._say, self._answer, self._forward = tuple(known), say, answer, forward
        self.server = HttpServer(self.respond)

    async def start(self, port: int, host: str = stage.LOOPBACK) -> None:
        """Listen; port 0 takes a free one. BridgeError if that cannot be."""
        with stage.port_errors(port):
            await self.server.start(port, host)

    async def respond(self, request: Request) -> Response:
        """The answer to one request, after saying what came of it."""
        verdict: str | None = ""
        if self._known:
            verdict = verify_any(self._known, request.headers, request.body, time.time())
        note = ""
        origin = request.headers.get(REQUEST_ORIGIN)
        if request.method == "OPTIONS" and origin:  # it listens to whomever asks
            verdict, response = "", Response(200, (("allow", "POST"), (ALLOWED_ORIGIN, origin), (ALLOWED_RATE, "*")))
        elif request.method != "POST":
            response = Response(405, (("allow", "POST"),))
        elif verdict:
            response = Response(401, (("content-type", "text/plain"),), verdict.encode())
        elif self._forward:
            response, note = await self._forward.post(request)
        else:
            response = self._answer()
        spent = (time.monotonic() - request.arrived + response.delay_seconds) * 1000
        self._say(_heard(request, verdict, response.status, spent, note))
        return response


def _heard(request: Request, verdict: str | None, status: int, milliseconds: float, note: str) -> Heard:
    try:
        event = json.loads(request.body)
    except (ValueError, RecursionError):
        event = None
    event = event if isinstance(event, dict) else {}
    kind = request.headers.get("ce-type")  # CloudEvents' binary mode: the body is the data alone
    data = event if kind else event.get("data")

    def shown(text: Any) -> str:
        return stage.printable(text, SHOWN_CHARACTERS)

    return Heard(
        verdict=verdict,
        type=shown(kind or event.get("type") or f"{request.method} {request.path}"),
        task=shown(data.get("task_id") or data.get("id", "") if isinstance(data, dict) else ""),
        event_id=shown(request.headers.get("webhook-id") or event.get("id", "")),
        attempt=shown(request.headers.get("bridge-attempt", "")),
        status=status,
        milliseconds=milliseconds,
        note=note,
    )


class Forward:
    """Passes a delivery on to a local app, its bytes and headers as they came, and the app's answer back."""

    def __init__(self, url: str) -> None:
        """InvalidInput for what is not a URL. The address is the caller's own choice, so it is not judged."""
        from bridge.transport import Origin, Transport

        parts = urlsplit(url)
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            self._origin = Origin(parts.scheme, parts.hostname or "", port)
            self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._request((), b"").encode()
        except (KeyError, ValueError):
            meant = bare(corrected(url)) or "http://localhost:3000/hook"
            raise WrongOption(
                f"“{stage.printable(bare(url))}” is no URL.", fix=f"--forward-to {quote(meant)}"
            ) from None
        self._transport = Transport(lambda *_: None)

    async def post(self, request: Request) -> tuple[Response, str]:
        """The app's answer, or 502 and why there is none."""
        from bridge.transport import TransportFault

        headers = [(name, value) for name, value in request.headers.items() if _passes(name)]
        try:
            ours = self._request(headers, request.body)
            answer = await self._transport.exchange("forward", ours, deadline_seconds=FORWARD_SECONDS)
        except TransportFault as fault:
            return Response(502), stage.printable(f"the app does not answer: {fault.fault}, {fault.detail}")
        except ValueError as error:
            return Response(502), stage.printable(f"not forwarded: {error}")
        kept = tuple((name, value) for name, value in answer.headers if name in PASSED_BACK)
        return Response(answer.status, kept, answer.body), ""

    async def close(self) -> None:
        """Close its connections."""
        await self._transport.aclose()

    def _request(self, headers: Sequence[tuple[str, str]], body: bytes) -> "transport.Request":
        from bridge.transport import Request

        return Request("POST", self._origin, self._target, headers, body)


def _passes(name: str) -> bool:
    return name not in HOP_BY_HOP and not name.startswith("proxy-")


def answer_from(word: str) -> Answer:
    """`--respond`: a status, `slow` or `flaky`. InvalidInput for anything else."""
    if word == "slow":
        return lambda: Response(204, delay_seconds=SLOW_SECONDS)
    if word == "flaky":
        statuses = cycle((503, 204))
        return lambda: Response(next(statuses))
    if word.isascii() and word.isdigit() and 200 <= int(word) <= 599:
        return lambda: Response(int(word))
    raise InvalidInput(f"“{stage.printable(word)}” is no answer.", fix="--respond 200 to 599, slow or flaky")


def _signing(known: Sequence[Known], secret_file: str | None, *, public: bool) -> str:
    """The option of `endpoint add` by which an endpoint signs with what is verified here.

    A file that was read from standard input, or holds several secrets, is none that it could read.
    """
    if public and not any(isinstance(one, str) for one in known):
        return "--signatures v1a"
    if known and secret_file is None:
        return "--default-secret"
    named = secret_file if secret_file and secret_file != "-" and len(known) == 1 else None  # noqa: S105  a path
    return f"--secret-file {stage.printable(quote(named)) if named else 'F'}"


async def _listen(host: str, port: int, known: Sequence[Known], url: str | None, respond: str, signing: str) -> int:
    """`signing`: as `_signing` has it."""
    lines, narration = stage.console(), stage.console(stderr=True)
    forward = Forward(url) if url else None
    listener = Listener(known, lambda heard: lines.print(heard.line()), answer=answer_from(respond), forward=forward)
    await listener.start(port, host)
    try:
        here, *elsewhere = ways_in(host, listener.server.port, contained=in_a_container())
        narration.print(f"Listening on {here.url}, as on any other path (Ctrl-C ends).")
        if not known:
            narration.print("! No secret, so nothing is verified: --secret-file F, or BRIDGE_DELIVERY_DEFAULT_SECRET.")
        for way in (here, *elsewhere):
            narration.print(
                f"To register it{way.whence}: {program()} endpoint add local {way.url} {signing}\n"
                "  where its worker runs: "
                f"export BRIDGE_DELIVERY_ALLOW_HTTP=true BRIDGE_DELIVERY_ALLOW_NETWORKS={way.networks}"
            )
        await asyncio.Event().wait()
    finally:
        await listener.server.stop()
        if forward:
            await forward.close()
    return 0


@click.command()
@click.argument("port", type=click.IntRange(0, 65_535), default=PORT)
@stage.host_option
@click.option("--forward-to", "url", metavar="URL", help="Pass each delivery on to this app, and answer as it does.")
@click.option("--secret-file", metavar="F", help="The secrets to verify with, one a line.")
@public_key_option
@click.option(
    "--respond", default="204", metavar="STATUS|slow|flaky", help="Answer so: to see what the bridge does then."
)
@click.pass_context
def listen(ctx: click.Context, /, port: int, host: str, url: str | None, respond: str, **given: Any) -> None:
    """Receive deliveries, on 127.0.0.1 unless --host says otherwise, verify each one and say a line about it.

    A delivery whose signature (webhook-signature, or TL-Signature as TwelveLabs' own webhooks have it) is not valid
    is answered 401 and goes no further. The secret is that of --secret-file, else BRIDGE_DELIVERY_DEFAULT_SECRET; with
    --public-key it is by v1a that it verifies. `slow` answers 204 after 5 s, `flaky` answers every other
    delivery 503. PORT 0 takes a free one.

    \b
    Examples:
      bridge listen --secret-file local.whsec
      bridge listen 8787 --forward-to http://localhost:3000/hook
      bridge listen --respond flaky
    """
    if url and respond != "204":
        raise click.UsageError("--respond and --forward-to exclude each other: the app answers.")
    known = known_from(given["secret_file"], given["public_keys"], ctx)
    signing = _signing(known, given["secret_file"], public=bool(given["public_keys"]))
    sys.exit(stage.run(_listen(host, port, known, url, respond, signing), interrupted=0))
