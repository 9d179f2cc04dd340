"""`encoderd check`: a report that goes on to its end, whatever it meets, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from encoderd.cli.checking import check
from tests.integration.commands import run, settings_for
from tests.simulated import RUNTIME, Simulated


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands set up the log for their own streams, which end with them."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return settings_for(tmp_path)


def test_check_finds_a_machine_that_can_encode(config: Path, tmp_path: Path) -> None:
    """Exit code 0, one line per check, and nothing was made or changed."""
    before = sorted(tmp_path.rglob("*"))
    result = run("check", "--json", "-c", config)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}

    assert result.exit_code == 0, result.stdout
    assert {"settings", "state_dir", "tv.path", "tv.output", "database", "pyav", "trial_libx264"} <= found.keys()
    assert "PSNR" in found["trial_libx264"]["evidence"]
    assert sorted(tmp_path.rglob("*")) == before


def test_check_says_what_is_wrong(config: Path, tmp_path: Path) -> None:
    """Exit code 1; each failure has a remedy, and the other checks are made all the same."""
    (tmp_path / "input").rmdir()
    (tmp_path / "output").write_text("a file")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "queue.db").write_text("no database\n" * 100)
    result = run("check", "--json", "-c", config)
    failed = {found["check"]: found for found in json.loads(result.stdout) if found["verdict"] == "fail"}
    text = run("check", "-c", config)

    assert (result.exit_code, text.exit_code) == (1, 1)
    assert {"tv.path", "tv.output", "database"} <= failed.keys()
    assert all(found["remedy"] for found in failed.values())
    assert "✘ tv.path" in text.stdout
    assert "\x1b" not in text.stdout


def test_check_without_a_gpu(config: Path) -> None:
    """Demanded: a failure with the way to it. Allowed to be missing: a warning."""
    if any(Path("/dev").glob("dri/renderD*")):
        pytest.skip("needs a machine without a GPU")
    text = config.read_text("utf-8")
    verdicts = {}
    for encoder in ("h264_qsv", "auto"):
        config.write_text(text.replace('"libx264"', f'"{encoder}"'), encoding="utf-8")
        result = run("check", "--json", "-c", config)
        verdicts[encoder] = {found["check"]: found["verdict"] for found in json.loads(result.stdout)}
        assert result.exit_code == (1 if encoder == "h264_qsv" else 0)

    assert verdicts["h264_qsv"]["trial_h264_qsv"] == "fail"
    assert verdicts["auto"]["trial_h264_qsv"] == "warn"
    assert verdicts["auto"]["trial_libx264"] == "pass"


def test_a_check_that_breaks_is_a_finding(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report goes on behind it."""

    def broken(_root: Path = Path("/")) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(check.__wrapped__.__globals__, "read_mountinfo", broken)
    result = run("check", "--json", "-c", config)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}

    assert result.exit_code == 1
    assert "ZeroDivisionError" in found["folders"]["evidence"]
    assert found["database"]["verdict"] == "pass"


def test_the_simulated_gpu_encodes(
    config: Path, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What encodes is not broken: no failure, though this machine has no GPU. The report tells which runtime did it."""
    for name, value in simulated.environment().items():
        monkeypatch.setenv(name, value)
    config.write_text(config.read_text("utf-8").replace('"libx264"', '"h264_qsv"'), encoding="utf-8")
    result = run("check", "--json", "-c", config, "--report", tmp_path / "report.txt")
    found = {finding["check"]: finding["verdict"] for finding in json.loads(result.stdout)}
    report = (tmp_path / "report.txt").read_text("utf-8")

    assert (result.exit_code, found["trial_h264_qsv"], found["gpu_device"]) == (0, "pass", "warn"), result.stdout
    assert f"{RUNTIME} (found through ONEVPL_PRIORITY_PATH): loads, would be used" in report
    assert '"rate_control": "icq"' in report


def test_a_runtime_that_hangs_when_it_is_loaded(
    config: Path, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found in a child with a limit, and no trial is lost on it."""
    for name, value in simulated.environment(fault="hangload").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("encoderd.readiness.LOAD_LIMIT_S", 0.5)
    config.write_text(config.read_text("utf-8").replace('"libx264"', '"h264_qsv"'), encoding="utf-8")
    found = {one["check"]: one for one in json.loads(run("check", "--json", "-c", config).stdout)}

    assert "hangs when it is loaded" in found["trial_h264_qsv"]["evidence"]
    assert found["trial_h264_qsv"]["verdict"] == "fail"


def test_what_the_gpu_changes_is_a_warning(config: Path, simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulated.environment(platform="dg2").items():
        monkeypatch.setenv(name, value)
    text = config.read_text("utf-8").replace('"libx264"', '"h264_qsv"\nrate_control = "la_icq"')
    config.write_text(text, encoding="utf-8")
    result = run("check", "--json", "-c", config)
    granted = next(one for one in json.loads(result.stdout) if one["check"] == "granted")

    assert (result.exit_code, granted["verdict"]) == (0, "warn")
    assert "la_icq" in granted["evidence"]
