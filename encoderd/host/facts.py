"""What this host is and who uses it: all facts that the checks judge, read and never written."""

from __future__ import annotations

from dataclasses import dataclass

from encoderd.host.gpu_facts import GpuFacts, gpu_facts
from encoderd.host.guest_needs import NeedsFacts, needs_facts
from encoderd.host.platform import PlatformFacts, platform_facts
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings
from encoderd.host.usage import UsageFacts, usage_facts
from encoderd.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """
    The host as found: what it is, its GPU, who uses that, and what the guest needs beside it.

    `live` is False for a recorded host, of which only files were read.
    """

    platform: PlatformFacts
    gpu: GpuFacts
    usage: UsageFacts
    needs: NeedsFacts
    live: bool


def gather(root: Root, settings: HostSettings, *, live: bool, qemu: QemuProperties | None = None) -> HostFacts:
    """
    Read the host below `root`; what cannot be read counts as absent.

    Only a live host is touched beyond its files: /dev/kvm is opened, and QEMU is started once, stopped, with KVM;
    neither where the settings do without KVM.
    `qemu` is what this host's QEMU says of itself, where it was asked already.
    """
    gpu = gpu_facts(root, settings.gpu, settings.vm.profile)
    kvm = settings.vm.accelerator == "kvm"
    return HostFacts(
        platform=platform_facts(root, live=live and kvm, qemu=settings.vm.qemu, cpu=settings.vm.cpu),
        gpu=gpu,
        usage=usage_facts(root, gpu),
        needs=needs_facts(root, settings, live=live, qemu=qemu),
        live=live,
    )
