"""The video's part of the plan: geometry, rate, filters, colours and notes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoderd.encode.codec_options import codec_options
from encoderd.encode.deinterlacing import Deinterlacing, Method
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.pictures import Colours, Look, PictureForm
from encoderd.encode.video_plan import Filter, VideoPlan, aspect_of, filters, filters_for, labelled, video_plan

NTSC, FILM = Fraction(30_000, 1001), Fraction(24_000, 1001)
ASKED = VideoRequest(encoder="libx264")
VIDEO = VideoInfo(
    index=0,
    pid=0x100,
    codec="mpeg2video",
    width=1440,
    height=1080,
    pix_fmt="yuv420p",
    frame_rate=NTSC,
    sample_aspect_ratio=Fraction(4, 3),
    time_base=Fraction(1, 90_000),
)
HD = PictureForm(width=1440, height=1080, sample_aspect_ratio=Fraction(4, 3), colours=Colours(matrix=1, range=1))
LOOK = Look(at=0.0, form=HD, frames=6, interlaced=6, top_first=6, tff=4, spacing_s=1 / NTSC)
NV12 = ("format", "pix_fmts=nv12")
BWDIF = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")


def plan(deinterlace: str = "off") -> VideoPlan:
    """A plan for 1440 × 1080, BT.709 in limited range."""
    return video_plan(replace(VIDEO, colorspace=1, color_range=1), ASKED, deinterlace)


@pytest.mark.parametrize("encoder", ["h264_qsv", "libx264"])
@pytest.mark.parametrize(("deinterlace", "rate"), [("auto", NTSC), ("field", NTSC * 2), ("ivtc", FILM)])
def test_the_encoder_is_asked_at_the_output_s_rate(encoder: str, deinterlace: str, rate: Fraction) -> None:
    asked = VideoRequest(encoder=encoder, quality=30, bframes=1)
    found = video_plan(VIDEO, asked, deinterlace, [LOOK])

    assert (rate, NTSC) == (found.frame_rate, found.source_rate)
    assert codec_options(asked, rate) == found.options


@pytest.mark.parametrize(
    ("decision", "chain"),
    [
        (Deinterlacing(method=Method.OFF), [NV12]),
        (Deinterlacing(method=Method.FRAME), [BWDIF, NV12]),
        (
            Deinterlacing(method=Method.FRAME, every=True, parity="bff"),
            [("bwdif", "mode=send_frame:parity=bff:deint=all"), NV12],
        ),
        (Deinterlacing(method=Method.FIELD), [("bwdif", "mode=send_field:parity=auto:deint=interlaced"), NV12]),
        (Deinterlacing(method=Method.IVTC, parity="tff"), [("fieldmatch", "order=tff:combmatch=full"), BWDIF, NV12]),
    ],
)
def test_the_picture_goes_to_the_encoder_as_nv12(decision: Deinterlacing, chain: list[Filter]) -> None:
    """bwdif touches only frames that are flagged interlaced, unless the pictures prove the flags wrong."""
    assert tuple(chain) == filters(decision, "nv12")


@pytest.mark.parametrize(
    ("form", "chain"),
    [
        (HD, [NV12]),
        (replace(HD, height=1088), [("crop", "1440:1080:0:0"), NV12]),
        (
            replace(HD, width=1920, sample_aspect_ratio=Fraction(1)),
            [("scale", "1440:1080:flags=bicubic"), NV12],  # no line is scaled: fields stay fields
        ),
        (
            replace(HD, width=720, height=480, sample_aspect_ratio=Fraction(8, 9)),
            [BWDIF, ("scale", "1080:1080:flags=bicubic"), ("pad", "1440:1080:180:0:black"), NV12],
        ),
        (
            replace(HD, width=1080, height=1440, sample_aspect_ratio=Fraction(3, 4), rotation=90),
            [("transpose", "dir=cclock"), NV12],
        ),
        (replace(HD, rotation=180), [("hflip", ""), ("vflip", ""), NV12]),
        (
            replace(HD, colours=Colours(matrix=6, range=2)),
            [("format", "pix_fmts=nv12:color_spaces=bt709:color_ranges=tv")],
        ),
    ],
)
def test_other_forms_are_fitted_into_the_plan_s(form: PictureForm, chain: list[Filter]) -> None:
    """Deinterlaced before they are scaled, cropped before they are turned; nothing is done that is not needed."""
    assert tuple(chain) == filters_for(plan(), form)


def test_progressive_parts_of_film_are_not_woven() -> None:
    assert (NV12,) == filters_for(plan("ivtc"), HD, film=False)
    assert 3 == len(filters_for(plan("ivtc"), HD))
    assert (BWDIF, NV12) == filters_for(plan("auto"), HD, film=False)


SD_SIZE, HD_SIZE = (720, 480), (1440, 1080)


@pytest.mark.parametrize(
    ("size", "matrix", "value_range", "colours"),
    [
        (HD_SIZE, 1, 1, (1, 1)),
        (HD_SIZE, 2, 0, (1, 1)),  # not told: as planned
        (HD_SIZE, 6, 1, (6, 1)),  # told: converted
        (HD_SIZE, 1, 2, (1, 2)),
        (SD_SIZE, 2, 0, (6, 1)),  # not told, and another size: BT.601
        (SD_SIZE, 1, 1, (1, 1)),
        (HD_SIZE, 0, 1, (1, 1)),  # RGB's matrix is none
        (HD_SIZE, 14, 1, (1, 1)),  # cannot be converted
        ((704, 480), 1, 1, (6, 1)),  # the decoder still tells what came before
    ],
)
def test_what_pictures_are_converted_from(
    size: tuple[int, int], matrix: int, value_range: int, colours: tuple[int, int]
) -> None:
    found = labelled(replace(plan(), untagged=((704, 480),)), size, matrix, value_range)

    assert colours == (found.matrix, found.range)


def test_nothing_is_converted_into_colours_that_nobody_told() -> None:
    """The trial's pictures have no tags, and its plan no looks."""
    untold = video_plan(VIDEO, ASKED, "auto")

    assert (2, 2, 2, 0) == (untold.color_primaries, untold.color_trc, untold.colorspace, untold.color_range)
    assert 2 == labelled(untold, SD_SIZE, 1, 1).matrix


