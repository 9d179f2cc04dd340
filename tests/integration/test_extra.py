"""Further options of the encoder are asked of FFmpeg itself, where settings are checked, before any recording."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from encoderd.encode.messages import OptionsChecked, OptionsRequest
from encoderd.encode.supervisor import run_to_end
from encoderd.errors import ExitCode
from tests.integration.test_daemon_operator import command
from tests.running import RunningDaemon


@pytest.mark.parametrize(
    ("extra", "problems"),
    [
        ({"rc-lookahead": "30", "tune": "film", "qmin": "3", "psy-rd": "1.0:0.1"}, []),
        ({"b": "2M"}, []),
        ({"aq-mode": "variance"}, []),
        ({"no_such_thing": "1"}, ["libx264 has no option named no_such_thing"]),
        ({"aq-mode": "vari"}, ["libx264 takes no aq-mode = 'vari'"]),
        ({"qmin": "900"}, ["libx264 takes no qmin = '900'"]),
        ({"x264-params": "aq-mode=1:no-mbtree=1"}, []),
        ({"x264-params": "nonsense=1"}, ["x264 takes no nonsense"]),
        ({"x264-params": "aq-mode=lots"}, ["x264 takes no aq-mode"]),
    ],
)
def test_ffmpeg_is_asked(extra: dict[str, str], problems: list[str]) -> None:
    request = OptionsRequest(encoder="libx264", extra=tuple(extra.items()))
    outcome = run_to_end(request, 30, time.monotonic).outcome

    assert isinstance(outcome, OptionsChecked), outcome
    assert [problem.partition(" = ")[0] if problem.startswith("x264") else problem for problem in outcome.problems] == (
        problems
    )


def test_wrong_options_are_refused_where_settings_are(daemon: RunningDaemon) -> None:
    """By config check and at the start with exit code 2; at a reload the running settings stay."""
    daemon.start()
    daemon.configure(encode={"extra": {"no_such_thing": "1"}})
    said = subprocess.run(command(daemon, "config", "check"), capture_output=True, text=True, check=False)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.log("daemon.reload_refused"), what="the refusal")

    assert said.returncode == ExitCode.SETTINGS
    assert "encode.extra: libx264 has no option named no_such_thing." in said.stderr
    assert "no_such_thing" in daemon.log("daemon.reload_refused")[0]["reason"]
    daemon.terminate()
    daemon.start(wait=False)
    assert daemon.exit_code(30) == ExitCode.SETTINGS


def test_options_of_the_gpu_s_encoder_need_no_gpu() -> None:
    request = OptionsRequest(encoder="h264_qsv", extra=(("scenario", "archive"), ("scenari", "x"), ("rdo", "9")))
    outcome = run_to_end(request, 30, time.monotonic).outcome

    assert isinstance(outcome, OptionsChecked)
    assert outcome.problems in (
        ["h264_qsv has no option named scenari", "h264_qsv takes no rdo = '9'"],
        [],  # a PyAV without h264_qsv
    )
