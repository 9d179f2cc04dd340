"""
A few pictures at several places of a recording, looked at before the encode.

A recording often begins with the end of the programme before, in another size or with other flags. What it mostly is,
only its middle tells. Transport streams are read in windows of bytes, each with the parameters and PIDs that hold
there; in other containers a demuxer seeks. Nothing here fails a job: a place that cannot be decoded is a Look without
frames.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from encoderd.encode.deinterlacing import (
    FILM_IN_50,
    Lines,
    Verdict,
    has_combed_spot,
    is_pulldown,
    lasting_of,
    lies_above,
    parities,
    repeats_field,
    verdict,
)
from encoderd.encode.dolby_vision import unit_has_base
from encoderd.encode.fields import FieldOrder, are_fields, may_be_fields
from encoderd.encode.luma import luma_of
from encoderd.encode.media import MediaInfo, VideoInfo
from encoderd.encode.pictures import Colours, Look, PictureForm, woven_aspect
from encoderd.encode.probe import DEMUXERS
from encoderd.encode.pyav import content_peak_nits, mastering_peak_nits, number_of, open_input, orientation, side_data
from encoderd.encode.tonemapping import believed_peak

#: Places that are looked at, and pictures at each: 8 × 6 of 1440 × 1080 MPEG-2 take 0.3 to 0.4 s of one core.
PLACES, FRAMES = 8, 6
#: Pictures at a place where few have a timestamp: until two do, or the frame rate is unknown.
MOST_FRAMES = 32
#: A window of a transport stream holds so many seconds: a group of pictures, its start included, is rarely longer.
WINDOW_S = Fraction(3, 2)
LEAST_WINDOW_BYTES, MOST_WINDOW_BYTES = 1_572_864, 12_582_912
#: Bytes of a window in which FFmpeg looks for streams, and microseconds that it looks at them.
PROBE = {"probesize": "524288", "analyzeduration": "100000"}
#: Packets without a picture, after which a place is given up: a minute of noise has thousands.
MOST_PACKETS = 600
#: Where one of twelve pictures of film lasts longer, more of them are looked for: a group of pictures may have twelve.
PAL = Fraction(25)
#: Packets that may be shown before one that comes earlier.
REORDERED = 4
#: Every so many columns of luma are compared, from the left.
COLUMN_STEP = 6
_WORKERS = 2
#: Width × height in pixels, and the pixel format.
_Form = tuple[int, int, str]
#: A window cannot name another file; what is opened by name is opened as probing opened it.
_SAFE = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
#: The decoder's mistakes and the demuxer's. `demux` itself reads beyond its streams when new ones appeared.
_UNREADABLE = (av.error.FFmpegError, OSError, ValueError, IndexError)


def survey(source: str, media: MediaInfo, video: VideoInfo, *, places: int = PLACES) -> tuple[Look, ...]:
    """
    Look at `places` places, evenly spread from the beginning on; returns one Look for each, in the file's order.

    `source` is a name that FFmpeg can open; `media` and `video` are what probing found in it.
    """
    spots = [number / places for number in range(places)]
    look = _window_look if media.format == "mpegts" else _seek_look
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="survey") as workers:
        return tuple(workers.map(lambda at: look(source, media, video, at), spots))


def _window_look(source: str, media: MediaInfo, video: VideoInfo, at: float) -> Look:
    try:
        with (
            open(source, "rb", buffering=0) as file,
            av.open(
                _Window(file.fileno(), *_window(media, at)),
                format="mpegts",
                container_options=PROBE,
                metadata_errors="replace",
            ) as container,
        ):
            return _look(container, video, at)
    except MemoryError:
        raise
    except _UNREADABLE:
        return Look(at=at)


def _window(media: MediaInfo, at: float) -> tuple[int, int]:
    """Return the first byte and the number of bytes."""
    length = LEAST_WINDOW_BYTES
    if media.duration_s:
        length = max(length, int(media.size_bytes / media.duration_s * WINDOW_S))
    return media.first_byte + int((media.content_end - media.first_byte) * at), min(length, MOST_WINDOW_BYTES)


class _Window(io.RawIOBase):
    """A part of a file, read as FFmpeg asks for it: most windows are left after a third."""

    def __init__(self, fd: int, first: int, length: int) -> None:
        self._fd, self._at, self._end = fd, first, first + length

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, b"" at the window's end."""
        data = os.pread(self._fd, max(0, min(size, self._end - self._at)), self._at)
        self._at += len(data)
        return data


