"""
The installed QEMU accepts every command line that is kept as a file, and places each device where it was meant.

Nothing of this machine is passed through: each vfio-pci is replaced by an emulated device in its place, the accelerator
by TCG, and files and sockets are the test's own. What remains is what QEMU judges: syntax, buses, slots, chassis, ids.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from encoderd.host.argv import CommandLine, command_line, virtiofsd_argv
from encoderd.host.explain import cause_of_death
from encoderd.host.qemu_probe import probe
from encoderd.host.qemu_properties import QemuProperties
from encoderd.host.settings import HostSettings, load
from tests.command_lines import CONFIGURATIONS, facts_of, snapshot
from tests.sockets import tmp_path as tmp_path  # a fixture

QEMU = Path("/usr/bin/qemu-system-x86_64")
#: The daemon in C of QEMU 7.2; Debian 13 has its successor in a package of its own.
VIRTIOFSD = next(
    (path for path in map(Path, ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")) if path.exists()), None
)

#: No machine has so many buses; the address of a real device must never be here.
NO_DEVICE = "0000:7f:1f.7"

pytestmark = pytest.mark.skipif(not QEMU.exists(), reason="needs QEMU: apt-get install qemu-system-x86")


@pytest.fixture(scope="module")
def qemu() -> QemuProperties:
    return probe(QEMU)


def settings_here(configuration: str, folder: Path) -> HostSettings:
    """Return the configuration with files and sockets below `folder`, and no more of the host than a user has."""
    wanted: dict[str, Any] = json.loads(json.dumps(CONFIGURATIONS[configuration][0]))
    vm = wanted.setdefault("vm", {})
    vm |= {"qemu": str(QEMU), "accelerator": "tcg", "cpu": vm.get("cpu", "max"), "memory_mib": 256, "hugepages": False}
    vm |= {"run_dir": str(folder / "run"), "state_dir": str(folder / "state")}
    if vm.get("firmware") == "uefi":
        vm |= {"uefi_code": str(blank(folder / "code.fd", 2**22)), "uefi_vars": str(folder / "vars.fd")}
    for key in ("kernel", "initrd"):
        if key in vm:
            vm[key] = str(kernel(folder / key))
    for number, disk in enumerate(wanted.get("disk", [])):
        if disk["path"].startswith("/dev/"):
            disk["path"] = "/dev/zero"  # a device that QEMU opens as one, and that nobody can harm
        else:
            disk["path"] = str(image(folder / f"disk {number}, a", disk.get("format", "qcow2")))
    for network in wanted.get("network", []):
        network |= {"mode": "user", "forwards": []}
    for share in wanted.get("share", []):
        share["path"] = str(folder)
        if VIRTIOFSD is None:
            share["type"] = "9p"
    settings = load(None, wanted)
    settings.run_folder.mkdir(parents=True)
    settings.state_folder.mkdir(parents=True)
    blank(settings.state_folder / "vars.fd", 2**22)
    return settings


def blank(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def kernel(path: Path) -> Path:
    """
    The header is all that QEMU reads of a kernel before it runs. Source: Linux, Documentation/arch/x86/boot.rst.

    setup_sects at 1f1, "HdrS" at 202, the protocol's version at 206, loadflags at 211, initrd_addr_max at 22c.
    """
    header = bytearray(4096)
    for place, value in ((0x1F1, b"\1"), (0x202, b"HdrS\x06\x02"), (0x211, b"\1"), (0x22C, b"\xff\xff\xff\x0f")):
        header[place : place + len(value)] = value
    path.write_bytes(header)
    return path


def image(path: Path, form: str) -> Path:
    """An empty disk; for qcow2 its header, a refcount table and block, and an empty table of clusters."""
    if form == "raw":
        return blank(path, 2**20)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return path


def without_passthrough(line: CommandLine) -> list[str]:
    """Return the words with an emulated card in the place of each passed-through device."""
    words = []
    for option in line.options:
        words += [stand_in(word) if word.startswith("vfio-pci,") else word for word in option]
    return words


def stand_in(value: str) -> str:
    kept = [part for part in value.split(",")[1:] if part.partition("=")[0] in {"id", "bus", "addr"}]
    return ",".join(["edu", *kept])


def planned_places(line: CommandLine) -> dict[str, tuple[str, int, int]]:
    """Return each PCI device's bus, slot and function, read from the options by their names."""
    places = {}
    for option in line.options:
        if option[0] != "-device":
            continue
        values = dict(part.partition("=")[::2] for part in option[1].split(",")[1:])
        if "addr" in values:
            slot, _, function = values["addr"].removeprefix("0x").partition(".")
            places[values["id"]] = (values["bus"], int(slot, 16), int(function or "0"))
    return places


