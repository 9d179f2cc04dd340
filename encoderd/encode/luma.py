"""A decoded picture's luma as an array, whatever its pixel format."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from encoderd.encode.deinterlacing import Lines


def luma_of(frame: VideoFrame, column_step: int) -> Lines:
    """Return every so many columns of the luma, in whole lines; of deeper samples the upper 8 bits."""
    if not _luma_is_a_plane(frame.format):
        frame = frame.reformat(format="gray")
    plane: Any = frame.planes[0]
    component = frame.format.components[0]
    deep = component.bits > 8
    rows = np.frombuffer(plane, np.dtype("<u2") if deep else np.uint8).reshape(
        -1, plane.line_size // (2 if deep else 1)
    )
    columns: Lines = rows[: frame.height, : frame.width : column_step]
    if deep:
        columns = columns >> (component.bits - 8)
    return columns.astype(np.int16)


def _luma_is_a_plane(form: Any) -> bool:
    """Whether the first plane is luma alone, 8 to 16 bits in our byte order: no RGB, nothing packed, no palette."""
    component = form.components[0]
    return bool(form.is_planar and component.is_luma and 8 <= component.bits <= 16 and not form.is_big_endian)
