"""
High dynamic range → BT.709, as a table of colours that libavfilter's `lut3d` applies.

zscale, which FFmpeg's own tone mapping needs, is in no wheel of PyAV, and libswscale maps only since FFmpeg 8, in four
times the time (measured). `lut3d` is in every build. Transfers are the numbers of ITU-T H.273 (16 PQ, 18 HLG).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: cd/m² of white on the screen that BT.709 is for: what HDR calls its reference white. Source: Rec. ITU-R BT.2408-7, 2.
WHITE_NITS = 203.0
#: The peak of HLG's nominal screen, and of PQ that tells none. Sources: Rec. ITU-R BT.2100-2, table 5; BT.2408-7, 3.
USUAL_PEAK_NITS = 1000
#: What PQ can say at most. Source: Rec. ITU-R BT.2100-2, table 4.
MOST_NITS = 10_000
#: The dimmest screen that anyone grades high dynamic range on: that of standard range. Source: Rec. ITU-R BT.2035, 1.
LEAST_NITS = 100
PQ, HLG = 16, 18
#: Colours along each edge of the table: grey is within half a step of 8 bits of the curve (measured).
EDGE = 33
#: Linear BT.2020 → linear BT.709, and the weights of luminance. Sources: Rec. ITU-R BT.2087-0, 2; BT.2020-2; BT.709-6.
_BT709_OF_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMINANCE_2020, _LUMINANCE_709 = np.array([0.2627, 0.6780, 0.0593]), np.array([0.2126, 0.7152, 0.0722])
#: ST 2084's constants. Source: Rec. ITU-R BT.2100-2, table 4.
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
#: HLG's constants, and its system gamma at 1000 cd/m². Source: Rec. ITU-R BT.2100-2, table 5.
_A, _B, _C, _SYSTEM_GAMMA = 0.17883277, 0.28466892, 0.55991073, 1.2
#: The gamma of a screen for BT.709. Source: Rec. ITU-R BT.1886.
_SCREEN_GAMMA = 2.4


@cache
def cube(transfer: int, peak_nits: int = 0) -> str:
    """
    Return the table for `lut3d` as a .cube file's text; `peak_nits` is that of the mastering screen, 0 when untold.

    Source of the format: Adobe, Cube LUT Specification 1.0: red changes fastest.
    """
    steps = np.linspace(0.0, 1.0, EDGE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    mapped = tone_mapped(np.stack([red, green, blue], axis=-1).reshape(-1, 3), transfer, peak_nits)
    return f"LUT_3D_SIZE {EDGE}\n" + "".join("%.5f %.5f %.5f\n" % tuple(row) for row in mapped.tolist())  # noqa: UP031


def believed_peak(*told_nits: int) -> int:
    """
    Return the first of the peaks (of the mastering screen, of the content) that can be one, 0 when none can.

    Encoders that were told nothing say 0, 1, 65535 or what was in their memory: a peak of 1 would clip all that is
    brighter than white, one of a million would darken everything.
    """
    return next((nits for nits in told_nits if LEAST_NITS <= nits <= MOST_NITS), 0)


def tone_mapped(signal: Values, transfer: int, peak_nits: int = 0) -> Values:
    """
    Return BT.709's R'G'B' (0…1, rows of three) for BT.2020's in PQ or HLG.

    The brightest component of a colour takes BT.2390's curve and the others stay in proportion, so that hue is kept;
    what BT.709 cannot show is mixed with grey of its own luminance.
    """
    peak = float(USUAL_PEAK_NITS if transfer == HLG or not peak_nits else min(max(peak_nits, WHITE_NITS), MOST_NITS))
    light = _hlg_light(signal) if transfer == HLG else _pq_light(signal)
    brightest = np.maximum(light.max(axis=1, keepdims=True), 1e-6)
    light = light * (eetf(brightest, peak) / brightest) @ _BT709_OF_BT2020.T / WHITE_NITS
    grey = np.clip(light @ _LUMINANCE_709, 0.0, 1.0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(light > 1, (1 - grey) / (light - grey), np.where(light < 0, grey / (grey - light), 1.0))
    shown = grey + (light - grey) * room.min(axis=1, keepdims=True)
    return np.asarray(np.clip(shown, 0.0, 1.0) ** (1 / _SCREEN_GAMMA))


def eetf(nits: Values, peak_nits: float) -> Values:
    """Return what a screen of WHITE_NITS shows of light that was graded for `peak_nits`. Source: BT.2390-8, 5.4.1."""
    top = pq_signal(np.array(peak_nits))
    ratio = float(pq_signal(np.array(WHITE_NITS)) / top)
    knee = 1.5 * ratio - 0.5
    wanted = np.minimum(pq_signal(nits) / top, 1.0)
    if knee >= 1:
        return np.minimum(nits, WHITE_NITS)
    t = np.clip((wanted - knee) / (1 - knee), 0.0, 1.0)
    rolled = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * ratio
    return _pq_light(np.where(wanted < knee, wanted, rolled) * top)


def pq_signal(nits: Any) -> Values:
    """Return PQ's signal (0…1) of light in cd/m²."""
    y = np.asarray(nits / MOST_NITS, np.float64) ** _M1
    return np.asarray(((_C1 + _C2 * y) / (1 + _C3 * y)) ** _M2)


def _pq_light(signal: Values) -> Values:
    root = signal ** (1 / _M2)
    return np.asarray(MOST_NITS * (np.maximum(root - _C1, 0.0) / (_C2 - _C3 * root)) ** (1 / _M1))


def _hlg_light(signal: Values) -> Values:
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luminance = np.maximum(scene @ _LUMINANCE_2020, 1e-9)[:, None]
    return np.asarray(USUAL_PEAK_NITS * luminance ** (_SYSTEM_GAMMA - 1) * scene)
