"""The guest's disks as they lie on the host: format, header, chain, locks and space; and its kernel and firmware."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.findings import Finding, Verdict
from encoderd.host.image_checks import disk_findings, firmware_findings, kernel_findings
from encoderd.host.images import FileFacts, FileKind, ImageFacts, file_facts, image_facts
from encoderd.host.qcow2 import HEAD_BYTES, Qcow2, image_format, read_qcow2
from encoderd.host.settings import DiskSettings, HostSettings, VmSettings
from encoderd.root import Root
from tests.hosts.tree import HostTree

HERE = Root(Path("/"))
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs qemu-system-x86_64")


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def image(path: Path, image_format: str = "qcow2", *, live: bool = True, read_only: bool = False) -> ImageFacts:
    return image_facts(HERE, DiskSettings(path=path, format=image_format, read_only=read_only), live=live)


def judged(facts: ImageFacts) -> Finding:
    (finding,) = disk_findings((facts,), HostSettings())
    return finding


def header(**changes: int) -> bytearray:
    """A qcow2 header of version 3, like qemu-img's, with other numbers in it."""
    fields = {
        "version": 3, "backing_offset": 0, "backing_bytes": 0, "cluster_bits": 16, "size": 2**30, "crypt": 0,
        "features": 0, "header_bytes": 112,
    } | changes  # fmt: skip
    head = bytearray(512)
    struct.pack_into(
        ">4sIQIIQI", head, 0, b"QFI\xfb", fields["version"], fields["backing_offset"], fields["backing_bytes"],
        fields["cluster_bits"], fields["size"], fields["crypt"],
    )  # fmt: skip
    struct.pack_into(">Q", head, 72, fields["features"])
    struct.pack_into(">I", head, 100, fields["header_bytes"])
    return head


