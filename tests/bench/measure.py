"""Run a command as a whole process and say what it cost, by the kernel's own accounting."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

#: Where the measured processes keep compiled modules; their warm-up runs fill it.
_COMPILED = tempfile.TemporaryDirectory(prefix="encoderd-bench-compiled-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds on the wall clock, seconds of processor time (user and system), and the peak of memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def cost_of(command: Sequence[str], stdin: str = "") -> tuple[Cost, str]:
    """Run `command` to its end and return its cost and its standard output; its failure ends the bench."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        return _cost_of(command, stdin, errors)


def _cost_of(command: Sequence[str], stdin: str, errors: IO[str]) -> tuple[Cost, str]:
    began_s = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment()
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(stdin)
    process.stdin.close()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - began_s
    if process.returncode != 0:
        errors.seek(0)
        raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{output[-1000:]}\n{errors.read()[-2000:]}")
    cost = Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_mib=usage.ru_maxrss / 1024)
    return cost, output


def _environment() -> dict[str, str]:
    """Modules are compiled once, as pip does where the service is installed: a job does not wait for the compiler."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment.setdefault("PYTHONPYCACHEPREFIX", _COMPILED.name)
    return environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Costs of two commands, run in turn so that a machine that drifts drifts for both."""

    ours: list[Cost]
    theirs: list[Cost]

    def ratio(self, figure: Callable[[Cost], float]) -> tuple[float, float, float]:
        """Return (least, median, largest) of ours / theirs, pair by pair."""
        ratios = [figure(one) / figure(other) for one, other in zip(self.ours, self.theirs, strict=True)]
        return min(ratios), statistics.median(ratios), max(ratios)

    def median(self, figure: Callable[[Cost], float]) -> tuple[float, float]:
        """Return the medians of ours and theirs."""
        return statistics.median(map(figure, self.ours)), statistics.median(map(figure, self.theirs))


def in_turn(ours: Callable[[], Cost], theirs: Callable[[], Cost], runs: int) -> Pairs:
    """Run both once to warm up, then `runs` times in turn, changing who goes first."""
    ours(), theirs()
    pairs = Pairs(ours=[], theirs=[])
    for number in range(runs):
        if number % 2:
            pairs.theirs.append(theirs())
            pairs.ours.append(ours())
        else:
            pairs.ours.append(ours())
            pairs.theirs.append(theirs())
    return pairs


def row(what: str, ours: str, theirs: str, ratio: str, target: str, met: bool) -> None:
    """Print one line of the comparison."""
    verdict = "" if target == "-" else "met" if met else "MISSED"
    print(f"{what:<38} {ours:>14} {theirs:>14} {ratio:>22}   {target:<7} {verdict}", flush=True)


def heading() -> None:
    print(f"{'':<38} {'encoderd':>14} {'FFmpeg':>14} {'ratio (min…max)':>22}   target")
