"""
AAC at bit level: ADTS headers, channel configurations, silent frames, and two mono sounds in one dual mono frame.

Enough of ISO/IEC 14496-3 to know what a frame is without decoding it. "Block" means a raw_data_block (4.4.2.1): what
is behind the ADTS header. Broken bytes give None or a ValueError, never anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

#: Sampling frequency index → Hz. Source: ISO/IEC 14496-3, table 1.18.
RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
#: Samples of one channel in a frame, at the rate in the header (with SBR twice as many come out, at twice the rate).
FRAME_SAMPLES = 1024
#: id_syn_ele. Source: ISO/IEC 14496-3, table 4.85.
SCE, CPE, CCE, LFE, DSE, PCE, FIL, END = range(8)
#: Channel configuration → the syntactic elements of a block in their order. Source: ISO/IEC 14496-3, table 1.19.
_ELEMENTS: dict[int, tuple[int, ...]] = {
    1: (SCE,),
    2: (CPE,),
    3: (SCE, CPE),
    4: (SCE, CPE, SCE),
    5: (SCE, CPE, CPE),
    6: (SCE, CPE, CPE, LFE),
    7: (SCE, CPE, CPE, CPE, LFE),
}
#: Channel configuration → libavutil's name of the layout that FFmpeg's encoder writes that way.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.1"}
LOW_COMPLEXITY = 2  # audio object type
_ADTS_OBJECT_TYPES = 4


class Bits:
    """Reads bits from the front of `data`, most significant first. Raises ValueError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.size = 8 * len(data)
        self.position = 0

    def read(self, count: int) -> int:
        self.position += count
        if self.position > self.size:
            raise ValueError("the bits end too early")
        return self._value >> (self.size - self.position) & ((1 << count) - 1)

    def align(self, origin: int = 0) -> None:
        """Go on to the next whole byte, counted from the bit `origin`."""
        self.position += (origin - self.position) % 8


