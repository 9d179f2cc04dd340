"""
The simulated VPL runtime (tests/vplsim), built and put where PyAV's dispatcher finds it.

It stands in for libmfx-gen (and libmfxhw64) and the GPU behind it, for plumbing and faults; nothing that is measured
with it says anything about speed or quality. What it models, its environment and its faults: tests/vplsim/README.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "vplsim"
#: What the dispatcher takes for a runtime of the new interface: any libvpl*.so*, but not its own name.
RUNTIME = "libvplsim.so.1"
#: What it takes for a Media SDK runtime: exactly this name.
LEGACY_RUNTIME = "libmfxhw64.so.1"
PRELOAD = "preload_sysfs.so"
#: `-fvisibility`: only what VPL's headers declare is seen. `-Bsymbolic`: our own MFX functions, not the dispatcher's.
#: No -Werror: a newer gcc's new warning is one failed test, not all of them.
FLAGS = (
    *("-std=c11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-pthread"),
    *("-shared", "-Wl,-Bsymbolic", "-Wl,--no-undefined"),
)
#: What can go wrong on order; the runtime knows the same (fault.c), and README.md says what each one does.
FAULTS = frozenset(
    {
        *("desc", "hangload", "session", "query", "iosurf", "init", "hanginit", "param", "nohdr"),
        *("async", "busy", "hang", "crash", "drop", "garble"),
        *("exec", "hangsync", "sync", "syncquiet", "nodata", "trunc", "badpts"),
    }
)
_FAULT = re.compile(r"([a-z]++)(=-?\d+)?(@[1-9]\d*)?(x\d+)?")
REMEDY = "apt-get install -y gcc libc6-dev libvpl-dev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the runtime: `fields` as traced, `status` as MFX numbers it; None for a call that never returned."""

    session: int
    name: str
    fields: dict[str, str]
    status: int | None


