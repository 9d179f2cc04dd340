"""Shapes, scans and colours of pictures, each with what a viewer has to get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from tests.broadcast import making
from tests.broadcast.catalogue.broadcasts import plain
from tests.broadcast.containers import Head, Said, remuxed, with_matrix
from tests.broadcast.making import BT709, FILM, PAL, Part
from tests.broadcast.studio import PROGRESSIVE, STREAM_TYPES, TFF, VIDEO_PID, audio, frames, service, steady
from tests.broadcast.transport import HZ, Elementary, Unit, multiplexed
from tests.broadcast.truth import Made, Recipe, truth_of
from tests.broadcast.turned import turned_pictures

#: Primaries, transfer and matrix as ITU-T H.273 numbers them.
PQ, HLG = (9, 16, 9), (9, 18, 9)


def hdr(colours: tuple[int, int, int]) -> Made:
    """HEVC in 10 bits with high dynamic range: BT.709 comes out."""
    part = replace(PROGRESSIVE, frames=frames(3), pix_fmt="yuv420p10le", colours=colours)
    return plain([part], "libx265", colours=BT709)


#: x265 takes fields and tells their parity.
X265 = "aud=1:log-level=none:pools=1:repeat-headers=1:interlace=tff"
FIELDS = (("x265-params", X265),)
#: To a tick of the clock: the judge itself allows a millisecond more.
EVEN = Fraction(1, 1000)
#: 24 pictures a second in 50 fields: one of twelve is shown a field longer.
PAL_SOFT = Part(frames=120, rate=Fraction(24), size=(256, 160), scan="soft", pattern=(2,) * 11 + (3,))
SOFT = Part(frames=120, rate=FILM, size=(256, 160), scan="soft")


def film_and_video() -> Made:
    """Film by its flags, film as fields, video, and film by its flags again; the film as fields is half a frame off."""
    soft, hard = replace(SOFT, frames=72), Part(frames=48, rate=FILM, size=(256, 160), scan="film")
    parts = [soft, hard, replace(TFF, frames=frames(2), size=(256, 160)), soft]
    return plain(parts, tolerance_frames=Fraction(1), missing=6)


def fields(codec: str, *, scan: str = "tff", aspect: Fraction, options: tuple[tuple[str, str], ...] = ()) -> Made:
    """Each coded picture is one field, of half the height, fifty in a second."""
    part = Part(frames=100, rate=PAL, size=(256, 160), scan=scan)
    (piece,) = making.pieces_of([part])
    field = replace(part, rate=2 * PAL, size=(256, 80), scan="progressive", options=options)
    context = making.encoder(codec, replace(field, sample_aspect_ratio=aspect), field.rate)
    packets = []
    for number, frame in enumerate(making.pictures(part, piece, making.events_of([piece]))):
        whole = frame.to_ndarray()
        for second in (0, 1):
            lines = np.concatenate([whole[second ^ (scan == "bff") : 160 : 2], np.full((40, 256), 118, np.uint8)])
            half = VideoFrame.from_ndarray(lines, format="yuv420p")
            half.pts, half.time_base = 2 * number + second, 1 / field.rate
            packets += context.encode(half)
    units = [
        Unit(pts=round(packet.pts / field.rate * HZ), dts=round(packet.dts / field.rate * HZ), data=bytes(packet))
        for packet in [*packets, *context.encode(None)]
    ]
    picture = Elementary(pid=VIDEO_PID, stream_type=STREAM_TYPES[codec], units=units)
    return Made(data=multiplexed(service(picture, audio([part])), clock=steady()), truth=truth_of([part]))


#: x264 and x265 begin a group with every twelfth picture here.
GROUP = 12
SIDEWAYS = replace(PROGRESSIVE, frames=frames(3))


def sideways(codec: str, *, every: int, mirrored: bool) -> Made:
    """Filmed with the camera on its side, as the bitstream says; no container is asked."""
    units = turned_pictures(codec, SIDEWAYS, every=every, quarters=1, mirrored=mirrored)
    picture = Elementary(pid=VIDEO_PID, stream_type=STREAM_TYPES[codec], units=units)
    return Made(data=multiplexed(service(picture, audio([SIDEWAYS])), clock=steady()), truth=truth_of([SIDEWAYS]))


def sideways_twice() -> Made:
    """The bitstream's word is of these pictures, the container's (upside down) of what it was copied from."""
    made = sideways("libx265", every=1, mirrored=False)
    sound = Said(language="jpn", dispositions=("default",))
    data = with_matrix(remuxed(made.data, "mp4", [Said(), sound], Head()), (-1, 0, 0, -1))
    return replace(made, data=data)


CATALOGUE: dict[str, Recipe] = {
    "hdr_pq": Recipe(make=lambda: hdr(PQ)),
    "film_flags": Recipe(make=lambda: plain([SOFT], tolerance_frames=EVEN)),
    "film_flags_ivtc": Recipe(make=lambda: plain([SOFT], tolerance_frames=EVEN), asked={"deinterlace": "ivtc"}),
    "film_flags_h264": Recipe(make=lambda: plain([SOFT], "libx264", tolerance_frames=EVEN)),
    "film_2332": Recipe(make=lambda: plain([replace(SOFT, pattern=(2, 3, 3, 2))], tolerance_frames=EVEN)),
    "film_2224": Recipe(make=lambda: plain([replace(SOFT, pattern=(2, 2, 2, 4))], "libx264", tolerance_frames=EVEN)),
    "film_720p": Recipe(make=lambda: plain([replace(SOFT, doubled=True, size=(256, 144))], tolerance_frames=EVEN)),
    "film_pal": Recipe(make=lambda: plain([PAL_SOFT], tolerance_frames=EVEN)),
    "film_and_video": Recipe(make=film_and_video, asked={"deinterlace": "ivtc"}),
    # As DVB has interlaced HEVC.
    "hevc_fields": Recipe(make=lambda: fields("libx265", aspect=Fraction(1, 2), options=FIELDS)),
    "fields_unflagged": Recipe(make=lambda: fields("libx264", aspect=Fraction(1))),
    "half_height_50p": Recipe(make=lambda: plain([replace(PROGRESSIVE, frames=100, rate=2 * PAL, size=(256, 80))])),
    "fields_unflagged_bottom": Recipe(make=lambda: fields("libx265", scan="bff", aspect=Fraction(1, 2))),
    "sideways_h264": Recipe(make=lambda: sideways("libx264", every=GROUP, mirrored=True)),
    "sideways_hevc": Recipe(make=sideways_twice, suffix=".mp4"),
    "hdr_hlg": Recipe(make=lambda: hdr(HLG)),
}