def _seek_look(source: str, media: MediaInfo, video: VideoInfo, at: float) -> Look:
    try:
        with open_input(source, _SAFE) as container:
            if at and media.duration_s:
                container.seek(int(((media.start_s or 0) + media.duration_s * Fraction(at)) * av.time_base))
            return _look(container, video, at)
    except MemoryError:
        raise
    except _UNREADABLE:
        return Look(at=at)


def _look(container: Any, video: VideoInfo, at: float) -> Look:
    streams: list[Any] = list(container.streams.video)
    streams = [stream for stream in streams if number_of(stream) == video.pid] or streams
    if not streams:
        return Look(at=at)
    seen: dict[int, list[_Picture]] = {stream.index: [] for stream in streams}
    last: dict[int, VideoFrame] = {}
    turned: dict[int, tuple[int, bool]] = {}
    for stream in streams:
        stream.codec_context.thread_count = 1
    found: list[_Picture] = []
    order = FieldOrder()
    for index, frame in _frames(container, streams):
        seen[index].append(_picture(frame, order))
        last[index] = frame
        if frame.key_frame or index not in turned:  # H.264 tells it with these, and means those that follow
            turned[index] = orientation(frame)
        if len(seen[index]) > len(found):
            found = seen[index]
        told = sum(picture.shown_s is not None for picture in found)
        if len(found) > (FRAMES if told > 1 else MOST_FRAMES):  # one more: the last one's neighbour
            break
    stream = next((one for one in streams if seen.get(one.index) is found), None)
    if stream is None or not found:
        return Look(at=at)
    look = _described(found, last[stream.index], turned[stream.index], at, stream.codec_context, video)
    if video.frame_rate == PAL and not look.interlaced and not look.combed:
        look = replace(look, lasting=lasting_of(_later_steps(container, stream)))
    return look


def _later_steps(container: InputContainer, stream: Any) -> list[Fraction]:
    """
    Return the seconds from picture to picture of those that come next, which nobody decodes.

    Without the first and the last: others are shown between them, which came before or come behind.
    """
    packets = islice(container.demux(stream), FILM_IN_50.pictures + 1 + 2 * REORDERED)
    told = sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None and packet.time_base)
    return [later - earlier for earlier, later in pairwise(told[REORDERED:-REORDERED])]


@dataclass(frozen=True, slots=True)
class _Picture:
    """What is kept of a decoded picture: a frame that is let go at once is the decoder's next one."""

    form: _Form
    shown_s: Fraction | None
    interlaced: bool
    top_first: bool
    luma: Lines


def _picture(frame: VideoFrame, order: FieldOrder) -> _Picture:
    return _Picture(
        form=_form(frame),
        shown_s=None if frame.pts is None or not frame.time_base else Fraction(frame.pts * frame.time_base),
        interlaced=bool(frame.interlaced_frame),
        top_first=order.is_top_first(frame),
        luma=luma_of(frame, COLUMN_STEP),
    )


def _form(frame: VideoFrame) -> _Form:
    return frame.width, frame.height, frame.format.name


def _frames(container: InputContainer, streams: list[Any]) -> Iterator[tuple[int, VideoFrame]]:
    """Yield decoded pictures with their stream; what cannot be decoded is passed over."""
    known = {stream.index for stream in streams}
    for number, packet in enumerate(container.demux(streams)):
        if number > MOST_PACKETS:
            return
        if packet.stream_index not in known or not isinstance(
            packet.stream, VideoStream
        ):  # one that appeared in mid-window
            continue
        try:
            decoded: list[Any] = packet.decode()
        except MemoryError:
            raise
        except _UNREADABLE:
            continue
        for frame in decoded:
            if frame.width and frame.height and not frame.is_corrupt:
                yield packet.stream_index, frame


