"""What one packet of audio says of its own form, whatever the codec; and whether it is two sounds in one."""

from __future__ import annotations

from encoderd.encode.aac import AacConfiguration, adts_configuration
from encoderd.encode.ac3 import Ac3Configuration, ac3_configuration
from encoderd.encode.latm import LatmReader

Configuration = AacConfiguration | Ac3Configuration

_MPEG_AUDIO = frozenset({"mp1", "mp2", "mp3"})
_DUAL_CHANNEL = 2  # mode in a header of MPEG audio. Source: ISO/IEC 11172-3, 2.4.2.3


def codec_word(decoder: str) -> str:
    """Return the codec's name for a decoder's: FFmpeg calls its decoders of MPEG audio "mp2float"."""
    return decoder.removesuffix("float") if decoder.startswith("mp") else decoder


def configuration_of(codec: str, packet: bytes) -> Configuration | None:
    """
    Return the form of one packet, None when the packet is broken or the codec is not one that is copied.

    `codec` is "aac" (with ADTS headers), "aac_latm" (a packet that carries its configuration), "ac3" or "eac3".
    """
    if codec == "aac":
        return adts_configuration(packet)
    if codec == "aac_latm":
        reader = LatmReader()
        return reader.configuration if reader.frames(packet) else None
    if codec in {"ac3", "eac3"}:
        return ac3_configuration(packet)
    return None


def is_dual_mono(codec: str, packet: bytes) -> bool:
    """
    Whether the packet is dual mono: two sounds, most often two languages, where others have left and right.

    False for a broken packet. `codec` as in `configuration_of`, or one of MPEG audio ("mp2").
    """
    if codec_word(codec) in _MPEG_AUDIO:
        sync = len(packet) >= 4 and packet[0] == 0xFF and packet[1] & 0xE0 == 0xE0
        return sync and packet[3] >> 6 == _DUAL_CHANNEL
    configuration = configuration_of(codec, packet)
    return configuration is not None and configuration.dual_mono
