"""
What no recording has, whatever its header says: it is refused before anything is decoded, in little memory.

A damaged or malicious header claims any size. Sources: Rec. ITU-T H.264, table A-1 (level 6.2) and A.3.1 (no side is
longer than the root of eight times MaxFS); Intel's table of fixed functions, which ends at 4096 × 4096 for H.264.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from encoderd.encode.containers import Lack
from encoderd.encode.media import MediaInfo, VideoInfo
from encoderd.encode.movie_boxes import boxes

#: Pictures of H.264: macroblocks of 16 × 16 in one, and on one side.
MOST_MACROBLOCKS, MOST_ON_A_SIDE = 139_264, 1055
#: Pixels on one side of what h264_qsv takes.
MOST_QSV_SIDE = 4096
#: A broadcast has a dozen sounds at most, and a disc three dozens of captions.
MOST_TRACKS, MOST_CAPTIONS = 32, 128
#: Boxes of an MP4's index that hold others, and bytes of one entry in those that are tables.
_HOLDERS = frozenset({b"trak", b"mdia", b"minf", b"stbl"})
_ENTRY_BYTES = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"stss": 4}
#: Two tables of one track count the same samples, give or take what bad writers do.
_SAMPLES_ANYHOW = 1_000_000

_SMALLER = "If it plays, make it smaller beforehand: ffmpeg -i FILE -vf scale=3840:-2 -c:a copy SMALLER.mkv"
_BROKEN = "Play it; if a player shows nothing either, its header is damaged: look into the recorder's log."


def beyond(media: MediaInfo, encoder: str) -> Lack | None:
    """Return what is too large about a recording for `encoder`; `what` is a sentence. None: nothing is."""
    tracks = len(media.video) + len(media.audio)
    if tracks > MOST_TRACKS or len(media.captions) > MOST_CAPTIONS:
        what = f"Its header names {tracks} tracks of picture and sound and {len(media.captions)} of captions"
        return Lack(f"{what}; no recording has more than {MOST_TRACKS} and {MOST_CAPTIONS}.", _BROKEN)
    for video in media.video:
        if too_large := _size(video, encoder):
            return Lack(f"Its pictures are {video.width}×{video.height}, {too_large}.", _SMALLER)
    return None


def _size(video: VideoInfo, encoder: str) -> str:
    across, down = -(-video.width // 16), -(-video.height // 16)
    if across * down > MOST_MACROBLOCKS or max(across, down) > MOST_ON_A_SIDE:
        return f"and H.264 has {MOST_MACROBLOCKS:,} blocks of 16×16 at most (level 6.2: 8192×4352)"
    if encoder == "h264_qsv" and max(video.width, video.height) > MOST_QSV_SIDE:
        return f'and h264_qsv takes {MOST_QSV_SIDE}×{MOST_QSV_SIDE} at most; encode.encoder = "libx264" takes them'
    return ""


def absurd_index(moov: bytes, size_bytes: int) -> Lack | None:
    """Return what an MP4's index counts and a file of `size_bytes` cannot have: FFmpeg takes memory for each sample."""
    try:
        for kind, table in _tables(memoryview(moov)):
            count = int.from_bytes(table[4:8], "big")
            if kind == b"stsz":
                count, room = int.from_bytes(table[8:12], "big"), size_bytes
            else:
                room = (len(table) - 8) // _ENTRY_BYTES[kind]
            if count > room:
                return _absurd(kind, count)
            if kind in {b"stts", b"ctts"}:
                samples = int(np.frombuffer(table, ">u4", 2 * count, 8)[::2].sum(dtype=np.int64))
                if samples > max(_SAMPLES_ANYHOW, size_bytes):
                    return _absurd(kind, samples)
    except ValueError:  # boxes that are no boxes: FFmpeg says what it makes of them
        return None
    return None


def _tables(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    for kind, payload in boxes(data):
        if kind in _HOLDERS:
            yield from _tables(payload)
        elif kind == b"stsz" or kind in _ENTRY_BYTES:
            yield kind, payload


def _absurd(kind: bytes, count: int) -> Lack:
    what = (
        f"its index counts {count:,} entries in {kind.decode()!r}, more than the file can have: its header is damaged"
    )
    return Lack(what, _BROKEN)