class BitWriter:
    """Collects bits, most significant first."""

    def __init__(self) -> None:
        self._value = 0
        self.size = 0

    def write(self, value: int, count: int) -> None:
        self._value = self._value << count | value
        self.size += count

    def align(self) -> None:
        self.write(0, -self.size % 8)

    def to_bytes(self) -> bytes:
        """Return the bits, filled up with zeros to whole bytes."""
        fill = -self.size % 8
        return (self._value << fill).to_bytes((self.size + fill) // 8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    What a program_config_element says of the channels (ISO/IEC 14496-3, 4.4.1.1), without its mixdowns and comment.

    Each entry is (is it a channel pair, instance tag); `lfe` are tags.
    """

    front: tuple[tuple[int, int], ...] = ()
    side: tuple[tuple[int, int], ...] = ()
    back: tuple[tuple[int, int], ...] = ()
    lfe: tuple[int, ...] = ()

    @property
    def dual_mono(self) -> bool:
        """Two single channels in front and nothing else: two sounds, not left and right."""
        return not (self.side or self.back or self.lfe) and [pair for pair, _ in self.front] == [0, 0]

    @property
    def elements(self) -> list[tuple[int, int]]:
        """The block's elements in their order, as (id_syn_ele, instance tag)."""
        channels = [(CPE if pair else SCE, tag) for pair, tag in (*self.front, *self.side, *self.back)]
        return channels + [(LFE, tag) for tag in self.lfe]


#: What ARIB's dual mono has, whether a program_config_element says so or not. Source: ARIB STD-B32, part 2, 5.2.3.
DUAL_MONO = Program(front=((0, 0), (0, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AacConfiguration:
    """
    What stays the same in every frame of a track: `object_type` 1 (Main) to 4 (LTP), sampling frequency index, and
    the channel configuration, 0 when `program` tells the channels.
    """

    object_type: int
    rate_index: int
    channels: int
    program: Program | None = None

    @property
    def rate_hz(self) -> int:
        return RATES_HZ[self.rate_index]

    @property
    def dual_mono(self) -> bool:
        return self.program is not None and self.program.dual_mono

    @property
    def layout(self) -> str:
        """libavutil's name of the channel layout, "" when FFmpeg's encoder cannot write it in this form."""
        return "stereo" if self.dual_mono else LAYOUTS.get(self.channels, "")

    @property
    def head(self) -> tuple[int, int]:
        """Bytes 2 and 3 of an ADTS header, where the configuration is; the other bits there are zero."""
        first = (self.object_type - 1) << 6 | self.rate_index << 2 | self.channels >> 2
        return first, (self.channels & 3) << 6


@dataclass(frozen=True, slots=True, kw_only=True)
class AdtsHeader:
    """One ADTS header (ISO/IEC 14496-3, 1.A.2.2): `size` in bytes with the header's own `header_size`."""

    object_type: int
    rate_index: int
    channels: int
    size: int
    header_size: int
    blocks: int


def adts_header(data: bytes) -> AdtsHeader | None:
    """Return the header at the start of `data`, None when there is none that can be true."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return None
    rate_index = data[2] >> 2 & 15
    size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    header_size = 7 if data[1] & 1 else 9
    if rate_index >= len(RATES_HZ) or size <= header_size:
        return None
    return AdtsHeader(
        object_type=(data[2] >> 6) + 1,
        rate_index=rate_index,
        channels=(data[2] & 1) << 2 | data[3] >> 6,
        size=size,
        header_size=header_size,
        blocks=(data[6] & 3) + 1,
    )


def adts_configuration(data: bytes) -> AacConfiguration | None:
    """Return the configuration of one whole ADTS frame; None when it is broken, longer or shorter than it says."""
    header = adts_header(data)
    if header is None or header.size != len(data) or header.blocks != 1:
        return None
    program = None
    if header.channels == 0:
        try:
            program = program_of(data[header.header_size :]) or DUAL_MONO
        except ValueError:
            return None
    return AacConfiguration(
        object_type=header.object_type, rate_index=header.rate_index, channels=header.channels, program=program
    )


def adts(configuration: AacConfiguration, block: bytes) -> bytes:
    """
    Return the block as an ADTS frame, with a program_config_element where the configuration needs one and has none.

    Raises:
        ValueError: ADTS cannot express it: an object type beyond 4, or a frame of more than 8191 bytes.
    """
    if not 1 <= configuration.object_type <= _ADTS_OBJECT_TYPES:
        raise ValueError(f"ADTS has no audio object type {configuration.object_type}")
    if configuration.program is not None and block[:1] and block[0] >> 5 != PCE:
        block = program_bytes(configuration) + block
    size = 7 + len(block)
    if size > 0x1FFF:
        raise ValueError(f"an ADTS frame has no {size} bytes")
    second, third = configuration.head
    return bytes((0xFF, 0xF1, second, third | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC)) + block


def program_of(block: bytes) -> Program | None:
    """Return what the block's leading program_config_element says, None when there is none. Raises ValueError."""
    bits = Bits(block[:320])
    if bits.read(3) != PCE:
        return None
    return read_program(bits)


def read_program(bits: Bits, origin: int = 0) -> Program:
    """Read a program_config_element behind its id; its bytes are aligned to the bit `origin`. Raises ValueError."""
    bits.read(4 + 2 + 4)  # instance tag, object type, sampling frequency index
    front, side, back, lfe, data, coupling = (bits.read(count) for count in (4, 4, 4, 2, 3, 4))
    for count in (4, 4, 3):  # mono, stereo and matrix mixdown
        if bits.read(1):
            bits.read(count)
    groups = [tuple((bits.read(1), bits.read(4)) for _ in range(count)) for count in (front, side, back)]
    low = tuple(bits.read(4) for _ in range(lfe))
    bits.read(4 * data + 5 * coupling)
    bits.align(origin)
    bits.read(8 * bits.read(8))  # comment
    return Program(front=groups[0], side=groups[1], back=groups[2], lfe=low)


@lru_cache(maxsize=16)
def program_bytes(configuration: AacConfiguration) -> bytes:
    """Return the program_config_element with its id: whole bytes, so that a block goes on behind it as it was."""
    program = configuration.program or Program()
    bits = BitWriter()
    bits.write(PCE, 3)
    bits.write(0, 4)
    bits.write((configuration.object_type - 1) & 3, 2)
    bits.write(configuration.rate_index, 4)
    for group in (program.front, program.side, program.back):
        bits.write(len(group), 4)
    bits.write(len(program.lfe), 2)
    bits.write(0, 3 + 4 + 3)  # no data streams, no coupling, no mixdowns
    for pair, tag in (*program.front, *program.side, *program.back):
        bits.write(pair << 4 | tag, 5)
    for tag in program.lfe:
        bits.write(tag, 4)
    bits.align()
    bits.write(0, 8)  # no comment
    return bits.to_bytes()


def silent_block(configuration: AacConfiguration) -> bytes:
    """
    Return one frame of digital silence: every element with max_sfb = 0, so that no spectrum follows.

    Raises:
        ValueError: nobody knows the channels of this configuration.
    """
    if configuration.program is not None:
        elements = configuration.program.elements
    elif configuration.channels in _ELEMENTS:
        elements = list(_numbered(_ELEMENTS[configuration.channels]))
    else:
        raise ValueError(f"no channels in the channel configuration {configuration.channels}")
    bits = BitWriter()
    for kind, tag in elements:
        bits.write(kind << 4 | tag, 7)
        if kind == CPE:
            bits.write(1, 1)  # common_window
            bits.write(0, 11)  # ics_info: a long window, max_sfb 0, no prediction
            bits.write(0, 2)  # ms_mask_present
            bits.write(0, 2 * (8 + 3))  # each: global_gain; no pulses, no TNS, no gain control
        else:
            bits.write(0, 8 + 11 + 3)
    bits.write(END, 3)
    block = bits.to_bytes()
    return block if configuration.program is None else program_bytes(configuration) + block


def _numbered(kinds: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(kind, kinds[:place].count(kind)) for place, kind in enumerate(kinds)]


def join_mono(main: bytes, sub: bytes) -> bytes:
    """
    Return the two sounds of two mono blocks in one block of two single channels, for `DUAL_MONO`.

    Raises:
        ValueError: a block is not one single channel element between its fill elements.
    """
    bits = BitWriter()
    for tag, block in enumerate((main, sub)):
        value, count = _single_channel(block)
        bits.write(SCE << 4 | tag, 7)
        bits.write(value, count)
    bits.write(END, 3)
    return bits.to_bytes()


def _single_channel(block: bytes) -> tuple[int, int]:
    """Return what follows the SCE's id and tag up to the end element, as (value, bits)."""
    bits = Bits(block)
    while (kind := bits.read(3)) == FIL:
        count = bits.read(4)
        bits.read(8 * (count if count < 15 else bits.read(8) + 14))
    if kind != SCE:
        raise ValueError(f"a mono block with the element {kind}")
    bits.read(4)
    value = int.from_bytes(block, "big") & ((1 << (bits.size - bits.position)) - 1)
    padding = (value & -value).bit_length() - 1 if value else 0
    if value >> padding & END != END:
        raise ValueError("a block without its end")
    return value >> (padding + 3), bits.size - bits.position - padding - 3


def same_frame(data: bytes, form: AacConfiguration) -> bool:
    """Whether `data` is one whole ADTS frame with this configuration in its header: what every packet is asked."""
    second, third = form.head
    return (
        len(data) > 9 - 2 * (data[1] & 1 if len(data) > 1 else 0)
        and data[0] == 0xFF
        and data[1] & 0xF6 == 0xF0
        and data[2] & 0xFD == second
        and data[3] & 0xC0 == third
        and (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5 == len(data)
        and not data[6] & 3
    )


def frames_within(data: bytes, form: AacConfiguration) -> list[bytes]:
    """
    Return the whole ADTS frames with this configuration in bytes that are no frame themselves.

    A wrong length in one header makes FFmpeg's parser take the frames behind it for its sound. One is believed when
    the next header follows it, or nothing does.
    """
    second, third = form.head
    found: list[bytes] = []
    at = data.find(0xFF)
    while 0 <= at < len(data) - 7:
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        end = at + size
        if size > 7 and same_frame(data[at:end], form):
            rest = data[end : end + 4]
            headed = len(rest) < 4 or (rest[0] == 0xFF and rest[1] & 0xF6 == 0xF0)
            if headed and (len(rest) < 4 or (rest[2] & 0xFD == second and rest[3] & 0xC0 == third)):
                found.append(data[at:end])
                at = end - 1
        at = data.find(0xFF, at + 1)
    return found
