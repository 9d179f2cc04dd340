"""QEMU's command line: what is in it for which settings, and that it stays as it is kept under tests/data/argv."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoderd.errors import EncoderdError, SettingsError
from encoderd.host.argv import (
    ArgvFacts,
    CommandLine,
    command_line,
    cpu_candidates,
    format_lines,
    share_socket,
    virtiofsd_argv,
)
from encoderd.host.generations import generation
from encoderd.host.guest_devices import fixed_mac
from encoderd.host.qemu_properties import frozen_devices
from encoderd.host.settings import load
from tests.command_lines import (
    CONFIGURATIONS,
    DATA,
    SNAPSHOTS,
    display_device,
    facts_of,
    golden_file,
    golden_text,
    line_of,
    snapshot,
)

FACTS = ArgvFacts(
    gpu=display_device("0000:00:02.0", 0x3E92),
    gpu_generation=generation(0x3E92),
    devices={},
    phys_bits=39,
    iommu_bits=39,
    cpu="host",
)


def line(wanted: dict[str, Any], version: str = "7.2", facts: ArgvFacts = FACTS) -> CommandLine:
    return command_line(load(None, wanted), snapshot(version), facts)


def values(found: CommandLine, option: str, start: str = "") -> list[str]:
    return [entry[1] for entry in found.options if entry[0] == option and entry[1].startswith(start)]


def gpu(found: CommandLine) -> str:
    (value,) = [value for value in values(found, "-device", "vfio-pci") if ",id=gpu0," in value or "hostpci0" in value]
    return value


@pytest.mark.parametrize("version", SNAPSHOTS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_command_line_is_the_one_that_is_kept(configuration: str, version: str) -> None:
    """If the change is meant: python -m tests.command_lines, and read the difference."""
    kept = golden_file(configuration, version).read_text("utf-8")

    assert kept == golden_text(line_of(configuration, version))


def test_nothing_is_kept_that_nobody_makes() -> None:
    made = {golden_file(configuration, version).name for configuration in CONFIGURATIONS for version in SNAPSHOTS}

    assert {"7.2", "8.2", "9.2", "10.0", "10.1"} == set(SNAPSHOTS)
    assert sorted(made) == sorted(path.name for path in (DATA / "argv").iterdir())


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_what_is_printed_can_be_pasted(configuration: str) -> None:
    """A shell takes the printed text for the very words that QEMU is started with."""
    found = line_of(configuration, "10.1")
    text = format_lines(found)

    shell = subprocess.run(
        ["/bin/sh"], input=f"printf '%s\\0' {text}", capture_output=True, text=True, check=True, timeout=10
    )

    assert found.argv == shell.stdout.split("\0")[:-1]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("version", SNAPSHOTS)
def test_no_two_things_share_a_place_or_a_name(configuration: str, version: str) -> None:
    devices = [
        dict(part.partition("=")[::2] for part in value.split(","))
        for value in values(line_of(configuration, version), "-device")
    ]
    places = [(found["bus"], found["addr"]) for found in devices if "addr" in found]
    chassis = [found["chassis"] for found in devices if "chassis" in found]
    names = [found["id"] for found in devices]

    assert len(places) == len(set(places))
    assert len(chassis) == len(set(chassis))
    assert len(devices) == len(set(names))


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_bus_is_defined_before_it_is_used(configuration: str) -> None:
    """QEMU makes its devices in the order of the command line."""
    defined = {"pcie.0", "pci.0"}
    for value in values(line_of(configuration, "7.2"), "-device"):
        found = dict(part.partition("=")[::2] for part in value.split(","))
        assert found["bus"] in defined
        defined |= {found["id"], f"{found['id']}.0"}


@pytest.mark.parametrize(
    ("version", "profile", "said"),
    [
        ("7.2", "headless", "rombar=0,x-igd-opregion=off"),
        ("10.1", "headless", "rombar=0,x-igd-opregion=off"),
        ("10.1", "blog-2014", "rombar=0,x-igd-opregion=off"),
        ("10.1", "vf", "rombar=0,x-igd-opregion=off"),
        ("9.2", "display", "addr=02.0"),
        ("10.0", "display", "x-igd-legacy-mode=on"),
    ],
)
def test_what_the_gpu_is_told_by_this_qemu(version: str, profile: str, said: str) -> None:
    assert gpu(line({"vm": {"profile": profile}}, version)).endswith("," + said)


def test_a_property_is_named_only_where_it_exists() -> None:
    """Before it had x-igd-opregion, QEMU never gave the guest an OpRegion without being asked."""
    qemu = snapshot("7.2")
    plain = {name: default for name, default in qemu.devices["vfio-pci"].items() if not name.startswith("x-igd")}
    older = replace(qemu, devices=frozen_devices({**qemu.devices, "vfio-pci": plain}))

    found = command_line(load(None), older, FACTS)

    assert gpu(found) == "vfio-pci,host=0000:00:02.0,id=gpu0,bus=pcie.0,addr=02.0,rombar=0"


def test_the_user_s_property_goes_before_ours() -> None:
    found = gpu(line({"gpu": {"properties": {"rombar": 1, "x-no-mmap": True, "romfile": "/a,b"}}}))

    assert found == (
        "vfio-pci,host=0000:00:02.0,id=gpu0,bus=pcie.0,addr=02.0,x-igd-opregion=off,rombar=1,x-no-mmap=on,romfile=/a,,b"
    )


def test_a_property_that_this_qemu_lacks_is_refused() -> None:
    with pytest.raises(EncoderdError) as refused:
        line({"gpu": {"properties": {"x-igd-legacy-mod": "off"}}}, "10.1")

    assert refused.value.message == "gpu.properties: vfio-pci of QEMU 10.1.0 has no property x-igd-legacy-mod."
    assert refused.value.remedy == "Did you mean x-igd-legacy-mode?"
    with pytest.raises(EncoderdError, match=r"pci\.0\.properties: vfio-pci of QEMU 7\.2\.22 has no property nonsense"):
        line({"pci": [{"address": "03:00.0", "properties": {"nonsense": 1}}]})


def test_each_doubtful_flag_of_2014_is_explained() -> None:
    faithful = line({"vm": {"profile": "blog-2014", "faithful": True}})
    plain = line({"vm": {"profile": "blog-2014"}})

    assert gpu(faithful) == "vfio-pci,host=0000:00:02.0,id=hostpci0,bus=ich9-pcie-port-1,addr=0x0,x-vga=on"
    assert values(faithful, "-cpu") == ["Haswell,kvm=off,+x2apic"]
    for flag in ("x-vga=on", "kvm=off", "+x2apic", "Haswell"):
        assert any(note.startswith(flag) for note in faithful.notes), flag
    assert not any(flag in " ".join(plain.argv) for flag in ("x-vga", "kvm=off", "x2apic"))


def test_x_vga_by_hand_is_explained_too() -> None:
    assert any("x-vga=on maps" in note for note in line({"gpu": {"properties": {"x-vga": True}}}).notes)


@pytest.mark.parametrize(
    ("wanted", "phys_bits", "iommu_bits", "cpu"),
    [
        ({}, 39, 39, "host"),
        ({}, 46, 39, "host,host-phys-bits-limit=39"),
        ({}, 39, 48, "host"),
        ({}, None, 39, "host"),
        ({}, 46, None, "host"),
        ({"cpu": "Haswell-noTSX"}, 46, 39, "Haswell-noTSX,host-phys-bits=on,host-phys-bits-limit=39"),
        ({"cpu": "host,phys-bits=38"}, 46, 39, "host,phys-bits=38"),
        ({"accelerator": "tcg", "cpu": "max"}, 46, 39, "max"),
    ],
)
def test_the_guest_s_addresses_fit_the_iommu(
    wanted: dict[str, Any], phys_bits: int | None, iommu_bits: int | None, cpu: str
) -> None:
    found = line({"vm": wanted}, facts=replace(FACTS, phys_bits=phys_bits, iommu_bits=iommu_bits))

    assert values(found, "-cpu") == [cpu]
    assert ("limit" in cpu) == any("the IOMMU maps 39 bits" in note for note in found.notes)


def test_without_a_device_no_width_matters_and_a_reboot_is_one() -> None:
    found = line({"gpu": {"address": "none"}}, facts=replace(FACTS, gpu=None, phys_bits=46))

    assert values(found, "-cpu") == ["host"]
    assert values(found, "-action") == ["shutdown=pause", "panic=pause"]
    assert values(found, "-device", "vfio-pci") == []


def test_with_a_device_a_reboot_ends_the_guest() -> None:
    found = line({"gpu": {"address": "none"}, "pci": [{"address": "03:00.0"}]})

    assert values(found, "-action") == ["shutdown=pause", "panic=pause", "reboot=shutdown"]
    assert any("reboot=shutdown" in note for note in found.notes)


@pytest.mark.parametrize(
    ("vm", "flags", "candidates"),
    [
        ({}, {"avx2", "avx", "sse4_2"}, ("host", "host,-arch-capabilities", "Haswell-noTSX")),
        ({}, {"avx", "sse4_2"}, ("host", "host,-arch-capabilities", "SandyBridge")),
        ({}, {"sse4_2"}, ("host", "host,-arch-capabilities", "Nehalem")),
        ({}, set(), ("host", "host,-arch-capabilities", "qemu64")),
        ({"accelerator": "tcg"}, {"avx2"}, ("max",)),
        ({"cpu": "EPYC"}, {"avx2"}, ("EPYC",)),
    ],
)
def test_cpu_models_in_the_order_they_are_tried(
    vm: dict[str, Any], flags: set[str], candidates: tuple[str, ...]
) -> None:
    assert candidates == cpu_candidates(load(None, {"vm": vm}), frozenset(flags))


def test_a_mac_address_is_the_vm_s_for_ever() -> None:
    """Given locally, one card's, different for each VM and card, and the same as in the first version."""
    assert fixed_mac("encoderd") == "52:54:00:ac:2e:69"
    assert len({fixed_mac(name, number) for name in ("a", "b") for number in range(4)}) == 8
    assert int(fixed_mac("a")[:2], 16) & 0b11 == 0b10


