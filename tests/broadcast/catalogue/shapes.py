"""Shapes, scans and colours of pictures, each with what a viewer has to get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tests.broadcast.catalogue.broadcasts import plain
from tests.broadcast.making import BT709, FILM, Part
from tests.broadcast.studio import PROGRESSIVE, TFF, frames
from tests.broadcast.truth import Made, Recipe

#: Primaries, transfer and matrix as ITU-T H.273 numbers them.
PQ, HLG = (9, 16, 9), (9, 18, 9)


def hdr(colours: tuple[int, int, int]) -> Made:
    """HEVC in 10 bits with high dynamic range: BT.709 comes out."""
    part = replace(PROGRESSIVE, frames=frames(3), pix_fmt="yuv420p10le", colours=colours)
    return plain([part], "libx265", colours=BT709)


#: To a tick of the clock: the judge itself allows a millisecond more.
EVEN = Fraction(1, 1000)
SOFT = Part(frames=120, rate=FILM, size=(256, 160), scan="soft")


def film_and_video() -> Made:
    """Film by its flags, film as fields, video, and film by its flags again; the film as fields is half a frame off."""
    soft, hard = replace(SOFT, frames=72), Part(frames=48, rate=FILM, size=(256, 160), scan="film")
    parts = [soft, hard, replace(TFF, frames=frames(2), size=(256, 160)), soft]
    return plain(parts, tolerance_frames=Fraction(1), missing=6)


CATALOGUE: dict[str, Recipe] = {
    "hdr_pq": Recipe(make=lambda: hdr(PQ)),
    "film_flags": Recipe(make=lambda: plain([SOFT], tolerance_frames=EVEN)),
    "film_flags_ivtc": Recipe(make=lambda: plain([SOFT], tolerance_frames=EVEN), asked={"deinterlace": "ivtc"}),
    "film_flags_h264": Recipe(make=lambda: plain([SOFT], "libx264", tolerance_frames=EVEN)),
    "film_and_video": Recipe(make=film_and_video, asked={"deinterlace": "ivtc"}),
    "hdr_hlg": Recipe(make=lambda: hdr(HLG)),
}
