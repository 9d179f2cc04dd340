"""The one form that an output gets, and where pictures of other forms go in it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderd.encode.media import VideoInfo
from encoderd.encode.pictures import (
    HIGH_DEFINITION,
    LINES_525,
    LINES_625,
    Colours,
    Fit,
    Look,
    PictureForm,
    Shown,
    conversions,
    fit,
    frame_rate,
    inferred,
    main_form,
    mpeg2_sequence,
    others,
    own_colours,
    shown,
)

NTSC = Fraction(30_000, 1001)
VIDEO = VideoInfo(
    index=0,
    pid=0x100,
    codec="mpeg2video",
    width=720,
    height=480,
    pix_fmt="yuv420p",
    frame_rate=NTSC,
    sample_aspect_ratio=Fraction(8, 9),
    time_base=Fraction(1, 90_000),
)
HD = PictureForm(width=1440, height=1080, sample_aspect_ratio=Fraction(4, 3))
FULL_HD = PictureForm(width=1920, height=1080, sample_aspect_ratio=Fraction(1))
SD = PictureForm(width=720, height=480, sample_aspect_ratio=Fraction(8, 9))


def look(form: PictureForm | None, spacing_s: Fraction = 1 / NTSC) -> Look:
    return Look(at=0.5, form=form, frames=6 if form else 0, spacing_s=spacing_s if form else Fraction(0))


@pytest.mark.parametrize(
    ("forms", "size"),
    [
        ([SD, HD, HD], (1440, 1080)),
        ([FULL_HD, HD, HD, SD], (1440, 1080)),
        ([SD, HD], (1440, 1080)),
        ([HD, FULL_HD], (1920, 1080)),
        ([None, SD, None, None], (720, 480)),
        ([None, None], (720, 480)),
        ([], (720, 480)),
    ],
)
def test_the_main_form_is_that_of_most_places(forms: list[PictureForm | None], size: tuple[int, int]) -> None:
    """Between equals the larger; places without pictures have no say; without any, what the container says."""
    form = main_form([look(form) for form in forms], VIDEO)

    assert size == (form.width, form.height)


def test_the_container_s_aspect_counts_where_the_pictures_tell_none() -> None:
    untold = replace(SD, sample_aspect_ratio=Fraction(0))

    assert Fraction(8, 9) == main_form([look(untold)], VIDEO).sample_aspect_ratio
    assert Fraction(4, 3) == main_form([look(untold), look(HD), look(HD)], VIDEO).sample_aspect_ratio


def test_colours_are_those_that_most_pictures_of_this_size_tell() -> None:
    """Each value for itself, and one that is told once counts more than silence."""
    tagged = replace(HD, colours=Colours(primaries=1, transfer=2, matrix=1, range=1))
    other = replace(SD, colours=Colours(primaries=6, transfer=6, matrix=6, range=2))
    form = main_form([look(HD), look(HD), look(tagged), look(other)], VIDEO)

    assert Colours(primaries=1, transfer=2, matrix=1, range=1) == form.colours


def test_colours_that_no_table_knows_are_not_told() -> None:
    """A damaged header says any number; what FFmpeg would refuse goes nowhere."""
    damaged = Colours(primaries=200, transfer=3, matrix=0, range=1)
    told = replace(VIDEO, color_primaries=200, color_trc=3, colorspace=250, color_range=1)

    assert Colours(range=1) == main_form([look(replace(HD, colours=damaged))], VIDEO).colours
    assert Colours(range=1) == main_form([], told).colours


@pytest.mark.parametrize(
    ("guessed", "spacings", "rate"),
    [
        (NTSC, [], NTSC),
        (Fraction(60_000, 1001), [1 / NTSC] * 3, NTSC),  # fields taken for frames
        (Fraction(50), [Fraction(1, 25)], Fraction(25)),
        (Fraction(25), [Fraction(1, 50)], Fraction(50)),
        (Fraction(24), [Fraction(1001, 24_000)], Fraction(24)),  # too near to tell
        (Fraction(0), [Fraction(3003, 90_000)], NTSC),
        (NTSC, [Fraction(1, 20)], NTSC),  # film with repeated fields: no rate of television
        (NTSC, [Fraction(1, 3)], NTSC),  # a slide show
        (Fraction(0), [], Fraction(0)),
    ],
)
def test_measured_times_correct_the_container_s_guess(
    guessed: Fraction, spacings: list[Fraction], rate: Fraction
) -> None:
    assert rate == frame_rate(guessed, spacings)


@pytest.mark.parametrize(
    ("guessed", "rate"),
    [
        (NTSC, NTSC),
        (Fraction(24_000, 1001), NTSC),
        (Fraction(24), Fraction(30)),
        (Fraction(60_000, 1001), NTSC),
        (Fraction(0), NTSC),
    ],
)
def test_film_with_repeat_flags_is_sent_in_thirty_pictures(guessed: Fraction, rate: Fraction) -> None:
    """Whatever the container counts: the film's pictures, the frames on the air, or the fields."""
    looks = [replace(look(HD), spacing_s=Fraction(1001, 20_000), pulldown=True)] * 5 + [look(HD)] * 3

    assert rate == main_form(looks, replace(VIDEO, frame_rate=guessed)).frame_rate


