"""Limits and endings: a scripted child that stalls, lies, floods and dies, and the real one where it matters."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from encoderd.encode.failures import EncodeFailed, Place
from encoderd.encode.messages import Build, BuildRequest, Progress, to_line
from encoderd.encode.supervisor import LONGEST_MESSAGE, TERM_S, Child, Limits
from encoderd.jobs import FailureKind, JobEvent
from tests.encoding import LIMITS, exists, failure_of, outcome_of, request_for, wait_until

LIMIT_S = 30.0
SHORT = Limits(startup_s=0.6, stall_s=0.4, drain_s=0.5)
#: For a child that has something to say before it stands still: an interpreter needs its time to start.
SHORT_LATER = Limits(startup_s=LIMIT_S, stall_s=0.4, drain_s=0.5)
BUILD = Build(pyav="1", ffmpeg="2", libraries={}, encoders=[])

#: What every scripted child can do; the rest of it is its own.
PRELUDE = """
import os, signal, sys, time
request = sys.stdin.readline()
def say(line):
    os.write(1, line.encode() + b"\\n")
def progress(phase, out_time_s, done_ratio=0.0):
    say('{"type": "progress", "phase": "%s", "out_time_s": %f, "frames": 1, "fps": 1, "speed_x": 1, "size_bytes": 1, '
        '"done_ratio": %f}' % (phase, out_time_s, done_ratio))
def forever():
    while True:
        time.sleep(1)
"""
ANSWER = f"say({to_line(BUILD).strip()!r})"


def scripted(script: str, *, limits: Limits = LIMITS, log: Path | None = None) -> Child:
    argv = (sys.executable, "-S", "-c", PRELUDE + script)
    return Child(BuildRequest(), limits, now_s=time.monotonic(), log=log, argv=argv)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("forever()", "at the start"),
        ("progress('encoding', 0.0)\nforever()", "at the start"),
        ("progress('encoding', 61.5)\nforever()", "at 61.5 s of the recording"),
        ("progress('encoding', 61.5)\nwhile True:\n    progress('encoding', 61.5)\n    time.sleep(.05)", "at 61.5 s"),
        ("progress('encoding', 61.5)\nprogress('draining', 61.5)\nforever()", "while draining"),
        ("progress('verifying', 61.5)\nforever()", "while verifying"),
        ("while True:\n    say('noise')\n    time.sleep(.02)", "at the start"),
    ],
)
def test_a_child_that_stands_still_is_killed(script: str, words: str) -> None:
    """
    What counts is progress, not talk; start, middle and end have their own limits.

    It is tried again later: kind crash, event stalled.
    """
    begin_s = time.monotonic()
    failure = failure_of(scripted(script, limits=SHORT if words == "at the start" else SHORT_LATER))

    assert (FailureKind.CRASH, JobEvent.STALLED) == (failure.kind, failure.event)
    assert words in failure.message
    assert time.monotonic() - begin_s < 10


@pytest.mark.parametrize("arguments", ["float(n), 0.0", "1.0, n / 100"])
def test_a_child_that_gets_on_is_left_alone(arguments: str) -> None:
    """Muxed time that rises, or in a stretch without pictures the reading that goes on, far beyond the limit."""
    child = scripted(
        f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for n in range(1, 10):
    progress('encoding', {arguments})
    signal.sigwait([signal.SIGUSR1])
"""
    )
    now_s = 0.0
    seen: Progress | None = None
    try:
        for _ in range(6):
            seen = next_progress(child, now_s, seen)
            now_s += 0.9 * LIMITS.stall_s

            assert child.poll(now_s) is None
            os.kill(child.pid, signal.SIGUSR1)
        next_progress(child, now_s, seen)
        stalled = child.poll(now_s + 1.1 * LIMITS.stall_s)
    finally:
        child.kill()

    assert isinstance(stalled, EncodeFailed) and stalled.event is JobEvent.STALLED


def next_progress(child: Child, now_s: float, seen: Progress | None = None) -> Progress | None:
    """Poll, always at `now_s`, until the child has told of other progress than `seen`; return it."""

    def came() -> bool:
        child.poll(now_s)
        return child.progress != seen

    wait_until(came, "no progress came")
    return child.progress


def test_a_file_that_still_changes_is_progress(tmp_path: Path) -> None:
    """While the muxer moves the index to the front the child says nothing."""
    source, partial = tmp_path / "x.ts", tmp_path / "partial"
    source.write_bytes(b"x")
    partial.write_bytes(b"x")
    argv = (sys.executable, "-S", "-c", PRELUDE + "progress('draining', 1.0)\nforever()")
    child = Child(request_for(source, partial), LIMITS, now_s=0.0, argv=argv)
    now_s = 0.0
    try:
        next_progress(child, now_s)
        for number in range(6):
            os.utime(partial, ns=(0, number))
            assert child.poll(now_s) is None
            now_s += 0.9 * LIMITS.drain_s
        stalled = child.poll(now_s + LIMITS.drain_s)
    finally:
        child.kill()

    assert isinstance(stalled, EncodeFailed) and stalled.event is JobEvent.STALLED


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sys.exit(3)", "(exit code 3)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "(signal 11 (SIGSEGV))"),
        ("os.abort()", "(signal 6 (SIGABRT))"),
        ("sys.exit(0)", "(exit code 0)"),
        ("os.close(1); time.sleep(.3); os._exit(9)", "(exit code 9)"),
        ("os.close(1); forever()", "closed its messages"),
        ('sys.stdout.write(\'{"type": "built\'); sys.stdout.flush(); os._exit(4)', "(exit code 4)"),
    ],
)
def test_a_child_that_dies_is_a_crash_with_its_cause(tmp_path: Path, script: str, words: str) -> None:
    """The exit code or the signal, and the log's last line."""
    log = tmp_path / "log"
    failure = failure_of(scripted("os.write(2, b'first\\nlast words\\n\\n')\n" + script, log=log))

    assert (FailureKind.CRASH, JobEvent.CRASHED) == (failure.kind, failure.event)
    assert words in failure.message
    assert "last words" in failure.message and "first" not in failure.message


