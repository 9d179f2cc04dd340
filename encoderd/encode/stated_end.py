"""
Where a container says that it ends, by the sizes in it: a file that is shorter was cut off.

What a header says of the *time* is no such sign: recorders write it beforehand, or not again when they stop. Sources:
ISO/IEC 14496-12, 4.2 (boxes); RFC 9559, 5.1 (Segment); Microsoft, AVI RIFF File Reference, with OpenDML 1.02
for what follows the first two gigabytes; Adobe, Video File Format 10.1, annex E.3; Microsoft, ASF specification, 3.2.
"""

from __future__ import annotations

import struct

from encoderd.encode.content_range import Read
from encoderd.encode.ebml import element

#: Boxes at the top of a file: a fragmented recording has two for each second or so.
_MOST_BOXES = 1_000_000
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOVIES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide"})
#: ASF's File Properties Object, and from its beginning: the file's size, and flags, of which bit 0 says "live".
_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_SIZE_AT, _FLAGS_AT = 40, 88


def stated_end(head: bytes, size_bytes: int, read: Read) -> int | None:
    """
    Return the byte behind the last that the container says it has; None when it does not say.

    `head` are the first bytes of the file of `size_bytes`, `read` gives (offset, length) of it.
    """
    if head[4:8] in _MOVIES:
        return _movie(size_bytes, read)
    if head.startswith(_EBML):
        return _matroska(head)
    if head.startswith(b"RIFF"):
        return _riff(size_bytes, read)
    if head.startswith(b"FLV"):
        return _flash(size_bytes, read)
    if head.startswith(_ASF):
        return _advanced_systems(head)
    return None


def _movie(size_bytes: int, read: Read) -> int | None:
    """Follow the boxes; the last one, or what is left of it, may reach beyond the end."""
    at = 0
    for _ in range(_MOST_BOXES):
        start = read(at, 16)
        if len(start) < 8:
            return at if not start else at + 8  # a box begins, and its size is gone
        size = int.from_bytes(start[:4], "big")
        if size == 1:
            size = int.from_bytes(start[8:16], "big")
        if size == 0:
            return size_bytes  # to the end, wherever that is
        if size < 8:
            return None
        at += size
        if at >= size_bytes:
            return at
    return None


def _matroska(head: bytes) -> int | None:
    header = element(head, 0, len(head))
    segment = None if header is None else element(head, header[2], len(head))
    return segment[2] if segment is not None and segment[0] == _SEGMENT else None


def _riff(size_bytes: int, read: Read) -> int | None:
    """Follow the RIFF chunks: each holds up to a gigabyte or two."""
    at = 0
    while at < size_bytes:
        start = read(at, 8)
        if not start.startswith(b"RIFF"):
            break  # something of another program's behind it
        if len(start) < 8:
            return at + 8
        size = struct.unpack_from("<I", start, 4)[0]
        if not size or size == 0xFFFF_FFFF:
            return None  # was never filled in
        at += 8 + size + size % 2
    return at


def _flash(size_bytes: int, read: Read) -> int | None:
    """FLV has no size of its own: its last tag is whole when the length behind it leads to a tag of that length."""
    length = int.from_bytes(read(size_bytes - 4, 4), "big")
    tag = read(max(0, size_bytes - 4 - length), 11) if 11 <= length <= size_bytes else b""
    whole = len(tag) == 11 and tag[0] & 0x1F in {8, 9, 18} and int.from_bytes(tag[1:4], "big") + 11 == length
    return size_bytes if whole else None


def _advanced_systems(head: bytes) -> int | None:
    at = head.find(_FILE_PROPERTIES)
    if at < 0 or at + _FLAGS_AT + 4 > len(head):
        return None
    size, flags = struct.unpack_from("<Q", head, at + _SIZE_AT)[0], struct.unpack_from("<I", head, at + _FLAGS_AT)[0]
    return None if flags & 1 or not size else int(size)
