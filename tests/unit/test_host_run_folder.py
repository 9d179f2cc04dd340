"""The folder of what runs: made ready once, refused where it is not ours, locked while somebody works."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from encoderd.errors import EncoderdError
from encoderd.host.run_folder import VmRuns, bound_log, locked, open_log, prepare, qemu_of, write_state
from encoderd.host.settings import HostSettings
from encoderd.host.state import Recorded, RunState
from tests.hosts.tree import HostTree


def settings_in(folder: Path, **vm: object) -> HostSettings:
    return HostSettings.model_validate(
        {"vm": {"name": "t", "run_dir": str(folder / "run"), "state_dir": str(folder / "state"), **vm}}
    )


def test_it_is_made_and_what_an_earlier_start_left_is_removed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.run_folder.mkdir(parents=True, mode=0o755)
    stale = ("qmp.sock", "agent.sock", "health.sock", "serial.sock", "share-rec.sock", "pid")
    for name in (*stale, "serial.log", "state.json"):
        (settings.run_folder / name).touch()

    with locked(settings):
        prepare(settings)

    left = sorted(file.name for file in settings.run_folder.iterdir())
    assert ["lock", "serial.log", "state.json"] == left
    assert [0o700, 0o750] == [
        stat.S_IMODE(folder.stat().st_mode) for folder in (settings.run_folder, settings.state_folder)
    ]


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Somebody else may have put it there, to have our sockets where he can reach them."""
    settings = settings_in(tmp_path)
    settings.run_folder.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    settings.run_folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EncoderdError, match="is no folder of the user"), locked(settings):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_else_s_folder_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.run_folder.mkdir(parents=True)
    os.chown(settings.run_folder, 65534, 65534)

    with pytest.raises(EncoderdError, match="is no folder of the user"), locked(settings):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")

    with pytest.raises(EncoderdError, match="cannot be used") as caught, locked(settings_in(tmp_path)):
        pass

    assert "vm.run_dir" in caught.value.remedy


def test_the_lock_is_held_and_let_go_by_the_kernel(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    program = (
        "import sys, time; from pathlib import Path; from tests.unit.test_host_run_folder import *\n"
        "with locked(settings_in(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(VmRuns, match=r"in the hands of another encoderd-host\."), locked(settings):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()

    with locked(settings):
        pass


def test_the_uefi_s_variables_are_copied_once(tmp_path: Path) -> None:
    template = tmp_path / "VARS.fd"
    template.write_bytes(b"as shipped")
    settings = settings_in(tmp_path, firmware="uefi", uefi_vars=str(template))
    with locked(settings):
        prepare(settings)
        first = (settings.state_folder / "vars.fd").read_bytes()
        (settings.state_folder / "vars.fd").write_bytes(b"the guest's own")
        prepare(settings)

    assert (b"as shipped", b"the guest's own") == (first, (settings.state_folder / "vars.fd").read_bytes())
    assert ["vars.fd"] == [file.name for file in settings.state_folder.iterdir()]


def test_missing_variables_are_told(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, firmware="uefi", uefi_vars=str(tmp_path / "none.fd"))

    with locked(settings), pytest.raises(EncoderdError, match="cannot be copied") as caught:
        prepare(settings)

    assert "apt-get install ovmf" in caught.value.remedy


def test_qemu_s_log_goes_on_and_does_not_grow_for_ever(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.state_folder.mkdir(parents=True)
    begins = []
    for size in (10, 2_000_000, 5):
        descriptor, begin = open_log(settings)
        begins.append(begin)
        os.write(descriptor, b"x" * size)
        os.close(descriptor)

    assert [0, 10, 0] == begins
    assert [5, 2_000_010] == [(settings.state_folder / name).stat().st_size for name in ("qemu.log", "qemu.log.1")]


def test_a_log_that_the_guest_fills_is_cut_while_it_is_written(tmp_path: Path) -> None:
    """/run is memory, and serial.log there is the guest's; what it said last is kept."""
    log = tmp_path / "serial.log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(writer, b"x" * (4 * 2**20))
    small = bound_log(log)
    os.write(writer, b"panic")
    large = bound_log(log)
    os.write(writer, b"more")
    os.close(writer)

    assert (False, True, b"more") == (small, large, log.read_bytes())
    assert (2**20, b"xpanic") == (
        (tmp_path / "serial.log.1").stat().st_size,
        (tmp_path / "serial.log.1").read_bytes()[-6:],
    )
    assert not bound_log(tmp_path / "none.log")


def test_qemu_is_known_by_its_start_or_by_its_command_line(tmp_path: Path) -> None:
    """A number in a file proves nothing: by now it may be anybody's."""
    settings = settings_in(Path("/x"))
    tree = HostTree(tmp_path)
    folder = str(settings.run_folder)
    tree.write("/proc/sys/kernel/random/boot_id", "b\n")
    tree.write("/proc/11/stat", "11 (qemu) S" + " 1" * 18 + " 4711 9")
    tree.write("/proc/11/cmdline", f"qemu\0-pidfile\0{folder}/pid\0")
    tree.make(folder)
    begun = Recorded(state=RunState.BOOTING, since=1, pid=1, pid_start=1, boot_id="b", qemu_pid=11, qemu_start=4711)
    found = []
    write_state(tree.at(folder), begun)
    found.append(qemu_of(tree.root, settings))
    tree.write(f"{folder}/state.json", begun.to_json().replace("4711", "4710"))
    found.append(qemu_of(tree.root, settings))
    for pid in ("11\n", "12", "", "x", "9" * 30, "\u0661\u0661"):
        tree.write(f"{folder}/pid", pid)
        found.append(qemu_of(tree.root, settings))
    tree.write(f"{folder}/pid", "11")
    tree.write("/proc/11/cmdline", "bash\0")
    found.append(qemu_of(tree.root, settings))

    assert [(11, 4711), None, (11, 4711), None, None, None, None, None, None] == found