def listed(buses: list[dict[str, Any]], root: str) -> dict[str, tuple[str, int, int]]:
    """Return the same from what query-pci answers; a device behind a port is on the bus of the port's name."""
    places = {}
    waiting = [(root, device) for bus in buses for device in bus["devices"]]
    while waiting:
        bus, device = waiting.pop()
        if device["qdev_id"]:
            places[device["qdev_id"]] = (bus, device["slot"], device["function"])
        behind = device.get("pci_bridge", {}).get("devices", [])
        waiting += [(device["qdev_id"], inner) for inner in behind]
    return places


class Qmp:
    """A few commands one after the other, to a QEMU that has just been started."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        deadline_s = time.monotonic() + 30
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise AssertionError(f"QEMU ended or is silent: {process.poll()}") from None
                time.sleep(0.01)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def places(self, planned: Mapping[str, Any], root: str) -> dict[str, tuple[str, int, int]]:
        """
        Return where the devices are before the firmware ran.

        What is behind a port is not in query-pci until firmware has numbered the port's bus; the object tree knows it.
        Source: QEMU hw/pci/pci-qmp-cmds.c, qmp_query_pci_bridge.
        """
        found = listed(self.ask("query-pci"), root)
        for name in planned.keys() - found.keys():
            bus = self.ask("qom-get", path=f"/machine/peripheral/{name}", property="parent_bus")
            address = self.ask("qom-get", path=f"/machine/peripheral/{name}", property="addr")
            found[name] = (bus.rsplit("/", maxsplit=1)[-1], address >> 3, address & 7)
        return found

    def listed_places(self, root: str, most: int) -> dict[str, tuple[str, int, int]]:
        """Return where the guest sees the devices, once its firmware has numbered all buses."""
        deadline_s = time.monotonic() + 20
        while True:
            found = listed(self.ask("query-pci"), root)
            if len(found) >= most or time.monotonic() > deadline_s:
                return found
            time.sleep(0.02)

    def ask(self, command: str, **arguments: str) -> Any:
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer
        raise AssertionError(f"QEMU ended during {command}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def virtiofs(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.kill()
        process.wait()


def serve(settings: HostSettings, running: list[subprocess.Popen[bytes]]) -> None:
    for share in settings.share:
        if share.type != "virtiofs" or VIRTIOFSD is None:
            continue
        told = subprocess.run([str(VIRTIOFSD), "--help"], capture_output=True, text=True, check=False).stdout
        path = settings.run_folder / f"share-{share.tag}.sock"
        running.append(subprocess.Popen(virtiofsd_argv(share, path, VIRTIOFSD, told), stderr=subprocess.DEVNULL))
        deadline_s = time.monotonic() + 10
        while not path.exists():
            assert running[-1].poll() is None, "virtiofsd ended"
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_each_configuration_is_realised_as_planned(
    configuration: str, qemu: QemuProperties, tmp_path: Path, virtiofs: list[subprocess.Popen[bytes]]
) -> None:
    settings = settings_here(configuration, tmp_path)
    line = command_line(settings, qemu, facts_of(configuration))
    planned, root = planned_places(line), "pci.0" if settings.vm.profile == "display" else "pcie.0"
    serve(settings, virtiofs)

    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(without_passthrough(line), stderr=errors)
    try:
        qmp = Qmp(settings.run_folder / "qmp.sock", process)
        state = qmp.ask("query-status")["status"]
        before = qmp.places(planned, root)
        if settings.vm.firmware == "bios" and settings.vm.kernel is None:
            qmp.ask("cont")
            enumerated = qmp.listed_places(root, len(planned))
        else:  # no firmware of ours that would enumerate
            enumerated = planned
        ports = {found["label"] for found in qmp.ask("query-chardev")}
        qmp.ask("quit")
        qmp.close()
        code = process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()

    said = (tmp_path / "errors").read_text()
    assert (0, "prelaunch") == (code, state), said
    assert planned == before
    assert planned == enumerated
    assert {"qmp", "serial0"} <= ports
    assert settings.vm.guest_agent == ("agent0" in ports)
    assert settings.vm.health_port == ("health0" in ports)
    assert (settings.run_folder / "serial.log").exists()


def fate(words: list[str]) -> tuple[int, str]:
    """Return the exit code and standard error of a QEMU that must not start."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


