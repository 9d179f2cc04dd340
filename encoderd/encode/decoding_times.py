"""
DTS for an encoder that computes its own as if all pictures came evenly: h264_qsv.

The runtime takes a fixed duration for each picture that a frame overtakes. A recording has gaps, where packets were
lost, and there such a DTS runs backwards: no muxer takes it. The PTS that went in, in their order, are a DTS that fits:
picture n is decoded when picture n − `delay` is shown. libavcodec's nvenc and HandBrake do the same.
"""

from __future__ import annotations

from collections import deque

#: Pictures that a runtime may reorder when it was left the choice: eight between references is the most they take.
MOST_DELAY = 7


class DecodingTimes:
    """
    The DTS of packets in coding order. `delay` is how many pictures a packet may overtake: the B-frames in a row are
    always enough. `frame_ticks` is one picture's duration; all times in ticks of one clock.
    """

    def __init__(self, delay: int, frame_ticks: int) -> None:
        self._shown: deque[int] = deque()
        self._inside: set[int] = set()
        self._before = delay
        self._frame_ticks = frame_ticks

    def put(self, pts: int) -> None:
        """A picture goes into the encoder; pts must be later than the one before."""
        self._shown.append(pts)
        self._inside.add(pts)

    def take(self, pts: int | None) -> int | None:
        """Return the DTS of the next packet that comes out, None when no picture of that PTS is in the encoder."""
        if pts not in self._inside:
            return None
        self._inside.remove(pts)
        if self._before:
            self._before -= 1
            return self._shown[0] - (self._before + 1) * self._frame_ticks
        return self._shown.popleft()
