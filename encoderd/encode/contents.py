"""
What an open container holds, as MediaInfo: FFmpeg's streams, sorted into the tracks that the recording's tables tell.

FFmpeg lists streams; which programme they belong to, and which of them carry the same track one after the other, only
the tables say. In other containers than transport streams every stream is a track of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from encoderd.encode import words
from encoderd.encode.audio_configuration import codec_word, is_dual_mono
from encoderd.encode.chapters import of_source
from encoderd.encode.dispositions import named
from encoderd.encode.dolby_vision import in_descriptors
from encoderd.encode.elementary_streams import SOUND_NAMES, Kind, descriptors, voices
from encoderd.encode.left_out import LAST_TABLE_PID, of_stream, of_table_entry, of_tables, of_unnamed
from encoderd.encode.media import AttachmentInfo, AudioInfo, CaptionInfo, LeftOut, MediaInfo, Service, VideoInfo
from encoderd.encode.pictures import WIDEST_SAMPLE
from encoderd.encode.programmes import Choice, ProgrammeLayout, Track
from encoderd.encode.pyav import (
    attached_file,
    chapters_of,
    codec_of,
    disposition,
    is_chapters_track,
    kind,
    language_of,
    number_of,
    pixel_format,
    title_of,
)

_ATTACHED_PICTURE = 0x400  # disposition
#: MP4's handler of a track that only tells a server how to send another one.
_HINT = "hint media handler"
#: Codecs of pictures that stand alone: beside another video they are a cover that nobody marked as one.
_STILL_CODECS = frozenset({"bmp", "gif", "jpegls", "mjpeg", "png", "targa", "tiff", "webp"})


def media_info(
    container: InputContainer,
    size_bytes: int,
    choice: Choice | None = None,
    service: Service | None = None,
    examples: Mapping[int, bytes] | None = None,
    late: Collection[int] = (),
) -> MediaInfo:
    """
    Return what the container holds, of the chosen programme where there is one.

    `examples` has a packet of most PIDs with audio, which tells dual mono; `late` are PIDs that begin later: what
    FFmpeg takes for their start is where their sample came from.
    """
    programme = None if choice is None else choice.programme
    notes: list[str] = []
    if choice is not None and programme is not None and choice.others:
        others = ", ".join(map(str, choice.others))
        notes.append(f"programme {programme.number} kept, left out: {others}")
    video: list[VideoInfo] = []
    audio: list[AudioInfo] = []
    captions: list[CaptionInfo] = []
    other: list[str] = []
    attachments: list[AttachmentInfo] = []
    left: list[LeftOut] = []
    unnamed = () if choice is None else choice.unnamed
    accounted: set[int] = set()
    unheard: dict[int, str] = {}
    for group, track in _tracks(container, () if programme is None else programme.tracks):
        stream, also = group[0], tuple(later.index for later in group[1:])
        if track is None and choice is not None and choice.others and not _is_kept(stream, programme):
            continue  # no table of the kept programme names it: it may be another one's
        if track is not None and track.kind is Kind.CAPTIONS:
            # FFmpeg guesses what it does not know, and takes ARIB captions for VVC
            captions.append(_caption_info(stream, track, also))
        elif isinstance(stream, VideoStream) and stream.codec_context is not None:
            if disposition(stream) & _ATTACHED_PICTURE:
                other.append(_named(stream))
                left.append(_left_out(stream, None))
            else:
                told = _container_aspect(container.format.name, stream)
                video.append(replace(_video_info(stream, track), container_aspect=told, also=also))
        elif isinstance(stream, AudioStream) and stream.codec_context is not None:
            dual = _dual_mono(group, track, examples or {})
            heard = _audio_info(stream, _both_told(track) if dual else track)
            apart = voices(track.descriptors) if dual and track is not None else ()
            audio.append(replace(heard, also=also, dual_mono=dual, voices=apart))
            if track is not None and len(track.languages) > (2 if dual else 1):
                several = ", ".join(track.languages)
                notes.append(f"audio stream {stream.index}: of its languages {several} it keeps {heard.language}")
        elif kind(stream) == "subtitle":
            captions.append(_caption_info(stream, track, also))
        elif kind(stream) == "attachment" and attached_file(stream) is not None:
            attachments.append(_attachment(stream))
        elif kind(stream) == "audio" or (track is not None and track.kind is Kind.AUDIO):
            codec = (track.codec if track is not None else "") or codec_of(stream)
            unheard[number_of(stream)] = SOUND_NAMES.get(codec, codec) or "unknown sound"
            other.append(_named(stream, codec))
            left.append(_left_out(stream, track))
        else:
            other.append(_named(stream))
            left.append(of_unnamed(stream.id) if stream.id in unnamed else _left_out(stream, track))
        accounted.add(stream.id)
    left += _without_streams(container, () if programme is None else programme.tracks)
    left += [of_unnamed(pid) for pid in unnamed if pid not in accounted]
    found = chapters_of(container)
    chapters = of_source(found or ())
    notes += chapters.notes
    return MediaInfo(
        format=container.format.name,
        size_bytes=size_bytes,
        start_s=_start_s(container, [*video, *audio], late),
        duration_s=_duration_s(container, [*video, *audio], alone=choice is None or not choice.others),
        video=tuple(sorted(video, key=lambda one: _later(container.streams[one.index]))),
        audio=tuple(audio),
        captions=tuple(captions),
        other=tuple(other),
        comment=container.metadata.get("comment", "") or container.metadata.get("COMMENT", ""),
        notes=tuple(notes),
        programme=0 if programme is None else programme.number,
        service=service or Service(),
        metadata=words.of_source(dict(container.metadata)),
        chapters=chapters.chapters,
        announced={} if programme is None else announced(programme.tracks),
        left_out=tuple(left),
        attachments=tuple(attachments),
        unheard=unheard,
    )


def _later(stream: Any) -> tuple[bool, ...]:
    """Of several videos single pictures are the last, and before them what the container has no player show."""
    told = str(stream.metadata.get("NUMBER_OF_FRAMES", ""))
    frames = stream.frames or (int(told) if told.isascii() and told.isdigit() else 0)
    return frames == 1, stream.codec_context.name in _STILL_CODECS, not disposition(stream) & 1


def _is_kept(stream: Stream, programme: ProgrammeLayout | None) -> bool:
    return programme is not None and stream.id in programme.pids


def _left_out(stream: Stream, track: Track | None) -> LeftOut:
    """What becomes of a stream that the output does not take."""
    if track is not None and track.kind is Kind.DATA:
        return of_table_entry(stream.id, track.stream_type, track.descriptors)
    if track is not None:
        what = f"{track.codec} {track.kind} (PID {stream.id:#x})"
        return LeftOut(what=what, reason="no decoder here knows it", matters=True, pid=stream.id)
    name = codec_of(stream)
    if is_chapters_track(stream):
        name = "chapters"
    elif _HINT in stream.metadata.get("handler_name", ""):
        name = "hint"
    elif not name:
        name = "timecode" if "timecode" in stream.metadata else title_of(stream)
    if stream.container.format.name == "mpegts" and 0 < stream.id <= LAST_TABLE_PID:
        return of_tables(stream.id)
    return of_stream(kind(stream), name, stream.index, stream.metadata.get("timecode", ""))


def _without_streams(container: InputContainer, tracks: Sequence[Track]) -> list[LeftOut]:
    """Data of the tables that FFmpeg has no stream for: sections, mostly."""
    known = {stream.id for stream in container.streams}
    return [
        of_table_entry(track.pids[0], track.stream_type, track.descriptors)
        for track in tracks
        if track.kind is Kind.DATA and known.isdisjoint(track.pids)
    ]


def _attachment(stream: Stream) -> AttachmentInfo:
    metadata = stream.metadata
    return AttachmentInfo(
        index=stream.index,
        name=metadata.get("filename", "") or f"attachment {stream.index}",
        mimetype=metadata.get("mimetype", "") or "application/octet-stream",
    )


def announced(tracks: Sequence[Track]) -> dict[int, str]:
    """Return what a programme's tables say of each PID, as people read it: "ac3, jpn"."""
    return {
        pid: ", ".join([track.codec or str(track.kind), *filter(None, [track.language])])
        for track in tracks
        for pid in track.pids
    }


