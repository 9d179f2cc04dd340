"""
H.264 packets in the one form that containers store: each NAL unit behind its length of 4 bytes.

Encoders write start codes (ISO/IEC 14496-10, annex B), MP4 and Matroska lengths (ISO/IEC 14496-15, 5.3.3). The muxer
turns one into the other, so a checksum over this form tells whether what was decoded is what is in the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_START = b"\0\0\1"


def with_lengths(data: bytes) -> Iterator[bytes]:
    """
    Yield a packet with start codes in pieces: length, NAL unit, length, NAL unit…

    The zero byte that may stand before a start code belongs to it, as libavformat has it (avc.c); further ones are the
    unit's.
    """
    begin = data.find(_START)
    while begin >= 0:
        begin += len(_START)
        following = data.find(_START, begin)
        end = len(data) if following < 0 else following
        if following > begin and data[following - 1] == 0:
            end -= 1
        if end > begin:
            yield (end - begin).to_bytes(4, "big")
            yield data[begin:end]
        begin = following


class VideoCrc:
    """
    The CRC-32 (zlib) of a stream's packets in their order; `value` is that of all packets so far.

    `start_codes` says which form they have: an encoder's extradata that does not begin with the byte 1 (avcC's
    version) means start codes; what comes out of MP4 or Matroska has lengths.
    """

    def __init__(self, *, start_codes: bool) -> None:
        self._start_codes = start_codes
        self.value = 0

    def add(self, data: bytes) -> None:
        for piece in with_lengths(data) if self._start_codes else (data,):
            self.value = zlib.crc32(piece, self.value)


def has_start_codes(extradata: bytes) -> bool:
    """Whether a stream with this extradata has packets with start codes; an encoder that gives none has them too."""
    return extradata[:1] != b"\1"
