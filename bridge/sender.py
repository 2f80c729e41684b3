"""Posts an event to a subscriber's callback URL. What comes of it is a value, whatever they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from secrets import token_hex

from bridge import __version__
from bridge.attempt import answer_head, keeps_heads, redirect, request_head
from bridge.consent import ALLOWED_ORIGIN, ALLOWED_RATE, REQUEST_ORIGIN, REQUEST_RATE, Consent, Word, consent_from
from bridge.errors import SettingsError
from bridge.formats import CONTENT_TYPES, rendered, unknown
from bridge.guard import Policy, Refused
from bridge.keypair import PrivateKey
from bridge.keyset import MAKE_ONE, SigningKey, signing
from bridge.model import V1, V1A, Delivery, Endpoint, Fault, Outcome
from bridge.redaction import Confidant, bare
from bridge.rotation import signing_secrets
from bridge.schedule import parse_retry_after
from bridge.sealing import Keyring
from bridge.throttle import per_minute
from bridge.tl_signature import AnySigner, signer_for
from bridge.tracing import UNTRACED, Tracing
from bridge.transport import Answer, Origin, Request, Transport, TransportFault

ORIGIN = "bridge-for-twelvelabs"
"""What receivers know this system by that are asked for their consent, unless a setting says otherwise."""

EXCERPT_BYTES = 1_024
"""How much of an answer's body is kept, without the secrets that it repeats."""


