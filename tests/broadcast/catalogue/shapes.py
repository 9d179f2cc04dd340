"""Shapes, scans and colours of pictures, each with what a viewer has to get."""

from __future__ import annotations

from dataclasses import replace

from tests.broadcast.catalogue.broadcasts import plain
from tests.broadcast.making import BT709
from tests.broadcast.studio import PROGRESSIVE, frames
from tests.broadcast.truth import Made, Recipe

#: Primaries, transfer and matrix as ITU-T H.273 numbers them.
PQ, HLG = (9, 16, 9), (9, 18, 9)


def hdr(colours: tuple[int, int, int]) -> Made:
    """HEVC in 10 bits with high dynamic range: BT.709 comes out."""
    part = replace(PROGRESSIVE, frames=frames(3), pix_fmt="yuv420p10le", colours=colours)
    return plain([part], "libx265", colours=BT709)


CATALOGUE: dict[str, Recipe] = {
    "hdr_pq": Recipe(make=lambda: hdr(PQ)),
    "hdr_hlg": Recipe(make=lambda: hdr(HLG)),
}
