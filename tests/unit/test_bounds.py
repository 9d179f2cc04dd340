"""What no recording has, whatever its header says."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

import pytest

from encoderd.encode.bounds import absurd_index, beyond
from encoderd.encode.media import AudioInfo, CaptionInfo, MediaInfo, VideoInfo
from encoderd.encode.movie_boxes import box

VIDEO = VideoInfo(
    index=0, pid=256, codec="h264", width=1920, height=1080, pix_fmt="yuv420p", frame_rate=Fraction(25),
    sample_aspect_ratio=Fraction(1), time_base=Fraction(1, 90_000),
)  # fmt: skip
AUDIO = AudioInfo(
    index=1, pid=257, codec="aac", sample_rate_hz=48_000, channels=2, layout="stereo", bit_rate_bps=0, language="",
    title="", default=True, time_base=Fraction(1, 90_000),
)  # fmt: skip
CAPTIONS = CaptionInfo(index=2, pid=258, codec="dvb_subtitle", language="ger")


def media(width: int, height: int, sounds: int = 1, captions: int = 1) -> MediaInfo:
    return MediaInfo(
        format="mpegts", size_bytes=1, start_s=None, duration_s=None,
        video=(replace(VIDEO, width=width, height=height),),
        audio=(AUDIO,) * sounds, captions=(CAPTIONS,) * captions,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recording", "encoder", "word"),
    [
        (media(1920, 1080), "h264_qsv", ""),
        (media(4096, 4096), "h264_qsv", ""),
        (media(4112, 16), "h264_qsv", "4096×4096 at most"),
        (media(7680, 4320), "libx264", ""),
        (media(8192, 4352), "libx264", ""),
        (media(8192, 4368), "libx264", "level 6.2"),
        (media(16_880, 2000), "libx264", ""),
        (media(16_896, 16), "libx264", "level 6.2"),
        (media(1920, 1080, sounds=31), "libx264", ""),
        (media(1920, 1080, sounds=32), "libx264", "names 33 tracks"),
        (media(1920, 1080, captions=129), "libx264", "129 of captions"),
    ],
)
def test_what_is_too_much_is_named(recording: MediaInfo, encoder: str, word: str) -> None:
    found = beyond(recording, encoder)

    assert (found is None) == (not word)
    assert found is None or (word in found.what and found.remedy)


def index(kind: bytes, *numbers: int) -> bytes:
    """A table of one track, its flags before it."""
    table = box(kind, bytes(4) + struct.pack(f">{len(numbers)}I", *numbers))
    return box(b"mvhd", bytes(100)) + box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", table))))


@pytest.mark.parametrize(
    ("moov", "word"),
    [
        (index(b"stts", 1, 250, 3600), ""),
        (index(b"stts", 1, 2**32 - 1, 1), "4,294,967,295 entries in 'stts'"),
        (index(b"stts", 2**32 - 1, 250, 3600), "4,294,967,295 entries in 'stts'"),
        (index(b"ctts", 2, 2**31, 0, 2**31, 0), "4,294,967,296 entries in 'ctts'"),
        (index(b"stsz", 0, 250), ""),
        (index(b"stsz", 1, 2**30), "1,073,741,824 entries in 'stsz'"),
        (index(b"co64", 2, 0, 48), "2 entries in 'co64'"),
        (index(b"stsc", 1, 1, 1, 1), ""),
        (index(b"stss", 7, 1), "7 entries in 'stss'"),
        (index(b"free", 7), ""),
        (b"no box", ""),
        (b"", ""),
    ],
)
def test_an_index_counts_no_more_than_the_file_can_have(moov: bytes, word: str) -> None:
    found = absurd_index(moov, 5_000_000)

    assert word in ("" if found is None else found.what)
    assert (found is None) == (not word)
