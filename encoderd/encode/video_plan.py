"""The video's part of the plan: the geometry, the filters and the encoder's options of the one video stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoderd.encode.codec_options import codec_options
from encoderd.encode.deinterlacing import Deinterlacing, Method, deinterlacing
from encoderd.encode.media import VideoInfo
from encoderd.encode.messages import VideoRequest
from encoderd.encode.pictures import (
    FULL,
    HDR,
    HIGH_DEFINITION,
    UNSPECIFIED,
    Colours,
    Look,
    PictureForm,
    Shown,
    conversions,
    cropped,
    fit,
    inferred,
    main_form,
    others,
    own_colours,
    shown,
    woven_aspect,
)

Filter = tuple[str, str]  # name, arguments as libavfilter writes them

#: The encoder's clock. h264_qsv rounds timestamps to 90 kHz, so nothing finer would survive it.
VIDEO_TIME_BASE = Fraction(1, 90_000)
#: What a recording has that tells no frame rate.
USUAL_RATE = Fraction(30_000, 1001)
#: Matrix coefficients that can be converted into each other → libavutil's names. Source: ITU-T H.273, table 4.
MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
_SAME = {6: 5}  # two names of BT.601's matrix
#: What is converted as another, which is nearly the same for BT.2020's primaries: constant luminance, and matrices that
#: follow from the primaries.
_NEARLY = {10: 9, 12: 9, 13: 9}
#: What colours are mapped in. lut3d has vector instructions for 16 bits and for floats alone, and converting to 16 bits
#: is cheaper: of a picture of 1920 × 1080 all of it takes 35 ms of processor time, where 10 bits took 81, 8 bits 77 and
#: floats 45 (and decoding it 18). The luma is within a step of 8 bits of what floats give, 55 dB (10 bits: three), and
#: 33 colours an edge are as near to 129 as 65 are, 51 dB. Trilinear interpolation takes 100 ms. All of it measured.
CUBE_FORMAT = "gbrp16"
#: Lines from which a picture without tags is HD.
HD_LINES = 720
#: What shows pictures upright that are turned by so much and mirrored or not; at other angles they keep their size and
#: get black corners. Source: FFmpeg's own, fftools/ffmpeg_filter.c, autorotate.
_TURNS: dict[tuple[int, bool], tuple[Filter, ...]] = {
    (0, False): (),
    (0, True): (("vflip", ""),),
    (90, False): (("transpose", "dir=cclock"),),
    (90, True): (("transpose", "dir=clock_flip"),),
    (180, False): (("hflip", ""), ("vflip", "")),
    (180, True): (("hflip", ""),),
    (270, False): (("transpose", "dir=clock"),),
    (270, True): (("transpose", "dir=cclock_flip"),),
}

_AS_IT_IS = Deinterlacing(method=Method.OFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """
    The video stream: `width` × `height` pixels of the output (always even), the filter chain in order, the encoder
    and its options. Options are `asked` in libavcodec's words; what it grants is read back when it is open. Colours are
    numbers as in VideoInfo, and those of the whole output. `filters` are those of pictures in the main form.

    `frame_rate` is the output's, `source_rate` (0: the same) the recording's. `untold_aspect` is the sample aspect
    ratio of pictures that tell none, because the container does; 0 when their 1:1 is meant; `container_aspect` as in
    VideoInfo. `untagged` are sizes whose pictures tell no colours: a decoder that met tags before goes on telling
    those. `aspects` are the sample aspect ratios that pictures of a size were seen with, for a libavfilter that cannot
    tell them. `notes` say in words what the plan changes; `also` as in VideoInfo. With `fields` pictures hold one field
    each and are woven first, `unflagged` ones by what they show. With `tonemap` pictures of high dynamic range are
    mapped to BT.709, `tone_mapped` is the transfer of those in the main form (0: none), `peak_nits` as in PictureForm.
    `own_colours` names a coding whose colours come out wrong, "" for none.
    """

    index: int
    encoder: str
    width: int
    height: int
    pix_fmt: str
    frame_rate: Fraction
    sample_aspect_ratio: Fraction
    filters: tuple[Filter, ...]
    options: dict[str, str]
    asked: VideoRequest
    decoder_threads: int
    colorspace: int = UNSPECIFIED
    color_range: int = 0
    color_primaries: int = UNSPECIFIED
    color_trc: int = UNSPECIFIED
    deinterlacing: Deinterlacing = _AS_IT_IS
    source_rate: Fraction = Fraction(0)
    untold_aspect: Fraction = Fraction(0)
    container_aspect: Fraction = Fraction(0)
    untagged: tuple[tuple[int, int], ...] = ()
    aspects: tuple[tuple[tuple[int, int], Fraction], ...] = ()
    notes: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    fields: bool = False
    unflagged: bool = False
    tonemap: bool = False
    tone_mapped: int = 0
    peak_nits: int = 0
    own_colours: str = ""


def video_plan(
    video: VideoInfo, asked: VideoRequest, deinterlace: str, looks: Sequence[Look] = (), tonemap: str = "off"
) -> VideoPlan:
    """
    Return the plan of the one video stream; trial and jobs share it, so that a trial proves what jobs do.

    Without `looks` the plan is what the container says, colours that nobody told included.
    """
    main = main_form(looks, video)
    source_rate = main.frame_rate or USUAL_RATE
    decision = deinterlacing(deinterlace, looks, source_rate)
    rate = decision.frame_rate(source_rate)
    picture = shown(main)
    colours = inferred(main) if looks else main.colours
    tone_mapped = colours.transfer if tonemap == "auto" and colours.transfer in HDR else 0
    if tone_mapped:
        colours = HIGH_DEFINITION
    fields = sum(look.fields for look in looks) * 2 > sum(look.form is not None for look in looks)
    told = woven_aspect(video.container_aspect, video.width, video.height) if fields else video.container_aspect
    forms = [look.form for look in looks if look.form is not None]
    tagged = {(form.width, form.height) for form in forms if form.colours.matrix != UNSPECIFIED}
    return VideoPlan(
        index=video.index,
        encoder=asked.encoder,
        width=picture.width,
        height=picture.height,
        pix_fmt="nv12",
        frame_rate=rate,
        sample_aspect_ratio=picture.sample_aspect_ratio,
        filters=filters(decision, "nv12"),
        options=codec_options(asked, rate),
        asked=asked,
        # One thread decodes MPEG-2 faster than any deinterlacer takes it; more only steal from the encoder. The
        # decoders of H.264 and HEVC are slower and scale over threads: 0 lets libavcodec choose.
        decoder_threads=1 if video.codec in {"mpeg2video", "mpeg1video"} else 0,
        colorspace=colours.matrix,
        color_range=colours.range,
        color_primaries=colours.primaries,
        color_trc=colours.transfer,
        deinterlacing=decision,
        source_rate=source_rate,
        untold_aspect=Fraction(0) if any(form.sample_aspect_ratio for form in forms) else video.sample_aspect_ratio,
        container_aspect=told,
        fields=fields,
        unflagged=fields and sum(look.unflagged for look in looks) * 2 > sum(look.fields for look in looks),
        aspects=_aspects(forms),
        untagged=tuple(sorted({(form.width, form.height) for form in forms} - tagged)),
        notes=(
            *(("pictures of one field each woven to frames",) if fields else ()),
            *conversions(main, tone_mapped=bool(tone_mapped)),
            *others(looks, main),
            *_dolby_vision(video),
        ),
        also=video.also,
        tonemap=tonemap == "auto",
        tone_mapped=tone_mapped,
        peak_nits=main.peak_nits,
        own_colours=own_colours(video, looks, mapped=bool(tone_mapped)),
    )


def _dolby_vision(video: VideoInfo) -> tuple[str, ...]:
    told = video.dolby_vision
    if told is None or not told.has_base:
        return ()
    return (f"Dolby Vision profile {told.profile}: what other screens show of it is kept, its metadata is not",)


def _aspects(forms: Sequence[PictureForm]) -> tuple[tuple[tuple[int, int], Fraction], ...]:
    """Return the most frequent sample aspect ratio of each size."""
    seen: dict[tuple[int, int], Counter[Fraction]] = {}
    for form in forms:
        seen.setdefault((form.width, form.height), Counter())[form.sample_aspect_ratio] += 1
    return tuple((size, counts.most_common(1)[0][0]) for size, counts in sorted(seen.items()))


def aspect_of(plan: VideoPlan, size: tuple[int, int], told: Fraction | None) -> Fraction:
    """
    Return the sample aspect ratio of a picture whose header says `told`, 1 where it says nothing; None: cannot be seen.

    What cannot be seen is what the survey saw of this size, and of a size that it did not see, what fills the screen.
    """
    if plan.container_aspect:
        return plan.container_aspect
    if told == 1 and plan.untold_aspect:
        told = None
    seen = dict(plan.aspects).get(size)
    aspect = told or plan.untold_aspect or seen
    if aspect is not None:
        return aspect or Fraction(1)
    output = plan.sample_aspect_ratio * plan.width / plan.height
    return output * size[1] / size[0] if size != (plan.width, plan.height) else plan.sample_aspect_ratio


def filters(decision: Deinterlacing, pix_fmt: str) -> tuple[Filter, ...]:
    """
    Return the filters of pictures in the main form: what deinterlaces, and the one that makes the encoder's format.

    bwdif touches only frames flagged interlaced, unless every one is meant. Film is woven by fieldmatch, which flags
    what it found no partner for, and bwdif takes that. Sources: ffmpeg-filters, bwdif and fieldmatch.
    """
    chain: list[Filter] = []
    if decision.method is Method.IVTC:
        chain.append(("fieldmatch", f"order={decision.parity}:combmatch=full"))
        chain.append(("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
    elif decision.method is not Method.OFF:
        mode = "send_field" if decision.method is Method.FIELD else "send_frame"
        deint, parity = "all" if decision.every else "interlaced", decision.parity
        chain.append(("bwdif", f"mode={mode}:parity={parity}:deint={deint}"))
    chain.append(("format", f"pix_fmts={pix_fmt}"))
    return tuple(chain)


def filters_for(plan: VideoPlan, form: PictureForm, *, film: bool = True, cube: str = "") -> tuple[Filter, ...]:
    """
    Return the filters of pictures in any form: deinterlaced, cropped, turned, fitted into the plan's geometry.

    `form` has its colours as `labelled` gives them. `film` is False in a progressive part of a film: its pictures are
    not looked at by what weaves fields. `cube` is the file of colours for pictures that `is_tone_mapped`.
    """
    *deinterlacers, (name, arguments) = plan.filters
    if not film and plan.deinterlacing.method is Method.IVTC:
        deinterlacers = []
    output = Shown(width=plan.width, height=plan.height, sample_aspect_ratio=plan.sample_aspect_ratio or Fraction(1))
    picture, place = shown(form), fit(shown(form), output)
    chain: list[Filter] = []
    width, height = cropped(form.width, form.height)
    if (width, height) != (form.width, form.height):
        chain.append(("crop", f"{width}:{height}:0:0"))
    turn = form.rotation % 360
    chain += _TURNS.get((turn, form.mirrored), (("rotate", f"{-turn}*PI/180"),))
    if (place.width, place.height) != (picture.width, picture.height):
        if place.height != picture.height and not deinterlacers:  # fields that are scaled as one picture stay combed
            deinterlacers = [("bwdif", "mode=send_frame:parity=auto:deint=interlaced")]
        chain.append(("scale", f"{place.width}:{place.height}:flags=bicubic"))
    if (place.width, place.height) != (plan.width, plan.height):
        chain.append(("pad", f"{plan.width}:{plan.height}:{place.left}:{place.top}:black"))
    if cube:
        chain += [("format", f"pix_fmts={CUBE_FORMAT}"), ("lut3d", f"file={cube}")]
    if cube or form.colours.matrix != plan.colorspace:
        arguments += f":color_spaces={MATRICES[plan.colorspace]}"
    if cube or form.colours.range != plan.color_range:
        arguments += f":color_ranges={'pc' if plan.color_range == FULL else 'tv'}"
    return (*deinterlacers, *chain, (name, arguments))


def is_tone_mapped(plan: VideoPlan, form: PictureForm) -> bool:
    """Whether pictures of this form have high dynamic range that the output is not to have."""
    return plan.tonemap and plan.color_trc not in HDR and form.colours.transfer in HDR


def labelled(plan: VideoPlan, size: tuple[int, int], matrix: int, value_range: int, transfer: int = 0) -> Colours:
    """
    Return the colours that a picture is converted from: its own where they are told and can be converted.

    Others are taken for the planned ones, or a picture without tags would be converted from a default that nobody
    meant; but SD without tags between HD is BT.601, and the other way round BT.709, and what is mapped BT.2020's.
    """
    planned, lines = plan.colorspace, size[1]
    if size in plan.untagged:
        matrix = UNSPECIFIED
    if matrix == UNSPECIFIED and plan.tonemap and transfer in HDR and plan.color_trc not in HDR:
        matrix = 9
    if matrix == UNSPECIFIED and planned in MATRICES and (lines >= HD_LINES) != (plan.height >= HD_LINES):
        matrix = 1 if lines >= HD_LINES else 6
    if planned != matrix:
        matrix = _NEARLY.get(matrix, matrix)
    convertible = planned in MATRICES and matrix in MATRICES
    if not convertible or _SAME.get(planned, planned) == _SAME.get(matrix, matrix):
        matrix = planned
    if not value_range or (value_range == FULL) == (plan.color_range == FULL):
        value_range = plan.color_range
    return Colours(transfer=transfer, matrix=matrix, range=value_range)
