"""Standard Webhooks signatures: the published vector, the suites' conformance cases, two other implementations."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import standardwebhooks.webhooks
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidInput
from bridge.keypair import PrivateKey
from bridge.signature import ITEMS, Known, Mismatch, Signer, generate_secret, parse_secret, verify

# The vector of the official libraries (standard-webhooks, libraries/python/tests/test_webhooks.py)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": SIGNATURE}

# That of `v1a` (svix-webhooks 4fc0cfb8, server/svix-server/src/worker.rs, tests; also the example of the specification,
# standard-webhooks b2fa7b8, spec/standard-webhooks.md): the same id, timestamp and body.
KEY = PrivateKey.parse("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
SIGNATURE_A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER_KEY = PrivateKey(bytes(range(32)))

OTHER = generate_secret(bytes(range(32)))
THIRD = generate_secret(bytes(range(64)))

Oracle = Callable[[str], "standardwebhooks.webhooks.Webhook | svix.webhooks.Webhook"]
ORACLES: list[Oracle] = [standardwebhooks.webhooks.Webhook, svix.webhooks.Webhook]

secrets = st.binary(min_size=24, max_size=64).map(generate_secret)
ids = st.from_regex(r"evt_[A-Za-z0-9_-]{1,40}", fullmatch=True)
bodies = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def changed(**changes: str | None) -> dict[str, str]:
    """The vector's headers with some replaced or, by None, removed; `_` stands for `-`."""
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def test_the_official_vector() -> None:
    """The signature of the official libraries comes out, in the three headers and in their order."""
    assert Signer([SECRET]).headers(ID, NOW, BODY) == list(HEADERS.items())
    assert verify([SECRET], HEADERS, BODY, NOW) is None


def test_the_signed_bytes() -> None:
    """Signed is id, full stop, timestamp, full stop, body, under the decoded secret, whatever the body's bytes."""
    body = bytes(range(256))
    mac = hmac.new(bytes(range(32)), b"evt_1.7." + body, hashlib.sha256).digest()
    assert Signer([OTHER]).headers("evt_1", 7, body)[2][1] == "v1," + base64.b64encode(mac).decode()


def test_an_empty_body_is_signed_too() -> None:
    """Nothing is also something that can be replaced."""
    headers = Signer([SECRET]).headers(ID, NOW, b"")
    assert verify([SECRET], headers, b"", NOW) is None
    assert verify([SECRET], headers, b" ", NOW) == Mismatch.NO_MATCHING_SIGNATURE


def test_a_signer_signs_again_and_again() -> None:
    """The kept hash state is not touched by what is signed with it."""
    signer = Signer([SECRET])
    first = signer.headers(ID, NOW, BODY)
    assert signer.headers("evt_2", NOW + 1, b"x") != first
    assert signer.headers(ID, NOW, BODY) == first


def test_an_id_with_a_full_stop_is_refused() -> None:
    """It would let one signature stand for two requests."""
    with pytest.raises(InvalidInput, match="full stop"):
        Signer([SECRET]).headers("evt_1.2", NOW, BODY)


