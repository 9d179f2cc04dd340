"""Is there an Intel GPU, does the kernel drive it, and may this user open its render node? In the order of repair."""

from __future__ import annotations

from encoderd.findings import Finding, Verdict, failed, passed
from encoderd.pci import PciDevice
from encoderd.preflight.facts import GpuFacts, RenderNode
from encoderd.preflight.gpus import NEW_RUNTIME, OLD_RUNTIME, gpu_for
from encoderd.preflight.machine import DRIVERS, Machine
from encoderd.preflight.packages import Part, how_to_get


def judge_device(facts: GpuFacts) -> list[Finding]:
    """
    Return the chain gpu_device → kernel → driver → render_node → permission, up to its first broken link.

    What lies behind a broken link follows from it, and would only repeat it.
    """
    device = facts.device
    if device is None:
        return [_no_gpu(facts)]
    findings = [passed("gpu_device", _named(found)) for found in facts.intel]
    for judge in (_kernel, _driver, _render_node, _permission):
        findings.append(judge(facts, device))
        if findings[-1].verdict is Verdict.FAIL:
            break
    return findings


def _named(device: PciDevice) -> str:
    gpu = gpu_for(device.device)
    return f"{device.address} " + (gpu.text if gpu else f"Intel {device.ids}, newer than the table of this version")


def _no_gpu(facts: GpuFacts) -> Finding:
    seen = ", ".join(f"{device.address} {device.ids}" for device in facts.displays) or "no display device at all"
    if facts.machine.container:
        remedy = "Give the container the GPU: --device /dev/dri, and on the machine itself see that /dev/dri is there"
    elif facts.machine.virtual:
        remedy = "Start the VM with the GPU passed through; on the host: encoderd-host check"
    else:
        remedy = "Enable the GPU in the firmware setup; in a VM, pass it through: on the host, encoderd-host check"
    return failed("gpu_device", f"no Intel display device in this machine ({seen})", remedy)


def _wanted(device: PciDevice) -> tuple[str, ...]:
    gpu = gpu_for(device.device)
    return gpu.generation.drivers if gpu is not None else DRIVERS


def _kernel(facts: GpuFacts, device: PciDevice) -> Finding:
    """Has the kernel a driver for this GPU, and is it allowed to load it?"""
    machine, wanted = facts.machine, _wanted(device)
    kernel = f"kernel {machine.release or 'of unknown version'}"
    if device.driver in wanted:
        return passed("kernel", kernel)
    lacks = machine.drivers is not None and not machine.drivers & set(wanted)
    if lacks or (machine.for_clouds and machine.drivers is None):
        return failed(
            "kernel",
            f"{kernel} has no {' or '.join(wanted)}" + (": it is made for clouds" if machine.for_clouds else ""),
            how_to_get(Part.KERNEL, machine.distribution),
        )
    for obstacle in machine.obstacles:
        if wanted[0] in obstacle.drivers:
            return failed(
                "kernel",
                f"{obstacle.text!r} in {obstacle.place} keeps {wanted[0]} from loading",
                f"Remove {obstacle.text!r} from {obstacle.place}, {_rebuild(machine, obstacle.place)}, reboot",
            )
    return passed("kernel", kernel)


def _rebuild(machine: Machine, place: str) -> str:
    if place.startswith("/"):
        return "dracut -f" if "fedora" in machine.distribution.likes else "update-initramfs -u"
    return "which is /etc/default/grub (GRUB_CMDLINE_LINUX…), update-grub"


def _driver(facts: GpuFacts, device: PciDevice) -> Finding:
    """Is the right driver bound?"""
    machine, wanted = facts.machine, _wanted(device)
    if device.driver in wanted:
        return passed("driver", f"{device.driver} drives {device.address}")
    place = f"/sys/bus/pci/devices/{device.address}"
    if device.driver is not None:
        return failed(
            "driver",
            f"{device.address} is held by {device.driver}, not by {' or '.join(wanted)}",
            f"echo > {place}/driver_override; echo {device.address} > {place}/driver/unbind; "
            f"modprobe {wanted[0]}; echo {device.address} > /sys/bus/pci/drivers_probe",
        )
    gpu = gpu_for(device.device)
    if gpu is not None and (0, 0) < machine.kernel < gpu.generation.kernel:
        needs = "{}.{}".format(*gpu.generation.kernel)
        return failed(
            "driver",
            f"nothing drives {device.address}: {gpu.name} ({gpu.generation.name}) needs kernel {needs}, "
            f"this is {machine.release}",
            f"{how_to_get(Part.NEWER_KERNEL, machine.distribution)}; or try {wanted[0]}.force_probe="
            f"{gpu.device_id:04x} on the kernel command line",
        )
    if device.bar_bytes == ():
        return failed(
            "driver",
            f"{device.address} has no memory window: the VM's firmware found no room for its BARs",
            "Start the VM with OVMF and a larger 64-bit window, see encoderd-host check on the host",
        )
    return failed(
        "driver",
        f"nothing drives {device.address} ({device.ids})",
        f"modprobe {wanted[0]}; if it stays so: dmesg | grep -iE '{'|'.join(wanted)}'",
    )


def _render_node(facts: GpuFacts, device: PciDevice) -> Finding:
    node = facts.node
    if node is not None:
        others = [f"{other.path} ({other.driver or 'no driver'})" for other in facts.render_nodes if other is not node]
        text = f"{node.path} is that of {_named(device)}"
        return passed("render_node", text + (f"; not used: {', '.join(others)}" if others else ""))
    found = ", ".join(f"/dev/dri/{name}" for name in facts.dri) or "nothing under /dev/dri"
    if facts.machine.container:
        remedy = "Give the container the node: --device /dev/dri"
    else:
        remedy = f"udevadm trigger; if it stays so: dmesg | grep -iE '{'|'.join(_wanted(device))}|drm'"
    return failed("render_node", f"{device.address} has no render node ({found})", remedy)


def _permission(facts: GpuFacts, device: PciDevice) -> Finding:
    node = facts.node
    assert node is not None
    if not node.error:
        return passed("permission", f"{facts.user} opens {node.path} read-write ({node.owner})")
    evidence = f"{node.path} ({node.owner or 'owner unknown'}) does not open for {facts.user}: {node.error}"
    gpu, kinds = gpu_for(device.device), {runtime.kind for runtime in facts.runtimes}
    if gpu is not None and NEW_RUNTIME in gpu.generation.runtimes and {NEW_RUNTIME, OLD_RUNTIME} <= kinds:
        evidence += "; until it does, libmfxhw64 answers instead of libmfx-gen and refuses every setting"
    return failed("permission", evidence, _way_in(facts, node))


def _way_in(facts: GpuFacts, node: RenderNode) -> str:
    """Return what opens this node to this user; the error tells a group, a sandbox and a dead device apart."""
    if node.error == "EPERM":
        return "In the unit: DeviceAllow=char-drm rw (systemctl edit encoderd, then restart it)"
    if node.error != "EACCES":
        return "The device behind this node is gone: see dmesg, restart this guest"
    group = node.group
    mode = node.owner.rpartition(" ")[2]
    if group in {"", "root", "0"} or (len(mode) == 4 and int(mode, 8) & 0o060 != 0o060):
        return f"chgrp render {node.path} && chmod 0660 {node.path}, and look why udev did not (apt install udev)"
    if node.listed and not node.held:
        return f"{facts.user} is in {group}, but this process began before: systemctl restart encoderd, or log in again"
    return f"usermod -aG {group} {facts.user}; in the unit: SupplementaryGroups={group}; systemctl restart encoderd"
