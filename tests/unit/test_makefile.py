"""What a newcomer's machine lacks is told in one sentence, by the command that needed it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed (apt-get install make)")

#: Stands for a Python: answers the questions the Makefile asks before it makes a venv.
PYTHON = """#!/bin/sh
case "$*" in
-V) echo "Python {version}" ;;
*version_info*) exit {too_old} ;;
*ensurepip*) exit {no_venv} ;;
*) echo "not to be reached: $*"; exit 1 ;;
esac
"""


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a checkout that has nothing yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    assert MAKE is not None
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [MAKE, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=False, env=alone
    )


@pytest.mark.parametrize(
    "target", ["test", "test-oldest", "demo", "lint", "e2e", "bench", "compare", "install", "install-host"]
)
@pytest.mark.parametrize(
    ("version", "too_old", "no_venv", "sentence"),
    [
        ("3.9.2", 1, 0, "encoderd needs Python 3.11 or newer, {python} is Python 3.9.2."),
        ("3.12.1", 0, 1, "The venv module of {python} is missing. On Debian: apt-get install python3-venv"),
        (None, 0, 0, "Python is missing ({python}). On Debian: apt-get install python3 python3-venv"),
    ],
)
def test_what_is_missing_is_told(
    target: str, version: str | None, too_old: int, no_venv: int, sentence: str, tmp_path: Path
) -> None:
    python = tmp_path / "a-python"
    if version is not None:
        python.write_text(PYTHON.format(version=version, too_old=too_old, no_venv=no_venv), "utf-8")
        python.chmod(0o755)
    run = made(tmp_path, target, f"PYTHON={python}", f"DESTDIR={tmp_path}/dest")

    first, _makes_own_line = run.stderr.splitlines()
    assert run.returncode != 0
    assert first.startswith(sentence.format(python=python))
    assert list(tmp_path.glob(".venv*")) == []
    assert not (tmp_path / "dest").exists()


def test_make_alone_says_what_there_is(tmp_path: Path) -> None:
    run = made(tmp_path)

    assert run.returncode == 0
    for target in (
        "demo",
        "test",
        "test-oldest",
        "lint",
        "e2e",
        "bench",
        "compare",
        "install",
        "install-host",
        "clean",
    ):
        assert f"\nmake {target} " in "\n" + run.stdout


#: Stands for the Python that installs, and in the venv it makes for that one's: writes down what it is asked.
INSTALLER = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
*pyav_choice*) {answer} ;;
*"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
*_base_executable*) echo /usr/bin/python3 ;;
esac
"""