def test_rotation() -> None:
    """Every secret signs, newest first; a receiver that knows any of them accepts, and one that knows none does not."""
    headers = Signer([OTHER, SECRET]).headers(ID, NOW, BODY)
    newest, oldest = headers[2][1].split(" ")
    assert newest == Signer([OTHER]).headers(ID, NOW, BODY)[2][1]
    assert oldest == SIGNATURE
    assert verify([SECRET], headers, BODY, NOW) is None
    assert verify([OTHER], headers, BODY, NOW) is None
    assert verify([THIRD, OTHER], headers, BODY, NOW) is None
    assert verify([THIRD], headers, BODY, NOW) == Mismatch.NO_MATCHING_SIGNATURE


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        (changed(webhook_id=None), BODY, "missing_header"),
        (changed(webhook_timestamp=None), BODY, "missing_header"),
        (changed(webhook_signature=None), BODY, "missing_header"),
        (changed(webhook_id=""), BODY, "missing_header"),
        (changed(webhook_signature=""), BODY, "missing_header"),
        ({}, BODY, "missing_header"),
        ({"svix-id": ID, "svix-timestamp": str(NOW), "svix-signature": SIGNATURE}, BODY, "missing_header"),
        (changed(webhook_timestamp="hello"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp=f"{NOW}.0"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp=f"-{NOW}"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp=f" {NOW}"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp=f"{NOW}\n"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp="١٦١٤٢٦٥٣٣٠"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp="nan"), BODY, "bad_timestamp"),
        (changed(webhook_timestamp="9" * 5_000), BODY, "bad_timestamp"),
        (changed(webhook_timestamp="9" * 12), BODY, "too_new"),
        (changed(webhook_timestamp=f"{NOW}000"[:12]), BODY, "too_new"),
        (changed(webhook_timestamp="0"), BODY, "too_old"),
        (changed(webhook_timestamp=str(NOW - 301)), BODY, "too_old"),
        (changed(webhook_timestamp=str(NOW + 301)), BODY, "too_new"),
        (changed(webhook_timestamp=str(NOW - 300)), BODY, "no_matching_signature"),
        (changed(webhook_timestamp=f"00{NOW}"), BODY, "no_matching_signature"),
        (changed(webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJel"), BODY, "no_matching_signature"),
        (changed(webhook_id="msg_\udcff"), BODY, "no_matching_signature"),
        (HEADERS, BODY + b" ", "no_matching_signature"),
        (HEADERS, b'{"test":2432232314}', "no_matching_signature"),
        (changed(webhook_signature="v1,dawfeoifkpqwoekfpqoekf"), BODY, "no_matching_signature"),
        (changed(webhook_signature=SIGNATURE[:-1]), BODY, "no_matching_signature"),
        (changed(webhook_signature=SIGNATURE[:8]), BODY, "no_matching_signature"),
        (changed(webhook_signature="v1,"), BODY, "no_matching_signature"),
        (changed(webhook_signature="v1,é\udcff"), BODY, "no_matching_signature"),
        (changed(webhook_signature=SIGNATURE.swapcase().replace("V", "v")), BODY, "no_matching_signature"),
        (changed(webhook_signature=SIGNATURE.replace("v1,", "v2,")), BODY, "no_v1_signature"),
        (changed(webhook_signature=SIGNATURE.replace("v1,", "v1a,")), BODY, "no_v1_signature"),
        (changed(webhook_signature=SIGNATURE.replace("v1,", "")), BODY, "no_v1_signature"),
        (changed(webhook_signature="v1"), BODY, "no_v1_signature"),
        (changed(webhook_signature=" "), BODY, "no_v1_signature"),
        (changed(Webhook_Id=ID), BODY, "duplicate_header"),
        ([*HEADERS.items(), ("webhook-id", "evt_other")], BODY, "duplicate_header"),
        ([("WEBHOOK-SIGNATURE", "v1,x"), *HEADERS.items()], BODY, "duplicate_header"),
    ],
)
def test_not_to_be_believed(headers: dict[str, str] | list[tuple[str, str]], body: bytes, reason: str) -> None:
    """Each way in which a request is forged, damaged or late has its name."""
    assert verify([SECRET], headers, body, NOW) == reason


@pytest.mark.parametrize(
    "headers",
    [
        {name.title(): value for name, value in HEADERS.items()},
        {name.upper(): value for name, value in HEADERS.items()},
        list(HEADERS.items()),
        iter(HEADERS.items()),
        [("host", "a"), ("host", "b"), *HEADERS.items()],
        changed(webhook_signature=f"v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,x {SIGNATURE} v1,y"),
        changed(webhook_signature=f"nonsense , ,,  v1a,{SIGNATURE[3:]}  {SIGNATURE}"),
    ],
)
def test_to_be_believed(headers: dict[str, str] | list[tuple[str, str]]) -> None:
    """Names in any case, other headers, and other signatures before or after a good one do no harm."""
    assert verify([SECRET], headers, BODY, NOW) is None


