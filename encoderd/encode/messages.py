"""
The language between the daemon and the child: one JSON object per line, with a `type`.

The child reads one request from stdin and answers on stdout with messages until `encoded`, `failed`, `build`,
`trial_done`, `loaded` or `options_checked` ends the talk. Unknown keys are ignored, unknown types are skipped, so that
either side may be newer.
Paths are `os.fsdecode` strings; JSON escapes keep bytes that are not UTF-8 intact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

#: The MP4 muxer keeps 80 bytes of each packet: 8 MB, after 22 minutes of 30 pictures a second with one AAC track.
SEGMENT_PACKETS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """
    What is asked of the video encoder, every `auto` of the settings already decided for this GPU.

    The bit rates are 0 where the rate control needs none, `gop` (frames) is 0 for the plan's own choice, `bframes` is
    -1 for the encoder's own, `level` is "" for the smallest that fits. `extra` are further options of the encoder as
    FFmpeg spells them. Two jobs with the same VideoRequest stand before the same door of the gate.
    """

    encoder: str
    rate_control: str = "icq"
    quality: int = 23
    bitrate_bps: int = 0
    max_bitrate_bps: int = 0
    preset: str = "medium"
    look_ahead_depth: int = 0
    bframes: int = -1
    gop: int = 0
    low_power: str = "auto"  # "on", "off", or "auto": the runtime decides
    profile: str = "high"
    level: str = ""
    async_depth: int = 4
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """
    Encode `source` into `partial`. The source's size in bytes and mtime in ns are those it was admitted with.

    `programme` is 0 for the one with most video. Beyond `max_damage_ratio` (share of the recording, 0…1) the job has
    failed; an output of `max_size_ratio` × the source's size or more is not wanted (0: any size). `captions` is the
    file for captions that the container cannot hold ("": they are only listed), `chapters` a file with chapters ("").
    With `accept_damage` a recording's own faults do not end the job: the receipt says what was accepted.
    After `segment_packets` packets an MP4's index leaves the memory (0: never).
    """

    TYPE = "encode"
    job: int
    source: str
    partial: str
    size_bytes: int
    mtime_ns: int
    video: VideoRequest
    container: str
    deinterlace: str
    audio_bit_rate_bps: int
    verify: str
    nice: int = 0
    video_gaps: str = "keep"
    tonemap: str = "auto"
    dual_mono: str = "keep"
    programme: int = 0
    max_damage_ratio: float = 1.0
    max_size_ratio: float = 0.0
    captions: str = ""
    chapters: str = ""
    accept_damage: bool = False
    segment_packets: int = SEGMENT_PACKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Encode a few frames in memory through the very path that jobs with this `video` take."""

    TYPE = "trial"
    video: VideoRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Say what this PyAV and FFmpeg are and can do."""

    TYPE = "build"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Load a shared library as the VPL dispatcher would, which drops those that do not load without a word."""

    TYPE = "load"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsRequest:
    """Say which of these further options of an encoder FFmpeg does not know, or does not take."""

    TYPE = "options"
    encoder: str
    extra: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the recording holds, in one readable line per stream; `duration_s` is 0 when the container claims none."""

    TYPE = "probed"
    format: str
    duration_s: float
    streams: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The encoder is open. `granted` is what it really does: profile, level, rate control, size, frame rate…"""

    TYPE = "started"
    encoder: str
    granted: dict[str, str]
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    How far the attempt is. `out_time_s` is the muxed time in seconds, the measure of progress; `speed_x` is muxed
    seconds per wall second; `done_ratio` is the share of the source's bytes that were read (0…1).
    """

    TYPE = "progress"
    phase: str  # "encoding", "draining", "finishing" or "verifying"
    out_time_s: float
    frames: int
    fps: float
    speed_x: float
    size_bytes: int
    done_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The judgement on the written file: findings as JSON, in the order they were made."""

    TYPE = "verified"
    findings: list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The partial file is complete, verified and on disk (fsync); `receipt` tells all of it."""

    TYPE = "encoded"
    size_bytes: int
    mtime_ns: int
    receipt: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """
    The attempt is over. `kind` is a FailureKind, `event` a JobEvent, `place` a failures.Place; `acceptable` as in
    failures.EncodeFailed.
    """

    TYPE = "failed"
    kind: str
    event: str
    reason: str
    remedy: str
    place: str = ""
    acceptable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    TYPE = "build"
    pyav: str
    ffmpeg: str
    libraries: dict[str, str]
    encoders: list[str]
    hardware: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDone:
    """The trial's frames came back as they went in. `psnr_db` compares luma with the deinterlaced source."""

    TYPE = "trial_done"
    encoder: str
    frames: int
    wall_s: float
    psnr_db: float
    granted: dict[str, str]
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The library loads, or `error` says in the loader's words why it does not."""

    TYPE = "loaded"
    path: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsChecked:
    """`problems` are sentences without their full stop, one for each option that is wrong."""

    TYPE = "options_checked"
    problems: list[str]


