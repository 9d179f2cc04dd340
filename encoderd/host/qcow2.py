"""
What an image file is, told from its first bytes; and what a qcow2 file's header says.

Everything here stands in QEMU's docs/interop/qcow2.rst. A header comes from a file that a guest may have written, so
nothing in it is believed: a number out of its bounds makes it broken.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: How much of a file has to be read: the header and its extensions lie in the first cluster, the backing file's name
#: (at most 1023 bytes) too. The largest cluster has 2 MiB, yet QEMU's own extensions end far before 64 KiB.
HEAD_BYTES = 65_536

#: How much of a file has to be read to tell its format.
MARK_BYTES = 512

_MAGIC = b"QFI\xfb"
_LONGEST_NAME = 1023
_DIRTY, _CORRUPT, _DATA_FILE = 1 << 0, 1 << 1, 1 << 2
#: dirty, corrupt, external data file, compression type, extended L2 entries.
_KNOWN_FEATURES = 0b11111
_BACKING_FORMAT, _DATA_FILE_NAME = 0xE2792ACA, 0x44415441

#: First bytes of other image formats, at their offset. Source: block/*.c of QEMU.
_OTHERS = (
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vhdx", 0, b"vhdxfile"),
    ("vpc", 0, b"conectix"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("gzip", 0, b"\x1f\x8b"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qcow2:
    """
    A qcow2 header. `backing` and `data_file` are names as written, relative to the image's folder or not; None without.

    `broken` says in a few words why it cannot be used, "" when it can: what the other fields say is then worth nothing.
    """

    version: int = 0
    virtual_bytes: int = 0
    backing: str | None = None
    backing_format: str = ""
    data_file: str | None = None
    encrypted: bool = False
    dirty: bool = False
    corrupt: bool = False
    broken: str = ""


def image_format(head: bytes) -> str:
    """Return QEMU's name of the format; "raw" for everything that has no mark, as an empty disk has none."""
    if head.startswith(_MAGIC):
        return "qcow2"
    return next((name for name, offset, mark in _OTHERS if head[offset : offset + len(mark)] == mark), "raw")


def read_qcow2(head: bytes) -> Qcow2:
    """Parse the first `HEAD_BYTES` of a qcow2 file, or as many as it has. Never raises."""
    if len(head) < 72:
        return Qcow2(broken="it ends within its header")
    _, version, name_offset, name_bytes, cluster_bits, virtual_bytes, crypt = struct.unpack_from(">4sIQIIQI", head)
    if version not in (2, 3):
        return Qcow2(version=version, broken=f"it has version {version}, and QEMU knows 2 and 3")
    if not 9 <= cluster_bits <= 21:
        return Qcow2(version=version, broken=f"its clusters are said to have 2^{cluster_bits} bytes")
    features, header_bytes = 0, 72
    if version == 3:
        if len(head) < 104:
            return Qcow2(version=version, broken="it ends within its header")
        (features,) = struct.unpack_from(">Q", head, 72)
        (header_bytes,) = struct.unpack_from(">I", head, 100)
        if not 104 <= header_bytes <= 1 << cluster_bits:
            return Qcow2(version=version, broken=f"its header is said to have {header_bytes} bytes")
        if features & ~_KNOWN_FEATURES:
            return Qcow2(version=version, broken=f"it needs something newer (features {features:#x})")
    backing = None
    if name_offset:
        if name_bytes > _LONGEST_NAME or name_offset + name_bytes > len(head):
            return Qcow2(version=version, broken="the name of its backing file lies outside of it")
        backing = head[name_offset : name_offset + name_bytes].decode("utf-8", errors="surrogateescape")
    extensions = _extensions(head, header_bytes, name_offset or min(len(head), 1 << cluster_bits))
    return Qcow2(
        version=version,
        virtual_bytes=virtual_bytes,
        backing=backing or None,
        backing_format=extensions.get(_BACKING_FORMAT, b"").decode("ascii", errors="replace"),
        data_file=(
            extensions.get(_DATA_FILE_NAME, b"").decode("utf-8", errors="surrogateescape")
            if features & _DATA_FILE
            else None
        ),
        encrypted=crypt != 0,
        dirty=bool(features & _DIRTY),
        corrupt=bool(features & _CORRUPT),
    )


def _extensions(head: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the header's extensions by type: type and length in 4 bytes each, then data, padded to 8; type 0 ends."""
    found: dict[int, bytes] = {}
    while start + 8 <= min(end, len(head)):
        kind, length = struct.unpack_from(">II", head, start)
        if kind == 0 or start + 8 + length > len(head):
            break
        found.setdefault(kind, head[start + 8 : start + 8 + length])
        start += 8 + (length + 7) // 8 * 8
    return found
