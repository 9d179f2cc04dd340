"""One stream of the demuxer as an audio track sees it: its packets one frame each, their form, and decoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from av.packet import Packet

from encoderd.encode.aac import (
    FRAME_SAMPLES,
    LAYOUTS,
    LOW_COMPLEXITY,
    PCE,
    RATES_HZ,
    AacConfiguration,
    adts,
    adts_configuration,
    frames_within,
    same_frame,
)
from encoderd.encode.ac3 import ac3_configuration
from encoderd.encode.audio_configuration import Configuration, codec_word, is_dual_mono
from encoderd.encode.latm import LatmReader, audio_specific_config

#: Decoders that need nothing but packets (and MP4's AudioSpecificConfig): a track opens as many as it wants.
_OWN_DECODERS = frozenset({"aac", "aac_latm", "ac3", "eac3", "mp1", "mp2", "mp3"})
#: Containers in which AAC has a header in each packet.
_WITH_HEADERS = frozenset({"aac", "mpegts", "mpeg"})
#: AC-3 has a checksum over every frame. FFmpeg's AAC decoder, which has none, says what it cannot read by itself.
_CHECKED = {"err_detect": "crccheck+explode"}
#: The whole program_config_element of dual mono without a comment; a longer one is read each time it begins otherwise.
_PROGRAM_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """
    One frame of a packet: the packet itself, or bytes that were taken out of it or had a header put before.

    `form` None: broken. A `str` is a form that is not copied, but can be decoded.
    """

    item: Packet[Any] | bytes
    pts: int | None
    form: Configuration | str | None


class SoundSource:
    """
    Takes the packets of one stream, in their order.

    `bare`: AAC of a container that tells its form once for all packets (`form`), which then have no headers.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.codec = codec_word(stream.codec_context.name)
        self._extradata = bytes(stream.codec_context.extradata or b"")
        self.bare = self.codec == "aac" and bool(self._extradata)
        self.form = audio_specific_config(self._extradata) if self.bare else None
        self._untold = None if self.bare else _untold_form(stream)
        self._latm = LatmReader() if self.codec == "aac_latm" else None
        self._last: AacConfiguration | None = None
        self._program = b""  # the program_config_element of the packet before
        self._decoders: dict[bool, Any] = {}

    def units(self, packet: Packet[Any]) -> list[Unit]:
        """Return the packet's frames; one broken unit where there is none."""
        if self.bare:
            return [Unit(item=packet, pts=packet.pts, form=self.form or self.codec)]
        if self.codec == "aac":
            return [self._adts(packet)]
        if self.codec in {"ac3", "eac3"}:
            return [Unit(item=packet, pts=packet.pts, form=ac3_configuration(bytes(packet)))]
        if self._latm is not None:
            return self._from_latm(self._latm, packet)
        return [Unit(item=packet, pts=packet.pts, form=self.codec)]

    def rescued(self, unit: Unit) -> list[Unit]:
        """Return the whole frames in a unit that is broken as it is; their times are unknown."""
        if self._last is None or self.codec != "aac" or self.bare or unit.form is not None:
            return []
        return [self._with_program(frame, frame, None) for frame in frames_within(bytes(unit.item), self._last)]

    def dual_mono(self, unit: Unit) -> bool:
        """Whether the unit is two sounds in one."""
        if unit.form is None or isinstance(unit.form, str):
            return is_dual_mono(self.codec, bytes(unit.item))
        return unit.form.dual_mono

    def decode(self, unit: Unit) -> list[AudioFrame]:
        """
        Decode with the stream's one decoder (two for LATM, where some packets have ADTS in them and some have not).

        Raises:
            FFmpegError: the unit is broken.
        """
        taken_out = isinstance(unit.item, bytes)
        if taken_out not in self._decoders:
            self._decoders[taken_out] = self.new_decoder(unit)
        return decoded(self._decoders[taken_out], unit)

    def rest(self) -> Iterator[AudioFrame]:
        """Yield what the decoders still hold."""
        for decoder in self._decoders.values():
            yield from rest_of(decoder)

    def new_decoder(self, unit: Unit, *, checked: bool = False) -> Any:
        """
        Return a decoder for units like this one that has seen none yet.

        Where a codec needs the container's parameters it is the stream's only one.
        """
        if self.codec not in _OWN_DECODERS:
            return self._stream.codec_context
        decoder: Any = CodecContext.create("aac" if isinstance(unit.item, bytes) else self.codec, "r")
        decoder.thread_count = 1
        if self.bare:
            decoder.extradata = self._extradata
        options = dict(_CHECKED) if checked and self.codec in {"ac3", "eac3"} else {}
        if isinstance(unit.item, Packet) and unit.item.time_base:
            # What a container says to skip at the start moves the first frame's timestamp only where that is told.
            options["pkt_timebase"] = str(Fraction(unit.item.time_base))
        decoder.options = options
        return decoder

    def _adts(self, packet: Packet[Any]) -> Unit:
        data = bytes(packet)
        if self._last is None or not same_frame(data, self._last):
            form = adts_configuration(data)
            if form is None and self._last is None and self._untold is not None:
                return Unit(item=adts(self._untold, data), pts=packet.pts, form=self._untold)
            if form is None:
                return Unit(item=packet, pts=packet.pts, form=None)
            self._last, self._program = form, b""
        if self._last.program is not None:
            return self._with_program(packet, data, packet.pts)
        return Unit(item=packet, pts=packet.pts, form=self._last)

    def _with_program(self, item: Packet[Any] | bytes, data: bytes, pts: int | None) -> Unit:
        """
        Put the program_config_element into a frame that has none, or no decoder knows its channels.

        It is the one that came last: some encoders send it once. ARIB's dual mono never has any.
        """
        block = data[7 if data[1] & 1 else 9 :]
        if block[0] >> 5 != PCE:
            return Unit(item=item if self._last is None else adts(self._last, block), pts=pts, form=self._last)
        if block[:_PROGRAM_BYTES] != self._program:
            self._last, self._program = adts_configuration(data) or self._last, block[:_PROGRAM_BYTES]
        return Unit(item=item, pts=pts, form=self._last)

    def _from_latm(self, reader: LatmReader, packet: Packet[Any]) -> list[Unit]:
        frames = reader.frames(bytes(packet))
        if not frames:
            return [Unit(item=packet, pts=packet.pts, form=reader.reason or None)]
        form = reader.configuration
        units, pts = [], packet.pts
        for number, frame in enumerate(frames):
            units.append(Unit(item=frame, pts=pts, form=form))
            if pts is not None and form is not None and packet.time_base:
                pts = packet.pts + round((number + 1) * FRAME_SAMPLES / (form.rate_hz * packet.time_base))  # type: ignore[operator]  # not None
        return units