@pytest.mark.parametrize(
    ("form", "colours"),
    [
        (HD, HIGH_DEFINITION),
        (replace(SD, width=1280, height=720), HIGH_DEFINITION),
        (SD, LINES_525),
        (replace(SD, height=576), LINES_625),
        (replace(SD, height=544, frame_rate=Fraction(25)), LINES_625),
        (replace(SD, height=480, frame_rate=Fraction(25)), LINES_525),
        (replace(SD, pix_fmt="yuvj420p"), replace(LINES_525, range=2)),
        (replace(SD, width=1080, height=1920, rotation=90), HIGH_DEFINITION),
        (
            replace(HD, width=3840, height=2160, colours=Colours(transfer=18)),
            Colours(primaries=9, transfer=18, matrix=9, range=1),
        ),
        (replace(HD, colours=LINES_525), LINES_525),
        (replace(HD, colours=Colours(matrix=6)), replace(HIGH_DEFINITION, matrix=6)),
    ],
)
def test_colours_that_are_not_told_are_those_of_the_size(form: PictureForm, colours: Colours) -> None:
    """As broadcasters have them; what is told stays."""
    assert colours == inferred(form)


@pytest.mark.parametrize(
    ("form", "picture"),
    [
        (HD, (1440, 1080, Fraction(4, 3))),
        (replace(HD, height=1088), (1440, 1080, Fraction(4, 3))),
        (replace(FULL_HD, height=1088), (1920, 1080, Fraction(1))),
        (replace(SD, height=1088), (720, 1088, Fraction(8, 9))),
        (replace(SD, width=641, height=361), (640, 360, Fraction(8, 9))),
        (replace(HD, rotation=90), (1080, 1440, Fraction(3, 4))),
        (replace(HD, rotation=-180), (1440, 1080, Fraction(4, 3))),
        (replace(SD, sample_aspect_ratio=Fraction(0)), (720, 480, Fraction(1))),
        (replace(SD, sample_aspect_ratio=Fraction(1, 1000)), (720, 480, Fraction(1))),
    ],
)
def test_how_a_picture_is_shown(form: PictureForm, picture: tuple[int, int, Fraction]) -> None:
    """Without the lines that fill macroblocks, turned, even; an impossible aspect is none."""
    found = shown(form)

    assert picture == (found.width, found.height, found.sample_aspect_ratio)


@pytest.mark.parametrize(
    ("form", "output", "place"),
    [
        (FULL_HD, HD, Fit(width=1440, height=1080)),
        (SD, HD, Fit(width=1080, height=1080, left=180)),  # 4:3 in 16:9
        (replace(SD, sample_aspect_ratio=Fraction(32, 27)), HD, Fit(width=1440, height=1080)),
        (HD, SD, Fit(width=720, height=360, top=60)),  # 16:9 in 4:3
        (replace(SD, width=704), SD, Fit(width=704, height=480, left=8)),
        (replace(SD, width=704, sample_aspect_ratio=Fraction(10, 11)), SD, Fit(width=720, height=480)),
    ],
)
def test_where_a_picture_goes(form: PictureForm, output: PictureForm, place: Fit) -> None:
    assert place == fit(shown(form), shown(output))