def test_with_looks_colours_are_final() -> None:
    """Told ones stay, others are those of the size."""
    found = video_plan(VIDEO, ASKED, "auto", [replace(LOOK, form=replace(HD, colours=Colours(transfer=18)))])

    assert (9, 18, 9, 1) == (found.color_primaries, found.color_trc, found.colorspace, found.color_range)
    assert ((1440, 1080),) == found.untagged
    assert ("high dynamic range (HLG) kept as tagged, without tone mapping",) == found.notes


@pytest.mark.parametrize(
    ("told", "untold_aspect"),
    [(Fraction(0), Fraction(4, 3)), (Fraction(1), Fraction(0)), (Fraction(4, 3), Fraction(0))],
)
def test_the_container_s_aspect_is_for_pictures_that_tell_none(told: Fraction, untold_aspect: Fraction) -> None:
    found = video_plan(VIDEO, ASKED, "auto", [replace(LOOK, form=replace(HD, sample_aspect_ratio=told))])

    assert (told or Fraction(4, 3), untold_aspect) == (found.sample_aspect_ratio, found.untold_aspect)


@pytest.mark.parametrize(
    ("size", "told", "untold_aspect", "aspect"),
    [
        (SD_SIZE, Fraction(8, 9), Fraction(0), Fraction(8, 9)),
        (SD_SIZE, Fraction(1), Fraction(0), Fraction(1)),
        (SD_SIZE, Fraction(1), Fraction(4, 3), Fraction(4, 3)),
        (SD_SIZE, None, Fraction(0), Fraction(32, 27)),  # what the survey saw
        ((704, 480), None, Fraction(0), Fraction(1)),  # seen without one
        (HD_SIZE, None, Fraction(0), Fraction(4, 3)),
        ((1920, 1080), None, Fraction(0), Fraction(1)),  # fills the screen
    ],
)
def test_a_picture_s_aspect(
    size: tuple[int, int], told: Fraction | None, untold_aspect: Fraction, aspect: Fraction
) -> None:
    """The header's, else the container's, else what was seen of this size."""
    seen = ((SD_SIZE, Fraction(32, 27)), ((704, 480), Fraction(0)))

    assert aspect == aspect_of(replace(plan(), aspects=seen, untold_aspect=untold_aspect), size, told)


@pytest.mark.parametrize(
    ("size", "planned"),
    [((1440, 1080), (1440, 1080)), ((641, 361), (640, 360)), ((2, 3), (2, 2)), ((1920, 1088), (1920, 1080))],
)
def test_the_output_s_size(size: tuple[int, int], planned: tuple[int, int]) -> None:
    """4:2:0 has no half colour samples; 1088 lines are 1080 and some that fill macroblocks."""
    found = video_plan(replace(VIDEO, width=size[0], height=size[1]), ASKED, "auto")

    assert planned == (found.width, found.height)
