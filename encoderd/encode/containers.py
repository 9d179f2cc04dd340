"""
What a file that is no recording looks like, or a container that lacks a part: in words, with what a user can do.

From the first bytes alone, and of MP4 from its boxes. Sources: ISO/IEC 14496-12 (boxes) and 14496-30; RFC 9559
(Matroska); Microsoft, Advanced Systems Format, chapter 10 (GUIDs); Adobe, Video File Format 10.1, annex E.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

#: Reads (offset, length) of the file; less at its end.
Read = Callable[[int, int], bytes]

#: The largest index that is searched for signs of encryption.
_MOST_INDEX_BYTES = 64 * 1024 * 1024
#: Boxes at the top of a file that are walked through: a fragmented recording has two for each second or so.
_MOST_BOXES = 64
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"uuid", b"pnot"})
_EBML, _SEGMENT, _TRACKS, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
#: ASF's content encryption, its extended form, and the digital signature that goes with Windows Media DRM.
_ASF_ENCRYPTED = (bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"), bytes.fromhex("14e68a292226174cb935dae07ee9289c"))
_WTV = bytes.fromhex("b7d800203749da11a64e0007e95ead8d")
_SECTOR = 2048

_NO_RECORDING = "Remove it from the watch folder, or add its name to ignore."
_REPORT = "If it plays elsewhere, report it; else delete it or look into the recorder's log."
_NO_KEY = "Nothing here has its key. Record it again without protection; else add its name to ignore."
_UNPACK = "Unpack it, and put the recording that is in it into the watch folder."
_TITLES = "Put the files with the film itself (.m2ts, .vob) into the watch folder, not their lists."


@dataclass(frozen=True, slots=True)
class Lack:
    """`what` completes "This is not a recording that can be read: …"; `remedy` is what a user can do."""

    what: str
    remedy: str


_BY_HEAD: tuple[tuple[tuple[bytes, ...], Lack], ...] = (
    ((b"#EXTM3U",), Lack("it is a playlist (M3U)", "Record the stream that it names; a playlist holds no pictures.")),
    ((b"[playlist]", b"[Playlist]"), Lack("it is a playlist (PLS)", _NO_RECORDING)),
    ((b"ffconcat",), Lack("it is a concat script", "Put the files that it names into the watch folder.")),
    ((b"<?xml", b"<MPD", b"<"), Lack("it is XML or HTML", _NO_RECORDING)),
    ((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM6"), Lack("it is a picture", _NO_RECORDING)),
    ((b"PK\x03\x04", b"PK\x05\x06"), Lack("it is a ZIP archive", _UNPACK)),
    ((b"Rar!\x1a\x07",), Lack("it is a RAR archive", _UNPACK)),
    ((b"7z\xbc\xaf\x27\x1c",), Lack("it is a 7z archive", _UNPACK)),
    ((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00"), Lack("it is a compressed file", _UNPACK)),
    ((b"DVDVIDEO-V", b"DVD_RTR_V"), Lack("it is a list of a DVD's titles (IFO)", _TITLES)),
    ((b"INDX0", b"MPLS0", b"MOBJ0", b"HDMV0"), Lack("it is a list of a Blu-ray disc's titles (BDMV)", _TITLES)),
)


def describe(head: bytes, read: Read | None = None) -> Lack:
    """Say what a file that cannot be read is; `head` are its first bytes, `read` gives others where they matter."""
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    for marks, lack in _BY_HEAD:
        if text.startswith(marks):
            return lack
    if text and all(byte in b"\t\r\n" or 32 <= byte < 127 or byte >= 128 for byte in text) and b"\n" in text:
        return Lack("it is text", _NO_RECORDING)
    if read is not None and is_disc_image(read(16 * _SECTOR, 4 * _SECTOR)):
        return Lack(
            "it is the image of a disc (ISO)",
            "Mount it (mount -o loop,ro FILE FOLDER), and put the .m2ts or .vob files in it into the watch folder.",
        )
    return incomplete(head, read) or Lack("its first bytes are those of no container that recorders write", _REPORT)


def is_disc_image(sectors: bytes) -> bool:
    """`sectors` begin at the sixteenth; ECMA-119, 8.1.2, and ECMA-167, 2/9.1."""
    return any(sectors[at + 1 : at + 6] in {b"CD001", b"BEA01", b"NSR02", b"NSR03"}
               for at in range(0, len(sectors), _SECTOR))  # fmt: skip


def incomplete(head: bytes, read: Read | None = None) -> Lack | None:
    """Say which part a container that recorders write lacks; None when it is another one, or lacks nothing."""
    if head[4:8] in _BOXES:
        return _movie_lacks(_top_boxes(read or _reader(head)))
    if head.startswith(_EBML):
        return None if _TRACKS in head else Lack(
            "it is a Matroska or WebM file without its list of tracks (Tracks): its beginning is missing",
            "Look for the part with the beginning and join both (cat FIRST SECOND > WHOLE.mkv); else record it again.",
        )  # fmt: skip
    if head.startswith((_CLUSTER, _SEGMENT, _TRACKS)):
        return Lack(
            "it is a piece of a Matroska or WebM file without its header (EBML, Tracks)",
            "Put the header of the same recorder's whole file before it: everything up to the first Cluster.",
        )
    if _is_flv_tag(head):
        return Lack(
            "it is FLV without its header",
            r"Put it back: (printf 'FLV\001\005\000\000\000\011\000\000\000\000'; cat FILE) > WHOLE.flv",
        )
    if head.startswith(_WTV):
        return Lack("it is a WTV recording that is cut off, or protected (CopyOnce)", _NO_KEY)
    if head.startswith(_ASF):
        return Lack("it is an ASF or DVR-MS recording without a whole header", _REPORT)
    return None


def movie_index_of(head: bytes, read: Read | None = None) -> bytes:
    """Return the payload of an MP4's "moov", b"" in other files."""
    if head[4:8] not in _BOXES:
        return b""
    return next((body for kind, body in _top_boxes(read or _reader(head)) if kind == b"moov"), b"")


