"""`encoderd encode IN OUT`: the engine without the queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encoderd.errors import ExitCode
from tests.running import LIMIT_S, is_alive, processes

ENCODE = [sys.executable, "-m", "encoderd", "encode", "--encoder", "libx264", "--preset", "veryfast"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Its temporary files land where the test can see them; the machine's own settings stay out."""
    (tmp_path / "tmp").mkdir()
    config = tmp_path / "encoderd.toml"
    config.write_text("[encode]\nspace_margin_mib = 1\n", encoding="utf-8")
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "CONFIG": str(config)}


def run(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*ENCODE, *map(str, words), "--config", environment["CONFIG"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    assert "Traceback" not in done.stderr
    return done


def refused(environment: dict[str, str], *words: str | Path, code: ExitCode) -> str:
    done = run(environment, *words)

    assert done.returncode == code, done
    assert "\n  → " in done.stderr
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    return done.stderr


def test_one_file(environment: dict[str, str], recording: Path, tmp_path: Path) -> None:
    """Verified, published, told; nothing else is left, and nothing but the words is said."""
    output = tmp_path / "out" / "a b.mp4"
    done = run(environment, recording, output)

    assert done.returncode == 0, done.stderr
    assert [path.name for path in output.parent.iterdir()] == ["a b.mp4"]
    assert "✔ decodes" in done.stdout
    assert str(output) in done.stdout
    assert done.stderr == ""
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_the_receipt_as_json(environment: dict[str, str], recording: Path, tmp_path: Path) -> None:
    done = run(environment, recording, tmp_path / "a.mkv", "--quality", "40", "--json")
    receipt = json.loads(done.stdout)

    assert receipt["verdict"] == "pass"
    assert receipt["asked"]["video"]["quality"] == 40
    assert receipt["asked"]["container"] == "mkv"
    assert receipt["published_as"] == str(tmp_path / "a.mkv")


def test_names_of_any_bytes(environment: dict[str, str], recording: Path, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"in \xff\n.ts")
    source.write_bytes(recording.read_bytes())
    output = tmp_path / os.fsdecode(b"\xe9" + b"x" * 250 + b".mp4")
    done = run(environment, source, output)

    assert done.returncode == 0, done.stderr
    assert output.stat().st_size > 0


def test_wrong_turns(environment: dict[str, str], recording: Path, tmp_path: Path) -> None:
    """Each with what to do; what is there stays as it is."""
    taken, text = tmp_path / "taken.mp4", tmp_path / "text.ts"
    taken.write_bytes(b"somebody else's")
    text.write_text("a letter\n" * 500)

    assert "exists; it is not replaced" in refused(environment, recording, taken, code=ExitCode.FAILED)
    assert "quality" in refused(environment, recording, tmp_path / "a.mp4", "--quality", "99", code=ExitCode.SETTINGS)
    assert taken.read_bytes() == b"somebody else's"
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["taken.mp4"]

    failed = run(environment, text, tmp_path / "a.mp4")
    log = next(Path(environment["TMPDIR"]).iterdir())
    assert failed.returncode == ExitCode.FAILED
    assert f"(FFmpeg's log: {log})" in failed.stderr
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.slow
def test_more_wrong_turns(environment: dict[str, str], recording: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "file", tmp_path / "a.mp4"
    file.write_bytes(b"somebody else's")

    assert "neither .mp4 nor .mkv" in refused(environment, recording, tmp_path / "a.avi", code=ExitCode.SETTINGS)
    assert "does not exist" in refused(environment, tmp_path / "no.ts", target, code=ExitCode.SETTINGS)
    assert "no regular file" in refused(environment, tmp_path, target, code=ExitCode.SETTINGS)
    assert "cannot be used" in refused(environment, recording, file / "deep" / "a.mp4", code=ExitCode.FAILED)
    assert "h264_q" in refused(environment, recording, target, "--encoder", "h264_q", code=ExitCode.SETTINGS)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ended_in_the_middle(
    environment: dict[str, str], long_recording: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, or a shutdown: no child, no partial file, no log is left, and no traceback is shown."""
    command = [*ENCODE[:-1], "slow", str(long_recording), str(tmp_path / "a.mp4"), "-c", environment["CONFIG"]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        give_up_s = time.monotonic() + LIMIT_S
        while not any(path.stat().st_size > 0 for path in tmp_path.glob(".*partial")):
            assert time.monotonic() < give_up_s
            time.sleep(0.02)
        children = [pid for pid, parent in processes() if parent == running.pid]
        running.send_signal(number)
        _, said = running.communicate(timeout=20)

    assert running.returncode in {ExitCode.FAILED, 130}  # which one is up to typer
    assert len(children) == 1
    assert not is_alive(children[0])
    assert list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".*partial")) == []
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert "Traceback" not in said
