"""
The handover on a whole host in a folder: killed at every step, refused, failing at every write, two at once.

The kernel is the double that obeys the real one's table (tests/hosts/semantics.py); processes, kills, locks and
journals are real.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encoderd.errors import EncoderdError
from encoderd.findings import failed
from encoderd.host.facts import gather
from encoderd.host.handover import HandoverFailed, HandoverRefused, give, take
from encoderd.host.journal import HelperBusy, JournalUnreadable
from encoderd.host.round_trips import past
from encoderd.host.settings import HostSettings
from encoderd.host.standing import standing, taken_by
from encoderd.pci import PciAddress
from tests.hosts.fake_kernel import DEVICES, FakeKernel, snapshot
from tests.hosts.handed import GPU, GROUP, SOUND, TUNER, HandedHost
from tests.hosts.machines import MACHINES

OVERRIDE = f"/{GPU}/driver_override"
FOLDER = f"{DEVICES}/{GPU}"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: hundreds of hosts are built here, and every journal is fsynced."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="encoderd-") as folder:
        yield Path(folder)


@pytest.fixture
def host(tmp_path: Path) -> HandedHost:
    return HandedHost(tmp_path, sound=True)


def killed_at(folder: Path, number: int, deed: Callable[[HandedHost], object], **options: Any) -> bool:
    """
    Run `deed` in a process that SIGKILLs itself at its operation `number`; False when it ended before.

    Operations are the kernel's, counted when they are done, and what changes the state and run folders, counted when it
    is about to be done.
    """
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"operation {number}: status {status}"
        return os.WIFSIGNALED(status)
    done = 0

    def count(_: object = None) -> None:
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(watched):
            count()

    code = 1
    try:
        watched = (str(folder / "state"), str(folder / "run"))
        host = HandedHost(folder, **options)
        host.kernel.after_operation = count
        sys.addaudithook(heard)
        deed(host)
        code = 0
    finally:
        os._exit(code)


def test_killed_at_every_step_of_take(tmp_path: Path) -> None:
    """Wherever the helper dies, a fresh one knows where it stands and `give` puts everything back."""
    seen: set[tuple[str, ...]] = set()
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        before = HandedHost(folder, sound=True).sysfs()
        if not killed_at(folder, number, lambda host: host.take()):
            break
        fresh = HandedHost(folder)
        seen.add(tuple(fresh.words()))

        fresh.give()

        assert before == fresh.sysfs(), f"killed at operation {number}"
        assert ([], ["host", "host"]) == (fresh.journals(), fresh.words()), f"killed at operation {number}"
    assert number > 25
    assert {("host", "host"), ("half-taken", "host"), ("taken", "host"), ("taken", "half-taken")} <= seen


def test_killed_at_every_step_of_take_and_taken_again(tmp_path: Path) -> None:
    """`take` goes on from any point, and what `give` then brings back is the state before the first of them."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        before = HandedHost(folder).sysfs()
        if not killed_at(folder, number, lambda host: host.take()):
            break
        fresh = HandedHost(folder)

        fresh.take()
        assert ["taken", "taken"] == fresh.words(), f"killed at operation {number}"
        fresh.give()

        assert before == fresh.sysfs(), f"killed at operation {number}"
        assert [] == fresh.journals()
    assert number > 25


def test_killed_at_every_step_of_give(tmp_path: Path) -> None:
    seen: set[tuple[str, ...]] = set()
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        host = HandedHost(folder, sound=True)
        before = host.sysfs()
        host.take()
        if not killed_at(folder, number, lambda host: host.give()):
            break
        fresh = HandedHost(folder)
        seen.add(tuple(fresh.words()))

        fresh.give()

        assert before == fresh.sysfs(), f"killed at operation {number}"
        assert ([], ["host", "host"]) == (fresh.journals(), fresh.words()), f"killed at operation {number}"
    assert number > 20
    assert {("taken", "taken"), ("taken", "half-given"), ("taken", "host"), ("half-given", "host")} <= seen