def encrypted(head: bytes, read: Read | None = None) -> Lack | None:
    """Say how the content is encrypted, in which FFmpeg finds streams as if it were not; None when it is not."""
    if head[4:8] in _BOXES:
        index = tracks_of(head, read)
        if b"sinf" in index and (b"encv" in index or b"enca" in index):
            return Lack("its pictures or sound are encrypted (MP4, Common Encryption)", _NO_KEY)
    if head.startswith(_EBML):
        tracks = tracks_of(head)
        # ContentEncodings, and in them a ContentEncodingType of 1: encryption (RFC 9559, 5.1.4.1.31)
        if b"\x6d\x80" in tracks and b"\x50\x33\x81\x01" in tracks and b"\x50\x35" in tracks:
            return Lack("its pictures or sound are encrypted (Matroska, ContentEncryption)", _NO_KEY)
    if head.startswith(_ASF) and any(mark in head[:65_536] for mark in _ASF_ENCRYPTED):
        return Lack("it is protected (Windows Media DRM)", _NO_KEY)
    return None


def tracks_of(head: bytes, read: Read | None = None) -> bytes:
    """Return what MP4 ("moov") or Matroska (Tracks) say of their tracks, b"" of other containers."""
    if head[4:8] in _BOXES:
        return next((body for kind, body in _top_boxes(read or _reader(head)) if kind == b"moov"), b"")
    begin = head.find(_TRACKS) if head.startswith(_EBML) else -1
    end = head.find(_CLUSTER, begin)
    return head[begin : end if end >= 0 else len(head)] if begin >= 0 else b""


def _movie_lacks(found: list[tuple[bytes, bytes]]) -> Lack | None:
    kinds = [kind for kind, _ in found]
    if b"moov" in kinds:
        return None
    if b"moof" in kinds:
        return Lack(
            "it is a piece of a fragmented MP4 without its beginning (the init segment with moov)",
            "Put that before it: cat INIT.mp4 FILE > WHOLE.mp4; it is what the stream's playlist calls EXT-X-MAP.",
        )
    return Lack(
        "it is an MP4 or MOV without its index (moov), which recorders write when they stop: it was cut off, or the "
        "recorder lost its power",
        "Let the recorder repair it, or untrunc with a whole recording of the same device: untrunc WHOLE.mp4 FILE",
    )


def _top_boxes(read: Read) -> list[tuple[bytes, bytes]]:
    """Return (kind, payload) of a file's own boxes, the payload of "moov" alone; up to where they make no sense."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    for _ in range(_MOST_BOXES):
        start = read(at, 16)
        if len(start) < 8:
            break
        size, kind = struct.unpack_from(">I4s", start)
        if size == 1 and len(start) == 16:
            size = struct.unpack_from(">Q", start, 8)[0]
        found.append((kind, read(at + 8, min(size, _MOST_INDEX_BYTES)) if kind == b"moov" else b""))
        if size < 8:
            break
        at += size
    return found


def _reader(head: bytes) -> Read:
    return lambda at, length: head[at : at + length]


def _is_flv_tag(head: bytes) -> bool:
    """Whether two tags of script, sound or video stand one behind the other (annex E.4.1)."""
    at = 0
    for _ in range(2):
        if len(head) < at + 15 or head[at] not in {8, 9, 18} or head[at + 8 : at + 11] != b"\0\0\0":
            return False
        size = int.from_bytes(head[at + 1 : at + 4], "big")
        if int.from_bytes(head[at + 11 + size : at + 15 + size], "big") != size + 11:
            return False
        at += size + 15
    return True