def _tracks(container: InputContainer, tracks: Sequence[Track]) -> list[tuple[list[Stream], Track | None]]:
    """Group the streams by track, in the order of the tracks, each group's first stream first; the rest stand alone."""
    by_pid: dict[int, list[Stream]] = {}
    for stream in container.streams:
        by_pid.setdefault(stream.id, []).append(stream)
    found: list[tuple[list[Stream], Track | None]] = []
    taken: set[int] = set()
    for track in tracks:
        group = [stream for pid in track.pids for stream in by_pid.get(pid, ()) if stream.index not in taken]
        same = [stream for stream in group if kind(stream) == kind(group[0])]
        if same:
            taken |= {stream.index for stream in same}
            found.append((_known_first(same), track))
    return found + [([stream], None) for stream in container.streams if stream.index not in taken]


def _known_first(group: list[Stream]) -> list[Stream]:
    """The first stream stands for the track: one whose parameters are known."""
    return sorted(group, key=lambda stream: not is_known(stream))


def is_known(stream: Stream) -> bool:
    """Whether probing found what a decoder needs; a stream that no decoder knows is as known as it can be."""
    context: Any = stream.codec_context
    if isinstance(stream, AudioStream) and context is not None:
        return bool(context.sample_rate)
    return not isinstance(stream, VideoStream) or context is None or bool(context.width)


def _start_s(
    container: InputContainer, tracks: Sequence[VideoInfo | AudioInfo], late: Collection[int]
) -> Fraction | None:
    """The earliest start of all streams of the tracks that are there from the beginning."""
    starts = []
    for stream in (container.streams[index] for track in tracks for index in (track.index, *track.also)):
        if stream.id in late:
            continue
        if stream.start_time is not None and stream.time_base is not None:
            starts.append(Fraction(stream.start_time * stream.time_base))
    return min(starts, default=None)


