"""
Does KVM work? Two questions to a live host: what /dev/kvm answers, and whether QEMU can really start with it.

The second is not asked for nothing: KVM inside some other hypervisors answers well and then refuses the processor model
"host" (`failed to set MSR 0x10a`, seen with KVM under PVM), where a smaller model starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: _IO(KVMIO, 0x00) and the only answer there has been since Linux 2.6.22: linux/kvm.h, KVM's api.rst section 4.1.
_KVM_GET_API_VERSION = 0xAE00
_KVM_API_VERSION = 12

#: Tried in this order; the first that starts is the guest's. The later ones started where the first did not.
MODELS = ("host", "host,-arch-capabilities", "Haswell-noTSX")

_QUIT = b'{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n'
_MOST_MESSAGE = 400


class Kvm(StrEnum):
    """How /dev/kvm answers."""

    WORKS = "it answers"
    MISSING = "it does not exist"
    FORBIDDEN = "permission denied"
    BROKEN = "it does not answer as KVM does"
    NOT_TRIED = "not tried"  #: a recorded machine has no devices


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmStart:
    """
    What came of starting QEMU with KVM, once.

    `model` is the processor model that started, "" when none did; `refused` is what QEMU said of the first one that did
    not, "" when the first one did; `missing` when there is no such QEMU.
    """

    model: str
    refused: str = ""
    missing: bool = False


def kvm_answer(device: Path = Path("/dev/kvm")) -> Kvm:
    """Open the device and ask for its version: that the node exists proves nothing."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Kvm.MISSING
    except PermissionError:
        return Kvm.FORBIDDEN
    except OSError:
        return Kvm.BROKEN
    try:
        return Kvm.WORKS if fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0) == _KVM_API_VERSION else Kvm.BROKEN
    except OSError:
        return Kvm.BROKEN
    finally:
        os.close(descriptor)


def start_once(
    qemu: Path, *, accelerator: str = "kvm", models: Sequence[str] = MODELS, limit_s: float = 10.0
) -> KvmStart:
    """
    Start the smallest machine there is, stopped, and quit it; with the next model where QEMU refuses one.

    `limit_s` is for each start. Takes about 0.2 s where all is well. Changes nothing.
    """
    refused = ""
    for model in models:
        try:
            said = _try(start_argv(qemu, accelerator, model), limit_s)
        except FileNotFoundError:
            return KvmStart(model="", refused=f"{qemu} does not exist", missing=True)
        except OSError as error:
            return KvmStart(model="", refused=f"{qemu}: {error.strerror or error}", missing=True)
        if said is None:
            return KvmStart(model=model, refused=refused)
        refused = refused or f"{model}: {said}"
    return KvmStart(model="", refused=refused)


def start_argv(qemu: Path, accelerator: str, model: str) -> list[str]:
    """Return the command that `start_once` runs: no configuration, no devices, no picture, stopped."""
    return [
        str(qemu), "-no-user-config", "-nodefaults", "-display", "none", "-S",
        "-machine", f"q35,accel={accelerator}",
        "-cpu", model,
        "-m", "64",
        "-qmp", "stdio",
    ]  # fmt: skip


def _try(argv: list[str], limit_s: float) -> str | None:
    """Return None when it started and quit in peace, else what went wrong."""
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, error = process.communicate(_QUIT, timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel is left to it
            process.communicate(timeout=limit_s)
        return f"no answer within {limit_s:g} s"
    if process.returncode == 0 and b'"return"' in out:
        return None
    lines = [line.strip() for line in error.decode("utf-8", errors="replace").splitlines() if line.strip()]
    message = " / ".join(lines)[-_MOST_MESSAGE:]
    code = process.returncode
    end = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{message or 'no message'} ({end})"
