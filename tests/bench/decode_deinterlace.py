"""
Our pipeline up to the encoder, alone: decode, deinterlace, nv12, and count. `python -m … RECORDING`.

With `RECORDING ENCODER TARGET` the same into an encoder and a file, without audio and without reading back.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoderd.encode import transcode
from encoderd.encode.facts import TranscodeFacts
from encoderd.encode.messages import EncodeRequest, VideoRequest
from encoderd.encode.plan import make_plan
from encoderd.encode.probe import demuxed, open_recording
from encoderd.encode.survey import survey


class Count:
    """Stands where the writer stands, and takes what it gets."""

    out_time_s = 0.0
    size_bytes = 0

    inside = ()
    chapters = ()
    has_chapters = True

    def __init__(self, _plan: Any, _target: str, _source: Any, facts: TranscodeFacts, _duration_ms: int | None) -> None:
        self._facts = facts

    def write(self, position: int, _item: Any) -> None:
        self._facts.frames_encoded += position == 0

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        raise SystemExit("the pipeline broke")


def main(path: Path, encoder: str = "", target: str = "") -> None:
    """Run the pipeline over `path`, into `target` with `encoder`, or into nothing."""
    found = path.stat()
    request = EncodeRequest(
        job=0, source=str(path), partial=target, size_bytes=found.st_size, mtime_ns=found.st_mtime_ns,
        video=VideoRequest(encoder=encoder or "libx264", preset="veryfast"), container="mp4", deinterlace="auto",
        audio_bit_rate_bps=192_000, verify="quick",
    )  # fmt: skip
    if not encoder:
        transcode.Writer = Count  # type: ignore[misc,assignment]
    with (
        open_recording(str(path), found.st_size, found.st_mtime_ns) as recording,
        demuxed(recording) as source,
    ):
        looks = survey(f"/proc/self/fd/{recording.fd}", source.media, source.media.video[0])
        plan = replace(make_plan(source.media, request, looks), audio=())
        facts = transcode.Transcode(source, recording.fd, plan, request, lambda _: None).run().facts
    if facts.frames_encoded == 0 or (encoder and facts.packets_encoded != facts.frames_encoded):
        raise SystemExit(f"{facts.frames_encoded} frames in, {facts.packets_encoded} packets out")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