def _duration_s(container: InputContainer, tracks: Sequence[VideoInfo | AudioInfo], *, alone: bool) -> Fraction | None:
    """The container's claim; beside other programmes, which may last longer, that of the kept one's own streams."""
    if alone:
        claim = None if container.duration is None else Fraction(container.duration, 1_000_000)
        begin = _start_s(container, tracks, ()) or Fraction(0)
        # Matroska's, as FFmpeg writes it, counts from the clock's zero and not from the first packet
        late = "matroska" in container.format.name and claim is not None and 0 < begin < claim
        return claim - begin if claim is not None and late else claim
    streams = [container.streams[track.index] for track in tracks]
    claims = [Fraction(one.duration * one.time_base) for one in streams if one.duration and one.time_base]
    return max(claims, default=None)


def _dual_mono(group: list[Stream], track: Track | None, examples: Mapping[int, bytes]) -> bool:
    if track is not None and track.dual_mono:
        return True
    context: Any = group[0].codec_context
    return any(is_dual_mono(codec_word(context.name), examples.get(stream.id, b"")) for stream in group)


def _both_told(track: Track | None) -> Track | None:
    """A stream whose packets are dual mono has two languages, even where its table does not say that it is."""
    return None if track is None else replace(track, dual_mono=True)


def _named(stream: Stream, told: str = "") -> str:
    """`told` is the codec as the tables call it."""
    context: Any = stream.codec_context
    name = told or codec_of(stream) if context is None else context.name
    return f"{name or 'unknown ' + kind(stream)} (stream {stream.index}, pid {stream.id:#x})"


def _caption_info(stream: Stream, track: Track | None, also: tuple[int, ...]) -> CaptionInfo:
    named = track.codec if track is not None and track.codec else ""
    return CaptionInfo(
        index=stream.index,
        pid=number_of(stream),
        codec=named or codec_of(stream),
        language=_language(stream, track),
        title=_title(stream, track),
        also=also,
        default=bool(disposition(stream) & 1),
        dispositions=_dispositions(stream, track),
    )


def _language(stream: Stream, track: Track | None) -> str:
    return (track.language if track is not None else "") or language_of(stream)


def _title(stream: Stream, track: Track | None) -> str:
    return (track.title if track is not None else "") or title_of(stream)


def _dispositions(stream: Stream, track: Track | None) -> tuple[str, ...]:
    """
    The tables' word where there are tables: FFmpeg's is theirs, of the first one that it met.

    Where they say nothing of AC-3 it is the sound's own (bsmod), unless FFmpeg has it from one of several entries.
    """
    silent = track is None or not (track.dispositions or track.languages[1:] or track.codec not in {"ac3", "eac3"})
    return named(disposition(stream)) if track is None or silent else track.dispositions


def _video_info(stream: VideoStream, track: Track | None) -> VideoInfo:
    context = stream.codec_context
    return VideoInfo(
        index=stream.index,
        pid=number_of(stream),
        codec=context.name,
        width=context.width,
        height=context.height,
        pix_fmt=pixel_format(context),
        frame_rate=Fraction(stream.guessed_rate or stream.average_rate or 0),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 0),
        time_base=Fraction(stream.time_base or 0),
        color_primaries=int(context.color_primaries),
        color_trc=int(context.color_trc),
        colorspace=int(context.colorspace),
        color_range=int(context.color_range),
        dolby_vision=None if track is None else in_descriptors(descriptors(track.descriptors)),
        language=_language(stream, track),
        title=_title(stream, track),
        dispositions=_dispositions(stream, track),
    )


def _container_aspect(format_name: str, stream: VideoStream) -> Fraction:
    """
    Return the sample aspect ratio that the container tells, 0 where it tells none or the same as the pictures' first.

    FFmpeg and its players take it before that of the pictures, and for all of them; Matroska always tells one. Source:
    libavformat, av_guess_sample_aspect_ratio, which PyAV calls.
    """
    guessed = Fraction(stream.sample_aspect_ratio or 0)
    differs = guessed != Fraction(stream.codec_context.sample_aspect_ratio or 0)
    believed = 1 / WIDEST_SAMPLE <= guessed <= WIDEST_SAMPLE
    return guessed if believed and (differs or "matroska" in format_name) else Fraction(0)


def _audio_info(stream: AudioStream, track: Track | None) -> AudioInfo:
    context = stream.codec_context
    return AudioInfo(
        index=stream.index,
        pid=number_of(stream),
        codec=context.name,
        sample_rate_hz=context.sample_rate or 0,
        channels=context.channels or 0,
        layout=context.layout.name if context.channels else "",
        bit_rate_bps=context.bit_rate or 0,
        language=_language(stream, track),
        title=_title(stream, track),
        default=bool(disposition(stream) & 1) or (track is not None and track.main),
        time_base=Fraction(stream.time_base or 0),
        dispositions=_dispositions(stream, track),
    )
