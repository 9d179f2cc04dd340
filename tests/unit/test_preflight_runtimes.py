"""The runtimes as libvpl's dispatcher finds them: which names, in which order, and which of them a session gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoderd.preflight.elf import elf_damage
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME, gpu_for
from encoderd.preflight.runtimes import OTHER, PRIORITY, Runtime, find_runtimes, kind_of, to_load, winner
from encoderd.root import Root
from tests.guests import elf, link, write

SKYLAKE, TIGER_LAKE, N100 = 0x1912, 0x9A49, 0x46D1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("libmfx-gen.so.1.2", NEW_RUNTIME),
        ("libmfxhw64.so.1", OLD_RUNTIME),
        ("libvplsim.so.1", OTHER),
        ("libvplswref64.so", OTHER),
        ("libsimvpl.so.1", ""),
        ("libmfx-gen.so.1.2.14", ""),
        ("libmfxhw64.so.1.35", ""),
        ("libvpl.so.2", ""),
        ("libmfx.so.1", ""),
        ("libmfx-tracer.so.1", ""),
        ("libvpl_notes.txt", ""),
    ],
)
def test_names(name: str, kind: str) -> None:
    """Source: what the dispatcher took and left when it was tried."""
    assert kind == kind_of(name)


def test_the_order_of_the_search(tmp_path: Path) -> None:
    """Priority, LD_LIBRARY_PATH, the system, the search path, Media Server Studio."""
    environ = {PRIORITY: "/one:/two/", "LD_LIBRARY_PATH": ":/three:", "ONEVPL_SEARCH_PATH": "/five"}
    for folder in ("one", "two", "three", "usr/lib/x86_64-linux-gnu", "lib64", "five", "opt/intel/mediasdk/lib64"):
        write(tmp_path / folder / "libvplx.so.1", elf())
    found = find_runtimes(Root(tmp_path), environ, "x86_64")

    assert [
        "/one", "/two", "/three", "/usr/lib/x86_64-linux-gnu", "/lib64", "/five", "/opt/intel/mediasdk/lib64",
    ] == [runtime.path.rpartition("/")[0] for runtime in found]  # fmt: skip
    assert [PRIORITY, PRIORITY, "LD_LIBRARY_PATH"] == [runtime.source for runtime in found[:3]]


def test_each_library_is_found_once(tmp_path: Path) -> None:
    """By its real path: /lib is /usr/lib on every distribution of today, and one library may have two names."""
    place = tmp_path / "usr/lib/x86_64-linux-gnu"
    write(place / "libmfx-gen.so.1.2.14", elf())
    link(place / "libmfx-gen.so.1.2", place / "libmfx-gen.so.1.2.14")
    link(tmp_path / "usr/lib/libmfx-gen.so.1.2", place / "libmfx-gen.so.1.2.14")
    link(tmp_path / "lib", tmp_path / "usr/lib")
    found = find_runtimes(Root(tmp_path), {"LD_LIBRARY_PATH": "/lib/x86_64-linux-gnu"}, "x86_64")

    assert [("/lib/x86_64-linux-gnu/libmfx-gen.so.1.2", "/usr/lib/x86_64-linux-gnu/libmfx-gen.so.1.2.14")] == [
        (runtime.path, runtime.real) for runtime in found
    ]


def test_a_damaged_library_is_not_worth_loading(tmp_path: Path) -> None:
    write(tmp_path / "lib64/libmfx-gen.so.1.2", b"not a library")
    write(tmp_path / "lib64/libmfxhw64.so.1", elf())
    found = find_runtimes(Root(tmp_path), {}, "x86_64")

    assert ["/lib64/libmfxhw64.so.1"] == to_load(found)
    assert ["is not a library (no ELF header)", ""] == [runtime.damage for runtime in found]


def runtime(kind: str, source: str = "/lib64", damage: str = "") -> Runtime:
    return Runtime(kind=kind, path=f"{source}/{kind}", real=f"{source}/{kind}", source=source, damage=damage)


NEW, OLD, SIMULATOR = runtime(NEW_RUNTIME), runtime(OLD_RUNTIME), runtime(OTHER, PRIORITY)


@pytest.mark.parametrize(
    ("device", "runtimes", "loads", "expected"),
    [
        (SKYLAKE, [NEW, OLD], {}, OLD),
        (SKYLAKE, [NEW], {}, None),
        (TIGER_LAKE, [OLD, NEW], {}, NEW),  # an implementation of VPL hides Media SDK's
        (TIGER_LAKE, [OLD], {}, OLD),
        (TIGER_LAKE, [OLD, NEW], {NEW.path: "undefined symbol"}, OLD),
        (TIGER_LAKE, [OLD, NEW], {NEW.path: ""}, NEW),
        (N100, [OLD], {}, None),
        (N100, [NEW, SIMULATOR], {}, SIMULATOR),
        (N100, [runtime(NEW_RUNTIME, damage="is cut off")], {}, None),
        (0xFFFF, [OLD, NEW], {}, NEW),  # newer than the table
        (0xFFFF, [OLD], {}, None),
        (0x0412, [OLD, NEW], {}, None),
    ],
)
def test_the_winner(device: int, runtimes: list[Runtime], loads: dict[str, str], expected: Runtime | None) -> None:
    assert expected == winner(runtimes, gpu_for(device), loads)


@pytest.mark.parametrize(
    ("head", "size_bytes", "damage"),
    [
        (elf(), 256, ""),
        (elf(), 255, "is cut off: 255 bytes of at least 256"),
        (elf(183), 256, "is built for aarch64, this machine is x86_64"),
        (elf(3), 256, "is built for i686, this machine is x86_64"),
        (elf(999), 256, "is built for machine 999, this machine is x86_64"),
        (elf()[:4] + b"\x01" + elf()[5:], 256, "is built for x32, this machine is x86_64"),
        (elf()[:16] + b"\x02" + elf()[17:], 256, "is not a shared library"),
        (b"", 0, "is empty or cannot be read"),
        (b"\x7fELF", 4, "is not a library (no ELF header)"),
        (b"!<arch>\n" * 20, 160, "is not a library (no ELF header)"),
    ],
)
def test_elf_headers(head: bytes, size_bytes: int, damage: str) -> None:
    assert damage == elf_damage(head, size_bytes, "x86_64")


def test_a_real_library() -> None:
    """Python's own extension modules load here, so their headers are sound."""
    library = next(Path("/usr/lib").rglob("libc.so.6"), None)
    if library is None:
        pytest.skip("no libc.so.6 below /usr/lib")

    root, path = Root(Path("/")), str(library)

    assert "" == elf_damage(root.head(path, 64), root.size_bytes(path), os.uname().machine)
