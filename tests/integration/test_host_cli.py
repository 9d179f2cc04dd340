"""The `encoderd-host` command as a person types it, on recorded hosts and on a VM without devices."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.machines import MACHINES, everything_healthy
from tests.sockets import tmp_path as tmp_path  # a fixture

CHECKOUT = Path(__file__).parents[2]
PROPERTIES = CHECKOUT / "tests/data/qemu/10.0.json"


def host(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENCODERD_")}
    return subprocess.run(
        [sys.executable, "-m", "encoderd.host.cli", *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=CHECKOUT, env=environment,
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A VM without devices, in folders of this test."""
    file = tmp_path / "host.toml"
    file.write_text(
        f'[vm]\nname = "here"\naccelerator = "tcg"\nrun_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n'
        '[gpu]\naddress = "none"\n'
    )
    return file


def test_check_tells_a_pipe_in_plain_lines(tmp_path: Path) -> None:
    """One line a finding, whatever bytes a driver's name has; exit code 1 where one fails."""
    machine = MACHINES["group_not_viable"](tmp_path)
    machine.pci("0000:00:1f.3", "8086:a170", 0x040300, driver=os.fsdecode(b"odd\xff"), group=1)
    run = host("check", "--root", str(tmp_path))

    assert (run.returncode, run.stderr) == (1, "")
    assert "✔ processor" in run.stdout
    assert '[[pci]] address = "0000:00:1f.3"' in run.stdout
    assert "\x1b" not in run.stdout


def test_check_speaks_json(tmp_path: Path) -> None:
    everything_healthy(tmp_path)
    run = host("check", "--json", "--root", str(tmp_path))
    document = json.loads(run.stdout)

    assert (run.returncode, run.stderr) == (1, "")  # without settings there is no [[disk]]
    assert ("processor", "pass", "") == tuple(document[0][key] for key in ("check", "verdict", "remedy"))
    assert ["disk"] == [finding["check"] for finding in document if finding["verdict"] == "fail"]


def test_argv_of_a_recorded_host_can_be_pasted(tmp_path: Path) -> None:
    """An option a line; a shell reads it as the very words QEMU gets. What is unusual is said beside it."""
    everything_healthy(tmp_path)
    run = host("argv", "--root", str(tmp_path), "--qemu-properties", str(PROPERTIES))
    words = shlex.split(run.stdout.replace("\\\n", ""))

    assert run.returncode == 0
    assert ["/usr/bin/qemu-system-x86_64", "-name"] == words[:2]
    assert any(word.startswith("vfio-pci,host=0000:00:02.0,id=gpu0,") for word in words)
    assert "-S" in words
    assert "# -action reboot=shutdown" in run.stderr


def test_a_recorded_host_without_its_qemu_needs_one_named(tmp_path: Path) -> None:
    everything_healthy(tmp_path)
    run = host("argv", "--root", str(tmp_path))

    assert run.returncode == 2
    assert "--qemu-properties" in run.stderr


def test_status_of_a_vm_that_does_not_run(settings: Path) -> None:
    run = host("status", "--json", "-c", str(settings))

    assert (0, "ready") == (run.returncode, json.loads(run.stdout)["state"])


def test_take_and_give_without_devices_say_so(settings: Path) -> None:
    """Nothing to do is no failure, and changes nothing."""
    take, give = host("take", "-c", str(settings)), host("give", "-c", str(settings))

    assert (0, 0) == (take.returncode, give.returncode), take.stderr + give.stderr


def test_waiting_ends_in_time_and_says_where_the_vm_stands(settings: Path) -> None:
    run = host("wait", "--for", "healthy", "--timeout", "0.3", "-c", str(settings))

    assert run.returncode == 1
    assert "not healthy after 0.3 s, but ready" in run.stderr
    assert 0 == host("wait", "--for", "off", "-c", str(settings)).returncode


def test_a_vm_without_anything_to_start_from_is_not_booted(settings: Path, tmp_path: Path) -> None:
    """The checks come first; the one that fails is the message, and nothing was started."""
    run = host("boot", "-c", str(settings))

    assert run.returncode == 1
    assert "This host is not ready: the guest has neither a disk nor a kernel" in run.stderr
    assert not (tmp_path / "run/here/pid").exists()


@pytest.mark.slow
def test_what_collect_writes_is_judged_anywhere(settings: Path, tmp_path: Path) -> None:
    """The findings on the file are those of the host: this one's."""
    target = tmp_path / "host.tar.gz"
    collected = host("collect", str(target), "-c", str(settings))
    again = host("check", "--json", "--root", str(target))
    here = host("check", "--json", "-c", str(settings))

    assert collected.returncode == 0, collected.stderr
    verdicts = [{finding["check"]: finding["verdict"] for finding in json.loads(run.stdout)} for run in (here, again)]
    for only_live in ("sandbox", "memlock"):
        verdicts[0].pop(only_live, None)
    assert verdicts[0] == verdicts[1]
    assert "it is not replaced" in host("collect", str(target), "-c", str(settings)).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check", "--root", "/no/such/folder"], 1, "There is no /no/such/folder"),
        (["check", "-c", "/no/such.toml"], 2, "There is no settings file /no/such.toml"),
        (["argv", "--qemu-properties", "README.md"], 1, "not a snapshot of QEMU"),
        (["console"], 1, "cannot be reached"),
        (["stop"], 0, ""),
        (["grapefruit"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_two_lines(settings: Path, arguments: list[str], code: int, words: str) -> None:
    """What happened, and what to type; never a traceback."""
    given = [] if "-c" in arguments or arguments[0] == "grapefruit" else ["-c", str(settings)]
    run = host(*arguments, *given)

    assert (code, "Traceback" in run.stderr) == (run.returncode, False), run.stderr
    assert words in run.stderr
