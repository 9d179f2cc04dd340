"""Every remedy that names a command names one that exists; those of acceptable failures lead to a published file."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from encoderd.cli import app
from encoderd.encode.sample import SampleSpec, make_recording
from encoderd.errors import ExitCode
from encoderd.jobs import JobState
from tests.broadcast.catalogue import CATALOGUE
from tests.integration.commands import settings_for
from tests.integration.test_bad_recordings import index_first
from tests.integration.test_daemon_operator import run as command
from tests.often import often
from tests.running import RunningDaemon

PACKAGE = Path(__file__).parents[2] / "encoderd"
#: A command in a sentence: its words up to where the sentence goes on.
COMMAND = re.compile(r"\bencoderd ((?:check|config|encode|logs|queue|run|status)(?: (?:--?[a-z-]+|[a-z]+|[A-Z]+)\b)*)")


def texts() -> Iterator[str]:
    """Yield every text of the program, with what is put into it left out."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_commands_in_the_program_s_sentences_exist() -> None:
    root = typer.main.get_command(app)
    found = sorted({match[1] for text in texts() for match in COMMAND.finditer(text)})

    assert {"queue accept JOB", "queue retry JOB", "logs JOB"} <= set(found)
    assert [] == [words for words in found if missing(root, words.split())]


def missing(command: Any, words: list[str]) -> str:
    """Return the first word that is no sub-command where one is wanted, or no option; "" when all are."""
    while hasattr(command, "commands") and words:
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return next((word for word in words if word.startswith("-") and word not in {*known, "--"}), "")


def cut_off(folder: Path) -> Path:
    """An MP4 whose index claims twice what is there."""
    spec = SampleSpec(duration_s=8.0, width=160, height=96, video="libx264", interlaced=False, muxer="mp4")
    data = make_recording(folder / "whole.mp4", spec).read_bytes()
    at = data.rindex(b"moov") - 4
    path = folder / "cut.mp4"
    path.write_bytes(index_first(data, at)[: len(data) - at + at // 2])
    return path


def damaged(folder: Path) -> Path:
    path = folder / "damaged.ts"
    path.write_bytes(CATALOGUE["scrambled_third"].make().data)
    return path


@pytest.mark.parametrize(("make", "check"), often(1, [(cut_off, "duration"), (damaged, "damage")]))
def test_the_daemon_s_advice_leads_to_a_file(
    daemon: RunningDaemon, tmp_path: Path, make: Callable[[Path], Path], check: str
) -> None:
    recording = make(tmp_path)
    daemon.configure(encode={"max_damage_ratio": 0.2, "after_success": "delete"})
    source = daemon.start().drop(recording, f"a{recording.suffix}")
    daemon.wait_for(lambda: daemon.states() == [JobState.FAILED], what="the failure")
    advised = re.search(r"encoderd (queue accept 1)$", daemon.job().remedy)
    daemon.wait_for(lambda: daemon.status()["acceptable"] == 1, what="the status")

    assert advised is not None, daemon.job().remedy
    assert "is queued" in command(daemon, *advised[1].split())
    daemon.wait_done()
    assert (daemon.outputs(), source.exists()) == (["a.mp4.damaged"], True)
    assert check in [one["check"] for one in daemon.receipt()["accepted"]]
    assert daemon.receipt()["after_success"].startswith("kept: its damage was accepted")
    assert "(damage accepted)" in command(daemon, "queue", "list")
    assert "accepted" in daemon.events()
    daemon.wait_for(lambda: daemon.status()["accepted"] == 1, what="the status")
    assert "1 done with accepted damage" in command(daemon, "status")
    assert "cannot be accepted" not in command(daemon, "queue", "accept", "1", code=ExitCode.FAILED)
    command(daemon, "queue", "accept", "99", code=ExitCode.FAILED)


def test_the_command_s_advice_leads_to_a_file(tmp_path: Path) -> None:
    """It can be typed as it stands: with the same files and settings, and the whole of it."""
    config, recording = settings_for(tmp_path), cut_off(tmp_path)
    refused = encoderd("encode", str(recording), str(tmp_path / "out put.mp4"), "--config", str(config))
    advised = re.search(r"marked as damaged: encoderd (.*) \(FFmpeg's log", refused.stderr)

    assert refused.returncode == ExitCode.FAILED
    assert advised is not None, refused.stderr
    done = encoderd(*shlex.split(advised[1]))
    assert done.returncode == 0, done.stderr
    assert "out put.mp4.damaged" in done.stdout
    assert (tmp_path / "out put.mp4.damaged").exists() and not (tmp_path / "out put.mp4").exists()
    assert recording.exists()


def encoderd(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "encoderd", *words], capture_output=True, text=True, check=False)
