"""One broken recording through the real child, and what is wrong with how it ended."""

from __future__ import annotations

import os
import re
import resource
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from encoderd.encode.messages import Encoded
from encoderd.encode.supervisor import Child
from tests.broadcast.mutations import Case
from tests.encoding import LIMITS, exists, outcome_of, request_for

#: Nothing takes a tenth of it: the recordings last two seconds.
LIMIT_S = 60.0
#: What a receipt has in any case.
RECEIPT = {"receipt", "verdict", "findings", "facts", "source", "asked", "granted", "output"}
#: What no recording may cause.
NEVER_SAID = ("died", "stood still", "without a last word", "Internal error", "report this")
#: FFmpeg ends the process where it finds itself in a state that cannot be: nobody can catch that, and the supervisor
#: gives it as the reason. Seen once in 500 cases: tables that turn H.264 into another codec (demux.c).
FFMPEGS_FAULT = re.compile(rb"^Assertion .* failed at src/lib", re.MULTILINE)


def seeds(usual: Iterable[int]) -> list[int]:
    """Return the seeds to run: those of ENCODERD_FUZZ_SEED ("17" or "17,244"), else the `usual` ones."""
    chosen = os.environ.get("ENCODERD_FUZZ_SEED", "")
    return [int(seed) for seed in chosen.split(",")] if chosen else list(usual)


def trouble_of(case: Case, below: Path) -> str:
    """Run `case` in a folder of its own, which is gone afterwards; return "" when it ended as it must."""
    folder = below / str(case.seed)
    folder.mkdir()
    try:
        trouble = _trouble(case, folder)
    finally:
        shutil.rmtree(folder)
    return f"{trouble} ({case.story})" if trouble else ""


def _trouble(case: Case, folder: Path) -> str:
    source, target, log = folder / f"x{case.suffix}", folder / "out.partial", folder / "log"
    source.write_bytes(case.data)
    child = Child(request_for(source, target), LIMITS, now_s=time.monotonic(), log=log)
    try:
        outcome = outcome_of(child, LIMIT_S)
    except AssertionError:
        return f"a hang of {LIMIT_S} s"
    if exists(child.pid):
        return "the child is still there"
    if "Traceback" in (said := log.read_text("utf-8", "replace")):
        return f"a traceback: {said[-400:]}"
    if source.read_bytes() != case.data:
        return "the source was changed"
    others = sorted({path.name for path in folder.iterdir()} - {source.name, target.name, log.name})
    if others:
        return f"files nobody asked for: {others}"
    if isinstance(outcome, Encoded):
        missing = sorted(RECEIPT - set(outcome.receipt))
        if missing:
            return f"a receipt without {missing}"
        if outcome.receipt["verdict"] == "fail" or outcome.size_bytes != target.stat().st_size:
            return f"a success that is none: {outcome.receipt['verdict']}, {outcome.size_bytes} bytes"
        return ""
    if not (outcome.message and outcome.remedy):
        return f"no reason or no remedy: {outcome.message!r} {outcome.remedy!r}"
    ours = [word for word in NEVER_SAID if word in outcome.message] and not FFMPEGS_FAULT.search(said.encode())
    return f"our own fault: {outcome.message}" if ours else ""


def peak_mib() -> int:
    """The most memory that any child of this process ever had (its RSS), of those that ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