def test_a_gpu_that_was_not_found_is_told() -> None:
    with pytest.raises(EncoderdError) as refused:
        line({}, facts=replace(FACTS, gpu=None))

    assert refused.value.message == "No GPU was found to give to the guest."
    assert "encoderd-host check" in refused.value.remedy


def test_a_gpu_that_is_named_is_printed_without_being_there() -> None:
    found = line({"gpu": {"address": "00:02.0"}}, facts=replace(FACTS, gpu=None))

    assert gpu(found).startswith("vfio-pci,host=0000:00:02.0,")


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        ("vfio-pci", {}),
        ("usb-host", {"usb": [{"port": "1-1"}]}),
        ("vhost-user-fs-pci", {"share": [{"path": "/a", "tag": "a"}]}),
        ("virtio-9p-pci", {"share": [{"path": "/a", "tag": "a", "type": "9p"}]}),
        ("virtio-blk-pci", {"disk": [{"path": "/a"}]}),
        ("virtio-net-pci", {"network": [{}]}),
        ("virtio-serial-pci", {}),
    ],
)
def test_a_qemu_without_a_device_is_refused(device: str, wanted: dict[str, Any]) -> None:
    qemu = snapshot("7.2")
    poor = replace(qemu, devices=frozen_devices({name: qemu.devices[name] for name in qemu.devices if name != device}))

    with pytest.raises(EncoderdError, match=f"QEMU 7.2.22 has no device {device}"):
        command_line(load(None, wanted), poor, FACTS)


