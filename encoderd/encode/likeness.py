"""
How like two pictures are: PSNR and SSIM of their luma, and which seconds of a recording are looked at.

A picture is compared in two ways. `places` is a few hundred means of 4 × 4 pixels, cheap enough for every picture:
a coarse encode keeps the means, whatever it does to the detail, so that what differs here is another picture.
`strips` are bands of 8 lines, for the sampled seconds: PSNR and SSIM as they are commonly given, of a quarter of the
lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]  # lines × pixels

#: PSNR of equal pictures, which is infinite, in dB.
EQUAL_DB = 99.0
#: Below this, at its `places`, a picture is another one than went in. Measured with libx264: snow at quality 51 has
#: 22 dB there (11 dB in full), hard cuts every third picture at 100 kb/s 12 dB; an inverted or green picture 5 to 8 dB.
WRONG_DB = 10.0
#: SSIM's block in pixels, and its constants for 8 bits. Source: Wang et al., "Image quality assessment", 2004:
#: C1 = (0.01 · 255)², C2 = (0.03 · 255)²; blocks do not overlap, as in FFmpeg's and x264's own.
BLOCK = 8
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: One band of BLOCK lines in so many is kept.
_STRIP_IN = 4
#: `places`: means of so many pixels squared, at most so many rows and columns of them.
_PLACE, _PLACE_ROWS, _PLACE_COLUMNS = 4, 18, 48
#: Seconds that are sampled at most, and at least, of a recording of known duration.
MOST_SECONDS, LEAST_SECONDS = 24, 3
#: Seconds from sample to sample where nobody says how long the recording is.
_UNKNOWN_STEP_S = 60
#: One second in so many is enough; a short recording is not compared as a whole.
_SHORT_STEP_S = 10


def strips(luma: Luma) -> Luma:
    """Return a copy of every fourth band of 8 lines, cut to whole blocks; empty below 8 × 8 pixels."""
    lines, width = luma.shape[0] // BLOCK * BLOCK, luma.shape[1] // BLOCK * BLOCK
    bands = luma[:lines, :width].reshape(lines // BLOCK, BLOCK, width)  # a view, also of a plane with padding
    return np.ascontiguousarray(bands[::_STRIP_IN])


def psnr_db(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio in dB of 8-bit samples of the same shape; EQUAL_DB when they are equal."""
    if not one.size:
        return EQUAL_DB
    difference = one.astype(np.float32) - other
    return db_of(float(np.mean(difference * difference)))


def db_of(mean_square: float) -> float:
    """Return the PSNR in dB of a mean square error of 8-bit samples."""
    return min(EQUAL_DB, 10 * math.log10(255**2 / mean_square)) if mean_square else EQUAL_DB


def ssim(one: Luma, other: Luma) -> float:
    """Return the mean structural similarity (0…1; 1: equal) of two results of `strips` of the same shape."""
    if not one.size:
        return 1.0
    x, y = one.astype(np.float32), other.astype(np.float32)
    n = BLOCK * BLOCK
    mean_x, mean_y = _sums(x) / n, _sums(y) / n
    square_x, square_y = mean_x * mean_x, mean_y * mean_y
    both = mean_x * mean_y
    variances = _sums(x * x + y * y) / n - square_x - square_y
    covariance = _sums(x * y) / n - both
    blocks = (2 * both + _C1) * (2 * covariance + _C2) / ((square_x + square_y + _C1) * (variances + _C2))
    return float(np.mean(blocks))


def _sums(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of each 8 × 8 block: lines first, which are long and quick to add."""
    lines: NDArray[np.float32] = bands.sum(axis=1)
    sums: NDArray[np.float32] = lines.reshape(len(bands), lines.shape[1] // BLOCK, BLOCK).sum(axis=2)
    return sums


def places(luma: Luma) -> NDArray[np.float32]:
    """Return the means of 4 × 4 pixels at evenly spread places: a few hundred numbers that tell pictures apart."""
    rows, columns = luma.shape[0] // _PLACE, luma.shape[1] // _PLACE
    if not rows or not columns:
        return luma.astype(np.float32)
    blocks = luma[: rows * _PLACE, : columns * _PLACE].reshape(rows, _PLACE, columns * _PLACE)
    # Lines first, which are long: a quarter of the time. 16 samples of 8 bits fit.
    lines = blocks[:: -(-rows // _PLACE_ROWS)].sum(axis=1, dtype=np.uint16)
    step = -(-columns // _PLACE_COLUMNS) * _PLACE
    means: NDArray[np.float32] = lines[:, ::step].astype(np.float32)
    for column in range(1, _PLACE):
        means += lines[:, column::step]
    means /= _PLACE * _PLACE
    return means


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """
    The seconds of the output that are compared closely: every `step_s`-th, and those at `also_s` (middle and last).

    Known beforehand, so that nothing has to be kept of the others.
    """

    step_s: int
    also_s: frozenset[int] = frozenset()

    def wants(self, second: int) -> bool:
        """Whether the pictures from `second` to `second` + 1 are compared."""
        return second >= 0 and (second % self.step_s == 0 or second in self.also_s)


def sampled(duration_s: float | None) -> Samples:
    """
    Return which seconds to sample of a recording that claims `duration_s` (None: unknown): 3 to 24 of them.

    A claim that is too short costs nothing but more samples, one that is too long the last one.
    """
    if duration_s is None or not 0 < duration_s < 10**7:
        return Samples(step_s=_UNKNOWN_STEP_S)
    whole = max(1, math.floor(duration_s))
    count = min(MOST_SECONDS - 2, max(LEAST_SECONDS, whole // _SHORT_STEP_S))
    # -1: a claim is an estimate, and the very last second may not be there.
    return Samples(step_s=max(1, -(-whole // count)), also_s=frozenset({whole // 2, max(0, whole - 1 - (whole > 2))}))