class Simulated:
    """The built runtime in `folder`: `new/` holds the one like libmfx-gen, `legacy/` the one like libmfxhw64."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(
        self,
        platform: str = "tgl",
        ms: float = 0,
        sessions: int | None = None,
        fault: str = "",
        codec: str = "pcm",
        state: Path | None = None,
        trace: Path | None = None,
        fault_file: Path | None = None,
    ) -> dict[str, str]:
        """
        Return what a process needs in its environment to encode with it.

        Every variable is in it, the unused ones empty, so that it can be laid over an environment that had others.
        `ms` is the price of a picture on the one engine, `sessions` how many may be open; both count over all processes
        that share the folder `state`, else within each process.
        """
        return {
            "ONEVPL_PRIORITY_PATH": str(self.folder / "new"),
            "VPLSIM_PLATFORM": platform,
            "VPLSIM_MS": str(ms) if ms else "",
            "VPLSIM_SESSIONS": "" if sessions is None else str(sessions),
            "VPLSIM_FAULT": ordered(fault),
            "VPLSIM_CODEC": codec,
            "VPLSIM_STATE": str(state or ""),
            "VPLSIM_TRACE": str(trace or ""),
            "VPLSIM_FAULT_FILE": str(fault_file or ""),
        }

    def legacy_environment(self, sysfs: Path, platform: str = "kbl", trace: Path | None = None) -> dict[str, str]:
        """
        Return the environment of a guest with a Media SDK runtime and its GPU's render node, shown from folder `sysfs`.

        It holds LD_PRELOAD: only a process that is started with it sees the node.
        """
        device = sysfs / "renderD128" / "device"
        device.mkdir(parents=True, exist_ok=True)
        (device / "vendor").write_text("0x8086\n", encoding="ascii")
        (device / "device").write_text("0x5912\n", encoding="ascii")
        return {
            **self.environment(platform=platform, trace=trace),
            "ONEVPL_PRIORITY_PATH": str(self.folder / "legacy"),
            "VPLSIM_SYSFS": str(sysfs),
            "LD_PRELOAD": str(self.folder / PRELOAD),
        }

    @staticmethod
    def set_fault(file: Path, fault: str = "") -> None:
        """Order a fault for every session opened from now on (`fault_file` names the file); "" ends it."""
        new = file.with_name(f"{file.name}.new")
        new.write_text(ordered(fault), encoding="ascii")
        new.replace(file)

    @staticmethod
    def calls(trace: Path, name: str | None = None) -> list[Call]:
        """Return the calls in a trace, all or those of one name ("Init", "GetVideoParam", "EncodeFrameAsync", …)."""
        lines = trace.read_text("utf-8").splitlines() if trace.exists() else []
        calls = [_call(line) for line in lines]
        return [call for call in calls if name is None or call.name == name]


def ordered(faults: str) -> str:
    """
    Return `faults` as given: `name[=code][@frame][xcount]`, several with commas.

    Raises:
        ValueError: that means nothing. The runtime would refuse its sessions, and a test that expects a refusal passes.
    """
    for fault in filter(None, faults.split(",")):
        match = _FAULT.fullmatch(fault)
        if match is None or match[1] not in FAULTS:
            raise ValueError(f"there is no fault {fault!r} in the simulated runtime: tests/vplsim/README.md")
    return faults


def _call(line: str) -> Call:
    words, _, status = line.partition(" -> ")
    _, session, name, *rest = words.split()
    fields = dict(word.split("=", 1) for word in rest if "=" in word)
    return Call(session=int(session), name=name, fields=fields, status=int(status) if status else None)


def build(into: Path = SOURCES / "build") -> Simulated:
    """
    Build the runtime below `into`, once for each content of the sources; any number of processes may ask at a time.

    Raises:
        FileNotFoundError: there is no gcc.
        subprocess.CalledProcessError: gcc fails; its words are in `stderr`.
    """
    into.mkdir(exist_ok=True)
    sources = sorted(SOURCES.glob("*.[ch]"))
    content = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sources:
        content.update(source.name.encode() + b"\0" + source.read_bytes())
    folder = into / content.hexdigest()[:16]
    with _only_one(into / "lock"):
        if not folder.exists():
            unfinished = into / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _compile([source for source in sources if source.suffix == ".c"], unfinished)
            unfinished.replace(folder)
    return Simulated(folder)


def _compile(sources: list[Path], folder: Path) -> None:
    (folder / "new").mkdir(parents=True)
    (folder / "legacy").mkdir()
    preload = SOURCES / "preload_sysfs.c"
    runtime = [str(source) for source in sources if source != preload]
    commands = [
        ["gcc", *FLAGS, *runtime, "-o", str(folder / "new" / RUNTIME)],
        ["gcc", *FLAGS, "-DVPLSIM_LEGACY", *runtime, "-o", str(folder / "legacy" / LEGACY_RUNTIME)],
        ["gcc", *FLAGS, "-fvisibility=default", str(preload), "-o", str(folder / PRELOAD)],
    ]
    running = [(command, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)) for command in commands]
    ended = [(command, process, process.communicate()[1]) for command, process in running]
    for command, process, words in ended:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=words)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    """The simulated runtime, built. Skips where PyAV has no h264_qsv; a missing compiler is a failure, not a skip."""
    import av
    import av.codec.hwaccel

    if "h264_qsv" not in av.codecs_available:
        pytest.skip(f"PyAV {av.__version__} is built without h264_qsv: there is no dispatcher to load a runtime")
    if "vaapi" in av.codec.hwaccel.hwdevices_available():
        pytest.skip(f"PyAV {av.__version__} is built with VAAPI: h264_qsv opens a real GPU's VA display first")
    try:
        return build()
    except FileNotFoundError:
        pytest.fail(f"There is no gcc to build the simulated VPL runtime with: {REMEDY}", pytrace=False)
    except subprocess.CalledProcessError as error:
        missing = f"\nVPL's headers are missing: {REMEDY}" if "vpl/mfx.h: No such file" in error.stderr else ""
        pytest.fail(f"The simulated VPL runtime cannot be built.{missing}\n{error.stderr}", pytrace=False)
