"""What a file lacks is said from its bytes, with what a user can do; a whole one lacks nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from encoderd.encode.containers import Lack, describe, encrypted
from encoderd.encode.sample import SampleSpec, make_recording


def box(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


FTYP = box(b"ftyp", b"isom\0\0\2\0isomavc1")
LARGE = struct.pack(">I4sQ", 1, b"mdat", 16 + 5000) + bytes(5000)
SCRIPT = b"\x12\0\0\x05\0\0\0\0\0\0\0hello" + struct.pack(">I", 16)


@pytest.mark.parametrize(
    ("data", "what", "remedy"),
    [
        (FTYP + box(b"mdat", bytes(900)), "without its index (moov)", "untrunc"),
        (FTYP + LARGE, "without its index (moov)", "untrunc"),
        (FTYP + struct.pack(">I4s", 0, b"mdat") + bytes(900), "without its index (moov)", "untrunc"),
        (box(b"styp", b"msdh") + box(b"moof", bytes(8)) + box(b"mdat", bytes(90)), "init segment", "cat INIT.mp4"),
        (b"\x1f\x43\xb6\x75\x81" + bytes(100), "without its header", "first Cluster"),
        (b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"\x1f\x43\xb6\x75\x81\0", "(Tracks)", "cat FIRST"),
        (SCRIPT * 2, "FLV without its header", "printf"),
        (b"PK\x03\x04" + bytes(60), "ZIP", "Unpack"),
        (b"Rar!\x1a\x07\x01\0" + bytes(60), "RAR", "Unpack"),
        (b"INDX0200" + bytes(60), "Blu-ray", ".m2ts"),
        (b"DVDVIDEO-VMG" + bytes(60), "DVD", ".vob"),
        (bytes(32769) + b"CD001\1" + bytes(6000), "image of a disc", "mount -o loop,ro FILE FOLDER"),
        (b"#EXTM3U\n#EXTINF:9,\nhttp://x/y.ts\n", "playlist (M3U)", "Record the stream"),
        (bytes(5000), "no container that recorders write", "recorder's log"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_lacking_is_said(data: bytes, what: str, remedy: str) -> None:
    lack = describe(data[:4096], lambda at, length: data[at : at + length])

    assert what in lack.what
    assert remedy in lack.remedy


#: ContentEncodings with one ContentEncoding of type 1 that has a ContentEncryption (RFC 9559, 5.1.4.1.31).
ENCRYPTION = bytes.fromhex("6d8088 624085 50338101 503580".replace(" ", ""))


def cenc(clear: bytes) -> bytes:
    return clear.replace(b"avc1", b"encv").replace(b"pasp", b"sinf")


def content_encryption(clear: bytes) -> bytes:
    track = clear.index(b"V_MPEG4/ISO/AVC") - 2
    return clear[:track] + ENCRYPTION + clear[track:]


@pytest.mark.parametrize(
    ("muxer", "hide", "mark"), [("mp4", cenc, "MP4"), ("matroska", content_encryption, "Matroska")]
)
def test_encryption_is_seen_where_ffmpeg_sees_streams(
    tmp_path: Path, muxer: str, hide: Callable[[bytes], bytes], mark: str
) -> None:
    """The sample entry says so in MP4, the track's encodings in Matroska; a clear file is not accused."""
    spec = SampleSpec(duration_s=1.0, width=128, height=96, video="libx264", interlaced=False, muxer=muxer)
    clear = make_recording(tmp_path / "x", spec).read_bytes()

    assert seen(clear) is None
    assert mark in str(seen(hide(clear)))


def seen(data: bytes) -> Lack | None:
    return encrypted(data[: 1 << 20], lambda at, length: data[at : at + length])