def test_killed_while_it_undoes(tmp_path: Path) -> None:
    """The helper dies in the middle of a rollback: `give` ends it."""

    def failing(host: HandedHost) -> None:
        host.kernel.lies = 99
        with pytest.raises(HandoverFailed):
            host.take()

    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        before = HandedHost(folder, sound=True).sysfs()
        if not killed_at(folder, number, failing):
            break
        fresh = HandedHost(folder)

        fresh.give()

        assert (before, []) == (fresh.sysfs(), fresh.journals()), f"killed at operation {number}"
    assert number > 15, number


def test_round_trip_leaves_nothing_behind(host: HandedHost) -> None:
    """Drivers, overrides, nodes and consoles are as before; the journal is gone; the kernel release has a good mark."""
    before = host.sysfs()

    taken = host.take()
    assert ((GPU, TUNER), ["vfio-pci", "vfio-pci"]) == (taken.taken, host.drivers())
    assert host.kernel.root.exists(f"/dev/vfio/{GROUP}")
    assert "0" == host.kernel.root.text("/sys/class/vtconsole/vtcon1/bind").strip()
    given = host.give()

    assert ((TUNER, GPU), "", before, []) == (given.given, given.trouble, host.sysfs(), host.journals())
    trips = past(host.settings.vm.state_dir / "round_trips.json")["6.1.0-56-amd64"]
    assert (1, 0, "") == (trips.clean, trips.unclean, trips.trouble)


def test_a_second_take_and_a_second_give_do_nothing_and_say_so(host: HandedHost) -> None:
    host.take()
    host.kernel.log.clear()

    again = host.take()
    assert ((), (GPU, TUNER), []) == (again.taken, again.already, host.kernel.log)
    assert "is taken already" in again.notes[0]
    host.give()
    host.kernel.log.clear()
    nothing = host.give()

    assert ((), (TUNER, GPU), []) == (nothing.given, nothing.nothing, host.kernel.log)
    assert "nothing was taken" in nothing.notes[0]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENODEV, errno.EIO])
def test_a_failure_at_any_write_leaves_the_host_as_it_was(tmp_path: Path, number: int) -> None:
    """Each write of take in turn goes on failing: everything done before it is undone, in reverse."""
    model = HandedHost(tmp_path / "model", sound=True)
    model.take()
    writes = [path for path, _ in model.kernel.written]
    assert len(writes) == 10

    for place, path in enumerate(writes):
        host = HandedHost(tmp_path / str(place), sound=True)
        before = host.sysfs()
        skip = writes[:place].count(path)
        host.kernel.fail(path, number, times=5, skip=skip)
        if "vtconsole" in path:
            host.take()  # a console that cannot be moved stops nothing
            host.give()
        else:
            with pytest.raises(HandoverFailed, match="Everything was put back"):
                host.take()

        assert (before, [], ["host", "host"]) == (host.sysfs(), host.journals(), host.words()), (place, path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.EBUSY])
def test_what_udev_gets_in_the_way_of_is_tried_again(tmp_path: Path, number: int) -> None:
    """One refusal of the passing kind, at any write of take and give, is lived through."""
    model = HandedHost(tmp_path / "model", sound=True)
    model.take()
    model.give()
    for place, path in enumerate(path for path, _ in model.kernel.written):
        host = HandedHost(tmp_path / str(place), sound=True)
        before = host.sysfs()
        host.kernel.fail(path, number)

        host.take()
        host.give()

        assert (before, []) == (host.sysfs(), host.journals()), path


def test_a_failure_at_any_write_of_give_is_told_and_mended_by_the_next(tmp_path: Path) -> None:
    """The journal stays until all is back; the bad round trip is remembered."""
    model = HandedHost(tmp_path / "model", sound=True)
    model.take()
    model.kernel.log.clear()
    model.give()
    for place, path in enumerate(path for path, _ in model.kernel.written):
        if "vtconsole" in path:
            continue
        host = HandedHost(tmp_path / str(place), sound=True)
        before = host.sysfs()
        host.take()
        host.kernel.fail(path, errno.EPERM, times=5)

        with pytest.raises(HandoverFailed, match="did not come back"):
            host.give()
        assert "half-given" in host.words()
        host.kernel.failures.clear()
        host.give()

        assert (before, []) == (host.sysfs(), host.journals()), path


