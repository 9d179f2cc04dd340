"""What a recording holds, as values: the facts that probing finds and planning needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from encoderd.encode.dolby_vision import Configuration

#: Containers without beginning and end: a recorder starts and stops in the middle of a picture and of a sound's frame,
#: and what is left of the first and the last one is no damage.
STREAMS = frozenset({"mpegts", "mpeg"})
#: Containers of broadcasts, whose pictures come at a steady pace; in others they may come when they change.
PACED = STREAMS | {"wtv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One chapter from `start_ms` to `end_ms`, None where it ends with the next one."""

    start_ms: int
    end_ms: int | None = None
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What a container says of one of its streams: `dispositions` in FFmpeg's words, "default" among them."""

    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """
    Something of the recording that is not in the output, and why; `matters`: a viewer may miss it. `pid` is 0 in
    containers that have none.
    """

    what: str
    reason: str
    matters: bool
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """
    One video stream. Sizes are in pixels as coded; `frame_rate` is frames per second, 0 when unknown;
    `sample_aspect_ratio` is width : height of one sample, 0 when unknown. Colour values are the numbers of ITU-T H.273
    (2 = unspecified); `color_range` is 0 unspecified, 1 limited, 2 full. `container_aspect` is what the container says
    of a sample where that overrides the pictures, else 0. `also` are further streams of the demuxer that carry the
    same track at other times: a PID that changed in mid-recording. `dolby_vision` is what the container tells of it,
    None where it tells nothing. `language`, `title` and `dispositions` as in
    AudioInfo.
    """

    index: int
    pid: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    frame_rate: Fraction
    sample_aspect_ratio: Fraction
    time_base: Fraction
    color_primaries: int = 2
    color_trc: int = 2
    colorspace: int = 2
    color_range: int = 0
    container_aspect: Fraction = Fraction(0)
    also: tuple[int, ...] = ()
    dolby_vision: Configuration | None = None
    language: str = ""
    title: str = ""
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """
    One audio stream. `bit_rate_bps` is 0 when unknown; `language` is ISO 639-2, "" when not given; where the stream is
    dual mono, two with a comma between ("jpn,eng") when they are. `also` as in VideoInfo. `default` says that the
    source wants it to be played first, `dispositions` what it is for, in FFmpeg's words. `voices` are the same of each
    of dual mono's two sounds alone, where the source tells them apart.
    """

    index: int
    pid: int
    codec: str
    sample_rate_hz: int
    channels: int
    layout: str
    bit_rate_bps: int
    language: str
    title: str
    default: bool
    time_base: Fraction
    dual_mono: bool = False
    also: tuple[int, ...] = ()
    dispositions: tuple[str, ...] = ()
    voices: tuple[Tags, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionInfo:
    """
    One stream of captions: `codec` in libavcodec's words ("dvb_subtitle", "dvb_teletext", "arib_caption"), `language`,
    `also`, `default` and `dispositions` as in AudioInfo.
    """

    index: int
    pid: int
    codec: str
    language: str
    title: str = ""
    also: tuple[int, ...] = ()
    default: bool = False
    dispositions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentInfo:
    """A file inside a container (a font, a cover): its stream's index, its name and its media type."""

    index: int
    name: str
    mimetype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """
    What the broadcaster says of the recording; "" for what is not told. `started_at` is ISO 8601 with its offset,
    the broadcaster's clock at the first packet; `title` is the programme's that takes most of the recording.
    """

    name: str = ""
    provider: str = ""
    title: str = ""
    description: str = ""
    started_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """
    A recording as probed; of several videos the one that players show is the first. `start_s` and `duration_s` are
    the container's own claims, None when it makes none. `stated_end` is the byte behind its last by the sizes that the
    container has in it, None when it has none.

    `other` describes the streams that are none of these ("epg (stream 7, pid 0x12)"): listed, not copied.
    `left_out` says of each of them, and of what else nobody takes, why. `metadata` are the container's own words,
    `chapters` its chapters, their times on the source's clock.
    Its content is from `first_byte` to `end_byte` (0: the file's end); what is outside is no packet, or filling.
    `announced` are the PIDs that the programme's tables name, each with its codec and languages for people.
    `unheard` are the PIDs (or container's numbers) of sound that this FFmpeg has no decoder for, each with its codec.
    `scrambled_ratio` is the share (0…1) of packets that are encrypted; `programme` is 0 where there are none.
    """

    format: str
    size_bytes: int
    start_s: Fraction | None
    duration_s: Fraction | None
    video: tuple[VideoInfo, ...]
    audio: tuple[AudioInfo, ...]
    other: tuple[str, ...] = ()
    comment: str = ""
    notes: tuple[str, ...] = field(default=())
    scrambled_ratio: float = 0.0
    captions: tuple[CaptionInfo, ...] = ()
    programme: int = 0
    service: Service = field(default_factory=Service)
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    announced: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    attachments: tuple[AttachmentInfo, ...] = ()
    unheard: Mapping[int, str] = field(default_factory=dict)
    first_byte: int = 0
    end_byte: int = 0
    stated_end: int | None = None

    @property
    def cut_off_bytes(self) -> int:
        """By so many bytes is the file shorter than its container says."""
        return 0 if self.stated_end is None else max(0, self.stated_end - self.size_bytes)

    @property
    def end_is_known(self) -> bool:
        """Whether the file is known to be whole by another sign than its duration: streams of packets just end."""
        return self.format in STREAMS or (self.stated_end is not None and not self.cut_off_bytes)

    @property
    def content_end(self) -> int:
        """Byte behind the last that is no filling."""
        return self.end_byte or self.size_bytes


def never_sent(media: MediaInfo, sent: Collection[int]) -> dict[int, str]:
    """
    Return {PID: sentence} of what the tables announce and the recording has no packet of: nothing is lost by it.

    `sent` are the PIDs with packets in all of the recording; empty where none were counted.
    """
    return {
        pid: f"no packet of PID {pid:#x} ({named}) is in the recording"
        for pid, named in (media.announced.items() if sent else ())
        if pid not in sent
    }
