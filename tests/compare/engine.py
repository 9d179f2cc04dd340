"""The engine on one recording, through the real child, with the software encoder at a fast preset."""

from __future__ import annotations

import select
import time
from pathlib import Path

from encoderd.encode.messages import Encoded
from encoderd.encode.supervisor import Child, Limits
from tests.compare.facts import Ours
from tests.encoding import request_for


def encode(source: Path, target: Path, limit_s: float) -> Ours:
    """Encode into `target`, whose folder takes log and captions too; everything that goes wrong is a refusal."""
    began_s = time.monotonic()
    log = target.with_name("log")
    limits = Limits(startup_s=limit_s, stall_s=limit_s, drain_s=limit_s)
    container = target.suffix.removeprefix(".")
    request = request_for(
        source, target, container=container, preset="veryfast", captions=str(target.with_name("captions.mks"))
    )
    child = Child(request, limits, now_s=time.monotonic(), log=log)
    try:
        while (outcome := child.poll(time.monotonic())) is None and time.monotonic() < began_s + limit_s:
            select.select([child], [], [], 0.1)
    finally:
        child.kill()
    words = log.read_text("utf-8", "replace") if log.exists() else ""
    wall_s = time.monotonic() - began_s
    if outcome is None:
        return Ours(refusal=f"It took more than {limit_s:.0f} s.", kind="limit", log=words, wall_s=wall_s)
    if isinstance(outcome, Encoded):
        return Ours(receipt=outcome.receipt, log=words, wall_s=wall_s)
    return Ours(
        refusal=str(outcome),
        remedy=getattr(outcome, "remedy", ""),
        kind=str(getattr(outcome, "kind", "?")),
        log=words,
        wall_s=wall_s,
    )