def test_a_rollback_that_fails_is_told_and_can_be_ended_later(tmp_path: Path) -> None:
    host = HandedHost(tmp_path)
    before = host.sysfs()
    host.kernel.lies = 99
    host.kernel.fail("drivers/i915/bind", errno.EIO, times=99)

    with pytest.raises(HandoverFailed, match=r"could not be undone.*0000:00:02.0 did not come back"):
        host.take(GPU)
    assert ["half-given"] == [one.word for one in host.standing(GPU)]
    host.kernel.lies = 0
    host.kernel.failures.clear()
    host.give(GPU)

    assert (before, []) == (host.sysfs(), host.journals())


def test_a_probe_that_lies_is_found_out(host: HandedHost) -> None:
    """drivers_probe succeeds and binds nothing: a few times is lived through, always is a failure that is undone."""
    before = host.sysfs()
    host.kernel.lies = 3
    host.take(GPU)
    host.give(GPU)
    assert before == host.sysfs()

    host.kernel.lies = 10_000
    with pytest.raises(HandoverFailed, match=r"gave it to nobody.*Everything was put back") as raised:
        host.take(GPU)

    assert before == host.sysfs()
    assert "dmesg" in raised.value.remedy


def test_udev_may_take_its_time_but_not_for_ever(host: HandedHost) -> None:
    before = host.sysfs()
    host.kernel.udev_after = 10
    host.take(GPU)
    host.give(GPU)
    host.kernel.udev_after = 1000

    with pytest.raises(HandoverFailed, match=f"/dev/vfio/{GROUP} did not appear"):
        host.take(GPU)

    assert before == host.sysfs()


def test_a_driver_that_steps_in_is_found_and_all_is_undone(host: HandedHost) -> None:
    """While the GPU is taken, somebody binds a driver to a device of its group that stays."""
    host.tree.device("0000:00:02.1", 0x8086, 0x1234, 0x088000, group=GROUP)
    host = HandedHost(host.folder)

    def step_in(path: str, data: str) -> None:
        if path.endswith("drivers_probe") and data == str(GPU):
            host.tree.driver("intruder")
            host.tree.link(f"{DEVICES}/0000:00:02.1/driver", "/sys/bus/pci/drivers/intruder")

    host.kernel.before_write = step_in
    with pytest.raises(HandoverFailed, match=r"0000:00:02.1 of group 1 is with intruder"):
        host.take(GPU)

    assert ["host", "host"] == host.words()


#: The machines whose GPU is not taken, by the check that says why first.
REFUSED = {
    "broadwell": "generation",
    "group_not_viable": "group_members",
    "iommu_off": "iommu",
    "no_vt_d": "vt_d",
    "raptor_lake_with_vfs": "virtual_functions",
}


@pytest.mark.parametrize("name", sorted(MACHINES.keys() - {"amd_host"}))
def test_every_machine_is_refused_or_makes_the_round_trip(tmp_path: Path, name: str) -> None:
    """With the facts and refusals of `check`: nothing is written, or all is as it was afterwards."""
    machine = MACHINES[name](tmp_path / "host")
    kernel = FakeKernel(machine)
    for module in ("vfio-pci", "vfio_iommu_type1"):
        kernel.load_module(module, 1)
    kernel.log.clear()
    settings = HostSettings.model_validate(
        {
            "vm": {"run_dir": str(tmp_path / "run"), "state_dir": str(tmp_path / "state")},
            "gpu": {"allow_console_loss": True},
        }
    )
    facts = gather(machine.root, settings, live=False)
    assert facts.gpu.gpu is not None
    gpu = facts.gpu.gpu.address
    before = snapshot(machine)
    if name in REFUSED:
        with pytest.raises(HandoverRefused) as raised:
            take(kernel, settings, facts, [gpu])
        assert (REFUSED[name], []) == (raised.value.findings[0].check, kernel.log)
        return

    take(kernel, settings, facts, [gpu])
    assert "vfio-pci" == standing(machine.root, settings, [gpu])[0].driver
    give(kernel, settings, [gpu])

    assert before == snapshot(machine)


def _held(host: HandedHost) -> None:
    host.tree.process(77, "plex", {5: "/dev/dri/renderD128"}, "/docker/abc")


