"""
What a viewer sees and hears in a file: numbers, flashes and bursts with their times, and the streams' properties.

Times are exact seconds on the file's own clock, as a decoder gives them. A picture's time is exact; a burst's onset is
found within 3 ms in clean sound (tests/unit/test_broadcast.py measures that).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from tests.broadcast.containers import DISPOSITIONS
from tests.broadcast.making import (
    BITS,
    BURST_S,
    CELLS,
    CELLS_FROM,
    CELLS_UNTIL,
    FLASH,
    MARKS,
    NUMBER,
    Event,
    pitch_hz,
)

#: Bars around the picture are darker than anything in it, on average over a line.
BAR_LUMA = 28
#: The flash's area is at ground (about 92) or white (235).
WHITE_LUMA = 165
#: Cells are dark (40) or light (200); what lies between is a blend of two.
BETWEEN = (100, 140)
#: How loud a burst is against full scale, at least. Noise is at 0.002, bursts are at 0.5, after mixing down at 0.2.
LOUD = 0.05
#: The envelope is measured in steps and windows of so many seconds.
STEP_S, WINDOW_S = 0.0005, 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A picture: its number (None when its cells cannot be read), whether it is a flash, and how it is coded."""

    at_s: Fraction
    number: int | None
    white: bool
    interlaced: bool
    size: tuple[int, int]
    box: tuple[int, int, int, int]  # left, top, right, bottom of what is no bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A burst: `mark` is its second modulo 8, `voice` 0 or 1; `channels` are those that have it."""

    at_s: Fraction
    mark: int
    voice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A stream's properties as the container and the decoder tell them."""

    kind: str
    codec: str
    language: str
    channels: int
    title: str = ""
    default: bool = False
    dispositions: tuple[str, ...] = ()


# --- pictures


def seen(path: Path) -> list[Seen]:
    """Decode all pictures and look at each."""
    return list(_seen(path))


