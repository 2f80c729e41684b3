"""Ed25519 as Standard Webhooks and JWK spell it: published vectors, and texts that are no key."""

import base64

import pytest

from bridge.errors import InvalidInput
from bridge.keypair import PrivateKey, PublicKey

# svix-webhooks, README.md ("Asymmetric signatures"), and the keys of server/svix-server/src/worker.rs.
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SEED_ALONE = "whsk_" + base64.b64encode(base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]).decode()

# RFC 8032, 7.1, TEST 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    """The same key, and the same signature, as everybody else's Ed25519."""
    key, signed = PrivateKey(bytes.fromhex(seed)), bytes.fromhex(message)
    assert key.public.raw.hex() == public
    assert key.sign(signed).hex() == signature
    assert key.public.verifies(bytes.fromhex(signature), signed)
    assert not key.public.verifies(bytes.fromhex(signature), signed + b"x")


@pytest.mark.parametrize("text", [PRIVATE, SEED_ALONE, f"  {PRIVATE}\n", PRIVATE.rstrip("=")])
def test_the_published_pair(text: str) -> None:
    """The pair that Svix publishes is read, whole or as its seed alone, and is written as it stands there."""
    key = PrivateKey.parse(text)
    assert (key.text, key.public.text) == (PRIVATE, PUBLIC)
    assert PublicKey.parse(f"{PUBLIC}\n") == key.public


def test_a_key_and_its_id_as_jwk() -> None:
    """The vector of RFC 8037, appendices A.2 and A.3: the public key as JWK, and its thumbprint."""
    key = PrivateKey(bytes.fromhex(RFC_8032[0][0])).public
    assert key.jwk == {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert key.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def spelt(raw: bytes, prefix: str = "whsk_") -> str:
    return prefix + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "whsk_", "whsk_=", spelt(b"x" * 31), spelt(b"x" * 33), spelt(b"x" * 63), spelt(b"x" * 65),
        spelt(b"x" * 64),  # two halves that do not belong together: signing with such a pair gives the seed away
        PRIVATE.removeprefix("whsk_"), PRIVATE.replace("whsk_", "WHSK_"), PRIVATE.replace("whsk_", "whsec_"), PUBLIC,
        "whsk_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(), PRIVATE + "=", PRIVATE[:-5] + "é", f"whsk_{PRIVATE}",
    ],
)  # fmt: skip
def test_a_private_key_that_is_none(text: str) -> None:
    """It is refused with a reason and a fix, and never repeated."""
    with pytest.raises(InvalidInput) as caught:
        PrivateKey.parse(text)
    assert "bridge key new" in caught.value.fix
    assert PRIVATE[5:20] not in f"{caught.value} {caught.value.fix}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["", "whpk_", "whpk_AAAA", spelt(b"x" * 64, "whpk_"), PUBLIC[5:], PUBLIC[:-2]])
def test_a_public_key_that_is_none(text: str) -> None:
    """Where it would come from is said."""
    with pytest.raises(InvalidInput, match="public key cannot be used") as caught:
        PublicKey.parse(text)
    assert "bridge key show" in caught.value.fix


def test_a_private_key_in_the_place_of_a_public_one_is_called_one() -> None:
    """It may have been seen by now: that is said, and the key is not."""
    with pytest.raises(InvalidInput, match="the private key") as caught:
        PublicKey.parse(PRIVATE)
    assert "make another pair" in caught.value.fix
    assert PRIVATE[5:20] not in f"{caught.value}{caught.value.fix}"


def test_no_repr_shows_a_private_key() -> None:
    """A traceback that prints local variables has nothing to print."""
    key = PrivateKey.parse(PRIVATE)
    assert PRIVATE[5:20] not in repr(key) + str(key)
