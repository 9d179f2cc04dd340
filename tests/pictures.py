"""What goes into the encoder and what comes out of a file, picture by picture."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

#: When a picture is shown (seconds on the file's own clock), and its visible bytes: luma, then chroma.
Picture = tuple[Fraction, bytes]


def shown(path: Path) -> Iterator[Picture]:
    """Yield the pictures of a finished file."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield _picture(frame)


def deinterlaced(path: Path) -> Iterator[Picture]:
    """Yield a recording's pictures as they go into the encoder: through the filters of the plan for it."""
    import av

    from encoderd.encode.filtering import FilterChain
    from encoderd.encode.messages import VideoRequest
    from encoderd.encode.probe import demuxed, open_recording
    from encoderd.encode.video_plan import video_plan

    found = path.stat()
    with (
        open_recording(str(path), found.st_size, found.st_mtime_ns) as recording,
        demuxed(recording) as source,
        av.open(str(path)) as container,
    ):
        chain = FilterChain(video_plan(source.media.video[0], VideoRequest(encoder="h264_qsv"), "auto"))
        for frame in container.decode(video=0):
            yield from map(_picture, chain.push(frame))
        yield from map(_picture, chain.drain())


def since_start(pictures: list[Picture]) -> list[int]:
    """Return when each picture is shown, in ticks of 90 kHz after the first."""
    return [round((at_s - pictures[0][0]) * 90_000) for at_s, _ in pictures]


def _picture(frame: Any) -> Picture:
    assert frame.pts is not None and frame.time_base is not None
    planar, rows = frame.reformat(format="yuv420p"), []
    for plane in planar.planes:
        data = bytes(plane)
        rows += [data[row * plane.line_size : row * plane.line_size + plane.width] for row in range(plane.height)]
    return frame.pts * frame.time_base, b"".join(rows)
