"""Whether all that a recording holds is in its output, beside it, or named: captions, data, further pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.plan import EncodePlan
from encoderd.encode.written import OutputFacts
from encoderd.findings import Finding, passed, warned

_KEEP = "Play the recording; when that is needed, keep the recording."
#: So much of a list is named.
_MOST_NAMED = 8


def judge_left_out(plan: EncodePlan) -> Finding:
    """What the output does not have: a doubt where a viewer may miss it."""
    missed = [f"{one.what}: {one.reason}" for one in plan.left_out if one.matters]
    rest = [one.what for one in plan.left_out if not one.matters]
    if missed:
        return warned("left_out", _list(missed, "; "), _KEEP)
    return passed("left_out", f"no content; {_list(rest, ', ')}" if rest else "nothing")


def judge_captions(
    plan: EncodePlan,
    facts: TranscodeFacts,
    output: OutputFacts,
    beside: Mapping[str, Any] | None,
    sent: Collection[int] = (),
) -> Finding:
    """
    Whether captions are where they were planned. Nothing about captions fails a job.

    `beside` tells of the file beside the output, as the receipt has it; None where none was planned. `sent` are the
    PIDs that have packets in the recording; FFmpeg may take a stream for what it is not, and hand out nothing of it.
    """
    inside = sum(stream.kind == "subtitle" for stream in output.streams)
    streams: Sequence[Mapping[str, Any]] = () if beside is None else beside["streams"]
    there = [stream for stream in streams if stream["packets"]]
    text = f"{inside} inside" + (f", {len(there)} in a file beside it" if plan.beside else "")
    lost = [
        f"{stream['packets']} of {stream['taken']} packets of {stream['codec']} (PID {stream['pid']:#x}) were kept"
        for stream in streams
        if stream["packets"] < stream["taken"]
    ]
    came = [stream.packets for stream in facts.streams[1 + len(plan.audio) :]]
    came += [stream["taken"] for stream in streams]
    lost += [
        f"FFmpeg read nothing of {caption.codec} (PID {caption.pid:#x}), which has packets"
        for caption, packets in zip((*plan.inside, *plan.beside), came, strict=False)
        if not packets and caption.pid in sent
    ]
    if lost:
        why = "" if beside is None else "".join(f" ({note})" for note in beside["notes"])
        return warned("captions", f"{text}; {_list(lost, '; ')}{why}", _KEEP)
    if inside < len(plan.inside):
        return warned("captions", f"{text}; planned were {len(plan.inside)} inside", _KEEP)
    none = len(streams) - len(there)
    if none:
        text += f"; of {none} that were announced none came"
    return passed("captions", text if plan.inside or plan.beside else "none")


def _list(texts: Sequence[str], between: str) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return between.join(texts[:_MOST_NAMED]) + more
