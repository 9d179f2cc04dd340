"""
Which PyAV `make install` takes: the wheel of the package index, or the one that the distribution built with VAAPI.

Runs from the source tree before anything is installed: `python3 -m encoderd.preflight.pyav_choice auto`. The sentence
goes to standard error, the word for the Makefile to standard output. Only Python's own library is there then.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from encoderd.pci import PciDevice, pci_devices
from encoderd.preflight.gpus import NEW_RUNTIME, Gpu, gpu_for
from encoderd.preflight.machine import read_machine
from encoderd.preflight.packages import Part, how_to_get
from encoderd.root import Root

#: The versions that encoderd works with, as pyproject.toml has them: from the first to before the second.
VERSIONS = ((14, 2), (19, 0))
#: Asked of another Python; -I, so that neither this folder nor a user's own packages are seen.
_QUESTION = """
import json, av, av.codec.hwaccel
print(json.dumps([av.__version__, "h264_qsv" in av.codecs_available, av.codec.hwaccel.hwdevices_available()]))
"""


class Source(StrEnum):
    """Where PyAV comes from; the words that the Makefile knows."""

    WHEEL = "wheel"
    DISTRIBUTION = "distribution"
    KEPT = "kept"  #: the one that is in the venv already


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyav:
    """A PyAV that can be imported."""

    version: str
    qsv: bool
    vaapi: bool

    @property
    def fits(self) -> bool:
        """Does encoderd work with this version?"""
        match = re.match(r"(\d{1,4})\.(\d{1,4})", self.version, re.ASCII)
        return match is not None and VERSIONS[0] <= (int(match[1]), int(match[2])) < VERSIONS[1]

    @property
    def drives_hd_graphics(self) -> bool:
        return self.fits and self.qsv and self.vaapi

    @property
    def text(self) -> str:
        lacks = [name for name, there in (("h264_qsv", self.qsv), ("VAAPI", self.vaapi)) if not there]
        return f"PyAV {self.version}" + (f" without {' and '.join(lacks)}" if lacks else " with VAAPI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to install; `source` is None where nothing should be before an operator has done something."""

    source: Source | None
    text: str


def choose(
    asked: str, devices: Sequence[PciDevice], system: Pyav | None, installed: Pyav | None = None, how: str = ""
) -> Choice:
    """
    Choose for the GPUs among `devices`.

    `asked` is auto, wheel or distribution; `system` is what the system's Python imports, `installed` what the venv of
    an earlier installation does, None where there is none; `how` is what to type here to get one with VAAPI.
    """
    gpu, told = _gpu_to_serve([device for device in devices if device.is_intel_display])
    old = gpu is not None and bool(gpu.generation.runtimes) and NEW_RUNTIME not in gpu.generation.runtimes
    if asked == Source.WHEEL:
        but = f"; {told} stays unused, it needs a PyAV with VAAPI" if old else ""
        return Choice(source=Source.WHEEL, text=f"PyAV: the wheel, as asked for{but}.")
    if asked == Source.DISTRIBUTION:
        if system is None or not system.fits:
            found = "has none" if system is None else f"is {system.version}"
            return Choice(source=None, text=f"The distribution's PyAV {found}; encoderd needs {_range()}.\n{how}")
        return Choice(source=Source.DISTRIBUTION, text=f"PyAV: the distribution's ({system.text}), as asked for.")
    if not old:
        return Choice(source=Source.WHEEL, text=f"PyAV: the wheel; {told}.")
    if system is not None and system.drives_hd_graphics:
        return Choice(source=Source.DISTRIBUTION, text=f"PyAV: the distribution's ({system.text}); {told} needs VAAPI.")
    if installed is not None and installed.drives_hd_graphics:
        return Choice(
            source=Source.KEPT, text=f"PyAV: the installed one is kept ({installed.text}); {told} needs VAAPI."
        )
    found = "there is none" if system is None else f"here is {system.text}"
    return Choice(
        source=None,
        text=f"{told} needs a PyAV {_range()} with h264_qsv and VAAPI, which the wheel has not; {found}.\n"
        f"{how}\n{WITHOUT}",
    )


#: How to go on with the CPU alone.
WITHOUT = 'To install without the GPU: make install PYAV=wheel. README, "PyAV from source", has another way.'


def _range() -> str:
    return f"from {'.'.join(map(str, VERSIONS[0]))} to before {VERSIONS[1][0]}"


def _gpu_to_serve(devices: Sequence[PciDevice]) -> tuple[Gpu | None, str]:
    """Return the GPU that decides, None when it is unknown, and what to say of it: the newest wins."""
    known = [gpu for device in devices if (gpu := gpu_for(device.device)) is not None]
    for gpu in known:
        if NEW_RUNTIME in gpu.generation.runtimes:
            return gpu, f"{gpu.text} works with it"
    for gpu in known:
        if gpu.generation.runtimes:
            return gpu, gpu.text
    if len(known) < len(devices):
        unknown = next(device for device in devices if gpu_for(device.device) is None)
        return None, f"the GPU {unknown.ids} is unknown, so probably newer than this encoderd"
    if known:
        return known[0], f"{known[0].text} has no open runtime for Quick Sync, so the CPU encodes"
    return None, "no Intel GPU is seen here"


def ask(python: Path | str) -> Pyav | None:
    """Return the PyAV that this interpreter imports by itself."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _QUESTION], capture_output=True, text=True, timeout=60, check=False
        )
        version, qsv, devices = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return Pyav(version=str(version), qsv=bool(qsv), vaapi="vaapi" in devices)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print which PyAV an installation takes and why; exit code 1 when the one that is needed is not there."""
    parser = argparse.ArgumentParser(prog="pyav_choice", description="Choose the PyAV that make install takes.")
    parser.add_argument("asked", choices=["auto", "wheel", "distribution"])
    parser.add_argument("--installed", type=Path, help="the venv of an earlier installation")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where sys/ is looked for")
    given = parser.parse_args(arguments)
    installed = given.installed / "bin/python" if given.installed else None
    choice = choose(
        given.asked,
        pci_devices(given.root),
        None if given.asked == Source.WHEEL else ask(sys._base_executable),  # type: ignore[attr-defined]  # CPython's
        ask(installed) if installed is not None and installed.exists() else None,
        how_to_get(
            Part.VAAPI_PYAV,
            read_machine(Root(given.root)).distribution,
            f"{given.installed or '/opt/encoderd'}/bin/pip",
        ),
    )
    sys.stderr.write(choice.text + "\n")
    if choice.source is None:
        return 1
    sys.stdout.write(choice.source + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