# --- the header


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", "raw"),
        (bytes(512), "raw"),
        (b"QFI\xfb", "qcow2"),
        (b"KDMV" + bytes(60), "vmdk"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
        (b"vhdxfile", "vhdx"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\xebc\x90" + bytes(507) + b"\x55\xaa", "raw"),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, expected: str) -> None:
    assert image_format(head) == expected


@needs_qemu_img
def test_real_headers_are_read(tmp_path: Path) -> None:
    """What qemu-img writes, in both versions, with and without a backing file or a file of its data."""
    qemu_img("create", "-f", "raw", tmp_path / "base.raw", "1M")
    qemu_img("create", "-f", "qcow2", tmp_path / "plain.qcow2", "5M")
    qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", tmp_path / "old.qcow2", "5M")
    qemu_img("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", tmp_path / "above.qcow2")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/data.raw", tmp_path / "apart.qcow2", "1M")

    def read(name: str) -> Qcow2:
        return read_qcow2((tmp_path / name).read_bytes()[:HEAD_BYTES])

    assert read("plain.qcow2") == Qcow2(version=3, virtual_bytes=5 * 2**20)
    assert read("old.qcow2") == Qcow2(version=2, virtual_bytes=5 * 2**20)
    assert read("above.qcow2") == Qcow2(version=3, virtual_bytes=2**20, backing="base.raw", backing_format="raw")
    assert read("apart.qcow2") == Qcow2(version=3, virtual_bytes=2**20, data_file=f"{tmp_path}/data.raw")


@pytest.mark.parametrize(
    ("changes", "cut", "expected"),
    [
        ({}, 30, "ends within"),
        ({}, 90, "ends within"),
        ({"version": 4}, 512, "version 4"),
        ({"cluster_bits": 40}, 512, "2^40"),
        ({"header_bytes": 2**31}, 512, "2147483648 bytes"),
        ({"features": 1 << 20}, 512, "newer"),
        ({"backing_offset": 500, "backing_bytes": 1000}, 512, "outside"),
        ({"backing_offset": 8, "backing_bytes": 2**32 - 1}, 512, "outside"),
    ],
)
def test_a_header_s_impossible_numbers_make_it_broken(changes: dict[str, int], cut: int, expected: str) -> None:
    assert expected in read_qcow2(bytes(header(**changes)[:cut])).broken


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.dictionaries(st.integers(0, 250), st.integers(0, 255), max_size=12))
def test_no_header_makes_the_reader_raise(tail: bytes, changes: dict[int, int]) -> None:
    head = header(backing_offset=300, backing_bytes=20) + tail
    for place, value in changes.items():
        head[place] = value

    found = read_qcow2(bytes(head))
    assert found.broken or found.version in (2, 3)


# --- the image


@needs_qemu_img
def test_a_good_image_passes(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", path, "64M")

    assert judged(image(path)) == Finding(check="disk", verdict=Verdict.PASS, evidence=f"{path}: qcow2")
    assert judged(image(path, live=False)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("content", "wanted", "expected"),
    [
        (bytes(header()), "raw", "holds a qcow2 image"),
        (bytes(1024), "qcow2", "first bytes are not those of one"),
        (b"", "qcow2", "first bytes are not those of one"),
        (b"KDMV" + bytes(600), "qcow2", "holds vmdk"),
        (b"\xfd7zXZ\0", "raw", "holds xz"),
        (bytes(header(features=2)), "qcow2", "marked corrupt"),
        (bytes(header(crypt=2)), "qcow2", "encrypted"),
        (bytes(header()[:60]), "qcow2", "broken"),
    ],
)
def test_images_that_are_not_what_they_are_set_as_fail(
    tmp_path: Path, content: bytes, wanted: str, expected: str
) -> None:
    """A raw disk into which a guest wrote a qcow2 header would choose which of the host's files it reads."""
    path = tmp_path / "disk"
    path.write_bytes(content)
    finding = judged(image(path, wanted))

    assert (finding.verdict, expected in finding.evidence) == (Verdict.FAIL, True), finding


@pytest.mark.parametrize(("content", "expected"), [(b"KDMV", Verdict.WARN), (b"LUKS\xba\xbe", Verdict.PASS)])
def test_a_raw_disk_may_begin_as_it_likes(tmp_path: Path, content: bytes, expected: Verdict) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content + bytes(600))

    assert judged(image(path, "raw")).verdict is expected


def test_what_is_no_file_fails(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (
        ("missing", "does not exist"),
        ("pipe", "neither file nor block device"),
        ("", "neither file"),
    ):
        finding = judged(image(tmp_path / name))

        assert (finding.verdict, expected in finding.evidence) == (Verdict.FAIL, True), finding


@needs_qemu_img
def test_a_chain_is_followed_to_its_end(tmp_path: Path) -> None:
    """Relative names stand beside the file that names them; a missing one is told with the file that needs it."""
    (tmp_path / "bases").mkdir()
    qemu_img("create", "-f", "raw", tmp_path / "bases/deep.raw", "1M")
    qemu_img("create", "-f", "qcow2", "-b", "deep.raw", "-F", "raw", tmp_path / "bases/base.qcow2")
    qemu_img("create", "-f", "qcow2", "-b", "bases/base.qcow2", "-F", "qcow2", tmp_path / "disk.qcow2")
    facts = image(tmp_path / "disk.qcow2")

    assert facts.chain == (f"{tmp_path}/bases/base.qcow2", f"{tmp_path}/bases/deep.raw")
    assert judged(facts).verdict is Verdict.PASS

    (tmp_path / "bases/deep.raw").unlink()
    finding = judged(image(tmp_path / "disk.qcow2"))
    assert finding.evidence == (
        f"{tmp_path}/bases/base.qcow2 needs the backing file {tmp_path}/bases/deep.raw, which is missing"
    )
    assert finding.verdict is Verdict.FAIL


def naming(path: Path, name: bytes, backing_format: bytes = b"qcow2") -> None:
    head = header(backing_offset=200, backing_bytes=len(name))
    if backing_format:
        struct.pack_into(">II", head, 112, 0xE2792ACA, len(backing_format))
        head[120 : 120 + len(backing_format)] = backing_format
    head[200 : 200 + len(name)] = name
    path.write_bytes(head)


def test_a_chain_that_goes_round_ends(tmp_path: Path) -> None:
    naming(tmp_path / "a", b"b")
    naming(tmp_path / "b", b"a")

    facts = image(tmp_path / "a")
    assert facts.chain == (f"{tmp_path}/b", f"{tmp_path}/a")
    assert "circle" in judged(facts).evidence


def test_a_backing_file_of_unsaid_format_warns(tmp_path: Path) -> None:
    """QEMU would guess it from bytes that a guest may have written."""
    naming(tmp_path / "a", b"b", b"")
    (tmp_path / "b").write_bytes(bytes(512))
    finding = judged(image(tmp_path / "a"))

    assert (finding.verdict, "guesses" in finding.evidence) == (Verdict.WARN, True)


@pytest.mark.parametrize("name", [b"nbd://server/disk", b'json:{"driver":"null-co"}', b"\xff\xfe/odd"])
def test_names_that_only_qemu_understands_do_no_harm(tmp_path: Path, name: bytes) -> None:
    """Where a file is named that cannot be, it is missing; what lies elsewhere is left to QEMU."""
    naming(tmp_path / "a", name)

    assert judged(image(tmp_path / "a")).verdict is (Verdict.FAIL if b"odd" in name else Verdict.PASS)


def test_little_space_warns(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(bytes(header(size=2**60)))

    assert "can grow by" in judged(image(path)).evidence


@needs_qemu
@needs_qemu_img
def test_an_image_in_use_is_refused(tmp_path: Path) -> None:
    """A real QEMU's locks: a writer forbids everyone, a reader forbids writers; both end with the process."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", path, "4M")
    for read_only, expected in ((False, (Verdict.FAIL, Verdict.FAIL)), (True, (Verdict.FAIL, Verdict.PASS))):
        with running_qemu(tmp_path, path, read_only=read_only) as qemu:
            writing, reading = judged(image(path)), judged(image(path, read_only=True))

            assert (writing.verdict, reading.verdict) == expected
            assert f"(PID {qemu.pid})" in writing.evidence
            assert judged(image(path, live=False)).verdict is Verdict.PASS
        assert judged(image(path)).verdict is Verdict.PASS


@contextlib.contextmanager
def running_qemu(folder: Path, path: Path, *, read_only: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A QEMU that has the image open and never runs: its QMP greeting says that it has come so far."""
    place = folder / f"qmp{int(read_only)}"
    flag = "on" if read_only else "off"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        listener.settimeout(30)
        child = subprocess.Popen(
            [
                "qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "32",
                "-blockdev", f"driver=qcow2,node-name=d,read-only={flag},file.driver=file,file.filename={path}",
                "-device", "virtio-blk-pci,drive=d",
                "-qmp", f"unix:{place}",
            ]
        )  # fmt: skip
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                assert b"QMP" in connection.recv(4096)
                yield child
        finally:
            child.kill()
            child.wait()


def test_two_paths_to_one_disk_are_found(tmp_path: Path) -> None:
    """The settings see that a path is there twice; that a link leads to it only the host knows."""
    (tmp_path / "disk").write_bytes(bytes(512))
    (tmp_path / "link").symlink_to("disk")
    images = (image(tmp_path / "disk", "raw"), image(tmp_path / "link", "raw"))

    assert [finding.verdict for finding in disk_findings(images, HostSettings())] == [Verdict.PASS, Verdict.FAIL]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/sda", "sda1, mounted on /; sda2, part of dm-0"),
        ("/dev/sda1", "sda1, mounted on /"),
        ("/dev/disk/by-id/ata-2", "sda2, part of dm-0"),
        ("/dev/sda3", ""),
        ("/dev/sdb", ""),
        ("/dev/sdb1", "sdb, part of md0"),
    ],
)
def test_a_disk_of_the_host_s_own_is_refused(tmp_path: Path, path: str, expected: str) -> None:
    """A partition may go when only its neighbours are in use; a whole disk with anything on it in use may not."""
    tree = HostTree(tmp_path)
    for disk, parts in (("sda", ("sda1", "sda2", "sda3")), ("sdb", ("sdb1",))):
        tree.write(f"/dev/{disk}", "")
        for part in parts:
            tree.write(f"/dev/{part}", "")
            tree.make(f"/sys/block/{disk}/{part}/holders")
    tree.make("/sys/block/sda/sda2/holders/dm-0")
    if path == "/dev/sdb1":
        tree.make("/sys/block/sdb/holders/md0")
    tree.link("/dev/disk/by-id/ata-2", "../../sda2")
    tree.write("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    finding = judged(image_facts(tree.root, DiskSettings(path=Path(path), format="raw"), live=False))

    assert finding.verdict is (Verdict.FAIL if expected else Verdict.PASS)
    assert expected in finding.evidence


def test_a_guest_without_disk_needs_a_kernel() -> None:
    direct = HostSettings(vm=VmSettings(kernel=Path("/boot/vmlinuz")))

    assert [finding.verdict for finding in disk_findings((), HostSettings())] == [Verdict.FAIL]
    assert [finding.verdict for finding in disk_findings((), direct)] == [Verdict.PASS]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_image_that_this_user_may_not_open_fails(tmp_path: Path) -> None:
    (tmp_path / "disk").touch(mode=0)

    assert "may not write" in judged(image(tmp_path / "disk", "raw")).evidence


# --- kernel and firmware


def test_a_kernel_is_known_by_its_mark(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    tree.write("/boot/vmlinuz", bytes(0x202) + b"HdrS" + bytes(100))
    tree.write("/boot/elf", b"\x7fELF" + bytes(100))
    tree.write("/boot/text", "no kernel\n" * 100)
    tree.write("/boot/empty", "")

    def verdict(kernel: str, initrd: str | None = None) -> Verdict:
        facts = [
            file_facts(tree.root, Path(name), live=False, head_bytes=1024) if name else None
            for name in (kernel, initrd)
        ]
        (finding,) = kernel_findings(*facts)
        return finding.verdict

    assert [verdict("/boot/vmlinuz"), verdict("/boot/elf"), verdict("/boot/vmlinuz", "/boot/text")] == [
        Verdict.PASS
    ] * 3
    assert [verdict("/boot/text"), verdict("/boot/none"), verdict("/boot/vmlinuz", "/boot/empty")] == [Verdict.FAIL] * 3
    assert kernel_findings(None, None) == []
    tree.write("/boot/vmlinuz-6.1.0-56-cloud-amd64", bytes(0x202) + b"HdrS")
    assert verdict("/boot/vmlinuz-6.1.0-56-cloud-amd64") is Verdict.WARN


@pytest.mark.parametrize(
    ("code", "template", "own", "expected"),
    [
        (3653632, 540672, None, Verdict.PASS),
        (1966080, 131072, 131072, Verdict.PASS),
        (3653632, 131072, None, Verdict.FAIL),
        (3653632, 540672, 131072, Verdict.FAIL),
        (0, 0, None, Verdict.FAIL),
        (None, 540672, None, Verdict.FAIL),
    ],
)
def test_firmware_comes_in_pairs(code: int | None, template: int | None, own: int | None, expected: Verdict) -> None:
    """Debian's OVMF: 4 MiB or 2 MiB together; the VM's own variables are a copy of the template."""

    def file(name: str, size: int | None) -> FileFacts:
        kind = FileKind.MISSING if size is None else FileKind.FILE
        return FileFacts(path=name, kind=kind, size_bytes=size or 0)

    files = (file("/c.fd", code), file("/v.fd", template), file("/own.fd", own))
    uefi = HostSettings(vm=VmSettings(firmware="uefi"))

    assert [finding.verdict for finding in firmware_findings(*files, uefi)] == [expected]
    assert [finding.verdict for finding in firmware_findings(*files, HostSettings())] == [Verdict.PASS]
