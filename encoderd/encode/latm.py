"""
LATM → ADTS without loss: the AAC that DVB wraps in LOAS/LATM, taken out and given the headers that muxers want.

Source: ISO/IEC 14496-3, 1.7.2 (LOAS) and 1.7.3 (LATM), within the bounds of ETSI TS 101 154, annex C: one programme,
one layer. What ADTS cannot express (another object type, frames of 960 samples) is left to a decoder. Broken bytes
give no frames, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from encoderd.encode.aac import RATES_HZ, AacConfiguration, Bits, Program, adts, read_program

_LOAS_SYNC = 0x2B7
_SBR, _PS, _BSAC, _ESCAPE = 5, 29, 22, 31  # audio object types
#: The object types whose GASpecificConfig is read here. Source: ISO/IEC 14496-3, table 1.17.
_GENERAL_AUDIO = frozenset({1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23})
#: The longest payload: an ADTS frame has no more.
_MOST_BYTES = 0x1FFF


class _NotExpressible(ValueError):
    """It is whole, as far as anybody can see, but cannot be had in ADTS; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mux:
    """A StreamMuxConfig: the sound's configuration, and `more` sub-frames beside the first."""

    configuration: AacConfiguration
    more: int


class LatmReader:
    """
    Reads the packets of one LATM stream in their order; most of them do not repeat the configuration.

    `configuration` is the one in force, None before the first. `reason` says why the last packet had no frames: "" when
    it was broken, or came before the first configuration.
    """

    def __init__(self) -> None:
        self._mux: _Mux | None = None
        self.reason = ""

    @property
    def configuration(self) -> AacConfiguration | None:
        return None if self._mux is None else self._mux.configuration

    def frames(self, packet: bytes) -> list[bytes]:
        """Return the ADTS frames in one LOAS packet, none when it is broken or ADTS cannot express it."""
        self.reason = ""
        if len(packet) < 4 or packet[0] << 3 | packet[1] >> 5 != _LOAS_SYNC:
            return []
        size = (packet[1] & 0x1F) << 8 | packet[2]
        if size + 3 > len(packet):
            return []
        try:
            return self._element(packet[3 : 3 + size])
        except _NotExpressible as error:
            self._mux = None
            self.reason = str(error)
        except ValueError:
            pass
        return []

    def _element(self, data: bytes) -> list[bytes]:
        """AudioMuxElement(1): 1.7.3.2, table 1.41."""
        bits = Bits(data)
        if not bits.read(1):
            self._mux = None  # what comes now is no longer described by the one before
            self._mux = _stream_mux_config(bits)
        mux = self._mux
        if mux is None:
            return []
        frames = []
        for _ in range(mux.more + 1):
            size = 0
            while (more := bits.read(8)) == 0xFF and size <= _MOST_BYTES:
                size += more
            size += more
            if not 0 < size <= _MOST_BYTES:
                raise ValueError(f"a payload of {size} bytes")
            payload = bits.read(8 * size).to_bytes(size, "big")
            frames.append(adts(mux.configuration, payload))
        return frames


def _stream_mux_config(bits: Bits) -> _Mux:
    version = bits.read(1)
    if version and bits.read(1):
        raise _NotExpressible("audioMuxVersionA 1")
    if version:
        _value(bits)  # taraBufferFullness
    if not bits.read(1):
        raise _NotExpressible("streams with times of their own in one LATM")
    more = bits.read(6)
    if bits.read(4) or bits.read(3):
        raise _NotExpressible("several programmes or layers in one LATM")
    if version:
        size = _value(bits)
        start = bits.position
        configuration = _audio_specific_config(bits)
        if bits.position > start + size:
            raise ValueError("AudioSpecificConfig is longer than it says")
        bits.read(start + size - bits.position)  # signals of SBR and PS, which ADTS leaves to the decoder to find
    else:
        configuration = _audio_specific_config(bits)
    if bits.read(3):
        raise _NotExpressible("frames of a fixed length, or not of AAC")
    bits.read(8)  # latmBufferFullness
    if bits.read(1):  # other data, behind the payloads: not read
        if version:
            _value(bits)
        else:
            while bits.read(9) >> 8:
                pass
    if bits.read(1):
        bits.read(8)  # crcCheckSum
    return _Mux(configuration=configuration, more=more)


def _value(bits: Bits) -> int:
    """LatmGetValue(): 1.7.3.2, table 1.43."""
    return bits.read(8 * (bits.read(2) + 1))


def audio_specific_config(data: bytes) -> AacConfiguration | None:
    """Return what an AudioSpecificConfig (MP4's, Matroska's) says; None when it is broken or ADTS cannot say it."""
    try:
        return _audio_specific_config(Bits(data))
    except ValueError:
        return None


def _audio_specific_config(bits: Bits) -> AacConfiguration:
    """ISO/IEC 14496-3, 1.6.2.1. SBR and PS are found again by every decoder: the core's configuration is enough."""
    origin = bits.position
    object_type, rate_index, channels = _object_type(bits), _rate_index(bits), bits.read(4)
    if object_type in {_SBR, _PS}:
        _rate_index(bits)
        object_type = _object_type(bits)
        if object_type == _BSAC:
            bits.read(4)
    if object_type not in _GENERAL_AUDIO:
        raise _NotExpressible(f"audio object type {object_type}")
    short = bits.read(1)
    if bits.read(1):
        bits.read(14)  # coreCoderDelay
    extended = bits.read(1)
    program: Program | None = None
    if channels == 0:
        program = read_program(bits, origin)
    if object_type in {6, 20}:
        bits.read(3)  # layerNr
    if extended:
        bits.read({22: 16, 17: 3, 19: 3, 20: 3, 23: 3}.get(object_type, 0) + 1)
    if object_type > 4:
        raise _NotExpressible(f"audio object type {object_type}")
    if short:
        raise _NotExpressible("frames of 960 samples")
    if channels > 7:
        raise _NotExpressible(f"channel configuration {channels}")
    return AacConfiguration(object_type=object_type, rate_index=rate_index, channels=channels, program=program)


def _object_type(bits: Bits) -> int:
    found = bits.read(5)
    return 32 + bits.read(6) if found == _ESCAPE else found


def _rate_index(bits: Bits) -> int:
    index = bits.read(4)
    if index == 15:
        rate_hz = bits.read(24)
        if rate_hz not in RATES_HZ:
            raise _NotExpressible(f"{rate_hz} Hz")
        return RATES_HZ.index(rate_hz)
    if index >= len(RATES_HZ):
        raise ValueError(f"sampling frequency index {index}")
    return index
