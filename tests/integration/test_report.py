"""The report that a user sends along: all that helps, nothing that tells who they are or what they watch."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from encoderd.cli.report import private_words, redacted, write_report
from encoderd.errors import EncoderdError
from encoderd.findings import failed, passed
from encoderd.jobs import Candidate, FailureKind, JobEvent
from encoderd.queue.store import Store
from encoderd.settings import Settings, load
from encoderd.state_folder import StateFolder
from tests.integration.commands import settings_for

NOW = 1_700_000_000.0
HANG = "h264_qsv failed while encoding Private Show.ts: device failed (-17)."


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With a queue whose one recording lost the GPU, and a daemon that tried the encoder in vain."""
    settings = load(settings_for(tmp_path))
    state = StateFolder(settings.daemon.state_dir)
    state.prepare()
    state.trial_log.write_text("[h264_qsv @ 0x1] Error creating a MFX session: -9.\n", encoding="utf-8")
    state.write_status({"problems": {"gate.h264_qsv": ["no GPU", "get one"]}, "running": [{"recording": "Secret.ts"}]})
    with Store.open(settings.database, busy_timeout_s=5) as store:
        store.add(Candidate(watch="tv", relative_path="evening/Private Show.ts", size_bytes=9, mtime_ns=9), now=NOW)
        store.claim(worker="test", watches=["tv"], now=NOW, lease_s=60)
        store.fail(
            1,
            worker="test",
            event=JobEvent.DEVICE_LOST,
            kind=FailureKind.DEVICE,
            reason=HANG,
            remedy="reboot",
            counts=False,
            pause_s=0,
            now=NOW,
        )
    return settings


def test_the_report_has_what_a_helper_asks_for(settings: Settings, tmp_path: Path) -> None:
    """Findings with remedies, facts, versions, the last device failures, FFmpeg's words, the settings."""
    findings = [passed("pyav", "PyAV 18.1.0"), failed("runtime", "none is installed", "apt install libmfx-gen1.2")]
    write_report(tmp_path / "report.txt", settings, findings, {"Dispatcher": ["1. libmfx-gen.so.1.2"]})
    text = (tmp_path / "report.txt").read_text("utf-8")

    assert "✘ runtime  none is installed  → apt install libmfx-gen1.2" in text
    assert "== Dispatcher\n1. libmfx-gen.so.1.2" in text
    assert "device_lost  h264_qsv failed while encoding <recording>: device failed (-17)." in text
    assert "Error creating a MFX session: -9." in text
    assert '"get one"' in text
    assert '"preset": "veryfast"' in text
    assert "Python    3." in text


def test_the_report_names_neither_user_nor_recordings(settings: Settings, tmp_path: Path) -> None:
    write_report(tmp_path / "report.txt", settings, [passed("tv.path", str(tmp_path / "input"))], {})
    text = (tmp_path / "report.txt").read_text("utf-8")

    assert [word for word in ("Private", "Secret", "evening", str(tmp_path)) if word in text] == []
    assert "<watch 1 path>" in text
    assert stat.S_IMODE((tmp_path / "report.txt").stat().st_mode) == 0o600


def test_a_report_replaces_no_file(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("something of the user's")
    with pytest.raises(EncoderdError, match="exists; it is not replaced"):
        write_report(tmp_path / "report.txt", settings, [], {})

    assert (tmp_path / "report.txt").read_text() == "something of the user's"


def test_without_a_queue_the_report_is_made_all_the_same(tmp_path: Path) -> None:
    write_report(tmp_path / "report.txt", load(settings_for(tmp_path)), [], {})
    text = (tmp_path / "report.txt").read_text("utf-8")

    assert "no queue yet" in text
    assert "no log of one" in text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/srv/tv/x and /srv/tvs", "<tv>/x and /srv/tvs"),
        ("host myhost, myhost.example", "host <h>, <h>.example"),
        ("myhosted", "myhosted"),
        ("ether 52:54:00:12:34:56 up", "ether <mac> up"),
        ("root=UUID=0a1b2c3d-0000-4111-8222-0123456789ab ro", "root=UUID=<uuid> ro"),
        ("from 192.168.1.20 to 10.0.0.1.", "from <ip> to <ip>."),
        ("libavcodec 62.28.102, libmfx-gen.so.1.2.9", "libavcodec 62.28.102, libmfx-gen.so.1.2.9"),
        ("0000:00:02.0 8086:1912", "0000:00:02.0 8086:1912"),
    ],
)
def test_what_is_blanked(text: str, clean: str) -> None:
    """Words of the user's as whole words, longest first; what identifies a machine; never versions or PCI ids."""
    assert redacted(text, {"/srv": "<srv>", "/srv/tv": "<tv>", "myhost": "<h>"}).replace("<srv>", "/srv") == clean


def test_one_letter_is_no_secret(settings: Settings) -> None:
    """A watch folder named "a" must not turn the whole report into riddles."""
    named = settings.model_copy(update={"watch": (settings.watch[0].model_copy(update={"name": "a"}),)})

    assert "a" not in private_words(named)