def _untold_form(stream: Any) -> AacConfiguration | None:
    """Return the form of AAC without headers in a container that lost its AudioSpecificConfig, as FFmpeg's decoder."""
    context = stream.codec_context
    told = context.sample_rate in RATES_HZ and context.channels in LAYOUTS
    if context.name != "aac" or not told or stream.container.format.name in _WITH_HEADERS:
        return None
    rate_index = RATES_HZ.index(context.sample_rate)
    return AacConfiguration(object_type=LOW_COMPLEXITY, rate_index=rate_index, channels=context.channels)


def decoded(decoder: Any, unit: Unit | None) -> list[AudioFrame]:
    """Return a unit's frames with the unit's pts. Raises FFmpegError when it is broken."""
    if unit is None:
        return list(decoder.decode(None))
    if isinstance(unit.item, Packet):
        return list(decoder.decode(unit.item))
    packet: Packet[Any] = Packet(unit.item)
    packet.pts = packet.dts = unit.pts
    return list(decoder.decode(packet))


def is_whole(decoder: Any, unit: Unit) -> bool:
    """Whether a decoder reads all of a unit. AC-3's conceals what it cannot read, and marks the frame."""
    try:
        return not any(frame.is_corrupt for frame in decoded(decoder, unit))
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return False


def rest_of(decoder: Any) -> Iterator[AudioFrame]:
    """Yield what a decoder still holds."""
    try:
        yield from decoded(decoder, None)
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return
