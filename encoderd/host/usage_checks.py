"""
May the GPU and the other devices be taken from the host now? Every FAIL here forbids it.

From facts to findings, in the order in which one repairs: what can never go, who else disposes of it, who uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from encoderd.errors import SettingsError
from encoderd.findings import Finding, failed, passed, warned
from encoderd.host.cgroups import how_to_stop
from encoderd.host.consoles import ConsoleFacts
from encoderd.host.gpu_facts import GpuFacts
from encoderd.host.lifelines import Lifeline, Stake
from encoderd.host.other_managers import Claim
from encoderd.host.processes import Opener, minds_unbinding
from encoderd.host.settings import HostSettings
from encoderd.host.usage import UsageFacts
from encoderd.pci import PciAddress, PciDevice

_BRIDGES = 0x06

#: How many users one line names.
_MOST_NAMED = 6


def usage_findings(usage: UsageFacts, gpu: GpuFacts, settings: HostSettings) -> list[Finding]:
    """Return the judgement of every use of the GPU, of the devices of [[pci]], and of their IOMMU groups."""
    further = further_devices(usage, settings)
    taken = [*([gpu.gpu] if gpu.gpu is not None else []), *gpu.members]
    taken += [device for device in further if device not in taken]
    if not taken:
        return []
    findings = [*_lifelines(usage, taken), *_other_managers(usage, gpu.gpu, taken, settings)]
    if gpu.gpu is not None:
        findings.append(_virtual_functions(usage, taken))
    findings += _vfio_holders(usage, taken)
    if gpu.gpu is not None:
        findings += _gpu_users(usage, [gpu.gpu, *gpu.members])
        if usage.console is not None:
            findings.append(_console(usage.console, gpu.gpu, settings))
    findings += _device_users(usage, [device for device in further if device not in (gpu.gpu, *gpu.members)])
    findings += _vfio_nodes(usage, taken)
    return findings


def further_devices(usage: UsageFacts, settings: HostSettings) -> list[PciDevice]:
    """Return the devices of [[pci]] that exist, and what must go with them: the other endpoints of their groups."""
    asked = [usage.device(address) for address in addresses_asked(settings)]
    found = [device for device in asked if device is not None]
    groups = {device.iommu_group for device in found} - {None}
    return found + [
        device
        for device in usage.devices
        if device.iommu_group in groups and device not in found and device.class_code >> 16 != _BRIDGES
    ]


def addresses_asked(settings: HostSettings) -> list[PciAddress]:
    """Return the addresses of [[pci]] that are well written; the settings' own check refuses the others."""
    found = []
    for device in settings.pci:
        try:
            found.append(PciAddress.parse(device.address))
        except SettingsError:
            continue
    return found


# --- what the host lives on


def _lifelines(usage: UsageFacts, taken: Iterable[PciDevice]) -> Iterator[Finding]:
    fine = True
    for device in taken:
        lines = [line for line in usage.lifelines if line.is_on_pci(device.address)]
        if lines:
            fine = False
            yield lifeline_finding("lifelines", f"{device.address} [{device.ids}]", lines)
    if fine:
        yield passed("lifelines", "no disk, network or keyboard of the host is on what the guest gets")


def lifeline_finding(check: str, device: str, lines: list[Lifeline]) -> Finding:
    """Judge what a device carries for the host; `lines` has the vital ones first."""
    carried = "; ".join(line.what for line in lines)
    if any(line.stake is Stake.DISK for line in lines):
        return failed(
            check,
            f"{device} carries a disk that the host uses: {carried}",
            "Take it out of the settings; or move the data to another disk, unmount this one and start anew.",
        )
    if any(line.stake is Stake.ROUTE for line in lines):
        return failed(
            check,
            f"{device} carries the host's way into the network: {carried}",
            "Take it out of the settings; or give the host another default route first.",
        )
    if any(line.stake is Stake.LINK for line in lines):
        return warned(check, f"{device} carries a network of the host: {carried}", "See that you can do without it.")
    return warned(
        check, f"{device} carries {carried}: it does nothing on the host while the guest runs", "Have ssh at hand."
    )


# --- who else disposes of it


