"""The encode plan: what becomes of each stream, with which filters and which codec options."""

from __future__ import annotations

from dataclasses import dataclass

from encoderd.encode.failures import rejected
from encoderd.encode.media import AudioInfo, CaptionInfo, MediaInfo
from encoderd.encode.messages import EncodeRequest
from encoderd.encode.video_plan import VideoPlan, video_plan

#: MP4's edit lists count in this clock; its default of 1 ms would move the first picture.
MOVIE_TIMESCALE = 90_000
#: Audio that MP4 and Matroska take as it is.
COPIED_AUDIO = frozenset({"aac", "ac3", "eac3"})
#: What AAC can do. Source: ISO/IEC 14496-3, table 1.18 (sampling frequency index).
AAC_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
#: libavformat's names of the two containers.
MUXERS = {"mp4": "mp4", "mkv": "matroska"}
#: The mark in the output by which encoderd knows its own work and never encodes it again.
COMMENT = "Encoded by encoderd"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPlan:
    """
    One audio track: copied when `bit_rate_bps` is 0, else decoded and encoded to AAC at that rate, with
    `sample_rate_hz` and `layout` ("mono", "stereo", "5.1") however often the source changes its own. `channel` is -1
    for all of them, else the one of a dual mono stream (0 main, 1 sub) that becomes this track.
    """

    index: int
    codec: str
    bit_rate_bps: int
    sample_rate_hz: int
    layout: str
    language: str
    title: str
    default: bool
    also: tuple[int, ...] = ()
    channel: int = -1

    @property
    def copied(self) -> bool:
        return self.bit_rate_bps == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodePlan:
    """
    What becomes of each stream: the output has the video, the audio tracks, then the captions `inside` it; `beside` are
    captions that the container cannot hold, copied into a file of their own.
    """

    video: VideoPlan
    audio: tuple[AudioPlan, ...]
    muxer: str
    muxer_options: dict[str, str]
    comment: str
    notes: tuple[str, ...]
    inside: tuple[CaptionInfo, ...] = ()
    beside: tuple[CaptionInfo, ...] = ()


def make_plan(media: MediaInfo, request: EncodeRequest) -> EncodePlan:
    """
    Decide what becomes of each stream of `media`.

    Raises:
        EncodeFailed: there is no video to encode.
    """
    if media.comment.startswith(COMMENT):
        raise rejected(
            "This file is an output of encoderd; encoding it again would only make it worse.",
            remedy="Keep outputs out of the watch folders.",
        )
    if not media.video:
        kinds = "only audio" if media.audio else "neither video nor audio"
        raise rejected(
            f"There is no video in this recording ({kinds} in {media.format}).",
            remedy="Move it out of the watch folder, or add its name to ignore.",
        )
    video = next((stream for stream in media.video if min(stream.width, stream.height) >= 2), None)
    if video is None:
        raise rejected(
            f"No picture of this recording can be decoded: its {media.video[0].codec} video shows no picture size.",
            remedy="Play it; if a player shows nothing either, look into the recorder's log.",
        )
    notes = [f"video stream {other.index} ({other.codec}) left out" for other in media.video if other is not video]
    notes += [f"left out: {other}" for other in media.other]
    audio = []
    for stream in media.audio:
        if stream.sample_rate_hz and stream.channels:
            audio.append(_audio_plan(stream, request))
        else:
            notes.append(f"audio stream {stream.index} ({stream.codec}) left out: no sample rate or channels in it")
    return EncodePlan(
        video=video_plan(video, request.video, request.deinterlace),
        audio=tuple(audio),
        muxer=MUXERS[request.container],
        muxer_options={"movflags": "+faststart", "movie_timescale": str(MOVIE_TIMESCALE)}
        if request.container == "mp4"
        else {},
        comment=f"{COMMENT}, job {request.job}",
        notes=(*media.notes, *notes),
    )


def aac_layout(channels: int) -> str:
    """Return the layout that AAC gets for a source of so many channels: mono, stereo, or 5.1 for more."""
    return {1: "mono", 2: "stereo"}.get(channels, "5.1" if channels >= 6 else "stereo")


def _audio_plan(stream: AudioInfo, request: EncodeRequest) -> AudioPlan:
    return AudioPlan(
        index=stream.index,
        codec=stream.codec,
        bit_rate_bps=0 if stream.codec in COPIED_AUDIO else request.audio_bit_rate_bps,
        sample_rate_hz=min(AAC_RATES_HZ, key=lambda rate_hz: (abs(rate_hz - stream.sample_rate_hz), -rate_hz)),
        layout=aac_layout(stream.channels),
        language=stream.language,
        title=stream.title,
        default=stream.default,
    )
