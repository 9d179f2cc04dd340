"""The service on a fresh Debian 12, under a real systemd with all of the unit's sandbox, installed as README says."""

from __future__ import annotations

import shutil

import pytest

from encoderd.encode.sample import SampleSpec, make_recording
from tests.e2e import guest

SCRIPT = r"""
property() { systemctl show -p "$1" --value encoderd; }
wait_for() { for _ in $(seq 300); do eval "$1" && return; sleep 0.1; done; echo "NEVER: $1"; }
install -d -o encoderd /srv/encoded /srv/recordings
sed -i 's/^encoder = .*/encoder = "auto"/; s/^settle_s = .*/settle_s = 1/; s/^rescan_s = .*/rescan_s = 1/
        s/^space_margin_mib = .*/space_margin_mib = 1/; s/^preset = .*/preset = "veryfast"/' /etc/encoderd/encoderd.toml
mkdir -p /etc/systemd/system/encoderd.service.d
printf '[Service]\nWatchdogSec=4\nRestartSec=0.2\n' > /etc/systemd/system/encoderd.service.d/lab.conf
systemctl daemon-reload
encoderd config check; echo "settings: $?"
systemctl enable --now encoderd; echo "start: $?"
encoderd check; echo "check: $?"
cp /srv/sample.ts '/srv/recordings/録 画.ts'; cp /etc/passwd /srv/recordings/text.ts
wait_for 'test -e "/srv/encoded/録 画.mp4"'
wait_for 'encoderd queue list | grep -q failed'
encoderd queue list; stat -c '%U %a %n' /srv/encoded/*
wait_for 'property StatusText | grep -q ^idle'
echo "status: $(property StatusText)"
# a recorder of another user keeps its file open: only the lease can tell
bash -c 'exec 9> /srv/recordings/open.ts; cat /srv/sample.ts >&9; sleep 4
         echo "while open: $(encoderd queue list | grep -c open.ts)"'
wait_for 'encoderd queue list | grep open.ts | grep -q done'; echo "after: $(encoderd queue list | grep -c open.ts)"
systemctl reload encoderd; echo "reload: $?"
sed -i 's/^settle_s = 1/settle_ss = 1/' /etc/encoderd/encoderd.toml; systemctl reload encoderd; sleep 1
echo "after bad reload: $(property ActiveState)"
sed -i 's/^settle_ss = 1/settle_s = 1/' /etc/encoderd/encoderd.toml
kill -9 "$(property MainPID)"; wait_for 'test "$(property NRestarts)" = 1 -a "$(property ActiveState)" = active'
echo "after kill -9: $(property NRestarts) $(property ActiveState)"
kill -STOP "$(property MainPID)"; wait_for 'test "$(property NRestarts)" = 2 -a "$(property ActiveState)" = active'
echo "after a hang: $(property NRestarts) $(property ActiveState)"
grep -E '^(CapEff|NoNewPrivs)' "/proc/$(property MainPID)/status"
systemctl stop encoderd; echo "stop: $? $(property Result)"
sed -i 's/^settle_s = 1/settle_ss = 1/' /etc/encoderd/encoderd.toml
systemctl start encoderd; sleep 2; echo "bad settings: $(property ExecMainStatus) $(property NRestarts)"
echo "errors in the journal: $(journalctl -u encoderd -p 3 -o cat --no-pager | grep -c daemon.reload_refused)"
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    if why := guest.missing():
        pytest.skip(why)
    base = tmp_path_factory.mktemp("guest")
    sample = make_recording(base / "sample.ts", SampleSpec(duration_s=2, width=720, height=480))
    root = guest.make_guest(base / "root")
    shutil.copy(sample, root / "srv/sample.ts")
    return guest.boot(root, SCRIPT)


@pytest.mark.parametrize(
    "line",
    [
        "settings: 0",
        "start: 0",
        "check: 0",
        "1\tdone\trecordings\t録 画.ts",
        "encoderd 644 /srv/encoded/録 画.mp4",
        "status: idle",
        "while open: 0",
        "after: 1",
        "reload: 0",
        "after bad reload: active",
        "after kill -9: 1 active",
        "after a hang: 2 active",
        "CapEff:\t0000000010000000",
        "NoNewPrivs:\t1",
        "stop: 0 success",
        "bad settings: 2 0",
        "errors in the journal: 1",
    ],
)
def test_the_service_does_what_the_unit_says(said: str, line: str) -> None:
    """Install, start, encode, reload, kill -9, watchdog, stop, and no restart with bad settings."""
    assert any(spoken.startswith(line) for spoken in said.splitlines()), said


def test_nothing_was_waited_for_in_vain(said: str) -> None:
    """Every step of the script came to pass in its time."""
    assert "NEVER" not in [line.split(":")[0] for line in said.splitlines()], said