def _in_no_group(host: HandedHost) -> None:
    host.tree.remove(f"{FOLDER}/iommu_group")


def _not_viable(host: HandedHost) -> None:
    host.tree.device("0000:00:1f.0", 0x8086, 0x1234, 0x060100, driver="lpc_ich", group=GROUP)


def _of_another_maker(host: HandedHost) -> None:
    host.tree.write(f"{FOLDER}/vendor", "0x1234\n")


def _no_display(host: HandedHost) -> None:
    host.tree.write(f"{FOLDER}/class", "0x010000\n")


def _root_disk(host: HandedHost) -> None:
    path = f"{DEVICES}/{TUNER}/virtio0/block/vda"
    host.tree.write(f"{path}/dev", "254:0\n")
    host.tree.link("/sys/block/vda", path)
    host.tree.link("/sys/class/block/vda", path)
    host.tree.link("/sys/dev/block/254:0", path)
    host.tree.write("/dev/vda", "")
    host.tree.write("/proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/vda rw\n")
    host.tree.write("/proc/mounts", "/dev/vda / ext4 rw 0 0\n")


def _default_route(host: HandedHost) -> None:
    host.tree.write(f"{DEVICES}/{TUNER}/net/enp3s0/carrier", "1\n")
    host.tree.link("/sys/class/net/enp3s0", f"{DEVICES}/{TUNER}/net/enp3s0")
    host.tree.write(
        "/proc/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "enp3s0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n",
    )


def _bridge(host: HandedHost) -> None:
    host.tree.write(f"{DEVICES}/{TUNER}/class", "0x060400\n")


def _missing(host: HandedHost) -> None:
    host.tree.remove(f"{DEVICES}/{TUNER}")


def _other_vm(host: HandedHost) -> None:
    host.tree.write(f"/dev/vfio/{GROUP}", "")
    host.hold()