def _described(
    seen: list[_Picture], last: VideoFrame, turned: tuple[int, bool], at: float, context: Any, video: VideoInfo
) -> Look:
    """
    Say what the pictures are like that have the form of the last one; a change may lie within them.

    `turned` is how the last key frame is to be turned and whether it is to be mirrored.
    """
    alike = [picture for picture in seen if picture.form == seen[-1].form]
    times = [(number, picture.shown_s) for number, picture in enumerate(alike) if picture.shown_s is not None]
    # Where a PES packet holds several pictures, one of them has its timestamp.
    steps = [(later - earlier) / (after - before) for (before, earlier), (after, later) in pairwise(times)]
    steps = [step for step in steps if step > 0]
    spacing_s = sorted(steps)[len(steps) // 2] if steps else Fraction(0)
    height, aspect = last.height, video.container_aspect or Fraction(context.sample_aspect_ratio or 0)
    flagged = are_fields([one.top_first for one in alike], sum(one.interlaced for one in alike), spacing_s)
    fields = flagged or may_be_fields(height, spacing_s)
    if fields and not flagged:
        found = parities([lies_above(one.luma, other.luma) for one, other in pairwise(alike)])
        fields = bool(found)
        alike = [replace(one, interlaced=True, top_first=top) for one, top in zip(alike, found, strict=False)] or alike
    if fields:
        alike, steps, spacing_s = _woven(alike), [], 2 * spacing_s
        height, aspect = 2 * height, woven_aspect(aspect, last.width, height)
    pictures = [picture.luma for picture in alike]
    verdicts, repeated = _compared(pictures)
    return Look(
        at=at,
        form=PictureForm(
            width=last.width,
            height=height,
            sample_aspect_ratio=aspect,
            pix_fmt=last.format.name,
            frame_rate=1 / spacing_s if spacing_s else Fraction(0),
            colours=Colours(
                primaries=int(context.color_primaries),
                transfer=int(context.color_trc),
                matrix=int(last.colorspace),
                range=int(last.color_range),
            ),
            rotation=turned[0],
            mirrored=turned[1],
            peak_nits=believed_peak(mastering_peak_nits(last), content_peak_nits(last)),
        ),
        frames=len(alike),
        interlaced=sum(picture.interlaced for picture in alike),
        top_first=sum(picture.top_first for picture in alike),
        tff=verdicts.count(Verdict.TFF),
        bff=verdicts.count(Verdict.BFF),
        progressive=verdicts.count(Verdict.PROGRESSIVE),
        undetermined=verdicts.count(Verdict.UNDETERMINED),
        repeated=repeated,
        spots=_spots(pictures) if Verdict.TFF not in verdicts and Verdict.BFF not in verdicts else 0,
        spacing_s=spacing_s,
        fields=fields,
        unflagged=fields and not flagged,
        has_base=unit_has_base(side_data(last, "DOVI_RPU_BUFFER")),
        pulldown=is_pulldown(steps) and not {Verdict.TFF, Verdict.BFF} & set(verdicts),
    )


def _woven(fields: list[_Picture]) -> list[_Picture]:
    """Return the frames that pictures of one field each make."""
    frames = []
    for first, second in zip(fields[0::2], fields[1::2], strict=False):
        luma = np.empty((2 * first.luma.shape[0], first.luma.shape[1]), first.luma.dtype)
        luma[0::2], luma[1::2] = (one.luma for one in ((first, second) if first.top_first else (second, first)))
        frames.append(replace(first, luma=luma))
    return frames


def _compared(pictures: list[Lines]) -> tuple[list[Verdict], int]:
    """Return what the pictures with a neighbour on both sides show, and how many have a field of the one before."""
    verdicts = [
        verdict(*pictures[number - 1 : number + 2])
        for number in range(1, len(pictures) - 1)
        if pictures[number].shape[0] > 3
    ]
    pairs = pairwise(pictures)
    return verdicts, sum(repeats_field(one, other) for one, other in pairs if one.shape[0] > 1)


def _spots(pictures: list[Lines]) -> int:
    """Return how many pictures with a neighbour on both sides are combed somewhere."""
    return sum(
        has_combed_spot(*pictures[number - 1 : number + 2])
        for number in range(1, len(pictures) - 1)
        if pictures[number].shape[0] > 3
    )
