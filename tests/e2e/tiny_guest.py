"""
A guest that boots in seconds: Debian's kernel, and a busybox in an initial RAM disk that the test writes itself.

What it does is told by words on its kernel's command line, so that one RAM disk serves every test:

| word | the guest |
|---|---|
| `tiny.agent=no` | does not start qemu-guest-agent |
| `tiny.agent=deaf` | starts it, but does not shut down when asked |
| `tiny.button=no` | ignores the power button |
| `tiny.health=well` (the default), `closed`, `problems`, `silent`, `none` | writes that to the health port; `silent` falls silent after three lines, `none` never opens the port |
| `tiny.then=panic`, `reboot`, `poweroff` | does that three seconds after it is up |
"""  # noqa: E501 - a table

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import subprocess
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Where the packages' contents stay between runs; 400 MiB, nearly all of it kernel modules.
CACHE_VARIABLE = "ENCODERD_TEST_CACHE"
TOOLS = ("apt-get", "apt-cache", "dpkg-deb", "modprobe", "depmod", "busybox", "ldd")

#: What the life of a VM needs: the PCI transport and the ports, the power button, the panic device.
MODULES = ("virtio_pci", "virtio_console", "button", "evdev", "pvpanic-mmio", "pvpanic-pci")

_XZ, _GZIP, _LZ4 = b"\xfd7zXZ\x00", b"\x1f\x8b", b"\x02\x21\x4c\x18"

#: The first words of every life, before `script`; `$(word tiny.x)` reads the kernel's command line.
_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/virtio-ports /tmp /run /var/run
mount -t devpts pts /dev/pts
word() { for w in $(cat /proc/cmdline); do case "$w" in "$1="*) echo "${w#*=}"; return;; esac; done; }
for module in $(cat /lib/tiny/modules); do insmod /lib/tiny/$module; done
for port in /sys/class/virtio-ports/*; do
    test -r $port/name && ln -sf /dev/${port##*/} /dev/virtio-ports/$(cat $port/name)
done
"""

SCRIPT = """\
if test "$(word tiny.agent)" != no && test -e /dev/virtio-ports/org.qemu.guest_agent.0; then
    test "$(word tiny.agent)" != deaf || printf '#!/bin/sh\\nexit 0\\n' > /sbin/shutdown
    qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qga.pid &
fi
if test "$(word tiny.button)" != no; then
    for device in /sys/class/input/event*; do
        grep -q 'Power Button' $device/device/name || continue
        # 24 bytes are one event, and pressing the button is the first thing that this device ever tells.
        (dd if=/dev/input/${device##*/} bs=24 count=1 of=/dev/null 2>/dev/null; poweroff -f) &
    done
fi
line() {
    echo "{\\"type\\":\\"health\\",\\"schema\\":1,\\"version\\":\\"0.0.0\\",\\"pid\\":$$,\\"worker\\":\\"tiny\\",\\
\\"at\\":$(date +%s),\\
\\"status\\":\\"idle\\",\\"gate\\":\\"$1\\",\\"gate_reason\\":\\"$2\\",\\"encoder\\":\\"h264_qsv\\",\\"render_node\\":null,\\
\\"runtime\\":null,\\"job\\":null,\\"queued\\":0,\\"coming\\":0,\\"paused\\":false,\\"problems\\":$3}"
}
health() {
    exec 3>/dev/virtio-ports/org.encoderd.health
    count=0
    while true; do
        case "$(word tiny.health)" in
            closed) line closed 'no render node' 0 >&3 ;;
            problems) line open '' 2 >&3 ;;
            silent) test $count -ge 3 || line open '' 0 >&3 ;;
            *) line open '' 0 >&3 ;;
        esac
        count=$((count + 1))
        sleep 1
    done
}
if test "$(word tiny.health)" != none && test -e /dev/virtio-ports/org.encoderd.health; then health & fi
case "$(word tiny.then)" in
    panic) (sleep 3; echo c > /proc/sysrq-trigger) & ;;
    reboot) (sleep 3; reboot -f) & ;;
    poweroff) (sleep 3; poweroff -f) & ;;
esac
echo "tiny guest: up after $(cut -d' ' -f1 /proc/uptime) s"
while true; do setsid cttyhack sh; sleep 1; done
"""

#: Files of the guest beside busybox: what the agent runs to shut down, and a stand-in for the daemon's own command.
_FILES = {
    "/sbin/shutdown": '#!/bin/sh\ncase "$*" in *-r*) reboot -f ;; *) poweroff -f ;; esac\n',
    "/usr/bin/encoderd": '#!/bin/sh\necho \'[{"check":"tiny","verdict":"pass","evidence":"works","remedy":""}]\'\n',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyGuest:
    """`kernel` is an uncompressed ELF (three seconds faster than a packed one), `modules` its folder of modules."""

    kernel: Path
    initrd: Path
    modules: Path
    release: str


def missing() -> str:
    """Return why such a guest cannot be made here, "" when it can."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"missing: {', '.join(lacking)} (apt-get install busybox-static kmod)"
    try:
        _unpacked(_kernel_package())
        _unpacked("qemu-guest-agent")
    except (OSError, subprocess.SubprocessError) as error:
        return f"Debian's packages cannot be fetched: {error}"
    return ""