CONTENT_TYPE = "content-type"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is the same for every attempt at one endpoint."""

    endpoint: Endpoint
    origin: Origin
    target: str = field(repr=False)
    shown_url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    signer: AnySigner
    signs_until: float | None
    """Unix seconds: then a secret ends or a key begins, and the signer is another one."""
    confidant: Confidant


class Sender:
    """Signs and posts. One per process; `now` gives the wall clock, which receivers compare signatures with."""

    def __init__(
        self,
        transport: Transport,
        policy: Policy,
        *,
        deadline_seconds: float,
        default_secret: str | None,
        keyring: Keyring | None = None,
        signing_keys: Sequence[SigningKey] = (),
        origin: str = ORIGIN,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._tracing = tracing
        self._transport, self._policy, self._deadline = transport, policy, deadline_seconds
        self._default_secret, self._keyring, self._now = default_secret, keyring or Keyring(), now
        self._signing_keys = signing_keys
        self._origin = origin
        self._prepared: dict[str, _Prepared] = {}

    async def post(self, endpoint: Endpoint, delivery: Delivery) -> Outcome:
        """Make one attempt. The URL is judged again, the address at the dial; redirects are not followed.

        Raises BridgeError for what is our fault: no secret or key to sign with, a spoilt one, one that no key opens, a
        format that this version does not know.
        """
        with self._tracing.post(endpoint, delivery) as span:
            outcome = await self._post(endpoint, delivery, span.traceparent or traceparent(delivery.event_id))
            span.came_to(outcome)
        return outcome

    async def _post(self, endpoint: Endpoint, delivery: Delivery, trace: str) -> Outcome:
        try:
            prepared = self._prepare(endpoint)
        except Refused as refusal:
            return Outcome(fault=Fault.BLOCKED, detail=f"{refusal.reason}: {refusal.detail}")
        body, described = rendered(endpoint.format, delivery.event_id, delivery.body)
        timestamp = int(self._now().timestamp())
        headers = (
            *prepared.headers,
            *prepared.signer.headers(delivery.event_id, timestamp, body),
            ("traceparent", trace),
            ("bridge-attempt", str(delivery.attempts + 1)),
            ("bridge-trigger", delivery.trigger),
            *described,
        )
        request = Request("POST", prepared.origin, prepared.target, headers, body)
        try:
            answer = await self._transport.exchange(endpoint.name, request, deadline_seconds=self._deadline)
        except TransportFault as fault:
            sent = request_head(prepared.shown_url, headers, endpoint.headers)
            return Outcome(fault=fault.fault, detail=fault.detail, timing=fault.timing, request=sent)
        outcome = self._outcome(answer, prepared)
        if not keeps_heads(delivery, answer.status):
            return outcome
        sent = request_head(prepared.shown_url, headers, endpoint.headers)
        return replace(outcome, request=sent, answer=answer_head(answer.headers, prepared.confidant))

    async def ask(self, endpoint: Endpoint) -> Consent:
        """Ask its receiver for the consent to be sent events, by the way of every attempt, and with its own headers.

        Raises BridgeError for what is our fault, as `post` does.
        """
        try:
            prepared = self._prepare(endpoint)
        except Refused as refusal:
            return Consent(Word.UNANSWERED, fault=Fault.BLOCKED, detail=f"{refusal.reason}: {refusal.detail}")
        headers = [one for one in prepared.headers if one[0] != CONTENT_TYPE]
        if endpoint.rate:
            headers.append((REQUEST_RATE, str(per_minute(endpoint.rate))))
        request = Request("OPTIONS", prepared.origin, prepared.target, headers)
        try:
            answer = await self._transport.exchange(endpoint.name, request, deadline_seconds=self._deadline)
        except TransportFault as fault:
            return Consent(Word.UNANSWERED, fault=fault.fault, detail=fault.detail)
        rest = parse_retry_after(answer.header("retry-after"), now=self._now())
        allowed = answer.header(ALLOWED_ORIGIN), answer.header(ALLOWED_RATE)
        return consent_from(answer.status, *allowed, self._origin, rest)

    def forget(self, endpoint: str) -> None:
        """An endpoint is gone or changed: close its connections, drop what was prepared for it."""
        if self._prepared.pop(endpoint, None):
            self._transport.close_pool(endpoint)

    def _prepare(self, endpoint: Endpoint) -> _Prepared:
        known = self._prepared.get(endpoint.name)
        now = self._now().timestamp()
        same = known is not None and (known.endpoint is endpoint or known.endpoint == endpoint)
        if known and same and (known.signs_until is None or now < known.signs_until):
            return known
        if not same:  # else a secret's time is over, which changes no connection
            self.forget(endpoint.name)
        target = self._policy.parse(endpoint.url)
        opened = self._keyring.endpoint(endpoint)
        secrets, until = self._secrets(opened, now)
        keys, keys_until = self._keys(endpoint, now)
        if endpoint.format not in CONTENT_TYPES:
            raise unknown(endpoint.format)
        prepared = _Prepared(
            endpoint=endpoint,
            origin=Origin(target.scheme, target.host, target.port),
            target=target.path,
            shown_url=bare(endpoint.url),
            headers=(
                (CONTENT_TYPE, CONTENT_TYPES[endpoint.format]),
                ("user-agent", f"bridge/{__version__}"),
                *([(REQUEST_ORIGIN, self._origin)] if endpoint.handshake else []),
                *opened.headers.items(),
            ),
            signer=signer_for(endpoint.format, secrets, keys),
            signs_until=min((one for one in (until, keys_until) if one is not None), default=None),
            confidant=Confidant(
                endpoint.url, opened.headers, [*secrets, *(one.secret for one in opened.previous_secrets)]
            ),
        )
        self._prepared[endpoint.name] = prepared
        return prepared

    def _secrets(self, opened: Endpoint, now: float) -> tuple[tuple[str, ...], float | None]:
        """What signs `v1`, and until when it is these. SettingsError where it was asked for and there is none."""
        secrets, until = signing_secrets(opened, self._default_secret, now)
        if V1 in opened.signatures and not secrets:
            raise SettingsError(
                f"endpoint {opened.name} is signed with the default secret, and there is none any more",
                fix="set BRIDGE_DELIVERY_DEFAULT_SECRET again; what is owed waits",
            )
        return secrets, until

    def _keys(self, endpoint: Endpoint, now: float) -> tuple[tuple[PrivateKey, ...], float | None]:
        """What signs `v1a`, likewise. Fewer signatures than were asked for are never sent."""
        if V1A not in endpoint.signatures:
            return (), None
        keys, until = signing(self._signing_keys, now)
        if not keys:
            raise SettingsError(
                f"endpoint {endpoint.name} is to be signed with v1a, and no key signs now",
                fix=f"{MAKE_ONE}; what is owed waits",
            )
        return keys, until

    def _outcome(self, answer: Answer, prepared: _Prepared) -> Outcome:
        confidant, location = prepared.confidant, answer.header("location") if 300 <= answer.status < 400 else None
        return Outcome(
            status_code=answer.status,
            detail=redirect(prepared.endpoint.url, location, confidant, self._policy) if location else "",
            retry_after_seconds=parse_retry_after(answer.header("retry-after"), now=self._now()),
            excerpt=confidant.head_of(answer.body, EXCERPT_BYTES),
            timing=answer.timing,
        )


def traceparent(event_id: str) -> str:
    """A W3C traceparent where nobody traces: all attempts of an event share its trace, each is a span of its own."""
    trace = event_id.removeprefix("evt_")
    return f"00-{trace}-{token_hex(8)}-01"