Q35 = [str(QEMU), "-nodefaults", "-no-user-config", "-display", "none", "-S", "-machine", "q35", "-accel", "tcg"]
PORT = "pcie-root-port,id={},bus=pcie.0,addr={},chassis=1"
REFUSED: Mapping[str, tuple[list[str], str, str]] = {
    "the bus of 2014 is not defined": (
        ["edu,id=hostpci0,bus=ich9-pcie-port-1,addr=0x0"],
        "Bus 'ich9-pcie-port-1' not found",
        "There is no bus ich9-pcie-port-1: its port is not defined, or only later on the command line.",
    ),
    "its port is defined after it": (
        ["edu,bus=ich9-pcie-port-1", PORT.format("ich9-pcie-port-1", "1c.0")],
        "Bus 'ich9-pcie-port-1' not found",
        "There is no bus ich9-pcie-port-1: its port is not defined, or only later on the command line.",
    ),
    "two ports have one chassis": (
        [PORT.format("a", "1c.0"), PORT.format("b", "1d.0")],
        "Can't add chassis slot, error -16",
        "Two root ports have the same chassis and slot.",
    ),
    "two devices are on one slot": (
        ["edu,bus=pcie.0,addr=2", "edu,bus=pcie.0,addr=2"],
        "PCI: slot 2 function 0 not available for edu, in use by edu",
        "Two devices are on slot 2, function 0, of one bus.",
    ),
    "two devices have one id": (
        ["edu,id=gpu0", "edu,id=gpu0"],
        "Duplicate ID 'gpu0' for device",
        "Two things on the command line have the id gpu0.",
    ),
    "the host has no such device": (
        [f"vfio-pci,host={NO_DEVICE}"],
        "no such host device",
        f"The host has no PCI device {NO_DEVICE}.",
    ),
    "QEMU has no such device": (
        ["vfio-pcx"],
        "'vfio-pcx' is not a valid device model name",
        "This QEMU has no device vfio-pcx.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_qemu_refuses_is_explained(case: str) -> None:
    """The message is QEMU's own, word for word; the explanation is made from it."""
    devices, message, cause = REFUSED[case]

    code, said = fate([*Q35, *(word for device in devices for word in ("-device", device))])

    explained = cause_of_death(said)
    assert code == 1
    assert message in said
    assert explained is not None
    assert cause == explained.cause
    assert explained.remedy


def test_a_property_this_qemu_lacks_is_explained(qemu: QemuProperties) -> None:
    name = "x-igd-legacy-mode"
    if qemu.has("vfio-pci", name):
        pytest.skip(f"QEMU {qemu.version_text} has {name}")

    code, said = fate([*Q35, "-device", f"vfio-pci,host={NO_DEVICE},{name}=off"])

    explained = cause_of_death(said)
    assert code == 1
    assert f"Property 'vfio-pci.{name}' not found" in said
    assert explained is not None
    assert explained.cause == f"vfio-pci of this QEMU has no property {name}."


@pytest.mark.parametrize("configuration", [name for name, (_, gpu) in CONFIGURATIONS.items() if gpu is not None])
def test_vfio_pci_understands_every_property(configuration: str, qemu: QemuProperties, tmp_path: Path) -> None:
    """QEMU reads all properties before it looks for the host's device, which is the only thing it misses here."""
    line = command_line(settings_here(configuration, tmp_path), qemu, facts_of(configuration))
    devices = [option[1] for option in line.options if option[-1].startswith("vfio-pci,")]

    for device in devices:
        kept = [part for part in device.split(",")[1:] if part.partition("=")[0] not in {"host", "bus", "addr"}]
        code, said = fate([*Q35, "-device", ",".join(["vfio-pci", f"host={NO_DEVICE}", *kept])])

        assert (code, "no such host device" in said) == (1, True), said


def plain(folder: Path, **wanted: Any) -> HostSettings:
    """Return settings of a VM without a GPU, on this QEMU."""
    vm = {"qemu": str(QEMU), "accelerator": "tcg", "memory_mib": 64, "cpus": 1}
    vm |= {"run_dir": str(folder / "run"), "state_dir": str(folder / "state")}
    settings = load(None, {"vm": vm, "gpu": {"address": "none"}, **wanted})
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    return settings


def last_words(settings: HostSettings, qemu: QemuProperties) -> str:
    """Return the cause that is told when this VM does not start."""
    code, said = fate(command_line(settings, qemu, facts_of("no-gpu")).argv)

    found = cause_of_death(said)
    assert code == 1, said
    assert found is not None, said
    assert found.remedy, said
    return found.cause


def test_a_disk_that_cannot_be_opened_is_explained(qemu: QemuProperties, tmp_path: Path) -> None:
    missing, raw = tmp_path / "missing.qcow2", image(tmp_path / "disk.raw", "raw")
    without_base = tmp_path / "overlay.qcow2"
    create = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "/nowhere/base", str(without_base)]
    subprocess.run([*create, "1M"], check=True)

    assert last_words(plain(tmp_path, disk=[{"path": str(missing)}]), qemu) == (
        f"{missing} cannot be opened: No such file or directory."
    )
    assert last_words(plain(tmp_path, disk=[{"path": str(raw)}]), qemu) == "The disk image is not qcow2."
    assert last_words(plain(tmp_path, disk=[{"path": str(without_base)}]), qemu) == (
        "The disk image is based on another one that cannot be opened."
    )


def test_a_second_qemu_of_the_vm_or_of_its_disk_is_explained(qemu: QemuProperties, tmp_path: Path) -> None:
    disk = {"path": str(image(tmp_path / "disk", "qcow2"))}
    settings = plain(tmp_path, disk=[disk])
    first = subprocess.Popen(command_line(settings, qemu, facts_of("no-gpu")).argv)
    try:
        Qmp(settings.run_folder / "qmp.sock", first).close()

        assert last_words(plain(tmp_path / "b", disk=[disk]), qemu) == "Another process uses the disk image."
        assert "still running" in last_words(plain(tmp_path), qemu)
    finally:
        first.kill()
        first.wait()


def test_what_else_of_the_host_is_missing_is_explained(qemu: QemuProperties, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        network = [{"forwards": [f"{port}:22"]}]

        assert str(port) in last_words(plain(tmp_path, network=network), qemu)
    share = {"path": str(tmp_path / "gone"), "tag": "recordings"}
    assert "virtiofsd is not running" in last_words(plain(tmp_path, share=[share]), qemu)
    assert last_words(plain(tmp_path, share=[{**share, "type": "9p"}]), qemu) == (
        f"{tmp_path}/gone cannot be opened: No such file or directory."
    )


def test_more_memory_than_there_is_is_explained(qemu: QemuProperties, tmp_path: Path) -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text("ascii").strip() == "1":
        pytest.skip("this kernel promises any amount of memory (vm.overcommit_memory = 1)")
    settings = plain(tmp_path)
    vm = settings.vm.model_copy(update={"memory_mib": 4_194_304})

    assert "not enough memory" in last_words(settings.model_copy(update={"vm": vm}), qemu)


def test_the_snapshot_is_what_the_installed_qemu_answers(qemu: QemuProperties) -> None:
    """A security update of 7.2 may change the last number and the package, and nothing else."""
    if qemu.version[:2] != (7, 2):
        pytest.skip(f"this is QEMU {qemu.version_text}")

    kept = snapshot("7.2")

    assert {name: dict(found) for name, found in kept.devices.items()} == {
        name: dict(found) for name, found in qemu.devices.items()
    }
    assert (kept.machines, kept.objects) == (qemu.machines, qemu.objects)


def test_asking_takes_less_than_half_a_second() -> None:
    """Of ten tries one must do it: the machine may be busy, QEMU is not slower for it."""
    walls_s = []
    while len(walls_s) < 10 and min(walls_s, default=1.0) >= 0.5:
        started_s = time.monotonic()
        probe(QEMU)
        walls_s.append(time.monotonic() - started_s)

    assert min(walls_s) < 0.5
