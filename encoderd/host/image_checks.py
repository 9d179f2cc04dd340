"""Can the guest start from its disks, kernel and firmware? From facts to findings."""

from __future__ import annotations

from collections.abc import Iterator

from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.images import FileFacts, FileKind, ImageFacts
from encoderd.host.settings import HostSettings

#: What a guest needs to write a log and shut down in order.
_LEAST_FREE_BYTES = 256 * 2**20


def disk_findings(images: tuple[ImageFacts, ...], settings: HostSettings) -> list[Finding]:
    """Return one finding for each image, in the order of the settings; at least one."""
    if not images:
        if settings.vm.kernel is not None:
            return [passed("disk", "none; the guest starts from its kernel")]
        return [
            failed(
                "disk",
                "the guest has neither a disk nor a kernel to start from",
                'Add [[disk]] with path = "/…/disk.qcow2".',
            )
        ]
    seen: set[str] = set()
    findings = []
    for image in images:
        if image.real in seen and not image.settings.read_only:
            evidence = f"{image.file.path} is a file that another [[disk]] names too, by another path"
            findings.append(failed("disk", evidence, "Delete one of the two sections."))
            continue
        seen.add(image.real)
        findings.append(next(_troubles(image), None) or passed("disk", _described(image)))
    return findings


def _described(image: ImageFacts) -> str:
    below = f", on {', '.join(image.chain)}" if image.chain else ""
    return f"{image.file.path}: {image.settings.format}{below}"


def _troubles(image: ImageFacts) -> Iterator[Finding]:
    """Yield what is wrong with one disk, the worst first."""
    path = image.file.path
    yield from _missing("disk", image.file, "qemu-img create -f qcow2 FILE 32G makes an empty one")
    if image.file.usable is False:
        mode = "read" if image.settings.read_only else "write to"
        yield failed("disk", f"{path}: this user may not {mode} it", f"Run this as root, or: chown kvm {path}")
    yield from _wrong_format(image)
    if image.header is not None:
        yield from _bad_header(image)
    if image.used:
        yield failed(
            "disk",
            f"{path} is the host's own: {'; '.join(image.used)}",
            "Name another disk; the guest and the host together would destroy this one.",
        )
    if image.being_written or (image.guarded and not image.settings.read_only):
        who = f" by {', '.join(image.open_in)}" if image.open_in else ""
        yield failed(
            "disk",
            f"{path} is in use{who}: two guests on one disk destroy it",
            "Stop that guest first (this one: encoderd-host stop).",
        )
    yield from _little_space(image)


def _missing(check: str, file: FileFacts, remedy: str) -> Iterator[Finding]:
    if file.kind is FileKind.MISSING:
        yield failed(check, f"{file.path} does not exist", f"Correct the path; {remedy}")
    elif file.kind is FileKind.OTHER:
        yield failed(check, f"{file.path} is {file.kind}", "Name the image file itself.")


def _wrong_format(image: ImageFacts) -> Iterator[Finding]:
    path, wanted, found = image.file.path, image.settings.format, image.format
    if not found or found == wanted:
        return
    if wanted == "raw" and found == "qcow2":
        yield failed(
            "disk",
            f"{path} is set as raw and holds a qcow2 image: made by qemu-img, or written there by a guest that "
            "wants to choose which of the host's files it reads",
            f'If you made it so: format = "qcow2". If not, do not start it; look: qemu-img info -f qcow2 {path}',
        )
    elif wanted == "qcow2" and found == "raw":
        yield failed(
            "disk",
            f"{path} is set as qcow2, and its first bytes are not those of one",
            f'If it is a raw image: format = "raw"; else convert it: qemu-img convert -O qcow2 {path} NEW',
        )
    elif wanted == "qcow2" or found in {"gzip", "xz", "zstd"}:
        convert = "Unpack it first." if found in {"gzip", "xz", "zstd"} else ""
        yield failed(
            "disk",
            f"{path} is set as {wanted} and holds {found}",
            convert or f"Convert it: qemu-img convert -f {found} -O qcow2 {path} NEW",
        )
    elif found != "luks":  # a guest may well encrypt the whole of its raw disk
        yield warned("disk", f"{path} is set as raw and begins like {found}", f"Look: qemu-img info -f {found} {path}")