def test_a_qemu_for_another_machine_is_refused() -> None:
    with pytest.raises(EncoderdError, match=r"QEMU 7\.2\.22 has no machine q35"):
        command_line(load(None), replace(snapshot("7.2"), machines=frozenset({"none", "virt"})), FACTS)


def test_adding_a_device_moves_no_other() -> None:
    """Names in the guest follow the slots: enp0s8, by-path."""
    few = line({"disk": [{"path": "/a"}], "network": [{}], "pci": [{"address": "03:00.0"}]})
    more = line(
        {
            "disk": [{"path": "/a"}, {"path": "/b"}],
            "network": [{}, {}],
            "pci": [{"address": "03:00.0"}, {"address": "04:00.0"}],
            "usb": [{"port": "1-1"}],
            "share": [{"path": "/a", "tag": "a", "type": "9p"}],
        }
    )

    assert set(values(few, "-device")) < set(values(more, "-device"))


def test_thirty_two_devices_have_thirty_two_ports() -> None:
    found = line({"pci": [{"address": f"{bus:02x}:00.0"} for bus in range(1, 33)]})
    ports = [value.split(",")[3] for value in values(found, "-device", "pcie-root-port")]

    assert ports[0] == "addr=18.0"
    assert ports[-1] == "addr=1b.7"
    assert len(set(ports)) == 32


