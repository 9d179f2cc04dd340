"""
Settings of the helper on the host: the VM, the GPU it gets, what else it gets, and how long each step may take.

Precedence: environment `ENCODERD_HOST_SECTION__KEY`, file (TOML), default. `config/encoderd-host.toml` shows every
setting with its default and one sentence; a test holds the two together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from encoderd.errors import SettingsError
from encoderd.host import settings_rules as rules
from encoderd.settings_errors import explain, unknown_environment

DEFAULT_FILE = Path("/etc/encoderd/encoderd-host.toml")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,30}$")]
Seconds = Annotated[float, Field(ge=0.05, le=86_400)]
HostCpu = Annotated[int, Field(ge=0, le=65_535)]
Text = Annotated[str, AfterValidator(rules.printable)]
Absolute = Annotated[Path, AfterValidator(rules.absolute)]
Properties = Annotated[dict[str, Text | int | bool], BeforeValidator(rules.properties)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class VmSettings(Section):
    """The virtual machine itself."""

    name: Name = Field("encoderd", description="Name of the VM; its files are in run_dir/NAME and state_dir/NAME.")
    profile: Literal["headless", "blog-2014", "vf", "display"] = Field(
        "headless", description="How the guest gets the GPU; headless is right unless you know why not."
    )
    faithful: bool = Field(False, description="blog-2014 only: x-vga, kvm=off and +x2apic too, as in 2014.")
    qemu: Absolute = Field(Path("/usr/bin/qemu-system-x86_64"), description="The QEMU to start.")
    accelerator: Literal["kvm", "tcg"] = Field("kvm", description="kvm; tcg emulates the processor, for tests.")
    cpu: Text = Field(
        "auto", min_length=1, description="CPU model; auto is the host's own, with a fallback where KVM refuses it."
    )
    cpus: int = Field(4, ge=1, le=256, description="Virtual CPUs.")
    pin_cpus: tuple[HostCpu, ...] = Field(
        (), description="Host CPUs to pin the virtual ones to, one each; empty: no pinning."
    )
    memory_mib: int = Field(
        4096, ge=64, le=4_194_304, description="Memory; all of it is pinned while a device is passed through."
    )
    hugepages: bool = Field(False, description="Take the memory from reserved huge pages.")
    firmware: Literal["bios", "uefi"] = Field(
        "bios", description="SeaBIOS, or OVMF with a private copy of its variables."
    )
    uefi_code: Absolute = Field(
        Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), description="OVMF's code, shared and read-only."
    )
    uefi_vars: Absolute = Field(
        Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        description="Template of OVMF's variables; copied to state_dir/NAME/vars.fd.",
    )
    kernel: Absolute | None = Field(None, description="Boot this kernel directly instead of from a disk.")
    initrd: Absolute | None = Field(None, description="Its initial RAM disk.")
    kernel_arguments: Text = Field("", description="Its command line.")
    guest_agent: bool = Field(True, description="Give the guest a port for qemu-guest-agent.")
    health_port: bool = Field(True, description="Give the guest a port on which its daemon tells how it is.")
    run_dir: Absolute = Field(Path("/run/encoderd-host"), description="Folder for sockets and what is running now.")
    state_dir: Absolute = Field(Path("/var/lib/encoderd-host"), description="Folder for journals and logs.")
    extra_args: tuple[Text, ...] = Field(
        (), description="Further arguments, at the end of QEMU's command line, as they are."
    )

    _check_extra = field_validator("extra_args")(rules.extra_args)

    @model_validator(mode="after")
    def _adds_up(self) -> VmSettings:
        found = rules.vm_contradiction(self)
        if found:
            raise ValueError(found)
        return self


class GpuSettings(Section):
    """The GPU."""

    address: str = Field(
        "auto", description='PCI address, "auto" (the integrated GPU; for vf its first free function) or "none".'
    )
    after: Literal["host-driver", "keep-vfio"] = Field(
        "host-driver", description="When the VM has ended: give the GPU back to its driver, or leave it with vfio-pci."
    )
    allow_console_loss: bool = Field(False, description="Take the GPU even if the host's only console is on it.")
    stand_in: bool = Field(False, description="Accept a display device that is not Intel's; for tests.")
    properties: Properties = Field(
        default_factory=dict, description="Further properties of its vfio-pci device, as QEMU spells them."
    )

    _check_address = field_validator("address")(rules.gpu_address)


class PciSettings(Section):
    """One more PCI device for the guest: a tuner, a USB controller."""

    address: str = Field(description="PCI address, as lspci -D shows it.")
    properties: Properties = Field(default_factory=dict, description="Further properties of its vfio-pci device.")

    _check_address = field_validator("address")(rules.pci_address)


class UsbSettings(Section):
    """One USB device for the guest: by the port it is plugged into (it survives a new firmware), or by its ids."""

    port: str | None = Field(None, description='BUS-PORT as in sysfs, for example "1-4.2".')
    id: str | None = Field(None, description='VENDOR:PRODUCT in hexadecimal, for example "0bda:2838".')

    @field_validator("port")
    @classmethod
    def _check_port(cls, port: str | None) -> str | None:
        return None if port is None else rules.usb_port(port)

    @field_validator("id")
    @classmethod
    def _check_id(cls, identity: str | None) -> str | None:
        return None if identity is None else rules.usb_id(identity)

    @model_validator(mode="after")
    def _named_once(self) -> UsbSettings:
        if (self.port is None) == (self.id is None):
            raise ValueError("name the device by port or by id, one of the two")
        return self


class DiskSettings(Section):
    path: Absolute = Field(description="Image file or block device.")
    format: Literal["qcow2", "raw"] = Field("qcow2", description="Format of the image.")
    read_only: bool = Field(False, description="The guest cannot write to it.")


class NetworkSettings(Section):
    mode: Literal["user", "bridge", "tap"] = Field(
        "user", description="user needs nothing of the host; bridge and tap do."
    )
    bridge: str = Field("br0", description="For bridge: the host's bridge, allowed in /etc/qemu/bridge.conf.")
    tap: str = Field("tap0", description="For tap: an existing tap device.")
    mac: str = Field("auto", description="MAC address; auto derives a fixed one from the VM's name.")
    forwards: tuple[str, ...] = Field((), description='For user: "HOSTPORT:GUESTPORT", listened to on 127.0.0.1 only.')

    _check_interfaces = field_validator("bridge", "tap")(rules.interface)
    _check_mac = field_validator("mac")(rules.mac)
    _check_forwards = field_validator("forwards")(rules.forwards)


class ShareSettings(Section):
    path: Absolute = Field(description="Folder of the host.")
    tag: Name = Field(description="Name under which the guest mounts it.")
    type: Literal["virtiofs", "9p"] = Field("virtiofs", description="virtiofs needs virtiofsd; 9p is in QEMU.")
    read_only: bool = Field(False, description="The guest cannot write to it (9p; virtiofsd: where it can).")


class LimitSettings(Section):
    """How long each step may take."""

    take_s: Seconds = Field(30, description="Taking a device from its driver.")
    give_s: Seconds = Field(15, description="Giving it back.")
    qmp_s: Seconds = Field(
        30, description="From QEMU's start to its first word; four times that with passed-through devices."
    )
    agent_s: Seconds = Field(180, description="From there until the guest agent answers; later is only said.")
    health_s: Seconds = Field(
        60, description="From there until the guest's daemon tells that it is well; later is only said."
    )
    silence_s: Seconds = Field(
        10, description="Without a word from the guest's daemon for this long it counts as silent."
    )
    shutdown_s: Seconds = Field(60, description="After asking the guest agent to shut down.")
    powerdown_s: Seconds = Field(30, description="After each of two presses of the power button.")
    quit_s: Seconds = Field(10, description="After telling QEMU to quit.")
    terminate_s: Seconds = Field(10, description="After SIGTERM.")
    kill_s: Seconds = Field(30, description="After SIGKILL.")
    per_device_s: Seconds = Field(2, description="More for quit, SIGTERM and SIGKILL, per passed-through device.")


class HostSettings(BaseSettings):
    """All settings of `encoderd-host`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=True, env_prefix="ENCODERD_HOST_", env_nested_delimiter="__"
    )

    vm: VmSettings = Field(default_factory=VmSettings)
    gpu: GpuSettings = Field(default_factory=GpuSettings)
    pci: tuple[PciSettings, ...] = ()
    usb: tuple[UsbSettings, ...] = ()
    disk: tuple[DiskSettings, ...] = ()
    network: tuple[NetworkSettings, ...] = ()
    share: tuple[ShareSettings, ...] = ()
    limits: LimitSettings = Field(default_factory=LimitSettings)

    @model_validator(mode="after")
    def _adds_up(self) -> HostSettings:
        found = rules.contradiction(self)
        if found:
            raise ValueError(found)
        return self

    @property
    def run_folder(self) -> Path:
        """Where this VM's sockets are: qmp.sock, agent.sock, health.sock, serial.sock, state.json, lock, serial.log."""
        return self.vm.run_dir / self.vm.name

    @property
    def state_folder(self) -> Path:
        """Where this VM's lasting files are: qemu.log, vars.fd."""
        return self.vm.state_dir / self.vm.name


def load(file: Path | None = None, arguments: Mapping[str, Any] | None = None) -> HostSettings:
    """
    Read the settings from `file` (None: no file), the environment and `arguments` ({"vm": {"cpus": 2}}).

    Raises:
        SettingsError: the file is missing, is not TOML, or any value is wrong; the message names key and cause.
    """
    remedy = f"Correct {file or 'the settings'}, then: encoderd-host config check"
    if file is not None and not file.is_file():
        raise SettingsError(
            f"There is no settings file {file}.",
            remedy=f"Copy config/encoderd-host.toml to {DEFAULT_FILE}, or name yours with --config",
        )
    strangers = unknown_environment(os.environ, HostSettings, "ENCODERD_HOST_")
    if strangers:
        raise SettingsError(strangers, remedy="Unset or rename the variable.")

    class _Loaded(HostSettings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
            sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
            if file is not None:
                sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
            return tuple(sources)

    try:
        return _Loaded(**dict(arguments or {}))
    except ValidationError as error:
        raise SettingsError(explain(error, HostSettings), remedy=remedy) from None
    except (ValueError, OSError) as error:  # TOML syntax, JSON in the environment, an unreadable file
        raise SettingsError(f"The settings cannot be read: {error}", remedy=remedy) from error
