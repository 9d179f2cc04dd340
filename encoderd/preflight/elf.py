"""Is a file a shared library for this machine? Judged by its ELF header alone: nothing is loaded."""

from __future__ import annotations

import struct

#: Bytes of a file that `elf_damage` wants to see.
HEADER_BYTES = 64

#: e_machine. Source: the ELF specification's registry, elf.h.
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_SHARED_OBJECT = 3


def elf_damage(head: bytes, size_bytes: int, machine: str) -> str:
    """
    Return what keeps a library from loading on `machine` (uname -m), "" when its header is sound.

    `head` is the file's beginning, `size_bytes` its whole size: the header names the place of the section table, which
    is the last thing in a file, so a copy that was cut off shows.
    """
    if not head:
        return "is empty or cannot be read"
    if len(head) < HEADER_BYTES or head[:4] != b"\x7fELF":
        return "is not a library (no ELF header)"
    wide, little = head[4] == 2, head[5] == 1
    order = "<" if little else ">"
    kind, number = struct.unpack_from(f"{order}HH", head, 16)
    built_for = _MACHINES.get(number, f"machine {number}")
    if built_for == "x86_64" and not wide:
        built_for = "x32"
    if built_for != machine:
        return f"is built for {built_for}, this machine is {machine}"
    if kind != _SHARED_OBJECT:
        return "is not a shared library"
    if wide:
        (sections,) = struct.unpack_from(f"{order}Q", head, 40)
        entry_bytes, entries = struct.unpack_from(f"{order}HH", head, 58)
    else:
        (sections,) = struct.unpack_from(f"{order}I", head, 32)
        entry_bytes, entries = struct.unpack_from(f"{order}HH", head, 46)
    ends = sections + entry_bytes * entries
    if ends > size_bytes:
        return f"is cut off: {size_bytes} bytes of at least {ends}"
    return ""
