"""README is held against the code: its tables, its commands, its map."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from encoderd.errors import ExitCode
from encoderd.jobs import TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL))


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table whose heading row begins with `heading`."""
    lines = iter(README.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _listed(text: str) -> list[str]:
    return re.findall(r"[a-z_]+", text)


def test_exit_codes_are_those_of_the_code() -> None:
    """An operator who looks a code up finds what the program means by it."""
    shown = {(int(code), name) for code, name, _ in _rows("code")}

    assert {(int(code), code.name) for code in ExitCode} == shown


def test_every_transition_stands_in_the_table() -> None:
    """(from, event, to) of the code and of README are the same; the words in a cell are all combinations."""
    states = {"queued", "encoding", "settling", "done", "failed", "cancelled", "skipped"}
    shown = set()
    for origins, events, targets in _rows("from"):
        named = [word for word in _listed(targets) if word in states]
        for origin in _listed(origins) or [None]:
            for event in _listed(events):
                shown.add((origin, event, named[0]))
    crashed = {("encoding", "exhausted", "failed")} | {("encoding", "publishing", "encoding")}
    real = {(origin and str(origin), str(event), str(target)) for (origin, event), target in TRANSITIONS.items()}

    assert real - crashed == {row for row in shown if row[1] != "publishing"}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z0-9]+)", README, re.MULTILINE))))
def test_every_make_target_exists(target: str) -> None:
    """A target that README names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^encoderd ([a-z]+(?: [a-z]+)?)", COMMANDS, re.MULTILINE))))
def test_every_command_exists(command: str) -> None:
    """A command that README shows answers to --help."""
    words = command.split()
    arguments = words if words[0] in {"queue", "config"} else words[:1]
    done = subprocess.run(
        [sys.executable, "-m", "encoderd", *arguments, "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_map_names_what_is_there() -> None:
    """Every module that the map names exists, and every part of the package is on it."""
    section = README.partition("## The map")[2].partition("## ")[0]
    parts = {path.name for path in (ROOT / "encoderd").iterdir() if path.is_dir() and path.name[0] not in "_."}

    assert parts == set(re.findall(r"`([a-z]+)/`", section))
    for row in re.findall(r"^\| (.*) \|$", section, re.MULTILINE):
        place, _, rest = row.partition(" | ")
        folder = re.search(r"`([a-z]+)/`", place)
        names = re.findall(r"`([a-z_ ]+)`", rest if folder else place)
        for name in " ".join(names).split():
            base = ROOT / "encoderd" / (folder.group(1) if folder else "")
            assert (base / f"{name}.py").exists() or name == "encoderd", f"{place}: {name}"