REFUSALS = {
    "openers": (_held, "process 77 .plex"),
    "no group": (_in_no_group, "in no IOMMU group"),
    "not viable": (_not_viable, "lpc_ich"),
    "not Intel": (_of_another_maker, "not from Intel"),
    "no display": (_no_display, "no display device"),
    "root disk": (_root_disk, "carries vda"),
    "default route": (_default_route, "carries enp3s0"),
    "bridge": (_bridge, "is a bridge"),
    "missing": (_missing, "there is no PCI device"),
    "other VM": (_other_vm, "qemu-system-x86"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_means_nothing_was_written(tmp_path: Path, name: str) -> None:
    """Not one write, no module loaded, no journal; and the reason is told."""
    change, reason = REFUSALS[name]
    host = HandedHost(tmp_path, sound=True, loaded=False)
    change(host)

    with pytest.raises(HandoverRefused, match=reason) as raised:
        host.take()

    assert ([], []) == (host.kernel.log, host.journals())
    assert all(finding.remedy for finding in raised.value.findings)


def test_a_check_that_forbids_it_is_obeyed(host: HandedHost) -> None:
    finding = failed("virtual_functions", "7 virtual functions are in use", "Remove them.")

    with pytest.raises(HandoverRefused, match="7 virtual functions"):
        host.take(refused=[finding])

    assert ([], []) == (host.kernel.log, host.journals())


def test_a_device_that_is_not_in_the_settings_is_refused(host: HandedHost) -> None:
    host.tree.device("0000:05:00.0", 0x1106, 0x3483, 0x0C0330, driver="xhci_hcd", group=20)

    with pytest.raises(HandoverRefused, match=r"neither the GPU nor named in \[\[pci\]\]"):
        host.take(PciAddress.parse("0000:05:00.0"))

    assert [] == host.kernel.log


def test_what_became_wrong_after_the_first_look_is_seen_by_the_last(host: HandedHost) -> None:
    """The tuner is looked at again right before it is taken; what is found there brings the GPU back as well."""
    before = host.sysfs()

    def turn(path: str, data: str) -> None:
        if path.endswith("drivers_probe"):
            host.tree.write(f"{DEVICES}/{TUNER}/class", "0x060400\n")

    host.kernel.before_write = turn
    with pytest.raises(HandoverFailed, match=r"is a bridge.*Everything was put back"):
        host.take()

    host.tree.write(f"{DEVICES}/{TUNER}/class", "0x048000\n")
    assert (before, []) == (host.sysfs(), host.journals())


def test_a_driver_whose_bind_refuses_may_take_it_when_probed(host: HandedHost) -> None:
    before = host.sysfs()
    host.take(GPU)
    host.kernel.fail("drivers/i915/bind", errno.ENODEV, times=99)

    host.give(GPU)

    assert (before, []) == (host.sysfs(), host.journals())


def test_a_dry_run_tells_every_write_and_leaves_no_trace(host: HandedHost) -> None:
    before = host.sysfs()
    planned = host.take(dry_run=True)
    assert ([], before) == (host.kernel.log, host.sysfs())
    assert not host.settings.vm.state_dir.exists()
    assert not host.settings.vm.run_dir.exists()

    host.take()
    assert [(step.path, step.data) for step in planned.steps] == host.kernel.written
    host.kernel.log.clear()
    planned_back = host.give(dry_run=True)
    assert [] == host.kernel.log
    host.give()

    assert [(step.path, step.data) for step in planned_back.steps] == host.kernel.written


def test_the_modules_are_loaded_first(tmp_path: Path) -> None:
    host = HandedHost(tmp_path, loaded=False)

    host.take(GPU)

    assert [("module", "vfio-pci", ""), ("module", "vfio_iommu_type1", "")] == host.kernel.log[:2]
    assert "vfio-pci" == host.drivers()[0]


def test_a_kernel_without_the_module_changes_nothing(tmp_path: Path) -> None:
    host = HandedHost(tmp_path, loaded=False)
    before = host.sysfs()
    del host.kernel.modules["vfio-pci"]

    with pytest.raises(EncoderdError, match="modprobe vfio-pci failed"):
        host.take()

    assert (before, []) == (host.sysfs(), host.journals())


def test_two_helpers_at_once(tmp_path: Path) -> None:
    """The second is told who is at it, and changes nothing; when the first was killed, its lock is gone."""
    host = HandedHost(tmp_path)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            first = HandedHost(tmp_path)

            def wait(count: int) -> None:
                os.write(write_end, b"x")
                time.sleep(60)

            first.kernel.after_operation = wait
            first.take()
        finally:
            os._exit(1)
    os.close(write_end)
    try:
        assert b"x" == os.read(read_end, 1)
        for deed in (host.take, host.give):
            with pytest.raises(HelperBusy, match=f"PID {pid} is at it"):
                deed()
        assert [] == host.kernel.log
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_end)

    host.give()

    assert (["host", "host"], []) == (host.words(), host.journals())


def test_give_waits_for_the_holder_to_go(host: HandedHost) -> None:
    """Nothing is written before the group is free; a holder that ends in time is waited for."""
    host.take()
    host.kernel.log.clear()
    host.hold()
    with pytest.raises(HandoverFailed, match=r"qemu-system-x86 .PID 812"):
        host.give(GPU)
    assert ([], "taken") == (host.kernel.log, host.words()[0])
    assert 15 <= host.kernel.paused_s < 16

    pause = host.kernel.pause

    def ends(seconds: float) -> None:
        host.kernel.pause = pause  # type: ignore[method-assign]
        host.release()

    host.kernel.pause = ends  # type: ignore[method-assign]
    host.give(GPU)

    assert "host" == host.words()[0]


def test_a_holder_that_comes_after_the_first_write(host: HandedHost) -> None:
    """Each unbind is preceded by a look of its own: it is not written, and nothing hangs."""
    host.take(GPU)
    host.kernel.log.clear()
    host.kernel.before_write = lambda path, data: host.hold() if path.endswith(OVERRIDE) else None

    with pytest.raises(HandoverFailed, match=r"is still used by qemu-system-x86 .PID 812"):
        host.give(GPU)

    assert [] == [path for path, _ in host.kernel.written if path.endswith("unbind")]
    assert "half-given" == host.words()[0]


def test_a_holder_that_comes_between_the_look_and_the_write(host: HandedHost) -> None:
    """The unbind hangs: it is told, nothing more is written, the journal stays, and give ends it when he is gone."""
    before = host.sysfs()
    host.take(GPU)
    host.kernel.log.clear()
    host.kernel.before_write = lambda path, data: host.hold() if path.endswith("vfio-pci/unbind") else None

    with pytest.raises(HandoverFailed, match=r"process 4242 is in state S.*Do not kill"):
        host.give(GPU)
    assert ("half-given", 2) == (host.words()[0], len(host.kernel.written))
    host.kernel.before_write = lambda path, data: None
    host.release()
    host.give(GPU)

    assert (before, []) == (host.sysfs(), host.journals())


def test_what_a_vm_has_taken_is_known_without_its_settings(host: HandedHost) -> None:
    """The GPU first; not what another VM took, nor what was taken before a reboot."""
    assert () == taken_by(host.kernel.root, host.settings)
    host.take(TUNER)
    host.take(GPU)
    assert (GPU, TUNER) == taken_by(host.kernel.root, host.settings)
    other = host.settings.model_copy(update={"vm": host.settings.vm.model_copy(update={"name": "other"})})
    assert () == taken_by(host.kernel.root, other)
    host.kernel.reboot("00000000-1111-4000-8000-000000000002")

    assert () == taken_by(host.kernel.root, host.settings)


def test_keep_vfio_keeps_the_gpu_and_gives_the_rest(tmp_path: Path) -> None:
    host = HandedHost(tmp_path, options={"after": "keep-vfio"})
    host.take()

    kept = host.give()
    assert ((GPU,), (TUNER,), ["taken", "host"]) == (kept.kept, kept.given, host.words())
    host.give(even_if_kept=True)

    assert (["host", "host"], []) == (host.words(), host.journals())


def test_an_override_of_the_owner_comes_back(host: HandedHost) -> None:
    """driverctl or a person set one before: it is what the device has afterwards."""
    for value in ("i915", "xe"):
        host.tree.write(f"{FOLDER}/driver_override", f"{value}\n")
        before = host.sysfs()

        host.take(GPU)
        host.give(GPU)

        assert before == host.sysfs(), value


def test_a_device_without_a_driver_has_none_afterwards(host: HandedHost) -> None:
    host.kernel.write("/sys/bus/pci/drivers/i915/unbind", str(GPU), 1)
    before = host.sysfs()

    host.take(GPU)
    assert ["taken"] == [one.word for one in host.standing(GPU)]
    host.give(GPU)

    assert before == host.sysfs()


def test_a_device_pinned_to_vfio_pci_is_used_and_never_given_away(host: HandedHost) -> None:
    """driverctl had it bound at boot: nothing is written, and give says why it stays."""
    host.tree.write(f"/etc/driverctl.d/pci-{GPU}", "vfio-pci\n")
    for path, data in (
        (f"{FOLDER}/driver_override", "vfio-pci"),
        ("/sys/bus/pci/drivers/i915/unbind", str(GPU)),
        ("/sys/bus/pci/drivers_probe", str(GPU)),
        (f"{DEVICES}/{SOUND}/driver_override", "vfio-pci"),
        ("/sys/bus/pci/drivers/snd_hda_intel/unbind", str(SOUND)),
        ("/sys/bus/pci/drivers_probe", str(SOUND)),
    ):
        host.kernel.write(path, data, 1)
    host.kernel.log.clear()

    taken = host.take(GPU)
    given = host.give(GPU)

    assert ((), (GPU,), []) == (taken.taken, taken.foreign, host.kernel.log)
    assert "driverctl" in taken.notes[0]
    assert "driverctl" in given.notes[0]
    assert "its own driver is not known" in given.notes[0]


def test_a_device_that_was_pinned_since_stays(host: HandedHost) -> None:
    host.take(GPU)
    host.tree.write("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=8086:3e92\n")
    host.kernel.log.clear()

    given = host.give(GPU)

    assert ((), (GPU,), []) == (given.given, given.kept, host.kernel.log)
    assert "vfio.conf" in given.notes[0]


def test_a_driver_that_was_unloaded_is_loaded_again(host: HandedHost) -> None:
    before = host.sysfs()
    host.take(GPU)
    host.tree.remove("/sys/bus/pci/drivers/i915")
    host.tree.remove("/sys/module/i915")
    host.kernel.modules["i915"] = ("i915",)

    host.give(GPU)

    after = host.sysfs()
    assert before.keys() - after.keys() == {"/sys/bus/pci/drivers/i915/module"}
    assert (["host"], "i915") == ([one.word for one in host.standing(GPU)], host.drivers()[0])


def test_a_driver_that_may_not_be_loaded_is_told(host: HandedHost) -> None:
    host.take(GPU)
    host.tree.remove("/sys/bus/pci/drivers/i915")
    host.tree.write("/proc/cmdline", "quiet module_blacklist=i915\n")

    with pytest.raises(HandoverFailed, match="module_blacklist=i915"):
        host.give(GPU)

    assert "half-given" == host.words()[0]


def test_a_driver_that_comes_back_without_nodes_is_remembered(host: HandedHost) -> None:
    """The device is given back, but gpu.after = keep-vfio is advised."""
    host.take(GPU)
    host.tree.write("/proc/sys/kernel/tainted", "0\n")

    def warn(path: str, data: str) -> None:
        if path.endswith("i915/bind"):
            host.tree.write("/proc/sys/kernel/tainted", "512\n")

    host.kernel.before_write = warn
    said: list[str] = []
    given = host.give(GPU, report=said.append)

    assert ((GPU,), "the kernel warned meanwhile (dmesg)") == (given.given, given.trouble)
    assert any("keep-vfio" in line for line in said)


def test_a_device_that_another_driver_got_is_left_to_it(host: HandedHost) -> None:
    """Somebody bound the GPU to pci-stub by hand after the take: only our override is taken back."""
    host.tree.driver("pci-stub")
    host.take(GPU)
    for path, data in (
        (f"{FOLDER}/driver_override", "pci-stub"),
        ("/sys/bus/pci/drivers/vfio-pci/unbind", str(GPU)),
        ("/sys/bus/pci/drivers_probe", str(GPU)),
    ):
        host.kernel.write(path, data, 1)
    assert ["foreign"] == [one.word for one in host.standing(GPU)]

    host.give(GPU)

    assert ("pci-stub", []) == (host.drivers()[0], host.journals())


def test_after_a_reboot_the_journal_is_history(tmp_path: Path) -> None:
    """What sysfs was told is gone; the journal is put aside, not followed."""
    host, fresh = HandedHost(tmp_path / "before"), HandedHost(tmp_path / "after")
    host.take(GPU)
    (host.folder / "state").rename(fresh.folder / "state")
    fresh.kernel.reboot("00000000-1111-4000-8000-000000000002")
    assert ["host", "host"] == fresh.words()

    given = fresh.give(GPU)

    assert ([], [], (GPU,)) == (fresh.kernel.log, fresh.journals(), given.nothing)
    assert "earlier boot" in given.notes[0]
    assert ["0000:00:02.0-boot-5f0b6c1e.json"] == [path.name for path in (fresh.journal_folder / "old").iterdir()]


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1}', '{"schema": 99, "address": "x"}', "[" * 5000, "\0" * 64])
def test_a_journal_that_cannot_be_read_loses_nothing(host: HandedHost, content: str) -> None:
    """While the device is away nothing is written and the file stays; once it is at home the file is put aside."""
    before = host.sysfs()
    host.take(GPU)
    file = host.journal_folder / f"{GPU}.json"
    good = file.read_text()
    file.write_text(content)
    host.kernel.log.clear()
    assert "foreign" == host.words()[0]
    for deed in (host.take, host.give):
        with pytest.raises(JournalUnreadable, match=r"0000:00:02\.0\.json"):
            deed(GPU)
    assert ([], content) == (host.kernel.log, file.read_text())
    file.write_text(good)
    host.give(GPU)
    assert before == host.sysfs()

    file.write_text(content)
    given = host.give(GPU)

    assert ([], (GPU,)) == (host.journals(), given.nothing)
    assert [content] == [path.read_text() for path in (host.journal_folder / "old").iterdir()]