def _other_managers(
    usage: UsageFacts, gpu: PciDevice | None, taken: list[PciDevice], settings: HostSettings
) -> Iterator[Finding]:
    found = [claim for claim in usage.claims if _concerns(claim, usage, gpu, taken, settings)]
    if not found:
        yield passed("other_managers", "nothing else on this host disposes of these devices")
    for claim in found:
        yield _claim(claim, keeps_vfio=settings.gpu.after == "keep-vfio")


def _concerns(
    claim: Claim, usage: UsageFacts, gpu: PciDevice | None, taken: list[PciDevice], settings: HostSettings
) -> bool:
    if claim.driver:  # kept off the host: matters only to a GPU that shall go back to it
        goes_back = gpu is not None and gpu.is_intel_display and settings.gpu.after == "host-driver"
        return goes_back and gpu is not None and gpu.driver in {claim.driver, None, "vfio-pci"}
    if claim.nodes:
        return any(node == named or node.startswith(f"{named}/") for named in claim.nodes for node in usage.gpu_nodes)
    return any(device.address in claim.addresses or device.ids in claim.ids for device in taken)


def _claim(claim: Claim, *, keeps_vfio: bool) -> Finding:
    evidence = f"{claim.who}: {claim.says} ({claim.where})"
    if claim.driver:
        return warned(
            "other_managers",
            f"{evidence}: the GPU cannot be given back to a driver that is kept out",
            'Delete that, or set after = "keep-vfio" below [gpu].',
        )
    match claim.who:
        case "driverctl" | "vfio-pci":
            if keeps_vfio:
                return passed("other_managers", f"{evidence}, as after = keep-vfio wants it")
            undo = (
                f"driverctl unset-override {claim.addresses[0]}" if claim.addresses else f"delete it in {claim.where}"
            )
            return warned(
                "other_managers",
                f"{evidence}: it is pinned, so it stays without its driver after the next boot",
                f'Undo it ({undo}), or set after = "keep-vfio" below [gpu].',
            )
        case "libvirt":
            return warned("other_managers", evidence, "Never start both; virsh edit takes the device out of the other.")
        case _:
            return warned("other_managers", evidence, "Never start both; take the device out of the other's settings.")


# --- who uses it


def _virtual_functions(usage: UsageFacts, taken: list[PciDevice]) -> Finding:
    addresses = {device.address for device in taken}
    for address, count in usage.virtual_functions:
        if address in addresses:
            return failed(
                "virtual_functions",
                f"{address} has {count} virtual functions switched on, which would vanish under their users",
                f"Stop what uses them, then: echo 0 > /sys/bus/pci/devices/{address}/sriov_numvfs; "
                'or give the guest one of them: profile = "vf" below [vm].',
            )
    for address, name in usage.mediated:
        if address in addresses:
            return failed(
                "virtual_functions",
                f"{address} has a mediated device (GVT-g): {name}",
                f"Stop the guest that uses it, then: echo 1 > /sys/bus/mdev/devices/{name}/remove",
            )
    return passed("virtual_functions", "none is switched on")


def _vfio_holders(usage: UsageFacts, taken: list[PciDevice]) -> Iterator[Finding]:
    by_group: dict[int | None, tuple[PciAddress, ...]] = {}
    for device in taken:
        by_group[device.iommu_group] = (*by_group.get(device.iommu_group, ()), device.address)
    named: set[int] = set()
    for group, addresses in by_group.items():
        found = [opener for opener in usage.holders_of(group, addresses) if opener.pid not in named]
        if found:
            named |= {opener.pid for opener in found}
            shown = f"group {group}" if group is not None else ", ".join(map(str, addresses))
            yield failed(
                "vfio_holder",
                f"{shown} is held through VFIO by {_named(found)}",
                f"Stop that guest (this one: encoderd-host stop; another: {_stops(found)}). Unbinding now would hang.",
            )
    if named:
        return
    if usage.unseen and any(node.group in by_group for node in usage.vfio_nodes if node.group is not None):
        yield warned("vfio_holder", f"nobody as far as this user may see; {_hidden(usage)}", "Run this as root.")
    else:
        yield passed("vfio_holder", "nobody holds these devices through VFIO")


def _gpu_users(usage: UsageFacts, devices: list[PciDevice]) -> Iterator[Finding]:
    found = {device.address: usage.users_of(device.address) for device in devices}
    for address, users in found.items():
        if users:
            yield failed(
                "gpu_users",
                f"{address} is open in {_named(users)}; the kernel would take it away from under them",
                f"Stop them first: {_stops(users)}",
            )
    if any(found.values()):
        return
    if usage.unseen:
        yield warned("gpu_users", f"nobody as far as this user may see; {_hidden(usage)}", "Run this as root.")
    else:
        yield passed("gpu_users", "nobody has the GPU open")


