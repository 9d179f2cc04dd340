"""Which captions a container can hold, by libavcodec's name of the codec. Source: libavformat/matroska.c; measured."""

from __future__ import annotations

from encoderd.encode.transport_writer import CODECS

#: What Matroska has a name for and PyAV can describe to it.
MATROSKA = frozenset(
    {
        "subrip",
        "ass",
        "ssa",
        "text",
        "webvtt",
        "dvb_subtitle",
        "dvd_subtitle",
        "hdmv_pgs_subtitle",
        "hdmv_text_subtitle",
    }
)
#: Text with its length in front, as MP4 has it: without that it is plain text, and Matroska's "subrip".
TIMED_TEXT = frozenset({"mov_text"})


def fits_matroska(codec: str) -> bool:
    """Whether captions of this codec go into Matroska, as they are or as plain text."""
    return codec in MATROSKA or codec in TIMED_TEXT


def fits_beside(codec: str) -> bool:
    """Whether a file beside the output can hold them: Matroska alone, or a transport stream."""
    return fits_matroska(codec) or codec in CODECS


def plain_text(data: bytes) -> bytes:
    """Return the text of one sample of MP4's timed text, b"" for one that only clears the screen."""
    size = int.from_bytes(data[:2], "big")
    text = data[2 : 2 + size]
    if text[:2] in {b"\xfe\xff", b"\xff\xfe"}:  # ETSI TS 126 245, 5.17: UTF-16 with its mark
        return text.decode("utf-16", "replace").encode()
    return text
