"""
Pictures and sounds that can be measured, encoded as broadcasters do.

Every picture carries its number, sixteen cells in Gray code and one of parity, dark and light; every full second
begins with two pictures that are white above, and with a burst of sound whose pitch names the second (modulo eight)
and the voice. So order, loss, time and synchrony can be read from any encode of any size. Times are exact seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any

import av
import av.filter
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tests.broadcast.pulldown import TWO_THREE, fields_before, with_doubled_frames, with_repeat_flags
from tests.broadcast.transport import HZ, Unit

NTSC, FILM, PAL = Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25)
RATE_HZ = 48_000
#: The number's cells; the last is parity.
BITS, CELLS = 16, 17
#: Where things are, as shares of the height: white at full seconds, a bar that moves with each field, the number.
FLASH, BAR, NUMBER = (0.04, 0.48), (0.52, 0.68), (0.73, 0.93)
#: The cells begin and end here, as shares of the width.
CELLS_FROM, CELLS_UNTIL = 0.06, 0.94
DARK, LIGHT, WHITE = 40, 200, 235
FLASH_PICTURES = 2
BURST_S = Fraction(1, 20)
MARKS = 8
#: ITU-T H.273: primaries, transfer, matrix.
BT709, BT470BG, SMPTE170M, UNTOLD = (1, 1, 1), (5, 5, 5), (6, 6, 6), (2, 2, 2)


def pitch_hz(mark: int, voice: int) -> int:
    """The burst's frequency: multiples of 250 Hz, 1000 to 2750 for voice 0, 4000 to 5750 for voice 1."""
    return (1000, 4000)[voice] + 250 * (mark % MARKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Pictures of one form. `number` and `at_s` are of the first, None to go on after the part before."""

    frames: int
    number: int | None = None
    at_s: Fraction | None = None
    rate: Fraction = NTSC
    size: tuple[int, int] = (256, 144)
    sample_aspect_ratio: Fraction = Fraction(1)
    scan: str = "progressive"  # "tff", "bff", "film" (2:3 pulldown into tff; `rate` is the film's), "soft" (by flags)
    pattern: tuple[int, ...] = TWO_THREE  # of "soft": the fields that its pictures last by turns
    doubled: bool = False  # of "soft": the sequence is progressive, and these are frames
    pix_fmt: str = "yuv420p"
    colours: tuple[int, int, int] = BT709
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """`frames` pictures numbered from `number`, the first of them shown at `at_s`."""

    number: int
    frames: int
    at_s: Fraction
    rate: Fraction

    @property
    def end_s(self) -> Fraction:
        return self.at_s + self.frames / self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A full second: at `at_s`, which is where a picture begins, both flash and burst; `mark` is the second mod 8."""

    at_s: Fraction
    mark: int


def pieces_of(parts: Sequence[Part]) -> list[Piece]:
    found: list[Piece] = []
    for part in parts:
        after = found[-1].number + found[-1].frames if found else 0
        at_s = part.at_s if part.at_s is not None else found[-1].end_s if found else Fraction(0)
        number = after if part.number is None else part.number
        found.append(Piece(number=number, frames=part.frames, at_s=at_s, rate=part.rate))
    return found


def events_of(pieces: Sequence[Piece]) -> list[Event]:
    """
    Each full second but the first is marked at the first picture that begins in it.

    At the very first sample codecs have nothing to overlap with, and a burst there would begin late.
    """
    found = []
    for piece in pieces:
        for second in range(max(1, ceil(piece.at_s)), ceil(piece.end_s)):
            number = ceil((second - piece.at_s) * piece.rate)
            if number < piece.frames:
                found.append(Event(at_s=piece.at_s + number / piece.rate, mark=second % MARKS))
    return found


# --- pictures


@cache
def _ground(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Waves around luma 92."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    return (92 + 14 * np.sin(columns * 40 / size[0]) + 14 * np.sin(rows * 23 / size[1])).astype(np.uint8)


def drawn(number: int, white: bool, size: tuple[int, int], shift: int) -> NDArray[np.uint8]:
    """Return the luma of a picture; the bar stands `shift` steps from the left."""
    width, height = size
    luma = _ground(size).copy()

    def band(shares: tuple[float, float]) -> slice:
        return slice(round(shares[0] * height), round(shares[1] * height))

    if white:
        luma[band(FLASH)] = WHITE
    bar = shift * max(2, width // 40) % (width * 3 // 4) + width // 8
    luma[band(BAR), bar : bar + width // 16] = 210
    edges = [round(width * (CELLS_FROM + (CELLS_UNTIL - CELLS_FROM) * cell / CELLS)) for cell in range(CELLS + 1)]
    for cell, lit in enumerate(cells_of(number)):
        luma[band(NUMBER), edges[cell] : edges[cell + 1]] = LIGHT if lit else DARK
    return luma


def cells_of(number: int) -> list[bool]:
    gray = (number ^ number >> 1) & (1 << BITS) - 1
    bits = [bool(gray >> bit & 1) for bit in range(BITS)]
    return [*bits, sum(bits) % 2 == 1]


def pictures(part: Part, piece: Piece, events: Sequence[Event]) -> Iterator[VideoFrame]:
    """Yield the part's pictures, in its pixel format and with its field order told."""
    lit: set[int] = set()
    for event in events:
        if piece.at_s <= event.at_s < piece.end_s:
            first = round((event.at_s - piece.at_s) * piece.rate)
            lit |= set(range(first, first + FLASH_PICTURES))
    width, height = part.size
    for index in range(part.frames):
        luma = drawn(piece.number + index, index in lit, part.size, index * 2)
        if part.scan in {"tff", "bff"}:
            later = 1 if part.scan == "tff" else 0
            luma[later::2] = drawn(piece.number + index, index in lit, part.size, index * 2 + 1)[later::2]
        planes = np.full((height * 3 // 2, width), 118, np.uint8)
        planes[:height] = luma
        frame: Any = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, 1 / part.rate
        yield frame


def _through_filters(part: Part, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Tell the field order, which frames cannot be given otherwise, and convert."""
    width, height = part.size
    aspect, rate = part.sample_aspect_ratio, part.rate
    graph = av.filter.Graph()
    source = graph.add(
        "buffer",
        f"video_size={width}x{height}:pix_fmt=yuv420p:time_base={rate.denominator}/{rate.numerator}"
        f":pixel_aspect={aspect.numerator}/{aspect.denominator}:frame_rate={rate.numerator}/{rate.denominator}",
    )
    chain = [source]
    if part.scan == "film":
        chain.append(graph.add("telecine", "first_field=top:pattern=23"))
    chain.append(
        graph.add("setfield", {"progressive": "prog", "soft": "prog", "film": "tff"}.get(part.scan, part.scan))
    )
    chain += [graph.add("format", f"pix_fmts={part.pix_fmt}"), graph.add("buffersink")]
    graph.link_nodes(*chain)
    graph.configure()
    for frame in [*frames, None]:
        graph.push(frame)
        while True:
            try:
                filtered: Any = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            filtered.pict_type = 0
            yield filtered


def coded_rate(part: Part) -> Fraction:
    if part.scan == "soft":
        return part.rate * sum(part.pattern) / len(part.pattern) / (1 if part.doubled else 2)
    return part.rate * 5 / 4 if part.scan == "film" else part.rate


def _shown_at(part: Part, index: int) -> Fraction:
    """When a coded picture is shown, in seconds after the part's first; `index` is -1 for a DTS before it."""
    rate = coded_rate(part)
    if part.scan != "soft":
        return index / rate
    return fields_before(index, part.pattern) / (rate if part.doubled else 2 * rate)


def encoded_pictures(codec: str, parts: Sequence[Part]) -> list[Unit]:
    """Encode each part by itself, as splices in a broadcast do it, one after the other in time."""
    pieces, units = pieces_of(parts), list[Unit]()
    events = events_of(pieces)
    for part, piece in zip(parts, pieces, strict=True):
        rate = coded_rate(part)
        context: Any = encoder(codec, part, rate)
        packets = []
        for number, frame in enumerate(_through_filters(part, pictures(part, piece, events))):
            frame.pts, frame.time_base = number, 1 / rate
            packets += context.encode(frame)
        for packet in [*packets, *context.encode(None)]:
            places = [round(ticks * Fraction(packet.time_base) * rate) for ticks in _times(packet)]
            pts, dts = (round((piece.at_s + _shown_at(part, index)) * HZ) for index in places)
            data = bytes(packet)
            if part.scan == "soft" and codec == "mpeg2video":
                shown = fields_before(places[0] + 1, part.pattern) - fields_before(places[0], part.pattern)
                data = (
                    with_doubled_frames(data, shown)
                    if part.doubled
                    else with_repeat_flags(data, places[0], part.pattern)
                )
            if units:  # at a splice to a lower rate the new part's first would be decoded before the old one's last
                dts = min(pts, max(dts, units[-1].dts + HZ // 1000))
            units.append(Unit(pts=pts, dts=dts, data=data))
    return units


def _times(packet: Any) -> tuple[int, int]:
    return packet.pts, packet.dts


def encoder(codec: str, part: Part, rate: Fraction) -> Any:
    options = {"g": "12", "bf": "2"}
    interlaced = part.scan not in {"progressive", "soft"}
    if codec == "mpeg2video":
        options |= {"b": "1500000", "maxrate": "3000000", "bufsize": "1000000"}
    elif codec == "libx264":
        aud = "aud=1" + (":tff=1" if part.scan in {"tff", "film"} else ":bff=1" if part.scan == "bff" else "")
        options |= {"preset": "ultrafast", "crf": "26", "x264-params": aud, "bf": "2"}
    else:
        options |= {"preset": "ultrafast", "x265-params": "aud=1:log-level=none:pools=1:repeat-headers=1"}
    if interlaced:
        options["flags"] = "+ildct+ilme"
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height = part.size
    context.pix_fmt, context.time_base, context.framerate = part.pix_fmt, 1 / rate, rate
    context.sample_aspect_ratio = part.sample_aspect_ratio
    context.color_primaries, context.color_trc, context.colorspace = part.colours
    context.color_range = 1
    context.thread_count = 1
    context.options = {**options, **dict(part.options)}
    context.open()
    return context


# --- sounds


def burst_samples(events: Sequence[Event], duration_s: Fraction, voice: int, seed: int = 1) -> NDArray[np.float32]:
    """Return mono samples: soft noise, and a burst at each event."""
    total = ceil(duration_s * RATE_HZ)
    samples = (np.random.default_rng(seed).standard_normal(total) * 0.002).astype(np.float32)
    for event in events:
        begin = round(event.at_s * RATE_HZ)
        length = min(round(BURST_S * RATE_HZ), total - begin)
        if length > 0:
            phase = np.arange(length) * (2 * np.pi * pitch_hz(event.mark, voice) / RATE_HZ)
            samples[begin : begin + length] += (0.5 * np.sin(phase)).astype(np.float32)
    return samples


#: FFmpeg's names; LFE and centre are quiet in 5.1 but for the bursts in the centre.
CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6}


def encoded_sound(
    codec: str,
    channels: Sequence[NDArray[np.float32]],
    layout: str,
    begin_s: Fraction = Fraction(0),
    options: Mapping[str, str] | None = None,
) -> list[Unit]:
    """
    Encode samples that begin at `begin_s`; `channels` has one array per channel, or one for all of them.

    AAC gets its ADTS headers. What the encoder puts before the first sample is left out.
    """
    context: Any = av.CodecContext.create(codec, "w")
    context.sample_rate, context.layout = RATE_HZ, layout
    context.format = "s16" if codec == "mp2" else "fltp"
    # Broadcasters give MPEG audio twice as much, and FFmpeg's encoder needs it to keep a burst's onset.
    context.bit_rate = (128_000 if codec == "mp2" else 64_000) * CHANNELS[layout]
    context.time_base = Fraction(1, RATE_HZ)
    context.options = dict(options or {})
    context.open()
    stacked = np.stack([channels[min(number, len(channels) - 1)] for number in range(CHANNELS[layout])])
    size = {"aac": 1024, "mp2": 1152, "ac3": 1536}[codec]
    packets = []
    for begin in range(0, stacked.shape[1] - size + 1, size):
        block = stacked[:, begin : begin + size]
        if codec == "mp2":
            interleaved = (block.T.reshape(1, -1) * 32767).astype(np.int16)
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="s16", layout=layout)
        else:
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, begin, Fraction(1, RATE_HZ)
        packets += context.encode(frame)
    units = []
    for packet in [*packets, *context.encode(None)]:
        at_s = packet.pts * Fraction(packet.time_base)
        data = bytes(packet)
        if at_s >= 0 and data:
            pts = round((begin_s + at_s) * HZ)
            units.append(Unit(pts=pts, dts=pts, data=_adts(data, layout) if codec == "aac" else data))
    return units


def _adts(data: bytes, layout: str) -> bytes:
    """ISO/IEC 14496-3, 1.A.2: AAC-LC at 48 kHz."""
    length, channels = len(data) + 7, CHANNELS[layout]
    return (
        bytes([0xFF, 0xF1, 1 << 6 | 3 << 2 | channels >> 2, (channels & 3) << 6 | length >> 11])
        + bytes([length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC])
        + data
    )


def changing_sound(
    samples: NDArray[np.float32], layouts: Sequence[tuple[Fraction, str]], duration_s: Fraction
) -> list[Unit]:
    """AAC whose layout changes at the given times (rounded to a packet), each with an encoder of its own."""
    units: list[Unit] = []
    edges = [round(at_s * RATE_HZ) // 1024 * 1024 for at_s, _ in layouts] + [ceil(duration_s * RATE_HZ)]
    for number, (_, layout) in enumerate(layouts):
        begin, end = edges[number], edges[number + 1]
        early = max(0, begin - 2 * 1024)
        made = encoded_sound("aac", [samples[early : end + 2048]], layout, Fraction(early, RATE_HZ))
        first, last = round(Fraction(begin, RATE_HZ) * HZ), round(Fraction(end, RATE_HZ) * HZ)
        units += [unit for unit in made if first <= unit.pts < last]
    return units


def as_dual_channel(units: Sequence[Unit]) -> list[Unit]:
    """MPEG audio whose two channels are two programmes: mode 10 in the header (ISO/IEC 11172-3, 2.4.2.3)."""
    out = []
    for unit in units:
        data = bytearray(unit.data)
        data[3] = data[3] & 0x3F | 0x80
        out.append(Unit(pts=unit.pts, dts=unit.dts, data=bytes(data)))
    return out


def as_latm(units: Sequence[Unit], channels: int = 2) -> list[Unit]:
    """
    ADTS frames as LATM in LOAS, as ISDB and DVB also send AAC.

    Each with its whole configuration. Source: ISO/IEC 14496-3, 1.7.2 (AudioSyncStream) and 1.7.3 (AudioMuxElement).
    """
    out = []
    for unit in units:
        raw = unit.data[7:]
        # The same configuration: no; version 0, same framing, one frame, programme and layer; AAC-LC, 48 kHz; lengths
        # of the first kind, a buffer that is not told, no other data, no checksum.
        fields = [(0, 1), (0, 1), (1, 1), (0, 6), (0, 4), (0, 3), (2, 5), (3, 4), (channels, 4), (0, 3)]
        fields += [(0, 3), (0xFF, 8), (0, 1), (0, 1)]
        fields += [(255, 8)] * (len(raw) // 255) + [(len(raw) % 255, 8), (int.from_bytes(raw, "big"), 8 * len(raw))]
        value = length = 0
        for field, bits in fields:
            value, length = value << bits | field, length + bits
        element = (value << -length % 8).to_bytes(-(-length // 8), "big")
        data = (0x2B7 << 13 | len(element)).to_bytes(3, "big") + element
        out.append(Unit(pts=unit.pts, dts=unit.dts, data=data))
    return out
