"""An event's body as it is kept: whatever it says comes back to the byte, and no bytes of anybody's do harm."""

import json
import tracemalloc
import zlib
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.formats import BODY_BYTES
from bridge.packing import _WORDS, MARK, pack, unpack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def body(number: int) -> bytes:
    """One as upstream's object of a task that is ready makes it, nothing of it but the form known beforehand."""
    ids = [sha256(f"{number} {name}".encode()).hexdigest()[:24] for name in ("task", "index", "video", "stream")]
    updated = f"2026-0{number % 9 + 1}-17T1{number % 9}:24:3{number % 7}.{number * 7 % 1000:03d}Z"
    task = {
        "_id": ids[0], "index_id": ids[1], "video_id": ids[2], "status": "ready",
        "created_at": "2026-11-01T10:00:00.104Z", "updated_at": updated,
        "system_metadata": {"filename": f"take {number}.mov", "duration": number / 7, "width": 1280, "height": 720},
        "hls": {"video_url": f"https://cdn.example.test/{ids[3]}.m3u8", "status": "COMPLETE", "updated_at": updated,
                "thumbnail_urls": [f"https://cdn.example.test/{ids[3]}.jpg"]},
    }  # fmt: skip
    data = {
        "task_id": ids[0], "status": "ready", "updated_at": updated, "revision": 1795985086787 + number,
        "changed": ["status", "updated_at"], "previous": {"status": "indexing", "updated_at": "2026-11-01T10:01:12Z"},
        "task": task, "metadata": {"customer": number},
    }  # fmt: skip
    envelope = {"type": "index.task.ready", "timestamp": "2026-11-29T20:44:46.787Z", "data": data}
    return json.dumps(envelope, separators=(",", ":")).encode()


@given(JSON)
@example("x" * (BODY_BYTES - 2))
@example("x" * BODY_BYTES)
@example({})
def test_what_is_packed_comes_back(value: object) -> None:
    """To the byte, and no longer than it was."""
    plain = json.dumps(value).encode()
    assert unpack(pack(plain)) == plain
    assert len(pack(plain)) <= len(plain)


@given(st.binary())
def test_no_bytes_are_more_than_a_body(kept: bytes) -> None:
    """What somebody wrote there is read, or left as it is."""
    for each in (kept, MARK + kept):
        assert unpack(each) == each or len(unpack(each)) <= BODY_BYTES


def test_a_body_that_would_be_endless_is_left_as_it_is() -> None:
    """A megabyte of deflated zeros is a thousand bytes; no more of them is looked at than a body may have."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = MARK + deflate.compress(bytes(100_000_000)) + deflate.flush()
    tracemalloc.start()
    try:
        assert unpack(bomb) == bomb
        assert tracemalloc.get_traced_memory()[1] < 8 * BODY_BYTES
    finally:
        tracemalloc.stop()


@given(st.integers(0, 10**6), st.data())
def test_a_body_that_was_cut_off_is_never_another_ones(number: int, data: st.DataObject) -> None:
    """A part of the bytes is no body."""
    kept = pack(body(number))
    cut = kept[: data.draw(st.integers(1, len(kept) - 1))]
    assert unpack(cut) == cut


@pytest.mark.parametrize("number", [0, 7, 4711, 999_999])
def test_a_body_of_a_task_takes_a_third_at_most(number: int) -> None:
    """What this is for."""
    assert len(pack(body(number))) * 3 < len(body(number))


def test_bodies_that_redis_holds_can_be_read_by_the_next_version() -> None:
    """Other words need another mark, and these beside it for as long as bodies are kept."""
    digest = sha256(_WORDS).hexdigest()
    assert (MARK, digest[:16]) == (b"\x01", "5fa6cade895ee6a5")