def installed(folder: Path, answer: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Install below `folder`; returns what was run in the shell, and what Python was asked from the choice on."""
    run, asked = run_install(folder, "install", answer, *arguments)
    return run, asked[next(number for number, line in enumerate(asked) if "pyav_choice" in line) :]


def run_install(
    folder: Path, target: str, answer: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    for name in ("systemd", "config"):
        shutil.copytree(REPOSITORY / name, folder / name, dirs_exist_ok=True)
    python, log = folder / "a-python", folder / "log"
    python.write_text(INSTALLER.format(log=log, answer=answer), "utf-8")
    python.chmod(0o755)
    run = made(folder, target, f"PYTHON={python}", f"DESTDIR={folder}/dest", *arguments)
    return run, log.read_text("utf-8").replace(str(folder), "").splitlines()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("wheel", ["-m venv /dest/opt/encoderd"]),
        ("kept", ["-m venv /dest/opt/encoderd"]),
        (
            "distribution",
            ["-m venv --system-site-packages /dest/opt/encoderd", "-m pip uninstall --quiet --yes av"],
        ),
    ],
)
def test_the_chosen_pyav_is_the_one_that_is_installed(answer: str, expected: list[str], tmp_path: Path) -> None:
    """The distribution's is seen through the venv, and no wheel of an earlier installation hides it."""
    run, (_, *asked) = installed(tmp_path, f"echo {answer}")

    assert run.returncode == 0, run.stderr
    assert [*expected, "-m pip install --quiet --disable-pip-version-check --upgrade ."] == asked
    assert (tmp_path / "dest/etc/systemd/system/encoderd.service").exists()


def test_without_a_pyav_that_fits_nothing_is_installed(tmp_path: Path) -> None:
    run, asked = installed(tmp_path, "echo 'No PyAV.' >&2; exit 1")

    assert run.returncode != 0
    assert run.stderr.startswith("No PyAV.\n")
    assert len(asked) == 1
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize(("arguments", "expected"), [([], "wheel"), (["PYAV=auto", "MACHINE=/x"], "auto")])
def test_a_package_maker_s_gpu_decides_nothing(arguments: list[str], expected: str, tmp_path: Path) -> None:
    """With DESTDIR the machine is not the one it is for: the wheel, unless another is asked for."""
    _, (choice, *_rest) = installed(tmp_path, "echo wheel", *arguments)
    root = "/x" if arguments else "/"

    assert f"-B -m encoderd.preflight.pyav_choice {expected} --root {root} --installed /dest/opt/encoderd" == choice


def test_the_guest_gets_unit_user_rule_and_settings(tmp_path: Path) -> None:
    """Where DESTDIR says, with the PREFIX that was chosen; settings that are there are kept."""
    kept = tmp_path / "dest/etc/encoderd/encoderd.toml"
    kept.parent.mkdir(parents=True)
    kept.write_text("# mine\n", "utf-8")
    run, _ = installed(tmp_path, "echo wheel", "PREFIX=/srv/e")
    dest = tmp_path / "dest"

    assert run.returncode == 0, run.stderr
    assert kept.read_text("utf-8") == "# mine\n"
    assert "ExecStart=/srv/e/bin/encoderd run" in (dest / "etc/systemd/system/encoderd.service").read_text("utf-8")
    assert (dest / "etc/udev/rules.d/60-encoderd.rules").read_bytes() == (
        REPOSITORY / "systemd/encoderd.udev"
    ).read_bytes()
    assert (dest / "etc/sysusers.d/encoderd.conf").exists()
    assert str((dest / "usr/local/bin/encoderd").readlink()) == "/srv/e/bin/encoderd"
    assert not (dest / "usr/local/bin/encoderd-host").exists()


#: What the host's unit has of the venv; the real one is held against its settings elsewhere.
HOST_UNIT = "[Service]\nExecStart=/opt/encoderd/bin/encoderd-host boot\n"


def test_the_host_gets_its_unit_and_settings_and_no_user(tmp_path: Path) -> None:
    """Its GPU chooses no PyAV, because it encodes nothing; settings that are there are kept."""
    for name, text in {"systemd/encoderd-vm.service": HOST_UNIT, "config/encoderd-host.toml": "[vm]\n"}.items():
        if not (REPOSITORY / name).exists():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
    run, asked = run_install(tmp_path, "install-host", "echo wrong; exit 1", "PREFIX=/srv/e")
    dest = tmp_path / "dest"
    settings = dest / "etc/encoderd/encoderd-host.toml"

    assert run.returncode == 0, run.stderr
    assert [line for line in asked if "pyav_choice" in line] == []
    assert "-m venv /dest/srv/e" in asked
    assert "/srv/e/bin/encoderd-host boot" in (dest / "etc/systemd/system/encoderd-vm.service").read_text("utf-8")
    assert str((dest / "usr/local/bin/encoderd-host").readlink()) == "/srv/e/bin/encoderd-host"
    assert settings.exists()
    assert [file for file in ("sysusers.d", "udev", "encoderd/encoderd.toml") if (dest / "etc" / file).exists()] == []

    settings.write_text("# mine\n", "utf-8")
    again, _ = run_install(tmp_path, "install-host", "", "PREFIX=/srv/e")

    assert (again.returncode, settings.read_text("utf-8")) == (0, "# mine\n")
    assert "Kept your /etc/encoderd/encoderd-host.toml" in again.stdout