SIZES = st.integers(min_value=2, max_value=5000)
ASPECTS = st.fractions(min_value=Fraction(1, 1000), max_value=1000)


@given(SIZES, SIZES, ASPECTS, SIZES, SIZES, ASPECTS)
def test_every_picture_has_a_place(
    width: int, height: int, aspect: Fraction, other_width: int, other_height: int, other: Fraction
) -> None:
    """Even, at least one sample of colour, and within the output, whatever a header claims."""
    output = shown(PictureForm(width=other_width, height=other_height, sample_aspect_ratio=other))
    place = fit(shown(PictureForm(width=width, height=height, sample_aspect_ratio=aspect)), output)

    assert 2 <= place.width and 2 <= place.height
    assert place.left + place.width <= output.width
    assert place.top + place.height <= output.height
    assert not any(number % 2 for number in (place.width, place.height, place.left, place.top))


def test_conversions_are_said() -> None:
    deep = replace(HD, height=1088, pix_fmt="yuv422p10le", colours=Colours(transfer=16), rotation=-90)

    assert () == conversions(HD)
    assert (
        "yuv422p10le converted to 8-bit 4:2:0",
        "high dynamic range (PQ) kept as tagged, without tone mapping",
        "1088 lines cropped to 1080",
        "pictures turned by 270 degrees, as the recording says",
    ) == conversions(deep)


@pytest.mark.parametrize(
    ("matrices", "mapped", "name"),
    [
        ((15,) * 3, False, "IPT-PQ-c2"),  # also without a transfer, as Dolby Vision has it
        ((14,) * 3, True, "ICtCp"),
        ((8,) * 3, True, "YCgCo"),
        ((8,) * 3, False, ""),  # tagged so in H.264
        ((9,) * 3, True, ""),
        ((9, 9, 14), True, ""),  # one place is damaged
        ((), True, ""),
    ],
)
def test_a_matrix_that_nothing_here_converts_has_its_name(matrices: tuple[int, ...], mapped: bool, name: str) -> None:
    looks = [look(PictureForm(width=1920, height=1080, colours=Colours(matrix=matrix))) for matrix in matrices]

    assert name == own_colours(VIDEO, looks, mapped=mapped)


def test_other_forms_are_said_once() -> None:
    """Those that are shown like the main one are not others."""
    looks = [look(form) for form in (SD, HD, replace(HD, height=1088), SD, None, FULL_HD)]

    assert (
        "pictures of 720×480 at 4:3 fitted into 1440×1080",
        "pictures of 1920×1080 at 16:9 fitted into 1440×1080",
    ) == others(looks, HD)


def test_the_sequence_header_is_found() -> None:
    """Size, aspect and rate; nothing in packets without one, or cut off within."""
    assert b"\x2d\x01\xe0\x34" == mpeg2_sequence(b"\x00\x00\x00\x01\xb3\x2d\x01\xe0\x34\xff\xff")
    head, extension = b"\x00\x00\x01\xb3\x2d\x01\xe0\x34" + bytes(4), b"\x00\x00\x01\xb5\x14\x8a\x3f\xff"
    assert b"\x2d\x01\xe0\x34\x14\x8a\x20" == mpeg2_sequence(head + extension), "the scan, but no bit rate"
    assert b"" == mpeg2_sequence(b"\x00\x00\x01\x00\x00\x0f")
    assert b"\x2d" == mpeg2_sequence(b"\x00\x00\x01\xb3\x2d")


def test_an_aspect_of_the_screen() -> None:
    assert Fraction(16, 9) == Shown(width=1440, height=1080, sample_aspect_ratio=Fraction(4, 3)).aspect