def tiny_guest(
    folder: Path,
    *,
    extra_modules: Iterable[str] = (),
    init_script: str | None = None,
    files: Mapping[str, bytes] | None = None,
) -> TinyGuest:
    """
    Make the guest below `folder`, from packages that are fetched once.

    `extra_modules` are loaded after its own, with all they need; `init_script` replaces what the guest does once its
    modules are loaded and its ports have names; `files` are further ones, by absolute path ("/bin/…" executable).
    """
    tree = _unpacked(_kernel_package())
    release = next((tree / "lib/modules").iterdir()).name
    if not (tree / "lib/modules" / release / "modules.dep.bin").exists():
        subprocess.run(["depmod", "-b", str(tree), release], check=True, capture_output=True)
    kernel = tree / "boot/vmlinux"
    if not kernel.exists():
        beside = kernel.with_suffix(f".{os.getpid()}")
        beside.write_bytes(_uncompressed((tree / f"boot/vmlinuz-{release}").read_bytes()))
        beside.replace(kernel)
    modules = _module_files(tree, release, [*MODULES, *extra_modules])
    content: dict[str, tuple[int, bytes]] = {
        "/init": (0o755, (_INIT + (SCRIPT if init_script is None else init_script)).encode()),
        "/bin/busybox": (0o755, Path(str(shutil.which("busybox"))).resolve().read_bytes()),
        "/lib/tiny/modules": (0o644, "".join(f"{path.name}\n" for path in modules).encode()),
        **{f"/lib/tiny/{path.name}": (0o644, path.read_bytes()) for path in modules},
        **{path: (0o755, text.encode()) for path, text in _FILES.items()},
        **{path: (0o755, data) for path, data in _agent().items()},
        **{path: (0o755, data) for path, data in (files or {}).items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    initrd = folder / "initrd.cpio"
    initrd.write_bytes(cpio(content))
    return TinyGuest(kernel=kernel, initrd=initrd, modules=tree / "lib/modules" / release, release=release)


def cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a newc archive of `files` (path → mode, content), their folders and a console. Source: cpio(5)."""
    parts: list[bytes] = []

    def add(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        encoded = name.encode() + b"\0"
        numbers = (len(parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % number for number in numbers)
        parts.append(_padded(header + encoded) + _padded(data))

    folders = {str(above) for path in files for above in Path(path.lstrip("/")).parents} - {"."}
    for name in sorted(folders | {"dev", "proc", "sys"}):
        add(name, stat.S_IFDIR | 0o755)
    add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for path, (mode, data) in files.items():
        add(path.lstrip("/"), stat.S_IFREG | mode, data)
    add("TRAILER!!!", 0)
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE, "")
    return Path(named) if named else Path.home() / ".cache/encoderd-tests"


def _kernel_package() -> str:
    """The name of Debian's present kernel: linux-image-amd64 depends on it."""
    cached = sorted(_cache().glob("linux-image-*-amd64"))
    if cached:
        return cached[-1].name
    told = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return next(word for word in told.split() if word.startswith("linux-image-") and word[12].isdigit())


def _unpacked(package: str) -> Path:
    """Return the contents of a Debian package, fetched and unpacked where the cache does not have them yet."""
    place = _cache() / package
    if place.is_dir():
        return place
    beside = place.with_name(f"{package}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    subprocess.run(["apt-get", "download", package], cwd=beside, check=True, capture_output=True, timeout=300)
    archive = next(beside.glob(f"{urllib.parse.quote(package)}_*.deb"))
    subprocess.run(["dpkg-deb", "-x", str(archive), str(beside)], check=True, capture_output=True, timeout=300)
    archive.unlink()
    try:
        beside.rename(place)
    except OSError:  # another test run was faster
        shutil.rmtree(beside)
    return place


def _module_files(tree: Path, release: str, names: Iterable[str]) -> list[Path]:
    """Return the modules' files and what they need, in the order in which they can be loaded."""
    found: dict[Path, None] = {}
    for name in names:
        told = subprocess.run(
            ["modprobe", "-d", str(tree), "-S", release, "--ignore-install", "--show-depends", name],
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip
        for line in told.splitlines():
            kind, *rest = line.split()
            if kind == "insmod":  # the other kind is "builtin"
                found[Path(rest[0])] = None
    return list(found)


def _agent() -> dict[str, bytes]:
    """The guest agent with the libraries that it is linked with; QEMU's own package brings them to this machine."""
    program = _unpacked("qemu-guest-agent") / "usr/sbin/qemu-ga"
    told = subprocess.run(["ldd", str(program)], check=True, capture_output=True, text=True, timeout=60).stdout
    libraries = [word for line in told.splitlines() for word in line.split() if word.startswith("/")]
    return {"/usr/sbin/qemu-ga": program.read_bytes(), **{path: Path(path).read_bytes() for path in libraries}}


def _uncompressed(bz_image: bytes) -> bytes:
    """
    Return the ELF inside a bzImage.

    Source: Documentation/x86/boot.rst, fields setup_sects (0x1f1), payload_offset (0x248), payload_length (0x24c).
    """
    setup_sectors = bz_image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bz_image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bz_image[start : start + length]
    if not payload.startswith(_XZ):
        raise OSError("the kernel is packed with something else than xz")
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