def test_a_child_that_is_killed_may_have_run_out_of_memory() -> None:
    assert "Out of memory" in failure_of(scripted("os.kill(os.getpid(), signal.SIGKILL)")).remedy


def test_stopping_is_heeded() -> None:
    """SIGTERM ends a child at once."""
    child = scripted("say('x'); forever()")
    select.select([child], [], [], LIMIT_S)
    child.stop(time.monotonic())
    begin_s = time.monotonic()

    assert "was ended" in failure_of(child).message
    assert time.monotonic() - begin_s < TERM_S


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    """Its group too: what it may have started goes with it."""
    child = scripted("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = os.fork()
say(str(other if other else 0))
forever()
""")
    first = b""
    while first.count(b"\n") < 2:
        select.select([child], [], [], LIMIT_S)
        first += os.read(child.fileno(), 100)
    other = max(int(line) for line in first.split())
    child.stop(time.monotonic())

    assert "was ended" in failure_of(child).message
    wait_until(lambda: not exists(other), "the child's own child lives on")


def test_a_child_that_hangs_after_its_last_word_has_spoken() -> None:
    """A driver that hangs in its destructors: the answer counts, the child is killed."""
    begin_s = time.monotonic()
    child = scripted(f"{ANSWER}\nforever()")

    assert outcome_of(child) == BUILD
    assert TERM_S <= time.monotonic() - begin_s < TERM_S + 10
    assert not exists(child.pid)


def test_what_is_no_message_is_ignored() -> None:
    garbage = ["not json", '{"type": "new"}', "[1, 2", '{"type": "failed", "kind": 7}', "\x00\x01\x02", "[" * 5000]

    assert (
        outcome_of(
            scripted(f"for line in {garbage!r}:\n    say(line)\nos.write(1, bytes(range(256)) * 9)\nsay('')\n{ANSWER}")
        )
        == BUILD
    )


def test_messages_may_come_in_pieces() -> None:
    line = to_line(BUILD)
    script = f"for letter in {line!r}:\n    os.write(1, letter.encode())\n    time.sleep(.001)"

    assert outcome_of(scripted(script)) == BUILD


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    """It is cut at `LONGEST_MESSAGE`, one poll reads a bounded amount, and the child is no less watched for it."""
    child = scripted("block = b'x' * 65536\nwhile True:\n    os.write(1, block)", limits=SHORT)
    longest_s, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    deadline_s = time.monotonic() + LIMIT_S
    while child.outcome is None:
        assert time.monotonic() < deadline_s
        begin_s = time.monotonic()
        child.poll(begin_s)
        longest_s = max(longest_s, time.monotonic() - begin_s)

    assert isinstance(child.outcome, EncodeFailed) and child.outcome.event is JobEvent.STALLED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * LONGEST_MESSAGE // 1024
    assert longest_s < 5


def test_a_flood_on_standard_error_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what was there before\n")
    script = f"for n in range(200):\n    os.write(2, b'e' * 65535 + b'\\n')\n{ANSWER}"

    assert outcome_of(scripted(script, log=log)) == BUILD
    assert log.stat().st_size == 22 + 200 * 65_536


def test_failures_come_as_the_child_said() -> None:
    line = json.dumps(
        {"type": "failed", "kind": "device", "event": "no_space", "reason": "full", "remedy": "r", "place": "folder"}
    )
    failure = failure_of(scripted(f"say({line!r})"))
    found = (failure.kind, failure.event, failure.place, failure.message, failure.remedy)

    assert found == (FailureKind.DEVICE, JobEvent.NO_SPACE, Place.FOLDER, "full", "r")


def test_words_that_nobody_knows_are_a_crash() -> None:
    """From a newer child."""
    line = json.dumps({"type": "failed", "kind": "k", "event": "e", "reason": "x", "remedy": "r", "place": "p"})
    failure = failure_of(scripted(f"say({line!r})"))

    assert (FailureKind.CRASH, JobEvent.CRASHED, Place.NONE) == (failure.kind, failure.event, failure.place)


def test_progress_is_shown_while_it_runs() -> None:
    child = scripted("progress('encoding', 2.5, 0.25)\nforever()")
    try:
        wait_until(lambda: child.poll(time.monotonic()) is not None or child.progress is not None, "no progress came")

        assert isinstance(child.progress, Progress)
        assert (child.progress.out_time_s, child.progress.done_ratio) == (2.5, 0.25)
    finally:
        child.kill()
