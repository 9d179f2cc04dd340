"""
Will the output be smaller than wanted? Told early from what was written so far, so that no hour is spent in vain.

The projection has two parts: what is written, and for the rest of the source the rate (output bytes per source byte) of
the cheaper stretches so far: one noisy opener or one still logo does not decide. It must be over the limit by a margin
that is large at first and goes to nothing; what is over the limit already needs no projection.
"""

from __future__ import annotations

import bisect

#: Nothing is projected before so much of the source (0…1) was read and so many seconds were made.
FIRST_RATIO = 0.10
FIRST_S = 10.0
#: How far over the limit a projection must be at FIRST_RATIO; at the end of the source it only has to be over it.
MARGIN = 0.15
#: A stretch whose rate is looked at: this share (0…1) of the source.
_STRETCH_RATIO = 0.02
#: Of the stretches' rates, in their order, the one at this place (0…1) is taken for the rest.
_CHEAPER = 0.25


class Projection:
    """
    Judges one encode. `source_bytes` is the recording's size; an output of `max_size_ratio` × that or more is unwanted,
    0 means that any size will do.

    What the encoder still holds back was read but is not written: the projection is a little too low, which errs on the
    side of going on.
    """

    def __init__(self, source_bytes: int, max_size_ratio: float) -> None:
        self._source_bytes = source_bytes
        self._limit_bytes = source_bytes * max_size_ratio
        self._ratio = max_size_ratio
        self._rates: list[float] = []  # sorted
        self._read_bytes = self._written_bytes = 0  # at the end of the last stretch

    def judge(self, read_bytes: int, written_bytes: int, out_time_s: float) -> str | None:
        """
        Return why the output is not wanted, None as long as it may be. To be called now and then, with growing figures.

        `read_bytes` of the source led to `written_bytes` of output, `out_time_s` seconds of it.
        """
        if not self._limit_bytes:
            return None
        if written_bytes >= self._limit_bytes:
            return self._sentence(f"it is {_size(written_bytes)} already")
        self._add(read_bytes, written_bytes)
        share = min(1.0, read_bytes / self._source_bytes)
        if share < FIRST_RATIO or out_time_s < FIRST_S or not self._rates:
            return None
        cheaper = self._rates[int(len(self._rates) * _CHEAPER)]
        rate = min(cheaper, written_bytes / read_bytes)
        projected_bytes = written_bytes + (self._source_bytes - min(read_bytes, self._source_bytes)) * rate
        margin = 1 + MARGIN * (1 - share) / (1 - FIRST_RATIO)
        if projected_bytes < self._limit_bytes * margin:
            return None
        return self._sentence(f"after {share:.0%} of the recording it looks like {_size(projected_bytes)}")

    def judge_final(self, output_bytes: int) -> str | None:
        """Return why a finished output is not wanted, None when it is."""
        if not self._limit_bytes or output_bytes < self._limit_bytes:
            return None
        return self._sentence(f"it is {_size(output_bytes)}")

    def _add(self, read_bytes: int, written_bytes: int) -> None:
        read = read_bytes - self._read_bytes
        if read >= self._source_bytes * _STRETCH_RATIO:
            bisect.insort(self._rates, max(0, written_bytes - self._written_bytes) / read)
            self._read_bytes, self._written_bytes = read_bytes, written_bytes

    def _sentence(self, what: str) -> str:
        limit = "its recording" if self._ratio == 1 else f"{self._ratio:g} × its recording"
        return f"The output is not smaller than {limit}: {what}, the limit is {_size(self._limit_bytes)}"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:.1f} MiB" if size_bytes >= 2**20 else f"{size_bytes / 2**10:.1f} KiB"
