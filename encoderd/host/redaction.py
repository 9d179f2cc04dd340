"""
What may be shown of each file that a host's facts rest on: the facts stay, what identifies a host or a person goes.

Files of known form keep what is known to be harmless; in all others names and numbers get their stand-ins.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Mapping
from typing import Any

from encoderd.host.pseudonyms import Pseudonyms
from encoderd.host.qcow2 import image_format, read_qcow2

#: The kernel's parameters whose values are kept, as patterns.
_KERNEL_VALUES = re.compile(
    r"(?:intel_iommu|amd_iommu|iommu(\..*)?|intremap|vfio.*|kvm.*|i915\..*|xe\..*|snd.*|drm.*|nouveau\..*|nvidia.*|video|"
    r"initcall_blacklist|module_blacklist|modprobe\.blacklist|rd\.driver\..*|pci|pcie.*|pci-stub\.ids|hugepages|"
    r"hugepagesz|default_hugepagesz|transparent_hugepage|isolcpus|nohz.*|rcu_.*|console|earlycon|security|apparmor|"
    r"selinux|lsm|lockdown|mitigations|efi|acpi.*|mem|memmap|module\..*|systemd\.unified_cgroup_hierarchy|quiet|splash|"
    r"loglevel|nomodeset|consoleblank|fbcon|swiotlb|cgroup_.*|rootfstype|init|preempt|cpuidle.*|intel_.*)"
)
_KERNEL_FILES = re.compile(r"^(BOOT_IMAGE|initrd)$")
_KERNEL_DISKS = re.compile(r"^(root|resume)$")

_KEPT_KEYS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"/run/systemd/sessions/"), re.compile(r"(UID|USER|ACTIVE|STATE|TYPE|CLASS|SEAT|VTNR|DESKTOP)=")),
    (
        re.compile(r"/uevent$"),
        re.compile(r"(DEVNAME|DEVTYPE|DRIVER|MAJOR|MINOR|PCI_\w+|MODALIAS|PRODUCT|TYPE|BUSNUM)="),
    ),
    (re.compile(r"/run/udev/data/"), re.compile(r"E:ID_FS_TYPE=")),
    (
        re.compile(r"/etc/pve/(qemu-server|nodes/[^/]+/qemu-server)/"),
        re.compile(r"(hostpci|usb)\d+:|machine:|bios:|vga:|\["),
    ),
    (
        re.compile(r"/etc/pve/(lxc|nodes/[^/]+/lxc)/"),
        re.compile(r"(dev\d+|lxc\.mount\.entry|lxc\.cgroup2?\.devices.*):|\["),
    ),
    (re.compile(r"/etc/default/grub"), re.compile(r"GRUB_CMDLINE_LINUX")),
)
_SERIAL_FILE = re.compile(
    r"/(\w*serial\w*|wwid|eui|nguid|uuid|product_uuid|unique_id|asset_tag|\w+_asset_tag|uniq|ifalias)$"
)
#: Programs and firmware as the distribution has them.
_DISTRIBUTION = ("/usr/", "/lib/", "/bin/", "/sbin/", "/boot/")
#: Of a firmware volume: up to where its files begin (PI specification, volume 3, EFI_FIRMWARE_VOLUME_HEADER).
_FIRMWARE_HEADER_BYTES = 72
#: What tells a kernel: from byte to byte, and what it begins with. Source: Linux, x86/boot.rst.
_MARKS = {(0x202, 0x206): b"HdrS", (0, 64): b"\x7fELF"}
#: What stands where a disk would, for file systems without one.
_NO_SOURCE = frozenset(
    ["proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "udev", "cgroup", "cgroup2", "none", "overlay", "shm", "mqueue"]
)
_CGROUP_NAMES = re.compile(
    r"(?P<vm>(?<=/)machine-qemu-\d+-)(?P<vm_name>[^/\n]+)(?=\.scope)|"
    r"(?P<box>/lxc(?:\.payload|\.monitor)?[./]|/systemd-nspawn@|/machine-(?!qemu-))(?P<box_name>[^/\n]+?)"
    r"(?=\.scope|\.service|/|$)",
    re.MULTILINE,
)


class Redactor:
    """
    Replaces in paths, links, files and settings. What it has learnt last counts everywhere, so everything is to be
    given to it twice.
    """

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._names = pseudonyms

    def path(self, path: str) -> str:
        return self._cgroup(path) if path.startswith("/sys/fs/cgroup/") else self._names.path(path)

    def folder(self, path: str) -> str:
        return self._cgroup(path) if path.startswith("/sys/fs/cgroup/") else self._names.folder(path)

    def text(self, text: str) -> str:
        return self._names.text(text)

    def link(self, target: str) -> str:
        """Replace in what a link says: a path, or "socket:[1234]"."""
        if not target.startswith("/"):
            return self._names.text(target)
        deleted = " (deleted)" if target.endswith(" (deleted)") else ""
        return self.path(target.removesuffix(" (deleted)")) + deleted

    # --- contents

    def content(self, path: str, data: bytes) -> bytes:
        """Return what may be shown of a file's bytes. What is neither text nor known is blanked."""
        if not data:
            return data
        if path.startswith("/proc/") and path.endswith("/cmdline") and path != "/proc/cmdline":
            return self.path(data.split(b"\0")[0].decode("utf-8", "replace").split(" ")[0]).encode() + b"\0"
        if path.startswith("/sys/firmware/acpi/tables/"):
            return _anonymous_acpi_table(data)
        if path.startswith("/sys/") and path.endswith("/config"):
            return _anonymous_pci_config(data)
        if path == "/proc/config.gz" or (path.startswith(_DISTRIBUTION) and not _is_text(data)):
            return data
        if image_format(data) != "raw" or not _is_text(data):
            return self._image(path, data)
        return self._lines(path, data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _lines(self, path: str, text: str) -> str:
        if path == "/proc/cmdline" or path.startswith("/etc/kernel/cmdline"):
            return self.kernel_words(text)
        if _SERIAL_FILE.search(path):
            return self._names.alias("serial", text.strip()) + "\n" if text.strip() else text
        if re.search(r"/(mountinfo|mounts|swaps)$", path):
            return "".join(self._mount(path, line) for line in text.splitlines(keepends=True))
        if re.fullmatch(r"/proc/[^/]+/cgroup", path):
            return self._cgroup(text)
        if path in ("/etc/hostname", "/proc/sys/kernel/hostname"):
            return self._names.named("host", text.strip()) + "\n"
        if path == "/proc/net/route":
            return re.sub(r"\t([0-9A-F]{8})(?=\t[0-9A-F]{8}\t|\t[0-9A-F]{4}\t)", self._route, text)
        if path == "/proc/bus/input/devices":
            text = re.sub(r"^(U: Uniq=).+$", r"\1", text, flags=re.MULTILINE)
        if re.fullmatch(r"/etc/libvirt/qemu/[^/]+\.xml", path):
            return self._names.text(_passed_through(text))
        for place, kept in _KEPT_KEYS:
            if place.search(path):
                text = "".join(line for line in text.splitlines(keepends=True) if kept.match(line))
        if path.startswith("/etc/default/grub"):
            return re.sub(r"(?<=[\"'])[^\"'\n]*", lambda found: self.kernel_words(found[0]), text)
        if "/run/systemd/sessions/" in path:
            text = re.sub(r"(?m)^USER=(.+)$", lambda found: "USER=" + self._names.named("user", found[1]), text)
        if path.startswith("/etc/"):
            text = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
        return self._names.text(text)

    def kernel_words(self, text: str) -> str:
        """Replace in a kernel's command line: the values of parameters that are not known to be harmless go."""
        ours = re.split(r"(?<=\s)--(?=\s)", text)[0]  # what follows is for init
        return re.sub(r"[^\s\"]+", lambda found: self._kernel_word(found[0]), ours)

    def _kernel_word(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if not equals or _KERNEL_VALUES.fullmatch(name):
            return self._names.text(word)
        if _KERNEL_FILES.match(name):
            return f"{name}={self._names.text(value)}"
        if _KERNEL_DISKS.match(name):
            return f"{name}={self._source(value)}"
        return f"{name}=…"

    def _source(self, source: str) -> str:
        """What is mounted: a disk's node, UUID=…, a network's path, a kind of file system."""
        if source.startswith("/dev/"):
            return self.path(source)
        if source in _NO_SOURCE or source.startswith(("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")):
            return self._names.text(source)
        return "/".join(map(self._names.part, source.split("/")))

    def _mount(self, path: str, line: str) -> str:
        """Options with a value tell of users, servers and folders: they go."""
        end = "\n" if line.endswith("\n") else ""
        fields = line.rstrip("\n").split(" ")
        if path.endswith("/mountinfo") and "-" in fields and len(fields) > fields.index("-") + 2 and len(fields) > 5:
            dash = fields.index("-")
            fields[3], fields[4] = self._escaped(fields[3]), self._escaped(fields[4])
            fields[5], fields[-1] = _plain_options(fields[5]), _plain_options(fields[-1])
            fields[dash + 2] = self._escaped(fields[dash + 2])
        elif path.endswith("/mounts") and len(fields) > 3:
            fields[0], fields[1], fields[3] = (
                self._escaped(fields[0]),
                self._escaped(fields[1]),
                _plain_options(fields[3]),
            )
        else:
            return self._names.text(" ".join([self._escaped(fields[0]), *fields[1:]])) + end
        return " ".join(fields) + end

    def _escaped(self, field: str) -> str:
        plain = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
        shown = self._source(plain) if plain.startswith("/dev/") or not plain.startswith("/") else self.path(plain)
        return re.sub(r"[\s\\]", lambda found: f"\\{ord(found[0]):03o}", shown)

    def _cgroup(self, text: str) -> str:
        plain = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)

        def renamed(found: re.Match[str]) -> str:
            if found["vm"]:
                return found["vm"] + self._names.named("vm", found["vm_name"])
            return found["box"] + self._names.named("container", found["box_name"])

        return self._names.text(_CGROUP_NAMES.sub(renamed, plain))

    def _route(self, found: re.Match[str]) -> str:
        if found[1] == "00000000":
            return found[0]
        return "\t" + self._names.alias("route", found[1], lambda number: f"{number:06X}C6")

    def _image(self, path: str, data: bytes) -> bytes:
        """Of an image, a firmware's private copy and the like only what tells its kind, and a qcow2 file's names."""
        found = image_format(data)
        if found == "raw":
            shown = bytearray(min(len(data), 1024))
            for start, end in (mark for mark, text in _MARKS.items() if data[mark[0] :].startswith(text)):
                shown[start:end] = data[start:end]
            if data[40:44] == b"_FVH":
                shown[:_FIRMWARE_HEADER_BYTES] = data[:_FIRMWARE_HEADER_BYTES]
            return bytes(shown)
        if found != "qcow2":
            return data[:72]
        header = read_qcow2(data)
        if header.broken:
            return data[:104]
        (length,) = struct.unpack_from(">I", data, 100) if header.version == 3 else (72,)
        extensions = b""
        for kind, value in ((0xE2792ACA, header.backing_format), (0x44415441, self._beside(path, header.data_file))):
            if value:
                written = value.encode()
                extensions += struct.pack(">II", kind, len(written)) + written.ljust((len(written) + 7) // 8 * 8, b"\0")
        name = self._beside(path, header.backing).encode()
        begin = bytearray(data[:length].ljust(length, b"\0")) + extensions + bytes(8)
        struct.pack_into(">QI", begin, 8, len(begin) if name else 0, len(name))
        return bytes(begin) + name

    def _beside(self, path: str, name: str | None) -> str:
        """A name in an image's header, which may be relative to the image."""
        if not name:
            return ""
        if name.startswith("/") or ":" in name.split("/")[0]:
            return self.path(name) if name.startswith("/") else "nbd://…"
        whole = self.path(posixpath.normpath(posixpath.join(posixpath.dirname(path), name)))
        return posixpath.relpath(whole, posixpath.dirname(self.path(path)))

    # --- settings

    def settings(self, dumped: Mapping[str, Any]) -> dict[str, Any]:
        """Replace in `HostSettings.model_dump(mode="json")`; the result is valid settings again."""
        shown: dict[str, Any] = {}
        for key, value in dumped.items():
            match key, value:
                case "extra_args", _:
                    shown[key] = []
                case "kernel_arguments", str():
                    shown[key] = self.kernel_words(value)
                case "mac", str() if value != "auto":
                    shown[key] = self._names.text(value)
                case _, Mapping():
                    shown[key] = self.settings(value)
                case _, list() | tuple():
                    shown[key] = [self.settings(one) if isinstance(one, Mapping) else one for one in value]
                case "name", str():
                    shown[key] = self._names.named("vm", value)
                case "tag", str():
                    shown[key] = self._names.named("share", value)
                case "address" | "bridge" | "tap" | "id" | "port", str():
                    shown[key] = self._names.text(value)
                case _, str():
                    shown[key] = self.path(value) if value.startswith("/") else self._names.text(value)
                case _:
                    shown[key] = value
        return shown


def _is_text(data: bytes) -> bool:
    return b"\0" not in data and all(byte >= 9 for byte in data[:4096])


def _plain_options(options: str) -> str:
    return ",".join(option for option in options.split(",") if "=" not in option) or "rw"


def _passed_through(xml: str) -> str:
    """Of a libvirt guest only what it takes from the host: its name is the file's."""
    devices = "".join(re.findall(r"<hostdev\b.*?</hostdev>", xml, re.DOTALL))
    return f"<domain><devices>{devices}</devices></domain>\n"


def _anonymous_acpi_table(table: bytes) -> bytes:
    """Blank the makers' ids (bytes 10 to 36 of every table's header) and make the checksum right again."""
    if len(table) < 36:
        return table
    before = sum(table) % 256
    blank = bytearray(table[:10] + b"ENCODERDENCODE" + bytes(4) + b"ENCD" + bytes(4) + table[36:])
    blank[9] = (blank[9] + before - sum(blank)) % 256
    return bytes(blank)


def _anonymous_pci_config(config: bytes) -> bytes:
    """Blank the Device Serial Number (extended capability 3), which holds a network card's MAC address."""
    shown = bytearray(config)
    at, seen = 0x100, set[int]()
    while 0x100 <= at <= len(shown) - 12 and at not in seen:
        seen.add(at)
        (header,) = struct.unpack_from("<I", shown, at)
        if header & 0xFFFF == 3:
            shown[at + 4 : at + 12] = bytes(8)
        at = header >> 20
    return bytes(shown)