@pytest.mark.parametrize(
    ("now", "tolerance", "reason"),
    [
        (NOW + 300, 300, None),
        (NOW - 300, 300, None),
        (NOW + 300.5, 300, "too_old"),
        (NOW - 300.5, 300, "too_new"),
        (NOW + 86_400, 86_400, None),
        (NOW + 1, 0, "too_old"),
        (NOW, 0, None),
    ],
)
def test_tolerance(now: float, tolerance: float, reason: str | None) -> None:
    """The clocks may be apart by the tolerance and by no more, either way."""
    assert verify([SECRET], HEADERS, BODY, now, tolerance) == reason


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), f"  {SECRET}\n"])
def test_a_secret_in_each_dress(secret: str) -> None:
    """With and without prefix, and as it comes out of a file."""
    assert len(parse_secret(secret)) == 24
    assert verify([secret], HEADERS, BODY, NOW) is None


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_survives_its_text(key: bytes) -> None:
    """What was generated is parsed back, padded or not, and the official library reads the same key."""
    text = generate_secret(key)
    assert text.startswith("whsec_")
    assert parse_secret(text) == parse_secret(text.rstrip("=")) == key
    assert standardwebhooks.webhooks.Webhook(text)._whsecret == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_=",
        "whsec_c2hvcnQ=",
        generate_secret(bytes(24))[:-1],  # 23 bytes and a bit
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(25)).decode() + "=",
        "whsec_" + base64.b64encode(bytes(25)).decode()[:-1],
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        "whsec_whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS=Sw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSé",
        "correct horse battery staple",
    ],
)
def test_a_secret_that_is_none(text: str) -> None:
    """It is refused with a reason and a fix, and never repeated in the message."""
    with pytest.raises(InvalidInput) as caught:
        parse_secret(text)
    assert str(caught.value).startswith("The signing secret cannot be used: it ")
    assert "openssl rand" in caught.value.fix
    told = f"{caught.value} {caught.value.fix}"
    assert all(text[n : n + 8] not in told for n in range(6, len(text) - 8))
    assert verify([SECRET, text], HEADERS, BODY, NOW) == Mismatch.BAD_SECRET
    with pytest.raises(InvalidInput):
        Signer([SECRET, text])


def test_no_secret_at_all() -> None:
    """Nothing can be signed or believed without one."""
    with pytest.raises(InvalidInput, match="there is none"):
        Signer([])
    assert verify([], HEADERS, BODY, NOW) == Mismatch.BAD_SECRET


@pytest.mark.parametrize("size", [0, 23, 65])
def test_generating_from_too_few_or_too_many_bytes(size: int) -> None:
    """The standard asks for 24 to 64 bytes."""
    with pytest.raises(InvalidInput, match=f"stands for {size} bytes, not 24 to 64"):
        generate_secret(bytes(size))


def test_a_signer_shows_no_secret() -> None:
    """Its repr can be logged."""
    assert SECRET.removeprefix("whsec_") not in repr(Signer([SECRET]))


@pytest.mark.parametrize("oracle", ORACLES)
@settings(deadline=None)
@given(secret=secrets, event_id=ids, body=bodies)
def test_others_believe_ours(oracle: Oracle, secret: str, event_id: str, body: str) -> None:
    """The official libraries accept what we sign now, with an older secret beside it too."""
    now = int(datetime.now(tz=UTC).timestamp())
    for signer in (Signer([secret]), Signer([OTHER, secret])):
        headers = signer.headers(event_id, now, body.encode())
        if isinstance(receiver := oracle(secret), standardwebhooks.webhooks.Webhook):
            receiver.verify(body, dict(headers), json_parse=False)
        else:
            receiver.verify(body, dict(headers))


@pytest.mark.parametrize("oracle", ORACLES)
@settings(deadline=None)
@given(secret=secrets, event_id=ids, body=bodies, now=st.integers(0, 4_000_000_000))
def test_we_believe_others(oracle: Oracle, secret: str, event_id: str, body: str, now: int) -> None:
    """We accept what the official libraries sign, and it is to the letter what we sign."""
    signature = oracle(secret).sign(event_id, datetime.fromtimestamp(now, tz=UTC), body)
    headers = {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": signature}
    assert verify([secret], headers, body.encode(), now) is None
    assert Signer([secret]).headers(event_id, now, body.encode()) == list(headers.items())


header_names = st.sampled_from([*HEADERS, "Webhook-Id", "content-type"])
header_values = st.one_of(st.text(), st.sampled_from([*HEADERS.values(), "v1,", "v1,a v1,b", ","]))


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.dictionaries(header_names, header_values),
        st.lists(st.tuples(header_names, header_values)),
        st.dictionaries(st.text(), st.text()),
    ),
    st.binary(max_size=64),
    st.lists(st.one_of(st.text(), st.just(SECRET)), max_size=2),
)
def test_verify_never_raises(headers: dict[str, str], body: bytes, known: list[str]) -> None:
    """Whatever a request holds, the answer is a reason; the body was not signed, so it is never yes."""
    assert verify(known, headers, body, NOW) in set(Mismatch)
    assert verify([SECRET], headers, body, NOW) in set(Mismatch)