Request = EncodeRequest | TrialRequest | BuildRequest | LoadRequest | OptionsRequest
Message = Probed | Started | Progress | Verified | Encoded | Failed | Build | TrialDone | Loaded | OptionsChecked

_REQUESTS: Mapping[str, type[Request]] = {
    kind.TYPE: kind for kind in (EncodeRequest, TrialRequest, BuildRequest, LoadRequest, OptionsRequest)
}
_MESSAGES: Mapping[str, type[Message]] = {
    kind.TYPE: kind
    for kind in (Probed, Started, Progress, Verified, Encoded, Failed, Build, TrialDone, Loaded, OptionsChecked)
}


#: A field's type as it is written above (without its [parameters]) → what JSON gives for it.
_JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "int": int,
    "bool": bool,
    "float": (int, float),
    "str": str,
    "list": list,
    "dict": dict,
    "VideoRequest": dict,
    "tuple": list,
}


def to_line(message: Request | Message) -> str:
    """Return the message as one line of ASCII, with its newline."""
    return json.dumps({"type": message.TYPE, **asdict(message)}) + "\n"


def read_request(line: str) -> Request:
    """
    Return the request in `line`.

    Raises:
        ValueError: it is not a request this version knows, or a field is missing.
    """
    request: Request | None = _read(line, _REQUESTS)
    if request is None:
        raise ValueError(f"not a request: {line[:200]!r}")
    return request


def read_message(line: str) -> Message | None:
    """Return the message in `line`, None for anything that is not one (a stray print, a newer message)."""
    try:
        message: Message | None = _read(line, _MESSAGES)
    except ValueError:
        return None
    return message


def _read(line: str, kinds: Mapping[str, type[Any]]) -> Any:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = kinds.get(str(data.get("type"))) if isinstance(data, dict) else None
    if kind is None:
        return None
    return _built(kind, data, str(data["type"]))


def _built(kind: type[Any], data: Mapping[str, Any], what: str) -> Any:
    known = {entry.name: str(entry.type).partition("[")[0] for entry in fields(kind)}
    given: dict[str, Any] = {name: value for name, value in data.items() if name in known}
    for name, value in given.items():
        if isinstance(value, bool) != (known[name] == "bool") or not isinstance(value, _JSON_TYPES[known[name]]):
            raise ValueError(f"{what}.{name} is not {known[name]}: {value!r:.80}")
        if known[name] == "VideoRequest":
            given[name] = _built(VideoRequest, data[name], f"{what}.{name}")
        elif known[name] == "tuple":
            given[name] = _pairs(data[name], f"{what}.{name}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"incomplete {what}: {error}") from None


def _pairs(value: list[Any], what: str) -> tuple[tuple[str, str], ...]:
    if any(not isinstance(pair, list) or list(map(type, pair)) != [str, str] for pair in value):
        raise ValueError(f"{what} is not a list of pairs of text: {value!r:.80}")
    return tuple((name, text) for name, text in value)