def _bad_header(image: ImageFacts) -> Iterator[Finding]:
    path, header = image.file.path, image.header
    assert header is not None
    repair = f"Restore it from a backup, or try: qemu-img check -r all {path}"
    if header.broken:
        yield failed("disk", f"{path} is broken: {header.broken}", repair)
    if header.corrupt:
        yield failed("disk", f"{path} is marked corrupt: QEMU refuses to write to it", repair)
    if header.encrypted:
        yield failed(
            "disk",
            f"{path} is encrypted, and nobody is there to type its password",
            f"Use an image without it: qemu-img convert -O qcow2 {path} NEW",
        )
    if image.broken_chain:
        yield failed(
            "disk",
            image.broken_chain,
            f"Put the file there, or name its new place: qemu-img rebase -u -F FORMAT -b FILE {path}",
        )
    if image.unformatted:
        yield warned(
            "disk",
            f"{image.unformatted} does not say its backing file's format, so QEMU guesses it from what a guest wrote",
            f"Say it: qemu-img rebase -u -F FORMAT -b FILE {image.unformatted}",
        )


def _little_space(image: ImageFacts) -> Iterator[Finding]:
    if image.free_bytes is None or image.settings.read_only:
        return
    if image.free_bytes < _LEAST_FREE_BYTES:
        yield warned(
            "disk",
            f"{image.file.path}: its file system has {_gib(image.free_bytes)} left; the guest stops when it is full",
            "Make room there.",
        )
    full = image.header.virtual_bytes if image.header is not None else image.file.size_bytes
    missing = full - (image.allocated_bytes or 0)
    if missing > image.free_bytes:
        yield warned(
            "disk",
            f"{image.file.path} can grow by {_gib(missing)}, and its file system has {_gib(image.free_bytes)} left",
            "Watch it, or make room there.",
        )


def kernel_findings(kernel: FileFacts | None, initrd: FileFacts | None) -> list[Finding]:
    """Judge the kernel that is started directly, if one is."""
    if kernel is None:
        return []
    for file in filter(None, (kernel, initrd)):
        for trouble in _missing("kernel_image", file, "ls /boot shows the host's own"):
            return [trouble]
        if file.usable is False:
            return [failed("kernel_image", f"{file.path}: this user may not read it", f"chmod a+r {file.path}")]
        if file.size_bytes == 0:
            return [failed("kernel_image", f"{file.path} is empty", "Copy it anew.")]
    # A bzImage has "HdrS" at 0x202 (x86/boot.rst); QEMU takes an ELF file for PVH, and others are refused at the start.
    if kernel.head[0x202:0x206] != b"HdrS" and not kernel.head.startswith(b"\x7fELF"):
        return [failed("kernel_image", f"{kernel.path} is no Linux kernel for x86", "Name a bzImage: /boot/vmlinuz-…")]
    if "-cloud-" in kernel.path:  # Debian's config-6.1-cloud-amd64: CONFIG_DRM is not set
        return [
            warned(
                "kernel_image",
                f"{kernel.path} is a kernel for clouds, which has no driver for a GPU",
                "Name the ordinary one; in the guest: apt install linux-image-amd64 firmware-misc-nonfree",
            )
        ]
    return [passed("kernel_image", kernel.path + (f" with {initrd.path}" if initrd is not None else ""))]


def firmware_findings(code: FileFacts, template: FileFacts, own: FileFacts, settings: HostSettings) -> list[Finding]:
    """
    Judge OVMF's two files and the VM's own copy of the variables.

    The two were cut from one flash image of 2 or 4 MiB, so only a pair adds up to that: Debian's ovmf README.
    """
    if settings.vm.firmware == "bios":
        return [passed("firmware", "SeaBIOS, which is part of QEMU")]
    install = "install OVMF (Debian: apt install ovmf), or set uefi_code and uefi_vars to where it is"
    for file in (code, template):
        for trouble in _missing("firmware", file, install):
            return [trouble]
        if file.usable is False:
            return [failed("firmware", f"{file.path}: this user may not read it", f"chmod a+r {file.path}")]
    total = code.size_bytes + template.size_bytes
    if total == 0 or total & (total - 1):
        return [
            failed(
                "firmware",
                f"{code.path} ({code.size_bytes} bytes) and {template.path} ({template.size_bytes}) are no pair",
                "Name two of the same size: OVMF_CODE_4M.fd with OVMF_VARS_4M.fd.",
            )
        ]
    if own.kind is FileKind.FILE and own.size_bytes != template.size_bytes:
        return [
            failed(
                "firmware",
                f"{own.path} ({own.size_bytes} bytes) was made for another firmware ({template.size_bytes} bytes)",
                f"Delete it; a new one is made at the next start: rm {own.path}",
            )
        ]
    if "secboot" in code.path or ".ms." in code.path:
        return [
            warned("firmware", f"{code.path} checks signatures (Secure Boot) and needs SMM", "Name OVMF_CODE_4M.fd.")
        ]
    return [passed("firmware", f"{code.path} with {template.path}")]


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
