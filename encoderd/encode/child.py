"""
The child process: `python -m encoderd.encode.child` reads one request from stdin, does it, speaks messages, exits.

stdout belongs to the messages alone; anything else that prints there lands in stderr, which is the job's log.
The child dies with its parent (PR_SET_PDEATHSIG; the argument is the parent's process id), and takes SIGTERM's
default action: nothing in it needs tidying.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TextIO

from encoderd.encode.failures import EncodeFailed, crashed, output_failed
from encoderd.encode.messages import (
    Build,
    BuildRequest,
    Encoded,
    EncodeRequest,
    Failed,
    Loaded,
    LoadRequest,
    Message,
    OptionsRequest,
    TrialRequest,
    Verified,
    read_request,
    to_line,
)

_PR_SET_PDEATHSIG = 1
#: A job's log grows to about this many bytes.
LOG_BYTES = 64 * 1024 * 1024


def main() -> int:
    """Do one request; exit code 0 when a final message was sent."""
    gc.disable()  # while there is nothing but imports
    parent = int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        return 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's business
    say = _speaker()
    try:
        request = read_request(sys.stdin.readline())
        match request:
            case EncodeRequest():
                _encode(request, say)
            case TrialRequest():
                gc.enable()
                from encoderd.encode.trial import run_trial

                _quiet_ffmpeg()
                say(_build())
                say(run_trial(request))
            case BuildRequest():
                say(_build())
            case OptionsRequest():
                from encoderd.encode.encoder_options import check_options

                say(check_options(request))
            case LoadRequest():
                say(_loaded(request.path))
    except EncodeFailed as failure:
        say(_failed(failure))
    except MemoryError:
        say(
            _failed(
                crashed("The child ran out of memory.", remedy="Give the guest more memory, or encode less at once.")
            )
        )
    except Exception as error:  # noqa: BLE001 - the last door: whatever it is, the daemon hears of it
        traceback.print_exc()
        say(_failed(crashed(f"{type(error).__name__}: {error}", remedy="See the job's log: encoderd logs JOB")))
    return 0


def _speaker() -> Callable[[Message], None]:
    """Keep the real stdout for messages and let fd 1 be stderr."""
    out: TextIO = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: Message) -> None:
        with lock:
            out.write(to_line(message))
            out.flush()

    return say


def _failed(failure: EncodeFailed) -> Failed:
    return Failed(
        kind=failure.kind,
        event=failure.event,
        reason=failure.message,
        remedy=failure.remedy,
        place=failure.place,
        acceptable=failure.acceptable,
    )


def _quiet_ffmpeg() -> None:
    """FFmpeg's own callback prints its lines to stderr; a Python callback could deadlock between threads."""
    import av.logging

    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.INFO)


def _encode(request: EncodeRequest, say: Callable[[Message], None]) -> None:
    os.nice(request.nice)
    from encoderd.encode.open_source import OpenSource

    _quiet_ffmpeg()
    rest = threading.Thread(target=importlib.import_module, args=("encoderd.encode.engine",), name="import")
    rest.start()
    try:
        opened = OpenSource(request)
    finally:
        rest.join()
    from encoderd.encode.engine import encode

    gc.freeze()  # what is imported stays: a collection has the encode's own objects to look at, and takes no time
    gc.enable()
    _prefer_for_oom()
    started_s = time.monotonic()
    bounded = False

    def say_on(message: Message) -> None:
        nonlocal bounded
        say(message)
        if os.fstat(2).st_size > LOG_BYTES:
            _hush_ffmpeg(say_why=not bounded)  # each time: opening an encoder makes it talk again
            bounded = True

    result = encode(request, say_on, _process_started_s(), opened)
    say(Verified(findings=[finding.as_json() for finding in result.findings]))
    result.raise_if_unproven()
    written = _synced(request.partial)
    receipt = {**result.receipt, "wall_s": round(time.monotonic() - started_s, 3)}
    say(Encoded(size_bytes=written.st_size, mtime_ns=written.st_mtime_ns, receipt=receipt))


def _process_started_s() -> float:
    """Return when this process began, on the monotonic clock: importing is a part of what a job waits for."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])  # starttime (proc(5)), since the machine's start
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_s


def _synced(path: str) -> os.stat_result:
    """Bring the file to the disk. Some file systems say only now that there was no room for it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
            return os.fstat(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise output_failed(error.errno, error.strerror or str(error), os.path.dirname(path)) from error


def _hush_ffmpeg(*, say_why: bool) -> None:
    """A recording that is damaged all over makes FFmpeg say so of every packet: the log must not fill the disk."""
    import av.logging

    av.logging.set_libav_level(av.logging.FATAL)
    if say_why:
        os.write(2, f"encoderd: this log is larger than {LOG_BYTES >> 20} MiB; FFmpeg says no more.\n".encode())


def _prefer_for_oom() -> None:
    """When memory runs out, the kernel shall end the child, not the daemon that knows the queue."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("900")
    except OSError:
        return


def _loaded(path: str) -> Loaded:
    try:
        ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        return Loaded(path=path, error=str(error))
    return Loaded(path=path)


def _build() -> Build:
    import av
    import av.codec
    import av.codec.hwaccel

    wanted = ("h264_qsv", "libx264", "h264_vaapi", "aac")
    return Build(
        pyav=av.__version__,
        ffmpeg=av.ffmpeg_version_info,
        libraries={name: ".".join(map(str, version)) for name, version in av.library_versions.items()},
        encoders=[name for name in wanted if name in av.codec.codecs_available and _is_encoder(name)],
        hardware=list(av.codec.hwaccel.hwdevices_available()),
    )


def _is_encoder(name: str) -> bool:
    import av.codec.codec

    try:
        return av.codec.Codec(name, "w").is_encoder
    except ValueError:
        return False


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a driver that hangs in its destructors must not keep a finished child alive
