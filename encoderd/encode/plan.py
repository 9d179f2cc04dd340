"""The encode plan: what becomes of each stream, with which filters and which codec options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from encoderd.encode.audio_plan import AudioPlan, audio_plans
from encoderd.encode.caption_forms import fits_beside, fits_matroska
from encoderd.encode.chapters import Chapters
from encoderd.encode.dispositions import lost
from encoderd.encode.failures import rejected
from encoderd.encode.languages import three_letters
from encoderd.encode.left_out import of_stream
from encoderd.encode.media import AttachmentInfo, CaptionInfo, Chapter, LeftOut, MediaInfo, Tags, VideoInfo
from encoderd.encode.messages import EncodeRequest
from encoderd.encode.pictures import Look
from encoderd.encode.video_plan import VideoPlan, video_plan
from encoderd.encode.words import of_output

#: MP4's edit lists count in this clock; its default of 1 ms would move the first picture.
MOVIE_TIMESCALE = 90_000
#: libavformat's names of the two containers.
MUXERS = {"mp4": "mp4", "mkv": "matroska"}
#: The mark in the output by which encoderd knows its own work and never encodes it again.
COMMENT = "Encoded by encoderd"
#: What is wrong with pictures that have colours of their own, and what helps.
NO_BASE = "whose colours only a device shows that knows them: in H.264 they would be green and purple"
PLAY_IT = "Play it on a device that knows this coding, or record the HDR10, HLG or SDR version of the programme."
NO_CHAPTERS = Chapters()
NO_TAGS = Tags()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodePlan:
    """
    What becomes of each stream: the output has the video, the audio tracks, then the captions `inside` it; `beside` are
    captions that the container cannot hold, copied into a file of their own.

    `chapters` are on the output's clock; `source_chapters` on the source's own, whose zero in the output nobody knows
    before it is read. An MP4 is written in segments of `segment_packets` packets, which `finishing` joins; 0: the muxer
    does it all.
    """

    video: VideoPlan
    audio: tuple[AudioPlan, ...]
    muxer: str
    muxer_options: dict[str, str]
    comment: str
    notes: tuple[str, ...]
    inside: tuple[CaptionInfo, ...] = ()
    beside: tuple[CaptionInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    source_chapters: tuple[Chapter, ...] = ()
    segment_packets: int = 0
    video_tags: Tags = NO_TAGS
    left_out: tuple[LeftOut, ...] = ()
    attachments: tuple[AttachmentInfo, ...] = ()


def make_plan(
    media: MediaInfo,
    request: EncodeRequest,
    looks: Sequence[Look] = (),
    examples: Mapping[int, bytes] | None = None,
    chapters: Chapters = NO_CHAPTERS,
) -> EncodePlan:
    """
    Decide what becomes of each stream of `media`.

    `looks` are what the pictures are like at several places, `examples` a packet of each audio stream in the form that
    most of it has.

    Raises:
        EncodeFailed: there is no video to encode, or none whose colours are known here (that one can be accepted).
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
    notes: list[str] = []
    left_out = [*media.left_out, *_captions_left_out(media)]
    left_out += [
        LeftOut(
            what=f"{one.codec} video (stream {one.index})",
            reason="one picture is kept",
            matters=True,
            pid=_pid(media, one),
        )
        for one in media.video
        if one is not video
    ]
    if request.container != "mkv":
        left_out += [of_stream("attachment", one.name, one.index) for one in media.attachments]
    notes += [f"left out: {one.what}: {one.reason}" for one in left_out]
    audio, audio_notes = audio_plans(media, request, examples)
    for track in audio:
        unsaid = lost(MUXERS[request.container], "audio", track.dispositions)
        notes += (
            [f"audio stream {track.index}: no flag in {request.container} for {', '.join(unsaid)}"] if unsaid else []
        )
    pictures = video_plan(video, request.video, request.deinterlace, looks, request.tonemap)
    if pictures.own_colours and not request.accept_damage:
        raise rejected(f"The pictures are {pictures.own_colours}, {NO_BASE}.", remedy=PLAY_IT, acceptable=True)
    comment = f"{COMMENT}, job {request.job}"
    words = of_output(media.metadata, media.service, chapters.metadata, comment, MUXERS[request.container])
    notes += [f"{name} left out: {request.container} has no place for it" for name in words.left_out]
    inside = tuple(one for one in media.captions if request.container == "mkv" and fits_matroska(one.codec))
    return EncodePlan(
        video=pictures,
        audio=audio,
        muxer=MUXERS[request.container],
        muxer_options=_muxer_options(request),
        comment=comment,
        notes=(*media.notes, *notes, *pictures.notes, *audio_notes, *chapters.notes),
        inside=inside,
        beside=tuple(one for one in media.captions if one not in inside and fits_beside(one.codec)),
        metadata=words.kept,
        chapters=chapters.chapters,
        source_chapters=() if chapters.chapters else media.chapters,
        segment_packets=request.segment_packets if request.container == "mp4" else 0,
        left_out=tuple(left_out),
        attachments=media.attachments if request.container == "mkv" else (),
        video_tags=Tags(
            language=three_letters(video.language), title=video.title, dispositions=("default", *video.dispositions)
        ),
    )


def _captions_left_out(media: MediaInfo) -> list[LeftOut]:
    return [
        LeftOut(
            what=f"{one.codec or 'unknown'} captions (stream {one.index})",
            reason="no file here takes them",
            matters=True,
            pid=_pid(media, one),
        )
        for one in media.captions
        if not fits_beside(one.codec)
    ]


def _pid(media: MediaInfo, stream: VideoInfo | CaptionInfo) -> int:
    return stream.pid if media.format == "mpegts" else 0


def _muxer_options(request: EncodeRequest) -> dict[str, str]:
    if request.container != "mp4":
        return {}
    options = {"movie_timescale": str(MOVIE_TIMESCALE)}
    return options if request.segment_packets else {"movflags": "+faststart", **options}