def test_a_share_s_daemon_is_asked_in_its_own_language() -> None:
    wanted = load(None, {"share": [{"path": "/srv/a b", "tag": "a", "read_only": True}]})
    share, socket = wanted.share[0], share_socket(wanted, wanted.share[0])
    old = virtiofsd_argv(share, socket, Path("/usr/lib/qemu/virtiofsd"), "-o source=PATH")
    new = virtiofsd_argv(share, socket, Path("/v"), "--shared-dir <SHARED_DIR>\n --readonly")
    between = virtiofsd_argv(share, socket, Path("/v"), "--shared-dir <SHARED_DIR>")

    comma = share.model_copy(update={"path": Path("/a,b\\c")})
    path = "--socket-path=/run/encoderd-host/encoderd/share-a.sock"
    assert "source=/a\\,b\\\\c" in virtiofsd_argv(comma, socket, Path("/v"))
    assert old == ["/usr/lib/qemu/virtiofsd", path, "-o", "source=/srv/a b", "-o", "cache=auto"]
    assert new == ["/v", path, "--shared-dir=/srv/a b", "--cache=auto", "--readonly"]
    assert between == ["/v", path, "--shared-dir=/srv/a b", "--cache=auto"]


def test_extra_arguments_are_the_last_and_as_they_are() -> None:
    found = line({"vm": {"extra_args": ["-rtc", "base=utc,,x", "-no-hpet"]}})

    assert found.options[-2:] == (("-rtc", "base=utc,,x"), ("-no-hpet",))


def test_a_generation_that_needs_a_newer_qemu_is_told() -> None:
    facts = replace(FACTS, gpu_generation=generation(0x7D55))

    assert any("needs QEMU 10.1; this is 7.2.22" in note for note in line({}, facts=facts).notes)
    assert not any("needs QEMU" in note for note in line({}, "10.1", facts).notes)


def test_what_is_wrong_with_a_further_device_is_told_here_too() -> None:
    root_port = display_device("0000:00:1c.0", 0xA110, 0x060400)
    facts = replace(FACTS, devices={root_port.address: root_port})
    wanted = {"pci": [{"address": "0000:00:1c.0"}, {"address": "0000:05:00.0"}]}

    notes = line(wanted, facts=facts).notes

    assert "The host has no PCI device 0000:05:00.0 now." in notes
    assert any(note.startswith("0000:00:1c.0 is a bridge") for note in notes)
    assert not any("0000:05:00.0" in note for note in line(wanted).notes)


def test_a_disk_below_dev_is_a_device_and_one_in_memory_is_a_file() -> None:
    found = line({"disk": [{"path": "/dev/vg/a", "format": "raw"}, {"path": "/dev/shm/b", "format": "raw"}]})

    assert [value.split(",")[0] for value in values(found, "-blockdev") if "-file,filename" in value] == [
        "driver=host_device",
        "driver=file",
    ]