@settings(deadline=None)
@given(st.data())
def test_one_changed_byte_is_enough(data: st.DataObject) -> None:
    """Changing any byte of the body, or any character of the signature, breaks it."""
    at = data.draw(st.integers(0, len(BODY) - 1))
    body = BODY[:at] + bytes([BODY[at] ^ data.draw(st.integers(1, 255))]) + BODY[at + 1 :]
    assert verify([SECRET], HEADERS, body, NOW) == Mismatch.NO_MATCHING_SIGNATURE
    at = data.draw(st.integers(3, len(SIGNATURE) - 1))
    signature = SIGNATURE[:at] + "-" + SIGNATURE[at + 1 :]
    assert verify([SECRET], changed(webhook_signature=signature), BODY, NOW) == Mismatch.NO_MATCHING_SIGNATURE


def test_the_published_vector_of_v1a() -> None:
    """The signature that others published comes out; the public key verifies it, and no other does."""
    assert Signer([], [KEY]).headers(ID, NOW, BODY)[2] == ("webhook-signature", SIGNATURE_A)
    assert verify([KEY.public], changed(webhook_signature=SIGNATURE_A), BODY, NOW) is None
    assert verify([OTHER_KEY.public], changed(webhook_signature=SIGNATURE_A), BODY, NOW) == "no_matching_signature"


def test_both_signatures_stand_in_one_header_and_either_verifies() -> None:
    """The secret's first, as receivers have it already; then those of the keys, of which any one will do."""
    headers = dict(Signer([SECRET], [OTHER_KEY, KEY]).headers(ID, NOW, BODY))
    first, second, third = headers["webhook-signature"].split(" ")
    assert (first, second[:4], third) == (SIGNATURE, "v1a,", SIGNATURE_A)
    knowing: list[list[Known]] = [
        [SECRET], [KEY.public], [OTHER_KEY.public], [OTHER, KEY.public], [PrivateKey(b"3" * 32).public, KEY.public]
    ]  # fmt: skip
    for known in knowing:
        assert verify(known, headers, BODY, NOW) is None
        assert verify(known, headers, BODY + b" ", NOW) == "no_matching_signature"
        assert verify(known, headers, BODY, NOW + 301) == "too_old"


@pytest.mark.parametrize("oracle", ORACLES)
def test_the_official_libraries_pass_over_v1a(oracle: Oracle) -> None:
    """None of them knows it (standardwebhooks 1.1.0, svix 2.9.1): beside `v1` it does no harm; alone it is refused."""
    both = dict(Signer([SECRET], [KEY]).headers(ID, int(datetime.now(UTC).timestamp()), BODY))
    oracle(SECRET).verify(BODY.decode(), both)
    alone = both | {"webhook-signature": both["webhook-signature"].split()[1]}
    with pytest.raises((standardwebhooks.webhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError)):
        oracle(SECRET).verify(BODY.decode(), alone)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (SIGNATURE, "no_v1a_signature"), (SIGNATURE.replace("v1,", "v1a,"), "no_matching_signature"),
        (SIGNATURE_A[:-4], "no_matching_signature"), ("v1a,é\udcff", "no_matching_signature"),
        (SIGNATURE_A.replace("v1a,", "v1,"), "no_v1a_signature"), (f"v1a {SIGNATURE_A[4:]}", "no_v1a_signature"),
        (" ".join(["v1a,x"] * ITEMS + [SIGNATURE_A]), "no_matching_signature"),
        ("V" + SIGNATURE_A[1:], "no_v1a_signature"),
    ],
)  # fmt: skip
def test_not_to_be_believed_with_a_public_key(signature: str, reason: str) -> None:
    """What is cut, of another version, or behind many others."""
    assert verify([KEY.public], changed(webhook_signature=signature), BODY, NOW) == reason


def test_a_public_key_is_no_secret() -> None:
    """Whoever has it, and that is everybody, cannot sign `v1` with it: neither its text nor its bytes."""
    raw = base64.b64encode(KEY.public.raw).decode()
    for secret in (raw, f"whsec_{raw}"):
        forged = Signer([secret]).headers(ID, NOW, BODY)
        assert verify([KEY.public], forged, BODY, NOW) == "no_v1a_signature"
    with pytest.raises(InvalidInput):
        parse_secret(KEY.public.text)


def test_a_private_key_in_a_secrets_place_is_called_one() -> None:
    """And is not repeated."""
    with pytest.raises(InvalidInput, match="it is a private key") as caught:
        parse_secret(KEY.text)
    assert KEY.text[5:20] not in str(caught.value)
