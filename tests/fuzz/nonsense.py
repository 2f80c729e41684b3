"""What people, upstreams and subscribers may send, nearly right or nonsense, with secrets that nobody may repeat."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge.signature import generate_secret

Input = TypeVar("Input")

SIGNING = generate_secret(bytes(range(100, 132)))
"""May stand anywhere at all: its shape gives it away."""
HEADER = "Bearer hdr7Canary-of-headers"
PASSWORD = "pw7Canary-of-urls"
TOKEN = "q7Canary-of-queries"
"""These are known by the place where they stand."""
URL = f"https://example.com/hook?token={TOKEN}"
BEARING = f"https://u:{PASSWORD}@example.com/hook?token={TOKEN}#{TOKEN}"
SECRETS = (SIGNING.removeprefix("whsec_"), HEADER.removeprefix("Bearer "), PASSWORD, TOKEN)
HANGS_AFTER_SECONDS = 20.0
"""No input takes a thousandth of this; a machine may be busy."""

words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "*", "a", "url", "index.task.*", "../x", "\x00", "\x1b[31m", "\ud800", "é", "1e999", "x" * 5_000]
    ),
    st.sampled_from([SIGNING, f" {SIGNING}", f"{SIGNING}!", SIGNING.lower(), f'{{"secret":"{SIGNING}"}}']),
)
numbers = st.one_of(
    st.integers(-2, 100), st.integers(), st.floats(), st.sampled_from([2**63, 10**400, 1_800_000_000_000, 0.1])
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=8,
)
NESTED = "[" * 3_000 + "]" * 3_000


@st.composite
def objects(draw: Any, good: Mapping[str, Any]) -> Any:
    """JSON of an object with some of these fields as they should be and some as they should not, or of a spoilt one."""
    fields = {name: draw(one) for name, one in good.items() if draw(st.integers(0, 3))}
    for name in draw(st.lists(st.sampled_from(sorted(good)) | words, max_size=2)):
        fields[name] = draw(values)
    text = json.dumps(fields, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(spoilt(text)) if draw(st.integers(0, 3)) == 0 else text


@st.composite
def spoilt(draw: Any, text: bytes) -> Any:
    """A text of which something is missing, or in which something stands that does not belong there.

    Its secrets stay whole: what was never written cannot be told from what is no secret.
    """
    at = draw(st.integers(0, len(text)))
    if any(text.find(one.encode()) < at < text.find(one.encode()) + len(one) for one in SECRETS):
        at = 0
    deed = draw(st.sampled_from(["cut", "behead", "insert", "double", "nest"]))
    if deed == "insert":
        return text[:at] + draw(st.binary(min_size=1, max_size=8)) + text[at:]
    deeds = {"cut": text[:at], "behead": text[at:], "double": text[:-1] + b"," + text[1:]}
    return deeds.get(deed, text[:at] + NESTED.encode())


def assert_silent(text: str, *, where: str, secrets: Sequence[str] = SECRETS) -> None:
    """None of the secrets stands in it."""
    for secret in secrets:
        assert secret not in text, f"{where} repeats a secret: {text[:2_000]!r}"


@contextmanager
def no_hang() -> Iterator[None]:
    """What takes so long will never end."""

    def ring(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"this input hangs: nothing after {HANGS_AFTER_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def hunt(inputs: st.SearchStrategy[Input], check: Callable[[Input], None], *, examples: int) -> None:
    """Try so many inputs; the least one that fails is shown."""

    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=True, report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(inputs)
    def each(one: Input) -> None:
        with no_hang():
            check(one)

    each()
