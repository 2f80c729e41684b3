"""What happens to one simulated task, and when: steps of (seconds, patch), and its state at any moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Any

Fields = dict[str, Any]


class Mark(Enum):
    """Values that mean something in a patch, at any depth."""

    NOW = "now"
    """The step's own time, rendered as the simulator renders times."""
    ABSENT = "absent"
    """Remove the field. A JSON null is None."""


NOW, ABSENT = Mark.NOW, Mark.ABSENT

CDN = "https://cdn.example.test"


class TimeStyle(StrEnum):
    """How a time is written on the wire; TwelveLabs' examples show the first two."""

    MILLISECONDS = "2026-11-01T10:00:07.950Z"
    SECONDS = "2026-11-01T10:00:07Z"
    MICROSECONDS = "2026-11-01T10:00:07.950000Z"
    PLUS_NINE = "2026-11-01T19:00:07.950+09:00"


@dataclass(frozen=True, slots=True)
class Step:
    """From `at` seconds after the task's start, its fields are patched: objects merge, other values replace.

    `touch` says whether `updated_at` moves to the step's time: None = when the status changes (the documented
    rule), True = always, False = never. A patch that holds `updated_at` has the last word.
    """

    at: float
    patch: Mapping[str, Any] = field(default_factory=dict)
    touch: bool | None = None


def a_timeline(
    *,
    validating: float = 1.0,
    pending: float = 1.0,
    queued: float = 1.0,
    indexing: float = 5.0,
    end: str = "ready",
    uploading: float | None = None,
    hls: float | None = None,
    filename: str = "keynote.mp4",
    video_seconds: float = 612.48,
) -> tuple[Step, ...]:
    """A realistic run: validating, pending, queued, indexing, then `end`; each argument is a stage's seconds.

    `uploading` puts that status first. `system_metadata` appears with `pending`, as once the video was
    measured. `hls` adds a stream that is PROCESSING when the task ends and COMPLETE that many seconds later,
    without a newer `updated_at` of the task (retrieve only).
    """
    stages = [("uploading", uploading)] if uploading is not None else []
    stages += [("validating", validating), ("pending", pending), ("queued", queued), ("indexing", indexing)]
    metadata = {"filename": filename, "duration": video_seconds, "width": 1920, "height": 1080}
    steps, at = [], 0.0
    for status, seconds in stages:
        patch: Fields = {"status": status}
        if status == "pending":
            patch["system_metadata"] = metadata
        steps.append(Step(at, patch))
        at += seconds or 0.0
    last: Fields = {"status": end}
    if hls is not None:
        last["hls"] = {"status": "PROCESSING", "updated_at": NOW}
    steps.append(Step(at, last))
    if hls is not None:
        files = {"video_url": f"{CDN}/stream/6a0b.m3u8", "thumbnail_urls": [f"{CDN}/thumb/6a0b.0000001.jpg"]}
        steps.append(Step(at + hls, {"hls": {**files, "status": "COMPLETE", "updated_at": NOW}}))
    return tuple(steps)


def an_indexing(
    *,
    pending: float = 1.0,
    queued: float = 1.0,
    validating: float = 1.0,
    indexing: float = 5.0,
    end: str = "ready",
    hls: float | None = None,
    filename: str = "keynote.mp4",
    video_seconds: float = 612.48,
) -> tuple[Step, ...]:
    """The run of an asset on its way into an index; the arguments are as those of `a_timeline`."""
    metadata = {"filename": filename, "duration": video_seconds, "fps": 25, "width": 1920, "height": 1080, "size": 9e7}
    queued_at, validated_at = pending, pending + queued
    indexed_at = validated_at + validating
    ended_at = indexed_at + indexing
    steps = [
        Step(0.0, {"status": "pending", "system_metadata": metadata}),
        Step(queued_at, {"status": "queued"}),
        Step(validated_at, {"status": "validating"}),
        Step(indexed_at, {"status": "indexing"}),
        Step(ended_at, {"status": end} | ({"indexed_at": NOW} if end == "ready" else {})),
    ]
    if hls is not None:
        stream = {"hls": {"status": "PROCESSING", "updated_at": NOW}}
        files = {"video_url": f"{CDN}/stream/6a0b.m3u8", "thumbnail_urls": [f"{CDN}/thumb/6a0b.0000001.jpg"]}
        done = {"hls": {**files, "status": "COMPLETE", "updated_at": NOW}}
        steps += [Step(ended_at, stream, touch=False), Step(ended_at + hls, done)]
    return tuple(steps)


