"""Folders that are missing, foreign, blind, hanging or closed: each is a finding, none stops the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from encoderd.findings import Verdict
from encoderd.intake.watcher import HANGS_S
from tests.integration.watching import LIMIT_S, NFS, Watching

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tv").mkdir()
    return tmp_path / "tv"


def test_a_missing_folder_is_a_problem_that_heals(tmp_path: Path) -> None:
    with Watching(tmp_path / "tv") as tv:
        tv.until(lambda: tv.problem("folder"))
        finding = tv.problem("folder")

        assert finding is not None
        assert finding.verdict is Verdict.FAIL
        assert "No such file or directory" in finding.evidence
        assert "findmnt" in finding.remedy
        (tmp_path / "tv").mkdir()
        (tmp_path / "tv" / "a.ts").write_bytes(b"x")
        tv.until(lambda: tv.names() == ["a.ts"])
        assert tv.watcher.problems() == {}


def test_events_follow_a_folder_that_was_replaced(folder: Path) -> None:
    """The watch of a deleted folder is dead; the scan that finds another one in its place asks for a new one."""
    with Watching(folder, rescan_s=3600) as tv:
        tv.first_scan()
        shutil.rmtree(folder)
        folder.mkdir()
        tv.scans()
        (folder / "a.ts").write_bytes(b"x")
        tv.until(lambda: tv.names() == ["a.ts"])


def test_a_share_that_goes_away_takes_nothing_with_it(folder: Path) -> None:
    """What was offered stays offered while the folder is missing, or empty, and when it is back."""
    for number in range(20):
        (folder / f"{number}.ts").write_bytes(b"x")
    away = folder.with_name("away")
    with Watching(folder) as tv:
        tv.until(lambda: len(tv.offered) == 20)
        tv.scans()
        folder.rename(away)
        tv.until(lambda: tv.problem("folder"))
        folder.mkdir()
        tv.until(lambda: "it held 20 recordings" in str(tv.problem("folder")))
        folder.rmdir()
        away.rename(folder)
        tv.until(lambda: not tv.problem("folder"))
        (folder / "new.ts").write_bytes(b"x")
        tv.until(lambda: "new.ts" in tv.names())

        assert len(tv.offered) == 21


def test_a_blind_mount_is_refused_until_it_is_mounted_well(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"x")
    options = ["cache=f"]
    with Watching(folder, mountinfo=lambda: f"1 0 0:1 / / rw - 9p rec rw,{options[0]},trans=virtio\n") as tv:
        tv.until(lambda: tv.problem("mount"))
        tv.scans()
        assert (tv.offered, tv.waits()) == ([], {})
        options[0] = "cache=5"
        tv.until(lambda: tv.names() == ["a.ts"])
        assert tv.watcher.problems() == {}


def test_a_blind_mount_can_be_allowed(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"x")
    blind = "1 0 0:1 / / rw - 9p rec rw,cache=f\n"
    with Watching(folder, mountinfo=lambda: blind, allow_blind_mounts=True) as tv:
        tv.until(lambda: tv.names() == ["a.ts"])
        finding = tv.problem("mount")

        assert finding is not None
        assert finding.verdict is Verdict.WARN


def test_a_share_that_hangs_holds_up_neither_poll_nor_stop(folder: Path) -> None:
    answer = threading.Event()

    def hanging() -> str:
        answer.wait(60)
        return NFS

    tv = Watching(folder, mountinfo=hanging)
    tv.watcher.start()
    tv.until(lambda: tv.watcher._scanners["tv"].busy_since_s is not None)
    began_s = time.monotonic()
    assert tv.watcher.poll(began_s) == []
    assert tv.watcher.problems() == {}
    assert tv.watcher.poll(began_s + HANGS_S + 1) == []
    finding = tv.problem("hangs")
    tv.watcher.stop()
    took_s = time.monotonic() - began_s
    answer.set()
    tv.watcher._scanners["tv"].join(LIMIT_S)

    assert finding is not None
    assert "has not answered for 6" in finding.evidence
    assert took_s < 10  # 1.5 s, and what a busy machine adds


def test_a_defect_of_ours_is_a_finding_and_not_the_end(folder: Path) -> None:
    (folder / "a.ts").write_bytes(b"x")
    broken = [True]

    def mountinfo() -> str:
        if broken[0]:
            raise RuntimeError("out of order")
        return NFS

    with Watching(folder, mountinfo=mountinfo) as tv:
        tv.until(lambda: tv.problem("folder"))
        finding = tv.problem("folder")
        assert finding is not None
        assert "RuntimeError: out of order" in finding.evidence
        broken[0] = False
        tv.until(lambda: tv.names() == ["a.ts"])
        assert tv.watcher.problems() == {}


WATCH_AND_TELL = """
    import json, sys, time
    from pathlib import Path
    from encoderd.intake.watcher import Watcher
    from encoderd.logs import configure
    from encoderd.settings import IntakeSettings, WatchSettings
    configure("error", "json", sys.stderr)
    folder = WatchSettings(name="tv", path=Path({folder!r}), output=Path("/output"), settle_s=0.2)
    watcher = Watcher([folder], IntakeSettings(rescan_s=0.1, poll_s=0.1))
    {before}
    watcher.start()
    names, deadline_s = [], time.monotonic() + 20
    while time.monotonic() < deadline_s and not (names and watcher.problems()):
        names += [one.relative_path for one in watcher.poll(time.monotonic())]
        time.sleep(0.01)
    watcher.stop()
    print(json.dumps([names, {{name: found.as_json() for name, found in watcher.problems().items()}}]))
"""


@needs_root
def test_a_file_that_cannot_be_opened_is_named_and_holds_up_nobody(tmp_path: Path) -> None:
    """A daemon without rights: one recording is readable, one is not, and nor is a subfolder."""
    drop = "import os; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)"
    folder = Path("/tmp", f"encoderd-{tmp_path.name}-{os.getpid()}")  # below tmp_path nobody sees anything
    folder.mkdir(mode=0o755)
    try:
        for name in ("a.ts", "b.ts"):
            (folder / name).write_bytes(b"x")
        (folder / "a.ts").chmod(0o644)
        (folder / "b.ts").chmod(0o600)
        (folder / "closed").mkdir(mode=0o700)
        program = WATCH_AND_TELL.format(folder=os.fspath(folder), before=drop)
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
        )

        assert run.returncode == 0, run.stderr
        names, problems = json.loads(run.stdout)
        assert names == ["a.ts"]
        assert "b.ts: Permission denied (owner 0:0, mode 0600)" in problems["tv.files"]["evidence"]
        assert "closed: Permission denied (owner 0:0, mode 0700)" in problems["tv.files"]["evidence"]
    finally:
        shutil.rmtree(folder)


def test_without_inotify_watches_the_scan_goes_on(folder: Path) -> None:
    """In a user namespace of its own, whose limit on watches is nought."""
    (folder / "a.ts").write_bytes(b"x")
    limit = "/proc/sys/user/max_inotify_watches"
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo 0 > {limit} && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    program = WATCH_AND_TELL.format(folder=os.fspath(folder), before="")
    run = subprocess.run(
        [*alone, sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    names, problems = json.loads(run.stdout)
    assert names == ["a.ts"]
    limit = Path("/proc/sys/fs/inotify/max_user_watches").read_text().strip()
    assert f"(fs.inotify.max_user_watches={limit}): the watch folder tv is polled" in problems["tv.events"]["evidence"]
    assert f"sysctl -w fs.inotify.max_user_watches={max(524_288, 2 * int(limit))}" in problems["tv.events"]["remedy"]
