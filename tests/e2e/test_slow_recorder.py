"""A recorder that takes its time, through the whole daemon: nothing is admitted before it is whole."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.running import RunningDaemon

#: One second here stands for a minute: a recording has to rest for settle_s = 1, the stalls last up to 10.
SETTLE_S = 1.0
STALLS_S = (0.2, 3.0, 0.1, 10.0, 0.5)

_RECORDER = """
import sys, time
source, target, *stalls = sys.argv[1:]
data = open(source, "rb").read()
piece = len(data) // len(stalls) + 1
with open(target, "wb", buffering=0) as recorder:
    for number, stall in enumerate(stalls):
        recorder.write(data[number * piece:(number + 1) * piece])
        time.sleep(float(stall))
"""


@pytest.mark.parametrize("events", [True, False], ids=["inotify", "scan alone"])
def test_a_recorder_that_stalls_for_ten_minutes_is_waited_for(tmp_path: Path, events: bool) -> None:
    """While the recorder holds the file open, no stall makes it whole; once it is closed it is encoded, whole."""
    source = make_recording(tmp_path / "source.ts", SampleSpec(duration_s=2, width=320, height=240))
    intake = {"settle_s": SETTLE_S, "rescan_s": 0.3 if events else 0.2}
    with RunningDaemon(tmp_path / "daemon", intake=intake) as daemon:
        daemon.start()
        target = daemon.input / "slow.ts"
        recorder = subprocess.Popen([sys.executable, "-c", _RECORDER, source, target, *map(str, STALLS_S)])
        while recorder.poll() is None:
            assert [] == daemon.jobs(), "admitted while the recorder had it open"
            time.sleep(0.1)
        job = daemon.wait_done()
        receipt = daemon.receipt()

    assert source.stat().st_size == job.size_bytes
    assert ["added", "claimed", "publishing", "published"] == daemon.events()
    assert abs(receipt["duration_s"] - 2.0) < 0.1