def _seen(path: Path) -> Iterator[Seen]:
    with av.open(str(path), metadata_errors="replace") as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        for frame in _decoded(container, video):
            if frame.pts is None:
                continue
            luma = _luma(frame)
            box = _box(luma)
            inside = luma[box[1] : box[3], box[0] : box[2]]
            yield Seen(
                at_s=frame.pts * Fraction(frame.time_base),
                number=number_in(inside),
                white=_share(inside, FLASH).mean() > WHITE_LUMA if inside.size else False,
                interlaced=bool(frame.interlaced_frame),
                size=(frame.width, frame.height),
                box=box,
            )


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames; a packet that cannot be decoded costs itself."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.EOFError):
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _luma(frame: Any) -> NDArray[np.uint8]:
    plain = frame.format.name in {"yuv420p", "yuvj420p", "nv12", "yuv422p"}
    plane = (frame if plain else frame.reformat(format="gray")).planes[0]
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _box(luma: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    columns = np.flatnonzero(luma.mean(axis=0) > BAR_LUMA)
    rows = np.flatnonzero(luma.mean(axis=1) > BAR_LUMA)
    if not len(columns) or not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _share(luma: NDArray[np.uint8], shares: tuple[float, float]) -> NDArray[np.uint8]:
    """The middle of a band of the picture."""
    height = luma.shape[0]
    margin = (shares[1] - shares[0]) / 4
    return luma[round((shares[0] + margin) * height) : round((shares[1] - margin) * height)]


def number_in(luma: NDArray[np.uint8]) -> int | None:
    """Return the number in a picture without bars, None when a cell is neither dark nor light or parity is wrong."""
    strip, width = _share(luma, NUMBER), luma.shape[1]
    if strip.size == 0 or width < 4 * CELLS:
        return None
    gray, doubtful, parity = 0, 0, False
    for cell in range(CELLS):
        begin, end = (
            width * (CELLS_FROM + (CELLS_UNTIL - CELLS_FROM) * (cell + part) / CELLS) for part in (0.25, 0.75)
        )
        level = strip[:, round(begin) : max(round(begin) + 1, round(end))].mean()
        doubtful += BETWEEN[0] < level < BETWEEN[1]
        lit = bool(level > sum(BETWEEN) / 2)
        parity ^= lit
        if cell < BITS:
            gray |= lit << cell
    if doubtful > 1 or parity:
        return None
    number = gray
    for shift in (8, 4, 2, 1):
        number ^= number >> shift
    return number


def numbers(path: Path) -> list[int | None]:
    """The number of each picture, in the order shown."""
    return [picture.number for picture in seen(path)]


def flashes_in(pictures: Sequence[Seen]) -> list[Fraction]:
    """When each flash begins: the first white picture after one that was not."""
    found, before = [], True  # what is white from the start began before it
    for picture in pictures:
        if picture.white and not before:
            found.append(picture.at_s)
        before = picture.white
    if pictures and pictures[0].white:
        found.insert(0, pictures[0].at_s)
    return found


def flashes(path: Path) -> list[Fraction]:
    return flashes_in(seen(path))


# --- sounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """
    A decoded track: `samples` (channels × n) placed by their times, from `begin_s` on; `covered` tells from when to
    when each frame lasts. What none covers is zero. Channels are the most there ever were; mono stands in all of them.
    """

    samples: NDArray[np.float32]
    begin_s: Fraction
    rate_hz: int
    covered: list[tuple[Fraction, Fraction]]


def sound(path: Path, track: int = 0) -> Sound:
    """Decode an audio track."""
    blocks: list[tuple[int, NDArray[np.float32]]] = []
    covered: list[tuple[Fraction, Fraction]] = []
    rate = 0
    with av.open(str(path), metadata_errors="replace") as container:
        for frame in _decoded(container, container.streams.audio[track]):
            rate = rate or frame.sample_rate
            if frame.pts is None or frame.sample_rate != rate:
                continue
            at_s = frame.pts * Fraction(frame.time_base)
            blocks.append((round(at_s * rate), _samples(frame)))
            covered.append((at_s, at_s + Fraction(frame.samples, rate)))
    if not blocks:
        return Sound(samples=np.zeros((1, 0), np.float32), begin_s=Fraction(0), rate_hz=48_000, covered=[])
    origin = min(at for at, _ in blocks)
    length = max(at + block.shape[1] for at, block in blocks) - origin
    placed = np.zeros((max(block.shape[0] for _, block in blocks), length), np.float32)
    for at, block in blocks:
        rows = [min(row, block.shape[0] - 1) for row in range(placed.shape[0])]
        placed[:, at - origin : at - origin + block.shape[1]] = block[rows]
    return Sound(samples=placed, begin_s=Fraction(origin, rate), rate_hz=rate, covered=covered)


def _samples(frame: Any) -> NDArray[np.float32]:
    data = frame.to_ndarray()
    channels = len(frame.layout.channels)
    if data.shape[0] == 1 and channels > 1:
        data = data.reshape(-1, channels).T
    if data.dtype == np.float32:
        return np.asarray(data, np.float32)
    return np.asarray(data / np.float32(np.iinfo(data.dtype).max), np.float32)


def beeps(path: Path, track: int = 0, channel: int | None = None) -> list[Heard]:
    """The bursts of a track, in the loudest channel of each moment or in one channel."""
    return beeps_in(sound(path, track), channel)


def beeps_in(sound: Sound, channel: int | None = None) -> list[Heard]:
    """As `beeps`, of a decoded track."""
    voices = sound.samples if channel is None else sound.samples[channel : channel + 1]
    step, window = round(STEP_S * sound.rate_hz), round(WINDOW_S * sound.rate_hz)
    if voices.shape[0] == 0 or voices.shape[1] <= window:  # no such channel, or nothing to hear
        return []
    power = np.concatenate([[0.0], np.cumsum((voices.astype(np.float64) ** 2).max(axis=0))])
    ends = np.arange(window, len(power), step)
    level = np.sqrt(np.maximum(power[ends] - power[ends - window], 0) / window)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (level > LOUD).astype(np.int8), [0]])))
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if (end - begin) * STEP_S > float(BURST_S) / 2:
            onset, offset = _edges(level, int(begin), int(end), window // step)
            onset, offset = onset * step + window // 2, offset * step + window // 2
            mark, voice = _named(voices[:, onset:offset], sound.rate_hz)
            found.append(Heard(at_s=sound.begin_s + Fraction(onset, sound.rate_hz), mark=mark, voice=voice))
    return found


def _edges(level: NDArray[np.float64], begin: int, end: int, window: int) -> tuple[int, int]:
    """
    Where the envelope is above 1/√2 of its height: there the window is half in the burst.

    Source: RMS over a window that is half in a tone is 1/√2 of that in the tone.
    """
    height = float(np.median(level[begin:end]))
    first, last = max(0, begin - window), min(len(level), end + window)
    inside = np.flatnonzero(level[first:last] > height / np.sqrt(2)) + first
    return int(inside[0]), int(inside[-1])


def _named(voices: NDArray[np.float32], rate_hz: int) -> tuple[int, int]:
    """Return the mark and the voice of a burst by its pitch, from its middle."""
    margin = voices.shape[1] // 5
    middle = voices[:, margin : voices.shape[1] - margin]
    loudest = middle[int((middle**2).sum(axis=1).argmax())]
    spectrum = np.abs(np.fft.rfft(loudest * np.hanning(len(loudest)), 1 << 14))
    hz = float(spectrum.argmax()) * rate_hz / (1 << 14)
    named = [(mark, voice) for voice in (0, 1) for mark in range(MARKS)]
    return min(named, key=lambda one: abs(pitch_hz(*one) - hz))


# --- both


def skew(path: Path, track: int = 0) -> Fraction:
    """
    Return the largest distance between a flash and the burst of its second; ValueError without any pair.

    For recordings that begin at their second 0 and lose no flash.
    """
    heard = beeps(path, track)
    apart = [
        min(abs(burst.at_s - flash.at_s) for burst in same)
        for flash in marks_of(seen(path))
        if (same := [burst for burst in heard if burst.mark == flash.mark])
    ]
    if not apart:
        raise ValueError("no flash and burst of the same second")
    return max(apart)


def marks_of(pictures: Sequence[Seen]) -> list[Event]:
    """The flashes with their seconds modulo 8: the first that is made is that of second 1."""
    return [Event(at_s=at_s, mark=number % MARKS) for number, at_s in enumerate(flashes_in(pictures), start=1)]


def tracks(path: Path) -> list[Track]:
    """All streams, in order. A stream that no decoder knows has the codec "unknown"."""
    with av.open(str(path), metadata_errors="replace") as container:
        return [
            Track(
                kind=stream.type,
                codec=context.name if (context := stream.codec_context) is not None else "unknown",
                language=stream.metadata.get("language", ""),
                channels=context.channels if stream.type == "audio" and context is not None else 0,
                title=_title(stream),
                default=bool(int(stream.disposition.value) & 1),
                dispositions=tuple(
                    name
                    for name, bit in DISPOSITIONS.items()
                    if int(stream.disposition.value) & bit and name != "default"
                ),
            )
            for stream in container.streams
        ]


def _title(stream: Any) -> str:
    """MP4 has it as the name of the handler, which FFmpeg calls SoundHandler where there is none, and as a name."""
    handler = str(stream.metadata.get("handler_name", ""))
    named = stream.metadata.get("name", "") if handler.endswith("Handler") else handler
    return str(stream.metadata.get("title") or named)


def words(path: Path) -> dict[str, str]:
    """What the file's head says, in lower-case names."""
    with av.open(str(path), metadata_errors="replace") as container:
        return {name.lower(): text for name, text in container.metadata.items()}


def chapters(path: Path) -> list[tuple[Fraction, str]] | None:
    """When each chapter begins, and its title; None where this PyAV reads none."""
    with av.open(str(path), metadata_errors="replace") as container:
        reader: Any = getattr(container, "chapters", None)
        if reader is None:
            return None
        return [(one["start"] * Fraction(one["time_base"]), one["metadata"].get("title", "")) for one in reader()]


def geometry(path: Path) -> tuple[int, int, Fraction]:
    """Width, height, and the shape of one sample (1 when untold)."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        return context.width, context.height, Fraction(video.sample_aspect_ratio or 1) or Fraction(1)


def colours(path: Path) -> tuple[int, int, int]:
    """Primaries, transfer, matrix of the video, as numbers of ITU-T H.273."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return int(context.color_primaries), int(context.color_trc), int(context.colorspace)


def captions_shown(path: Path) -> list[tuple[Fraction, Any]]:
    """
    When a decoder takes each packet of the first stream of subtitles, and what it shows then: for how long and which
    text, the size of a bitmap, or None where it clears the screen or refuses the packet.
    """
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.subtitles[0]
        base = Fraction(stream.time_base or 1)
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [((packet.pts or 0) * base, _shown_by(packet, base)) for packet in packets]


def _shown_by(packet: Any, base: Fraction) -> tuple[Fraction, bytes] | tuple[int, int] | None:
    return (packet.duration * base, bytes(packet)) if packet.duration else _bitmap(packet)


def _bitmap(packet: Any) -> tuple[int, int] | None:
    try:
        found = [bitmap for bitmap in packet.decode() if hasattr(bitmap, "width")]
    except av.error.FFmpegError:
        return None
    return (found[0].width, found[0].height) if found else None


def payloads(path: Path) -> list[bytes]:
    """The packets of all streams that are neither pictures nor sound, in the order of the file."""
    with av.open(str(path), metadata_errors="replace") as container:
        wanted = [stream.index for stream in container.streams if stream.type not in {"video", "audio"}]
        return [bytes(packet) for packet in container.demux() if packet.size and packet.stream_index in wanted]
