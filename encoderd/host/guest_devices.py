"""The guest's ordinary devices, each in its fixed place: disks, network cards, USB, randomness, the panic notifier."""

from __future__ import annotations

import hashlib

from encoderd.host import profiles
from encoderd.host.profiles import Option, spelt
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import DiskSettings, HostSettings, NetworkSettings, UsbSettings


def small_devices(settings: HostSettings, qemu: QemuProperties) -> list[Option]:
    """Return a source of randomness, and a bell for the guest's kernel to ring when it panics."""
    bus = profiles.root_bus(settings)
    options: list[Option] = [("-device", f"virtio-rng-pci,id=rng0,bus={bus},addr={profiles.RNG_SLOT:02x}.0")]
    if qemu.has("pvpanic-pci"):
        options.append(("-device", f"pvpanic-pci,id=panic0,bus={bus},addr={profiles.PANIC_SLOT:02x}.0"))
    return options


def disk(settings: HostSettings, number: int, disk: DiskSettings) -> list[Option]:
    """A block device is a host_device to QEMU, and is known by its folder: the disk itself is not looked at here."""
    in_dev = disk.path.is_relative_to("/dev") and not disk.path.is_relative_to("/dev/shm")
    driver = "host_device" if in_dev else "file"
    common = f"read-only={spelt(disk.read_only)},discard=unmap,cache.direct=off,cache.no-flush=off"
    place = f"bus={profiles.root_bus(settings)},addr={profiles.DISK_SLOT + number:02x}.0"
    boot = f",bootindex={number + 1}" if settings.vm.kernel is None else ""
    return [
        ("-blockdev", f"driver={driver},node-name=disk{number}-file,filename={spelt(str(disk.path))},{common}"),
        ("-blockdev", f"driver={disk.format},node-name=disk{number},file=disk{number}-file,{common}"),
        ("-device", f"virtio-blk-pci,id=virtio-disk{number},drive=disk{number},serial=disk{number},{place}{boot}"),
    ]


def network(settings: HostSettings, number: int, network: NetworkSettings) -> list[Option]:
    """romfile=: nobody boots from the network, and the ROM's package may not be installed."""
    if network.mode == "user":
        ports = [forward.split(":") for forward in network.forwards]
        back = "user" + "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for host, guest in ports)
    elif network.mode == "bridge":
        back = f"bridge,br={network.bridge}"
    else:
        back = f"tap,ifname={network.tap},script=no,downscript=no"
    address = network.mac if network.mac != "auto" else fixed_mac(settings.vm.name, number)
    place = f"bus={profiles.root_bus(settings)},addr={profiles.NETWORK_SLOT + number:02x}.0"
    return [
        ("-netdev", f"{back},id=net{number}"),
        ("-device", f"virtio-net-pci,id=nic{number},netdev=net{number},mac={address},{place},romfile="),
    ]


def usb(settings: HostSettings) -> list[Option]:
    """Return the USB controller and the devices on it; nothing where there is none."""
    if not settings.usb:
        return []
    place = f"bus={profiles.root_bus(settings)},addr={profiles.USB_SLOT:02x}.0"
    return [
        ("-device", f"qemu-xhci,id=xhci,p2=15,p3=15,{place}"),
        *(("-device", _usb_host(number, device)) for number, device in enumerate(settings.usb)),
    ]


def _usb_host(number: int, device: UsbSettings) -> str:
    """By port: an address changes whenever the device comes back, and a tuner's ids when its firmware is loaded."""
    if device.port is not None:
        bus, _, port = device.port.partition("-")
        which = f"hostbus={bus},hostport={port}"
    else:
        vendor, _, product = str(device.id).partition(":")
        which = f"vendorid=0x{vendor},productid=0x{product}"
    return f"usb-host,id=usb{number},bus=xhci.0,port={number + 1},{which}"


def fixed_mac(name: str, number: int = 0) -> str:
    """
    Return the MAC address of the VM's network card `number`, the same for ever.

    52:54:00 is what QEMU uses itself; its second bit says that the address was given locally. The rest is a hash.
    """
    digest = hashlib.sha256(f"{name}/{number}".encode()).digest()
    return ":".join(["52", "54", "00", *(f"{byte:02x}" for byte in digest[:3])])