def _device_users(usage: UsageFacts, devices: list[PciDevice]) -> Iterator[Finding]:
    for device in devices:
        users = usage.users_of(device.address)
        if not users:
            continue
        evidence = f"{device.address} [{device.ids}] is open in {_named(users)}"
        if not any(minds_unbinding(user) for user in users):
            yield warned("pci_users", f"{evidence}; to them it is unplugged")
        else:
            yield failed("pci_users", evidence, f"Stop them first: {_stops(users)}")


def _hidden(usage: UsageFacts) -> str:
    return f"{usage.unseen} process{'es hide their' if usage.unseen > 1 else ' hides its'} files"


def _named(openers: Iterable[Opener]) -> str:
    """Name each process once, with all that it has open."""
    open_in: dict[int, list[Opener]] = {}
    for opener in openers:
        open_in.setdefault(opener.pid, []).append(opener)
    shown = []
    for pid, mine in list(open_in.items())[:_MOST_NAMED]:
        container = f", {mine[0].container}" if mine[0].container else ""
        shown.append(f"{mine[0].name} (PID {pid}{container}: {', '.join(opener.node for opener in mine)})")
    more = len(open_in) - _MOST_NAMED
    return "; ".join(shown) + (f" and {more} more" if more > 0 else "")


def _stops(openers: Iterable[Opener]) -> str:
    return "; ".join(dict.fromkeys(how_to_stop(opener.container, opener.pid) for opener in openers))


# --- who looks at it


def _console(console: ConsoleFacts, gpu: PciDevice, settings: HostSettings) -> Finding:
    if gpu.driver == "vfio-pci":
        return passed("console", "the GPU is with vfio-pci already, no console is on it")
    monitors = f"a monitor on {', '.join(console.monitors)}" if console.monitors else ""
    elsewhere = ", ".join(str(device.address) for device in console.other_displays)
    seat = [console.display_manager] if console.display_manager else []
    seat += [f"a session of user {session}" for session in console.sessions]
    if seat and (console.monitors or (console.boot_vga and not elsewhere)):
        stop = f"systemctl stop {console.display_manager}" if console.display_manager else "log out there"
        return failed(
            "console",
            f"a graphical desktop is on the GPU ({', '.join([*seat, *([monitors] if monitors else [])])})",
            f"End it: {stop}; for good: systemctl set-default multi-user.target",
        )
    if not console.is_on_gpu and not console.monitors:
        return passed("console", "it is not on this GPU")
    what = ", ".join(filter(None, [*console.frame_buffers, *console.firmware_frame_buffers, monitors]))
    evidence = f"the host's console is on the GPU ({what or 'the firmware started with it'})"
    if console.connectors and not console.monitors and all(one.connected is False for one in console.connectors):
        return passed("console", f"{evidence}, but no monitor is connected")
    dark = f"{evidence}; it goes dark until the guest has ended"
    if elsewhere:
        return warned("console", f"{dark}, {elsewhere} stays")
    if console.serial:
        return warned("console", f"{dark}, {', '.join(console.serial)} stays")
    if settings.gpu.allow_console_loss:
        return warned("console", f"{dark}, which allow_console_loss permits", "Have ssh at hand.")
    return failed(
        "console",
        f"{dark}, and the host has no other",
        "See that you get in by ssh, then set allow_console_loss = true below [gpu].",
    )


# --- may this user open it


def _vfio_nodes(usage: UsageFacts, taken: list[PciDevice]) -> Iterator[Finding]:
    """A node exists only after taking; on a recorded host nobody can tell."""
    groups = {device.iommu_group for device in taken} - {None}
    mine = [node for node in usage.vfio_nodes if node.group in groups and node.usable is not None]
    shut = [node for node in mine if not node.usable]
    for node in shut:
        yield failed(
            "vfio_node",
            f"{node.path} is closed to this user (owner {node.user_id}:{node.group_id}, mode {node.mode:04o})",
            'Run this as root; or a udev rule: SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660", then udevadm trigger',
        )
    if mine and not shut:
        yield passed("vfio_node", f"{', '.join(node.path for node in mine)} can be opened")