def parsed(value: str) -> dict[str, str]:
    """Read key=value,key=value as QEMU does: ",," is a comma. Source: QEMU util/keyval.c."""
    parts = value.replace(",,", "\0").split(",")
    return {key: rest.replace("\0", ",") for key, _, rest in (part.partition("=") for part in parts)}


def test_a_comma_in_a_path_is_no_separator() -> None:
    found = line(
        {
            "vm": {"run_dir": "/r,un", "state_dir": "/st,,ate", "firmware": "uefi", "uefi_code": "/co,de"},
            "disk": [{"path": "/di,sk"}],
            "share": [{"path": "/sh,are", "tag": "a", "type": "9p"}, {"path": "/v", "tag": "v"}],
        }
    )
    paths = {parsed(value).get("path") for value in values(found, "-chardev")}
    files = {parsed(value).get("filename") for value in values(found, "-blockdev")}

    sockets = ("qmp", "serial", "agent", "health", "share-v")
    assert paths == {f"/r,un/encoderd/{name}.sock" for name in sockets}
    assert files == {"/co,de", "/st,,ate/encoderd/vars.fd", "/di,sk", None}
    assert [parsed(value)["path"] for value in values(found, "-fsdev")] == ["/sh,are"]
    assert [parsed(value).get("logfile") for value in values(found, "-chardev") if "logfile" in value] == [
        "/r,un/encoderd/serial.log"
    ]
    assert ("-pidfile", "/r,un/encoderd/pid") in found.options  # a bare word, not read as options


_PATH = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8).map(lambda text: f"/{text}")
_BUS = st.integers(1, 255).map(lambda bus: f"{bus:02x}:00.0")
_WANTED = st.fixed_dictionaries(
    {
        "vm": st.fixed_dictionaries(
            {
                "profile": st.sampled_from(["headless", "blog-2014", "vf", "display"]),
                "cpus": st.integers(1, 256),
                "hugepages": st.booleans(),
                "run_dir": _PATH,
                "extra_args": st.lists(st.sampled_from(["-rtc", "base=utc", "-no-hpet", "x y"]), max_size=3),
            }
        ),
        "gpu": st.fixed_dictionaries({"address": st.sampled_from(["auto", "none", "0000:00:02.1"])}),
        "pci": st.lists(_BUS, max_size=32, unique=True).map(lambda found: [{"address": address} for address in found]),
        "usb": st.lists(st.integers(1, 255), max_size=15, unique=True).map(
            lambda found: [{"port": f"1-{port}"} for port in found]
        ),
        "disk": st.lists(_PATH, max_size=8, unique=True).map(lambda found: [{"path": path} for path in found]),
        "network": st.lists(st.sampled_from([{"mode": "user"}, {"mode": "bridge", "bridge": "{br}"}]), max_size=4),
        "share": st.lists(st.tuples(_PATH, st.sampled_from(["9p", "virtiofs"])), max_size=4).map(
            lambda found: [{"path": path, "tag": f"t{n}", "type": kind} for n, (path, kind) in enumerate(found)]
        ),
    }
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_WANTED, st.sampled_from(sorted(SNAPSHOTS)))
def test_whatever_is_asked_for_each_device_has_its_own_place(wanted: dict[str, Any], version: str) -> None:
    try:
        found = line(wanted, version)
    except SettingsError:
        return

    devices = [parsed(value) for value in values(found, "-device")]
    places = [(device["bus"], device["addr"]) for device in devices if "addr" in device]
    assert len(places) == len(set(places))
    assert len(devices) == len({device["id"] for device in devices})
    assert found.argv == shlex.split(format_lines(found).replace(" \\\n    ", " "))


def test_facts_of_every_configuration_are_complete() -> None:
    assert all(facts_of(name).cpu in {"host", "max"} for name in CONFIGURATIONS)