def an_analysis(
    *, queued: float = 1.0, pending: float = 1.0, processing: float = 5.0, end: str = "ready"
) -> tuple[Step, ...]:
    """The run of an analysis: queued, pending, processing, then `end`; there is a `completed_at` then."""
    source = {"type": "asset_id", "asset_id": "6a0b1c2d3e4f5a6b7c8d9eaa", "system_metadata": {"duration": 612.48}}
    last: Fields = {"status": end, "completed_at": NOW}
    if end == "ready":
        answer = {"data": "A keynote.", "finish_reason": "stop", "usage": {"output_tokens": 3}}
        last["result"] = {"generation_id": "6a0b1c2d3e4f5a6b7c8d9eab", **answer}
    else:
        last["error"] = {"message": "The task was canceled by the user." if end == "canceled" else "It failed."}
    return (
        Step(0.0, {"status": "queued", "video_source": source}),
        Step(queued, {"status": "pending"}),
        Step(queued + pending, {"status": "processing"}),
        Step(queued + pending + processing, last),
    )


class Timeline:
    """One task's steps and, for a moment given as Unix seconds, its state with times as aware datetimes."""

    def __init__(self, started: float, base: Mapping[str, Any], steps: Iterable[Step]) -> None:
        self.started = started
        moment = instant(started)
        self._base: Fields = {**base, "created_at": moment, "updated_at": moment}
        self._steps = sorted(steps, key=lambda step: step.at)
        self._applied = 0
        self._state = dict(self._base)

    def change(self, now: float, patch: Mapping[str, Any], *, touch: bool | None = None) -> None:
        """Add a step at `now`; scripted steps after it still come."""
        step = Step(now - self.started, dict(patch), touch)
        place = sum(1 for known in self._steps if known.at <= step.at)
        self._steps.insert(place, step)
        if place < self._applied:
            self._applied, self._state = 0, dict(self._base)

    def state(self, now: float) -> Fields:
        """The fields at `now`. Not to be changed by the caller; the clock is expected not to run back."""
        offset = now - self.started
        while self._applied < len(self._steps) and self._steps[self._applied].at <= offset:
            self._state = self._apply(self._state, self._steps[self._applied])
            self._applied += 1
        return self._state

    def past(self, moment: float) -> Fields:
        """The fields as they were at an earlier moment, or are."""
        state = dict(self._base)
        for step in self._steps:
            if step.at <= moment - self.started:
                state = self._apply(state, step)
        return state

    def _apply(self, state: Fields, step: Step) -> Fields:
        moment = instant(self.started + step.at)
        after = merged(state, step.patch, moment)
        moved = after.get("status") != state.get("status") if step.touch is None else step.touch
        if moved and "updated_at" not in step.patch:
            after["updated_at"] = moment
        return after


def merged(state: Mapping[str, Any], patch: Mapping[str, Any], moment: datetime) -> Fields:
    """`state` with `patch` laid over it: objects merge, ABSENT removes, NOW becomes `moment`."""
    after = dict(state)
    for name, value in patch.items():
        if value is ABSENT:
            after.pop(name, None)
        elif isinstance(value, Mapping):
            known = after.get(name)
            after[name] = merged(known if isinstance(known, Mapping) else {}, value, moment)
        else:
            after[name] = moment if value is NOW else value
    return after


def instant(unix_seconds: float) -> datetime:
    """An aware UTC datetime, cut to whole milliseconds as upstream's clock is."""
    milliseconds = round(unix_seconds * 1000)
    return datetime.fromtimestamp(milliseconds // 1000, UTC) + timedelta(milliseconds=milliseconds % 1000)


def written(moment: datetime, style: TimeStyle) -> str:
    """`moment` as text of that style; digits that do not fit are cut, not rounded."""
    match style:
        case TimeStyle.SECONDS:
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        case TimeStyle.MICROSECONDS:
            return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case TimeStyle.MILLISECONDS:
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case TimeStyle.PLUS_NINE:
            return moment.astimezone(timezone(timedelta(hours=9))).isoformat(timespec="milliseconds")


def rendered(value: Any, style: TimeStyle) -> Any:
    """A deep copy of `value` for JSON, every datetime in it written in `style`."""
    if isinstance(value, datetime):
        return written(value, style)
    if isinstance(value, Mapping):
        return {name: rendered(item, style) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rendered(item, style) for item in value]
    return value
