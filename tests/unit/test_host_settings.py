"""What the host's settings accept and refuse, and in which words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoderd.errors import ExitCode, SettingsError
from encoderd.host import settings_rules as rules
from encoderd.host.settings import HostSettings, load
from encoderd.pci import PciAddress


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("ENCODERD_")]:
        monkeypatch.delenv(variable)


def complaint(arguments: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(None, arguments)
    assert refused.value.exit_code is ExitCode.SETTINGS
    assert refused.value.remedy
    return refused.value.message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"vm": {"cpuz": 2}}, "There is no setting vm.cpuz. Did you mean cpu?"),
        ({"disks": []}, "There is no setting disks. Did you mean disk?"),
        ({"vm": {"name": "a/b"}}, "vm.name = 'a/b': string should match pattern"),
        ({"vm": {"profile": "gpu"}}, "vm.profile = 'gpu': input should be 'headless', 'blog-2014', 'vf' or 'display'"),
        ({"vm": {"faithful": True}}, 'vm: faithful belongs to profile = "blog-2014".'),
        ({"vm": {"qemu": "qemu-system-x86_64"}}, "the path must be absolute"),
        ({"vm": {"kernel": "vmlinuz"}}, "the path must be absolute"),
        ({"vm": {"initrd": "/initrd"}}, "vm: initrd and kernel_arguments need kernel."),
        ({"vm": {"kernel_arguments": "quiet"}}, "vm: initrd and kernel_arguments need kernel."),
        ({"vm": {"kernel": "/k", "kernel_arguments": "a\nb"}}, "the control character '\\n' cannot be in it"),
        ({"vm": {"uefi_vars": "/a\0b"}}, "the control character '\\x00' cannot be in it"),
        ({"vm": {"cpu": ""}}, "vm.cpu = '': string should have at least 1 character"),
        ({"vm": {"pin_cpus": [0, 1]}}, "vm: pin_cpus names 2 host CPUs for 4 virtual ones; name one each, or none."),
        ({"vm": {"cpus": 2, "pin_cpus": [1, 1]}}, "vm: pin_cpus names a host CPU twice"),
        ({"vm": {"pin_cpus": [-1]}}, "vm.pin_cpus.0 = -1: input should be greater than or equal to 0"),
        ({"vm": {"memory_mib": 63}}, "vm.memory_mib = 63: input should be greater than or equal to 64 (the unit"),
        ({"vm": {"memory_mib": "4G"}}, "(the unit is MiB, a whole number)"),
        ({"vm": {"memory_mib": 4097, "hugepages": True}}, "memory_mib must be even, not 4097"),
        ({"vm": {"profile": "display", "firmware": "uefi"}}, 'which needs SeaBIOS: firmware = "bios"'),
        ({"vm": {"run_dir": "/" + "r" * 90}}, "shorten vm.run_dir, vm.name or the share's tag"),
        ({"limits": {"qmp_s": "30s"}}, "(the unit is seconds, a plain number)"),
        ({"gpu": {"address": "igpu"}}, 'gpu.address = \'igpu\': write "auto", "none" or a PCI address'),
        ({"gpu": {"address": "00:02.0", "x": 1}}, "There is no setting gpu.x."),
        ({"gpu": {"address": "00:02.0"}, "vm": {"profile": "vf"}}, "is the GPU itself"),
        ({"gpu": {"properties": {"addr": "3.0"}}}, "addr is not yours to set"),
        ({"gpu": {"properties": {"x,y": 1}}}, "'x,y' is not the name of a property"),
        ({"gpu": {"properties": {"x": [1]}}}, "the value of x must be text, a whole number, true or false"),
        ({"gpu": {"properties": 5}}, "write a table"),
        ({"pci": [{"address": "none"}]}, "pci.0.address = 'none': write a PCI address as lspci -D shows it"),
        ({"pci": [{}]}, "pci.0.address is missing."),
        ({"pci": [{"address": "3:0.0"}]}, "pci.0.address = '3:0.0'"),
        ({"pci": [{"address": "03:00.0"}, {"address": "0000:03:00.0"}]}, "The PCI device 0000:03:00.0 is there twice."),
        ({"gpu": {"address": "03:00.0"}, "pci": [{"address": "03:00.0"}]}, "PCI device 0000:03:00.0 is there twice."),
        ({"pci": [{"address": f"{bus:02x}:00.0"} for bus in range(33)]}, "There are 33 [[pci]]"),
        (
            {"vm": {"profile": "display"}, "pci": [{"address": f"{bus:02x}:00.0"} for bus in range(8)]},
            'There are 8 [[pci]]; with profile = "display" there are 7 places.',
        ),
        ({"usb": [{}]}, "usb.0: name the device by port or by id, one of the two."),
        ({"usb": [{"port": "1-1", "id": "0bda:2838"}]}, "usb.0: name the device by port or by id, one of the two."),
        ({"usb": [{"port": "1:4"}]}, "usb.0.port = '1:4': write BUS-PORT"),
        ({"usb": [{"port": "1-4.2:1.0"}]}, "write BUS-PORT"),
        ({"usb": [{"id": "bda:2838"}]}, "usb.0.id = 'bda:2838': write VENDOR:PRODUCT"),
        ({"usb": [{"port": "1-1"}, {"port": "1-1"}]}, "The USB port 1-1 is there twice."),
        ({"usb": [{"id": "0BDA:2838"}, {"id": "0bda:2838"}]}, "of two alike, name each by its port"),
        ({"usb": [{"port": f"1-{port}"} for port in range(1, 17)]}, "There are 16 [[usb]]; the VM has places for 15."),
        ({"disk": [{"path": "a.qcow2"}]}, "the path must be absolute"),
        ({"disk": [{"path": "/a"}, {"path": "/a"}]}, "The disk /a is there twice"),
        ({"disk": [{"path": "/a"}, {"path": "/a", "read_only": True}]}, "The disk /a is there twice"),
        ({"disk": [{"path": "/a", "format": "vmdk"}]}, "input should be 'qcow2' or 'raw'"),
        ({"disk": [{"path": f"/{number}"} for number in range(9)]}, "There are 9 [[disk]]; the VM has places for 8."),
        ({"network": [{"mac": "52:54:00:12:34"}]}, "six pairs of hexadecimal digits"),
        ({"network": [{"mac": "53:54:00:12:34:56"}]}, "the first pair must be even"),
        ({"network": [{"mac": "00:00:00:00:00:00"}]}, "that is no card's address"),
        (
            {"network": [{"mac": "52:54:00:12:34:56"}, {"mac": "52-54-00-12-34-56"}]},
            "The MAC address 52:54:00:12:34:56 is there twice.",
        ),
        ({"network": [{"forwards": ["22"]}]}, '\'22\' is not "HOSTPORT:GUESTPORT"'),
        ({"network": [{"forwards": ["22:0"]}]}, "each from 1 to 65535"),
        ({"network": [{"forwards": ["65536:22"]}]}, "each from 1 to 65535"),
        ({"network": [{"forwards": ["²:22"]}]}, "each from 1 to 65535"),
        ({"network": [{"forwards": ["2222:22", "2222:80"]}]}, "port 2222 of the host is forwarded twice"),
        ({"network": [{"forwards": ["1:2"]}, {"forwards": ["1:3"]}]}, "Port 1 of the host is forwarded twice."),
        ({"network": [{"mode": "tap", "forwards": ["1:2"]}]}, 'forwards belong to mode = "user"'),
        ({"network": [{"mode": "tap"}, {"mode": "tap"}]}, "The tap device tap0 is there twice."),
        ({"network": [{"bridge": "br0,x=y"}]}, "a network interface has 1 to 15 characters"),
        ({"share": [{"path": "/a", "tag": "t"}, {"path": "/b", "tag": "t"}]}, "Two shares have the tag 't'."),
        ({"share": [{"path": "a", "tag": "t"}]}, "the path must be absolute"),
        ({"share": [{"path": "/a", "tag": "a b"}]}, "share.0.tag = 'a b'"),
        ({"vm": {"extra_args": ["-daemonize"]}}, "-daemonize cannot be among them: encoderd-host waits for QEMU"),
        ({"vm": {"extra_args": ["-S"]}}, "-S cannot be among them"),
        ({"vm": {"extra_args": ["--S"]}}, "--S cannot be among them"),
        ({"vm": {"extra_args": ["-rtc", "base=utc", "-incoming", "defer"]}}, "-incoming cannot be among them"),
        ({"vm": {"extra_args": ["-qmp", "unix:/run/encoderd-host/encoderd/qmp.sock"]}}, "are encoderd-host's own"),
        ({"vm": {"extra_args": ["-device", "vfio-pci,host=03:00.0"]}}, "name the device in [[pci]]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_cause(wrong: dict[str, Any], said: str) -> None:
    assert said in complaint(wrong)


def test_addresses_and_names_become_the_field_s_own() -> None:
    """One thing has one spelling afterwards: the domain is there, digits are small."""
    found = load(
        None,
        {
            "gpu": {"address": "00:02.0"},
            "pci": [{"address": "0A:00.1"}],
            "usb": [{"id": "0BDA:2838"}],
            "network": [{"mac": "52-54-00-AB-CD-EF"}],
        },
    )

    assert found.gpu.address == "0000:00:02.0"
    assert found.pci[0].address == "0000:0a:00.1"
    assert found.usb[0].id == "0bda:2838"
    assert found.network[0].mac == "52:54:00:ab:cd:ef"


def test_a_disk_may_be_there_twice_when_nobody_writes_to_it() -> None:
    disk = {"path": "/a", "read_only": True}

    assert len(load(None, {"disk": [disk, disk]}).disk) == 2


def test_the_file_the_environment_and_the_arguments_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "host.toml"
    file.write_text('[vm]\nname = "file"\ncpus = 2\nmemory_mib = 512\n[[disk]]\npath = "/a"\n', "utf-8")
    monkeypatch.setenv("ENCODERD_HOST_VM__CPUS", "3")
    monkeypatch.setenv("ENCODERD_HOST_GPU__PROPERTIES", '{"x-igd-gms": 2}')

    found = load(file, {"vm": {"memory_mib": 1024}})

    assert (found.vm.name, found.vm.cpus, found.vm.memory_mib) == ("file", 3, 1024)
    assert found.gpu.properties == {"x-igd-gms": 2}
    assert found.run_folder == Path("/run/encoderd-host/file")
    assert found.state_folder == Path("/var/lib/encoderd-host/file")


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ENCODERD_HOST_VM__CPUZ", "There is no setting ENCODERD_HOST_VM__CPUZ. Did you mean cpu?"),
        ("ENCODERD_HOST_VN__CPUS", "There is no setting ENCODERD_HOST_VN__CPUS. Did you mean vm?"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")

    assert said in complaint({})


def test_the_guest_s_variables_are_not_the_host_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODERD_ENCODE__QUALITY", "20")

    assert load(None).vm.cpus == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "There is no settings file"),
        ("[vm\n", "The settings cannot be read"),
        ("vm = 3\n", "vm = 3"),
        ("[[vm]]\nname = 'a'\n", "vm = [{'name': 'a'}]"),
        ("disk = 'a'\n", "disk = 'a'"),
        ("[vm]\nname = 'a'\nname = 'b'\n", "The settings cannot be read"),
        ("\ufffe[vm]", "The settings cannot be read"),
    ],
)
def test_a_broken_file_is_told_as_such(text: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    if text is not None:
        file.write_text(text, "utf-8")

    with pytest.raises(SettingsError) as refused:
        load(file)

    assert said in refused.value.message
    assert "encoderd-host" in refused.value.remedy


def test_bytes_that_are_no_text_are_told_too(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_bytes(b"[vm]\nname = '\xff'\n")

    with pytest.raises(SettingsError, match="The settings cannot be read"):
        load(file)


@given(st.text(max_size=20))
def test_any_address_is_read_or_refused(text: str) -> None:
    """What is read means the same device as before."""
    try:
        address = rules.pci_address(text)
    except ValueError:
        return

    assert PciAddress.parse(text) == PciAddress.parse(address)
    assert address == str(PciAddress.parse(address))


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(HostSettings.model_fields)),
        _ANY
        | st.lists(st.dictionaries(st.sampled_from(["address", "path", "tag", "port", "mac", "properties"]), _ANY)),
        max_size=3,
    )
)
@settings(max_examples=40)
def test_nothing_but_a_settings_error_comes_of_any_table(table: dict[str, Any]) -> None:
    try:
        found = load(None, table)
    except SettingsError as error:
        assert error.message
        return

    assert isinstance(found, HostSettings)
